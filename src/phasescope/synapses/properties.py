"""Properties of a picture: numbers that one can see, with their gradients and the pixels they are about.

Pictures have the shape (height, width, outputs); x grows to the right and y upwards, both in (-1, 1), as in
:func:`grid`. The brightness s(p) of a pixel is the mean over its channels, or one channel. What is an object
is told softly, by the occupancy

    m(p) = sigmoid(sign (s(p) - threshold) / softness) inside the mask, 0 outside,

so that area, centroid, tilt and width have gradients.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from phasescope.errors import InputError
from phasescope.synapses.picture_net import grid

_ROUND = 1e-9  # an object is round if its moments differ by less, relative to their sum
_FLAT = 0.01  # a border pixel counts if its slope is at least this share of the steepest one's


class Property(ABC):
    """One number read off a picture of shape (height, width, outputs), in (-1, 1).

    A subclass gives :meth:`value` in torch operations; the gradient follows.

    Attributes
    ----------
    name : str
        For people and tables.
    """

    name: str

    @abstractmethod
    def value(self, picture: Tensor) -> Tensor:
        """Return the property, a scalar that is differentiable in the picture.

        Parameters
        ----------
        picture : tensor, shape (height, width, outputs)
        """

    def support(self, picture: Tensor) -> Tensor | None:
        """Return the pixels that the property is about, bool of shape (height, width), or None for all.

        What changes elsewhere is damage.

        Parameters
        ----------
        picture : tensor, shape (height, width, outputs)
        """
        return None

    def elsewhere(self, mask: Tensor) -> Property | None:
        """Return the same property of another region, or None if it cannot be put there.

        Parameters
        ----------
        mask : tensor of bool, shape (height, width)
            The other region.
        """
        return None

    def gradient(self, picture: Tensor) -> Tensor:
        """Return d value / d picture, shape (height, width, outputs).

        Parameters
        ----------
        picture : tensor, shape (height, width, outputs)

        Raises
        ------
        InputError
            If the value is no finite scalar, or does not depend on the picture.
        """
        leaf = picture.detach().clone().requires_grad_()
        with torch.enable_grad():
            value = self.value(leaf)
        if not isinstance(value, Tensor) or value.numel() != 1:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InputError(f"The property {self.name} gives {shape}.", "Return one number, as a tensor.")
        if not torch.isfinite(value).all():
            raise InputError(f"The property {self.name} is {value.item()}.", "It must be finite.")
        if not value.requires_grad:
            raise InputError(
                f"The property {self.name} has no gradient.",
                "Compute it from the picture by torch operations.",
            )
        (gradient,) = torch.autograd.grad(value.reshape(()), leaf, allow_unused=True)
        if gradient is None or not torch.isfinite(gradient).all():
            raise InputError(f"The property {self.name} has no finite gradient.", "Choose a smooth function.")
        return gradient


class _Masked(Property):
    """A property of a region, or of the whole picture where the mask is None; a frozen dataclass."""

    mask: Tensor | None

    def __post_init__(self) -> None:
        if self.mask is not None:
            object.__setattr__(self, "mask", as_mask(self.mask))

    def support(self, picture: Tensor) -> Tensor | None:
        return _inside(self.mask, picture)

    def elsewhere(self, mask: Tensor) -> Property | None:
        if self.mask is None:
            return None
        moved = copy(self)
        object.__setattr__(moved, "mask", as_mask(mask))
        return moved

    def _name(self, name: str) -> None:
        if not self.name:
            object.__setattr__(self, "name", name)


@dataclass(frozen=True, eq=False)
class Region(_Masked):
    """Everything inside a region: no number, but the part of a map that lies there.

    The strength of a weight is ``||J_s||`` over the region, whatever the colour and the sign of the change;
    so a region has no gradient and cannot be moved by an edit.

    Parameters
    ----------
    mask : array or tensor of bool, shape (height, width)
        True inside; at least one pixel.
    name : str
        For people and tables.

    Raises
    ------
    InputError
        If the mask is empty, has another shape, or holds numbers other than 0 and 1.
    """

    mask: Tensor
    name: str = "region"

    def value(self, picture: Tensor) -> Tensor:
        raise InputError(
            f"The {self.name} has no value: it is everything inside.", "Use MeanColour or RegionEnergy."
        )


@dataclass(frozen=True, eq=False)
class MeanColour(_Masked):
    """The mean of a region, over all channels or of one: ``mean of f_c(p)`` over its pixels and channels.

    Parameters
    ----------
    mask : array or tensor of bool, shape (height, width), optional
        The region; by default the whole picture.
    channel : int, optional
        0, 1, 2 for red, green, blue; by default all.
    name : str
        For people and tables.

    Raises
    ------
    InputError
        If the mask is empty, has another shape, or holds numbers other than 0 and 1.
    """

    mask: Tensor | None = None
    channel: int | None = None
    name: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._name(f"mean {_colour(self.channel)}")

    def value(self, picture: Tensor) -> Tensor:
        return _pixels(self.mask, _channels(picture, self.channel)).mean()


@dataclass(frozen=True, eq=False)
class ColourBalance(_Masked):
    """One colour against the others: the mean of its channel minus the mean of the means of all others.

    Parameters
    ----------
    channel : int
        0, 1, 2 for red, green, blue.
    mask : array or tensor of bool, shape (height, width), optional
        The region; by default the whole picture.
    name : str
        For people and tables.

    Raises
    ------
    InputError
        If the mask is empty, has another shape, or holds numbers other than 0 and 1.
    """

    channel: int
    mask: Tensor | None = None
    name: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._name(f"{_colour(self.channel)} balance")

    def value(self, picture: Tensor) -> Tensor:
        own = _channels(picture, self.channel)
        if picture.shape[-1] < 2:
            raise InputError("The picture has one channel.", "A balance needs two or more.")
        means = _pixels(self.mask, picture).mean(0)
        return _pixels(self.mask, own).mean() * (1 + 1 / (len(means) - 1)) - means.sum() / (len(means) - 1)


@dataclass(frozen=True, eq=False)
class RegionEnergy(_Masked):
    """The mean of f^2 over a region and all channels: how far its colours are from medium grey.

    It is a number of the picture itself. :class:`Region` is about its changes: there each change counts by
    its square; here it counts by the colour that it meets, so changes on grey do not count, and lighter and
    darker changes cancel.

    Parameters
    ----------
    mask : array or tensor of bool, shape (height, width), optional
        The region; by default the whole picture.
    name : str
        For people and tables.

    Raises
    ------
    InputError
        If the mask is empty, has another shape, or holds numbers other than 0 and 1.
    """

    mask: Tensor | None = None
    name: str = "region energy"

    def value(self, picture: Tensor) -> Tensor:
        return _pixels(self.mask, picture).square().mean()


@dataclass(frozen=True, eq=False, kw_only=True)
class _Objects(_Masked):
    """What the properties of bright or dark objects share: the occupancy m of the module's head."""

    mask: Tensor | None = None
    channel: int | None = None
    threshold: float = 0.0
    softness: float = 0.1
    sign: int = 1
    name: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.softness > 0:
            raise InputError(
                f"softness={self.softness} is no width.", "Use a positive number, 0.1 by default."
            )
        if self.sign not in (1, -1):
            raise InputError(f"sign={self.sign} is neither bright nor dark.", "Use 1 or -1.")
        self._name(f"{self._noun()} of what is {'bright' if self.sign > 0 else 'dark'}")

    def _noun(self) -> str:
        raise NotImplementedError

    def _occupancy(self, picture: Tensor) -> Tensor:
        brightness = _channels(picture, self.channel).mean(-1)
        soft = torch.sigmoid(self.sign * (brightness - self.threshold) / self.softness)
        inside = _inside(self.mask, picture)
        return soft if inside is None else soft * inside

    def _moments(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return the centroid in x and y and the second moments mu20, mu11, mu02 about it."""
        height, width = picture.shape[:2]
        x, y = grid(height, width, dtype=picture.dtype, device=picture.device).T
        m = self._occupancy(picture).reshape(-1)
        m = m / m.sum()
        at_x, at_y = (m * x).sum(), (m * y).sum()
        x, y = x - at_x, y - at_y
        return at_x, at_y, (m * x * x).sum(), (m * x * y).sum(), (m * y * y).sum()


@dataclass(frozen=True, eq=False)
class Area(_Objects):
    """How much of the picture is bright, or dark: the mean of the occupancy m over all its pixels.

    ``m(p) = sigmoid(sign (s(p) - threshold) / softness)`` inside the mask, 0 outside.

    Parameters
    ----------
    mask : array or tensor of bool, shape (height, width), optional
        Where to look; by default everywhere.
    channel : int, optional
        The channel that is the brightness; by default the mean of all.
    threshold : float
        Brightness of the edge of an object.
    softness : float
        The occupancy is 0.27 and 0.73 at so much below and above the threshold.
    sign : {1, -1}
        Bright objects, or dark ones.
    name : str
        For people and tables.

    Raises
    ------
    InputError
        If the mask is empty, has another shape, or holds numbers other than 0 and 1, or a setting is out of
        range.
    """

    def value(self, picture: Tensor) -> Tensor:
        return self._occupancy(picture).mean()

    def _noun(self) -> str:
        return "area"


@dataclass(frozen=True, eq=False)
class Centroid(_Objects):
    """Where bright, or dark, objects lie: ``sum m x / sum m`` in the coordinates of :func:`grid`.

    The occupancy m is that of :class:`Area`.

    Parameters
    ----------
    axis : {"x", "y"}
        Along which.
    mask : array or tensor of bool, shape (height, width), optional
        Where to look; by default everywhere.
    channel : int, optional
        The channel that is the brightness; by default the mean of all.
    threshold : float
        Brightness of the edge of an object.
    softness : float
        The occupancy is 0.27 and 0.73 at so much below and above the threshold.
    sign : {1, -1}
        Bright objects, or dark ones.
    name : str
        For people and tables.

    Raises
    ------
    InputError
        If the mask is empty, has another shape, or holds numbers other than 0 and 1, or a setting is out of
        range.
    """

    axis: Literal["x", "y"]

    def __post_init__(self) -> None:
        if self.axis not in ("x", "y"):
            raise InputError(f"axis={self.axis!r} is none.", "Use x or y.")
        super().__post_init__()

    def value(self, picture: Tensor) -> Tensor:
        return self._moments(picture)[0 if self.axis == "x" else 1]

    def _noun(self) -> str:
        return f"{self.axis} centroid"


@dataclass(frozen=True, eq=False)
class Tilt(_Objects):
    """How bright, or dark, objects lean: the angle of their long axis with the x axis, in radians.

    ``atan2(2 mu11, mu20 - mu02) / 2`` from the second central moments of the occupancy m of :class:`Area` in
    the coordinates of :func:`grid`; in [-pi/2, pi/2], counter-clockwise. It jumps by pi where the long axis
    stands upright, and is not defined where objects are as long as broad.

    Parameters
    ----------
    mask : array or tensor of bool, shape (height, width), optional
        Where to look; by default everywhere.
    channel : int, optional
        The channel that is the brightness; by default the mean of all.
    threshold : float
        Brightness of the edge of an object.
    softness : float
        The occupancy is 0.27 and 0.73 at so much below and above the threshold.
    sign : {1, -1}
        Bright objects, or dark ones.
    name : str
        For people and tables.

    Raises
    ------
    InputError
        If the mask is empty, has another shape, or holds numbers other than 0 and 1, or a setting is out of
        range; when it is used, if objects are as long as broad.
    """

    def value(self, picture: Tensor) -> Tensor:
        _, _, mu20, mu11, mu02 = self._moments(picture)
        if torch.hypot(2 * mu11, mu20 - mu02) <= _ROUND * (mu20 + mu02):
            raise InputError(
                f"The {self.name} is not defined: it is as long as broad.", "Choose a mask or a threshold."
            )
        return torch.atan2(2 * mu11, mu20 - mu02) / 2

    def _noun(self) -> str:
        return "tilt"


@dataclass(frozen=True, eq=False)
class Width(_Objects):
    """How far bright, or dark, objects extend along an axis: ``2 sqrt(mu20)``, or of mu02 along y.

    The second central moments are those of the occupancy m of :class:`Area`, in the coordinates of
    :func:`grid`; a bar of length L has ``L / sqrt(3)``.

    Parameters
    ----------
    axis : {"x", "y"}
        Along which.
    mask : array or tensor of bool, shape (height, width), optional
        Where to look; by default everywhere.
    channel : int, optional
        The channel that is the brightness; by default the mean of all.
    threshold : float
        Brightness of the edge of an object.
    softness : float
        The occupancy is 0.27 and 0.73 at so much below and above the threshold.
    sign : {1, -1}
        Bright objects, or dark ones.
    name : str
        For people and tables.

    Raises
    ------
    InputError
        If the mask is empty, has another shape, or holds numbers other than 0 and 1, or a setting is out of
        range.
    """

    axis: Literal["x", "y"]

    def __post_init__(self) -> None:
        if self.axis not in ("x", "y"):
            raise InputError(f"axis={self.axis!r} is none.", "Use x or y.")
        super().__post_init__()

    def value(self, picture: Tensor) -> Tensor:
        _, _, mu20, _, mu02 = self._moments(picture)
        return 2 * (mu20 if self.axis == "x" else mu02).sqrt()

    def _noun(self) -> str:
        return f"{self.axis} width"


@dataclass(frozen=True, eq=False)
class BorderShift(_Masked):
    """How far a border has moved along its normal since a reference picture.

    The border is where the brightness s of the reference crosses the threshold inside the mask: the pixels
    with a neighbour (left, right, above or below) on the other side. The shift is, in the coordinates of
    :func:`grid`, ::

        mean over them of -(s(p) - s_ref(p)) / |grad s_ref(p)|,

    so it is linear in the picture, 0 for the reference, exact for a border of constant slope, and of first
    order for others; its gradient is ``-1 / |grad s_ref|`` over the number of border pixels. Positive means
    towards the brighter side: bright objects shrink. Slopes are central differences, one-sided at the rim of
    the picture. Border pixels flatter than 1 % of the steepest one are left out.

    Parameters
    ----------
    reference : tensor, shape (height, width, outputs)
        The picture that the border is read from, and that has the shift 0.
    mask : array or tensor of bool, shape (height, width), optional
        Where the border is looked at; by default everywhere.
    channel : int, optional
        The channel that is the brightness; by default the mean of all.
    threshold : float
        Brightness of the border.
    name : str
        For people and tables.

    Raises
    ------
    InputError
        If the mask is empty or has another shape, or the brightness crosses the threshold nowhere in it.
    """

    reference: Tensor
    mask: Tensor | None = None
    channel: int | None = None
    threshold: float = 0.0
    name: str = "border shift"
    _weights: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "reference", torch.as_tensor(self.reference).detach().clone())
        object.__setattr__(self, "_weights", self._border())

    def elsewhere(self, mask: Tensor) -> Property | None:
        try:
            return replace(self, mask=mask) if self.mask is not None else None
        except InputError:
            return None  # no border there

    def _border(self) -> Tensor:
        """Return what each pixel's brightness weighs: 1 / slope / number on the border, 0 elsewhere."""
        brightness = _channels(self.reference, self.channel).mean(-1)
        bright = brightness >= self.threshold
        border = torch.zeros_like(bright)
        for axis in (0, 1):
            count = bright.shape[axis] - 1
            crossed = bright.narrow(axis, 0, count) != bright.narrow(axis, 1, count)
            border.narrow(axis, 0, count).logical_or_(crossed)
            border.narrow(axis, 1, count).logical_or_(crossed)
        inside = _inside(self.mask, self.reference)
        if inside is not None:
            border &= inside
        slope = torch.zeros_like(brightness)
        for axis, length in enumerate(brightness.shape):
            if length > 1:
                slope += torch.gradient(brightness, spacing=2 / length, dim=axis)[0].square()
        slope = slope.sqrt()
        if border.any():
            border &= slope > _FLAT * slope[border].max()
        if not border.any():
            where = "in the mask" if self.mask is not None else "in the picture"
            raise InputError(
                f"The brightness crosses {self.threshold} nowhere {where}.",
                "Choose a mask that holds a border, or another threshold.",
            )
        weights = torch.zeros_like(brightness)
        weights[border] = 1 / slope[border] / border.sum()
        return weights

    def value(self, picture: Tensor) -> Tensor:
        if picture.shape != self.reference.shape:
            raise InputError(
                f"The picture has shape {tuple(picture.shape)}, the reference {tuple(self.reference.shape)}.",
                "Use pictures of one size.",
            )
        moved = _channels(picture - self.reference.to(picture), self.channel).mean(-1)
        return -(moved * self._weights.to(picture)).sum()


class Custom(Property):
    """A property of the user's own, of a picture or of the output of any module.

    Parameters
    ----------
    function : callable
        Takes the output as a tensor and returns one number by torch operations, so that it has a gradient;
        ``function(picture, mask)`` if `masked`.
    name : str
        For people and tables.
    support : array or tensor of bool, shape (height, width) or that of the output without its last axis
        The pixels or cases that it is about: what changes elsewhere is damage. By default all.
    masked : bool
        Whether the function takes the support as its second argument; nulls can then put it elsewhere.

    Raises
    ------
    InputError
        If the support is empty, has another shape, or holds numbers other than 0 and 1; when it is used, if
        the function gives no finite number or has no gradient.
    """

    def __init__(
        self,
        function: Callable[..., Tensor],
        name: str = "custom",
        support: ArrayLike | Tensor | None = None,
        *,
        masked: bool = False,
    ) -> None:
        if masked and support is None:
            raise InputError(f"The property {name} takes a mask and has none.", "Give it as support.")
        self.function, self.name, self.masked = function, name, masked
        self.mask = None if support is None else as_mask(support, axes=None)

    def value(self, picture: Tensor) -> Tensor:
        return self.function(picture, self.support(picture)) if self.masked else self.function(picture)

    def support(self, picture: Tensor) -> Tensor | None:
        return _inside(self.mask, picture)

    def elsewhere(self, mask: Tensor) -> Property | None:
        return Custom(self.function, self.name, mask, masked=True) if self.masked else None


def as_mask(mask: ArrayLike | Tensor, *, axes: int | None = 2) -> Tensor:
    """Return a region as a tensor of bool, checked: so many dimensions, 0 and 1 only, not empty."""
    tensor = mask if isinstance(mask, Tensor) else torch.as_tensor(np.asarray(mask))
    if axes is not None and tensor.ndim != axes:
        raise InputError(f"The mask has shape {tuple(tensor.shape)}.", "Use (height, width).")
    if tensor.dtype != torch.bool and not ((tensor == 0) | (tensor == 1)).all():
        raise InputError("The mask holds numbers other than 0 and 1.", "Use True inside the region.")
    tensor = tensor.detach().to(torch.bool)
    if not tensor.any():
        raise InputError("The region is empty.", "Choose at least one pixel inside the picture.")
    return tensor


def _inside(mask: Tensor | None, picture: Tensor) -> Tensor | None:
    """Return the mask on the device of the picture, whose shape it must have."""
    if mask is None:
        return None
    if mask.shape != picture.shape[: mask.ndim]:
        raise InputError(
            f"The mask has shape {tuple(mask.shape)}, the picture {tuple(picture.shape[:-1])}.",
            "Draw the region on a grid of the picture's own size.",
        )
    return mask.to(picture.device)


def _channels(picture: Tensor, channel: int | None) -> Tensor:
    """Return the picture, or one channel of it, shape (height, width, channels)."""
    if picture.ndim != 3:
        raise InputError(
            f"The output has shape {tuple(picture.shape)}.", "A picture is (height, width, channels)."
        )
    if channel is None:
        return picture
    if not 0 <= channel < picture.shape[-1]:
        raise InputError(
            f"channel={channel} of a picture with {picture.shape[-1]}.", "Count channels from 0."
        )
    return picture[..., channel : channel + 1]


def _pixels(mask: Tensor | None, picture: Tensor) -> Tensor:
    """Return the colours of the pixels inside, shape (pixels, channels)."""
    inside = _inside(mask, picture)
    return picture.reshape(-1, picture.shape[-1]) if inside is None else picture[inside]


def _colour(channel: int | None) -> str:
    if channel is None:
        return "colour"
    return ("red", "green", "blue")[channel] if 0 <= channel < 3 else f"channel {channel}"
