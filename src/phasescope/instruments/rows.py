"""The dataset of an instrument, read row by row: what findings, tables and figures are written with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from phasescope.estimate import Estimate

if TYPE_CHECKING:
    import xarray as xr


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
