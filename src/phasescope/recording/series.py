"""How long the sequences of a batch are without their padding, and the same batch with its time shuffled."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from phasescope.recording.batch import _leaves, _map
from phasescope.recording.sequences import Sequences

_PADDING = 8  # equal steps at the end of a sequence that are taken as padding


def real_lengths(inputs: Sequences, time_axis: int | None = None) -> tuple[NDArray[np.int64], str]:
    """Return the number of time steps of each sequence before its padding, and what told it.

    In this order: packed sequences; a tensor named ``attention_mask`` or ``..padding_mask``; the same number
    of a word, or zeros, in at least 8 steps at the end.

    Shapes: returned (sequence ).
    """
    for lengths in inputs.packed.values():
        return lengths.numpy().astype(np.int64), ""
    for path, tensor in _leaves((inputs.args, inputs.kwargs)):
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
    """Return the batch with the time steps of each sequence in another order, its padding left in place.

    Notes
    -----
    Every tensor with an axis of time is put in the same order, masks and positions excepted.

    Shapes: `lengths` (sequence,).
    """
    random = np.random.default_rng(seed)
    order = np.tile(np.arange(inputs.steps), (inputs.size, 1))
    for row, length in enumerate(lengths):
        order[row, :length] = random.permutation(int(length))
    index = torch.from_numpy(order)
    kept = [
        any(word in path.lower() for word in ("mask", "position"))
        for path, _ in _leaves((inputs.args, inputs.kwargs))
    ]
    numbers = count()

    def shuffle(tensor: Tensor) -> Tensor:
        number = next(numbers)
        axes = None if kept[number] else _axes(inputs, tensor, number, time_axis)
        if axes is None:
            return tensor
        moved = tensor.detach().movedim(axes, (0, 1))
        rows = torch.arange(inputs.size, device=tensor.device)[:, None]
        return moved[rows, index.to(tensor.device)].movedim((0, 1), axes)

    args: Any = _map(shuffle, inputs.args)
    return replace(inputs, args=args, kwargs=_map(shuffle, inputs.kwargs))


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
    _, tensor = next(_leaves((inputs.args, inputs.kwargs)))
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
