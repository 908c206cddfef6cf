"""The layers of a network as rows of a table, and what its columns mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from phasescope.instruments.activation_noise import findings as activation_noise
from phasescope.instruments.propagation import findings as propagation
from phasescope.instruments.rows import Column
from phasescope.report.numbers import measured, percent

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Cell:
    """One number as it is printed and as it is sorted."""

    text: str  # for people
    value: str  # for sorting; empty where there is no number


@dataclass(frozen=True)
class LayerTable:
    """The measured rows of one dataset."""

    columns: tuple[Column, ...]  # those with at least one number
    rows: list[tuple[int, str, str, list[Cell]]]  # number in call order, layer, kind, cells
    # measured, total: rows measured and all rows of the dataset
    measured: int
    total: int
    absent: tuple[str, ...]  # fractions left out because they are 0 in every row
    skipped: dict[str, list[str]]  # layers that were not measured, by reason

    @property
    def cut(self) -> int:
        """Measured rows that are left out for length."""
        return self.measured - len(self.rows)


_OF_INSTRUMENT = {"noise": activation_noise.COLUMNS}


def layer_table(dataset: xr.Dataset, *, most_rows: int) -> LayerTable:
    """Return the layers of a dataset, row by row in call order."""
    reasons = [str(reason) for reason in dataset["skipped"].values]
    present = np.array([not reason for reason in reasons], dtype=bool)
    shown: list[Column] = []
    absent: list[str] = []
    for column in _columns(dataset):
        values = dataset[column.variable].values[present]
        if column.fraction and values.size and not np.nan_to_num(values).any():
            absent.append(column.heading)
        elif np.isfinite(values).any():
            shown.append(column)
    names = [str(name) for name in dataset["layer"].values]
    kinds = [str(kind) for kind in dataset["kind"].values] if "kind" in dataset.coords else [""] * len(names)
    numbers = np.flatnonzero(present)[:most_rows]
    rows = [
        (
            int(i) + 1,
            names[i] or "(the model)",
            kinds[i],
            [_cell(dataset, column, int(i)) for column in shown],
        )
        for i in numbers
    ]
    skipped: dict[str, list[str]] = {}
    for name, reason in zip(names, reasons, strict=True):
        if reason:
            skipped.setdefault(reason, []).append(name)
    return LayerTable(tuple(shown), rows, int(present.sum()), len(names), tuple(absent), skipped)


def _columns(dataset: xr.Dataset) -> Sequence[Column]:
    columns = _OF_INSTRUMENT.get(str(dataset.attrs.get("instrument")), propagation.COLUMNS)
    known = [column for column in columns if column.variable in dataset]
    if known:
        return known
    names = [str(name) for name, values in dataset.data_vars.items() if values.dims == ("layer",)]
    return [
        Column(name, name.replace("_", " "), str(dataset[name].attrs.get("long_name", "")))
        for name in names
        if not name.endswith("_error") and dataset[name].dtype.kind == "f"
    ]


def _cell(dataset: xr.Dataset, column: Column, row: int) -> Cell:
    value = float(dataset[column.variable].values[row])
    raw = repr(value) if np.isfinite(value) else ""
    if column.fraction:
        return Cell(percent(value), raw)
    name = f"{column.variable}_error"
    error = float(dataset[name].values[row]) if name in dataset else float("nan")
    return Cell(measured(value, error), raw)
