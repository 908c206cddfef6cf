"""How the logarithm of the fluctuation function scatters, and straight lines through it that know."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from phasescope.noise.fluctuation import fluctuations, in_chunks
from phasescope.noise.generators import arfima, fractional_gaussian_noise

Array = NDArray[np.float64]
_SEED = 20230120
_VALUES = 2**22
_FEWEST_SERIES, _MOST_SERIES = 192, 2048
_BLOCK = 2**20
_SPACING = 0.25
# Fractional Gaussian noise with H = 1 is a constant, and its sum with H = 0 is white noise.
_MARGIN = 0.02
STEP = 0.02


@dataclass(frozen=True)
class Grid:
    """The windows of a measurement; what the scatter of ``ln F`` depends on, beside the exponent."""

    length: int  # values of a series
    windows: tuple[int, ...]  # lengths n of the windows in the fit
    order: int  # of detrending
    # both_ends, overlap: see :func:`phasescope.noise.windows.tilings`
    both_ends: bool
    overlap: bool

    @property
    def largest(self) -> float:
        """Largest exponent that is simulated."""
        return self.order + 1 - _MARGIN


@dataclass(frozen=True)
class Line:
    """Generalised least squares of ``ln F`` against ``ln n`` as one product per series."""

    # slope, curvature: (windows,): weights of ``ln F`` that give the exponent from a straight line, and the
    # quadratic term of a parabola
    slope: Array
    # slope_error, curvature_error: one standard error
    slope_error: float
    # slope_bias, curvature_bias: what the bend of short windows adds to each
    slope_bias: float
    curvature: Array
    curvature_error: float
    curvature_bias: float


@lru_cache(maxsize=512)
def line(grid: Grid, alpha: float, divided_by: tuple[float, ...] | None = None) -> Line:
    """Return the straight line through ``ln F`` where the exponent is about `alpha`.

    Notes
    -----
    Weights ``(X^T C^-1 X)^-1 X^T C^-1`` with C the covariance of ``ln F``, linearly interpolated between
    exponents 0.25 apart. As C comes from a finite number of series, variances grow by the factor that keeps
    them unbiased (Rao 1967).
    """
    alpha = min(max(alpha, _MARGIN), grid.largest)
    mean, rise, covariance, series = _interpolated(grid, alpha)
    if divided_by is not None:
        mean = mean - np.log(divided_by)
    u = np.log(grid.windows) - np.mean(np.log(grid.windows))
    slope, slope_error = _least_squares(np.stack([np.ones_like(u), u], axis=1), covariance, series)
    # The slope of noise with exponent alpha grows not quite as alpha does.
    response = float(slope @ rise)
    slope, slope_error = slope / response, slope_error / response
    columns = np.stack([np.ones_like(u), u, u**2], axis=1)
    curvature, curvature_error = _least_squares(columns, covariance, series)
    return Line(
        slope,
        slope_error,
        float(slope @ mean) - alpha,
        curvature,
        curvature_error,
        float(curvature @ mean),
    )


def _least_squares(columns: Array, covariance: Array, series: int) -> tuple[Array, float]:
    """Return the weights and the error of the last column's coefficient."""
    solved = np.linalg.solve(covariance, columns)
    inverse = np.linalg.inv(columns.T @ solved)
    extra = columns.shape[0] - columns.shape[1]
    growth = (series - 1) / (series - 1 - extra) * (series - 2) / (series - 2 - extra)
    return (solved @ inverse)[:, -1], math.sqrt(float(inverse[-1, -1]) * growth)


def _interpolated(grid: Grid, alpha: float) -> tuple[Array, Array, Array, int]:
    """Return mean of ``ln F``, its derivative by the exponent, covariance and number of series."""
    below = min(math.floor(alpha / _SPACING), round((grid.order + 1) / _SPACING) - 1)
    low, high = (_node(below + step) for step in (0, 1))
    share = min(max((alpha - low) / (high - low), 0.0), 1.0)
    start, end = log_moments(grid, low), log_moments(grid, high)
    mean = (1 - share) * start[0] + share * end[0]
    covariance = (1 - share) * start[1] + share * end[1]
    return mean, (end[0] - start[0]) / (high - low), covariance, start[2]


def _node(step: int) -> float:
    """Return the exponent of a simulation: a multiple of a quarter, kept off degenerate whole numbers."""
    alpha = step * _SPACING
    return alpha if alpha % 1 else max(alpha - _MARGIN, _MARGIN)


@lru_cache(maxsize=128)
def log_moments(grid: Grid, alpha: float) -> tuple[Array, Array, int]:
    """Return mean and covariance of ``ln F`` over simulated series, and how many series they come from.

    Notes
    -----
    Sampled fractional Brownian motion would be no straight line: with alpha just above 1 it is nearly white
    between neighbours. Sums of ARFIMA have the spectrum ``(2 sin(pi f))^-(2 alpha - 1)`` at every frequency.
    The same seeded white noise for every exponent, so the moments change smoothly with it. Four million
    values, in no fewer than 192 and no more than 2048 series. Cost: some 0.4 s up to N = 16384, 2 s for
    N = 65536 and in proportion above; remembered while the process lives.
    """
    series = min(max(_VALUES // grid.length, _FEWEST_SERIES), _MOST_SERIES)
    random = np.random.default_rng(_SEED)
    sums = math.ceil(alpha) - 1
    windows = np.array(grid.windows)

    def measured(chunk: Array) -> Array:
        for _ in range(sums):
            chunk = chunk.cumsum(axis=1)
        profile = (chunk - chunk.mean(axis=1)[:, None]).cumsum(axis=1)
        return fluctuations(profile, windows, grid.order, both_ends=grid.both_ends, overlap=grid.overlap)

    found: list[Array] = []
    block = max(1, _BLOCK // grid.length)
    for start in range(0, series, block):
        size = min(block, series - start)
        found += in_chunks(_noise(alpha, grid.length, size, random), measured, most_threads=1)
    logarithms = np.log(np.concatenate(found))
    return logarithms.mean(axis=0), np.atleast_2d(np.cov(logarithms, rowvar=False)), series


def _noise(alpha: float, length: int, size: int, random: np.random.Generator) -> Array:
    """Return what summed ``ceil(alpha) - 1`` times has the exponent."""
    if alpha < 1:
        return fractional_gaussian_noise(alpha, length, size=size, seed=random)
    return arfima(alpha - math.ceil(alpha) + 0.5, length, size=size, seed=random)
