"""The rank that layers need on their inputs, over label noise, beside the test error.

Networks that generalise are to be compressible (arXiv:2001.05070). Its bound is not measured here, only the
order: the rank at which each layer's own output changes by 10 %, summed over layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

from phasescope import plotting
from phasescope.data import fashion_mnist
from phasescope.papers.related.shared import STUDY, Images, digits, first
from phasescope.papers.small_networks import accuracy, perceptron, train
from phasescope.structure import tolerated_rank
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import legend
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen
from phasescope.studies.samples import mean
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

_PAPER = "arXiv:2001.05070"
_RATE, _BATCH, _C_W = 3e-3, 200, 1 / 3
_TOLERANCE = 0.1
_IMAGES = 5000  # of Fashion-MNIST


class ToleratedRankSettings(Settings):
    """Sizes of the networks, and the shares of labels that are drawn at random."""

    noise: tuple[float, ...] = (0.0, 0.1, 0.2, 0.4, 0.7, 1.0)
    networks: int = 3
    steps: int = 2000


QUICK = ToleratedRankSettings()
PAPER = ToleratedRankSettings(networks=10, steps=4000)

VARIABLES = {
    "rank": Variable(("layer",), "rank within 10 % on the layer's inputs"),
    "weights": Variable(("layer",), "rank within 10 % on the weights alone"),
    "shuffled": Variable(("layer",), "rank within 10 % of shuffled weights on the same inputs"),
    "untrained": Variable(("layer",), "rank within 10 % on the layer's inputs before training"),
    "training": Variable((), "share of training images with another answer than their label"),
    "error": Variable((), "share of test images named wrong"),
}


def tasks(config: Any) -> list[Task]:
    """Return one task a network."""
    settings: ToleratedRankSettings = config.tolerated_rank
    data = "fashion-mnist" if config.fashion_mnist else "digits"
    seconds = settings.steps * (4e-3 if config.fashion_mnist else 1.2e-3) + 1
    return [
        Task(
            STUDY,
            "tolerated-rank",
            {
                **{"data": data, "folder": config.fashion_mnist, "noise": noise, "number": number},
                **{"steps": settings.steps, "seed": config.seed},
            },
            seconds=seconds,
            memory=400_000_000,
        )
        for number in range(settings.networks)
        for noise in settings.noise
    ]


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return the ranks and the test error of a network trained with some labels drawn at random."""
    known = task.parameters
    data = digits(known["number"])
    if known["data"] == "fashion-mnist":
        data = first(fashion_mnist, known["folder"], _IMAGES, _IMAGES)
    generator = torch.Generator().manual_seed(task.seed % 2**63)
    y, some = data.y.clone(), round(known["noise"] * len(data.y))
    drawn = torch.randperm(len(y), generator=generator)[:some]
    y[drawn] = torch.randint(data.classes, (some,), generator=generator)
    hidden = 64 if known["data"] == "digits" else 128
    model = perceptron((data.x.shape[1], hidden, hidden, data.classes), nn.ReLU, task.seed, C_W=_C_W)
    before = _ranks(model, data)
    optimiser = torch.optim.Adam(model.parameters(), lr=_RATE)
    train(model, data.x, y, optimiser, known["steps"], batch=_BATCH, seed=task.seed)
    after = _ranks(model, data)
    return {
        "rank": [one.rank.value for one in after],
        "weights": [one.weights for one in after],
        "shuffled": [float(one.shuffled.mean()) for one in after],
        "untrained": [one.rank.value for one in before],
        "training": 1 - accuracy(model, data.x, y),
        "error": 1 - accuracy(model, data.x_test, data.y_test),
    }


def _ranks(model: nn.Sequential, data: Images) -> list[Any]:
    found, x = [], data.x
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, nn.Linear):
                found.append(tolerated_rank(layer, x, tolerance=_TOLERANCE))
            x = layer(x)
    return found


@dataclass(frozen=True)
class Numbers:
    """The data by network and share of random labels: arrays (networks, shares), with a layer behind."""

    noise: np.ndarray
    values: dict[str, np.ndarray]
    name: str

    def sums(self, name: str) -> np.ndarray:
        """Return ranks summed over the layers, (networks, shares)."""
        return np.asarray(self.values[name].sum(axis=2))

    def order(self, name: str) -> np.ndarray:
        """Return the rank correlation of the test error with summed ranks, of each network."""
        pairs = zip(self.values["error"], self.sums(name), strict=True)
        return np.array([spearmanr(error, ranks).statistic for error, ranks in pairs])


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    noise = np.unique(data["noise"].values)
    each = [chosen(data, noise=share).sortby("number") for share in noise]
    values = {name: np.stack([one[name].values.astype(float) for one in each], axis=1) for name in VARIABLES}
    return Numbers(noise, values, "Fashion-MNIST" if config.fashion_mnist else "digits")


def claims(n: Numbers) -> list[Check]:
    """Return whether ranks order networks by their test error, and where a low rank comes from."""
    rank, shuffled = n.values["rank"][:, 0], n.values["shuffled"][:, 0]  # true labels: (networks, layer)
    by_inputs, by_weights = n.order("rank"), n.order("weights")
    return [
        Claim(
            "order",
            "Over label noise the test error grows with the rank that the layers need on their inputs: "
            "rank correlation above 0.9.",
            f"{_PAPER}; the order, not its bound",
        ).positive(mean(by_inputs - 0.9, "Spearman's correlation - 0.9"), note=_few(n)),
        Claim(
            "inputs-tell-more",
            "The rank on the inputs orders the test error better than that of the weights.",
        ).positive(mean(by_inputs - by_weights, "difference of the correlations"), note=_few(n)),
        Claim("noise-costs-rank", "Random labels need a higher rank than true ones.").positive(
            mean(n.sums("rank")[:, -1] - n.sums("rank")[:, 0], "difference of the summed ranks")
        ),
        Claim(
            "first-layer-learned",
            "True labels: the first layer's rank is below half that of shuffled weights on the same inputs.",
        ).positive(mean(shuffled[:, 0] / 2 - rank[:, 0], "half the shuffled rank minus the rank")),
        Claim(
            "second-layer-inputs",
            "True labels: the second layer's rank is that of shuffled weights, so it lies in its inputs.",
        ).equals(
            0.0,
            mean(shuffled[:, 1] - rank[:, 1], "shuffled rank minus the rank"),
            allowance=2.0,
            note="Two ranks are allowed, chosen here.",
        ),
        Claim("untrained", "Training on true labels lowers the summed rank.").positive(
            mean(n.values["untrained"][:, 0].sum(axis=1) - rank.sum(axis=1), "before minus after")
        ),
    ]


def _few(n: Numbers) -> str:
    return f"Over {len(n.noise)} shares of random labels, for each of {len(n.values['error'])} networks."


def tables(n: Numbers) -> list[Table]:
    columns = ("random labels", "test error", "on inputs", "sum", "weights alone", "shuffled", "not learned")
    rows = []
    for at, share in enumerate(n.noise):
        layers = [
            ", ".join(f"{x:.0f}" for x in n.values[k][:, at].mean(0)) for k in ("rank", "weights", "shuffled")
        ]
        total = mean(n.sums("rank")[:, at], "mean over networks")
        error, left = (100 * float(n.values[k][:, at].mean()) for k in ("error", "training"))
        rows.append((f"{share:.0%}", f"{error:.0f} %", layers[0], str(total), *layers[1:], f"{left:.1f} %"))
    return [Table(f"Ranks within 10 % by layer, mean over networks, {n.name}", columns, rows)]


def notes(n: Numbers) -> list[str]:
    return [
        "Chosen here: ReLU networks with two hidden layers, Adam at 0.003 on batches of 200, initial weights "
        "of variance 1/(3 fan-in), a tolerance of 10 % in root mean square, five shuffles.",
        "No bound on the test error is computed: only the order of the networks is compared.",
    ]


def draw_order(axes: Axes, n: Numbers) -> None:
    error = n.values["error"]
    rows = (("rank", plotting.MEASURED, "on inputs"), ("weights", plotting.THEORY, "weights alone"))
    for name, colour, label in rows:
        axes.plot(n.sums(name).ravel(), 100 * error.ravel(), "o", ms=4, color=colour, label=label)
    axes.set(title="Rank and test error", xlabel="rank, summed over layers", ylabel="test error in %")
    legend(axes)


def draw_layers(axes: Axes, n: Numbers) -> None:
    styles = (("rank", plotting.MEASURED, "on inputs"), ("shuffled", plotting.INK, "shuffled weights"))
    for layer, mark in ((0, "o"), (1, "s")):
        for name, colour, label in styles:
            found = [mean(n.values[name][:, at, layer], "") for at in range(len(n.noise))]
            y, bars = [one.value for one in found], [one.error for one in found]
            text = f"layer {layer + 1}, {label}"
            axes.errorbar(100 * n.noise, y, bars, fmt=f"{mark}-", ms=4, lw=1, color=colour, label=text)
    axes.set(title="Where the rank comes from", xlabel="random labels in %", ylabel="rank", ylim=(0, None))
    legend(axes)


def figures(n: Numbers) -> list[Panels]:
    caption = (
        "Left: test error against the rank that all layers need, one point a network. Right: the first two "
        "layers over label noise, beside shuffled weights on the same inputs: far below them the low rank is "
        "learned, beside them it is that of the inputs."
    )
    return [Panels("tolerated-rank", caption, [draw_order, draw_layers])]


TOLERATED_RANK = Part(
    name="tolerated-rank",
    title="Tolerated rank and the test error",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    citations=("li2020tensor",),
)
