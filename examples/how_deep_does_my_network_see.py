"""
How deep does my network see?
=============================

Two inputs can keep their distance through many layers and still lose almost all directions in which they
could differ. Signal propagation measures the first, the spectra of the derivatives the second.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from phasescope import signal
from phasescope.theory import product_participation

# %%
# Three networks of 20 ReLU layers on handwritten digits: as torch makes them, at the critical point with
# Gaussian weights, and with shortcuts, whose branches add 1/20 of the variance each.

DEPTH, WIDTH = 20, 64
images = torch.from_numpy(load_digits().data[:256]).float()
images = (images - images.mean()) / images.std()


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.into = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(DEPTH))
        self.back = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(DEPTH))

    def forward(self, x):
        for into, back in zip(self.into, self.back, strict=True):
            x = x + back(torch.relu(into(x))) / (2 * DEPTH) ** 0.5
        return x


def plain():
    return nn.Sequential(
        *[layer for _ in range(DEPTH) for layer in (nn.Linear(WIDTH, WIDTH, bias=False), nn.ReLU())]
    )


def critical(model):
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return model


torch.manual_seed(0)
networks = {"torch's own": plain(), "critical": critical(plain()), "residual": critical(Residual())}

# %%
# Propagation says how much of a difference is left. torch's own network loses it exponentially, the two
# others keep it.

profiles, spectra = {}, {}
for name, model in networks.items():
    profiles[name] = signal.profile(model, images).dataset
    spectra[name] = signal.spectra(model, images, samples=4).dataset
    steps = profiles[name]["chi_perpendicular"].values
    growth = np.nanprod(np.where(np.isfinite(steps), steps, 1.0))
    print(f"{name:<12} {profiles[name].attrs['phase']}: squared differences grow by {growth:.2g}")

# %%
# The spectra say in how many directions. The critical network passes on differences of the right size, but
# behind 20 layers in two directions of 64 only: criticality fixes the mean of the squared singular values,
# not their spread. With shortcuts the spread stays bounded, and many more directions arrive.

for name, found in spectra.items():
    last = found.isel(layer=np.flatnonzero(found["skipped"].values == "")[-1])
    shown = f"{float(last['participation']):5.1f} ± {float(last['participation_error']):.1f}"
    lost = f"{float(last['deficit']):.2f} bits a direction lost"
    print(f"{name:<12} directions behind the last layer: {shown} of {WIDTH}; {lost}")

# %%
# For independent weights the number of directions is known: n/(2L + 1) behind L ReLU layers of n units. A
# network that keeps fewer than half of them has weights that depend on each other.

law = [product_participation([WIDTH] * (depth + 1), 2.0) for depth in range(1, DEPTH + 1)]
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for name, found in spectra.items():
    rows = np.flatnonzero(found["skipped"].values == "")
    ends = rows[1::2] if len(rows) > DEPTH else rows
    data, place = found.isel(layer=ends), np.arange(1, len(ends) + 1)
    axes[0].plot(place, data["gain"] / data["gain"][0], "o-", ms=3, label=name)
    axes[1].errorbar(place, data["participation"], data["participation_error"], fmt="o-", ms=3, label=name)
axes[1].plot(range(1, DEPTH + 1), law, "k:", label="independent weights")
axes[0].set(xlabel="layer", ylabel="squared difference, relative", title="How much is left", yscale="log")
axes[1].set(xlabel="layer", ylabel="directions kept apart", title="In how many directions", yscale="log")
for each in axes:
    each.legend(frameon=False)
figure.show()
