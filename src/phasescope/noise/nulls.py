"""Short memory, a few relaxation times or scaling: what explains a series, and the kind of noise it then is.

The short memory is the autoregressive process that imitates the series best, found by Burg's method. A few
relaxation times are a sum of two to four leaky integrators, fitted to the spectrum by Whittle's likelihood.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.signal import lfilter
from scipy.stats import norm

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.noise.dfa import dfa
from phasescope.noise.fluctuation import expected_fluctuation, fluctuations
from phasescope.noise.generators import fractional_gaussian_noise, largest_root
from phasescope.noise.spectrum import HIGHEST, standardised
from phasescope.results import Result

Array = NDArray[np.float64]
Criterion = Literal["aic", "bic"]
Kind = Literal[
    "white",
    "1/f",
    "brown",
    "power law",
    "short memory",
    "crossover",
    "not determined",
    "straight",
    "periodic",
]

PINK = (0.5, 1.5)  # beta of 1/f noise
EXCLUDED = 0.025  # an explanation is, where so few of its simulated series look like the measured one
_BLOCK = 2**20  # values simulated at a time
_VALUES, _COPIES = 2**21, (60, 200)
_FEWEST_COPIES = 40
_MARGIN = 0.02
_RIDGE = 1e-3
_NOTHING_LEFT = 1e-12  # of the variance: an innovation below it is rounding

_NUMBERS = (2, 3, 4)  # of relaxation times that "a few" are
_SPECTRA = 120  # simulated for each
_SINGLE, _A_DECADE, _POINTS = 8, 16, 8  # frequencies one by one, then bins a decade, points in each
_FEWEST_BINS = 10
_EXPONENTS = np.arange(-0.5, 4.001, 0.02)  # beta of the scaling spectra that are compared
_FASTEST = 0.15  # steps: a relaxation time below is white noise
_STEPS_OF_FIT = 25


@dataclass(frozen=True)
class AutoregressiveFit(Result):
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
class MemoryTest(Result):
    """A measured fluctuation function between two explanations: short memory, or scaling without end.

    Parameters
    ----------
    fit : AutoregressiveFit
        The short memory that imitates the series best.
    length : int
        Values of the series.
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
    relaxations : RelaxationTest or None
        Whether a few relaxation times are excluded, at the frequencies of the windows; asked only where short
        memory is excluded and scaling is not.
    """

    fit: AutoregressiveFit
    length: int
    windows: NDArray[np.int64]
    measured: Array = field(repr=False)
    short_memory: Array = field(repr=False)
    scaling: Array = field(repr=False)
    alpha: float
    p_short: float
    p_scaling: float
    p_fit: float
    copies: int
    relaxations: RelaxationTest | None

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
    """Return how well short memory and scaling explain a series, or None where nothing can be compared.

    That is where the series has no exponent, or no autoregressive process imitates it.

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
        return _autoregressive_noise(fit.reflections, length, len(exponents[some]), random)

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
    if not (np.isfinite(excess).all() and all(np.isfinite(part).all() for part in excesses)):
        return None
    direction = _discriminant(excesses[0][:copies], excesses[1][:copies])
    place = float(excess @ direction)
    of_short, of_scaling = (part[copies:] @ direction for part in excesses)
    typical = heights[1].mean(axis=0)
    scale = np.asarray(found.fluctuation) / np.exp(height)
    p_short = (1 + int((of_short >= place).sum())) / (copies + 1)
    p_scaling = (1 + int((of_scaling <= place).sum())) / (copies + 1)
    asked = p_short <= EXCLUDED < p_scaling
    return MemoryTest(
        fit=fit,
        length=length,
        windows=lengths,
        measured=np.asarray(found.fluctuation),
        short_memory=scale * np.exp(height - excess),
        scaling=scale * np.exp(typical + (height - typical).mean()),
        alpha=alpha,
        p_short=p_short,
        p_fit=_share_as_far(excesses[0], excess, copies),
        p_scaling=p_scaling,
        copies=copies,
        relaxations=relaxation_test(series, highest=1 / float(lengths[0]), seed=seed) if asked else None,
    )


def check_copies(copies: int | None) -> None:
    """Refuse so few copies that none of them, one in ``copies + 1``, could exclude an explanation."""
    if copies is not None and copies < _FEWEST_COPIES:
        raise InputError(f"{copies} copies cannot exclude anything.", f"Use at least {_FEWEST_COPIES}.")


def excluded_by(test: MemoryTest) -> set[str]:
    """Return what a test excludes: "short" memory, "scaling", the curve of the "fit", a "few" relaxations."""
    shares = {"short": test.p_short, "scaling": test.p_scaling, "fit": test.p_fit}
    found = {name for name, p in shares.items() if p <= EXCLUDED}
    return found | {"few"} if test.relaxations is not None and test.relaxations.excluded else found


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
    if "few" not in excluded:
        return "straight"
    return "1/f" if PINK[0] <= beta.value <= PINK[1] else "power law"


def burg_reflections(series: Array, order: int) -> Array:
    """Return partial autocorrelations at lags 1 to `order`, below half the length, of centred series.

    They are zero once the prediction is exact to rounding, and inside the unit circle throughout. Shapes:
    `series` (batch, time), the result (batch, order).
    """
    forward, backward = series[:, 1:], series[:, :-1]
    found = np.zeros((len(series), order))
    left = np.ones(len(series))
    for lag in range(order):
        energy = (forward**2).sum(axis=-1) + (backward**2).sum(axis=-1)
        product = 2 * (forward * backward).sum(axis=-1)
        some = (energy > 0) & (left > _NOTHING_LEFT)
        k = np.where(some, product / np.where(energy > 0, energy, 1.0), 0.0)
        found[:, lag] = np.clip(k, -1 + _NOTHING_LEFT, 1 - _NOTHING_LEFT)
        left *= 1 - found[:, lag] ** 2
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


def _autoregressive_noise(reflections: Array, length: int, size: int, random: np.random.Generator) -> Array:
    """Return stationary series of unit variance from partial autocorrelations, near a unit root as well.

    The first values follow from the predictions of order 0, 1, ..., which Levinson's recursion gives without
    a system of equations that could be singular.
    """
    drawn = random.standard_normal((size, length))
    order = len(reflections)
    left, a = 1.0, np.zeros(0)
    for place in range(min(order, length)):
        drawn[:, place] = math.sqrt(left) * drawn[:, place] + drawn[:, :place] @ a[::-1]
        k = reflections[place]
        a = np.concatenate([a - k * a[::-1], [k]])
        left *= 1 - k**2
    if order == 0 or length <= order:
        return drawn
    # The memory of the filter (transposed direct form) that the first values leave behind.
    past = drawn[:, order - 1 :: -1]
    state = np.stack([past[:, : order - m] @ a[m:] for m in range(order)], axis=-1)
    push = math.sqrt(left) * drawn[:, order:]
    drawn[:, order:] = lfilter([1.0], np.concatenate([[1.0], -a]), push, zi=state)[0]
    return drawn


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
    ridge = _RIDGE * np.trace(square) / len(square) + 1e-300  # also where all curves are one
    return np.asarray(square + ridge * np.eye(len(square)))


def _discriminant(short: Array, scaling: Array) -> Array:
    """Return the direction that best tells two clouds of curves apart, towards the second."""
    within = _ridged(np.cov(short, rowvar=False) + np.cov(scaling, rowvar=False))
    return np.asarray(np.linalg.solve(within, scaling.mean(axis=0) - short.mean(axis=0)))


@dataclass(frozen=True)
class RelaxationTest(Result):
    """Whether a sum of a few leaky integrators explains a spectrum as scaling does.

    Parameters
    ----------
    times : array of shape (k,)
        Relaxation times in steps, of the fewest (two to four) that are not excluded; of four where all are.
    shares : array of shape (k,)
        Part of each in the variance of the sum.
    gain : float
        Log likelihood of these relaxation times less that of a scaling spectrum; NaN without a test.
    p : array of shape (k - 1,)
        For two, three, ... of them: share of simulated sums that look at least as much like scaling.
    p_scaling : float
        Share of simulated scaling spectra that look at least as much like these relaxation times.
    copies : int
        Simulated spectra behind each share.
    """

    times: Array
    shares: Array
    gain: float
    p: Array
    p_scaling: float
    copies: int

    @property
    def excluded(self) -> bool:
        """Whether two, three and four relaxation times are all excluded."""
        return len(self.p) == len(_NUMBERS) and bool((self.p <= EXCLUDED).all())


def relaxation_test(
    x: ArrayLike, *, highest: float = HIGHEST, copies: int = _SPECTRA, seed: int = 0
) -> RelaxationTest:
    r"""Return how few relaxation times explain the spectrum of a series as well as scaling does.

    Parameters
    ----------
    x : array of shape (time,)
        The series, in any unit.
    highest : float
        Highest frequency that is compared, in cycles a step.
    copies : int
        Simulated spectra for each number of relaxation times.
    seed : int
        Of the simulation.

    Notes
    -----
    The spectra

    .. math::

        S(f) = \sum_{i=1}^{k} w_i \frac{1 - \phi_i^2}{|1 - \phi_i e^{2\pi i f}|^2}, \quad
        \phi_i = e^{-1/\tau_i}, \quad w_i \ge 0, \qquad
        S(f) = c\, (2 \sin \pi f)^{-\beta}

    are both fitted to the periodogram I by Whittle's likelihood, :math:`-\sum_f (\ln S + I/S)`. The first
    eight frequencies stand for themselves, the others in 16 bins a decade. The difference of the two log
    likelihoods is compared with that of spectra drawn from the fitted relaxation times, exponentially
    distributed at each frequency, to which both are fitted again. So few relaxation times are excluded where
    fewer than one in 40 of such spectra look so much like scaling. Two of them are tried first, then three
    and four, until they are not excluded.

    How many can be excluded depends on the length alone. The expected difference for fractional Gaussian
    noise with H = 0.9 below f = 0.1 is 2.1 for two, 0.14 for three and 0.01 for four relaxation times at
    N = 4000. No test of level 2.5 % whatever then excludes two in more than 53 %, three in more than 8 % and
    four in more than 3 % of such series. At N = 65536 it is 63, 7.5 and 1.1, at a million values 1256, 174
    and 31: "1/f" and a few relaxation times can only be told apart by more than some 200,000 values.

    Fails: the spectrum is that of a Gaussian series; spectra steeper than ``f^-2`` leak. Cost: independent of
    the length but for one FFT, 0.05 to 0.2 s a number of relaxation times.

    Raises
    ------
    InputError
        If x is not one usable series.

    Examples
    --------
    >>> found = relaxation_test(fractional_gaussian_noise(0.9, 4000, seed=1))
    >>> found.excluded
    False
    """
    series, reason = standardised(x)
    if series.ndim != 1:
        raise InputError(f"x has shape {series.shape}.", "Test one series at a time, of shape (time,).")
    if reason[()]:
        raise InputError(f"There is nothing to fit: {reason[()]}.", "Leave this series out.")
    nothing = np.zeros(0)
    bins = _Bins.of(len(series), highest)
    if bins is None:
        return RelaxationTest(nothing, nothing, math.nan, nothing, math.nan, copies)
    measured = bins.averaged(np.abs(np.fft.rfft(series)) ** 2 / len(series))[None]
    scaling, power_law = _scaling(bins, measured)
    random = np.random.default_rng(seed)
    shares: list[float] = []
    for number in _NUMBERS:
        likelihood, times, weights = _relaxations(bins, measured, number)
        gain = float(likelihood[0] - scaling[0])
        spectrum = weights[0] @ bins.of_points(_lorentzian(bins, times)[0])[0]
        simulated = _gains(bins, spectrum, number, copies, random)
        shares.append((1 + int((simulated <= gain).sum())) / (copies + 1))
        if shares[-1] > EXCLUDED:
            break
    simulated = _gains(bins, power_law[0], number, copies, random)
    order = np.argsort(times[0])
    kept = weights[0][order] / weights[0].sum()
    p_scaling = (1 + int((simulated >= gain).sum())) / (copies + 1)
    return RelaxationTest(times[0][order], kept, gain, np.array(shares), p_scaling, copies)


def _gains(bins: _Bins, spectrum: Array, number: int, copies: int, random: np.random.Generator) -> Array:
    """Return what relaxation times gain over scaling on copies of a spectrum, each fitted anew."""
    drawn = spectrum * random.gamma(bins.count, size=(copies, len(spectrum))) / bins.count
    return np.asarray(_relaxations(bins, drawn, number)[0] - _scaling(bins, drawn)[0])


@dataclass(frozen=True)
class _Bins:
    """Fourier frequencies in bins that widen with the frequency, and points at which spectra are averaged."""

    length: int
    edges: NDArray[np.int64]  # of the bins, as numbers of frequencies
    points: Array  # (points,), frequencies
    share: Array  # (points,), of a bin
    first: NDArray[np.int64]  # the first point of each bin

    @classmethod
    def of(cls, length: int, highest: float) -> _Bins | None:
        """Return the bins of a series, or None where there are too few frequencies."""
        last = min(int(highest * length), (length - 1) // 2)
        if last < _FEWEST_BINS:
            return None
        wide = np.geomspace(_SINGLE, last + 1, max(2, round(_A_DECADE * math.log10((last + 1) / _SINGLE))))
        edges = np.unique(np.concatenate([np.arange(1, _SINGLE), np.rint(wide)])).astype(np.int64)
        count = np.minimum(np.diff(edges), _POINTS)
        inside = [
            start - 0.5 + (np.arange(points) + 0.5) * width / points
            for start, width, points in zip(edges[:-1], np.diff(edges), count, strict=True)
        ]
        first = np.cumsum(count) - count
        return cls(length, edges, np.concatenate(inside) / length, np.repeat(1 / count, count), first)

    @property
    def count(self) -> Array:
        """Frequencies in each bin."""
        return np.diff(self.edges).astype(np.float64)

    def averaged(self, periodogram: Array) -> Array:
        """Return the mean over each bin of what is given at frequencies 0, 1/N, 2/N, ..."""
        return np.asarray(np.add.reduceat(periodogram[: self.edges[-1]], self.edges[:-1]) / self.count)

    def of_points(self, spectrum: Array) -> Array:
        """Return the mean over each bin of what is given at the points."""
        return np.asarray(np.add.reduceat(spectrum * self.share, self.first, axis=-1))


def _scaling(bins: _Bins, measured: Array) -> tuple[Array, Array]:
    """Return the largest log likelihood of a scaling spectrum, by a grid of beta, and about that spectrum."""
    spectra = bins.of_points((2 * np.sin(np.pi * bins.points)) ** -_EXPONENTS[:, None])
    total = bins.count.sum()
    height = (measured * bins.count) @ (1 / spectra).T / total
    likelihood = -np.log(spectra) @ bins.count - total * (np.log(height) + 1)
    # The top of the parabola through the largest value and its neighbours.
    place = np.clip(likelihood.argmax(axis=1), 1, len(_EXPONENTS) - 2)
    rows = np.arange(len(measured))
    before, here, after = (likelihood[rows, place + step] for step in (-1, 0, 1))
    bend = np.minimum(before - 2 * here + after, -1e-300)
    shift = np.clip((before - after) / (2 * bend), -1, 1)
    top = here + shift * (after - before) / 2 + shift**2 * bend / 2
    return top, spectra[place] * height[rows, place][:, None]


def _lorentzian(bins: _Bins, times: Array) -> tuple[Array, Array]:
    """Return spectra of leaky integrators at the points, and their derivatives by ``ln times``."""
    tau = times[..., None]
    phi = np.exp(-1 / tau)
    wave = 4 * np.sin(np.pi * bins.points) ** 2
    above, below = -np.expm1(-2 / tau), np.expm1(-1 / tau) ** 2 + phi * wave
    slope = (-2 * phi * below - above * (-2 * (1 - phi) + wave)) / below**2 * phi / tau
    return above / below, slope


def _relaxations(bins: _Bins, measured: Array, number: int) -> tuple[Array, Array, Array]:
    """Return log likelihood, relaxation times and weights of the sums most like measured spectra.

    Fisher's scoring in ``ln tau`` and ``ln w``, damped as Levenberg and Marquardt do, for all spectra at once
    and from three starts. Shapes: `measured` (batch, bins); the results (batch,) and (batch, number).
    """
    slowest = float(bins.length)
    starts = [(0.5, slowest / 4), (0.5, slowest / 30), (3.0, slowest / 4)]
    best = np.full(len(measured), -np.inf)
    times, weights = np.zeros((2, len(measured), number))
    for fastest, longest in starts:
        spread = np.log(np.geomspace(fastest, longest, number + 2)[1:-1])
        likelihood, log_times, log_weights = _scored(bins, measured, spread)
        better = likelihood > best
        best = np.where(better, likelihood, best)
        times = np.where(better[:, None], np.exp(log_times), times)
        weights = np.where(better[:, None], np.exp(log_weights), weights)
    return best, times, weights


def _scored(bins: _Bins, measured: Array, start: Array) -> tuple[Array, Array, Array]:
    batch, number = len(measured), len(start)
    typical = np.log(measured.mean(axis=1))[:, None]
    place = np.concatenate([np.tile(start, (batch, 1)), np.tile(typical - math.log(number), number)], axis=1)
    low = np.concatenate(
        [np.full((batch, number), math.log(_FASTEST)), np.tile(typical - 15, number)], axis=1
    )
    high = np.concatenate(
        [np.full((batch, number), math.log(bins.length)), np.tile(typical + 30, number)], axis=1
    )
    count = bins.count

    def model(at: Array) -> tuple[Array, Array, Array]:
        spectra, slopes = _lorentzian(bins, np.exp(at[:, :number]))
        weight = np.exp(at[:, number:])[..., None]
        parts = weight * bins.of_points(spectra)
        total = parts.sum(axis=1)
        likelihood = -(count * (np.log(total) + measured / total)).sum(axis=1)
        return likelihood, total, np.concatenate([weight * bins.of_points(slopes), parts], axis=1)

    likelihood, total, gradient = model(place)
    damping = np.full(batch, 0.1)
    for _ in range(_STEPS_OF_FIT):
        relative = gradient / total[:, None]
        pull = (relative * (count * (measured / total - 1))[:, None]).sum(axis=-1)
        information = (relative * count) @ relative.transpose(0, 2, 1)
        diagonal = np.einsum("nii->ni", information)
        diagonal += damping[:, None] * (diagonal + 1e-3)
        step = np.clip(np.linalg.solve(information, pull[..., None])[..., 0], -1.5, 1.5)
        tried = np.clip(place + step, low, high)
        there, there_total, there_gradient = model(tried)
        better = there > likelihood
        place = np.where(better[:, None], tried, place)
        total = np.where(better[:, None], there_total, total)
        gradient = np.where(better[:, None, None], there_gradient, gradient)
        likelihood = np.where(better, there, likelihood)
        damping = np.clip(np.where(better, 0.4, 4.0) * damping, 1e-6, 1e6)
    return likelihood, place[:, :number], place[:, number:]
