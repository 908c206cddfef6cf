r"""
Design an activation: from a function to one that can be critical
=================================================================

A function of your own, what the theory says of it before anything is trained, the relative that it proposes,
and finite networks of both. On the command line: ``phasescope critical FILE.py:function --plot FILE``.
"""

import numpy as np
import torch

from phasescope import plotting, signal, theory
from phasescope.report import activation_figure

DEPTH, WIDTH, NETWORKS = 40, 300, 20


def tamed(z: torch.Tensor) -> torch.Tensor:
    """Quadratic just above 0, like squared ReLU, and linear far from it."""
    positive = torch.relu(z)
    return positive**2 / (1 + positive)


print(theory.critical_point(tamed))

# %%
# Its ratio of susceptibilities is above 1 everywhere. With the weights that keep K = 1, that kernel repels:
# smaller ones vanish, larger ones explode.

figure = activation_figure(tamed)
figure

# %%
# What to use instead, the best first.

for sentence in theory.alternatives(tamed):
    print(f"* {sentence}")

# %%
# The first is the same function with a constant bias of 1, less its value there. Its critical kernel
# attracts.


def moved(z: torch.Tensor) -> torch.Tensor:
    """The relative that is critical."""
    return tamed(z + 1) - 0.5


point = theory.critical_point(moved)
print(point)
figure = activation_figure(moved)
figure

# %%
# Do networks of finite width follow? Kernel and squared gradient in 20 networks of each, from the same first
# kernel: the function itself with the weights that keep K = 1, and its relative at its critical point.

keeps_one = 1 / float(theory.expectation(lambda z: tamed(z) ** 2, 1.0, kinks=(0.0,)))
tried = {
    "tamed": (tamed, keeps_one, plotting.THEORY),
    "tamed(z + 1) - 0.5": (moved, point.C_W, plotting.MEASURED),
}
with plotting.style():
    figure, (kernels, gradients) = plotting.figure(2, panel_size=(4.4, 3.4))
    for name, (function, C_W, colour) in tried.items():
        sample = signal.sample_mlp(
            function, WIDTH, DEPTH, C_W, 0.0, networks=NETWORKS, kernel=1.0, distance=0.1, tangent=True
        )
        kernel = sample["kernel"].isel(replica=0).values
        growth = np.exp(sample["log_growth"].values)
        for axes, values in ((kernels, kernel), (gradients, growth)):
            lines = axes.plot(sample["layer"], values.T, color=colour, linewidth=0.9, alpha=0.7)
            lines[0].set_label(name)
        low, high = kernel[:, -1].min(), kernel[:, -1].max()
        print(f"{name}: kernels of layer {DEPTH} from {low:.2g} to {high:.2g}")
    kernels.set(yscale="log", ylim=(1e-9, 1e9), xlabel="layer", title="Kernel of 20 networks")
    gradients.set(
        yscale="log", ylim=(1e-9, 1e9), xlabel="layer", title="Squared growth of a small difference"
    )
    kernels.legend(loc="upper left")
figure

# %%
# The kernels of the first explode in some networks and vanish in the others: the start is the right one only
# at infinite width. Those of the second decay together, as 1/l, as the theory says of its class. Between
# candidates that are both usable, training decides:
# ``phasescope study run rectified_power --set activations=gelu,FILE.py:moved``.
