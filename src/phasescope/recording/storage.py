"""Arrays in memory, or in a nameless file on disk where memory does not suffice."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from phasescope.errors import InputError


def allocate(
    shapes: Sequence[tuple[int, ...]],
    dtype: DTypeLike,
    limit: float,
    folder: str | PathLike[str] | None = None,
) -> tuple[list[np.ndarray], bool]:
    """Return arrays of the given shapes, not filled, and whether they lie on disk.

    The file of an array has no name and vanishes with the array.
    """
    itemsize = np.dtype(dtype).itemsize
    total = itemsize * sum(math.prod(shape) for shape in shapes)
    if total <= limit:
        return [np.empty(shape, dtype) for shape in shapes], False
    place = Path(tempfile.gettempdir() if folder is None else folder)
    if not place.is_dir():
        raise InputError(f"No folder {place}.", "Name an existing folder for the files.")
    free = shutil.disk_usage(place).free
    # A mapped file that cannot grow ends the process, so the room is asked for beforehand.
    if total > free:
        raise InputError(
            f"{total / 1e9:.2f} GB are to be stored and {place} has {free / 1e9:.2f} GB left.",
            "Name another folder, record fewer layers or fewer sequences, or raise max_memory.",
        )
    return [_mapped(shape, dtype, place) for shape in shapes], True


def _mapped(shape: tuple[int, ...], dtype: DTypeLike, folder: Path) -> np.ndarray:
    with tempfile.TemporaryFile(dir=folder) as file:
        return np.memmap(file, dtype=dtype, mode="w+", shape=shape)
