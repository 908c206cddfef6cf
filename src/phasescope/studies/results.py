"""All task files of a study as one dataset, and its one checked file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from phasescope.errors import InputError
from phasescope.studies.part import Part, Variable
from phasescope.sweep import Store, Task, write_together

RESULTS = "results.nc"
CHECKSUM = f"{RESULTS}.sha256"


def collect(part: Part, tasks: Sequence[Task], store: Store, reasons: Mapping[str, str]) -> xr.Dataset:
    """Return the dataset of one part, with what is missing in its attributes and never as NaN."""
    survey = store.survey(tasks)
    done = {task.id for task in survey.done}
    present = [task for task in tasks if task.id in done]
    missing = {
        task.id: reasons.get(task.id) or survey.damaged.get(task.id) or "not computed yet"
        for task in tasks
        if task.id not in done
    }
    attributes = {"title": part.title, "missing": json.dumps(missing), "citations": " ".join(part.citations)}
    if not present:
        return xr.Dataset(attrs=attributes)
    arrays = [store.read(task) for task in present]
    _check_lengths(part, present, arrays)
    longest = _longest(part.variables, arrays)
    values = {
        name: (
            ("task", *variable.dims),
            _stacked([found.get(name) for found in arrays], [longest[dim] for dim in variable.dims]),
            {"long_name": variable.long_name, "units": variable.units},
        )
        for name, variable in part.variables.items()
    }
    return xr.Dataset(values, _coordinates(present), attributes)


def check_names(part: Part, tasks: Sequence[Task]) -> None:
    """Raise before anything is measured where the dataset of a part could not be made."""
    taken = {"task", *part.variables, *(dim for v in part.variables.values() for dim in v.dims)}
    clashes = sorted(taken & {"task_id", "replica", *(name for task in tasks for name in task.parameters)})
    if clashes:
        raise InputError(
            f"part {part.name}: {', '.join(clashes)} names a parameter as well as an array or a dimension.",
            "Rename one of the two.",
        )


def write(data: xr.DataTree, directory: Path) -> None:
    """Write ``results.nc`` and its sha256, the same bytes for the same data."""
    encoding = {
        f"/{name}": {key: _encoding(variable) for key, variable in node.to_dataset().variables.items()}
        for name, node in data.children.items()
    }
    # In memory first: HDF5 can take the whole process with it where the disk is full.
    with BytesIO() as file:
        data.to_netcdf(file, engine="h5netcdf", encoding=encoding)
        content = file.getvalue()
    write_together(directory, {RESULTS: content, CHECKSUM: f"{_digest(content)}  {RESULTS}\n"})


def read(directory: Path) -> xr.DataTree:
    """Return what :func:`write` wrote, in memory."""
    path, beside = directory / RESULTS, directory / CHECKSUM
    if not path.is_file():
        raise InputError(
            f"There is no {path}.", "Run the study first: phasescope study run NAME --out DIR, then name DIR."
        )
    content = path.read_bytes()
    again = "Run the same study command again: it is rebuilt from the task files."
    if beside.is_file() and beside.read_text(errors="replace").split()[:1] != [_digest(content)]:
        raise InputError(f"{path} is damaged: its sha256 is not the one in {beside.name}.", again)
    try:
        with BytesIO(content) as file, xr.open_datatree(file, engine="h5netcdf") as stored:
            # Node by node: DataTree.load() passes over a variable that has the name of a node.
            nodes = {
                name: _with_plain_text(node.to_dataset().load()) for name, node in stored.children.items()
            }
            return xr.DataTree.from_dict({"/": xr.Dataset(attrs=stored.attrs), **nodes})
    except Exception as error:
        raise InputError(f"{path} cannot be read ({type(error).__name__}: {error}).", again) from error


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _check_lengths(part: Part, tasks: Sequence[Task], arrays: Sequence[Mapping[str, np.ndarray]]) -> None:
    """Raise where a dimension that is not ragged has two lengths."""
    known: dict[str, tuple[int, str]] = {}
    for task, found in zip(tasks, arrays, strict=True):
        for name, array in found.items():
            dims = part.variables[name].dims
            for dim, size in zip(dims, array.shape, strict=True):
                here = f"{name} {dims} has shape {array.shape} in task {task.id}"
                length, where = known.setdefault(dim, (size, here))
                if size != length and dim not in part.ragged:
                    raise ValueError(f"part {part.name}: {here}, but {where}")


def _longest(variables: Mapping[str, Variable], arrays: Sequence[Mapping[str, np.ndarray]]) -> dict[str, int]:
    """Return the length of each dimension, the longest of all arrays; 0 where there is none."""
    lengths = {dim: 0 for variable in variables.values() for dim in variable.dims}
    for found in arrays:
        for name, array in found.items():
            for dim, size in zip(variables[name].dims, array.shape, strict=True):
                lengths[dim] = max(size, lengths[dim])
    return lengths


def _stacked(arrays: Sequence[np.ndarray | None], shape: Sequence[int]) -> np.ndarray:
    """Return one array of all tasks, filled up with NaN where one is shorter or absent."""
    if all(array is not None and array.shape == tuple(shape) for array in arrays):
        return np.stack([array for array in arrays if array is not None])
    whole = np.full([len(arrays), *shape], np.nan)
    for task, array in enumerate(arrays):
        if array is not None:
            place: tuple[Any, ...] = (task, *map(slice, array.shape))
            whole[place] = array
    return whole


def _coordinates(tasks: Sequence[Task]) -> dict[str, Any]:
    """Return parameters, replica and id of every task, each along ``task``."""
    names = dict.fromkeys(name for task in tasks for name in task.parameters)
    columns = {name: _column([task.parameters.get(name) for task in tasks]) for name in names}
    columns |= {
        "replica": np.array([task.replica for task in tasks]),
        "task_id": np.array([task.id for task in tasks]),
    }
    return {name: ("task", column) for name, column in columns.items()}


def _column(values: Sequence[Any]) -> np.ndarray:
    """Return numbers and text as they are, all else as JSON text; a text that a task lacks is empty."""
    kinds = {type(value) for value in values}
    if kinds <= {str, type(None)}:
        return np.array(["" if value is None else value for value in values])
    if kinds == {bool} or kinds == {int} or kinds <= {int, float}:
        return np.array(values)
    return np.array([json.dumps(value) for value in values])


def _encoding(variable: xr.Variable) -> dict[str, Any]:
    # Text of fixed length, since checksums do not cover the heap that HDF5 keeps other text in.
    kind = {"dtype": "S1"} if variable.dtype.kind in "UO" else {"_FillValue": None}
    checked = {"zlib": True, "complevel": 4, "fletcher32": True} if variable.size else {}
    return kind | checked


def _with_plain_text(data: xr.Dataset) -> xr.Dataset:
    text = {name: c.astype(str) for name, c in data.coords.items() if c.dtype.kind == "O"}
    return data.assign_coords(text)
