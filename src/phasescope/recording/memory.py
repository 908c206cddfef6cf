"""Memory: sizes as people write them, the peak of a piece of work, and arrays that may lie on disk."""

from __future__ import annotations

import ctypes
import math
import mmap
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
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

_TIDY = 0.5  # share of a limit beyond which freed memory is given back
_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None  # of glibc
_SIZE = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*(|[kmgt]i?)b?\s*", re.IGNORECASE)


def in_bytes(size: float | str) -> int:
    """Return a memory size in bytes: a number, or text such as "512MB", "2 GiB" or "2G"."""
    if isinstance(size, str):
        match = _SIZE.fullmatch(size)
        if match:
            unit = match[2].lower()
            base = 1024 if unit.endswith("i") else 1000
            return in_bytes(float(match[1]) * base ** ("kmgt".find(unit[0]) + 1 if unit else 0))
    elif 0 < size < math.inf:
        return int(size)
    raise InputError(f"max_memory is {size!r}.", 'Give bytes, or text such as "512MB" or "2GiB".')


def default_limit(model: nn.Module) -> float:
    """Return the bytes that a measurement may take by default: twice the weights, and at least 1 GB."""
    return max(1e9, 2.0 * sum(p.numel() * p.element_size() for p in model.parameters()))


def peak_bytes(model: nn.Module, work: Callable[[], Any]) -> int:
    """Return the largest number of bytes in live tensors while `work` runs, those of the model not counted.

    Scratch space inside an operator is not seen on the CPU, nor are arrays. On a CUDA device the peak is the
    allocator's own, whose statistics of the peak begin anew.
    """
    return _probed(model, work).peak


def _probed(model: nn.Module, work: Callable[[], Any], grown: _Grown | None = None) -> _Counter:
    counter = _Counter(model, grown)
    device = next((p.device for p in model.parameters() if p.device.type == "cuda"), None)
    if device is None:
        with counter:
            work()
        return counter
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    counter.peak = torch.cuda.max_memory_allocated(device) - before
    return counter


_Grown = Callable[[int, int], int]


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages that operators return and that are still alive."""

    supports_higher_order_operators = True  # such as flex attention

    def __init__(self, model: nn.Module, grown: _Grown | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self.grown_peak = 0  # with each storage as large as `grown` makes it of its number and size
        self.sizes: list[int] = []  # of all storages, in the order in which they were made
        self._grown = grown or (lambda number, size: size)
        self._sum = self._grown_sum = 0
        self._own = {t.untyped_storage()._cdata for t in [*model.parameters(), *model.buffers()]}
        self._live: dict[int, tuple[StorageWeakRef, int, int]] = {}

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
            self._grown_sum -= known[2]
        size = storage.nbytes()
        grown = self._grown(len(self.sizes), size)
        self.sizes.append(size)
        self._live[key] = (StorageWeakRef(storage), size, grown)  # type: ignore[no-untyped-call]
        self._sum += size
        self._grown_sum += grown
        if self._sum > self.peak or self._grown_sum > self.grown_peak:
            # Only now is it worth finding out what has been freed since.
            self._live = {k: entry for k, entry in self._live.items() if not _freed(entry[0])}
            self._sum = sum(size for _, size, _ in self._live.values())
            self._grown_sum = sum(grown for _, _, grown in self._live.values())
            self.peak = max(self.peak, self._sum)
            self.grown_peak = max(self.grown_peak, self._grown_sum)


def _freed(reference: StorageWeakRef) -> bool:
    return bool(reference.expired())  # type: ignore[no-untyped-call]


def samples_that_fit(
    model: nn.Module, work: Callable[[int], Any], samples: int, limit: float, *, margin: float = 0.5
) -> int:
    """Return the largest even number of samples, at most `samples`, that `work` can take at once.

    `work` runs with two samples and, unless that many times as much fits, once more with four; nothing is
    watched afterwards. `margin` is the share of `limit` that is planned for; the rest is for scratch space
    inside operators and for freed blocks that the allocator keeps.

    Each tensor's size is continued linearly to all the samples, and the peak over the work found anew: at few
    samples it may lie elsewhere, as where weights are made. A line from the peak of few samples to this one
    lies above the peaks between, since these are the largest of sums that are linear.
    """
    room, few = margin * limit, min(2, samples)
    first = _probed(model, partial(work, few))
    if first.peak > limit:
        raise MemoryLimitError(
            f"One pair of inputs takes {first.peak / 1e6:.1f} MB, more than max_memory = "
            f"{limit / 1e6:.1f} MB. Raise max_memory, or pass smaller inputs."
        )
    if samples <= few or first.peak / few * samples <= room:
        return samples
    more = min(2 * few, samples)

    def grown(number: int, size: int) -> int:
        small = first.sizes[number] if number < len(first.sizes) else size
        return small + (size - small) * (samples - few) // (more - few)

    second = _probed(model, partial(work, more), grown)
    if not second.sizes:
        most = first.peak + (second.peak - first.peak) / (more - few) * (samples - few)
    elif len(second.sizes) == len(first.sizes):
        most = second.grown_peak
    else:  # other operations than before: as if everything grew with the samples
        most = second.peak / more * samples
    if most <= room:
        return samples
    fit = few + (room - first.peak) / max(most - first.peak, 1.0) * (samples - few)
    return max(few, int(fit) // 2 * 2)


class Tidy:
    """Called often during work, gives freed memory back to the system where resident memory nears a limit.

    The C library keeps what was freed, in pieces that the next tensors do not fit into: several times what is
    alive, at worst. Giving it back costs as much as filling it again, so that a call rarely does.
    """

    def __init__(self, limit: float) -> None:
        self._step, self._most = 0.1 * limit, _resident() + _TIDY * limit
        self._next = self._most

    def __call__(self) -> None:
        """Give memory back if more is resident than there should be, and more than the last time left."""
        if _trim is not None and _resident() > self._next:
            _trim(0)
            self._next = max(self._most, _resident() + self._step)


def _resident() -> int:
    """Return the resident bytes of this process; 0 where memory cannot be given back."""
    if _trim is None:
        return 0
    with open("/proc/self/statm", "rb", buffering=0) as file:
        return int(file.read().split()[1]) * mmap.PAGESIZE


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


def let_go(arrays: Iterable[np.ndarray]) -> None:
    """Give back the memory of mapped arrays that were written to or read; their values stay in the files."""
    for array in arrays:
        mapping = getattr(array, "_mmap", None)
        if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapping.madvise(mmap.MADV_DONTNEED)


def _mapped(shape: tuple[int, ...], dtype: DTypeLike, folder: Path) -> np.ndarray:
    with tempfile.TemporaryFile(dir=folder) as file:
        return np.memmap(file, dtype=dtype, mode="w+", shape=shape)
