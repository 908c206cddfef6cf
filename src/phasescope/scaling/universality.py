"""Which known universality class data support, which they exclude, and what they leave open."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.results import Result
from phasescope.scaling.classes import UNIVERSALITY_CLASSES, UniversalityClass
from phasescope.scaling.collapse import Collapse, collapse
from phasescope.scaling.local_slopes import LocalSlopes, slopes_of
from phasescope.scaling.log_data import Array, LogData, goodness, log_data, real_numbers

Verdict = Literal["supported", "excluded", "not determined"]

# Verdicts: standard errors within which a class is supported and beyond which it is excluded, changes of
# ``ln y`` at the end by a distance from criticality that forbid either, and the largest relative error.
_NEAR, _FAR = 3.0, 5.0
_LINEAR = 0.5
_LEAST_OFF = 0.03
_SHARPNESS = 0.15
# Which times can be used.
_FEWEST_RUNS = 8
_SMALLEST = 1e-100
_FEWEST_POINTS = 8
_FIRST_TIME = 10.0
_MOST_DECADES = 3.0
_LARGEST_GAP = 0.02
_LARGEST_GAP_SLOPE = 0.1
_SATURATED = 0.6
_PARTED = 1.0
_REFLECTED = math.sqrt(2 / (math.pi - 2))
_JACKKNIFE = 20
_FEWEST_CARRIERS = 50
# The fit under a class, and relative errors added to its exponent and to nu_par for what no fit shows.
_DOUBTFUL = 0.01
_FEWEST_POINTS_LATER = 10
_EXPONENT_FLOOR, _NU_PAR_FLOOR = 0.005, 0.02
# The collapse of several control values.
_LEFT_TO_CORRECTIONS = 0.25
_LARGEST_ERROR = 0.3
_WORST_QUALITY = 10.0


@dataclass(frozen=True)
class Candidate(Result):
    """One class held against the data.

    Parameters
    ----------
    name : str
        The class.
    verdict : {"supported", "excluded", "not determined"}
        What the data say.
    reason : str
        Why.
    exponent : Estimate
        delta of a homogeneous start or theta of a seed, fitted with the corrections of this class.
    expected : Estimate
        The same of the class.
    distance : float
        Between the two in standard errors of both; NaN where there is none.
    off_critical : Estimate
        What the distance from criticality adds to ``ln y`` at the end of the window.
    nu_par, expected_nu_par : Estimate
        From the collapse of several control values; not determined without.
    """

    name: str
    verdict: Verdict
    reason: str
    exponent: Estimate
    expected: Estimate
    distance: float
    off_critical: Estimate
    nu_par: Estimate
    expected_nu_par: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values; None in place of NaN."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        values["distance"] = self.distance if math.isfinite(self.distance) else None
        return {key: v.to_dict() if isinstance(v, Estimate) else v for key, v in values.items()}


@dataclass(frozen=True)
class ClassReport(Result):
    """Which known universality class data support or exclude.

    Parameters
    ----------
    verdict : str
        Name of the class, or "not determined".
    reason : str
        Why.
    candidates : tuple of Candidate
        All classes that were compared.
    start : {"homogeneous", "seed"}
        What the runs began with.
    runs : int
        Independent runs.
    window : tuple of float or None
        Times that were used.
    slopes : LocalSlopes or None
        Local slopes of the mean over runs, in the window.
    collapse : Collapse or None
        Of several control values.
    notes : tuple of str
        What one has to know, such as a window that was cut.
    citations : str
        Keys of the papers behind the exponents.
    """

    verdict: str
    reason: str
    candidates: tuple[Candidate, ...]
    start: str
    runs: int
    window: tuple[float, float] | None
    slopes: LocalSlopes | None = field(repr=False)
    collapse: Collapse | None = field(repr=False)
    notes: tuple[str, ...]
    citations: str

    def __getitem__(self, name: str) -> Candidate:
        return next(candidate for candidate in self.candidates if candidate.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Return the verdicts and their numbers as JSON-ready values."""
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "candidates": [candidate.to_dict() for candidate in self.candidates],
            "start": self.start,
            "runs": self.runs,
            "window": list(self.window) if self.window else None,
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        symbol = "theta" if self.start == "seed" else "delta"
        lines = [f"universality class: {self.verdict}", _indented(self.reason)]
        if self.window:
            lines.append(f"  {self.runs} runs, t = {self.window[0]:.4g} to {self.window[1]:.4g}")
        if self.slopes is not None and self.slopes.x.size:
            lines.append(f"  local slopes: {self._slope(0)}, {self._slope(-1)}")
        known_nu = any(candidate.nu_par.determined for candidate in self.candidates)
        head = f" {'class':<18}{'verdict':<15}{symbol:<16}{'known':>7}{'apart':>6}"
        lines.append(head + (f"{'nu_par':>16}" if known_nu else f"{'off-critical':>16}"))
        for candidate in self.candidates:
            if not candidate.exponent.determined:
                lines.append(f" {candidate.name:<18}{candidate.verdict}")
                continue
            last = candidate.nu_par if known_nu else candidate.off_critical
            known = f"{candidate.expected.value:.4g}" if candidate.expected.determined else "-"
            apart = f"{candidate.distance:.1f}" if math.isfinite(candidate.distance) else "-"
            lines.append(
                f" {candidate.name:<18}{candidate.verdict:<15}{candidate.exponent!s:<16}{known:>7}"
                f"{apart:>6}{last!s:>16}"
            )
        for note in self.notes:
            lines.append(_indented(note))
        return "\n".join(lines)

    def _slope(self, index: int) -> str:
        assert self.slopes is not None
        slope = Estimate(float(self.slopes.slope[index]), float(self.slopes.error[index]), "", self.runs)
        return f"{slope} at t ~ {self.slopes.x[index]:.3g}"


def _indented(text: str) -> str:
    return textwrap.fill(text, 79, initial_indent="  ", subsequent_indent="  ")


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
    Refused, with the reason: fewer than 8 runs; a window below `decades`; for a homogeneous start times at
    which mean and typical run differ by more than 2 % (finite size, or noise common to all sites of a run, as
    shared weights make it) or decay differently, and a local slope that falls to nothing (active phase); for
    a seed times at which fewer than 50 runs carry the mean. Classes of common noise are held against the
    times at which ``ln rho`` spreads over runs by 1 or more and 50 runs carry the mean; they need mean and
    spread of ``ln rho`` to grow as those of a reflected random walk, ``sqrt(2/(pi - 2)) : 1``. Only runs
    near the reflecting end carry the mean, so it takes thousands. Off criticality: where the term
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
    usable_part = partial(_usable_times, clock, start=start, window=window, decades=decades)
    scan = _ControlScan(0, Estimate.not_determined("one control value only"), None, ())
    if values is not None:
        scan = _scan_control(clock, curves, values, critical, candidates, window, usable_part)
    runs = curves[scan.nearest]
    usable = usable_part(runs)
    report = partial(
        ClassReport,
        start=start,
        runs=len(runs),
        collapse=scan.collapse,
        notes=scan.notes + usable.notes,
        citations=" ".join(dict.fromkeys(one.citations for one in candidates)),
    )
    parted = _parted_times(clock, runs, start, window, decades)
    judge = partial(_judged, candidates=candidates, start=start, critical=known_critical, nu_par=scan.nu_par)
    rows = [judge(clock, runs, one, parted if one.common_noise else usable) for one in candidates]
    symbol = "theta" if start == "seed" else "delta"
    if usable.refusal and any(row.verdict == "supported" for row in rows):
        # Runs part from the beginning and follow the law of common noise: no other class lets them.
        rows = [
            row if one.common_noise else replace(row, verdict="excluded")
            for one, row in zip(candidates, rows, strict=True)
        ]
        usable = parted
    verdict, reason = _overall(rows, symbol)
    report = partial(report, verdict, reason, candidates=tuple(rows))
    if usable.refusal:
        return report(window=None, slopes=None)
    t = clock[usable.chosen]
    data = log_data(runs[:, usable.chosen], None, "mean", name="density")
    slopes = slopes_of(np.log(t), data, math.sqrt(10))
    span = (float(t[0]), float(t[-1]))
    return report(window=span, slopes=slopes)


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
    clock, given = real_numbers(times, "times"), real_numbers(density, "density")
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
    if given.size and given.any() and not _SMALLEST < given.max() < 1 / _SMALLEST:
        raise InputError(
            f"The largest density is {given.max():.3g}.", "Give densities in units in which it is about 1."
        )
    if control is None:
        return clock, given[None], None
    return clock, given, np.asarray(control, dtype=np.float64)


def _expected(known: UniversalityClass, start: str) -> Estimate:
    return known.theta if start == "seed" else known.delta


def _refused(known: UniversalityClass, start: str, reason: str) -> Candidate:
    none, expected = Estimate.not_determined(reason), _expected(known, start)
    return Candidate(known.name, "not determined", reason, none, expected, math.nan, none, none, known.nu_par)


def _judged(
    clock: Array,
    runs: Array,
    known: UniversalityClass,
    usable: _Usable,
    *,
    candidates: Sequence[UniversalityClass],
    start: str,
    critical: bool,
    nu_par: Estimate,
) -> Candidate:
    expected = _expected(known, start)
    if not expected.determined:
        return _refused(
            known, start, f"It has no {'theta' if start == 'seed' else 'delta'}: {expected.reason}."
        )
    if usable.refusal:
        return replace(_refused(known, start, usable.refusal), verdict=usable.verdict)
    t = clock[usable.chosen]
    data = log_data(runs[:, usable.chosen], None, "mean", name="density")
    fit = _fit_class(t, data, known, critical=critical)
    sign = 1 if start == "seed" else -1
    exponent = replace(fit.slope, value=sign * fit.slope.value)
    distance = _distance(exponent, expected)
    others = [one for one in candidates if one is not known and one.common_noise == known.common_noise]
    values = [_expected(one, start).value for one in others if _expected(one, start).determined]
    apart = min((abs(value - expected.value) for value in values), default=math.inf)
    verdict, reason = _verdict(fit, exponent, expected, distance, apart / 4, nu_par, known.nu_par)
    if known.common_noise and verdict == "supported":
        verdict, reason = _reflected(np.log(runs[:, usable.chosen]), reason)
    return Candidate(
        known.name, verdict, reason, exponent, expected, distance, fit.off_critical, nu_par, known.nu_par
    )


def _reflected(logs: Array, reason: str) -> tuple[Verdict, str]:
    """Return the verdict on whether ``ln y`` is a random walk that is reflected at its upper end.

    At time t, ``-ln y`` is then the size of a normal number of variance D t, whatever D: its mean grows
    ``sqrt(2/(pi - 2))`` times as much as its standard deviation. A walk with a drift grows away from that.
    Read off where the spread is above half of its largest; what all times change of it counts as an error.
    """
    runs = len(logs)

    def rate(chosen: NDArray[np.intp], share: float = 0.5) -> float:
        mean, spread = -logs[chosen].mean(axis=0), logs[chosen].std(axis=0)
        late = spread >= share * spread.max()
        return float(np.polyfit(spread[late], mean[late], 1)[0])

    every = np.arange(runs)
    parts = np.array_split(every, min(runs, _JACKKNIFE))
    without = np.array([rate(np.delete(every, part)) for part in parts])
    chance = math.sqrt((len(parts) - 1) * float(np.mean((without - without.mean()) ** 2)))
    error = math.hypot(chance, rate(every) - rate(every, 0.0))
    found = Estimate(rate(every), error, "jackknife", runs)
    apart = abs(found.value - _REFLECTED) / max(error, 1e-300)
    told = f"mean and spread of ln rho grow as {found} : 1, {_REFLECTED:.4g} for a reflected random walk"
    if apart > _limit(_FAR, len(parts)):
        return "excluded", f"{told}: {apart:.1f} standard errors apart"
    if apart > _limit(_NEAR, len(parts)):
        return "not determined", f"{told}: {apart:.1f} standard errors apart"
    return "supported", f"{reason}; {told}"


def _verdict(
    fit: _ClassFit,
    exponent: Estimate,
    expected: Estimate,
    distance: float,
    neighbour: float,
    nu_par: Estimate,
    expected_nu: Estimate,
) -> tuple[Verdict, str]:
    off = abs(fit.off_critical.value) / fit.off_critical.error
    far, near = _limit(_FAR, exponent.n), _limit(_NEAR, exponent.n)
    if abs(fit.off_critical.value) > _LINEAR:
        return "not determined", f"off criticality: {fit.off_critical} of ln y at the end"
    if distance > far:
        return "excluded", f"{distance:.1f} standard errors apart"
    if nu_par.determined and _distance(nu_par, expected_nu) > far:
        return "excluded", f"nu_par = {nu_par} against {expected_nu.value:g}"
    if off > near and abs(fit.off_critical.value) > _LEAST_OFF:
        return "not determined", f"off criticality: {fit.off_critical} of ln y at the end"
    if distance > near:
        return "not determined", f"{distance:.1f} standard errors apart: neither near nor far"
    if nu_par.determined and _distance(nu_par, expected_nu) > near:
        return "not determined", f"nu_par = {nu_par} against {expected_nu.value:g}"
    sharp = min(neighbour, _SHARPNESS * expected.value if expected.value else math.inf)
    if exponent.error > sharp:
        return "not determined", f"an error of {exponent.error:.2g} is above {sharp:.2g}"
    return "supported", f"{distance:.1f} standard errors apart"


def _distance(measured: Estimate, known: Estimate) -> float:
    return abs(measured.value - known.value) / math.hypot(measured.error, known.error)


def _limit(sigmas: float, runs: int) -> float:
    """Return the t-distributed counterpart of so many standard errors, for errors from few runs."""
    return float(stats.t.isf(stats.norm.sf(sigmas), runs - 1))


def _overall(rows: Sequence[Candidate], symbol: str) -> tuple[str, str]:
    """Return the verdict, and the reason whose first sentence names the condition that decided."""
    comparable = [row for row in rows if row.expected.determined]
    silent = [row.name for row in rows if not row.expected.determined]
    rest = f" Not compared, as it has no {symbol}: {', '.join(silent)}." if silent else ""
    supported = [row for row in comparable if row.verdict == "supported"]
    undecided = [row for row in comparable if row.verdict == "not determined"]
    if len(supported) == 1 and not undecided:
        one = supported[0]
        near = f"{symbol} = {one.exponent} against {one.expected.value:.4g}: {one.reason}."
        return one.name, f"{near} All others are excluded.{rest}"
    if not supported and not undecided:
        best = min(comparable, key=lambda row: row.distance if math.isfinite(row.distance) else math.inf)
        nearest = f"The nearest is {best.name}: {_ended(best.reason)}"
        return "not determined", f"None of the known classes fits: all are excluded. {nearest}{rest}"
    left = _grouped(undecided) if undecided else ""
    if supported:
        names = " and ".join(row.name for row in supported)
        left = f" Not excluded: {left}" if left else ""
        return "not determined", f"Supported: {names}.{left}{rest}"
    return "not determined", f"{left}{rest}"


def _grouped(rows: Sequence[Candidate]) -> str:
    """Return the reasons of several classes as sentences, the most frequent first and without names."""
    names: dict[str, list[str]] = {}
    for row in rows:
        names.setdefault(row.reason, []).append(row.name)
    first, *more = sorted(names.items(), key=lambda item: -len(item[1]))
    told = [_ended(first[0]) if len(rows) > 1 and len(first[1]) > 1 else f"{first[1][0]}: {_ended(first[0])}"]
    told += [f"{', '.join(who)}: {_ended(reason)}" for reason, who in more]
    return " ".join(told)


def _ended(reason: str) -> str:
    return reason if reason.endswith(".") else reason + "."


@dataclass(frozen=True)
class _Usable:
    """The part of the data that can be used, or why there is none."""

    chosen: NDArray[np.bool_]  # (times,): which times can be used, where there is no refusal
    refusal: str  # why none can be used; empty where some can
    notes: tuple[str, ...]  # where the window was cut, and why
    verdict: Verdict = "not determined"  # on the classes that need this part, where there is a refusal


def _usable_times(
    times: Array, density: Array, start: str, window: tuple[float, float] | None, decades: float
) -> _Usable:
    """Return the times between microscopic scales and the point where rare runs carry the mean.

    From a homogeneous start ``mean ln y`` has to stay within 0.02 of ``ln mean y``. From a seed, most of
    whose runs end, the mean has to rest on 50 runs, ``(sum y)^2/sum y^2``.

    Shapes: `times` (times,), `density` (runs, times).
    """
    chosen = np.zeros(len(times), dtype=bool)
    if len(density) < _FEWEST_RUNS:
        return _Usable(chosen, f"{len(density)} runs are too few for an error, {_FEWEST_RUNS} needed.", ())
    first, last = window or (_FIRST_TIME, math.inf)
    reach, why = (_carried if start == "seed" else _self_averaging)(times, density, first)
    notes = _cut(reach, why) if reach < min(last, times[-1]) else ()
    last = min(last, reach)
    inside = times[(times <= last) & (times >= first)]
    if window is None and inside.size:
        first = max(first, inside[-1] / 10**_MOST_DECADES)
    # At points where all runs agree there is no error to weigh them with.
    chosen = (times >= first) & (times <= last) & (density.std(axis=0) > 0)
    kept = times[chosen]
    if kept.size < _FEWEST_POINTS or kept[-1] / kept[0] < 10**decades * (1 - 1e-9):
        return _Usable(chosen, _too_short(kept, decades, notes), notes)
    if start == "homogeneous":
        late, most = _late_slope(kept, density[:, chosen])
        if late < _SATURATED * most:
            reason = f"Off criticality: the local slope falls from {most:.3g} to {late:.3g} (active phase)."
            return _Usable(chosen, reason, notes)
        ratio = _gap_slope(kept, density[:, chosen])
        if ratio > _LARGEST_GAP_SLOPE:
            reason = (
                f"Mean and typical run decay at rates that differ by {ratio:.0%}: rare runs carry the mean."
            )
            return _Usable(chosen, reason, notes)
    return _Usable(chosen, "", notes)


def _cut(reach: float, why: str) -> tuple[str, ...]:
    return (f"Cut at t = {reach:.4g}: {why}." if reach else f"Cut at the first time: {why}.",)


def _too_short(kept: Array, decades: float, notes: Sequence[str]) -> str:
    span = f"t = {kept[0]:.4g} to {kept[-1]:.4g} with {kept.size} points" if kept.size else "no point"
    left = f"{span}, where {decades:g} decade(s) are needed."
    return f"{notes[0]} That leaves {left}" if notes else f"Too short: {left}"


def _parted_times(
    times: Array, density: Array, start: str, window: tuple[float, float] | None, decades: float
) -> _Usable:
    """Return the times at which runs have parted as noise common to all sites parts them.

    ``ln y`` has to spread by 1 or more over runs, of which none has ended and 50 carry the mean.
    """
    chosen = np.zeros(len(times), dtype=bool)
    if start == "seed" or len(density) < _FEWEST_RUNS:
        return _Usable(chosen, f"{len(density)} runs are too few for an error, {_FEWEST_RUNS} needed.", ())
    first, last = window or (_FIRST_TIME, math.inf)
    inside = (times >= first) & (times <= last)
    alive = inside & np.logical_and.accumulate((density > 0).all(axis=0) | ~inside)
    spread = np.zeros(len(times))
    spread[alive] = np.log(density[:, alive]).std(axis=0)
    if not (spread >= _PARTED).any():
        reason = (
            f"Runs stay alike: ln rho spreads over them by {spread.max():.2g} at most, and noise common to "
            f"a run makes that grow beyond {_PARTED:g}."
        )
        return _Usable(chosen, reason, (), "excluded")
    first = float(times[spread >= _PARTED][0])
    reach, why = _carried(times, density, first)
    notes = _cut(reach, why) if reach < min(last, times[-1]) else ()
    chosen = alive & (times >= first) & (times <= reach)
    kept = times[chosen]
    if kept.size < _FEWEST_POINTS or kept[-1] / kept[0] < 10**decades * (1 - 1e-9):
        told = f"Runs part from t = {first:.4g} on. {_too_short(kept, decades, notes)}"
        return _Usable(chosen, told, notes)
    return _Usable(chosen, "", notes)


def _self_averaging(times: Array, density: Array, first: float) -> tuple[float, str]:
    """Return the last time at which runs are alike, and what ends it."""
    ended = np.flatnonzero((density <= 0).any(axis=0) & (times >= first))
    alive = times[ended[0] - 1] if ended.size and ended[0] else (0.0 if ended.size else math.inf)
    kept = times <= alive
    logs = np.log(density[:, kept & (density > 0).all(axis=0)])
    clock = times[kept & (density > 0).all(axis=0)]
    gap = np.log(np.exp(logs - logs.max(axis=0)).mean(axis=0)) + logs.max(axis=0) - logs.mean(axis=0)
    apart = np.flatnonzero((gap > _LARGEST_GAP) & (clock >= first))
    if apart.size:
        limit = float(clock[apart[0] - 1]) if apart[0] else 0.0
        return limit, "from there on mean and typical run part (finite size, or noise common to a whole run)"
    return float(alive), "from there on runs have ended (finite size)"


def _carried(times: Array, density: Array, first: float) -> tuple[float, str]:
    total, square = density.sum(axis=0), (density**2).sum(axis=0)
    carriers = np.where(square > 0, total**2 / np.where(square > 0, square, 1.0), 0.0)
    few = np.flatnonzero((carriers < _FEWEST_CARRIERS) & (times >= first))
    reached = math.inf if not few.size else (float(times[few[0] - 1]) if few[0] else 0.0)
    return reached, f"from there on fewer than {_FEWEST_CARRIERS} runs carry the mean"


def _late_slope(times: Array, density: Array) -> tuple[float, float]:
    """Return the size of the last local slope and of the steepest one before."""
    data = log_data(density, None, "mean", name="density")
    slopes = slopes_of(np.log(times), data, math.sqrt(10))
    steepness = -slopes.slope
    # What chance could have added to the steepest, and taken from the last, is allowed for.
    most = float((steepness - 2 * slopes.error).max())
    return float(max(0.0, steepness[-1] + 2 * slopes.error[-1])), most


def _gap_slope(times: Array, density: Array) -> float:
    """Return by how much the slopes of mean and typical run differ, relative to the mean's, late on."""
    late = times >= times[-1] / math.sqrt(10)
    clock = np.log(times[late])
    mean, typical = np.log(density[:, late].mean(axis=0)), np.log(density[:, late]).mean(axis=0)
    slope, gap_slope = np.polyfit(clock, mean, 1)[0], np.polyfit(clock, mean - typical, 1)[0]
    return float(abs(gap_slope) / max(abs(slope), 1e-300))


@dataclass(frozen=True)
class _ClassFit:
    """The exponent under the form of one class, and how far the data are from criticality."""

    # Asymptotic ``d ln y/d ln t``; its error is statistical and what another window or correction changes.
    slope: Estimate
    # What the distance from criticality adds to ``ln y`` at the end, fitted over the whole window.
    off_critical: Estimate


@dataclass(frozen=True)
class _Line:
    """A linear fit."""

    parameters: Array  # (parameters,)
    influence: Array  # (runs, parameters): what each run adds to them
    ratio: float  # chi^2 over its expectation
    p_value: float


def _fit_class(t: Array, data: LogData, known: UniversalityClass, *, critical: bool) -> _ClassFit:
    """Return the exponent that data have if they belong to a class; at the critical point where `critical`.

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
    """
    length = math.log(t[-1] / t[0])
    fits: list[_ClassFit] = []
    for share in (0.0, 0.25, 0.5, 1 - math.log(10) / length):
        kept = t >= t[0] * math.exp(share * length) * (1 - 1e-9)
        if not fits or (kept.sum() >= _FEWEST_POINTS_LATER and (1 - share) * length >= math.log(10) - 1e-9):
            fits.append(_fit(t[kept], data.at(kept), known, critical=critical))
    best = min(fits, key=lambda fit: fit.slope.error)
    # The whole window has the longest lever for a term that grows with time.
    return replace(best, off_critical=fits[0].off_critical)


def _fit(t: Array, data: LogData, known: UniversalityClass, *, critical: bool) -> _ClassFit:
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
    error = math.hypot(statistical, systematic, _EXPONENT_FLOOR * slope)
    off_critical = float(full.parameters[2]), _error(full.influence[:, 2]) * inflation
    span, runs = (float(t[0]), float(t[-1])), data.networks
    return _ClassFit(
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
    ratio, p_value = goodness(residual, jacobian, data.factor / unit, data.networks)
    return _Line(parameters, data.influence / unit @ inverse.T, ratio, p_value)


def _beyond_chance(first: _Line, second: _Line) -> float:
    """Return the square of the difference of two slopes less its variance, or 0."""
    shift = first.parameters[1] - second.parameters[1]
    chance = _error(first.influence[:, 1] - second.influence[:, 1])
    return max(0.0, float(shift) ** 2 - chance**2)


def _error(influence: Array) -> float:
    return float(np.std(influence, ddof=1) / math.sqrt(len(influence)))


@dataclass(frozen=True)
class _ControlScan:
    """What several control values tell."""

    nearest: int  # index of the curve nearest to criticality
    nu_par: Estimate  # from the collapse
    collapse: Collapse | None  # none where too few curves can be used
    notes: tuple[str, ...]  # where the critical point is, or why there is no collapse


def _scan_control(
    times: Array,
    curves: Array,
    values: Array,
    critical: float | None,
    candidates: Sequence[UniversalityClass],
    window: tuple[float, float] | None,
    usable_part: Callable[[Array], _Usable],
) -> _ControlScan:
    """Return the critical point and nu_par from ``y = t^a F((control - critical) t^(1/nu_par))``.

    The first quarter of the window (in ln t) is left to corrections to scaling. Where the collapse fails it
    is made with a correction term, whose effect on the exponent counts as an error; beyond a quality of 10
    nu_par is not determined. Two per cent are added for corrections that a good collapse still hides.

    Shapes: `times` (times,), `curves` (controls, runs, times), `values` (controls,).
    """
    guess = _straightest(times, curves, values, candidates, usable_part)
    begin = guess if critical is None else critical
    nearest = int(np.argmin(np.abs(values - begin)))
    first, last = window or (_FIRST_TIME, math.inf)
    last = min(last, float(times[-1]))
    first = max(first, last / 10**_MOST_DECADES)
    late = (times <= last) & (times >= first * (last / first) ** _LEFT_TO_CORRECTIONS)
    chosen, points, rows = [], [], []
    for value, curve in zip(values, curves, strict=True):
        mean, error = curve.mean(axis=0), curve.std(axis=0, ddof=1) / math.sqrt(len(curve))
        kept = late & (error > 0) & (error < _LARGEST_ERROR * mean)
        if kept.sum() >= _FEWEST_POINTS:
            chosen.append(float(value))
            points.append(times[kept])
            rows.append(curve[:, kept])
    if len(chosen) < 3:
        reason = f"only {len(chosen)} curves can be collapsed"
        return _ControlScan(nearest, Estimate.not_determined(reason), None, (f"No collapse: {reason}.",))
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
        return _ControlScan(nearest, nu_par, found, (f"Critical at {where}, from the collapse.",))
    return _ControlScan(nearest, nu_par, found, (f"No collapse: {found.reason}.",) if found.reason else ())


def _straightest(
    times: Array,
    curves: Array,
    values: Array,
    candidates: Sequence[UniversalityClass],
    usable_part: Callable[[Array], _Usable],
) -> float:
    """Return the control value of the straightest curve, each seen by the class that bends it least."""
    bends = []
    for curve in curves:
        usable = usable_part(curve)
        if usable.refusal:
            bends.append(math.inf)
            continue
        data = log_data(curve[:, usable.chosen], None, "mean", name="density")
        alike = [known for known in candidates if not known.common_noise]
        fits = [_fit_class(times[usable.chosen], data, known, critical=False) for known in alike]
        bends.append(min(abs(fit.off_critical.value) for fit in fits))
    return float(values[int(np.argmin(bends))] if np.isfinite(bends).any() else np.median(values))


def _nu_par(found: Collapse, plain: Estimate) -> Estimate:
    b = found.exponents["b"]
    if not found.determined:
        return Estimate.not_determined(found.reason)
    if found.quality > _WORST_QUALITY or b.value <= 3 * b.error:
        return Estimate.not_determined(f"the curves do not collapse (quality {found.quality:.1f})")
    error = math.hypot(b.error, (b.value - plain.value) / 2, _NU_PAR_FLOOR * b.value)
    return replace(b, value=1 / b.value, error=error / b.value**2, method="collapse")
