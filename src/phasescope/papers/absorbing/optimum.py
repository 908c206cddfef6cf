"""Where a curve that is known at some points has its lowest point."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline


class Optimum(NamedTuple):
    """Position and height of a minimum, and how well the points settle the position."""

    place: float
    height: float
    error: float


def minimum(x: np.ndarray, y: np.ndarray) -> Optimum | None:
    """Return the lowest point of a curve through the points, or None where it lies at an end.

    Shapes: `x` (points,), `y` (points,).
    """
    known = np.isfinite(y)
    x, y = x[known], y[known]
    if x.size < 5:
        return None
    lowest = int(np.argmin(y))
    if lowest in (0, x.size - 1):
        return None
    near = slice(lowest - 1, lowest + 2)
    spline = CubicSpline(x, y)
    turning = spline.derivative().roots(extrapolate=False)
    turning = turning[(turning >= x[near][0]) & (turning <= x[near][-1])]
    if turning.size == 0:
        return None
    place = float(turning[np.argmin(spline(turning))])
    curvature, slope, _ = np.polyfit(x[near] - x[lowest], y[near], 2)
    vertex = float(x[lowest] - slope / (2 * curvature))
    return Optimum(place, float(spline(place)), abs(place - vertex))


def mean_place(optima: list[Optimum | None]) -> tuple[float, float]:
    """Return the mean position over repetitions and its standard error, NaN where one has no minimum."""
    if any(found is None for found in optima) or not optima:
        return math.nan, math.nan
    places = np.array([found.place for found in optima if found is not None])
    common = float(np.mean([found.error for found in optima if found is not None]))
    scatter = float(places.std(ddof=1) / math.sqrt(places.size)) if places.size > 1 else math.nan
    return float(places.mean()), math.hypot(scatter, common)
