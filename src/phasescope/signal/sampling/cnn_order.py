"""Order parameters of two replicas of a convolutional network, from their difference."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from phasescope.signal.sampling.cnn_dynamics import State, Vectors


def site_log_distances(h: Tensor, difference: Vectors) -> Tensor:
    r"""Return ``ln(1 - c)`` of every site, c being the correlation of the two channel vectors.

    With the part of the difference perpendicular to h, ``1 - c^2 = |e_perp|^2/|h + e|^2``, so that nothing is
    lost however small the difference e. Where a vector vanishes, c counts as 0, or 1 if both do.
    """
    e = difference.values
    largest = e.abs().amax(dim=1)
    unit = torch.where(largest > 0, largest, 1.0)
    direction = e / unit.unsqueeze(1)
    square = h.square().sum(dim=1)
    along = (h * direction).sum(dim=1) / torch.where(square > 0, square, 1.0)
    across = (direction - along.unsqueeze(1) * h).square().sum(dim=1)
    second = h + difference.true()
    second_square = second.square().sum(dim=1)
    c = (h * second).sum(dim=1) / (square * second_square).sqrt()
    c = torch.where((square > 0) & (second_square > 0), c, 0.0)
    shift = difference.shift.reshape(-1, *[1] * (largest.ndim - 1)) * math.log(2)
    near = across.log() + 2 * (unit.log() + shift) - second_square.log() - torch.log1p(c)
    logs = torch.where(c > 0.5, near, torch.log1p(-c))
    return torch.where(largest > 0, logs, -math.inf)


def averages(logs: Tensor) -> dict[str, Tensor]:
    """Return mean and typical distance of every network as logarithms."""
    flat = logs.flatten(1)
    differing = flat > -math.inf
    return {
        "log_distance": torch.logsumexp(flat, dim=1) - math.log(flat.shape[1]),
        # 0/0 where no site differs: the mean over no sites.
        "typical_log_distance": torch.where(differing, flat, 0.0).sum(dim=1) / differing.sum(dim=1),
    }


def spreading(logs: Tensor, threshold: float) -> dict[str, Tensor]:
    """Return how far and how strongly a difference has spread from the site at half the size."""
    flat = logs.flatten(1)
    largest = flat.amax(dim=1, keepdim=True)
    weights = torch.where(largest > -math.inf, (flat - largest).exp(), 0.0)
    squares = _squared_offsets(logs).to(flat).flatten()
    return {
        "log_mass": torch.logsumexp(flat, dim=1),
        "active_sites": (weights > threshold).sum(dim=1).to(torch.float64),
        "alive": (largest[:, 0] > math.log(threshold)).to(torch.float64),
        "square_spread": (weights * squares).sum(dim=1) / weights.sum(dim=1),
    }


def kernels(state: State) -> Tensor:
    """Return the mean square of the pre-activations, shape (networks, replicas)."""
    replicas = [state.h]
    if state.difference is not None:
        replicas.append(state.h + state.difference.true())
    return torch.stack([replica.flatten(1).square().mean(dim=1) for replica in replicas], dim=1)


def log_site_variance(h: Tensor) -> Tensor:
    """Return the log of the share of ``|h|^2`` that differs between sites, shape (networks,)."""
    rows = h.flatten(2)
    varying = (rows - rows.mean(dim=2, keepdim=True)).square().sum(dim=(1, 2))
    return (varying / rows.square().sum(dim=(1, 2))).log()


def _squared_offsets(logs: Tensor) -> Tensor:
    """Return the squared cyclic distance of every site from the one at half the size."""
    total = torch.zeros(logs.shape[1:], dtype=torch.float64)
    for axis, length in enumerate(logs.shape[1:]):
        offset = (torch.arange(length, dtype=torch.float64) - length // 2).abs()
        offset = torch.minimum(offset, length - offset)
        total += (offset**2).reshape(-1, *[1] * (logs.ndim - 2 - axis))
    return total
