"""Whether a fluctuation function needs a memory without end, or a short one explains it as well."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
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
from phasescope.noise.expected import expected_fluctuation
from phasescope.noise.fluctuation import fluctuations
from phasescope.noise.generators import autoregressive, fractional_gaussian_noise

Array = NDArray[np.float64]

_BLOCK = 2**20  # values simulated at a time
_VALUES, _COPIES = 2**21, (60, 200)
_FEWEST = 20  # of scaling noise at a time, so that its exponents spread as they should
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
    of the order is not repeated. An `InputError` tells input of no use. Cost: four times `copies` simulated
    series, about 1 s at N = 4096 and 6 s at N = 65536. Derived here.
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
    alpha = min(max(float(found.alpha), _MARGIN), 2 - _MARGIN)

    def short(count: int, random: np.random.Generator) -> Array:
        return autoregressive(fit.coefficients, length, size=count, seed=random)

    def scaling(count: int, random: np.random.Generator) -> Array:
        share = (np.arange(count) + 0.5) / count
        exponents = alpha + float(found.alpha_error) * norm.ppf(share)
        return np.stack([scaling_noise(value, length, random) for value in exponents])

    random = np.random.default_rng(seed)
    excesses, heights = [], []
    for make in (short, scaling):
        # An even number a block: its even rows and its odd rows are alike.
        blocks = _repeated(make, 2 * copies, length, random)
        parts = [_excess(block, lengths, order, fit.order) for block in blocks]
        excesses.append(np.concatenate([excess for excess, _ in parts]))
        heights.append(np.concatenate([height for _, height in parts]))
    excess, height = (part[0] for part in _excess(series[None], lengths, order, fit.order))
    direction = _discriminant(excesses[0][::2], excesses[1][::2])
    place = float(excess @ direction)
    of_short, of_scaling = (part[1::2] @ direction for part in excesses)
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
        p_scaling=(1 + int((of_scaling <= place).sum())) / (copies + 1),
        copies=copies,
    )


def default_copies(length: int) -> int:
    """Return how many series to simulate behind a share: fewer where each is long and tells more.

    Parameters
    ----------
    length : int
        Values of a series.
    """
    return int(np.clip(_VALUES // max(length, 1), *_COPIES))


def scaling_noise(alpha: float, length: int, random: np.random.Generator) -> Array:
    """Return a series with DFA exponent `alpha`: fractional Gaussian noise below 1, its running sum above.

    Parameters
    ----------
    alpha : float
        Between 0 and 2; kept 0.02 away from whole numbers, where the noise degenerates.
    length : int
        Values of a series.
    random : numpy.random.Generator
        Decides the values.
    """
    hurst = min(max(alpha - (alpha > 1), _MARGIN), 1 - _MARGIN)
    noise = fractional_gaussian_noise(hurst, length, seed=random)
    return noise.cumsum() if alpha > 1 else noise


def _repeated(
    make: Callable[[int, np.random.Generator], Array], count: int, length: int, random: np.random.Generator
) -> Iterator[Array]:
    block = max(_FEWEST, _BLOCK // length // 2 * 2)
    for start in range(0, count, block):
        yield make(min(block, count - start), random)


def _excess(series: Array, windows: NDArray[np.int64], order: int, memory: int) -> tuple[Array, Array]:
    """Return ``ln F`` above that of each series' own autoregressive fit, and ``ln F`` itself."""
    centred = series - series.mean(axis=-1, keepdims=True)
    profile = centred.cumsum(axis=-1)
    height = np.log(fluctuations(profile, windows, order, both_ends=True, overlap=False))
    reflections = burg_reflections(centred, memory)
    expected = expected_fluctuation(reflected_autocovariance(reflections, int(windows[-1])), windows, order)
    own = 0.5 * np.log((centred**2).mean(axis=-1))[:, None]
    return height - own - np.log(expected), height


def _discriminant(short: Array, scaling: Array) -> Array:
    """Return the direction that best tells two clouds of curves apart, towards the second."""
    within = np.atleast_2d(np.cov(short, rowvar=False) + np.cov(scaling, rowvar=False))
    within += _RIDGE * np.trace(within) / len(within) * np.eye(len(within))
    return np.asarray(np.linalg.solve(within, scaling.mean(axis=0) - short.mean(axis=0)))
