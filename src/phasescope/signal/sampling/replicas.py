"""Random networks advanced layer by layer, exactly in law, at a cost proportional to the width.

Given the activations of all replicas, the pre-activations of one neuron of the next layer are jointly
Gaussian and independent of the other neurons': their covariance is the Gram matrix of the activations. So no
weight matrix is drawn, only as many normals per neuron as there are replicas.

The rows of a network are the pre-activations h of replica 0, then the differences e of the other replicas,
then a tangent vector. A difference is propagated as ``D = phi(h + e) - phi(h)``, whose covariances hold no
bias: it may be of any size. One far below h is divided by its scale and moves as a tangent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from phasescope.errors import InputError
from phasescope.signal.differences import Differences
from phasescope.signal.sampling.order_parameter import kernels
from phasescope.signal.sampling.spanning_tree import Tree, detours, pair_squares, regrafted, star

# ln of e/h below which phi is linear over the difference, to far beyond float64.
_LINEAR = math.log(1e-30)
# Neurons times networks held at once: small enough for the processor's cache.
_TILE = 2**15
_TILE_ON_A_DEVICE = 2**22
# In squares, what is left where two vectors cancel.
_ROUNDING = 1e-26
# Below this share of what it is the sum of, the square of a replica is rounding.
_DEAD = 1e-14
# The same for what a row has across the rows before it.
_DEPENDENT = 1e-14


@dataclass(frozen=True)
class Ensemble:
    """What all networks share; see :func:`phasescope.signal.sample_mlp`."""

    rule: Differences
    width: int
    C_W: float
    C_b: float
    replicas: int
    tangent: bool
    residual: float
    layer_norm: bool
    scale_free: bool

    @property
    def whole(self) -> bool:
        """Whether a layer has to be there as a whole before its activations are taken."""
        return self.residual > 0 or self.layer_norm or self.scale_free or self.replicas > 2

    @property
    def rows(self) -> int:
        """Number of vectors carried for each network."""
        return self.replicas + self.tangent


class Layer(NamedTuple):
    """What is known of a layer: mean products of the rows over neurons, and what the rows stand for.

    Replica a is the sum of the rows, times their scales, with weights ``paths[:, a]``; its kernel is the mean
    square of that times ``exp(2 log_length)``. `chance` is the mean square of the normals behind each row,
    ``chi^2_n/n``, where it was asked for.
    """

    first: bool
    gram: Tensor
    log_scale: Tensor
    log_length: Tensor
    paths: Tensor
    chance: Tensor | None


class Block:
    """Some networks, advanced together."""

    def __init__(
        self,
        ensemble: Ensemble,
        networks: int,
        normal: Callable[[Tensor], None],
        *,
        kernel: float,
        distance: float,
        watch: bool = False,
        device: str = "cpu",
    ) -> None:
        self.ensemble, self.networks, self.normal, self.watch = ensemble, networks, normal, watch
        self.new: dict[str, Any] = {"dtype": torch.float64, "device": device}
        r = ensemble.rows
        self.tile = tile_of(ensemble, device)
        self.buffers = [torch.empty(networks * r * self.tile, **self.new) for _ in range(3)]
        self.log_length = torch.zeros(networks, ensemble.replicas, **self.new)
        self.tree = star(ensemble.replicas, r, device)
        self.depth = 0
        self._begin(kernel, distance)

    def _begin(self, kernel: float, distance: float) -> None:
        m, r = self.ensemble.replicas, self.ensemble.rows
        covariance = torch.eye(r, **self.new)
        covariance[0, 0] = kernel
        # Differences of replicas with one mutual correlation, over their common scale.
        covariance[1:m, 1:m].mul_(0.5).add_(0.5)
        covariance[0, 1:m] = covariance[1:m, 0] = -math.sqrt(kernel) * math.sqrt(distance / 2)
        self.log_scale = torch.zeros(self.networks, r, **self.new)
        self.log_scale[:, 1:m] = 0.5 * (math.log(2) + math.log(kernel) + math.log(distance))
        self._factor(covariance.expand(self.networks, r, r).clone(), None)

    def advance(self, *, record: bool, last: bool) -> Layer | None:
        """Draw the next layer, and return what is known of it where `record` is set."""
        self.depth += 1
        n, whole = self.ensemble.width, self.ensemble.whole
        gram = products = noises = torch.zeros(())
        for start in range(0, n, self.tile):
            rows, noise = self._draw(min(self.tile, n - start))
            if record or whole:
                gram = gram + rows @ rows.mT
            if self.watch:
                noises = noises + noise @ noise.mT
            if not (whole or last):
                products = products + self._products(rows)
        gram = gram / n
        if self.ensemble.scale_free:
            gram = self._equalise(rows, gram)
        layer = self._layer(gram, noises / n) if record else None
        if not last:
            self._respond(rows, gram, products)
        return layer

    def _layer(self, gram: Tensor, noises: Tensor) -> Layer:
        chance = None
        if self.watch:
            diagonal = ((self.factor @ noises) * self.factor).sum(dim=2)
            chance = diagonal / self.factor.square().sum(dim=2)
        return Layer(self.depth == 1, gram, self.log_scale, self.log_length.clone(), self.tree.paths, chance)

    def _view(self, buffer: int, size: int) -> Tensor:
        shape = (self.networks, self.ensemble.rows, size)
        return self.buffers[buffer][: math.prod(shape)].view(shape)

    def _draw(self, size: int) -> tuple[Tensor, Tensor]:
        rows, noise = self._view(0, size), self._view(1, size)
        self.normal(noise)
        if self.ensemble.residual and self.depth > 1:
            rows.mul_(self.carried).baddbmm_(self.factor, noise)
        else:
            torch.bmm(self.factor, noise, out=rows)
        return rows, noise

    def _respond(self, rows: Tensor, gram: Tensor, products: Tensor) -> None:
        """Turn the layer into the covariance of the next one's fresh part."""
        e = self.ensemble
        if e.whole:
            inner = self._normalised(rows, gram) if e.layer_norm else rows
            products = self._products(inner)
            if e.replicas > 2:
                gram, products = self._regraft(rows, inner, gram, products)
        added = 1 - e.residual**2
        covariance = products.mul_(added * e.C_W / e.width)
        covariance[:, 0, 0] += added * e.C_b
        kept = gram.diagonal(dim1=1, dim2=2) * e.residual**2 if e.residual else None
        self._factor(covariance, kept)

    def _products(self, rows: Tensor) -> Tensor:
        m, h = self.ensemble.replicas, rows[:, :1]
        images = self._view(2, rows.shape[2])
        images[:, :1] = self.ensemble.rule.value(h)
        if m > 1:
            self._differences(h, rows, images[:, 1:m])
        if self.ensemble.tangent:
            torch.mul(self.ensemble.rule.slope(h), rows[:, m:], out=images[:, m:])
        return images @ images.mT

    def _differences(self, h: Tensor, rows: Tensor, images: Tensor) -> None:
        rule, linear, m = self.ensemble.rule, self.linear, self.ensemble.replicas
        e = rows[:, 1:m]
        if not self.tree.star:
            h = (self.tree.beginnings()[:, 1:m] * torch.exp(self.log_scale)[:, None]) @ rows
        if self.linear_ones == 0:
            images.copy_(rule.difference(h, e))
        elif self.linear_ones == linear.numel():
            torch.mul(rule.slope(h), e, out=images)
        else:
            h = h.expand_as(e)
            images[linear] = rule.slope(h[linear]) * e[linear]
            images[~linear] = rule.difference(h[~linear], e[~linear])

    def _regraft(self, rows: Tensor, inner: Tensor, gram: Tensor, products: Tensor) -> tuple[Tensor, Tensor]:
        """Carry other differences where the images of two replicas are close, but not joined by an edge."""
        for _ in range(self.ensemble.replicas):
            square, edges, scale = pair_squares(products, self.log_scale, self.tree)
            needed = detours(square, edges)
            if not bool(needed.any()):
                break
            tree, change = regrafted(square, scale, self.tree)
            here = needed[:, None]
            paths = torch.where(here[..., None], tree.paths, self.tree.paths)
            self.tree = Tree(paths, torch.where(here, tree.parents, self.tree.parents), False)
            change = torch.where(here[..., None], change, torch.eye(change.shape[1], **self.new))
            change = self._rescaled(change)
            squares = (change.square() * gram.diagonal(dim1=1, dim2=2)[:, None]).sum(dim=2)
            rows.copy_(change @ rows)
            if inner is not rows:
                inner.copy_(change @ inner)
            if self.ensemble.scale_free:
                gram = self._without_rounding(rows, squares)
            else:
                gram = change @ gram @ change.mT
            products = self._products(inner)
        return gram, products

    def _rescaled(self, change: Tensor) -> Tensor:
        """Give each new row the largest scale of its parts, and return the change of scaled rows."""
        m = self.ensemble.replicas
        parts = self.log_scale[:, None].expand_as(change).masked_fill(change == 0, -math.inf)
        scale = parts.amax(dim=2)
        result = change * torch.exp(parts - scale[..., None]).nan_to_num(nan=0.0)
        self.log_scale = scale
        self.linear = scale[:, 1:m] != 0
        self.linear_ones = int(self.linear.sum())
        return result

    def _equalise(self, rows: Tensor, gram: Tensor) -> Tensor:
        """Divide each replica by its length, which a scale-free network only passes on."""
        reference = gram.diagonal(dim1=1, dim2=2) * torch.exp(2 * self.log_scale)
        parts = (self.tree.paths * reference[:, None]).sum(dim=2)
        # A replica whose units are all off is 0 for ever; the sum of its rows is rounding.
        dead = (kernels(gram, self.log_scale, self.tree.paths) < _DEAD * parts) | (
            self.log_length == -math.inf
        )
        lengths, change = unit_rows(gram, self.log_scale, self.tree, dead)
        m = self.ensemble.replicas
        if self.ensemble.tangent:
            change[:, m] = 0
            change[:, m, m] = 1
        self.log_length += lengths.log()
        squares = (change.square() * gram.diagonal(dim1=1, dim2=2)[:, None]).sum(dim=2)
        rows.copy_(change @ rows)
        return self._without_rounding(rows, squares)

    def _without_rounding(self, rows: Tensor, squares: Tensor) -> Tensor:
        """Set differences to 0 that are rounding beside the `squares` they come from; return mean products.

        Replicas of a scale-free network that point the same way do so for ever.
        """
        gram = rows @ rows.mT / self.ensemble.width
        same = gram.diagonal(dim1=1, dim2=2) < _ROUNDING * squares
        same[:, 0] = same[:, self.ensemble.replicas :] = False
        self.log_scale = self.log_scale.masked_fill(same, -math.inf)
        rows.masked_fill_(same[:, :, None], 0.0)
        return gram.masked_fill(same[:, :, None] | same[:, None], 0.0)

    def _normalised(self, rows: Tensor, gram: Tensor) -> Tensor:
        mean = rows.mean(dim=2, keepdim=True)
        centred = gram - mean * mean.mT
        _, change = unit_rows(centred, self.log_scale, self.tree)
        inner = change @ (rows - mean)
        squares = (change.square() * centred.diagonal(dim1=1, dim2=2)[:, None]).sum(dim=2)
        return inner.masked_fill_((inner.square().mean(dim=2) < _ROUNDING * squares)[:, :, None], 0.0)

    def _factor(self, covariance: Tensor, kept: Tensor | None) -> None:
        """Take the square root of the covariance, and choose the scales of the rows.

        Shapes: `covariance` (networks, rows, rows), `kept` (networks, rows).
        """
        # Small matrices: numpy's calls cost a third of torch's, and a device would wait for each.
        added, old = covariance.numpy(force=True), self.log_scale.numpy(force=True)
        self._check(added)
        m = self.ensemble.replicas
        power = added.diagonal(axis1=1, axis2=2)
        power = power if kept is None else power + kept.numpy(force=True)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            amplitude = old + 0.5 * np.log(power)
            linear = amplitude < amplitude[:, :1] + _LINEAR
            linear[:, 0], linear[:, m:] = False, True
            scale = np.where(linear, amplitude, 0.0)
            # -inf - (-inf): a difference that is exactly 0 stays so.
            ratio = np.nan_to_num(np.exp(old - scale), nan=0.0)[:, :, None]
        self.log_scale = self._tensor(scale)
        self.linear_ones = int(linear[:, 1:m].sum())
        self.linear = self._tensor(linear[:, 1:m])
        self.factor = self._tensor(semidefinite_root(added) * ratio)
        if self.ensemble.residual:
            self.carried = self._tensor(self.ensemble.residual * ratio)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.new["device"])

    def _check(self, covariance: np.ndarray) -> None:
        if not np.isfinite(covariance).all():
            bad = int((~np.isfinite(covariance)).any(axis=(1, 2)).sum())
            raise InputError(
                f"{self.ensemble.rule.activation.name}: the pre-activations overflow in layer "
                f"{self.depth + 1} of {bad} of {self.networks} networks, at C_W = {self.ensemble.C_W:g}, "
                f"C_b = {self.ensemble.C_b:g}.",
                f"Sample at most {self.depth} layers, or take smaller variances or a smaller kernel.",
            )


def networks_at_once(ensemble: Ensemble, device: str) -> int:
    """Return how many networks a block should hold; it depends on nothing else."""
    return max(1, 2 * _tile(device) // (ensemble.width * max(2, ensemble.rows)))


def tile_of(ensemble: Ensemble, device: str) -> int:
    """Return how many neurons of a layer are drawn at once."""
    return ensemble.width if ensemble.whole else min(ensemble.width, _tile(device))


def _tile(device: str) -> int:
    return _TILE if torch.device(device).type == "cpu" else _TILE_ON_A_DEVICE


def unit_rows(
    gram: Tensor, log_scale: Tensor, tree: Tree, dead: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the lengths of the replicas, and the matrix that takes rows to those of replicas of length 1.

    With q = e.(h_a + h_b), the difference of two replicas over their lengths is
    ``e/n_b - h_a q/(n_a n_b (n_a + n_b))``; that of a tangent u of h is ``(u - h h.u/n^2)/n``.

    Shapes: `dead` (networks, replicas).
    """
    m = tree.paths.shape[1]
    scale = torch.exp(log_scale)
    replicas, begins = tree.paths * scale[:, None], tree.beginnings() * scale[:, None]
    lengths = ((replicas @ gram) * replicas).sum(dim=2).clamp_min(0.0).sqrt()
    if dead is not None:
        lengths = lengths.masked_fill(dead, 0.0)
    before = lengths.gather(1, tree.parents.expand(lengths.shape[0], -1))
    after = torch.cat([lengths, before[:, m:]], dim=1)
    shrink, shrink_before = (torch.where(size > 0, 1 / size, 0.0) for size in (after, before))
    squares = gram.diagonal(dim1=1, dim2=2) * scale
    squares[:, m:] = 0
    q = 2 * (gram * begins).sum(dim=2) + squares
    weight = -q * shrink_before * shrink / (before + after)
    # A replica of length 0 has no direction: what is left of the difference is the other replica's.
    weight = torch.where((after == 0) & (before > 0) & (scale > 0), -shrink_before / scale, weight)
    weight = torch.where(before > 0, weight, 0.0)
    change = torch.diag_embed(shrink)
    change[:, 1:] += weight[:, 1:, None] * begins[:, 1:]
    return lengths, change


def semidefinite_root(covariance: np.ndarray) -> np.ndarray:
    """Return lower triangular L with ``L L^T = covariance``, also where that is singular.

    Shapes: `covariance` (networks, rows, rows).
    """
    root = np.zeros_like(covariance)
    for j in range(covariance.shape[1]):
        column = covariance[:, j:, j]
        if j:
            column = column - (root[:, j:, :j] @ root[:, j, :j, None])[:, :, 0]
        # A row along the rows before it leaves a pivot of rounding.
        pivot = np.where(column[:, :1] > _DEPENDENT * covariance[:, j, j, None], column[:, :1], np.inf)
        root[:, j:, j] = column / np.sqrt(pivot)
    return root
