"""The leading effect of the width on the mean distance between two inputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def mean_distance_factor(
    layers: np.ndarray, rate: float, known: Mapping[str, float], width: float
) -> np.ndarray:
    """Return ``E[rho]`` at finite width over its value at infinite width, to first order in 1/n.

    With ``x = n rho`` and ``t = l/n`` the distance obeys
    ``dx = ((n e + d0 + v/2) x - kappa x^2) dt + sqrt(v) x dW``, where ``e = ln chi_1``, so that
    ``1/rho = kappa int exp(-(e + d0/n) s - sqrt(v/n) B_s) ds`` over ``0 < s < l`` for unrelated inputs. Hence
    the factor ``1 + ((d0 - v/2) J/I + v M/I^2)/n`` with ``I = int exp(-e s)``, ``J = int s exp(-e s)`` and
    ``M = int int min(s, t) exp(-e (s + t))``. At ``e = 0`` it is ``1 + (d0/2 + v/12) l/n``, and far above the
    transition ``1 + d0/(e n)``.
    """
    depth = np.asarray(layers, dtype=np.float64)
    if abs(rate) * depth.max(initial=0.0) < 1e-4:
        return 1 + (known["d0"] / 2 + known["v"] / 12) * depth / width
    nodes, weights = np.polynomial.legendre.leggauss(48)
    s = (nodes + 1) / 2 * depth[:, None]
    w = weights / 2 * depth[:, None]
    decay = np.exp(-rate * s)
    whole = -np.expm1(-rate * depth) / rate
    first = (w * s * decay).sum(axis=1)
    # Of the double integral, twice the half with s < t, whose inner integral is elementary.
    rest = (np.exp(-rate * s) - np.exp(-rate * depth)[:, None]) / rate
    double = 2 * (w * s * decay * rest).sum(axis=1)
    shift = (known["d0"] - known["v"] / 2) * first / whole + known["v"] * double / whole**2
    return np.asarray(1 + shift / width)
