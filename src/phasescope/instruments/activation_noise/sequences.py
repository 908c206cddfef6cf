"""Which sequences of a batch the noise of activations is measured on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from phasescope.errors import InputError
from phasescope.recording.modules import as_module
from phasescope.recording.sequences import Sequences, as_sequences, changes_in_time, real_lengths

# That is noise.fluctuation.shortest_length(1), whose import a model without sequences need not wait for.
SHORTEST = 160
MOST_SEQUENCES = 64
DISCARD = 20  # first steps, where a state still remembers its start
_RECURRENT = (nn.RNNBase, nn.RNNCellBase)
_NO_SERIES = "no recurrent, attention or 1-d convolution layer, so no series in time"


@dataclass(frozen=True)
class Chosen:
    """The sequences that are recorded."""

    inputs: Sequences  # padded to one length
    lengths: NDArray[np.int64]  # (sequence,): time steps of each before its padding
    time_axis: int | None  # axis of time in the first tensor, where it is not the usual one
    notes: tuple[str, ...]  # what was left out or guessed


def no_series(model: nn.Module | Callable[..., Any], batch: Any) -> str:
    """Return why a model and its batch give no usable series, or "" where they do."""
    try:
        module = as_module(model)
        if not any(map(_makes_series, module.modules())):
            return _NO_SERIES
        inputs, time_axis = _sequences(module, batch)
    except InputError as refused:
        return str(refused)
    if inputs.tensors()[0][1].ndim > 3:
        return f"the inputs have {inputs.tensors()[0][1].ndim - 1} axes each, as images do, and none is time"
    if not changes_in_time(inputs, time_axis):
        return "no sequence changes in time, so that nothing drives fluctuations; give real sequences"
    return too_short(int(real_lengths(inputs, time_axis)[0].max()))


def too_short(steps: int) -> str:
    """Return why sequences of so many time steps are of no use; "" where they are long enough."""
    if steps >= SHORTEST:
        return ""
    return (
        f"{steps} time steps are too short: fluctuations need sequences of at least {SHORTEST} steps; "
        "concatenate sequences or carry the state from one to the next"
    )


def chosen_sequences(module: nn.Module, batch: Any) -> Chosen:
    """Return at most 64 of the sequences that are long enough, evenly chosen."""
    inputs, time_axis = _sequences(module, batch)
    lengths, guessed = real_lengths(inputs, time_axis)
    long = np.flatnonzero(lengths >= SHORTEST)
    rows = long[np.linspace(0, long.size - 1, min(long.size, MOST_SEQUENCES)).round().astype(np.int64)]
    notes = [*inputs.notes, *([guessed] if guessed else [])]
    if long.size < inputs.size:
        notes.append(
            f"{inputs.size - long.size} of {inputs.size} sequences have fewer than {SHORTEST} time steps "
            "and were left out"
        )
    if rows.size < long.size:
        notes.append(
            f"{rows.size} of the {long.size} sequences that are long enough were used, evenly chosen"
        )
    return Chosen(inputs.chosen(rows.tolist()), lengths[rows], time_axis, tuple(notes))


def common_length(lengths: NDArray[np.int64]) -> int:
    """Return the length to cut sequences at so that most values remain; 0 where none is long enough.

    It leaves room for the first steps to be discarded, if any sequence does. From lengths (sequence,).
    """
    roomy = SHORTEST + DISCARD if lengths.max() >= SHORTEST + DISCARD else SHORTEST
    candidates = np.unique(lengths[lengths >= roomy])
    kept = [int(length) * int((lengths >= length).sum()) for length in candidates]
    return int(candidates[int(np.argmax(kept))]) if kept else 0


def _makes_series(module: nn.Module) -> bool:
    return isinstance(module, (*_RECURRENT, nn.Conv1d)) or "attention" in type(module).__name__.lower()


def _sequences(module: nn.Module, batch: Any) -> tuple[Sequences, int | None]:
    """Return the batch, and 2 as the axis of time where a convolution reads (sequence, channel, time)."""
    inputs = as_sequences(module, batch)
    first = next(part for part in module.modules() if _makes_series(part))
    if isinstance(first, nn.Conv1d) and not inputs.packed:
        given = inputs.floats()
        if given and given[0].ndim == 3 and given[0].shape[1] == first.in_channels:
            return as_sequences(module, batch, time_axis=2), 2
    return inputs, None
