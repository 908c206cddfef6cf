"""The distance between two inputs, layer after layer at infinite width."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from phasescope.activations import Activation
from phasescope.theory import MeanField
from phasescope.theory.closed_forms import pair_form
from phasescope.theory.correlation import hermite_squares


@dataclass(frozen=True)
class Iterates:
    """A pair of inputs that start unrelated, at the kernel's fixed point; :func:`distances` makes it."""

    rate: float  # ``ln chi_1`` at the fixed point
    layers: np.ndarray  # numbers of layers applied
    rho: np.ndarray  # ``1 - c`` after them


def iterable(activation: Activation, K: float) -> bool:
    """Return whether a layer costs microseconds: the map has a closed form or a short Hermite series.

    Otherwise each value is a quadrature of some 10 ms, too slow for 1e5 layers.
    """
    if pair_form(activation) is not None:
        return True
    return not activation.kinks and hermite_squares(activation, K) is not None


def growth_rate(activation: Activation, sigma_w: float, sigma_b: float) -> float:
    """Return ``ln chi_1`` at the kernel's fixed point."""
    return math.log(MeanField(activation, sigma_w**2, sigma_b**2).fixed_point(1.0).chi_perpendicular)


def distances(activation: Activation, sigma_w: float, sigma_b: float, layers: np.ndarray) -> Iterates:
    """Return ``1 - c`` of two inputs after the given numbers of layers, from ``1 - c = 1``."""
    field = MeanField(activation, sigma_w**2, sigma_b**2)
    point = field.fixed_point(1.0)
    rate = math.log(point.chi_perpendicular)
    if not iterable(activation, point.K):
        return Iterates(rate, layers, np.full(layers.size, math.nan))
    recorded = np.empty(layers.size)
    rho, done = 1.0, 0
    for index, layer in enumerate(layers):
        for _ in range(int(layer) - done):
            rho = field.distance_map(rho, point.K)
        done = int(layer)
        recorded[index] = rho
    return Iterates(rate, layers, recorded)


def spaced_layers(first: float, last: float, count: int) -> np.ndarray:
    """Return at most `count` whole numbers from `first` to `last`, evenly spaced in the logarithm."""
    return np.unique(np.round(np.geomspace(max(1.0, first), max(1.0, last), count)).astype(np.int64))
