"""The three Gaussian means of an activation that the kernel map and its susceptibilities are made of."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from phasescope.activations import Activation
from phasescope.errors import InputError
from phasescope.theory.closed_forms import closed_form
from phasescope.theory.gaussian import checked_variance, expectation

# Standard deviations beyond which a kink has no weight in double precision.
_REACH = 9.0
# Where one-sided limits at 0 are read off; its square is still a normal number.
_BESIDE_ZERO = 1e-30


def second_moment(activation: Activation, K: float) -> float:
    """Return ``g(K) = <s(z)^2>`` for ``z ~ N(0, K)``; the kernel map is ``C_b + C_W g(K)``.

    Notes
    -----
    In closed form where there is one, else by quadrature (0.2 ms). InputError where it overflows.
    Source: arXiv:2106.10165, section 5.1.
    """
    K = checked_variance(K)
    form = closed_form(activation)
    if form is not None and K > 0:
        return _finite(form.second_moment, K, activation)
    return float(expectation(lambda z: activation(z) ** 2, K, kinks=activation.kinks))


def mean_square_slope(activation: Activation, K: float) -> float:
    """Return ``<s'(z)^2>`` for ``z ~ N(0, K)``; times C_W it is the perpendicular susceptibility.

    Notes
    -----
    Source: arXiv:2106.10165, section 5.1.
    """
    K = checked_variance(K)
    if reached(activation.jumps, K):
        raise InputError(
            f"Activation {activation.name!r} jumps at z = {min(activation.jumps, key=abs):g}: its mean "
            f"squared slope at K = {K:g} is infinite.",
            "Use a continuous activation.",
        )
    if K == 0:
        below, above = slopes_beside_zero(activation)
        return (below**2 + above**2) / 2
    form = closed_form(activation)
    if form is not None:
        return _finite(form.mean_square_slope, K, activation)
    return float(expectation(lambda z: activation.derivative(z) ** 2, K, kinks=activation.kinks))


def second_moment_slope(activation: Activation, K: float) -> float:
    """Return ``g'(K) = <z s s'>/K``; times C_W it is the parallel susceptibility.

    Where that form cancels (``s(0)`` not 0 and K small) it is taken as ``<s'^2 + s s''>``, and where the
    activation jumps as ``<s^2 (z^2 - K)>/(2 K^2)``; the three are equal by partial integration.

    Notes
    -----
    InputError where the limit at ``K = 0`` is infinite: ``s(0)`` is not 0 and the slope jumps at 0. Source:
    arXiv:2106.10165, section 5.1.
    """
    K = checked_variance(K)
    form = closed_form(activation)
    if K == 0:
        return _slope_at_zero(activation)
    if form is not None:
        return _finite(form.second_moment_slope, K, activation)
    if reached(activation.jumps, K):

        def by_density(z: Tensor) -> Tensor:
            x = z / math.sqrt(K)
            return activation(z) ** 2 * (x * x - 1)

        return float(expectation(by_density, K, kinks=activation.kinks)) / (2 * K)
    if K < 1 and not vanishes_at_zero(activation) and not reached(activation.kinks, K):
        with contextlib.suppress(InputError):
            return float(expectation(lambda z: _curved(activation, z), K))

    def radial(z: Tensor) -> Tensor:
        value, slope = activation.derivatives(z, 1)
        return (z / K) * value * slope

    return float(expectation(radial, K, kinks=activation.kinks))


def vanishes_at_zero(activation: Activation) -> bool:
    """Return whether ``s(0) = 0`` to rounding, as a fixed point at ``K = 0`` needs."""
    return abs(float(activation(torch.zeros(1, dtype=torch.float64)))) <= 1e-14


def _curved(activation: Activation, z: Tensor) -> Tensor:
    value, slope, curvature = activation.derivatives(z, 2)
    return slope**2 + value * curvature


def _slope_at_zero(activation: Activation) -> float:
    # The limit of g'(K) as K -> 0.
    below, above = slopes_beside_zero(activation)
    if vanishes_at_zero(activation):
        return (below**2 + above**2) / 2
    if abs(below - above) > 1e-9 * max(abs(below), abs(above)):
        raise InputError(
            f"Activation {activation.name!r} has a kink at 0 and is not 0 there: the slope of its second "
            "moment at K = 0 is infinite.",
            "Use K > 0.",
        )
    return float(_curved(activation, torch.zeros(1, dtype=torch.float64)))


def slopes_beside_zero(activation: Activation) -> tuple[float, float]:
    """Return the one-sided slopes ``(s'(0-), s'(0+))``."""
    sides = torch.tensor([-_BESIDE_ZERO, _BESIDE_ZERO], dtype=torch.float64)
    # A slope that vanishes at 0 is still about 1e-30 beside it.
    below, above = (0.0 if abs(s) < 1e-25 else float(s) for s in activation.derivative(sides))
    return below, above


def reached(points: tuple[float, ...], K: float) -> bool:
    """Return whether a Gaussian of variance `K` has weight, in double precision, at any of the points."""
    return any(abs(point) <= _REACH * math.sqrt(K) for point in points)


def _finite(mean: Callable[[float], float], K: float, activation: Activation) -> float:
    # A closed form may overflow; that must be told, with the kernel at which it happens.
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            value = mean(K)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise InputError(f"{activation.name}: its Gaussian mean overflows at K = {K:g}.", "Use a smaller K.")
    return value
