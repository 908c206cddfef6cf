"""
Can I shrink this layer?
========================

A small residual network reads handwritten digits. Which of its blocks can go, and what is left of the
accuracy on digits that neither training nor the choice has seen?
"""

import torch
from torch import nn

from phasescope import plotting
from phasescope.data import digits
from phasescope.instruments.edges import RemovableEdges


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
model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), *blocks, nn.ReLU(), nn.Flatten(), nn.Linear(512, 10))
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
