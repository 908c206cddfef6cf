"""Which unit reads which: an acyclic wiring of scalar units, and how its synapses are numbered.

Values are numbered through: 0 to inputs - 1 are the inputs, ``inputs + i`` is unit i. Synapses are
numbered by target, then by source; biases follow, one a unit. A run of consecutive synapses enters one unit.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phasescope.errors import InputError

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Wiring:
    """An acyclic wiring of scalar units.

    Parameters
    ----------
    inputs : int
        Number of inputs of the network.
    sources : tuple of tuple of int
        For each unit the values that it reads, ascending: ``v < inputs`` is an input, ``inputs + i`` unit i.
    outputs : tuple of int
        The units that are the output of the network, in its order.

    Raises
    ------
    InputError
        If there is a cycle, a unit that reads nothing or reaches no output, an input that no unit reads, or a
        number out of range; the message names them.
    """

    inputs: int
    sources: tuple[tuple[int, ...], ...]
    outputs: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_numbers(self)
        _check_reach(self)

    @classmethod
    def from_mask(cls, mask: ArrayLike, *, outputs: int | tuple[int, ...] = 3) -> Wiring:
        """Return the wiring of a mask.

        Parameters
        ----------
        mask : array_like of bool, shape (units, inputs + units)
            True where the unit of that row reads the value of that column: the inputs first, then the units.
        outputs : int or tuple of int
            The units that are the output; a number means that many last ones.

        Raises
        ------
        InputError
            If the mask has another shape or holds a number other than 0 and 1, or as for :class:`Wiring`.
        """
        array = np.asarray(mask)
        if array.ndim != 2 or array.shape[1] <= array.shape[0]:
            raise InputError(
                f"The mask has shape {array.shape}.", "Use (units, inputs + units), with at least one input."
            )
        if not np.isin(array, (0, 1)).all():
            raise InputError("The mask holds numbers other than 0 and 1.", "Use True where a unit reads.")
        units = array.shape[0]
        last = tuple(range(units - outputs, units)) if isinstance(outputs, int) else tuple(outputs)
        rows = tuple(tuple(int(v) for v in np.flatnonzero(row)) for row in array)
        return cls(array.shape[1] - units, rows, last)

    @property
    def units(self) -> int:
        """Number of units, outputs among them."""
        return len(self.sources)

    @property
    def synapses(self) -> int:
        """Number of synapses, without biases."""
        return sum(len(row) for row in self.sources)

    @property
    def size(self) -> int:
        """Number of weights: synapses, then one bias a unit."""
        return self.synapses + self.units

    @cached_property
    def targets(self) -> NDArray[np.int64]:
        """The unit that each weight enters, shape (size,); that of a bias is its own unit."""
        counts = [len(row) for row in self.sources]
        return np.concatenate([np.repeat(np.arange(self.units), counts), np.arange(self.units)])

    @cached_property
    def reads(self) -> NDArray[np.int64]:
        """The value that each synapse reads, shape (synapses,)."""
        return np.array([v for row in self.sources for v in row], dtype=np.int64)

    @cached_property
    def mask(self) -> Mask:
        """True where a unit reads a value, shape (units, inputs + units)."""
        mask = np.zeros((self.units, self.inputs + self.units), dtype=bool)
        mask[self.targets[: self.synapses], self.reads] = True
        return mask

    @cached_property
    def order(self) -> tuple[int, ...]:
        """The units in an order in which each comes after all that it reads: 0, 1, 2, ... if possible."""
        waiting = [{v - self.inputs for v in row if v >= self.inputs} for row in self.sources]
        done: list[int] = []
        left = list(range(self.units))
        while left:
            ready = next((i for i in left if not waiting[i]), None)
            if ready is None:
                raise InputError(
                    f"The wiring has a cycle, unit {_cycle(waiting, left)}.",
                    "No unit may read itself, directly or through others.",
                )
            done.append(ready)
            left.remove(ready)
            for others in waiting:
                others.discard(ready)
        return tuple(done)

    @cached_property
    def steps_to_output(self) -> NDArray[np.int64]:
        """Number of synapses on the shortest way from each unit to an output, shape (units,)."""
        steps = np.full(self.units, -1)
        front, count = list(self.outputs), 0
        while front:
            steps[front] = count
            count += 1
            read = {v - self.inputs for i in front for v in self.sources[i] if v >= self.inputs}
            front = [i for i in sorted(read) if steps[i] < 0]
        return steps

    def name(self, weight: int) -> str:
        """Return what a weight is, in words: ``synapse 21: unit 0 -> unit 6``.

        Parameters
        ----------
        weight : int
            Its number.
        """
        target = int(self.targets[weight])
        if weight >= self.synapses:
            return f"bias of unit {target}"
        value = int(self.reads[weight])
        source = f"input {'xy'[value] if self.inputs == 2 else value}" if value < self.inputs else ""
        return f"synapse {weight}: {source or f'unit {value - self.inputs}'} -> unit {target}"


def thinned_cascade(hidden: int = 34, window: int = 14, reach: int = 7, outputs: int = 3) -> Wiring:
    """Return a cascade in which each hidden unit reads x, y and at most so many units just before it.

    By default 37 units with 460 synapses and 37 biases. The wiring of the article on synaptic ensembles has
    the same counts and is not known: this one is a choice.

    Parameters
    ----------
    hidden : int
        Number of hidden units.
    window : int
        Largest number of earlier units that a hidden unit reads.
    reach : int
        Number of last hidden units that each output reads; outputs read no input.
    outputs : int
        Number of outputs.
    """
    rows = [(0, 1, *(2 + j for j in range(max(0, i - window), i))) for i in range(hidden)]
    last = tuple(2 + j for j in range(max(0, hidden - reach), hidden))
    return Wiring(2, (*rows, *([last] * outputs)), tuple(range(hidden, hidden + outputs)))


def full_cascade(units: int = 37, inputs: int = 2, outputs: int = 3) -> Wiring:
    """Return a cascade in which each unit, outputs too, reads all inputs and all units before it.

    Parameters
    ----------
    units : int
        Number of units, outputs among them.
    inputs : int
        Number of inputs.
    outputs : int
        The last so many units are the outputs.
    """
    return Wiring(
        inputs, tuple(tuple(range(inputs + i)) for i in range(units)), tuple(range(units - outputs, units))
    )


def layers(*widths: int) -> Wiring:
    """Return ordinary layers: each unit reads the whole layer before.

    Parameters
    ----------
    *widths : int
        Number of inputs, widths of the hidden layers, number of outputs: ``layers(2, 11, 23, 3)``.
    """
    if len(widths) < 2 or min(widths) < 1:
        raise InputError(
            f"layers{widths} is no network.", "Name inputs, hidden layers, outputs: layers(2, 20, 3)."
        )
    rows: list[tuple[int, ...]] = []
    start = 0
    for before, width in itertools.pairwise(widths):
        rows += [tuple(range(start, start + before))] * width
        start += before
    return Wiring(widths[0], tuple(rows), tuple(range(len(rows) - widths[-1], len(rows))))


def _check_numbers(wiring: Wiring) -> None:
    if wiring.inputs < 1 or not wiring.sources:
        raise InputError(
            f"The wiring has {wiring.inputs} inputs and {wiring.units} units.",
            "It needs at least one of each.",
        )
    for i, row in enumerate(wiring.sources):
        if not row:
            raise InputError(f"Unit {i} reads nothing.", "Connect it, or leave it out.")
        if list(row) != sorted(set(row)):
            raise InputError(f"Unit {i} reads {row}.", "Name each source once, ascending.")
        if row[0] < 0 or row[-1] >= wiring.inputs + wiring.units:
            raise InputError(
                f"Unit {i} reads value {row[-1] if row[0] >= 0 else row[0]}.",
                f"Values run from 0 to {wiring.inputs + wiring.units - 1}: inputs first, then units.",
            )
    outside = [i for i in wiring.outputs if not 0 <= i < wiring.units]
    if outside or not wiring.outputs or len(set(wiring.outputs)) < len(wiring.outputs):
        raise InputError(
            f"The outputs are units {wiring.outputs} of {wiring.units}.", "Name units that exist, each once."
        )


def _check_reach(wiring: Wiring) -> None:
    """Raise unless the wiring has no cycle and every unit and input has a way to an output."""
    assert len(wiring.order) == wiring.units
    lost = np.flatnonzero(wiring.steps_to_output < 0)
    if len(lost):
        raise InputError(
            f"Unit {', '.join(map(str, lost[:8]))} reaches no output.", "Connect it, or leave it out."
        )
    unread = set(range(wiring.inputs)) - set(wiring.reads.tolist())
    if unread:
        raise InputError(f"No unit reads input {min(unread)}.", "Connect it, or leave it out.")


def _cycle(waiting: list[set[int]], left: list[int]) -> str:
    """Return one cycle among the units left, as 3 -> 5 -> 3, each read by the next."""
    seen = [left[0]]
    while True:
        before = min(waiting[seen[-1]])
        if before in seen:
            ring = seen[seen.index(before) :][::-1]
            return " -> ".join(map(str, [*ring, ring[0]]))
        seen.append(before)
