"""The model, the untrained model and shuffled input, recorded one after the other and measured alike."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import nn

from phasescope import noise
from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.instruments.activation_noise.findings import STATES
from phasescope.instruments.activation_noise.sequences import (
    DISCARD,
    SHORTEST,
    Chosen,
    common_length,
    too_short,
)
from phasescope.noise.population import mean_of_units
from phasescope.noise.utilisation import jackknife
from phasescope.recording.circumstances import circumstances
from phasescope.recording.sequences import as_given, shuffled_in_time

if TYPE_CHECKING:
    import xarray as xr

    from phasescope.noise import Population, Recording, Utilisation

Array = NDArray[np.float64]
Key = tuple[str, str]  # layer and quantity

_MOST_UNITS = 128  # of a quantity, that have an exponent
_COVARIANCE_UNITS = 512
_MOST_VALUES, _BYTES_A_VALUE = 2**24, 64
_TESTS, _TESTS_OF_UNITS, _FEWEST_TESTS = 16, 8, 4
_TEST_SECONDS, _TEST_SECONDS_A_STEP, _ALL_SECONDS = 0.03, 1e-4, 10.0
_FEWEST_SERIES = 8
_FEWEST_RANKED, _GROUPS = 10, 10
_UNTRAINED = 20230120  # added to the seed: that of the user's own network is often the same small number
_PASSES_ON = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout)
_NOT_MEASURED = Estimate.not_determined("not measured")
_ERROR = "one standard error, sequences left out in turn,"
_UNCHANGED = "it passes its input on, unchanged while dropout is off"


def measured(module: nn.Module, chosen: Chosen, seed: int, max_memory: int | None) -> xr.Dataset:
    """Return the dataset of the model, beside its nulls."""
    recording = _recorded(module, chosen, max_memory)
    cut = _cut(recording, chosen, max_memory)
    rows = _rows(recording, cut, _passing_on(module, recording), seed)
    notes = [*chosen.notes, *recording.notes, *_notes(rows, cut, chosen)]
    recorded_layers = {row.layer for row in rows}
    rows += [
        _Row(layer, "", reason) for layer, reason in recording.skipped.items() if layer not in recorded_layers
    ]
    del recording
    shuffled = shuffled_in_time(chosen.inputs, cut.ends, seed=seed, time_axis=chosen.time_axis)
    mixed = Chosen(shuffled, chosen.lengths, chosen.time_axis, ())
    _add_null(rows, _recorded(module, mixed, max_memory), cut, "shuffled")
    try:
        untrained = noise.reinitialised(module, seed=seed + _UNTRAINED)
        _add_null(rows, _recorded(untrained, chosen, max_memory), cut, "untrained")
    except InputError as refused:
        notes.append(f"the untrained network was not measured: {refused}")
    attrs = {
        "instrument": "noise",
        **circumstances(module, chosen.inputs, seed=seed),
        "inputs": int(cut.rows.size),
        "citations": "chong2023 peng1994 kantelhardt2001 roy2007",
        "notes": json.dumps(notes),
        "length": cut.length,
        "discarded": cut.discard,
    }
    return _dataset(rows, attrs)


@dataclass(frozen=True)
class _Cut:
    """Which part of the sequences the series are: steps `discard` to `stop`, in `pieces` of one length."""

    ends: NDArray[np.int64]  # (sequence,): time steps of each before its padding
    steps: int  # time steps that were recorded
    stop: int
    discard: int
    pieces: int  # few sequences give no error, so that each is cut into several series
    most_values: int  # of one quantity

    @property
    def length(self) -> int:
        """Time steps of a series."""
        return (self.stop - self.discard) // self.pieces

    @property
    def rows(self) -> NDArray[np.intp]:
        """Which sequences are long enough."""
        return np.flatnonzero(self.ends >= self.stop)

    def refusal(self, values: np.ndarray) -> str:
        """Return why values (sequence, unit, time) are of no use; "" where they are."""
        return too_short(values.shape[-1] // self.pieces) if self._whole(values) else ""

    def _whole(self, values: np.ndarray) -> bool:
        """Whether values have time steps of their own, as after a convolution with a stride."""
        return bool(values.shape[-1] != self.steps)

    def series(self, values: np.ndarray, units: NDArray[np.intp] | None = None) -> np.ndarray:
        """Return series (sequence, unit, time) of equal length, without padding, from values so shaped."""
        part = values if self._whole(values) else values[..., self.discard : self.stop]
        part = part if units is None or units.size == values.shape[1] else part[:, units]
        part = part if self.rows.size == part.shape[0] else part[self.rows]
        if self.pieces == 1:
            return part
        sequences, count, steps = part.shape
        length = steps // self.pieces
        pieces = part[..., steps - self.pieces * length :].reshape(sequences, count, self.pieces, length)
        return np.asarray(np.moveaxis(pieces, 2, 1).reshape(-1, count, length))


def _cut(recording: Recording, chosen: Chosen, max_memory: int | None) -> _Cut:
    ends = np.minimum(recording.lengths, chosen.lengths)  # a model may pack fewer than the batch tells
    stop = common_length(ends)
    if not stop:
        raise InputError(too_short(int(ends.max())))
    most = _MOST_VALUES if max_memory is None else min(_MOST_VALUES, max_memory // _BYTES_A_VALUE)
    sequences, pieces = int((ends >= stop).sum()), 1
    while sequences * pieces < _FEWEST_SERIES and stop - DISCARD >= 4 * pieces * SHORTEST:
        pieces *= 2
    discard = DISCARD if stop - DISCARD >= SHORTEST else 0
    return _Cut(ends, chosen.inputs.steps, stop, discard, pieces, most)


@dataclass
class _Found:
    """What was measured of one quantity of one layer."""

    population: Population  # exponents, of the `units`
    units: NDArray[np.intp]
    use: Utilisation  # of all units
    not_finite: float  # fraction of all units with a NaN or infinite value
    nulls: dict[str, Estimate] = field(default_factory=dict)  # mean beta: "untrained", "shuffled"


@dataclass
class _Row:
    """One quantity of one layer, by their names in the recording: why it was skipped, or what was found."""

    layer: str
    quantity: str
    skipped: str = ""
    found: _Found | None = None


def _recorded(module: nn.Module, chosen: Chosen, max_memory: int | None) -> Recording:
    return noise.record(module, as_given(chosen.inputs), time_axis=chosen.time_axis, max_memory=max_memory)


def _passing_on(module: nn.Module, recording: Recording) -> set[str]:
    modules = dict(module.named_modules())
    return {name for name in recording.layers if isinstance(modules.get(name.split(" (")[0]), _PASSES_ON)}


def _rows(recording: Recording, cut: _Cut, passing_on: set[str], seed: int) -> list[_Row]:
    tests = _tests(list(recording), cut)
    rows = []
    for key, values in recording.items():
        row = _Row(*key, skipped=_UNCHANGED if key[0] in passing_on else cut.refusal(values))
        if not row.skipped:
            row.found = _found(values, cut, tests[key], seed)
        rows.append(row)
    return rows


def _found(values: np.ndarray, cut: _Cut, tests: int, seed: int) -> _Found:
    count = values.shape[1]
    affordable = max(1, cut.most_values // (cut.rows.size * cut.stop))
    units = np.linspace(0, count - 1, min(count, _MOST_UNITS, affordable)).round().astype(np.intp)
    population = noise.population(cut.series(values, units), tests=tests, seed=seed)
    every = cut.series(values)
    use = noise.utilisation(every, covariance=count <= _COVARIANCE_UNITS)
    bad = [~np.isfinite(sequence).all(axis=-1) for sequence in every]
    return _Found(population, units, use, float(np.any(bad, axis=0).mean()))


def _tests(keys: list[Key], cut: _Cut) -> dict[Key, int]:
    """Return how many series of each quantity to test for short memory, most for the states."""
    states = [key for key in keys if key[1] in STATES]
    most = dict.fromkeys(states or [key for key in keys if key[1] == "output"], _TESTS)
    most |= {key: _TESTS_OF_UNITS for key in keys if key[1] == "mlp"}
    seconds = sum(most.values()) * (_TEST_SECONDS + _TEST_SECONDS_A_STEP * cut.length)
    share = min(1.0, _ALL_SECONDS / seconds) if seconds else 1.0
    return {key: max(_FEWEST_TESTS, round(share * most[key])) if key in most else 0 for key in keys}


def _add_null(rows: list[_Row], recording: Recording, cut: _Cut, name: str) -> None:
    """Add the mean beta of a null to each measured row."""
    for row in rows:
        key = (row.layer, row.quantity)
        if row.found is not None and key in recording:
            series = cut.series(recording[key], row.found.units)
            row.found.nulls[name] = noise.population(series, tests=0).mean


def _notes(rows: list[_Row], cut: _Cut, chosen: Chosen) -> list[str]:
    sequences = f"{cut.rows.size} sequence{'s' if cut.rows.size > 1 else ''}"
    left = f", the first {cut.discard} steps of each left out" if cut.discard else ""
    notes = [f"measured on {sequences} of {cut.stop - cut.discard} time steps{left}"]
    if cut.pieces > 1:
        notes.append(f"each cut into {cut.pieces} pieces of {cut.length} steps, for the errors")
    if cut.rows.size < chosen.inputs.size:
        notes.append(f"{chosen.inputs.size - cut.rows.size} more are shorter than that and were left out")
    thinned = {row.layer for row in rows if row.found and row.found.units.size < len(row.found.use.deviation)}
    if thinned:
        notes.append(
            f"exponents of at most {_MOST_UNITS} units of a quantity, evenly chosen ({len(thinned)} layers)"
        )
    return notes


def _beta_of_used_half(found: Population) -> Estimate:
    """Return the mean beta of the half of the units that move most; error by leaving out sequences."""
    known = np.flatnonzero(np.isfinite(found.unit_beta) & np.isfinite(found.deviation))
    if known.size < 2 or found.beta.shape[0] < 2:
        return Estimate.not_determined("too few units or sequences")
    used = known[np.argsort(-found.deviation[known], kind="stable")[: math.ceil(known.size / 2)]]
    beta = found.beta[:, used]
    groups = np.arange(len(beta)) * min(len(beta), _GROUPS) // len(beta)
    without = [mean_of_units(beta[groups != group]) for group in np.unique(groups)]
    value, error = jackknife(np.array([mean_of_units(beta), *without]))
    return Estimate(float(value), float(error), "mean over the more used half of the units", len(beta))


def _rank_correlation(found: Population) -> Estimate:
    r"""Return Spearman's correlation between the beta of a unit and how much it moves.

    Error: that of Fisher's z, :math:`\sqrt{(1 + \rho^2/2)/(n - 3)}` (Bonett and Wright 2000), times
    :math:`1 - \rho^2`, as if the n units were independent. Not determined for fewer than 10 units.
    """
    known = np.isfinite(found.unit_beta) & np.isfinite(found.deviation)
    n = int(known.sum())
    if n < _FEWEST_RANKED or np.ptp(found.deviation[known]) == 0 or np.ptp(found.unit_beta[known]) == 0:
        return Estimate.not_determined(f"{n} units are too few", n=n)
    rho = float(spearmanr(found.unit_beta[known], found.deviation[known]).statistic)
    error = (1 - rho**2) * math.sqrt((1 + rho**2 / 2) / (n - 3))
    return Estimate(rho, error, "Spearman's rank correlation", n)


_NAMES = {  # an error is called NAME_error
    "units": "number of units",
    "idle": "fraction of units that move less than 5 % of the most active one",
    "quantised": "fraction of units that move no more than the rounding of the number format",
    "nonfinite": "fraction of units that are NaN or infinite",
    "determined": "fraction of the series that have an exponent",
    "estimator": "standard deviation of beta that estimator noise alone makes",
    "crossover": "fraction of the exponents flagged as a crossover; 1 % of straight curves are",
    "tested": "number of series tested for short memory",
    "beat_short": "number of tested series that exclude short memory",
    "beat_scaling": "number of tested series that exclude scaling noise",
    "memory": "median memory of the autoregressive processes that imitate the tested series",
    "beta": "exponent beta of the spectrum f^-beta, mean over units",
    "spread": "standard deviation of beta over all units and sequences",
    "between_units": "standard deviation of the units' own beta",
    "between_sequences": "standard deviation of a unit's beta over sequences beyond estimator noise",
    "curvature": "mean coefficient of (ln n)^2 in ln F(n)",
    "beta_used": "mean beta of the more used half of the units",
    "rank_correlation": "Spearman's correlation of a unit's beta and its temporal deviation",
    "participation": "number of units that share the movement (participation ratio)",
    "dimension": "number of principal components that share the movement",
    "effective_rank": "effective rank of the covariance in time",
    "beta_untrained": "mean beta of the same network untrained",
    "beta_shuffled": "mean beta for the same sequences with their time steps shuffled",
    "unit_beta": "beta of a unit, mean over sequences",
    "deviation": "temporal standard deviation of a unit",
    "window": "window length n",
    "fluctuation": "geometric mean of F(n) over F of the first window",
    "tested_fluctuation": "the same of the tested series",
    "short_fluctuation": "the same of the autoregressive processes that imitate the tested series",
}
_IN_STEPS = ("memory", "window")  # whose unit is the time step; all others are numbers
_OF_UNITS = ("unit_beta", "unit_beta_error", "deviation")


def _values(found: _Found) -> dict[str, float | Array]:
    """Return every variable of a measured row, and the errors of those that have one."""
    population, use = found.population, found.use
    estimates = {
        "beta": population.mean,
        "spread": population.spread,
        "between_units": population.between_units,
        "between_sequences": population.between_sequences,
        "curvature": population.curvature,
        "beta_used": _beta_of_used_half(population),
        "rank_correlation": _rank_correlation(population),
        "participation": use.participation_ratio,
        "dimension": use.dimension,
        "effective_rank": use.effective_rank,
        "beta_untrained": found.nulls.get("untrained", _NOT_MEASURED),
        "beta_shuffled": found.nulls.get("shuffled", _NOT_MEASURED),
    }
    values: dict[str, float | Array] = {
        "units": len(use.deviation),
        "idle": (use.idle_relative | use.quantised).mean(),
        "quantised": use.quantised.mean(),
        "nonfinite": found.not_finite,
        "determined": np.isfinite(population.beta).mean(),
        "estimator": population.estimator,
        "crossover": population.crossover_share,
        "tested": population.tested,
        "beat_short": population.beat_short,
        "beat_scaling": population.beat_scaling,
        "memory": population.memory,
    }
    for name, estimate in estimates.items():
        values |= {name: estimate.value, f"{name}_error": estimate.error}
    return values | {
        "unit_beta": population.unit_beta,
        "unit_beta_error": population.unit_beta_error,
        "deviation": population.deviation,
        "window": population.windows.astype(np.float64),
        "fluctuation": population.fluctuation,
        "fluctuation_error": population.fluctuation_error,
        "tested_fluctuation": population.tested_fluctuation,
        "short_fluctuation": population.short_fluctuation,
    }


def _dataset(rows: list[_Row], attrs: dict[str, Any]) -> xr.Dataset:
    """Return the dataset: a row for each quantity, and one for each layer that was not recorded."""
    import xarray as xr

    found = [row.found for row in rows]
    coordinates = {
        "layer": [
            row.layer if row.layer == row.quantity else f"{row.layer} {row.quantity}".strip() for row in rows
        ],
        "module": ("layer", [row.layer for row in rows]),
        "quantity": ("layer", [row.quantity for row in rows]),
        "kind": ("layer", [each.population.kind if each else "" for each in found]),
        "reason": ("layer", [each.population.reason if each else "" for each in found]),
        "skipped": ("layer", [row.skipped for row in rows]),
    }
    return xr.Dataset(_variables(found), coordinates, attrs)


def _variables(found: list[_Found | None]) -> dict[str, Any]:
    """Return the variables with what they are called; NaN in the rows where nothing was measured."""
    values = [None if each is None else _values(each) for each in found]
    measured = next((each for each in values if each is not None), {})
    variables: dict[str, Any] = {}
    for name, example in measured.items():
        column: list[Any] = [None if each is None else each[name] for each in values]
        described = {"units": "time steps" if name in _IN_STEPS else "1", "long_name": _long_name(name)}
        if np.ndim(example) == 0:
            variables[name] = ("layer", np.array(column, dtype=np.float64), described)
        else:
            dimension = "unit" if name in _OF_UNITS else "position"
            variables[name] = (("layer", dimension), _padded(column), described)
    return variables


def _long_name(name: str) -> str:
    base = name.removesuffix("_error")
    if base == name:
        return _NAMES[name]
    error = "error of the logarithm" if base == "fluctuation" else _ERROR
    return f"{error} of: {_NAMES[base]}"


def _padded(parts: list[Array | None]) -> Array:
    """Return arrays below each other, NaN where one is missing or shorter than the longest."""
    table = np.full((len(parts), max(part.size for part in parts if part is not None)), np.nan)
    for row, part in zip(table, parts, strict=True):
        if part is not None:
            row[: part.size] = part
    return table
