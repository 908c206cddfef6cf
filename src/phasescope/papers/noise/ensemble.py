"""Fluctuations of many independent series of one process, held against the exact ones."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from phasescope.noise import expected_fluctuation
from phasescope.noise.fluctuation import fluctuations
from phasescope.papers.noise.config import window_lengths

Array = NDArray[np.float64]
WINDOWS = {500: window_lengths(10, 125, 12), 4096: window_lengths(16, 512, 12)}
"""Windows by length of the series: those of a review, and of a long recording."""

_BLOCK = 100  # series at a time


def against_exact(
    series: Array, windows: NDArray[np.int64], autocovariance: Array
) -> dict[str, Array | float]:
    r"""Return the fluctuations of a process beside the exact ones, and the exponents of both.

    Shapes: `series` (series, time), `windows` (windows,), `autocovariance` (lags,).
    """
    parts = [series[start : start + _BLOCK] for start in range(0, len(series), _BLOCK)]
    profiles = ((part - part.mean(axis=1, keepdims=True)).cumsum(axis=1) for part in parts)
    squares = np.concatenate(
        [fluctuations(profile, windows, 1, both_ends=True, overlap=False) ** 2 for profile in profiles]
    )
    exact = expected_fluctuation(autocovariance, windows)
    mean = squares.mean(axis=0)
    plain = 2 * single_slopes(np.log(squares) / 2, windows) - 1
    scatter = single_slopes(squares / mean, windows)
    root = math.sqrt(len(series))
    return {
        "fluctuation": np.sqrt(mean),
        "exact": exact,
        "beta": float(single_slopes(np.log(mean), windows) - 1),
        "beta_error": float(scatter.std(ddof=1) / root),
        "exact_beta": float(2 * single_slopes(np.log(exact), windows) - 1),
        "distance": _hotelling(squares / exact**2 - 1),
        "plain_beta": float(plain.mean()),
        "plain_beta_error": float(plain.std(ddof=1) / root),
    }


def single_slopes(logarithms: Array, windows: NDArray[np.int64]) -> Array:
    """Return slopes against ``ln n`` by ordinary least squares, shape (...,).

    Shapes: `logarithms` (..., windows), `windows` (windows,).
    """
    u = np.log(windows) - np.log(windows).mean()
    return np.asarray(logarithms @ u / (u @ u))


def _hotelling(differences: Array) -> float:
    """Return the distance of the mean from zero; its law is F(windows, series - windows)."""
    n, p = differences.shape
    mean, covariance = differences.mean(axis=0), np.cov(differences, rowvar=False) / n
    squared = mean @ np.linalg.solve(covariance, mean)
    return float(squared * (n - p) / (p * (n - 1)))
