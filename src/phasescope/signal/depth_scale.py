"""The number of layers over which a quantity changes by e, where it changes exponentially at all."""

from __future__ import annotations

import math

import numpy as np

from phasescope.estimate import Estimate

_FEW = 4  # points for a fit of two parameters with an error
_SMALL = math.log(10.0)  # change over the window up to which nothing is said to have changed
_ROUNDING = 1e-12  # distance below which single precision decides


def decay_depth(depth: np.ndarray, distance: np.ndarray, what: str) -> Estimate:
    """Return the depth scale ``xi`` of ``distance ~ exp(-depth / xi)``.

    Parameters
    ----------
    depth : array of shape (layers,)
        Number of weight layers so far.
    distance : array of shape (layers,)
        ``1 - c`` between inputs; what is below 1e-12 is rounding and is left out.
    what : str
        What decays, for the reason where it does not.

    Notes
    -----
    Not determined where it does not decay by a factor 10 over the layers measured, or decays rather as a
    power of the depth, as it does on the critical line: then it survives all the layers there are.
    """
    method = "exponential fit against depth"
    keep = np.isfinite(distance) & (distance > _ROUNDING)
    if not keep.any():
        return Estimate.not_determined(f"{what} was not measured", method=method)
    return _fit(depth[keep], distance[keep], what, method, only_decay=True)


def growth_depth(depth: np.ndarray, values: np.ndarray, what: str) -> Estimate:
    """Return the depth scale ``xi`` of ``values ~ exp(+-depth / xi)``; see ``decay_depth``.

    Parameters
    ----------
    depth, values : array of shape (layers,)
        Number of weight layers so far, and what grows or decays.
    what : str
        What grows, for the reason where it does not.
    """
    method = "exponential fit against depth"
    keep = np.isfinite(values) & (values > 0)
    if not keep.any():
        return Estimate.not_determined(f"{what} was not measured", method=method)
    return _fit(depth[keep], values[keep], what, method, only_decay=False)


def _fit(depth: np.ndarray, values: np.ndarray, what: str, method: str, *, only_decay: bool) -> Estimate:
    n = len(values)
    if n < _FEW:
        reason = f"{n} hidden weight layer(s) in the window, at least {_FEW} needed"
        return Estimate.not_determined(reason, method=method, n=n)
    logs = np.log(values)
    slope, error, rest = _line(depth, logs)
    if only_decay and slope > 0:
        return Estimate.not_determined(f"{what} does not decay", method=method, n=n)
    if abs(slope) * float(depth[-1] - depth[0]) <= _SMALL or abs(slope) <= 2 * error:
        reason = f"{what} stays of order one over the {n} layers measured"
        return Estimate.not_determined(reason, method=method, n=n)
    power, _, power_rest = _line(np.log(depth), logs)
    if power_rest < rest:
        reason = f"{what} changes as depth to the power {power:.1f}, not exponentially"
        return Estimate.not_determined(reason, method=method, n=n)
    window = (float(depth[0]), float(depth[-1]))
    return Estimate(1.0 / abs(slope), error / slope**2, method, n, window)


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Return slope, its standard error and the sum of squared residuals of a straight line."""
    centred = x - x.mean()
    spread = float((centred**2).sum())
    slope = float((centred * y).sum()) / spread
    rest = float(((y - y.mean() - slope * centred) ** 2).sum())
    return slope, math.sqrt(rest / (len(x) - 2) / spread), rest
