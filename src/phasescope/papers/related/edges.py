"""Which connections can go: gates on the edges of trained networks, first order, second order and exact.

Yuan et al. (arXiv:2008.08261) put a number on each edge of a network and learn it. In a network that is
trained already that number is 1, and what its derivatives say of the edge's removal is asked here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional as F

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers.related.shared import STUDY, colours, digits
from phasescope.papers.small_networks import VisionTransformer, convnet, train
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import legend
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen, undetermined
from phasescope.studies.samples import mean
from phasescope.sweep.task import Task
from phasescope.synapses import edges as gated

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

_WORK = "arXiv:2008.08261"
_KINDS = {"blocks": "residual blocks", "heads": "heads and branches of a transformer"}
_COLOURED = {"channels": "channels of a convolutional network", "vit": "heads of a vision transformer"}
_DATA = ("training data", "test data")
_ORDERS = {"first": "first order", "second": "second order", "path": "path integral"}
_SECOND, _PATH = 0.6, 0.95  # rank correlations that the claims ask for


class EdgesSettings(Settings):
    """Sizes of the networks and how many of them are trained."""

    seeds: int = 4
    width: int = 32  # of the residual blocks
    blocks: int = 8  # edges of either network
    steps: int = 600  # of Adam, batches of 128
    rate: float = 4e-3
    samples: int = 128  # of training and of test data that the edges are removed on
    colour_seeds: int = 0  # of the networks for colour images
    colour_images: int = 512  # that they are trained on
    colour_steps: int = 400
    colour_samples: int = 128


QUICK = EdgesSettings()
PAPER = EdgesSettings(seeds=24, samples=256, colour_seeds=4)

_CHANGES = ("data", "edge")
VARIABLES = {
    "loss": Variable(("data",), "loss with all edges"),
    "accuracy": Variable(("data",), "accuracy with all edges"),
    "change": Variable(_CHANGES, "change of the loss without the edge"),
    **{name: Variable(_CHANGES, f"the same by {what}") for name, what in _ORDERS.items()},
    "curve": Variable(("data", "removed"), "change of the loss, the cheapest edge next", optional=True),
    "random": Variable(("data", "draw", "removed"), "the same in random orders", optional=True),
}


def tasks(config: Any) -> list[Task]:
    """Return one task a trained network."""
    settings: EdgesSettings = config.edges
    sizes = settings.model_dump(include={"width", "blocks", "steps", "rate", "samples"})
    made = [
        Task(STUDY, "edges", {"kind": kind, **sizes, "replica": n, "seed": config.seed}, seconds=seconds)
        for kind, seconds in (("blocks", 4.0), ("heads", 8.0))
        for n in range(settings.seeds)
    ]
    own = {"images": settings.colour_images, "steps": settings.colour_steps, "rate": settings.rate}
    own |= {"samples": settings.colour_samples, "cifar10": config.cifar10, "seed": config.seed}
    seconds = 0.05 * settings.colour_steps + 0.12 * settings.colour_samples
    return made + [
        Task(STUDY, "edges", {"kind": kind, **own, "replica": n}, seconds=seconds, memory=900_000_000)
        for kind in _COLOURED
        for n in range(settings.colour_seeds if config.cifar10 else 0)
    ]


class _Channels(nn.Module):
    """ReLU with a module for each channel, so that each channel can be removed."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.each = nn.ModuleList(nn.ReLU() for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([relu(x[:, n : n + 1]) for n, relu in enumerate(self.each)], dim=1)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.as_tensor(self.branch(x))


class _Transformer(nn.Module):
    """Two rows of a digit a token; each layer has two branches and two heads."""

    def __init__(self, edges: int) -> None:
        super().__init__()
        layers = max(1, edges // 4)
        self.enter, self.place = nn.Linear(16, 16), nn.Parameter(torch.randn(4, 16) / 4)
        self.layers = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True, norm_first=True)
                for _ in range(layers)
            )
        )
        self.leave = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.enter(x.reshape(-1, 4, 16)) + self.place
        return torch.as_tensor(self.leave(self.layers(tokens).mean(dim=1)))


def measure(task: Task, device: str) -> dict[str, Any]:
    """Train one network and remove its edges, on training and on test data."""
    known = task.parameters
    edges: str | list[str] = "auto"
    model: nn.Module
    if known["kind"] in _COLOURED:
        images, count = colours(known["cifar10"]), known["images"]
        if known["kind"] == "channels":
            model = convnet((8, 16, 16), _Channels, task.seed)
            edges = [name for name, layer in model.named_modules() if type(layer) is nn.ReLU]
        else:
            model, edges = VisionTransformer(3, task.seed), "heads"
    else:
        images, count = digits(known["replica"]), None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(task.seed % 2**63)
            width, blocks = known["width"], known["blocks"]
            inner = [_Block(width) for _ in range(blocks)]
            chain = nn.Sequential(nn.Linear(64, width), *inner, nn.Linear(width, 10))
            model = (chain if known["kind"] == "blocks" else _Transformer(blocks)).double()
    model.to(device)
    x, y, x_test, y_test = (t.to(device) for t in (images.x, images.y, images.x_test, images.y_test))
    x, y = x[:count], y[:count]
    optimiser = torch.optim.Adam(model.parameters(), known["rate"], fused=True)
    train(model, x, y, optimiser, known["steps"], batch=128, seed=task.seed)
    model.eval()
    seed = task.seed % 2**31
    few = known["samples"]
    pairs = ((x[:few], y[:few]), (x_test[:few], y_test[:few]))
    both = [gated(model, F.cross_entropy, data, edges=edges, path=True, seed=seed) for data in pairs]
    curves = ("curve", "random") if edges == "auto" else ()
    names = ("change", *_ORDERS, *curves, "accuracy")
    found: dict[str, Any] = {name: np.stack([getattr(each, name) for each in both]) for name in names}
    return found | {"loss": np.array([each.loss.value for each in both])}


@dataclass(frozen=True)
class Numbers:
    """Rank correlations with exact ablation, by kind: (seeds, data) for each order, and the curves."""

    rank: Mapping[str, Mapping[str, np.ndarray]]
    data: Mapping[str, xr.Dataset]
    missing: str  # why there are no networks for colour images


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    missing = "" if config.edges.colour_seeds else "measured at the preset paper"
    missing = missing if config.cifar10 else "no folder of CIFAR-10 was named"
    kinds = (*_KINDS, *([] if missing else _COLOURED))
    by_kind = {kind: chosen(data, kind=kind).dropna("edge", how="all") for kind in kinds}
    rank = {
        kind: {name: _ranks(one["change"].values, one[name].values) for name in _ORDERS}
        for kind, one in by_kind.items()
    }
    return Numbers(rank, by_kind, missing)


def _ranks(exact: np.ndarray, other: np.ndarray) -> np.ndarray:
    found = [
        [
            spearmanr(a, b).statistic if np.ptp(a) > 0 and np.ptp(b) > 0 else math.nan
            for a, b in zip(*pair, strict=True)
        ]
        for pair in zip(exact, other, strict=True)
    ]
    return np.array(found)


def claims(n: Numbers) -> list[Check]:
    made = []
    for kind, words in _KINDS.items():
        made += _ranked(kind, words, n)
        sentence = f"Half of the {words} cost less in greedy than in random order."
        rule = "Test data: random minus greedy, in standard deviations over 20 random orders."
        gain = mean(_gain(n.data[kind]), "over networks")
        made.append(Claim(f"order-{kind}", sentence).positive(gain, note=rule))
    for kind, words in _COLOURED.items():
        made += undetermined(_ranked(kind, words, n), n.missing)
    return made


def _ranked(kind: str, words: str, n: Numbers) -> list[Check]:
    def over(values: np.ndarray) -> Estimate:
        return mean(values, "over networks") if kind in n.rank else Estimate.not_determined(n.missing)

    nothing = np.full((1, len(_DATA)), math.nan)
    first, second, path = (n.rank.get(kind, {}).get(name, nothing) for name in _ORDERS)
    made = []
    rule = f"Rank correlation with exact ablation, less {_SECOND:g}."
    for place, data in enumerate(_DATA):
        name, sentence = f"second-{kind}-{data.split()[0]}", f"Second order ranks {words}, on {data}."
        made.append(Claim(name, sentence).positive(over(second[:, place] - _SECOND), note=rule))
    rule = f"Rank correlation with exact ablation, less {_PATH:g}, the lesser of both data."
    least = over(path.min(axis=1) - _PATH)
    made.append(Claim(f"path-{kind}", f"The path integral ranks {words}.").positive(least, note=rule))
    sentence = f"At a minimum first order ranks {words} worse than second order does."
    rule = "Difference of the rank correlations, on training data."
    more = over(second[:, 0] - first[:, 0])
    return [*made, Claim(f"first-{kind}", sentence).positive(more, note=rule)]


def _gain(data: xr.Dataset) -> np.ndarray:
    half = data.sizes["removed"] // 2
    random, curve = data["random"].values[:, 1, :, half], data["curve"].values[:, 1, half]
    return np.asarray((random.mean(axis=1) - curve) / random.std(axis=1, ddof=1))


def tables(n: Numbers) -> list[Table]:
    rows = []
    for kind, one in n.data.items():
        words = (_KINDS | _COLOURED)[kind]
        for place, data in enumerate(_DATA):
            ranks = [str(mean(n.rank[kind][name][:, place], "over networks")) for name in _ORDERS]
            loss, share = (one[name].values[:, place].mean() for name in ("loss", "accuracy"))
            rows.append([words, data, f"{loss:.2g}", f"{100 * share:.1f} %", *ranks])
    return [
        Table(
            "Rank correlation with exact ablation",
            ["edges", "data", "loss", "accuracy", *_ORDERS.values()],
            rows,
        )
    ]


def notes(n: Numbers) -> list[str]:
    return [
        f"{_WORK} learns a number on each edge during training, at the scale of ImageNet. That is not "
        "repeated here, and the paper claims nothing about the orders that are compared.",
        "Chosen here: digits of scikit-learn, perceptrons of residual blocks, transformers of two layers "
        "with two heads each, Adam, the thresholds 0.6 and 0.95, and greedy removal, which tries the three "
        "cheapest edges at each step.",
        "For colour images: a subset of CIFAR-10 stored with loss, at 16 by 16 pixels, 512 images learned by "
        "heart in 400 steps; three convolutions of 8, 16 and 16 channels, and three layers of a transformer "
        "of width 32 with four heads each, on 16 patches. Orders of removal are not drawn there.",
    ]


def _draw_orders(axes: Axes, n: Numbers) -> None:
    one = n.data["blocks"]
    exact = one["change"].values[:, 0].ravel()
    axes.plot(exact, exact, color=plotting.INK, lw=0.8)
    for name, mark, colour in (("first", "o", plotting.THEORY), ("second", "s", plotting.MEASURED)):
        axes.plot(
            exact, one[name].values[:, 0].ravel(), mark, ms=4, mfc="none", color=colour, label=_ORDERS[name]
        )
    axes.set(title="Blocks, training data", xlabel="change of the loss, exact", ylabel="predicted")
    axes.set_xscale("symlog", linthresh=1e-3)
    axes.set_yscale("symlog", linthresh=1e-3)
    legend(axes)


def _draw_curves(axes: Axes, n: Numbers) -> None:
    one = n.data["blocks"]
    removed = np.arange(one.sizes["removed"])
    curve, random = one["curve"].values[:, 1].mean(axis=0), one["random"].values[:, 1]
    null, sd = random.mean(axis=(0, 1)), random.std(axis=1, ddof=1).mean(axis=0)
    axes.fill_between(removed, null - sd, null + sd, color=plotting.THEORY, alpha=0.25, lw=0)
    axes.plot(removed, null, color=plotting.THEORY, label="random order")
    axes.plot(removed, curve, "s-", ms=3, color=plotting.MEASURED, label="cheapest next")
    axes.set(title="Blocks, test data", xlabel="blocks removed", ylabel="change of the loss")
    legend(axes)


def figures(n: Numbers) -> list[Panels]:
    caption = (
        "Left: change of the loss predicted from the derivatives of a gate, against the change when the "
        "block is removed; second order ranks the blocks and stays below the change. Right: blocks removed "
        "one after the other, mean over networks; band, standard deviation of random orders."
    )
    return [Panels("edges", caption, [_draw_orders, _draw_curves])]


EDGES = Part(
    name="edges",
    title="Which connections can go",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    ragged=("edge",),
    citations=("yuan2020", "lecun1990"),
)
