"""Layers as channels: do the bits that a network passes on before training tell how well it will train.

Weng et al. 2022, arXiv:2212.01744, find that mutual information is largest where networks start at an
isometry. Bits are those of the linearised map from the input to the last hidden layer, at equal power or at
fixed noise. Asked of perceptrons and, at the larger preset, of convolutional networks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn
from torch.nn import functional as F

from phasescope import data as datasets
from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers.related.shared import STUDY, Images, digits, first, of_network
from phasescope.papers.small_networks import accuracy, perceptron, train
from phasescope.signal import spectra
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import legend
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, undetermined
from phasescope.studies.samples import mean
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

SNR = 100.0
KINDS = ("Gaussian", "orthogonal")
_CONVOLUTIONAL = "convolutional"
_SIDE = 8  # pixels of the pictures that convolutional networks see


class ChannelSettings(Settings):
    """Sizes of the networks, and how long they are trained."""

    depth: int = 16  # hidden layers
    width: int = 64
    scales: tuple[float, ...] = (0.7, 0.9, 1.0, 1.2, 1.6, 2.5)  # sigma_w, for each kind of weights
    seeds: int = 4
    steps: int = 100  # of Adam
    rate: float = 1e-3
    batch: int = 64
    inputs: int = 8  # at which the derivative is taken
    convolutional: int = 0  # seeds of convolutional networks, of the same depth
    channels: int = 8


QUICK = ChannelSettings()
PAPER = ChannelSettings(seeds=8, inputs=16, convolutional=5)

VARIABLES = {
    "bits": Variable(("network",), "bits a direction at equal power, before training", "bit"),
    "raw": Variable(("network",), "bits a direction at fixed noise, before training", "bit"),
    "participation": Variable(("network",), "directions kept apart, before training", "directions"),
    "accuracy": Variable(("network",), "accuracy on test images after training"),
}


def pictures(place: str) -> Images:
    """Return digits of scikit-learn, or MNIST at half the resolution where its folder is named."""
    return first(datasets.mnist, place, 6000, 2000, 2) if place else digits()


def planes(images: Images) -> Images:
    """Return such pictures as planes of 8 by 8 pixels in float32; MNIST with a rim, in blocks."""
    side = math.isqrt(images.x.shape[1])
    x, test = (each.float().reshape(-1, 1, side, side) for each in (images.x, images.x_test))
    if side > _SIDE:
        empty = float(x.min())
        x, test = (F.avg_pool2d(F.pad(each, [1] * 4, value=empty), 2) for each in (x, test))
        x, test = (x - x.mean()) / x.std(), (test - x.mean()) / x.std()
    return Images(x, images.y, test, images.y_test)


def tasks(config: Any) -> list[Task]:
    """Return one task for each seed; its networks differ in scale and kind of their weights."""
    settings: ChannelSettings = config.channel
    known = settings.model_dump(exclude={"seeds", "convolutional", "channels"})
    known |= {"scales": list(settings.scales), "mnist": config.mnist, "seed": config.seed}
    seconds = 2 * len(settings.scales) * settings.depth * (settings.steps * 3e-4 + settings.inputs * 4e-3)
    made = [
        Task(STUDY, "channel", {**known, "number": number}, seconds=seconds, memory=400_000_000)
        for number in range(settings.seeds)
    ]
    # "width" counts channels there.
    known |= {"net": _CONVOLUTIONAL, "width": settings.channels}
    size = settings.depth * settings.channels**2 / 1024
    seconds = len(settings.scales) * len(KINDS) * size * (settings.steps * 2.2e-2 + settings.inputs * 3e-2)
    return made + [
        Task(STUDY, "channel", {**known, "number": number}, seconds=seconds, memory=600_000_000)
        for number in range(settings.convolutional)
    ]


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return bits and participation of networks at initialisation, and their accuracy after training."""
    known = task.parameters
    flat = "net" not in known
    images = pictures(known["mnist"]) if flat else planes(pictures(known["mnist"]))
    found: dict[str, list[float]] = {name: [] for name in VARIABLES}
    for scale in known["scales"]:
        for kind in KINDS:
            build = network if flat else convolutional
            model = build(images, known["depth"], known["width"], scale, kind, task.seed)
            # The read-out is left out, and the Flatten before it.
            head, x = nn.Sequential(*list(model)[: -1 if flat else -2]), images.x[: known["inputs"]]
            last = spectra(head, x, snr=SNR, samples=len(x)).dataset.isel(layer=-1)
            found["bits"].append(float(last["bits"]))
            found["participation"].append(float(last["participation"]))
            found["raw"].append(_raw(head, x))
            adam = torch.optim.Adam(model.parameters(), lr=known["rate"])
            sizes = {"batch": known["batch"], "seed": task.seed}
            train(model, images.x, images.y, adam, known["steps"], **sizes)
            found["accuracy"].append(accuracy(model, images.x_test, images.y_test))
    return {name: np.array(values) for name, values in found.items()}


def network(images: Images, depth: int, width: int, scale: float, kind: str, seed: int) -> nn.Sequential:
    """Return a tanh network of hidden layers and a read-out, weights Gaussian or orthogonal."""
    sizes = (images.x.shape[1], *[width] * depth, images.classes)
    model = perceptron(sizes, nn.Tanh, seed, C_W=scale**2)
    if kind == "orthogonal":
        with torch.no_grad():
            for layer in list(model)[:-1]:
                if isinstance(layer, nn.Linear):
                    nn.init.orthogonal_(layer.weight, gain=scale, generator=_generator(seed, layer))
    return model


def convolutional(
    images: Images, depth: int, channels: int, scale: float, kind: str, seed: int
) -> nn.Sequential:
    """Return a tanh network of 3 by 3 convolutions, zeros around them, and a read-out of all positions.

    Orthogonal ones act on the channels at one position: they have a middle tap alone.
    """
    generator = torch.Generator().manual_seed(seed % 2**63)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise([1, *[channels] * depth]):
        layer = nn.Conv2d(inputs, outputs, 3, padding=1)
        with torch.no_grad():
            layer.weight.normal_(0, scale / math.sqrt(9 * inputs), generator=generator)
            if kind == "orthogonal":
                middle = nn.init.orthogonal_(torch.empty(outputs, inputs), scale, generator)
                layer.weight.zero_()
                layer.weight[:, :, 1, 1] = middle
            nn.init.zeros_(layer.get_parameter("bias"))
        layers += [layer, nn.Tanh()]
    units = channels * images.x[0, 0].numel()
    return nn.Sequential(
        *layers, nn.Flatten(), *perceptron((units, images.classes), nn.Tanh, seed, C_W=scale**2).float()
    )


def _generator(seed: int, layer: nn.Linear) -> torch.Generator:
    # Its own for each layer, from the Gaussian weights that were there.
    drawn = int(layer.weight.detach()[0, 0].abs() * 2**40)
    return torch.Generator().manual_seed((seed + drawn) % 2**63)


def _raw(head: nn.Sequential, x: torch.Tensor) -> float:
    """Return bits a direction where the noise at the output is fixed and the input has unit power."""
    few = x[0].numel() < head(x[:1]).numel()
    jacobians = torch.func.vmap((torch.func.jacfwd if few else torch.func.jacrev)(head))(x)
    singular = torch.linalg.svdvals(jacobians.detach().reshape(len(x), -1, x[0].numel()))
    return float(0.5 * torch.log2(1 + SNR * singular.square()).mean())


@dataclass(frozen=True)
class Networks:
    """What the networks of one architecture give together, over all seeds."""

    data: xr.Dataset
    bits: Estimate  # rank correlation with accuracy
    above: Estimate  # the same where sigma_w is 1 or more, so that the signal does not decay
    raw: Estimate
    participation: Estimate
    isometry: Estimate  # bits of orthogonal weights less those of Gaussian ones


@dataclass(frozen=True)
class Numbers:
    """Both architectures; of convolutional networks there may be none."""

    scales: tuple[float, ...]
    images: str
    perceptrons: Networks
    convolutional: Networks

    @property
    def shown(self) -> dict[str, Networks]:
        """What was trained, by its name."""
        both = {"perceptron": self.perceptrons, _CONVOLUTIONAL: self.convolutional}
        return {name: found for name, found in both.items() if found.data.sizes["task"]}


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    of = [_networks(of_network(data, name), config.channel.scales) for name in ("", _CONVOLUTIONAL)]
    return Numbers(config.channel.scales, "MNIST" if config.mnist else "digits of scikit-learn", *of)


def _networks(data: xr.Dataset, each: tuple[float, ...]) -> Networks:
    reached = data["accuracy"].values
    scales = np.repeat(each, len(KINDS))

    def order(name: str, least: float = 0.0) -> Estimate:
        pairs = zip(data[name].values[:, scales >= least], reached[:, scales >= least], strict=True)
        found = [spearmanr(x, y).statistic for x, y in pairs]
        return mean(found, "rank correlation with accuracy, mean over seeds")

    bits = data["bits"].values.reshape(len(reached), len(each), len(KINDS))
    gained = (bits[..., 1] - bits[..., 0]).mean(axis=1)
    isometry = mean(gained, "orthogonal less Gaussian, mean over seeds")
    return Networks(data, order("bits"), order("bits", 1.0), order("raw"), order("participation"), isometry)


def claims(n: Numbers) -> list[Check]:
    why = "" if _CONVOLUTIONAL in n.shown else "these settings train no convolutional networks"
    asked = _claims(n.convolutional, "convolutional-", "In convolutional networks: ", len(n.scales))
    return _claims(n.perceptrons, "", "", len(n.scales)) + undetermined(asked, why)


def _claims(n: Networks, name: str, where: str, scales: int) -> list[Check]:
    rule = "Rank correlation over {} networks. Agrees 3 errors beyond the limit, which was chosen here."
    rule = rule.format(len(KINDS) * scales)
    return [
        Claim(
            f"{name}isometry",
            f"{where}Orthogonal weights pass on more bits at equal power than Gaussian ones of the same "
            "variance.",
            "arXiv:2212.01744",
        ).positive(n.isometry),
        Claim(
            f"{name}equal-power",
            f"{where}Bits at equal power before training order the accuracies afterwards: correlation above "
            "0.6.",
        ).positive(n.bits - 0.6, note=f"Shown is the correlation less 0.6. {rule}"),
        Claim(
            f"{name}equal-power-from-critical",
            f"{where}They do among networks whose signal does not decay, with sigma_w of 1 or more.",
        ).positive(
            n.above - 0.6,
            note="Shown is the correlation less 0.6. Asked after the result of all perceptrons had been "
            "seen: at equal power the decay of the signal below the critical scale does not count.",
        ),
        Claim(
            f"{name}fixed-noise",
            f"{where}Bits at fixed noise do not, as they grow with the weights: correlation below 0.3.",
        ).below(0.3, n.raw, note=rule),
    ]


def tables(n: Numbers) -> list[Table]:
    columns = ["sigma_w", "weights", "bits, equal power", "bits, fixed noise", "directions", "accuracy"]
    made = []
    for name, found in n.shown.items():
        rows = []
        for index, (scale, kind) in enumerate((scale, kind) for scale in n.scales for kind in KINDS):
            cells = [str(mean(found.data[each].values[:, index], each)) for each in VARIABLES]
            rows.append([f"{scale:g}", kind, *cells])
        made.append(Table(f"{name.capitalize()} networks before and after training", columns, rows))
    return made


def notes(n: Numbers) -> list[str]:
    full = 0.5 * math.log2(1 + SNR)
    return [
        "Bits are those of the linearised map from the input to the last hidden layer, not mutual "
        f"information; at equal power an isometry has the most, {full:.2f} at the signal to noise ratio of "
        f"{SNR:g} that was chosen here, as were the networks, 100 steps of Adam and the limits 0.6 and 0.3. "
        f"The participation of the derivative orders the accuracies with {n.perceptrons.participation}.",
        f"Images: {n.images}. Convolutional networks, where trained, have 3 by 3 taps and see 8 by 8 pixels "
        "with zeros around each layer; a direction is one of the 64 of the whole picture, a row all channels "
        "at all positions. Their orthogonal weights have a middle tap alone.",
    ]


def draw_equal_power(axes: Axes, numbers: Numbers, name: str) -> None:
    n = numbers.shown[name]
    _scatter(axes, n, "bits")
    axes.axvline(0.5 * math.log2(1 + SNR), color=plotting.THEORY, label="isometry")
    axes.set(title=f"Equal power: {n.bits}", xlabel="bits a direction", ylabel="accuracy after training")
    legend(axes)


def draw_fixed_noise(axes: Axes, numbers: Numbers, name: str) -> None:
    n = numbers.shown[name]
    _scatter(axes, n, "raw")
    axes.set(title=f"Fixed noise: {n.raw}", xlabel="bits a direction", ylabel="accuracy after training")
    axes.set_xscale("log")


def _scatter(axes: Axes, n: Networks, name: str) -> None:
    x, y = (n.data[each].values.reshape(-1, len(KINDS)) for each in (name, "accuracy"))
    for column, (kind, marker) in enumerate(zip(KINDS, "o^", strict=True)):
        face = plotting.MEASURED if column else "none"
        axes.plot(x[:, column], y[:, column], marker, ms=4.5, mfc=face, color=plotting.MEASURED, label=kind)


def figures(n: Numbers) -> list[Panels]:
    caption = (
        "Accuracy after 100 steps of Adam against the bits that a network passes on before it, linearised. "
        "Left, at equal power; right, at fixed noise, where chaos has most. Titles: rank correlations."
    )
    draw = (draw_equal_power, draw_fixed_noise)
    return [
        Panels(
            f"channel-{name}" if number else "channel",
            f"{name.capitalize()} networks. {caption}",
            [partial(each, name=name) for each in draw],
        )
        for number, name in enumerate(n.shown)
    ]


CHANNEL = Part(
    name="channel",
    title="Channels: bits over depth",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    citations=("weng2022",),
)
