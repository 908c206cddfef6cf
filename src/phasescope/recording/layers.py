"""The rows of a network: one for every call of a module without children, in the order of the calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from phasescope.errors import InputError
from phasescope.recording.batch import Batch, first_float
from phasescope.recording.untouched import has_running_statistics

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

    @property
    def kind(self) -> str:
        """Class name of the module."""
        return str(getattr(self.module, "kind", type(self.module).__name__))

    def samples(self, output: Tensor, size: int) -> Tensor:
        """Return the output as (samples, units)."""
        return output.movedim(self.batch_axis, 0).reshape(size, -1)


def role(module: nn.Module) -> str:
    """Return what a module does to the signal: "weight", "norm", "activation" or "other".

    Parameters
    ----------
    module : nn.Module
        A module without children, or one that is not seen calling them.
    """
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


def leaves(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules that rows are made of, by path: those without children of their own."""
    found = {}
    for path, module in model.named_modules():
        if _inside_parametrization(path):
            continue
        if not any(name != "parametrizations" for name, _ in module.named_children()):
            found[path] = module
    return found


def _inside_parametrization(path: str) -> bool:
    return "parametrizations" in path.split(".")


@contextmanager
def observed(
    modules: dict[str, nn.Module],
    after: Callable[[str, nn.Module, tuple[Any, ...], Any], Any],
    before: Callable[[str, tuple[Any, ...]], None] | None = None,
) -> Iterator[None]:
    """Call `after` with path, module, arguments and output at each call of `modules`, through hooks.

    A value other than None that `after` returns takes the place of the output. Every hook is gone on leaving.

    Yields
    ------
    None
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


@contextmanager
def watched(layers: list[Layer], observe: Observe) -> Iterator[None]:
    """Call ``observe(layer, arguments, output)`` at every measured row of one forward pass.

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


def run(model: nn.Module, batch: Batch) -> Any:
    """Return ``model(*args, **kwargs)``.

    Raises
    ------
    InputError
        If the model refuses the batch; the message repeats the shapes and the model's own words.
    """
    refused: Exception
    try:
        return model(*batch.args, **batch.kwargs)
    except (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
        refused = error
    words = " ".join(str(refused).split())[:300]
    raise InputError(
        f"{type(model).__name__} does not accept the batch ({batch.shapes()}): "
        f"{type(refused).__name__}: {words}",
        "Pass the batch as the model's forward takes it.",
    ) from refused


@dataclass
class _Call:
    path: str
    module: nn.Module
    shape: tuple[int, ...] | None
    reason: str
    entry: bool
    called_children: int


def discover(model: nn.Module, batch: Batch) -> list[Layer]:
    """Return the rows of the network in the order of the calls; those that cannot be measured say why.

    Two small forward passes with different numbers of samples show which axis of an output holds the samples.
    An InputError is raised if the model does not accept the batch.

    Parameters
    ----------
    model : nn.Module
        The model, inside ``untouched``.
    batch : Batch
        At least one sample.
    """
    sizes = sorted({min(2, batch.size), min(3, batch.size)})
    passes = {size: _trace(model, batch.take(0, size)) for size in sizes}
    small = passes[sizes[0]]
    large = {(call.path, index): call for index, call in enumerate(passes[sizes[-1]])}
    layers, called = [], Counter[str]()
    for index, call in enumerate(small):
        if call.called_children:
            continue
        called[call.path] += 1
        twin = large.get((call.path, index))
        other = twin.shape if twin is not None and len(sizes) == 2 else None
        layers.append(_layer(call, called[call.path], sizes[0], other, sizes[-1]))
    layers = _with_unit_axes(layers, small)
    return layers + _uncalled(model, small, called)


def _trace(model: nn.Module, batch: Batch) -> list[_Call]:
    calls: list[_Call] = []
    stack: list[int] = [0]
    modules = {path: m for path, m in model.named_modules() if not _inside_parametrization(path)}

    def before(path: str, args: tuple[Any, ...]) -> None:
        stack.append(0)

    def after(path: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        children = stack.pop()
        stack[-1] += 1
        tensor = first_float(output)
        takes_integers = first_float(args) is None and any(isinstance(a, Tensor) for a in args)
        calls.append(
            _Call(
                path,
                module,
                None if tensor is None else tuple(tensor.shape),
                "" if tensor is not None else _no_float(output),
                takes_integers and tensor is not None,
                children,
            )
        )

    with torch.no_grad(), observed(modules, after, before):
        run(model, batch)
    return calls


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
    return replace(row, batch_axis=axis, entry=call.entry)


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


def _with_unit_axes(layers: list[Layer], calls: list[_Call]) -> list[Layer]:
    shapes = [call.shape for call in calls if not call.called_children]
    found: list[Layer] = []
    previous: tuple[int, int] | None = None  # (number of axes, unit axis) of the last row that settles it
    for layer, shape in zip(layers, shapes, strict=True):
        axes = len(shape) if shape is not None else 0
        if any(word in layer.kind for word in _CHANNELS_FIRST) or (layer.role != "weight" and axes > 3):
            unit = 1
        elif layer.role != "weight" and previous is not None and previous[0] == axes:
            unit = previous[1]
        else:
            unit = axes - 1
        previous = (axes, unit)
        found.append(replace(layer, unit_axis=unit))
    return found


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
        layers.append(Layer(path, module, path, 1, role(module), reason))
    return layers


def _within(path: str, owner: str) -> bool:
    return owner == "" or path.startswith(f"{owner}.")
