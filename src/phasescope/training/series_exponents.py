"""Largest Lyapunov exponents from a scalar series alone, with the window, the error and the significance.

Distances between neighbours of a scalar series grow exponentially in chaos, as a power of time in noise.
These exponents are weaker evidence than a tangent exponent of the training map, and say so where they fail.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree
from scipy.stats import linregress, t

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.results import Result
from phasescope.training.series import Array, checked_series, rounding
from phasescope.training.surrogates import meeting_ends, phase_randomised

SIGNIFICANT = 0.05
_FEWEST_POINTS = 50
_FEWEST_STARTS = 20
_BLOCKS = 10
_FEWEST_STEPS = 5  # points of a fit
_PERIODS, _FEWEST_LONG = 20, 50  # default length of the curve, in mean periods and in steps
_SATURATED = 0.8  # share of the growth beyond which the attractor's size bends the curve
_GROWTH = 1.0  # a factor e
_SHARE = 0.7  # of the steps before saturation, in a chosen window at least
_SURROGATE_STARTS = 500
_BLOCK = 2**22  # neighbours asked for at a time
_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class SeriesExponent(Result):
    """Growth of the distance between neighbours of a series; :func:`kantz` and :func:`rosenstein` make it.

    Parameters
    ----------
    method : {"kantz", "rosenstein"}
        Which of the two.
    exponent : Estimate
        Slope of `curve` over its ``window``, per unit of time; not determined, with the reason, for a series
        that is constant, exactly periodic or too short, and where surrogates grow as fast.
    p : float
        Probability of such a slope without growth, by ordinary least squares on the window; NaN where there
        is no fit.
    r2 : float
        Share of the variance of the curve that the line explains in the window.
    p_surrogates : float
        ``(1 + s) / (1 + copies)``, with s the number of surrogates whose slope in the same window is at least
        as large; NaN where the slope is not positive, or none was asked for.
    times : array of shape (steps + 1,)
        Time since the neighbours were found, ``k dt``.
    curve : array of shape (steps + 1,)
        Mean logarithm of the distance.
    dimension, delay, theiler : int
        Embedding, and the steps within which two points are no neighbours.
    radius : float
        Mean initial distance of the neighbours.
    starts : int
        Points with neighbours.
    """

    method: Literal["kantz", "rosenstein"]
    exponent: Estimate
    p: float
    r2: float
    p_surrogates: float
    times: Array = field(repr=False)
    curve: Array = field(repr=False)
    dimension: int
    delay: int
    theiler: int
    radius: float
    starts: int

    @property
    def citations(self) -> str:
        """Keys of the papers behind the method."""
        paper = {"kantz": "kantz1994", "rosenstein": "rosenstein1993"}[self.method]
        return paper if math.isnan(self.p_surrogates) else f"{paper} schreiber1996"

    @property
    def significant(self) -> bool:
        """Whether the slope differs from zero at p < 0.05."""
        return self.p < SIGNIFICANT

    @property
    def positive(self) -> bool:
        """Whether the exponent is significant and above zero by two standard errors."""
        return self.significant and self.exponent.value > 2 * self.exponent.error


def kantz(
    series: ArrayLike,
    *,
    dimension: int = 1,
    delay: int = 1,
    theiler: int | None = None,
    neighbours: int = 5,
    radius: float | None = None,
    starts: int = 2000,
    steps: int | None = None,
    window: tuple[int, int] | None = None,
    dt: float = 1.0,
    surrogates: int = 19,
    seed: int | np.random.Generator = 0,
) -> SeriesExponent:
    """Return the largest exponent of a series from the growth of small neighbourhoods, by Kantz's method.

    With the delay vectors ``X_i = (x_(i-(m-1)d), ..., x_i)``, the curve is the mean over starts i of ``ln(
    mean over j in U_i of |x_(i+k) - x_(j+k)| )``, where ``U_i`` holds neighbours j with ``|i - j| > theiler``
    in the maximum norm. The exponent is its slope in k, divided by `dt`.

    Parameters
    ----------
    series : array of shape (time,)
        A loss, a weight or any scalar of the run.
    dimension, delay : int
        Embedding dimension m and delay d, in steps; 1 for the values themselves.
    theiler : int, optional
        Points this near in time are no neighbours; the mean period of the series by default.
    neighbours : int
        How many nearest points make a neighbourhood, where `radius` is not given.
    radius : float, optional
        All points closer than this are neighbours, in the unit of the series, as in Kantz's paper. Starts
        without neighbours are then left out, which prefers dense parts of the attractor.
    starts : int
        How many points are drawn.
    steps : int, optional
        Length of the curve; 20 mean periods by default, at least 50 and at most a tenth of the series.
    window : tuple of int, optional
        First and last step of the fit; chosen by default, see Notes.
    dt : float
        Time between two values.
    surrogates : int
        Series of the same values and spectrum with random phases that the slope must exceed; 0 for no such
        test.
    seed : int or numpy.random.Generator
        Decides the starts and the surrogates.

    Raises
    ------
    InputError
        If the series is not one or not finite, or an argument is out of range.

    Notes
    -----
    By default the window is the one whose slope is the most significant (largest ratio of slope to its
    error). Windows reach from step 1 to the step with 80 % of the growth, and cover 70 % of these steps and
    five points. The window is reported in ``exponent.window``. Error: the scatter of the slope over ten
    blocks of starts in time, and a quarter of the difference of the slopes of the window's halves, in
    quadrature. An embedding that is wrong is not in it.

    When it fails:

    - Distances of smooth noise grow as well. So do those of surrogates with the same spectrum and random
      phases: where one of 19 is as steep, the exponent is not determined. White noise saturates within one
      step.
    - A dimension that is too low makes false neighbours, which raise the first steps.
    - The mean before the logarithm favours neighbours that part fast. The value is too high by 2 % for the
      logistic map, 3 % for Henon's and 10 % for Lorenz's attractor (10 000 values). :func:`rosenstein` has no
      such bias.
    - Where neighbours start near saturation the value is too low: 0.24 for 0.31 on the loss of the reduced
      softmax map at E = 20, 30 000 steps.

    A positive value is evidence from one scalar; a tangent exponent of the map outweighs it. Cost: a k-d tree
    and ``starts * neighbours * steps`` differences, and for each surrogate those of 500 starts. Source:
    Kantz, Phys. Lett. A 185, 77 (1994).
    """
    _at_least_one(dimension=dimension, delay=delay, neighbours=neighbours, starts=starts)
    if radius is not None:
        _check_radius(radius)
    method = _Method("kantz", dimension, delay, neighbours, radius, math.inf)
    return _exponent(series, method, starts, theiler, steps, window, dt, surrogates, seed)


def rosenstein(
    series: ArrayLike,
    *,
    dimension: int = 1,
    delay: int = 1,
    theiler: int | None = None,
    starts: int = 5000,
    steps: int | None = None,
    window: tuple[int, int] | None = None,
    dt: float = 1.0,
    surrogates: int = 19,
    seed: int | np.random.Generator = 0,
) -> SeriesExponent:
    """Return the largest exponent of a series from its nearest neighbours, by the method of Rosenstein et al.

    The curve is the mean over starts i of ``ln |x_(i+k) - x_(j+k)|``, where ``X_j`` is the nearest delay
    vector to ``X_i`` in the Euclidean norm with ``|i - j| > theiler``. The exponent is its slope in k,
    divided by `dt`.

    Parameters
    ----------
    series : array of shape (time,)
        A loss, a weight or any scalar of the run.
    dimension, delay : int
        Embedding dimension m and delay d, in steps; 1 for the values themselves.
    theiler : int, optional
        Points this near in time are no neighbours; the mean period of the series by default.
    starts : int
        How many points are drawn, of a series that has more.
    steps : int, optional
        Length of the curve; 20 mean periods by default, at least 50 and at most a tenth of the series.
    window : tuple of int, optional
        First and last step of the fit; chosen by default, as :func:`kantz` does.
    dt : float
        Time between two values.
    surrogates : int
        Series of the same values and spectrum with random phases that the slope must exceed; 0 for no such
        test.
    seed : int or numpy.random.Generator
        Decides the starts and the surrogates.

    Raises
    ------
    InputError
        If the series is not one or not finite, or an argument is out of range.

    Notes
    -----
    Window, error and failures as in :func:`kantz`. It starts from smaller distances than that method, so it
    has more steps before saturation and is more sensitive to noise. Cost: a k-d tree and ``starts * steps``
    differences, and for each surrogate those of 500 starts. Source: Rosenstein, Collins and De Luca, Physica
    D 65, 117 (1993).
    """
    _at_least_one(dimension=dimension, delay=delay, starts=starts)
    method = _Method("rosenstein", dimension, delay, 1, None, 2.0)
    return _exponent(series, method, starts, theiler, steps, window, dt, surrogates, seed)


@dataclass(frozen=True)
class LocalExponents(Result):
    """Slopes of single starts of a series without embedding; :func:`local_exponents` makes it.

    Parameters
    ----------
    slopes : array of shape (starts,)
        Slope of ``ln(mean distance)`` over steps 1 to `ends`, per step.
    ends : array of int of shape (starts,)
        Last step of each fit, the one with the largest R^2.
    p : array of shape (starts,)
        Probability of a slope so far from zero without growth, on the steps of the test.
    r2 : array of shape (starts,)
        Share of the variance that each line explains.
    starts : array of int of shape (starts,)
        Where in the series each one begins.
    drawn : int
        How many starts were drawn; those without neighbours are not in the arrays.
    share : Estimate
        Share of starts with p < 0.05 among those with neighbours; 0.05 is what chance gives.
    median : Estimate
        Median slope of the starts with p < 0.05; the error comes from 200 draws of them with replacement, so
        it is too small where starts share neighbours.
    """

    slopes: Array = field(repr=False)
    ends: NDArray[np.int64] = field(repr=False)
    p: Array = field(repr=False)
    r2: Array = field(repr=False)
    starts: NDArray[np.int64] = field(repr=False)
    drawn: int
    share: Estimate
    median: Estimate

    @property
    def citations(self) -> str:
        """Keys of the papers behind the method."""
        return "danovski2024 kantz1994"

    @property
    def significant(self) -> NDArray[np.bool_]:
        """Which slopes differ from zero at p < 0.05."""
        return np.asarray(self.p < SIGNIFICANT)


def local_exponents(
    series: ArrayLike,
    *,
    radius: float = 5e-5,
    starts: int = 1000,
    ends: tuple[int, int] = (5, 25),
    tested: int = 10,
    theiler: int = 1,
    seed: int | np.random.Generator = 0,
) -> LocalExponents:
    """Return the distribution of growth rates over single starts of a series, without embedding.

    For a start i, the neighbours are all j with ``|x_i - x_j| < radius``. The slope is that of ``ln(mean over
    j of |x_(i+k) - x_(j+k)|)`` over the steps 1 to e, with e between the two `ends` where R^2 is largest; its
    significance is that of ordinary least squares on the steps 1 to `tested`.

    Parameters
    ----------
    series : array of shape (time,)
        A loss, in the stretch of interest.
    radius : float
        Size of a neighbourhood, in the unit of the series.
    starts : int
        How many starts are drawn.
    ends : tuple of int
        Smallest and largest last step of a fit.
    tested : int
        Last step of the test of significance.
    theiler : int
        Points this near in time are no neighbours.
    seed : int or numpy.random.Generator
        Decides the starts.

    Raises
    ------
    InputError
        If the series is not one or not finite, or an argument is out of range.

    Notes
    -----
    A window chosen for its R^2 favours steep, short stretches: read the distribution, not one slope. A scalar
    that is not embedded has false neighbours, whose distance jumps in step 1; the fits leave step 0 out.
    Source: Danovski, Soriano and Lacasa, arXiv:2404.05782, figure 11, whose defaults these are.
    """
    _check_radius(radius)
    if not 3 <= ends[0] <= ends[1]:
        raise InputError(
            f"ends = {tuple(ends)} is no range of steps.", "Give two steps, 3 or later, in order."
        )
    if tested < 3:
        raise InputError(f"tested = {tested} steps cannot be tested.", "Use at least 3.")
    _at_least_one(starts=starts)
    last = max(ends[1], tested)
    x = checked_series(series, last + 2)
    begin = x[: len(x) - last]
    order = np.argsort(begin, kind="stable")
    ordered = begin[order]
    drawn = np.sort(np.random.default_rng(seed).choice(len(begin), min(starts, len(begin)), replace=False))
    low = np.searchsorted(ordered, begin[drawn] - radius, side="right")
    high = np.searchsorted(ordered, begin[drawn] + radius, side="left")
    ahead = np.arange(1, last + 1)
    used, curves = [], []
    for i, first, stop in zip(drawn.tolist(), low.tolist(), high.tolist(), strict=True):
        near = order[first:stop]
        near = near[np.abs(near - i) > theiler]
        if len(near):
            used.append(i)
            curves.append(np.abs(x[i + ahead] - x[near[:, None] + ahead]).mean(axis=0))
    apart = np.array(curves).reshape(len(used), last)
    logs = np.log(np.maximum(apart, max(rounding(series), _TINY)))
    fits = [_lines(logs[:, :end]) for end in range(ends[0], ends[1] + 1)]
    r2 = np.stack([fit.r2 for fit in fits])
    best = r2.argmax(axis=0) if len(used) else np.zeros(0, dtype=np.int64)
    column = np.arange(len(used))
    p = _lines(logs[:, :tested]).p
    slopes = np.stack([fit.slope for fit in fits])[best, column]
    chosen = slopes[p < SIGNIFICANT]
    share = (p < SIGNIFICANT).mean() if len(used) else 0.0
    return LocalExponents(
        slopes=slopes,
        ends=ends[0] + best,
        p=p,
        r2=r2[best, column],
        starts=np.array(used, dtype=np.int64),
        drawn=len(drawn),
        share=Estimate(
            float(share), math.sqrt(share * (1 - share) / len(used)), "starts with p < 0.05", len(used)
        )
        if used
        else Estimate.not_determined(f"no start has a neighbour within {radius:g}"),
        median=_median(chosen, seed),
    )


def _median(values: Array, seed: int | np.random.Generator) -> Estimate:
    if len(values) < _FEWEST_STARTS:
        return Estimate.not_determined(
            f"{len(values)} starts have a significant slope, at least {_FEWEST_STARTS} needed", n=len(values)
        )
    drawn = np.random.default_rng(seed).choice(values, (200, len(values)))
    error = float(np.median(drawn, axis=1).std(ddof=1))
    return Estimate(float(np.median(values)), error, "median of significant slopes", len(values))


class _Lines(NamedTuple):
    slope: Array
    error: Array
    r2: Array
    p: Array


def _lines(y: Array) -> _Lines:
    """Return the lines through rows of equally spaced values: slope a step, its error, R^2, p."""
    n = y.shape[-1]
    u = np.arange(n) - (n - 1) / 2
    centred = y - y.mean(axis=-1, keepdims=True)
    slope = centred @ u / (u @ u)
    total = (centred**2).sum(axis=-1)
    left = ((centred - slope[..., None] * u) ** 2).sum(axis=-1)
    error = np.sqrt(left / (n - 2) / (u @ u))
    certain = np.where(error > 0, error, 1.0)
    ratio = np.where(error > 0, np.abs(slope) / certain, np.where(slope != 0, np.inf, 0.0))
    r2 = np.where(total > 0, 1 - left / np.where(total > 0, total, 1.0), 0.0)
    return _Lines(slope, error, r2, 2 * t.sf(ratio, n - 2))


def _at_least_one(**given: int) -> None:
    for name, value in given.items():
        if value < 1:
            raise InputError(f"{name} = {value} is not positive.", "Give at least 1.")


def _check_radius(radius: float) -> None:
    if not (math.isfinite(radius) and radius > 0):
        raise InputError(
            f"radius = {radius} is no distance.", "Give a positive number in the unit of the series."
        )


class _Method(NamedTuple):
    """How neighbours are found: so many nearest ones, or all within `radius`."""

    name: Literal["kantz", "rosenstein"]
    dimension: int
    delay: int
    nearest: int
    radius: float | None
    norm: float

    def distances(
        self,
        x: Array,
        starts: int,
        theiler: int,
        steps: int,
        floor: float,
        random: np.random.Generator,
    ) -> tuple[Array, float]:
        """Return the mean distance of each start's neighbours at steps 0 to `steps`, as (starts, steps + 1).

        Beside it the share of starts that have an equal point elsewhere; such points are not used.
        """
        offset = (self.dimension - 1) * self.delay
        size = len(x) - offset - steps
        points = np.stack([x[k : k + size] for k in range(0, offset + 1, self.delay)], axis=1)
        drawn = np.arange(size)
        if starts < size:
            drawn = np.sort(random.choice(size, starts, replace=False))
        owner, near, equal = self._neighbours(points, drawn, theiler, floor)
        counts = np.bincount(owner, minlength=len(drawn))
        used = counts > 0
        found = np.empty((int(used.sum()), steps + 1))
        for k in range(steps + 1):
            apart = np.abs(x[drawn[owner] + offset + k] - x[near + offset + k])
            found[:, k] = np.bincount(owner, apart, minlength=len(drawn))[used] / counts[used]
        return found, equal

    def _neighbours(
        self, points: Array, drawn: NDArray[np.int64], theiler: int, floor: float
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], float]:
        """Return pairs of neighbours, places in `drawn` and `points`, and the share with an equal point."""
        tree = KDTree(points)
        if self.radius is not None:
            balls = tree.query_ball_point(points[drawn], self.radius, p=self.norm)
            owner = np.repeat(np.arange(len(drawn)), [len(ball) for ball in balls])
            near = np.concatenate([np.asarray(ball, dtype=np.int64) for ball in balls])
            outside = np.abs(near - drawn[owner]) > theiler
            owner, near = owner[outside], near[outside]
            same = np.abs(points[drawn[owner]] - points[near]).max(axis=1) <= floor
            return owner[~same], near[~same], len(np.unique(owner[same])) / len(drawn)
        owners, nears, equal = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], 0
        waiting = [(np.arange(len(drawn)), self.nearest + 3)]
        while waiting:
            rows, asked = waiting.pop()
            asked = min(asked, len(points))
            if len(rows) * asked > _BLOCK and len(rows) > 1:
                waiting += [(half, asked) for half in np.array_split(rows, 2)]
                continue
            apart, index = tree.query(points[drawn[rows]], k=asked, p=self.norm)
            outside = np.abs(index - drawn[rows, None]) > theiler
            same = (outside & (apart <= floor)).any(axis=1)
            enough = ~same & (outside.sum(axis=1) >= self.nearest)
            row, column = np.nonzero(outside & (outside.cumsum(axis=1) <= self.nearest) & enough[:, None])
            owners.append(rows[row])
            nears.append(index[row, column])
            equal += int(same.sum())
            left = rows[~same & ~enough]
            if len(left) and asked < len(points):
                waiting.append((left, 4 * asked))
        return np.concatenate(owners), np.concatenate(nears), equal / len(drawn)


def _mean_period(x: Array) -> float:
    """Return the mean period of a series in steps: one over the mean frequency of its periodogram."""
    power = np.abs(np.fft.rfft(x - x.mean())) ** 2
    power[0] = 0.0
    return float(power.sum() / (power @ np.fft.rfftfreq(len(x))))


def _exponent(
    series: ArrayLike,
    method: _Method,
    starts: int,
    theiler: int | None,
    steps: int | None,
    window: tuple[int, int] | None,
    dt: float,
    surrogates: int,
    seed: int | np.random.Generator,
) -> SeriesExponent:
    if not (math.isfinite(dt) and dt > 0):
        raise InputError(f"dt = {dt} is no time between two values.", "Give a positive number.")
    if theiler is not None and theiler < 0:
        raise InputError(f"theiler = {theiler} is negative.", "Give a number of steps.")
    if steps is not None and steps < _FEWEST_STEPS:
        raise InputError(f"steps = {steps} are too few for a fit.", f"Use at least {_FEWEST_STEPS}.")
    if surrogates < 0:
        raise InputError(f"surrogates = {surrogates} is negative.", "Use 19 or more, or 0 for no test.")
    x = checked_series(series, 2)
    floor = rounding(series)
    random = np.random.default_rng(seed)
    constant = np.ptp(x) <= floor
    period = 1.0 if constant else _mean_period(x)
    theiler = math.ceil(period) if theiler is None else theiler
    if steps is None:
        steps = min(max(math.ceil(_PERIODS * period), _FEWEST_LONG), len(x) // 10)
    if window is not None and not (window[0] >= 0 and window[0] + 2 <= window[1] <= steps):
        raise InputError(
            f"window = {tuple(window)} is no range of three or more of the steps 0 to {steps}.",
            "Give its first and last step, or raise steps.",
        )
    curve, distances = np.full(steps + 1, np.nan), np.empty((0, steps + 1))

    def answer(
        exponent: Estimate | str, p: float = math.nan, r2: float = math.nan, p_surrogates: float = math.nan
    ) -> SeriesExponent:
        if isinstance(exponent, str):
            exponent = Estimate.not_determined(exponent, n=len(distances))
        return SeriesExponent(
            method.name,
            exponent,
            p,
            r2,
            p_surrogates,
            np.asarray(dt * np.arange(steps + 1), dtype=np.float64),
            curve,
            method.dimension,
            method.delay,
            theiler,
            float(distances[:, 0].mean()) if len(distances) else math.nan,
            len(distances),
        )

    if constant:
        return answer(f"the series is constant within {floor:.1e}")
    left = len(x) - (method.dimension - 1) * method.delay - steps
    if steps < _FEWEST_STEPS or left < max(_FEWEST_POINTS, 2 * theiler + 2):
        return answer(
            f"{len(x)} values are too few for {steps} steps, a Theiler window of {theiler} and points of "
            f"{method.dimension} values {method.delay} apart"
        )
    distances, equal = method.distances(x, starts, theiler, steps, floor, random)
    if equal > 0.5:
        return answer(
            f"{100 * equal:.0f} % of the points have an equal one elsewhere: the series is periodic, "
            "or takes few values"
        )
    if len(distances) < _FEWEST_STARTS:
        return answer(f"{len(distances)} starts have neighbours, at least {_FEWEST_STARTS} needed")
    logs = np.log(np.maximum(distances, max(floor, _TINY)))
    curve = logs.mean(axis=0)
    growth = float(np.median(curve[len(curve) // 2 :])) - float(curve[0])
    if window is None and growth >= _GROWTH:
        end = int(np.argmax(curve >= curve[0] + _SATURATED * growth))
        if end < _FEWEST_STEPS:
            return answer(
                f"distances saturate at step {end}, as in noise; a fit needs {_FEWEST_STEPS} before that"
            )
        window = _most_significant(curve, end)
    first, last = window or (1, steps)  # where nothing grows, the whole curve says so
    inside = logs[:, first : last + 1]
    line = linregress(np.arange(first, last + 1), inside.mean(axis=0))
    scatter = _lines(np.stack([part.mean(axis=0) for part in np.array_split(inside, _BLOCKS)])).slope.std(
        ddof=1
    )
    middle = (last - first) // 2
    halves = _lines(curve[first : first + middle + 1]), _lines(curve[last - middle : last + 1])
    bend = float(halves[0].slope - halves[1].slope) if middle > 1 else 0.0
    exponent = Estimate(
        float(line.slope) / dt,
        math.hypot(scatter / math.sqrt(_BLOCKS), bend / 4) / dt,
        "slope of the mean logarithm of the distance",
        len(distances),
        (first * dt, last * dt),
    )
    p, r2, p_surrogates = float(line.pvalue), float(line.rvalue**2), math.nan
    if surrogates and p < SIGNIFICANT and exponent.value > 2 * exponent.error:
        kept = meeting_ends(np.abs(x - x[0]), np.abs(x - x[1]))
        few, steep = min(_SURROGATE_STARTS, len(distances)), 0
        for copy in phase_randomised(x[:kept], surrogates, random):
            others = method.distances(copy, few, theiler, steps, floor, random)[0][:, first : last + 1]
            slope = _lines(np.log(np.maximum(others, max(floor, _TINY))).mean(axis=0)).slope
            steep += bool(slope >= line.slope)
        p_surrogates = (1 + steep) / (1 + surrogates)
        if p_surrogates > SIGNIFICANT:
            return answer(
                f"{steep} of {surrogates} series with the same spectrum and random phases grow as fast "
                f"from step {first} to {last}",
                p,
                r2,
                p_surrogates,
            )
    return answer(exponent, p, r2, p_surrogates)


def _most_significant(curve: Array, end: int) -> tuple[int, int]:
    """Return first and last step of the window, up to `end`, with the largest ratio of slope to its error."""
    shortest = max(_FEWEST_STEPS, math.ceil(_SHARE * end))
    stride = max(1, end // 60)
    windows = [
        (first, last)
        for first in range(1, end - shortest + 2, stride)
        for last in range(first + shortest - 1, end + 1, stride)
    ]

    def ratio(window: tuple[int, int]) -> float:
        line = _lines(curve[window[0] : window[1] + 1])
        return float(line.slope) / max(float(line.error), _TINY)

    return max(windows, key=ratio)
