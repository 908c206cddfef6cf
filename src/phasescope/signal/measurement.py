"""What a profile measures: tangents pushed through a model and cotangents pulled back, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phasescope.errors import InputError, MemoryLimitError, PhasescopeError
from phasescope.recording.batch import Batch, first_float, unpacked
from phasescope.recording.forward import drew_noise, fitting, in_users_words, run
from phasescope.recording.layers import Layer, Rows, discover, watched
from phasescope.recording.memory import Tidy, samples_that_fit
from phasescope.recording.outputs import loss_cotangents
from phasescope.recording.tangents import (
    Push,
    See,
    Tangent,
    gaussian,
    pull_back,
    push_difference,
    push_double_backward,
    push_forward,
    push_nothing,
)
from phasescope.recording.untouched import has_running_statistics

_WAYS: tuple[tuple[str, Push], ...] = (
    ("forward-mode differentiation", push_forward),
    ("double backward", push_double_backward),
    ("central differences", push_difference),
)
_NOT_AGAIN = "called for some inputs only: what forward calls depends on the data"
_ROUGH = 4  # times the results of all operations that a pass certainly stays below
_RECURRENT = 6  # times as much where gates stand behind a result
_ACROSS, _BACK = 1, 2  # streams of random numbers
_BLOCK = 1 << 18  # elements converted to float64 at a time: 2 MB
_BLOCK_ELSEWHERE = 1 << 24  # on a device with memory of its own, where a call costs more


class Passes:
    """All the passes of one profile; the model is ``untouched`` and quiet meanwhile."""

    def __init__(
        self,
        model: nn.Module,
        batch: Batch,
        *,
        seed: int,
        probes: int,
        loss: Callable[..., Any] | None = None,
    ) -> None:
        self.model, self._loss = model, loss
        self._fresh = any(_is_fresh(norm) for norm in model.modules() if has_running_statistics(norm))
        self.batch = fitted = fitting(model, batch)
        self.notes: list[str] = list(fitted.notes[len(batch.notes) :])
        self._seed, self._probes = seed, probes
        self._tidy: Callable[[], None] = lambda: None
        self.rows: Rows = discover(model, fitted)
        self.layers = self.rows.layers
        if drew_noise():
            self.notes.append("forward draws random numbers, which were held fixed while measuring")
        elif self.rows.coupled and not self._coupled():
            self.notes.append("the inputs influence each other: is their first axis that of the samples?")
        self._measured = [layer for layer in self.layers if not layer.skipped]
        self._chunk = batch.size
        self._push = self._choose_push()
        self._differentiable = True

    @property
    def push(self) -> Push:
        """The way in which tangents are pushed through this model."""
        return self._push

    @property
    def coupled(self) -> bool:
        """Whether the inputs influence each other, or the batch cannot be cut."""
        return self.rows.coupled or self._coupled() or not self.batch.cuttable

    @property
    def pushes(self) -> bool:
        """Whether tangents can be pushed through the model at all."""
        return self._push is not push_nothing

    def choose_chunk(self, limit: float) -> list[str]:
        """Choose how many inputs are processed at once, so that `limit` bytes hold; return what to note.

        Where batch normalisation couples the inputs they cannot be split, and fewer are measured.
        """
        size = self.batch.size
        self._tidy = Tidy(limit)
        if not self.batch.cuttable and self.rows.held * size > limit:
            raise MemoryLimitError(
                f"The batch cannot be cut, and one pass of it makes {self.rows.held * size / 1e6:.1f} MB of "
                f"values, more than max_memory = {limit / 1e6:.1f} MB. Raise it, or pass a smaller batch."
            )
        kept = 2 * size * _bytes_kept(self.rows, self._probes)  # twice: they are put in order, too
        if kept > limit:
            raise MemoryLimitError(
                f"What is measured of {size} inputs takes {kept / 1e6:.1f} MB, more than max_memory = "
                f"{limit / 1e6:.1f} MB. Raise it, or pass fewer inputs."
            )
        limit -= kept
        whole = _ROUGH * (self.rows.held * size + 2 * self.batch.nbytes())
        if any(isinstance(layer.module, nn.RNNBase) for layer in self.rows.layers):
            whole *= _RECURRENT
        if not self.batch.cuttable or whole <= limit:
            return []
        copies = 4 * self.batch.nbytes() // size

        def trial(samples: int) -> None:
            held = torch.empty(copies * samples, dtype=torch.uint8)
            self._measure(0, samples, Measurement(self.rows, samples, 1, self._seed))
            del held

        self._chunk = samples_that_fit(self.model, trial, size, limit)
        if self._chunk == size or not self._coupled():
            return []
        self.batch = self.batch.take(0, self._chunk)
        return [
            f"batch normalisation in training mode couples the inputs: the first {self._chunk} of {size} "
            "were measured, to stay within max_memory"
        ]

    def run(self) -> Measurement:
        """Return what all the passes give, chunk by chunk."""
        size = self.batch.size
        into = Measurement(self.rows, size, self._probes, self._seed)
        into.tidy = self._tidy
        for start in range(0, size, self._chunk):
            self._measure(start, min(start + self._chunk, size), into)
        if self._loss is not None:
            self.notes.append("the gradient is that of the given loss")
        elif self.rows.note:
            self.notes.append(self.rows.note)
        into.layers = [
            replace(layer, skipped=_NOT_AGAIN, place="")
            if not layer.skipped and np.isnan(kernel).all()
            else layer
            for layer, kernel in zip(into.layers, into.kernel, strict=True)
        ]
        return into

    def eval_drift(self) -> dict[str, float] | None:
        """Return the kernel with running statistics over that with batch statistics, minus 1, by row.

        None where no statistics run, or where some have seen no batch yet and so say nothing.
        """
        norms = [m for m in self.model.modules() if has_running_statistics(m)]
        if not norms or self._fresh:
            return None

        def kernels(training: bool) -> dict[str, float]:
            seen: dict[str, Tensor] = {}

            def observe(layer: Layer, args: tuple[Any, ...], output: Any) -> None:
                tensor = first_float(unpacked(output))
                if tensor is not None:
                    seen[layer.name] = tensor.square().mean(dtype=torch.float64)

            for norm in norms:
                norm.training = training
            with torch.no_grad(), watched(self.model, self._measured, observe):
                run(self.model, self.batch.take(0, self._chunk))
            values = torch.stack(list(seen.values())).tolist() if seen else []
            return dict(zip(seen, values, strict=True))

        try:
            of_batch, running = kernels(True), kernels(False)
        except InputError:  # one sample has no batch statistics
            return {}
        return {name: running[name] / K - 1.0 for name, K in of_batch.items() if K and name in running}

    def _coupled(self) -> bool:
        return any(has_running_statistics(m) and m.training for m in self.model.modules())

    def _choose_push(self) -> Push:
        size = self.batch.fewest(2)
        tangent = partial(Measurement(self.rows, size, 1, self._seed).perpendicular, 0, 0)
        words = ""
        entrance = self.rows.chains[0] if self.rows.chains else None
        for name, push in _WAYS:
            batch = self.batch.take(0, size)
            try:
                push(self.model, self._measured, batch, entrance, tangent, lambda *seen: None)
            except (MemoryError, MemoryLimitError):
                raise
            except Exception as error:
                words = words or _first_words(error)
                continue
            if words:
                self.notes.append(f"tangents by {name}, without forward-mode differentiation: {words}")
            return push
        self.notes.append(f"no tangents, so no susceptibilities: {words}")
        return push_nothing

    def _measure(self, start: int, stop: int, into: Measurement) -> None:
        here = slice(start, stop)
        into.begin(here, self.batch.take(start, stop))
        for number, entrance in enumerate(self.rows.chains or [None]):
            rows = [row for row in self._measured if _chain_of(row, self._measured) in (number, -1)]
            stream = [row for row in rows if row.place == "stream" or row.entry]

            def push(layers: list[Layer], tangent: Tangent, see: See, way: Push, to: Any = entrance) -> None:
                way(self.model, layers, self.batch.take(start, stop), to, tangent, see)
                into.flush()

            if number == 0:
                see = partial(into.see_all, number)
                push(self._measured, _along, see, self._push)
            else:  # rows of other chains, too, for units that respond to this input alone
                push(self._measured, _along, partial(into.see_along, number), self._push)
            for probe in range(into.probes if self._push is not push_nothing else 0):
                across = partial(into.perpendicular, start, probe)
                # Every row once, for units that do not respond; then the stream alone.
                push(stream if probe else rows, across, partial(into.see_across, number, probe), self._push)
        if self._differentiable:
            self._pull(here, into)

    def _pull(self, here: slice, into: Measurement) -> None:
        batch = self.batch.take(here.start, here.stop)
        try:
            outputs = pull_back(
                self.model,
                self._measured,
                batch,
                self.rows.chains,
                self.rows.output,
                partial(into.back, here.start),
                into.probes,
                into.see_back,
                None if self._loss is None else partial(loss_cotangents, self._loss, batch=batch),
            )
        except (MemoryError, MemoryLimitError):
            raise
        except Exception as error:  # an operator without a backward pass, or the user's own that fails
            if self._loss is not None:
                self._loss = None
                self.notes.append(
                    f"gradients of random cotangents, not of the given loss: {_first_words(error)}"
                )
                self._pull(here, into)
                return
            self._differentiable = False
            self.notes.append(f"no gradients: {_first_words(error)}")
            return
        into.see_outputs(outputs)
        into.flush()


def _along(tensor: Tensor, number: int) -> Tensor:
    return tensor.clone()


def _chain_of(row: Layer, rows: Sequence[Layer]) -> int:
    """Return the chain that a row lies on or hangs on; -1 for none."""
    if row.place == "stream" or not row.block:
        return row.chain
    return next((other.chain for other in rows if other.name == row.block), -1)


def _is_fresh(norm: nn.Module) -> bool:
    """Whether running statistics are those that they start with."""
    mean, variance = getattr(norm, "running_mean", None), getattr(norm, "running_var", None)
    batches = getattr(norm, "num_batches_tracked", None)
    if not (isinstance(mean, Tensor) and isinstance(variance, Tensor)):
        return False
    if batches is not None and batches > 0:
        return False
    return not bool(mean.any()) and bool((variance == 1).all())


def _first_words(error: Exception) -> str:
    """Return what an exception says, and the line of the user's where it is not one of torch's own."""
    raised = error.__cause__ or error
    if not isinstance(raised, (RuntimeError, PhasescopeError)):
        return in_users_words(raised)
    words = " ".join(str(raised).split())
    return words if len(words) <= 120 else words[:117] + "..."


class Measurement:
    """What one profile collects: numbers of every row and sample, ``nan`` where nothing was seen.

    `here`, set by `begin`, is the slice of samples that the passes are made with; it begins at an even one.
    Numbers stay on the device of the model until `flush`, since each way to the host makes it wait.
    """

    def __init__(self, rows: Rows, samples: int, probes: int, seed: int) -> None:
        self.layers, self.chains = rows.layers, rows.chains
        count, pairs = len(rows.layers), samples // 2
        self.samples, self.probes, self.seed = samples, probes, seed
        self.kernel, self.nonfinite, self.saturated = (_unseen(count, samples) for _ in range(3))
        self.distance = _unseen(count, pairs)
        self.share = _unseen(count, samples)  # of a branch in the mean square of the sum that it ends in
        self.along = _unseen(count, samples)  # the radial response z.u / n, u entering along the input
        self.across = _unseen(probes, count, samples)  # |u_perp|^2 / n of random tangents
        self.gradient = _unseen(probes, count, samples)  # squared norm
        self.cotangent = _unseen(probes, samples)  # squared norm at the outputs: the unit of the gradient
        self.entering = _unseen(max(1, len(rows.chains)), samples)  # mean square of what enters each chain
        # Of what the first row takes:
        self.start_kernel, self.start_distance = _unseen(samples), _unseen(pairs)
        self.identical = np.zeros(pairs, dtype=bool)  # pairs of inputs that are no pairs
        self._hidden = np.zeros((count, samples))  # 1 where a row looks finite behind one that is not
        self._alive: list[Tensor | None] = [None] * count  # for each unit, whether it responds at all
        self._units = [0] * count
        self._row = {layer.name: index for index, layer in enumerate(rows.layers)}
        self._limits = {
            layer.name: _limits(layer.module)
            for layer in rows.layers
            if layer.role == "activation" and not layer.skipped
        }
        self._later: list[tuple[np.ndarray, Any, Tensor]] = []
        self._here = slice(0, samples)
        self.tidy: Callable[[], None] = lambda: None
        self._alike: Tensor | None = None  # which pairs of the samples here are no pairs
        self._broken: Tensor | None = None  # inputs for which a row so far was NaN or infinite

    @property
    def alive(self) -> list[np.ndarray | None]:
        """For each row and unit, whether it responds to any input."""
        return [None if a is None else np.asarray(a.cpu()) for a in self._alive]

    @property
    def masked(self) -> dict[str, int]:
        """Rows that look finite behind ones that are not: in how many inputs."""
        counts = self._hidden.sum(axis=1).astype(int)
        return {layer.name: int(n) for layer, n in zip(self.layers, counts, strict=True) if n}

    def begin(self, here: slice, batch: Batch) -> None:
        """Turn to other samples, and keep the kernel of what enters and which pairs are no pairs."""
        self._here, self._broken, self._alike = here, None, None
        self.identical[_pairs(here)] = batch.identical_pairs()
        floats = batch.floats()
        for number, chain in enumerate(self.chains):
            tensors = [_flat(floats[i]) for i in chain.floats]
            if tensors:
                joined = torch.cat(tensors, dim=1) if tensors[1:] else tensors[0]
                self._keep(self.entering, (number, here), _mean_square(joined))

    def flush(self) -> None:
        """Bring what was kept to the host, in one transfer."""
        if self._later:
            sizes = [values.numel() for _, _, values in self._later]
            together = torch.cat([values.double().reshape(-1) for _, _, values in self._later]).cpu().numpy()
            parts = np.split(together, np.cumsum(sizes)[:-1])
            for (array, place, values), part in zip(self._later, parts, strict=True):
                array[place] = part.reshape(values.shape)
        self._later = []

    def _keep(self, array: np.ndarray, place: Any, values: Tensor) -> None:
        self.tidy()
        self._later.append((array, place, values))

    def perpendicular(self, first: int, probe: int, tensor: Tensor, number: int) -> Tensor:
        """Return a random tangent of the length of the input and perpendicular to it, sample by sample."""
        u = _flat(gaussian(tensor.shape, tensor, seed=(self.seed, _ACROSS, probe, number), first=first))
        z = _flat(tensor)
        if z.shape[1] > 1:
            wide, flat = u.double(), z.double()
            square = flat.square().sum(dim=1, keepdim=True)
            share = (wide * flat).sum(dim=1, keepdim=True) / torch.where(square > 0, square, 1.0)
            u = (wide - share * flat).to(tensor.dtype)
        scale = torch.linalg.vector_norm(z, dim=1, dtype=torch.float64)
        length = torch.linalg.vector_norm(u, dim=1, dtype=torch.float64)
        scale = torch.where(scale > 0, scale, z.shape[1] ** 0.5) / torch.where(length > 0, length, 1.0)
        return (u * scale.to(u.dtype).unsqueeze(1)).reshape(tensor.shape)

    def back(self, first: int, tensor: Tensor, number: int, probe: int) -> Tensor:
        """Return a random cotangent of an output of the model; 1 for a single number, which is a loss."""
        if tensor.numel() == 1:
            return torch.ones_like(tensor)
        return gaussian(tensor.shape, tensor, seed=(self.seed, _BACK, probe, number), first=first)

    def see_all(
        self,
        chain: int,
        layer: Layer,
        argument: Tensor | None,
        output: Tensor,
        tangent: Tensor | None,
        second: Tensor | None,
    ) -> None:
        """Keep kernel, distances, share, non-finite and saturated units, and the radial response."""
        row, here = self._row[layer.name], self._here
        size, pairs = here.stop - here.start, _pairs(here)
        self._see_argument(layer, argument)
        if self._alike is None or self._alike.device != output.device:
            self._alike = torch.from_numpy(self.identical[pairs]).to(output.device)
        identical = self._alike
        if row == 0 and argument is not None and argument.shape[:1] == (size,):
            flat = _flat(argument)
            self._keep(self.start_kernel, here, _mean_square(flat))
            self._keep(self.start_distance, pairs, _distances(flat).masked_fill(identical, torch.nan))
        z = layer.samples(output, size)
        self._units[row] = z.shape[1]
        kernel = _mean_square(z)
        fraction, broken = _not_finite(z, kernel)
        lost = torch.zeros_like(broken) if self._broken is None else self._broken.to(broken.device)
        # A sample that was NaN or infinite at an earlier row carries no signal here, however finite it looks.
        self._keep(self._hidden, (row, here), lost & (fraction == 0))
        self._broken = lost | broken
        self._keep(self.nonfinite, (row, here), torch.where(lost, 1.0, fraction))
        kernel = torch.where(lost, torch.inf, kernel)
        self._keep(self.kernel, (row, here), kernel)
        rho = _distances(z)
        unusable = ~rho.isfinite() | lost[0 : 2 * len(rho) : 2] | lost[1 : 2 * len(rho) : 2] | identical
        self._keep(self.distance, (row, pairs), rho.masked_fill(unusable, torch.nan))
        bounds = self._limits.get(layer.name)
        if bounds is not None:
            self._keep(self.saturated, (row, here), _saturated(z, bounds))
        if second is not None:
            self._see_share(layer, z, second, output)
        if tangent is not None and _chain_of(layer, self.layers) in (chain, -1):
            self.see_along(chain, layer, argument, output, tangent, second)
        else:
            self._see_alive(layer, output if tangent is None else tangent)

    def see_along(
        self,
        chain: int,
        layer: Layer,
        argument: Tensor | None,
        output: Tensor,
        tangent: Tensor | None,
        second: Tensor | None,
    ) -> None:
        """Keep the radial response."""
        if tangent is None:
            return
        row, size = self._row[layer.name], self._here.stop - self._here.start
        own = _chain_of(layer, self.layers) in (chain, -1)
        if own and (layer.place == "stream" or layer.entry):
            z, u = layer.samples(output, size), layer.samples(tangent, size)
            along = _finite_only(z, _split_tangent(z, u)[1])
            self._keep(self.along, (row, self._here), along)
        self._see_alive(layer, tangent)

    def see_across(
        self,
        chain: int,
        probe: int,
        layer: Layer,
        argument: Tensor | None,
        output: Tensor,
        tangent: Tensor | None,
        second: Tensor | None,
    ) -> None:
        """Keep the perpendicular part of a random tangent."""
        if tangent is None:
            return
        row, size = self._row[layer.name], self._here.stop - self._here.start
        if layer.place == "stream" or layer.entry:
            z, u = layer.samples(output, size), layer.samples(tangent, size)
            self._keep(self.across, (probe, row, self._here), _finite_only(z, _split_tangent(z, u)[0]))
        if not probe:
            self._see_alive(layer, tangent)

    def see_back(self, layer: Layer, probe: int, gradient: Tensor) -> None:
        """Keep the squared norm of the gradient."""
        row, size = self._row[layer.name], self._here.stop - self._here.start
        squares = _mean_square(layer.samples(gradient, size)) * self._units[row]
        self._keep(self.gradient, (probe, row, self._here), squares)

    def see_outputs(self, outputs: list[tuple[Tensor, list[Tensor]]]) -> None:
        """Keep the squared norm of the cotangents."""
        size = self._here.stop - self._here.start
        for probe in range(self.probes if outputs else 0):
            total: Tensor | None = None
            for tensor, cotangents in outputs:
                if tensor.ndim and tensor.shape[0] % size == 0:
                    flat = cotangents[probe].reshape(size, -1)
                    squares = _mean_square(flat) * flat.shape[1]
                else:  # of all samples together
                    squares = cotangents[probe].double().square().sum().expand(size)
                total = squares if total is None else total + squares
            if total is not None:
                known = torch.where(total > 0, total, torch.nan)
                self._keep(self.cotangent, (probe, self._here), known)

    def tangent_scale(self) -> np.ndarray:
        """Return the mean square of what enters, by row and sample: of the input, or of the first row."""
        scale = np.ones((len(self.layers), self.samples))
        seen = self.across.mean(axis=0)
        for number in range(len(self.entering)):
            entering = self.entering[number]
            rows = [i for i, row in enumerate(self.layers) if _chain_of(row, self.layers) in (number, -1)]
            first = next((seen[i] for i in rows if not np.isnan(seen[i]).all()), None)
            if np.isnan(entering).all() and first is not None:
                scale[rows] = first
            else:
                scale[rows] = np.where(entering > 0, entering, 1.0)
        return scale

    def _see_share(self, layer: Layer, z: Tensor, second: Tensor, output: Tensor) -> None:
        second = torch.broadcast_to(second, output.shape)
        other = output + second if "sub" in layer.kind else output - second
        terms = [_mean_square(layer.samples(term, len(z))) for term in (other, second)]
        branch = terms[1] if layer.branch == 1 else terms[0]
        self._keep(self.share, (self._row[layer.name], self._here), branch / (terms[0] + terms[1]))

    def _see_alive(self, layer: Layer, response: Tensor) -> None:
        row, alive = self._row[layer.name], _responds(response, layer.unit_axis)
        seen = self._alive[row]
        self._alive[row] = alive if seen is None or len(seen) != len(alive) else seen | alive

    def _see_argument(self, layer: Layer, argument: Tensor | None) -> None:
        # What a functional step made NaN or infinite is noticed before a row without weights can hide it.
        size = self._here.stop - self._here.start
        fits = argument is not None and argument.shape[:1] == (size,) and argument.numel()
        if argument is None or not fits or layer.role in ("weight", "norm"):
            return
        largest = _flat(argument).amax(dim=1)  # NaN where there is one; -inf alone is how masks are made
        broken = largest.isnan() | (largest == torch.inf)
        self._broken = broken if self._broken is None else self._broken | broken


def _bytes_kept(rows: Rows, probes: int) -> int:
    """Return the bytes of the numbers of one input."""
    return 8 * (len(rows.layers) * (7 + 2 * probes) + len(rows.chains) + probes + 3)


def _unseen(*shape: int) -> np.ndarray:
    return np.full(shape, np.nan)


def _flat(tensor: Tensor) -> Tensor:
    # Unlike flatten(1), also of one number a sample.
    return tensor.reshape(len(tensor), -1)


def _pairs(here: slice) -> slice:
    return slice(here.start // 2, here.stop // 2)


# Reductions of a row's output z and tangent u, of shape (samples, units), in float64 and in bounded memory.


def _blocks(z: Tensor) -> list[slice]:
    """Return slices of an even number of samples that hold about `_BLOCK` elements each."""
    samples, units = z.shape
    block = _BLOCK if z.device.type == "cpu" else _BLOCK_ELSEWHERE
    step = max(2, block // max(units, 1) // 2 * 2)
    return [slice(start, min(start + step, samples)) for start in range(0, samples, step)]


def _mean_square(z: Tensor) -> Tensor:
    """Return the mean square per unit of each sample; ``inf`` where a unit is not finite."""
    squares = torch.cat([z[part].double().square().mean(dim=1) for part in _blocks(z)])
    return torch.where(squares.isfinite(), squares, torch.inf)


def _not_finite(z: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor]:
    """Return the fraction of units that are not finite in each sample, and whether one is NaN or +inf."""
    if z.device.type == "cpu" and bool(kernel.isfinite().all()):
        return torch.zeros_like(kernel), torch.zeros_like(kernel, dtype=torch.bool)
    fraction = (~z.isfinite()).double().mean(dim=1)
    return fraction, (z.isnan() | (z == torch.inf)).any(dim=1)


def _finite_only(z: Tensor, values: Tensor) -> Tensor:
    """Return the values, NaN for the samples in which a unit is not finite."""
    largest = z.abs().amax(dim=1)
    return values.masked_fill(~largest.isfinite(), torch.nan)


def _distances(z: Tensor) -> Tensor:
    """Return ``rho = 1 - c`` for the pairs (0, 1), (2, 3), ... of samples, without cancellation.

    ``rho = |a/|a| - b/|b||^2 / 2``, which keeps its relative precision as the two vectors come together.
    """
    pairs = len(z) // 2
    found: list[Tensor] = [z.new_empty(0, dtype=torch.float64)]
    for part in _blocks(z[: 2 * pairs]):
        block = z[part].double()
        scaled = block / block.abs().amax(dim=1, keepdim=True)
        directions = scaled / torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
        found.append((directions[0::2] - directions[1::2]).square().sum(dim=1) / 2)
    return torch.cat(found)


def _split_tangent(z: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Return, for each sample, ``|u_perp|^2 / n`` and ``z.u / n``, with ``u_perp = u - (z.u / z.z) z``."""
    across, along = [], []
    for part in _blocks(z):
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
    return torch.cat(across), torch.cat(along)


def _responds(u: Tensor, axis: int) -> Tensor:
    """Return which units have a tangent other than zero in at least one sample or site.

    Here u has the shape of the row's output, with the units along `axis`.
    """
    other = [i for i in range(u.ndim) if i != axis % u.ndim]
    moving = u != 0
    return moving.any(dim=other) if other else moving


def _limits(module: nn.Module) -> tuple[float, float, float] | None:
    """Return the values of an activation at minus and plus infinity and its range, or None.

    None where the activation is unbounded on a side, where it does not settle (sine), or where it takes no
    plain tensor. A limit that the activation already takes at 0 (the off state of a rectifier) is ``nan``:
    being off is not being saturated.
    """
    parameter = next(module.parameters(), torch.empty(0, dtype=torch.float32))
    grid = torch.cat([torch.linspace(-10.0, 10.0, 401), torch.tensor([-1000.0, -100.0, 0.0, 100.0, 1000.0])])
    try:
        with torch.no_grad():
            values = module(grid.to(parameter)).double()
    except Exception:
        return None
    lower, low, at_zero, high, upper = values[401:].tolist()
    span = float(values.max() - values.min())
    settled = abs(lower - low) < 0.01 * span and abs(upper - high) < 0.01 * span
    if not (settled and np.isfinite(span)) or span == 0:
        return None
    lower, upper = (end if abs(end - at_zero) > 0.01 * span else float("nan") for end in (lower, upper))
    return lower, upper, span


def _saturated(z: Tensor, bounds: tuple[float, float, float]) -> Tensor:
    """Return the fraction of units within 1 % of the range from a limit, for each sample."""
    lower, upper, span = bounds
    flat = ((z - lower).abs() < 0.01 * span) | ((z - upper).abs() < 0.01 * span)
    return flat.double().mean(dim=1)
