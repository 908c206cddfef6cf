"""Series that share one thing with a measured one and nothing else: its values, or its spectrum."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phasescope.noise.generators import Seed


def shuffled(x: ArrayLike, *, copies: int = 1, seed: Seed) -> NDArray[np.float64]:
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


def phase_randomised(x: ArrayLike, *, copies: int = 1, seed: Seed) -> NDArray[np.float64]:
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
