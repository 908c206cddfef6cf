"""A recorded run as a dataset, and the exponent in it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.instruments.training.record_file import read_lines

if TYPE_CHECKING:
    import xarray as xr

_DESCRIBED = {  # unit and name
    "seconds": ("s", "time since the recorder was made, over all sessions"),
    "loss": ("1", "loss of the step"),
    "path": ("1", "path length of the trained parameters, L2"),
    "skipped": ("steps", "steps over which the straight line was taken"),
    "displacement": ("1", "L2 distance to the parameters at the start"),
    "distance": ("1", "L2 distance to the twin"),
    "distance_l1": ("1", "L1 distance to the twin"),
    "gradient": ("1", "L2 norm of the gradient"),
    "sharpness": ("1", "largest eigenvalue of the (preconditioned) Hessian on the fixed batch"),
    "sharpness_error": ("1", "residual of the eigenvalue"),
    "sharpness_ratio": ("1", "sharpness over the threshold of the optimiser"),
    "growth": ("1", "logarithm of the growth of a small difference in the next step"),
}
_FEWEST = 2  # bursts, for an error of the exponent


def read_record(path: Path | str) -> xr.Dataset:
    """Return what a :class:`TrainingRecorder` has written, also while it writes and after a kill.

    Parameters
    ----------
    path : Path or str
        The file.

    Returns
    -------
    xarray.Dataset
        One row for each recorded step along ``step``; NaN where a quantity was not measured. Steps that were
        taken again after a resume are those of the later session, and ``session`` counts them. The attribute
        ``notes`` (JSON text) says what was left out, and whether the path length is a lower bound.

    Raises
    ------
    InputError
        If the file is not there or is no record.
    """
    import xarray as xr

    found = read_lines(Path(path))
    notes = [*found.notes, *(note for header in found.headers for note in header["notes"])]
    notes += [f"step {step}: {values['note']}" for step, values in found.steps.items() if "note" in values]
    steps = np.array(list(found.steps), dtype=np.int64)
    names = {
        name: None for values in found.steps.values() for name in values if name not in ("session", "note")
    }
    columns = {}
    for name in [*(name for name in _DESCRIBED if name in names), *(n for n in names if n not in _DESCRIBED)]:
        numbers = [values.get(name) for values in found.steps.values()]
        unit, title = _DESCRIBED.get(name, ("1", name.replace("_", " ")))
        values = np.array([math.nan if number is None else number for number in numbers], dtype=np.float64)
        columns[name] = ("step", values, {"units": unit, "long_name": title})
    if "skipped" in columns and len(steps) and np.nanmax(columns["skipped"][1], initial=0) > 0:
        skipped = int(np.nanmax(columns["skipped"][1]))
        columns["path"][2]["long_name"] = "lower bound of the path length of the trained parameters, L2"
        notes.append(f"the path length is a lower bound: over {skipped} steps the straight line was taken")
    sessions = [values["session"] for values in found.steps.values()]
    header = {key: value for key, value in found.headers[0].items() if key not in ("record", "step", "start")}
    attributes = {
        key: json.dumps(value) if isinstance(value, list) else "none" if value is None else value
        for key, value in header.items()
    }
    return xr.Dataset(
        columns,
        {"step": steps, "session": ("step", np.array(sessions, dtype=np.int64))},
        {**attributes, "notes": json.dumps(list(dict.fromkeys(notes))), "sessions": len(found.headers)},
    )


def recorded_exponent(record: xr.Dataset, first: int = 0, last: int | None = None) -> Estimate:
    r"""Return the finite-time Lyapunov exponent of a recorded run.

    The mean of ``growth`` over the recorded steps, per step of the run. Its error is the standard error of
    the means over bursts (steps in a row), or over 10 blocks where there is but one burst.

    Parameters
    ----------
    record : xarray.Dataset
        From :func:`read_record`.
    first, last : int
        Steps between which it is taken, both included; all by default.

    Returns
    -------
    Estimate
        The exponent; not determined where too few steps were recorded.

    Raises
    ------
    InputError
        If the record has no exponent.
    """
    if "growth" not in record:
        raise InputError("The record has no exponent.", "Give the recorder batch= and optimizer=.")
    growth, steps = record["growth"].values, record["step"].values
    inside = (
        np.isfinite(growth) & (steps >= first) & (steps <= (steps.max(initial=0) if last is None else last))
    )
    growth, steps = growth[inside], steps[inside]
    bursts = np.split(growth, np.flatnonzero(np.diff(steps) > 1) + 1)
    if len(bursts) == 1:
        bursts = np.array_split(growth, 10) if growth.size >= 20 else [growth]
    if len(bursts) < _FEWEST:
        return Estimate.not_determined(f"{growth.size} steps with a growth are too few", n=int(growth.size))
    means, weights = np.array([burst.mean() for burst in bursts]), np.array([burst.size for burst in bursts])
    value = float(np.average(means, weights=weights))
    variance = float(np.average((means - value) ** 2, weights=weights)) / (len(bursts) - 1)
    window = (float(steps[0]), float(steps[-1]))
    return Estimate(value, math.sqrt(variance), "mean growth of a carried tangent", int(growth.size), window)
