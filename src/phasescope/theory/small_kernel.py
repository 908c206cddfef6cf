"""What an activation looks like to a vanishing kernel: its slopes at zero and the first corrections."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from phasescope.activations import Activation

_BESIDE = torch.tensor([-1e-6, 1e-6, -2e-6, 2e-6], dtype=torch.float64)
# Where one-sided slopes are read off: nothing but the slope is left of the function.
_LIMIT = torch.tensor([-1e-30, 1e-30], dtype=torch.float64)


@dataclass(frozen=True)
class SmallKernel:
    """The behaviour of an activation around zero."""

    at_zero: float  # ``sigma(0)``; a critical point at K = 0 needs 0
    # left, right: one-sided slopes at 0
    left: float
    right: float
    # a1, b1: with ``C_W = 1/sigma'(0)^2`` and no bias, ``K' = K + a1 K^2``, ``chi_par = 1 + 2 a1 K`` and
    # ``chi_perp = 1 + b1 K``; None where a slope or the second derivative jumps at 0, because the corrections
    # are then of order ``sqrt(K)``
    a1: float | None
    b1: float | None
    # largest modulus of z up to which the function is exactly ``left z`` or ``right z``: the nearest kink,
    # inf if it is so everywhere, 0 if nowhere
    reach: float

    @property
    def vanishes(self) -> bool:
        """Whether ``sigma(0) = 0`` to rounding."""
        return abs(self.at_zero) <= 1e-12 * max(1.0, self.steepest)

    @property
    def steepest(self) -> float:
        """The larger of the two slopes at 0, without sign."""
        return max(abs(self.left), abs(self.right))

    @property
    def smooth_slope(self) -> bool:
        """Whether there is one slope at 0, and it is not 0."""
        return self.steepest > 1e-9 and abs(self.left - self.right) <= 1e-8 * self.steepest

    @property
    def piecewise_linear(self) -> bool:
        """Whether the function is exactly linear on either side of 0, in a neighbourhood or everywhere."""
        return self.vanishes and self.steepest > 1e-9 and self.reach > 0

    @property
    def C_W(self) -> float:
        """The weight variance that preserves a vanishing kernel, ``2/(left^2 + right^2)``."""
        return 2 / (self.left**2 + self.right**2)


def small_kernel(activation: Activation) -> SmallKernel:
    """Return slopes at 0, ``a1 = s3/s1 + (3/4)(s2/s1)^2`` and ``b1 = s3/s1 + (s2/s1)^2``.

    Here ``s1, s2, s3`` are the derivatives at 0. The third may jump there (its mean counts); where the first
    or second does, `a1` and `b1` are None.

    Notes
    -----
    Cost: a few evaluations. Source: arXiv:2106.10165, ch. 5; both follow from ``<z^4> = 3 K^2``.
    """
    at_zero = float(activation(torch.zeros(1, dtype=torch.float64)))
    left, right = activation.derivative(_LIMIT).tolist()
    scale = max(abs(left), abs(right))
    reach = _linear_reach(activation, left, right) if scale > 0 else 0.0
    if scale <= 1e-9 or abs(left - right) > 1e-8 * scale or _jumps(activation, scale):
        return SmallKernel(at_zero, left, right, None, None, reach)
    s1, s2, s3 = (_at_zero(activation, order) for order in (1, 2, 3))
    a1, b1 = s3 / s1 + 0.75 * (s2 / s1) ** 2, s3 / s1 + (s2 / s1) ** 2
    return SmallKernel(at_zero, left, right, a1, b1, reach)


def _jumps(activation: Activation, scale: float) -> bool:
    """Return whether the second derivative jumps at 0: its change does not shrink with the interval."""
    second = activation.derivative(_BESIDE, 2)
    if not bool(torch.isfinite(second).all()):
        return True
    inner, outer = float((second[1] - second[0]).abs()), float((second[3] - second[2]).abs())
    return inner > 1e-7 * scale and inner > 0.6 * outer


def _at_zero(activation: Activation, order: int) -> float:
    """Return a derivative at 0, or the mean of the one-sided ones where autograd is off there."""
    exact = float(activation.derivative(torch.zeros(1, dtype=torch.float64), order))
    mean = float(activation.derivative(_BESIDE[:2], order).mean())
    return exact if math.isfinite(exact) and abs(exact - mean) <= 1e-4 * (1 + abs(mean)) else mean


def _linear_reach(activation: Activation, left: float, right: float) -> float:
    nearest = min((abs(kink) for kink in activation.kinks if kink), default=math.inf)
    z = torch.logspace(-6, 6, 97, dtype=torch.float64)
    z = z[z < nearest]
    scale = max(abs(left), abs(right))
    positive = (activation(z) - right * z).abs() <= 1e-12 * scale * z
    negative = (activation(-z) + left * z).abs() <= 1e-12 * scale * z
    return nearest if z.numel() and bool((positive & negative).all()) else 0.0
