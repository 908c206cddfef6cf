"""The second derivative of a loss at one state, as an optimiser sees it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from phasescope.errors import InputError
from phasescope.training.lanczos import Product
from phasescope.training.maps import Map, TrainingMap
from phasescope.training.objective import Objective
from phasescope.training.rules import Number, Rule


@dataclass(frozen=True)
class Curvature:
    """The Hessian H of a loss, and the optimiser that moves on it if there is one.

    `preconditioner` is what the optimiser divides a gradient by, 1 where it does not.
    """

    size: int
    loss: float
    hessian: Product
    rule: Rule | None
    preconditioner: Number
    point: Tensor

    def scaled(self, weight: Number, shift: Number) -> Product:
        """Return products with ``W^(1/2) (H + shift) W^(1/2)``, `weight` being the diagonal of W."""
        root, added = self._tensor(weight).sqrt(), self._tensor(shift)

        def product(v: Tensor) -> Tensor:
            found = root * (self.hessian(root * v) + added * (root * v))
            if not bool(found.isfinite().all()):
                raise InputError(
                    f"The loss is {self.loss:.4g} and its second derivative is not finite.",
                    "Check the loss for roots and norms at zero.",
                )
            return found

        return product

    def _tensor(self, number: Number) -> Tensor:
        return torch.as_tensor(number, dtype=self.point.dtype, device=self.point.device)

    def preconditioned(self, t: int) -> tuple[Product, float | None]:
        """Return products with the matrix whose largest eigenvalue decides stability, and its threshold.

        With c the stable range of ``rate (h / p + decay)`` by which rules state it, a mode turns around at
        ``H w = diag(c p / rate) w``, whatever differs from parameter to parameter.
        """
        if self.rule is None:
            return self.scaled(1.0, 0.0), None
        rate, p = self._tensor(self.rule.rate_at(t)), self._tensor(self.preconditioner)
        u = rate / self._tensor(self.rule.threshold(t))
        most = float(u.max())
        if not most > 0:
            raise InputError(
                f"The learning rate of step {t} is {float(rate.max())}.",
                "Measure at a step where it is above 0.",
            )
        return self.scaled(u / most / p, self.rule.decay), 1 / most

    def slow_motion(self, t: int) -> Product:
        """Return products with the matrix of ``1 - multiplier``, for directions in which training is slow.

        A constant gradient g moves the weights by ``rate g / p`` a step, momentum by ``(1 - dampening) / (1 -
        momentum)`` times as much. Without an optimiser the matrix is the Hessian.
        """
        rule, p = self.rule, self.preconditioner
        if rule is None:
            return self.scaled(1.0, 0.0)
        gain = (1.0 - getattr(rule, "dampening", 0.0)) / (1.0 - getattr(rule, "momentum", 0.0))
        return self.scaled(rule.rate_at(t) * gain / p, rule.decay + getattr(rule, "decoupled", 0.0) * p)


def curvature(of: Map | Objective, x: Tensor | None, t: int) -> Curvature:
    """Return the curvature of a loss at a state, or at the initial one."""
    if isinstance(of, TrainingMap):
        objective, size = of.objective, of.size
    elif isinstance(of, Objective):
        objective, size = of, of.size
    else:
        raise InputError(
            f"{type(of).__name__} has no loss.",
            "Pass a training_map or an objective; tangent_exponents takes any map.",
        )
    state = of.initial if x is None else torch.as_tensor(x).detach().to(objective.initial)
    if state.shape != (size,):
        raise InputError(
            f"The state has shape {tuple(state.shape)}.", f"Pass a vector of {size} numbers, as `initial` is."
        )
    w = state[: objective.size]
    loss, _, product = objective.linearised(w, t)
    if not bool(loss.isfinite()):
        raise InputError(
            f"The loss of step {t} is {loss.item()}.",
            "Measure before it diverges, or lower the learning rate.",
        )
    rule = of.rule if isinstance(of, TrainingMap) else None
    preconditioner: Number = 1.0
    if isinstance(of, TrainingMap):
        parts = dict(zip(of.rule.slots, of.parts(state), strict=True))
        if "square" in parts and not bool(parts["square"].any()):
            raise InputError(
                f"{type(of.rule).__name__} has seen no gradient yet, so what it divides by is unknown.",
                "Measure after a step: x = map.step(map.initial, 0), t = 1.",
            )
        preconditioner = of.rule.preconditioner(of.parts(state), t)
    return Curvature(objective.size, float(loss), product, rule, preconditioner, w)
