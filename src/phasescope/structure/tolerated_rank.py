"""The rank that a layer needs on its real inputs, beside shuffled weights, and the layer cut to that rank."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.results import Result

Array = NDArray[np.float64]
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)

_FEWEST = 32  # input vectors
_ROUNDING = 1e-14  # of the sum of squares


@dataclass(frozen=True)
class LinearLayer:
    """A layer as what is linear in it: its weight as torch stores it, and how that acts on inputs."""

    weight: Tensor  # (outputs, inputs / groups, taps ...)
    groups: int
    act: Callable[[Tensor, Tensor], Tensor]  # (weight, inputs) -> (vectors, outputs)
    matrix: bool  # whether each output vector is the weight times an input vector

    @property
    def inputs(self) -> int:
        """Number of inputs, taps included, that an output sums over, times the groups."""
        return self.groups * math.prod(self.weight.shape[1:])

    @property
    def outputs(self) -> int:
        """Number of outputs."""
        return int(self.weight.shape[0])


def linear_layer(layer: nn.Module | Tensor | ArrayLike) -> LinearLayer | None:
    """Return what is linear in a layer, or None for a module of another kind."""
    if not isinstance(layer, nn.Module):
        weight = torch.as_tensor(np.asarray(layer)) if not isinstance(layer, Tensor) else layer.detach()
        return LinearLayer(weight, 1, _matrix, matrix=True)
    found = getattr(layer, "weight", None)
    weight = found if isinstance(found, Tensor) else torch.empty(0)
    if not weight.is_floating_point() or weight.ndim < 2:
        return None
    weight = weight.detach()
    if isinstance(layer, nn.Linear):
        return LinearLayer(weight, 1, _matrix, matrix=True)
    if type(layer).__name__ == "Conv1D" and weight.ndim == 2:  # of transformers: a matrix, transposed
        return LinearLayer(weight.T, 1, _matrix, matrix=True)
    if isinstance(layer, CONVOLUTIONS):
        axis = -weight.ndim + 1

        def convolve(w: Tensor, x: Tensor) -> Tensor:
            made: Tensor = layer._conv_forward(x, w, None)
            return made.movedim(axis, -1).reshape(-1, w.shape[0])

        return LinearLayer(weight, layer.groups, convolve, matrix=False)
    return None


def _matrix(weight: Tensor, x: Tensor) -> Tensor:
    return functional.linear(x, weight).reshape(-1, weight.shape[0])


@dataclass(frozen=True)
class ToleratedRank(Result):
    """What ``tolerated_rank`` found of one layer.

    Parameters
    ----------
    rank : Estimate
        On the layer's inputs; its error is half the difference between two halves of these.
    weights : int
        On the weights alone, as if all inputs were uncorrelated and of one variance.
    shuffled : array of shape (shuffles,)
        On the same inputs, of shuffled weights.
    shuffled_weights : array of shape (shuffles,)
        On shuffled weights alone.
    full : int
        The largest rank that the shape allows.
    shape : tuple of int
        Number of outputs and of inputs, taps included.
    tolerance : float
        Relative change of the output that is allowed.
    values : array of shape (full,)
        Singular values of the weight times the root of the inputs' second moment, the largest first, relative
        to the root of the sum of their squares; empty without inputs.
    """

    rank: Estimate
    weights: int
    shuffled: Array
    shuffled_weights: Array
    full: int
    shape: tuple[int, int]
    tolerance: float
    values: Array = field(repr=False)

    @property
    def saved(self) -> int:
        """Parameters that two factors of this rank save; 0 where they take more, or nothing is known."""
        outputs, inputs = self.shape
        if not self.rank.determined:
            return 0
        return max(0, outputs * inputs - round(self.rank.value) * (outputs + inputs))

    def __str__(self) -> str:
        beside = f", shuffled {self.shuffled.mean():.1f}" if len(self.shuffled) else ""
        return (
            f"rank {self.rank} of {self.full} keeps the output within {100 * self.tolerance:g} %{beside}; "
            f"weights alone {self.weights}"
        )


def tolerated_rank(
    layer: nn.Module | Tensor | ArrayLike,
    inputs: Tensor | ArrayLike | None = None,
    *,
    tolerance: float = 0.1,
    shuffles: int = 5,
    seed: int = 0,
) -> ToleratedRank:
    r"""Return the smallest rank at which a layer's own output changes by no more than a tolerance.

    With W the weight, (outputs, inputs with taps), C the second moment of the input vectors, not centred, and
    :math:`s_k` the singular values of :math:`W C^{1/2}`, the best weight of rank r changes the output
    (without its bias) in relative root mean square by
    :math:`\big(\sum_{k>r} s_k^2 / \sum_k s_k^2\big)^{1/2}`.

    Parameters
    ----------
    layer : nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, or array of shape (outputs, inputs)
        The layer.
    inputs : tensor or array, optional
        What the layer takes, samples along the first axis; every position of a sequence or an image is an
        input vector.
    tolerance : float
        Between 0 and 1.
    shuffles : int
        Number of weights with permuted entries beside it.
    seed : int
        Of the permutations.

    Returns
    -------
    ToleratedRank
        The rank on the inputs (not determined with fewer than 32 input vectors, or fewer than twice the
        rank), on the weights alone, and both of shuffled weights.

    Raises
    ------
    InputError
        If the layer is of another kind, a number is out of range, or weights or inputs are not finite.

    Notes
    -----
    A low rank may come from the inputs or from the weights: the shuffled weights on the same inputs tell. The
    output of the network may change by more than that of one layer. Cost: ``3 + 2 shuffles`` eigenvalue
    problems of the smaller side and ``1 + shuffles`` times the layer's own work; memory, as many matrices of
    that side.

    References
    ----------
    Li, Sun, Su, Suzuki and Huang 2020, arXiv:2001.05070, for low rank as a measure; the truncation is that
    of Eckart and Young.
    """
    _check(tolerance, shuffles)
    found = linear_layer(layer)
    if found is None:
        raise InputError(
            f"{type(layer).__name__} has no weight that acts as a matrix on its input.",
            "Pass an nn.Linear, an nn.Conv1d, 2d or 3d, or a matrix.",
        )
    if not bool(found.weight.isfinite().all()):
        raise InputError("The weight of the layer is not finite.")
    moments = Moments(found, shuffles=shuffles, seed=seed)
    if inputs is not None:
        x = inputs if isinstance(inputs, Tensor) else torch.as_tensor(np.asarray(inputs))
        if not bool(x.isfinite().all()):
            raise InputError("The inputs of the layer are not finite.")
        moments.add(x.to(found.weight))
    return moments.result(tolerance)


def factorised(
    layer: nn.Module, inputs: Tensor, *, tolerance: float = 0.1, rank: int | None = None
) -> nn.Sequential:
    """Return two layers in a row that take the place of one, of the rank that its inputs need.

    The first gives `rank` numbers (of a convolution: channels, with the kernel, stride and padding of the
    layer), the second combines them and adds the bias. No pair of this rank changes the output on these
    inputs less, in root mean square.

    Parameters
    ----------
    layer : nn.Linear, nn.Conv1d, nn.Conv2d or nn.Conv3d
        The layer, without groups; left as it is.
    inputs : tensor
        What it takes, samples along the first axis.
    tolerance : float
        Relative change of its output that is allowed.
    rank : int, optional
        The rank, in place of the one that follows from `tolerance`.

    Returns
    -------
    nn.Sequential
        New parameters of the layer's type, on its device.

    Raises
    ------
    InputError
        If the layer is of another kind or has groups, or the rank is not between 1 and the full one.

    Notes
    -----
    It saves parameters where rank x (inputs + outputs) is below inputs x outputs, inputs counted with taps.
    Measure the accuracy of the network afterwards. Cost: one eigenvalue problem.
    """
    _check(tolerance, 0)
    found = linear_layer(layer)
    if found is None or not isinstance(layer, (nn.Linear, *CONVOLUTIONS)) or found.groups > 1:
        raise InputError(
            f"{type(layer).__name__} cannot be factorised.",
            "Pass an nn.Linear or a convolution in one group.",
        )
    moments = Moments(found, shuffles=0, seed=0)
    moments.add(inputs.detach().to(found.weight))
    values, vectors = moments.directions()
    full = min(found.inputs, found.outputs)
    keep = max(1, _rank(values, tolerance)) if rank is None else rank
    if not 1 <= keep <= min(full, vectors.shape[1]):
        raise InputError(f"rank is {keep}.", f"Give a whole number from 1 to {min(full, vectors.shape[1])}.")
    out = vectors[:, :keep].to(found.weight)
    first = (out.T @ found.weight.reshape(found.outputs, -1)).reshape(keep, *found.weight.shape[1:])
    bias = layer.bias
    options = {"device": found.weight.device, "dtype": found.weight.dtype}
    made: list[nn.Module]
    if isinstance(layer, nn.Linear):
        made = [nn.Linear(layer.in_features, keep, bias=False, **options)]
        made.append(nn.Linear(keep, layer.out_features, bias=bias is not None, **options))
        second = out
    else:
        kind = type(layer)
        made = [
            kind(
                layer.in_channels,
                keep,
                layer.kernel_size,  # type: ignore[arg-type]
                stride=layer.stride,  # type: ignore[arg-type]
                padding=layer.padding,  # type: ignore[arg-type]
                dilation=layer.dilation,  # type: ignore[arg-type]
                bias=False,
                padding_mode=layer.padding_mode,
                **options,  # type: ignore[arg-type]
            )
        ]
        made.append(kind(keep, layer.out_channels, 1, bias=bias is not None, **options))  # type: ignore[arg-type]
        second = out.reshape(*out.shape, *[1] * len(layer.kernel_size))
    with torch.no_grad():
        for module, weight in zip(made, (first, second), strict=True):
            module.weight.copy_(weight)  # type: ignore[operator]
        if bias is not None:
            made[1].bias.copy_(bias)  # type: ignore[operator]
    return nn.Sequential(*made)


def _check(tolerance: float, shuffles: int) -> None:
    if not 0 < tolerance < 1:
        raise InputError(f"tolerance is {tolerance!r}.", "Give a number between 0 and 1.")
    if shuffles < 0:
        raise InputError(f"shuffles is {shuffles}.", "Give a whole number from 0.")


class Moments:
    """Second moments that a layer's ranks follow from, added up over its inputs.

    Of a matrix with fewer inputs than outputs those of the inputs; else those of what each weight makes of
    them: the layer's own in two halves of the samples, of shuffled weights, and of `others`.
    """

    def __init__(
        self, layer: LinearLayer, *, shuffles: int, seed: int, others: Sequence[Tensor] = ()
    ) -> None:
        self.layer = layer
        dtype = torch.promote_types(layer.weight.dtype, torch.float32)
        self._own = layer.weight.to(dtype)
        generator = torch.Generator().manual_seed(seed % 2**63)
        flat = self._own.reshape(-1)
        orders = (torch.randperm(len(flat), generator=generator) for _ in range(shuffles))
        self._shuffled = [flat[order.to(flat.device)].reshape(self._own.shape) for order in orders]
        self._others = [other.detach().to(self._own) for other in others]
        self._by_input = layer.matrix and layer.inputs < layer.outputs
        size = layer.inputs if self._by_input else layer.outputs
        kept = 2 if self._by_input else 2 + shuffles + len(others)
        self._sums = torch.zeros(kept, size, size, dtype=torch.float64, device=self._own.device)
        self.vectors = 0

    @staticmethod
    def nbytes(layer: LinearLayer, shuffles: int, others: int) -> int:
        """Return the bytes that the moments of a layer take."""
        by_input = layer.matrix and layer.inputs < layer.outputs
        size, kept = (layer.inputs, 2) if by_input else (layer.outputs, 2 + shuffles + others)
        return 8 * kept * size**2 + 4 * (1 + shuffles + others) * layer.weight.numel()

    def clear(self) -> None:
        """Forget the inputs."""
        self._sums.zero_()
        self.vectors = 0

    @cached_property
    def spectra(self) -> tuple[Array, list[Array]]:
        """Squared singular values of the weight and of the shuffled ones, the largest first."""
        groups = self.layer.groups
        return _weight_values(self._own, groups), [_weight_values(w, groups) for w in self._shuffled]

    def add(self, x: Tensor, axis: int = 0) -> None:
        """Add inputs whose samples lie along an axis."""
        x = x.detach().to(self._own.dtype)
        samples = x.movedim(axis, 0) if self.layer.matrix else x
        halves = [samples[0::2], samples[1::2]] if samples.ndim > 1 else [samples, samples[:0]]
        for half, part in enumerate(halves):
            if not part.numel():
                continue
            if self._by_input:
                rows = part.reshape(-1, part.shape[-1])
                self._sums[half] += _gram(rows)
            else:
                rows = self.layer.act(self._own, part)
                self._sums[half] += _gram(rows)
                for number, weight in enumerate([*self._shuffled, *self._others]):
                    self._sums[2 + number] += _gram(self.layer.act(weight, part))
            self.vectors += len(rows)

    def result(self, tolerance: float) -> ToleratedRank:
        """Return the ranks."""
        layer = self.layer
        full = min(layer.inputs, layer.outputs)
        shape = (layer.outputs, layer.inputs)
        own, null = self.spectra
        weights, alone = _rank(own, tolerance), [_rank(values, tolerance) for values in null]
        rank, shuffled, values = self._on_inputs(tolerance, full)
        return ToleratedRank(
            rank, weights, shuffled, np.array(alone, dtype=np.float64), full, shape, tolerance, values
        )

    def of_others(self, tolerance: float) -> list[int]:
        """Return the ranks on the inputs of the other weights."""
        first = 2 + len(self._shuffled)
        return [self._rank_of(w, first + i, tolerance) for i, w in enumerate(self._others)]

    def directions(self) -> tuple[Array, Tensor]:
        """Return squared singular values, the largest first, and their directions in the output."""
        whole = self._sums[0] + self._sums[1]
        if not self._by_input:
            values, vectors = torch.linalg.eigh(whole)
            return _descending(values), vectors.flip(1)
        image = _root(whole) @ self._own.double().reshape(self.layer.outputs, -1).T
        values, left = torch.linalg.eigh(image @ image.T)
        values, left = values.flip(0).clamp(min=0), left.flip(1)
        some = int((values > _ROUNDING * values.sum()).sum())
        return values.cpu().numpy(), (image.T @ left[:, :some]) / values[:some].sqrt()

    def projection(self, rank: int) -> Tensor:
        """Return the directions of the output, (outputs, rank), that the best weight of a rank keeps."""
        return self.directions()[1][:, :rank].to(self._own)

    def _on_inputs(self, tolerance: float, full: int) -> tuple[Estimate, Array, Array]:
        method = "on the layer's inputs"
        none = np.empty(0)
        if not self.vectors:
            return Estimate.not_determined("no inputs were seen", method=method), none, none
        n = self.vectors
        if n < _FEWEST:
            reason = f"{n} input vectors are too few: at least {_FEWEST} are needed"
            return Estimate.not_determined(reason, method=method, n=n), none, none
        if not bool(self._sums.isfinite().all()):  # eigenvalues of NaN raise, or not, by the library
            return Estimate.not_determined("the inputs are NaN or infinite", method=method, n=n), none, none
        values = self._values(self._own, self._sums[0] + self._sums[1])
        if not values.sum() > 0:
            return Estimate.not_determined("the output is 0 on all inputs", method=method, n=n), none, none
        rank = _rank(values, tolerance)
        if 2 * rank > n:
            reason = f"{n} input vectors are too few for a rank of {rank}"
            return Estimate.not_determined(reason, method=method, n=n), none, none
        halves = [_rank(self._values(self._own, part), tolerance) for part in self._sums[:2]]
        shuffled = [self._rank_of(w, 2 + i, tolerance) for i, w in enumerate(self._shuffled)]
        relative = np.sqrt(values[:full] / values.sum())
        error = abs(halves[0] - halves[1]) / 2
        return Estimate(rank, error, method, n), np.array(shuffled, dtype=np.float64), relative

    def _rank_of(self, weight: Tensor, place: int, tolerance: float) -> int:
        moment = self._sums[0] + self._sums[1] if self._by_input else self._sums[place]
        return _rank(self._values(weight, moment), tolerance)

    def _values(self, weight: Tensor, moment: Tensor) -> Array:
        """Return squared singular values on inputs with this moment, the largest first."""
        if self._by_input:
            flat = weight.double().reshape(self.layer.outputs, -1)
            root = _root(moment)
            moment = root @ (flat.T @ flat) @ root.T
        return _descending(torch.linalg.eigvalsh(moment))


def _gram(rows: Tensor) -> Tensor:
    rows = rows.double()
    return rows.T @ rows


def _root(moment: Tensor) -> Tensor:
    """Return F with F^T F the moment."""
    values, vectors = torch.linalg.eigh(moment)
    root: Tensor = values.clamp(min=0).sqrt()[:, None] * vectors.T
    return root


def _descending(values: Tensor) -> Array:
    found: Array = values.clamp(min=0).flip(0).cpu().numpy()
    return found


def _weight_values(weight: Tensor, groups: int) -> Array:
    """Return the squared singular values of a weight as a matrix, the largest first."""
    parts = weight.double().reshape(groups, weight.shape[0] // groups, -1)
    tall = parts.shape[1] > parts.shape[2]
    grams = parts.transpose(1, 2) @ parts if tall else parts @ parts.transpose(1, 2)
    return np.sort(torch.linalg.eigvalsh(grams).clamp(min=0).reshape(-1).cpu().numpy())[::-1]


def _rank(squares: Array, tolerance: float) -> int:
    """Return the smallest number of leading values without which no more than the tolerance is left."""
    left = np.cumsum(squares[::-1])[::-1]  # of the values from each on
    return int((left > (tolerance**2 + _ROUNDING) * squares.sum()).sum())


def convolution_singular_values(kernel: ArrayLike, size: Sequence[int]) -> Array:
    """Return all singular values of a convolution on a grid with circular padding, the largest first.

    Parameters
    ----------
    kernel : array of shape (outputs, inputs, taps ...)
        As torch stores it, without groups.
    size : sequence of int
        Number of positions along each axis, at least as many as taps.

    Returns
    -------
    array of shape (positions * min(outputs, inputs),)
        Those of the whole map, from the matrices that each frequency has.

    Raises
    ------
    InputError
        If the grid has another number of axes, or is smaller than the kernel.

    Notes
    -----
    With zero padding the values differ a little, by the edges. Cost: a Fourier transform of the kernel and a
    singular value decomposition of (outputs, inputs) for each position.

    References
    ----------
    Sedghi, Gupta and Long 2019, arXiv:1805.10408.
    """
    taps = np.asarray(kernel, dtype=np.float64)
    grid = tuple(int(n) for n in size)
    if (
        taps.ndim < 3
        or len(grid) != taps.ndim - 2
        or any(n < k for n, k in zip(grid, taps.shape[2:], strict=True))
    ):
        raise InputError(f"A kernel of the shape {taps.shape} does not fit a grid of {grid}.")
    axes = tuple(range(2, taps.ndim))
    waves = np.fft.fftn(taps, grid, axes=axes)
    each = np.moveaxis(waves, (0, 1), (-2, -1)).reshape(-1, *taps.shape[:2])
    return np.sort(np.linalg.svd(each, compute_uv=False).ravel())[::-1]
