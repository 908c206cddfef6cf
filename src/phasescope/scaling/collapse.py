"""Collapse of curves onto one unknown smooth function, with exponents, errors and a quality.

The function is a spline in a logarithmic abscissa, projected out of the data by linear least squares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise, product
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize
from scipy.linalg import block_diag

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.results import Result
from phasescope.scaling.log_data import Array, LogData, Statistic, goodness, log_data, real_numbers

Form = Literal["constant", "function"]
CollapseVerdict = Literal["holds", "holds roughly", "refused", "not determined"]

_LARGEST_ERROR = 0.5
_FEWEST_POINTS = 8
_LEAST_OVERLAP = 0.3
_DOUBTFUL = 0.01
_STRAIGHT = 0.05
# Residuals, in per cent of y, that an eye sees on logarithmic axes: four hundredths of a decade.
_VISIBLE = 10.0
# Values of b that are tried before the search, the intervals of the spline meanwhile, how many x critical is
# tried between, and how many of the best places a search starts from.
_SCAN = np.arange(-16, 17) / 4
_SCAN_INTERVALS = 5
_MOST_PLACES = 12
_POLISHED = 2
# The largest exponent of size that is searched: beyond, powers of a size leave the range of numbers.
_LARGEST = 16.0
# How much a kink of the spline costs, in units of a point: too little to bend it, enough to bridge gaps.
_STIFFNESS = 1e-3
_CORRECTION_INTERVALS = 2
# Intervals that the master curve may have, and the degrees of freedom that have to be left to judge them.
_INTERVALS = (1, 2, 3, 4, 6, 8, 11, 15, 20, 27)
_LEAST_FREEDOM = 5.0
# What interpolation may leave at most, as a share of the spread of ln y along the curves; and by how much a
# polynomial of the next odd degree shrinks the variance that is left where a curve is smooth.
_LARGEST_INTERPOLATION = 0.1
_SHRINKS = 4.0
_GRID = 200


@dataclass(frozen=True)
class CollapsedCurve(Result):
    """One curve, as measured and rescaled.

    Parameters
    ----------
    x, size, y, error : arrays of shape (points,)
        As measured: mean or typical value with its standard error.
    scaled_x, scaled_y, scaled_error : arrays of shape (points,)
        ``(x - critical) size^b`` and ``y size^a``.
    corrected_y : array of shape (points,)
        `scaled_y` without the correction term.
    """

    x: Array
    size: Array
    y: Array
    error: Array
    scaled_x: Array
    scaled_y: Array
    scaled_error: Array
    corrected_y: Array


@dataclass(frozen=True)
class Collapse(Result):
    """Curves on one master curve; :func:`phasescope.scaling.collapse` makes it.

    Parameters
    ----------
    exponents : mapping of str to Estimate
        "a", "b" and "critical"; "c" and "omega" with a correction. Held ones have error 0.
    quality : float
        Squared distance from the common curve over what chance and interpolation lead one to expect, the
        correlations of points included: about 1 for a good collapse.
    p_value : float
        Chance of a larger `quality` if the curves do collapse.
    rms : float
        Root mean square of ``ln(y / common curve)`` in per cent, every point counting the same: what an eye
        sees of the distance. A correction term counts as part of the common curve.
    rms_errors : float
        The same of the standard errors, in per cent: the `rms` that they alone would leave.
    overlap : float
        Share of the points within the reach of another curve.
    interpolation : float
        Standard error of ``ln y`` from interpolation, already among the errors.
    curves : tuple of CollapsedCurve
        The data before and after.
    master_x, master_y : arrays of shape (200,)
        The common curve, without correction.
    reason : str
        Why the free exponents are not determined; empty where they are.
    notes : tuple of str
        What one has to know.
    """

    exponents: Mapping[str, Estimate]
    quality: float
    p_value: float
    rms: float
    rms_errors: float
    overlap: float
    interpolation: float
    curves: tuple[CollapsedCurve, ...] = field(repr=False)
    master_x: Array = field(repr=False)
    master_y: Array = field(repr=False)
    reason: str = ""
    notes: tuple[str, ...] = ()

    @property
    def determined(self) -> bool:
        """Whether the exponents are."""
        return not self.reason

    @property
    def verdict(self) -> CollapseVerdict:
        """Whether the curves collapse with these exponents, by one rule for all.

        "holds" where p is at least 0.01 and `rms` at most 10 %. "holds roughly" where `rms` is at most 10 %
        but p is smaller: an eye sees a collapse, the errors refuse it. "refused" where both fail. "not
        determined" where p is at least 0.01 and `rms` above 10 %, as the errors are too large to tell, or
        where too few points overlap.
        """
        if not math.isfinite(self.p_value):
            return "not determined"
        if self.p_value < _DOUBTFUL:
            return "holds roughly" if self.rms <= _VISIBLE else "refused"
        return "holds" if self.rms <= _VISIBLE else "not determined"

    @property
    def sentence(self) -> str:
        """The verdict with its numbers, as one sentence."""
        if not math.isfinite(self.p_value):
            return f"The collapse is not determined: {self.overlap:.0%} of the points overlap."
        told = {
            "holds": "The curves collapse within their errors",
            "holds roughly": "The curves collapse to the eye, not within their errors",
            "refused": "The curves do not collapse",
            "not determined": "The errors are too large to tell whether the curves collapse",
        }
        return f"{told[self.verdict]}: {self._numbers()}."

    def _numbers(self) -> str:
        return f"p = {self.p_value:.2g}, rms {self.rms:.2g} % of y (errors {self.rms_errors:.2g} %)"

    def __str__(self) -> str:
        lines = ["y size^a = f((x - critical) size^b)"]
        for name, value in self.exponents.items():
            held = " (held)" if value.determined and value.error == 0 else ""
            lines.append(f"  {name} = {value}{held}")
        if math.isfinite(self.quality):
            points = sum(len(curve.x) for curve in self.curves)
            lines.append(
                f"  quality {self.quality:.2f} (1 is chance), {self.overlap:.0%} of {points} points overlap"
            )
            lines.append(f"  {self.verdict}: {self._numbers()}")
        return "\n".join(lines + [f"  {note}" for note in self.notes])


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
        Those to be fitted, and where the search begins; b is looked for between -4 and 4 without. "critical"
        is looked for at all sampled x and one spacing beyond, or as far again as a start outside of them.
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
        of no use: fewer than two, all of one size, shapes that differ, NaN, values that are not positive.

    Notes
    -----
    In logarithms f is a cubic spline that is projected out of the data by linear least squares, a and c with
    it, and only b, critical and omega are searched: on a grid, then from its best places. How fine the spline
    has to be, and what error is left by it, is told by each curve fitted alone; what single curves scatter
    above their errors is no such error, makes p small and is told in a note. Errors are half the 68 %
    interval of a bootstrap over networks (normal draws where errors are given), times ``sqrt(quality)``
    where the p-value is below 0.01, and at least half the way to any other b that fits about as well. Not
    determined where less than 30 % of the points overlap, or where f is a pure power, which leaves only a
    combination of a and b. Fails: points with relative errors above 1/2 are left out, so a collapse
    cannot rest on them. Cost: about 0.2 ms for 200 points and one trial; 0.2 s with errors. Source: derived
    here, after the master curve of Houdayer and Hartmann (cond-mat/0402036).
    """
    if resamples < 20:
        raise InputError(f"resamples = {resamples}.", "Draw at least 20.")
    points, curves, notes = _gather(x, y, size, errors, statistic)
    ansatz, beginning = _ansatz(points, dict(fixed or {}), dict(start or {}), correction)
    ln_y = np.concatenate([data.ln_y for data in curves])
    relative = np.concatenate([data.relative for data in curves])
    theta = _begin(ansatz, beginning, curves)
    intervals, extra = _resolution(ansatz, curves, theta)
    for _ in range(4):
        unit = np.sqrt(relative**2 + extra)
        theta = _search(ansatz, theta, intervals, ln_y, unit)
        before = intervals
        intervals, extra = _resolution(ansatz, curves, theta)
        if intervals == before:
            break
    unit = np.sqrt(relative**2 + extra)
    theta = _search(ansatz, theta, intervals, ln_y, unit)
    return _result(ansatz, theta, intervals, extra, curves, notes, resamples, np.random.default_rng(seed))


def _gather(
    x: Sequence[ArrayLike],
    y: Sequence[ArrayLike],
    size: Sequence[ArrayLike],
    errors: Sequence[ArrayLike] | None,
    statistic: Statistic,
) -> tuple[tuple[Array, Array, Array], list[LogData], list[str]]:
    """Return abscissas, sizes and curve numbers of all points, the curves' logarithms, and notes."""
    count = len(y)
    if count < 2:
        raise InputError(f"{count} curve.", "A collapse needs at least two.")
    for name, given in (("x", x), ("size", size), ("errors", errors)):
        if given is not None and len(given) != count:
            raise InputError(
                f"{name} has {len(given)} entries for {count} curves.", "Give one a curve, in the same order."
            )
    found: list[Array] = []
    curves: list[LogData] = []
    dropped = 0
    for index in range(count):
        name = f"y[{index}]"
        data = log_data(y[index], None if errors is None else errors[index], statistic, name=name)
        if not data.known:
            raise InputError(
                f"{name} has neither networks nor errors.", "Give errors=, or y as (networks, points)."
            )
        points = np.stack(
            [_along(x[index], data, f"x[{index}]"), _along(size[index], data, f"size[{index}]")]
        )
        if not (points[1] > 0).all():
            raise InputError(f"size[{index}] is not positive.", "Sizes enter as powers: give positive ones.")
        usable = data.relative <= _LARGEST_ERROR
        dropped += int((~usable).sum())
        if usable.any():
            found.append(np.concatenate([points[:, usable], np.full((1, usable.sum()), len(curves))]))
            curves.append(data.at(usable))
    total = sum(len(data.ln_y) for data in curves)
    if len(curves) < 2 or total < _FEWEST_POINTS:
        raise InputError(
            f"{total} points on {len(curves)} curves have a relative error below {_LARGEST_ERROR}.",
            f"Give at least {_FEWEST_POINTS} on two curves; more networks make the errors smaller.",
        )
    sizes = np.unique(np.concatenate([part[1] for part in found]))
    if len(sizes) < 2:
        raise InputError(
            f"All {len(curves)} curves have the one size {sizes[0]:g}.",
            "Exponents are told by how curves change with size: give curves of at least two sizes.",
        )
    notes = [f"{dropped} points with relative errors above {_LARGEST_ERROR} are left out."] if dropped else []
    joined = np.concatenate(found, axis=1)
    return (joined[0], joined[1], joined[2]), curves, notes


def _along(given: ArrayLike, data: LogData, name: str) -> Array:
    values = real_numbers(given, name)
    points = len(data.ln_y)
    if values.ndim > 1 or (values.ndim == 1 and len(values) != points):
        raise InputError(
            f"{name} has shape {values.shape}, the curve has {points} points.",
            "Give one number, or one a point.",
        )
    if not np.isfinite(values).all():
        raise InputError(f"{name} has values that are not finite.", "Leave these points out.")
    return np.broadcast_to(values, points)


def _ansatz(
    points: tuple[Array, Array, Array],
    fixed: dict[str, float],
    start: dict[str, float],
    correction: Form | None,
) -> tuple[_Ansatz, dict[str, float]]:
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
    ends = np.unique(x)
    low, high = float(ends[0]), float(ends[-1])
    place = start.get("critical", low)
    if len(ends) > 1:
        low, high = low - float(ends[1] - ends[0]), high + float(ends[-1] - ends[-2])
    reach = min(low, 2 * place - float(ends[0])), max(high, 2 * place - float(ends[-1]))
    return _Ansatz(x, size, curve.astype(int), held, free, correction, logarithmic, reach), start


@dataclass(frozen=True)
class _Ansatz:
    """``ln y = F(s) - a ln size [+ c size^-omega | + G(s) size^-omega]`` with F and G unknown and smooth."""

    x: Array  # (points,): abscissas of all curves, one after the other
    size: Array  # (points,): their sizes
    curve: NDArray[np.int_]  # (points,): which curve a point belongs to
    held: dict[str, float]  # parameters that are not fitted, among "a", "b", "critical", "omega"
    free: tuple[str, ...]  # those of "b", "critical", "omega" that are searched
    correction: Form | None  # form of the term in ``size^-omega``
    logarithmic: bool  # whether the abscissa is ``ln u`` (all u > 0) or ``asinh(u/median)``, for both signs
    reach: tuple[float, float]  # where critical is looked for

    def values(self, theta: Array) -> dict[str, float]:
        """Return all parameters but those that enter linearly."""
        return {**self.held, **dict(zip(self.free, theta.tolist(), strict=True))}

    @property
    def limits(self) -> tuple[Array, Array]:
        """Return the lowest and highest values of the searched parameters."""
        ends = [self.reach if name == "critical" else (-_LARGEST, _LARGEST) for name in self.free]
        low, high = np.array(ends).reshape(-1, 2).T
        return low, high

    def scaled(self, theta: Array) -> Array:
        """Return ``u = (x - critical) size^b``."""
        values = self.values(theta)
        return np.asarray((self.x - values["critical"]) * self.size ** values["b"])

    def abscissa(self, theta: Array) -> Array:
        """Return the coordinate s in which the master curve is smooth."""
        u = self.scaled(theta)
        if self.logarithmic:
            return np.asarray(np.log(u))
        size = np.abs(u)
        return np.asarray(np.arcsinh(u / np.median(size[size > 0])))

    @property
    def linear(self) -> tuple[str, ...]:
        """Names of the parameters, beside the master curve, in which ``ln y`` is linear."""
        return (() if "a" in self.held else ("a",)) + (("c",) if self.correction == "constant" else ())

    def design(self, theta: Array, intervals: int) -> Array:
        """Return the columns of the linear problem: the `linear` parameters, F, then G."""
        s = self.abscissa(theta)
        low, high = float(s.min()), float(s.max())
        small = self.size ** -self.values(theta).get("omega", 0.0)
        columns = [] if "a" in self.held else [-np.log(self.size)[:, None]]
        if self.correction == "constant":
            columns.append(small[:, None])
        columns.append(_spline_basis(s, low, high, intervals))
        if self.correction == "function":
            columns.append(small[:, None] * _spline_basis(s, low, high, _CORRECTION_INTERVALS))
        return np.concatenate(columns, axis=1)

    def offset(self) -> Array:
        """Return the part of ``ln y`` that is held fixed."""
        return -self.held.get("a", 0.0) * np.log(self.size)

    def solve(self, theta: Array, intervals: int, ln_y: Array, unit: Array) -> tuple[Array, Array]:
        """Return coefficients of the columns and residuals in units of `unit`, for one or more right sides.

        `theta` holds the `free` parameters; `ln_y` has shape (points,) or (points, draws).
        """
        design = self.design(theta, intervals) / unit[:, None]
        target = ((ln_y.T - self.offset()) / unit).T
        width = design.shape[1]
        first = len(self.linear)
        bend = np.zeros((intervals + 1, width))
        rows = np.arange(intervals + 1)
        for shift, weight in ((0, 1.0), (1, -2.0), (2, 1.0)):
            bend[rows, first + rows + shift] = weight * _STIFFNESS
        left, right = np.linalg.qr(np.concatenate([design, bend]))
        diagonal = np.abs(np.diag(right))
        if diagonal.min() <= 1e-10 * diagonal.max():
            padded = np.concatenate([target, np.zeros((len(bend), *target.shape[1:]))])
            coefficients = np.linalg.lstsq(np.concatenate([design, bend]), padded, rcond=1e-9)[0]
        else:
            coefficients = np.linalg.solve(right, left[: len(target)].T @ target)
        return coefficients, target - design @ coefficients

    def overlap(self, theta: Array) -> float:
        """Return the share of points within the reach of another curve."""
        s = self.abscissa(theta)
        labels = np.unique(self.curve)
        low = np.array([s[self.curve == label].min() for label in labels])
        high = np.array([s[self.curve == label].max() for label in labels])
        other = labels != self.curve[:, None]
        inside = (s[:, None] >= low) & (s[:, None] <= high) & other
        return float(inside.any(axis=1).mean())


def _spline_basis(s: Array, low: float, high: float, intervals: int) -> Array:
    """Return uniform cubic B-splines at `s`, shape (points, intervals + 3).

    By hand, because scipy's ``BSpline.design_matrix`` rounds otherwise and a search carries that into the
    exponents of stored studies.
    """
    width = (high - low) or 1.0
    position = np.clip((s - low) / width, 0.0, 1.0) * intervals
    cell = np.minimum(position.astype(int), intervals - 1)
    t = position - cell
    weights = np.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1
    )
    basis = np.zeros((len(s), intervals + 3))
    np.put_along_axis(basis, cell[:, None] + np.arange(4), weights / 6, axis=1)
    return basis


def _begin(ansatz: _Ansatz, start: dict[str, float], curves: list[LogData]) -> Array:
    """Return where to begin: the best fit from the best places of a grid of b and critical, and from `start`.

    Where x is the same along a curve, chi^2 has a narrow minimum at each x, which no search leaves.
    """
    usual = {"omega": 1.0, "b": 0.0, **start}
    given = np.array([usual[name] for name in ansatz.free])
    places = _places_of_critical(ansatz) if "critical" in ansatz.free else []
    slopes = _SCAN[:: 2 if places else 1].tolist() if "b" in ansatz.free and "b" not in start else []
    ln_y = np.concatenate([data.ln_y for data in curves])
    unit = np.concatenate([data.relative for data in curves])
    scanned: list[tuple[float, Array]] = []
    for critical, b in product(places or [math.nan], slopes or [math.nan]):
        tried = usual | ({"critical": critical} if places else {}) | ({"b": b} if slopes else {})
        theta = np.array([tried[name] for name in ansatz.free])
        if (places or slopes) and ansatz.overlap(theta) >= 0.5:
            _, residual = ansatz.solve(theta, _SCAN_INTERVALS, ln_y, unit)
            scanned.append((float(residual @ residual), theta))
    if not scanned:
        return given
    scanned.sort(key=lambda pair: pair[0])
    if not places:
        return scanned[0][1]
    intervals, extra = _resolution(ansatz, curves, scanned[0][1])
    unit = np.sqrt(unit**2 + extra)
    best, chosen = math.inf, scanned[0][1]
    for theta in (*(theta for _, theta in scanned[:_POLISHED]), given):
        found = _search(ansatz, theta, intervals, ln_y, unit)
        _, residual = ansatz.solve(found, intervals, ln_y, unit)
        if float(residual @ residual) < best and ansatz.overlap(found) >= _LEAST_OVERLAP:
            best, chosen = float(residual @ residual), found
    return chosen


def _places_of_critical(ansatz: _Ansatz) -> list[float]:
    """Return three places in each gap between sampled x, and one on either side."""
    ends = np.unique(ansatz.x)
    ends = np.unique(np.quantile(ends, np.linspace(0, 1, min(len(ends), _MOST_PLACES))))
    low, high = ansatz.reach
    inside = [
        left + share * (right - left) for left, right in pairwise(ends) for share in (1 / 6, 1 / 2, 5 / 6)
    ]
    return [(low + ends[0]) / 2, *inside, (ends[-1] + high) / 2]


def _search(ansatz: _Ansatz, theta: Array, intervals: int, ln_y: Array, unit: Array) -> Array:
    """Return the searched parameters of the best fit nearest to `theta`."""
    if not len(theta):
        return theta
    scale = np.maximum(np.abs(theta), 1e-2)
    low, high = ansatz.limits
    found = optimize.least_squares(
        lambda trial: ansatz.solve(trial, intervals, ln_y, unit)[1],
        np.clip(theta, low, high),
        bounds=(low, high),
        x_scale=scale,
        xtol=1e-10,
    )
    return np.asarray(found.x)


def _resolution(ansatz: _Ansatz, curves: list[LogData], theta: Array) -> tuple[int, float]:
    """Return the number of intervals of the spline, and the variance of ``ln y`` that interpolation adds.

    Each curve is fitted alone, whatever the exponents, with knots as far apart as the master curve's, whose
    length `theta` sets. The fewest intervals with which that is as good as chance allows are enough for the
    collapse too. Where none are, the variance that makes up for the rest is counted among the errors.
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
    left = _missing(lambda extra: _alone(ansatz, curves, s, reach, best[1], extra)[0])
    spread = sum(float(((data.ln_y - data.ln_y.mean()) ** 2).sum()) for data in curves) / points
    return best[1], min(max(0.0, left - _scatter(ansatz, curves, s)), _LARGEST_INTERPOLATION**2 * spread)


def _missing(excess: Callable[[float], float]) -> float:
    """Return the variance of ``ln y`` with which an excess over chance falls to 1; 0 where it is below."""
    if excess(0.0) <= 1:
        return 0.0
    low, high = 1e-20, 1e2
    for _ in range(40):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if excess(middle) > 1 else (low, middle)
    return high


def _scatter(ansatz: _Ansatz, curves: list[LogData], s: Array) -> float:
    """Return the variance of ``ln y`` by which points of single curves scatter above their errors.

    Each point is held against the polynomial through its neighbours on its own curve, two for degree 1, four
    for degree 3, six for degree 5. Scatter leaves the same at each degree; what a smooth curve leaves shrinks
    by a factor of at least 4 from degree to degree, and is extrapolated away.
    """
    left: list[float] = []
    for neighbours in (2, 4, 6):
        found = [
            _unlike_neighbours(_along_curve(ansatz, label, s), data, neighbours)
            for label, data in enumerate(curves)
        ]
        pulls = np.concatenate([np.empty((3, 0)), *(pull for pull in found if pull is not None)], axis=1)
        if pulls.shape[1] < _LEAST_FREEDOM:
            break
        left.append(_missing(partial(_mean_square_pull, pulls)))
    if len(left) < 2:
        return 0.0
    return max(0.0, (_SHRINKS * left[-1] - left[-2]) / (_SHRINKS - 1))


def _mean_square_pull(pulls: Array, extra: float) -> float:
    off, expected, weight = pulls
    return float((off**2 / (expected + weight * extra)).mean())


def _along_curve(ansatz: _Ansatz, label: int, s: Array) -> Array:
    """Return the coordinate along one curve in which it is smooth: s, or ``ln size`` where x is the same."""
    mine = ansatz.curve == label
    return np.asarray(s[mine] if np.ptp(ansatz.x[mine]) > 0 else np.log(ansatz.size[mine]))


def _unlike_neighbours(own: Array, data: LogData, neighbours: int) -> Array | None:
    """Return three rows: how far points are off the polynomial through their neighbours, and two variances.

    The first is that of the errors, the second that of an error 1 of each point. None for too few points.
    """
    order = np.argsort(own)
    own = own[order]
    count, half = len(own), neighbours // 2
    if count < neighbours + 1 or not (np.diff(own) > 0).all():
        return None
    rows = np.arange(half, count - half)
    around = np.concatenate([np.arange(-half, 0), np.arange(1, half + 1)])
    weights = np.zeros((len(rows), count))
    weights[np.arange(len(rows)), rows] = 1.0
    for shift in around:
        others = around[around != shift]
        place = own[rows + shift][:, None]
        share = (
            (own[rows][:, None] - own[rows[:, None] + others]) / (place - own[rows[:, None] + others])
        ).prod(1)
        weights[np.arange(len(rows)), rows + shift] = -share
    expected = ((data.factor[:, order] @ weights.T) ** 2).sum(axis=0)
    return np.stack([weights @ data.ln_y[order], expected, (weights**2).sum(axis=1)])


def _alone(
    ansatz: _Ansatz, curves: list[LogData], s: Array, reach: float, intervals: int, extra: float
) -> tuple[float, float]:
    """Return chi^2 over its expectation and the degrees of freedom of all curves, each fitted alone."""
    squares, expected, freedom = 0.0, 0.0, 0.0
    for label, data in enumerate(curves):
        mine = ansatz.curve == label
        own = _along_curve(ansatz, label, s)
        # Rounding must not give a curve of the whole length one piece more.
        pieces = max(1, math.ceil(intervals * float(np.ptp(s[mine])) / reach - 1e-9))
        if len(own) <= pieces + 3:
            continue
        unit = np.sqrt(data.relative**2 + extra)
        design = _spline_basis(own, float(own.min()), float(own.max()), pieces) / unit[:, None]
        left, size, _ = np.linalg.svd(design, full_matrices=False)
        kept = left[:, size > 1e-9 * size[0]]
        target = data.ln_y / unit
        residual = target - kept @ (kept.T @ target)
        covariance = (data.covariance + extra * np.eye(len(unit))) / np.outer(unit, unit)
        covariance -= kept @ (kept.T @ covariance)
        squares += float(residual @ residual)
        expected += float(np.trace(covariance) - np.trace(kept.T @ covariance @ kept))
        freedom += len(own) - kept.shape[1]
    return (squares / expected if expected > 0 else math.inf), freedom


def _result(
    ansatz: _Ansatz,
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
    jacobian = _jacobian_of(ansatz, theta, intervals, coefficients, unit)
    factor = np.concatenate(
        [block_diag(*(data.factor for data in curves)), math.sqrt(extra) * np.eye(len(unit))]
    )
    networks = min(data.networks for data in curves)
    quality, p_value = goodness(residual, jacobian, factor / unit, networks)
    overlap = ansatz.overlap(theta)
    relative = np.concatenate([data.relative for data in curves])
    rms, rms_errors = (100 * math.sqrt(float(np.mean(off**2))) for off in (residual * unit, relative))
    drawn = np.concatenate([data.resampled(resamples, rng) for data in curves], axis=1)
    drawn = drawn + math.sqrt(extra) * rng.standard_normal(drawn.shape)
    draws = _redrawn(ansatz, theta, intervals, jacobian, drawn, unit)
    best = np.concatenate([theta, coefficients[: len(ansatz.linear)]])
    other = _elsewhere(ansatz, theta, intervals, ln_y, unit)
    errors = _errors(ansatz, best, draws, jacobian, float(residual @ residual), quality, other)
    straight = _straightness(ansatz, theta, ln_y, unit, factor, networks)
    reason = _undetermined(ansatz, overlap, best, errors, straight)
    inflation = math.sqrt(max(1.0, quality)) if p_value < _DOUBTFUL else 1.0
    if inflation > 1 and not reason:
        notes = [
            *notes,
            f"The curves do not collapse (quality {quality:.3g}): errors grow by {inflation:.2g}.",
        ]
    scatter = _scatter(ansatz, curves, ansatz.abscissa(theta))
    if p_value < _DOUBTFUL and scatter > float(np.mean(relative**2)):
        notes = [
            *notes,
            "Single curves are not smooth within their errors: their points scatter by "
            f"{100 * math.sqrt(scatter):.2g} % of y beyond errors of {rms_errors:.2g} %.",
        ]
    if "critical" in ansatz.free and not reason:
        place = theta[ansatz.free.index("critical")]
        if np.isclose(place, ansatz.reach, rtol=0, atol=1e-4 * float(np.ptp(ansatz.reach))).any():
            notes = [*notes, f"critical = {place:.4g} is the end of where it was looked for, not a best fit."]
    exponents = _estimates(ansatz, best, errors * inflation, reason, networks or len(unit))
    if overlap < _LEAST_OVERLAP:
        quality = p_value = rms = math.nan
    master_x, master_y = _master_curve(ansatz, theta, intervals, coefficients)
    return Collapse(
        exponents,
        quality,
        p_value,
        rms,
        rms_errors,
        overlap,
        math.sqrt(extra),
        _side_by_side(ansatz, theta, intervals, coefficients, curves),
        master_x,
        master_y,
        reason,
        tuple(notes),
    )


def _jacobian_of(ansatz: _Ansatz, theta: Array, intervals: int, coefficients: Array, unit: Array) -> Array:
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


def _redrawn(
    ansatz: _Ansatz, theta: Array, intervals: int, jacobian: Array, drawn: Array, unit: Array
) -> Array:
    """Return the parameters of each draw: two steps with the derivatives of the best fit, then the rest."""
    count = len(ansatz.linear)
    if not len(theta):
        return ansatz.solve(theta, intervals, drawn.T, unit)[0][:count].T
    pull = np.linalg.pinv(jacobian, rcond=1e-9)[: len(theta)]
    first = theta + (pull @ ansatz.solve(theta, intervals, drawn.T, unit)[1]).T
    found = []
    for ln_y, current in zip(drawn, np.clip(first, *ansatz.limits), strict=True):
        current = np.clip(current + pull @ ansatz.solve(current, intervals, ln_y, unit)[1], *ansatz.limits)
        coefficients, _ = ansatz.solve(current, intervals, ln_y, unit)
        found.append(np.concatenate([current, coefficients[:count]]))
    return np.array(found)


def _elsewhere(
    ansatz: _Ansatz, theta: Array, intervals: int, ln_y: Array, unit: Array
) -> list[tuple[float, Array, Array]]:
    """Return chi^2, searched parameters and linear parameters over a grid of b, all others fitted."""
    if "b" not in ansatz.free:
        return []
    place = ansatz.free.index("b")
    rest = tuple(name for name in ansatz.free if name != "b")
    reach = max(1.0, abs(theta[place]))
    found = []
    for b in theta[place] + reach * _SCAN[::2] / 4:
        narrowed = replace(ansatz, held={**ansatz.held, "b": float(b)}, free=rest)
        others = np.delete(theta, place)
        if narrowed.overlap(others) < _LEAST_OVERLAP:
            continue
        others = _search(narrowed, others, intervals, ln_y, unit)
        coefficients, residual = narrowed.solve(others, intervals, ln_y, unit)
        whole = np.insert(others, place, b)
        found.append((float(residual @ residual), whole, coefficients[: len(ansatz.linear)]))
    return found


def _errors(
    ansatz: _Ansatz,
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


def _straightness(
    ansatz: _Ansatz, theta: Array, ln_y: Array, unit: Array, factor: Array, networks: int
) -> float:
    """Return the p-value of a pure power as the common curve; 0 where a and b are not both free.

    A pure power leaves only a combination of the two.
    """
    if not (ansatz.logarithmic and "a" in ansatz.linear and "b" in ansatz.free) or ansatz.correction:
        return 0.0
    columns = [np.log(ansatz.size), np.ones_like(ln_y), ansatz.abscissa(theta)]
    design = np.stack(columns, axis=1) / unit[:, None]
    residual = ln_y / unit - design @ np.linalg.lstsq(design, ln_y / unit, rcond=None)[0]
    return goodness(residual, design, factor / unit, networks)[1]


def _undetermined(ansatz: _Ansatz, overlap: float, best: Array, errors: Array, straight: float) -> str:
    if overlap < _LEAST_OVERLAP:
        return (
            f"only {overlap:.0%} of the points lie within the reach of another curve: the curves are too far "
            "apart, or have no feature to tell a and b by"
        )
    if straight >= _STRAIGHT:
        return f"the common curve is a pure power (p = {straight:.2g}): it has no feature to tell a and b by"
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


def _estimates(ansatz: _Ansatz, best: Array, errors: Array, reason: str, samples: int) -> dict[str, Estimate]:
    method = "collapse onto a spline, bootstrap"
    found = {name: Estimate(value, 0.0, "held fixed", 0) for name, value in ansatz.held.items()}
    for index, name in enumerate((*ansatz.free, *ansatz.linear)):
        found[name] = (
            Estimate.not_determined(reason, method=method, n=samples)
            if reason
            else Estimate(float(best[index]), float(errors[index]), method, samples)
        )
    return {name: found[name] for name in ("a", "b", "critical", "c", "omega") if name in found}


def _master_curve(ansatz: _Ansatz, theta: Array, intervals: int, coefficients: Array) -> tuple[Array, Array]:
    """Return the common curve without correction: abscissas and values, each of shape (200,)."""
    s, u = ansatz.abscissa(theta), ansatz.scaled(theta)
    grid = np.linspace(s.min(), s.max(), _GRID)
    basis = _spline_basis(grid, float(s.min()), float(s.max()), intervals)
    first = len(ansatz.linear)
    values = np.exp(basis @ coefficients[first : first + basis.shape[1]])
    if ansatz.logarithmic:
        return np.exp(grid), values
    size = np.abs(u)
    return np.sinh(grid) * np.median(size[size > 0]), values


def _side_by_side(
    ansatz: _Ansatz, theta: Array, intervals: int, coefficients: Array, curves: list[LogData]
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
