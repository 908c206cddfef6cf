"""What an activation does to a small difference: ``phi(h + e) - phi(h)`` without cancellation."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from phasescope.activations import Activation

# Below this the difference is the mean slope over the segment; above, a subtraction loses 1e-13 at most.
_SHORT = 1e-3
_GAUSS = ((-math.sqrt(0.6), 5 / 18), (0.0, 8 / 18), (math.sqrt(0.6), 5 / 18))


class Differences:
    """Values, slopes and differences of one activation, elementwise in float64.

    Notes
    -----
    This class serves any activation. A difference with ``|e| > 1e-3`` is subtracted; a shorter one is e times
    the mean of phi' over ``[h, h + e]``, by three-point Gauss-Legendre (relative error ``5e-7 (e/a)^6`` for
    an activation that varies over a scale a), on both sides of a kink where the segment holds one. Where phi
    itself jumps inside, the two values are subtracted.
    """

    def __init__(self, activation: Activation) -> None:
        self.activation = activation
        gaps = [b - a for a, b in itertools.pairwise(activation.kinks)]
        # A short segment may hold one kink, not two.
        self._longest = min([_SHORT, *(0.4 * gap for gap in gaps)])

    def value(self, h: Tensor) -> Tensor:
        """Return phi(h)."""
        return self.activation(h)

    def slope(self, h: Tensor) -> Tensor:
        """Return phi'(h)."""
        return self.activation.derivative(h)

    def difference(self, h: Tensor, e: Tensor) -> Tensor:
        """Return ``phi(h + e) - phi(h)``; `h` expands to the shape of `e`."""
        h = h.expand_as(e)
        short = e.abs() <= self._longest
        count = int(short.sum())
        if count == short.numel():
            return self._short(h, e)
        result = self.value(h + e) - self.value(h)
        if count:
            result[short] = self._short(h[short], e[short])
        return result

    def _short(self, h: Tensor, e: Tensor) -> Tensor:
        result = self._mean_slope(h, e).mul_(e)
        for kink in self.activation.kinks:
            crossed = (h < kink) != (h + e < kink)
            if bool(crossed.any()):
                result[crossed] = self._across(h[crossed], e[crossed], kink)
        return result

    def _mean_slope(self, h: Tensor, e: Tensor) -> Tensor:
        mean = torch.zeros_like(h)
        for node, weight in _GAUSS:
            mean.add_(self.slope(torch.add(h, e, alpha=(1 + node) / 2)), alpha=weight)
        return mean

    def _across(self, h: Tensor, e: Tensor, kink: float) -> Tensor:
        if kink in self.activation.jumps:
            return self.value(h + e) - self.value(h)
        before = kink - h
        after = e - before
        return (
            self._mean_slope(h, before) * before + self._mean_slope(torch.full_like(h, kink), after) * after
        )


class _Tanh(Differences):
    def value(self, h: Tensor) -> Tensor:
        return torch.tanh(h)

    def slope(self, h: Tensor) -> Tensor:
        # From the exponential, because 1 - tanh^2 cancels where the unit is saturated.
        decay = torch.exp(h.abs().mul_(-2))
        return decay.div_((decay + 1).square_()).mul_(4)

    def difference(self, h: Tensor, e: Tensor) -> Tensor:
        # sinh(e)/(cosh(h) cosh(h + e)), with every exponent at most 0.
        size, near, far = e.abs(), h.abs(), (h + e).abs_()
        result = torch.exp(size - near - far)
        result.div_(torch.exp(near.mul_(-2)).add_(1)).div_(torch.exp(far.mul_(-2)).add_(1))
        return result.mul_(torch.expm1(size.mul_(-2))).mul_(torch.sign(e)).mul_(-2)


class _Sin(Differences):
    def value(self, h: Tensor) -> Tensor:
        return torch.sin(h)

    def slope(self, h: Tensor) -> Tensor:
        return torch.cos(h)

    def difference(self, h: Tensor, e: Tensor) -> Tensor:
        half = e / 2
        return torch.cos(h + half).mul_(torch.sin(half)).mul_(2)


class _Cos(Differences):
    def value(self, h: Tensor) -> Tensor:
        return torch.cos(h)

    def slope(self, h: Tensor) -> Tensor:
        return torch.sin(h).neg_()

    def difference(self, h: Tensor, e: Tensor) -> Tensor:
        half = e / 2
        return torch.sin(h + half).mul_(torch.sin(half)).mul_(-2)


class _Erf(Differences):
    def value(self, h: Tensor) -> Tensor:
        return torch.erf(h)

    def slope(self, h: Tensor) -> Tensor:
        return torch.exp(h.square().neg_()).mul_(2 / math.sqrt(math.pi))


class _TwoSlopes(Differences):
    """``a z`` above 0 and ``b z`` below: linear, ReLU, leaky ReLU, abs."""

    def __init__(self, activation: Activation, above: float, below: float) -> None:
        super().__init__(activation)
        self.above, self.below = above, below

    def slope(self, h: Tensor) -> Tensor:
        return (h > 0).to(h.dtype).mul_(self.above - self.below).add_(self.below)

    def difference(self, h: Tensor, e: Tensor) -> Tensor:
        if self.above == self.below:
            return self.above * e
        rectified = torch.where(h > 0, torch.maximum(e, -h), (h + e).relu_())
        return rectified.mul_(self.above - self.below).add_(e, alpha=self.below)


_CLOSED = {"sin": _Sin, "cos": _Cos, "erf": _Erf}


def differences(activation: Activation) -> Differences:
    """Return the most accurate and fastest way known for an activation."""
    slopes = two_slopes(activation)
    if slopes is not None:
        return _TwoSlopes(activation, *slopes)
    if activation.name == "tanh":
        return _Tanh(activation)
    family = activation.closed_form[0] if activation.closed_form else ""
    return _CLOSED.get(family, Differences)(activation)


def two_slopes(activation: Activation) -> tuple[float, float] | None:
    """Return the slopes above and below 0 of an activation that has only these, or None."""
    if any(kink != 0 for kink in activation.kinks):
        return None
    z = torch.tensor([1.0, 0.7, 1e-9, 1e5, 19.0], dtype=torch.float64)
    above, below = activation(z) / z, activation(-z) / -z
    for ratio in (above, below):
        if not bool(((ratio - ratio[0]).abs() <= 4e-16 * ratio[0].abs()).all()):
            return None
    return float(above[0]), float(below[0])
