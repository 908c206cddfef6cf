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
import numbers
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from phasescope.activations import Activation
from phasescope.errors import InputError
from phasescope.signal.sampling.differences import Differences, differences, two_slopes
from phasescope.theory import MeanField
from phasescope.theory.moments import second_moment

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
# Where less than this share of a squared difference is left across the two vectors, it is rounding.
_LOST = 1e-10
# A path may hold an edge this many times longer, in squares, than the distance of its ends.
_DETOUR = 1e4


@dataclass
class Ensemble:
    """What all networks share, checked; see :func:`phasescope.signal.sample_mlp`."""

    function: Activation
    width: int
    C_W: float
    C_b: float
    replicas: int = 2
    tangent: bool = False
    residual: float = 0.0
    layer_norm: bool = False

    def __post_init__(self) -> None:
        check_counts(width=self.width, replicas=self.replicas)
        for name, value, least in (("C_W", self.C_W, "above 0"), ("C_b", self.C_b, "of at least 0")):
            if not is_number(value) or value < 0 or (value == 0 and name == "C_W"):
                raise InputError(f"{name} = {value!r}.", f"Give a finite number {least}.")
        if not is_number(self.residual) or not 0 <= self.residual < 1:
            raise InputError(f"residual = {self.residual!r}.", "The residual weight lies in [0, 1).")
        if self.replicas > 1 and self.width < 2:
            raise InputError(
                f"width = {self.width} with {self.replicas} replicas: two vectors of one entry are always "
                "parallel.",
                "Take a width of at least 2.",
            )
        if self.layer_norm and self.width < 3:
            raise InputError(
                f"layer_norm with width = {self.width}: what is left of so few neurons is a sign.",
                "Take a width of at least 3.",
            )
        if self.tangent and self.function.jumps:
            jump = min(self.function.jumps, key=abs)
            raise InputError(
                f"Activation {self.function.name!r} jumps at z = {jump:g}: it has no tangent.",
                "Follow two replicas at a small distance instead.",
            )
        self.C_W, self.C_b, self.residual = float(self.C_W), float(self.C_b), float(self.residual)

    @cached_property
    def rule(self) -> Differences:
        """How the activation acts on values, differences and tangents."""
        return differences(self.function)

    @cached_property
    def scale_free(self) -> bool:
        """Whether a network only passes on the length of a replica."""
        return self.C_b == 0 and not self.layer_norm and two_slopes(self.function) is not None

    @property
    def whole(self) -> bool:
        """Whether a layer has to be there as a whole before its activations are taken."""
        return self.residual > 0 or self.layer_norm or self.scale_free or self.replicas > 2

    @property
    def rows(self) -> int:
        """Number of vectors carried for each network."""
        return self.replicas + self.tangent

    def first_kernel(self, kernel: float | None) -> float:
        """Return the kernel of the first layer: the user's, or the fixed point at infinite width."""
        if kernel is not None:
            if not is_number(kernel) or kernel <= 0:
                raise InputError(f"kernel = {kernel!r}.", "Give a finite number above 0.")
            return float(kernel)
        if self.layer_norm:
            return self.C_b + self.C_W * second_moment(self.function, 1.0)
        K = MeanField(self.function, self.C_W, self.C_b).fixed_point().K
        if not 0 < K < math.inf:
            fate = "vanishes" if K == 0 else "diverges"
            raise InputError(
                f"{self.function.name} at C_W = {self.C_W:g}, C_b = {self.C_b:g}: the kernel {fate} with "
                "depth, so no fixed point can be the kernel of the first layer.",
                "Give kernel=, the variance of the pre-activations of layer 1.",
            )
        return K


def check_counts(**counts: object) -> None:
    """Refuse numbers that are not whole or below 1."""
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
            raise InputError(f"{name} = {value!r}.", "Give a whole number of at least 1.")


def check_seed(seed: object) -> None:
    """Refuse a seed that is not a whole number from 0."""
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or seed < 0:
        raise InputError(f"seed = {seed!r}.", "Give a whole number from 0.")


def is_number(value: object) -> bool:
    """Return whether `value` is a finite real number."""
    return not isinstance(value, bool) and isinstance(value, numbers.Real) and math.isfinite(value)


class Layer(NamedTuple):
    """What is known of a layer: mean products of the rows over neurons, and what the rows stand for.

    Replica a is the sum of the rows, times their scales, with weights ``paths[:, a]``; its kernel is the mean
    square of that times ``exp(2 log_length)``. `chance` is the mean square of the normals behind each row,
    ``chi^2_n/n``, where it was asked for.
    """

    depth: int
    gram: Tensor  # (networks, rows, rows), each row divided by its scale
    log_scale: Tensor  # (networks, rows); -inf for a difference that is exactly 0
    log_length: Tensor  # (networks, replicas); -inf for a replica that is 0
    paths: Tensor  # (networks or 1, replicas, rows)
    chance: Tensor | None  # (networks, rows)

    def log_tangent_square(self) -> Tensor:
        """Return the logarithm of the tangent's mean square, shape (networks,)."""
        return self.gram[:, -1, -1].log() + 2 * self.log_scale[:, -1]

    def kernels(self) -> Tensor:
        """Return the mean squares of the replicas' pre-activations, shape (networks, replicas)."""
        return _squares(self.gram, self.log_scale, self.paths) * torch.exp(2 * self.log_length)

    def log_distances(self) -> Tensor:
        r"""Return ``ln(1 - c)`` of every pair of replicas, c being the cosine of their pre-activations.

        With ``e = h_b - h_a`` and ``n_a = |h_a|^2``,
        ``1 - c = (|e|^2 - (sqrt(n_b) - sqrt(n_a))^2)/(2 sqrt(n_a n_b))`` and
        ``sqrt(n_b) - sqrt(n_a) = e.(h_a + h_b)/(sqrt(n_a) + sqrt(n_b))``.

        Shape (networks, pairs), in the order (0, 1), (0, 2), ..., (1, 2), ... Relative error some 1e-15 times
        ``|e|^2/(2 n (1 - c))``, which is about 1 unless vectors of different length point the same way. Minus
        infinity where the two coincide. NaN where one of the two is 0 and the other is not, and where nothing
        but rounding is left: the two differ in length alone, are alike but not joined by an edge, or one is
        tiny beside the other.
        """
        gram, paths = self.gram, self.paths
        first, second = torch.combinations(torch.arange(paths.shape[1], device=gram.device)).T
        steps, scale = _common_scale(paths[:, second] - paths[:, first], self.log_scale[:, None])
        replicas = paths * torch.exp(self.log_scale)[:, None]
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
        result = 2 * scale + across.clamp_min(0.0).log() - math.log(2) - n_first.log() - n_second.log()
        # Two vectors of length 0 coincide; the quotient is 0/0.
        result[(n_first == 0) & (n_second == 0)] = -math.inf
        dead = self.log_length == -math.inf
        result = result.masked_fill(lost | (dead[:, first] != dead[:, second]), math.nan)
        return result.masked_fill(dead[:, first] & dead[:, second], -math.inf)


def blocks(
    ensemble: Ensemble,
    networks: int,
    *,
    seed: int,
    kernel: float,
    distance: float,
    watch: bool = False,
    device: str = "cpu",
) -> Iterator[tuple[slice, Block]]:
    """Yield blocks of networks and which they are, each block with a random stream of its own.

    The first layer has this `kernel` and `distance`; with `watch`, layers tell the chance behind their rows.
    """
    at_once = networks_at_once(ensemble, device)
    for index, start in enumerate(range(0, networks, at_once)):
        part = slice(start, min(start + at_once, networks))
        block = Block(
            ensemble,
            part.stop - start,
            _normals(seed, index, device),
            kernel=kernel,
            distance=distance,
            watch=watch,
            device=device,
        )
        yield part, block


def _normals(seed: int, block: int, device: str) -> Callable[[Tensor], object]:
    """A function that fills a tensor with standard normals, from a stream of its own for each block."""
    sequence = np.random.SeedSequence(seed, spawn_key=(block,))
    if torch.device(device).type != "cpu":
        own = torch.Generator(device=device).manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> 1))
        return lambda tensor: tensor.normal_(generator=own)
    # Twice as fast as torch's own.
    generator = np.random.Generator(np.random.SFC64(sequence))
    return lambda tensor: generator.standard_normal(out=tensor.numpy())


class Block:
    """Some networks, advanced together; `normal` fills a tensor with standard normals."""

    def __init__(
        self,
        ensemble: Ensemble,
        networks: int,
        normal: Callable[[Tensor], object],
        *,
        kernel: float,
        distance: float,
        watch: bool = False,
        device: str = "cpu",
    ) -> None:
        self.ensemble, self.networks, self.normal, self.watch = ensemble, networks, normal, watch
        self.new: dict[str, Any] = {"dtype": torch.float64, "device": device}
        m, r = ensemble.replicas, ensemble.rows
        self.tile = tile_of(ensemble, device)
        self.buffers = [torch.empty(networks * r * self.tile, **self.new) for _ in range(3)]
        self.log_length = torch.zeros(networks, m, **self.new)
        self.tree = _star(m, r, device)
        self.depth = 0
        covariance = torch.eye(r, **self.new)
        covariance[0, 0] = kernel
        # Differences of replicas with one mutual correlation, over their common scale.
        covariance[1:m, 1:m].mul_(0.5).add_(0.5)
        covariance[0, 1:m] = covariance[1:m, 0] = -math.sqrt(kernel) * math.sqrt(distance / 2)
        self.log_scale = torch.zeros(networks, r, **self.new)
        self.log_scale[:, 1:m] = 0.5 * (math.log(2) + math.log(kernel) + math.log(distance))
        self._factor(covariance.expand(networks, r, r).clone(), None)

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
        return Layer(self.depth, gram, self.log_scale, self.log_length.clone(), self.tree.paths, chance)

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
            square, edges, scale = _pair_squares(products, self.log_scale, self.tree)
            needed = (square * _DETOUR < edges).flatten(1).any(dim=1)
            if not bool(needed.any()):
                break
            tree, change = _spanning_trees(square, scale, self.tree)
            here = needed[:, None]
            paths = torch.where(here[..., None], tree.paths, self.tree.paths)
            self.tree = Tree(paths, torch.where(here, tree.parents, self.tree.parents), False)
            change = torch.where(here[..., None], change, torch.eye(change.shape[1], **self.new))
            change = self._rescaled(change)
            squares = _sums_of_squares(change, gram)
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
        dead = _squares(gram, self.log_scale, self.tree.paths) < _DEAD * parts
        dead |= self.log_length == -math.inf
        lengths, change = _unit_rows(gram, self.log_scale, self.tree, dead)
        m = self.ensemble.replicas
        if self.ensemble.tangent:
            change[:, m] = 0
            change[:, m, m] = 1
        self.log_length += lengths.log()
        squares = _sums_of_squares(change, gram)
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
        _, change = _unit_rows(centred, self.log_scale, self.tree)
        inner = change @ (rows - mean)
        squares = _sums_of_squares(change, centred)
        return inner.masked_fill_((inner.square().mean(dim=2) < _ROUNDING * squares)[:, :, None], 0.0)

    def _factor(self, covariance: Tensor, kept: Tensor | None) -> None:
        """Take the square root of the covariance, and choose the scales of the rows.

        `covariance`, shape (networks, rows, rows): of the part of the next layer that is drawn, in units of
        the present scales. `kept`, shape (networks, rows): mean square of the part that is carried over.
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
        self.factor = self._tensor(_semidefinite_root(added) * ratio)
        if self.ensemble.residual:
            self.carried = self._tensor(self.ensemble.residual * ratio)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.new["device"])

    def _check(self, covariance: np.ndarray) -> None:
        if not np.isfinite(covariance).all():
            bad = int((~np.isfinite(covariance)).any(axis=(1, 2)).sum())
            raise InputError(
                f"{self.ensemble.function.name}: the pre-activations overflow in layer "
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


def _unit_rows(
    gram: Tensor, log_scale: Tensor, tree: Tree, dead: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the lengths of the replicas, and the matrix that takes rows to those of replicas of length 1.

    With q = e.(h_a + h_b), the difference of two replicas over their lengths is
    ``e/n_b - h_a q/(n_a n_b (n_a + n_b))``; that of a tangent u of h is ``(u - h h.u/n^2)/n``. Replicas known
    to be 0 are named by `dead`, shape (networks, replicas).
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


def _semidefinite_root(covariance: np.ndarray) -> np.ndarray:
    """Return lower triangular L with ``L L^T = covariance``, of shape (networks, rows, rows).

    By hand, because numpy's Cholesky refuses a singular covariance. Rows may differ in scale.
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


def _sums_of_squares(change: Tensor, gram: Tensor) -> Tensor:
    # What the squares of the new rows would be if the parts they are made of did not cancel.
    return (change.square() * gram.diagonal(dim1=1, dim2=2)[:, None]).sum(dim=2)


def _squares(gram: Tensor, log_scale: Tensor, paths: Tensor) -> Tensor:
    replicas = paths * torch.exp(log_scale)[:, None]
    return ((replicas @ gram) * replicas).sum(dim=2)


def _common_scale(steps: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return sums of rows in units of the largest scale in each, and the logarithm of that scale."""
    unused = steps == 0
    largest = log_scale.masked_fill(unused, -math.inf).amax(dim=-1)
    # Differences of exactly 0 have no finite scale to compare with.
    reference = largest.masked_fill(largest == -math.inf, 0.0)
    return steps * torch.exp((log_scale - reference[..., None]).masked_fill(unused, 0.0)), reference


# Which differences of replicas to carry, so that every pair's difference is a sum that does not cancel: with
# replicas as the points of a graph and their distances as its lengths, the edges of a minimal spanning tree.
# No pair is closer than the longest edge on the path between the two, so that their difference, the sum of
# these edges, is known to nearly full precision.


class Tree(NamedTuple):
    """How replicas are sums of rows: replica 0, then the edge to each other replica, then tangents."""

    paths: Tensor  # (networks or 1, replicas, rows): weights, 0 or 1, of the rows that add up to each replica
    parents: Tensor  # (networks or 1, rows): where each row's edge begins; replica 0 for a tangent
    star: bool  # whether every edge begins in replica 0

    def beginnings(self) -> Tensor:
        """Return the path to the beginning of each row's edge, shape (networks or 1, rows, rows)."""
        return self.paths.gather(1, self.parents[:, :, None].expand(-1, -1, self.paths.shape[2]))


def _star(replicas: int, rows: int, device: str) -> Tree:
    """Return the tree in which every edge begins in replica 0."""
    paths = torch.eye(replicas, rows, dtype=torch.float64, device=device)[None]
    paths[:, :, 0] = 1
    return Tree(paths, torch.zeros(1, rows, dtype=torch.long, device=device), True)


def _pair_squares(gram: Tensor, log_scale: Tensor, tree: Tree) -> tuple[Tensor, Tensor, Tensor]:
    """Return of all pairs the squared distance, the longest squared edge between them, and ln of their scale.

    Shape (networks, replicas, replicas) each; the first two in units of the squared scale.
    """
    paths = tree.paths
    steps, scale = _common_scale(paths[:, :, None] - paths[:, None], log_scale[:, None, None])
    square = torch.einsum("nabi,nij,nabj->nab", steps, gram, steps)
    edges = (steps.square() * gram.diagonal(dim1=1, dim2=2)[:, None, None]).amax(dim=3)
    return square, edges, scale


def _spanning_trees(square: Tensor, scale: Tensor, tree: Tree) -> tuple[Tree, Tensor]:
    """Return the minimal spanning trees, and the matrix that takes the present unscaled rows to the new ones.

    By Prim's algorithm on all networks at once, from replica 0.
    """
    count, m, r = square.shape[0], square.shape[1], tree.paths.shape[2]
    # Below rounding the order of distances means nothing; it is found again from the new edges.
    length = 2 * scale + square.clamp_min(1e-300).log()
    every = torch.arange(count, device=square.device)
    old = tree.paths.expand(count, -1, -1)
    change = torch.eye(r, dtype=square.dtype, device=square.device).repeat(count, 1, 1)
    paths = torch.zeros_like(old)
    paths[:, 0, 0] = 1
    parents = torch.zeros(count, r, dtype=torch.long, device=square.device)
    nearest = length[:, 0].clone()
    outside = torch.ones_like(nearest, dtype=torch.bool)
    outside[:, 0] = False
    for _ in range(m - 1):
        child = nearest.masked_fill(~outside, math.inf).argmin(dim=1)
        parent = parents[every, child]
        outside[every, child] = False
        change[every, child] = old[every, child] - old[every, parent]
        paths[every, child] = paths[every, parent]
        paths[every, child, child] = 1
        closer = (length[every, child] < nearest) & outside
        parents[:, :m] = torch.where(closer, child[:, None], parents[:, :m])
        nearest = torch.where(closer, length[every, child], nearest)
    return Tree(paths, parents, False), change
