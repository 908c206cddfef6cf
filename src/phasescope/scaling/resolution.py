"""How finely a master curve has to be drawn, and what interpolation costs: told by each curve alone."""

from __future__ import annotations

import math

import numpy as np

from phasescope.scaling.log_data import Array, LogData
from phasescope.scaling.master_curve import Ansatz, spline_basis

_INTERVALS = (1, 2, 3, 4, 6, 8, 11, 15, 20, 27)
_LEAST_FREEDOM = 5.0


def resolution(ansatz: Ansatz, curves: list[LogData], theta: Array) -> tuple[int, float]:
    """Return the number of intervals of the spline, and the variance of ``ln y`` that interpolation adds.

    Each curve is fitted alone, whatever the exponents, with knots as far apart as the master curve's. The
    fewest intervals with which that is as good as chance allows are enough for the collapse too. Where
    none are, the variance that makes up for the rest is counted among the errors.

    Shapes: `theta` (free,).
    """
    s = ansatz.abscissa(theta)
    points = len(s)
    reach = float(np.ptp(s)) or 1.0
    best: tuple[float, int] = (math.inf, 0)
    for intervals in _INTERVALS:
        if intervals + 3 > points / 2:
            break
        excess, freedom = _alone(ansatz, curves, s, reach, intervals, 0.0)
        if freedom < _LEAST_FREEDOM:
            break
        if excess <= 1 + 0.5 * math.sqrt(2 / freedom):
            return intervals, 0.0
        best = min(best, (excess, intervals))
    if not best[1]:
        return max(1, min(8, points // 4 - 3)), 0.0
    return best[1], _missing(ansatz, curves, s, reach, best[1])


def _missing(ansatz: Ansatz, curves: list[LogData], s: Array, reach: float, intervals: int) -> float:
    """Return the variance with which the curves alone are as good as chance allows."""
    low, high = 1e-20, 1.0
    for _ in range(40):
        middle = math.sqrt(low * high)
        excess, _ = _alone(ansatz, curves, s, reach, intervals, middle)
        low, high = (middle, high) if excess > 1 else (low, middle)
    return high


def _alone(
    ansatz: Ansatz, curves: list[LogData], s: Array, reach: float, intervals: int, extra: float
) -> tuple[float, float]:
    """Return chi^2 over its expectation and the degrees of freedom of all curves, each fitted alone."""
    squares, expected, freedom = 0.0, 0.0, 0.0
    for label, data in enumerate(curves):
        mine = ansatz.curve == label
        own = s[mine] if np.ptp(ansatz.x[mine]) > 0 else np.log(ansatz.size[mine])
        pieces = max(1, math.ceil(intervals * float(np.ptp(s[mine])) / reach))
        if len(own) <= pieces + 3:
            continue
        unit = np.sqrt(data.relative**2 + extra)
        design = spline_basis(own, float(own.min()), float(own.max()), pieces) / unit[:, None]
        left, size, _ = np.linalg.svd(design, full_matrices=False)
        kept = left[:, size > 1e-9 * size[0]]
        target = data.ln_y / unit
        residual = target - kept @ (kept.T @ target)
        covariance = (data.covariance() + extra * np.eye(len(unit))) / np.outer(unit, unit)
        covariance -= kept @ (kept.T @ covariance)
        squares += float(residual @ residual)
        expected += float(np.trace(covariance) - np.trace(kept.T @ covariance @ kept))
        freedom += len(own) - kept.shape[1]
    return (squares / expected if expected > 0 else math.inf), freedom
