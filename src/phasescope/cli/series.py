"""One time series from a file: a column of text or of a stored array."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phasescope.errors import InputError

_KINDS = ".csv, .txt or .npy"
_NAMED = 8


def read_series(path: Path, column: str | None = None) -> NDArray[np.float64]:
    """Return the series of finite numbers that a file holds."""
    if not path.is_file():
        raise InputError(f"There is no file {path}.", f"Name a {_KINDS} file.")
    if path.suffix == ".npy":
        series = _from_array(path, column)
    elif path.suffix in (".csv", ".txt"):
        series = _from_text(path, column)
    else:
        raise InputError(f"{path}: files ending in {path.suffix!r} are not read.", f"Use {_KINDS}.")
    bad = np.flatnonzero(~np.isfinite(series))
    if bad.size:
        raise InputError(
            f"{path}: {bad.size} of {series.size} values are NaN or infinite, first at step {bad[0] + 1}.",
            "Cut the series there or fill the gaps: a fluctuation needs every value.",
        )
    return series


def _from_array(path: Path, column: str | None) -> NDArray[np.float64]:
    try:
        stored = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read as npy: {error}.") from error
    if stored.dtype.kind not in "biuf":
        raise InputError(f"{path} holds values of type {stored.dtype}.", "Store real numbers.")
    if stored.ndim == 1:
        stored = stored[:, None]
    if stored.ndim != 2:
        raise InputError(f"{path} has shape {stored.shape}.", "Store (time,) or (time, columns).")
    if not stored.size:
        raise InputError(f"{path} is empty.", "Store one value a time step.")
    if len(stored) == 1:
        raise InputError(
            f"{path} has shape {stored.shape}: {stored.shape[1]} columns of one time step.",
            "Store (time,) or (time, columns).",
        )
    names = [str(number) for number in range(1, stored.shape[1] + 1)]
    return np.asarray(stored[:, _chosen(path, names, column)], dtype=np.float64)


def _from_text(path: Path, column: str | None) -> NDArray[np.float64]:
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    lines = [
        (number, line.strip())
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not lines:
        raise InputError(f"{path} is empty.", "Write one row a time step.")
    first = lines[0][1]
    separator = max(",;\t", key=first.count)
    if separator not in first:
        separator = " "
    if separator == " " and path.suffix == ".txt":
        rows = [(number, line.split()) for number, line in lines]
    else:
        rows = [(number, [cell.strip(' "') for cell in line.split(separator)]) for number, line in lines]
    head = rows[0][1]
    named = all(_number(cell) is None for cell in head) or (
        len(rows) > 1 and any(_number(a) is None and _number(b) is not None for a, b in _beside(rows))
    )
    names = head if named else [str(number) for number in range(1, len(head) + 1)]
    position = _chosen(path, names, column)
    return np.array([_cell(path, number, row, position) for number, row in rows[named:]])


def _beside(rows: list[tuple[int, list[str]]]) -> list[tuple[str, str]]:
    return list(zip(rows[0][1], rows[1][1], strict=False))


def _chosen(path: Path, names: list[str], column: str | None) -> int:
    """Return the position of the column."""
    shown = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    if column is None:
        if len(names) > 1:
            raise InputError(
                f"{path} has {len(names)} columns: {shown}.", f"Choose one, such as --column {names[-1]}."
            )
        return 0
    if names.count(column) == 1:
        return names.index(column)
    if column.isdecimal() and 1 <= int(column) <= len(names):
        return int(column) - 1
    raise InputError(
        f"--column {column}: {path} has {len(names)} column(s): {shown}.",
        "Give one of these names, or a number counted from 1.",
    )


def _cell(path: Path, line: int, row: list[str], position: int) -> float:
    if position >= len(row):
        raise InputError(f"{path}, line {line}: there is no column {position + 1}.", "Fill or cut the row.")
    found = _number(row[position])
    if found is None:
        raise InputError(
            f"{path}, line {line}: {row[position]!r} is not a number.",
            "Cut or mend the line; numbers have a decimal point.",
        )
    return found


def _number(cell: str) -> float | None:
    if not cell:
        return math.nan
    try:
        return float(cell)
    except ValueError:
        return None
