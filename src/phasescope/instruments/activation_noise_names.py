"""Rows of the noise of activations: which are states, what they are called, and their numbers with errors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from phasescope.estimate import Estimate

if TYPE_CHECKING:
    import xarray as xr

STATES = ("hidden", "cell", "residual")
"""Quantities that carry a memory from step to step, or from block to block."""
_WHO = {
    "hidden": "The hidden state of {}",
    "cell": "The cell state of {}",
    "residual": "The residual stream after {}",
    "mlp": "The MLP of {}",
}


def state_rows(dataset: xr.Dataset) -> list[int]:
    """Return the rows of states that are finite; where there are none, those of layer outputs."""
    quantities = dataset["quantity"].values
    measured = (dataset["skipped"].values == "") & ~(dataset["nonfinite"].values == 1)
    for wanted in (STATES, ("output",)):
        rows = [int(row) for row in np.flatnonzero(measured & np.isin(quantities, wanted))]
        if rows:
            return rows
    return []


def forward_states(dataset: xr.Dataset) -> list[int]:
    """Return the rows of states, without the reverse direction where there is another."""
    rows = state_rows(dataset)
    forward = [row for row in rows if "_reverse" not in str(dataset["module"].values[row])]
    return forward or rows


def main_row(dataset: xr.Dataset) -> int | None:
    """Return the row of the last state that leaves a layer, forwards; None where there is no state."""
    rows = [row for row in forward_states(dataset) if dataset["quantity"].values[row] != "cell"]
    known = [row for row in rows if np.isfinite(dataset["beta"].values[row])]
    return (known or rows)[-1] if rows else None


def named(dataset: xr.Dataset, row: int) -> str:
    """Return what a row is called at the beginning of a sentence."""
    quantity, module = str(dataset["quantity"].values[row]), str(dataset["module"].values[row])
    module = module if module and module != "output" else "the model"
    return _WHO.get(quantity, "The {} of {}".format(quantity.replace("_", " "), "{}")).format(module)


def estimate(dataset: xr.Dataset, name: str, row: int) -> Estimate:
    """Return a variable of a row with its error."""
    value, error = (float(dataset[key].values[row]) for key in (name, f"{name}_error"))
    if not math.isfinite(value):
        return Estimate.not_determined("not measured")
    return Estimate(value, error, str(dataset[name].attrs["long_name"]), int(dataset.attrs["inputs"]))


def short_name(name: str, most: int) -> str:
    """Return the name of a row without the first parts of its path, as far as a length asks for."""
    while len(name) > most and "." in name:
        name = name.partition(".")[2]
    return name if len(name) <= most else f"…{name[1 - most :]}"
