"""The exponent beta of a spectrum ``f^-beta`` by Welch, multitaper and local Whittle; lines in a spectrum."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.fft import next_fast_len
from scipy.signal import welch as welch_periodogram
from scipy.signal.windows import dpss
from scipy.special import polygamma

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.results import Result

Array = NDArray[np.float64]

HIGHEST = 0.1  # cycles a step: above it a noise that scales at long times need not scale
_FEWEST = 5
_HANN_OVERLAP = 1 / 36  # squared correlation of Hann segments that overlap by half
_HANN_BINS = (1.0, 4 / 9, 1 / 36)  # squared correlation of its bins 0, 1 and 2 apart
_STEEPEST = 8.0
PERIODIC = 0.5  # of the variance: a series whose lines carry more is periodic
_BANDWIDTH = 4.0  # bins to either side that a taper averages over
_BY_CHANCE = 1e-3  # series of noise in which a line is found
_LEAST = 0.01  # of the variance: less of it bends no fluctuation function
_MOST_LINES = 24
_MOST_PERIODS = 4  # more lines than these, and no harmonics, are a frequency that drifts
_ROUNDED = 1e-7  # of a period: the least error of a fit
_SAME = 0.02  # cycles in the whole series: lines so close are one, what is left of others moves them so far
_HARMONICS = 50  # that are taken out with a period
_SHORTEST = 64
_IDLE = 1e-8  # of the variance: what is left beside lines is the error of their fit
_HALF, _LITTLE = (
    0.8,
    0.02,
)  # a narrow band holds so much of the variance, and so little of its height beside it


@dataclass(frozen=True)
class SpectralExponent(Result):
    """Spectra of series and their exponents; every array has the shape of the batch in front.

    Parameters
    ----------
    frequency : array of shape (frequencies,)
        Cycles a step, without 0.
    power : array of shape (..., frequencies)
        Spectral density of each series divided by its standard deviation.
    beta, beta_error : array of shape (...)
        Exponent of ``f^-beta`` and its standard error; NaN where not determined.
    reason : array of str of shape (...)
        Why not determined; empty where it is.
    window : tuple of float
        Lowest and highest frequency of the fit.
    method : str
        How it was estimated.
    """

    frequency: Array = field(repr=False)
    power: Array = field(repr=False)
    beta: Array
    beta_error: Array
    reason: NDArray[np.str_]
    window: tuple[float, float]
    method: str

    def estimate(self, index: int | tuple[int, ...] = ()) -> Estimate:
        """Return beta of one series as an `Estimate`.

        Parameters
        ----------
        index : int or tuple of int
            Which series of the batch.
        """
        if self.reason[index]:
            return Estimate.not_determined(str(self.reason[index]), method=self.method)
        return Estimate(
            float(self.beta[index]), float(self.beta_error[index]), self.method, 1, window=self.window
        )


def welch(
    x: ArrayLike, *, segment: int | None = None, frequencies: tuple[float, float] | None = None
) -> SpectralExponent:
    """Return beta from Hann-windowed segments that overlap by half: a straight line through ``ln P``.

    Parameters
    ----------
    x : array of shape (..., time)
        Series; each is centred and scaled first.
    segment : int, optional
        Values a segment; a quarter of the series by default.
    frequencies : tuple of float, optional
        Lowest and highest frequency of the fit in cycles a step; two bins of a segment to 0.1 by default.

    Notes
    -----
    The variance of ``ln P`` is the trigamma function of half the degrees of freedom (Welch, IEEE Trans. Audio
    Electroacoust. 15, 70 (1967)), and neighbouring bins are counted as correlated as the window makes them.
    Spectra steeper than ``f^-4`` leak.

    Raises
    ------
    InputError
        If x is not real, or if the window or the segment is of no use.
    """
    series, reason = standardised(x)
    length = series.shape[-1]
    size = length // 4 if segment is None else segment
    if segment is not None and not 4 <= segment <= length:
        raise InputError(f"segment = {segment} is not between 4 and {length}.", "Leave it out for a quarter.")
    if size < 4:
        return _too_short(series, "Welch")
    frequency, power = welch_periodogram(
        series, window="hann", nperseg=size, noverlap=size // 2, detrend="constant", axis=-1
    )
    count = (length - size // 2) // (size - size // 2)
    spread = 1 + 2 * (1 - 1 / count) * _HANN_OVERLAP
    lowest, highest = _window(frequencies, 2 / size)
    correlation = polygamma(1, count / spread) * np.array(_HANN_BINS)
    return _line(frequency[1:], power[..., 1:], (lowest, highest), correlation, reason, "Welch")


def multitaper(
    x: ArrayLike, *, bandwidth: float = 4.0, frequencies: tuple[float, float] | None = None
) -> SpectralExponent:
    """Return beta from Slepian tapers over the whole series: a straight line through ``ln P``.

    Parameters
    ----------
    x : array of shape (..., time)
        Series; each is centred and scaled first.
    bandwidth : float
        Half width of the average over frequencies, in bins; ``2 bandwidth - 1`` tapers.
    frequencies : tuple of float, optional
        Lowest and highest frequency of the fit in cycles a step; one bin above the half width to 0.1 by
        default.

    Notes
    -----
    The variance of ``ln P`` is the trigamma function of the number of tapers, and bins are counted as
    correlated as the tapers make them (Thomson, Proc. IEEE 70, 1055 (1982)). It leaks least of the three.
    Cost: one FFT a taper.

    Raises
    ------
    InputError
        If x is not real, or if the bandwidth or the window is of no use.
    """
    series, reason = standardised(x)
    length = series.shape[-1]
    tapers_wanted = round(2 * bandwidth) - 1
    if tapers_wanted < 1:
        raise InputError(f"bandwidth = {bandwidth} leaves no taper.", "Use 4, or at least 1.")
    if length < 4 * bandwidth:
        return _too_short(series, "multitaper")
    tapers = _tapers(length, bandwidth, tapers_wanted)
    power = np.zeros((*series.shape[:-1], length // 2 + 1))
    for taper in tapers:
        power += 2 * np.abs(np.fft.rfft(taper * series)) ** 2 / tapers_wanted
    lowest, highest = _window(frequencies, (bandwidth + 1) / length)
    correlation = polygamma(1, tapers_wanted) * _taper_correlation(tapers, int(2 * bandwidth) + 1)
    frequency = np.asarray(np.fft.rfftfreq(length), dtype=np.float64)
    return _line(frequency[1:], power[..., 1:], (lowest, highest), correlation, reason, "multitaper")


def local_whittle(x: ArrayLike, *, frequencies: tuple[float, float] | None = None) -> SpectralExponent:
    """Return beta that maximises Whittle's likelihood of ``f^-beta`` at the lowest frequencies.

    Parameters
    ----------
    x : array of shape (..., time)
        Series; each is centred and scaled first.
    frequencies : tuple of float, optional
        Lowest and highest frequency in cycles a step; the ``N^0.65`` lowest by default.

    Notes
    -----
    Error from the information of the frequencies that were used, ``1/sqrt(sum (ln f - mean ln f)^2)``
    (Robinson, Ann. Stat. 23, 1630 (1995)). The periodogram is not tapered: beta near 2 or above reads as
    about 2, and nothing above ``N^0.65`` frequencies is seen. An `InputError` tells a window of no use.
    """
    series, reason = standardised(x)
    length = series.shape[-1]
    if length < 8:
        return _too_short(series, "local Whittle")
    frequency = np.asarray(np.fft.rfftfreq(length)[1:], dtype=np.float64)
    power = 2 * np.abs(np.fft.rfft(series)[..., 1:]) ** 2 / length
    default = int(length**0.65) / length
    window = _window(frequencies, 1 / length, default)
    inside = _inside(frequency, window)
    if inside.sum() < _FEWEST:
        return _too_short(series, "local Whittle")
    logs = np.log(frequency[inside])
    logs -= logs.mean()
    beta = _whittle_minimum(logs, power[..., inside])
    error = np.full(beta.shape, 1 / np.sqrt((logs**2).sum()))
    reason = np.where((reason == "") & np.isnan(beta), "the spectrum is steeper than any power law", reason)
    beta, error = np.where(reason == "", beta, np.nan), np.where(reason == "", error, np.nan)
    return SpectralExponent(frequency, power, beta, error, reason, window, "local Whittle")


@dataclass(frozen=True)
class Lines(Result):
    """Lines in the spectrum of a series: what is strictly periodic in it; :func:`lines` makes it.

    Parameters
    ----------
    period, period_error : array of shape (lines,)
        Steps of a cycle and their standard errors, the strongest line first.
    share : array of shape (lines,)
        Part of the variance that each line carries.
    total : float
        Part of the variance that is not left in `rest`.
    rest : array of shape (time,)
        The series without its mean, its lines and their harmonics, in the unit of x.
    band : tuple of float or None
        Shortest and longest period of a band that holds most of the variance, with next to nothing at longer
        and at shorter periods: a nearly periodic series. None where there is no such band.
    """

    period: Array
    period_error: Array
    share: Array
    total: float
    rest: Array = field(repr=False)
    band: tuple[float, float] | None

    @property
    def drifting(self) -> bool:
        """Whether there are more lines than a few periods make: the frequency changes in time."""
        return len(self.periods()) > _MOST_PERIODS

    def periods(self) -> list[Estimate]:
        """Return the periods that all lines are harmonics of: one where they are those of one period."""
        method = "lines by Thomson's F test, fitted by least squares"
        found: list[Estimate] = []
        for members, number in self._families():
            value = float((number * self.period[members]).mean())
            error = float((number * self.period_error[members]).min())
            found.append(Estimate(value, error, method, len(members)))
        return found

    def _families(self) -> list[tuple[NDArray[np.intp], Array]]:
        """Return which lines are harmonics of one period, and of which order, for each period."""
        left = np.argsort(-self.period)
        found = []
        while left.size:
            longest = float(self.period[left[0]])
            several = max((1, 2, 3, 4), key=lambda times: int(self._harmonics(left, times * longest).sum()))
            explained = self._harmonics(left, several * longest)
            members = left[explained]
            found.append((members, np.rint(several * longest / self.period[members])))
            left = left[~explained]
        return found

    def _harmonics(self, some: NDArray[np.intp], period: float) -> NDArray[np.bool_]:
        """Return which lines are harmonics of a period: within four errors, or a fiftieth of a cycle."""
        frequency, error = 1 / self.period[some], self.period_error[some] / self.period[some] ** 2
        number = np.rint(period * frequency)
        own = error[np.argmin(np.abs(frequency - 1 / period))]
        reach = 4 * (error + number * own) + _SAME / len(self.rest)
        return np.asarray((number >= 1) & (np.abs(frequency - number / period) <= reach))

    def __str__(self) -> str:
        if not len(self.share):
            return "no lines"
        return f"periods {', '.join(map(str, self.periods()))}: {100 * self.total:.3g} % of the variance"


def lines(x: ArrayLike) -> Lines:
    r"""Return the lines in the spectrum of one series: its periods, what they carry, and what else there is.

    Parameters
    ----------
    x : array of shape (time,)
        The series, in any unit.

    Notes
    -----
    Thomson's F test: with :math:`y_k(f)` the Fourier transforms of the series times K = 7 Slepian tapers,
    and :math:`H_k` those of the tapers at zero, a line of amplitude :math:`2|\mu|` stands out of whatever
    smooth spectrum where

    .. math::

        F = (K - 1)\, \frac{|\mu|^2 \sum_k H_k^2}{\sum_k |y_k - \mu H_k|^2}, \qquad
        \mu = \frac{\sum_k H_k y_k}{\sum_k H_k^2}

    is so large that one series of noise in a thousand reaches it at any frequency (Thomson, Proc. IEEE 70,
    1055 (1982)). The strongest line that carries 1 % of the variance or more is fitted by least squares and
    taken out, until there is none, 24 at most. The error of a frequency is
    :math:`\sqrt{24 S/(A^2 N^3)}/2\pi`, with A the amplitude and S the spectral density beside the line.

    Fails: a period needs five cycles in the series, and 64 values. What is periodic but drifts, as a chirp or
    a damped oscillation, is no line: `band` tells where 80 % of the variance lies in a band of frequencies
    with less than a fiftieth of its height below half and above 1.25 times its frequencies.

    Cost: seven FFTs of four times the length for each line; 0.02 s at N = 4000.

    Raises
    ------
    InputError
        If x is not one series of real numbers.

    Examples
    --------
    >>> import numpy as np
    >>> found = lines(np.arange(480) % 24)
    >>> round(found.periods()[0].value, 6), round(found.total, 6)
    (24.0, 1.0)
    """
    given = np.asarray(x)
    if given.ndim != 1:
        raise InputError(f"x has shape {given.shape}.", "Give one series, of shape (time,).")
    series, reason = standardised(given)
    length = len(series)
    rest = series.copy()
    cycles = np.zeros((0, 3))  # frequency, and the amplitudes of cosine and sine
    if reason[()] or length < _SHORTEST:
        return Lines(np.zeros(0), np.zeros(0), np.zeros(0), 0.0, rest, None)
    band = _band(series)
    while len(cycles) < _MOST_LINES:
        frequency = _strongest_line(rest)
        if not frequency:
            break
        cycles, rest = _refined(np.concatenate([cycles, [[frequency, 0.0, 0.0]]]), rest)
        if float(rest @ rest) < _IDLE * length:
            break
    share = (cycles[:, 1:] ** 2).sum(axis=1) / 2
    beside = np.array([_density(rest, frequency) for frequency in cycles[:, 0]])
    error = np.sqrt(12 * beside / (share * length**3)) / (2 * np.pi) if len(cycles) else np.zeros(0)
    order = np.argsort(-share)
    period = 1 / cycles[order, 0]
    error = np.maximum(error[order] * period**2, _ROUNDED * period)
    found = Lines(period, error, share[order], 0.0, rest, band)
    for members, number in found._families():
        if len(members) > 1:
            rest, one, off = _refined_period(rest, cycles[order[members]], number)
            found.period[members], found.period_error[members] = one / number, off / number
    left = float(rest @ rest) / length
    if left < _IDLE:
        rest, left = np.zeros(length), 0.0
    largest = float(np.abs(given.astype(np.float64)).max())
    return replace(found, total=1 - left, rest=rest * float(np.std(given / largest)) * largest)


@lru_cache(maxsize=1)  # who looks for lines looks again once they are out
def _tapers(length: int, bandwidth: float, count: int) -> Array:
    return np.asarray(dpss(length, bandwidth, count))


def _strongest_line(series: Array) -> float:
    """Return the frequency of the line of the largest amplitude that the F test shows, 0 for none."""
    length = len(series)
    tapers = _tapers(length, _BANDWIDTH, round(2 * _BANDWIDTH) - 1)
    padded = next_fast_len(4 * length, real=True)
    at_zero = tapers.sum(axis=1)
    at_zero[1::2] = 0.0
    product: NDArray[np.complex128] = np.zeros(padded // 2 + 1, dtype=np.complex128)
    energy = np.zeros(padded // 2 + 1)
    for taper, weight in zip(tapers, at_zero, strict=True):
        transform = np.fft.rfft(taper * series, n=padded)
        energy += np.abs(transform) ** 2
        product += weight * transform
    norm = float(at_zero @ at_zero)
    line = np.abs(product) ** 2 / norm
    freedom = len(tapers) - 1
    # F over the freedom; the F law with 2 and 2 m degrees has the tail (1 + F/m)^-m.
    ratio = line / np.maximum(energy - line, 1e-15 * energy + 1e-300)
    level = (_BY_CHANCE / length) ** (-1 / freedom) - 1
    frequency = np.arange(len(line)) / padded
    inside = np.abs(frequency - 0.25) <= 0.25 - (_BANDWIDTH + 1) / length
    share = np.where(inside & (ratio > level), 2 * line / norm, 0.0)
    place = int(share.argmax())
    return float(frequency[place]) if share[place] >= _LEAST else 0.0


def _refined(cycles: Array, rest: Array) -> tuple[Array, Array]:
    """Return cycles fitted to the series one after the other, and what is left of it without them.

    Gauss-Newton for each frequency on the series without the other lines, so that memory is that of a few
    columns; two rounds, as the lines hardly overlap.
    """
    time = np.arange(len(rest)) - (len(rest) - 1) / 2
    fitted = cycles.copy()
    for _ in range(2 if len(cycles) > 1 else 1):
        for place, (frequency, cosine, sine) in enumerate(fitted):
            phase = 2 * np.pi * frequency * time
            own = rest + cosine * np.cos(phase) + sine * np.sin(phase)
            for _ in range(8):
                phase = 2 * np.pi * frequency * time
                rest, cosine, sine = _without(own, frequency)
                slope, _, _ = _without(time * (sine * np.cos(phase) - cosine * np.sin(phase)), frequency)
                steep = 2 * np.pi * float(slope @ slope)
                step = float(slope @ rest) / steep if steep else 0.0
                if abs(step) * len(rest) < 1e-12:
                    break
                frequency = min(max(frequency + step, 1 / len(rest)), 0.5)
            rest, cosine, sine = _without(own, frequency)
            fitted[place] = frequency, cosine, sine
    return fitted, rest


def _refined_period(rest: Array, cycles: Array, number: Array) -> tuple[Array, float, float]:
    """Return what is left without a period and its harmonics, the period by all of them, and its error."""
    time = np.arange(len(rest)) - (len(rest) - 1) / 2
    own = rest.copy()
    for frequency, cosine, sine in cycles:
        phase = 2 * np.pi * frequency * time
        own += cosine * np.cos(phase) + sine * np.sin(phase)
    frequency = float((cycles[:, 0] * number).sum() / (number**2).sum())
    for _ in range(4):
        rest, orders = own, range(1, 1 + min(int(0.5 / frequency + 0.01), _HARMONICS))
        amplitudes = np.zeros((len(orders) + 1, 2))
        # Again and again, as harmonics that do not end with the series overlap a little.
        for order in [*orders] * 4:
            rest, *more = _without(rest, min(order * frequency, 0.5))
            amplitudes[order] += more
        slope = np.zeros(len(own))
        for order in orders:
            phase, (cosine, sine) = 2 * np.pi * order * frequency * time, amplitudes[order]
            slope += order * time * (sine * np.cos(phase) - cosine * np.sin(phase))
        steep = float(slope @ slope)
        frequency += float(slope @ rest) / (2 * np.pi * steep)
    error = math.sqrt(_density(rest, frequency) / steep) / (2 * np.pi)
    return rest, 1 / frequency, max(error / frequency**2, _ROUNDED / frequency)


def _without(series: Array, frequency: float) -> tuple[Array, float, float]:
    """Return a series without mean and cycle of a frequency, by least squares, and its cosine and sine."""
    phase = 2 * np.pi * frequency * (np.arange(len(series)) - (len(series) - 1) / 2)
    columns = np.stack([np.cos(phase), np.sin(phase), np.ones(len(series))])
    # By the pseudo-inverse: at half a cycle a step one of the columns is zero.
    amplitudes = np.linalg.pinv(columns @ columns.T, hermitian=True) @ (columns @ series)
    return series - amplitudes @ columns, float(amplitudes[0]), float(amplitudes[1])


def _density(series: Array, frequency: float) -> float:
    """Return the spectral density of a series beside a frequency, the variance a step for white noise."""
    length = len(series)
    tapers = _tapers(length, _BANDWIDTH, round(2 * _BANDWIDTH) - 1)
    # To either side, where the fit of the line has taken nothing out.
    beside = frequency + (_BANDWIDTH + 2) / length * np.array([-2.0, -1.0, 1.0, 2.0])
    waves = np.exp(-2j * np.pi * beside[:, None] * np.arange(length))
    return float(np.mean([np.abs(tapers @ (series * wave)) ** 2 for wave in waves]))


def _band(series: Array) -> tuple[float, float] | None:
    """Return shortest and longest period of a narrow band that holds most of the variance, or None."""
    length = len(series)
    tapers = _tapers(length, _BANDWIDTH, round(2 * _BANDWIDTH) - 1)
    power = np.zeros(length // 2 + 1)
    for taper in tapers:
        power += np.abs(np.fft.rfft(taper * series)) ** 2
    high = np.flatnonzero(power > 0.05 * power.max())
    first, last = int(high[0]), int(high[-1])
    around = round(_BANDWIDTH) + 1
    beyond = int(1.25 * last) + around
    if first <= 2 * around or beyond + around > len(power):
        return None
    below, above = power[around : max(first // 2, around + 1)], power[beyond:]
    quiet = max(float(below.mean()), float(above.mean())) < _LITTLE * float(power.max())
    inside = float(power[max(first - around, 0) : last + around].sum()) >= _HALF * float(power.sum())
    return (length / last, length / first) if quiet and inside else None


def _whittle_minimum(logs: Array, power: Array) -> Array:
    """Return where ``ln mean(f^beta P)`` stops to fall; it is convex in beta, so halving finds it."""
    low, high = np.full(power.shape[:-1], -_STEEPEST), np.full(power.shape[:-1], _STEEPEST)
    for _ in range(50):
        middle = (low + high) / 2
        weight = np.exp(middle[..., None] * logs) * power
        rising = (weight * logs).sum(axis=-1) > 0
        low, high = np.where(rising, low, middle), np.where(rising, middle, high)
    found = (low + high) / 2
    return np.asarray(np.where(np.abs(found) < _STEEPEST - 1e-6, found, np.nan))


def _line(
    frequency: Array,
    power: Array,
    window: tuple[float, float],
    correlation: Array,
    reason: NDArray[np.str_],
    method: str,
) -> SpectralExponent:
    """Return minus the slope of ``ln P`` on ``ln f``, neighbours correlated as given."""
    inside = _inside(frequency, window)
    if inside.sum() < _FEWEST:
        return _too_short(power, method)
    logs = np.log(frequency[inside])
    logs -= logs.mean()
    pull = -logs / (logs**2).sum()
    usable = (power[..., inside] > 0).all(axis=-1)
    reason = np.where((reason == "") & ~usable, "the spectrum vanishes inside the window", reason)
    fitted = np.log(np.where((reason == "")[..., None], power[..., inside], 1.0))
    variance = sum(
        (1 if apart == 0 else 2) * value * float(pull[: len(pull) - apart] @ pull[apart:])
        for apart, value in enumerate(correlation[: len(pull)])
    )
    beta = np.where(reason == "", fitted @ pull, np.nan)
    error = np.where(reason == "", np.sqrt(variance), np.nan)
    return SpectralExponent(frequency, power, beta, error, reason, window, method)


def _taper_correlation(tapers: Array, reach: int) -> Array:
    """Return the correlation of white-noise estimates 0 to `reach` bins apart."""
    products = np.abs(np.fft.fft(tapers[:, None] * tapers[None], axis=-1)[..., : reach + 1]) ** 2
    total = products.sum(axis=(0, 1))
    return np.asarray(total / total[0])


def standardised(x: ArrayLike) -> tuple[Array, NDArray[np.str_]]:
    """Return the series centred and scaled, those of no use as zeros, and why."""
    given = np.asarray(x)
    if given.ndim < 1 or given.dtype.kind not in "fiub":
        raise InputError(
            f"x is {given.dtype} of shape {given.shape}.", "Give real numbers with time along the last axis."
        )
    series = given.astype(np.float64)
    finite = np.asarray(np.isfinite(series).all(axis=-1))
    series = np.where(finite[..., None], series, 0.0)
    largest = np.abs(series).max(axis=-1, initial=0.0)
    series = series / np.where(largest > 0, largest, 1.0)[..., None]
    centred = series - series.mean(axis=-1, keepdims=True) if series.shape[-1] else series
    deviation = np.sqrt((centred**2).mean(axis=-1)) if series.shape[-1] else largest
    moving = deviation > 1e-13
    reason = np.where(~finite, "NaN or Inf in the series", np.where(moving, "", "the series is constant"))
    scaled = centred / np.where(moving, deviation, 1.0)[..., None]
    return np.where((reason == "")[..., None], scaled, 0.0), reason


def _window(
    given: tuple[float, float] | None, lowest: float, highest: float = HIGHEST
) -> tuple[float, float]:
    if given is None:
        return lowest, highest
    if not 0 < given[0] < given[1] <= 0.5:
        raise InputError(f"frequencies = {given} is no window.", "Give 0 < lowest < highest <= 0.5.")
    return float(given[0]), float(given[1])


def _inside(frequency: Array, window: tuple[float, float]) -> NDArray[np.bool_]:
    return np.asarray((frequency >= window[0] * (1 - 1e-9)) & (frequency <= window[1] * (1 + 1e-9)))


def _too_short(series: Array, method: str) -> SpectralExponent:
    shape = series.shape[:-1]
    nothing = np.full(shape, np.nan)
    reason = np.full(shape, f"fewer than {_FEWEST} frequencies in the window")
    return SpectralExponent(
        np.empty(0), np.empty((*shape, 0)), nothing, nothing, reason, (np.nan, np.nan), method
    )
