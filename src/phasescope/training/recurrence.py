"""Recurrence of a scalar series or of whole networks in time, each measure beside that of surrogates."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import ArrayLike, NDArray

from phasescope.errors import InputError, MemoryLimitError
from phasescope.estimate import Estimate
from phasescope.recording.memory import in_bytes
from phasescope.results import Result
from phasescope.training.series import Array, autocovariance, checked_series, rounding
from phasescope.training.surrogates import meeting_ends, phase_randomised, shuffled

Bits = NDArray[np.bool_]
Kind = Literal["shuffled", "phase"]

MEASURES = (
    "rate",
    "determinism",
    "laminarity",
    "trapping_time",
    "mean_diagonal",
    "longest_diagonal",
    "entropy",
)
SIGNIFICANT = 0.05
_SHORTEST = 20
_BLOCK = 2**21  # entries of a matrix at a time
_PAIRS = 2**19  # distances behind a threshold
_STRETCHES = 8
_EUCLIDEAN = 1e-9  # smallest eigenvalue of a Gram matrix, relative to its mean, that counts as rounding
_NEEDED = 6  # matrices of distances in memory while one is turned


@dataclass(frozen=True)
class SurrogateMeasures(Result):
    """What surrogates of one kind give for each measure, under the names of :class:`Recurrence`.

    Parameters
    ----------
    copies : int
        Number of surrogates.
    measured : dict of str to float
        The measures of the series itself as far as the surrogates go: for "phase" its end may be cut.
    mean, spread : dict of str to float
        Mean and standard deviation over the surrogates.
    p : dict of str to float
        Two-sided: twice the smaller share of surrogates, the series counted in, at or beyond the measure; at
        least ``2 / (copies + 1)``.
    """

    copies: int
    measured: dict[str, float]
    mean: dict[str, float]
    spread: dict[str, float]
    p: dict[str, float]


@dataclass(frozen=True)
class Recurrence(Result):
    """Recurrence measures of a series or of a matrix of distances; :func:`recurrence` makes it.

    Parameters
    ----------
    rate : Estimate
        Share of recurrent pairs, among those at least `theiler` steps apart.
    determinism : Estimate
        Share of recurrent pairs on diagonal lines of at least `minimal_length`.
    laminarity : Estimate
        Share of recurrent pairs on vertical lines of at least `minimal_length`.
    trapping_time : Estimate
        Mean length of these vertical lines, in steps.
    mean_diagonal, longest_diagonal : Estimate
        Mean length of these diagonal lines and the longest one, in steps; the longest has no error.
    entropy : Estimate
        Shannon entropy of their lengths, in nats.
    threshold : float
        Distance up to which a pair is recurrent.
    theiler, minimal_length : int
        Steps, as used.
    length : int
        Number of points compared.
    surrogates : dict of str to SurrogateMeasures
        By kind: "shuffled" and "phase".
    picture : array of shape (cells, cells)
        Share of recurrent pairs in each cell of the recurrence plot; with a cell a point, the plot itself.
    notes : tuple of str
        What could not be done, and why.
    """

    rate: Estimate
    determinism: Estimate
    laminarity: Estimate
    trapping_time: Estimate
    mean_diagonal: Estimate
    longest_diagonal: Estimate
    entropy: Estimate
    threshold: float
    theiler: int
    minimal_length: int
    length: int
    surrogates: dict[str, SurrogateMeasures] = field(repr=False)
    picture: Array = field(repr=False)
    notes: tuple[str, ...]

    @property
    def citations(self) -> str:
        """Keys of the papers behind the method."""
        return "marwan2007 schreiber1996"

    @property
    def verdict(self) -> str:
        """What determinism says beside the surrogates, in a sentence; never that the series is chaotic."""
        if not self.determinism.determined:
            return f"Not determined: {self.determinism.reason}."
        here = f"Determinism is {self.determinism.value:.3g}"
        if not self.surrogates:
            return f"{here}; without surrogates this separates nothing."
        names = {"shuffled": "its values in random order", "phase": "series with its spectrum"}
        above: list[str] = []
        within: list[str] = []
        for kind, found in self.surrogates.items():
            high = found.measured["determinism"] > found.mean["determinism"]
            side = above if high and found.p["determinism"] <= SIGNIFICANT else within
            side.append(f"that of {names[kind]} ({found.mean['determinism']:.3g})")
        said = [f"above {' and '.join(above)}"] * bool(above) + [f"not above {' and '.join(within)}"] * bool(
            within
        )
        if any(names["phase"] in one for one in above):
            meaning = (
                "there is more order than the spectrum explains. Whether it is chaos takes a tangent exponent"
            )
        elif above:
            meaning = "there is memory" + ", which the spectrum explains" * bool(within)
        else:
            meaning = "no order is seen"
        return f"{here}, {', '.join(said)}: {meaning}."


def recurrence(
    series_or_distances: ArrayLike,
    *,
    rate: float = 0.05,
    threshold: float | None = None,
    theiler: int | None = None,
    minimal_length: int = 2,
    dimension: int = 1,
    delay: int = 1,
    surrogates: int = 39,
    kinds: tuple[Kind, ...] = ("shuffled", "phase"),
    cells: int = 256,
    max_memory: float | str = "1GB",
    seed: int | np.random.Generator = 0,
) -> Recurrence:
    """Return the recurrence measures of a series, or of a matrix of distances, beside those of surrogates.

    Points i and j are recurrent where ``|X_i - X_j| <= threshold`` and ``|i - j| >= theiler``, with the delay
    vectors ``X_i = (x_i, x_(i+d), ..., x_(i+(m-1)d))`` in the maximum norm. Diagonal lines are stretches in
    which ``(i+k, j+k)`` are all recurrent, vertical lines those in which ``(i, j+k)`` are. With P(l) lines of
    length l, determinism and laminarity are ``sum_(l >= l_min) l P(l) / sum_l l P(l)``, the entropy is ``-sum
    p ln p`` with ``p = P(l) / sum_(l >= l_min) P(l)``.

    Parameters
    ----------
    series_or_distances : array of shape (time,) or (time, time)
        A scalar series; or distances between the states of a run, such as whole networks, symmetric with
        zeros on the diagonal.
    rate : float
        Share of recurrent pairs that the threshold is chosen for, from at most half a million of them. Equal
        values are always recurrent.
    threshold : float, optional
        The threshold itself, in the unit of the series or of the distances, instead of a rate.
    theiler : int, optional
        Pairs nearer in time do not count; 1 leaves out each point with itself alone. By default the first lag
        at which the autocorrelation is below 1/e, at most a tenth of the length.
    minimal_length : int
        Shortest line that counts, in points.
    dimension, delay : int
        Embedding of a series.
    surrogates : int
        Copies of each kind; 39 is the least that reaches p = 0.05 on two sides. 0 for none.
    kinds : tuple of {"shuffled", "phase"}
        "shuffled": the points in random order. "phase": of a series, the same values and spectrum with random
        phases; of distances, the states turned by one random phase a frequency, which is possible where the
        distances, or their roots (as for L1), are those of points in a Euclidean space.
    cells : int
        Largest number of rows of `picture`.
    max_memory : float or str
        Bytes, or text such as "2GB".
    seed : int or numpy.random.Generator
        Decides the surrogates.

    Raises
    ------
    InputError
        If the input is neither a finite series of at least 20 points nor such a matrix, or an argument is out
        of range.
    MemoryLimitError
        If the recurrence matrix does not fit: one byte a pair for a series, 48 for distances with "phase".

    Notes
    -----
    Bare values do not separate chaos from cycles, nor cycles from noise with memory: read each beside its
    surrogates. A cycle has determinism 1, and so have its phase surrogates; chaos has more than they.

    Errors: the scatter over eight stretches of the run, NaN where these are too short; for a run that
    changes, it is that change. Lines that touch the border of the plot count with the length inside it. For
    "phase" the end is cut by up to a tenth, so that it continues into the beginning, and the measures of the
    cut series are compared. A constant series is not determined.

    Cost: ``time^2`` a copy, about 0.03 s at 2000 points. Source: Marwan, Romano, Thiel and Kurths, Phys. Rep.
    438, 237 (2007); surrogates: Schreiber and Schmitz, Phys. Rev. Lett. 77, 635 (1996), Prichard and Theiler,
    Phys. Rev. Lett. 73, 951 (1994).
    """
    _check(rate, threshold, theiler, minimal_length, dimension, delay, surrogates, kinds, cells)
    given = np.asarray(series_or_distances)
    if given.ndim == 2:
        states: _Series | _Distances = _Distances(_checked_distances(given))
        if dimension != 1:
            raise InputError("Distances cannot be embedded.", "Leave dimension at 1.")
    else:
        states = _Series(checked_series(given, _SHORTEST), dimension, delay)
    floor = rounding(given)
    n = states.size
    if n < _SHORTEST:
        raise InputError(
            f"{len(given)} values give {n} points of {dimension} values {delay} apart.",
            f"At least {_SHORTEST} points are needed.",
        )
    _check_memory(
        n, isinstance(states, _Distances) and surrogates > 0 and "phase" in kinds, in_bytes(max_memory)
    )
    theiler = states.memory() if theiler is None else theiler
    if theiler >= n:
        raise InputError(f"theiler = {theiler} leaves no pair of {n} points.", "Use a smaller one.")
    random = np.random.default_rng(seed)

    def of(one: _Series | _Distances) -> tuple[Bits, float]:
        reach = threshold if threshold is not None else one.quantile(rate, theiler)
        return one.recurrent(max(reach, floor), theiler), max(reach, floor)

    matrix, reach = of(states)
    values = _measures(matrix, theiler, minimal_length)
    picture = _picture(matrix, min(cells, n))
    constant = states.quantile(1.0, theiler) <= floor
    reason = ""
    if constant:
        reason = f"all {n} points are equal within {floor:.1e}"
    elif values["rate"] == 0:
        reason = f"no pair of points is within {reach:.3g}"
    errors = dict.fromkeys(MEASURES, math.nan) if reason else _errors(matrix, theiler, minimal_length)
    del matrix
    found: dict[str, SurrogateMeasures] = {}
    notes: list[str] = []
    if surrogates and not reason:
        for kind in kinds:
            whole = states.cut() if kind == "phase" else states
            copies = whole.surrogates(kind, surrogates, random)
            if copies is None:
                notes.append(
                    "no phase surrogates: these are not distances between points of a Euclidean space"
                )
                continue
            own = values if whole.size == n else _measures(of(whole)[0], theiler, minimal_length)
            others = [_measures(of(copy)[0], theiler, minimal_length) for copy in copies]
            found[kind] = _compared(own, others)

    def estimate(name: str) -> Estimate:
        if constant or (reason and name != "rate"):
            return Estimate.not_determined(reason, n=n)
        if not math.isfinite(values[name]):
            return Estimate.not_determined(f"no line of {minimal_length} points or more", n=n)
        return Estimate(values[name], errors[name], "recurrence plot", n)

    return Recurrence(
        **{name: estimate(name) for name in MEASURES},
        threshold=reach,
        theiler=theiler,
        minimal_length=minimal_length,
        length=n,
        surrogates=found,
        picture=picture,
        notes=tuple(notes),
    )


def _check(
    rate: float,
    threshold: float | None,
    theiler: int | None,
    minimal_length: int,
    dimension: int,
    delay: int,
    surrogates: int,
    kinds: tuple[Kind, ...],
    cells: int,
) -> None:
    if not 0 < rate < 1:
        raise InputError(f"rate = {rate} is not between 0 and 1.", "Give a share such as 0.05.")
    if threshold is not None and not (math.isfinite(threshold) and threshold >= 0):
        raise InputError(f"threshold = {threshold} is no distance.", "Give 0 or more.")
    least = {"minimal_length": (minimal_length, 2), "theiler": (1 if theiler is None else theiler, 1)}
    least |= {
        "dimension": (dimension, 1),
        "delay": (delay, 1),
        "surrogates": (surrogates, 0),
        "cells": (cells, 1),
    }
    for name, (value, smallest) in least.items():
        if value < smallest:
            raise InputError(f"{name} = {value} is too small.", f"Use at least {smallest}.")
    unknown = set(kinds) - {"shuffled", "phase"}
    if unknown:
        raise InputError(f"There are no surrogates of kind {unknown.pop()!r}.", 'Use "shuffled" and "phase".')


def _checked_distances(given: NDArray[np.generic]) -> Array:
    if given.shape[0] != given.shape[1]:
        raise InputError(
            f"The input has shape {given.shape}.",
            "Give one value a step, or the square matrix of distances between all steps.",
        )
    matrix = given.astype(np.float64)
    largest = float(np.abs(matrix).max(initial=0.0))
    if not np.isfinite(matrix).all() or matrix.min(initial=0.0) < 0:
        raise InputError(
            "The distances are not all finite and positive.", "Pass the part before the divergence."
        )
    if (
        np.abs(matrix - matrix.T).max(initial=0.0) > 1e-6 * largest
        or np.diagonal(matrix).max(initial=0.0) > 1e-6 * largest
    ):
        raise InputError(
            "The matrix is not symmetric with zeros on its diagonal.",
            "Give distances between all pairs of steps.",
        )
    return matrix


def _check_memory(n: int, turned: bool, limit: int) -> None:
    needed = n * n * (1 + 8 * _NEEDED * turned) + 16 * _BLOCK
    if needed > limit:
        raise MemoryLimitError(
            f"{n} points take {needed / 1e6:.0f} MB, more than max_memory = {limit / 1e6:.0f} MB. "
            "Pass every k-th step, a shorter stretch, or raise max_memory."
        )


class _States:
    """Points of which distances are known, a block of rows at a time."""

    size: int

    def rows(self, first: int, stop: int) -> Array:
        raise NotImplementedError

    def blocks(self) -> Iterator[tuple[int, int]]:
        step = max(1, _BLOCK // self.size)
        for first in range(0, self.size, step):
            yield first, min(first + step, self.size)

    def recurrent(self, reach: float, theiler: int) -> Bits:
        """Return which pairs are recurrent; those within the Theiler window are not."""
        found = np.empty((self.size, self.size), dtype=np.bool_)
        for first, stop in self.blocks():
            np.less_equal(self.rows(first, stop), reach, out=found[first:stop])
        for lag in range(theiler):
            at = np.arange(self.size - lag)
            found[at, at + lag] = found[at + lag, at] = False
        return found

    def quantile(self, share: float, theiler: int) -> float:
        """Return the distance that a share of the pairs outside the Theiler window does not exceed."""
        wanted = max(1, _PAIRS // self.size)
        at = np.unique(np.linspace(0, self.size - 1, min(wanted, self.size)).astype(np.int64))
        column = np.arange(self.size)
        chosen = [self.rows(i, i + 1)[0][np.abs(column - i) >= theiler] for i in at.tolist()]
        pairs = np.concatenate(chosen)
        place = max(0, math.ceil(share * len(pairs)) - 1)
        return float(np.partition(pairs, place)[place]) if len(pairs) else 0.0


class _Series(_States):
    def __init__(self, x: Array, dimension: int, delay: int) -> None:
        self.x, self.dimension, self.delay = x, dimension, delay
        self.size = len(x) - (dimension - 1) * delay

    def rows(self, first: int, stop: int) -> Array:
        apart = np.abs(self.x[first:stop, None] - self.x[None, : self.size])
        for k in range(self.delay, self.dimension * self.delay, self.delay):
            further = np.abs(self.x[first + k : stop + k, None] - self.x[None, k : self.size + k])
            np.maximum(apart, further, out=apart)
        return apart

    def memory(self) -> int:
        longest = max(1, self.size // 10)
        falling = autocovariance(self.x, longest)
        below = np.flatnonzero(falling[1:] < falling[0] / math.e)
        return int(below[0]) + 1 if len(below) else longest

    def cut(self) -> _Series:
        kept = meeting_ends(np.abs(self.x - self.x[0]), np.abs(self.x - self.x[1]))
        return _Series(self.x[:kept], self.dimension, self.delay)

    def surrogates(self, kind: Kind, copies: int, random: np.random.Generator) -> Iterator[_Series]:
        make = phase_randomised if kind == "phase" else shuffled
        return (_Series(copy, self.dimension, self.delay) for copy in make(self.x, copies, random))


class _Distances(_States):
    def __init__(self, matrix: Array) -> None:
        self.matrix = matrix
        self.size = len(matrix)

    def rows(self, first: int, stop: int) -> Array:
        return self.matrix[first:stop]

    def memory(self) -> int:
        longest = max(1, self.size // 10)
        everywhere = (self.matrix**2).mean()
        for lag in range(1, longest):
            if (np.diagonal(self.matrix, lag) ** 2).mean() > (1 - 1 / math.e) * everywhere:
                return lag
        return longest

    def cut(self) -> _Distances:
        kept = meeting_ends(self.matrix[0], self.matrix[1])
        return _Distances(self.matrix[:kept, :kept])

    def surrogates(self, kind: Kind, copies: int, random: np.random.Generator) -> Iterator[_Distances] | None:
        if kind == "shuffled":
            orders = (random.permutation(self.size) for _ in range(copies))
            return (_Distances(self.matrix[np.ix_(order, order)]) for order in orders)
        for power in (2, 1):
            gram = _gram(self.matrix**power)
            if _is_euclidean(gram):
                return (_Distances(_turned(gram, random) ** (1 / power)) for _ in range(copies))
        return None


def _gram(squares: Array) -> Array:
    """Return the scalar products of the centred points that have these squared distances."""
    mean = squares.mean(axis=0)
    return np.asarray(-(squares - mean - mean[:, None] + mean.mean()) / 2)


def _is_euclidean(gram: Array) -> bool:
    ridge = _EUCLIDEAN * len(gram) * float(np.trace(gram)) / len(gram)
    try:
        np.linalg.cholesky(gram + ridge * np.eye(len(gram)))
    except np.linalg.LinAlgError:
        return False
    return True


def _turned(gram: Array, random: np.random.Generator) -> Array:
    """Return squared distances of the points whose Fourier coefficients in time have got random phases.

    One phase a frequency for all coordinates keeps every auto- and cross-spectrum. On the points X it is
    ``U X`` with an orthogonal U, so on their scalar products ``U G U^T``, and the points are not needed.
    """
    n = len(gram)
    phase = random.uniform(0, 2 * np.pi, n // 2 + 1)
    phase[0] = 0.0
    if n % 2 == 0:
        phase[-1] = 0.0
    turn = np.exp(1j * phase)
    half = np.fft.irfft(turn[:, None] * np.fft.rfft(gram, axis=0), n=n, axis=0)
    both = np.fft.irfft(turn * np.fft.rfft(half, axis=1), n=n, axis=1)
    own = np.diagonal(both)
    return np.asarray(np.maximum(own + own[:, None] - both - both.T, 0.0))


def _measures(matrix: Bits, theiler: int, shortest: int) -> dict[str, float]:
    n = len(matrix)
    pairs = (n - theiler) * (n - theiler + 1)
    diagonal, vertical = _diagonal_lines(matrix), _vertical_lines(matrix)
    length = np.arange(n + 1)
    points = float(length @ vertical)
    found = dict.fromkeys(MEASURES, math.nan) | {"rate": points / pairs if pairs else math.nan}
    if not points:
        return found
    long = diagonal[shortest:]
    along, lines = float(length[shortest:] @ long), float(long.sum())
    upright, stays = float(length[shortest:] @ vertical[shortest:]), float(vertical[shortest:].sum())
    found |= {"determinism": 2 * along / points, "laminarity": upright / points}
    if lines:
        p = long[long > 0] / lines
        found |= {
            "mean_diagonal": along / lines,
            "longest_diagonal": float(np.flatnonzero(diagonal)[-1]),
            "entropy": float(-(p * np.log(p)).sum()) + 0.0,
        }
    if stays:
        found["trapping_time"] = upright / stays
    return found


def _vertical_lines(matrix: Bits) -> NDArray[np.int64]:
    """Return the number of lines by length along the rows of a symmetric matrix."""
    n = len(matrix)
    counts = np.zeros(n + 1, dtype=np.int64)
    step = max(1, _BLOCK // n)
    for first in range(0, n, step):
        counts += _runs(matrix[first : first + step], n)
    return counts


def _diagonal_lines(matrix: Bits) -> NDArray[np.int64]:
    """Return the number of lines by length along the diagonals above the main one."""
    n = len(matrix)
    counts = np.zeros(n + 1, dtype=np.int64)
    step = max(1, _BLOCK // n)
    for first in range(1, n, step):
        lags = np.arange(first, min(first + step, n))
        # Entry (i, i + lag) is lag + i (n + 1) places from the start; beyond the last column the rows go on.
        view = as_strided(matrix.reshape(-1)[first:], (len(lags), n - first), (1, n + 1), writeable=False)
        counts += _runs(view & (np.arange(n - first) < (n - lags)[:, None]), n)
    return counts


def _runs(rows: Bits, longest: int) -> NDArray[np.int64]:
    """Return the number of runs of True by length, within rows."""
    padded = np.zeros((len(rows), rows.shape[1] + 1), dtype=np.int8)
    padded[:, 1:] = rows
    change = np.diff(padded.ravel(), append=np.int8(0))
    lengths = np.flatnonzero(change < 0) - np.flatnonzero(change > 0)
    return np.bincount(lengths, minlength=longest + 1)


def _errors(matrix: Bits, theiler: int, shortest: int) -> dict[str, float]:
    """Return the standard error of each measure from its scatter over stretches of the run."""
    n = len(matrix)
    edges = np.linspace(0, n, _STRETCHES + 1).astype(np.int64).tolist()
    if n // _STRETCHES < 5 * (theiler + shortest):
        return dict.fromkeys(MEASURES, math.nan)
    parts = [_measures(np.ascontiguousarray(matrix[a:b, a:b]), theiler, shortest) for a, b in pairwise(edges)]
    errors = {}
    for name in MEASURES:
        values = np.array([part[name] for part in parts])
        enough = np.isfinite(values).all() and name != "longest_diagonal"
        errors[name] = float(values.std(ddof=1)) / math.sqrt(_STRETCHES) if enough else math.nan
    return errors


def _compared(own: dict[str, float], others: list[dict[str, float]]) -> SurrogateMeasures:
    mean, spread, p = {}, {}, {}
    copies = len(others)
    for name in MEASURES:
        values = np.array([other[name] for other in others])
        values = np.where(np.isfinite(values), values, 0.0)  # no lines: none of any length
        value = own[name] if math.isfinite(own[name]) else 0.0
        same = 1e-12 * max(1.0, abs(value))
        above, below = int((values >= value - same).sum()), int((values <= value + same).sum())
        mean[name], spread[name] = float(values.mean()), float(values.std(ddof=1)) if copies > 1 else math.nan
        p[name] = min(1.0, 2 * (1 + min(above, below)) / (copies + 1))
    return SurrogateMeasures(copies, own, mean, spread, p)


def _picture(matrix: Bits, cells: int) -> Array:
    """Return the share of recurrent pairs in each cell of a coarser grid."""
    n = len(matrix)
    edges = np.linspace(0, n, cells + 1).astype(np.int64)
    width = np.diff(edges)
    picture = np.empty((cells, cells))
    for row, (first, stop) in enumerate(pairwise(edges.tolist())):
        columns = matrix[first:stop].sum(axis=0, dtype=np.float64)
        picture[row] = np.add.reduceat(columns, edges[:-1]) / (width * (stop - first))
    return picture
