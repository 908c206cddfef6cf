"""The exponent beta of a spectrum ``f^-beta`` by Welch's method, by multitaper and by local Whittle."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.signal import welch as welch_periodogram
from scipy.signal.windows import dpss
from scipy.special import polygamma

from phasescope.errors import InputError
from phasescope.estimate import Estimate

Array = NDArray[np.float64]

HIGHEST = 0.1  # cycles a step: above it a noise that scales at long times need not scale
_FEWEST = 5
_HANN_OVERLAP = 1 / 36  # squared correlation of Hann segments that overlap by half
_HANN_BINS = (1.0, 4 / 9, 1 / 36)  # squared correlation of its bins 0, 1 and 2 apart
_STEEPEST = 8.0


@dataclass(frozen=True)
class SpectralExponent:
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
    tapers = dpss(length, bandwidth, tapers_wanted)
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
