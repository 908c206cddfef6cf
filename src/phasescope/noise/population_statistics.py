"""Mean and variance components of exponents over units and sequences, with errors from the sequences."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

Array = NDArray[np.float64]
_GROUPS = 50  # sequences are left out in at most so many groups
_SURE = 1.96


def mean_of_units(beta: Array) -> float:
    """Return the mean over units of the mean over their sequences."""
    counts = np.isfinite(beta).sum(axis=0)
    some = counts > 0
    return float((np.nansum(beta, axis=0)[some] / counts[some]).mean()) if some.any() else math.nan


def spread_of_pairs(beta: Array) -> float:
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


def jackknife(statistic: Callable[[NDArray[np.bool_]], Array], sequences: int) -> tuple[Array, Array]:
    """Return a statistic of all sequences and its error, NaN with fewer than two.

    Notes
    -----
    The error is that of the jackknife times ``t/1.96``, with t the 97.5 % point of Student's law with one
    degree of freedom less than there are groups, so that value +- 1.96 errors is the 95 % interval with few
    sequences too.
    """
    everything = np.ones(sequences, dtype=bool)
    value = np.asarray(statistic(everything), dtype=np.float64)
    groups = min(sequences, _GROUPS)
    if groups < 2:
        return value, np.full_like(value, np.nan)
    label = np.arange(sequences) * groups // sequences
    without = np.array([statistic(label != group) for group in range(groups)])
    apart = ((without - without.mean(axis=0)) ** 2).sum(axis=0)
    widened = float(student.ppf(0.975, groups - 1)) / _SURE
    return value, np.asarray(widened * np.sqrt((groups - 1) / groups * apart))


def deviation_of(variance: float, error: float) -> tuple[float, float]:
    """Return the square root of a variance that may come out negative, and an error.

    Notes
    -----
    The interval of 1.96 errors contains the square root of that of the variance, cut at zero.
    """
    above = max(variance, 0.0)
    value, reach = math.sqrt(above), _SURE * error
    upwards = math.sqrt(above + reach) - value
    downwards = value - math.sqrt(max(above - reach, 0.0))
    return value, max(upwards, downwards) / _SURE
