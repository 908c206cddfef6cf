"""Exponents of every unit of a layer in every sequence: what they are, how they scatter, and what kind."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom
from scipy.stats import t as student
from torch import Tensor

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.noise.dfa import dfa, plain
from phasescope.noise.nulls import (
    EXCLUDED,
    PINK,
    Kind,
    MemoryTest,
    check_copies,
    excluded_by,
    kind_of,
    memory_test,
)
from phasescope.noise.spectrum import PERIODIC, lines
from phasescope.noise.utilisation import jackknife, kept_groups
from phasescope.results import Result

Array = NDArray[np.float64]
_BLOCK = 2**22  # values at a time
_GROUPS = 50  # sequences are left out in at most so many groups
# What is left of dfa's corrections for short windows at N = 500, seen with 8000 series for each exponent.
_MEAN_KNOWN, _CURVATURE_KNOWN, _NOISE_KNOWN = 0.005, 0.003, 0.05
_INTERVAL = 1.96  # errors to either side of a value
_BY_CHANCE = 0.01
_SURE = 3.0


@dataclass(frozen=True)
class Population(Result):
    """Exponents of all units in all sequences, and a verdict; :func:`population` makes it.

    Parameters
    ----------
    windows : array of int of shape (windows,)
        Lengths n.
    length : int
        Values of a series.
    order : int
        Degree of the polynomials taken out.
    beta : array of shape (sequence, unit)
        ``2 alpha - 1`` of each series; NaN where there is none.
    reasons : dict of str to int
        Why series have no exponent, and how many.
    unit_beta, unit_beta_error : array of shape (unit,)
        Mean over sequences and its standard error; NaN with no exponent, or with fewer than two.
    deviation : array of shape (unit,)
        Temporal standard deviation within sequences, in the unit of x; over the sequences that are finite.
    mean : Estimate
        Mean over units of `unit_beta`.
    spread : Estimate
        Standard deviation of `beta` over all pairs of sequence and unit.
    estimator : float
        What estimator noise alone scatters: root mean square of the error of one exponent.
    between_units : Estimate
        Standard deviation of the units' own exponents, free of the scatter over sequences.
    between_sequences : Estimate
        Standard deviation over the sequences of a unit beyond estimator noise.
    curvature : Estimate
        Mean coefficient of ``(ln n)^2`` in ``ln F(n)`` beyond that of fractional Gaussian noise.
    crossover_share : float
        Share of the exponents flagged as a crossover; of straight curves 1 % are.
    fluctuation, fluctuation_error : array of shape (windows,)
        Geometric mean of F(n) over F of the first window, and the error of its logarithm.
    local_slopes, local_slopes_error : array of shape (windows - 1,)
        Slopes of `fluctuation` between neighbouring windows, and their errors.
    tested, beat_short, beat_scaling, beat_fit, beat_few : int
        Number of series that :func:`memory_test` saw, and of those that excluded short memory, scaling noise,
        the curve of their own autoregressive process, and two to four relaxation times; 2.5 % do by chance.
    periodic : int
        Number of drawn series whose :func:`lines` carry most of the variance; they are not tested.
    memory : float
        Median of the memory of the autoregressive processes, in steps; NaN without tests.
    tested_fluctuation, short_fluctuation : array of shape (windows,)
        Geometric means of F(n) of the tested series and of their autoregressive processes, each over its
        first value.
    kind : str
        "white", "1/f" (mean beta from 0.5 to 1.5), "brown", "power law" (any other), "straight" (as 1/f noise
        or as a few relaxation times would be), "short memory", "crossover", "periodic" or "not determined".
    reason : str
        Why, in a sentence.
    """

    windows: NDArray[np.int64]
    length: int
    order: int
    beta: Array = field(repr=False)
    reasons: dict[str, int]
    unit_beta: Array = field(repr=False)
    unit_beta_error: Array = field(repr=False)
    deviation: Array = field(repr=False)
    mean: Estimate
    spread: Estimate
    estimator: float
    between_units: Estimate
    between_sequences: Estimate
    curvature: Estimate
    crossover_share: float
    fluctuation: Array = field(repr=False)
    fluctuation_error: Array = field(repr=False)
    local_slopes: Array = field(repr=False)
    local_slopes_error: Array = field(repr=False)
    tested: int
    beat_short: int
    beat_scaling: int
    beat_fit: int
    beat_few: int
    periodic: int
    memory: float
    tested_fluctuation: Array = field(repr=False)
    short_fluctuation: Array = field(repr=False)
    kind: Kind
    reason: str

    @property
    def citations(self) -> str:
        """Keys of the papers behind the method."""
        return "peng1994 kantelhardt2001"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values; None in place of NaN."""
        return {entry.name: plain(getattr(self, entry.name)) for entry in fields(self)}

    def __str__(self) -> str:
        sequences, units = self.beta.shape
        lines = [
            f"{self.kind}: {units} units in {sequences} sequences of {self.length} values",
            f"  {self.reason}",
            f"  beta, mean over units        {self.mean}",
            f"  sd over units and sequences  {self.spread}",
            f"    of estimator noise alone   {self.estimator:.3f}",
            f"    between units              {self.between_units}",
            f"    between sequences          {self.between_sequences}",
            f"  curvature of ln F            {self.curvature} "
            f"({100 * self.crossover_share:.0f} % of the curves flagged, 1 % by chance)",
        ]
        if self.tested:
            lines.append(
                f"  of {self.tested} series tested {self.beat_short} exclude short memory, "
                f"{self.beat_scaling} exclude scaling noise, {self.beat_fit} their own autoregressive curve, "
                f"{self.beat_few} a few relaxation times"
            )
        if self.reasons:
            without = ", ".join(f"{count} {why}" for why, count in self.reasons.items())
            lines.append(f"  no exponent: {without}")
        return "\n".join(lines)


def population(
    x: ArrayLike | Tensor,
    *,
    order: int = 1,
    windows: ArrayLike | None = None,
    tests: int = 24,
    copies: int | None = None,
    seed: int = 0,
) -> Population:
    r"""Return the exponents of all units of a layer, what they scatter and why, and what kind of noise it is.

    Parameters
    ----------
    x : array or tensor of shape (sequence, unit, time) or (unit, time)
        Series of one length, in any unit: what :meth:`Recording.series` returns. A file-backed array is read
        a part at a time.
    order : {1, 2, 3}
        Of detrending.
    windows : array of int, optional
        Window lengths; as of :func:`phasescope.noise.dfa`.
    tests : int
        Number of series that :func:`phasescope.noise.memory_test` sees, drawn from those with an exponent,
        one a sequence where there are enough.
    copies : int, optional
        Simulated series behind each share of a test, at least 40; by default as there.
    seed : int
        Of the choice of series and of the simulation.

    Returns
    -------
    Population
        Exponents, their mean, spread and its parts, the mean curve, and the verdict.

    Notes
    -----
    An `InputError` tells another shape, numbers that are not real, unusable windows, too few tests or copies.

    With :math:`\beta_{su} = 2\alpha_{su} - 1` of unit u in sequence s,

    .. math:: \beta_{su} = \mu + b_u + c_{su} + e_{su}

    `mean` is of :math:`\mu`, `between_units` the standard deviation of :math:`b_u` over the units of this
    layer, `between_sequences` that of :math:`c_{su}` over sequences, and `estimator` that of the estimator's
    own noise e; `spread` is that of everything together.

    The units of a network are driven by the same sequence and are no independent samples, so every error
    comes from leaving out whole sequences. It says what another set of sequences through the same network
    would give, not another network: train several for that. Value +- 1.96 errors is the 95 % interval, also
    with few sequences, for which the error is widened by Student's law. Added in quadrature is what dfa's
    own corrections leave: 0.005 to the mean, 0.003 to the curvature, 5 % to the variance of estimator noise.
    A standard deviation may come out as 0: then its error is the information.

    The verdict follows that of :func:`phasescope.noise.verdict`. The curves are bent where the mean curvature
    is further than 3 errors from zero. An explanation is excluded where so many of the tested series exclude
    it as the binomial law with 2.5 % gives less than once in a hundred. Two kinds of units in one layer are
    most often a crossover. Where lines carry most of the variance in most of the series drawn, the layer is
    periodic. Measured with 24 sequences of N = 500 and windows of 10 to 125: of 48 layers of fractional
    Gaussian noise with H = 0.9, 47 were straight with short memory excluded, which few relaxation times
    would be too; AR(1) with 0.5, 0.8 and 0.95 was short memory in 24 of 24, and white noise white in 8 of 8.

    Fails: one sequence has no error, and two none for `between_units`. Estimator noise is that of Gaussian
    scaling noise; that of a bent curve is up to 6 % smaller. With fewer sequences than `tests`, some tests
    share a sequence, and the binomial law takes them for more than they are. A layer that is idle in some
    sequences is described by the others.

    Cost: that of :func:`phasescope.noise.dfa` for all series, and a memory test for each of `tests`, together
    2 s at N = 500 and 16 s at N = 4096; memory of 32 MB beside x, and of some numbers for each series. The
    components of variance are derived here.

    Examples
    --------
    >>> from phasescope.noise import fractional_gaussian_noise
    >>> found = population(fractional_gaussian_noise(0.9, 500, size=(12, 8), seed=1), tests=8)
    >>> found.kind, abs(found.mean.value - 0.8) < 3 * found.mean.error
    ('straight', True)
    """
    values = _checked(x, tests, copies)
    measured = _measured(values, order, windows)
    drawn = _drawn(np.isfinite(measured.beta), tests, np.random.default_rng(seed))
    found, periodic = [], 0
    for number, place in enumerate(drawn):
        series = np.asarray(_series(values[place]))
        if lines(series).total >= PERIODIC:
            periodic += 1
            continue
        test = memory_test(series, order=order, windows=measured.windows, copies=copies, seed=seed + number)
        found += [test] if test is not None else []
    return _summary(measured, found, periodic)


@dataclass(frozen=True)
class _Measured:
    """What dfa gives for each series, and the sum over the units of each sequence of ``ln F(n)/F(first)``."""

    windows: NDArray[np.int64]
    length: int
    order: int
    beta: Array
    error: Array
    curvature: Array
    crossover: NDArray[np.bool_]
    variance: Array
    curves: Array
    reasons: dict[str, int]


def _checked(x: ArrayLike | Tensor, tests: int, copies: int | None) -> Any:
    values: Any = x.detach() if isinstance(x, Tensor) else np.asanyarray(x)
    values = values[None] if values.ndim == 2 else values
    if values.ndim != 3 or 0 in values.shape:
        raise InputError(
            f"x has shape {tuple(values.shape)}.", "Give series as (sequence, unit, time) or (unit, time)."
        )
    if tests < 0:
        raise InputError(f"tests = {tests}.", "Give the number of series to test, 0 for none.")
    check_copies(copies)
    return values


def _series(part: Any) -> Any:
    return part.double().cpu().numpy() if isinstance(part, Tensor) else part


def _blocks(sequences: int, units: int, length: int) -> list[tuple[slice, slice]]:
    """Return ranges of sequences and units with a bounded number of values each."""
    most = max(1, _BLOCK // length)
    rows, columns = max(1, most // units), min(most, units)
    return [
        (slice(first, first + rows), slice(unit, unit + columns))
        for first in range(0, sequences, rows)
        for unit in range(0, units, columns)
    ]


def _measured(values: Any, order: int, windows: ArrayLike | None) -> _Measured:
    sequences, units, length = values.shape
    beta, error, curvature, variance = np.full((4, sequences, units), np.nan)
    crossover = np.zeros((sequences, units), dtype=bool)
    reasons: Counter[str] = Counter()
    curves = np.zeros((sequences, 0))
    lengths = np.empty(0, dtype=np.int64)
    for place in _blocks(sequences, units, length):
        found = dfa(values[place], order=order, windows=windows)
        if not curves.size:
            lengths, curves = found.windows, np.zeros((sequences, len(found.windows)))
        beta[place], error[place] = found.beta, found.beta_error
        curvature[place], crossover[place] = found.curvature, found.crossover
        with np.errstate(invalid="ignore", over="ignore"):
            variance[place] = np.var(_series(values[place]), axis=-1, dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            logarithms = np.log(found.fluctuation / found.fluctuation[..., :1])
        known = np.isfinite(found.beta)
        curves[place[0]] += np.where(known[..., None], logarithms, 0.0).sum(axis=1)
        # Without the numbers in which the reasons of single series differ.
        why = [
            re.sub(r"^.* carr(y|ies) the curve.*$", "carried by single places", text)
            for text in found.reason[~known]
        ]
        reasons.update(re.sub(r"^\d+ of \d+ | in windows of \d+", "", text) for text in why)
    curvature[~np.isfinite(beta)] = np.nan
    return _Measured(
        lengths, length, order, beta, error, curvature, crossover, variance, curves, dict(reasons)
    )


def _drawn(known: NDArray[np.bool_], tests: int, random: np.random.Generator) -> list[tuple[int, int]]:
    """Return places of series with an exponent: another one of each sequence only after one of all."""
    order = [random.permutation(np.flatnonzero(row)) for row in known]
    turns = [
        (turn, float(random.random()), row, int(unit))
        for row, units in enumerate(order)
        for turn, unit in enumerate(units[:tests])
    ]
    return [(row, unit) for _, _, row, unit in sorted(turns)[:tests]]


def _summary(measured: _Measured, tests: list[MemoryTest], periodic: int) -> Population:
    known = np.isfinite(measured.beta)
    counts = known.sum(axis=0)
    used = np.asarray(known.any(axis=1))
    mean, spread, units, sequences, curvature = _estimates(measured, used)
    curve, curve_error, slopes, slopes_error = _curve(measured, used)
    beat = Counter(name for test in tests for name in excluded_by(test))
    memory = float(np.median([test.memory for test in tests])) if tests else math.nan
    longest = int(measured.windows[-1]) if len(measured.windows) else 0
    kind, reason = _judged(mean, curvature, len(tests), beat, memory, longest)
    if periodic > len(tests):
        kind = "periodic"
        reason = f"In {periodic} of {periodic + len(tests)} series drawn, lines carry most of the variance."
    with np.errstate(invalid="ignore", divide="ignore"):
        unit_beta = np.nansum(measured.beta, axis=0) / counts
        scatter = np.nansum((measured.beta - unit_beta) ** 2, axis=0)
        finite = np.isfinite(measured.variance)
        deviation = np.sqrt(np.where(finite, measured.variance, 0.0).sum(axis=0) / finite.sum(axis=0))
        unit_error = np.where(counts > 1, np.sqrt(scatter / (counts * (counts - 1.0))), np.nan)
    return Population(
        windows=measured.windows,
        length=measured.length,
        order=measured.order,
        beta=measured.beta,
        reasons=measured.reasons,
        unit_beta=unit_beta,
        unit_beta_error=unit_error,
        deviation=deviation,
        mean=mean,
        spread=spread,
        estimator=_noise(measured.error[known]),
        between_units=units,
        between_sequences=sequences,
        curvature=curvature,
        crossover_share=float(measured.crossover[known].mean()) if known.any() else math.nan,
        fluctuation=curve,
        fluctuation_error=curve_error,
        local_slopes=slopes,
        local_slopes_error=slopes_error,
        tested=len(tests),
        beat_short=beat["short"],
        beat_scaling=beat["scaling"],
        beat_fit=beat["fit"],
        beat_few=beat["few"],
        periodic=periodic,
        memory=memory,
        tested_fluctuation=_typical([test.measured for test in tests], len(measured.windows)),
        short_fluctuation=_typical([test.short_memory for test in tests], len(measured.windows)),
        kind=kind,
        reason=reason,
    )


def _noise(error: Array) -> float:
    return math.sqrt(float((error**2).mean())) if error.size else math.nan


def _estimates(measured: _Measured, used: NDArray[np.bool_]) -> list[Estimate]:
    """Return mean, spread, deviations between units and between sequences, and curvature."""
    beta, error, curvature = measured.beta[used], measured.error[used], measured.curvature[used]
    names = (
        "mean over units",
        "standard deviation over units and sequences",
        "standard deviation between units",
        "standard deviation between sequences",
        "mean curvature",
    )
    n = len(beta)
    if n < 2:
        why = "one sequence gives no error: cut it into pieces, or give more"
        if not n:
            common = Counter(measured.reasons).most_common(1)[0][0]
            why = f"no unit has an exponent ({common})"
        return [Estimate.not_determined(why, method=name, n=n) for name in names]

    def statistics(keep: NDArray[np.bool_]) -> Array:
        some = beta[keep]
        return np.array(
            [
                mean_of_units(some),
                _spread_of_pairs(some),
                variance_between_units(some),
                variance_between_sequences(some, error[keep]),
                np.nanmean(curvature[keep]),
            ]
        )

    values, errors = _jackknife(statistics, n)
    known = [_MEAN_KNOWN, 0.0, 0.0, _NOISE_KNOWN * _noise(error[np.isfinite(error)]) ** 2, _CURVATURE_KNOWN]
    errors = np.hypot(errors, known)
    for place in (2, 3):
        if np.isfinite([values[place], errors[place]]).all():
            values[place], errors[place] = deviation_of(values[place], errors[place])
    why = "needs two units or more with exponents in three sequences or more"
    return [
        Estimate(float(value), float(one), f"{name}, jackknife over sequences", n)
        if math.isfinite(value) and math.isfinite(one)
        else Estimate.not_determined(why, method=name, n=n)
        for name, value, one in zip(names, values, errors, strict=True)
    ]


def mean_of_units(beta: Array) -> float:
    """Return the mean over units of their means over sequences, from beta (sequence, unit)."""
    counts = np.isfinite(beta).sum(axis=0)
    some = counts > 0  # numpy.nanmean would warn of the others
    return float((np.nansum(beta, axis=0)[some] / counts[some]).mean()) if some.any() else math.nan


def _spread_of_pairs(beta: Array) -> float:
    """Return the standard deviation over all pairs of sequence and unit."""
    values = beta[np.isfinite(beta)]
    return float(values.std(ddof=1)) if values.size > 1 else math.nan


def variance_between_units(beta: Array) -> float:
    r"""Return the variance of the units' exponents less what the scatter over sequences leaves in them.

    Notes
    -----
    With :math:`\bar\beta_u` the mean over the :math:`n_u \ge 2` sequences of unit u, and :math:`V` the
    variance over units,

    .. math:: V_u[\bar\beta_u] - \sum_s V_u\Big[\frac{\beta_{su} - \bar\beta_u}{\sqrt{n_u (n_u - 1)}}\Big]

    (zero in the last bracket where a pair is missing). Sequences are independent, units need not be: without
    missing pairs this is the mean over pairs of different sequences of the covariance over units between
    their exponents, which is unbiased whatever the correlation of units in a sequence. Derived here.

    Shapes: `beta` (sequence, unit).
    """
    counts = np.isfinite(beta).sum(axis=0)
    enough = counts >= 2
    if enough.sum() < 2:
        return math.nan
    values, counts = beta[:, enough], counts[enough]
    means = np.nansum(values, axis=0) / counts
    apart = np.nan_to_num(values - means) / np.sqrt(counts * (counts - 1))
    return float(means.var(ddof=1) - apart.var(axis=1, ddof=1).sum())


def variance_between_sequences(beta: Array, error: Array) -> float:
    """Return the pooled variance over the sequences of a unit less the mean of the squared errors."""
    finite = np.isfinite(beta)
    counts = finite.sum(axis=0)
    freedom = int(np.maximum(counts - 1, 0).sum())
    if not freedom:
        return math.nan
    apart = beta - np.nansum(beta, axis=0) / np.maximum(counts, 1)
    return float(np.nansum(apart**2) / freedom - (error[finite] ** 2).mean())


def _jackknife(statistic: Callable[[NDArray[np.bool_]], Array], sequences: int) -> tuple[Array, Array]:
    """Return a statistic of all sequences and its error, widened, NaN with fewer than two.

    The statistic takes a mask of the sequences that are kept; at most 50 groups are left out in turn.
    """
    groups = min(sequences, _GROUPS)
    kept = kept_groups(groups)[:, np.arange(sequences) * groups // sequences]
    value, error = jackknife(np.array([statistic(keep) for keep in kept]))
    return value, widening(groups - 1) * error


def widening(freedom: int) -> float:
    """Return the factor ``t/1.96`` for an error from so few degrees of freedom.

    With t the 97.5 % point of Student's law, value +- 1.96 errors is then the 95 % interval.
    """
    return float(student.ppf(0.975, freedom)) / _INTERVAL


def deviation_of(variance: float, error: float) -> tuple[float, float]:
    """Return the square root of a variance that may come out negative, and an error.

    Notes
    -----
    The interval of 1.96 errors contains the square root of that of the variance, cut at zero.
    """
    above = max(variance, 0.0)
    value, reach = math.sqrt(above), _INTERVAL * error
    upwards = math.sqrt(above + reach) - value
    downwards = value - math.sqrt(max(above - reach, 0.0))
    return value, max(upwards, downwards) / _INTERVAL


def _curve(measured: _Measured, used: NDArray[np.bool_]) -> tuple[Array, Array, Array, Array]:
    """Return the geometric mean of normalised curves and its local slopes, with errors."""
    points = len(measured.windows)
    if not used.any() or not points:
        nothing, slopes = np.full(points, np.nan), np.full(max(points - 1, 0), np.nan)
        return nothing, nothing, slopes, slopes
    sums, counts = measured.curves[used], np.isfinite(measured.beta[used]).sum(axis=1)
    steps = np.diff(np.log(measured.windows))

    def statistics(keep: NDArray[np.bool_]) -> Array:
        logarithm = sums[keep].sum(axis=0) / counts[keep].sum()
        return np.concatenate([logarithm, np.diff(logarithm) / steps])

    value, error = _jackknife(statistics, len(sums))
    return np.exp(value[:points]), error[:points], value[points:], error[points:]


def _typical(curves: list[Array], points: int) -> Array:
    """Return the geometric mean of curves over their first values."""
    if not curves:
        return np.full(points, np.nan)
    return np.asarray(np.exp(np.mean([np.log(curve / curve[0]) for curve in curves], axis=0)))


def _judged(
    beta: Estimate, curvature: Estimate, tested: int, beat: Counter[str], memory: float, longest: int
) -> tuple[Kind, str]:
    """Return the kind of noise, and why.

    `beat` counts how many of the tested series exclude an explanation, as :func:`excluded_by` names them;
    `memory` is the median of their memories in steps, NaN without tests, and `longest` the longest window.
    """
    if not beta.determined:
        return "not determined", f"{beta.reason[:1].upper()}{beta.reason[1:]}."
    bent = abs(curvature.value) > _SURE * curvature.error
    # So many of the tested series exclude a true explanation less than once in a hundred.
    excluded = {name for name, count in beat.items() if binom.sf(count - 1, tested, EXCLUDED) < _BY_CHANCE}
    kind = kind_of(beta, _SURE, memory, longest, bent=bent, excluded=excluded)
    if not tested and kind != "white":
        how = "the curves are bent" if bent else "the curves are straight"
        return "not determined", f"beta = {beta}, and {how}, but no series was tested against short memory."
    short = "white noise"
    if memory:
        steps = f"{memory:.3g} steps" if math.isfinite(memory) else "more steps than the series has"
        short = f"an autoregressive process with a memory of {steps}"
    share = f"{beat['short']} of {tested} series tested"
    how = f"The curves are bent (curvature {curvature})" if bent else "Scaling noise does not look like it"
    end = ", or units differ in kind" if {"short", "scaling"} <= excluded else ""
    reasons: dict[Kind, str] = {
        "white": f"The mean beta = {beta} is zero within its error.",
        "crossover": (
            f"{how}, and short memory does not explain it: {share} exclude it, {beat['fit']} exclude the "
            f"curve of their own process. There is no one exponent{end}."
        ),
        "short memory": f"{how}, and {short} explains it: beta = {beta} describes these windows only.",
        "brown": f"The mean beta = {beta} is that of a random walk within its error.",
        "not determined": (
            f"beta = {beta}, but {short} explains the curves as well: only {share} exclude it. Longer series "
            "would tell, or more tests."
        ),
        "straight": (
            f"The curves are straight with beta = {beta}, and {share} exclude short memory, but only "
            f"{beat['few']} exclude a few relaxation times, which would look the same: longer "
            "series would tell."
        ),
        "1/f": (
            f"The curves are straight with beta = {beta}; {share} exclude short memory, and {beat['few']} "
            "two to four relaxation times."
        ),
        "power law": (
            f"The curves are straight, and {share} exclude short memory, {beat['few']} two to four "
            f"relaxation times, but beta = {beta} is not that of 1/f noise ({PINK[0]} to {PINK[1]})."
        ),
    }
    return kind, reasons[kind]
