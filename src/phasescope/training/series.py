"""A scalar series of training as its instruments take it: checked, with its rounding and its memory."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phasescope.errors import InputError

Array = NDArray[np.float64]

_ROUNDINGS = 64  # steps of the last bit that a sum over a batch may be off


def checked_series(series: ArrayLike, shortest: int) -> Array:
    """Return the series in float64 if it is one, finite and long enough."""
    given = np.asarray(series)
    if given.ndim != 1:
        raise InputError(
            f"The series has shape {given.shape}.", "Give one value a step: an array of shape (steps,)."
        )
    x = given.astype(np.float64)
    if not np.isfinite(x).all():
        step = int(np.flatnonzero(~np.isfinite(x))[0])
        raise InputError(
            f"The series is {x[step]} at step {step}: it diverged.", f"Pass the part before step {step}."
        )
    if len(x) < shortest:
        raise InputError(f"The series has {len(x)} steps.", f"Give at least {shortest}.")
    return x


def rounding(series: ArrayLike) -> float:
    """Return the difference below which values are equal: 64 roundings of the largest, in their own dtype."""
    given = np.asarray(series)
    kind = given.dtype if given.dtype.kind == "f" else np.dtype(np.float64)
    return _ROUNDINGS * float(np.finfo(kind).eps) * float(np.abs(given).max(initial=0.0))


def autocovariance(x: Array, lags: int) -> Array:
    """Return ``sum_t (x_t - m) (x_(t+k) - m) / N`` along the last axis, at lags 0 to `lags`."""
    n = x.shape[-1]
    centred = x - x.mean(axis=-1, keepdims=True)
    size = 2 ** math.ceil(math.log2(2 * n))
    power = np.abs(np.fft.rfft(centred, size)) ** 2
    return np.asarray(np.fft.irfft(power, size)[..., : lags + 1] / n)
