"""One time series from a file: a column of text, or of a stored array; what was taken is stated.

Text is split by the csv module, which tells the line of every row: readers of whole tables fill short rows,
cut long ones and read 1,23 as 123 without a word. Separator and decimal mark are decided from the first
lines and verified on all. Where two readings fit, the file is refused and both are named.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import re
import stat
import warnings
import zipfile
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from phasescope.errors import InputError

Array = NDArray[np.float64]

_LARGEST = 2**30  # bytes that a compressed file may expand to
_EXPANSION = 100  # how many times its size a compressed text may, from 16 MiB on
_LONGEST_LINE = 2**24  # characters
_SAMPLE = (2000, 2**20)  # lines and characters that decide how a text is read
_BLOCK = 2**15  # cells turned into numbers at a time
_SHOWN = 8
_COMPRESSED = 15  # of the elements of a MATLAB file

_MISSING = frozenset(
    re.split(
        " ",
        " ? - -- . na n/a <na> #n/a #na nan +nan -nan null none nil 1.#ind -1.#ind 1.#qnan -1.#qnan "
        "inf +inf -inf infinity +infinity -infinity",
    )
)
# Words after # that are values of spreadsheets; any other line that begins with # is a comment.
_COMMENT = re.compile(r"\s*#(?!N/?A\b|VALUE!|DIV/0!|REF!|NUM!|NULL!|NAME\?)", re.IGNORECASE)
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*')
_SEPARATORS = {"tab": "\t", "space": " ", "none": ""}
_SEPARATOR_NAMES = {"\t": "tab", " ": "space", "": "none"}
# Marks of thousands that separate nothing else: no-break and thin spaces, apostrophes. Bytes that are no
# UTF-8 come as surrogates; those of Latin-1 and Windows stand here too.
_THOUSANDS = "\u00a0\u202f\u2009\u2019'\udca0\udc92"
_TO_POINT = str.maketrans({**dict.fromkeys(_THOUSANDS + " ", ""), "\u2212": "-"})
# What a cell can be: a number with point, with comma (their sum: both), missing; else 0.
_POINT, _COMMA, _GAP = 1, 2, 7

_CONVERT = {
    ".edf": "numpy.save('series.npy', mne.io.read_raw_edf(FILE).get_data()[0])",
    ".bdf": "numpy.save('series.npy', mne.io.read_raw_bdf(FILE).get_data()[0])",
    ".xlsx": "pandas.read_excel(FILE).to_csv('series.csv')",
    ".parquet": "pandas.read_parquet(FILE).to_csv('series.csv')",
    ".feather": "pandas.read_feather(FILE).to_csv('series.csv')",
    ".nc": "numpy.save('series.npy', xarray.open_dataset(FILE)[NAME])",
    ".h5": "numpy.save('series.npy', h5py.File(FILE)[NAME])",
}
_CONVERT |= {".xls": _CONVERT[".xlsx"], ".ods": _CONVERT[".xlsx"], ".hdf5": _CONVERT[".h5"]}


@dataclass(frozen=True)
class Series:
    """A series from a file, with a statement of what was taken.

    Parameters
    ----------
    values : array of shape (time,)
        Finite numbers, float64.
    name : str
        Of the column or variable; empty where it has none. Control characters are written as escapes.
    taken : str
        One sentence: separator, decimal mark, rows of names, column, lines and gaps.
    gaps : int
        How many values were missing in the file.
    notes : tuple of str
        What looks suspicious and was left as it is, such as a value that may stand for missing ones.
    """

    values: Array = field(repr=False)
    name: str
    taken: str
    gaps: int = 0
    notes: tuple[str, ...] = ()


def read_series(
    path: str | PathLike[str],
    *,
    column: str | int | None = None,
    separator: str | None = None,
    decimal: str | None = None,
    header: int | None = None,
    missing: Sequence[str | float] = (),
    gaps: str = "refuse",
    axis: int | None = None,
) -> Series:
    """Return one time series from a file, and a statement of what was taken.

    Parameters
    ----------
    path : path
        A text (.csv, .tsv, .txt, .dat, .rr or any other name, also compressed by gzip), .npy, .npz, .mat
        (MATLAB 4 to 7) or .wav.
    column : str or int, optional
        The column, by its name or counted from 1. In .npz and .mat the variable, or ``NAME:COLUMN``.
    separator : str, optional
        Between columns: one character, or "tab", "space" (any number of blanks) or "none" (one column).
        Decided from the file by default, like `decimal` and `header`.
    decimal : {".", ","}, optional
        The decimal mark; the other one may then group thousands.
    header : int, optional
        How many lines stand before the first row of values; blank lines and comments do not count.
    missing : sequence of str or float
        Values or words that stand for missing values, such as -9999, beside empty cells, NA, ?, nan and
        the like.
    gaps : {"refuse", "interpolate", "longest"}
        What to do about missing values: an error; straight lines between the neighbours (gaps at the ends are
        cut off); or the longest stretch without one. Straight lines carry less noise than the series, so they
        raise the exponent: see :doc:`/series`.
    axis : int, optional
        The axis of time in a stored array of two axes. By default the only one longer than 1, else the first
        where it is the longest.

    Notes
    -----
    A line that begins with # is a comment. A blank line between values is a missing value; blank lines at
    the end are none. Infinite values are missing. A compressed text may expand to 100 times its size or
    16 MiB, at most 1 GiB; a variable of .npz and .mat to 1 GiB.

    Fails: a file may be wrong and fit. Numbers with a point and three digits each ("1.234") are taken for
    decimals, with a note. Cost: about 2 s and 50 MB for a million lines.

    Raises
    ------
    InputError
        If there is no such regular file, if it can be read in two ways, or if a row or a cell does not fit;
        with the line and what to pass.
    """
    path = Path(path)
    if decimal not in (None, ".", ","):
        raise InputError(f"decimal = {_shown(decimal)} is not offered.", 'Use "." or ",".')
    if gaps not in ("refuse", "interpolate", "longest"):
        raise InputError(f"gaps = {_shown(gaps)} is not offered.", "Use refuse, interpolate or longest.")
    if header is not None and header < 0:
        raise InputError(f"header = {header} is negative.", "Give the number of lines before the values.")
    separator = _SEPARATORS.get(separator or "?", separator)
    if separator is not None and (len(separator) > 1 or (separator and separator in '"\r\n')):
        raise InputError(
            f"separator = {_shown(separator)} is not offered.", "Use one character, tab, space or none."
        )
    _check_regular(path)
    suffix = path.suffix.lower()
    if suffix in _CONVERT:
        raise InputError(
            f"{path}: files ending in {path.suffix!r} are not read.", f"Convert it: {_CONVERT[suffix]}."
        )
    chosen = None if column is None else str(column)
    numbers, words = _declared(missing)
    if suffix in (".npy", ".npz", ".mat", ".wav"):
        if separator is not None or decimal is not None or header is not None:
            raise InputError(f"{path} is no text.", "Leave out separator, decimal and header.")
        raw = _from_arrays(path, suffix, chosen, axis)
    else:
        if axis is not None:
            raise InputError(f"{path} is a text, and axis is for stored arrays.", "Choose a column.")
        raw = _from_text(path, chosen, separator, decimal, header, words)
    return _finished(path, raw, numbers, gaps)


@dataclass(frozen=True)
class _Raw:
    """A series as the file has it, with NaN for missing values."""

    values: Array
    name: str
    taken: list[str]
    notes: list[str]
    unit: str  # "line" or "step"
    places: NDArray[np.int64] | None = None  # the line of each value; counted from 1 without it

    def place(self, index: int) -> int:
        return index + 1 if self.places is None else int(self.places[index])


def _finished(path: Path, raw: _Raw, declared: list[float], gaps: str) -> Series:
    """Return the series with its gaps found and treated as asked."""
    values = raw.values
    missing = ~np.isfinite(values)
    for number in declared:
        missing |= values == number
    count = int(missing.sum())
    taken = list(raw.taken)
    if count == len(values):
        raise InputError(f"{path}: all {count} values are missing.", "Choose another column.")
    if not count:
        taken.append(_span(raw, 0, len(values) - 1) + ", no gaps")
    elif gaps == "refuse":
        first = raw.place(int(missing.argmax()))
        raise InputError(
            f"{path}: {count} of {len(values)} values are missing, first at {raw.unit} {first}.",
            "Pass --gaps longest (the longest stretch without gaps) or --gaps interpolate.",
        )
    else:
        known = np.flatnonzero(~missing)
        if gaps == "longest":
            breaks = np.flatnonzero(np.diff(known) > 1)
            starts, ends = np.r_[0, breaks + 1], np.r_[breaks, len(known) - 1]
            longest = int((ends - starts).argmax())
            first, last = int(known[starts[longest]]), int(known[ends[longest]])
            what = f"the longest stretch without one of {_counted(count, 'gap')}"
        else:
            first, last = int(known[0]), int(known[-1])
            filled = int(missing[first : last + 1].sum())
            values = np.interp(np.arange(len(values)), known, values[known])
            cut = f"{_counted(count - filled, 'gap')} at the ends cut off"
            what = f"{_counted(filled, 'gap')} filled by straight lines" if filled else cut
            what += f", {cut}" if 0 < filled < count else ""
        taken.append(f"{_span(raw, first, last)}, {what}")
        values = values[first : last + 1]
    notes = [*raw.notes, *_sentinels(values, raw)]
    values = np.ascontiguousarray(values, dtype=np.float64)
    return Series(values, raw.name, "Taken: " + ", ".join(taken) + ".", count, tuple(notes))


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + "s" * (count != 1)


def _span(raw: _Raw, first: int, last: int) -> str:
    """Return how many values there are from the first to the last."""
    return f"{last - first + 1} values from {raw.unit} {raw.place(first)} to {raw.place(last)}"


def _sentinels(values: Array, raw: _Raw) -> list[str]:
    """Return a note on each end of the values that is repeated and further off than all others are apart."""
    different, counts = np.unique(values, return_counts=True)
    if len(different) < 5:
        return []
    low, high = different[1], different[-2]
    notes = []
    for place, away in ((0, low - different[0]), (-1, different[-1] - high)):
        if counts[place] > 1 and away > high - low:
            value = f"{different[place]:.15g}"
            first = raw.place(int((values == different[place]).argmax()))
            notes.append(
                f"{value} occurs {counts[place]} times, first at {raw.unit} {first}, far from all other "
                f"values ({low:.6g} to {high:.6g}): if it stands for missing ones, pass --missing {value}."
            )
    return notes


def _declared(missing: Sequence[str | float]) -> tuple[list[float], frozenset[str]]:
    """Return the numbers and the words that stand for missing values."""
    numbers, words = [], set(_MISSING)
    for entry in [missing] if isinstance(missing, str) else missing:
        text = str(entry).strip()
        words.add(text.casefold())
        try:
            numbers.append(float(text.replace(",", ".")))
        except ValueError:
            continue
    return numbers, frozenset(words)


def _check_regular(path: Path) -> None:
    """Refuse what is no regular file: a pipe or a device may have no end."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path}.", "Name a file with a series.") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from error
    if stat.S_ISDIR(mode):
        raise InputError(f"{path} is a folder.", "Name a file with a series.")
    if not stat.S_ISREG(mode):
        raise InputError(f"{path} is no regular file (a pipe or a device).", "Copy it into a file first.")


def _shown(text: object, most: int = 40) -> str:
    """Return a text from a file in quotes, with control characters as escapes, cut where it is long."""
    whole = str(text)
    return repr(whole if len(whole) <= most else whole[:most] + "...")


def _clean(text: str) -> str:
    """Return a name with control characters as escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(_clean, names[:_SHOWN])) + (", ..." if len(names) > _SHOWN else "")


# --- text ---------------------------------------------------------------------------------------------------


class _Expanding(io.RawIOBase):
    """What a compressed file holds, up to a limit."""

    def __init__(self, path: Path, inner: IO[bytes], limit: int) -> None:
        self._path, self._inner, self._limit, self._done = path, inner, limit, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found = self._inner.read(len(buffer))
        self._done += len(found)
        if self._done > self._limit:
            raise InputError(
                f"{self._path} expands to more than {self._limit / 2**20:.0f} MiB, the limit for its size.",
                "If it is what you expect, unpack it first.",
            )
        buffer[: len(found)] = found
        return len(found)


@contextmanager
def _opened(path: Path) -> Iterator[io.TextIOBase]:
    """Yield the file as text, decompressed and decoded."""
    try:
        with path.open("rb") as raw:
            stream: Any = raw
            if raw.peek(2)[:2] == b"\x1f\x8b":
                size = path.stat().st_size
                limit = min(_LARGEST, max(2**24, _EXPANSION * size))
                unpacked: Any = gzip.GzipFile(fileobj=raw)
                stream = io.BufferedReader(_Expanding(path, unpacked, limit), 2**16)
            start = stream.peek(2**12)[: 2**12]
            if start.startswith(b"PK\x03\x04"):
                raise InputError(f"{path} is a zip archive or a workbook.", "Unpack it, or save it as .csv.")
            if start.startswith((b"\xff\xfe", b"\xfe\xff")):
                yield io.TextIOWrapper(stream, encoding="utf-16")
            elif b"\0" in start:
                raise InputError(
                    f"{path} is no text: it has zero bytes.", "Save it as UTF-8 text, or as .npy."
                )
            else:
                # The bytes of another encoding stand for themselves: numbers and separators are ASCII.
                yield io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape")
    except (OSError, EOFError, zlib.error, UnicodeError) as error:
        raise InputError(f"{path} cannot be read: {_clean(str(error))}.") from error


class _Lines:
    """The lines of a text without its comments; `number` is that of the last line."""

    def __init__(self, path: Path, text: io.TextIOBase) -> None:
        self.path, self.number, self.comments, self.separator = path, 0, 0, ""
        self._text = text

    def __iter__(self) -> Iterator[str]:
        while line := self._text.readline(_LONGEST_LINE):
            self.number += 1
            if len(line) == _LONGEST_LINE:
                raise InputError(
                    f"{self.path}, line {self.number} has more than {_LONGEST_LINE} characters.",
                    "Write one row a time step.",
                )
            if self.number == 1 and (found := _SEPARATOR_LINE.fullmatch(line)):
                self.separator = found[1]
            elif "#" in line and _COMMENT.match(line):
                self.comments += 1
            else:
                yield line


def _rows(
    path: Path, lines: Iterable[str], number: Callable[[], int], separator: str, *, strict: bool
) -> Iterator[list[str]]:
    """Yield the cells of each line, none for a blank line; `number` tells the line that was read last."""
    if not separator:
        for line in lines:
            cell = line.strip()
            quoted = len(cell) > 1 and cell[0] == cell[-1] == '"' and cell.count('"') == 2
            yield [cell[1:-1].strip() if quoted else cell] if cell else []
        return
    pulled = 0

    def source() -> Iterator[str]:
        nonlocal pulled
        for line in lines:
            pulled += 1
            yield line.strip().replace("\t", " ") if separator == " " else line

    reader = csv.reader(source(), delimiter=separator, skipinitialspace=separator == " ", strict=strict)
    while True:
        pulled = 0
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if pulled == 1:
                raise InputError(f"{path}, line {number()}: {error}.", "Mend the quotes.") from error
        if pulled > 1:
            raise InputError(
                f"{path}, line {number() - pulled + 1}: a quoted cell does not end in its line.",
                "Write one line a row.",
            )
        yield [cell.strip() for cell in row]


def _grammar(decimal: str, thousands: str) -> re.Pattern[str]:
    """Return the pattern of a number with this decimal mark, its thousands grouped by one of the marks."""
    groups = "".join(rf"[1-9][0-9]{{0,2}}(?:{re.escape(mark)}[0-9]{{3}})+|" for mark in thousands)
    fraction = r"(?:\.[0-9]*)?" if decimal == "." else "(?:,[0-9]+)?"
    return re.compile(
        rf"[+\-\u2212]?(?:(?:{groups}[0-9]+){fraction}|{re.escape(decimal)}[0-9]+)(?:[eE][+\-]?[0-9]+)?"
    )


_ANY_POINT, _ANY_COMMA = _grammar(".", _THOUSANDS + " ,"), _grammar(",", _THOUSANDS + " .")


def _number(cell: str, decimal: str) -> float:
    """Return the value of a cell that follows the grammar of this decimal mark."""
    cell = cell.translate(_TO_POINT)
    return float(cell.replace(",", "") if decimal == "." else cell.replace(".", "").replace(",", "."))


@dataclass(frozen=True)
class _Table:
    """The first lines of a text, split by one separator."""

    separator: str
    lines: list[int]
    rows: list[list[str]]
    kinds: list[list[int]]  # of every cell: _POINT, _COMMA, both, _GAP or 0
    head: int  # rows before the first row of values
    width: int  # cells of a row of values

    @property
    def columns(self) -> list[int]:
        """What all cells of a column can be."""
        found = [_GAP] * self.width
        for row in self.kinds[self.head :]:
            for place, kind in enumerate(row[: self.width]):
                found[place] &= kind
        return found

    @property
    def ragged(self) -> bool:
        return any(len(row) != self.width for row in self.rows[self.head :])

    @property
    def numeric(self) -> bool:
        """Whether all cells are numbers or missing."""
        return all(kind for row in self.kinds[self.head :] for kind in row)

    @property
    def quality(self) -> int:
        """2 where all cells are numbers or missing, 1 where a column is, 0 where none is or rows differ."""
        if self.ragged or not any(0 < kind < _GAP for kind in self.columns):
            return 0
        return 1 + self.numeric

    @property
    def named(self) -> bool:
        """Whether the row before the values has a cell for each column."""
        return self.head > 0 and len(self.rows[self.head - 1]) == self.width

    def has(self, column: str) -> bool:
        if any(column in row for row in self.rows[: self.head]):
            return True
        return column.isdecimal() and 1 <= int(column) <= self.width

    def cells(self, place: int) -> list[str]:
        return [row[place] for row in self.rows[self.head :] if place < len(row)]


def _table(
    path: Path,
    sample: list[tuple[int, str]],
    separator: str,
    marks: int,
    missing: frozenset[str],
    header: int | None,
) -> _Table:
    """Return the sample split by a separator; only numbers with the marks count."""
    place = 0

    def lines() -> Iterator[str]:
        nonlocal place
        for place in range(len(sample)):
            yield sample[place][1]

    found, numbers = [], []
    for row in _rows(path, lines(), lambda: sample[place][0], separator, strict=False):
        if any(row):
            found.append(row)
            numbers.append(sample[place][0])
    kinds = [
        [
            _GAP
            if cell.casefold() in missing
            else marks
            & (_POINT * bool(_ANY_POINT.fullmatch(cell)) + _COMMA * bool(_ANY_COMMA.fullmatch(cell)))
            for cell in row
        ]
        for row in found
    ]
    head = min(header, len(found)) if header is not None else _head(found, kinds)
    body = found[head:] or found[-1:]
    width = Counter(len(row) for row in body).most_common(1)[0][0] if body else 0
    return _Table(separator, numbers, found, kinds, head, width)


def _head(rows: list[list[str]], kinds: list[list[int]]) -> int:
    """Return how many rows hold names: those before the first number that cannot be values.

    A row of values may begin a series with missing ones: it has as many cells as the first row with a number,
    and words only where that row has words.
    """
    first = next((i for i, row in enumerate(kinds) if any(0 < kind < _GAP for kind in row)), len(rows))
    if first == len(rows):
        return 0
    head = first
    while head and len(kinds[head - 1]) == len(kinds[first]):
        above = kinds[head - 1]
        if any(kind == 0 and below for kind, below in zip(above, kinds[first], strict=True)):
            break
        head -= 1
    return head


def _bare(line: str) -> str:
    """Return a line without what stands in quotes."""
    return re.sub(r'"[^"]*"', '""', line).strip()


def _split(
    path: Path,
    sample: list[tuple[int, str]],
    separator: str | None,
    marks: int,
    missing: frozenset[str],
    header: int | None,
    column: str | None,
) -> _Table:
    """Return the sample split by the separator that was given, or by the only one that fits."""
    bare = [_bare(line) for _, line in sample]
    candidates = [separator] if separator is not None else []
    if separator is None:
        share = len([line for line in bare if line]) / 2
        candidates = [mark for mark in "\t;|" if sum(mark in line for line in bare) >= share]
        if not candidates:
            candidates = ["", *(mark for mark in ", " if any(mark in line for line in bare))]
    tables = [_table(path, sample, mark, marks, missing, header) for mark in candidates]
    if separator is None and "\t" in candidates and not any(table.quality for table in tables):
        tables.append(_table(path, sample, " ", marks, missing, header))
    best = max(table.quality for table in tables)
    if len(tables) == 1 or best == 0:
        return max(tables, key=lambda table: sum(0 < kind < _GAP for row in table.kinds for kind in row))
    tied = [table for table in tables if table.quality == best]
    whole = tied[0] if tied[0].separator == "" and best == 2 else None
    if whole is not None:
        # Neither a row that was cut short nor a word on top turns two columns into one of decimals.
        tied += [
            table
            for table in tables
            if table not in tied and (table.numeric if table.ragged else whole.head and table.width > 1)
        ]
    elif best == 1:
        tied += [
            table
            for table in tables
            if table not in tied and any(_hides(one, table.separator) for one in tied)
        ]
    if column is not None:
        tied = [table for table in tied if table.has(column)] or tied
    if marks == _COMMA:
        tied = [table for table in tied if table.separator != ","] or tied
    if whole in tied and whole is not None:
        tied = [table for table in tied if table is whole or not _one_column(whole, table)]
    if len(tied) > 1:
        named = [table for table in tied if table.named and table.width > 1]
        tied = named if len(named) == 1 else tied
    if len(tied) > 1:
        raise _two_readings(path, sample, tied)
    return tied[0]


def _hides(table: _Table, mark: str) -> bool:
    """Return whether a table has words that another separator splits into numbers."""
    return any(
        kind == 0 and mark and mark in cell and all(map(_any_number, filter(None, cell.split(mark))))
        for row, kinds in zip(table.rows[table.head :], table.kinds[table.head :], strict=True)
        for cell, kind in zip(row, kinds, strict=True)
    )


def _any_number(cell: str) -> bool:
    return bool(_ANY_POINT.fullmatch(cell) or _ANY_COMMA.fullmatch(cell))


def _one_column(whole: _Table, table: _Table) -> bool:
    """Return whether the rows of a table are numbers of one column, which its separator only groups.

    They are where the header has one cell, where a group begins with 0, or where rows differ and neither a
    decimal mark nor a fault would explain it as well: more than one row and a tenth of them differ, and
    nothing above 999 is left without groups.
    """
    mark = table.separator
    body = table.rows[table.head :]
    differ = sum(len(row) != table.width for row in body)
    if (table.named and table.width > 1) or 0 < differ < len(body) / 10:
        return False
    if whole.head and len(table.rows[whole.head - 1]) == 1:
        return True
    if mark == "," and whole.columns[0] & _COMMA:
        return False
    if any(mark not in cell and re.search("[0-9]{4}", cell.split(".")[0]) for cell in whole.cells(0)):
        return False
    return differ > 1 or any(re.match("0[0-9][0-9]", cell) for row in body for cell in row[1:])


def _two_readings(path: Path, sample: list[tuple[int, str]], tied: list[_Table]) -> InputError:
    """Return the refusal of a text that can be split in two ways."""
    wide = tied[-1]
    line, cells = next(
        (line, len(row))
        for line, row in zip(wide.lines[wide.head :], wide.rows[wide.head :], strict=True)
        if len(row) > 1
    )
    text = next(text for number, text in sample if number == line).strip()
    readings = [
        "one cell" if table.separator == "" else f"{cells} cells {_separator_name(table.separator)}"
        for table in tied
    ]
    options = [f"--separator {_SEPARATOR_NAMES.get(table.separator, table.separator)}" for table in tied]
    if tied[0].separator == "" and wide.separator == "," and tied[0].columns[0] & _COMMA:
        options[0] += " --decimal ,"
    return InputError(
        f"{path}, line {line}: {_shown(text)} can be read as {' or as '.join(readings)}.",
        f"Pass {' or '.join(options)}.",
    )


def _separator_name(separator: str) -> str:
    return {"\t": "separated by tabs", " ": "separated by blanks"}.get(
        separator, f"separated by {_shown(separator)}"
    )


def _running(cells: list[str]) -> bool:
    """Return whether the cells count up from 0 or 1."""
    start = int(cells[:1] == ["1"])
    return all(cell == str(number) for number, cell in enumerate(cells, start))


def _names(path: Path, table: _Table, header: int | None) -> tuple[_Table, list[str]]:
    """Return the table with its rows of names told from values, and the names, empty where there are none."""
    head, width = table.head, table.width
    if header is None:
        widths = [len(row) for row in table.rows[:head]]
        for place, (line, row) in enumerate(zip(table.lines[:head], table.rows[:head], strict=True)):
            if width in widths[:place]:
                _check_width(path, line, row, width)
            for cell, kind in zip(row, table.columns, strict=False):
                number = re.match(r"[+\-]?[.,]?[0-9]", cell)
                if number and (0 < kind < _GAP or len(row) != width):
                    raise InputError(
                        f"{path}, line {line}: {_shown(cell)} is a name or a number with a fault.",
                        f"Mend the line, or pass --header {head} if it is a name.",
                    )
    if header is None and head == 0 and len(table.rows) > 1:
        first, rest = table.rows[0], table.rows[1:]
        below = [[row[j] for row in rest if j < len(row)] for j in range(len(first))]
        why = ""
        if not first[0] and width > 1 and all(below[0]):
            # The header of a table without names, as pandas writes it: an empty cell, 0, 1, 2, ...
            if first[1] == "0" and _running(first[1:]) and (_running(below[0]) or not table.kinds[1][0]):
                head = 1
            else:
                why = "begins with an empty cell, so it is a header or a row with a missing value"
        elif any(
            kind == 0 and _numeric([row[j] for row in table.kinds[1:] if j < len(row)])
            for j, kind in enumerate(table.kinds[0])
        ):
            why = "has words and numbers, so it is a header or a row with a fault"
        elif _numbered(first) and not any(re.fullmatch(r"[+-]?[0-9]+", c) for cells in below for c in cells):
            why = "has whole numbers, the others none, so it is a header or values"
        if why:
            raise InputError(
                f"{path}, line {table.lines[0]} {why}.",
                "Pass --header 1 if it is a header, --header 0 if it is none.",
            )
        table = _Table(table.separator, table.lines, table.rows, table.kinds, head, width)
    names = next((row for row in table.rows[:head] if len(row) == width), None)
    if names is None and head:
        last = table.rows[head - 1]
        while len(last) > width and not last[-1]:
            last = last[:-1]
        if len(last) == width:
            names = last
        elif len(last) == width - 1 and table.columns[-1] == _GAP and not any(table.cells(width - 1)):
            names = [*last, ""]
        elif len(last) == width - 1 and (_running(table.cells(0)) or table.columns[0] == 0):
            names = ["", *last]  # as R and pandas write it: names of rows have no name
        elif header is None and len(last) > 1:
            raise InputError(
                f"{path}, line {table.lines[head - 1]} has {len(last)} cells, the rows below have {width}.",
                f"Mend the header, or pass --header {head} and number the column.",
            )
    return table, names or [""] * width


def _numeric(kinds: list[int]) -> bool:
    """Return whether cells are numbers or missing, and not all missing."""
    return all(kinds) and any(kind < _GAP for kind in kinds)


def _numbered(first: list[str]) -> bool:
    """Return whether a row could be the numbers of columns."""
    if len(first) == 1:
        return first == ["0"]
    return all(re.fullmatch("[0-9]+", cell) for cell in first) and len(set(first)) == len(first)


def _column(path: Path, table: _Table, names: list[str], column: str | None) -> int:
    """Return the position of the column that was asked for, or of the only one."""
    columns = table.columns
    called = [name or str(place) for place, name in enumerate(names, 1)]
    if column is None:
        if table.width == 1:
            return 0
        index = table.head and not names[0] and _running(table.cells(0))
        usable = [
            place for place, kind in enumerate(columns) if 0 < kind < _GAP and not (index and place == 0)
        ]
        partly = [
            place
            for place, kind in enumerate(columns)
            if kind == 0
            and any(0 < k < _GAP for row in table.kinds[table.head :] for k in row[place : place + 1])
        ]
        if len(usable) == 1 and not partly:
            return usable[0]
        raise InputError(
            f"{path} has {table.width} columns: {_listed(called)}.",
            f"Choose one, such as --column {_clean(called[(usable or [table.width - 1])[-1]])}.",
        )
    for row in [names, *table.rows[: table.head]]:
        if row.count(column) == 1 and len(row) == table.width:
            return row.index(column)
    if column.isdecimal() and 1 <= int(column) <= table.width:
        return int(column) - 1
    raise InputError(
        f"--column {_clean(column)}: {path} has {table.width} column(s): {_listed(called)}.",
        "Give one of these names, or a number counted from 1.",
    )


def _marks(path: Path, table: _Table, place: int, decimal: str | None) -> tuple[str, bool, list[str]]:
    """Return the decimal mark of a column, whether the other one may group thousands, and notes."""
    if decimal is not None:
        return decimal, True, []
    columns = table.columns
    kind = columns[place]
    cells = table.cells(place)
    if kind in (_POINT, _COMMA):
        return (".", True, []) if kind == _POINT else (",", True, [])
    if kind == 0:
        found = [row[place] for row in table.kinds[table.head :] if place < len(row)]
        return (".", True, []) if found.count(_COMMA) <= found.count(_POINT) else (",", True, [])
    others = {other for other in columns if other in (_POINT, _COMMA)}
    if len(others) == 1:
        return (".", True, []) if others == {_POINT} else (",", True, [])
    grouped = [cell for cell in cells if "." in cell]
    # As many digits in every number are decimals; thousands leave numbers below 1000 without a point.
    alike = len(grouped) == sum(row[place] < _GAP for row in table.kinds[table.head :])
    for line, cell in zip(table.lines[table.head :], cells, strict=True):
        if "," in cell or ("." in cell and not alike):
            raise InputError(
                f"{path}, line {line}: {_shown(cell)} is {_number(cell, '.'):.15g} or "
                f"{_number(cell, ','):.15g}, and no other line tells.",
                "Pass --decimal . or --decimal , (the decimal mark).",
            )
    note = "Three digits follow each point: if they are thousands, pass --decimal , (the decimal mark)."
    return ".", False, [note] if grouped else []


def _from_text(
    path: Path,
    column: str | None,
    separator: str | None,
    decimal: str | None,
    header: int | None,
    missing: frozenset[str],
) -> _Raw:
    """Return a column of a text: decided from the first lines, then read and verified on all."""
    with _opened(path) as text:
        lines = _Lines(path, text)
        sample: list[tuple[int, str]] = []
        size = 0
        for line in itertools.islice(lines, _SAMPLE[0]):
            sample.append((lines.number, line))
            size += len(line)
            if size > _SAMPLE[1] and len(sample) > _SHOWN:
                break
        separator = lines.separator or None if separator is None else separator
    if not any(line.strip() for _, line in sample):
        raise InputError(f"{path} is empty.", "Write one row a time step.")
    marks = {None: _POINT | _COMMA, ".": _POINT, ",": _COMMA}[decimal]
    table = _split(path, sample, separator, marks, missing, header, column)
    if table.head == len(table.rows):
        raise InputError(
            f"{path} has no row of values after {table.head} of names.", "Pass a smaller --header."
        )
    for number, row in zip(table.lines[table.head :], table.rows[table.head :], strict=True):
        _check_width(path, number, row, table.width)
    table, names = _names(path, table, header)
    place = _column(path, table, names, column)
    decimal, grouped, notes = _marks(path, table, place, decimal)
    other = "," if decimal == "." else "."
    cells = table.cells(place)
    # In a column alone, blanks and the other mark group thousands only where the first lines show it.
    allowed = "".join(
        mark
        for mark in (other, " ")
        if (mark == " " or grouped) and (table.separator or any(mark in cell for cell in cells))
    )
    with _opened(path) as text:
        lines = _Lines(path, text)
        values, places = _read(path, lines, table, place, decimal, _THOUSANDS + allowed, missing)
    name = _clean(names[place])
    called = f"column {place + 1} of {table.width}" if table.width > 1 else "one column"
    taken = [_separator_name(table.separator)] if table.separator else []
    taken += [f"decimal {'point' if decimal == '.' else 'comma'}"]
    if table.head:
        taken.append(f"{_counted(table.head, 'row')} of names")
    taken.append(called + (f" ({name})" if name else ""))
    if lines.comments:
        taken.append(f"{_counted(lines.comments, 'comment')} left out")
    return _Raw(values, name, taken, notes, "line", places)


def _read(
    path: Path,
    lines: _Lines,
    table: _Table,
    place: int,
    decimal: str,
    thousands: str,
    missing: frozenset[str],
) -> tuple[Array, NDArray[np.int64]]:
    """Return all values of a column with NaN for missing ones, and their lines; every row is verified."""
    grammar = _grammar(decimal, thousands)
    values, places = array("d"), array("q")
    cells: list[str] = []
    head, width, blank = table.head, table.width, 0

    def flush() -> None:
        values.extend(_numbers(path, cells, places[len(values) :], grammar, decimal, missing))
        cells.clear()

    for row in _rows(path, iter(lines), lambda: lines.number, table.separator, strict=True):
        if not any(row):
            blank += 1
            continue
        if head:
            head, blank = head - 1, 0
            continue
        if blank and places:
            cells += [""] * blank
            places.extend(range(lines.number - blank, lines.number))
        blank = 0
        _check_width(path, lines.number, row, width)
        cells.append(row[place])
        places.append(lines.number)
        if len(cells) >= _BLOCK:
            flush()
    flush()
    return np.frombuffer(values, np.float64), np.frombuffer(places, np.int64)


def _check_width(path: Path, line: int, row: list[str], width: int) -> None:
    if len(row) != width:
        raise InputError(
            f"{path}, line {line} has {_counted(len(row), 'cell')}, the others have {width}.",
            "Mend the row, or pass --separator and --header if the columns are others.",
        )


def _numbers(
    path: Path,
    cells: list[str],
    places: Sequence[int],
    grammar: re.Pattern[str],
    decimal: str,
    missing: frozenset[str],
) -> list[float]:
    """Return the values of cells, NaN where they are missing."""
    if decimal == "." and "_" not in "".join(cells):
        try:
            return list(map(float, cells))
        except ValueError:
            pass
    found = []
    for line, cell in zip(places, cells, strict=True):
        if grammar.fullmatch(cell):
            found.append(_number(cell, decimal))
        elif cell.casefold() in missing:
            found.append(np.nan)
        else:
            other = _ANY_COMMA if decimal == "." else _ANY_POINT
            hint = (
                "Pass --decimal and --separator to say how it is meant."
                if other.fullmatch(cell) or _ANY_POINT.fullmatch(cell)
                else "Mend the line; pass --missing if it stands for a missing value, --header for a name."
            )
            raise InputError(f"{path}, line {line}: {_shown(cell)} is not a number.", hint)
    return found


# --- stored arrays ------------------------------------------------------------------------------------------


def _from_arrays(path: Path, suffix: str, column: str | None, axis: int | None) -> _Raw:
    """Return a column of the variable that was asked for, or of the only one."""
    try:
        name, stored, remark, column = _STORED[suffix](path, column)
    except InputError:
        raise
    except NotImplementedError as error:
        raise InputError(f"{path} is a MATLAB file of version 7.3.", "Save it in MATLAB with -v7.") from error
    except Exception as error:  # the readers of damaged files raise errors of all kinds
        raise InputError(f"{path} cannot be read as {suffix[1:]}: {_clean(str(error))}.") from error
    what = f"{path}, variable {_clean(name)}," if name else f"{path}"
    if stored.dtype.kind not in "biuf":
        raise InputError(f"{what} holds values of type {stored.dtype}.", "Store real numbers.")
    if stored.ndim not in (1, 2):
        raise InputError(f"{what} has shape {stored.shape}.", "Store (time,), (time, columns) or one such.")
    if not stored.size:
        raise InputError(f"{what} is empty.", "Store one value a time step.")
    taken = [remark] if remark else []
    taken += [f"variable {_clean(name)}"] if name else []
    if axis is not None and not -stored.ndim <= axis < stored.ndim:
        raise InputError(f"--axis {axis}: {what} has shape {stored.shape}.", "Give an axis that it has.")
    if stored.ndim == 1:
        stored = stored[:, None]
    else:
        rows, columns = stored.shape
        if axis is None and rows != 1 < columns and rows < columns:
            raise InputError(
                f"{what} has shape {stored.shape}: {columns} columns of {rows} time steps, or {rows} of "
                f"{columns}.",
                "Pass --axis 1 if time runs along the second axis (the longer one), --axis 0 if not.",
            )
        along = axis % 2 if axis is not None else int(rows == 1)
        stored = stored.T if along else stored
        taken.append(f"shape ({rows}, {columns}) with time along axis {along}")
    width = stored.shape[1]
    if column is None and width > 1:
        raise InputError(
            f"{what} has {width} columns: {_listed([str(n) for n in range(1, width + 1)])}.",
            f"Choose one, such as --column {width}; --axis says along which axis time runs.",
        )
    column = "1" if column is None else column
    if not (column.isdecimal() and 1 <= int(column) <= width):
        raise InputError(
            f"--column {_clean(column)}: {what} has {width} column(s).", "Give a number counted from 1."
        )
    if width > 1:
        taken.append(f"column {column} of {width}")
    values = np.array(stored[:, int(column) - 1], dtype=np.float64)
    return _Raw(values, _clean(name), taken, [], "step")


def _npy(path: Path, column: str | None) -> tuple[str, NDArray[Any], str, str | None]:
    """Return an array as it lies on the disk: no more is read than is asked for."""
    return "", np.lib.format.open_memmap(path, mode="r"), "", column


def _npz(path: Path, column: str | None) -> tuple[str, NDArray[Any], str, str | None]:
    """Return a variable of an archive, if its declared size is within the limit and that of its header."""
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
        members = {entry.filename.removesuffix(".npy"): entry for entry in entries}
        headers: dict[str, tuple[int, ...]] = {}
        for name, entry in members.items():
            with archive.open(entry) as file:
                version = np.lib.format.read_magic(file)
                read = (
                    np.lib.format.read_array_header_1_0
                    if version == (1, 0)
                    else np.lib.format.read_array_header_2_0
                )
                shape, _, dtype = read(file)
                if not dtype.hasobject and entry.file_size - file.tell() != _bytes(shape, dtype.itemsize):
                    raise InputError(f"{path}: the size of {_clean(name)} is not what its header says.")
                if dtype.kind in "biuf":
                    headers[name] = shape
        name, rest = _variable(path, headers, column)
        _check_size(path, name, members[name].file_size)
        with archive.open(members[name]) as file:
            return name, np.lib.format.read_array(file, allow_pickle=False), "", rest


def _mat(path: Path, column: str | None) -> tuple[str, NDArray[Any], str, str | None]:
    """Return a variable of a MATLAB file whose compressed parts are within the limit."""
    from scipy.io import loadmat, whosmat

    with path.open("rb") as file:
        start = file.read(128)
        order: Literal["little", "big"] = "little" if start[126:] == b"IM" else "big"
        while 0 not in start[:4] and len(tag := file.read(8)) == 8:
            kind, size = (int.from_bytes(part, order) for part in (tag[:4], tag[4:]))
            if kind == _COMPRESSED:
                _check_expansion(path, file.read(size))
            else:
                file.seek(size, 1)
    real = {*(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}
    real |= {"single", "double", "logical"}
    shapes = {name: shape for name, shape, kind in whosmat(path) if kind in real}
    name, rest = _variable(path, shapes, column)
    _check_size(path, name, _bytes(shapes[name], 8))
    return name, np.asarray(loadmat(path, variable_names=[name])[name]), "", rest


def _wav(path: Path, column: str | None) -> tuple[str, NDArray[Any], str, str | None]:
    """Return the samples of a recording, of shape (time,) or (time, channels)."""
    from scipy.io import wavfile

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wavfile.WavFileWarning)  # of parts that hold no samples
        try:
            rate, samples = wavfile.read(path, mmap=True)
        except ValueError as error:  # 24 bits cannot be mapped
            if "not compatible" not in str(error):
                raise
            rate, samples = wavfile.read(path)
    return "", np.asarray(samples), f"{rate} samples a second", column


_STORED = {".npy": _npy, ".npz": _npz, ".mat": _mat, ".wav": _wav}


def _bytes(shape: tuple[int, ...], itemsize: int) -> int:
    return int(np.prod([int(n) for n in shape], dtype=object)) * itemsize


def _check_size(path: Path, name: str, size: int) -> None:
    if size > _LARGEST:
        raise InputError(
            f"{path}: {_clean(name)} takes {size / 2**30:.3g} GiB, the limit is {_LARGEST / 2**30:.0f} GiB.",
            "Save the series alone as .npy.",
        )


def _check_expansion(path: Path, packed: bytes) -> None:
    """Refuse what expands beyond the limit, without keeping it."""
    unpack, size = zlib.decompressobj(), 0
    while packed:
        size += len(unpack.decompress(packed, 2**20))
        packed = unpack.unconsumed_tail
        _check_size(path, "a variable", size)


def _variable(path: Path, shapes: dict[str, tuple[int, ...]], column: str | None) -> tuple[str, str | None]:
    """Return the variable that was asked for, or the only one with several values, and the column in it."""
    usable = [name for name, shape in shapes.items() if _bytes(shape, 1) > 1]
    if not usable:
        raise InputError(f"{path} holds no array of real numbers.", "Store one value a time step.")
    if column in usable:
        return column, None
    name, _, inside = (column or "").rpartition(":")
    if name in usable:
        return name, inside
    if len(usable) == 1:
        return usable[0], column
    if column is not None and column.isdecimal() and 1 <= int(column) <= len(usable):
        return usable[int(column) - 1], None
    raise InputError(
        f"{path} has {len(usable)} variables: {_listed(usable)}.",
        f"Choose one by name or number, such as --column {_clean(usable[-1])}, or NAME:COLUMN.",
    )
