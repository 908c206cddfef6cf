"""The tangent kernel of a network on a batch: exact, or projected on random directions of the output."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from phasescope.errors import InputError, MemoryLimitError
from phasescope.estimate import Estimate
from phasescope.recording.batch import Batch, all_floats, unpacked
from phasescope.recording.forward import run

Array = NDArray[np.float64]
Parameters = Mapping[str, Tensor]

LARGEST = 512  # outputs of all inputs together up to which the kernel is exact
_INPUTS, _PROJECTIONS = 128, 8  # of a larger one
_TOGETHER = 4  # inputs whose gradients are taken from one pass


class Network(nn.Module):
    """A module as a function of its parameters; its output has the shape (inputs, outputs of an input)."""

    def __init__(self, module: nn.Module, buffers: Parameters, batch: Batch, number: int) -> None:
        super().__init__()
        self.kind = str(getattr(module, "kind", type(module).__name__))
        self._module, self._buffers_of, self._number = [module], dict(buffers), number
        self._whole = batch
        self._parameters_of: Parameters = {}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return torch.func.functional_call(
            self._module[0], {**self._buffers_of, **self._parameters_of}, args, kwargs
        )

    def raw(self, parameters: Parameters, batch: Batch) -> Tensor:
        """Return the output as the module gives it."""
        self._parameters_of = parameters
        found = all_floats(unpacked(run(self, batch, self._whole)))
        if self._number >= len(found):
            raise InputError(f"{self.kind} puts out no float tensor.", "Return the output as a tensor.")
        return found[self._number]

    def axis(self, parameters: Parameters) -> int:
        """Return the axis along which the output holds the inputs."""
        sizes = sorted({self._whole.fewest(2), self._whole.fewest(3)})
        with torch.no_grad():
            shapes = [tuple(self.raw(parameters, self._whole.take(0, size)).shape) for size in sizes]
        if len(shapes) == 1:
            axes = [i for i, length in enumerate(shapes[0]) if length and length % sizes[0] == 0]
        else:
            pairs = enumerate(zip(*shapes, strict=False))
            axes = [i for i, (a, b) in pairs if a * sizes[1] == b * sizes[0]]
        if not axes:
            raise InputError(
                f"The output of {self.kind} has the shape {shapes[-1]} for {sizes[-1]} inputs: no axis of "
                "the inputs.",
                "Return one output for each input, not their loss.",
            )
        return axes[0]

    def rows(self, parameters: Parameters, batch: Batch, axis: int) -> Tensor:
        """Return the output as (inputs, outputs of an input)."""
        return self.raw(parameters, batch).movedim(axis, 0).reshape(batch.size, -1)


class Kernels:
    """Tangent kernels of one network at several points, all with the same inputs and projections."""

    def __init__(
        self, network: Network, batch: Batch, axis: int, outputs: int, like: Parameters, *, seed: int
    ) -> None:
        self._network, self._axis = network, axis
        self.exact = batch.size * outputs <= LARGEST
        random = np.random.default_rng((seed, 1))
        kept = batch.size
        most = LARGEST if outputs == 1 else _INPUTS
        self.batch = batch
        if not self.exact and batch.cuttable and kept > most:
            kept = most
            self.batch = batch.pick(torch.from_numpy(np.sort(random.choice(batch.size, most, replace=False))))
        self.inputs, self.outputs = kept, outputs
        self.projections: Tensor | None = None  # one a row; None for each output by itself
        first = next(iter(like.values()))
        if kept * outputs > LARGEST:
            drawn = random.standard_normal((_PROJECTIONS, outputs), dtype=np.float32)
            self.projections = torch.from_numpy(drawn).to(first)
        self.directions = outputs if self.projections is None else _PROJECTIONS
        self._floats = sum(p.numel() for p in like.values())
        self._bytes = first.element_size()
        self._batched = True

    def at(self, parameters: Parameters, limit: float) -> Array:
        """Return the kernel, shape (inputs, directions, inputs, directions), in blocks of rows that fit."""
        count = self.inputs * self.directions
        row = self._floats * self._bytes
        if 3 * row > limit:
            raise MemoryLimitError(
                f"Two gradients of the network take {2 * row / 1e6:.1f} MB, more than max_memory = "
                f"{limit / 1e6:.1f} MB. Raise max_memory."
            )
        fit = int(limit / 2 // row)
        block = count if count <= fit else max(1, fit // 2)
        leaves = {name: p.detach().requires_grad_(True) for name, p in parameters.items()}
        kernel = np.empty((count, count))
        for start in range(0, count, block):
            upper = self._rows(leaves, start, min(start + block, count))
            for other in range(start, count, block):
                lower = upper if other == start else self._rows(leaves, other, min(other + block, count))
                part = (upper @ lower.T).double().cpu().numpy()
                kernel[start : start + block, other : other + block] = part
                kernel[other : other + block, start : start + block] = part.T
        return kernel.reshape(self.inputs, self.directions, self.inputs, self.directions)

    def _rows(self, leaves: Parameters, start: int, stop: int) -> Tensor:
        """Return gradients of outputs, or of projections of them, those of an input in succession."""
        m = self.directions
        found = next(iter(leaves.values())).new_empty((stop - start, self._floats))
        together = self.batch.fewest(_TOGETHER if stop - start > 1 else 2)
        first, last = start // m, -(-stop // m)
        for sample in range(first, last, together):
            low = min(sample, self.inputs - together)
            with torch.enable_grad():
                output = self._network.rows(leaves, self.batch.take(low, low + together), self._axis)
            wanted = range(max(start, sample * m), min(stop, (sample + together) * m))
            for place, gradient in zip(wanted, self._gradients(output, leaves, low, wanted), strict=True):
                found[place - start] = gradient
        return found

    def _gradients(self, output: Tensor, leaves: Parameters, low: int, wanted: range) -> Any:
        m, parameters = self.directions, list(leaves.values())

        def direction(place: int) -> Tensor:
            chosen = torch.zeros_like(output)
            if self.projections is None:
                chosen[place // m - low, place % m] = 1
            else:
                chosen[place // m - low] = self.projections[place % m]
            return chosen

        def gradient(cotangents: Tensor, batched: bool) -> Tensor:
            parts = torch.autograd.grad(
                output,
                parameters,
                cotangents,
                retain_graph=True,
                allow_unused=True,
                is_grads_batched=batched,
            )
            rows = len(cotangents) if batched else 1
            flat = [
                (p.new_zeros(rows, p.numel()) if part is None else part.reshape(rows, -1))
                for p, part in zip(parameters, parts, strict=True)
            ]
            return torch.cat(flat, 1)

        if not output.requires_grad:
            return [output.new_zeros(self._floats)] * len(wanted)
        if self._batched and len(wanted) > 1 and output.numel() * len(wanted) <= self._floats + 2**20:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")  # torch warns where it has no batched form
                    return gradient(torch.stack([direction(place) for place in wanted]), True)
            except Exception:
                self._batched = False
        return (gradient(direction(place), False)[0] for place in wanted)


def drift_between(before: Array, after: Array, *, projected: bool) -> Estimate:
    """Return ``|after - before|/|before|`` of two kernels, with its error over inputs and projections.

    With projections r_a, ``(r_a.Theta_ij r_b)^2`` has the mean ``|Theta_ij|^2`` for two different ones.
    """
    inputs, m = before.shape[:2]
    pairs = ~np.eye(m, dtype=bool) if projected else np.ones((m, m), dtype=bool)
    weights = pairs[None, :, None, :]
    sums = [(each**2 * weights).sum((1, 3)) for each in (after - before, before)]
    value = float(np.sqrt(sums[0].sum() / sums[1].sum()))
    own = [_without(each) for each in sums]
    variance = _jackknife(own)
    if projected:
        blocks = [(each**2 * weights).sum((0, 2)) for each in (after - before, before)]
        variance += _jackknife([_without(each) for each in blocks])
    method = f"{inputs} inputs, {m} {'projections' if projected else 'outputs'}"
    error = float(np.sqrt(variance)) if inputs > 1 else float("nan")
    return Estimate(value, error, method, inputs)


class Ratio:
    """Sums over inputs of two numbers of each: their ratio, or its root, with an error to first order."""

    def __init__(self) -> None:
        self.inputs, self._sums, self._squares = 0, np.zeros(2), np.zeros((2, 2))

    def add(self, numerator: Tensor, denominator: Tensor) -> None:
        """Add a chunk of inputs."""
        pair = torch.stack([numerator.double(), denominator.double()]).cpu().numpy()
        self.inputs += pair.shape[1]
        self._sums += pair.sum(1)
        self._squares += pair @ pair.T

    @property
    def sums(self) -> tuple[float, float]:
        """The sums of numerators and of denominators."""
        return float(self._sums[0]), float(self._sums[1])

    def estimate(self, method: str, *, root: bool) -> Estimate:
        """Return the ratio of the sums, or its root."""
        n, (above, below) = self.inputs, self.sums
        if not below > 0:
            return Estimate.not_determined("it is zero before training", method=method, n=n)
        ratio = above / below
        along = np.array([1.0, -ratio])
        rest = max(float(along @ self._squares @ along), 0.0)
        error = float("nan") if n < 2 else float(np.sqrt(rest * n / (n - 1)) / below)
        if not root:
            return Estimate(ratio, error, method, n)
        value = float(np.sqrt(ratio))
        return Estimate(value, error / (2 * value) if value else error * 0, method, n)


def _without(pairs: Array) -> Array:
    """Return the sum of a symmetric matrix without each row and its column."""
    return np.asarray(pairs.sum() - pairs.sum(0) - pairs.sum(1) + np.diag(pairs))


def _jackknife(sums: list[Array]) -> float:
    """Return the variance of the root of a ratio of sums, each given without one of its terms."""
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.sqrt(np.maximum(sums[0], 0) / sums[1])
    values = values[np.isfinite(values)]
    n = len(values)
    return float((n - 1) / n * ((values - values.mean()) ** 2).sum()) if n > 1 else 0.0


Output = Callable[..., Tensor]


def change_along(output: Output, before: Parameters, step: Parameters) -> tuple[Tensor, Tensor]:
    """Return the output and its derivative along a step of the parameters, by two backward passes."""
    names = list(before)

    def of(*values: Tensor) -> Tensor:
        return output(dict(zip(names, values, strict=True)))

    point = tuple(before[name].detach() for name in names)
    along = tuple(step[name] for name in names)
    value, change = torch.autograd.functional.jvp(of, point, along)  # type: ignore[no-untyped-call]
    return value.detach(), change.detach()
