"""How each weight of any module changes its output, by vector-Jacobian products: never the full Jacobian.

The weights of all parameters form one vector. A property costs one backward pass. The size of a map,
sum over the output of J[s]^2, is estimated by random signs (Hutchinson): for independent v = +-1 the mean of
(sum_o v_o J[s, o])^2 is the sum of J[s, o]^2. The batch is cut into parts, each with its own signs; their
terms add up, so that one pass over the batch in n parts is as good as n probes of the whole.
"""

from __future__ import annotations

import copy
import math
import warnings
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor, nn

from phasescope.errors import InputError
from phasescope.recording.batch import Batch, as_batch, first_float
from phasescope.recording.forward import drew_noise, run
from phasescope.recording.modules import as_module
from phasescope.recording.outputs import primary_output
from phasescope.recording.tangents import load_forward_mode
from phasescope.recording.untouched import alone, has_running_statistics, untouched
from phasescope.synapses.sensitivity import Sensitivity

Read = Callable[[Any], Tensor]
"""Gives the tensor that is looked at from what the model returns."""

Mode = Literal["eval", "given"]

_PARTS, _LEAST, _MOST = 16, 16, 512  # parts of a batch; samples in one
_FEW = 20_000  # weights for each sample of the least part: small networks can afford smaller ones
_EXACT = 2**24  # weights times numbers of the output up to which sizes of maps are exact
_SEEDS = 64  # numbers of an output that are pulled back together
_ALONE = 1e-3  # relative difference between a sample alone and among others


@dataclass(frozen=True)
class Piece:
    """One parameter as a run of consecutive weights."""

    names: tuple[str, ...]  # all under which the model holds it; more than one where modules share it
    shape: tuple[int, ...]
    start: int  # number of its first weight

    @property
    def stop(self) -> int:
        """Number after that of its last weight."""
        return self.start + math.prod(self.shape)

    @property
    def layer(self) -> str:
        """Path of the module that holds it first; its own name where that is the model itself."""
        return self.owner or self.names[0]

    @property
    def owner(self) -> str:
        """Path of the module that holds it first, "" for the model itself."""
        return self.names[0].rpartition(".")[0]


class ModuleSensitivity(Sensitivity):
    """The sensitivity of any module on a batch; made by :func:`module_sensitivity`.

    The weights were copied and later changes of them are not seen. Frozen parameters and buffers are read
    from the model at each call.

    Parameters
    ----------
    network : object
        The module as a function of its weights on the batch.
    weights : tensor, shape (size,)
        Where everything is taken.
    output : tensor, optional
        At these weights; by default it is computed.

    Attributes
    ----------
    weights : tensor, shape (size,)
        All weights, parameter by parameter in the order of the model, each in its own order.
    output : tensor
        On the whole batch; the last axis counts the outputs (classes, tokens) where there are two or more.
    pieces : tuple
        The parameters, each with its ``names``, ``shape``, ``start`` and ``stop`` among the weights.
    shape : tuple of int
        What a mask of cases has: the shape of the output without its last axis; (samples,) for an output of
        one axis.
    notes : tuple of str
        In which mode the model ran, what was left out, and how the batch was cut.
    """

    def __init__(self, network: _Network, weights: Tensor, output: Tensor | None = None) -> None:
        self._network, self.weights = network, weights
        self.output = network.outputs(weights) if output is None else output
        self.pieces, self.notes = network.pieces, tuple(network.notes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a mask over the output."""
        return tuple(self.output.shape[:-1] if self.output.ndim > 1 else self.output.shape)

    def pulled_back(self, seeds: Tensor) -> Tensor:
        """Return <seeds, J[s]> for all weights, the sum over the output, by one pass forward and backward.

        Parameters
        ----------
        seeds : tensor, of the shape of the output, or with one more dimension in front for k of them
            Each of the k costs a further backward pass.

        Returns
        -------
        tensor, shape (size,) or (k, size)

        Raises
        ------
        InputError
            If the shape is another.
        """
        single = seeds.ndim == self.output.ndim
        rows = seeds[None] if single else seeds
        if rows.shape[1:] != self.output.shape:
            raise InputError(
                f"The seeds have shape {tuple(seeds.shape)}.", f"Use {tuple(self.output.shape)}."
            )
        total = self.weights.new_zeros(len(rows), self.size)

        def visit(part: Tensor, pull: _Pull) -> None:
            for row, found in zip(rows, total, strict=True):
                seeds = row[part]
                if bool(seeds.any()):
                    pull(seeds, partial(_add, found))

        self._network.backward(self.weights, visit, _any(rows))
        return total[0] if single else total

    def change(self, difference: Tensor) -> Tensor:
        """Return the change of the output to first order, sum of J[s] difference[s].

        By forward-mode differentiation, or by differentiating the backward pass where an operator of the
        model has no forward mode. Cost: about two passes forward for each difference.

        Parameters
        ----------
        difference : tensor, shape (size,) or (k, size)
            Of the weights; k of them give k changes.

        Returns
        -------
        tensor, of the shape of the output, or with one more dimension in front

        Raises
        ------
        InputError
            If the shape is another, or the model cannot be differentiated in either way.
        """
        if difference.shape[-1:] != (self.size,) or difference.ndim > 2:
            raise InputError(
                f"The difference has shape {tuple(difference.shape)}.",
                f"Use ({self.size},) or (k, {self.size}).",
            )
        rows = difference.to(self.weights).reshape(-1, self.size)
        pushed = torch.stack([self._network.pushed(self.weights, row) for row in rows])
        return pushed if difference.ndim == 2 else pushed[0]

    def at(self, weights: Tensor) -> ModuleSensitivity:
        """Return the same for other weights, by one pass forward; this one stays as it is.

        Parameters
        ----------
        weights : tensor, shape (size,)

        Raises
        ------
        InputError
            If the number of weights is another, or one is not finite.
        """
        if weights.shape != self.weights.shape:
            raise InputError(f"There are {tuple(weights.shape)} weights.", f"Pass ({self.size},) of them.")
        copied = weights.detach().to(self.weights).clone()
        self._network.check(copied)
        return ModuleSensitivity(self._network, copied)

    def name(self, weight: int) -> str:
        """Return the parameter and the place in it: ``layers.0.weight[12, 3]``.

        A shared one has all its names: ``wte.weight = lm_head.weight[12, 3]``.

        Parameters
        ----------
        weight : int
            Its number.
        """
        piece = self.pieces[bisect_right([each.start for each in self.pieces], weight) - 1]
        place, rest = [], weight - piece.start
        for length in reversed(piece.shape):
            rest, index = divmod(rest, length)
            place.append(str(index))
        name = " = ".join(piece.names)
        return f"{name}[{', '.join(reversed(place))}]" if place else name

    @cached_property
    def rms(self) -> Tensor:
        """The rms of each map over the whole output, shape (size,), with the relative error ``rms_error``."""
        return self.energy(torch.ones(self.shape)).div_(self.output.numel()).sqrt_()

    @property
    def rms_error(self) -> float:
        """One relative standard error of :attr:`rms`, 0 where it is exact: see :meth:`energy`.

        At most sqrt(1 / (2 n)) with n probes or parts of the batch, where a weight moves all parts alike;
        at most sqrt(1 / 2) for one that moves the outputs of one part alone.
        """
        return (
            0.0 if self._exact else 1 / math.sqrt(2 * self._network.probes * len(self._network.parts(True)))
        )

    def energy(self, masks: Tensor) -> Tensor:
        """Return for all weights the sum of J[s]^2 over the cases of each mask and all outputs.

        Exact where weights times numbers of the output are at most 17 million and ``chunk`` was not given:
        then all masks together cost one backward pass for each output of a sample, once. Otherwise estimated
        by random signs, and each mask costs a pass over the samples that it counts.

        Parameters
        ----------
        masks : tensor, of shape ``shape`` or (k, *shape)
            True where a case counts; numbers weigh it.

        Returns
        -------
        tensor, shape (size,) or (k, size)

        Raises
        ------
        InputError
            If the shape is another.
        """
        single = masks.ndim == len(self.shape)
        rows = masks[None] if single else masks
        if tuple(rows.shape[1:]) != self.shape:
            raise InputError(f"The mask has shape {tuple(masks.shape)}.", f"Use {self.shape}.")
        rows = rows.to(self.weights)
        energies = rows.flatten(1) @ self._cases if self._exact else self._estimated(rows)
        return energies[0] if single else energies

    @property
    def _exact(self) -> bool:
        return not self._network.limited and self.size * self.output.numel() <= _EXACT

    @cached_property
    def _cases(self) -> Tensor:
        """The sum of J[s]^2 over the outputs of each case, shape (cases, size)."""
        energies = self.weights.new_zeros(math.prod(self.shape), self.size)
        case = torch.arange(len(energies), device=energies.device).reshape(self.shape)
        case = case[..., None].expand_as(self.output) if self.output.ndim > 1 else case

        length = max(1, _SEEDS * len(self.output) // self.output.numel())
        # What one call holds is no more than a pass over the batch.
        block = max(1, min(_SEEDS, len(self.output) // length))

        def visit(part: Tensor, pull: _Pull) -> None:
            for seeds, numbers in _one_hot(self.output[part], case[part], block):
                pull(seeds, partial(_add_squares, energies, numbers))

        self._network.backward(self.weights, visit, length=length)
        return energies

    def _estimated(self, masks: Tensor) -> Tensor:
        scales = masks.to(self.output).sqrt()
        scales = scales[..., None] if self.output.ndim > 1 else scales
        probes, draw = self._network.probes, torch.Generator().manual_seed(self._network.seed)
        energies = self.weights.new_zeros(len(masks), self.size)
        for scale, energy in zip(scales, energies, strict=True):

            def visit(part: Tensor, pull: _Pull, scale: Tensor = scale, energy: Tensor = energy) -> None:
                like = self.output[part]
                for _ in range(probes):
                    signs = torch.randint(0, 2, like.shape, generator=draw, dtype=torch.int8).to(like)
                    pull(signs.mul_(2).sub_(1) * scale[part], partial(_add_square, energy))

            self._network.backward(self.weights, visit, _any(scale[None]), fine=True)
        return energies.div_(probes)

    @cached_property
    def groups(self) -> Tensor:
        """The unit that each weight enters, numbered through the network, int32 of shape (size,).

        The row of a weight matrix or a kernel, with the bias of that row; the column of an embedding and of a
        layer that keeps its matrix transposed. Rows of a normalisation are units of their own, so are those
        of each gate of a recurrent layer. A shared parameter counts where it stands first.
        """
        found = torch.empty(self.size, dtype=torch.int32, device=self.weights.device)
        first: dict[tuple[str, str, int], int] = {}
        units = 0
        for piece in self.pieces:
            axis = self._network.axis(piece)
            length = piece.shape[axis] if piece.shape else 1
            key = (piece.owner, _stage(piece), length)
            if key not in first:
                first[key] = units
                units += length
            rows = first[key] + torch.arange(length, dtype=torch.int32, device=found.device)
            layout = [1] * len(piece.shape)
            if layout:
                layout[axis] = length
            found[piece.start : piece.stop] = rows.reshape(layout).expand(piece.shape).reshape(-1)
        return found

    def named(self, weights: Tensor | None = None) -> dict[str, Tensor]:
        """Return weights as tensors of the model's own shapes and types, by the first name of each.

        Parameters
        ----------
        weights : tensor, shape (size,), optional
            By default those at which everything is taken.
        """
        flat = self.weights if weights is None else weights
        own = dict(self._network.module.named_parameters())
        return {
            piece.names[0]: flat[piece.start : piece.stop]
            .reshape(piece.shape)
            .to(own[piece.names[0]], copy=True)
            for piece in self.pieces
        }

    def with_weights(self, weights: Tensor) -> nn.Module:
        """Return a copy of the model with other weights; the model stays as it is.

        Parameters
        ----------
        weights : tensor, shape (size,)
        """
        twin = copy.deepcopy(self._network.module)
        parameters = dict(twin.named_parameters())
        with torch.no_grad():
            for name, values in self.named(weights).items():
                parameters[name].copy_(values)
        return twin


_Take = Callable[[slice, Tensor], None]
"""Takes the place of a parameter among the weights, and its flat gradient, or k of them, to read."""

_Pull = Callable[[Tensor, _Take], None]
"""Pulls seeds over a part of the output back, or k of them, and gives the gradient of each parameter."""


class _Network:
    """The user's model as a function of its weights on a batch; each call leaves the model as it was."""

    def __init__(
        self,
        module: nn.Module,
        batch: Batch,
        pieces: tuple[Piece, ...],
        read: Read | None,
        *,
        dtype: torch.dtype | None,
        mode: Mode,
        probes: int,
        seed: int,
        notes: list[str],
    ) -> None:
        self.module, self.batch, self.pieces, self.read = module, batch, pieces, read
        self.dtype, self.mode, self.probes, self.seed, self.notes = dtype, mode, probes, seed, notes
        self.length: int | None = None  # samples in a part at most; None where the batch is not cut
        self.least, self.limited = 1, False
        self.forward_mode = True

    def check(self, weights: Tensor) -> None:
        """Refuse weights that are not finite, by name."""
        for piece in self.pieces:
            if not bool(weights[piece.start : piece.stop].isfinite().all()):
                raise InputError(
                    f"{' = '.join(piece.names)} holds NaN or infinite weights.", "Load or train finite ones."
                )

    @contextmanager
    def _still(self) -> Iterator[None]:
        with untouched(self.module):
            for part in self.module.modules():
                if self.mode == "eval":
                    part.training = False
                elif has_running_statistics(part) and hasattr(part, "momentum"):
                    part.momentum = 0.0  # type: ignore[assignment]
            yield

    def _leaves(self, weights: Tensor) -> list[Tensor]:
        """Return the weights as parameters, views where the type allows."""
        own = dict(self.module.named_parameters())
        found = []
        for piece in self.pieces:
            model = own[piece.names[0]]
            values = weights[piece.start : piece.stop].reshape(piece.shape)
            found.append(values.to(model.device, self.dtype or model.dtype).detach())
        return found

    def _call(self, leaves: list[Tensor], part: Tensor) -> Tensor:
        """Return the output of some samples of the batch."""
        named = {piece.names[0]: leaf for piece, leaf in zip(self.pieces, leaves, strict=True)}
        batch = self.batch.pick(part)
        if self.dtype is not None:
            own = [*self.module.named_parameters(), *self.module.named_buffers()]
            named = {name: self._cast(tensor) for name, tensor in own} | named
            batch = batch.mapped(self._cast)

        def called(*args: Any, **kwargs: Any) -> Any:
            return torch.func.functional_call(self.module, named, args, kwargs)

        called.kind = getattr(self.module, "kind", type(self.module).__name__)  # type: ignore[attr-defined]
        output = run(called, batch, self.batch)  # type: ignore[arg-type]
        seen = output if self.read is None else self.read(output)
        found = first_float(seen.to_tuple() if hasattr(seen, "to_tuple") else seen)
        if self.read is None:
            found = primary_output(output, batch.size)[0]
        if self.read is None and found is not None and not found.ndim:
            raise InputError(
                f"{type(self.module).__name__} returns a loss, one number for all samples together.",
                "Call it without labels, or pass read=, a function from the output to the tensor to look at.",
            )
        if found is None:
            what = "The output" if self.read is None else "What read= returns"
            raise InputError(
                f"{what} is {type(seen).__name__}, without a tensor of floating-point numbers.",
                "Pass read=, a function from the output to the tensor to look at.",
            )
        return found if found.ndim else found[None]

    def _cast(self, tensor: Tensor) -> Tensor:
        return tensor.detach().to(self.dtype) if tensor.is_floating_point() else tensor

    def parts(
        self, fine: bool = False, *, wanted: Tensor | None = None, length: int | None = None
    ) -> Sequence[Tensor]:
        """Return the numbers of all samples, or of those that are wanted, in parts; fine: in 16 or more."""
        if self.length is None:
            return [torch.arange(self.batch.size)]
        samples = torch.arange(self.batch.size) if wanted is None else wanted.nonzero()[:, 0].cpu()
        if length is None:
            length = max(self.least, -(-len(samples) // _PARTS)) if fine else self.length
        return samples.tensor_split(-(-len(samples) // min(length, self.length))) if len(samples) else []

    def outputs(self, weights: Tensor) -> Tensor:
        """Return the output of the whole batch."""
        leaves = self._leaves(weights)
        with self._still(), torch.no_grad():
            return torch.cat([self._call(leaves, part).detach() for part in self.parts()])

    def cut(self, weights: Tensor, chunk: int | None) -> Tensor:
        """Cut the batch into parts where its samples stand alone, and return the output of the whole."""
        size = self.batch.size
        length = _MOST if chunk is None else chunk
        self.least, self.limited = min(_LEAST, 1 + len(weights) // _FEW, length), chunk is not None
        if size > min(self.least, length):
            reason = self._entangled(self._leaves(weights))
            if reason:
                self.notes.append(f"the batch was taken whole: {reason}")
            else:
                self.length = length
                self.notes.append(f"the batch of {size} samples was taken in {len(self.parts(True))} parts")
        output = self.outputs(weights)
        if output.isnan().any():
            raise InputError(
                f"The output of {type(self.module).__name__} holds NaN on this batch.",
                "Check the weights and the batch.",
            )
        return output

    def _entangled(self, leaves: list[Tensor]) -> str:
        """Return why the batch cannot be cut, "" where it can: a sample must give the same in any company."""
        if self.mode == "given" and any(part.training for part in self.module.modules()):
            return "the model is in training mode, where samples can depend on each other"
        length = min(self.batch.size, 4)
        with self._still(), torch.no_grad():
            many = self._call(leaves, torch.arange(length))
            if drew_noise():
                return "the model draws random numbers"
            # From the middle: what depends on earlier ones alone, as in time, would begin alike.
            few = self._call(leaves, torch.arange(length // 2, length))
        if len(many) != length or len(few) != length - length // 2 or many.shape[1:] != few.shape[1:]:
            return "the first axis of the output does not count its samples"
        one, two = many[length // 2 :].double().nan_to_num(), few.double().nan_to_num()
        if bool((one - two).abs().max() > _ALONE * one.abs().max()):
            return "the output of a sample depends on the others"
        return ""

    def backward(
        self,
        weights: Tensor,
        visit: Callable[[Tensor, _Pull], None],
        wanted: Tensor | None = None,
        *,
        fine: bool = False,
        length: int | None = None,
    ) -> None:
        """Run the wanted samples forward part by part, with a graph, and have each part visited."""
        leaves = [leaf.requires_grad_() for leaf in self._leaves(weights)]
        with self._still(), torch.enable_grad():
            for part in self.parts(fine, wanted=wanted, length=length):
                visit(part, self._puller(self._call(leaves, part), leaves, weights))

    def _puller(self, output: Tensor, leaves: list[Tensor], weights: Tensor) -> _Pull:
        def pull(seeds: Tensor, take: _Take) -> None:
            if not output.requires_grad:
                return
            if seeds.ndim > output.ndim:
                self._pull_many(output, leaves, seeds, take)
                return

            def taken(place: slice, leaf: Tensor) -> None:
                assert leaf.grad is not None
                take(place, leaf.grad.to(weights).reshape(-1))
                leaf.grad = None  # at once: all of them together take as much as the weights

            hooks = [
                leaf.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                    partial(taken, slice(piece.start, piece.stop))
                )
                for piece, leaf in zip(self.pieces, leaves, strict=True)
            ]
            try:
                # A scalar product: with seeds of its own, backward() loads torch's symbolic shapes first.
                product = (output * seeds.to(output)).sum()
                product.backward(retain_graph=True, inputs=leaves)  # type: ignore[no-untyped-call]
            finally:
                for hook in hooks:
                    hook.remove()

        return pull

    def _pull_many(self, output: Tensor, leaves: list[Tensor], seeds: Tensor, take: _Take) -> None:
        """Pull many seeds back in one call where torch can, else one by one."""
        seeds = seeds.to(output)
        many = partial(torch.autograd.grad, output, leaves, retain_graph=True, allow_unused=True)
        found: Sequence[Tensor | None]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # about operators that are not batched
                found = many(seeds, is_grads_batched=True)
        except RuntimeError:
            rows = zip(*(many(row) for row in seeds), strict=True)
            found = [None if row[0] is None else torch.stack(row) for row in rows]
        for piece, gradient in zip(self.pieces, found, strict=True):
            if gradient is not None:
                take(slice(piece.start, piece.stop), gradient.reshape(len(seeds), -1))

    def pushed(self, weights: Tensor, difference: Tensor) -> Tensor:
        """Return J difference."""
        if self.forward_mode:
            try:
                return self._pushed_forward(weights, difference)
            except (InputError, RuntimeError):
                self.forward_mode = False  # an operator has none
        return self._pushed_by_two_backward(weights, difference)

    def _pushed_forward(self, weights: Tensor, difference: Tensor) -> Tensor:
        load_forward_mode()
        leaves, tangents = self._leaves(weights), self._leaves(difference)
        found = []
        with self._still(), torch.no_grad(), forward_ad.dual_level():
            duals = [
                forward_ad.make_dual(leaf, tangent)  # type: ignore[no-untyped-call]
                for leaf, tangent in zip(leaves, tangents, strict=True)
            ]
            for part in self.parts():
                output, tangent = forward_ad.unpack_dual(self._call(duals, part))  # type: ignore[no-untyped-call]
                found.append(torch.zeros_like(output) if tangent is None else tangent)
            return torch.cat(found)

    def _pushed_by_two_backward(self, weights: Tensor, difference: Tensor) -> Tensor:
        leaves, tangents = self._leaves(weights), self._leaves(difference)
        found = []
        with self._still(), torch.enable_grad():
            for leaf in leaves:
                leaf.requires_grad_()
            for part in self.parts():
                output = self._call(leaves, part)
                seeds = torch.zeros_like(output, requires_grad=True)
                pulled = torch.autograd.grad(output, leaves, seeds, create_graph=True, allow_unused=True)
                both = [(g, u) for g, u in zip(pulled, tangents, strict=True) if g is not None]
                (pushed,) = torch.autograd.grad(
                    [g for g, _ in both], seeds, [u for _, u in both], allow_unused=True
                )
                if pushed is None:
                    raise InputError(
                        f"An operator of {type(self.module).__name__} can be differentiated once only.",
                        "Use plain torch operations.",
                    )
                found.append(pushed)
        return torch.cat(found)

    def axis(self, piece: Piece) -> int:
        """Return the axis of a parameter that counts the units which its weights enter."""
        if len(piece.shape) < 2:
            return 0
        owner = self.module.get_submodule(piece.owner)
        if isinstance(owner, (nn.Embedding, nn.EmbeddingBag)):
            return 1
        if isinstance(owner, nn.modules.conv._ConvTransposeNd):
            return 1
        bias = dict(owner.named_parameters(recurse=False)).get("bias")  # without running a parametrisation
        rows = len(bias) if bias is not None and bias.ndim == 1 else piece.shape[0]
        transposed = type(owner).__name__ == "Conv1D" or rows != piece.shape[0]
        return 1 if transposed and piece.shape[1] == rows else 0


@alone()
def module_sensitivity(
    model: nn.Module | Callable[..., Any],
    batch: Any,
    *,
    parameters: Sequence[str] | None = None,
    read: Read | None = None,
    mode: Mode = "eval",
    chunk: int | None = None,
    probes: int = 1,
    seed: int = 0,
    dtype: torch.dtype | None = None,
) -> ModuleSensitivity:
    """Return how each weight of a module changes its output on a batch, without its Jacobian.

    The model is left bit-identical, its mode, buffers, hooks and gradients included. Costs, in passes over
    the batch: one forward here; one forward and backward a property (:meth:`ModuleSensitivity.gradient`);
    the same once for the sizes of all maps (:attr:`ModuleSensitivity.rms`); two forward for a change. Memory:
    one copy of the weights and of the output, one vector of that length a result, and one part of the batch
    with its graph.

    Parameters
    ----------
    model : nn.Module
        The network.
    batch : tensor, sequence or mapping of tensors
        What it is called with; the samples lie along the first axis of each tensor.
    parameters : sequence of str, optional
        Names of parameters, or of modules for all parameters below them. By default all parameters that ask
        for a gradient; frozen ones are left out, and ``notes`` says so. A shared parameter counts once.
    read : callable, optional
        Gives the tensor to look at from what the model returns; by default its first floating-point tensor. A
        scalar becomes a tensor of one number.
    mode : {"eval", "given"}
        Evaluation mode, or the mode that each module is in. In training mode dropout draws the same numbers
        at each call, batch normalisation uses the statistics of the batch, and the batch is not cut.
    chunk : int, optional
        Most samples in a part of the batch, where memory is short; 512 by default. Sizes of maps are
        estimated in parts of a 16th of the samples that count, of at least 16 where the weights are many. A
        batch whose samples depend on each other is not cut, and ``notes`` says so.
    probes : int
        Random signs for each part, in the sizes of maps.
    seed : int
        Seed of these.
    dtype : torch.dtype, optional
        In which the network computes. By default its own; a network in half precision computes in float32.

    Raises
    ------
    InputError
        If the model refuses the batch, a name is unknown, no parameter is left, a weight is not finite, or
        the output holds no floating-point tensor or NaN.
    """
    module = as_module(model)
    if mode not in ("eval", "given"):
        raise InputError(f"mode={mode!r}.", 'Use "eval" or "given".')
    for name, number in (("chunk", chunk), ("probes", probes)):
        if number is not None and number < 1:
            raise InputError(f"{name}={number}.", "Use a whole number from 1.")
    notes = ["in evaluation mode" if mode == "eval" else "in the mode that the model was given in"]
    pieces = _pieces(module, parameters, notes)
    fitted = as_batch(module, batch)
    notes += fitted.notes
    own = dict(module.named_parameters())
    chosen = [own[piece.names[0]] for piece in pieces]
    if dtype is None and any(p.dtype in (torch.float16, torch.bfloat16) for p in module.parameters()):
        dtype = torch.float32
        notes.append("a network in half precision: it computes in float32 here")
    kind = torch.float32
    for parameter in chosen:
        kind = torch.promote_types(kind, dtype or parameter.dtype)
    weights = torch.empty(pieces[-1].stop, dtype=kind, device=chosen[0].device)
    for piece, parameter in zip(pieces, chosen, strict=True):
        weights[piece.start : piece.stop] = parameter.detach().reshape(-1).to(weights)
    network = _Network(
        module, fitted, pieces, read, dtype=dtype, mode=mode, probes=probes, seed=seed, notes=notes
    )
    network.check(weights)
    return ModuleSensitivity(network, weights, network.cut(weights, chunk))


def _pieces(module: nn.Module, wanted: Sequence[str] | None, notes: list[str]) -> tuple[Piece, ...]:
    """Return the parameters to look at, shared ones once; note what is left out."""
    names: dict[int, list[str]] = {}
    tensors: dict[int, Tensor] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise InputError(
                f"Parameter {name} of {type(module).__name__} has no shape yet.",
                "Call the model once on a batch before.",
            )
        names.setdefault(id(parameter), []).append(name)
        tensors[id(parameter)] = parameter
    asked = None if wanted is None else {*([wanted] if isinstance(wanted, str) else wanted)}
    if asked is not None:
        known = [name for each in names.values() for name in each]
        unknown = [one for one in asked if not any(_below(name, one) for name in known)]
        if unknown:
            raise InputError(
                f"{type(module).__name__} has no parameter {sorted(unknown)[0]!r}.",
                f"It has {', '.join(known[:6])}{', ...' if len(known) > 6 else ''}.",
            )
    pieces: list[Piece] = []
    frozen: list[str] = []
    start = 0
    for key, own in names.items():
        tensor = tensors[key]
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        if asked is None and not tensor.requires_grad:
            frozen.append(own[0])
        elif asked is None or any(_below(name, place) for name in own for place in asked):
            pieces.append(Piece(tuple(own), tuple(tensor.shape), start))
            start = pieces[-1].stop
    if frozen:
        more = f" and {len(frozen) - 3} more" if len(frozen) > 3 else ""
        notes.append(f"frozen parameters were left out: {', '.join(frozen[:3])}{more}")
    shared = [piece for piece in pieces if len(piece.names) > 1]
    notes += [f"shared, counted once: {' = '.join(piece.names)}" for piece in shared]
    if not pieces:
        raise InputError(
            f"{type(module).__name__} has no parameter to look at.",
            "Name some with parameters=, or set requires_grad to True."
            if frozen
            else "Pass a network with weights.",
        )
    return tuple(pieces)


def _any(rows: Tensor) -> Tensor:
    """Return which samples have a number other than 0 in any of some rows, shape (samples,)."""
    return rows.reshape(len(rows), rows.shape[1], -1).any(2).any(0)


def _add(total: Tensor, place: slice, gradient: Tensor) -> None:
    total[place].add_(gradient)


def _add_squares(energies: Tensor, cases: Tensor, place: slice, gradients: Tensor) -> None:
    energies[:, place].index_add_(0, cases, gradients.square().to(energies))


def _add_square(total: Tensor, place: slice, gradient: Tensor) -> None:
    total[place].addcmul_(gradient, gradient)


def _below(name: str, place: str) -> bool:
    return name == place or name.startswith(f"{place}.")


def _stage(piece: Piece) -> str:
    """Return what tells the layers of a recurrent module apart: ``0`` of ``weight_ih_l0``."""
    name = piece.names[0].rpartition(".")[2]
    return name.rpartition("_l")[2] if name.startswith(("weight_", "bias_")) else ""


def _one_hot(output: Tensor, case: Tensor, block: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield blocks of seeds with a single 1, for every number of an output, and the case of each."""
    count = output.numel()
    for start in range(0, count, block):
        numbers = torch.arange(start, min(start + block, count), device=output.device)
        seeds = output.new_zeros(len(numbers), count)
        seeds[torch.arange(len(numbers)), numbers] = 1
        yield seeds.reshape(-1, *output.shape), case.reshape(-1)[numbers]
