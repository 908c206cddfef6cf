"""Tangents pushed forward and cotangents pulled back through any module, seen at every row."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode

from phasescope.recording.batch import (
    Batch,
    all_floats,
    first_float,
    leaves,
    repacked,
    replace_first_float,
    unpacked,
)
from phasescope.recording.forward import run
from phasescope.recording.layers import Entrance, Layer, Observe, watched
from phasescope.recording.recurrent import OPERATORS, push_recurrent

Tangent = Callable[[Tensor, int], Tensor]
"""Gives the tangent of an entering tensor, from the tensor and its number among those that enter."""

See = Callable[[Layer, Tensor | None, Tensor, Tensor | None, Tensor | None], None]
"""Called at a row with its first floating-point argument, its output, the output's tangent and a second term.

The tangent is None where the output does not depend on the input. The second term is that of a residual sum,
None elsewhere. What is needed must be reduced at once: the next layer may work in place.
"""

Push = Callable[[nn.Module, list[Layer], Batch, Entrance | None, Tangent, See], None]
"""A way to push a tangent of the input through a model."""


Cotangent = Callable[[Tensor, int, int], Tensor]
"""Gives the cotangent of an output tensor, from the tensor, its number and the number of the probe."""


def _padded(observe: Observe) -> Observe:
    """Return `observe` so that it sees padded sequences in place of packed ones; what it saw goes on."""

    def see(layer: Layer, args: tuple[Any, ...], output: Any) -> Any:
        if next(leaves(output, PackedSequence), None) is None:
            return observe(layer, args, output)
        padded = unpacked(output)
        new = observe(layer, args, padded)
        return repacked(padded if new is None else new)

    return see


class _Gate:
    """Where a signal enters: at some floating-point tensors of the batch and at the output of some rows.

    `admit` turns a tensor, given its number among those that enter, into what enters in its place. Without an
    entrance the signal enters at the output of the first row.
    """

    def __init__(self, entrance: Entrance | None, admit: Callable[[Tensor, int], Tensor]) -> None:
        self._admit = admit
        self._count = 0
        self._floats = () if entrance is None else entrance.floats
        self._rows = () if entrance is None else entrance.rows

    def batch(self, batch: Batch) -> Batch:
        """Return the batch with the tensors admitted that the signal enters by."""
        floats = batch.floats()
        return batch.with_floats([self._enter(t) if i in self._floats else t for i, t in enumerate(floats)])

    def row(self, layer: Layer, tensor: Tensor) -> Tensor:
        """Return what goes on from a row: the tensor that it put out, unless something enters there."""
        enters = layer.name in self._rows or not (self._rows or self._floats or self._count)
        return self._enter(tensor) if enters else tensor

    def _enter(self, tensor: Tensor) -> Tensor:
        self._count += 1
        return self._admit(tensor, self._count - 1)


def push_forward(
    model: nn.Module, layers: list[Layer], batch: Batch, entrance: Entrance | None, tangent: Tangent, see: See
) -> None:
    """Push a tangent of the input through the model by forward-mode differentiation.

    Parameters
    ----------
    model : nn.Module
        The model, inside ``untouched``.
    layers : list of Layer
        The rows of ``discover``.
    batch : Batch
        The inputs; may be written to.
    entrance : Entrance or None
        Where the tangent enters; None for the first row.
    tangent : callable
        See ``Tangent``.
    see : callable
        See ``See``.

    Notes
    -----
    Cost: two to three forward passes; no graph is kept.
    """
    gate = _Gate(entrance, lambda tensor, number: _dual(tensor, tangent(tensor, number)))

    def observe(layer: Layer, args: tuple[Any, ...], output: Any) -> Any:
        tensor = first_float(output)
        if tensor is None:
            return None
        entered = tensor if _parts(tensor)[1] is not None else gate.row(layer, tensor)
        see(layer, _primal(first_float(args)), *_parts(entered), _primal(_second(layer, args)))
        return None if entered is tensor else replace_first_float(output, entered)

    load_forward_mode()  # not inside a level of its own, where it fails
    with torch.no_grad(), forward_ad.dual_level():
        inside = gate.batch(batch)
        with _Operators(), watched(model, layers, _padded(observe)):
            run(model, inside)


# Linear in the first argument, with weights and a bias behind it.
_LINEAR: tuple[Any, ...] = (F.linear, F.conv1d, F.conv2d, F.conv3d)
_LINEAR += (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
_PRODUCTS = ("matmul", "__matmul__", "mm", "bmm", "addmm")  # functions, or methods of a tensor


class _Operators(TorchFunctionMode):
    """Takes tangents of its own way where torch's would cost more.

    Of recurrent operators from their states, as torch goes step by step. Of linear operators and of products
    with one factor that has a tangent by running them on it: torch adds the product with a tangent of the
    other factor that is zero, half as much work again and as much memory as the weights.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _LINEAR and args:
            return _linear(func, args, kwargs or {})
        name = getattr(func, "__name__", "")
        if name in _PRODUCTS and not kwargs:
            return _product(func, args)
        if name not in OPERATORS or kwargs:
            return func(*args, **(kwargs or {}))
        place = 2 if isinstance(args[3], (list, tuple)) else 1  # of the states: behind sizes, where packed
        given = args[place] if isinstance(args[place], tuple) else (args[place],)
        primals, tangents = zip(*map(_parts, (args[0], *given)), strict=True)
        if all(tangent is None for tangent in tangents):
            return func(*args)
        states = primals[1:] if isinstance(args[place], tuple) else primals[1]
        plain = (primals[0], *args[1:place], states, *args[place + 1 :])
        return tuple(map(_dual, *push_recurrent(func.__name__, plain, tangents)))


def _linear(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    primal, tangent = _parts(args[0])
    others = [*args[1:], *kwargs.values()]
    if tangent is None or any(isinstance(a, Tensor) and _parts(a)[1] is not None for a in others):
        return func(*args, **kwargs)
    unbiased = {name: value for name, value in kwargs.items() if name != "bias"}
    image = func(tangent, *args[1:2], *([None] if len(args) > 2 else []), *args[3:], **unbiased)
    return _dual(func(primal, *args[1:], **kwargs), image)


def _product(func: Any, args: tuple[Any, ...]) -> Any:
    *added, _, _ = args  # the bias of addmm
    factors = [_parts(factor) for factor in args[-2:]]
    moving = [tangent is not None for _, tangent in factors]
    if all(moving) or not any(moving) or any(_parts(bias)[1] is not None for bias in added):
        return func(*args)
    image = torch.matmul(*(primal if tangent is None else tangent for primal, tangent in factors))
    return _dual(func(*added, *(primal for primal, _ in factors)), image)


def _dual(tensor: Tensor, tangent: Tensor) -> Tensor:
    dual: Tensor = forward_ad.make_dual(tensor, tangent)  # type: ignore[no-untyped-call]
    return dual


@cache
def load_forward_mode() -> None:
    """Have torch load its forward-mode derivatives, in a way of its own that it has deprecated."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script`", DeprecationWarning)
        torch.func.jvp(torch.sin, (torch.zeros(()),), (torch.zeros(()),))


def _parts(dual: Tensor) -> tuple[Tensor, Tensor | None]:
    primal, tangent = forward_ad.unpack_dual(dual)  # type: ignore[no-untyped-call]
    return primal, tangent


def _primal(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else _parts(tensor)[0]


def push_double_backward(
    model: nn.Module, layers: list[Layer], batch: Batch, entrance: Entrance | None, tangent: Tangent, see: See
) -> None:
    """Push a tangent through the model by differentiating the backward pass.

    ``J u`` is the derivative of the backward pass ``v -> J^T v`` along u. For models with an operator that
    has no forward-mode derivative.

    Parameters
    ----------
    model, layers, batch, entrance, tangent, see
        As for ``push_forward``.

    Raises
    ------
    RuntimeError
        If an operator of the model cannot be differentiated twice.

    Notes
    -----
    Cost: one forward and two backward passes, and the memory of their graphs.
    """
    entering: list[Tensor] = []
    tangents: list[Tensor] = []
    rows: list[tuple[Layer, Tensor | None, Tensor, Tensor | None]] = []

    def admit(tensor: Tensor, number: int) -> Tensor:
        entering.append(tensor.detach().requires_grad_(True))
        tangents.append(tangent(tensor.detach(), number))
        return entering[-1].clone()

    gate = _Gate(entrance, admit)

    def observe(layer: Layer, args: tuple[Any, ...], output: Any) -> Any:
        tensor = first_float(output)
        if tensor is None:
            return None
        entered = tensor if tensor.requires_grad else gate.row(layer, tensor)
        rows.append((layer, first_float(args), entered, _second(layer, args)))
        return replace_first_float(output, entered.clone())

    with torch.enable_grad():
        inside = gate.batch(batch)
        with watched(model, layers, _padded(observe)):
            run(model, inside)
        linked = [tensor for _, _, tensor, _ in rows if tensor.requires_grad]
        cotangents = [torch.zeros_like(tensor, requires_grad=True) for tensor in linked]
        pulled = torch.autograd.grad(linked, entering, cotangents, create_graph=True, allow_unused=True)
        both = [(g, u) for g, u in zip(pulled, tangents, strict=True) if g is not None]
        pushed = torch.autograd.grad(
            [g for g, _ in both], cotangents, [u for _, u in both], allow_unused=True
        )
    if any(u is None for u in pushed):
        raise RuntimeError("an operator between two rows can be differentiated once only")
    by_row = {id(tensor): u for tensor, u in zip(linked, pushed, strict=True)}
    for layer, argument, tensor, second in rows:
        see(layer, _detached(argument), tensor.detach(), by_row.get(id(tensor)), _detached(second))


def _detached(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach()


def _second(layer: Layer, args: tuple[Any, ...]) -> Tensor | None:
    """Return the second term of a residual sum, which no operation in place has overwritten."""
    known = layer.branch is not None and len(args) > 1 and isinstance(args[1], Tensor)
    return args[1] if known else None


_STEP = {torch.float64: 1e-5, torch.float32: 3e-3}


def push_difference(
    model: nn.Module, layers: list[Layer], batch: Batch, entrance: Entrance | None, tangent: Tangent, see: See
) -> None:
    """Push a tangent through the model by central differences, for models without derivatives that serve.

    ``(z(x + h u) - z(x - h u)) / (2 h)`` with h = 1e-5 in float64 and 3e-3 in float32; the error is of order
    ``h^2`` plus rounding over h.

    Parameters
    ----------
    model, layers, batch, entrance, tangent, see
        As for ``push_forward``.

    Notes
    -----
    Cost: three forward passes and the memory of all their outputs.
    """
    ahead: dict[str, Tensor] = {}
    pushed: dict[str, Tensor] = {}
    sign, step = 1.0, 0.0

    def admit(tensor: Tensor, number: int) -> Tensor:
        nonlocal step
        step = _STEP.get(tensor.dtype, 0.1)
        return tensor + sign * step * tangent(tensor, number) if sign else tensor

    def observe(layer: Layer, args: tuple[Any, ...], output: Any) -> Any:
        tensor = first_float(output)
        if tensor is None:
            return None
        entered = gate.row(layer, tensor)
        if sign > 0:
            ahead[layer.name] = entered.clone()
        elif sign < 0 and layer.name in ahead:
            pushed[layer.name] = (ahead.pop(layer.name) - entered) / (2 * step)
        elif sign == 0:
            found = pushed.pop(layer.name, None)
            if layer.place == "branch" and found is not None and not found.any():
                found = None  # does not depend on the input at all, as an embedding of positions
            see(layer, first_float(args), entered, found, _second(layer, args))
        return None if entered is tensor else replace_first_float(output, entered)

    for direction in (1.0, -1.0, 0.0):
        sign, gate = direction, _Gate(entrance, admit)
        inside = gate.batch(batch.take(0, batch.size))  # before operations are counted
        with torch.no_grad(), watched(model, layers, _padded(observe)):
            run(model, inside)


def push_nothing(
    model: nn.Module, layers: list[Layer], batch: Batch, entrance: Entrance | None, tangent: Tangent, see: See
) -> None:
    """Run the model and see every row without a tangent, for models that are not differentiable at all."""

    def observe(layer: Layer, args: tuple[Any, ...], output: Any) -> None:
        tensor = first_float(output)
        if tensor is not None:
            see(layer, first_float(args), tensor, None, _second(layer, args))

    with torch.no_grad(), watched(model, layers, _padded(observe)):
        run(model, batch)


def pull_back(
    model: nn.Module,
    layers: list[Layer],
    batch: Batch,
    entrances: Sequence[Entrance],
    output: int,
    cotangent: Cotangent,
    probes: int,
    see: Callable[[Layer, int, Tensor], None],
    loss: Callable[[Any], list[tuple[Tensor, Tensor]]] | None = None,
) -> list[tuple[Tensor, list[Tensor]]]:
    """Pull random cotangents of the output back to every row by reverse-mode differentiation.

    Parameters
    ----------
    model : nn.Module
        The model, inside ``untouched``.
    layers : list of Layer
        The rows of ``discover``.
    batch : Batch
        The inputs; may be written to.
    entrances : sequence of Entrance
        Where signals enter: what depends on none of them has no gradient; none for the first row.
    output : int
        Number of the floating-point tensor that the model returns from which cotangents are pulled back.
    cotangent : callable
        See ``Cotangent``.
    probes : int
        How many cotangents.
    see : callable
        Called with the layer, the probe and the gradient with respect to the row's output.
    loss : callable, optional
        Makes of what the model returns its outputs, each with the one cotangent that takes the place of the
        random ones in every probe.

    Returns
    -------
    list of (Tensor, list of Tensor)
        Those outputs that depend on the input, each with its cotangents.

    Notes
    -----
    Gradients are with respect to activations: parameters may be frozen and gather no gradient. Cost: one
    forward pass and `probes` backward passes.
    """
    entering: list[Tensor] = []
    current = [0]

    def admit(tensor: Tensor, number: int) -> Tensor:
        entering.append(tensor.detach().requires_grad_(True))
        # A first layer that works in place may not write to a leaf.
        return entering[-1].clone()

    def seen(layer: Layer, gradient: Tensor) -> None:
        for probe in current if loss is None else range(probes):
            see(layer, probe, gradient)

    gate = _Gate(_all_of(entrances), admit)

    def observe(layer: Layer, args: tuple[Any, ...], output: Any) -> Any:
        tensor = first_float(output)
        if tensor is None:
            return None
        entered = tensor if tensor.requires_grad else gate.row(layer, tensor)
        if entered.requires_grad:
            entered.register_hook(  # type: ignore[no-untyped-call]
                lambda gradient: None if gradient is None else seen(layer, gradient)
            )
        return None if entered is tensor else replace_first_float(output, entered)

    with torch.enable_grad():
        inside = gate.batch(batch)
        with watched(model, layers, _padded(observe)):
            returned = run(model, inside)
        if loss is None:
            floats = enumerate(all_floats(unpacked(returned)))
            targets = [t for i, t in floats if i == output and t.requires_grad]
            pulled = [(t, [cotangent(t, i, p) for p in range(probes)]) for i, t in enumerate(targets)]
        else:
            pulled = [(t, [slope] * probes) for t, slope in loss(returned) if t.requires_grad]
            targets = [tensor for tensor, _ in pulled]
        for probe in range((probes if loss is None else 1) if targets else 0):
            current[0] = probe
            torch.autograd.grad(
                targets,
                entering,
                [cotangents[probe] for _, cotangents in pulled],
                retain_graph=loss is None and probe + 1 < probes,
                allow_unused=True,
            )
    return [(tensor.detach(), cotangents) for tensor, cotangents in pulled]


def _all_of(entrances: Sequence[Entrance]) -> Entrance:
    floats = {number for entrance in entrances for number in entrance.floats}
    rows = (name for entrance in entrances for name in entrance.rows)
    return Entrance((), tuple(sorted(floats)), tuple(rows))


def gaussian(shape: torch.Size, like: Tensor, *, seed: tuple[int, ...], first: int) -> Tensor:
    """Return standard normal numbers, those of a sample fixed by the seed and the sample's number alone.

    `first` is the number of the first sample, so that chunks of any size draw the same numbers.
    """
    rows = [
        np.random.default_rng((*seed, first + i)).standard_normal(shape[1:].numel(), dtype=np.float32)
        for i in range(shape[0])
    ]
    return torch.from_numpy(np.stack(rows)).reshape(shape).to(device=like.device, dtype=like.dtype)
