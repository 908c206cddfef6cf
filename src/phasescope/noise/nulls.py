"""Short memory or scaling: what explains the fluctuations of a series, and the kind of noise it then is.

The short memory is the autoregressive process that imitates the series best, found by Burg's method.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.noise.dfa import dfa
from phasescope.noise.fluctuation import expected_fluctuation, fluctuations
from phasescope.noise.generators import autoregressive, fractional_gaussian_noise, largest_root
from phasescope.noise.spectrum import standardised

Array = NDArray[np.float64]
Criterion = Literal["aic", "bic"]
Kind = Literal["white", "1/f", "brown", "power law", "short memory", "crossover", "not determined"]

PINK = (0.5, 1.5)  # beta of 1/f noise
EXCLUDED = 0.025  # an explanation is, where so few of its simulated series look like the measured one
_BLOCK = 2**20  # values simulated at a time
_VALUES, _COPIES = 2**21, (60, 200)
_FEWEST_COPIES = 40
_MARGIN = 0.02
_RIDGE = 1e-3


@dataclass(frozen=True)
class AutoregressiveFit:
    """The autoregressive process that imitates a series.

    Parameters
    ----------
    coefficients : array of shape (order,)
        ``a_1 .. a_p`` of ``x_t = sum_j a_j x_(t-j) + e_t``; always stationary.
    reflections : array of shape (order,)
        Partial autocorrelations at lags 1 to p.
    innovation : float
        Variance of e relative to that of x.
    criterion : array of shape (orders,)
        The criterion at order 0, 1, ..., smallest at the order that was chosen.
    name : {"aic", "bic"}
        Which criterion.
    """

    coefficients: Array
    reflections: Array
    innovation: float
    criterion: Array
    name: Criterion

    @property
    def order(self) -> int:
        """Number of coefficients."""
        return len(self.coefficients)

    def autocovariance(self, length: int) -> Array:
        """Return the autocovariance at lags 0 to ``length - 1``, at unit variance.

        Parameters
        ----------
        length : int
            How many lags.
        """
        return np.asarray(_autocovariance(self.reflections[None], length)[0])


def fit_autoregressive(
    x: ArrayLike, *, order: int | None = None, max_order: int | None = None, criterion: Criterion = "bic"
) -> AutoregressiveFit:
    """Return the autoregressive process that is most like a series.

    Parameters
    ----------
    x : array of shape (time,)
        The series; it is centred first.
    order : int, optional
        Number of coefficients; by default that of the smallest criterion.
    max_order : int, optional
        Largest order tried; ``10 log10 N`` by default.
    criterion : {"aic", "bic"}
        ``N ln(variance of e) + 2 p`` or ``+ p ln N``.

    Notes
    -----
    Burg's method: each partial autocorrelation minimises the errors of forward and backward prediction, so
    that the process is stationary whatever the series is (Burg, Thesis, Stanford, 1975).
    Cost: the length times the largest order.

    Raises
    ------
    InputError
        If x is not one usable series, or is too short for the order.
    """
    series, reason = standardised(x)
    if series.ndim != 1:
        raise InputError(f"x has shape {series.shape}.", "Fit one series at a time, of shape (time,).")
    if reason[()]:
        raise InputError(f"There is nothing to fit: {reason[()]}.", "Leave this series out.")
    length = len(series)
    if criterion not in ("aic", "bic"):
        raise InputError(f"criterion = {criterion!r} is unknown.", "Use 'aic' or 'bic'.")
    most = order if order is not None else max_order
    if most is None:
        most = min(int(10 * np.log10(length)), length // 4)
    if not 0 <= most < length / 2:
        raise InputError(f"An order of {most} is too large for {length} values.", "Keep it below half.")
    reflections = burg_reflections(series[None], most)[0]
    left = np.concatenate([[1.0], np.cumprod(1 - reflections**2)])
    price = 2.0 if criterion == "aic" else np.log(length)
    score = length * np.log(np.maximum(left, 1e-300)) + price * np.arange(most + 1)
    chosen = int(score.argmin()) if order is None else order
    kept = reflections[:chosen]
    return AutoregressiveFit(levinson(kept[None])[0][0], kept, float(left[chosen]), score, criterion)


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
        largest = largest_root(self.fit.coefficients)
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
    # Fewer where each is long and tells more.
    copies = int(np.clip(_VALUES // length, *_COPIES)) if copies is None else copies
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


def check_copies(copies: int | None) -> None:
    """Refuse so few copies that none of them, one in ``copies + 1``, could exclude an explanation."""
    if copies is not None and copies < _FEWEST_COPIES:
        raise InputError(f"{copies} copies cannot exclude anything.", f"Use at least {_FEWEST_COPIES}.")


def excluded_by(test: MemoryTest) -> set[str]:
    """Return the explanations that a test excludes: "short" memory, "scaling", the curve of the "fit"."""
    shares = {"short": test.p_short, "scaling": test.p_scaling, "fit": test.p_fit}
    return {name for name, p in shares.items() if p <= EXCLUDED}


def kind_of(
    beta: Estimate, sure: float, memory: float, longest: int, *, bent: bool, excluded: set[str]
) -> Kind:
    """Return the kind of noise, from exponent, bend and the explanations that are excluded.

    What is further than `sure` errors from a value differs from it. `memory` is that of the autoregressive
    process in steps, 0 for white noise, and `longest` the longest window.
    """
    reach = sure * beta.error
    beats_short = "short" in excluded
    straight = not bent and "scaling" not in excluded
    flat = abs(beta.value) <= reach and beta.value + reach < PINK[0]
    if flat and (straight or not (bent or beats_short or memory)):
        return "white"
    if not straight:
        return "crossover" if excluded & {"short", "fit"} else "short memory"
    if abs(beta.value - 2) <= reach and (beats_short or memory > longest):
        return "brown"
    if not beats_short:
        return "not determined"
    return "1/f" if PINK[0] <= beta.value <= PINK[1] else "power law"


def burg_reflections(series: Array, order: int) -> Array:
    """Return partial autocorrelations at lags 1 to `order`, below half the length, of centred series.

    Shapes: `series` (batch, time), the result (batch, order).
    """
    forward, backward = series[:, 1:], series[:, :-1]
    found = np.zeros((len(series), order))
    for lag in range(order):
        energy = (forward**2).sum(axis=-1) + (backward**2).sum(axis=-1)
        product = 2 * (forward * backward).sum(axis=-1)
        k = np.where(energy > 0, product / np.where(energy > 0, energy, 1.0), 0.0)
        found[:, lag] = np.clip(k, -1 + 1e-12, 1 - 1e-12)
        step = found[:, lag, None]
        forward, backward = (forward - step * backward)[:, 1:], (backward - step * forward)[:, :-1]
    return found


def levinson(reflections: Array) -> tuple[Array, Array]:
    """Return ``a_1 .. a_p`` and the autocovariance at lags 0 to p of each row, at unit variance.

    Levinson's recursion on (batch, order) partial autocorrelations, each between -1 and 1. By hand, as
    scipy.linalg.solve_toeplitz goes the other way, and loses digits near a unit root.
    """
    batch = len(reflections)
    a, r, left = np.zeros((batch, 0)), np.ones((batch, 1)), np.ones(batch)
    for k in reflections.T:
        ahead = k * left + (a * r[:, :0:-1]).sum(axis=1)
        r = np.concatenate([r, ahead[:, None]], axis=1)
        a = np.concatenate([a - k[:, None] * a[:, ::-1], k[:, None]], axis=1)
        left = left * (1 - k**2)
    return a, r


def _autocovariance(reflections: Array, length: int) -> Array:
    """Return the autocovariance at lags 0 to ``length - 1`` of each row, at unit variance."""
    a, start = levinson(reflections)
    batch, order = a.shape
    r = np.zeros((batch, max(length, order + 1)))
    r[:, : order + 1] = start
    backwards = a[:, ::-1]
    for lag in range(order + 1, length):
        r[:, lag] = (backwards * r[:, lag - order : lag]).sum(axis=1)
    return r[:, :length]


def scaling_noise(alpha: float, length: int, random: np.random.Generator) -> Array:
    """Return a series with DFA exponent `alpha`: fractional Gaussian noise below 1, its running sums above.

    The exponent is kept 0.02 away from whole numbers, where the noise degenerates.
    """
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
    expected = expected_fluctuation(_autocovariance(reflections, int(windows[-1])), windows, order)
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
