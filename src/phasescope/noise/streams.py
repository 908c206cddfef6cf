"""What can be seen along the time axis at each call: outputs, gates, residual streams, MLP units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from phasescope.recording.batch import first_float, replace_first_float
from phasescope.recording.layers import Layer
from phasescope.recording.recurrent import tracks

_UNITS_LAST = (nn.Linear, nn.Embedding, nn.LayerNorm, nn.MultiheadAttention)
_BLOCKS = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)


@dataclass(frozen=True)
class Seen:
    """One quantity at one call."""

    layer: str
    quantity: str
    values: Tensor  # (sequence, unit, time)
    steps: int  # of the whole series, of which this call may show a part
    start: int = 0  # time step of the first value
    row: int = 0  # first sequence of the values, of which they may hold a part
    rows: int | None = None  # sequences of the call, where the values hold a part
    lengths: Tensor | None = None  # of the sequences, where the module got them packed
    mismatch: float | None = None  # see ``phasescope.recording.recurrent.Track``


@dataclass
class Streams:
    """The calls to watch, and what to take from each."""

    rows: list[Layer]  # what ``watched`` is to observe
    residual: set[str]  # paths of the blocks of a transformer
    mlp: dict[str, str]  # from the path of the layer that reads the MLP units to the path of its block
    stepped: set[str]  # paths of modules that are called once for each time step
    steps: int  # number of time steps of the input
    own: set[int]  # numbers of time steps of recurrent modules that see others than the input has
    preactivations: bool = False  # whether to add what enters the gates
    skipped: dict[str, str] = field(default_factory=dict)  # why a row cannot be recorded
    _packed: int = 0

    def see(self, layer: Layer, args: tuple[Any, ...], output: Any) -> Iterator[Seen]:
        """Yield everything that one call of a module shows."""
        if isinstance(layer.module, nn.RNNBase):
            yield from self._recurrent(layer, args, output)
            return
        if layer.path in self.stepped:
            yield from self._step(layer, output)
            return
        if layer.path in self.mlp:
            yield from self._along_time(layer, self.mlp[layer.path], "mlp", first_float(args))
        quantity = "residual" if layer.path in self.residual else "output"
        yield from self._along_time(layer, layer.name, quantity, first_float(output))

    def replaced(self, layer: Layer, output: Any, unit: int, value: float) -> Any:
        """Return the output of a call with one unit of its "output" or "residual" replaced at all times.

        Not of a recurrent module. Units are counted as in :class:`Seen`.
        """
        tensor = first_float(output)
        if tensor is None:
            return output
        new = tensor.clone(memory_format=torch.contiguous_format)
        axis = None if layer.path in self.stepped else self._time_axis(layer, tensor)
        axes = (layer.batch_axis,) if axis is None else (layer.batch_axis, axis)
        moved = new.movedim(axes, tuple(range(len(axes))))
        for place in np.unravel_index(unit, moved.shape[len(axes) :]):
            moved = moved.select(len(axes), int(place))
        moved.fill_(value)
        return replace_first_float(output, new)

    def _recurrent(self, layer: Layer, args: tuple[Any, ...], output: Any) -> Iterator[Seen]:
        assert isinstance(layer.module, nn.RNNBase)
        if isinstance(args[0], PackedSequence):
            self._packed = len(args[0].batch_sizes)
        stepped = layer.path in self.stepped
        call = f" (call {layer.call})" if layer.call > 1 and not stepped else ""
        for track in tracks(layer.module, args, output, self.preactivations):
            name = f"{layer.path}.{track.name}{call}".removeprefix(".")
            whole = stepped or track.lengths is not None
            for quantity, values in track.quantities.items():
                yield Seen(
                    name,
                    quantity,
                    values,
                    self.steps if whole else track.steps,
                    layer.call - 1 if stepped else track.start,
                    track.row,
                    track.rows,
                    track.lengths,
                    track.mismatch,
                )

    def _along_time(self, layer: Layer, name: str, quantity: str, tensor: Tensor | None) -> Iterator[Seen]:
        axis = None if tensor is None else self._time_axis(layer, tensor)
        if tensor is None or axis is None:
            shape = () if tensor is None else tuple(tensor.shape)
            self.skipped.setdefault(
                name,
                f"its {quantity} {shape} has no axis of {self.steps} time steps beside sequences and units",
            )
            return
        moved = tensor.movedim((layer.batch_axis, axis), (0, -1))
        length = moved.shape[-1]
        steps = self.steps if length == self._packed else length
        yield Seen(name, quantity, moved.reshape(moved.shape[0], -1, length), steps)

    def _time_axis(self, layer: Layer, tensor: Tensor) -> int | None:
        times = {self.steps, self._packed, *self.own}
        axes = [axis for axis, n in enumerate(tensor.shape) if axis != layer.batch_axis and n in times]
        last = isinstance(layer.module, _UNITS_LAST) or layer.path in self.residual or layer.path in self.mlp
        # What is as wide as the series is long has two such axes, one of them units.
        if last or len(axes) > 1 or tensor.ndim == 2:
            unit = tensor.ndim - 1 if last or tensor.ndim == 2 else layer.unit_axis
            axes = [axis for axis in axes if axis != unit]
        return axes[0] if len(axes) == 1 else None

    def _step(self, layer: Layer, output: Any) -> Iterator[Seen]:
        tensors = output if isinstance(layer.module, nn.LSTMCell) else (first_float(output),)
        names = ("hidden", "cell") if isinstance(layer.module, nn.RNNCellBase) else ("output",)
        for quantity, tensor in zip(names, tensors, strict=False):
            values = tensor.movedim(layer.batch_axis, 0).reshape(tensor.shape[layer.batch_axis], -1, 1)
            yield Seen(layer.path, quantity, values, self.steps, layer.call - 1)


def find_streams(model: nn.Module, layers: list[Layer], steps: int, preactivations: bool) -> Streams:
    """Return what to watch: rows with an axis of time, recurrent modules, blocks of a transformer.

    A block is an element of a list of modules (or one of torch's transformer layers) that holds an attention
    module and more. Its MLP units are what enters the weight layer that maps them back to the residual
    stream.
    """
    calls = Counter(layer.path for layer in layers)
    own = {
        layer.shape[1 - layer.batch_axis]
        for layer in layers
        if isinstance(layer.module, nn.RNNBase) and len(layer.shape) == 3 and layer.batch_axis < 2
    }
    stepped = {
        layer.path
        for layer in layers
        if calls[layer.path] == steps > 1
        and (len(layer.shape) == 2 or (len(layer.shape) == 3 and 1 in layer.shape))
    }
    rows, skipped = [], {}
    for layer in layers:
        if isinstance(layer.module, nn.RNNBase) and layer.reached:
            rows.append(replace(layer, skipped=""))
        elif layer.skipped:
            skipped[layer.name] = layer.skipped
        else:
            rows.append(layer)
    residual: dict[str, Layer] = {}
    mlp: dict[str, str] = {}
    for path, block in _blocks(model).items():
        inner = [row for row in rows if _within(row.path, path) and len(row.shape) == 3]
        if inner:
            width, last = inner[-1].shape[-1], inner[-1]
            residual[path] = replace(last, name=path or "output", module=block, path=path, call=1)
            narrowing = [
                r.path for r in inner if _narrows(r, width) or (r.module is getattr(block, "linear2", 0))
            ]
            mlp |= dict.fromkeys(narrowing[:1], path or "output")
    return Streams(
        [*rows, *residual.values()], set(residual), mlp, stepped, steps, own - {1}, preactivations, skipped
    )


def _narrows(row: Layer, width: int) -> bool:
    taken = row.argument_shape
    return row.role == "weight" and len(taken) == 3 and taken[-1] > width == row.shape[-1]


def _blocks(model: nn.Module) -> dict[str, nn.Module]:
    modules = dict(model.named_modules())
    found: dict[str, nn.Module] = {}
    for path, module in modules.items():
        parent = modules.get(path.rpartition(".")[0])
        listed = path and isinstance(parent, (nn.ModuleList, nn.Sequential))
        inside = [part for name, part in module.named_modules() if name]
        attention = [part for part in inside if "attention" in type(part).__name__.lower()]
        if not any(_within(path, block) for block in found) and (
            isinstance(module, _BLOCKS) or (listed and attention and len(inside) > len(attention))
        ):
            found[path] = module
    return found


def _within(path: str, owner: str) -> bool:
    return owner == "" or path == owner or path.startswith(f"{owner}.")
