"""Rectified power units, their modified and learned forms, and the scaling of any activation."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phasescope.errors import InputError


class RePU(nn.Module):
    """Rectified power unit, ``max(z, 0)^p`` elementwise.

    ``p = 1`` is ReLU, ``p = 2`` squared ReLU, ``p = 3`` cubed ReLU. Deep networks of it have no critical
    initialisation for ``p > 1``: the ratio of the two susceptibilities is ``(2p - 1)/p`` at every kernel
    (arXiv:2408.02697). With ``p = 2``, ``C_W = 1`` and ``K_1 = 1`` layer 6 overflows in float16, layer 9 in
    bfloat16 and float32; :func:`phasescope.theory.overflow_depth` tells it for other networks.

    Parameters
    ----------
    p : int
        The power, at least 1.

    Raises
    ------
    InputError
        If `p` is not an integer of at least 1.
    """

    def __init__(self, p: int) -> None:
        super().__init__()
        self.p = _checked_power("RePU", p)

    def forward(self, z: Tensor) -> Tensor:
        """Return ``max(z, 0)^p``; same shape and dtype as `z`, NaN stays NaN."""
        return torch.relu(z) ** self.p

    def extra_repr(self) -> str:
        """Return the power, for ``repr``."""
        return f"p={self.p}"


class MRePU(nn.Module):
    """Modified rectified power unit, ``z (z + c)^p`` for ``z >= -c`` and 0 below, elementwise.

    Its minimum lies at ``z = -c/(p + 1)``. It is critical at ``C_W = c^(-2p)``, ``C_b = 0``, ``K* = 0``, a
    point that is marginally unstable: kernels grow by ``a1 K`` a layer, ``a1 = 3p (2p - 1)/c^2``
    (arXiv:2408.02697, where c = 1). NaN and infinity are passed on, never masked to zero, so that an
    overflowed network cannot look healthy. At ``z = -c`` all derivatives are those from the left, 0.
    With ``p = 2`` and ``K_1 = 0.01`` layer 11 overflows in float16, layer 13 in bfloat16 and float32;
    :func:`phasescope.theory.overflow_depth` tells it for other networks.

    Parameters
    ----------
    p : int
        The power, at least 1.
    shift : float
        The shift c, positive.

    Raises
    ------
    InputError
        If `p` is not an integer of at least 1, or `shift` no positive finite number.
    """

    def __init__(self, p: int, shift: float = 1.0) -> None:
        super().__init__()
        self.p = _checked_power("MRePU", p)
        self.shift = _checked_positive(f"MRePU({p}, shift={shift!r})", "shift", shift)

    def forward(self, z: Tensor) -> Tensor:
        """Return ``z (z + c)^p`` where ``z >= -c``, else 0; NaN and infinity propagate."""
        # Bounding z itself, not only z + c, keeps z = -inf from giving inf * 0. threshold keeps NaN in the
        # value and in the gradient, clamp in the value only.
        inside = F.threshold(z, -self.shift, -self.shift)
        return inside * (inside + self.shift) ** self.p

    def extra_repr(self) -> str:
        """Return the power, and the shift where it is not 1, for ``repr``."""
        return f"p={self.p}" if self.shift == 1 else f"p={self.p}, shift={self.shift:g}"


class LearnedMRePU(nn.Module):
    """Modified rectified power unit whose power and shift are learned, one pair for the whole module.

    ``z (z + c)^p`` for ``z > -c`` and 0 below, with ``p = 1 + softplus(raw_p)`` and
    ``c = softplus(raw_shift)``, so that any step of an optimiser leaves ``p > 1`` and ``c > 0``. Gradients of
    both orders are finite for finite `z`; at ``z = -c`` they are those from the left, 0. NaN and infinity
    are passed on. The critical ``C_W = c^(-2p)`` moves with both.

    Parameters
    ----------
    p : float
        The power at the start, above 1.
    shift : float
        The shift c at the start, positive.

    Attributes
    ----------
    raw_p, raw_shift : torch.nn.Parameter
        What the optimiser sees, two numbers.

    Raises
    ------
    InputError
        If `p` is not a finite number above 1, or `shift` no positive finite number.
    """

    def __init__(self, p: float = 2.0, shift: float = 1.0) -> None:
        super().__init__()
        call = f"LearnedMRePU(p={p!r}, shift={shift!r})"
        if not _is_number(p) or not p > 1:
            raise InputError(
                f"{call}: the power is not a finite number above 1.",
                "Start above 1, such as 1.1; for a fixed power of 1 use MRePU(1).",
            )
        _checked_positive(call, "shift", shift)
        self.raw_p = nn.Parameter(torch.tensor(_inverse_softplus(p - 1)))
        self.raw_shift = nn.Parameter(torch.tensor(_inverse_softplus(shift)))

    @property
    def p(self) -> Tensor:
        """The power as it is now, a tensor without dimensions that carries gradients."""
        return 1 + F.softplus(self.raw_p)

    @property
    def shift(self) -> Tensor:
        """The shift as it is now, a tensor without dimensions that carries gradients."""
        return F.softplus(self.raw_shift)

    def forward(self, z: Tensor) -> Tensor:
        """Return ``z (z + c)^p`` where ``z > -c``, else 0; NaN and infinity propagate."""
        shift = self.shift
        # NaN is not outside. Outside, z = 0 and z + c = 1 stand in, where no derivative is infinite.
        outside = z <= -shift
        inside = torch.where(outside, 0.0, z)
        return inside * torch.where(outside, 1.0, z + shift) ** self.p

    def extra_repr(self) -> str:
        """Return power and shift as they are now, for ``repr``."""
        return f"p={float(self.p.detach()):g}, shift={float(self.shift.detach()):g}"


class Scaled(nn.Module):
    """Any activation at another scale, ``sigma(s z)/s`` elementwise.

    It keeps the slope at 0 and multiplies ``a1`` and ``b1`` by ``s^2``: what repels from ``K* = 0``, as for
    MRePU, repels ``1/s^2`` times more slowly, so that a network of L layers survives a first-layer kernel of
    ``1/(2 s^2 a1 L)``.

    Parameters
    ----------
    activation : nn.Module or callable
        Elementwise activation sigma.
    s : float
        The scale, positive.

    Raises
    ------
    InputError
        If `activation` cannot be called, or `s` is no positive finite number.
    """

    def __init__(self, activation: Callable[[Tensor], Tensor], s: float) -> None:
        super().__init__()
        if not callable(activation):
            raise InputError(
                f"Scaled({activation!r}, {s!r}): the activation is neither a module nor a function.",
                "Give one, such as MRePU(2).",
            )
        self.activation = activation
        self.s = _checked_positive(f"Scaled({activation!r}, {s!r})", "scale", s)

    def forward(self, z: Tensor) -> Tensor:
        """Return ``sigma(s z)/s``."""
        return self.activation(self.s * z) / self.s

    def extra_repr(self) -> str:
        """Return the scale, for ``repr``."""
        return f"s={self.s:g}"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _inverse_softplus(value: float) -> float:
    return value + math.log(-math.expm1(-value))


def _checked_power(name: str, p: int) -> int:
    if isinstance(p, bool) or not isinstance(p, int) or p < 1:
        raise InputError(f"{name}(p={p!r}): the power is not an integer of at least 1.", f"Use {name}(2).")
    return p


def _checked_positive(call: str, what: str, value: float) -> float:
    if not _is_number(value) or not value > 0:
        raise InputError(
            f"{call}: the {what} is not a positive finite number.", f"Give a {what} such as 0.5."
        )
    return float(value)
