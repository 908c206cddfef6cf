"""The layers of a network as rows of a table, and what its columns mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from phasescope.report.numbers import measured, percent

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Column:
    """One measured quantity."""

    variable: str  # its name in the dataset
    heading: str  # its symbol or name on the page
    meaning: str = ""  # its definition; empty where the dataset's own description is all there is
    fraction: bool = False  # whether it is a fraction of units, printed in percent


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


KNOWN = (
    Column("kernel", "K", "mean square of the units, (1/n) Σᵢ zᵢ², averaged over inputs"),
    Column(
        "distance", "1 − c", "one minus the correlation c = z·z′ / (|z| |z′|), averaged over pairs of inputs"
    ),
    Column(
        "chi_parallel",
        "χ∥",
        "growth from one weight layer to the next of the response of K to scaling the input",
    ),
    Column(
        "chi_perpendicular",
        "χ⊥",
        "the same for the part across z of a small difference between inputs, |u|²/n",
    ),
    Column(
        "gradient",
        "gradient",
        "squared norm of the gradient at the row, relative to that at the output, for random cotangents",
    ),
    Column("dead", "dead", "units that respond to no input", fraction=True),
    Column("saturated", "saturated", "units within 1 % of a limit of the activation", fraction=True),
    Column("nonfinite", "non-finite", "units that are NaN or infinite, or computed from such", fraction=True),
)


NOISE = (
    Column("units", "units", "number of units"),
    Column("idle", "idle", "units that move less than 5 % of the most active one", fraction=True),
    Column("beta", "β", "exponent of the spectrum f to the power −β in time, mean over units"),
    Column("spread", "spread", "standard deviation of β over all units and sequences"),
    Column("estimator", "noise", "the part of it that estimator noise alone makes"),
    Column("between_units", "of units", "standard deviation of the units’ own β"),
    Column("memory", "memory", "steps over which the short memories that imitate the tested series forget"),
    Column("tested", "tested", "series tested for short memory"),
    Column("beat_short", "beat it", "tested series that exclude short memory; 1 in 40 does by chance"),
    Column("beta_untrained", "untrained", "β of the same network untrained"),
    Column("beta_shuffled", "shuffled", "β for the same sequences with their time steps shuffled"),
    Column("participation", "sharing", "units that share the movement: participation ratio"),
    Column("dimension", "directions", "principal components that share the movement"),
    Column("curvature", "bend", "mean coefficient of (ln n)² in ln F(n); 0 for a power law"),
)
_OF_INSTRUMENT = {"noise": NOISE}


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
    columns = _OF_INSTRUMENT.get(str(dataset.attrs.get("instrument")), KNOWN)
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
