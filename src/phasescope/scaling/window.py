"""Where a power law holds: the longest stretch along which the local slopes stand still."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from phasescope.scaling.log_data import Array, LogData, goodness
from phasescope.scaling.power_law_model import PowerLawModel, least_squares

_MOST_ENDS = 16
_LEAST_P = 0.1
_MOST_BEND = 1.0
_LARGEST_CORRECTION = 1.0


def choose_window(
    model: PowerLawModel, x: Array, data: LogData, fewest: int, shortest: float
) -> tuple[NDArray[np.bool_] | None, str]:
    """Return which points to fit, and why; None where no window will do.

    Shapes: `x` (points,).
    """
    length = math.log(x[-1] / x[0])
    if len(x) < fewest:
        return None, f"{len(x)} points, at least {fewest} needed"
    if length < shortest:
        return None, f"x from {x[0]:.4g} to {x[-1]:.4g} is less than a decade"
    windows = _windows(x, fewest, shortest)
    for tried, (first, last) in enumerate(windows):
        inside = slice(first, last + 1)
        if _stands_still(model, x[inside], data.at(inside)):
            if tried == 0:
                return np.ones(len(x), dtype=bool), "all points; the local slopes show no drift"
            low = _beyond(x, first, last, shortest, fewest) if first else x[first]
            return (x >= low) & (x <= x[last]), (
                f"of {len(windows)} windows the longest along which the local slopes show no drift is "
                f"{x[first]:.4g} to {x[last]:.4g}"
                + ("; its lower part, where one may hide, is left out" if low > x[first] else "")
            )
    return None, f"the local slopes drift in all of {len(windows)} windows of a decade or more"


def _windows(x: Array, fewest: int, shortest: float) -> list[tuple[int, int]]:
    """Return first and last index of the windows to try, the longest first."""
    # Evenly spread in ln x, as layers one by one are not.
    marks = np.geomspace(x[0], x[-1], min(len(x), _MOST_ENDS))
    ends = np.unique(np.abs(np.log(x)[:, None] - np.log(marks)).argmin(axis=0))
    found = [
        (int(first), int(last))
        for first in ends
        for last in ends
        if last - first + 1 >= fewest and math.log(x[last] / x[first]) >= shortest
    ]
    return sorted(found, key=lambda pair: -math.log(x[pair[1]] / x[pair[0]])) or [(0, len(x) - 1)]


def _beyond(x: Array, first: int, last: int, shortest: float, fewest: int) -> float:
    """Return the x above which a drift too small to be seen from `first` on is smaller than chance.

    At the beginning of the longest window a correction is just hidden by the errors, and it biases the fit by
    more than them; a third of the window further up it is mostly gone.
    """
    length = math.log(x[last] / x[first])
    low = min(x[first] * math.exp(length / 3), x[last] * math.exp(-shortest), x[last + 1 - fewest])
    return float(max(low, x[first]))


def _stands_still(model: PowerLawModel, x: Array, data: LogData) -> bool:
    """Return whether the data show no curvature beyond the law, and scatter about it as chance would have."""
    model = replace(model, scale=float(x[0]))
    best, _ = least_squares(model, x, data.ln_y[None], data.relative, model.start(x, data.ln_y))
    if _correction_at_start(model, best[0]) > _LARGEST_CORRECTION:
        return False
    value, slopes = model.evaluate(best, x)
    residual = (data.ln_y - value[0]) / data.relative
    jacobian = slopes[0] / data.relative[:, None]
    basis, _ = np.linalg.qr(jacobian)
    # A parabola finds bends anywhere; a term like 1/x those of a correction that dies out.
    for shape in (np.log(x / math.sqrt(x[0] * x[-1])) ** 2, x[0] / x):
        bend = shape / data.relative
        bend = bend - basis @ (basis.T @ bend)
        size = float(bend @ bend)
        if size <= 1e-12 * float(shape @ shape):
            continue
        found = float(bend @ residual) / size
        if data.known:
            pull = bend / size / data.relative
            error = math.sqrt(float(pull @ data.covariance() @ pull))
        else:
            rest = residual - found * bend
            error = math.sqrt(float(rest @ rest) / max(1, len(x) - jacobian.shape[1] - 1) / size)
        if abs(found) > _MOST_BEND * error:
            return False
    return not data.known or _chance(residual, jacobian, data) >= _LEAST_P


def _correction_at_start(model: PowerLawModel, parameters: Array) -> float:
    """Return the size of the fitted correction at the first point, whose square is left out of the law."""
    leading = {"log": "c", "power": "b"}.get(model.correction or "")
    return 0.0 if leading is None else abs(float(parameters[model.names.index(leading)]))


def _chance(residual: Array, jacobian: Array, data: LogData) -> float:
    covariance = data.covariance() / np.outer(data.relative, data.relative)
    return goodness(residual, jacobian, covariance, data.networks)[1]
