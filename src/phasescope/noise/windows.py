"""Which windows a fluctuation function is measured in, and where along the series they lie."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phasescope.errors import InputError

ORDERS = (1, 2, 3)
# Below these the fluctuation function of white noise is not yet a power law (exponent off by 0.006 or more).
_SHORTEST = {1: 10, 2: 16, 3: 20}
_COUNT = 16
_WINDOWS_AT_LEAST = 8


def checked_order(order: int) -> int:
    """Return the order of detrending."""
    if isinstance(order, bool) or order not in ORDERS:
        raise InputError(f"order = {order!r}.", "Choose 1, 2 or 3.")
    return int(order)


def default_windows(length: int, order: int) -> NDArray[np.int64]:
    """Up to 16 window lengths, evenly spaced in logarithm; none where they would not span a factor 2."""
    shortest, longest = _SHORTEST[order], length // _WINDOWS_AT_LEAST
    if longest < 2 * shortest:
        return np.empty(0, dtype=np.int64)
    return np.unique(np.geomspace(shortest, longest, _COUNT).round().astype(np.int64))


def shortest_length(order: int) -> int:
    """Return how many values a series needs for default windows that span a factor of 2."""
    return 2 * _SHORTEST[order] * _WINDOWS_AT_LEAST


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


def tilings(length: int, window: int, *, both_ends: bool, overlap: bool) -> list[tuple[int, int]]:
    """Return rows of adjacent windows as (first value, number of windows)."""
    found = set()
    for shift in (0, window // 2) if overlap else (0,):
        count = (length - shift) // window
        if count:
            found.add((shift, count))
            if both_ends:
                found.add((length - shift - count * window, count))
    return sorted(found)


def fitted_subset(windows: NDArray[np.int64], most: int) -> NDArray[np.intp]:
    """Return the places of at most `most` of the windows, evenly spaced in logarithm."""
    if len(windows) <= most:
        return np.arange(len(windows))
    wanted = np.geomspace(windows[0], windows[-1], most)
    places = np.searchsorted(windows[:-1] * np.sqrt(windows[1:] / windows[:-1]), wanted)
    return np.unique(places)
