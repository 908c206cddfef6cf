"""The batched kernel: root mean square residuals of a profile about polynomials in windows."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from phasescope.noise.windows import tilings

Array = NDArray[np.float64]
_Result = TypeVar("_Result")
_CACHE_VALUES = 2**16  # half a megabyte of profile: a chunk and its windows stay in the second-level cache
_DEVICE_VALUES = 2**24
CANCELLED = 1e-3
STRIDE = 8  # the size of a profile is as well seen at some of its values


def scaled_fluctuations(
    x: Any,
    centre: Any,
    scale: Any,
    windows: NDArray[np.int64],
    order: int,
    *,
    both_ends: bool,
    overlap: bool,
) -> tuple[Array, Array]:
    """Return F(n) of ``(x - centre)/scale``, and about the largest absolute value of each profile.

    Shapes: `x` (series, time), `centre` and `scale` (series,), `windows` (windows,).
    """
    xp: Any = np if isinstance(x, np.ndarray) else torch
    scaled = x - centre[:, None]
    scaled /= scale[:, None]
    profile = scaled.cumsum(1)
    found = fluctuations(profile, windows, order, both_ends=both_ends, overlap=overlap)
    return found, _numpy(xp.amax(abs(profile[:, ::STRIDE]), 1))


def fluctuations(
    profile: Any, windows: NDArray[np.int64], order: int, *, both_ends: bool, overlap: bool
) -> Array:
    """Return ``F(n) = sqrt(mean over windows of RSS/n)`` of profiles that fit in memory at once.

    Notes
    -----
    With the windows W centred at their first values and an orthonormal basis Q of the polynomials,
    ``RSS = |W|^2 - |W Q|^2``: one thin matrix product instead of a fit. Where that difference keeps less than
    a thousandth of ``|W|^2``, the residual ``W - W Q Q^T`` itself is squared instead.

    Shapes: `profile` (series, time), `windows` (windows,).
    """
    series, length = profile.shape
    found = np.empty((series, len(windows)))
    for place, window in enumerate(windows.tolist()):
        rows = tilings(length, window, both_ends=both_ends, overlap=overlap)
        basis = _on_device_of(profile, polynomial_basis(window, order))
        total = sum(_squared_residuals(profile, first, count, basis) for first, count in rows)
        found[:, place] = _numpy(total) / (window * sum(count for _, count in rows))
    return np.sqrt(found)


def in_chunks(
    x: Any, work: Callable[[Any], _Result], *, most_threads: int, multiple: int = 1
) -> list[_Result]:
    """Return `work` of all chunks of series, in order.

    Shapes: `x` (series, time).
    """
    series, length = x.shape
    size = max(1, (_CACHE_VALUES if isinstance(x, np.ndarray) else _DEVICE_VALUES) // length)
    size = -(-size // multiple) * multiple
    chunks = [x[start : start + size] for start in range(0, series, size)]
    threads = min(most_threads, len(chunks) // 4) if isinstance(x, np.ndarray) else 1
    # Matrix products this thin are slower on several threads, and would wait for those of other chunks.
    with _libraries().limit(limits=1, user_api="blas"):
        if threads < 2:
            return [work(chunk) for chunk in chunks]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(work, chunks))


@lru_cache(maxsize=1)
def _libraries() -> ThreadpoolController:
    """Return the numerical libraries of this process; finding them takes longer than many a measurement."""
    return ThreadpoolController()


@lru_cache(maxsize=512)
def polynomial_basis(window: int, order: int) -> Array:
    """Return an orthonormal basis, shape (window, order + 1), of polynomials on the points of a window."""
    points = np.linspace(-1, 1, window)
    basis = np.linalg.qr(np.polynomial.legendre.legvander(points, order))[0]
    basis.flags.writeable = False
    return basis


def _squared_residuals(profile: Any, first: int, count: int, basis: Any) -> Any:
    """Return the summed squares of each series' residuals in one row of adjacent windows."""
    series, window = len(profile), len(basis)
    inside = profile[:, first : first + count * window].reshape(series, count, window)
    centred = (inside - inside[:, :, :1]).reshape(series * count, window)
    projected = centred @ basis
    energy = _row_energy(centred.reshape(series, -1))
    squares = energy - _row_energy(projected.reshape(series, -1))
    cancelled = squares < CANCELLED * energy
    if bool(cancelled.any()):
        some = centred.reshape(series, count, window)[cancelled]
        coefficients = projected.reshape(series, count, -1)[cancelled]
        squares[cancelled] = _row_energy((some - coefficients @ basis.T).reshape(len(some), -1))
    return squares


def _row_energy(rows: Any) -> Any:
    # As products of a row and a column: a BLAS dot product, faster than einsum or squaring and summing.
    return (rows[:, None, :] @ rows[:, :, None])[:, 0, 0]


def _on_device_of(profile: Any, values: Array) -> Any:
    if isinstance(profile, np.ndarray):
        return values
    return torch.tensor(values, device=profile.device)


def _numpy(values: Any) -> Array:
    return values if isinstance(values, np.ndarray) else values.cpu().numpy()
