"""The rows of a network: one for every call of a module without children, in the order of the calls.

They are found by running the network on two and on three samples, and observed through hooks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from phasescope.recording.batch import Batch, first_float
from phasescope.recording.forward import run
from phasescope.recording.untouched import has_running_statistics

_CHANNELS_FIRST = ("Conv", "BatchNorm", "InstanceNorm", "GroupNorm", "Pool", "Dropout2d", "Dropout3d")

Observe = Callable[["Layer", tuple[Any, ...], Any], Any]


@dataclass(frozen=True)
class Layer:
    """One row: a call of a module.

    Parameters
    ----------
    name : str
        Path of the module in the model; a repeated call adds ``" (call 2)"``.
    module : nn.Module
        The module.
    path : str
        Path of the module in the model; empty for the model itself.
    call : int
        Which call of the module it is, from 1.
    role : str
        One of "weight", "norm", "activation", "other".
    skipped : str
        Why the row cannot be measured; empty where it can.
    batch_axis : int
        The axis of the output along which the samples lie.
    entry : bool
        Whether the row turns integers into the first floating-point signal, as an embedding does.
    unit_axis : int
        The axis of the output that counts units (channels or features).
    chained : bool
        Whether the row takes, up to its shape, exactly what the row before returned (the first row:
        anything).
    final : bool
        Whether the model returns, up to its shape, exactly what the row returned.
    shape : tuple of int
        Shape of the output for the two samples (or the one) that the row was found with.
    argument_shape : tuple of int
        Shape of the first floating-point argument then; empty where there is none.
    units : int
        Number of elements of the output for one sample.
    reached : bool
        Whether the forward pass calls the module.
    """

    name: str
    module: nn.Module = field(repr=False)
    path: str
    call: int = 1
    role: str = "other"
    skipped: str = ""
    batch_axis: int = 0
    entry: bool = False
    unit_axis: int = -1
    chained: bool = False
    final: bool = False
    shape: tuple[int, ...] = ()
    argument_shape: tuple[int, ...] = ()
    units: int = 0
    reached: bool = True

    @property
    def kind(self) -> str:
        """Class name of the module."""
        return str(getattr(self.module, "kind", type(self.module).__name__))

    def samples(self, output: Tensor, size: int) -> Tensor:
        """Return the output as (samples, units)."""
        return output.movedim(self.batch_axis, 0).reshape(size, -1)


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


_Contents = tuple[int, int, int]  # see _contents


@dataclass
class _Call:
    """A call of a module: what it takes, then what it gave."""

    path: str
    module: nn.Module
    argument_shape: tuple[int, ...]
    takes: _Contents | None
    entry: bool  # whether it takes tensors, none of them floating-point
    called_children: int = 0
    shape: tuple[int, ...] | None = None
    reason: str = ""  # why there is no shape
    gives: _Contents | None = None


def _trace(model: nn.Module, batch: Batch, whole: Batch) -> tuple[list[_Call], Tensor | None]:
    """Return the calls in the order in which they end, and the output."""
    calls: list[_Call] = []
    begun: list[_Call] = []
    kept: list[Tensor | None] = []  # so that no address is used twice
    modules = {path: m for path, m in model.named_modules() if not _inside_parametrization(path)}

    def before(path: str, args: tuple[Any, ...]) -> None:
        argument = first_float(args)
        shape = () if argument is None else tuple(argument.shape)
        integers = argument is None and any(isinstance(a, Tensor) for a in args)
        begun.append(_Call(path, modules[path], shape, _contents(argument), integers))

    def after(path: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        call = begun.pop()
        if begun:
            begun[-1].called_children += 1
        tensor = first_float(output)
        kept.append(tensor)
        if tensor is None:
            call.reason = _no_float(output)
        else:
            call.shape, call.gives = tuple(tensor.shape), _contents(tensor)
        calls.append(call)

    with torch.no_grad(), observed(modules, after, before):
        returned = first_float(run(model, batch, whole))
    return calls, returned


def _contents(tensor: Tensor | None) -> _Contents | None:
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


def role(module: nn.Module) -> str:
    """Return what a module does to the signal: "weight", "norm", "activation" or "other"."""
    if "Norm" in type(module).__name__ or has_running_statistics(module):
        return "norm"
    if any(p.ndim >= 2 for p in module.parameters()):
        return "weight"
    if isinstance(module, (nn.Identity, nn.Flatten, nn.Unflatten, nn.modules.dropout._DropoutNd)):
        return "other"
    if isinstance(module, (nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.Softmax2d)):
        return "other"
    if type(module).__module__ == "torch.nn.modules.activation":
        return "activation"
    return "activation" if _elementwise(module) else "other"


def _elementwise(module: nn.Module) -> bool:
    # A module of the user's own counts as an activation if each output depends on its own input alone.
    if type(module).__module__.startswith("torch.nn") or list(module.children()):
        return False
    parameters = list(module.parameters())
    device = parameters[0].device if parameters else None
    dtype = parameters[0].dtype if parameters else torch.float32
    z = torch.linspace(-2.0, 2.0, 12, device=device, dtype=dtype).reshape(3, 4)
    try:
        with torch.no_grad():
            whole = module(z.clone())
            turned = module(z.flip(0, 1).contiguous())
            moved = z.clone()
            moved[1, 1] += 1.0
            changed = module(moved) != whole
    except Exception:
        return False
    if not isinstance(whole, Tensor) or whole.shape != z.shape or not torch.equal(turned.flip(0, 1), whole):
        return False
    others = int(changed.sum()) - int(changed[1, 1])
    return others == 0 and not torch.equal(whole, z)


def _with_unit_axes(layers: list[Layer], calls: list[_Call]) -> list[Layer]:
    found: list[Layer] = []
    previous: tuple[int, int] | None = None  # (number of axes, unit axis) of the row before
    for layer, call in zip(layers, calls, strict=True):
        axes = len(call.shape or ())
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


def _with_chain(layers: list[Layer], calls: list[_Call], returned: _Contents | None) -> list[Layer]:
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


def _coupled(small: Tensor | None, large: Tensor | None, size: int) -> bool:
    # The first outputs should not change when another input joins the batch.
    if small is None or large is None or small.ndim == 0 or small.shape[0] != size:
        return False
    if large.shape[0] <= size or large.shape[1:] != small.shape[1:]:
        return False
    both = torch.stack([small, large[:size]]).double().nan_to_num(0.0, 0.0, 0.0)
    scale = float(both.abs().amax())
    return not torch.allclose(both[0], both[1], rtol=0.05, atol=0.05 * scale, equal_nan=True)


def _uncalled(model: nn.Module, calls: list[_Call], called: Counter[str]) -> list[Layer]:
    bypassing = {call.path for call in calls if not call.called_children}
    layers = []
    for path, module in model.named_modules():
        parent = any(name != "parametrizations" for name, _ in module.named_children())
        if parent or called[path] or path == "" or _inside_parametrization(path):
            continue
        owner = next((p for p in bypassing if p == "" or path.startswith(f"{p}.")), None)
        kind = type(module).__name__
        if owner is not None:
            reason = f"used inside {owner or 'the model'} without being called"
        elif isinstance(module, (nn.ParameterList, nn.ParameterDict, nn.ModuleList, nn.ModuleDict)):
            reason = f"a {kind} is a container and is never called"
        else:
            reason = "not called in forward"
        layers.append(Layer(path, module, path, 1, role(module), reason, reached=False))
    return layers


def _inside_parametrization(path: str) -> bool:
    """Return whether a path lies inside the machinery of a parametrised weight, which is no layer."""
    return "parametrizations" in path.split(".")


@contextmanager
def watched(layers: list[Layer], observe: Observe) -> Iterator[None]:
    """Call ``observe(layer, arguments, output)`` at every measured row of one forward pass.

    Parameters
    ----------
    layers : list of Layer
        Rows, as :func:`discover` returns them; skipped ones are left out.
    observe : callable
        What it returns, if not None, takes the place of the layer's output.

    Yields
    ------
    None
    """
    by_call = {(layer.path, layer.call): layer for layer in layers if not layer.skipped}
    modules = {layer.path: layer.module for layer in by_call.values()}
    calls: Counter[str] = Counter()

    def after(path: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        calls[path] += 1
        layer = by_call.get((path, calls[path]))
        return None if layer is None else observe(layer, args, output)

    with observed(modules, after):
        yield


@contextmanager
def observed(
    modules: dict[str, nn.Module],
    after: Callable[[str, nn.Module, tuple[Any, ...], Any], Any],
    before: Callable[[str, tuple[Any, ...]], None] | None = None,
) -> Iterator[None]:
    """Call `after` with path, module, arguments and output at each call of `modules`, through hooks.

    A value other than None that `after` returns takes the place of the output. Every hook is gone on leaving.
    """
    handles = []
    try:
        for path, module in modules.items():
            if before is not None:
                handles.append(
                    module.register_forward_pre_hook(
                        lambda _, args, kwargs, path=path: before(path, (*args, *kwargs.values())),
                        with_kwargs=True,
                    )
                )
            handles.append(
                module.register_forward_hook(
                    lambda module, args, kwargs, output, path=path: after(
                        path, module, (*args, *kwargs.values()), output
                    ),
                    with_kwargs=True,
                )
            )
        yield
    finally:
        for handle in handles:
            handle.remove()
