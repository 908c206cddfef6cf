"""Which differences of replicas to carry, so that every pair's difference is a sum that does not cancel.

With replicas as the points of a graph and their distances as its lengths, the edges of a minimal spanning
tree are carried. No pair is closer than the longest edge on the path between the two, so that their
difference, the sum of these edges, is known to nearly full precision.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

# A path may hold an edge this many times longer, in squares, than the distance of its ends.
_DETOUR = 1e4


class Tree(NamedTuple):
    """How replicas are sums of rows: replica 0, then the edge to each other replica, then tangents."""

    paths: Tensor  # (networks or 1, replicas, rows): weights, 0 or 1, of the rows that add up to each replica
    # (networks or 1, rows): the replica in which each row's edge begins; replica 0 for a tangent
    parents: Tensor
    star: bool  # whether every edge begins in replica 0

    def beginnings(self) -> Tensor:
        """Return the path to the beginning of each row's edge, shape (networks or 1, rows, rows)."""
        return self.paths.gather(1, self.parents[:, :, None].expand(-1, -1, self.paths.shape[2]))


def star(replicas: int, rows: int, device: str) -> Tree:
    """Return the tree in which every edge begins in replica 0."""
    paths = torch.eye(replicas, rows, dtype=torch.float64, device=device)[None]
    paths[:, :, 0] = 1
    return Tree(paths, torch.zeros(1, rows, dtype=torch.long, device=device), True)


def pair_squares(gram: Tensor, log_scale: Tensor, tree: Tree) -> tuple[Tensor, Tensor, Tensor]:
    """Return of all pairs the squared distance, the longest squared edge between them, and ln of their scale.

    Shapes: `gram` (networks, rows, rows), `log_scale` (networks, rows).
    """
    steps = tree.paths[:, :, None] - tree.paths[:, None]
    scales = log_scale[:, None, None].expand(-1, *steps.shape[1:])
    largest = scales.masked_fill(steps == 0, -math.inf).amax(dim=3)
    reference = largest.masked_fill(largest == -math.inf, 0.0)
    steps = steps * torch.exp((scales - reference[..., None]).masked_fill(steps == 0, 0.0))
    square = torch.einsum("nabi,nij,nabj->nab", steps, gram, steps)
    edges = (steps.square() * gram.diagonal(dim1=1, dim2=2)[:, None, None]).amax(dim=3)
    return square, edges, reference


def detours(square: Tensor, edges: Tensor) -> Tensor:
    """Return which networks need another tree, shape (networks,)."""
    return (square * _DETOUR < edges).flatten(1).any(dim=1)


def regrafted(square: Tensor, scale: Tensor, tree: Tree) -> tuple[Tree, Tensor]:
    """Return the minimal spanning trees, and the matrix that takes the present rows to the new ones."""
    count, r = square.shape[0], tree.paths.shape[2]
    # Below rounding the order of distances means nothing; it is found again from the new edges.
    length = 2 * scale + square.clamp_min(1e-300).log()
    every = torch.arange(count, device=square.device)
    old = tree.paths.expand(count, -1, -1)
    change = torch.eye(r, dtype=square.dtype, device=square.device).repeat(count, 1, 1)
    paths = torch.zeros_like(old)
    paths[:, 0, 0] = 1
    parents = torch.zeros(count, r, dtype=torch.long, device=square.device)
    for child, parent in _prim(length, every):
        change[every, child] = old[every, child] - old[every, parent]
        paths[every, child] = paths[every, parent]
        paths[every, child, child] = 1
        parents[every, child] = parent
    return Tree(paths, parents, False), change


def _prim(length: Tensor, every: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Walk along the minimal spanning tree, from replica 0."""
    count, m, _ = length.shape
    parents = torch.zeros(count, m, dtype=torch.long, device=length.device)
    nearest = length[:, 0].clone()
    outside = torch.ones_like(nearest, dtype=torch.bool)
    outside[:, 0] = False
    for _ in range(m - 1):
        child = nearest.masked_fill(~outside, math.inf).argmin(dim=1)
        outside[every, child] = False
        yield child, parents[every, child]
        closer = (length[every, child] < nearest) & outside
        parents = torch.where(closer, child[:, None], parents)
        nearest = torch.where(closer, length[every, child], nearest)
