"""The decay that a universality class allows near its critical point, fitted with its exponent left free."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from phasescope.estimate import Estimate
from phasescope.scaling.classes import UniversalityClass
from phasescope.scaling.log_data import Array, LogData, goodness

_DOUBTFUL = 0.01
_FLOOR = 0.005
_FEWEST_POINTS = 10


@dataclass(frozen=True)
class ClassFit:
    """The exponent under the form of one class, and how far the data are from criticality."""

    # asymptotic ``d ln y/d ln t``; its error holds statistics and what changing window and correction changes
    # beyond chance
    slope: Estimate
    # what the distance from criticality adds to ``ln y`` at the end, fitted over the whole window
    off_critical: Estimate


@dataclass(frozen=True)
class _Line:
    """A linear fit: parameters and what each run adds to them."""

    parameters: Array
    influence: Array
    ratio: float
    p_value: float


def fit_class(t: Array, data: LogData, known: UniversalityClass, *, critical: bool) -> ClassFit:
    """Return the exponent that data have if they belong to a class: near that of the class if they do.

    Fits ``ln y = a + s ln t + c (t/t_end)^(1/nu_par) + b h(t)`` by weighted least squares: the second
    term holds the exponent sought, the third is the first effect of a distance from the critical point, whose
    growth the class fixes, the last its leading correction to scaling: ``h = 1/t``, or with logarithms
    ``b_1/t + b_2 ln t/t``.

    Notes
    -----
    Errors come from the covariance over runs, which knows that the times of a run depend on each other. Each
    fit is repeated over the later two thirds (in ln t) of its window, and with a correction ``t^(-1/2)``
    (with logarithms: a further one ``(ln t/t)^2``); by what the exponent changes more than runs differ, the
    error grows, and by 0.5 % of the exponent. Of the windows that begin at t[0],
    or a quarter or a half later (in ln t), or a decade before the end, the one with the smallest error is
    taken, if a decade is left. Derived here.

    Shapes: `t` (points,).
    """
    length = math.log(t[-1] / t[0])
    fits: list[ClassFit] = []
    for share in (0.0, 0.25, 0.5, 1 - math.log(10) / length):
        kept = t >= t[0] * math.exp(share * length) * (1 - 1e-9)
        if not fits or (kept.sum() >= _FEWEST_POINTS and (1 - share) * length >= math.log(10) - 1e-9):
            fits.append(_fit(t[kept], data.at(kept), known, critical=critical))
    best = min(fits, key=lambda fit: fit.slope.error)
    # The whole window has the longest lever for a term that grows with time.
    return replace(best, off_critical=fits[0].off_critical)


def _fit(t: Array, data: LogData, known: UniversalityClass, *, critical: bool) -> ClassFit:
    off = 1 / known.nu_par.value
    usual, other = _corrections(t / t[0], known.logarithms)
    full = _line(t, data, off, usual)
    main = _line(t, data, None, usual) if critical else full
    exponent = None if critical else off
    later = t >= t[0] * (t[-1] / t[0]) ** (1 / 3)
    again = (
        _line(t[later], data.at(later), exponent, [column[later] for column in usual]),
        _line(t, data, exponent, other),
    )
    systematic = math.sqrt(sum(_beyond_chance(main, line) for line in again))
    inflation = math.sqrt(main.ratio) if main.p_value < _DOUBTFUL else 1.0
    statistical = _error(main.influence[:, 1]) * inflation
    slope = float(main.parameters[1])
    error = math.hypot(statistical, systematic, _FLOOR * slope)
    off_critical = float(full.parameters[2]), _error(full.influence[:, 2]) * inflation
    span, runs = (float(t[0]), float(t[-1])), data.networks
    return ClassFit(
        Estimate(slope, error, "fit with corrections", runs, span),
        Estimate(*off_critical, "same fit", runs, span),
    )


def _corrections(t: Array, logarithms: bool) -> tuple[list[Array], list[Array]]:
    """Return the usual correction terms, and those of the fit that they are checked with."""
    if logarithms:
        leading = [1 / t, np.log(t) / t]
        return leading, [*leading, leading[1] ** 2]
    return [1 / t], [t**-0.5]


def _line(t: Array, data: LogData, off: float | None, corrections: list[Array]) -> _Line:
    columns = [np.ones_like(t), np.log(t)]
    if off is not None:
        columns.append((t / t[-1]) ** off)
    unit = data.relative
    jacobian = np.stack(columns + corrections, axis=1) / unit[:, None]
    inverse = np.linalg.pinv(jacobian)
    parameters = inverse @ (data.ln_y / unit)
    assert data.influence is not None
    residual = data.ln_y / unit - jacobian @ parameters
    covariance = data.covariance() / np.outer(unit, unit)
    ratio, p_value = goodness(residual, jacobian, covariance, data.networks)
    return _Line(parameters, data.influence / unit @ inverse.T, ratio, p_value)


def _beyond_chance(first: _Line, second: _Line) -> float:
    """Return the square of the difference of two slopes less its variance, or 0."""
    shift = first.parameters[1] - second.parameters[1]
    chance = _error(first.influence[:, 1] - second.influence[:, 1])
    return max(0.0, float(shift) ** 2 - chance**2)


def _error(influence: Array) -> float:
    return float(np.std(influence, ddof=1) / math.sqrt(len(influence)))
