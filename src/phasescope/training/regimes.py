"""Regimes of a training run from one scalar: what it does window by window and as a whole."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import linregress

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.results import Result
from phasescope.training.series import Array, autocovariance, checked_series, rounding
from phasescope.training.surrogates import shuffled

Kind = Literal[
    "steady",
    "converging",
    "drifting",
    "growing",
    "decaying oscillation",
    "growing oscillation",
    "period",
    "drifting cycle",
    "slow",
    "irregular",
]

_SHORTEST = 12
_STRAIGHT = 0.9  # of the path of a monotone window leads one way
_STEADY_STEPS = 0.999  # a shrinking step is at most this share of an early one
_FASTER = 2.0  # late steps of a growing window over early ones
_CLOSE = 0.05  # a cycle's return, as a share of the window's range, at most
_ONE_WAY = 0.9  # of the returns of a drifting cycle have the sign of their region
_HOLDS = 0.5  # a drift keeps this share of its speed; what slows down more is on its way to a cycle
_FIT, _CHANGE = 0.8, 0.05  # R^2 and change of the amplitude of an oscillation that decays or grows
_FEWEST_TURNS = 6
_SMOOTH = 0.5  # of the largest step, at most the largest change of a step
_SLOW = 0.25  # of the windows that make the whole slow
_INTERMITTENT = (0.05, 0.95)
_BLOCK = 2**21
_IRREGULAR = "Irregular is not chaos: that takes a positive tangent exponent of the same steps."


@dataclass(frozen=True)
class Autocorrelation(Result):
    """Autocorrelation of a series and the band of its shuffles; :func:`autocorrelation` makes it.

    Parameters
    ----------
    correlation : array of shape (lags + 1,)
        At lags 0 to `lags`; 1 at lag 0.
    low, high : array of shape (lags + 1,)
        Band that holds 95 % of the shuffled series at each lag.
    shuffles : int
        Number of shuffled series.
    first, last : int
        First step of the series that was used, and the one after the last.
    """

    correlation: Array = field(repr=False)
    low: Array = field(repr=False)
    high: Array = field(repr=False)
    shuffles: int
    first: int
    last: int

    @property
    def citations(self) -> str:
        """Keys of the papers behind the method."""
        return "danovski2024"

    @property
    def outside(self) -> NDArray[np.int64]:
        """Lags from 1 on at which the correlation lies outside the band; one in twenty does so by chance."""
        beyond = (self.correlation < self.low) | (self.correlation > self.high)
        return np.flatnonzero(beyond[1:]) + 1


@dataclass(frozen=True)
class Regimes(Result):
    """What a series does in each window and as a whole; :func:`regimes` makes it.

    Parameters
    ----------
    window : int
        Steps of a window.
    starts : array of int of shape (windows,)
        First step of each window; the last window ends with the series.
    kinds : array of str of shape (windows,)
        Regime of each window, see :func:`regimes`.
    periods : array of int of shape (windows,)
        Period of a "period" or a "drifting cycle"; 1 where "steady", 0 elsewhere.
    drift : array of shape (windows,)
        Mean absolute drift inside a region, in the unit of the series per step, of a "drifting cycle" and of
        "drifting"; NaN elsewhere.
    growth : array of shape (windows,)
        Rate at which steps ("converging", "growing") or amplitudes (oscillations) grow, per step in the
        logarithm; NaN elsewhere.
    intermittent : bool
        Whether laminar and irregular windows alternate: 5 to 95 % of the windows are irregular, and the
        series changes between the two at least twice.
    irregular_share : Estimate
        Share of irregular windows, with the error of independent windows.
    switches : array of int
        First step of each window whose regime or period differs from that of the window before.
    laminar_period : int
        Period that the laminar lengths refer to, the commonest of the laminar windows; 0 without any.
    laminar_lengths : array of int
        Lengths of the laminar stretches, in steps and in order of time; those that touch an end are left out.
    mean_laminar_length : Estimate
        Their mean, with its standard error.
    autocorrelation : Autocorrelation or None
        That of the longest stretch of irregular windows; None without any.
    exponent : Estimate or None
        The tangent exponent that was given.
    """

    window: int
    starts: NDArray[np.int64] = field(repr=False)
    kinds: NDArray[np.str_] = field(repr=False)
    periods: NDArray[np.int64] = field(repr=False)
    drift: Array = field(repr=False)
    growth: Array = field(repr=False)
    intermittent: bool
    irregular_share: Estimate
    switches: NDArray[np.int64] = field(repr=False)
    laminar_period: int
    laminar_lengths: NDArray[np.int64] = field(repr=False)
    mean_laminar_length: Estimate
    autocorrelation: Autocorrelation | None
    exponent: Estimate | None

    @property
    def citations(self) -> str:
        """Keys of the papers behind the method."""
        return "danovski2024"

    @property
    def labels(self) -> list[str]:
        """Regime of each window in words, with its period: "period 3"."""
        named = {"period": "period {}", "drifting cycle": "drifting cycle of period {}"}
        both = zip(self.kinds.tolist(), self.periods.tolist(), strict=True)
        return [named.get(kind, kind).format(period) for kind, period in both]

    @property
    def kind(self) -> str:
        """Regime of the whole.

        "intermittent"; or "slow", where a quarter of the windows in the second half is; or else the commonest
        label of the second half.
        """
        if self.intermittent:
            return "intermittent"
        late = self.labels[len(self.kinds) // 2 :]
        if late.count("slow") >= _SLOW * len(late):
            return "slow"
        return max(reversed(late), key=late.count)

    @property
    def chaotic(self) -> bool | None:
        """Whether it is irregular and the tangent exponent positive by two errors; None without one."""
        if self.exponent is None or not self.exponent.determined:
            return None
        return bool(
            self.kind in {"irregular", "intermittent"} and self.exponent.value > 2 * self.exponent.error
        )

    def laminar_distribution(self) -> tuple[NDArray[np.int64], Array]:
        """Return the distinct laminar lengths, and the share of stretches that are at least as long."""
        lengths, counts = np.unique(self.laminar_lengths, return_counts=True)
        return lengths, np.asarray(counts[::-1].cumsum()[::-1] / max(1, counts.sum()), dtype=np.float64)

    @property
    def verdict(self) -> str:
        """What the series does, in words, and whether that is chaos."""
        said = f"{self.kind[0].upper()}{self.kind[1:]}"
        if self.intermittent:
            said += (
                f": {100 * self.irregular_share.value:.0f} % of {len(self.kinds)} windows are irregular, "
                f"{len(self.switches)} switches"
            )
            if self.mean_laminar_length.determined:
                lasting = f"last {self.mean_laminar_length} steps"
                said += f", laminar stretches of period {self.laminar_period} {lasting}"
        if self.kind == "slow":
            said += f": a window of {self.window} steps is shorter than what happens, use a longer one"
        said += "."
        if self.kind not in {"irregular", "intermittent"}:
            return said
        if self.chaotic is None:
            return f"{said} {_IRREGULAR}"
        given = f"tangent exponent is {self.exponent}"
        if self.chaotic:
            return f"{said} Chaotic: the {given} per step."
        return f"{said} Not shown to be chaotic: the {given} per step, not positive by two errors."


def regimes(
    series: ArrayLike,
    *,
    window: int = 40,
    max_period: int = 12,
    tolerance: float = 1e-3,
    laminar_period: int | None = None,
    lags: int = 50,
    shuffles: int = 1000,
    exponent: Estimate | None = None,
    seed: int | np.random.Generator = 0,
) -> Regimes:
    """Return what a series of training does in each window of steps, and whether it is intermittent.

    With r the range of a window and ``D_k(t) = x(t+k) - x(t)``, the regime is the first of these that holds:

    - "steady": r is within rounding.
    - monotone, where 90 % of the path leads one way: "converging" if its steps shrink, "growing" if they
      double from the first third to the last, "drifting" between.
    - "period": the smallest k from 2 to `max_period` with ``|D_k| <= tolerance r`` throughout. It is a
      "drifting cycle" instead if the regions are further apart than they are wide and 90 % of the returns of
      each region go one way, above rounding, and keep at least half their speed.
    - "decaying oscillation", "growing oscillation": the logarithm of the amplitude (a quarter of the second
      difference of successive extrema, so that a trend drops out) is a line in time with R^2 > 0.8 and
      changes by 5 % or more.
    - "drifting cycle": as above with ``|D_k| <= 0.05 r``.
    - "slow": smooth with fewer than six turns; the window is too short for it.
    - "irregular": none of them.

    Parameters
    ----------
    series : array of shape (steps,)
        Loss, or a weight, of every step.
    window : int
        Steps of a window, at least 12. Steps at the beginning that fill no window are left out.
    max_period : int
        Largest period looked for; a third of a window at most, so that three returns are seen.
    tolerance : float
        Largest return of a periodic window, as a share of its range.
    laminar_period : int, optional
        Period of laminar stretches; the commonest period of the windows by default.
    lags, shuffles : int
        Largest lag of the autocorrelation, and shuffled series behind its band.
    exponent : Estimate, optional
        Largest tangent exponent of the same run, per step, for the verdict.
    seed : int or numpy.random.Generator
        Decides the shuffles.

    Raises
    ------
    InputError
        If the series is not one, not finite, or shorter than two windows, or an argument is out of range.

    Notes
    -----
    Nothing changes when the series is shifted or multiplied by a positive number, apart from rounding, which
    counts 64 times the last bit of the largest value, in the dtype of the series. Laminar stretches are those
    of at least three periods k with ``|D_k| <= 0.05`` of the whole range; a stretch lasts k steps longer than
    that.

    When it fails: noise of mini-batches above the tolerance makes a cycle irregular, and so does a period
    above `max_period` or a switch inside a window. Laminar stretches shorter than a window need
    `laminar_period`. Irregular is not chaos: give the tangent exponent.

    Cost: linear in the series, about 0.2 ms a window, and `shuffles` FFTs of the longest irregular stretch.
    Regimes as in Danovski, Soriano and Lacasa, arXiv:2404.05782; the thresholds are our own.
    """
    if window < _SHORTEST:
        raise InputError(
            f"window = {window} is too short to tell regimes.", f"Use at least {_SHORTEST} steps."
        )
    if not max_period >= 2:
        raise InputError(f"max_period = {max_period} is no period of a cycle.", "Use at least 2.")
    if not 0 < tolerance <= _CLOSE:
        raise InputError(f"tolerance = {tolerance} is not in (0, {_CLOSE}].", "Give a share such as 1e-3.")
    if laminar_period is not None and laminar_period < 1:
        raise InputError(f"laminar_period = {laminar_period} is no period.", "Give 1 or more.")
    x = checked_series(series, 2 * window)
    floor = rounding(series)
    starts = np.arange(len(x) % window, len(x), window)
    longest = min(max_period, window // 3)
    found = [_window(x[start : start + window], longest, tolerance, floor) for start in starts.tolist()]
    kinds = np.array([one.kind for one in found])
    periods = np.array([one.period for one in found])
    irregular = kinds == "irregular"
    share, count = float(irregular.mean()), len(found)
    changes = (kinds[1:] != kinds[:-1]) | (periods[1:] != periods[:-1])
    between = int((irregular[1:] != irregular[:-1]).sum())
    if laminar_period is None:
        returning = periods[periods > 0]
        laminar_period = int(np.bincount(returning).argmax()) if len(returning) else 0
    lengths = _laminar_lengths(x, laminar_period, floor) if laminar_period else np.zeros(0, dtype=np.int64)
    stretch = _longest_stretch(irregular)
    return Regimes(
        window=window,
        starts=starts,
        kinds=kinds,
        periods=periods,
        drift=np.array([one.drift for one in found]),
        growth=np.array([one.growth for one in found]),
        intermittent=_INTERMITTENT[0] <= share <= _INTERMITTENT[1] and between >= 2,
        irregular_share=Estimate(share, math.sqrt(share * (1 - share) / count), "irregular windows", count),
        switches=starts[1:][changes],
        laminar_period=laminar_period,
        laminar_lengths=lengths,
        mean_laminar_length=Estimate.from_samples(lengths, method="mean laminar length"),
        autocorrelation=None
        if stretch is None
        else _autocorrelation(
            x, int(starts[stretch[0]]), int(starts[stretch[1] - 1]) + window, lags, shuffles, seed
        ),
        exponent=exponent,
    )


def autocorrelation(
    series: ArrayLike, *, lags: int = 50, shuffles: int = 1000, seed: int | np.random.Generator = 0
) -> Autocorrelation:
    """Return the autocorrelation of a series, and the band that holds 95 % of its shuffles at each lag.

    ``C(k) = sum_t (x_t - m)(x_(t+k) - m) / sum_t (x_t - m)^2``, with the mean m over all steps.

    Parameters
    ----------
    series : array of shape (steps,)
        A stretch of a loss or a weight.
    lags : int
        Largest lag; at most the length less one.
    shuffles : int
        Series with the same values in random order, at least 40.
    seed : int or numpy.random.Generator
        Decides the order.

    Raises
    ------
    InputError
        If the series is not one, not finite, constant or too short, or an argument is out of range.

    Notes
    -----
    The band holds at each lag by itself: one lag in twenty lies outside by chance. Cost: an FFT a shuffle.
    Source: Danovski, Soriano and Lacasa, arXiv:2404.05782, figure 10, with 1000 shuffles.
    """
    x = checked_series(series, 4)
    if np.ptp(x) <= rounding(series):
        raise InputError(
            "The series is constant.", "Its autocorrelation is not defined; give a stretch that varies."
        )
    return _autocorrelation(x, 0, len(x), lags, shuffles, seed)


def _autocorrelation(
    x: Array, first: int, last: int, lags: int, shuffles: int, seed: int | np.random.Generator
) -> Autocorrelation:
    if lags < 1:
        raise InputError(f"lags = {lags} is not positive.", "Give the largest lag, at least 1.")
    if shuffles < 40:
        raise InputError(f"{shuffles} shuffles have no band of 95 %.", "Use at least 40.")
    inside = x[first:last]
    lags = min(lags, len(inside) - 1)
    random = np.random.default_rng(seed)
    block = max(1, _BLOCK // len(inside))
    null = np.concatenate(
        [
            autocovariance(shuffled(inside, min(block, shuffles - done), random), lags)
            for done in range(0, shuffles, block)
        ]
    )
    own = autocovariance(inside, lags)
    low, high = np.quantile(null / null[:, :1], [0.025, 0.975], axis=0)
    return Autocorrelation(own / own[0], low, high, shuffles, first, last)


@dataclass(frozen=True)
class _Window:
    kind: Kind
    period: int = 0
    drift: float = math.nan
    growth: float = math.nan


def _window(x: Array, longest: int, tolerance: float, floor: float) -> _Window:
    size = float(np.ptp(x))
    if size <= floor:
        return _Window("steady", period=1)
    steps = np.diff(x)
    pace = np.abs(steps)
    if abs(x[-1] - x[0]) >= _STRAIGHT * pace.sum():
        return _monotone(pace)
    for k in range(2, longest + 1):
        returns = x[k:] - x[:-k]
        if np.abs(returns).max() <= tolerance * size:
            return _drifting_cycle(x, returns, k, floor) or _Window("period", period=k)
    oscillation = _oscillation(x, floor)
    if oscillation:
        return oscillation
    for k in range(2, longest + 1):
        returns = x[k:] - x[:-k]
        if np.abs(returns).max() <= _CLOSE * size:
            cycle = _drifting_cycle(x, returns, k, floor)
            if cycle:
                return cycle
    if len(_turns(x)) < _FEWEST_TURNS and np.abs(np.diff(steps)).max() <= _SMOOTH * pace.max():
        return _Window("slow")
    return _Window("irregular")


def _turns(x: Array) -> NDArray[np.int64]:
    """Return where the series turns from rising to falling or back."""
    up = np.sign(np.diff(x))
    return np.flatnonzero(up[:-1] * up[1:] < 0) + 1


def _thirds(values: Array) -> tuple[float, float]:
    """Return the means over the first and the last third."""
    third = max(1, len(values) // 3)
    return float(values[:third].mean()), float(values[-third:].mean())


def _monotone(pace: Array) -> _Window:
    early, late = _thirds(pace)
    growth = math.log(late / early) / (2 * len(pace) / 3) if early > 0 and late > 0 else -math.inf
    if late <= _STEADY_STEPS * early:
        return _Window("converging", growth=growth)
    if late >= _FASTER * early:
        return _Window("growing", growth=growth)
    return _Window("drifting", drift=float(pace.mean()))


def _drifting_cycle(x: Array, returns: Array, k: int, floor: float) -> _Window | None:
    """Return the cycle if its regions are apart, and each of them moves one way without slowing down."""
    if np.abs(returns).max() <= floor:
        return None
    early, late = _thirds(np.abs(returns))
    regions = [x[phase::k] for phase in range(k)]
    width = max(float(np.ptp(region)) for region in regions)
    apart = float(np.ptp([region.mean() for region in regions]))
    moves = [returns[phase::k] for phase in range(k)]
    one_way = min(max((move > 0).mean(), (move < 0).mean()) for move in moves)
    if late < _HOLDS * early or apart <= 2 * width or one_way < _ONE_WAY:
        return None
    return _Window("drifting cycle", period=k, drift=float(np.abs(returns).mean()) / k)


def _oscillation(x: Array, floor: float) -> _Window | None:
    """Return the oscillation if the logarithm of its amplitude is a line in time that is not level."""
    turn = _turns(x)
    if len(turn) < _FEWEST_TURNS:
        return None
    heights = x[turn]
    amplitude = np.abs(heights[:-2] - 2 * heights[1:-1] + heights[2:]) / 4
    if amplitude.min() <= floor:
        return None
    line = linregress(turn[1:-1], np.log(amplitude))
    if line.rvalue**2 < _FIT or abs(line.slope) * len(x) < _CHANGE:
        return None
    return _Window(
        "decaying oscillation" if line.slope < 0 else "growing oscillation", growth=float(line.slope)
    )


def _laminar_lengths(x: Array, k: int, floor: float) -> NDArray[np.int64]:
    """Return the lengths of the stretches that return after k steps, without those at the ends."""
    near = np.abs(x[k:] - x[:-k]) <= max(_CLOSE * float(np.ptp(x)), floor)
    change = np.diff(near.astype(np.int8), prepend=np.int8(0), append=np.int8(0))
    begin, end = np.flatnonzero(change > 0), np.flatnonzero(change < 0)
    whole = (begin > 0) & (end < len(near)) & (end - begin >= 3 * k)
    return np.asarray((end - begin)[whole] + k)


def _longest_stretch(irregular: NDArray[np.bool_]) -> tuple[int, int] | None:
    """Return the first window of the longest run of irregular ones, and the window after it."""
    edges = np.flatnonzero(np.diff(irregular.astype(np.int8), prepend=np.int8(0), append=np.int8(0)))
    runs = list(pairwise(edges.tolist()))[::2]
    return max(runs, key=lambda run: run[1] - run[0]) if runs else None
