"""Extreme eigenvalues of a symmetric matrix that is known by its products alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
Product = Callable[[Tensor], Tensor]

_ROUNDINGS = 100.0  # of the largest eigenvalue: what is smaller counts as zero
_FLOOR = 10.0  # roundings of the largest eigenvalue that the others are known to at best
_DEPENDENT = 1e-6  # share of a start outside the others below which it is left out
_LOOSE = 5.0  # times the tolerance: residual that is allowed where the bound by the gap is within it
_SAME = 1e-6  # relative difference below which two sets of eigenvalues are the same
_COLUMNS = 2**16  # turned at a time


@dataclass(frozen=True)
class Subspace:
    """What is known of a symmetric matrix A from its products with an orthonormal `basis` (m, n).

    `values` (m,), largest first, and the columns of `rotation` (m, m) are eigenvalues and eigenvectors of
    ``basis A basis^T``. `errors` (m,) bounds the distance of each value from an eigenvalue of A.
    """

    values: Array
    errors: Array
    basis: Tensor
    rotation: Array
    products: int
    converged: bool

    def vectors(self, number: int) -> Tensor:
        """Return approximate eigenvectors of the largest values, in rows."""
        return torch.from_numpy(self.rotation[:, :number].T.copy()).to(self.basis) @ self.basis


@dataclass
class _Remainder:
    """A vector outside the basis that waits for its place in it.

    It is what the products of basis vectors, in the given proportions, leave outside; or a start.
    """

    vector: Tensor
    proportions: Array | None


def extreme_eigenvalues(
    product: Product,
    starts: Tensor,
    k: int,
    *,
    smallest: bool,
    tolerance: float,
    most_products: int,
    rows: int,
    draw: Callable[[], Tensor],
) -> Subspace:
    """Return a subspace in which the `k` largest eigenvalues, and the smallest if asked for, have converged.

    Lanczos' method on the Krylov space of all `starts` (s, n), one product at a time, each new vector made
    orthogonal to all others. It stops when each error is below `tolerance` relative to its value (or to
    `tolerance` times the largest value in size, where that is more) and each residual below 5 times that: the
    error alone passes too early where an eigenvalue is not seen yet. When the basis has `rows` vectors, the
    Ritz vectors nearest to those wanted take its place (thick restart). When nothing remains outside, the
    basis is invariant, and an eigenvalue that occurs more often than there are starts may be missing: `draw`
    gives another start, until one brings nothing new.
    """
    n = starts.shape[1]
    rounding = _ROUNDINGS * torch.finfo(starts.dtype).eps
    basis = starts.new_empty((rows, n))
    projected = np.zeros((rows, rows))
    queue = [_Remainder(start / start.norm(), None) for start in starts]
    values, errors, rotation = np.empty(0), np.empty(0), np.empty((0, 0))
    m = products = 0
    scale = 0.0
    invariant: Array | None = None  # the k largest values when nothing was left outside the last time
    converged = False
    while not converged and products < most_products:
        direction = _next_direction(queue, basis[:m], rounding * scale)
        if direction is None:
            before, invariant = invariant, values[:k]
            converged = m == n or k == 1
            if before is not None and len(before) == k:
                converged |= bool(np.allclose(before, invariant, rtol=_SAME, atol=rounding * scale))
            queue.append(_Remainder(draw(), None))
            continue
        if m == rows:
            m = _restart(basis, projected, queue, values, rotation, k, smallest=smallest)
        basis[m] = direction
        outside, inside = _outside(product(direction), basis[: m + 1])
        products += 1
        m += 1
        projected[m - 1, :m] = projected[:m, m - 1] = inside
        for each in queue:
            each.vector = each.vector - (each.vector @ direction) * direction
        queue.append(_Remainder(outside, np.eye(1, rows, m - 1)[0]))
        ascending, turned = np.linalg.eigh(projected[:m, :m])
        values, rotation = ascending[::-1], turned[:, ::-1]
        residuals = _residuals(queue, rotation)
        errors = _errors(values, residuals)
        scale = max(scale, float(np.abs(values).max()))
        started = all(each.proportions is not None for each in queue)
        left = max(float(each.vector.norm()) for each in queue) > rounding * scale
        if invariant is None and m >= k and started and (left or k == 1):
            allowed = np.maximum(
                tolerance * np.maximum(np.abs(values[:k]), tolerance * scale), rounding * scale
            )
            worst = np.maximum(errors, residuals / _LOOSE)
            converged = bool(np.all(worst[:k] <= allowed)) and (
                not smallest or bool(worst[-1] <= max(tolerance, rounding) * scale)
            )
    floor = _FLOOR * torch.finfo(starts.dtype).eps * scale
    return Subspace(values, np.maximum(errors, floor), basis[:m], rotation, products, converged)


def _next_direction(queue: list[_Remainder], basis: Tensor, zero: float) -> Tensor | None:
    """Take remainders until one does not lie in the basis; return it with length 1."""
    while queue and len(basis) < basis.shape[1]:
        taken = queue.pop(0)
        vector, _ = _outside(taken.vector, basis)
        length = float(vector.norm())
        if length > (_DEPENDENT if taken.proportions is None else zero):
            direction, _ = _outside(vector / length, basis)
            direction /= direction.norm()
            return direction
    queue.clear()
    return None


def _outside(vector: Tensor, basis: Tensor) -> tuple[Tensor, Array]:
    """Return the part of a vector outside the basis, and its components inside."""
    first = basis @ vector
    vector = vector - first @ basis
    second = basis @ vector  # what rounding left of the first time
    return vector - second @ basis, (first + second).double().cpu().numpy()


def _restart(
    basis: Tensor,
    projected: Array,
    queue: list[_Remainder],
    values: Array,
    rotation: Array,
    k: int,
    *,
    smallest: bool,
) -> int:
    """Replace the basis by the Ritz vectors nearest to those wanted; return their number."""
    m = len(values)
    kept = k + (m - k) // 2
    low = kept // 3 if smallest else 0
    places = [*range(kept - low), *range(m - low, m)]
    turned = torch.from_numpy(rotation[:, places].T.copy()).to(basis)
    for first in range(0, basis.shape[1], _COLUMNS):
        part = basis[:m, first : first + _COLUMNS]
        part[:kept] = turned @ part
    projected[:] = 0.0
    projected[range(kept), range(kept)] = values[places]
    for each in queue:
        if each.proportions is not None:
            each.proportions[:kept] = rotation[:, places].T @ each.proportions[:m]
            each.proportions[kept:] = 0.0
    return kept


def _residuals(queue: list[_Remainder], rotation: Array) -> Array:
    """Return ``|A y - value y|`` for each Ritz vector y: its share of all that products left outside."""
    vectors, weights = [], []
    for each in queue:
        if each.proportions is not None:
            vectors.append(each.vector)
            weights.append(each.proportions[: len(rotation)] @ rotation)
    stacked, shares = torch.stack(vectors), np.array(weights)
    gram = (stacked @ stacked.T).double().cpu().numpy()
    return np.asarray(np.sqrt(np.maximum(np.einsum("ij,ik,jk->k", gram, shares, shares), 0.0)))


def _errors(values: Array, residuals: Array) -> Array:
    """Return how far from an eigenvalue each Ritz value may be.

    That is its residual r at most, and ``r^2 / gap`` if no other eigenvalue is nearer than `gap` (Kato and
    Temple). The nearest other Ritz value, less its own residual, stands for that eigenvalue.
    """
    if len(values) == 1:
        return residuals
    gaps = np.abs(values[:, None] - values) - residuals
    np.fill_diagonal(gaps, np.inf)
    gap = np.maximum(gaps.min(1), residuals)
    return np.where(residuals > 0, residuals**2 / np.where(gap > 0, gap, 1.0), 0.0)
