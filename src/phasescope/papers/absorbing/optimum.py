"""Where a curve that is known at some points has its lowest point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline


class Optimum(NamedTuple):
    """Position of a minimum, and how well the points settle it; NaN where there is none."""

    place: float
    error: float


_NONE = Optimum(math.nan, math.nan)


def minimum(x: np.ndarray, y: np.ndarray) -> Optimum:
    """Return the lowest point of a cubic spline through the points; none where it lies at an end.

    The error is the distance to the vertex of the parabola through the lowest three. Shapes: `x` (points,),
    ascending, and `y` (points,), NaN where unknown; at least five known values, without a gap, are needed.
    """
    known = np.isfinite(y)
    x, y = x[known], y[known]
    if x.size < 5:
        return _NONE
    lowest = int(np.argmin(y))
    if lowest in (0, x.size - 1):
        return _NONE
    near = slice(lowest - 1, lowest + 2)
    spline = CubicSpline(x, y)
    turning = spline.derivative().roots(extrapolate=False)
    turning = turning[(turning >= x[near][0]) & (turning <= x[near][-1])]
    if turning.size == 0:
        return _NONE
    place = float(turning[np.argmin(spline(turning))])
    curvature, slope, _ = np.polyfit(x[near] - x[lowest], y[near], 2)
    vertex = float(x[lowest] - slope / (2 * curvature))
    return Optimum(place, abs(place - vertex))


def mean_place(optima: Sequence[Optimum]) -> tuple[float, float]:
    """Return the mean position over repetitions and its standard error, NaN where one has no minimum.

    The error of the interpolation is common to the repetitions and does not average out.
    """
    places, errors = np.reshape(optima, (-1, 2)).T
    if not places.size or not np.isfinite(places).all():
        return math.nan, math.nan
    scatter = float(places.std(ddof=1) / math.sqrt(places.size)) if places.size > 1 else math.nan
    return float(places.mean()), math.hypot(scatter, float(errors.mean()))
