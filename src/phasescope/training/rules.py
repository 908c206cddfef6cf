"""Update rules of optimisers as elementwise maps, with their derivatives and the edge of their stability.

A rule takes the parts of a state, weights first, and the gradient of the loss at the weights, and returns the
parts one step later. The arithmetic is that of ``torch.optim``. Hyperparameters are numbers, or vectors where
groups of parameters have their own.

On a quadratic loss with curvature `h`, a rule is stable while ``rate (h + decay) / p < threshold``, where `p`
is the preconditioner that it divides the gradient by, held fixed; 1 for rules without one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

Parts = Sequence[Tensor]
Number = float | Tensor


@dataclass(frozen=True)
class Rule(ABC):
    """One step of an optimiser.

    Parameters
    ----------
    rate : float or Tensor of shape (n,)
        Learning rate.
    decay : float or Tensor of shape (n,)
        Weight decay, added to the gradient as ``decay * weights``.
    schedule : callable, optional
        ``schedule(t)`` multiplies the rate at step `t`; 1 by default.
    age : int
        Steps that the optimiser had made before the map's step 0.
    """

    rate: Number
    decay: Number = 0.0
    schedule: Callable[[int], float] | None = None
    age: int = 0

    slots: ClassVar[tuple[str, ...]] = ("weights",)

    def rate_at(self, t: int) -> Number:
        """Return the learning rate of step `t`.

        Parameters
        ----------
        t : int
            The step.
        """
        return self.rate if self.schedule is None else self.rate * self.schedule(t)

    @abstractmethod
    def step(self, parts: Parts, gradient: Tensor, t: int) -> list[Tensor]:
        """Return the parts after step `t`.

        Parameters
        ----------
        parts : sequence of Tensor of shape (..., n)
            Weights, then what the optimiser remembers, in the order of `slots`.
        gradient : Tensor of shape (..., n)
            Of the loss at the weights.
        t : int
            The step.
        """

    @abstractmethod
    def tangent(
        self, parts: Parts, gradient: Tensor, d_parts: Parts, d_gradient: Tensor, t: int
    ) -> list[Tensor]:
        """Return what step `t` makes of small changes of the parts and of the gradient.

        Parameters
        ----------
        parts, gradient
            As in :meth:`step`, with axes that broadcast against the changes.
        d_parts : sequence of Tensor of shape (..., n)
            Small changes of the parts.
        d_gradient : Tensor of shape (..., n)
            The change of the gradient that goes with them.
        t : int
            The step.
        """

    def threshold(self, t: int) -> Number:
        """Return the largest stable value of ``rate (h + decay) / p`` at step `t`, without a unit.

        Parameters
        ----------
        t : int
            The step.
        """
        return 2.0

    def preconditioner(self, parts: Parts, t: int) -> Number:
        """Return `p`, by which step `t` divides the gradient; 1 for rules without one.

        Parameters
        ----------
        parts : sequence of Tensor of shape (n,)
            The state before the step.
        t : int
            The step.
        """
        return 1.0


@dataclass(frozen=True)
class GradientDescent(Rule):
    """``w - rate g``: gradient descent, with one batch or many.

    Parameters
    ----------
    rate : float or Tensor of shape (n,)
        Learning rate.
    decay : float or Tensor of shape (n,)
        Weight decay, added to the gradient as ``decay * weights``.
    schedule : callable, optional
        ``schedule(t)`` multiplies the rate at step `t`; 1 by default.
    age : int
        Steps that the optimiser had made before the map's step 0.
    """

    def step(self, parts: Parts, gradient: Tensor, t: int) -> list[Tensor]:
        (w,) = parts
        return [w - self.rate_at(t) * (gradient + self.decay * w)]

    def tangent(
        self, parts: Parts, gradient: Tensor, d_parts: Parts, d_gradient: Tensor, t: int
    ) -> list[Tensor]:
        return self.step(d_parts, d_gradient, t)


@dataclass(frozen=True)
class HeavyBall(Rule):
    """``v' = momentum v + g``, ``w' = w - rate v'``: gradient descent with Polyak's momentum.

    Parameters
    ----------
    rate : float or Tensor of shape (n,)
        Learning rate.
    decay : float or Tensor of shape (n,)
        Weight decay, added to the gradient as ``decay * weights``.
    schedule : callable, optional
        ``schedule(t)`` multiplies the rate at step `t`; 1 by default.
    age : int
        Steps that the optimiser had made before the map's step 0.
    momentum : float or Tensor of shape (n,)
        Share of the velocity that stays.
    dampening : float or Tensor of shape (n,)
        Share of the gradient that does not enter the velocity, from the second step on.
    """

    momentum: Number = 0.9
    dampening: Number = 0.0

    slots: ClassVar[tuple[str, ...]] = ("weights", "velocity")

    def step(self, parts: Parts, gradient: Tensor, t: int) -> list[Tensor]:
        w, velocity = parts
        velocity = self.momentum * velocity + self._share(t) * (gradient + self.decay * w)
        return [w - self.rate_at(t) * velocity, velocity]

    def _share(self, t: int) -> Number:
        # torch.optim does not dampen its first step
        return 1.0 - self.dampening if t + self.age > 0 else 1.0

    def tangent(
        self, parts: Parts, gradient: Tensor, d_parts: Parts, d_gradient: Tensor, t: int
    ) -> list[Tensor]:
        return self.step(d_parts, d_gradient, t)

    def threshold(self, t: int) -> Number:
        return 2.0 * (1.0 + self.momentum) / self._share(t)


@dataclass(frozen=True)
class Nesterov(Rule):
    """``v' = momentum v + g``, ``w' = w - rate (g + momentum v')``: momentum that looks ahead.

    Parameters
    ----------
    rate : float or Tensor of shape (n,)
        Learning rate.
    decay : float or Tensor of shape (n,)
        Weight decay, added to the gradient as ``decay * weights``.
    schedule : callable, optional
        ``schedule(t)`` multiplies the rate at step `t`; 1 by default.
    age : int
        Steps that the optimiser had made before the map's step 0.
    momentum : float or Tensor of shape (n,)
        Share of the velocity that stays.
    """

    momentum: Number = 0.9

    slots: ClassVar[tuple[str, ...]] = ("weights", "velocity")

    def step(self, parts: Parts, gradient: Tensor, t: int) -> list[Tensor]:
        w, velocity = parts
        g = gradient + self.decay * w
        velocity = self.momentum * velocity + g
        return [w - self.rate_at(t) * (g + self.momentum * velocity), velocity]

    def tangent(
        self, parts: Parts, gradient: Tensor, d_parts: Parts, d_gradient: Tensor, t: int
    ) -> list[Tensor]:
        return self.step(d_parts, d_gradient, t)

    def threshold(self, t: int) -> Number:
        return 2.0 * (1.0 + self.momentum) / (1.0 + 2.0 * self.momentum)


@dataclass(frozen=True)
class RMSprop(Rule):
    """``s' = alpha s + (1 - alpha) g^2``, ``w' = w - rate g / (sqrt(s') + eps)``.

    Parameters
    ----------
    rate : float or Tensor of shape (n,)
        Learning rate.
    decay : float or Tensor of shape (n,)
        Weight decay, added to the gradient as ``decay * weights``.
    schedule : callable, optional
        ``schedule(t)`` multiplies the rate at step `t`; 1 by default.
    age : int
        Steps that the optimiser had made before the map's step 0.
    alpha : float or Tensor of shape (n,)
        Share of the mean square that stays.
    eps : float or Tensor of shape (n,)
        Added to the root, in the unit of the gradient.
    """

    alpha: Number = 0.99
    eps: Number = 1e-8

    slots: ClassVar[tuple[str, ...]] = ("weights", "square")

    def step(self, parts: Parts, gradient: Tensor, t: int) -> list[Tensor]:
        w, square = parts
        g = gradient + self.decay * w
        square = self.alpha * square + (1.0 - self.alpha) * g * g
        return [w - self.rate_at(t) * g / (square.sqrt() + self.eps), square]

    def tangent(
        self, parts: Parts, gradient: Tensor, d_parts: Parts, d_gradient: Tensor, t: int
    ) -> list[Tensor]:
        (w, square), (d_w, d_square) = parts, d_parts
        g, d_g = gradient + self.decay * w, d_gradient + self.decay * d_w
        square = self.alpha * square + (1.0 - self.alpha) * g * g
        d_square = self.alpha * d_square + 2.0 * (1.0 - self.alpha) * g * d_g
        root = square.sqrt()
        p = root + self.eps
        return [d_w - self.rate_at(t) * (d_g - g * _half_over(d_square, root) / p) / p, d_square]

    def preconditioner(self, parts: Parts, t: int) -> Number:
        return parts[1].sqrt() + self.eps


@dataclass(frozen=True)
class MomentumRMSprop(Rule):
    """RMSprop with momentum: ``v' = momentum v + g / (sqrt(s') + eps)``, ``w' = w - rate v'``.

    Parameters
    ----------
    rate : float or Tensor of shape (n,)
        Learning rate.
    decay : float or Tensor of shape (n,)
        Weight decay, added to the gradient as ``decay * weights``.
    schedule : callable, optional
        ``schedule(t)`` multiplies the rate at step `t`; 1 by default.
    age : int
        Steps that the optimiser had made before the map's step 0.
    alpha : float or Tensor of shape (n,)
        Share of the mean square that stays.
    eps : float or Tensor of shape (n,)
        Added to the root, in the unit of the gradient.
    momentum : float or Tensor of shape (n,)
        Share of the velocity that stays.
    """

    alpha: Number = 0.99
    eps: Number = 1e-8
    momentum: Number = 0.9

    slots: ClassVar[tuple[str, ...]] = ("weights", "square", "velocity")

    def step(self, parts: Parts, gradient: Tensor, t: int) -> list[Tensor]:
        w, square, velocity = parts
        g = gradient + self.decay * w
        square = self.alpha * square + (1.0 - self.alpha) * g * g
        velocity = self.momentum * velocity + g / (square.sqrt() + self.eps)
        return [w - self.rate_at(t) * velocity, square, velocity]

    def tangent(
        self, parts: Parts, gradient: Tensor, d_parts: Parts, d_gradient: Tensor, t: int
    ) -> list[Tensor]:
        (w, square, _), (d_w, d_square, d_velocity) = parts, d_parts
        g, d_g = gradient + self.decay * w, d_gradient + self.decay * d_w
        square = self.alpha * square + (1.0 - self.alpha) * g * g
        d_square = self.alpha * d_square + 2.0 * (1.0 - self.alpha) * g * d_g
        root = square.sqrt()
        p = root + self.eps
        d_velocity = self.momentum * d_velocity + (d_g - g * _half_over(d_square, root) / p) / p
        return [d_w - self.rate_at(t) * d_velocity, d_square, d_velocity]

    def threshold(self, t: int) -> Number:
        return 2.0 * (1.0 + self.momentum)

    def preconditioner(self, parts: Parts, t: int) -> Number:
        return parts[1].sqrt() + self.eps


@dataclass(frozen=True)
class Adam(Rule):
    """``m' = b1 m + (1 - b1) g``, ``s' = b2 s + (1 - b2) g^2``, ``w' = w - rate m^ / (sqrt(s^) + eps)``.

    `m^` and `s^` are ``m' / (1 - b1^(t+1))`` and ``s' / (1 - b2^(t+1))``.

    Parameters
    ----------
    rate : float or Tensor of shape (n,)
        Learning rate.
    decay : float or Tensor of shape (n,)
        Weight decay, added to the gradient as ``decay * weights``.
    schedule : callable, optional
        ``schedule(t)`` multiplies the rate at step `t`; 1 by default.
    age : int
        Steps that the optimiser had made before the map's step 0.
    beta1, beta2 : float or Tensor of shape (n,)
        Shares of the mean and of the mean square that stay.
    eps : float or Tensor of shape (n,)
        Added to the root, in the unit of the gradient.
    """

    beta1: Number = 0.9
    beta2: Number = 0.999
    eps: Number = 1e-8

    slots: ClassVar[tuple[str, ...]] = ("weights", "mean", "square")

    def step(self, parts: Parts, gradient: Tensor, t: int) -> list[Tensor]:
        w, mean, square = parts
        g = gradient + self.decay * w
        mean = self.beta1 * mean + (1.0 - self.beta1) * g
        square = self.beta2 * square + (1.0 - self.beta2) * g * g
        return [self._kept(t) * w - self.rate_at(t) * mean / self._divisor(square, t), mean, square]

    def tangent(
        self, parts: Parts, gradient: Tensor, d_parts: Parts, d_gradient: Tensor, t: int
    ) -> list[Tensor]:
        (w, mean, square), (d_w, d_mean, d_square) = parts, d_parts
        g, d_g = gradient + self.decay * w, d_gradient + self.decay * d_w
        mean = self.beta1 * mean + (1.0 - self.beta1) * g
        d_mean = self.beta1 * d_mean + (1.0 - self.beta1) * d_g
        square = self.beta2 * square + (1.0 - self.beta2) * g * g
        d_square = self.beta2 * d_square + 2.0 * (1.0 - self.beta2) * g * d_g
        p = self._divisor(square, t)
        d_p = self._scale(t) * _half_over(d_square, square.sqrt())
        moved = d_mean / p - mean * d_p / (p * p)
        return [self._kept(t) * d_w - self.rate_at(t) * moved, d_mean, d_square]

    def _kept(self, t: int) -> Number:
        """The share of the weights that decoupled decay leaves."""
        return 1.0

    def _scale(self, t: int) -> Number:
        step = t + self.age + 1
        return (1.0 - self.beta1**step) / (1.0 - self.beta2**step) ** 0.5

    def _divisor(self, square: Tensor, t: int) -> Tensor:
        """Both bias corrections in one: the mean is divided by this."""
        return square.sqrt() * self._scale(t) + self.eps * (1.0 - self.beta1 ** (t + self.age + 1))

    def threshold(self, t: int) -> Number:
        return (1.0 + self._kept(t)) * (1.0 + self.beta1) / (1.0 - self.beta1)

    def preconditioner(self, parts: Parts, t: int) -> Number:
        if t + self.age == 0:  # nothing has been seen; the first step divides by the gradient itself
            return torch.full_like(parts[2], torch.nan)
        step = t + self.age
        corrected = (parts[2] / (1.0 - self.beta2**step)).sqrt() + self.eps
        return corrected * (1.0 - self.beta1 ** (step + 1))


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam whose decay shrinks the weights by ``1 - rate decoupled`` and stays out of the gradient.

    Parameters
    ----------
    rate : float or Tensor of shape (n,)
        Learning rate.
    decay : float or Tensor of shape (n,)
        Weight decay, added to the gradient as ``decay * weights``.
    schedule : callable, optional
        ``schedule(t)`` multiplies the rate at step `t`; 1 by default.
    age : int
        Steps that the optimiser had made before the map's step 0.
    beta1, beta2 : float or Tensor of shape (n,)
        Shares of the mean and of the mean square that stay.
    eps : float or Tensor of shape (n,)
        Added to the root, in the unit of the gradient.
    decoupled : float or Tensor of shape (n,)
        Decay that stays out of the gradient.
    """

    decoupled: Number = 0.01

    def _kept(self, t: int) -> Number:
        return 1.0 - self.rate_at(t) * self.decoupled


def _half_over(change: Tensor, root: Tensor) -> Tensor:
    """Return the derivative of a square root; 0 where the root is 0, at the kink of ``|g|``."""
    return torch.where(root > 0, 0.5 * change / torch.where(root > 0, root, 1.0), 0.0)
