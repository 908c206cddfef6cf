"""The noise of each recorded quantity: exponents, use of the units, and the nulls beside them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from phasescope import noise
from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.instruments.activation_noise_input import DISCARD, SHORTEST, common_length, too_short
from phasescope.instruments.activation_noise_names import STATES

if TYPE_CHECKING:
    from phasescope.noise import Population, Recording, Utilisation

Key = tuple[str, str]

MOST_UNITS = 128
_COVARIANCE_UNITS = 512
_MOST_VALUES, _BYTES_A_VALUE = 2**24, 64
_TESTS, _TESTS_OF_UNITS, _FEWEST_TESTS = 16, 8, 4
_FEWEST_SERIES = 8
_TEST_SECONDS, _TEST_SECONDS_A_STEP, _ALL_SECONDS = 0.03, 1e-4, 10.0


@dataclass
class Row:
    """What is known of one quantity of one layer."""

    # layer, quantity: their names in the recording
    layer: str
    quantity: str
    skipped: str = ""  # why it was not measured; "" where it was
    population: Population | None = None  # exponents
    use: Utilisation | None = None  # use of the units, all of them
    not_finite: float = 0.0  # fraction of all units with a NaN or infinite value
    # numbers of the units in `population`
    units: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, dtype=np.intp))
    # mean beta of the untrained network and of shuffled input
    nulls: dict[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class Cut:
    """Which part of the sequences the series are."""

    ends: NDArray[np.int64]  # (sequence,): number of time steps of each before its padding
    steps: int  # number of time steps that were recorded
    # stop, discard: time steps `discard` to `stop` are measured
    stop: int
    discard: int
    pieces: int  # into how many series of equal length that is cut: few sequences give no error
    most_values: int  # of one quantity

    @property
    def length(self) -> int:
        """Time steps of a series."""
        return (self.stop - self.discard) // self.pieces

    @property
    def rows(self) -> NDArray[np.intp]:
        """Which sequences are long enough."""
        return np.flatnonzero(self.ends >= self.stop)

    def series(self, values: np.ndarray, units: NDArray[np.intp] | None = None) -> np.ndarray:
        """Return series (sequence, unit, time) of equal length, without padding.

        Shapes: `values` (sequence, unit, time).
        """
        whole = values.shape[-1] != self.steps
        reason = too_short(values.shape[-1] // self.pieces) if whole else ""
        if reason:
            raise InputError(reason)
        part = values if whole else values[..., self.discard : self.stop]
        part = part if units is None or units.size == values.shape[1] else part[:, units]
        part = part if self.rows.size == part.shape[0] else part[self.rows]
        if self.pieces == 1:
            return part
        sequences, count, steps = part.shape
        length = steps // self.pieces
        pieces = part[..., steps - self.pieces * length :].reshape(sequences, count, self.pieces, length)
        return np.asarray(np.moveaxis(pieces, 2, 1).reshape(-1, count, length))


def cut_of(recording: Recording, lengths: NDArray[np.int64], steps: int, max_memory: int | None) -> Cut:
    """Return which part of the sequences to measure.

    Shapes: `lengths` (sequence,).
    """
    ends = np.minimum(recording.lengths, lengths)
    stop = common_length(ends)
    if not stop:
        raise InputError(too_short(int(ends.max())))
    most = _MOST_VALUES if max_memory is None else min(_MOST_VALUES, max_memory // _BYTES_A_VALUE)
    sequences, pieces = int((ends >= stop).sum()), 1
    while sequences * pieces < _FEWEST_SERIES and stop - DISCARD >= 4 * pieces * SHORTEST:
        pieces *= 2
    discard = DISCARD if stop - DISCARD >= SHORTEST else 0
    return Cut(ends, steps, stop, discard, pieces, most)


def measured_rows(recording: Recording, cut: Cut, passed_on: Iterable[str], seed: int) -> list[Row]:
    """Return one row for each recorded quantity."""
    repeated = set(passed_on)
    tests = _tests(list(recording), cut)
    rows = []
    for key, values in recording.items():
        row = Row(*key)
        rows.append(row)
        if key[0] in repeated:
            row.skipped = "it passes its input on, unchanged while dropout is off"
            continue
        row.units = _evenly(values.shape[1], max(1, cut.most_values // (cut.rows.size * cut.stop)))
        try:
            series = cut.series(values, row.units)
        except InputError as refused:
            row.skipped = str(refused)
            continue
        row.population = noise.population(series, tests=tests[key], seed=seed)
        every = cut.series(values)
        row.use = noise.utilisation(every, covariance=values.shape[1] <= _COVARIANCE_UNITS)
        bad = [~np.isfinite(sequence).all(axis=-1) for sequence in every]
        row.not_finite = float(np.any(bad, axis=0).mean())
    return rows


def add_null(rows: list[Row], recording: Recording, cut: Cut, name: str) -> None:
    """Add the mean beta of a null to each measured row."""
    for row in rows:
        key = (row.layer, row.quantity)
        if row.population is not None and key in recording:
            series = cut.series(recording[key], row.units)
            row.nulls[name] = noise.population(series, tests=0).mean


def _evenly(units: int, most: int) -> NDArray[np.intp]:
    count = min(units, MOST_UNITS, most)
    return np.linspace(0, units - 1, count).round().astype(np.intp)


def _tests(keys: list[Key], cut: Cut) -> dict[Key, int]:
    """Return how many series of each quantity to test for short memory, most for the states."""
    states = [key for key in keys if key[1] in STATES]
    most = dict.fromkeys(states or [key for key in keys if key[1] == "output"], _TESTS)
    most |= {key: _TESTS_OF_UNITS for key in keys if key[1] == "mlp"}
    seconds = sum(most.values()) * (_TEST_SECONDS + _TEST_SECONDS_A_STEP * cut.length)
    share = min(1.0, _ALL_SECONDS / seconds) if seconds else 1.0
    return {key: max(_FEWEST_TESTS, round(share * most[key])) if key in most else 0 for key in keys}
