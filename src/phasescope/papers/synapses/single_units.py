"""Single units beside random combinations of units: they look alike, and what that does and does not say.

Szegedy et al. (arXiv:1312.6199) found that images which excite a unit most look as meaningful as images that
excite a random direction of its layer, and concluded that meaning lies in the space and not in units. Here
both are scored: by extent for maps of a painted picture, by the purity of classes among the images of highest
value for a classifier. A score is compared by the chance that a unit, or a synapse, has the higher one (area
under the ROC curve, 0.5 when they are alike).

Then two reasons of the article for not looking at inputs of maximal excitation: they lie outside of what
valid inputs reach, and meaning can sit in the silent zone of a unit, the lower half of its values.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from phasescope import plotting
from phasescope.data import digits, mnist
from phasescope.papers.synapses import shared
from phasescope.papers.synapses.shared import ARTICLE, KINDS, STUDY, over_networks
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen
from phasescope.sweep.task import Task
from phasescope.synapses import PictureSensitivity, working_range

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

SZEGEDY = "arXiv:1312.6199"
STATES = ("trained", "untrained")  # of a classifier
SOURCES = ("units", "directions", "images at random")
HALVES = ("silent", "active")
_UNITS = 64  # of the hidden layer
_TOP = 10  # images of highest value
_DIRECTIONS = 200  # random combinations
_BINS = 8  # of equal counts in a half, for information
_COLOURS = 6  # groups of colours that a pixel may belong to
_FULLY = 0.95  # of a unit's range, up to which it has to come to be fully excited
_ALIKE = 0.1  # how far from 0.5 a comparison may lie to be called even
_BINS_OF_PURITY = np.linspace(0.1, 1.0, 10)


class SingleUnitsSettings(Settings):
    """Sizes of the measurement."""

    epochs: int = 30  # of the classifiers
    images: int = 10_000  # for training; the digits have 1437
    test: int = 5000


QUICK = SingleUnitsSettings(images=4000, test=2000)
PAPER = SingleUnitsSettings()

VARIABLES = {
    # of a picture network
    "unit_extent": Variable(("kind", "unit"), "extent of activation maps less their median", optional=True),
    "units_alike": Variable(
        ("kind",), "chance that a unit's map is more compact than a combination's", optional=True
    ),
    "synapses_alike": Variable(("kind",), "the same of synapse maps and mixtures of all", optional=True),
    "many_in_unit": Variable(("kind",), "the same of maps of synapses and units' bias maps", optional=True),
    "reached": Variable(("kind", "unit"), "largest value over what free sources could give", optional=True),
    "used": Variable(("kind", "unit"), "range of z that pixels use, of the free one", optional=True),
    # of both
    "information": Variable(("kind", "unit", "half"), "what a half says of the class", "bit", optional=True),
    # of a classifier
    "purity": Variable(("kind", "source", "bin"), "distribution of purity", optional=True),
    "mean_purity": Variable(("kind", "source"), "purity of the top images, mean", optional=True),
    "purer": Variable(("kind",), "chance that a unit is purer than a random direction", optional=True),
    "spread_purer": Variable(("kind",), "the same of a direction and chance", optional=True),
    "away": Variable(
        ("kind", "unit"), "distance of the maximising input from data over that of test images", optional=True
    ),
    "excess": Variable(
        ("kind", "unit"), "z there over the largest z of images, both less the mean", optional=True
    ),
    "accuracy": Variable((), "of the trained classifier on test images", optional=True),
}


def tasks(config: Any) -> list[Task]:
    """Return one task a picture network, and one a classifier and activation."""
    settings: SingleUnitsSettings = config.single_units
    made = [
        Task(
            STUDY,
            "single-units",
            {"of": "picture", **known, "data_set": "", "folder": "", "activation": "tanh"},
            seconds=3 + shared.training_seconds(known),
            memory=600_000_000,
        )
        for known in shared.networks(config)
    ]
    name = "mnist" if config.mnist else "digits"
    common = {"data_set": name, "folder": config.mnist, "epochs": settings.epochs, "seed": config.seed}
    common |= {"images": settings.images, "test": settings.test}
    images = settings.images if config.mnist else min(settings.images, 1437)
    seconds = 2 + settings.epochs * images * (6e-6 if config.mnist else 2e-6)
    made += [
        Task(
            STUDY,
            "single-units",
            {"of": "classifier", "activation": activation, "start": start, **common},
            seconds=seconds,
            memory=600_000_000,
        )
        for activation in ("tanh", "relu")
        for start in range(config.seeds)
    ]
    return made


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return scores of units and of combinations, ranges, and information in halves, of one network."""
    known = task.parameters
    random = np.random.default_rng(task.seed)
    if known["of"] == "classifier":
        return _of_classifier(dict(known), random)
    made = shared.trained(known)
    labels = _groups(made.target)
    rows = [_of_picture(seen, labels, random) for seen in made.kinds(task.seed)]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _groups(picture: Tensor) -> np.ndarray:
    """Return to which of a few groups of colours each pixel belongs, shape (pixels,)."""
    from sklearn.cluster import KMeans

    flat = picture.reshape(-1, picture.shape[-1]).numpy()
    return np.asarray(KMeans(_COLOURS, n_init=2, random_state=0).fit_predict(flat))


def _of_picture(seen: PictureSensitivity, labels: np.ndarray, random: np.random.Generator) -> dict[str, Any]:
    wiring = seen.net.wiring
    units = [i for i in range(wiring.units) if i not in wiring.outputs]
    values = seen.sweeps.activations[units]
    fields = values - values.median(1, keepdim=True).values
    fields = fields / fields.square().mean(1, keepdim=True).sqrt().clamp(min=1e-12)
    drawn = torch.from_numpy(random.standard_normal((_DIRECTIONS, len(units))))
    mixed = drawn @ fields
    mixed = mixed - mixed.median(1, keepdim=True).values
    unit, combined = (shared.extent(each.reshape(-1, *seen.shape, 1)).numpy() for each in (fields, mixed))
    maps = seen.sweeps.maps()
    maps = maps / maps.square().mean((1, 2), keepdim=True).sqrt().clamp(min=1e-12)
    synapse_maps, bias_maps = maps[: wiring.synapses], maps[wiring.synapses :][units]
    drawn = torch.from_numpy(random.standard_normal((_DIRECTIONS, wiring.synapses)))
    blends = torch.einsum("ks,scp->kcp", drawn, synapse_maps)

    def extent_of(rows: Tensor) -> np.ndarray:
        return shared.extent(rows.transpose(1, 2).reshape(len(rows), *seen.shape, -1)).numpy()

    single = extent_of(synapse_maps)
    working = working_range(seen.net, seen.points)
    return {
        "unit_extent": unit,
        "units_alike": auc(-unit, -combined),
        "synapses_alike": auc(-single, -extent_of(blends)),
        "many_in_unit": auc(-single, -extent_of(bias_maps)),
        "reached": working.excitation[units],
        "used": working.used[units],
        "information": _by_half(values.numpy(), labels, random),
    }


def auc(first: np.ndarray, second: np.ndarray) -> float:
    """Return the chance that a number of the first kind is larger than one of the second; ties count half."""
    differences = first[:, None] - second[None, :]
    return float(((differences > 0) + 0.5 * (differences == 0)).mean())


def _by_half(values: np.ndarray, labels: np.ndarray, random: np.random.Generator) -> list[list[float]]:
    """Return for each unit the information in bits of its lower and of its upper half about the class.

    Halves have equal counts, and in each the ranks are cut into bins of equal counts; equal values share a
    bin. What labels in random order give, which is the bias of few samples, is taken off.
    """
    return [
        [
            _information(row[half], labels[half]) - _information(row[half], random.permutation(labels[half]))
            for half in np.array_split(np.argsort(row, kind="stable"), 2)
        ]
        for row in values
    ]


def _information(values: np.ndarray, labels: np.ndarray) -> float:
    """Return the mutual information of binned values and labels in bits."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1]))
    bins = np.searchsorted(edges, values, side="right")
    joint = np.zeros((_BINS, int(labels.max()) + 1))
    np.add.at(joint, (bins, labels), 1)
    joint /= joint.sum()
    product = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    return float((joint[joint > 0] * np.log2(joint[joint > 0] / product[joint > 0])).sum())


@lru_cache(maxsize=1)
def _images(name: str, folder: str, train: int, test: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    found = digits() if name == "digits" else mnist(folder)
    x, x_test = found.x_train[:train].flatten(1), found.x_test[:test].flatten(1)
    return x.double(), found.y_train[:train], x_test.double(), found.y_test[:test]


def _of_classifier(known: dict[str, Any], random: np.random.Generator) -> dict[str, Any]:
    x, y, x_test, y_test = _images(known["data_set"], known["folder"], known["images"], known["test"])
    nets = _classifiers(known, x, y)
    guess = nets["trained"](x_test).argmax(1)
    rows = [_of_layer(net, x, x_test, y_test.numpy(), random) for net in nets.values()]
    found: dict[str, Any] = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    return found | {"accuracy": float((guess == y_test).double().mean())}


def _classifiers(known: dict[str, Any], x: Tensor, y: Tensor) -> dict[str, nn.Sequential]:
    """Return a network with one hidden layer as it was drawn, and after training; by state."""
    generator = torch.Generator().manual_seed(1000 * known["seed"] + known["start"])
    activation = nn.Tanh if known["activation"] == "tanh" else nn.ReLU
    classes = int(y.max()) + 1
    nets = {}
    for state in reversed(STATES):
        net = nn.Sequential(nn.Linear(x.shape[1], _UNITS), activation(), nn.Linear(_UNITS, classes)).double()
        nets[state] = net.requires_grad_(False)
    for layer in nets["untrained"]:
        if isinstance(layer, nn.Linear):
            layer.weight.normal_(0, (2 / layer.in_features) ** 0.5, generator=generator)
            layer.bias.zero_()
    nets["trained"].load_state_dict(nets["untrained"].state_dict())
    net = nets["trained"].requires_grad_(True)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(known["epochs"]):
        order = torch.randperm(len(x), generator=generator)
        for first in range(0, len(x), 64):
            rows = order[first : first + 64]
            optimiser.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(net(x[rows]), y[rows]))
            optimiser.step()
    net.requires_grad_(False)
    return {state: nets[state] for state in STATES}


def _of_layer(
    net: nn.Sequential, x: Tensor, x_test: Tensor, labels: np.ndarray, random: np.random.Generator
) -> dict[str, Any]:
    z = net[0](x_test)
    hidden = net[1](z)
    directions = torch.from_numpy(random.standard_normal((_UNITS, _DIRECTIONS)))
    nothing = torch.from_numpy(random.random((len(x_test), _DIRECTIONS)))
    purities = [_purity(rows, labels) for rows in (hidden, hidden @ directions, nothing)]
    edges = [0, *(_BINS_OF_PURITY + 1e-9)]
    nearest = torch.cdist(x_test, x).amin(1).median()
    inputs = _maximising(next(net.parameters()), x)
    return {
        "purity": [np.histogram(each, edges)[0] / len(each) for each in purities],
        "mean_purity": [each.mean() for each in purities],
        "purer": auc(purities[0], purities[1]),
        "spread_purer": auc(purities[1], purities[2]),
        "away": (torch.cdist(inputs, x).amin(1) / nearest).numpy(),
        "excess": ((net[0](inputs).diagonal() - z.mean(0)) / (z.amax(0) - z.mean(0))).numpy(),
        "information": _by_half(z.T.numpy(), labels, random),
    }


def _purity(values: Tensor, labels: np.ndarray) -> np.ndarray:
    """Return the share of the commonest class among the images of highest value, for each column."""
    top = values.topk(_TOP, dim=0).indices.numpy()
    return np.array([np.bincount(labels[column]).max() / _TOP for column in top.T])


def _maximising(weights: Tensor, x: Tensor) -> Tensor:
    """Return for each unit the image of ordinary norm that excites it most: along its positive weights."""
    positive = weights.clamp(min=0)
    sizes: Tensor = x.norm(dim=1).median() / positive.norm(dim=1, keepdim=True)
    return (sizes * positive).clamp(max=1)


@dataclass(frozen=True)
class Numbers:
    """Numbers of picture networks, (networks, kinds) each, and of classifiers by activation."""

    alike: dict[str, np.ndarray]
    unfilled: np.ndarray  # share of units never fully excited
    used: np.ndarray  # median share of the free range
    extent: np.ndarray  # median of unit maps
    information: np.ndarray  # (networks, kinds, halves), means over units, bits
    silent_wins: np.ndarray  # share of units whose silent half says more
    classifiers: dict[str, dict[str, np.ndarray]]
    name: str  # of the images


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    own = chosen(data, of="picture")
    information = own["information"].values[:, : len(KINDS), : shared.HIDDEN]
    reached = own["reached"].values
    classifiers = {}
    for activation in ("tanh", "relu"):
        rows = chosen(data, of="classifier", activation=activation)
        names = ("mean_purity", "purer", "spread_purer", "purity", "away", "excess")
        found = {name: rows[name].values[:, : len(STATES)] for name in names}
        found["information"] = rows["information"].values[:, : len(STATES), :_UNITS]
        found["accuracy"] = rows["accuracy"].values
        classifiers[activation] = found
    compared = ("units_alike", "synapses_alike", "many_in_unit")
    return Numbers(
        {name: own[name].values[:, : len(KINDS)] for name in compared},
        np.asarray(np.mean(reached[:, : len(KINDS), : shared.HIDDEN] < _FULLY, axis=2)),
        np.asarray(np.nanmedian(own["used"].values[:, : len(KINDS)], axis=2)),
        np.asarray(np.nanmedian(own["unit_extent"].values[:, : len(KINDS)], axis=2)),
        information.mean(2),
        np.mean(information[..., 0] > information[..., 1], axis=2),
        classifiers,
        "MNIST" if config.mnist else "the digits of scikit-learn",
    )


def claims(n: Numbers) -> list[Check]:
    """Return the observation and its explanation, then maximal excitation, then the silent zone."""
    return [*_alike_claims(n), *_excitation_claims(n), *_silent_claims(n)]


def _alike_claims(n: Numbers) -> list[Check]:
    chance = "Measured: chance that the first is more compact than the second, less 0.5."
    made = [
        Claim(
            "units-alike",
            "Activation maps of single units and of random combinations of units look alike.",
            f"{SZEGEDY}, and {ARTICLE}",
        ).equals(
            0.0,
            over_networks(n.alike["units_alike"][:, 0] - 0.5),
            allowance=_ALIKE,
            note=f"{chance} Extent of maps of hidden units less their median, and of normal combinations of "
            f"all; allowance {_ALIKE}. Untrained: {over_networks(n.alike['units_alike'][:, 1] - 0.5)}.",
        ),
        Claim(
            "synapses-differ",
            "Maps of synapses do not look like their random mixtures: there single elements are the sharper.",
            ARTICLE,
        ).positive(
            over_networks(n.alike["synapses_alike"][:, 0] - 0.5 - _ALIKE),
            note=f"{chance} Mixtures of all synapses, rms of each map 1; a further {_ALIKE} is taken off, so "
            "that zero is what counts as alike.",
        ),
        Claim(
            "synapses-differ-learned",
            "That single synapses are sharper than mixtures is learned.",
            "asked here: the article has no control",
        ).positive(
            over_networks(n.alike["synapses_alike"][:, 0] - n.alike["synapses_alike"][:, 1]),
            note=f"{chance} Trained less untrained, which has "
            f"{over_networks(n.alike['synapses_alike'][:, 1] - 0.5)}; permuted: "
            f"{over_networks(n.alike['synapses_alike'][:, 2] - 0.5)}.",
        ),
        Claim(
            "unit-blends",
            "The reason is that a unit serves several ensembles: what moves all of it moves more of the "
            "picture than one of its synapses does.",
            ARTICLE,
        ).positive(
            over_networks(n.alike["many_in_unit"][:, 0] - 0.5),
            note=f"{chance} Maps of synapses, and of hidden units' biases. Untrained: "
            f"{over_networks(n.alike['many_in_unit'][:, 1] - 0.5)}.",
        ),
    ]
    for activation, found in n.classifiers.items():
        means = found["mean_purity"].mean(0)
        made += [
            Claim(
                f"top-images-{activation}",
                f"On {n.name}, images that excite a single {activation} unit most are as much of one class "
                "as those of a random combination of units.",
                SZEGEDY,
            ).equals(
                0.0,
                over_networks(found["purer"][:, 0] - 0.5),
                allowance=_ALIKE,
                resolution=_ALIKE,
                note=f"Measured: chance that the top {_TOP} held-out images of a unit are purer, less 0.5; "
                f"allowance {_ALIKE}. Mean purity: units {means[0, 0]:.2f}, combinations {means[0, 1]:.2f}, "
                f"images at random {means[0, 2]:.2f}. Accuracy {found['accuracy'].mean():.3f}.",
            ),
            Claim(
                f"top-images-learned-{activation}",
                f"On {n.name}, that combinations of {activation} units look meaningful is learned.",
                "asked here: neither source has this control",
            ).positive(
                over_networks(found["mean_purity"][:, 0, 1] - found["mean_purity"][:, 1, 1]),
                note="Measured: mean purity of random combinations after training less that before, which is "
                f"{means[1, 1]:.2f}, against {means[1, 2]:.2f} of images at random: directions of a space in "
                "which nothing was learned look meaningful, too.",
            ),
        ]
    return made


def _excitation_claims(n: Numbers) -> list[Check]:
    tanh = n.classifiers["tanh"]
    away = np.log10(np.median(tanh["away"], axis=2))
    excess = np.median(tanh["excess"], axis=2)
    return [
        Claim(
            "never-full",
            "Valid inputs never excite some units fully.",
            f"{ARTICLE}, neuron 31",
        ).positive(
            over_networks(n.unfilled[:, 0]),
            note=f"Measured: share of hidden units whose highest value stays below {100 * _FULLY:g} % of the "
            "way from the lowest to the highest that free sources in (-1, 1) could give. Untrained: "
            f"{over_networks(n.unfilled[:, 1])}.",
        ),
        Claim(
            "range-unused",
            "Units work in a part of the range of their summed input.",
            ARTICLE,
        ).below(
            0.5,
            over_networks(n.used[:, 0]),
            note="Measured: share of the range that free sources could give, median over hidden units. "
            f"Agrees 3 errors below a half. Untrained: {over_networks(n.used[:, 1])}.",
        ),
        Claim(
            "maximal-outside",
            f"On {n.name}, the input that excites a unit most lies far from all images.",
            ARTICLE,
        ).positive(
            over_networks(away[:, 0] - np.log10(2)),
            note="Measured: distance to the nearest training image in units of that of test images, less a "
            "factor of 2, in decades; the image of ordinary norm along the positive weights of each tanh "
            f"unit, median. It excites the unit {over_networks(excess[:, 0])} times as far above its mean "
            "as any "
            f"test image. Untrained: {over_networks(away[:, 1])} decades: it is no consequence of learning.",
        ),
    ]


def _silent_claims(n: Numbers) -> list[Check]:
    rule = (
        "Measured: information in bits of the lower half of a unit's values about the class, bias taken off, "
        "mean over units."
    )
    tanh, relu = (n.classifiers[each]["information"] for each in ("tanh", "relu"))
    halves = tanh[:, 0].mean(1)
    silent, active = (over_networks(n.information[:, 0, k]) for k in (0, 1))
    return [
        Claim(
            "silent-picture",
            "Meaning can sit in the silent zone of a unit: there its value tells the colour of a pixel.",
            ARTICLE,
        ).positive(
            silent,
            note=f"{rule} Classes: {_COLOURS} groups of colours. The active half has {active}; the silent "
            f"one has more in {100 * n.silent_wins[:, 0].mean():.0f} % of units. Untrained: "
            f"{over_networks(n.information[:, 1, 0])}: a smooth function of place always tells something.",
        ),
        Claim(
            "silent-learned",
            "What the silent zone tells is learned.",
            "asked here: the article has no control",
        ).positive(
            over_networks(n.information[:, 0, 0] - n.information[:, 1, 0]),
            note="Measured: bits in the silent half, trained less untrained.",
        ),
        Claim(
            "silent-classifier",
            f"On {n.name}, the silent half of a hidden tanh unit tells as much about the digit as its active "
            "half.",
            ARTICLE,
        ).equals(
            0.0,
            over_networks(halves[:, 0] - halves[:, 1]),
            allowance=0.1,
            resolution=0.1,
            note=f"{rule} Silent less active; allowance 0.1 bit. Silent: {over_networks(halves[:, 0])}. A "
            "tanh has no silent side of its own: its weights may change sign.",
        ),
        Claim(
            "silent-relu",
            "In a ReLU unit, whose silent zone tells later layers nothing, less meaning is left there.",
            "asked here: the article has tanh alone",
        ).positive(
            over_networks(relu[:, 0, :, 1].mean(1) - relu[:, 0, :, 0].mean(1)),
            note=f"{rule} Active less silent, of z before the ReLU.",
        ),
    ]


def tables(n: Numbers) -> list[Table]:
    rows = [
        [kind]
        + [f"{n.extent[:, k].mean():.2f}"]
        + [str(over_networks(n.alike[name][:, k])) for name in n.alike]
        + [f"{100 * n.unfilled[:, k].mean():.0f} %", f"{n.used[:, k].mean():.2f}"]
        + [f"{n.information[:, k, half].mean():.2f}" for half in (0, 1)]
        for k, kind in enumerate(KINDS)
    ]
    columns = ["network", "extent of unit maps", "unit before combination", "synapse before mixture"]
    columns += ["synapse before unit", "never fully excited", "range used", "bits, silent", "bits, active"]
    made = [Table("Picture networks: chances that the first is more compact", columns, rows)]
    rows = []
    for activation, found in n.classifiers.items():
        for k, state in enumerate(STATES):
            bits = found["information"][:, k].mean((0, 1))
            rows.append(
                [activation, state]
                + [f"{value:.2f}" for value in found["mean_purity"][:, k].mean(0)]
                + [str(over_networks(found["purer"][:, k])), str(over_networks(found["spread_purer"][:, k]))]
                + [f"{np.median(found['away'][:, k]):.1f}", f"{bits[0]:.2f}", f"{bits[1]:.2f}"]
            )
    columns = ["units", "network", *(f"purity, {source}" for source in SOURCES), "unit before combination"]
    columns += ["combination before chance", "maximising input, distance", "bits, silent", "bits, active"]
    return [*made, Table(f"Classifiers of {n.name}", columns, rows)]


def notes(n: Numbers) -> list[str]:
    return [
        f"Classifiers: one hidden layer of {_UNITS} units, Adam at 0.003, batches of 64. Purity: the share "
        "of "
        f"the commonest class among the {_TOP} held-out images of highest value, out of 1. The combinations "
        "are normal ones of the same units. Silent and active halves have equally many inputs. Where people "
        "judged by eye, extent and purity were chosen here.",
    ]


def draw_alike(axes: Axes, n: Numbers) -> None:
    names = {"units_alike": "unit and\ncombination", "synapses_alike": "synapse and\nmixture"}
    names["many_in_unit"] = "synapse\nand unit"
    for k, (kind, colour) in enumerate(zip(KINDS, (plotting.MEASURED, *colours(3)[1:]), strict=True)):
        for j, name in enumerate(names):
            rows = n.alike[name][:, k]
            axes.plot(np.full(len(rows), j + 0.2 * (k - 1)), rows, "o", ms=3.5, color=colour, alpha=0.7)
        axes.plot([], [], "o", color=colour, label=kind)
    axes.axhline(0.5, color=plotting.THEORY, lw=1)
    axes.set_xticks(range(3), list(names.values()), fontsize=8)
    axes.set(title="Which map is more compact", ylabel="chance that the first is", ylim=(0, 1))
    legend(axes)


def draw_purity(axes: Axes, n: Numbers) -> None:
    found = n.classifiers["tanh"]["purity"].mean(0)
    shown = [(0, 0, "-", plotting.MEASURED), (0, 1, "-", colours(2)[1]), (1, 1, "--", colours(2)[1])]
    shown.append((0, 2, ":", plotting.INK))
    for state, source, style, colour in shown:
        label = SOURCES[source] + ("" if source == 2 else f", {STATES[state]}")
        axes.plot(_BINS_OF_PURITY, found[state, source], style, color=colour, marker="o", ms=3, label=label)
    axes.set(title=f"Top {_TOP} images, tanh", xlabel="purity", ylabel="share")
    legend(axes, fontsize=8)


def draw_halves(axes: Axes, n: Numbers) -> None:
    for activation, colour in zip(("tanh", "relu"), (plotting.MEASURED, colours(3)[2]), strict=True):
        bits = n.classifiers[activation]["information"][:, 0].reshape(-1, 2)
        axes.plot(bits[:, 0], bits[:, 1], "o", ms=2.5, color=colour, alpha=0.5, label=activation)
    top = max(axes.get_xlim()[1], axes.get_ylim()[1])
    axes.plot([0, top], [0, top], color=plotting.INK, lw=0.8)
    axes.set(title="Information about the digit", xlabel="silent half, bits", ylabel="active half, bits")
    legend(axes)


def figures(n: Numbers) -> list[Panels]:
    return [
        Panels(
            "single-units",
            "Left: the chance that the first of two kinds of map is more compact; a dot is a network. "
            "Middle: "
            f"how often the top {_TOP} images of a unit, or of a random combination, are of one class. "
            "Right: "
            "information about the digit in the lower and in the upper half of a hidden unit's values.",
            [draw_alike, draw_purity, draw_halves],
        )
    ]


SINGLE_UNITS = Part(
    name="single-units",
    title="Single units, random combinations, and inputs of maximal excitation",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    ragged=("kind", "unit"),
    citations=("ensembles2015", "szegedy2014"),
)
