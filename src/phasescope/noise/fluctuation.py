"""The fluctuation function F(n): its windows, measured on many series at once, and expected of a process."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import ThreadpoolController

from phasescope.errors import InputError

Array = NDArray[np.float64]
_Result = TypeVar("_Result")

_ORDERS = (1, 2, 3)
# Below these the fluctuation function of white noise is not yet a power law (exponent off by 0.006 or more).
SHORTEST = {1: 10, 2: 16, 3: 20}
_COUNT = 16
_WINDOWS_AT_LEAST = 8

_CACHE_VALUES = 2**16  # half a megabyte of profile: a chunk and its windows stay in the second-level cache
_DEVICE_VALUES = 2**24
_CANCELLED = 1e-3
WATCHED = 2  # lengths whose windows are looked at one by one: a value at the edge of one is inside another
_STRIDE = 8  # the size of a profile is as well seen at some of its values

# Series in compiled code at a time: their sums fill vector registers, and none waits for the one before.
LANES = 32
_WORTHWHILE = 2**25  # values in windows; with much fewer, loading the compiler takes longer than it saves
_LONGEST = 2**18  # values of a series: 64 MB of profiles a thread


def checked_order(order: int) -> int:
    """Return the order of detrending, if it is one of those that there are."""
    if isinstance(order, bool) or order not in _ORDERS:
        raise InputError(f"order = {order!r}.", "Choose 1, 2 or 3.")
    return int(order)


def default_windows(length: int, order: int) -> NDArray[np.int64]:
    """Up to 16 window lengths, evenly spaced in logarithm; none where they would not span a factor 2."""
    shortest, longest = SHORTEST[order], length // _WINDOWS_AT_LEAST
    if longest < 2 * shortest:
        return np.empty(0, dtype=np.int64)
    return np.unique(np.geomspace(shortest, longest, _COUNT).round().astype(np.int64))


def shortest_length(order: int) -> int:
    """Return how many values a series needs for default windows that span a factor of 2."""
    return 2 * SHORTEST[order] * _WINDOWS_AT_LEAST


def checked_windows(windows: ArrayLike, length: int | None, order: int) -> NDArray[np.int64]:
    """Return window lengths ascending, each once."""
    given = np.asarray(windows)
    integers = given.dtype.kind in "iu" or (given.dtype.kind == "f" and bool((given == np.rint(given)).all()))
    if given.ndim != 1 or given.size == 0 or not integers:
        raise InputError(f"windows = {windows!r}.", "Give a list of window lengths, as integers.")
    found = np.unique(given.astype(np.int64))
    if found[0] < order + 2:
        raise InputError(
            f"A window of {found[0]} values is fitted exactly by a polynomial of degree {order}.",
            f"Choose windows of at least {order + 2} values.",
        )
    if length is not None and found[-1] > length:
        raise InputError(
            f"A window of {found[-1]} values is longer than the series, which has {length}.",
            f"Choose windows of up to {length // _WINDOWS_AT_LEAST} values, an eighth of the series.",
        )
    return found


def scaled_fluctuations(
    x: Any,
    centre: Any,
    scale: Any,
    windows: NDArray[np.int64],
    order: int,
    *,
    both_ends: bool,
    overlap: bool,
    compiled: bool = False,
) -> tuple[Array, Array, Array]:
    """Return F(n) of ``(x - centre)/scale``, about the largest value of each profile, and the largest shares.

    They are the shares of F^2(n) that one window brings, for the first lengths.

    Notes
    -----
    Compiled code, for arrays, gives the same to rounding. It reads each value once a window length, for all
    sums of its window: some four times as fast as thin matrix products. It needs 256 bytes a time step, for
    the profiles of 32 series.

    Shapes: `x` (series, time) in double precision, `centre` and `scale` (series,), `windows` (windows,).
    """
    if not compiled:
        xp: Any = np if isinstance(x, np.ndarray) else torch
        scaled = x - centre[:, None]
        scaled /= scale[:, None]
        profile = scaled.cumsum(1)
        tiled = [tilings(x.shape[1], n, both_ends=both_ends, overlap=overlap) for n in windows.tolist()]
        found, share = tiled_fluctuations(profile, windows, order, tiled)
        return found, as_numpy(xp.amax(abs(profile[:, ::_STRIDE]), 1)), share
    rows = np.array(
        [
            (place, first, count)
            for place, window in enumerate(windows.tolist())
            for first, count in tilings(x.shape[1], window, both_ends=both_ends, overlap=overlap)
        ],
        dtype=np.int64,
    )
    bases = np.concatenate([_polynomial_basis(window, order) for window in windows.tolist()])
    aligned = np.require(x, requirements=["C", "A"])
    squares, highest, largest = _compiled()(aligned, centre, scale, windows, rows, bases)
    counts = np.bincount(rows[:, 0], rows[:, 2], len(windows))
    first = squares[:, :WATCHED]
    share = largest[:, : first.shape[1]] / np.where(first > 0, first, np.inf)
    return np.sqrt(squares / (windows * counts)), highest, share


def fluctuations(
    profile: Any, windows: NDArray[np.int64], order: int, *, both_ends: bool, overlap: bool
) -> Array:
    """Return ``F(n) = sqrt(mean over windows of RSS/n)`` of profiles that fit in memory at once.

    Notes
    -----
    With the windows W centred at their first values and an orthonormal basis Q of the polynomials,
    ``RSS = |W|^2 - |W Q|^2``: one thin matrix product instead of a fit. Where that difference keeps less than
    a thousandth of ``|W|^2``, the residual ``W - W Q Q^T`` itself is squared instead.

    Shapes: `profile` (series, time) in double precision, `windows` (windows,).
    """
    tiled = [tilings(profile.shape[1], n, both_ends=both_ends, overlap=overlap) for n in windows.tolist()]
    return tiled_fluctuations(profile, windows, order, tiled)[0]


def tiled_fluctuations(
    profile: Any, windows: NDArray[np.int64], order: int, tiled: list[list[tuple[int, int]]]
) -> tuple[Array, Array]:
    """Return F(n) over given rows of windows, and the shares of F^2 that one brings at the first lengths."""
    series = len(profile)
    found, share = np.empty((series, len(windows))), np.zeros((series, min(WATCHED, len(windows))))
    for place, window in enumerate(windows.tolist()):
        rows = tiled[place]
        basis = _as_in(profile, _polynomial_basis(window, order))
        parts = [
            _squared_residuals(profile, first, count, basis, watched=place < WATCHED) for first, count in rows
        ]
        total = as_numpy(sum(squares for squares, _ in parts))
        found[:, place] = total / (window * sum(count for _, count in rows))
        if place < WATCHED:
            largest = np.max([as_numpy(top) for _, top in parts], axis=0)
            share[:, place] = largest / np.where(total > 0, total, np.inf)
    return np.sqrt(found), share


def tilings(length: int, window: int, *, both_ends: bool, overlap: bool) -> list[tuple[int, int]]:
    """Return rows of adjacent windows as (first value, number of windows).

    One row starts at the first value, with `both_ends` another ends at the last; with `overlap` there are as
    many again, shifted by half a window.
    """
    found = set()
    for shift in (0, window // 2) if overlap else (0,):
        count = (length - shift) // window
        if count:
            found.add((shift, count))
            if both_ends:
                found.add((length - shift - count * window, count))
    return sorted(found)


@lru_cache(maxsize=512)
def _polynomial_basis(window: int, order: int) -> Array:
    """Return an orthonormal basis, shape (window, order + 1), of polynomials on the points of a window."""
    points = np.linspace(-1, 1, window)
    basis = np.linalg.qr(np.polynomial.legendre.legvander(points, order))[0]
    basis.flags.writeable = False
    return basis


def _squared_residuals(profile: Any, first: int, count: int, basis: Any, *, watched: bool) -> tuple[Any, Any]:
    """Return the summed squares of each series' residuals in one row of adjacent windows.

    The second is about the largest sum in one window, if `watched`.
    """
    series, window = len(profile), len(basis)
    inside = profile[:, first : first + count * window].reshape(series, count, window)
    centred = (inside - inside[:, :, :1]).reshape(series * count, window)
    projected = centred @ basis
    largest: Any = None
    if watched:
        xp: Any = np if isinstance(profile, np.ndarray) else torch
        energies = xp.einsum("ij,ij->i", centred, centred).reshape(series, count)
        one = energies - sum(projected[:, degree] ** 2 for degree in range(basis.shape[1])).reshape(
            series, count
        )
        energy, squares, largest = energies.sum(1), one.sum(1), xp.amax(one, 1)
    else:
        energy = _row_energy(centred.reshape(series, -1))
        squares = energy - _row_energy(projected.reshape(series, -1))
    cancelled = squares < _CANCELLED * energy
    if bool(cancelled.any()):
        some = centred.reshape(series, count, window)[cancelled]
        coefficients = projected.reshape(series, count, -1)[cancelled]
        squares[cancelled] = _row_energy((some - coefficients @ basis.T).reshape(len(some), -1))
    return squares, largest


def squares_by_window(
    profile: Array, window: int, order: int, *, both_ends: bool, overlap: bool
) -> tuple[NDArray[np.int64], Array]:
    """Return where the windows of one profile begin, and the squared residuals in each."""
    rows = tilings(len(profile), window, both_ends=both_ends, overlap=overlap)
    basis = _polynomial_basis(window, order)
    starts = [first + window * np.arange(count) for first, count in rows]
    squares = []
    for first, count in rows:
        inside = profile[first : first + count * window].reshape(count, window)
        centred = inside - inside[:, :1]
        squares.append(((centred - (centred @ basis) @ basis.T) ** 2).sum(axis=1))
    return np.concatenate(starts), np.concatenate(squares)


def _as_in(profile: Any, basis: Array) -> Any:
    return basis if isinstance(profile, np.ndarray) else torch.tensor(basis, device=profile.device)


def _row_energy(rows: Any) -> Any:
    # As products of a row and a column: a BLAS dot product, faster than einsum or squaring and summing.
    return (rows[:, None, :] @ rows[:, :, None])[:, 0, 0]


def as_numpy(values: Any) -> NDArray[Any]:
    """Return an array, or the numbers of a tensor on any device."""
    return values if isinstance(values, np.ndarray) else values.cpu().numpy()


def worthwhile(series: int, length: int, windows: int) -> bool:
    """Whether a batch on the CPU is large enough for compiled code, and numba is there to compile it."""
    large = series >= LANES // 4 and series * length * windows >= _WORTHWHILE
    return large and length <= _LONGEST and _compiled() is not None


@lru_cache(maxsize=1)
def _compiled() -> Any:
    """Return :func:`_residuals_in_lanes` as machine code, kept on disk where possible; None without numba."""
    try:
        import numba
    except ImportError:  # it is an extra, and refuses versions of numpy that it does not know
        return None
    vector = numba.float64[::1]
    # Arrays that cannot be written to are of another type, as which others pass too.
    matrix = numba.types.Array(numba.float64, 2, "C", readonly=True)
    signature = (matrix, vector, vector, numba.int64[::1], numba.int64[:, ::1], matrix)
    try:
        return numba.njit(signature, nogil=True, cache=True)(_residuals_in_lanes)
    except RuntimeError:  # neither the package's folder nor the user's can be written to
        return numba.njit(signature, nogil=True)(_residuals_in_lanes)


def _residuals_in_lanes(
    x: Array,
    centre: Array,
    scale: Array,
    windows: NDArray[np.int64],
    rows: NDArray[np.int64],
    bases: Array,
) -> tuple[Array, Array, Array]:
    """Return summed squared residuals, shape (series, windows), and two maxima of each series.

    They are about the largest value of the profile, and the largest sums in one window of the first lengths.
    Shapes: `rows` (rows, 3) of the place of the window, its first value and the number of windows; `bases`
    (sum of windows, order + 1).
    """
    # Series lie side by side in `profile`, so that every innermost loop runs over them.
    series, length = x.shape
    degrees = bases.shape[1]
    found = np.zeros((series, len(windows)))
    highest, largest = np.zeros(series), np.zeros((series, WATCHED))
    profile = np.zeros((length, LANES))
    start, energy = np.empty(LANES), np.empty(LANES)
    constant, linear, more = np.empty(LANES), np.empty(LANES), np.empty((degrees, LANES))
    for block in range(0, series, LANES):
        here = min(LANES, series - block)
        for lane in range(here):
            row, total = block + lane, 0.0
            for time in range(length):
                total += (x[row, time] - centre[row]) / scale[row]
                profile[time, lane] = total
                if time % _STRIDE == 0:
                    highest[row] = max(highest[row], abs(total))
        for place, first, count in rows:
            window, offset = windows[place], windows[:place].sum()
            basis = bases[offset : offset + window]
            for number in range(count):
                inside = profile[first + number * window : first + (number + 1) * window]
                for lane in range(LANES):
                    start[lane] = inside[0, lane]
                    energy[lane] = constant[lane] = linear[lane] = 0.0
                more[:] = 0.0
                for time in range(window):
                    values, zeroth, first_degree = inside[time], basis[time, 0], basis[time, 1]
                    for lane in range(LANES):
                        value = values[lane] - start[lane]
                        energy[lane] += value * value
                        constant[lane] += zeroth * value
                        linear[lane] += first_degree * value
                    for degree in range(2, degrees):
                        weight, sums = basis[time, degree], more[degree]
                        for lane in range(LANES):
                            sums[lane] += weight * (values[lane] - start[lane])
                more[0], more[1] = constant, linear
                for lane in range(here):
                    squares = energy[lane]
                    for degree in range(degrees):
                        squares -= more[degree, lane] ** 2
                    if squares < _CANCELLED * energy[lane]:
                        squares = 0.0
                        for time in range(window):
                            value = inside[time, lane] - start[lane]
                            for degree in range(degrees):
                                value -= basis[time, degree] * more[degree, lane]
                            squares += value * value
                    found[block + lane, place] += squares
                    if place < WATCHED:
                        largest[block + lane, place] = max(largest[block + lane, place], squares)
    return found, highest, largest


def in_chunks(
    x: Any, work: Callable[[Any], _Result], *, most_threads: int, multiple: int = 1
) -> list[_Result]:
    """Return `work` of all chunks of the series of x, shape (series, time), in order.

    A chunk fits the cache of a core, or a fixed part of a device's memory, and holds `multiple` series or a
    multiple of that.
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


def expected_fluctuation(autocovariance: ArrayLike, windows: ArrayLike, order: int = 1) -> Array:
    """Return the exact ``F(n) = sqrt(E F^2(n))`` of a stationary process, shape (..., windows).

    Parameters
    ----------
    autocovariance : array of shape (..., lags)
        ``r(0), r(1), ...`` in squared units of x, at least as many as the longest window.
    windows : array of int
        Lengths n, at least order + 2; the result follows them sorted, each once.
    order : int
        Degree of the polynomials, 1, 2 or 3.

    Raises
    ------
    InputError
        If there are fewer lags than the longest window needs, or they are not finite real numbers.

    Notes
    -----
    ``E F^2(n) = tr[(1 - P) L R L^T]/n`` with R the autocovariance matrix of n values, L their running sums
    and P the projection on polynomials. The trace is a weighted sum of the autocovariance; as its weights sum
    to zero, it takes the differences ``r(k) - r(n - 1)``, which keeps the digits of long memories. No other
    property of the process enters. Fails: processes that are not stationary have no such R. Cost: one FFT of
    two to four times n a window and degree. Source: derived here; for order 1 compare Hoell and Kantz, Eur.
    Phys. J. B 88, 126 (2015).

    Examples
    --------
    >>> white = [1.0] + [0.0] * 99
    >>> print(expected_fluctuation(white, [10, 100]) ** 2)        # (n^2 - 4)/(15 n)
    [0.64  6.664]
    """
    order = checked_order(order)
    lengths = checked_windows(windows, None, order)
    given = np.asarray(autocovariance)
    if given.ndim == 0 or given.dtype.kind not in "iuf" or not np.isfinite(given).all():
        raise InputError(
            "The autocovariance is not a list of finite real numbers.", "Give r(0), r(1), ... as floats."
        )
    if given.shape[-1] < lengths[-1]:
        raise InputError(
            f"{given.shape[-1]} lags of the autocovariance do not reach across {lengths[-1]} values.",
            f"Give at least {lengths[-1]}; pad with zeros where it has died out.",
        )
    r = given.astype(np.float64)
    squares = [(r[..., :n] - r[..., n - 1 : n]) @ lag_weights(n, order) for n in lengths.tolist()]
    return np.asarray(np.sqrt(np.maximum(np.stack(squares, axis=-1), 0.0)))


def lag_weights(window: int, order: int) -> Array:
    """Return the weights w with ``E F^2(n) = sum_k w_k r(k)``; they sum to zero."""
    left = window - np.arange(window)
    # Diagonal sums of L^T (1 - P_0) L, whose entries are a (n - b)/n for a <= b, as of a Brownian bridge.
    summed = left * (left**2 - 1.0) / (6 * window)
    basis = _polynomial_basis(window, order)[:, 1:]
    ahead = np.cumsum(basis[::-1], axis=0)[::-1]
    period = 2 ** (2 * window - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(ahead, n=period, axis=0)) ** 2
    summed -= np.fft.irfft(spectrum.sum(axis=1), n=period)[:window]
    summed[1:] *= 2
    return np.asarray(summed / window)


def white_noise_correction(windows: NDArray[np.int64], order: int) -> Array:
    """Return F(n) of white noise over its asymptote ``~ sqrt(n)``: ``sqrt(1 - (order + 1)^2/n^2)``.

    With p the order, ``F^2(n) = (p + 1)(n^2 - (p + 1)^2)/(2 (2p + 1)(2p + 3) n)``.
    """
    return np.asarray(np.sqrt(1 - ((order + 1) / windows) ** 2))
