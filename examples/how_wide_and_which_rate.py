"""
How wide, and which learning rate at each width?
================================================

A learning rate was tuned on a narrow network and fails on a wide one. Which layer is to blame, and by what
power of the width must its rate be changed? And how wide does a network of a given depth have to be?
"""

import torch
from torch import nn

from phasescope import plotting, report
from phasescope.data import digits
from phasescope.theory import width_for_depth
from phasescope.training import coordinate_check

images = digits(test=700).standardised()
batch = images.x_train[:64].flatten(1), images.y_train[:64]
loss = nn.CrossEntropyLoss()


def network(width: int, seed: int) -> nn.Module:
    """Return a network as one writes it: torch's own initialisation."""
    hidden = [nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(width, 10))


# %%
# The check takes a function of width and seed. It trains networks of some widths for some steps, and fits how
# the change of each layer grows with the width. Exponents are 0 where the width makes no difference.


def adam(parameters, rate: float = 1e-3) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=rate)


widths = (32, 64, 128, 256)
found = coordinate_check(network, batch, loss, widths=widths, seeds=4, steps=3, optimizer=adam)
print(found)

# %%
# One rate for all layers lets the hidden layer and the output move the more the wider they are.

figure = report.width_figure(found)
figure

# %%
# ``apply`` does what the advice says, to any network of the factory before its training. The same check then
# passes.


def mended(width: int, seed: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Return the network with initial values and learning rates that belong to its width."""
    model = network(width, seed)
    optimizer = adam(model.parameters())
    found.apply(model, optimizer, width)
    return model, optimizer


again = coordinate_check(mended, batch, loss, widths=widths, seeds=4, steps=3, seed=100)
print(again)

# %%
# The changes are flat now. The output at the start shrinks with the width, as it should.

figure = report.width_figure(again)
figure

# %%
# What it is good for: the loss after 30 steps at several rates. With one rate for all layers, the curves move
# to smaller rates as the width grows: what is best for the narrow network is too much for the wide one. With
# the advice they lie on one another.

RATES = [10.0**power for power in (-3.5, -3, -2.5, -2, -1.5, -1)]


def final_loss(width: int, rate: float, advised: bool) -> float:
    """Return the loss after 30 steps on batches of 128."""
    torch.manual_seed(0)
    model = network(width, 0)
    optimizer = adam(model.parameters(), rate)
    if advised:
        found.apply(model, optimizer, width)
    for _ in range(30):
        rows = torch.randint(len(images.x_train), (128,))
        optimizer.zero_grad()
        loss(model(images.x_train[rows].flatten(1)), images.y_train[rows]).backward()
        optimizer.step()
    with torch.no_grad():
        return loss(model(images.x_train.flatten(1)), images.y_train).item()


with plotting.style():
    figure, panels = plotting.figure(2)
    for axes, advised in zip(panels, (False, True), strict=True):
        for width, colour in ((32, plotting.MEASURED), (128, "#8b6fc9"), (512, plotting.THEORY)):
            losses = [final_loss(width, rate, advised) for rate in RATES]
            best = RATES[losses.index(min(losses))]
            print(f"{'with' if advised else 'without'} the advice, width {width}: best rate {best:.2g}")
            axes.plot(RATES, losses, "o-", color=colour, label=f"width {width}")
        title = "With the advice" if advised else "One rate for all layers"
        axes.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="loss", title=title)
        axes.legend()
figure

# %%
# How wide must it be for its depth? Random networks of one design differ in the size of what they put out.
# Deep and narrow ones differ most. Theory says which width keeps the standard deviation below a third.

for activation in ("relu", "gelu", "tanh"):
    needed = [width_for_depth(activation, depth, spread=1 / 3) for depth in (5, 20, 80)]
    print(f"{activation}: width {needed} at depth [5, 20, 80]")
