"""
Two inputs through finite random networks
=========================================

How the distance of two inputs dies out in networks of finite width at the critical point, and what residual
connections and LayerNorm do to it.
"""

import matplotlib.pyplot as plt
import numpy as np

from phasescope.signal import lyapunov_exponent, sample_mlp
from phasescope.theory import MeanField, critical_line

point = critical_line("tanh", 0.3)
print(point)
DEPTH = 200
layers = np.arange(1, DEPTH + 1)

# %%
# No weights are drawn: given one layer, the neurons of the next are independent Gaussians, so that 500
# networks of width 200 take a second.

sampled = sample_mlp("tanh", 200, DEPTH, point.C_W, point.C_b, networks=500, seed=1)
print(sampled)

# %%
# The distance of an infinitely wide network follows the correlation map. A residual weight r keeps the share
# :math:`r^2` of it in each layer.

field = MeanField("tanh", point.C_W, point.C_b)


def theory(residual: float = 0.0) -> np.ndarray:
    """Distance through the layers at infinite width, from 1."""
    rho = [1.0]
    for _ in range(DEPTH - 1):
        image = float(field.distance_map(rho[-1]))
        rho.append(residual**2 * rho[-1] + (1 - residual**2) * image)
    return np.array(rho)


# %%
# Narrow networks leave the line after a depth of the order of their width: their mean is carried by few
# networks, and a typical one lies far below it. A residual connection stretches the depth scale. LayerNorm
# changes the kernel that the activation sees, so that the same variances are no longer critical: here they
# are chaotic, and the distance does not die out.

figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for width, colour in ((25, "tab:red"), (100, "tab:orange"), (400, "tab:green")):
    run = sample_mlp("tanh", width, DEPTH, point.C_W, point.C_b, networks=40_000 // width, seed=width)
    axes[0].loglog(layers, run.distance.mean("network"), color=colour, label=f"width {width}")
    axes[0].loglog(layers, np.exp(run.log_distance.mean("network")), "--", color=colour)
axes[0].loglog(layers, theory(), color="0.3", lw=1, label="infinite width")
axes[0].set(xlabel="layer", ylabel=r"distance $\rho = 1 - c$", title="mean (full), typical (dashed)")

architectures = {"plain": {}, "residual 0.8": {"residual": 0.8}, "LayerNorm": {"layer_norm": True}}
for (name, options), colour in zip(
    architectures.items(), ("tab:green", "tab:blue", "tab:purple"), strict=True
):
    run = sample_mlp("tanh", 400, DEPTH, point.C_W, point.C_b, networks=100, seed=400, **options)
    axes[1].loglog(layers, run.distance.mean("network"), color=colour, label=name)
    if name != "LayerNorm":
        axes[1].loglog(layers, theory(**options), color="0.3", lw=1)
axes[1].set(xlabel="layer", title="width 400")
for panel in axes:
    panel.legend(frameon=False)
figure.show()

# %%
# The Lyapunov exponent says on which side of the transition a network of that width is: a plain network of
# width 50 is ordered where an infinitely wide one is critical.

for name, options in architectures.items():
    exponent = lyapunov_exponent("tanh", 50, point.C_W, point.C_b, networks=50, depth=200, **options)
    print(f"{name:<14}{exponent}")
print(f"theory, plain  {point.d0 / 2 / 50:.4f}")
