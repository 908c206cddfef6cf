"""The curves of a collapse before and after, and their common curve."""

from __future__ import annotations

import numpy as np

from phasescope.scaling.collapse_result import CollapsedCurve
from phasescope.scaling.log_data import Array, LogData
from phasescope.scaling.master_curve import Ansatz, spline_basis

_GRID = 200


def master_curve(ansatz: Ansatz, theta: Array, intervals: int, coefficients: Array) -> tuple[Array, Array]:
    """Return the common curve without correction: abscissas and values, each of shape (200,)."""
    s, u = ansatz.abscissa(theta), ansatz.scaled(theta)
    grid = np.linspace(s.min(), s.max(), _GRID)
    basis = spline_basis(grid, float(s.min()), float(s.max()), intervals)
    first = len(ansatz.linear)
    values = np.exp(basis @ coefficients[first : first + basis.shape[1]])
    if ansatz.logarithmic:
        return np.exp(grid), values
    size = np.abs(u)
    return np.sinh(grid) * np.median(size[size > 0]), values


def side_by_side(
    ansatz: Ansatz, theta: Array, intervals: int, coefficients: Array, curves: list[LogData]
) -> tuple[CollapsedCurve, ...]:
    """Return each curve as measured and rescaled."""
    parameters = dict(zip(ansatz.linear, coefficients, strict=False))
    factor = ansatz.size ** float(parameters.get("a", ansatz.held.get("a", 0.0)))
    design = ansatz.design(theta, intervals)
    correction = np.zeros(len(ansatz.x))
    if ansatz.correction == "constant":
        correction = design[:, len(ansatz.linear) - 1] * parameters["c"]
    elif ansatz.correction == "function":
        first = len(ansatz.linear) + intervals + 3
        correction = design[:, first:] @ coefficients[first:]
    scaled = ansatz.scaled(theta)
    made = []
    for label, data in enumerate(curves):
        mine = ansatz.curve == label
        y = np.exp(data.ln_y)
        made.append(
            CollapsedCurve(
                ansatz.x[mine],
                ansatz.size[mine],
                y,
                y * data.relative,
                scaled[mine],
                y * factor[mine],
                y * data.relative * factor[mine],
                y * factor[mine] * np.exp(-correction[mine]),
            )
        )
    return tuple(made)
