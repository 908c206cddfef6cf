"""
Which weights carry this, and can I change it alone?
====================================================

A small classifier of handwritten digits is weak on eights: many read as something else. Which weights
decide between 8 and its rivals, do any of them act on eights alone, and can that be mended without training
again and without spoiling the other digits?
"""

import torch
from torch import nn

from phasescope import plotting
from phasescope.data import digits
from phasescope.synapses import ClassMargin, edit, ensemble, module_sensitivity, nulls

images = digits(test=700).standardised().flattened()
torch.manual_seed(2)
model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 24), nn.ReLU(), nn.Linear(24, 10))
optimizer = torch.optim.Adam(model.parameters(), 4e-3)
few = torch.cat([torch.nonzero(images.y_train != 8)[:, 0], torch.nonzero(images.y_train == 8)[:12, 0]])
for _ in range(60):  # eights are rare in what it learns from
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(images.x_train[few]), images.y_train[few]).backward()
    optimizer.step()


def unseen(network) -> tuple[float, float]:
    """Return the accuracy on unseen eights, and on all other unseen digits."""
    with torch.no_grad():
        right = network(images.x_test).argmax(1) == images.y_test
    eights = images.y_test == 8
    return right[eights].double().mean().item(), right[~eights].double().mean().item()


before = unseen(model)
print(f"eights {before[0]:.3f}, other digits {before[1]:.3f}")

# %%
# The property is a number read off the output: here the mean margin of 8 over the next class, on the eights
# of a batch. The batch holds other digits, too: what a weight does to them is its damage. The eights of this
# batch were not trained on.

rest = torch.nonzero(images.y_train == 8)[12:52, 0]
others = torch.nonzero(images.y_train != 8)[:320, 0]
batch = images.x_train[torch.cat([rest, others])]
reads_eight = ClassMargin(8, cases=range(len(rest)))
seen = module_sensitivity(model, batch)
found = ensemble(seen, reads_eight)
print(found)

# %%
# The ensemble counts the fewest weights with 90 % of the property, in three units of change. ``share`` tells
# how much of what a weight does is the property. Beside it belongs a null: do weights act more selectively on
# these eights than on as many other images? They do, more than on any of 99 random sets.

null = nulls(seen, reads_eight, kinds=("shift",), count=99)
print(null)

# %%
# But random sets mix all digits. So the same is asked of each other digit. Eights turn out to be nothing
# special; and the best weight has most of its effect elsewhere. No single weight is a handle of the eights.

labels = torch.cat([torch.full((len(rest),), 8), images.y_train[others]])
for digit in range(10):
    own = ensemble(seen, ClassMargin(digit, cases=labels == digit), units=["one"])
    print(f"digit {digit}: largest share {own.share.max():.2f}")

# %%
# The edit asks for a margin higher by 4 with the least change of the logits of the other digits. The shortest
# way along the gradient to the same margin stands beside it, and an edit that may touch only 30 weights.

amount = {reads_eight: 4.0}
edits = {
    "least damage": edit(seen, amount),
    "30 weights": edit(seen, amount, method="sparse", count=30),
    "gradient": edit(seen, amount, method="gradient"),
}
print(edits["least damage"])

# %%
# The check is on images that neither training nor the edits have seen. The model itself was not changed:
# ``applied`` returns a copy.

after = {name: unseen(each.applied(model)) for name, each in edits.items()}
for name, (eights, other) in after.items():
    print(f"{name:13} eights {eights:.3f}, other digits {other:.3f}, damage {edits[name].damage:.3f}")

# %%
# Left: how few weights carry the property. Right: what each edit gives and takes on unseen images. The
# programme mends the eights and leaves the others; the gradient to the same margin costs them dear.

with plotting.style():
    figure, (left, right) = plotting.figure(2)
    energy = torch.as_tensor(found.strength * seen.weights.numpy()).square().sort(descending=True).values
    left.plot(range(1, len(energy) + 1), energy.cumsum(0) / energy.sum(), color=plotting.MEASURED)
    left.axhline(0.9, color=plotting.INK, lw=0.8, ls=":")
    left.set(xscale="log", xlabel="strongest weights", ylabel="share of the property", title="Ensemble")
    right.axhline(0, color=plotting.INK, lw=0.8)
    for place, (eights, other) in enumerate(after.values()):
        gains = (100 * (eights - before[0]), 100 * (other - before[1]))
        colours = (plotting.MEASURED, plotting.THEORY)
        for shift, gain, colour in zip((-0.18, 0.18), gains, colours, strict=True):
            label = ("eights", "other digits")[shift > 0] if place == 0 else None
            right.bar(place + shift, gain, width=0.34, color=colour, label=label)
    right.set_xticks(range(len(after)), list(after))
    right.set(ylabel="accuracy gained, points", xlabel="edit", title="On unseen images")
    right.set_ylim(top=75)
    right.legend()
figure
