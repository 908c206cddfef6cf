"""Pictures to be learned: three that come with the libraries, or any picture file."""

from __future__ import annotations

import difflib
import math
import warnings
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from phasescope.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
_NAMES = ("flower", "china", "portrait")
_MOST = 1 << 24  # pixels of a result
_ROWS = 256  # of the file that are averaged at a time


@dataclass(frozen=True)
class Picture:
    """A picture as a network paints it.

    Parameters
    ----------
    values : Tensor of shape (height, width, 3)
        Red, green and blue in (-1, 1), float64, rows from the top.
    name : str
        Name of the sample, or of the file.
    original : tuple of int
        Height and width before it was resized.
    notes : tuple of str
        What was done to it, one sentence each.
    """

    values: Tensor
    name: str
    original: tuple[int, int]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        height, width = self.values.shape[:2]
        return f"Picture({self.name}: {height} x {width}, from {self.original[0]} x {self.original[1]})"


def picture(
    source: str | PathLike[str],
    *,
    longest: int = 96,
    height: int | None = None,
    width: int | None = None,
) -> Picture:
    """Return a picture with colours in (-1, 1), small enough for a network to learn it.

    A stored intensity b of 0 to 255 becomes ``v = (2 b + 1) / 256 - 1``: black is -0.996 and white 0.996, so
    that tanh reaches both. Of 16 bits, ``v = (2 b + 1) / 65536 - 1``. Pictures are resized by the mean over
    the area of each new pixel, of the stored intensities (no gamma is undone).

    Parameters
    ----------
    source : str or path
        ``"flower"`` and ``"china"`` of scikit-learn, ``"portrait"`` (Grace Hopper) of matplotlib, or a file:
        PNG, JPEG, WebP, GIF, BMP, TIFF or PPM. Write ``./flower`` for a file of that name.
    longest : int
        Largest height and width, in pixels. Smaller pictures stay as they are.
    height, width : int, optional
        Size of the result, in place of `longest`; one of them alone keeps the ratio of the sides.

    Returns
    -------
    Picture
        Its notes say what was done: resized, grey, palette or CMYK made colour, transparency put on white,
        turned as EXIF asks, first frame taken.

    Raises
    ------
    InputError
        If the file is missing, not a regular file, no picture or damaged; if it has more pixels than Pillow
        allows (``PIL.Image.MAX_IMAGE_PIXELS``, 89 million by default), 32-bit numbers as intensities, fewer
        than 2 x 2 pixels, or one colour everywhere; if a size is below 2 or above 16 million pixels.

    Notes
    -----
    Memory: the decoded file and one strip of it. Files are decoded by Pillow.
    """
    from PIL import Image

    for key, size in (("longest", longest), ("height", height), ("width", width)):
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 2):
            raise InputError(f"{key}={size!r} is no size.", "Use a whole number of pixels, at least 2.")
    # Pillow warns of damaged metadata, which do not matter here, and of decompression bombs, which do.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        if source in ("flower", "china"):
            from sklearn.datasets import load_sample_image

            return _made(Image.fromarray(load_sample_image(f"{source}.jpg")), source, longest, height, width)
        name, path = _regular(source)
        try:
            with path.open("rb") as file, Image.open(file, formats=_FORMATS) as image:
                return _made(image, name, longest, height, width)
        except InputError:
            raise
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise InputError(
                f"{path} is too large: {error}.",
                "Make it smaller, or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it.",
            ) from error
        except Exception as error:  # decoders fail on damaged files in many ways
            raise InputError(
                f"{path} cannot be read as a picture: {type(error).__name__}: {error}.",
                f"Use a file of one of these formats: {', '.join(_FORMATS)}.",
            ) from error


def _regular(source: str | PathLike[str]) -> tuple[str, Path]:
    """Return the name and the path of a regular file, or say what it is instead."""
    if source == "portrait":
        from matplotlib.cbook import get_sample_data

        return source, Path(str(get_sample_data("grace_hopper.jpg", asfileobj=False)))
    path = Path(source)
    if path.is_file():
        return path.name, path
    if path.is_dir():
        raise InputError(f"{path} is a folder.", "Name a picture file.")
    if path.exists():
        raise InputError(
            f"{path} is no regular file.", "Name a picture file; pipes and devices are not read."
        )
    near = difflib.get_close_matches(str(source), _NAMES, 1)
    hint = f"Did you mean {near[0]}?" if near else f"Name a picture file, or one of {', '.join(_NAMES)}."
    raise InputError(f"There is no file {path}.", hint)


def _made(image: Image, name: str, longest: int, height: int | None, width: int | None) -> Picture:
    from PIL import ImageOps

    notes: list[str] = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        notes.append(f"The first of {frames} frames is used.")
    if image.getexif().get(0x0112, 1) != 1:
        image = ImageOps.exif_transpose(image)
        notes.append("It is turned as its EXIF data ask.")
    original = (image.height, image.width)
    if min(original) < 2:
        raise InputError(
            f"{name} has {original[0]} x {original[1]} pixels.", "A picture needs at least 2 x 2 of them."
        )
    size = _size(original, longest, height, width)
    if image.mode == "F" or (image.mode == "I" and not _fits_16_bits(image)):
        raise InputError(
            f"{name} holds 32-bit numbers, whose black and white are not known.",
            "Save it with 8 or 16 bits a channel.",
        )
    deep = image.mode.startswith("I")
    clear = not deep and image.has_transparency_data
    if deep:
        notes.append("Its 16-bit grey gives all three colours.")
    elif image.mode in ("1", "L", "LA", "La"):
        notes.append("Its grey gives all three colours.")
    elif image.mode not in ("RGB", "RGBA", "RGBa"):
        notes.append(
            f"Its {'palette' if image.mode in ('P', 'PA') else image.mode} is made red, green and blue."
        )
    down, across = (_overlaps(old, new) for old, new in zip(original, size, strict=True))
    mean = np.zeros((*size, 3))
    seen = 0.0
    for top in range(0, original[0], _ROWS):
        strip = image.crop((0, top, original[1], min(top + _ROWS, original[0])))
        if deep:
            values = ((2 * np.asarray(strip).astype(np.float64) + 1) / 65536 - 1)[..., None].repeat(3, -1)
        elif clear:
            stored = np.asarray(strip.convert("RGBA")).astype(np.float64)
            cover = stored[..., 3:] / 255
            seen = max(seen, 1 - cover.min())
            values = (2 * (cover * stored[..., :3] + (1 - cover) * 255) + 1) / 256 - 1
        else:
            values = (2 * np.asarray(strip.convert("RGB")).astype(np.float64) + 1) / 256 - 1
        narrow = np.einsum("vw,hwc->hvc", across, values, optimize=True)
        mean += np.einsum("uh,hvc->uvc", down[:, top : top + len(narrow)], narrow, optimize=True)
    if seen:
        notes.append("What is transparent in it is put on white.")
    if size != original:
        notes.append(f"It is resized from {original[0]} x {original[1]} to {size[0]} x {size[1]} pixels.")
    if np.ptp(mean, axis=(0, 1)).max() < 1e-9:
        raise InputError(
            f"{name} has one colour everywhere{', once on white' if seen else ''}.",
            "Use a picture with something in it.",
        )
    return Picture(torch.from_numpy(mean), name, original, tuple(notes))


def _fits_16_bits(image: Image) -> bool:
    stored = np.asarray(image)
    return bool(stored.min() >= 0 and stored.max() < 65536)


def _size(original: tuple[int, int], longest: int, height: int | None, width: int | None) -> tuple[int, int]:
    """Return height and width of the result."""
    if height is not None and width is not None:
        size = (height, width)
    else:
        if height is not None:
            scale = height / original[0]
        elif width is not None:
            scale = width / original[1]
        else:
            scale = min(1.0, longest / max(original))
        made = [height or round(original[0] * scale), width or round(original[1] * scale)]
        size = (max(2, made[0]), max(2, made[1]))
    if math.prod(size) > _MOST:
        raise InputError(f"A picture of {size[0]} x {size[1]} pixels is too large.", "Use a smaller size.")
    return size


def _overlaps(old: int, new: int) -> NDArray[np.float64]:
    """Return the share of each old pixel in the mean of each new one along a side, shape (new, old)."""
    ends = np.arange(new + 1) * (old / new)
    low = np.maximum(ends[:-1, None], np.arange(old))
    high = np.minimum(ends[1:, None], np.arange(1, old + 1))
    shares: NDArray[np.float64] = np.maximum(high - low, 0) * (new / old)
    return shares
