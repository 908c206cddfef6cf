"""Deep graph persistence of trained networks beside that of their shuffled weights.

The published persistence of a network is to be more than a measure of the spread of its weights
(arXiv:2307.10865). Here it stands beside networks whose weights are permuted within each layer, and beside
the persistence of the ranks of the weights, whose shuffled value depends on the shapes alone.
At the larger preset convolutional networks are asked too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from phasescope import plotting
from phasescope.data import mnist
from phasescope.estimate import Estimate
from phasescope.papers.related.shared import STUDY, Images, digits, first, of_network
from phasescope.papers.small_networks import accuracy, perceptron, pooled_convnet, train
from phasescope.structure import persistence
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen, undetermined
from phasescope.studies.samples import mean
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

_PAPER = "arXiv:2307.10865"
_RATE, _BATCH = 3e-3, 200
_SMALL, _LARGE = 1 / 3, 2.0  # C_W: what torch draws by default, and the critical one of ReLU
_KINDS = (("true", _SMALL), ("random", _SMALL), ("true", _LARGE))
_NAMES = {
    ("true", _SMALL): "true labels",
    ("random", _SMALL): "random labels",
    ("true", _LARGE): "true labels, C_W = 2",
}


_CONVOLUTIONAL = "convolutional"


class PersistenceSettings(Settings):
    """Sizes of the networks and of the null."""

    networks: int = 3  # of each kind
    steps: int = 2000
    shuffles: int = 99
    convolutional: int = 0  # convolutional networks, on true labels
    convolutional_steps: int = 500


QUICK = PersistenceSettings(shuffles=49)
PAPER = PersistenceSettings(networks=10, convolutional=10)

VARIABLES = {
    "z": Variable(("variant",), "deep persistence, standard deviations from shuffled weights"),
    "explained": Variable(("variant",), "mean of shuffled weights over the deep persistence"),
    "layers": Variable(
        ("layer",), "persistence of the ranks of one layer, standard deviations from shuffles"
    ),
    "layer_explained": Variable(("layer",), "mean of shuffled weights over the published value of one layer"),
    "untrained": Variable(("variant",), "z before training"),
    "accuracy": Variable((), "share of training images named right"),
    "test": Variable((), "share of test images named right"),
}


def tasks(config: Any) -> list[Task]:
    """Return one task a network."""
    settings: PersistenceSettings = config.persistence
    data = "mnist" if config.mnist else "digits"
    seconds = settings.steps * (3e-3 if config.mnist else 1e-3) + settings.shuffles * (
        0.15 if config.mnist else 0.02
    )
    made = []
    for number in range(settings.networks):
        for labels, C_W in _KINDS:
            known = {"data": data, "folder": config.mnist, "labels": labels, "C_W": C_W, "number": number}
            known |= {"steps": settings.steps, "shuffles": settings.shuffles, "seed": config.seed}
            made.append(Task(STUDY, "persistence", known, seconds=seconds, memory=300_000_000))
    known = {"data": data, "folder": config.mnist, "labels": "true", "C_W": _SMALL, "net": _CONVOLUTIONAL}
    known |= {"steps": settings.convolutional_steps, "shuffles": settings.shuffles, "seed": config.seed}
    seconds = settings.convolutional_steps * (2e-2 if config.mnist else 7e-3) + settings.shuffles * 0.02
    return made + [
        Task(STUDY, "persistence", {**known, "number": number}, seconds=seconds, memory=400_000_000)
        for number in range(settings.convolutional)
    ]


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return how far the persistence of a network is from that of its shuffled weights."""
    known = task.parameters
    data = digits(known["number"])
    if known["data"] == "mnist":
        data = first(mnist, known["folder"], 5000, 5000, 2 if "net" in known else 1)
    y = data.y
    if known["labels"] == "random":
        generator = torch.Generator().manual_seed(task.seed % 2**63)
        y = torch.randint(data.classes, (len(y),), generator=generator)
    if "net" in known:
        data = _planes(data)
        model = pooled_convnet(data.x.shape[-1], data.classes, task.seed, known["C_W"])
    else:
        hidden = 100 if known["data"] == "mnist" else 64
        sizes = (data.x.shape[1], hidden, hidden, data.classes)
        model = perceptron(sizes, nn.ReLU, task.seed, C_W=known["C_W"])
    before = _persistences(model, known["shuffles"])
    optimiser = torch.optim.Adam(model.parameters(), lr=_RATE)
    train(model, data.x, y, optimiser, known["steps"], batch=_BATCH, seed=task.seed)
    after = _persistences(model, known["shuffles"])
    return {
        "z": [one.z.value for one in after],
        "explained": [one.explained for one in after],
        "layers": [one.z.value for one in after[0].layers],
        "layer_explained": [one.explained for one in after[1].layers],
        "untrained": [one.z.value for one in before],
        "accuracy": accuracy(model, data.x, y),
        "test": accuracy(model, data.x_test, data.y_test),
    }


def _planes(images: Images) -> Images:
    """Return images as planes of 8 by 8 or, those of MNIST, 14 by 14 pixels, in float32."""
    side = math.isqrt(images.x.shape[1])
    x, test = (each.float().reshape(-1, 1, side, side) for each in (images.x, images.x_test))
    return Images(x, images.y, test, images.y_test)


def _persistences(model: nn.Sequential, shuffles: int) -> list[Any]:
    """Return that of the ranks, of balanced weights, and that of the weights as published."""
    weights = [layer.weight.detach().numpy() for layer in model if isinstance(layer, (nn.Linear, nn.Conv2d))]
    ranks = persistence(weights, "rank", balance=True, shuffles=shuffles)
    return [ranks, persistence(weights, "paper", shuffles=shuffles)]


@dataclass(frozen=True)
class Numbers:
    """The data of each kind of network; of convolutional ones there may be none."""

    data: dict[str, xr.Dataset]
    name: str  # of the images

    def of(self, kind: str, name: str, place: int | None = None) -> np.ndarray:
        """Return a variable of the networks of a kind, in their order."""
        values = self.data[kind][name].values.astype(float)
        return np.asarray(values if place is None else values[:, place])

    @property
    def shown(self) -> list[str]:
        """The kinds of which there are networks."""
        return [kind for kind, each in self.data.items() if each.sizes["task"]]


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    wide = of_network(data, "")
    kinds = {_NAMES[kind]: chosen(wide, labels=kind[0], C_W=kind[1]) for kind in _KINDS}
    kinds[_CONVOLUTIONAL] = of_network(data, _CONVOLUTIONAL)
    return Numbers(
        {kind: each.sortby("number") for kind, each in kinds.items()}, "MNIST" if config.mnist else "digits"
    )


def claims(n: Numbers) -> list[Check]:
    """Return what is beyond shuffled weights, and for which networks."""
    trained, noise, large = _NAMES.values()
    rank = n.of(trained, "z", 0)
    before = np.concatenate([n.of(kind, "untrained", 0) for kind in _NAMES.values()])
    why = "" if _CONVOLUTIONAL in n.shown else "these settings train no convolutional networks"
    return [
        *_structure(n, trained, "", ""),
        Claim(
            "read-out-explained",
            "Of the published persistence of the read-out shuffled weights account for nine tenths or more.",
        ).positive(mean(n.of(trained, "layer_explained", 2) - 0.9, "share explained minus 0.9")),
        Claim(
            "random-labels", "Learning random labels leaves more structure than learning true ones."
        ).positive(mean(n.of(noise, "z", 0) - rank, "difference of z")),
        Claim(
            "large-initial-weights",
            "From critical initial weights (C_W = 2) the same accuracy is learned with less structure.",
        ).positive(mean(rank - n.of(large, "z", 0), "difference of z")),
        Claim("untrained", "Untrained networks are wired like their shuffled weights: z below 1.").below(
            1.0, mean(before, "z before training")
        ),
        *undetermined(_structure(n, _CONVOLUTIONAL, "convolutional-", "In convolutional networks: "), why),
    ]


def _structure(n: Numbers, kind: str, name: str, where: str) -> list[Check]:
    """Return what is asked of trained networks of both architectures."""
    rank, paper = n.of(kind, "z", 0), n.of(kind, "z", 1)
    layers = n.of(kind, "layers")
    mark = "trained networks"
    return [
        Claim(
            f"{name}published-beyond-shuffled",
            f"{where}The published persistence of trained networks is 5 standard deviations beyond "
            "shuffled weights.",
            f"{_PAPER}, held against shuffled weights here",
        ).positive(mean(paper - 5, f"z - 5, {mark}"), note="The 5 were chosen here."),
        Claim(
            f"{name}ranks-beyond-shuffled",
            f"{where}The persistence of ranks is more than 5 standard deviations beyond shuffled weights.",
        ).positive(
            mean(rank - 5, f"z - 5, {mark}"), note=f"Initial weights of variance {_SMALL:.2g}/fan-in."
        ),
        Claim(
            f"{name}ranks-see-more",
            f"{where}Ranks tell trained from shuffled weights at least twice as well as the published value.",
        ).positive(mean(rank - 2 * paper, "z of ranks minus twice that as published")),
        Claim(
            f"{name}read-out",
            f"{where}The read-out is nearer to its shuffled weights than any other layer.",
        ).positive(
            mean(layers[:, :-1].min(axis=1) - layers[:, -1], "least z of the hidden layers minus its z")
        ),
    ]


def tables(n: Numbers) -> list[Table]:
    columns = ("networks", "training, test", "z, ranks", "z, published", "explained", "z by layer")
    rows = []
    for kind in n.shown:
        right = [f"{100 * float(np.mean(n.of(kind, name))):.0f} %" for name in ("accuracy", "test")]
        layers = [f"{float(np.mean(n.of(kind, 'layers', i))):.1f}" for i in range(3)]
        cells = [
            str(_mean(n, kind, "z", 0)),
            str(_mean(n, kind, "z", 1)),
            str(_mean(n, kind, "explained", 1)),
        ]
        rows.append((kind, ", ".join(right), *cells, ", ".join(layers)))
    return [Table(f"Persistence beside shuffled weights, {n.name}", columns, rows)]


def _mean(n: Numbers, kind: str, name: str, place: int) -> Estimate:
    return mean(n.of(kind, name, place), "mean over networks")


def notes(n: Numbers) -> list[str]:
    return [
        "Chosen here: ReLU networks with two hidden layers, 2,000 steps of Adam at 0.003 on batches of 200, "
        "and the null: weights permuted within each layer. Published: each layer's weights with mean 0 and "
        "variance 1, divided by the largest of all, collapsed, divided again, p = 2.",
        "Ranks are taken of balanced weights, each unit's incoming and outgoing weights of equal norm; the "
        "higher of two nulls counts, shuffles of the weights as they are and of the balanced ones.",
        "Convolutional networks, where trained: 16 and 32 channels of 3 by 3 taps, ReLU and maxima of 2 by 2 "
        "behind each, a read-out of all positions, 500 steps. A unit is a channel, and its strongest tap "
        "counts; the first layer has one input, so its tree is all of its 16 edges.",
    ]


def draw_deep(axes: Axes, n: Numbers) -> None:
    axes.axhspan(-2, 2, color=plotting.INK, alpha=0.1, lw=0)
    for place, name, colour in ((0, "ranks", plotting.MEASURED), (1, "as published", plotting.THEORY)):
        for at, kind in enumerate(n.shown):
            z = n.of(kind, "z", place)
            x = np.full(len(z), at - 0.12 + 0.24 * place)
            axes.plot(x, z, "o", ms=4, color=colour, label=name if at == 0 else None)
    axes.set_xticks(
        range(len(n.shown)), [kind.replace(", ", ",\n").replace(" labels", "\nlabels") for kind in n.shown]
    )
    axes.set(title="Whole network", ylabel="z against shuffled weights")
    legend(axes)


def draw_layers(axes: Axes, n: Numbers) -> None:
    axes.axhspan(-2, 2, color=plotting.INK, alpha=0.1, lw=0)
    for kind, colour in zip(n.shown, colours(len(n.shown)), strict=True):
        found = [_mean(n, kind, "layers", i) for i in range(3)]
        y, error = [one.value for one in found], [one.error for one in found]
        axes.errorbar([1, 2, 3], y, error, fmt="o-", ms=4, color=colour, label=kind)
    axes.set_xticks([1, 2, 3], ["1", "2", "read-out"])
    axes.set(title="Layer by layer, ranks", xlabel="layer", ylabel="z against shuffled weights")
    legend(axes)


def figures(n: Numbers) -> list[Panels]:
    caption = (
        "Left: how far the persistence of each network is from that of its shuffled weights, in standard "
        "deviations; grey, within 2. Right: layer by layer, on ranks; mean over networks with its error."
    )
    return [Panels("persistence", caption, [draw_deep, draw_layers])]


PERSISTENCE = Part(
    name="persistence",
    title="Persistence beside shuffled weights",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    citations=("girrbach2023",),
)
