"""The search for the exponents of a collapse: where to begin, the best fit, other draws, other minima."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from scipy import optimize

from phasescope.scaling.log_data import Array
from phasescope.scaling.master_curve import Ansatz

LEAST_OVERLAP = 0.3
_SCAN = np.arange(-16, 17) / 4
_SCAN_INTERVALS = 5


def begin(ansatz: Ansatz, start: dict[str, float], ln_y: Array, unit: Array) -> Array:
    """Return where to begin, b from a coarse search where it is not given."""
    usual = {"omega": 1.0, "b": 0.0, **start}
    if "b" in start or "b" not in ansatz.free:
        return np.array([usual[name] for name in ansatz.free])
    best, chosen = math.inf, np.array([usual[name] for name in ansatz.free])
    for b in _SCAN.tolist():
        theta = np.array([{**usual, "b": b}[name] for name in ansatz.free])
        if ansatz.overlap(theta) < 0.5:
            continue
        _, residual = ansatz.solve(theta, _SCAN_INTERVALS, ln_y, unit)
        if float(residual @ residual) < best:
            best, chosen = float(residual @ residual), theta
    return chosen


def search(ansatz: Ansatz, theta: Array, intervals: int, ln_y: Array, unit: Array) -> Array:
    """Return the searched parameters of the best fit nearest to `theta`."""
    if not len(theta):
        return theta
    scale = np.maximum(np.abs(theta), 1e-2)
    found = optimize.least_squares(
        lambda trial: ansatz.solve(trial, intervals, ln_y, unit)[1], theta, x_scale=scale, xtol=1e-10
    )
    return np.asarray(found.x)


def jacobian_of(ansatz: Ansatz, theta: Array, intervals: int, coefficients: Array, unit: Array) -> Array:
    """Return derivatives of the prediction by the searched parameters, then the columns, in error units."""
    columns = []
    for index in range(len(theta)):
        step = np.zeros_like(theta)
        step[index] = 1e-5 * max(1e-2, abs(theta[index]))
        ahead, behind = (ansatz.design(theta + sign * step, intervals) @ coefficients for sign in (1, -1))
        columns.append((ahead - behind) / (2 * step[index]))
    linear = ansatz.design(theta, intervals)
    return (
        np.concatenate([np.stack(columns, axis=1), linear] if columns else [linear], axis=1) / unit[:, None]
    )


def redrawn(
    ansatz: Ansatz, theta: Array, intervals: int, jacobian: Array, drawn: Array, unit: Array
) -> Array:
    """Return the parameters of each draw: two steps with the derivatives of the best fit, then the rest."""
    count = len(ansatz.linear)
    if not len(theta):
        return ansatz.solve(theta, intervals, drawn.T, unit)[0][:count].T
    pull = np.linalg.pinv(jacobian, rcond=1e-9)[: len(theta)]
    found = []
    for ln_y in drawn:
        current = theta
        for _ in range(2):
            current = current + pull @ ansatz.solve(current, intervals, ln_y, unit)[1]
        coefficients, _ = ansatz.solve(current, intervals, ln_y, unit)
        found.append(np.concatenate([current, coefficients[:count]]))
    return np.array(found)


def elsewhere(
    ansatz: Ansatz, theta: Array, intervals: int, ln_y: Array, unit: Array
) -> list[tuple[float, Array, Array]]:
    """Return chi^2, searched parameters and linear parameters over a grid of b, all others fitted.

    Shapes: `theta` (free,), `ln_y` and `unit` (points,).
    """
    if "b" not in ansatz.free:
        return []
    place = ansatz.free.index("b")
    rest = tuple(name for name in ansatz.free if name != "b")
    reach = max(1.0, abs(theta[place]))
    found = []
    for b in theta[place] + reach * _SCAN[::2] / 4:
        narrowed = replace(ansatz, held={**ansatz.held, "b": float(b)}, free=rest)
        others = np.delete(theta, place)
        if narrowed.overlap(others) < LEAST_OVERLAP:
            continue
        others = search(narrowed, others, intervals, ln_y, unit)
        coefficients, residual = narrowed.solve(others, intervals, ln_y, unit)
        whole = np.insert(others, place, b)
        found.append((float(residual @ residual), whole, coefficients[: len(ansatz.linear)]))
    return found
