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
from typing import Any

from phasescope.errors import InputError

FORMAT = 1
_MARK = ', "crc": "'


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
    steps: dict[
        int, dict[str, Any]
    ]  # what is known of each step, in order; "session" is the number of the header
    notes: list[str]  # what was left out


def read_lines(path: Path) -> Lines:
    """Return the undamaged lines of a file; steps that were taken again are those of the later session."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error
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
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        return file.read(1) in (b"", b"\n")
