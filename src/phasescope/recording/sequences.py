"""A batch of sequences in any layout: padded or packed, sequences along the first axis or the second."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from phasescope.errors import InputError
from phasescope.recording.batch import Batch, _leaves, _map, as_batch


@dataclass(frozen=True)
class Sequences(Batch):
    """A batch whose sequences lie along an axis of their own in each tensor."""

    # for each tensor, in the order of the arguments, the axis along which the sequences lie; None where the
    # tensor is the same for all
    axes: tuple[int | None, ...] = ()
    # lengths of the sequences, for the tensors that were packed sequences
    packed: Mapping[int, Tensor] = field(default_factory=dict)
    steps: int = 0  # number of time steps of the longest sequence, as the first tensor tells it

    def take(self, start: int, stop: int) -> Sequences:
        """Return sequences `start` to `stop` as copies, packed again where they were packed."""
        return self._pick(torch.arange(start, min(stop, self.size)), pack=True)

    def alike(self, number: int) -> Sequences:
        """Return the first sequence `number` times, so that nothing differs in length."""
        return self._pick(torch.zeros(number, dtype=torch.int64), pack=False)

    def chosen(self, rows: Sequence[int]) -> Sequences:
        """Return some of the sequences as copies, padded where they were packed until `take` packs them."""
        return self._pick(torch.as_tensor(rows, dtype=torch.int64), pack=False)

    def _pick(self, index: Tensor, *, pack: bool) -> Sequences:
        numbers = count()

        def cut(tensor: Tensor) -> Any:
            number = next(numbers)
            axis = self.axes[number]
            if axis is None:
                return tensor.detach().clone()
            part = tensor.detach().index_select(axis, index.to(tensor.device))
            if number not in self.packed or not pack:
                return part
            lengths = self.packed[number][index]
            return pack_padded_sequence(part, lengths, batch_first=True, enforce_sorted=False)

        return replace(
            self,
            args=_map(cut, self.args),
            kwargs=_map(cut, self.kwargs),
            size=len(index),
            packed={number: lengths[index] for number, lengths in self.packed.items()},
        )


def as_sequences(
    model: nn.Module, batch: Any, batch_axis: int | None = None, time_axis: int | None = None
) -> Sequences:
    """Return `batch` as the arguments of ``model(...)``, with the axis of the sequences in each tensor."""
    found: dict[int, Tensor] = {}
    number = count()

    def padded(tree: Any) -> Any:
        if isinstance(tree, PackedSequence):
            data, lengths = pad_packed_sequence(tree, batch_first=True)
            found[next(number)] = lengths
            return data
        if isinstance(tree, Tensor):
            next(number)
            return tree
        if isinstance(tree, tuple) and hasattr(tree, "_fields"):
            return type(tree)(*(padded(item) for item in tree))
        if isinstance(tree, (tuple, list)):
            return type(tree)(padded(item) for item in tree)
        return {key: padded(item) for key, item in tree.items()} if isinstance(tree, Mapping) else tree

    fitted = as_batch(model, padded(batch))
    leaves = list(_leaves((fitted.args, fitted.kwargs)))
    first = leaves[0][1]
    axis = _default_axis(model) if batch_axis is None else batch_axis
    axis = 0 if 0 in found else axis
    time = time_axis if time_axis is not None and 0 not in found else int(axis == 0)
    single = isinstance(model, nn.RNNBase) and first.ndim == 2
    if single or axis == time or not (0 <= axis < first.ndim and 0 <= time < first.ndim):
        raise InputError(
            f"The first tensor of the batch has shape {tuple(first.shape)}, which has no sequences along "
            f"axis {axis} with time along axis {time}{' and features' if single else ''}.",
            "Pass (sequence, time) numbers of words, or (sequence, time, feature) values; say batch_axis and "
            "time_axis where they lie elsewhere.",
        )
    size, steps = first.shape[axis], first.shape[time]
    if size == 0 or steps == 0:
        raise InputError(
            f"The batch holds no time step: its shape is {tuple(first.shape)}.", "Pass a longer one."
        )
    axes = tuple(
        0 if i in found else _axis_of(model, path, t, axis, size, i) for i, (path, t) in enumerate(leaves)
    )
    return Sequences(
        fitted.args,
        fitted.kwargs,
        size,
        fitted.notes,
        axes=axes,
        packed=found,
        steps=steps,
    )


def _default_axis(model: nn.Module) -> int:
    firsts: Iterator[Any] = (m.batch_first for m in model.modules() if hasattr(m, "batch_first"))
    return 0 if not type(model).__module__.startswith("torch.nn") or next(firsts, True) else 1


def _axis_of(model: nn.Module, path: str, tensor: Tensor, axis: int, size: int, index: int) -> int | None:
    shape = tuple(tensor.shape)
    if path.endswith("padding_mask"):
        return 0 if shape[:1] == (size,) else None
    if path.endswith("mask") and len(shape) == 2 and shape[0] == shape[1]:
        return None  # who may look at whom: the same for every sequence
    if isinstance(model, nn.RNNBase) and index:
        return 1  # a state is (layer, sequence, unit) whatever batch_first says
    likely: Iterable[int] = (axis, *(i for i in range(len(shape)) if i != axis))
    return next((i for i in likely if i < len(shape) and shape[i] == size), None)


def padded_sequences(value: Tensor | PackedSequence, batch_first: bool) -> tuple[Tensor, Tensor | None]:
    """Return sequences as (time, sequence, unit), and their lengths where they were packed."""
    if isinstance(value, PackedSequence):
        return pad_packed_sequence(value)
    return (value.transpose(0, 1) if batch_first else value), None


def beyond(lengths: Tensor, steps: int) -> Tensor:
    """Return a mask of shape (sequence, time) that is true after the end of each sequence."""
    return torch.arange(steps, device=lengths.device) >= lengths[:, None]
