"""How much memory a piece of work takes at its peak, counted tensor by tensor."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from phasescope.errors import InputError, MemoryLimitError

_UNITS = {"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def in_bytes(size: float | str) -> int:
    """Return a memory size in bytes: a number, or text such as "512MB" or "2 GiB"."""
    if isinstance(size, str):
        match = re.fullmatch(r"\s*([0-9.]+)\s*([a-zA-Z]*)\s*", size)
        factor = _UNITS.get(match.group(2).lower()) if match else None
        if match and factor and match.group(1).count(".") <= 1 and match.group(1) != ".":
            return in_bytes(float(match.group(1)) * factor)
    elif size > 0:
        return int(size)
    raise InputError(f"max_memory is {size!r}.", 'Give bytes, or text such as "512MB" or "2GiB".')


def default_limit(model: nn.Module) -> float:
    """Return the bytes that a measurement may take by default: twice the weights, and at least 1 GB."""
    return max(1e9, 2.0 * sum(p.numel() * p.element_size() for p in model.parameters()))


def peak_bytes(model: nn.Module, work: Callable[[], Any]) -> int:
    """Return the largest number of bytes in live tensors while `work` runs, those of the model not counted.

    Notes
    -----
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
