"""What all parts of the study ``synapses`` share: pictures, trained networks, their controls, regions.

The article: a popular version of a talk at Neuroinformatics-2015. Its picture, its wiring of 37 neurons and
460 synapses, its training and its threshold of "strong" are not known: all of them were chosen here. A
network is known by its picture and the number of its start, whatever part asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from phasescope.data import picture
from phasescope.estimate import Estimate
from phasescope.studies import samples
from phasescope.studies.part import StudySettings
from phasescope.synapses import PictureNet, PictureSensitivity, fit, sensitivity, thinned_cascade

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STUDY = "synapses"
ARTICLE = "the article on synaptic ensembles, 2015"
HIDDEN = 34  # units of the thinned cascade before the three outputs
KINDS = ("trained", "untrained", "permuted")


class Common(StudySettings):
    """Settings that every part reads."""

    # flower, china, portrait, or picture files of the user
    pictures: Annotated[tuple[str, ...], Field(min_length=1)] = ("flower", "china", "portrait")
    seeds: Annotated[int, Field(ge=2)] = 5  # networks for each picture
    longest: Annotated[int, Field(ge=16)] = 96  # pixels of the longer side
    steps: Annotated[int, Field(ge=1)] = 100  # of Levenberg-Marquardt
    mnist: str = ""  # folder of the user's own copy; empty for the digits of scikit-learn

    @property
    def subtitle(self) -> str:
        """What the title of the page adds."""
        return "" if self.mnist else "digits of scikit-learn, as no MNIST folder was named"


def networks(config: Any) -> list[dict[str, Any]]:
    """Return what names each trained network in the parameters of a task: every picture with every seed."""
    known = {"longest": config.longest, "steps": config.steps, "seed": config.seed}
    return [
        {"picture": picture, "start": start, **known}
        for picture in config.pictures
        for start in range(config.seeds)
    ]


def training_seconds(known: Mapping[str, Any], hidden: int = HIDDEN) -> float:
    """Return about what :func:`trained` takes the first time that a worker is asked for a network."""
    pixels = 0.75 * known["longest"] ** 2
    weights = thinned_cascade(hidden).size
    return float(0.5 + known["steps"] * (pixels * weights**2 * 6e-11 + weights**3 * 3e-11))


@dataclass(frozen=True)
class Trained:
    """A network that has learned a picture."""

    net: PictureNet
    target: Tensor  # (height, width, 3), in (-1, 1)
    rmse: float

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture."""
        return self.target.shape[0], self.target.shape[1]

    @cached_property
    def sensitivity(self) -> PictureSensitivity:
        """Of the trained network."""
        return sensitivity(self.net, *self.size)

    def seen(self, net: PictureNet) -> PictureSensitivity:
        """Return the sensitivity of another network on the same grid."""
        return sensitivity(net, *self.size)

    def kinds(self, seed: int) -> list[PictureSensitivity]:
        """Return that of the trained network and of its two controls, in the order of KINDS."""
        return [self.sensitivity, self.seen(untrained(self.net, seed)), self.seen(permuted(self.net, seed))]


def trained(known: Mapping[str, Any], hidden: int = HIDDEN) -> Trained:
    """Return the network of :func:`networks`; a worker trains it once, always to the same weights."""
    names = ("picture", "start", "longest", "steps", "seed")
    return _trained(*(known[name] for name in names), hidden)


@lru_cache(maxsize=32)
def _trained(name: str, start: int, longest: int, steps: int, seed: int, hidden: int) -> Trained:
    target = pictured(name, longest)
    start_net = PictureNet(thinned_cascade(hidden), seed=start + 1000 * seed)
    found = fit(start_net, target, method="lm", steps=steps)
    return Trained(found.net, target, found.rmse)


@lru_cache(maxsize=8)
def pictured(name: str, longest: int) -> Tensor:
    """Return a picture, (height, width, 3) in (-1, 1)."""
    return picture(name, longest=longest).values


def untrained(net: PictureNet, seed: int) -> PictureNet:
    """Return a network with the same wiring that has learned nothing."""
    return PictureNet(net.wiring, seed=seed % 2**63)


def permuted(net: PictureNet, seed: int) -> PictureNet:
    """Return a network with the synapses into each unit at each other's places; biases stay."""
    random = np.random.default_rng(seed)
    weights, targets = net.weights.detach().clone(), net.wiring.targets[: net.wiring.synapses]
    for unit in range(net.wiring.units):
        places = np.flatnonzero(targets == unit)
        weights[places] = weights[random.permutation(places)]
    return net.with_weights(weights)


def windows(size: tuple[int, int], count: int, side: int) -> Tensor:
    """Return masks of about so many square windows on an even grid, shape (windows, height, width)."""
    height, width = size
    across = max(1, round((count * width / height) ** 0.5))
    down = max(1, round(count / across))
    tops = np.linspace(0, height - side, down).round().astype(int)
    lefts = np.linspace(0, width - side, across).round().astype(int)
    masks = torch.zeros(down, across, height, width, dtype=torch.bool)
    for i, top in enumerate(tops):
        for j, left in enumerate(lefts):
            masks[i, j, top : top + side, left : left + side] = True
    return masks.reshape(-1, height, width)


def contrast(picture: Tensor, masks: Tensor) -> Tensor:
    """Return the rms deviation of colours from their mean inside each mask, shape (masks,)."""
    flat, inside = picture.reshape(-1, picture.shape[-1]), masks.reshape(len(masks), -1).to(picture.dtype)
    count = inside.sum(1, keepdim=True)
    means = inside @ flat / count
    squares = inside @ flat.square() / count
    return (squares - means.square()).clamp(min=0).mean(1).sqrt()


def extent(fields: Tensor) -> Tensor:
    """Return the share of the picture that each field covers: its participation ratio.

    With e the sum of squares over channels at a pixel, ``(sum e)^2 / (pixels * sum e^2)``: 1 for an even
    field, 1 / pixels for one that is confined to a pixel. `fields` has shape (..., height, width, channels).
    """
    energy = fields.square().sum(-1).flatten(-2)
    return energy.sum(-1).square() / (energy.shape[-1] * energy.square().sum(-1)).clamp(min=1e-300)


def over_networks(values: NDArray[Any], method: str = "mean over networks") -> Estimate:
    """Return the mean of networks, those without a number left out; its error is widened."""
    return samples.mean(values, method)


def share(successes: NDArray[Any], method: str = "share of networks") -> Estimate:
    """Return the share of networks for which something is true."""
    return samples.share(successes, method)


def show(axes: Axes, picture: Tensor | NDArray[Any], title: str = "", corner: str = "") -> None:
    """Draw a picture in (-1, 1), with a few words in its lower left corner."""
    axes.imshow(((np.asarray(picture) + 1) / 2).clip(0, 1), interpolation="nearest")
    axes.set_axis_off()
    axes.set_title(title)
    if corner:
        axes.text(
            0.02, 0.04, corner, transform=axes.transAxes, color="white", fontsize=8, bbox={"color": "#0008"}
        )


def show_change(axes: Axes, change: Tensor | NDArray[Any], title: str = "") -> None:
    """Draw a change of a picture: grey where there is none, full colour for the largest hundredth."""
    show(axes, scaled(change), title)


def scaled(changes: Tensor | NDArray[Any]) -> NDArray[Any]:
    """Return changes of shape (..., height, width, channels), each with its largest hundredth beyond 1."""
    values = np.asarray(changes, dtype=np.float64)
    largest = np.quantile(np.abs(values), 0.99, axis=(-3, -2, -1), keepdims=True)
    return np.asarray(values / largest.clip(min=1e-300))


def montage(fields: Tensor | NDArray[Any], columns: int) -> NDArray[Any]:
    """Return pictures of shape (n, height, width, channels) on one sheet, row by row."""
    values = np.asarray(fields)
    n, height, width, channels = values.shape
    rows = -(-n // columns)
    sheet = np.ones((rows, columns, height + 1, width + 1, channels))
    sheet.reshape(-1, *sheet.shape[2:])[:n, :height, :width] = values
    return sheet.swapaxes(1, 2).reshape(rows * (height + 1), columns * (width + 1), channels)
