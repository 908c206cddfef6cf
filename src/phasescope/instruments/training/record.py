"""The file of a recorded run: JSON lines, each complete in itself and checked.

The first line of each session says what is recorded and on what; every other line holds a step and the
numbers known there. A line ends with the CRC-32 of what stands before it, so that a line cut off by a kill or
damaged on disk is seen, left out, and told.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.regular_files import open_regular, read_regular

if TYPE_CHECKING:
    import xarray as xr

FORMAT = 1
_MARK = ', "crc": "'
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
    "signal_margin": ("1", "mean of ln chi_perpendicular per step of depth"),
    "signal_margin_error": ("1", "one standard error of the margin"),
    "signal_growth": ("1", "ln chi_perpendicular of the step of depth where it is furthest from 0"),
    "symptoms": ("1", "number of symptoms"),
    "symptoms_new": ("1", "number of symptoms not seen before in the session"),
    "noise_beta": ("1", "exponent of the spectrum f^-beta of the states along time"),
    "noise_beta_error": ("1", "one standard error of the exponent"),
}
_FEWEST = 2  # bursts, for an error of the exponent


def encode(values: Mapping[str, Any]) -> bytes:
    """Return a line; numbers that are not finite become null."""
    plain = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values.items()
    }
    body = json.dumps(plain, allow_nan=False, ensure_ascii=True)[:-1]
    return f'{body}{_MARK}{zlib.crc32(body.encode()):08x}"}}\n'.encode()


def decode(line: bytes) -> dict[str, Any] | None:
    """Return the values of a line without its line end, or None where it is damaged."""
    text = line.decode("ascii", errors="replace")
    body, mark, end = text.rpartition(_MARK)
    if not mark or end != f'{zlib.crc32(body.encode()):08x}"}}':
        return None
    found: dict[str, Any] = json.loads(body + "}")
    return found


@dataclass(frozen=True)
class Lines:
    """What stands in a file."""

    headers: list[dict[str, Any]]  # one for each session
    # what is known of each step, in order; "session" is the number of the header
    steps: dict[int, dict[str, Any]]
    notes: list[str]  # what was left out


def read_lines(path: Path) -> Lines:
    """Return the undamaged lines of a file; steps that were taken again are those of the later session."""
    lines = read_regular(path).split(b"\n")
    headers: list[dict[str, Any]] = []
    steps: dict[int, dict[str, Any]] = {}
    damaged: list[int] = []
    for number, line in enumerate(lines, start=1):
        values = decode(line) if line else {}
        if values is None:
            damaged.append(number)
        elif "record" in values:
            headers.append(values)
            steps = {step: known for step, known in steps.items() if step <= values["step"]}
        elif headers and "step" in values:
            known = steps.setdefault(values.pop("step"), {"session": len(headers) - 1})
            if "note" in known and "note" in values:
                values["note"] = f"{known['note']}; {values['note']}"
            known.update(values)
    if not headers:
        raise InputError(
            f"{path} is no record of a training run.", "Name a file that a TrainingRecorder wrote."
        )
    if headers[0]["record"] != FORMAT:
        raise InputError(
            f"{path} has format {headers[0]['record']!r}, and this version reads format {FORMAT}.",
            "Read it with the version of phasescope that wrote it.",
        )
    return Lines(headers, dict(sorted(steps.items())), _damage(damaged, len(lines)))


def _damage(damaged: list[int], lines: int) -> list[str]:
    if not damaged:
        return []
    if damaged == [lines]:
        return [f"the last line, number {lines}, is not complete and was left out"]
    which = (
        f"line {damaged[0]} is"
        if len(damaged) == 1
        else f"{len(damaged)} lines, the first is {damaged[0]}, are"
    )
    return [f"{which} damaged and left out"]


class Appender:
    """Appends whole lines to a file, each in one call of the system, so that a kill costs none before it."""

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
        self._descriptor = -1
        cut_off = path.exists() and not _ends_with_a_line(path)
        self._descriptor = os.open(path, flags, 0o644)
        if cut_off:  # by a kill; what is appended must not become part of it
            os.write(self._descriptor, b"\n")

    def append(self, values: Mapping[str, Any]) -> None:
        line = encode(values)
        if os.write(self._descriptor, line) < len(line):
            raise OSError(28, "no space is left")

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.close()


def _ends_with_a_line(path: Path) -> bool:
    with open_regular(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        return file.read(1) in (b"", b"\n")


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
