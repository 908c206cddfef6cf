"""Independence deficit: do the logits of a classifier follow from those of a few other classes.

Feng et al. 2022, arXiv:2206.06072, find it in networks for the 1,000 classes of ImageNet. Here with ten
classes, and with many classes behind a head of few features, where it follows from counting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers.related.channel import pictures
from phasescope.papers.related.shared import STUDY
from phasescope.papers.small_networks import accuracy, train
from phasescope.signal import classification_dimension, independence_deficit
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import legend
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen
from phasescope.studies.samples import mean
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

FOLLOWS = 0.99
TRIED, SHOWN = 9, (1, 3, 5, 9)  # numbers of predictors


class DeficitSettings(Settings):
    """Sizes of the networks and of the made classes."""

    width: int = 64
    blocks: int = 4
    seeds: int = 4
    steps: int = 600  # of Adam
    rate: float = 1e-3
    batch: int = 64
    classes: int = 24  # that are made
    features: int = 6  # of the head of their network


QUICK = DeficitSettings()
PAPER = DeficitSettings(seeds=10, steps=1500, classes=100, features=9)

VARIABLES = {
    "shares": Variable(("predictors",), "held-out R^2 of a logit from others, mean over classes"),
    "follows": Variable((), "share of logits with R^2 of 0.99 or more from three others"),
    "accuracy": Variable((), "accuracy on samples that were not trained on"),
    "first": Variable((), "classification dimension behind the first block", "directions", optional=True),
    "last": Variable((), "classification dimension behind the last block", "directions", optional=True),
}


class Residual(nn.Module):
    """A residual network of perceptron blocks, with a head that may have few features."""

    def __init__(self, inputs: int, width: int, blocks: int, features: int, classes: int) -> None:
        super().__init__()
        self.into = nn.Linear(inputs, width)
        made = [nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU()) for _ in range(blocks)]
        self.blocks = nn.ModuleList(made)
        narrow = [nn.Linear(width, features)] if features else []
        self.head = nn.Sequential(*narrow, nn.Linear(features or width, classes))

    def behind_blocks(self, x: Tensor) -> list[Tensor]:
        """Return what stands behind each block."""
        h, found = self.into(x), []
        for block in self.blocks:
            h = h + block(h)
            found.append(h)
        return found

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.behind_blocks(x)[-1])
        return logits


def tasks(config: Any) -> list[Task]:
    """Return one task for each kind of classes and seed."""
    settings: DeficitSettings = config.deficit
    known = settings.model_dump(exclude={"seeds"})
    seconds = 1 + settings.steps * settings.blocks * 1e-3
    return [
        Task(STUDY, "deficit", {"kind": kind, **own, "number": n}, seconds=seconds, memory=400_000_000)
        for kind, own in (
            ("pictures", {**known, "classes": 0, "features": 0, "mnist": config.mnist, "seed": config.seed}),
            ("made", {**known, "mnist": "", "seed": config.seed}),
        )
        for n in range(settings.seeds)
    ]


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return how well logits follow from others, and the classification dimension of the blocks."""
    known = task.parameters
    if known["kind"] == "made":
        x, y = made_classes(known["classes"], 40 * known["classes"], task.seed)
        x_test, y_test = made_classes(known["classes"], 20 * known["classes"], task.seed, sample=1)
        classes = known["classes"]
    else:
        images = pictures(known["mnist"])
        x, y, x_test, y_test = images.x, images.y, images.x_test, images.y_test
        classes = images.classes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed % 2**63)
        model = Residual(x.shape[1], known["width"], known["blocks"], known["features"], classes).double()
    adam = torch.optim.Adam(model.parameters(), lr=known["rate"])
    train(model, x, y, adam, known["steps"], batch=known["batch"], seed=task.seed)
    with torch.no_grad():
        behind, logits = model.behind_blocks(x_test), model(x_test)
    found = independence_deficit(logits, most=TRIED, seed=task.seed % 2**32)
    values = {
        "shares": found.r_squared.mean(axis=0),
        "follows": float((found.r_squared[:, 2] >= FOLLOWS).mean()),
        "accuracy": accuracy(model, x_test, y_test),
    }
    for name, block in (("first", 0), ("last", -1)):
        dimension = classification_dimension(behind[block], y_test, seed=task.seed % 2**32)
        values |= {name: dimension.value} if dimension.determined else {}
    return values


def made_classes(
    classes: int, samples: int, seed: int, *, sample: int = 0, inputs: int = 32
) -> tuple[Tensor, Tensor]:
    """Return Gaussian clouds around random centres, one a class; another `sample` has the same centres."""
    centres = np.random.default_rng((seed, 0)).standard_normal((classes, inputs))
    y = np.arange(samples) % classes
    noise = np.random.default_rng((seed, 1 + sample)).standard_normal((samples, inputs))
    return torch.from_numpy(centres[y] + 0.3 * noise), torch.from_numpy(y)


@dataclass(frozen=True)
class Numbers:
    """Means over seeds, by kind of classes."""

    shares: dict[str, list[Estimate]]  # by kind, for 1, 2, ... predictors
    follows: dict[str, Estimate]
    accuracy: dict[str, Estimate]
    fallen: Estimate  # classification dimension, first block less last
    features: int
    classes: int


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    settings: DeficitSettings = config.deficit
    kinds = {kind: chosen(data, kind=kind) for kind in ("pictures", "made")}
    how = "mean over seeds"
    real = kinds["pictures"]
    return Numbers(
        {k: [mean(column, how) for column in part["shares"].values.T] for k, part in kinds.items()},
        {k: mean(part["follows"].values, how) for k, part in kinds.items()},
        {k: mean(part["accuracy"].values, how) for k, part in kinds.items()},
        mean(real["first"].values - real["last"].values, "first block less last, mean over seeds"),
        settings.features,
        settings.classes,
    )


def claims(n: Numbers) -> list[Check]:
    real, made = n.shares["pictures"], n.shares["made"]
    return [
        Claim(
            "handful",
            "The confidence of a class follows linearly from that of three other classes, here of ten: most "
            "have an R^2 of 0.99 or more.",
            "arXiv:2206.06072, for the 1,000 classes of ImageNet",
        ).positive(
            n.follows["pictures"] - 0.5,
            note="Shown is the share of logits, less one half. A disagreement says that the deficit is not a "
            "property of all classifiers; it was found with a hundred times as many classes.",
        ),
        Claim(
            "three-are-too-few",
            "With ten classes three other logits leave more than 1 % of the variance of a logit.",
        ).below(FOLLOWS, real[2], note="Agrees 3 errors below, disagrees 3 above."),
        Claim(
            "counting",
            f"Behind a head of {n.features} features each of {n.classes} logits follows from "
            f"{n.features} others, whatever was learned.",
        ).equals(1.0, made[n.features - 1], allowance=1e-6, note="Linear algebra: the method's control."),
        Claim(
            "dimension-falls",
            "The directions that a linear read-out needs for the classes fall from first to last block.",
            "arXiv:2206.06072",
        ).positive(n.fallen, note="Principal components that keep 95 % of the accuracy, on held-out images."),
    ]


def tables(n: Numbers) -> list[Table]:
    rows = [
        [
            kind,
            str(n.accuracy[kind]),
            *[str(n.shares[kind][number - 1]) for number in SHOWN],
            str(n.follows[kind]),
        ]
        for kind in ("pictures", "made")
    ]
    columns = ["classes", "accuracy", *[f"R^2 from {number}" for number in SHOWN], "follow from 3"]
    return [Table("Logits from other logits, held out", columns, rows)]


def notes(n: Numbers) -> list[str]:
    return [
        "The other logits are found by orthogonal matching pursuit with an intercept on one half of the test "
        "samples, and R^2 is taken on the other half. The paper fits samples of one class without an "
        "intercept and with an L1 penalty of 20. Chosen here: the networks, R^2 of 0.99, three predictors, "
        f"{n.classes} made classes and a head of {n.features} features for them."
    ]


def draw_shares(axes: Axes, n: Numbers) -> None:
    for kind, fill, label in (
        ("pictures", plotting.MEASURED, "ten classes"),
        ("made", "none", f"{n.classes} classes"),
    ):
        left = np.array([1 - each.value for each in n.shares[kind]])
        error = np.array([each.error for each in n.shares[kind]])
        number = np.arange(1, len(left) + 1)
        left = np.maximum(left, 1e-12)
        axes.errorbar(number, left, error, fmt="o-", mfc=fill, color=plotting.MEASURED, label=label)
    axes.axhline(1 - FOLLOWS, color=plotting.THEORY, label="1 %")
    axes.axvline(n.features, color=plotting.INK, ls=":", lw=0.8)
    title = "What other logits leave of a logit"
    axes.set(title=title, xlabel="number of other logits", ylabel="$1 - R^2$, held out", yscale="log")
    axes.set_ylim(bottom=1e-6)
    legend(axes)


def figures(n: Numbers) -> list[Panels]:
    caption = (
        "Share of the variance of a logit that 1, 2, ... other logits leave, on held-out samples, mean over "
        f"classes. Filled, ten classes of images. Open, {n.classes} made classes behind a head of "
        f"{n.features} features (dotted), from where on each logit follows from others by counting."
    )
    return [Panels("deficit", caption, [draw_shares], size=(4.8, 3.4))]


DEFICIT = Part(
    name="deficit",
    title="Independence deficit of classes",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    citations=("feng2022",),
)
