"""A loss as a pure function of a network's parameters, which lie in one flat vector.

The user's model is copied once and the copy is frozen: dropout off, running statistics neither used nor
updated while a layer trains, the batches of a loader read once and repeated in that order. What stays random
after that is refused with the name of the layer.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from phasescope.errors import InputError, MemoryLimitError
from phasescope.recording.batch import first_float, leaves, map_leaves
from phasescope.recording.memory import peak_bytes
from phasescope.recording.modules import as_module
from phasescope.recording.untouched import alone, plain_kernels, untouched
from phasescope.training.perceptron import Perceptron, recognise

Loss = Callable[..., Any]

_DATA = "Pass one batch (inputs, targets), a mapping, a list of batches, or a data loader."
_LOADER_LIMIT = 1e9  # bytes of batches that are read from a loader and kept
_NOISE = 1e3  # roundings that two evaluations of the same loss may differ by
# Bytes up to which k Hessian products are taken in one call: beyond a core's cache that costs twice as much.
_TOGETHER, _TOGETHER_GPU = 2**23, 2**30


@dataclass(frozen=True)
class _Batch:
    """The arguments of one forward pass, and what the loss compares the output with."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    target: Any  # None where the loss takes the output alone
    whole: Any  # the batch as the user passed it


class Objective:
    """A loss on fixed data as a function of the trained parameters of a frozen copy of a model.

    Made by :func:`objective`. All parameters that are trained lie in one flat vector of length `size`, in the
    order of ``model.named_parameters()``. Step `t` of training uses batch ``t % batches``.

    Parameters
    ----------
    module : nn.Module
        The frozen copy.
    loss : callable or None
        As :func:`objective` takes it.
    batches : sequence
        The batches, each as arguments and target.
    names : sequence of str
        Of the parameters that are trained.
    accumulate : int
        Number of batches whose mean loss makes one step.
    notes : sequence of str
        What was frozen or changed in the copy.

    Attributes
    ----------
    size : int
        Number of trained parameters.
    initial : Tensor of shape (size,)
        Those of the model that was passed.
    slices, shapes : dict of str to slice, dict of str to torch.Size
        Place in the vector and shape of each trained parameter, by its name.
    is_weight : Tensor of bool, shape (size,)
        True for entries of parameters with two or more dimensions, false for biases and gains.
    batches : int
        Length of the cycle of batches; 1 for full-batch training.
    dtype, device : torch.dtype, torch.device
        Of the vector.
    notes : tuple of str
        What was frozen or changed in the copy.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Loss | None,
        batches: Sequence[_Batch],
        names: Sequence[str],
        *,
        accumulate: int = 1,
        notes: Sequence[str] = (),
    ) -> None:
        self.module, self.loss_function = module, loss
        self._batches, self._accumulate = list(batches), accumulate
        parameters = dict(module.named_parameters())
        self.shapes = {name: parameters[name].shape for name in names}
        self._sizes = [parameters[name].numel() for name in names]
        ends = torch.tensor(self._sizes).cumsum(0).tolist()
        self.slices = {
            name: slice(end - size, end) for name, size, end in zip(names, self._sizes, ends, strict=True)
        }
        self.size = ends[-1]
        chosen = [parameters[name].detach() for name in names]
        self.dtype, self.device = chosen[0].dtype, chosen[0].device
        self.initial = torch.cat([each.flatten() for each in chosen])
        self.is_weight = torch.cat(
            [torch.full((each.numel(),), each.ndim > 1, device=self.device) for each in chosen]
        )
        self.batches = len(self._batches) // accumulate
        self.notes = tuple(notes)
        self._recurrent = any(isinstance(each, nn.RNNBase) for each in module.modules())

    @property
    def data(self) -> list[Any]:
        """The batches of one cycle, in the type and on the device of the parameters."""
        return [each.whole for each in self._batches]

    def named(self, w: Tensor) -> dict[str, Tensor]:
        """Return the parameters in a vector by their names, as views of it.

        Parameters
        ----------
        w : Tensor of shape (size,)
            A vector of parameters.
        """
        return {
            name: part.view(self.shapes[name])
            for name, part in zip(self.slices, torch.split(w, self._sizes), strict=True)
        }

    def loss(self, w: Tensor, t: int = 0) -> Tensor:
        """Return the loss that step `t` sees.

        Parameters
        ----------
        w : Tensor of shape (size,) or (M, size)
            One vector of parameters, or one for each of `M` copies of the network.
        t : int
            The step; chooses the batch.

        Returns
        -------
        Tensor of shape () or (M,)
            The loss, in the unit of the user's own.
        """
        if self.closed is not None:
            return self.closed.loss(w, t)
        with torch.no_grad(), plain_kernels(recurrent=self._recurrent):
            if w.ndim == 1:
                return self._loss(w, t)
            if self.vmapped and not self._recurrent:  # cells have a batched gradient, not a batched output
                return torch.func.vmap(partial(self._loss, t=t))(w)
            return torch.stack([self._loss(one, t) for one in w])

    def gradient(self, w: Tensor, t: int = 0) -> tuple[Tensor, Tensor]:
        """Return the loss and its gradient.

        Parameters
        ----------
        w : Tensor of shape (size,) or (M, size)
            One vector of parameters, or one for each of `M` copies of the network.
        t : int
            The step; chooses the batch.

        Returns
        -------
        loss : Tensor of shape () or (M,)
            The loss.
        gradient : Tensor of the shape of `w`
            Its derivative by each parameter.
        """
        if self.closed is not None:
            return self.closed.gradient(w, t)
        with plain_kernels(recurrent=self._recurrent):
            if w.ndim == 1:
                return self._gradient(w, t)
            if self.vmapped:
                found, loss = torch.func.vmap(torch.func.grad_and_value(partial(self._loss, t=t)))(w.detach())
                return loss.detach(), found.detach()
            pairs = [self._gradient(one, t) for one in w]
            return torch.stack([loss for loss, _ in pairs]), torch.stack([found for _, found in pairs])

    def linearised(self, w: Tensor, t: int = 0) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
        """Return the loss, its gradient, and a function that multiplies vectors by the Hessian.

        Parameters
        ----------
        w : Tensor of shape (size,)
            A vector of parameters.
        t : int
            The step; chooses the batch.

        Returns
        -------
        loss, gradient : Tensor of shape () and (size,)
            As in :meth:`gradient`.
        product : callable
            ``product(v)`` with `v` of shape (size,) or (k, size) returns ``H v`` of the same shape.

        Notes
        -----
        The graph of the gradient is built once and serves all products: each costs about one gradient.
        """
        if self.closed is not None:
            return self.closed.linearised(w, t)
        with torch.enable_grad(), plain_kernels(recurrent=self._recurrent):
            point = w.detach().requires_grad_(True)
            loss = self._loss(point, t)
            (gradient,) = torch.autograd.grad(loss, point, create_graph=True)
        recurrent = self._recurrent
        together = _TOGETHER if w.device.type == "cpu" else _TOGETHER_GPU

        def once(v: Tensor, *, batched: bool = False) -> Tensor:
            with plain_kernels(recurrent=recurrent):
                (found,) = torch.autograd.grad(
                    gradient, point, v, retain_graph=True, allow_unused=True, is_grads_batched=batched
                )
            return torch.zeros_like(v) if found is None else found

        def product(v: Tensor) -> Tensor:
            if not gradient.requires_grad:  # a loss that is linear in the parameters
                return torch.zeros_like(v)
            if v.ndim == 1:
                return once(v)
            if len(v) > 1 and len(v) * self._gradient_bytes <= together and self.vmapped:
                return once(v, batched=True)
            return torch.stack([once(row) for row in v])

        return loss.detach(), gradient.detach(), product

    def products(self, w: Tensor, v: Tensor, t: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Return the loss, its gradient, and the Hessian times each of `k` vectors.

        Parameters
        ----------
        w : Tensor of shape (size,) or (M, size)
            One vector of parameters, or one for each of `M` copies of the network.
        v : Tensor of shape (k, size) or (M, k, size)
            The vectors, for each copy its own.
        t : int
            The step; chooses the batch.

        Returns
        -------
        loss : Tensor of shape () or (M,)
            The loss.
        gradient : Tensor of the shape of `w`
            Its derivative.
        products : Tensor of the shape of `v`
            ``H v``, `H` the second derivative of the loss.
        """
        if self.closed is not None:
            return self.closed.products(w, v, t)
        if w.ndim == 1:
            loss, gradient, product = self.linearised(w, t)
            return loss, gradient, product(v)
        found = [self.products(one, rows, t) for one, rows in zip(w, v, strict=True)]
        return (
            torch.stack([loss for loss, _, _ in found]),
            torch.stack([gradient for _, gradient, _ in found]),
            torch.stack([rows for _, _, rows in found]),
        )

    def outputs(self, w: Tensor, inputs: Any = None) -> Tensor:
        """Return what the network puts out: the first floating-point tensor of its output.

        Parameters
        ----------
        w : Tensor of shape (size,) or (M, size)
            One vector of parameters, or one for each of `M` copies of the network.
        inputs : tensor, tuple or mapping of tensors, optional
            What the model is called with; the inputs of the first batch by default.

        Returns
        -------
        Tensor of shape (...) or (M, ...)
            The output, one for each copy.
        """
        batch = self._batches[0] if inputs is None else _as_batch(self._fitted(inputs), alone=True)
        if self.closed is not None and len(batch.args) == 1 and not batch.kwargs:
            (one,) = batch.args
            if isinstance(one, Tensor) and one.ndim == self._batches[0].args[0].ndim:
                return self.closed.outputs(w, one)
        with torch.no_grad(), plain_kernels(recurrent=self._recurrent):
            if w.ndim > 1:
                return torch.stack([self._output(one, batch) for one in w])
            return self._output(w, batch)

    def run(self, w: Tensor, t: int = 0) -> None:
        """Call the model as the loss of step `t` does, so that hooks on the layers of `module` see it.

        Parameters
        ----------
        w : Tensor of shape (size,)
            A vector of parameters.
        t : int
            The step; chooses the batch.
        """
        with torch.no_grad(), plain_kernels(recurrent=self._recurrent):
            self._loss(w, t)

    @cached_property
    def closed(self) -> Perceptron | None:
        """The closed form of a multilayer perceptron, which all methods use, or None for other models."""
        usual = all(len(each.args) == 1 and not each.kwargs for each in self._batches)
        if self._accumulate > 1 or not usual:
            return None
        pairs = [(each.args[0], each.target) for each in self._batches]
        return recognise(self.module, list(self.slices), self.loss_function, pairs)

    @cached_property
    def vmapped(self) -> bool:
        """Whether many copies are advanced in one call; else one by one."""
        pair = torch.stack([self.initial, self.initial * (1 + 1e-3)])
        try:
            with untouched(self.module), plain_kernels(recurrent=self._recurrent):
                both, _ = torch.func.vmap(torch.func.grad_and_value(self._loss))(pair)
                single = torch.stack([self._gradient(one, 0)[1] for one in pair])
        except Exception:  # whatever torch has no batched form of
            return False
        scale = single.abs().max().clamp(min=torch.finfo(self.dtype).tiny)
        return bool((both - single).abs().max() <= 1e4 * torch.finfo(self.dtype).eps * scale)

    @cached_property
    def _gradient_bytes(self) -> int:
        return peak_bytes(self.module, lambda: self._gradient(self.initial, 0))

    def _gradient(self, w: Tensor, t: int) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            point = w.detach().clone().requires_grad_(True)
            loss = self._loss(point, t)
            (gradient,) = torch.autograd.grad(loss, point)
        return loss.detach(), gradient

    def _loss(self, w: Tensor, t: int = 0) -> Tensor:
        first = t % self.batches * self._accumulate
        parts = [self._batch_loss(w, each) for each in self._batches[first : first + self._accumulate]]
        return parts[0] if len(parts) == 1 else torch.stack(parts).mean()

    def _batch_loss(self, w: Tensor, batch: _Batch) -> Tensor:
        function, parameters = self.loss_function, self.named(w)
        if function is not None and _takes_model(function):
            value = function(lambda *a, **k: self._call(parameters, a, k), batch.whole)
        else:
            value = _applied(function, self._call(parameters, batch.args, batch.kwargs), batch)
        return _scalar(value)

    def _output(self, w: Tensor, batch: _Batch) -> Tensor:
        output = self._call(self.named(w), batch.args, batch.kwargs)
        found = first_float(output if not hasattr(output, "to_tuple") else output.to_tuple())
        if found is None:
            raise InputError(
                f"{type(self.module).__name__} puts out {type(output).__name__}, without a float tensor.",
                "Measure distances of the parameters instead.",
            )
        return found

    def _call(self, parameters: dict[str, Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return torch.func.functional_call(self.module, parameters, args, kwargs)

    def _fitted(self, tree: Any) -> Any:
        return map_leaves(partial(_fit, dtype=self.dtype, device=self.device), tree)


@alone()
def objective(
    model: nn.Module,
    loss: Loss | None,
    data: Any,
    *,
    dtype: torch.dtype | None = torch.float64,
    device: torch.device | str | None = None,
    accumulate: int = 1,
    trained: Sequence[str] | None = None,
) -> Objective:
    """Return the loss of a model on fixed data as a pure function of its trained parameters.

    The model is copied and never touched. In the copy dropout is off; batch normalisation uses the statistics
    of the batch where the user's layer trains, and its running ones where it does not.

    Parameters
    ----------
    model : nn.Module
        The network. Parameters with ``requires_grad=False`` stay fixed.
    loss : callable or None
        ``loss(output, target)`` for a batch (inputs, target); ``loss(output, batch)`` or ``loss(output)``
        for a batch that is a mapping or a tensor; ``loss(model, batch)`` where the first argument is called
        ``model``. None takes ``output.loss``, as the models of the package transformers have it.
    data : tuple, mapping, tensor, list of these, or iterable
        One batch, or the batches of one epoch, which are repeated in the same order. The last element of a
        tuple is the target. A loader is read once, so that shuffling and augmentation are frozen.
    dtype : torch.dtype or None
        In which the copy computes; None keeps the model's own.
    device : str or torch.device, optional
        Where it computes; the model's own by default.
    accumulate : int
        Number of batches whose mean loss makes one step.
    trained : sequence of str, optional
        Names of the parameters that are trained; all that ask for a gradient by default.

    Returns
    -------
    Objective
        The loss, its gradients and its Hessian products.

    Raises
    ------
    InputError
        If the loss is no single number, not finite at the start, depends on no parameter, or differs from one
        call to the next; if the model cannot be copied, or no data are given.
    """
    module = as_module(model)
    notes: list[str] = []
    for name, parameter in module.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise InputError(
                f"Parameter {name} of {type(module).__name__} has no shape yet.",
                "Call the model once on a batch before the measurement.",
            )
    names = [
        name
        for name, parameter in module.named_parameters()
        if parameter.requires_grad and (trained is None or name in set(trained))
    ]
    if not names:
        raise InputError(
            f"{type(module).__name__} has no parameter that is trained.",
            "Set requires_grad to True for those that the optimiser moves.",
        )
    twin, frozen = _frozen_copy(module)
    notes += frozen
    twin.to(device=device, dtype=dtype)
    first = dict(twin.named_parameters())[names[0]]
    if len({(p.dtype, p.device) for name, p in twin.named_parameters() if name in set(names)}) > 1:
        raise InputError(
            f"The trained parameters of {type(module).__name__} differ in type or device.",
            "Pass dtype=torch.float32 or torch.float64, and device=.",
        )
    function = copy.deepcopy(loss).to(first.device, first.dtype) if isinstance(loss, nn.Module) else loss
    if function is not None and not callable(function):
        raise InputError(f"The loss is {function!r}, which cannot be called.", "Pass a function or a module.")
    with untouched(twin):  # the random state of the process, which a loader and the probe may use
        batches, read = _batches(data)
        notes += read
        if accumulate < 1 or len(batches) % accumulate:
            raise InputError(
                f"accumulate = {accumulate} does not divide the {len(batches)} batches.",
                "Pass as many batches as whole steps take.",
            )
        fit = partial(_fit, dtype=first.dtype, device=first.device)
        ready = [_as_batch(map_leaves(fit, batch), alone=False) for batch in batches]
        made = Objective(twin, function, ready, names, accumulate=accumulate, notes=notes)
        _probe(made)
    return made


def _frozen_copy(module: nn.Module) -> tuple[nn.Module, list[str]]:
    try:
        twin = copy.deepcopy(module)
    except Exception as error:  # whatever a user's attributes refuse
        raise InputError(
            f"{type(module).__name__} cannot be copied: {error}.",
            "Give the module a __deepcopy__, or replace torch.nn.utils.weight_norm by "
            "torch.nn.utils.parametrizations.weight_norm.",
        ) from error
    for parameter in twin.parameters():
        parameter.grad = None
        parameter.requires_grad_(False)
    notes, dropped, normalised = [], [], []
    for name, part in twin.named_modules():
        if isinstance(part, nn.modules.batchnorm._NormBase) and part.training:
            part.running_mean = part.running_var = part.num_batches_tracked = None
            part.track_running_stats = False
            normalised.append(name)
            continue
        if part.training and isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0:
            dropped.append(name)
        part.training = False
    if dropped:
        notes.append(f"dropout is off in {_listed(dropped)}")
    if normalised:
        notes.append(f"batch statistics, without running averages, in {_listed(normalised)}")
    return twin, notes


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more layers" if len(names) > 3 else "")


def _batches(data: Any) -> tuple[list[Any], list[str]]:
    if isinstance(data, (Tensor, Mapping)) or is_batch(data):
        return [data], []
    if not isinstance(data, Iterable):
        raise InputError(f"The data are of type {type(data).__name__}.", _DATA)
    kept: list[Any] = []
    total = 0
    for batch in data:
        if not next(leaves(batch, Tensor), None) is not None:
            raise InputError(f"A batch of the data holds no tensor: it is a {type(batch).__name__}.", _DATA)
        total += sum(each.numel() * each.element_size() for each in leaves(batch, Tensor))
        if total > _LOADER_LIMIT:
            raise MemoryLimitError(
                f"The first {len(kept) + 1} batches take more than {_LOADER_LIMIT / 1e9:.0f} GB, "
                "and all are kept. Pass a list of the batches that training is to repeat."
            )
        kept.append(batch)
    if not kept:
        raise InputError("The data hold no batch.", _DATA)
    listed = isinstance(data, (list, tuple))
    return kept, [] if listed else [f"the loader was read once: its {len(kept)} batches repeat in that order"]


def is_batch(data: Any) -> bool:
    """Whether a tuple or list is one batch, rather than a list of them."""
    return (
        isinstance(data, (tuple, list))
        and len(data) > 0
        and all(isinstance(each, (Tensor, Mapping)) for each in data)
        and any(isinstance(each, Tensor) for each in data)
        and (isinstance(data, tuple) or len(data) > 1)
    )


def _as_batch(batch: Any, *, alone: bool) -> _Batch:
    """Return the arguments and the target; `alone` if there is no target among them."""
    if isinstance(batch, Mapping):
        return _Batch((), {str(key): value for key, value in batch.items()}, None, batch)
    if isinstance(batch, Tensor):
        return _Batch((batch,), {}, None, batch)
    items = tuple(batch)
    if alone or len(items) == 1:
        return _Batch(items, {}, None, batch)
    inputs, target = items[:-1], items[-1]
    if len(inputs) == 1 and isinstance(inputs[0], Mapping):
        return _Batch((), {str(key): value for key, value in inputs[0].items()}, target, batch)
    return _Batch(inputs, {}, target, batch)


def _fit(tensor: Tensor, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    return tensor.detach().to(device, dtype if tensor.is_floating_point() else None)


def _takes_model(loss: Loss) -> bool:
    if isinstance(loss, nn.Module):
        return False
    try:
        return next(iter(inspect.signature(loss).parameters), "") == "model"
    except (TypeError, ValueError):
        return False


def _applied(loss: Loss | None, output: Any, batch: _Batch) -> Any:
    if loss is None:
        found = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
        if found is None:
            raise InputError(
                f"No loss was given, and the output, {type(output).__name__}, has none.",
                "Pass loss=, or put the labels into the batch.",
            )
        return found
    if batch.target is not None:
        return loss(output, batch.target)
    try:
        inspect.signature(loss).bind(output, batch.whole)
    except TypeError:
        return loss(output)
    except ValueError:  # a builtin has no signature
        pass
    return loss(output, batch.whole)


def _scalar(value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise InputError(
            f"The loss is {type(value).__name__}, not a tensor.", "Return a tensor without axes."
        )
    if value.numel() != 1:
        raise InputError(
            f"The loss has shape {tuple(value.shape)}, not one number.",
            "Reduce it, for example with .mean().",
        )
    return value.reshape(())


def _probe(made: Objective) -> None:
    """Evaluate the loss twice; refuse what is not finite or not the same."""
    try:
        (first, gradient), (second, again) = made.gradient(made.initial), made.gradient(made.initial)
    except RuntimeError as error:
        if "does not require grad" in str(error) or "not have been used" in str(error):
            raise InputError(
                f"The loss depends on no trained parameter of {type(made.module).__name__}.",
                "Compute it from the output of the model, without detach() or no_grad().",
            ) from error
        if "inplace" in str(error):
            raise InputError(
                f"{type(made.module).__name__} changes weights in place while it runs, as "
                "nn.Embedding(max_norm=) does, so its loss is no function of the weights that it is given.",
                "Rescale the weights before the step, outside of forward.",
            ) from error
        raise
    if not first.isfinite():
        raise InputError(
            f"The loss at the start is {first.item()}.",
            "Check the data and the initialisation for NaN and overflow.",
        )
    if not gradient.isfinite().all():
        raise InputError(
            f"The loss at the start is {first.item():.4g} and its gradient is not finite.",
            "Check the loss for logarithms and roots of zero.",
        )
    allowed = _NOISE * torch.finfo(made.dtype).eps
    same = (first - second).abs() <= allowed * first.abs()
    if not same or (gradient - again).abs().max() > allowed * gradient.abs().max():
        place = _random_layer(made)
        raise InputError(
            f"Two calls of the loss on the same batch gave {first.item():.10g} and {second.item():.10g}: "
            f"{place} is not deterministic.",
            "Make it a module that evaluation mode turns off, or draw its random numbers beforehand.",
        )


def _random_layer(made: Objective) -> str:
    """Return the first layer, in the order of calls, whose output differs between two calls."""
    calls: list[list[tuple[str, Any, Any]]] = [[], []]

    def note(name: str, run: int, part: nn.Module, args: Any, output: Any) -> None:
        calls[run].append((name, _copied(args), _copied(output)))

    for run in (0, 1):
        handles = [
            part.register_forward_hook(partial(note, name, run))
            for name, part in made.module.named_modules()
            if name and not list(part.children())
        ]
        try:
            made.loss(made.initial)
        finally:
            for handle in handles:
                handle.remove()
    for (name, given, out), (_, given_again, out_again) in zip(*calls, strict=False):
        if not _alike(given, given_again):
            return f"what {type(made.module).__name__} computes before layer {name}"
        if not _alike(out, out_again):
            return f"layer {name} ({type(made.module.get_submodule(name)).__name__})"
    return f"what {type(made.module).__name__} computes after its last layer, or the loss,"


def _copied(tree: Any) -> list[Tensor]:
    return [each.detach().clone() for each in leaves(tree, Tensor)]


def _alike(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
