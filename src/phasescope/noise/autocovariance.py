"""Autocovariances of known processes, normalised to unit variance."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.signal import lfilter, lfiltic

from phasescope.errors import InputError


def fractional_autocovariance(hurst: float, lags: ArrayLike) -> NDArray[np.float64]:
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


def arfima_autocovariance(d: float, lags: ArrayLike) -> NDArray[np.float64]:
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


def autoregressive_autocovariance(coefficients: ArrayLike, lags: ArrayLike) -> NDArray[np.float64]:
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
    a = autoregressive_coefficients(coefficients)
    k = np.abs(np.asarray(lags, dtype=np.int64))
    start = _start(a)
    start = start / start[0]
    further = int(k.max(initial=0)) - len(a)
    if further <= 0:
        return np.asarray(start[k])
    poles = np.concatenate([[1.0], -a])
    state = lfiltic([1.0], poles, start[::-1])
    return np.asarray(np.concatenate([start, lfilter([1.0], poles, np.zeros(further), zi=state)[0]])[k])


def innovation_variance(coefficients: ArrayLike) -> float:
    """Return the variance of ``e_t`` at which the process has unit variance.

    Shapes: `coefficients` (p,).
    """
    return float(1 / _start(autoregressive_coefficients(coefficients))[0])


def autoregressive_coefficients(coefficients: ArrayLike) -> NDArray[np.float64]:
    """Return the coefficients as floats, if a stationary process has them.

    Shapes: `coefficients` (p,).
    """
    a = np.atleast_1d(np.asarray(coefficients, dtype=np.float64))
    if a.ndim != 1 or not np.isfinite(a).all():
        raise InputError(
            f"The coefficients {coefficients!r} are not a list of finite numbers.", "Give a_1 to a_p."
        )
    largest = np.abs(np.roots(np.concatenate([[1.0], -a]))).max(initial=0.0)
    if largest >= 1:
        raise InputError(
            f"The coefficients {a.tolist()} have no stationary process (root of size {largest:.4g}).",
            "All roots must lie inside the unit circle; one coefficient must lie between -1 and 1.",
        )
    return a


def _start(a: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the autocovariance at lags 0 to p for innovations of unit variance."""
    p = len(a)
    equations = np.eye(p + 1)
    for lag in range(p + 1):
        for j in range(1, p + 1):
            equations[lag, abs(lag - j)] -= a[j - 1]
    return np.asarray(np.linalg.solve(equations, np.eye(p + 1)[0]))
