"""
My transformer does not train
=============================

A transformer of 18 layers reads handwritten digits, row by row. Its loss stays at that of guessing. What is
wrong with it, and which line mends it?
"""

import math

import matplotlib.pyplot as plt
import torch
from torch import nn

import phasescope
from phasescope.data import digits
from phasescope.instruments import Symptoms, TokensAndAttention

DEPTH, WIDTH, STEPS, RATE = 18, 32, 60, 3e-3
images = digits(test=700)
rows, labels = images.standardised().x_train.view(-1, 8, 8), images.y_train


class Reader(nn.Module):
    """Eight tokens, the rows of an image, through torch's own encoder."""

    def __init__(self, norm_first):
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            WIDTH, 4, 2 * WIDTH, dropout=0.0, batch_first=True, norm_first=norm_first
        )
        self.enter = nn.Linear(8, WIDTH)
        self.place = nn.Parameter(0.5 * torch.randn(8, WIDTH))
        self.blocks = nn.TransformerEncoder(layer, DEPTH, enable_nested_tensor=False)
        self.leave = nn.Linear(WIDTH, 10)

    def forward(self, x):
        return self.leave(self.blocks(self.enter(x) + self.place).mean(1))


def draw_again(model):
    """Give each layer weights of its own."""
    for p in model.blocks.layers.parameters():
        if p.dim() > 1:
            nn.init.xavier_uniform_(p)


def train(model):
    """Return the loss of each step."""
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    order, losses = torch.Generator().manual_seed(1), []
    for _ in range(STEPS):
        chosen = torch.randint(len(rows), (64,), generator=order)
        loss = nn.functional.cross_entropy(model(rows[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


torch.manual_seed(0)
model = Reader(norm_first=False)

# %%
# Inspect the model before training, on a batch of real inputs. Two instruments are enough here.


def inspected(model):
    """Return what the instruments find, and print it."""
    found = phasescope.inspect(model, rows[:64], instruments=[Symptoms(), TokensAndAttention()])
    for finding in found.findings:
        print(f"{finding.severity}: {finding}\n")
    return found


before = inspected(model)

# %%
# There are two warnings, each with an action. First, ``nn.TransformerEncoder`` copies one layer: all 18 have
# equal weights. Second, the tokens of a sequence become alike on their way: their cosine is above 0.99 at the
# end. Then attention has nothing to choose from.
#
# Take one action after the other. The first: draw the weights of each layer again. The second: normalise
# inside the branches instead of after the sums, which is the option ``norm_first=True``.

losses = {"as it was": train(model)}
for name, norm_first in {"drawn again": False, "drawn again, norm first": True}.items():
    torch.manual_seed(0)
    model = Reader(norm_first)
    draw_again(model)
    if norm_first:
        after = inspected(model)
    losses[name] = train(model)

# %%
# The conclusion: drawing the weights again alone does not help, the network still guesses. The place of the
# normalisation stopped the training. With both actions the loss falls within 60 steps.

guessing = math.log(10)
last = {name: sum(curve[-10:]) / 10 for name, curve in losses.items()}
for name, loss in last.items():
    print(f"{name:<24} loss of the last ten steps {loss:.2f} (guessing: {guessing:.2f})")

assert last["as it was"] > 2.2
assert last["drawn again"] > 2.2
assert last["drawn again, norm first"] < 1.0

figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
for name, curve in losses.items():
    axes.plot(curve, label=name)
axes.axhline(guessing, color="0.5", ls=":", label="guessing")
axes.set(xlabel="step", ylabel="loss", title="Before and after", ylim=(0, 3.5))
axes.legend(frameon=False)
figure.show()
