"""Collapse of curves onto one unknown smooth function, with exponents, errors and a quality."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import block_diag

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.scaling.collapse_input import gather
from phasescope.scaling.collapse_output import master_curve, side_by_side
from phasescope.scaling.collapse_result import Collapse
from phasescope.scaling.collapse_search import LEAST_OVERLAP, begin, elsewhere, jacobian_of, redrawn, search
from phasescope.scaling.log_data import Array, LogData, Statistic, goodness
from phasescope.scaling.master_curve import Ansatz, Form
from phasescope.scaling.resolution import resolution

_DOUBTFUL = 0.01


def collapse(
    x: Sequence[ArrayLike],
    y: Sequence[ArrayLike],
    size: Sequence[ArrayLike],
    *,
    errors: Sequence[ArrayLike] | None = None,
    fixed: Mapping[str, float] | None = None,
    start: Mapping[str, float] | None = None,
    correction: Form | None = None,
    statistic: Statistic = "mean",
    resamples: int = 200,
    seed: int = 0,
) -> Collapse:
    """Return the exponents with which curves fall on one: ``y size^a = f((x - critical) size^b)``.

    Finite width has ``size = n`` and ``x = l``: ``rho = n^-1 f(l/n)`` is a = 1 and b = -1. Finite depth has
    ``size = l`` and x the control: ``rho = l^-delta F(tau l^(1/nu))`` is a = delta and b = 1/nu.

    Parameters
    ----------
    x, size : sequence, one entry a curve
        Each a number, or an array of shape (points,).
    y : sequence of arrays, one a curve
        Each of shape (points,) or (networks, points), positive. Curves are independent of each other; the
        points of one network may depend on each other.
    errors : sequence of arrays of shape (points,) or None
        Standard errors of independent points, without networks.
    fixed : mapping of str to float or None
        Any of "a", "b", "critical", "omega" held at a value. "critical" is held at 0 and "omega" at 1 unless
        `start` has them.
    start : mapping of str to float or None
        Where the search begins, for those to be fitted; b is looked for between -4 and 4 without.
    correction : {"constant", "function"} or None
        Leading correction: ``y size^a = f exp(c size^-omega)`` or ``f exp(g size^-omega)`` with g another
        smooth function of the same argument; needs three sizes.
    statistic : {"mean", "typical"}
        ``mean y``, or ``exp mean ln y``.
    resamples : int
        Bootstrap draws.
    seed : int
        Of the bootstrap.

    Raises
    ------
    InputError
        If a parameter is unknown or given twice, a correction has fewer than three sizes, or the curves are
        of no use: fewer than two, shapes that differ, NaN, values that are not positive.

    Notes
    -----
    In logarithms f is a cubic spline that is projected out of the data by linear least squares, a and c with
    it, and only b, critical and omega are searched. How fine the spline has to be, and what error is left by
    it, is told by each curve fitted alone. Errors are half the 68 % interval of a bootstrap over networks
    (normal draws where errors are given), times ``sqrt(quality)`` where the p-value is below 0.01, and at
    least half the way to any other b that fits about as well. Not
    determined where less than 30 % of the points overlap, or where f is a pure power, which leaves only a
    combination of a and b. Fails: points with relative errors above 1/2 are left out, so a collapse cannot
    rest on them. Cost: about 0.2 ms for 200 points and one trial; 0.2 s with errors. Source: derived here,
    after the master curve of Houdayer and Hartmann (cond-mat/0402036).
    """
    if resamples < 20:
        raise InputError(f"resamples = {resamples}.", "Draw at least 20.")
    points, curves, notes = gather(x, y, size, errors, statistic)
    ansatz, beginning = _ansatz(points, dict(fixed or {}), dict(start or {}), correction)
    ln_y = np.concatenate([data.ln_y for data in curves])
    relative = np.concatenate([data.relative for data in curves])
    theta = begin(ansatz, beginning, ln_y, relative)
    intervals, extra = resolution(ansatz, curves, theta)
    for _ in range(4):
        unit = np.sqrt(relative**2 + extra)
        theta = search(ansatz, theta, intervals, ln_y, unit)
        before = intervals
        intervals, extra = resolution(ansatz, curves, theta)
        if intervals == before:
            break
    unit = np.sqrt(relative**2 + extra)
    theta = search(ansatz, theta, intervals, ln_y, unit)
    return _result(ansatz, theta, intervals, extra, curves, notes, resamples, np.random.default_rng(seed))


def _ansatz(
    points: tuple[Array, Array, Array],
    fixed: dict[str, float],
    start: dict[str, float],
    correction: Form | None,
) -> tuple[Ansatz, dict[str, float]]:
    x, size, curve = points
    known = {"a", "b", "critical"} | ({"omega"} if correction else set())
    for name in [*fixed, *start]:
        if name not in known or (name in fixed and name in start):
            raise InputError(f"{name!r} in fixed or start.", f"Use each of {', '.join(sorted(known))} once.")
    if correction not in (None, "constant", "function"):
        raise InputError(f"correction = {correction!r}.", "Choose None, 'constant' or 'function'.")
    if correction and len(np.unique(size)) < 3:
        raise InputError(
            f"A correction with {len(np.unique(size))} size(s).", "Three sizes are needed to tell it apart."
        )
    held = dict(fixed)
    if "critical" not in start:
        held.setdefault("critical", 0.0)
    if correction and "omega" not in start:
        held.setdefault("omega", 1.0)
    free = tuple(name for name in ("b", "critical", "omega") if name not in held and name in known)
    logarithmic = "critical" in held and bool((x > held["critical"]).all())
    return Ansatz(x, size, curve.astype(int), held, free, correction, logarithmic), start


def _result(
    ansatz: Ansatz,
    theta: Array,
    intervals: int,
    extra: float,
    curves: list[LogData],
    notes: list[str],
    resamples: int,
    rng: np.random.Generator,
) -> Collapse:
    ln_y = np.concatenate([data.ln_y for data in curves])
    unit = np.sqrt(np.concatenate([data.relative for data in curves]) ** 2 + extra)
    coefficients, residual = ansatz.solve(theta, intervals, ln_y, unit)
    jacobian = jacobian_of(ansatz, theta, intervals, coefficients, unit)
    covariance = block_diag(*(data.covariance() for data in curves)) + extra * np.eye(len(unit))
    networks = min(data.networks for data in curves)
    quality, p_value = goodness(residual, jacobian, covariance / np.outer(unit, unit), networks)
    overlap = ansatz.overlap(theta)
    drawn = np.concatenate([data.resampled(resamples, rng) for data in curves], axis=1)
    drawn = drawn + math.sqrt(extra) * rng.standard_normal(drawn.shape)
    draws = redrawn(ansatz, theta, intervals, jacobian, drawn, unit)
    best = np.concatenate([theta, coefficients[: len(ansatz.linear)]])
    other = elsewhere(ansatz, theta, intervals, ln_y, unit)
    errors = _errors(ansatz, best, draws, jacobian, float(residual @ residual), quality, other)
    reason = _undetermined(ansatz, overlap, best, errors)
    inflation = math.sqrt(max(1.0, quality)) if p_value < _DOUBTFUL else 1.0
    if inflation > 1 and not reason:
        notes = [
            *notes,
            f"The curves do not collapse (quality {quality:.3g}): errors grow by {inflation:.2g}.",
        ]
    exponents = _estimates(ansatz, best, errors * inflation, reason, networks or len(unit))
    master_x, master_y = master_curve(ansatz, theta, intervals, coefficients)
    return Collapse(
        exponents,
        quality if overlap >= LEAST_OVERLAP else math.nan,
        p_value if overlap >= LEAST_OVERLAP else math.nan,
        overlap,
        math.sqrt(extra),
        side_by_side(ansatz, theta, intervals, coefficients, curves),
        master_x,
        master_y,
        reason,
        tuple(notes),
    )


def _errors(
    ansatz: Ansatz,
    best: Array,
    draws: Array,
    jacobian: Array,
    chi2: float,
    quality: float,
    other: list[tuple[float, Array, Array]],
) -> Array:
    """Return standard errors: of the bootstrap, or half the reach of what fits nearly as well.

    "Nearly" is the chi^2 that the bootstrap allows at two standard errors of b, which correlations of points
    make larger or smaller than 4.
    """
    low, high = np.quantile(draws, [0.158655, 0.841345], axis=0)
    errors = np.asarray((high - low) / 2)
    if not other:
        return errors
    place = ansatz.free.index("b")
    independent = math.sqrt(float(np.linalg.pinv(jacobian.T @ jacobian, rcond=1e-12)[place, place]))
    allowed = 4 * (errors[place] / independent) ** 2 * max(1.0, quality)
    for value, theta, linear in other:
        if value - chi2 <= allowed:
            errors = np.maximum(errors, np.abs(np.concatenate([theta, linear]) - best) / 2)
    return errors


def _undetermined(ansatz: Ansatz, overlap: float, best: Array, errors: Array) -> str:
    if overlap < LEAST_OVERLAP:
        return (
            f"only {overlap:.0%} of the points lie within the reach of another curve: the curves are too far "
            "apart, or have no feature to tell a and b by"
        )
    names = (*ansatz.free, *ansatz.linear)
    for name in ("a", "b"):
        if name in names:
            index = names.index(name)
            error = errors[index]
            if not error < 1 + abs(best[index]):
                return (
                    f"{name} = {best[index]:.3g} ± {error:.2g}: the common curve has no feature to tell it by"
                )
    return ""


def _estimates(ansatz: Ansatz, best: Array, errors: Array, reason: str, samples: int) -> dict[str, Estimate]:
    method = "collapse onto a spline, bootstrap"
    found = {name: Estimate(value, 0.0, "held fixed", 0) for name, value in ansatz.held.items()}
    for index, name in enumerate((*ansatz.free, *ansatz.linear)):
        found[name] = (
            Estimate.not_determined(reason, method=method, n=samples)
            if reason
            else Estimate(float(best[index]), float(errors[index]), method, samples)
        )
    return {name: found[name] for name in ("a", "b", "critical", "c", "omega") if name in found}
