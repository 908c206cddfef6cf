"""Memory: sizes as people write them, the peak of a piece of work, and arrays that may lie on disk."""

from __future__ import annotations

import math
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from phasescope.errors import InputError, MemoryLimitError

_SIZE = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*(|[kmgt]i?)b?\s*", re.IGNORECASE)


def in_bytes(size: float | str) -> int:
    """Return a memory size in bytes: a number, or text such as "512MB", "2 GiB" or "2G"."""
    if isinstance(size, str):
        match = _SIZE.fullmatch(size)
        if match:
            unit = match[2].lower()
            base = 1024 if unit.endswith("i") else 1000
            return in_bytes(float(match[1]) * base ** ("kmgt".find(unit[0]) + 1 if unit else 0))
    elif size > 0:
        return int(size)
    raise InputError(f"max_memory is {size!r}.", 'Give bytes, or text such as "512MB" or "2GiB".')


def default_limit(model: nn.Module) -> float:
    """Return the bytes that a measurement may take by default: twice the weights, and at least 1 GB."""
    return max(1e9, 2.0 * sum(p.numel() * p.element_size() for p in model.parameters()))


def peak_bytes(model: nn.Module, work: Callable[[], Any]) -> int:
    """Return the largest number of bytes in live tensors while `work` runs, those of the model not counted.

    Scratch space inside an operator is not seen.
    """
    counter = _Counter(model)
    with counter:
        work()
    return counter.peak


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages that operators return and that are still alive."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._sum = 0
        self._own = {t.untyped_storage()._cdata for t in [*model.parameters(), *model.buffers()]}
        self._live: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for item in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(item, Tensor) and item.layout == torch.strided and not item._is_zerotensor():
                self._add(item)
        return result

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        known = self._live.get(key)
        if key in self._own or (known is not None and not _freed(known[0])):
            return
        if known is not None:
            self._sum -= known[1]
        self._live[key] = (StorageWeakRef(storage), storage.nbytes())  # type: ignore[no-untyped-call]
        self._sum += storage.nbytes()
        if self._sum > self.peak:
            # Only now is it worth finding out what has been freed since.
            self._live = {k: entry for k, entry in self._live.items() if not _freed(entry[0])}
            self._sum = sum(size for _, size in self._live.values())
            self.peak = max(self.peak, self._sum)


def _freed(reference: StorageWeakRef) -> bool:
    return bool(reference.expired())  # type: ignore[no-untyped-call]


def samples_that_fit(
    model: nn.Module, work: Callable[[int], Any], samples: int, limit: float, *, margin: float = 0.5
) -> int:
    """Return the largest even number of samples, at most `samples`, that `work` can take at once.

    The peak is measured for two samples, four, eight and so on, and continued linearly by a factor of 16.
    `margin` is the share of `limit` that is planned for; the rest is for scratch space inside operators and
    for freed blocks that the allocator keeps.
    """
    one = min(2, samples)
    first = peak_bytes(model, partial(work, one))
    if first > limit:
        raise MemoryLimitError(
            f"One pair of inputs takes {first / 1e6:.1f} MB, more than max_memory = {limit / 1e6:.1f} MB. "
            "Raise max_memory, or pass smaller inputs."
        )
    tried, peak = one, first
    while tried < samples and peak < margin * limit:
        more = min(2 * tried, samples)
        higher = peak_bytes(model, partial(work, more))
        slope = max((higher - peak) / (more - tried), 1.0)
        fit = int(tried + (margin * limit - peak) / slope)
        if fit <= 16 * more:
            return min(samples, fit // 2 * 2)
        tried, peak = more, higher
    return tried


def allocate(
    shapes: Sequence[tuple[int, ...]],
    dtype: DTypeLike,
    limit: float,
    folder: str | PathLike[str] | None = None,
) -> tuple[list[np.ndarray], bool]:
    """Return arrays of the given shapes, not filled, and whether they lie on disk.

    They do where together they take more than `limit` bytes: in files of `folder`, by default that of the
    system's temporary files. Such a file has no name and vanishes with its array.
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
