"""
1/f noise, or a short memory that looks like it?
================================================

An LSTM reads noisy measurements, and its states fluctuate with an exponent close to that of 1/f noise. Where
does it come from, and is it one?
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

from phasescope import noise

# %%
# First without a network. Two series of 500 values: 1/f noise, which remembers without end, and
# :math:`x_t = 0.8\,x_{t-1} + e_t`, which forgets within five steps. Both read a beta that would pass for 1/f
# noise. What tells them apart is how the fluctuations F(n) grow with the window n. Each series is held
# against many simulated ones of its own autoregressive process (dashed), and of noise with one exponent
# (dotted).

pink = noise.fractional_gaussian_noise(0.9, 500, seed=1)
leaky = noise.autoregressive([0.8], 500, seed=2)
verdicts = {"1/f noise": noise.verdict(pink), "leaky integrator": noise.verdict(leaky)}
for name, found in verdicts.items():
    print(f"{name}\n{found}\n")

figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for (name, found), series, colour in zip(
    verdicts.items(), (pink, leaky), ("tab:blue", "tab:red"), strict=True
):
    test = found.test
    axes[0].plot(series - 6 * (name != "1/f noise"), color=colour, lw=0.8)
    axes[1].loglog(test.windows, test.measured, "o", color=colour, label=f"{name}, beta = {found.beta}")
    axes[1].loglog(test.windows, test.short_memory, "--", color=colour, lw=1)
    axes[1].loglog(test.windows, test.scaling, ":", color=colour, lw=1)
axes[0].set(xlabel="time step", yticks=[], title="500 values")
axes[1].set(xlabel="window n", ylabel="F(n)", title="short memory (dashed), scaling (dotted)")
axes[1].minorticks_off()
axes[1].set_xticks([10, 20, 40, 60], ["10", "20", "40", "60"])
axes[1].legend(frameon=False)
figure.show()

# %%
# Now the network. A level that is 1/f noise is measured with white noise on top, and the LSTM estimates the
# level. Any module with a time axis would do.

STEPS, SEQUENCES = 1000, 48
START = 20  # first steps, where the state still remembers its start


def measurements(sequences: int, steps: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    level = noise.fractional_gaussian_noise(0.9, steps, size=(sequences, 1), seed=seed)
    white = np.random.default_rng(seed + 1).standard_normal(level.shape)
    return tuple(
        torch.from_numpy(x).float().transpose(1, 2) for x in (level + 0.5 * white, level)
    )  # (sequence, time, 1)


class Smoother(nn.Module):
    def __init__(self, units: int = 16) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, units, batch_first=True)
        self.readout = nn.Linear(units, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.readout(self.lstm(x)[0])


torch.manual_seed(0)
model = Smoother()
optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
measured, level = measurements(512, 200, seed=1)
for step in range(121):
    rows = torch.randint(len(measured), (32,))
    loss = nn.functional.mse_loss(model(measured[rows]), level[rows])
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    if step % 40 == 0:
        print(f"step {step:3d}: squared error {loss.item():.3f}")

# %%
# :func:`phasescope.noise.record` returns the gates and states of every recurrent layer as series, and
# :func:`phasescope.noise.population` the exponent of every unit in every sequence.

batch, _ = measurements(SEQUENCES, START + STEPS, seed=3)
recording = noise.record(model, batch)
print(recording)
for quantity in recording.quantities("lstm.l0"):
    found = noise.population(recording.series("lstm.l0", quantity, discard=START), tests=0)
    print(f"{quantity:<12} beta = {found.mean}, {found.spread} over units and sequences")

# %%
# Three nulls for the hidden state. The same network with its parameters drawn again tells what training did.
# The same measurements in random order tell what the network adds to an input without any memory. And an
# autoregressive process fitted to each series, the memory test, tells whether a short memory would do.

order = torch.argsort(torch.rand(SEQUENCES, START + STEPS), dim=1)
shuffled = torch.take_along_dim(batch, order[:, :, None], dim=1)
cases = {
    "input": (None, batch),
    "trained": (model, batch),
    "untrained": (noise.reinitialised(model, seed=1), batch),
    "shuffled input": (model, shuffled),
}
populations = {}
for name, (network, given) in cases.items():
    if network is None:
        series = recording.series("lstm.l0", "input", discard=START)
    else:
        series = noise.record(network, given).series("lstm.l0", "hidden", discard=START)
    populations[name] = noise.population(series, tests=24, copies=60)
    print(f"{name}\n{populations[name]}\n")

# %%
# The beta of the trained state is near 1, but not for the network's sake. The input alone is 1/f noise. The
# untrained network comes as close to 1, so training is not behind it. With shuffled input a short memory is
# left: the network smooths over a few steps. That lifts the beta of what it passes on, and bends its curve,
# so that the state of either network has no one exponent. Nearly all units move, but in about two directions.

print(noise.utilisation(recording.series("lstm.l0", "hidden", discard=START)))

# %%
# Left, F(n)/n is level where beta = 1: the curves rise and turn. Right, each unit has its own memory: betas
# differ by far more than their errors, and the units that move most are not those with the largest.

figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
looks = {
    "input": ("0.5", "d"),
    "trained": ("tab:blue", "o"),
    "untrained": ("tab:green", "s"),
    "shuffled input": ("tab:red", "^"),
}
for name, found in populations.items():
    look = {"color": looks[name][0], "ms": 4.5}
    slower = found.windows / found.windows[0]
    axes[0].loglog(
        found.windows, found.fluctuation / slower, looks[name][1], label=f"{name}, {found.mean}", **look
    )
    # The null is that of the tested series, so it is drawn as far from the curve of all as from theirs.
    null = found.fluctuation * found.short_fluctuation / found.tested_fluctuation
    axes[0].loglog(found.windows, null / slower, "--", lw=1, color=looks[name][0])
    if name != "input":
        axes[1].errorbar(
            found.deviation, found.unit_beta, found.unit_beta_error, fmt=looks[name][1], lw=1, **look
        )
axes[0].set(
    xlabel="window n", ylabel="F(n)/n, 1 at n = 10", title="each with its autoregressive null (dashed)"
)
axes[0].legend(frameon=False, title="beta", loc="lower left")
axes[1].set(xlabel="deviation of the unit in time", ylabel="beta", title="each unit of the hidden state")
figure.show()
