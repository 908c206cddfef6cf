"""
Which universality class?
=========================

Two systems whose class is known, held against all known classes: directed percolation in one dimension of
space, and its mean-field counterpart, in which every site draws its parents at random.
"""

import matplotlib.pyplot as plt
import numpy as np

from phasescope.scaling import (
    CRITICAL_PROBABILITY,
    UNIVERSALITY_CLASSES,
    branching,
    directed_percolation,
    identify_class,
    local_slopes,
)

p_c = CRITICAL_PROBABILITY[1, "bond"]
percolation = directed_percolation(p_c, size=10_000, steps=3000, seed=0)
mean_field = branching(0.5, size=10**8, steps=3000, seed=0)

for runs in (percolation, mean_field):
    print(identify_class(runs.time.values, runs.density.values, dimensions=1), end="\n\n")

# %%
# The same call says no where there is nothing to say. Three thousandths below the threshold the density
# seems to follow a power law for a while.

below = directed_percolation(p_c - 0.003, size=10_000, steps=3000, seed=0)
print(identify_class(below.time.values, below.density.values, dimensions=1))

# %%
# With control values on both sides of the transition, the curves also collapse, which gives the critical
# point and a second exponent.

control = p_c + np.array([-4, -2, -1, 0, 1, 2, 4]) * 1e-3
curves = [directed_percolation(p, size=4096, steps=1000, seed=i) for i, p in enumerate(control)]
density = np.stack([curve.density.values for curve in curves])
print(identify_class(curves[0].time.values, density, dimensions=1, control=list(control)))

# %%
# Local slopes tell more than a straight line through everything: at criticality they settle at the exponent
# of the class, in mean field with a logarithm's delay; off criticality they leave it.

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
shown = (("percolation", percolation), ("percolation, p too small", below), ("random parents", mean_field))
for name, runs in shown:
    kept = runs.time.values >= 3
    slopes = local_slopes(runs.time.values[kept], runs.density.values[:, kept])
    axes.errorbar(slopes.x, -slopes.slope, slopes.error, fmt="o-", ms=3, label=name)
for known in ("DP 1+1", "mean field"):
    axes.axhline(UNIVERSALITY_CLASSES[known].delta.value, color="0.6", lw=1, zorder=0)
axes.set(xscale="log", xlabel="time $t$", ylabel=r"local slope $-d\,\ln\rho/d\,\ln t$", ylim=(0, 1.1))
axes.legend(frameon=False)
figure.show()
