"""Gaussian noises with a known memory: fractional, autoregressive, ARFIMA and coloured."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cholesky, toeplitz
from scipy.signal import lfilter

from phasescope.errors import InputError
from phasescope.noise.autocovariance import (
    arfima_autocovariance,
    autoregressive_autocovariance,
    autoregressive_coefficients,
    fractional_autocovariance,
    innovation_variance,
)

Seed = int | np.random.Generator
Size = int | tuple[int, ...]
_PERIODS = 4  # a slice of a longer period, so that its ends know nothing of each other


def fractional_gaussian_noise(
    hurst: float, length: int, *, size: Size = (), seed: Seed
) -> NDArray[np.float64]:
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
    lags = np.arange(_checked_length(length) + 1)
    return _embedded(fractional_autocovariance(hurst, lags), _shape(size), seed)


def arfima(d: float, length: int, *, size: Size = (), seed: Seed) -> NDArray[np.float64]:
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
    lags = np.arange(_checked_length(length) + 1)
    return _embedded(arfima_autocovariance(d, lags), _shape(size), seed)


def autoregressive(
    coefficients: ArrayLike, length: int, *, size: Size = (), seed: Seed
) -> NDArray[np.float64]:
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
    a = autoregressive_coefficients(coefficients)
    shape = (*_shape(size), _checked_length(length))
    drawn = np.random.default_rng(seed).standard_normal(shape)
    p = len(a)
    if p == 0:
        return drawn
    root = cholesky(toeplitz(autoregressive_autocovariance(a, np.arange(p))), lower=True)
    head = min(p, length)
    drawn[..., :head] = drawn[..., :head] @ root[:head, :head].T
    if length > p:
        # The memory of the filter (transposed direct form) that the first p values leave behind.
        past = drawn[..., p - 1 :: -1]
        state = np.stack([past[..., : p - m] @ a[m:] for m in range(p)], axis=-1)
        push = math.sqrt(innovation_variance(a)) * drawn[..., p:]
        drawn[..., p:] = lfilter([1.0], np.concatenate([[1.0], -a]), push, zi=state)[0]
    return drawn


def coloured_noise(beta: float, length: int, *, size: Size = (), seed: Seed) -> NDArray[np.float64]:
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
    return _filtered(root, period, _shape(size), seed)[..., :length]


def _embedded(autocovariance: NDArray[np.float64], shape: tuple[int, ...], seed: Seed) -> NDArray[np.float64]:
    """Return series with the autocovariance at lags 0 to their length."""
    length = len(autocovariance) - 1
    circle = np.concatenate([autocovariance, autocovariance[-2:0:-1]])
    eigenvalues = np.fft.rfft(circle).real
    return _filtered(np.sqrt(np.maximum(eigenvalues, 0.0)), 2 * length, shape, seed)[..., :length]


def _filtered(
    root: NDArray[np.float64], period: int, shape: tuple[int, ...], seed: Seed
) -> NDArray[np.float64]:
    white = np.random.default_rng(seed).standard_normal((*shape, period))
    return np.fft.irfft(root * np.fft.rfft(white), n=period)


def _shape(size: Size) -> tuple[int, ...]:
    return (size,) if isinstance(size, int) else tuple(size)


def _checked_length(length: int) -> int:
    if length < 1:
        raise InputError(f"A series of length {length} has no values.", "Give a length of at least 1.")
    return length
