"""All task files of a study as one dataset, and its one checked file."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from pydantic import BaseModel, Json, ValidationError

from phasescope.errors import InputError
from phasescope.regular_files import LARGEST, read_regular
from phasescope.studies import received
from phasescope.studies.naming import VARIABLE, check_name
from phasescope.studies.part import Part, Variable
from phasescope.studies.settings import told
from phasescope.sweep import Store, Task, write_together

RESULTS = "results.nc"
CHECKSUM = f"{RESULTS}.sha256"
CONTENT = "content_sha256"  # the attribute that holds the checksum of everything else
_MOST_OF_CHECKSUM = 1000  # bytes
_AGAIN = "Run the same study command again: it is rebuilt from the task files."


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
    for task, found in zip(present, arrays, strict=True):
        check_arrays(task, found, part.variables)
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
    parameters = {name for task in tasks for name in task.parameters}
    for name in sorted(parameters):
        check_name(f"part {part.name}: parameter", name, VARIABLE)
    taken = {"task", *part.variables, *(dim for v in part.variables.values() for dim in v.dims)}
    clashes = sorted(taken & {"task_id", "replica", *parameters})
    if clashes:
        raise InputError(
            f"part {part.name}: {', '.join(clashes)} names a parameter as well as an array or a dimension.",
            "Rename one of the two.",
        )


def check_arrays(task: Task, arrays: Mapping[str, np.ndarray], variables: Mapping[str, Variable]) -> None:
    """Raise where a measurement is not what its part declares."""
    needed = {name for name, variable in variables.items() if not variable.optional}
    if not needed <= set(arrays) <= set(variables):
        names = f"{', '.join(sorted(arrays))}, not {', '.join(sorted(variables))}"
        raise TypeError(f"{task.part}: measure returned {names}")
    for name, array in arrays.items():
        dims = variables[name].dims
        if array.ndim != len(dims) or array.dtype.kind not in "biuf":
            found = f"{array.dtype} of shape {array.shape}"
            raise TypeError(f"{task.part}: {name} is {found}, not numbers along {dims}")


def write(data: xr.DataTree, directory: Path) -> None:
    """Write ``results.nc`` and its sha256, the same bytes for the same data."""
    whole = data.copy()
    whole.attrs = {**data.attrs, CONTENT: content_digest(data)}
    encoding = {
        f"/{name}": {key: _encoding(variable) for key, variable in node.to_dataset().variables.items()}
        for name, node in data.children.items()
    }
    # In memory first: HDF5 can take the whole process with it where the disk is full.
    with BytesIO() as file:
        whole.to_netcdf(file, engine="h5netcdf", encoding=encoding)
        content = file.getvalue()
    write_together(directory, {RESULTS: content, CHECKSUM: f"{_digest(content)}  {RESULTS}\n"})


def read(directory: Path) -> xr.DataTree:
    """Return what :func:`write` wrote just now, in memory."""
    return _opened(read_regular(directory / RESULTS, sys.maxsize - 1), directory / RESULTS)


def receive(directory: Path, most: int = LARGEST) -> xr.DataTree:
    """Return what a file holds that anybody may have made, once it is known to be what a study writes."""
    path, beside = directory / RESULTS, directory / CHECKSUM
    if not os.path.lexists(path):
        raise InputError(
            f"There is no {path}.", "Run the study first: phasescope study run NAME --out DIR, then name DIR."
        )
    content = read_regular(path, most)
    told_beside = os.path.lexists(beside)
    if told_beside and read_regular(beside, _MOST_OF_CHECKSUM).split()[:1] != [_digest(content).encode()]:
        raise InputError(f"{path} is damaged: its sha256 is not the one in {beside.name}.", _AGAIN)
    try:
        received.check(content, most)
    except InputError as error:
        raise InputError(f"{path} is refused. {error.what}", error.fix) from error
    except Exception as error:  # h5py fails on damaged files in many ways
        raise _unreadable(path, error) from error
    data = _opened(content, path)
    try:
        _Root.model_validate(data.attrs)
        for node in data.children.values():
            _Node.model_validate(node.attrs)
    except ValidationError as error:
        raise InputError(f"{path} was not written by a study: {told(error)}", _AGAIN) from error
    # What earlier releases wrote has its checksum beside it alone.
    earlier = told_beside and CONTENT not in data.attrs
    if not earlier and data.attrs.get(CONTENT) != content_digest(data):
        raise InputError(f"{path} is damaged: its content does not fit the checksum inside.", _AGAIN)
    return data


class _Root(BaseModel):
    """What every results file says of itself."""

    study: str
    found_by: str
    title: str
    source: str
    configuration: Json[dict[str, Any]]
    configuration_sha256: str
    versions: Json[dict[str, str]]
    device: str
    threads: Any
    seed: Any


class _Node(BaseModel):
    """What every part in it says of itself."""

    missing: Json[dict[str, str]]
    error: str = ""


def content_digest(data: xr.DataTree) -> str:
    """Return the sha256 of everything in a dataset but itself: names, dimensions, values and attributes."""
    parts = {name: _described(node.to_dataset()) for name, node in data.children.items()}
    root = {name: value for name, value in data.attrs.items() if name != CONTENT}
    return _digest(_canonical([root, parts]).encode())


def _described(data: xr.Dataset) -> list[Any]:
    arrays = {}
    for name, variable in data.variables.items():
        values = variable.values
        if values.dtype.kind in "UO":
            kind, content = "text", _canonical(values.tolist()).encode()
        else:
            values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
            kind, content = values.dtype.str, values.tobytes()
        described = [
            list(variable.dims),
            list(variable.shape),
            kind,
            dict(variable.attrs),
            name in data.coords,
        ]
        arrays[str(name)] = [*described, _digest(content)]
    return [dict(data.attrs), arrays]


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=lambda number: np.asarray(number).tolist())


def _opened(content: bytes, path: Path) -> xr.DataTree:
    try:
        # Nothing is decoded but text and truth values: units are what the author says, never dates.
        with (
            BytesIO(content) as file,
            xr.open_datatree(file, engine="h5netcdf", decode_times=False, mask_and_scale=False) as stored,
        ):
            # Node by node: DataTree.load() passes over a variable that has the name of a node.
            nodes = {
                name: _with_plain_text(node.to_dataset().load()) for name, node in stored.children.items()
            }
            return xr.DataTree.from_dict({"/": xr.Dataset(attrs=stored.attrs), **nodes})
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} cannot be read ({type(error).__name__}: {error}).", _AGAIN)


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
