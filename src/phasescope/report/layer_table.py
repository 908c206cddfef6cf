"""The layers of a network as rows of a table, and what its columns mean."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from phasescope.instruments import (
    edges,
    hysteresis,
    langevin,
    lazy,
    spectra,
    symptoms,
    through_time,
    tokens,
    weights,
)
from phasescope.instruments.activation_noise import findings as activation_noise
from phasescope.instruments.propagation import findings as propagation
from phasescope.instruments.rows import Column, Row
from phasescope.instruments.synapses import findings as synapses
from phasescope.instruments.training import findings as stability
from phasescope.report.numbers import measured, percent
from phasescope.signal.table import ordered_rows

if TYPE_CHECKING:
    import xarray as xr

_COLUMNS = {
    "noise": activation_noise.COLUMNS,
    "stability": stability.COLUMNS,
    "synapses": synapses.COLUMNS,
    "time": through_time.COLUMNS,
    "tokens": tokens.COLUMNS,
    "symptoms": symptoms.COLUMNS,
    "spectra": spectra.COLUMNS,
    "weights": weights.COLUMNS,
    "lazy_or_rich": lazy.COLUMNS,
    "langevin": langevin.COLUMNS,
    "edges": edges.COLUMNS,
    "hysteresis": hysteresis.COLUMNS,
}


_UNITS = ("dead", "saturated", "nonfinite")  # fractions of units that are said in words where all are 0


@dataclass(frozen=True)
class Cell:
    """One number as it is printed and as it is sorted."""

    text: str  # for people
    value: str  # for sorting; empty where there is no number


@dataclass(frozen=True)
class Line:
    """One row as the table shows it."""

    number: int  # its place in the table
    layer: str
    kind: str
    branch: bool  # whether it belongs to the branch that ends in the row above that is no branch
    chain: str  # the input whose chain it lies on, where there are several
    cells: list[Cell]


@dataclass(frozen=True)
class LayerTable:
    """The measured rows of one dataset."""

    columns: tuple[Column, ...]  # those with at least one number
    rows: list[Line]
    measured: int
    total: int  # with those that were skipped
    absent: tuple[str, ...]  # fractions left out because they are 0 in every row
    skipped: dict[str, list[str]]  # layers that were not measured, by reason

    @property
    def cut(self) -> int:
        """Measured rows that are left out for length."""
        return self.measured - len(self.rows)


def layer_table(dataset: xr.Dataset, *, most_rows: int) -> LayerTable:
    """Return the layers of a dataset row by row: in call order, branches below the sum where they end."""
    if "block" in dataset.coords:
        order = [(Row(dataset, row), branch) for row, branch in ordered_rows(dataset)]
    else:
        order = [(row, False) for row in Row.measured(dataset)]
    shown: list[Column] = []
    absent: list[str] = []
    for column in _columns(dataset):
        values = np.array([row[column.variable] for row, _ in order])
        if column.variable in _UNITS and values.size and not np.nan_to_num(values).any():
            absent.append(column.heading)
        elif np.isfinite(values).any():
            shown.append(column)
    names = [str(name) for name in dataset["layer"].values]
    chains = [str(chain["input"]) for chain in json.loads(dataset.attrs.get("chains", "[]"))]
    ends: list[Row] = []  # for each row itself, or of a branch the row where it ends
    for row, branch in order:
        ends.append(ends[-1] if branch else row)
    rows = [
        Line(
            number,
            names[row.index] or "(the model)",
            row.text("kind") if "kind" in dataset.coords else "",
            branch,
            chains[int(end["chain"])] if len(chains) > 1 and end["chain"] >= 0 else "",
            [_cell(row, column) for column in shown],
        )
        for number, ((row, branch), end) in enumerate(zip(order, ends, strict=True), start=1)
        if number <= most_rows
    ]
    skipped: dict[str, list[str]] = {}
    for name, reason in zip(names, dataset["skipped"].values, strict=True):
        if reason:
            skipped.setdefault(str(reason), []).append(name)
    return LayerTable(tuple(shown), rows, len(order), len(names), tuple(absent), skipped)


def _columns(dataset: xr.Dataset) -> Sequence[Column]:
    """Return the columns that the instrument names; of another instrument, every number of a row."""
    columns = _COLUMNS.get(str(dataset.attrs.get("instrument")), propagation.COLUMNS)
    known = [column for column in columns if column.variable in dataset]
    if known:
        return known
    names = [str(name) for name, values in dataset.data_vars.items() if values.dims == ("layer",)]
    return [
        Column(name, name.replace("_", " "), str(dataset[name].attrs.get("long_name", "")))
        for name in names
        if not name.endswith("_error") and dataset[name].dtype.kind == "f"
    ]


def _cell(row: Row, column: Column) -> Cell:
    value, error = row[column.variable], f"{column.variable}_error"
    raw = repr(value) if np.isfinite(value) else ""
    if column.fraction:
        return Cell(percent(value), raw)
    return Cell(measured(value, row[error] if error in row.dataset else np.nan), raw)
