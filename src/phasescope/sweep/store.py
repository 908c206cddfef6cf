"""One checked file a task.

The first line of a file is a mark with the sha256 of everything behind it; the second is a JSON header with
the format's version, that of phasescope, the task's description, and name, dtype and shape of each array; the
rest is the arrays' bytes, little-endian, in C order, one after the other. The same task and arrays give the
same bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import phasescope
from phasescope.errors import InputError, PhasescopeError
from phasescope.regular_files import read_regular
from phasescope.sweep.manifest import NAME as MANIFEST
from phasescope.sweep.task import Task
from phasescope.whole_files import os_errors_told, write_whole

FORMAT = 1
SUFFIX = ".task"
_MARK = b"phasescope task, sha256 "
_KINDS = "biufcUSmM"  # everything that a file can hold without running code on loading


class DamagedTaskError(PhasescopeError):
    """A task's file is missing, is not what was written, or is not this task's; the message says which."""


@dataclass(frozen=True)
class Survey:
    """What is there of a list of tasks.

    Parameters
    ----------
    done : list of Task
        Those whose files are whole.
    missing : list of Task
        Those without a file.
    damaged : dict of str to str
        What is wrong with the file, by task id.
    foreign : list of Path
        What else lies in the folder; it is neither read nor removed.
    """

    done: list[Task]
    missing: list[Task]
    damaged: dict[str, str]
    foreign: list[Path]


class Store:
    """The folder with one file for each task.

    Parameters
    ----------
    directory : Path or str
        Holds nothing else; made on first writing.
    """

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory)

    def path(self, task: Task) -> Path:
        """Return where the file of `task` is or will be.

        Parameters
        ----------
        task : Task
            Any task.
        """
        return self.directory / (task.id + SUFFIX)

    def write(self, task: Task, arrays: Mapping[str, np.ndarray]) -> None:
        """Write the file of `task`, whole or not at all.

        Parameters
        ----------
        task : Task
            What was computed.
        arrays : mapping of str to ndarray
            Booleans, numbers, times or text; no objects.

        Raises
        ------
        TypeError
            If an array is of another kind.
        InputError
            If the disk is full or the folder cannot be written.
        """
        self.keep(task, encode(task, arrays))

    def keep(self, task: Task, content: bytes, *, durable: bool = True) -> None:
        """Write `content` as the file of `task`, whole or not at all.

        Parameters
        ----------
        task : Task
            What was computed.
        content : bytes
            From :func:`encode`.
        durable : bool
            Wait until the disk has it.

        Raises
        ------
        InputError
            If the disk is full or the folder cannot be written.
        """
        write_whole(self.path(task), content, durable=durable)

    def read(self, task: Task) -> dict[str, np.ndarray]:
        """Return the arrays of `task`.

        Parameters
        ----------
        task : Task
            Any task.

        Raises
        ------
        DamagedTaskError
            If the file is missing, damaged or another's.
        """
        if not os.path.lexists(self.path(task)):
            raise DamagedTaskError(f"{self.path(task).name} is missing")
        try:
            data = read_regular(self.path(task))
        except InputError as error:
            raise DamagedTaskError(error.what.rstrip(".")) from error
        return decode(task, data)

    def survey(self, tasks: Iterable[Task], known: Iterable[str] = ()) -> Survey:
        """Return which of `tasks` are done, by reading and checking every file.

        Parameters
        ----------
        tasks : iterable of Task
            Those asked for.
        known : iterable of str
            Ids of further tasks of the same sweep, whose files are not foreign.
        """
        found = Survey([], [], {}, [])
        names = {identity + SUFFIX for identity in known}
        for task in tasks:
            names.add(self.path(task).name)
            if not os.path.lexists(self.path(task)):
                found.missing.append(task)
                continue
            try:
                self.read(task)
            except DamagedTaskError as error:
                found.damaged[task.id] = str(error)
            else:
                found.done.append(task)
        if os.path.isdir(self.directory):
            with os_errors_told(self.directory, "listed"):
                others = [path for path in self.directory.iterdir() if path.name not in names]
            found.foreign.extend(sorted(path for path in others if not _own(path.name)))
        return found


def encode(task: Task, arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return the bytes of a task's file."""
    described, blocks = [], []
    for name, given in arrays.items():
        array = np.asarray(given)
        if array.dtype.kind not in _KINDS:
            raise TypeError(f"array {name!r} of dtype {array.dtype} cannot be stored")
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        described.append({"name": str(name), "dtype": array.dtype.str, "shape": list(array.shape)})
        blocks.append(array.tobytes())
    body = _header(task, described) + b"".join(blocks)
    return _mark(body) + body


def decode(task: Task, data: bytes) -> dict[str, np.ndarray]:
    """Return the arrays in the bytes of a task's file."""
    name = task.id + SUFFIX
    mark, newline, body = data.partition(b"\n")
    if not mark.startswith(_MARK) or not newline:
        raise DamagedTaskError(f"{name} is no task file")
    if mark + newline != _mark(body):
        raise DamagedTaskError(f"{name} is damaged: its checksum does not fit")
    line, _, payload = body.partition(b"\n")
    try:
        header = json.loads(line)
        version = (header["format"], header["phasescope"])
        if header["task"] != json.loads(json.dumps(task.describe())):
            raise DamagedTaskError(f"{name} holds another task")
        if version != (FORMAT, phasescope.__version__):
            raise DamagedTaskError(f"{name} is of format {version[0]}, written by phasescope {version[1]}")
        return _arrays(header["arrays"], payload)
    except DamagedTaskError:
        raise
    except Exception as error:  # JSON and dtypes of a forged file fail in many ways
        raise DamagedTaskError(
            f"{name} was not written by phasescope: {type(error).__name__}: {error}"
        ) from error


def _arrays(described: list[dict[str, Any]], payload: bytes) -> dict[str, np.ndarray]:
    arrays, start = {}, 0
    for entry in described:
        dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
        if dtype.kind not in _KINDS or not dtype.itemsize:
            raise TypeError(f"an array of dtype {dtype}")
        arrays[str(entry["name"])] = np.ndarray(shape, dtype, buffer=payload, offset=start).copy()
        start += math.prod(shape) * dtype.itemsize
    if start != len(payload):
        raise ValueError(f"{len(payload)} bytes of arrays, and {start} in the header")
    return arrays


def _header(task: Task, described: list[dict[str, Any]]) -> bytes:
    header = {
        "format": FORMAT,
        "phasescope": phasescope.__version__,
        "task": task.describe(),
        "arrays": described,
    }
    return json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _mark(body: bytes) -> bytes:
    return _MARK + hashlib.sha256(body).hexdigest().encode() + b"\n"


def _own(name: str) -> bool:
    return name.startswith(".") or name == MANIFEST
