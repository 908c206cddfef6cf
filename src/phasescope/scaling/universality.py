"""Which known universality class data support, which they exclude, and what they leave open."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.scaling.class_collapse import ControlScan, scan_control
from phasescope.scaling.class_fit import ClassFit, fit_class
from phasescope.scaling.class_report import Candidate, ClassReport, Verdict
from phasescope.scaling.classes import UNIVERSALITY_CLASSES, UniversalityClass
from phasescope.scaling.local_slopes import slopes_of
from phasescope.scaling.log_data import Array, LogData, log_data
from phasescope.scaling.usable import usable_times

_NEAR, _FAR = 3.0, 5.0
_LINEAR = 0.5
_LEAST_OFF = 0.03
_SHARPNESS = 0.15


def identify_class(
    times: ArrayLike,
    density: ArrayLike,
    *,
    dimensions: int | None = None,
    start: Literal["homogeneous", "seed"] = "homogeneous",
    control: Sequence[float] | None = None,
    critical: float | None = None,
    known_critical: bool = False,
    window: tuple[float, float] | None = None,
    decades: float = 1.0,
) -> ClassReport:
    """Return which universality class of absorbing phase transitions a decay near criticality belongs to.

    A class is *supported* if the asymptotic exponent, fitted with the corrections of that class and with a
    free distance from criticality, lies within 3 standard errors of the known one and is sharp enough to
    tell it from its neighbours (a quarter of the way to the nearest, 15 %); *excluded* if it lies 5 or more
    away; else *not determined*. The verdict names a class only if it alone is supported and all others are
    excluded.

    Parameters
    ----------
    times : array of shape (times,)
        Layers or time steps, positive and ascending.
    density : array of shape (runs, times), or (controls, runs, times) with `control`
        Order parameter of independent runs (networks), not negative; for a seed its mass, runs that have
        ended with their zeros.
    dimensions : int or None
        1 or 2 leaves out the classes of other dimensions; None compares with all.
    start : {"homogeneous", "seed"}
        Everything active (exponent delta), or a single site (theta).
    control : sequence of float, optional
        Values of the control parameter on both sides of the transition. The curves are then also collapsed
        on ``rho = t^-delta F(tau t^(1/nu_par))``, and a class has to have the right `nu_par`; delta is
        read off the curve nearest to criticality.
    critical : float, optional
        Critical value of `control`, where it is known; None fits it.
    known_critical : bool
        The data are at the critical point for certain: no distance from it is fitted, errors are
        smaller. With `control` this is said of the curve nearest to criticality.
    window : tuple of float, optional
        First and last time to use; None for 10 to the end, at most three decades.
    decades : float
        Least length of the window.

    Raises
    ------
    InputError
        If shapes do not fit, times do not ascend from above 0, densities are negative or not finite, or
        `dimensions`, `start` or `critical` cannot be used.

    Notes
    -----
    Refused as a whole, with the reason: fewer than 8 runs; a window below `decades`; for a homogeneous start
    times at which mean and typical run differ by more than 2 % (finite size, or noise common to all sites
    of a run, as shared weights make it) or decay differently, and a local slope that falls to nothing (active
    phase); for a seed times at which fewer than 50 runs carry the mean. Off criticality: where the term
    ``c (t/t_end)^(1/nu_par)`` is 3 standard errors from 0 and above 3 %, a class is not supported; where it
    exceeds 1/2 none is excluded either. Limits in standard errors are t-distributed for few runs.
    Fails: with very slow corrections, or a window that ends before the asymptotic regime begins; give a
    later `window` and see whether the verdict stands. nu_perp and z are not looked at. Cost: 5 ms a class; a
    second with `control`. Source: derived here; see ``UNIVERSALITY_CLASSES`` for the exponents.
    """
    problem = _problem(dimensions, start, control, critical)
    if problem:
        raise InputError(*problem)
    clock, curves, values = _checked(times, density, control)
    known = UNIVERSALITY_CLASSES.values()
    candidates = [one for one in known if dimensions is None or one.dimensions in (None, dimensions)]
    nothing = Estimate.not_determined("one control value only")
    scan = ControlScan(0, nothing, None, ())
    if values is not None:
        scan = scan_control(clock, curves, values, critical, candidates, start, window, decades)
    runs = curves[scan.nearest]
    usable = usable_times(clock, runs, start, window, decades)
    t = clock[usable.chosen]
    report = partial(
        ClassReport,
        start=start,
        runs=len(runs),
        collapse=scan.collapse,
        notes=scan.notes + usable.notes,
        citations=" ".join(dict.fromkeys(one.citations for one in candidates)),
    )
    if usable.refusal:
        rows = tuple(_refused(one, start, usable.refusal) for one in candidates)
        return report("not determined", usable.refusal, candidates=rows, window=None, slopes=None)
    data = log_data(runs[:, usable.chosen], None, "mean", name="density")
    rows = tuple(_judged(t, data, one, candidates, start, known_critical, scan.nu_par) for one in candidates)
    verdict, reason = _overall(rows)
    slopes = slopes_of(np.log(t), data, math.sqrt(10))
    span = (float(t[0]), float(t[-1]))
    return report(verdict, reason, candidates=rows, window=span, slopes=slopes)


def _problem(
    dimensions: int | None, start: str, control: Sequence[float] | None, critical: float | None
) -> tuple[str, str] | None:
    """Return what is wrong with the arguments and how to mend it."""
    if dimensions not in (None, 1, 2):
        return f"dimensions = {dimensions}.", "Give 1, 2 or None."
    if start not in ("homogeneous", "seed"):
        return f"start = {start!r}.", 'Use "homogeneous" or "seed".'
    if critical is not None and (control is None or not min(control) <= critical <= max(control)):
        return f"critical = {critical}.", "Give control values on both sides of it."
    if control is not None and len(control) < 3:
        return f"{len(control)} control value(s).", "Give at least 3, on both sides of the transition."
    return None


def _checked(
    times: ArrayLike, density: ArrayLike, control: Sequence[float] | None
) -> tuple[Array, Array, Array | None]:
    clock, given = np.asarray(times, dtype=np.float64), np.asarray(density, dtype=np.float64)
    expected = "(runs, times)" if control is None else f"({len(control)}, runs, times)"
    fits = given.ndim == (2 if control is None else 3) and clock.shape == given.shape[-1:]
    if not fits or (control is not None and len(control) != len(given)):
        raise InputError(
            f"density has shape {given.shape}, times {clock.shape}.", f"Give density as {expected}."
        )
    if not (np.isfinite(clock).all() and (clock > 0).all() and (np.diff(clock) > 0).all()):
        raise InputError("times do not ascend from above 0.", "Sort them and leave out t = 0.")
    if not (np.isfinite(given).all() and (given >= 0).all()):
        bad = int((~np.isfinite(given) | (given < 0)).sum())
        raise InputError(
            f"{bad} of {given.size} densities are negative or not finite.", "Leave those runs out."
        )
    if control is None:
        return clock, given[None], None
    return clock, given, np.asarray(control, dtype=np.float64)


def _refused(known: UniversalityClass, start: str, reason: str) -> Candidate:
    none = Estimate.not_determined(reason)
    expected = known.theta if start == "seed" else known.delta
    return Candidate(known.name, "not determined", reason, none, expected, math.nan, none, none, known.nu_par)


def _judged(
    t: Array,
    data: LogData,
    known: UniversalityClass,
    candidates: Sequence[UniversalityClass],
    start: str,
    known_critical: bool,
    nu_par: Estimate,
) -> Candidate:
    fit = fit_class(t, data, known, critical=known_critical)
    sign = 1 if start == "seed" else -1
    exponent = replace(fit.slope, value=sign * fit.slope.value)
    expected = known.theta if start == "seed" else known.delta
    others = [other.theta if start == "seed" else other.delta for other in candidates if other is not known]
    apart = min((abs(other.value - expected.value) for other in others if other.determined), default=math.inf)
    verdict, reason, distance = _verdict(fit, exponent, expected, apart / 4, nu_par, known.nu_par)
    return Candidate(
        known.name, verdict, reason, exponent, expected, distance, fit.off_critical, nu_par, known.nu_par
    )


def _verdict(
    fit: ClassFit,
    exponent: Estimate,
    expected: Estimate,
    neighbour: float,
    nu_par: Estimate,
    expected_nu: Estimate,
) -> tuple[Verdict, str, float]:
    if not expected.determined:
        return "not determined", expected.reason, math.nan
    distance = _distance(exponent, expected)
    off = abs(fit.off_critical.value) / fit.off_critical.error
    runs = exponent.n
    far, near = _limit(_FAR, runs), _limit(_NEAR, runs)
    if abs(fit.off_critical.value) > _LINEAR:
        return "not determined", f"off criticality: {fit.off_critical} of ln y at the end", distance
    if distance > far:
        return "excluded", f"{distance:.1f} standard errors apart", distance
    if nu_par.determined and _distance(nu_par, expected_nu) > far:
        return "excluded", f"nu_par = {nu_par} against {expected_nu.value:g}", distance
    if off > near and abs(fit.off_critical.value) > _LEAST_OFF:
        return "not determined", f"off criticality: {fit.off_critical} of ln y at the end", distance
    if distance > near:
        return "not determined", f"{distance:.1f} standard errors apart: neither near nor far", distance
    if nu_par.determined and _distance(nu_par, expected_nu) > near:
        return "not determined", f"nu_par = {nu_par} against {expected_nu.value:g}", distance
    sharp = min(neighbour, _SHARPNESS * expected.value if expected.value else math.inf)
    if exponent.error > sharp:
        return "not determined", f"an error of {exponent.error:.2g} is above {sharp:.2g}", distance
    return "supported", f"{distance:.1f} standard errors apart", distance


def _distance(measured: Estimate, known: Estimate) -> float:
    return abs(measured.value - known.value) / math.hypot(measured.error, known.error)


def _limit(sigmas: float, runs: int) -> float:
    """Return the t-distributed counterpart of so many standard errors, for errors from few runs."""
    return float(stats.t.isf(stats.norm.sf(sigmas), runs - 1))


def _overall(rows: Sequence[Candidate]) -> tuple[str, str]:
    comparable = [row for row in rows if row.expected.determined]
    silent = [row.name for row in rows if not row.expected.determined]
    supported = [row for row in comparable if row.verdict == "supported"]
    undecided = [row for row in comparable if row.verdict == "not determined"]
    if len(supported) == 1 and not undecided:
        rest = f" {', '.join(silent)}: no such exponent is known." if silent else ""
        return supported[0].name, f"All others are excluded.{rest}"
    if not supported and not undecided:
        return "not determined", "None of the known classes fits: all are excluded."
    if supported:
        left = ", ".join(row.name for row in undecided) or "none"
        names = " and ".join(row.name for row in supported)
        return "not determined", f"Supported: {names}. Not excluded: {left}."
    return "not determined", "; ".join(f"{row.name}: {row.reason}" for row in undecided) + "."
