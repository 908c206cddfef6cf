"""Exact expectations of the fluctuation function from an autocovariance."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phasescope.errors import InputError
from phasescope.noise.fluctuation import polynomial_basis
from phasescope.noise.windows import checked_order, checked_windows

Array = NDArray[np.float64]


def expected_fluctuation(autocovariance: ArrayLike, windows: ArrayLike, order: int = 1) -> Array:
    """Return the exact ``F(n) = sqrt(E F^2(n))`` of a stationary process, shape (..., windows).

    Parameters
    ----------
    autocovariance : array of shape (..., lags)
        ``r(0), r(1), ...`` in squared units of x, at least as many as the longest window.
    windows : array of int
        Lengths n, at least order + 2; the result follows them sorted, each once.
    order : int
        Degree of the polynomials, 1, 2 or 3.

    Raises
    ------
    InputError
        If there are fewer lags than the longest window needs, or they are not finite real numbers.

    Notes
    -----
    ``E F^2(n) = tr[(1 - P) L R L^T]/n`` with R the autocovariance matrix of n values, L their running sums
    and P the projection on polynomials. The trace is a weighted sum of the autocovariance; as its weights sum
    to zero, it takes the differences ``r(k) - r(n - 1)``, which keeps the digits of long memories. No other
    property of the process enters. Fails: processes that are not stationary have no such R. Cost: one FFT of
    two to four times n a window and degree. Source: derived here; for order 1 compare Hoell and Kantz, Eur.
    Phys. J. B 88, 126 (2015).

    Examples
    --------
    >>> white = [1.0] + [0.0] * 99
    >>> print(expected_fluctuation(white, [10, 100]) ** 2)        # (n^2 - 4)/(15 n)
    [0.64  6.664]
    """
    order = checked_order(order)
    lengths = checked_windows(windows, None, order)
    given = np.asarray(autocovariance)
    if given.ndim == 0 or given.dtype.kind not in "iuf" or not np.isfinite(given).all():
        raise InputError(
            "The autocovariance is not a list of finite real numbers.", "Give r(0), r(1), ... as floats."
        )
    if given.shape[-1] < lengths[-1]:
        raise InputError(
            f"{given.shape[-1]} lags of the autocovariance do not reach across {lengths[-1]} values.",
            f"Give at least {lengths[-1]}; pad with zeros where it has died out.",
        )
    r = given.astype(np.float64)
    squares = [(r[..., :n] - r[..., n - 1 : n]) @ lag_weights(n, order) for n in lengths.tolist()]
    return np.asarray(np.sqrt(np.maximum(np.stack(squares, axis=-1), 0.0)))


def lag_weights(window: int, order: int) -> Array:
    """Return the weights w with ``E F^2(n) = sum_k w_k r(k)``; they sum to zero."""
    left = window - np.arange(window)
    # Diagonal sums of L^T (1 - P_0) L, whose entries are a (n - b)/n for a <= b, as of a Brownian bridge.
    summed = left * (left**2 - 1.0) / (6 * window)
    basis = polynomial_basis(window, order)[:, 1:]
    ahead = np.cumsum(basis[::-1], axis=0)[::-1]
    period = 2 ** (2 * window - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(ahead, n=period, axis=0)) ** 2
    summed -= np.fft.irfft(spectrum.sum(axis=1), n=period)[:window]
    summed[1:] *= 2
    return np.asarray(summed / window)


def white_noise_correction(windows: NDArray[np.int64], order: int) -> Array:
    """Return F(n) of white noise over its asymptote ``~ sqrt(n)``: ``sqrt(1 - (order + 1)^2/n^2)``."""
    return np.asarray(np.sqrt(1 - ((order + 1) / windows) ** 2))
