"""
Is this series 1/f noise?
=========================

Three series whose origin we know: one is 1/f noise, one only looks like it, one hides a period. What
:func:`phasescope.noise.verdict` says of each, and how to read it.
"""

import matplotlib.pyplot as plt
import numpy as np

from phasescope import noise

# %%
# The second series follows :math:`x_t = 0.9\,x_{t-1} + e_t`. It forgets its past within ten steps. The third
# is 1/f noise with a wave of 24 steps on top, such as the hours of a day.

LENGTH = 8000
time = np.arange(LENGTH)
series = {
    "1/f noise": noise.fractional_gaussian_noise(0.95, LENGTH, seed=1),
    "short memory": noise.autoregressive([0.9], LENGTH, seed=2),
    "1/f noise and a wave": noise.fractional_gaussian_noise(0.95, LENGTH, seed=3)
    + 2 * np.sin(2 * np.pi * time / 24),
}

# %%
# The exponent alone does not tell them apart. White noise has beta = 0, 1/f noise has beta = 1. The short
# memory has a beta near 1 too, with a small error. The wave spoils the beta of the third.

for name, values in series.items():
    print(f"{name:<22} beta = {2 * noise.dfa(values).estimate() - 1}")

# %%
# The verdict also holds each series against simulated ones. These are the nulls: series of known origin,
# simulated with what was fitted to yours. "None of 200" means: no simulated series looked like yours, so this
# explanation is excluded. A share of several percent means: it remains possible.

found = {name: noise.verdict(values) for name, values in series.items()}
for name, verdict in found.items():
    print(f"{name.upper()}\n{verdict}\n")

# %%
# How to read the three.
#
# * The first is called straight: one power law, and no short memory explains it. Whether it is 1/f noise for
#   ever, no test can say at this length: a sum of a few relaxation times looks the same. Some 200,000 values
#   would be needed.
# * The second is a short memory. Its autoregressive process explains it. Noise with one exponent does not.
#   The number beta then describes these windows only; do not call this series 1/f noise.
# * The third is periodic. The wave is named and taken out. What is said after "Without it" is about the rest.
#
# Two more lines are checks. Shuffled copies have alpha = 0.5: the order of the values matters. Copies with
# random phases keep the spectrum; their alpha is that of the series if the spectrum says all there is.

assert found["1/f noise"].kind in ("straight", "1/f")
assert found["short memory"].kind == "short memory"
assert found["1/f noise and a wave"].kind == "periodic"

# %%
# In the picture of the fluctuations F(n), one exponent is an almost straight line. The dotted line is the
# null of one exponent, the dashed line that of a short memory. The null that the points follow explains
# the series. The third panel shows the series without its wave.

figure, axes = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained")
for panel, (name, verdict) in zip(axes, found.items(), strict=True):
    test = verdict.test
    unit = test.windows * test.measured[0] / test.windows[0]
    panel.loglog(test.windows, test.measured / unit, "o", ms=4, label="measured")
    panel.loglog(test.windows, test.short_memory / unit, "k--", lw=1, label="short memory")
    panel.loglog(test.windows, test.scaling / unit, "k:", lw=1, label="one exponent")
    panel.minorticks_off()
    panel.set_yticks([0.5, 0.7, 1, 1.4], ["0.5", "0.7", "1", "1.4"])
    panel.set(title=f"{name}:\n{verdict.kind}", xlabel="window n")
axes[0].set_ylabel("F(n) / n, 1 at n = 10")
axes[0].legend(frameon=False)
figure.show()

# %%
# For a series in a file the command line does the same: ``phasescope dfa FILE.csv --column NAME`` prints the
# verdict and writes a page with these pictures.
