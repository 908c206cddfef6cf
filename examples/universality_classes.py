"""
Which activations can be critical?
==================================

The critical initialisation of PyTorch's activations, and of one of your own, with the reason where there is
none.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

from phasescope.theory import MeanField, critical_point

NAMES = ["relu", "leaky_relu", "tanh", "erf", "sin", "softsign", "elu", "gelu", "silu", "mish"]
NAMES += ["hardswish", "sigmoid", "softplus", "selu", "repu2", "repu3", "mrepu1", "mrepu2"]

points = {name: critical_point(name) for name in NAMES}
print(f"{'activation':<12}{'class':<17}{'C_b':>12}{'C_W':>12}{'K*':>12}{'stable':>8}")
for name, point in points.items():
    numbers = "".join("           -" if x is None else f"{x:12.6f}" for x in (point.C_b, point.C_W))
    kernel = f"{point.K:12.6f}" if isinstance(point.K, float) else f"{'-':>12}"
    print(f"{name:<12}{point.universality_class:<17}{numbers}{kernel}{point.stable!s:>8}")

# %%
# Where there is no critical point, the reason is a statement about the ratio of the two susceptibilities.

for name in ("repu2", "sigmoid", "selu"):
    print(f"{name}: {points[name].reason}\n")

# %%
# Any elementwise function of your own works the same way.


def soft_threshold_sine(z: torch.Tensor) -> torch.Tensor:
    """A made-up activation."""
    return torch.sin(z) + 0.1 * z


print(critical_point(soft_threshold_sine))

# %%
# The ratio against the kernel shows the classes at a glance: criticality needs it to be 1.

kernels = np.logspace(-3, 3, 61)
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for name in ("relu", "tanh", "gelu", "sigmoid", "softplus", "repu2", "mrepu2"):
    field = MeanField(name, 1.0, 0.0)
    ratio = [float(field.chi_parallel(K)) / float(field.chi_perpendicular(K)) for K in kernels]
    axes.semilogx(kernels, ratio, label=name)
axes.axhline(1, color="0.6", lw=1, zorder=0)
axes.set(xlabel="kernel $K$", ylabel=r"$\chi_\parallel / \chi_\perp$", ylim=(0, 2))
axes.legend(ncols=2, frameon=False)
figure.show()
