"""Rectified power units and their modified form, as torch modules."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from phasescope.errors import InputError


class RePU(nn.Module):
    """Rectified power unit, ``max(z, 0)^p`` elementwise.

    ``p = 1`` is ReLU, ``p = 2`` squared ReLU, ``p = 3`` cubed ReLU. Deep networks of it have no critical
    initialisation for ``p > 1``: the ratio of the two susceptibilities is ``(2p - 1)/p`` at every kernel
    (arXiv:2408.02697).

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
    """Modified rectified power unit, ``z (z + 1)^p`` for ``z >= -1`` and 0 below, elementwise.

    Its minimum lies at ``z = -1/(p + 1)``. It is critical at ``C_W = 1``, ``C_b = 0``, ``K* = 0``, a point
    that is marginally unstable (arXiv:2408.02697). NaN and infinity are passed on, never masked to zero, so
    that an overflowed network cannot look healthy.

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
        self.p = _checked_power("MRePU", p)

    def forward(self, z: Tensor) -> Tensor:
        """Return ``z (z + 1)^p`` where ``z >= -1``, else 0; NaN and infinity propagate."""
        # Bounding z itself, not only z + 1, keeps z = -inf from giving inf * 0. maximum keeps NaN in the
        # value and in the gradient, clamp in the value only.
        inside = torch.maximum(z, z.new_tensor(-1.0))
        return inside * (inside + 1.0) ** self.p

    def extra_repr(self) -> str:
        """Return the power, for ``repr``."""
        return f"p={self.p}"


def _checked_power(name: str, p: int) -> int:
    if isinstance(p, bool) or not isinstance(p, int) or p < 1:
        raise InputError(f"{name}(p={p!r}): the power is not an integer of at least 1.", f"Use {name}(2).")
    return p
