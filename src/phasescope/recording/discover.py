"""Which rows a network has: found by running it on two and on three samples."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from phasescope.recording.batch import Batch, first_float
from phasescope.recording.layers import Layer, inside_parametrization, leaves, observed, role, run


@dataclass
class _Call:
    path: str
    module: nn.Module
    shape: tuple[int, ...] | None
    reason: str
    entry: bool
    called_children: int
    argument_shape: tuple[int, ...]
    takes: tuple[int, int, int] | None
    gives: tuple[int, int, int] | None


def discover(model: nn.Module, batch: Batch) -> tuple[list[Layer], bool]:
    """Return the rows of the network in the order of the calls; those that cannot be measured say why.

    Two small forward passes with different numbers of samples show which axis of an output holds the samples.
    An InputError is raised if the model does not accept the batch.

    Parameters
    ----------
    model : nn.Module
        The model, inside ``untouched``.
    batch : Batch
        At least one sample.

    Returns
    -------
    tuple of (list of Layer, bool)
        The rows, and whether the inputs influence each other's outputs.
    """
    sizes = sorted({min(2, batch.size), min(3, batch.size)})
    passes = {size: _trace(model, batch.take(0, size), batch) for size in sizes}
    small, returned = passes[sizes[0]]
    large = {(call.path, index): call for index, call in enumerate(passes[sizes[-1]][0])}
    layers, called = [], Counter[str]()
    for index, call in enumerate(small):
        if call.called_children:
            continue
        called[call.path] += 1
        twin = large.get((call.path, index))
        other = twin.shape if twin is not None and len(sizes) == 2 else None
        layers.append(_layer(call, called[call.path], sizes[0], other, sizes[-1]))
    rows = [call for call in small if not call.called_children]
    layers = _with_chain(_with_unit_axes(layers, rows), rows, _contents(returned))
    coupled = _coupled(returned, passes[sizes[-1]][1], sizes[0])
    return layers + _uncalled(model, small, called), coupled


def _coupled(small: Tensor | None, large: Tensor | None, size: int) -> bool:
    # The first outputs should not change when another input joins the batch.
    if small is None or large is None or small.ndim == 0 or small.shape[0] != size:
        return False
    if large.shape[0] <= size or large.shape[1:] != small.shape[1:]:
        return False
    both = torch.stack([small, large[:size]]).double().nan_to_num(0.0, 0.0, 0.0)
    scale = float(both.abs().amax())
    return not torch.allclose(both[0], both[1], rtol=0.05, atol=0.05 * scale, equal_nan=True)


def _trace(model: nn.Module, batch: Batch, whole: Batch) -> tuple[list[_Call], Tensor | None]:
    calls: list[_Call] = []
    stack: list[int] = [0]
    taken: list[tuple[tuple[int, ...], tuple[int, int, int] | None]] = []
    kept: list[Tensor | None] = []  # so that no address is used twice
    modules = {path: m for path, m in model.named_modules() if not inside_parametrization(path)}

    def before(path: str, args: tuple[Any, ...]) -> None:
        stack.append(0)
        argument = first_float(args)
        taken.append((() if argument is None else tuple(argument.shape), _contents(argument)))

    def after(path: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        children = stack.pop()
        stack[-1] += 1
        tensor = first_float(output)
        kept.append(tensor)
        takes_integers = first_float(args) is None and any(isinstance(a, Tensor) for a in args)
        calls.append(
            _Call(
                path,
                module,
                None if tensor is None else tuple(tensor.shape),
                "" if tensor is not None else _no_float(output),
                takes_integers and tensor is not None,
                children,
                *taken.pop(),
                _contents(tensor),
            )
        )

    with torch.no_grad(), observed(modules, after, before):
        returned = first_float(run(model, batch, whole))
    return calls, returned


def _contents(tensor: Tensor | None) -> tuple[int, int, int] | None:
    # Equal for two tensors that hold the same numbers: same memory, same length, not written to in between.
    return None if tensor is None else (tensor.data_ptr(), tensor.numel(), tensor._version)


def _no_float(output: Any) -> str:
    if output is None:
        return "its output is None"
    if isinstance(output, Tensor):
        return f"its output is {str(output.dtype).removeprefix('torch.')}, not floating point"
    return f"its output, a {type(output).__name__}, holds no floating-point tensor"


def _layer(call: _Call, number: int, size: int, other: tuple[int, ...] | None, other_size: int) -> Layer:
    name = (call.path or "output") + (f" (call {number})" if number > 1 else "")
    row = Layer(name, call.module, call.path, number, role(call.module))
    if call.shape is None:
        return replace(row, skipped=call.reason)
    axis = _batch_axis(call.shape, size, other, other_size)
    if axis is None:
        return replace(
            row, skipped=f"its output {call.shape} has no axis that grows with the number of samples"
        )
    if 0 in call.shape:
        return replace(row, skipped=f"its output {call.shape} is empty")
    return replace(
        row,
        batch_axis=axis,
        entry=call.entry,
        shape=call.shape,
        argument_shape=call.argument_shape,
        units=math.prod(call.shape) // size,
    )


def _batch_axis(
    shape: tuple[int, ...], size: int, other: tuple[int, ...] | None, other_size: int
) -> int | None:
    if other is not None and len(other) == len(shape):
        moved = [axis for axis, (a, b) in enumerate(zip(shape, other, strict=True)) if a != b]
        if len(moved) == 1 and shape[moved[0]] * other_size == other[moved[0]] * size:
            return moved[0]
        return None
    for axis, length in enumerate(shape):
        if length == size:
            return axis
    return next((axis for axis, length in enumerate(shape) if length and length % size == 0), None)


_CHANNELS_FIRST = ("Conv", "BatchNorm", "InstanceNorm", "GroupNorm", "Pool", "Dropout2d", "Dropout3d")


def _with_chain(
    layers: list[Layer], calls: list[_Call], returned: tuple[int, int, int] | None
) -> list[Layer]:
    linked = []
    for index, (layer, call) in enumerate(zip(layers, calls, strict=True)):
        before = calls[index - 1].gives if index else call.takes
        linked.append(
            replace(
                layer,
                chained=call.takes is not None and call.takes == before,
                final=index == len(calls) - 1 and call.gives == returned,
            )
        )
    return linked


def _with_unit_axes(layers: list[Layer], calls: list[_Call]) -> list[Layer]:
    shapes = [call.shape for call in calls]
    found: list[Layer] = []
    previous: tuple[int, int] | None = None  # (number of axes, unit axis) of the last row that settles it
    for layer, shape in zip(layers, shapes, strict=True):
        axes = len(shape) if shape is not None else 0
        if _channels_first(layer) or (layer.role != "weight" and axes > 3):
            unit = 1
        elif layer.role != "weight" and previous is not None and previous[0] == axes:
            unit = previous[1]
        else:
            unit = axes - 1
        previous = (axes, unit)
        found.append(replace(layer, unit_axis=unit))
    return found


def _channels_first(layer: Layer) -> bool:
    # A "Conv1D" whose weights are a matrix is a linear map by another name.
    matrix = layer.role == "weight" and all(p.ndim <= 2 for p in layer.module.parameters())
    return not matrix and any(word in layer.kind for word in _CHANNELS_FIRST)


def _uncalled(model: nn.Module, calls: list[_Call], called: Counter[str]) -> list[Layer]:
    bypassing = {call.path for call in calls if not call.called_children}
    layers = []
    for path, module in leaves(model).items():
        if called[path] or path == "":
            continue
        owner = next((p for p in bypassing if p != path and _within(path, p)), None)
        kind = type(module).__name__
        if owner is not None:
            reason = f"used inside {owner or 'the model'} without being called"
        elif isinstance(module, (nn.ParameterList, nn.ParameterDict, nn.ModuleList, nn.ModuleDict)):
            reason = f"a {kind} is a container and is never called"
        else:
            reason = "not called in forward"
        layers.append(Layer(path, module, path, 1, role(module), reason, reached=False))
    return layers


def _within(path: str, owner: str) -> bool:
    return owner == "" or path.startswith(f"{owner}.")
