"""The tail of a weight's spectrum, and only where the spectrum is not that of shuffled weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import ks_2samp, norm

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.results import Result

Array = NDArray[np.float64]

_LEVEL = 0.05
_NOTHING = 1e-12  # of the largest eigenvalue
_FEWEST = 10  # eigenvalues in a tail, and twice as many in all


@dataclass(frozen=True)
class Tail(Result):
    """What ``spectral_tail`` found.

    Parameters
    ----------
    exponent : Estimate
        Exponent alpha of the density of the squared singular values above `start`; or why there is none.
    start : float
        The smallest value of the tail; NaN without a tail.
    p : float
        Of the Kolmogorov test of the spectrum against that of the shuffled weights.
    against_lognormal : float
        Log-likelihood of the power law minus that of a lognormal above `start`, in standard deviations of
        this difference: above 2 the power law is better, below -2 the lognormal. NaN without a tail.
    """

    exponent: Estimate
    start: float
    p: float
    against_lognormal: float

    def __str__(self) -> str:
        return f"tail exponent {self.exponent} (p {self.p:.2g} against shuffled weights)"


def spectral_tail(weight: ArrayLike, *, shuffles: int = 5, seed: int = 0) -> Tail:
    r"""Return the exponent of the tail of a weight's spectrum where it is not that of shuffled weights.

    Of the squared singular values x the density above a start is taken for
    :math:`\propto x^{-\alpha}`; alpha by maximum likelihood, the start where the Kolmogorov distance is
    smallest. Any spectrum has such a fit, that of random entries too: so a two-sample Kolmogorov test against
    the spectra of weights with permuted entries comes first, and where it does not reject at 5 % the exponent
    is not determined.

    Parameters
    ----------
    weight : array of shape (outputs, inputs, ...)
        Further axes are joined with the inputs.
    shuffles : int
        Number of permuted weights that the spectrum is compared with, at least 1.
    seed : int
        Of the permutations.

    Returns
    -------
    Tail
        Exponent, start, the test's p, and the comparison with a lognormal.

    Raises
    ------
    InputError
        If the weight is no matrix or not finite, or `shuffles` is below 1.

    Notes
    -----
    The test takes eigenvalues for independent. They repel each other, so its p is too large rather than too
    small, and a few outliers alone are not found. Needs 20 values that are not 0. Cost: ``1 + shuffles``
    singular value decompositions.

    References
    ----------
    Martin and Mahoney 2021, arXiv:1810.01075; Clauset, Shalizi and Newman 2009, arXiv:0706.1062.
    """
    matrix = np.asarray(weight, dtype=np.float64)
    if matrix.ndim < 2 or not np.isfinite(matrix).all():
        raise InputError(f"The weight has the shape {matrix.shape}.", "Pass a finite matrix.")
    if shuffles < 1:
        raise InputError(f"shuffles is {shuffles}.", "Give at least 1.")
    matrix = matrix.reshape(len(matrix), -1)
    rng = np.random.default_rng(seed)
    null = [_squares(rng.permutation(matrix.ravel()).reshape(matrix.shape)) for _ in range(shuffles)]
    return tail_of(_squares(matrix), null)


def tail_of(own: Array, null: Sequence[Array]) -> Tail:
    """Return the tail of squared singular values, beside those of shuffled weights."""
    own = np.sort(own[own > _NOTHING * float(own.max(initial=0.0))])
    if len(own) < 2 * _FEWEST or not null:
        reason = f"{len(own)} singular values are too few for a tail" if null else "no shuffled weights"
        return _none(reason, math.nan)
    p = float(ks_2samp(own, np.concatenate(null)).pvalue)
    if p > _LEVEL:
        return _none(f"the spectrum is that of shuffled weights (p = {p:.2g})", p)
    return _fitted(own, p)


def _none(reason: str, p: float) -> Tail:
    return Tail(Estimate.not_determined(reason, method="maximum likelihood"), math.nan, p, math.nan)


def _squares(matrix: Array) -> Array:
    return np.asarray(np.linalg.svd(matrix, compute_uv=False) ** 2, dtype=np.float64)


def _fitted(values: Array, p: float) -> Tail:
    """Return the fit from the start at which its Kolmogorov distance is smallest; values ascend."""
    best = (math.inf, 0, math.nan)
    for first in range(len(values) - _FEWEST + 1):
        tail = values[first:]
        logs = np.log(tail / tail[0])
        if not logs.sum() > 0:
            continue
        alpha = 1 + len(tail) / float(logs.sum())
        steps = np.arange(len(tail) + 1) / len(tail)
        model = 1 - np.exp(-(alpha - 1) * logs)
        distance = max(float(np.abs(model - steps[:-1]).max()), float(np.abs(model - steps[1:]).max()))
        best = min(best, (distance, first, alpha))
    _, first, alpha = best
    if not math.isfinite(alpha):
        return _none("all singular values are equal", p)
    tail = values[first:]
    error = (alpha - 1) / math.sqrt(len(tail))
    made = Estimate(alpha, error, "maximum likelihood", len(tail), (float(tail[0]), float(tail[-1])))
    return Tail(made, float(tail[0]), p, _against_lognormal(tail, alpha))


def _against_lognormal(tail: Array, alpha: float) -> float:
    """Return Vuong's statistic of the power law against a lognormal that begins at the same value."""
    logs = np.log(tail)
    power = math.log(alpha - 1) - logs[0] - alpha * (logs - logs[0])
    # A lognormal cut off at its start, fitted on a grid of moments around those of the logarithms.
    best = np.full(len(tail), -np.inf)
    spread = max(float(logs.std()), 1e-6)
    for mu in logs.mean() + spread * np.linspace(-6, 1, 36):
        for sigma in spread * np.geomspace(0.5, 4, 25):
            z = (logs - mu) / sigma
            density = norm.logpdf(z) - math.log(sigma) - logs - norm.logsf((logs[0] - mu) / sigma)
            if density.sum() > best.sum():
                best = density
    ratio = power - best
    scatter = float(ratio.std()) * math.sqrt(len(ratio))
    return float(ratio.sum()) / scatter if scatter > 0 else 0.0
