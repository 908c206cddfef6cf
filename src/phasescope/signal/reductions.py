"""Reductions of a row's output and tangent to a few numbers per sample, in float64 and in bounded memory."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_BLOCK = 1 << 18  # elements converted to float64 at a time: 2 MB


def blocks(samples: int, units: int) -> list[slice]:
    """Return slices of an even number of samples that hold about 2**18 elements each."""
    step = max(2, _BLOCK // max(units, 1) // 2 * 2)
    return [slice(start, min(start + step, samples)) for start in range(0, samples, step)]


def mean_square(z: Tensor) -> np.ndarray:
    """Return the mean square per unit of each sample; ``inf`` where a unit is not finite.

    Shapes: `z` (samples, units).
    """
    parts = []
    for part in blocks(*z.shape):
        squares = z[part].double().square().mean(dim=1)
        parts.append(torch.where(squares.isfinite(), squares, torch.inf))
    return np.asarray(torch.cat(parts).cpu())


def not_finite(z: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the fraction of units that are not finite in each sample, and whether one is NaN or +inf."""
    bad = ~z.isfinite()
    fraction = bad.double().mean(dim=1) if bool(bad.any()) else torch.zeros(len(z), dtype=torch.float64)
    broken = (z.isnan() | (z == torch.inf)).any(dim=1)
    return np.asarray(fraction.cpu()), np.asarray(broken.cpu())


def distances(z: Tensor) -> np.ndarray:
    """Return ``rho = 1 - c`` for the pairs (0, 1), (2, 3), ... of samples, without cancellation.

    ``rho = |a/|a| - b/|b||^2 / 2``, which keeps its relative precision as the two vectors come together.

    Shapes: `z` (samples, units).
    """
    pairs = len(z) // 2
    found: list[Tensor] = []
    for part in blocks(2 * pairs, z.shape[1]):
        block = z[part].double()
        scale = block.abs().amax(dim=1, keepdim=True)
        scaled = block / scale
        directions = scaled / torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
        found.append((directions[0::2] - directions[1::2]).square().sum(dim=1) / 2)
    return np.asarray(torch.cat(found).cpu()) if found else np.empty(0)


def split_tangent(z: Tensor, u: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each sample, ``|u_perp|^2 / n`` and ``z.u / n``, with ``u_perp = u - (z.u / z.z) z``.

    Shapes: `z` and `u` (samples, units).
    """
    across, along = [], []
    for part in blocks(*z.shape):
        z_block, u_block = z[part].double(), u[part].double()
        product = (z_block * u_block).sum(dim=1)
        square = z_block.square().sum(dim=1)
        share = torch.where(square > 0, product / square, torch.zeros_like(product))
        rest = u_block - share.unsqueeze(1) * z_block
        # What projecting leaves of a purely parallel tangent is rounding, not a perpendicular part.
        floor = (4 * torch.finfo(u.dtype).eps) ** 2 * u_block.square().sum(dim=1)
        perpendicular = rest.square().sum(dim=1)
        small = perpendicular <= floor
        across.append(torch.where(small, 0.0, perpendicular) / z.shape[1])
        along.append(product / z.shape[1])
    return np.asarray(torch.cat(across).cpu()), np.asarray(torch.cat(along).cpu())


def responds(u: Tensor, axis: int) -> np.ndarray:
    """Return which units along `axis` have a tangent other than zero in at least one sample or site."""
    other = [i for i in range(u.ndim) if i != axis % u.ndim]
    moving = u != 0
    return np.asarray((moving.any(dim=other) if other else moving).cpu())
