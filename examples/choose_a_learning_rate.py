"""
Choose a learning rate
======================

A small convolutional network on handwritten digits ends at the accuracy of guessing. Is its learning rate too
high, which limit does it pass, and which rates would serve?
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

from phasescope import report
from phasescope.training import scan_learning_rate

images, labels = load_digits(return_X_y=True)
order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
x = (torch.tensor(images, dtype=torch.float32) / 16).view(-1, 1, 8, 8)[order]
y = torch.tensor(labels)[order]

# %%
# A factory says once what is trained: the model, the loss, the data, the optimiser as a function of the rate,
# and the images held out. The same function serves the loop below, the scan, and the command
# ``phasescope lr-scan choose_a_learning_rate.py:factory``.


def factory(seed: int) -> dict:
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(54, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )
    return {
        "model": model,
        "loss": nn.CrossEntropyLoss(),
        "data": (x[:200], y[:200]),
        "validation": (x[1200:], y[1200:]),
        "optimizer": lambda parameters, rate: torch.optim.SGD(parameters, lr=rate, momentum=0.9),
    }


def train(rate: float, steps: int = 60) -> float:
    torch.manual_seed(0)
    given = factory(0)
    model, (inputs, targets), (held, answers) = given["model"], given["data"], given["validation"]
    optimizer = given["optimizer"](model.parameters(), rate)
    for _ in range(steps):
        optimizer.zero_grad()
        given["loss"](model(inputs), targets).backward()
        optimizer.step()
    return (model(held).argmax(1) == answers).double().mean().item()


FAILS = 0.8
print(f"rate {FAILS:g}: accuracy {train(FAILS):.2f}")

# %%
# The scan trains at each rate from two initialisations. Beside each training it follows a small difference of
# the weights, and measures the sharpness: the largest curvature of the loss, here against the threshold of
# gradient descent with momentum 0.9, ``3.8 / rate``.

scan = scan_learning_rate(
    factory, [0.0125, 0.025, 0.05, 0.1, 0.2, 0.4, FAILS], seeds=[0, 1], steps=60, compare=False
)
print(scan)

# %%
# What happened at each rate, in words.

for row in scan.rows:
    print(f"{row.rate:<7g}{row.sentence}")

# %%
# One picture. In green the rates that reach the target fastest; in orange, where it can be determined, the
# onset of chaos. Here the networks die before that.

figure = report.rates_figure(scan)
figure

# %%
# The mended training takes a rate of the recommended range.

chosen = scan.recommended_low.value
print(f"rate {chosen:g}: accuracy {train(chosen):.2f}")
