"""Gaussian noises whose memory is known, their autocovariances, and surrogates of a measured series."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cholesky, toeplitz
from scipy.signal import lfilter, lfiltic

from phasescope.errors import InputError

Array = NDArray[np.float64]
Seed = int | np.random.Generator
Size = int | tuple[int, ...]
_PERIODS = 4  # a slice of a longer period, so that its ends know nothing of each other


def fractional_autocovariance(hurst: float, lags: ArrayLike) -> Array:
    """Return ``(|k+1|^2H - 2|k|^2H + |k-1|^2H)/2``, the autocovariance of fractional Gaussian noise.

    Parameters
    ----------
    hurst : float
        H between 0 and 1; 1/2 is white noise.
    lags : array of int
        Lags k.

    Raises
    ------
    InputError
        If H is not between 0 and 1.
    """
    if not 0 < hurst < 1:
        raise InputError(
            f"hurst = {hurst} is not between 0 and 1.",
            "A walk with alpha above 1 is the running sum of a noise with alpha - 1.",
        )
    k = np.abs(np.asarray(lags, dtype=np.float64))
    far = np.maximum(k, 2.0)
    # The second difference of k^2H, written so that it keeps its digits at lags of millions.
    ratio = np.expm1(2 * hurst * np.log1p(1 / far)) + np.expm1(2 * hurst * np.log1p(-1 / far))
    near = np.where(k == 0, 1.0, 2 ** (2 * hurst - 1) - 1)
    return np.asarray(np.where(k < 2, near, far ** (2 * hurst) * ratio / 2))


def fractional_gaussian_noise(hurst: float, length: int, *, size: Size = (), seed: Seed) -> Array:
    """Return independent series of fractional Gaussian noise, zero mean and unit variance.

    Parameters
    ----------
    hurst : float
        H between 0 and 1; the spectrum goes as ``f^-(2H - 1)`` at low frequency, and DFA measures alpha = H.
    length : int
        Values of a series.
    size : int or tuple of int
        How many series, as leading dimensions.
    seed : int or numpy.random.Generator
        Decides the values.

    Notes
    -----
    White noise times the root of the circulant matrix that holds the autocovariance; all its eigenvalues are
    positive, so the covariance of the values is exact. Cost: two FFTs of twice the length a series
    (Davies and Harte, Biometrika 74, 95 (1987)). An `InputError` tells an exponent or a length of no use.
    """
    return _embedded(fractional_autocovariance, hurst, length, size, seed)


def arfima_autocovariance(d: float, lags: ArrayLike) -> Array:
    """Return ``prod_(j=1..k) (j-1+d)/(j-d)``, the autocovariance of ARFIMA(0, d, 0).

    Parameters
    ----------
    d : float
        Between -1/2 and 1/2.
    lags : array of int
        Lags k.

    Raises
    ------
    InputError
        If d is out of that range.
    """
    if not -0.5 < d < 0.5:
        raise InputError(f"d = {d} is not between -0.5 and 0.5.", "Only there is ARFIMA(0, d, 0) stationary.")
    k = np.abs(np.asarray(lags, dtype=np.int64))
    j = np.arange(1, k.max(initial=0) + 1)
    return np.asarray(np.concatenate([[1.0], np.cumprod((j - 1 + d) / (j - d))])[k])


def arfima(d: float, length: int, *, size: Size = (), seed: Seed) -> Array:
    """Return independent series of ARFIMA(0, d, 0), fractionally integrated noise, of unit variance.

    Parameters
    ----------
    d : float
        Between -1/2 and 1/2; the spectrum is ``(2 sin(pi f))^-2d``, H = d + 1/2.
    length : int
        Values of a series.
    size : int or tuple of int
        How many series, as leading dimensions.
    seed : int or numpy.random.Generator
        Decides the values.

    Notes
    -----
    By circulant embedding, exact, as :func:`fractional_gaussian_noise`.
    """
    return _embedded(arfima_autocovariance, d, length, size, seed)


def autoregressive_autocovariance(coefficients: ArrayLike, lags: ArrayLike) -> Array:
    """Return the autocovariance of ``x_t = sum_j a_j x_(t-j) + e_t`` at unit variance of x.

    Parameters
    ----------
    coefficients : array of shape (p,)
        ``a_1 .. a_p`` of a stationary process.
    lags : array of int
        Lags k.

    Notes
    -----
    Lags up to p solve the Yule-Walker equations; the others follow from ``r(k) = sum_j a_j r(k-j)``.
    An `InputError` tells coefficients that have no stationary process.
    """
    a = _coefficients(coefficients)
    k = np.abs(np.asarray(lags, dtype=np.int64))
    start = _yule_walker(a)
    start /= start[0]
    further = int(k.max(initial=0)) - len(a)
    if further <= 0:
        return np.asarray(start[k])
    poles = np.concatenate([[1.0], -a])
    state = lfiltic([1.0], poles, start[::-1])
    return np.asarray(np.concatenate([start, lfilter([1.0], poles, np.zeros(further), zi=state)[0]])[k])


def autoregressive(coefficients: ArrayLike, length: int, *, size: Size = (), seed: Seed) -> Array:
    """Return independent series of ``x_t = sum_j a_j x_(t-j) + e_t`` of zero mean and unit variance.

    Parameters
    ----------
    coefficients : array of shape (p,)
        ``a_1 .. a_p`` of a stationary process; none for white noise.
    length : int
        Values of a series.
    size : int or tuple of int
        How many series, as leading dimensions.
    seed : int or numpy.random.Generator
        Decides the values.

    Notes
    -----
    The first p values are drawn from their stationary joint distribution, so no start has to be dropped.
    An `InputError` tells coefficients that have no stationary process.
    """
    a = _coefficients(coefficients)
    shape = (*_shape(size), _checked_length(length))
    drawn = np.random.default_rng(seed).standard_normal(shape)
    p = len(a)
    if p == 0:
        return drawn
    start = _yule_walker(a)
    root = cholesky(toeplitz(start[:p] / start[0]), lower=True)
    head = min(p, length)
    drawn[..., :head] = drawn[..., :head] @ root[:head, :head].T
    if length > p:
        # The memory of the filter (transposed direct form) that the first p values leave behind.
        past = drawn[..., p - 1 :: -1]
        state = np.stack([past[..., : p - m] @ a[m:] for m in range(p)], axis=-1)
        push = math.sqrt(1 / start[0]) * drawn[..., p:]
        drawn[..., p:] = lfilter([1.0], np.concatenate([[1.0], -a]), push, zi=state)[0]
    return drawn


def coloured_noise(beta: float, length: int, *, size: Size = (), seed: Seed) -> Array:
    """Return independent series with spectrum ``f^-beta``, cut from a four times longer period.

    Parameters
    ----------
    beta : float
        Exponent: 0 white, 1 pink, 2 brown.
    length : int
        Values of a series.
    size : int or tuple of int
        How many series, as leading dimensions.
    seed : int or numpy.random.Generator
        Decides the values.

    Returns
    -------
    array of shape (..., length)
        Zero mean and unit variance over the whole period; from beta = 1 on, most of that is slower than one
        series.

    Raises
    ------
    InputError
        If beta is not a finite number.
    """
    if not math.isfinite(beta):
        raise InputError(f"beta = {beta} is not finite.", "Give an exponent such as 1.0.")
    period = _PERIODS * _checked_length(length)
    frequency = np.fft.rfftfreq(period)
    root = np.zeros(len(frequency))
    root[1:] = (frequency[1:] / frequency[1]) ** (-beta / 2)
    twice = np.full(len(frequency), 2.0)
    twice[-1] = 1.0
    root /= math.sqrt(float(twice @ root**2) / period)
    return _filtered(root, period, size, seed)[..., :length]


def shuffled(x: ArrayLike, *, copies: int = 1, seed: Seed) -> Array:
    """Return copies with the values of each series in random order: white, of the same distribution.

    Parameters
    ----------
    x : array of shape (..., time)
        Series.
    copies : int
        How many of each.
    seed : int or numpy.random.Generator
        Decides the order.

    Returns
    -------
    array of shape (copies, ..., time)
    """
    series = np.asarray(x, dtype=np.float64)
    repeated = np.broadcast_to(series, (copies, *series.shape))
    return np.random.default_rng(seed).permuted(repeated, axis=-1)


def phase_randomised(x: ArrayLike, *, copies: int = 1, seed: Seed) -> Array:
    """Return copies with the spectrum of each series and random phases: linear, Gaussian where long.

    Parameters
    ----------
    x : array of shape (..., time)
        Series.
    copies : int
        How many of each.
    seed : int or numpy.random.Generator
        Decides the phases.

    Returns
    -------
    array of shape (copies, ..., time)
        With the mean and the periodogram of the series. They tell whether an exponent needs more than the
        spectrum; they say nothing on what the spectrum is.
    """
    series = np.asarray(x, dtype=np.float64)
    length = series.shape[-1]
    amplitude = np.fft.rfft(series)
    phase = np.random.default_rng(seed).uniform(0, 2 * np.pi, (copies, *amplitude.shape))
    phase[..., 0] = 0.0  # the mean, and the highest frequency of an even length, stay real
    if length % 2 == 0:
        phase[..., -1] = 0.0
    return np.fft.irfft(amplitude * np.exp(1j * phase), n=length)


def _coefficients(coefficients: ArrayLike) -> Array:
    """Return ``a_1 .. a_p`` if they have a stationary process: all roots lie inside the unit circle."""
    a = np.atleast_1d(np.asarray(coefficients, dtype=np.float64))
    if a.ndim != 1 or not np.isfinite(a).all():
        raise InputError(
            f"The coefficients {coefficients!r} are not a list of finite numbers.", "Give a_1 to a_p."
        )
    largest = largest_root(a)
    if largest >= 1:
        raise InputError(
            f"The coefficients {a.tolist()} have no stationary process (root of size {largest:.4g}).",
            "All roots must lie inside the unit circle; one coefficient must lie between -1 and 1.",
        )
    return a


def largest_root(a: Array) -> float:
    """Return the size of the largest root of ``z^p - sum_j a_j z^(p-j)``; 0 without coefficients."""
    return float(np.abs(np.roots(np.concatenate([[1.0], -a]))).max(initial=0.0))


def _yule_walker(a: Array) -> Array:
    """Return the autocovariance at lags 0 to p for innovations of unit variance, from Yule and Walker."""
    p = len(a)
    equations = np.eye(p + 1)
    for lag in range(p + 1):
        for j in range(1, p + 1):
            equations[lag, abs(lag - j)] -= a[j - 1]
    return np.asarray(np.linalg.solve(equations, np.eye(p + 1)[0]))


def _embedded(
    autocovariance: Callable[[float, ArrayLike], Array], parameter: float, length: int, size: Size, seed: Seed
) -> Array:
    """Return series with the autocovariance at lags 0 to their length."""
    root = _root(autocovariance, parameter, _checked_length(length))
    return _filtered(root, 2 * length, size, seed)[..., :length]


@lru_cache(maxsize=1)  # who draws a few series at a time needs it again
def _root(autocovariance: Callable[[float, ArrayLike], Array], parameter: float, length: int) -> Array:
    found = autocovariance(parameter, np.arange(length + 1))
    eigenvalues = np.fft.rfft(np.concatenate([found, found[-2:0:-1]])).real
    return np.asarray(np.sqrt(np.maximum(eigenvalues, 0.0)))


def _filtered(root: Array, period: int, size: Size, seed: Seed) -> Array:
    """Return periods of white noise whose Fourier coefficients are multiplied by `root`."""
    white = np.random.default_rng(seed).standard_normal((*_shape(size), period))
    spectrum = np.fft.rfft(white)
    del white
    spectrum *= root
    return np.fft.irfft(spectrum, n=period)


def _shape(size: Size) -> tuple[int, ...]:
    return (size,) if isinstance(size, int) else tuple(size)


def _checked_length(length: int) -> int:
    if length < 1:
        raise InputError(f"A series of length {length} has no values.", "Give a length of at least 1.")
    return length
