"""The dataset of an instrument, read row by row: what findings, tables and figures are written with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from phasescope.estimate import Estimate
from phasescope.signal.table import terminal_width

if TYPE_CHECKING:
    import xarray as xr

_MOST_NAMED = 3
_SHORTEST = 8  # characters that are left for names on the narrowest terminal


@dataclass(frozen=True)
class Column:
    """One variable as a page shows it."""

    variable: str
    heading: str  # its symbol or name
    meaning: str = ""  # its definition; empty where the dataset's own description is all there is
    fraction: bool = False  # whether it is a fraction of units, printed in percent


class Row:
    """One row of a dataset: a layer, or one quantity of a layer."""

    def __init__(self, dataset: xr.Dataset, index: int) -> None:
        self.dataset, self.index = dataset, index

    @classmethod
    def measured(cls, dataset: xr.Dataset) -> list[Self]:
        """Return the rows that were measured, in the order of the dataset."""
        return [cls(dataset, int(index)) for index in np.flatnonzero(dataset["skipped"].values == "")]

    @classmethod
    def steps(cls, dataset: xr.Dataset, *, chain: int = 0) -> list[Self]:
        """Return the steps of a chain of a profile: the rows at which its depth increases."""
        stream = (row for row in cls.measured(dataset) if row.text("place") == "stream")
        found: list[Self] = []
        for row in stream:
            if row["chain"] == chain and row["depth"] > (found[-1]["depth"] if found else 0):
                found.append(row)
        return found

    def __getitem__(self, name: str) -> float:
        return float(self.array(name))

    def text(self, name: str) -> str:
        """Return a coordinate, such as "layer" or "kind"."""
        return str(self.array(name))

    def array(self, name: str) -> np.ndarray:
        """Return all values of a variable that has more dimensions, such as a curve."""
        return np.asarray(self.dataset.variables[name].values[self.index])

    def estimate(self, name: str) -> Estimate:
        """Return a variable with its error."""
        if math.isnan(self[name]):
            return Estimate.not_determined("not measured")
        what, inputs = self.dataset.variables[name].attrs["long_name"], self.dataset.attrs["inputs"]
        return Estimate(self[name], self[f"{name}_error"], str(what), int(inputs))

    def short_name(self, most: int) -> str:
        """Return the name without the first parts of its path, as far as a length asks for."""
        name = self.text("layer")
        while len(name) > most and "." in name:
            name = name.partition(".")[2]
        return name if len(name) <= most else f"…{name[1 - most :]}"


@dataclass(frozen=True)
class Layout:
    """The columns of a table on the terminal, their characters by title, and which go where it is narrow."""

    columns: Mapping[str, int]
    left_out_first: Sequence[str] = ()
    names: int = 22  # characters that a row's name takes, where there is room
    gap: int = 0  # of them that stay empty

    def lines(
        self, dataset: xr.Dataset, cells: Callable[[Row], Mapping[str, str]], first: str = "layer"
    ) -> list[str]:
        """Return the head, a rule, and a line for each measured row; `cells` gives its texts by title."""
        columns, width = dict(self.columns), terminal_width()
        for title in self.left_out_first:
            if self.names + sum(columns.values()) > width:
                del columns[title]
        room = max(_SHORTEST, min(self.names, width - sum(columns.values())))
        head = f"{first:<{room}}" + "".join(f"{title:>{size}}" for title, size in columns.items())
        made = [head, "-" * len(head)]
        for row in Row.measured(dataset):
            texts = cells(row)
            cut = "".join(f"{texts[title]:>{size}}" for title, size in columns.items())
            made.append(f"{row.short_name(room - self.gap):<{room}}{cut}")
        return made


def number(row: Row, name: str) -> str:
    """Return a variable with its error, "-" where it was not measured."""
    if math.isnan(row[name]):
        return "-"
    return str(row.estimate(name)) if row[f"{name}_error"] > 0 else plain(row[name])


def plain(value: float) -> str:
    """Return a number to three digits, "-" for NaN."""
    return "-" if math.isnan(value) else f"{value:.3g}"


def listed(names: Sequence[str], what: str = "layers") -> str:
    """Return up to three names in a sentence, or how many there are and the first."""
    if len(names) == 1:
        return names[0]
    if len(names) > _MOST_NAMED:
        return f"{len(names)} {what}, first {names[0]}"
    return f"{', '.join(names[:-1])} and {names[-1]}"
