"""The tangent kernel on the critical line as the bias vanishes and the depth grows, odd activations."""

from __future__ import annotations

import math

import numpy as np

from phasescope.errors import InputError

# Steps of 1 % in kappa l: the error of a fourth-order step is then far below 1e-6.
_STEP = 0.01
_FIRST = 1e-4


def deep_tangent_ratio(distances: float | np.ndarray, kappa_L: float) -> np.ndarray:
    r"""Return ``Theta_ab/Theta_aa`` as depth L grows at fixed ``kappa L``, at any distance of the inputs.

    Along the critical line of an odd activation ``kappa`` vanishes with the bias, and with
    ``phi(z) = a (z - b z^3 + ...)`` all that is left of the map is ``1 - c' = rho - kappa g(rho)``
    with ``g = rho^2 - rho^3/3``. In ``s = kappa l`` the layers become ``d rho/ds = -g(rho)`` and, with
    ``Theta_ab = (K/kappa) T``, ``dT/ds = 1 - rho - g'(rho) T``, against ``T = s`` for one input. So the
    ratio depends on the distance and on kappa L alone, whatever the activation; for small distances it is
    ``tangent_ratio(kappa rho L)``, and for ``kappa L -> 0`` the linear network's ``1 - rho``.

    Parameters
    ----------
    distances : ndarray
        ``1 - c`` of the inputs, in [0, 2].
    kappa_L : float
        Above 0.

    Raises
    ------
    InputError
        If `kappa_L` is not positive and finite, or a distance lies outside [0, 2].

    Notes
    -----
    Runge and Kutta's method of order four, some 1000 steps of 0.1 us a distance. Derived here.

    Examples
    --------
    >>> from phasescope.theory import deep_tangent_ratio
    >>> deep_tangent_ratio([0.1, 0.5, 1.0], 3.0).round(4)
    array([0.7248, 0.3879, 0.2671])
    """
    rho = np.asarray(distances, dtype=np.float64)
    if not (0 < kappa_L < np.inf and ((rho >= 0) & (rho <= 2)).all()):
        raise InputError(
            f"distances = {distances}, kappa_L = {kappa_L}.", "Use distances in [0, 2] and kappa_L above 0."
        )
    start = min(_FIRST, kappa_L)
    count = math.ceil(math.log(kappa_L / start) / _STEP)
    edges = np.concatenate([[0.0], np.geomspace(start, kappa_L, count + 1)])
    state = np.stack([rho, np.zeros(rho.shape)])
    for step in np.diff(edges):
        k1 = _slope(state)
        k2 = _slope(state + step / 2 * k1)
        k3 = _slope(state + step / 2 * k2)
        k4 = _slope(state + step * k3)
        state = state + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return np.asarray(state[1] / kappa_L)


def _slope(state: np.ndarray) -> np.ndarray:
    rho, kernel = state
    return np.stack([-(rho**2) * (1 - rho / 3), 1 - rho - rho * (2 - rho) * kernel])
