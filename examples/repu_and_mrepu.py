r"""
Why RePU networks fail, and what MRePU does about it
====================================================

Kernels of deep networks with :math:`\mathrm{RePU}_2(z) = \max(z, 0)^2` and
:math:`\mathrm{MRePU}_2(z) = z (z+1)^2, z \ge -1`, with the boundary between vanishing and exploding
(arXiv:2408.02697).
"""

import matplotlib.pyplot as plt
import numpy as np

from phasescope.theory import MeanField, critical_point, first_layer_kernel, unstable_kernel

DEPTH = 12


def kernels(activation, C_W, K_1):
    """Kernels of the layers of an infinitely wide network, until they leave the range 1e-30 to 1e30."""
    field = MeanField(activation, C_W, 0.0)
    trajectory = [K_1]
    while len(trajectory) < DEPTH and 1e-30 < trajectory[-1] < 1e30:
        trajectory.append(float(field.kernel_map(trajectory[-1])))
    return trajectory


figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for K_1 in (0.5, 0.6, 0.66, 0.6667, 0.68, 0.8, 1.0):
    trajectory = kernels("repu2", 1.0, K_1)
    left.semilogy(range(1, len(trajectory) + 1), trajectory, "o-", ms=3, label=f"$K_1$ = {K_1}")
left.axhline(2 / 3, color="0.6", lw=1)
left.set(xlabel="layer", ylabel="kernel", ylim=(1e-20, 1e20), title="RePU 2: no stable point")
left.legend(frameon=False, fontsize=8)
for K_1 in (1e-1, 1e-2, 1e-3, 1e-4):
    trajectory = kernels("mrepu2", 1.0, K_1)
    right.semilogy(range(1, len(trajectory) + 1), trajectory, "o-", ms=3, label=f"$K_1$ = {K_1:g}")
right.set(xlabel="layer", ylim=(1e-5, 1e20), title="MRePU 2: a matter of the first layer")
right.legend(frameon=False, fontsize=8)
figure.show()

# %%
# No variance helps RePU; for MRePU the theory says how small the first layer's kernel has to be.

print(critical_point("repu2"))
print()
print(critical_point("mrepu2"))
print(f"\nK_1 for 10 layers: {first_layer_kernel('mrepu2', 10):.2e}")
print(f"K_1 for 50 layers: {first_layer_kernel('mrepu2', 50):.2e}")

# %%
# With weights below the critical variance there is a basin around K = 0; above its edge everything explodes.

variances = np.array([0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
for p in (1, 2, 3):
    axes.semilogy(variances, [unstable_kernel(f"mrepu{p}", C_W) for C_W in variances], label=f"MRePU {p}")
axes.set(
    xlabel="$C_W$", ylabel="first-layer kernel", title="Above the line kernels explode, below they vanish"
)
axes.legend(frameon=False)
figure.show()
