"""Activations of any model along the time axis, with the gates of recurrent modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phasescope.errors import InputError, MemoryLimitError, NothingToMeasureError
from phasescope.noise.streams import Seen, Streams, find_streams
from phasescope.recording.forward import drew_noise, run
from phasescope.recording.layers import PASSED_ON, Layer, discover, watched
from phasescope.recording.memory import allocate, default_limit, in_bytes, let_go, peak_bytes
from phasescope.recording.modules import as_module
from phasescope.recording.sequences import Sequences, as_sequences
from phasescope.recording.untouched import alone, quiet, untouched

_TIME_FIRST = "Say batch_axis=1 where time comes first, time_axis=2 where channels come before time."
_STORED = 0.5  # share of max_memory beyond which the result is kept in files
_FILLED = 0.5  # share of what is left that is planned for; the rest is for what operators take inside


@dataclass(frozen=True, repr=False)
class Recording(Mapping[tuple[str, str], np.ndarray]):
    """Activations in time: ``recording["lstm.l0", "cell"]`` has the shape (sequence, unit, time).

    Parameters
    ----------
    arrays : dict
        From layer and quantity to an array; NaN after the end of a sequence.
    lengths : ndarray of shape (sequence,)
        Number of time steps of each sequence, in the order of the batch.
    mismatch : dict
        For each recurrent layer the largest difference between the hidden state that follows from the gates
        and the hidden state of the module itself.
    skipped : dict
        Why a layer was not recorded.
    notes : tuple of str
        What was changed or noticed.
    on_disk : bool
        Whether the arrays are mapped files, which vanish with the recording.
    """

    arrays: dict[tuple[str, str], np.ndarray]
    lengths: np.ndarray
    mismatch: dict[str, float] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    on_disk: bool = False

    @property
    def layers(self) -> list[str]:
        """Names of the layers, in the order of the calls."""
        return list(dict.fromkeys(layer for layer, _ in self.arrays))

    def quantities(self, layer: str) -> list[str]:
        """Return the names of what was recorded of a layer.

        Parameters
        ----------
        layer : str
            Its name; there is nothing of a layer that was not recorded.
        """
        return [quantity for name, quantity in self.arrays if name == layer]

    def series(self, layer: str, quantity: str, *, length: int | None = None, discard: int = 0) -> np.ndarray:
        """Return series of equal length, (sequence, unit, time), from the sequences that are long enough.

        Parameters
        ----------
        layer, quantity : str
            What to return.
        length : int, optional
            Number of time steps; by default as many as the shortest sequence has.
        discard : int
            Number of time steps left out at the beginning, where the state still remembers its start.

        Raises
        ------
        InputError
            If no sequence is that long.
        """
        values = self[layer, quantity]
        lengths = np.minimum(self.lengths, values.shape[-1])
        length = int(lengths.min()) - discard if length is None else length
        enough = np.flatnonzero(lengths >= discard + length)
        if length < 1 or discard < 0 or not len(enough):
            raise InputError(
                f"length={length} after discard={discard}, and the sequences have {int(lengths.min())} to "
                f"{int(lengths.max())} time steps.",
                "Ask for a shorter series, or record longer sequences.",
            )
        return values[enough, :, discard : discard + length]

    def __getitem__(self, key: tuple[str, str]) -> np.ndarray:
        if key in self.arrays:
            return self.arrays[key]
        known = ", ".join(f"{layer} {quantity}" for layer, quantity in self.arrays)
        raise KeyError(f"{key!r} was not recorded; recorded: {known}")

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    def __repr__(self) -> str:
        place = "on disk" if self.on_disk else "in memory"
        size = sum(array.nbytes for array in self.arrays.values()) / 1e6
        lines = [
            f"Recording of {len(self.lengths)} sequences of {self.lengths.min()} to {self.lengths.max()} "
            f"time steps ({size:.1f} MB {place})"
        ]
        for layer in self.layers:
            parts = [f"{q} ({self.arrays[layer, q].shape[1]})" for q in self.quantities(layer)]
            lines.append(f"  {layer}: {', '.join(parts)}")
        return "\n".join(lines)


@alone()
def record(
    model: nn.Module | Callable[..., Any],
    batch: Any,
    *,
    layers: Sequence[str] | None = None,
    lengths: Sequence[int] | np.ndarray | Tensor | None = None,
    batch_axis: int | None = None,
    time_axis: int | None = None,
    preactivations: bool = False,
    max_memory: int | float | str | None = None,
    folder: str | PathLike[str] | None = None,
) -> Recording:
    r"""Return the activations of every layer of a model along the time axis of its input.

    - ``nn.LSTM``, per layer and direction: ``input_gate``, ``forget_gate``, ``output_gate``,
      :math:`i, f, o = \sigma(W x_t + U h_{t-1} + b)` with weights of their own each; ``candidate``,
      :math:`g = \tanh(W x_t + U h_{t-1} + b)`; ``cell``, :math:`c_t = f c_{t-1} + i g`; ``hidden``,
      :math:`h_t = o \tanh c_t`, projected where the module projects.
    - ``nn.GRU``: ``reset_gate``, ``update_gate``, ``candidate``, ``hidden``; ``nn.RNN``: ``hidden``. All
      have ``input``, :math:`x_t`, at the first layer. Layers are named as torch names the weights:
      ``lstm.l0``, ``lstm.l0_reverse``, ``lstm.l1``.
    - Blocks of a transformer: ``residual``, the stream that leaves the block, and ``mlp``, the units between
      the two linear maps.
    - Any other layer without children whose output has an axis of time: ``output``. A module that is called
      once for each time step is put together from its calls.

    Parameters
    ----------
    model : nn.Module or callable
        The model, trained or not.
    batch : tensor, packed sequence, tuple, list or mapping of them
        Sequences as the model takes them; of an (inputs, labels) pair the first.
    layers : sequence of str, optional
        Names of what to record, each with all that lies inside; by default everything.
    lengths : sequence of int, optional
        Number of time steps of each sequence before its padding; by default read from packed sequences,
        otherwise all steps.
    batch_axis : int, optional
        Axis of the sequences in the input; by default 1 for a bare torch module with ``batch_first=False``,
        otherwise 0.
    time_axis : int, optional
        Axis of time in the input; by default the other one of the first two. Say 2 where channels come before
        time.
    preactivations : bool
        Whether to add what enters the nonlinearity of each gate, as ``input_gate_preactivation`` and so on.
    max_memory : int or str, optional
        Memory for result and work, in bytes or as "512MB"; by default twice the weights, or 1 GB if that is
        more. A result beyond half of it is kept in files that vanish with it; sequences are run a few at a
        time.
    folder : path, optional
        Where these files are made; by default where the system keeps temporary files.

    Returns
    -------
    Recording
        One array (sequence, unit, time) for each layer and quantity; NaN after the end of a sequence.

    Notes
    -----
    An InputError is raised if the batch has no time axis or is not accepted, the lengths do not fit, a name
    is unknown, or nothing has an axis of time; a MemoryLimitError if not even one sequence can be run.

    Dropout is off while recording, and the model is left as it was, bit for bit. The hidden states of the
    last recurrent layer are the module's own; ``mismatch`` holds the largest difference to what the gates
    give: the rounding of preactivations, 1e-7 in float32 where they are of order 1. Unpacked padding after
    the end of a sequence cannot reach its own time steps in a forward direction; in a reverse direction and
    in attention without a mask it can, which is noted. Cost: three small forward passes, one forward pass,
    and per recurrent layer about one more, the nonlinearities and the writing of what is recorded; all
    together as long as five or six bare forward passes for an LSTM of 64 units.

    References
    ----------
    Hochreiter and Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735, with the forget gate of Gers et al. 2000,
    doi:10.1162/089976600300015015; Cho et al. 2014, arXiv:1406.1078 (GRU, in torch's variant).
    """
    model = as_module(model)
    limit = default_limit(model) if max_memory is None else in_bytes(max_memory)
    inputs = as_sequences(model, batch, batch_axis, time_axis)
    given = None if lengths is None else _lengths(lengths, inputs)
    with untouched(model, derivatives=False), torch.no_grad():
        notes = [*inputs.notes, *quiet(model)]
        streams = find_streams(model, sequence_rows(model, inputs), inputs.steps, preactivations)
        task = _Task(model, inputs, streams, layers)
        task.plan(limit, folder)
        task.fill()
        if drew_noise():
            notes.append("forward draws random numbers, the same in each pass")
    return task.result(given, notes)


def sequence_rows(model: nn.Module, inputs: Sequences) -> list[Layer]:
    """Return the rows of ``discover`` for a batch of sequences; the model is inside ``untouched``."""
    try:
        found = _rows(model, inputs)
    except InputError as refused:
        raise InputError(refused.what, f"{refused.fix} {_TIME_FIRST}") from refused
    # The output of each module as it is, also of one that passes its input on, as dropout does here.
    rows = [
        replace(row, at=None, skipped="" if row.skipped == PASSED_ON else row.skipped)
        for row in found
        if not row.stands_alone
    ]
    for row in rows:
        if isinstance(row.module, nn.MultiheadAttention) and row.reached and not row.skipped:
            expected = 0 if row.module.batch_first else 1
            if row.batch_axis != expected:
                raise InputError(
                    f"{row.name} attends along axis {row.batch_axis}, where the sequences of the batch lie.",
                    _TIME_FIRST,
                )
    return rows


def _rows(model: nn.Module, inputs: Sequences) -> list[Layer]:
    try:
        return discover(model, inputs.alike(3)).layers
    except InputError:
        run(model, inputs.take(0, inputs.size))  # where the whole fails, too, this is the reason
        raise


def _lengths(lengths: Sequence[int] | np.ndarray | Tensor, inputs: Sequences) -> np.ndarray:
    values = np.asarray(lengths.cpu() if isinstance(lengths, Tensor) else lengths)
    if values.shape != (inputs.size,) or values.dtype.kind not in "iu":
        raise InputError(
            f"lengths has shape {values.shape} and type {values.dtype}, for {inputs.size} sequences.",
            "Give one whole number for each sequence of the batch.",
        )
    if values.min() < 1 or values.max() > inputs.steps:
        raise InputError(
            f"lengths run from {values.min()} to {values.max()}, the batch has {inputs.steps} time steps.",
            "Give the number of time steps of each sequence before its padding.",
        )
    return values.astype(np.int64)


@dataclass
class _Task:
    """A model and its sequences, and what is recorded of them so far."""

    model: nn.Module
    inputs: Sequences
    streams: Streams
    layers: Sequence[str] | None
    chunk: int = 1
    shapes: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    arrays: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    mismatch: dict[str, float] = field(default_factory=dict)
    packed: np.ndarray | None = None
    on_disk: bool = False
    dtype: torch.dtype = torch.float32

    def plan(self, limit: float, folder: str | PathLike[str] | None) -> None:
        """Run one or two sequences, to see which arrays there will be and what memory a sequence takes."""
        pair = min(2, self.inputs.size)
        peak = peak_bytes(self.model, lambda: self._pass(0, pair, self._meet)) / pair
        self._check_names()
        if peak > limit:
            raise MemoryLimitError(
                f"One sequence takes {peak / 1e6:.1f} MB, more than max_memory = {limit / 1e6:.1f} MB. "
                "Raise max_memory, or pass shorter sequences."
            )
        kind = np.float64 if self.dtype == torch.float64 else np.float32
        shapes = [(self.inputs.size, units, steps) for units, steps in self.shapes.values()]
        made, self.on_disk = allocate(shapes, kind, _STORED * limit, folder)
        self.arrays = dict(zip(self.shapes, made, strict=True))
        stored = sum(array.nbytes for array in made)
        room, each = limit - stored, peak
        if self.on_disk:  # what is written takes memory until it is let go
            room, each = limit, peak + _FILLED * stored / self.inputs.size
        self.chunk = max(1, int(_FILLED * room / max(each, 1.0)))

    def fill(self) -> None:
        """Run all sequences, a chunk at a time."""
        for start in range(0, self.inputs.size, self.chunk):
            self._pass(start, min(start + self.chunk, self.inputs.size), self._keep)
            let_go(self.arrays.values())

    def result(self, lengths: np.ndarray | None, notes: list[str]) -> Recording:
        """Return the recording, with NaN after the ends."""
        if lengths is not None and self.packed is not None and (lengths != self.packed).any():
            odd = int(np.flatnonzero(lengths != self.packed)[0])
            raise InputError(
                f"lengths has {lengths[odd]} for sequence {odd}, the model packs {self.packed[odd]} steps.",
                "Leave lengths out; a model that sorts its sequences should restore their order.",
            )
        known = self.packed if lengths is None else lengths
        longest = max(steps for _, steps in self.shapes.values())
        ends = np.full(self.inputs.size, longest) if known is None else known
        for array in self.arrays.values():
            if array.shape[-1] == self.inputs.steps:
                for row in np.flatnonzero(ends < array.shape[-1]):
                    array[row, :, ends[row] :] = np.nan
                let_go([array])
        if lengths is not None and self.packed is None and (lengths < self.inputs.steps).any():
            notes = [*notes, *_reached_by_padding(self.streams)]
        skipped = {name: why for name, why in self.streams.skipped.items() if _wanted(name, self.layers)}
        return Recording(self.arrays, ends, self.mismatch, skipped, tuple(notes), self.on_disk)

    def _pass(self, start: int, stop: int, take: Callable[[Seen, int, int], None]) -> None:
        def observe(layer: Layer, args: tuple[Any, ...], output: Any) -> None:
            for seen in self.streams.see(layer, args, output):
                found = seen.values.shape[0] if seen.rows is None else seen.rows
                if found != stop - start and not isinstance(layer.module, nn.RNNBase):
                    self.streams.skipped.setdefault(seen.layer, "its sequences are merged with another axis")
                    continue
                if found != stop - start:
                    raise InputError(
                        f"{layer.name or type(layer.module).__name__} sees {found} sequences "
                        f"where {stop - start} were passed.",
                        _TIME_FIRST,
                    )
                if _wanted(seen.layer, self.layers):
                    take(seen, start, stop)

        try:
            with watched(self.model, self.streams.rows, observe):
                run(self.model, self.inputs.take(start, stop), self.inputs)
        except InputError as refused:
            if isinstance(refused.__cause__, InputError):
                raise refused.__cause__ from None
            raise

    def _meet(self, seen: Seen, start: int, stop: int) -> None:
        self.shapes.setdefault((seen.layer, seen.quantity), (seen.values.shape[1], seen.steps))
        self.dtype = seen.values.dtype

    def _keep(self, seen: Seen, start: int, stop: int) -> None:
        array = self.arrays[seen.layer, seen.quantity]
        first, steps = start + seen.row, seen.values.shape[-1]
        part = torch.from_numpy(array)[first : first + len(seen.values)]
        part[:, :, seen.start : seen.start + steps].copy_(seen.values)
        if seen.mismatch is not None:
            self.mismatch[seen.layer] = max(seen.mismatch, self.mismatch.get(seen.layer, 0.0))
        if seen.lengths is not None:
            if self.packed is None:
                self.packed = np.full(self.inputs.size, self.inputs.steps)
            self.packed[first : first + len(seen.values)] = seen.lengths.numpy()

    def _check_names(self) -> None:
        for wanted in self.layers or ():
            if not any(_wanted(name, (wanted,)) for name, _ in self.shapes):
                reasons = [why for name, why in self.streams.skipped.items() if _wanted(name, (wanted,))]
                raise InputError(
                    f"layers names {wanted!r}, which cannot be recorded{': ' if reasons else ''}"
                    f"{reasons[0] if reasons else ''}.",
                    "Leave layers out to see the names of everything that can.",
                )
        if not self.shapes:
            reasons = [f"{name}: {why}" for name, why in self.streams.skipped.items()]
            raise NothingToMeasureError(
                f"No layer of {type(self.model).__name__} has an axis of {self.inputs.steps} time steps"
                f"{' (' if reasons else ''}{'; '.join(reasons[:2])}{')' if reasons else ''}.",
                f"Pass a sequence model with its sequences. {_TIME_FIRST}",
            )


def _wanted(name: str, layers: Sequence[str] | None) -> bool:
    return layers is None or any(
        name == layer or name.startswith((f"{layer}.", f"{layer} (")) for layer in layers
    )


def _reached_by_padding(streams: Streams) -> list[str]:
    modules = {row.path: row.module for row in streams.rows}
    reverse = [path for path, m in modules.items() if isinstance(m, nn.RNNBase) and m.bidirectional]
    attention = [path for path, m in modules.items() if "attention" in type(m).__name__.lower()]
    notes = []
    if reverse:
        notes.append(
            f"the reverse direction of {reverse[0] or 'the model'} reads the padding first: pack the batch"
        )
    if attention:
        notes.append(f"{attention[0]} may attend to the padding unless the batch holds a padding mask")
    return notes
