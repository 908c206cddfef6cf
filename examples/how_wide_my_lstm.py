"""
How wide must my LSTM be?
=========================

An LSTM of four widths learns the same task. Which width is in excess? Two numbers tell: the error on data
held back, and how many directions its state moves in.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

from phasescope import noise

# %%
# The task is to say the input of two steps ago. The targets are noisy: no network gets below a squared error
# of 0.09. We know what the state must hold, namely three numbers: the input now and at the two steps before.

LAG, NOISE, START = 2, 0.3, 10  # START: first steps, left out
WIDTHS, TRAININGS = (2, 4, 8, 32), 5


def sequences(count, steps, seed):
    """Return inputs and targets of shape (sequence, time, 1)."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(count, steps, 1, generator=draw)
    return x, x.roll(LAG, dims=1) + NOISE * torch.randn(x.shape, generator=draw)


class Delay(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.lstm = nn.LSTM(1, width, batch_first=True)
        self.readout = nn.Linear(width, 1)

    def forward(self, x):
        return self.readout(self.lstm(x)[0])


def squared_error(model, x, y):
    """Return the mean squared error without the first steps."""
    return nn.functional.mse_loss(model(x)[:, START:], y[:, START:])


def train(model, x, y):
    """Train in place."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(250):
        chosen = torch.randint(len(x), (32,))
        loss = squared_error(model, x[chosen], y[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


# %%
# Train each width five times, each time from other weights. :func:`phasescope.noise.record` returns the
# states as series, and :func:`phasescope.noise.utilisation` how many units move and in how many directions.

data, held_back = sequences(512, 60, seed=1), sequences(128, 300, seed=2)
errors, dimensions, moving = (np.empty((len(WIDTHS), TRAININGS)) for _ in range(3))
for i, width in enumerate(WIDTHS):
    for j in range(TRAININGS):
        torch.manual_seed(j)
        model = Delay(width)
        train(model, *data)
        with torch.no_grad():
            errors[i, j] = squared_error(model, *held_back)
        states = noise.record(model, held_back[0][:24]).series("lstm.l0", "hidden", discard=START)
        used = noise.utilisation(states)
        dimensions[i, j] = used.dimension.value
        moving[i, j] = width - used.counts()["idle_relative"]

print(f"The last network, of {width} units:\n{used}")

# %%
# Compare the widest with each of the others. All errors are one standard error over the trainings. A gain
# below twice its error is not told apart from none, but five trainings would miss any small gain. So say
# which gain you would pay for, here a tenth of its squared error. The widest is in excess if its gain and
# two errors on top stay below that.

WORTH = 0.1


def mean(values):
    """Return the mean over the trainings and its standard error."""
    return values.mean(1), values.std(1, ddof=1) / np.sqrt(TRAININGS)


(error, error_of), (dimension, dimension_of) = mean(errors), mean(dimensions)
gain, gain_of = (error - error[-1]) / error[-1], np.hypot(error_of, error_of[-1]) / error[-1]
enough = gain + 2 * gain_of < WORTH
for i, width in enumerate(WIDTHS):
    print(f"{width:2d} units: squared error {error[i]:.4f} ± {error_of[i]:.4f}")
    print(f"   {moving[i].mean():.1f} units move, in {dimension[i]:.2f} ± {dimension_of[i]:.2f} directions")
    if width < 32:
        print(f"   32 units gain {gain[i]:.1%} ± {gain_of[i]:.1%} over them")

# %%
# The conclusion: 8 units are enough, and 32 are in excess. These trainings do not tell the two apart: the
# gain of 32 units over 8 is below twice its error, and a few percent at most. 2 units are too few. 4 units
# lose about a third, nearly three times the error of this loss.
#
# The state of the widest says so too. All its units move, but in little more than the three directions that
# the task needs. So count directions, not the units that move. The directions are not the width to take:
# with 4 units there is room for three, and training found two.

assert list(enough) == [False, False, True, True]
assert gain[0] > 2 * gain_of[0]
assert LAG < dimension[-1] < LAG + 2
assert moving[-1].mean() > 30

figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
axes[0].errorbar(WIDTHS, error, error_of, fmt="o-")
axes[0].axhline(NOISE**2, color="0.5", ls=":", label="noise of the targets")
axes[0].set(ylabel="squared error, held back", yscale="log")
axes[0].set_yticks([0.1, 0.2, 0.5], ["0.1", "0.2", "0.5"])
axes[1].errorbar(WIDTHS, dimension, dimension_of, fmt="o-", label="directions")
axes[1].plot(WIDTHS, moving.mean(1), "s--", label="units that move")
axes[1].axhline(LAG + 1, color="0.5", ls=":", label="numbers to hold")
axes[1].set(yscale="log")
axes[1].set_yticks([1, 3, 10, 30], ["1", "3", "10", "30"])
for panel in axes:
    panel.set(xscale="log", xlabel="units")
    panel.set_xticks(WIDTHS, [str(width) for width in WIDTHS])
    panel.minorticks_off()
    panel.legend(frameon=False)
figure.show()
