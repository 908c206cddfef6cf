"""Detrended fluctuation analysis as its definition reads: one polynomial fit a window."""

import numpy as np


def fluctuation(x, windows, order, *, both_ends=False, overlap=False):
    """F(n) of one series: root of the mean over windows of the mean squared residual."""
    x = np.asarray(x, dtype=np.float64)
    profile = np.cumsum(x - x.mean())
    found = []
    for n in windows:
        starts = set()
        for shift in (0, n // 2) if overlap else (0,):
            first = shift
            while first + n <= len(x):
                starts.add(first)
                first += n
            first = len(x) - shift - n
            while both_ends and first >= 0:
                starts.add(first)
                first -= n
        if both_ends and len(x) % n == 0 and not overlap:
            assert len(starts) == len(x) // n
        k = np.linspace(-1, 1, n)
        squares = []
        for first in starts:
            inside = profile[first : first + n] - profile[first]
            squares.append(np.mean((inside - np.polyval(np.polyfit(k, inside, order), k)) ** 2))
        found.append(np.sqrt(np.mean(squares)))
    return np.array(found)
