"""The distance ``1 - c`` of replicas from mean products of their pre-activations, without cancellation."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

# Where less than this share of a squared difference is left across the two vectors, it is rounding.
_LOST = 1e-10


def pairs_of(replicas: int) -> list[tuple[int, int]]:
    """Return the pairs of replicas, (0, 1), (0, 2), ..., (1, 2), ..."""
    return list(itertools.combinations(range(replicas), 2))


def log_distances(gram: Tensor, log_scale: Tensor, paths: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return ``ln(1 - c)`` of every pair of replicas, c being the cosine of their pre-activation vectors.

    With ``e = h_b - h_a`` and ``n_a = |h_a|^2``,
    ``1 - c = (|e|^2 - (sqrt(n_b) - sqrt(n_a))^2)/(2 sqrt(n_a n_b))`` and
    ``sqrt(n_b) - sqrt(n_a) = e.(h_a + h_b)/(sqrt(n_a) + sqrt(n_b))``.

    Notes
    -----
    Relative error some 1e-15 times ``|e|^2/(2 n (1 - c))``, which is about 1 unless vectors of different
    length point the same way. NaN where one of the two vectors is 0 and the other is not.

    Shapes: `gram` (networks, rows, rows), `log_scale` (networks, rows), `paths` (networks or 1, replicas,
    rows).
    """
    first, second = (
        torch.tensor(side, device=gram.device) for side in zip(*pairs_of(paths.shape[1]), strict=True)
    )
    steps = paths[:, second] - paths[:, first]
    scales = log_scale[:, None, :].expand(gram.shape[0], len(first), -1)
    largest = scales.masked_fill(steps == 0, -math.inf).amax(dim=2)
    # Differences of exactly 0 have no finite scale to compare with.
    reference = largest.masked_fill(largest == -math.inf, 0.0)
    steps = steps * torch.exp((scales - reference[..., None]).masked_fill(steps == 0, 0.0))
    replicas = paths * torch.exp(log_scale)[:, None, :]
    squares = ((replicas @ gram) * replicas).sum(dim=2)
    lengths = squares.clamp_min(0.0).sqrt()
    n_first, n_second = lengths[:, first], lengths[:, second]
    along = steps @ gram
    square = (along * steps).sum(dim=2)
    gap = (along * (replicas[:, first] + replicas[:, second])).sum(dim=2) / (n_first + n_second)
    across = square - gap.square()
    parts = (replicas.abs() * gram.diagonal(dim1=1, dim2=2).sqrt()[:, None]).sum(dim=2).square()
    gone = squares < _LOST * parts
    longest = (steps.square() * gram.diagonal(dim1=1, dim2=2)[:, None]).amax(dim=2)
    lost = (across < _LOST * square) & (square > 0) | gone[:, first] | gone[:, second]
    lost |= (square < _LOST * longest) & (longest > 0)
    result = 2 * reference + across.clamp_min(0.0).log() - math.log(2) - n_first.log() - n_second.log()
    # Two vectors of length 0 coincide; the quotient is 0/0.
    result[(n_first == 0) & (n_second == 0)] = -math.inf
    return result, lost


def kernels(gram: Tensor, log_scale: Tensor, paths: Tensor) -> Tensor:
    """Return the mean squares of the replicas' pre-activations, shape (networks, replicas)."""
    replicas = paths * torch.exp(log_scale)[:, None, :]
    return ((replicas @ gram) * replicas).sum(dim=2)
