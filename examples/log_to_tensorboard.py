"""
Log a training run to TensorBoard
=================================

While a network trains, a recorder measures it: its sharpness, its exponent, how far from critical it is, its
symptoms. The rows go to a file, and to your tracker beside your own numbers.
"""

import tempfile
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

from phasescope import plotting
from phasescope.instruments import TrainingRecorder, read_record

folder = tempfile.TemporaryDirectory()
images, labels = load_digits(return_X_y=True)
order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
x = (torch.tensor(images, dtype=torch.float32) / 16)[order]
y = torch.tensor(labels)[order]

# %%
# The recorder knows a tracker by its method. Here it is a ``SummaryWriter`` of TensorBoard, or a stand-in
# with the same method where TensorBoard is not installed. A run of W&B, the module ``mlflow`` and a logger of
# Lightning are passed in the same way.


class StandIn:
    """Keeps the newest value of each number, and counts its values."""

    def __init__(self):
        self.newest, self.count = {}, {}

    def add_scalar(self, name, value, step):
        self.newest[name], self.count[name] = (step, value), self.count.get(name, 0) + 1

    def close(self):
        for name, (step, value) in self.newest.items():
            print(f"{name:32}{self.count[name]:4} values, at step {step} {value:.4g}")


try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError:
    print("TensorBoard is not installed, so a stand-in gets the rows.")
    writer = StandIn()
else:
    writer = SummaryWriter(f"{folder.name}/runs/digits")
    print(f"tensorboard --logdir {folder.name}/runs")

# %%
# One call a step, after ``optimizer.step()``. ``measure="all"`` takes everything that the other arguments
# allow (the noise is left out: digits are no sequences). ``budget=None`` measures at every step, which takes
# about fifty times as long as the steps of so small a network. Where ``budget`` is left out, the recorder
# spends 5 % of the time of your steps.


def train(rate, steps, trial=None, **options):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(64, 64),
        nn.Tanh(),
        nn.Linear(64, 64),
        nn.Tanh(),
        nn.Linear(64, 64),
        nn.Tanh(),
        nn.Linear(64, 10),
    )
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    path = Path(folder.name) / f"rate-{rate}.jsonl"
    given = {"loss": loss_fn, "batch": (x[:64], y[:64]), "optimizer": optimizer, "say": None}
    recorder = TrainingRecorder(path, model, **given, **options)
    for step in range(1, steps + 1):
        chosen = torch.randint(1200, (128,))
        optimizer.zero_grad()
        loss = loss_fn(model(x[chosen]), y[chosen])
        loss.backward()
        optimizer.step()
        recorder(loss)
        if step % 10 == 0:  # a number of your own, in the file and in the tracker
            recorder.note(step, accuracy=(model(x[1200:]).argmax(1) == y[1200:]).double().mean().item())
        if trial is not None and recorder.prune(trial, "sharpness_ratio"):
            print(f"rate {rate}: pruned at step {step}")  # with Optuna: raise optuna.TrialPruned
            break
    recorder.close()
    return path


record_file = train(0.5, 120, measure="all", budget=None, log=writer)
writer.close()

# %%
# The file holds the same rows. It can be read while the run goes on, and after a kill.

record = read_record(record_file)
print(record.sizes, *record.data_vars)

# %%
# Three of them. The sharpness is divided by the threshold of the optimiser, here ``2 / rate``. It rises above
# 1, where plain gradient descent is unstable, and the accuracy jumps; then it comes back to about 1. The
# margin is 0 at criticality: the network starts ordered, and training makes it chaotic.

with plotting.style():
    figure, axes = plotting.figure(3)
    for panel, name in zip(axes, ["accuracy", "sharpness_ratio", "signal_margin"], strict=True):
        values = record[name].dropna("step")
        panel.plot(values["step"], values, "o-", ms=3, color=plotting.MEASURED)
        panel.set(xlabel="step", ylabel=name.replace("_", " "))
    axes[1].axhline(1, color=plotting.THEORY)
    axes[2].axhline(0, color=plotting.THEORY)
figure

# %%
# Pruning takes two lines in the loop: ``if recorder.prune(trial, quantity)``, and what ends the run.
# ``prune`` gives the newest value to a trial of Optuna, and returns whether the trial wants to end the run.
# This stand-in wants to at four times the threshold.


class Trial:
    def report(self, value, step):
        self.value = value

    def should_prune(self):
        return self.value > 4


train(2.0, 120, Trial(), measure=["sharpness"], budget=None)
folder.cleanup()
