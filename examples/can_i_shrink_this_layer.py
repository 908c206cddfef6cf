"""
Can I shrink this layer?
========================

A small residual network reads handwritten digits. Which of its blocks can go, how far can its widest layer
be factorised, and what is left of the accuracy on digits that neither training nor the choice has seen?
"""

import torch
from torch import nn

from phasescope import plotting, structure
from phasescope.data import digits
from phasescope.instruments import RemovableEdges


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return x + self.second(torch.relu(self.first(torch.relu(x))))


images = digits(test=700).standardised()
torch.manual_seed(0)
blocks = [Block(8) for _ in range(8)]
readout = [nn.ReLU(), nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10)]
model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), *blocks, *readout)
loss = nn.functional.cross_entropy
optimizer = torch.optim.Adam(model.parameters(), 2e-3)
for _ in range(200):
    rows = torch.randint(len(images.x_train), (128,))
    optimizer.zero_grad()
    loss(model(images.x_train[rows]), images.y_train[rows]).backward()
    optimizer.step()

# %%
# The digits that were held back are halved: on one half we choose, on the other we check. Choosing on
# training data would ask about a loss that is already close to zero.

choose, check = slice(0, 350), slice(350, 700)
instrument = RemovableEdges(loss, images.y_test[choose])
dataset = instrument.measure(model, images.x_test[choose])
print(instrument.table(dataset))
for finding in instrument.findings(dataset):
    print(finding)

# %%
# To remove a block is to set what it adds to the shortcut to zero, or to leave the block out. We leave out as
# many as the finding names, and one after the other beyond that.

order = [int(str(name).split(" ")[0]) for name in dataset["removed_edge"].values[1:]]


def without(removed):
    """Return the network without some blocks."""
    return nn.Sequential(*(part for place, part in enumerate(model) if place not in removed))


def accuracy(network) -> float:
    """Return the share of the held-back half that is read right."""
    with torch.no_grad():
        return (network(images.x_test[check]).argmax(1) == images.y_test[check]).double().mean().item()


kept = [accuracy(without(order[:count])) for count in range(len(order) + 1)]
removable = int(dataset.attrs["removable"])
print(
    f"all blocks {kept[0]:.3f}, without {removable} of them {kept[removable]:.3f}, without any {kept[-1]:.3f}"
)

# %%
# Left: what each block is worth alone. Second order in a gate on the block, which costs a few gradients for
# all blocks together, is an estimate of that. Right: blocks removed one after the other, the cheapest next.
# The order matters: the band is that of random orders.

instrument.figures(dataset)["edges"]

# %%
# The accuracy on the half that had no part in the choice.

with plotting.style():
    figure, (axes,) = plotting.figure(1)
    axes.plot(range(len(kept)), kept, "s-", color=plotting.MEASURED)
    axes.axvline(removable, color=plotting.INK, lw=0.8, ls=":")
    axes.set(xlabel="blocks removed", ylabel="accuracy", title="On digits held back from the choice")
figure

# %%
# The widest layer reads 512 numbers and gives 64. On the inputs that it really gets, its output changes by
# less than a tenth at a rank far below 64; beside it the rank that shuffled weights need on the same inputs,
# and that of the weights alone. Two thin layers of that rank take its place.

with torch.no_grad():
    inputs = model[:11](images.x_train)
wide = model[11]
found = structure.tolerated_rank(wide, inputs)
print(
    f"rank {found.rank} of {found.full}, shuffled {found.shuffled.mean():.1f}, weights alone {found.weights}"
)


def narrowed(rank):
    """Return the network with the wide layer as two thin ones."""
    return nn.Sequential(*model[:11], structure.factorised(wide, inputs, rank=rank), *model[12:])


ranks = (1, 2, 4, 8, 12, 16, 24, 32, 64)
read = [accuracy(narrowed(rank)) for rank in ranks]
chosen = round(found.rank.value)
saved = 1 - chosen * (512 + 64) / (512 * 64)
after = accuracy(narrowed(chosen))
print(f"at rank {chosen}: {saved:.0%} of its weights saved, accuracy {after:.3f}, before {kept[0]:.3f}")

with plotting.style():
    figure, (axes,) = plotting.figure(1)
    axes.plot(ranks, read, "s-", color=plotting.MEASURED, label="factorised")
    axes.axhline(kept[0], color=plotting.THEORY, lw=1, label="whole")
    axes.axvline(chosen, color=plotting.INK, lw=0.8, ls=":")
    axes.set(xlabel="rank of the wide layer", ylabel="accuracy", title="On digits held back", xscale="log")
    axes.legend(loc="lower right")
figure
