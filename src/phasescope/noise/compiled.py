"""The same fluctuation functions by compiled code, for batches large enough to be worth the compiler."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasescope.noise.fluctuation import CANCELLED, STRIDE, polynomial_basis
from phasescope.noise.windows import tilings

Array = NDArray[np.float64]
LANES = 32  # series worked on at a time: their sums fill vector registers, and none waits for the one before
_WORTHWHILE = 2**25  # values in windows; with much fewer, loading the compiler takes longer than it saves
_LONGEST = 2**18  # values of a series: 64 MB of profiles a thread


def worthwhile(series: int, length: int, windows: int) -> bool:
    """Whether a batch on the CPU is large enough for compiled code, and numba is there to compile it."""
    large = series >= LANES // 4 and series * length * windows >= _WORTHWHILE
    return large and length <= _LONGEST and _compiled() is not None


def compiled_fluctuations(
    x: Array,
    centre: Array,
    scale: Array,
    windows: NDArray[np.int64],
    order: int,
    *,
    both_ends: bool,
    overlap: bool,
) -> tuple[Array, Array]:
    """Return what :func:`phasescope.noise.fluctuation.scaled_fluctuations` returns, to rounding.

    Notes
    -----
    Each value is read once a window length, for all sums of its window: some four times as fast as thin
    matrix products. Needs 256 bytes a time step, for the profiles of 32 series.

    Shapes: `x` (series, time), `centre` and `scale` (series,), `windows` (windows,).
    """
    length = x.shape[1]
    rows = [
        (place, first, count)
        for place, window in enumerate(windows.tolist())
        for first, count in tilings(length, window, both_ends=both_ends, overlap=overlap)
    ]
    bases = [polynomial_basis(window, order) for window in windows.tolist()]
    table = np.concatenate([np.empty((0, order + 1)), *bases])
    squares, highest = _compiled()(
        np.require(x, requirements=["C", "A"]), centre, scale, windows, np.array(rows, dtype=np.int64), table
    )
    counts = np.bincount([row[0] for row in rows], [row[2] for row in rows], len(windows))
    return np.sqrt(squares / (windows * counts)), highest


@lru_cache(maxsize=1)
def _compiled() -> Any:
    """Return :func:`_squared_residuals` as machine code, kept on disk where possible; None without numba."""
    try:
        import numba
    except ImportError:  # it is an extra, and refuses versions of numpy that it does not know
        return None
    vector = numba.float64[::1]
    # Arrays that cannot be written to are of another type, as which others pass too.
    matrix = numba.types.Array(numba.float64, 2, "C", readonly=True)
    signature = (matrix, vector, vector, numba.int64[::1], numba.int64[:, ::1], matrix)
    try:
        return numba.njit(signature, nogil=True, cache=True)(_squared_residuals)
    except RuntimeError:  # neither the package's folder nor the user's can be written to
        return numba.njit(signature, nogil=True)(_squared_residuals)


def _squared_residuals(
    x: Array,
    centre: Array,
    scale: Array,
    windows: NDArray[np.int64],
    rows: NDArray[np.int64],
    table: Array,
) -> tuple[Array, Array]:
    # Series lie side by side in `profile`, so that every innermost loop runs over them.
    series, length = x.shape
    degrees = table.shape[1]
    found = np.zeros((series, len(windows)))
    highest = np.zeros(series)
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
                if time % STRIDE == 0:
                    highest[row] = max(highest[row], abs(total))
        offset, last = 0, -1
        for place, first, count in rows:
            if place != last and last >= 0:
                offset += windows[last]
            last = place
            window = windows[place]
            basis = table[offset : offset + window]
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
                    if squares < CANCELLED * energy[lane]:
                        squares = 0.0
                        for time in range(window):
                            value = inside[time, lane] - start[lane]
                            for degree in range(degrees):
                                value -= basis[time, degree] * more[degree, lane]
                            squares += value * value
                    found[block + lane, place] += squares
    return found, highest
