"""
Is my network lazy?
===================

A wide network can learn its task almost without changing its features: its output then moves as that of the
network linearised at the start. Two checkpoints tell, the one before training and the one after it.
"""

import copy

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn

from phasescope.instruments.lazy import LazyTraining
from phasescope.training import lazy_or_rich

# %%
# A classifier of digits with one hidden layer. Keep a copy before training: that is all it needs.

WIDTH = 512
images = load_digits()
x = torch.from_numpy(images.data[:400]).float()
x, y = (x - x.mean()) / x.std(), torch.from_numpy(images.target[:400])


class Classifier(nn.Module):
    """Standard normal weights in the tangent-kernel scaling; `scale` multiplies the output."""

    def __init__(self, scale):
        super().__init__()
        self.enter, self.leave = nn.Linear(64, WIDTH), nn.Linear(WIDTH, 10)
        self.scale = scale
        for layer in (self.enter, self.leave):
            nn.init.normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        return self.scale * self.leave(torch.relu(self.enter(x) / 8)) / WIDTH**0.5


def train(scale, rate, steps=300):
    torch.manual_seed(0)
    model = Classifier(scale)
    before = copy.deepcopy(model)
    optimiser = torch.optim.SGD(model.parameters(), lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()
    return before, model


before, model = train(scale=1.0, rate=0.5)
found = lazy_or_rich(before, model, x[:100])
print(found)
print("weights moved by", f"{found.distance:.3f}", "of their norm")

# %%
# The gap is the share of the output's change that the linearised network misses: below 0.05 the training was
# lazy. The same movement in random directions tells how much of the change of the gates is chance. The
# instrument says what to do: multiply the output by 1/sqrt(n) and the learning rate by n.

instrument = LazyTraining(before)
dataset = instrument.measure(model, x[:100])
for finding in instrument.findings(dataset):
    print(finding)
print(instrument.table(dataset))

# %%
# With outputs in between, the gap goes from lazy to rich. The rate grows as the output shrinks, so that all
# networks learn as fast; here the richer ones also fit more of the training data in as many steps.

scales = [2.0, 1.0, 0.5, 0.2, WIDTH**-0.5]
gaps, flips, nulls = [], [], []
for scale in scales:
    before, model = train(scale, rate=0.5 / scale**2)
    found = lazy_or_rich(before, model, x[:100])
    gates = next(layer for layer in found.layers if layer.flips.determined)
    gaps.append(found.gap)
    flips.append(gates.flips)
    nulls.append(gates.flips_null)
    share = (model(x).argmax(1) == y).float().mean()
    print(f"scale {scale:.3f}: {found.verdict:<15} gap {found.gap}, accuracy {share:.3f}")

figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
axes[0].errorbar(scales, [g.value for g in gaps], [g.error for g in gaps], fmt="o-")
for limit, name in ((0.05, "lazy"), (0.3, "rich")):
    axes[0].axhline(limit, color="0.5", ls=":")
    axes[0].annotate(name, (scales[0], limit), va="bottom" if name == "rich" else "top", ha="right")
axes[0].set(xscale="log", yscale="log", xlabel="scale of the output", title="Gap to the linearised network")
axes[0].set(ylabel="gap")
axes[1].errorbar(scales, [f.value for f in flips], [f.error for f in flips], fmt="o-", label="trained")
axes[1].plot(scales, nulls, "x--", label="random directions")
axes[1].set(xscale="log", xlabel="scale of the output", ylabel="share of gates", title="Gates that flipped")
axes[1].legend(frameon=False)
figure.show()
