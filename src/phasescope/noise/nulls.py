"""Whether a fluctuation function needs a memory without end, or a short one explains it as well."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from phasescope.noise.autoregression import (
    AutoregressiveFit,
    Criterion,
    burg_reflections,
    fit_autoregressive,
    reflected_autocovariance,
)
from phasescope.noise.dfa import dfa
from phasescope.noise.fluctuation import expected_fluctuation, fluctuations
from phasescope.noise.generators import autoregressive, fractional_gaussian_noise

Array = NDArray[np.float64]

_BLOCK = 2**20  # values simulated at a time
_VALUES, _COPIES = 2**21, (60, 200)
_MARGIN = 0.02
_RIDGE = 1e-3


@dataclass(frozen=True)
class MemoryTest:
    """A measured fluctuation function between two explanations: short memory, or scaling without end.

    Parameters
    ----------
    fit : AutoregressiveFit
        The short memory that imitates the series best.
    windows : array of int of shape (windows,)
        Window lengths n.
    measured, short_memory, scaling : array of shape (windows,)
        F(n) of the series; exact of the autoregressive process; and typical of scaling noise with exponent
        `alpha`, at the height of the measured one.
    alpha : float
        Exponent of the scaling noise.
    p_short, p_scaling : float
        Share of simulated autoregressive series that look at least as much like scaling as the measured one
        does, and of simulated scaling series that look at least as much like short memory. A small one
        excludes that explanation.
    p_fit : float
        Share of simulated autoregressive series that lie at least as far from the curve of their process, in
        whatever way. A small one means that short memory does not explain the curve, nor need scaling.
    copies : int
        Series behind each share.
    """

    fit: AutoregressiveFit
    windows: NDArray[np.int64]
    measured: Array = field(repr=False)
    short_memory: Array = field(repr=False)
    scaling: Array = field(repr=False)
    alpha: float
    p_short: float
    p_scaling: float
    p_fit: float
    copies: int

    @property
    def memory(self) -> float:
        """Steps over which the autoregressive process forgets: from its largest root, ``-1/ln |z|``."""
        if not self.fit.order:
            return 0.0
        largest = float(np.abs(np.roots(np.concatenate([[1.0], -self.fit.coefficients]))).max())
        return -1 / math.log(largest) if 0 < largest < 1 else math.inf * (largest >= 1)


def memory_test(
    x: ArrayLike,
    *,
    order: int = 1,
    windows: ArrayLike | None = None,
    criterion: Criterion = "bic",
    copies: int | None = None,
    seed: int = 0,
) -> MemoryTest | None:
    """Return how well short memory and scaling explain a series, or None where it has no exponent.

    Parameters
    ----------
    x : array of shape (time,)
        The series.
    order : {1, 2, 3}
        Of detrending.
    windows : array of int, optional
        As of :func:`phasescope.noise.dfa`.
    criterion : {"aic", "bic"}
        What chooses the order of the autoregressive process.
    copies : int, optional
        Simulated series behind each share; as many again are used to learn what tells the two apart. By
        default 200, and down to 60 for series of more than 10,000 values.
    seed : int
        Of the simulation.

    Notes
    -----
    For every series, measured or simulated, an autoregressive process is fitted and the difference e between
    its ``ln F(n)`` and the exact one of the process is taken. Half of the simulated series, of the fitted
    process and of fractional Gaussian noise (or its sum) with alphas as uncertain as the measured one, give
    the linear combination of e that best tells one from the other (Fisher's discriminant); the other half
    gives its distribution under both. So the shares are fair whichever direction was found; only the choice
    of the order is not repeated. Where both explanations nearly agree, as for white noise, the direction
    follows the measured alpha, and the share of short memory is two-sided. An `InputError` tells input of no
    use. Cost: four times `copies` simulated series, about 1 s at N = 4096 and 6 s at N = 65536. Derived here.
    """
    series = np.asarray(x)
    found = dfa(series, order=order, windows=windows)
    if series.ndim != 1 or found.reason[()]:
        return None
    series = series.astype(np.float64) / np.abs(series).max()
    series = series - series.mean()
    deviation = float(series.std())
    series /= deviation
    fit = fit_autoregressive(series, criterion=criterion)
    length, lengths = len(series), found.windows
    copies = default_copies(length) if copies is None else copies
    alpha = float(found.alpha)

    random = np.random.default_rng(seed)
    # As uncertain as the measured one, in no order: each half has its share of large ones.
    exponents = alpha + float(found.alpha_error) * norm.ppf((np.arange(2 * copies) + 0.5) / (2 * copies))
    exponents = random.permutation(exponents)

    def short(some: slice) -> Array:
        return autoregressive(fit.coefficients, length, size=len(exponents[some]), seed=random)

    def scaling(some: slice) -> Array:
        return np.stack([scaling_noise(value, length, random) for value in exponents[some]])

    block = max(1, _BLOCK // length)
    places = [slice(start, start + block) for start in range(0, 2 * copies, block)]
    excesses, heights = [], []
    for make in (short, scaling):
        parts = [_excess(make(some), lengths, order, fit.order) for some in places]
        excesses.append(np.concatenate([excess for excess, _ in parts]))
        heights.append(np.concatenate([height for _, height in parts]))
    excess, height = (part[0] for part in _excess(series[None], lengths, order, fit.order))
    direction = _discriminant(excesses[0][:copies], excesses[1][:copies])
    place = float(excess @ direction)
    of_short, of_scaling = (part[copies:] @ direction for part in excesses)
    typical = heights[1].mean(axis=0)
    scale = np.asarray(found.fluctuation) / np.exp(height)
    return MemoryTest(
        fit=fit,
        windows=lengths,
        measured=np.asarray(found.fluctuation),
        short_memory=scale * np.exp(height - excess),
        scaling=scale * np.exp(typical + (height - typical).mean()),
        alpha=alpha,
        p_short=(1 + int((of_short >= place).sum())) / (copies + 1),
        p_fit=_share_as_far(excesses[0], excess, copies),
        p_scaling=(1 + int((of_scaling <= place).sum())) / (copies + 1),
        copies=copies,
    )


def default_copies(length: int) -> int:
    """Return how many series to simulate behind a share: fewer where each is long and tells more."""
    return int(np.clip(_VALUES // max(length, 1), *_COPIES))


def scaling_noise(alpha: float, length: int, random: np.random.Generator) -> Array:
    """A series with DFA exponent `alpha`: fractional Gaussian noise below 1, its running sums above."""
    sums = max(math.ceil(alpha) - 1, 0)
    noise = fractional_gaussian_noise(min(max(alpha - sums, _MARGIN), 1 - _MARGIN), length, seed=random)
    for _ in range(sums):
        noise = noise.cumsum()
    return noise


def _excess(series: Array, windows: NDArray[np.int64], order: int, memory: int) -> tuple[Array, Array]:
    """Return ``ln F`` above that of each series' own autoregressive fit, and ``ln F`` itself."""
    centred = series - series.mean(axis=-1, keepdims=True)
    profile = centred.cumsum(axis=-1)
    height = np.log(fluctuations(profile, windows, order, both_ends=True, overlap=False))
    reflections = burg_reflections(centred, memory)
    expected = expected_fluctuation(reflected_autocovariance(reflections, int(windows[-1])), windows, order)
    own = 0.5 * np.log((centred**2).mean(axis=-1))[:, None]
    return height - own - np.log(expected), height


def _share_as_far(simulated: Array, excess: Array, copies: int) -> float:
    """Return the share of the second half at least as far from the mean of the first as the curve."""
    centre, within = simulated[:copies].mean(axis=0), _ridged(np.cov(simulated[:copies], rowvar=False))

    def distance(curves: Array) -> Array:
        apart = curves - centre
        return np.asarray((apart * np.linalg.solve(within, apart.T).T).sum(axis=-1))

    far = distance(excess[None])[0]
    return (1 + int((distance(simulated[copies:]) >= far).sum())) / (copies + 1)


def _ridged(covariance: Array) -> Array:
    square = np.atleast_2d(covariance)
    return np.asarray(square + _RIDGE * np.trace(square) / len(square) * np.eye(len(square)))


def _discriminant(short: Array, scaling: Array) -> Array:
    """Return the direction that best tells two clouds of curves apart, towards the second."""
    within = _ridged(np.cov(short, rowvar=False) + np.cov(scaling, rowvar=False))
    return np.asarray(np.linalg.solve(within, scaling.mean(axis=0) - short.mean(axis=0)))
