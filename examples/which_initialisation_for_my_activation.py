"""
Which initialisation for my activation?
=======================================

A plain network of 30 layers does not train with the weights that PyTorch draws. Which weights does its
activation need, and does the network then train? Asked for SiLU, GELU, tanh and a function of our own.
"""

import math

import matplotlib.pyplot as plt
import torch
from torch import nn

from phasescope import signal, theory
from phasescope.data import digits

DEPTH, WIDTH, STEPS, RATES = 30, 64, 80, (3e-4, 1e-3)
images = digits(test=700).flattened()


class Smooth(nn.Module):
    """A function of our own: any that acts on each unit alone will do."""

    def forward(self, z):
        return torch.atan(z) + 0.1 * z


# %%
# What the theory says, before anything is trained. C_W is the variance of the weights times the number of
# inputs of a unit, C_b the variance of the biases. With these a small difference between two inputs keeps its
# size from layer to layer. K* is the mean square that the activations' inputs go to.

activations = {"SiLU": nn.SiLU(), "GELU": nn.GELU(), "tanh": nn.Tanh(), "our own": Smooth()}
for name, activation in activations.items():
    print(f"{name}\n{theory.critical_point(activation)}\n")

# %%
# Not every activation has such a point. Then the theory says what to use instead, the best first.

print(theory.critical_point(nn.Softplus()).sentence)
for sentence in theory.alternatives(nn.Softplus()):
    print(f"* {sentence}")

# %%
# :func:`phasescope.signal.critical_` sets these weights in a model of yours, and corrects them on a batch for
# the finite width. It changes the model in place and prints what it set.


def network(activation, initialise):
    """Return a plain network; the same seed each time."""
    torch.manual_seed(0)
    sizes = [64, *[WIDTH] * (DEPTH - 1)]
    layers = [part for size in sizes for part in (nn.Linear(size, WIDTH), activation)]
    model = nn.Sequential(*layers, nn.Linear(WIDTH, 10))
    initialise(model)
    return model


def drawn_by_torch(model):
    """Leave the weights as nn.Linear draws them: variance 1/3 over the number of inputs."""


@torch.no_grad()
def he(model):
    """Draw normal weights of variance 2 over the number of inputs, made for ReLU (He et al. 2015)."""
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            layer.bias.zero_()


def critical(model):
    """Set the critical weights of the activation."""
    signal.critical_(model, images.x_train[:128], verify=False)


print(signal.critical_(network(nn.SiLU(), drawn_by_torch), images.x_train[:128]))

# %%
# Each is trained with two learning rates; the better accuracy on held-back digits counts. Guessing
# gives 0.1, and 700 digits give an error of at most 0.02. All start from one seed: do not read small
# differences.


def train(model, rate):
    """Return the losses, and the accuracy on digits held back."""
    optimizer = torch.optim.Adam(model.parameters(), rate)
    order, losses = torch.Generator().manual_seed(1), []
    for _ in range(STEPS):
        rows = torch.randint(len(images.x_train), (64,), generator=order)
        loss = nn.functional.cross_entropy(model(images.x_train[rows]), images.y_train[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        right = model(images.x_test).argmax(1) == images.y_test
    return right.double().mean().item(), losses


ways = {"PyTorch's own": drawn_by_torch, "He": he, "critical_": critical}
reached = {
    (name, way): max(train(network(activation, initialise), rate) for rate in RATES)
    for name, activation in activations.items()
    for way, initialise in ways.items()
}
for name in activations:
    print(f"{name:<9}", *(f"{way}: {reached[name, way][0]:.2f}  " for way in ways))

# %%
# The conclusion, which the script checks: with the weights that PyTorch draws, all four stay near guessing;
# with the critical weights all four train. The weights of He et al. are made for ReLU. Their variance is near
# that for SiLU and GELU, but the biases are missing; for tanh it is twice too large. ``critical_`` also draws
# orthogonal weights where He draws normal ones: its gain over He is not that of the variances alone.

for name in activations:
    assert reached[name, "critical_"][0] > 0.5
    assert reached[name, "PyTorch's own"][0] < 0.3
    print(f"{name}: critical_ less He {reached[name, 'critical_'][0] - reached[name, 'He'][0]:+.2f}")

figure, axes = plt.subplots(1, len(activations), figsize=(10, 3), layout="constrained", sharey=True)
for panel, name in zip(axes, activations, strict=True):
    for way in ways:
        panel.plot(reached[name, way][1], label=way)
    panel.axhline(math.log(10), color="0.5", ls=":")
    panel.set(title=name, xlabel="step", ylim=(0, 4))
axes[0].set_ylabel("loss (dotted: guessing)")
axes[0].legend(frameon=False)
figure.show()
