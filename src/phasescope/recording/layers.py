"""The rows of a network: the values of its stream, and beside it every call of a module that calls no other.

They are found by tracing the network on two and on three samples, and observed through hooks and operations.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode

from phasescope.recording.batch import Batch, all_floats, first_float, leaves, map_leaves, unpacked
from phasescope.recording.dataflow import Address, Flow, Node
from phasescope.recording.forward import run
from phasescope.recording.outputs import primary_output, without_floats
from phasescope.recording.stream import Chain, Point, ancestors, chains
from phasescope.recording.untouched import has_running_statistics

_CHANNELS_FIRST = ("Conv", "BatchNorm", "InstanceNorm", "GroupNorm", "Pool", "Dropout2d", "Dropout3d")

Observe = Callable[["Layer", tuple[Any, ...], Any], Any]
PASSED_ON = "passes its input on unchanged"


@dataclass(frozen=True)
class Layer:
    """One row: a call of a module, or an operation that stands in no module of its own.

    Parameters
    ----------
    name : str
        Path of the module in the model, a repeated call adds ``" (call 2)"``; of an operation the block that
        ends there, such as ``"h.3 (sum)"``.
    module : nn.Module
        The module, or a stand-in for the operation.
    path : str
        Path of the module that is called, or inside which the operation runs; empty for the model itself.
    call : int
        Which call of the module it is, from 1.
    role : str
        One of "weight", "norm", "activation", "sum", "mixing", "other".
    skipped : str
        Why the row cannot be measured; empty where it can.
    batch_axis : int
        The axis of the output along which the samples lie.
    entry : bool
        Whether the row turns integers into the first floating-point signal, as an embedding does.
    unit_axis : int
        The axis of the output that counts units (channels or features).
    chained : bool
        Whether the row takes, up to its shape, exactly what the row before on the stream gave (the first row:
        anything).
    final : bool
        Whether the model returns, up to its shape, exactly what the row gives.
    shape : tuple of int
        Shape of the output for the two samples (or the one) that the row was found with.
    argument_shape : tuple of int
        Shape of the first floating-point argument then; empty where there is none.
    units : int
        Number of elements of the output for one sample.
    reached : bool
        Whether the forward pass calls the module.
    place : str
        "stream" for a value through which every path from the input to the output goes, else "branch".
    chain : int
        The chain of inputs that a row of the stream belongs to: 0 for the longest; -1 for other rows.
    step : bool
        Whether depth is counted here: a weight layer, a sum or a concatenation on the stream.
    block : str
        Of a branch, the row of the stream in which it ends; empty where it ends in none.
    at : Address or None
        The operation whose result is observed; None where it is what the module returns.
    branch : int or None
        Of a sum, which of its two terms is the branch; None where neither or both are.
    ends_with : str
        Of such a sum, path of the module that gives the branch, up to a constant factor; empty for none.
    parameters : int
        Number of parameters that belong to the row and to no row before.
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
    place: str = "branch"
    chain: int = -1
    step: bool = False
    block: str = ""
    at: Address | None = None
    branch: int | None = None
    ends_with: str = ""
    parameters: int = 0

    @property
    def kind(self) -> str:
        """Class name of the module, or name of the operation."""
        return str(getattr(self.module, "kind", type(self.module).__name__))

    @property
    def stands_alone(self) -> bool:
        """Whether the row is an operation that stands in no module of its own."""
        return isinstance(self.module, _Operation)

    def samples(self, output: Tensor, size: int) -> Tensor:
        """Return the output as (samples, units)."""
        return output.movedim(self.batch_axis, 0).reshape(size, -1)


@dataclass(frozen=True)
class Entrance:
    """Where the signal of one chain enters."""

    inputs: tuple[str, ...]  # names
    floats: tuple[int, ...]  # numbers of the tensors among the floating-point ones of the batch
    rows: tuple[str, ...]  # names of the rows, such as embeddings, that turn integers into a signal


@dataclass(frozen=True)
class Rows:
    """The rows of a network, in the order of the pass."""

    layers: list[Layer]  # all of them; those that cannot be measured say why
    chains: list[Entrance]  # one a chain of inputs, the longest first; empty where nothing enters
    coupled: bool  # whether the inputs influence each other's outputs
    held: float  # bytes that the results of all operations take for one sample
    output: int  # number of the output among the floating-point tensors that the model returns
    note: str  # what to say of that output; empty where it is one of samples


def discover(model: nn.Module, batch: Batch) -> Rows:
    """Return the rows of the network: its stream, the calls of modules on branches, and what has no row.

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
    Rows
        The rows, and where the signal enters.
    """
    sizes = sorted({batch.fewest(2), batch.fewest(3)})
    small = _trace(model, batch.take(0, sizes[0]), batch)
    large = small if len(sizes) == 1 else _trace(model, batch.take(0, sizes[1]), batch)
    layers, entrances = _Finder(model, small, _Axes(small, large, sizes)).rows()
    coupled = _coupled(small.returned, large.returned, sizes[0])
    return Rows(layers, entrances, coupled, small.flow.held / sizes[0], small.primary, small.note)


@dataclass
class _Call:
    """A call of a module: what it takes, then what it gave."""

    path: str
    number: int
    module: nn.Module
    argument_shape: tuple[int, ...]
    takes: Node | None
    called_children: int = 0
    shape: tuple[int, ...] | None = None
    reason: str = ""  # why there is no shape
    gives: Node | None = None
    at: int = 0  # values made before it ended


@dataclass
class _Traced:
    flow: Flow
    calls: list[_Call]  # in the order in which they end
    floats: list[Node]  # the floating-point inputs
    output: Node | None
    primary: int  # number of the output among the floating-point tensors that the model returns
    returned: Tensor | None
    note: str  # about what is returned


def _trace(model: nn.Module, batch: Batch, whole: Batch) -> _Traced:
    calls: list[_Call] = []
    begun: list[_Call] = []
    flow = Flow(model, batch.signals(), values=False)
    floats = [node for node in map(flow.node_of, batch.floats()) if node is not None]
    modules = {path: m for path, m in model.named_modules() if not _inside_parametrization(path)}

    def before(path: str, args: tuple[Any, ...]) -> None:
        with flow.paused():
            argument = first_float(args)
            shape = () if argument is None else tuple(argument.shape)
            takes = None if argument is None else flow.node_of(argument)
            begun.append(_Call(path, flow.enter(path), modules[path], shape, takes))

    def after(path: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        with flow.paused():
            flow.leave()
            call = begun.pop()
            if begun:
                begun[-1].called_children += 1
            tensor = first_float(unpacked(output))
            if tensor is None:
                call.reason = without_floats(output)
            else:
                packed = next(leaves(output, PackedSequence), None)
                value = tensor if packed is None else packed.data
                call.shape, call.gives = tuple(tensor.shape), flow.made_by_module(value, args)
            call.at = len(flow.nodes)
            calls.append(call)

    with torch.no_grad(), observed(modules, after, before), flow.made, flow:
        output = run(model, batch, whole)
    shown = unpacked(output)
    returned, note = primary_output(shown, batch.size)
    number = next((i for i, tensor in enumerate(all_floats(shown)) if tensor is returned), 0)
    made = all_floats(map_leaves(lambda packed: packed.data, output, PackedSequence))
    node = None if returned is None else flow.node_of(made[number])
    return _Traced(flow, calls, floats, node, number, returned, note)


class _Axes:
    """Finds the axis of the samples by comparing two passes with different numbers of them."""

    def __init__(self, small: _Traced, large: _Traced, sizes: list[int]) -> None:
        self.size, self._other_size = sizes[0], sizes[-1]
        self._alone = len(sizes) == 1
        self._calls = {(call.path, call.number): call.shape for call in large.calls}
        self._values = {node.address: node.shape for node in large.flow.nodes if node.address is not None}

    def of_call(self, call: _Call) -> int | None:
        """Return the axis of the samples in what a module gave."""
        assert call.shape is not None
        return self._axis(call.shape, self._calls.get((call.path, call.number)))

    def of_value(self, node: Node) -> int | None:
        """Return the axis of the samples in a value."""
        return self._axis(node.shape, None if node.address is None else self._values.get(node.address))

    def _axis(self, shape: tuple[int, ...], other: tuple[int, ...] | None) -> int | None:
        if not self._alone and other is not None and len(other) == len(shape):
            moved = [axis for axis, (a, b) in enumerate(zip(shape, other, strict=True)) if a != b]
            if len(moved) == 1 and shape[moved[0]] * self._other_size == other[moved[0]] * self.size:
                return moved[0]
            return None
        for axis, length in enumerate(shape):
            if length == self.size:
                return axis
        return next((axis for axis, length in enumerate(shape) if length and length % self.size == 0), None)


class _Finder:
    """Turns a traced pass into rows."""

    def __init__(self, model: nn.Module, traced: _Traced, axes: _Axes) -> None:
        self._model, self._traced, self._axes = model, traced, axes
        self._calls = [call for call in traced.calls if not call.called_children]
        self._chains = [] if traced.output is None else chains(traced.flow, traced.output)
        self._leading = set() if traced.output is None else ancestors([traced.output])
        # A value on two chains is one point.
        points = {id(point.node): point for chain in self._chains for point in chain.points}
        self._points = list(points.values())
        steps = Counter(p.node.address[:2] for p in self._points if p.step and p.node.address)
        # Calls that are one row: those that call no other module and hold no more than one step.
        self._leaves = {
            (call.path, call.number) for call in self._calls if steps[call.path, call.number] <= 1
        }
        self._owners = Counter(_owner(point.nodes[0].same_as) for point in self._points)
        self._names: Counter[str] = Counter()
        self._ends: list[tuple[int, str]] = []  # of the rows of the stream: number of the value, and name

    def rows(self) -> tuple[list[Layer], list[Entrance]]:
        """Return the rows in the order of the pass, and where the signal enters."""
        found: list[tuple[int, Layer, Node | None]] = []
        used: set[int] = set()
        for number, chain in enumerate(self._chains):
            found += self._stream(number, chain, used)
        self._ends.sort()
        found += [
            (call.at - 1, self._off_stream(call), call.gives) for call in self._calls if id(call) not in used
        ]
        rows_of = {
            id(form): row.name for _, row, node in found if not row.skipped for form in self._forms(node)
        }
        entrances = []
        for chain in self._chains:
            inner = [node for node in chain.entries if node not in self._traced.floats]
            missing = [node for node in inner if id(node) not in rows_of]
            added = [(node.index, self._operation(node, entry=True), node) for node in missing]
            rows_of |= {id(node): row.name for _, row, node in added}
            found += added
            floats = [i for i, node in enumerate(self._traced.floats) if node in chain.entries]
            entrances.append(Entrance(chain.inputs, tuple(floats), tuple(rows_of[id(n)] for n in inner)))
        entries = {name for entrance in entrances for name in entrance.rows}
        found = sorted(self._with_parameters(sorted(found, key=_place)), key=_place)
        layers = [replace(row, entry=row.name in entries) for _, row, _ in found]
        return _with_unit_axes(layers) + self._without_row(layers), entrances

    def _stream(self, number: int, chain: Chain, used: set[int]) -> list[tuple[int, Layer, Node | None]]:
        found: list[tuple[int, Layer, Node | None]] = []
        done = {name for _, name in self._ends}
        before: Point | None = None  # the point before
        shown: Point | None = None  # the one before that has a row
        for place, point in enumerate(chain.points):
            after = chain.points[place + 1] if place + 1 < len(chain.points) else None
            call = self._call_of(point)
            known = any(id(node) in used for node in point.nodes)
            if not known and (call is not None or self._has_row(point, after)):
                used |= {id(node) for node in point.nodes} | ({id(call)} if call is not None else set())
                row = self._stream_row(point, call, before)
                chained = shown is None or (shown is before and _follows(point, call, shown))
                output = self._traced.output
                final = output is not None and point.node.unchanged is output.unchanged
                row = replace(row, chain=number, chained=chained, final=final)
                found.append((point.node.index, row, point.node))
                if row.name not in done:
                    self._ends.append((point.nodes[0].index, row.name))
                shown = point
            before = point
        return found

    def _call_of(self, point: Point) -> _Call | None:
        """Return the call of a module that gives the point, if it is more than passing it on."""
        for node in point.nodes:
            for call in self._calls:
                given = call.gives is node or _same_operation(call.gives, node)
                if given and not _passes_on(call) and (call.path, call.number) in self._leaves:
                    return call
        return None

    def _has_row(self, point: Point, after: Point | None) -> bool:
        first = point.nodes[0]
        if first.kind == "input" or point.node.address is None:
            return False
        if point.step:
            return True
        if point.node.address[:2] in self._leaves:
            return False
        # Of a function that is put together of several operations, the last is shown.
        goes_on = (
            after is not None and after.nodes[0].kind == "function" and after.nodes[0].root is first.root
        )
        return first.kind != "function" or not goes_on

    def _stream_row(self, point: Point, call: _Call | None, before: Point | None) -> Layer:
        node = point.node
        branch = None if before is None else _branch_of(node, point, before)
        if call is None:
            row = replace(self._operation(node, origin=point.nodes[0]), place="stream", step=point.step)
            return replace(row, branch=branch, ends_with=self._giver(point, branch), block="")
        row = replace(self._module_row(call), place="stream", step=point.step)
        if node is call.gives and branch is None:
            return row
        # Measured where the constant shift or factor that follows has been applied, or at another result.
        axis = self._axes.of_value(node)
        if axis is None:
            return row
        units = math.prod(node.shape) // self._axes.size
        return replace(
            row, at=node.address, batch_axis=axis, branch=branch, shape=node.shape, units=units, skipped=""
        )

    def _giver(self, point: Point, branch: int | None) -> str:
        if branch is None:
            return ""
        term = point.nodes[0].same_as.sources[branch].same_as
        gives = [call.path for call in self._calls if call.gives is not None and call.gives.same_as is term]
        return gives[0] if gives else ""

    def _module_row(self, call: _Call) -> Layer:
        name = (call.path or "output") + (f" (call {call.number})" if call.number > 1 else "")
        row = Layer(name, call.module, call.path, call.number, role(call.module))
        if call.shape is None:
            return replace(row, skipped=call.reason, place="")
        axis = self._axes.of_call(call)
        if axis is None or 0 in call.shape:
            what = "is empty" if 0 in call.shape else "has no axis that grows with the number of samples"
            return replace(row, skipped=f"its output {call.shape} {what}", place="")
        units = math.prod(call.shape) // self._axes.size
        return replace(
            row, batch_axis=axis, shape=call.shape, argument_shape=call.argument_shape, units=units
        )

    def _off_stream(self, call: _Call) -> Layer:
        row = self._module_row(call)
        if not row.skipped and _passes_on(call):
            return replace(row, skipped=PASSED_ON, place="")
        return row if row.skipped else replace(row, block=self._block_of(call.gives))

    def _block_of(self, node: Node | None) -> str:
        if node is None or id(node) not in self._leading:
            return ""
        return next((name for index, name in self._ends if index >= node.index), "")

    def _operation(
        self, node: Node, *, origin: Node | None = None, entry: bool = False, name: str = ""
    ) -> Layer:
        assert node.address is not None
        made = node if origin is None or origin.same_as.address is None else origin.same_as  # gives the kind
        kind = _kind_of(made)
        module = _Operation(kind, made)
        name = self._unique(name or self._title(made))
        path, number = node.address.path, node.address.call
        row = Layer(name, module, path, number, _role_of_value(made, module), at=node.address, entry=entry)
        axis = self._axes.of_value(node)
        if axis is None or 0 in node.shape:
            what = "is empty" if 0 in node.shape else "has no axis that grows with the number of samples"
            return replace(row, skipped=f"its result {node.shape} {what}", place="")
        units = math.prod(node.shape) // self._axes.size
        taken = next((source.shape for source in node.sources if source.floating), ())
        block = self._block_of(node)
        return replace(row, batch_axis=axis, shape=node.shape, argument_shape=taken, units=units, block=block)

    def _title(self, node: Node) -> str:
        """Return what an operation is called: the block that ends there, and what it does."""
        assert node.address is not None
        path = node.address.path
        if path and self._owners[_owner(node)] <= 1:
            return _owner(node)
        calls = [call for call in self._traced.calls if call.at <= node.index]
        ended = [call.path for call in calls if call.called_children or not _passes_on(call)]
        inside = [p for p in ended if p and p.startswith(f"{path}." if path else "")]
        return f"{inside[-1] if inside else path or 'model'} ({_kind_of(node)})"

    def _unique(self, name: str) -> str:
        self._names[name] += 1
        return name if self._names[name] == 1 else f"{name[:-1]} {self._names[name]})"

    def _with_parameters(
        self, found: list[tuple[int, Layer, Node | None]]
    ) -> list[tuple[int, Layer, Node | None]]:
        """Return the rows with the number of their parameters, and rows for parameters that had none."""
        sizes = {id(p): p.numel() for p in self._model.parameters()}
        counted = []
        for place, row, node in found:
            own = 0
            if not isinstance(row.module, _Operation) and row.call == 1:
                own = sum(sizes.pop(id(p), 0) for p in row.module.parameters())
            counted.append((place, replace(row, parameters=own), node))
        at = {id(form): i for i, (_, _, node) in enumerate(counted) for form in self._forms(node)}
        names = {id(p): name for name, p in self._model.named_parameters()}
        for node in self._traced.flow.nodes:
            held = [key for key in node.parameters if key in sizes]
            if not held:
                continue
            if id(node) not in at:
                row = self._operation(node, name=f"{names[held[0]]} ({_kind_of(node)})")
                at[id(node)] = len(counted)
                counted.append((node.index, row, node))
            place, row, value = counted[at[id(node)]]
            own = sum(sizes.pop(key) for key in held)
            counted[at[id(node)]] = (place, replace(row, parameters=row.parameters + own), value)
        self._sizes, self._parameter_names = sizes, names
        return counted

    def _forms(self, node: Node | None) -> tuple[Node, ...]:
        point = next((p for p in self._points if node in p.nodes), None)
        return point.nodes if point is not None else () if node is None else (node,)

    def _without_row(self, layers: list[Layer]) -> list[Layer]:
        """Return a row that says why for each module that is not called and each parameter not used."""
        called = {call.path for call in self._traced.calls}
        bypassing = {call.path for call in self._calls}
        missing = []
        for path, module in self._model.named_modules():
            parent = any(name != "parametrizations" for name, _ in module.named_children())
            if parent or path in called or path == "" or _inside_parametrization(path):
                continue
            owner = next((p for p in bypassing if p == "" or path.startswith(f"{p}.")), None)
            kind = type(module).__name__
            if owner is not None:
                reason = f"used inside {owner or 'the model'} without being called"
            elif isinstance(module, (nn.ParameterList, nn.ParameterDict, nn.ModuleList, nn.ModuleDict)):
                reason = f"a {kind} is a container and is never called"
            elif _own(module) and not any(id(p) in self._sizes for p in module.parameters()):
                reason = "its weights are used without calling it"
            else:
                reason = "not called in forward"
            own = sum(self._sizes.pop(id(p), 0) for p in module.parameters())
            row = Layer(path, module, path, 1, role(module), reason, reached=False, place="")
            missing.append(replace(row, parameters=own))
        taken = {layer.name for layer in [*layers, *missing]}
        for key, number in self._sizes.items():
            name = self._parameter_names[key]
            name = f"{name} (parameter)" if name in taken else name
            row = Layer(
                name, _Operation("Parameter"), name, 1, "other", "a parameter that forward does not use"
            )
            missing.append(replace(row, reached=False, place="", parameters=number))
        return missing


class _Operation(nn.Module):
    """A stand-in for an operation that stands in no module of its own."""

    def __init__(self, kind: str, node: Node | None = None) -> None:
        super().__init__()
        self.kind, self._node = kind, node

    def forward(self, x: Tensor) -> Tensor:
        if self._node is None or self._node.kind != "function":
            raise NotImplementedError(f"{self.kind} is no function of one number")
        return self._node.replay(x, pointwise=True)


def _place(item: tuple[int, Layer, Node | None]) -> int:
    return item[0]


def _own(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _owner(node: Node) -> str:
    return "" if node.address is None else f"{node.address.path} ({_kind_of(node)})"


def _kind_of(node: Node) -> str:
    return node.kind if node.kind in ("sum", "cat") else node.name.strip("_")


def _role_of_value(node: Node, module: nn.Module) -> str:
    if node.kind == "weight" or (node.kind == "mixing" and node.matrix):
        return "weight"
    if node.kind in ("norm", "sum"):
        return node.kind
    if node.kind in ("cat", "mixing"):
        return "mixing"
    return "activation" if not node.pooled and _elementwise(module) else "other"


def _branch_of(node: Node, point: Point, before: Point) -> int | None:
    """Return which of the two terms of a sum does not come straight from the point before."""
    total = point.nodes[0].same_as
    if total.kind != "sum" or len(total.sources) != 2 or node is not total:
        return None
    stream = {id(form.same_as) for form in before.nodes}
    from_stream = [id(term.same_as) in stream for term in total.sources]
    return None if sum(from_stream) != 1 else from_stream.index(False)


def _follows(point: Point, call: _Call | None, before: Point) -> bool:
    given = before.nodes[-1].unchanged
    if call is not None:
        return call.takes is not None and call.takes.unchanged is given
    first = point.nodes[0]
    return all(source.unchanged is given for source in first.sources) or first.root is before.nodes[0].root


def _same_operation(one: Node | None, other: Node) -> bool:
    known = one is not None and one.address is not None and other.address is not None
    return known and one.address[:4] == other.address[:4]  # type: ignore[union-attr,index]


def _passes_on(call: _Call) -> bool:
    return call.gives is not None and call.takes is not None and call.gives.unchanged is call.takes.unchanged


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


def _with_unit_axes(layers: list[Layer]) -> list[Layer]:
    found: list[Layer] = []
    previous: tuple[int, int] | None = None  # (number of axes, unit axis) of the row before
    for layer in layers:
        axes = len(layer.shape)
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


def _coupled(small: Tensor | None, large: Tensor | None, size: int) -> bool:
    # The first outputs should not change when another input joins the batch.
    if small is None or large is None or small.ndim == 0 or small.shape[0] != size:
        return False
    if large.shape[0] <= size or large.shape[1:] != small.shape[1:]:
        return False
    both = torch.stack([small, large[:size]]).double().nan_to_num(0.0, 0.0, 0.0)
    scale = float(both.abs().amax())
    return not torch.allclose(both[0], both[1], rtol=0.05, atol=0.05 * scale, equal_nan=True)


def _inside_parametrization(path: str) -> bool:
    """Return whether a path lies inside the machinery of a parametrised weight, which is no layer."""
    return "parametrizations" in path.split(".")


@contextmanager
def watched(model: nn.Module, layers: list[Layer], observe: Observe) -> Iterator[None]:
    """Call ``observe(layer, arguments, output)`` at every measured row of one forward pass.

    Parameters
    ----------
    model : nn.Module
        The model.
    layers : list of Layer
        Rows, as :func:`discover` returns them; skipped ones are left out.
    observe : callable
        What it returns, if not None, takes the place of the layer's output.

    Yields
    ------
    None
    """
    measured = [layer for layer in layers if not layer.skipped]
    by_call = {(layer.path, layer.call): layer for layer in measured if layer.at is None}
    operations = [layer for layer in measured if layer.at is not None]
    calls: Counter[str] = Counter()
    watch = _Watch(operations, observe)

    def before(path: str, args: tuple[Any, ...]) -> None:
        calls[path] += 1
        watch.running.append((path, calls[path]))

    def after(path: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        layer = by_call.get(watch.running.pop())
        if layer is None:
            return None
        with watch.paused():
            return observe(layer, args, output)

    if operations:
        modules = {path: m for path, m in model.named_modules() if not _inside_parametrization(path)}
    else:
        modules = {layer.path: layer.module for layer in by_call.values()}
    with observed(modules, after, before), watch if operations else nullcontext():
        yield


class _Watch(TorchFunctionMode):
    """Shows the results of some operations of a pass, found by the address that they had in the trace."""

    def __init__(self, layers: list[Layer], observe: Observe) -> None:
        super().__init__()
        self.running: list[tuple[str, int]] = [("", 1)]  # the modules that run, each with its call
        self._wanted: dict[tuple[str, int, str, int], list[Layer]] = {}
        for layer in layers:
            assert layer.at is not None
            self._wanted.setdefault(layer.at[:4], []).append(layer)
        self._names = {key[2] for key in self._wanted}
        self._observe = observe
        self._counted: Counter[tuple[str, int, str]] = Counter()
        self._paused = False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take no notice, inside, of what is run."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and show its result where it is wanted."""
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "?")
        if self._paused or name not in self._names:
            return result
        place = (*self.running[-1], name)
        self._counted[place] += 1
        wanted = self._wanted.get((*place, self._counted[place]))
        if wanted is None:
            return result
        given = (*args, *(kwargs or {}).values())
        with self.paused():
            for layer in wanted:
                assert layer.at is not None
                results = all_floats(args[0] if name == "__setitem__" else result)
                if layer.at.output < len(results):
                    old = results[layer.at.output]
                    new = self._observe(layer, given, old)
                    if new is not None and result is not None:
                        result = map_leaves(partial(_swap, old, new), result)
        return result


def _swap(old: Tensor, new: Tensor, tensor: Tensor) -> Tensor:
    return new if tensor is old else tensor


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
