"""The collapse of curves at several control values: where they are critical, and nu_par."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from phasescope.estimate import Estimate
from phasescope.scaling.class_fit import fit_class
from phasescope.scaling.classes import UniversalityClass
from phasescope.scaling.collapse import collapse
from phasescope.scaling.collapse_result import Collapse
from phasescope.scaling.log_data import Array, log_data
from phasescope.scaling.usable import FEWEST_POINTS, usable_times

_LEFT_TO_CORRECTIONS = 0.25
_LARGEST_ERROR = 0.3
_DOUBTFUL, _WORST_QUALITY = 0.01, 10.0
_FLOOR = 0.02


@dataclass(frozen=True)
class ControlScan:
    """What several control values tell."""

    nearest: int  # index of the curve nearest to criticality
    nu_par: Estimate  # from the collapse
    collapse: Collapse | None  # none where too few curves can be used
    notes: tuple[str, ...]  # where the critical point is, or why there is no collapse


def scan_control(
    times: Array,
    curves: Array,
    values: Array,
    critical: float | None,
    candidates: Sequence[UniversalityClass],
    start: str,
    window: tuple[float, float] | None,
    decades: float,
) -> ControlScan:
    """Return the critical point and nu_par from ``y = t^a F((control - critical) t^(1/nu_par))``.

    The first quarter of the window (in ln t) is left to corrections to scaling. Where the collapse fails it
    is made with a correction term, whose effect on the exponent counts as an error; beyond a quality of 10
    nu_par is not determined. Two per cent are added for corrections that a good collapse still hides.

    Shapes: `times` and `curves` and `values` (times,).
    """
    guess = _straightest(times, curves, values, candidates, start, window, decades)
    begin = guess if critical is None else critical
    nearest = int(np.argmin(np.abs(values - begin)))
    first, last = window or (10.0, math.inf)
    last = min(last, float(times[-1]))
    first = max(first, last / 1e3)
    late = (times <= last) & (times >= first * (last / first) ** _LEFT_TO_CORRECTIONS)
    chosen, points, rows = [], [], []
    for value, curve in zip(values, curves, strict=True):
        mean, error = curve.mean(axis=0), curve.std(axis=0, ddof=1) / math.sqrt(len(curve))
        kept = late & (error > 0) & (error < _LARGEST_ERROR * mean)
        if kept.sum() >= FEWEST_POINTS:
            chosen.append(float(value))
            points.append(times[kept])
            rows.append(curve[:, kept])
    if len(chosen) < 3:
        reason = f"only {len(chosen)} curves can be collapsed"
        return ControlScan(nearest, Estimate.not_determined(reason), None, (f"No collapse: {reason}.",))
    held = {} if critical is None else {"critical": critical}
    free = {"critical": begin} if critical is None else {}
    found = collapse(chosen, rows, points, fixed=held, start=free)
    plain = found.exponents["b"]
    if found.determined and found.p_value < _DOUBTFUL:
        found = collapse(
            chosen, rows, points, fixed=held, start=free | {"b": plain.value}, correction="function"
        )
    nu_par = _nu_par(found, plain)
    where = found.exponents["critical"]
    if critical is None and where.determined:
        nearest = int(np.argmin(np.abs(values - where.value)))
        return ControlScan(nearest, nu_par, found, (f"Critical at {where}, from the collapse.",))
    return ControlScan(nearest, nu_par, found, (f"No collapse: {found.reason}.",) if found.reason else ())


def _straightest(
    times: Array,
    curves: Array,
    values: Array,
    candidates: Sequence[UniversalityClass],
    start: str,
    window: tuple[float, float] | None,
    decades: float,
) -> float:
    """Return the control value of the straightest curve, each seen by the class that bends it least."""
    bends = []
    for curve in curves:
        usable = usable_times(times, curve, start, window, decades)
        if usable.refusal:
            bends.append(math.inf)
            continue
        data = log_data(curve[:, usable.chosen], None, "mean", name="density")
        fits = [fit_class(times[usable.chosen], data, known, critical=False) for known in candidates]
        bends.append(min(abs(fit.off_critical.value) for fit in fits))
    return float(values[int(np.argmin(bends))] if np.isfinite(bends).any() else np.median(values))


def _nu_par(found: Collapse, plain: Estimate) -> Estimate:
    b = found.exponents["b"]
    if not found.determined:
        return Estimate.not_determined(found.reason)
    if found.quality > _WORST_QUALITY or b.value <= 3 * b.error:
        return Estimate.not_determined(f"the curves do not collapse (quality {found.quality:.1f})")
    error = math.hypot(b.error, (b.value - plain.value) / 2, _FLOOR * b.value)
    return replace(b, value=1 / b.value, error=error / b.value**2, method="collapse")
