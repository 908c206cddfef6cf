"""A batch of sequences in any layout, how long each is without its padding, and its time shuffled.

Padded or packed, sequences along the first axis or the second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from phasescope.errors import InputError
from phasescope.recording.batch import Batch, as_batch, is_plain, map_leaves

_PADDING = 8  # equal steps at the end of a sequence that are taken as padding


@dataclass(frozen=True)
class Sequences(Batch):
    """A batch whose sequences lie along an axis of their own in each tensor."""

    # The axis of the sequences in each tensor, by its number; None where the tensor is the same for all.
    axes: tuple[int | None, ...] = ()
    # The lengths of the sequences, by the number of each tensor that was a packed sequence.
    packed: Mapping[int, Tensor] = field(default_factory=dict)
    steps: int = 0  # time steps of the longest sequence, as the first tensor tells it

    def take(self, start: int, stop: int) -> Sequences:
        """Return sequences `start` to `stop` as copies, packed again where they were packed."""
        return self._pick(torch.arange(start, min(stop, self.size)), pack=True)

    def alike(self, number: int) -> Sequences:
        """Return the first sequence `number` times, so that nothing differs in length."""
        return self._pick(torch.zeros(number, dtype=torch.int64), pack=False)

    def chosen(self, rows: Sequence[int]) -> Sequences:
        """Return some of the sequences as copies, padded where they were packed until `take` packs them."""
        return self._pick(torch.as_tensor(rows, dtype=torch.int64), pack=False)

    def _has_samples(self, tensor: Tensor, number: int) -> bool:
        return self.axes[number] is not None and is_plain(tensor)

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

        packed = {number: lengths[index] for number, lengths in self.packed.items()}
        return self.mapped(cut, size=len(index), packed=packed)


def as_sequences(
    model: nn.Module, batch: Any, batch_axis: int | None = None, time_axis: int | None = None
) -> Sequences:
    """Return `batch` as the arguments of ``model(...)``, with the axis of the sequences in each tensor.

    `batch_axis` and `time_axis` are those of the first tensor. By default sequences lie along axis 1 for
    torch's own recurrent and transformer modules with ``batch_first=False``, otherwise along axis 0, and time
    along the other one of the first two.
    """
    found: dict[int, Tensor] = {}
    number = count()

    def padded(leaf: Tensor | PackedSequence) -> Tensor:
        place = next(number)
        if isinstance(leaf, PackedSequence):
            leaf, found[place] = pad_packed_sequence(leaf, batch_first=True)
        return leaf

    fitted = as_batch(model, map_leaves(padded, batch, (Tensor, PackedSequence)))
    tensors = fitted.tensors()
    first = tensors[0][1]
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
        0 if i in found else _axis_of(model, path, t, axis, size, i) for i, (path, t) in enumerate(tensors)
    )
    return Sequences(
        fitted.args,
        fitted.kwargs,
        size,
        fitted.notes,
        names=fitted.names,
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


def real_lengths(inputs: Sequences, time_axis: int | None = None) -> tuple[NDArray[np.int64], str]:
    """Return the time steps of each sequence before its padding, and a note where they were guessed.

    They follow from packed sequences; else from a tensor named ``attention_mask`` or ``..padding_mask``; else
    at least 8 steps with the same word, or with zeros, at the end of a sequence are taken as padding.
    """
    for lengths in inputs.packed.values():
        return lengths.numpy().astype(np.int64), ""
    for path, tensor in inputs.tensors():
        masked = path.endswith("padding_mask")
        if tuple(tensor.shape) == (inputs.size, inputs.steps) and (masked or path.endswith("attention_mask")):
            kept = (tensor == 0) if masked else (tensor != 0)
            return kept.sum(dim=1).cpu().numpy().astype(np.int64), ""
    ends = _ends(_first_in_time(inputs, time_axis))
    padded = int((ends < inputs.steps).sum())
    note = f"{padded} of {inputs.size} sequences end in equal steps, which were taken as padding"
    return ends, note if padded else ""


def changes_in_time(inputs: Sequences, time_axis: int | None = None) -> bool:
    """Return whether the first tensor differs between time steps in any of the sequences."""
    return any(bool((one != one[:1]).any()) for one in _first_in_time(inputs, time_axis))


def shuffled_in_time(
    inputs: Sequences, lengths: NDArray[np.int64], *, seed: int, time_axis: int | None = None
) -> Sequences:
    """Return the batch with the first `lengths` time steps of each sequence in another order.

    Every tensor with an axis of time is put in the same order, masks and positions excepted. Sequences that
    were packed are padded here, and packed again by ``take``.
    """
    random = np.random.default_rng(seed)
    order = np.tile(np.arange(inputs.steps), (inputs.size, 1))
    for row, length in enumerate(lengths):
        order[row, :length] = random.permutation(int(length))
    index = torch.from_numpy(order)
    kept = [any(word in path.lower() for word in ("mask", "position")) for path, _ in inputs.tensors()]
    numbers = count()

    def shuffle(tensor: Tensor) -> Tensor:
        number = next(numbers)
        axes = None if kept[number] else _axes(inputs, tensor, number, time_axis)
        if axes is None:
            return tensor
        moved = tensor.detach().movedim(axes, (0, 1))
        rows = torch.arange(inputs.size, device=tensor.device)[:, None]
        return moved[rows, index.to(tensor.device)].movedim((0, 1), axes)

    return inputs.mapped(shuffle)


def as_given(inputs: Sequences) -> Any:
    """Return the batch as a user would pass it, packed where it was packed."""
    whole = inputs.take(0, inputs.size)
    return whole.kwargs or whole.args


def _axes(
    inputs: Sequences, tensor: Tensor, number: int, time_axis: int | None = None
) -> tuple[int, int] | None:
    """Return the axes of sequences and of time in a tensor, or None where it has not both."""
    axis = inputs.axes[number]
    if axis is None:
        return None
    if number == 0:
        return axis, int(axis == 0) if time_axis is None or inputs.packed else time_axis
    times = [i for i, n in enumerate(tensor.shape) if i != axis and n == inputs.steps]
    return (axis, times[0]) if times else None


def _first_in_time(inputs: Sequences, time_axis: int | None) -> Tensor:
    """Return the first tensor as (sequence, time, anything)."""
    _, tensor = inputs.tensors()[0]
    axes = _axes(inputs, tensor, 0, time_axis)
    assert axes is not None
    moved = tensor.detach().movedim(axes, (0, 1))
    return moved.reshape(*moved.shape[:2], -1)


def _ends(values: Tensor) -> NDArray[np.int64]:
    """Return where each sequence ends before its last steps, if these are all the same."""
    size, steps = values.shape[:2]
    last = values[:, -1].reshape(size, -1)
    padding = torch.zeros_like(last[:1]) if values.is_floating_point() else last.mode(dim=0).values
    likely = (last == padding).all(dim=1)
    ends = np.full(size, steps, dtype=np.int64)
    for row in likely.nonzero()[:, 0].tolist():
        other = (values[row] != values[row, -1]).any(dim=-1).nonzero()
        end = int(other[-1]) + 1 if len(other) else steps
        ends[row] = end if steps - end >= _PADDING else steps
    return ends
