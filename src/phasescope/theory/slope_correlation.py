"""How the slopes of an activation differ between two correlated inputs, without cancellation."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.polynomial import chebyshev
from torch import Tensor

from phasescope.activations import Activation
from phasescope.theory.closed_forms import pair_form
from phasescope.theory.correlation import (
    DistanceMap,
    HermiteSeries,
    half_square_difference,
    hermite_squares,
    mean_over_pairs,
)
from phasescope.theory.depth import derivative_jumps
from phasescope.theory.gaussian import mean_with_panels
from phasescope.theory.moments import reached

_DEGREES = (32, 64, 128, 256, 512)
_RESOLVED = 1e-12


class PairMaps(NamedTuple):
    """Half the mean squared difference of values and of slopes, as functions of ``rho = 1 - c``."""

    values: DistanceMap
    slopes: DistanceMap


def pair_maps(activation: Activation, K: float) -> PairMaps:
    r"""Return ``<(s(z_a) - s(z_b))^2>/2`` and, as D', the same of the slopes s', by ``rho = 1 - c``.

    Both at variances K. With the second, ``C_W <s'(z_a) s'(z_b)> = chi_perp - C_W D'(rho)``, where nothing
    cancels as rho vanishes. By closed form, or the Hermite series
    ``D' = -sum_k k a_k^2 expm1((k - 1) log1p(-rho))/K``.
    Where only a quadrature is left (kinks), both are tabulated once as Chebyshev series in the angle
    ``theta = arccos(1 - rho)``, in which they are smooth to both ends: divided by the power of
    ``sin(theta/2)`` with which they vanish, they keep their digits at the smallest distances.

    Notes
    -----
    Relative errors are about 1e-12. Setting up costs 10 ms, with kinks and no closed form 1 to 20 s; a value
    then costs 0.1 to 1 us. Derived here; the Hermite form follows from arXiv:1606.05340, eq. 6.
    """
    values = half_square_difference(activation, K)
    form = pair_form(activation)
    if form is not None:
        return PairMaps(values, lambda rho: form.half_square_slope_difference(K, rho))
    squares = None if reached(activation.kinks, K) else hermite_squares(activation, K)
    if squares is not None:
        orders = np.arange(1, squares.size)
        return PairMaps(values, HermiteSeries(orders * squares[1:] / K))
    vanishing = 1 if derivative_jumps(activation, 1) else 2
    slopes = _tabulated(_SlopeQuadrature(activation, K), vanishing)
    return PairMaps(_tabulated(values, 2), slopes)


class _SlopeQuadrature:
    def __init__(self, activation: Activation, K: float) -> None:
        self.activation, self.K = activation, K
        mean, self.edges = mean_with_panels(
            lambda z: activation.derivative(z) ** 2, K, kinks=activation.kinks
        )
        self.floor = 1e-3 * float(mean)

    def __call__(self, rho: np.ndarray) -> np.ndarray:
        flat = [self._one(float(r)) for r in np.asarray(rho).ravel()]
        return np.array(flat).reshape(np.shape(rho))

    def _one(self, rho: float) -> float:
        slope = self.activation.derivative

        def squared(middle: Tensor, half: Tensor) -> Tensor:
            return (slope(middle + half) - slope(middle - half)) ** 2

        mean = mean_over_pairs(
            squared, self.activation, self.K, rho, edges=self.edges, floor=self.floor * min(1, rho)
        )
        return mean / 2


def _tabulated(exact: DistanceMap, vanishing: int) -> DistanceMap:
    """Return the map as a series in the angle, `vanishing` being the power of the angle it begins with."""
    coefficients = np.zeros(0)
    for degree in _DEGREES:
        nodes = np.cos(np.pi * (np.arange(degree) + 0.5) / degree)
        half_angle = np.pi / 4 * (1 + nodes)
        reduced = exact(2 * np.sin(half_angle) ** 2) / np.sin(half_angle) ** vanishing
        # The discrete cosine transform that interpolates at these nodes.
        coefficients = 2 / degree * (chebyshev.chebvander(nodes, degree - 1).T @ reduced)
        coefficients[0] /= 2
        size = np.abs(coefficients)
        if size[-degree // 4 :].max() <= _RESOLVED * size.max():
            break
    else:
        return exact

    def series(rho: np.ndarray) -> np.ndarray:
        root = np.sqrt(np.asarray(rho) / 2)
        reduced = chebyshev.chebval(4 / math.pi * np.arcsin(root) - 1, coefficients)
        return np.asarray(reduced * root**vanishing)

    return series
