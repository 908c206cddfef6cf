"""The number of layers over which a quantity changes by e, where it changes exponentially at all."""

from __future__ import annotations

import math

import numpy as np

from phasescope.estimate import Estimate

_FEW = 4  # points for a rate with an error
MANY = 8
"""Number of rates from which the first half, in which the kernel settles, is left out."""

_SMALL = math.log(10.0)  # change over the layers measured up to which nothing is said to have changed
_SLOWING = 0.6  # share of the early rate below which the late one speaks for a power law
_ROUNDING = 1e-12  # distance below which single precision decides


def decay_depth(depth: np.ndarray, distance: np.ndarray, what: str) -> Estimate:
    """Return the depth scale ``xi`` of ``distance ~ exp(-depth / xi)``, in layers.

    The rate is the mean change of the logarithm per layer, over the second half of the layers where there are
    8 or more.

    Notes
    -----
    Not determined where the distance changes by less than a factor 10 over the layers measured, or decays
    ever more slowly, as a power of the depth does on the critical line: then it survives all the layers
    there are.

    Shapes: `depth` (layers,), `distance` (layers,).
    """
    keep = np.isfinite(distance) & (distance > _ROUNDING)
    return _scale(depth[keep], distance[keep], what, only_decay=True)


def growth_depth(depth: np.ndarray, values: np.ndarray, what: str) -> Estimate:
    """Return the depth scale ``xi`` of ``values ~ exp(+-depth / xi)``; see ``decay_depth``.

    Shapes: `depth` and `values` (layers,).
    """
    keep = np.isfinite(values) & (values > 0)
    return _scale(depth[keep], values[keep], what, only_decay=False)


def error_of_mean(series: np.ndarray) -> float:
    """Return the standard error of the mean over successive layers (Newey and West, two lags).

    In residual blocks the layers of a branch alternate around the stream, and alternation averages out
    faster than independent scatter does.

    Shapes: `series` (layers,).
    """
    n = len(series)
    if n < 2:
        return 0.0
    x = series - series.mean()
    lags = (2 / 3, 1 / 3) if n >= 6 else ()
    variance = float((x**2).sum())
    variance += 2 * sum(w * float((x[lag:] * x[:-lag]).sum()) for lag, w in enumerate(lags, start=1))
    return math.sqrt(max(variance, 0.0) / (n - 1) / n)


def _scale(depth: np.ndarray, values: np.ndarray, what: str, *, only_decay: bool) -> Estimate:
    method, n = "mean change of the logarithm per layer", len(values)

    def open_(reason: str) -> Estimate:
        return Estimate.not_determined(reason, method=method, n=n)

    if n == 0:
        return open_(f"{what} was not measured")
    if n < _FEW:
        return open_(f"{n} hidden weight layer(s) in the window, at least {_FEW} needed")
    logs = np.log(values)
    rates = np.diff(logs) / np.diff(depth)
    half = len(rates) // 2
    start = half if len(rates) >= MANY else 0
    rate, error = float(rates[start:].mean()), error_of_mean(rates[start:])
    total = float(logs[-1] - logs[0])
    if only_decay and total > _SMALL:
        return open_(f"{what} does not decay")
    early, late = float(rates[:half].mean()), float(rates[half:].mean())
    steady = min(abs(total), abs(rate) * len(rates)) <= _SMALL or abs(rate) <= 2 * error
    if abs(total) > _SMALL and late * early > 0 and abs(late) < _SLOWING * abs(early):
        return open_(f"{what} changes ever more slowly, not exponentially, over the {n} layers measured")
    if steady or (only_decay and rate > 0):
        return open_(f"{what} stays of order one over the {n} layers measured")
    window = (float(depth[start]), float(depth[-1]))
    return Estimate(1.0 / abs(rate), error / rate**2, method, len(rates) - start, window)
