"""What a user types for an object in a file: ``FILE.py:name`` or ``FILE.py:name@CHECKPOINT``."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Sequence
from pathlib import Path

from phasescope.errors import InputError

_SPEC = re.compile(r"(?P<file>.+\.py):(?P<name>\w+)(?:@(?P<checkpoint>.+))?")


def is_file_spec(spec: str) -> bool:
    """Return whether `spec` means a Python file rather than a name that phasescope knows.

    Parameters
    ----------
    spec : str
        What the user typed.
    """
    return ".py" in spec


def split(spec: str) -> tuple[Path, str, str]:
    """Return file, name and checkpoint ("" for none) of a spec whose file exists.

    Parameters
    ----------
    spec : str
        What the user typed.

    Raises
    ------
    InputError
        If it has another form or the file does not exist; the message says what comes nearest.
    """
    match = _SPEC.fullmatch(spec)
    if match:
        path = Path(match["file"])
        if path.is_file():
            return path, match["name"], match["checkpoint"] or ""
        raise InputError(f"There is no file {path}.", _nearest_files(path))
    path = Path(spec.rstrip(":"))
    if path.suffix == ".py" and path.is_file():
        names = functions_in(path)
        raise InputError(
            f"{spec} does not say which function.",
            f"Write {path}:NAME" + (f", where NAME is one of {', '.join(names[:12])}." if names else "."),
        )
    raise InputError(f"{spec!r} is not of the form FILE.py:function.", "Example: model.py:make_model.")


def labels_of(specs: Sequence[str]) -> list[str]:
    """Return the shortest names that tell several targets apart.

    Parameters
    ----------
    specs : sequence of str
        What the user typed.
    """
    parts = [split(spec) for spec in specs]
    candidates: list[list[str]] = [
        [name for _, name, _ in parts],
        [Path(checkpoint).stem if checkpoint else name for _, name, checkpoint in parts],
        [f"{path.stem}:{name}" for path, name, _ in parts],
        list(specs),
    ]
    for labels in candidates:
        if len(set(labels)) == len(labels):
            return labels
    return [f"{spec} ({number})" for number, spec in enumerate(specs, start=1)]


def functions_in(path: Path) -> list[str]:
    """Return the names of a file's public functions and classes without running it.

    Parameters
    ----------
    path : Path
        A Python file; one that cannot be parsed has none.
    """
    try:
        body = ast.parse(path.read_text(encoding="utf-8")).body
    except (SyntaxError, ValueError, OSError):
        return []
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [node.name for node in body if isinstance(node, kinds) and not node.name.startswith("_")]


def _nearest_files(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.suffix == path.suffix]
    except OSError:
        return "Check the path."
    close = difflib.get_close_matches(path.name, names, n=2, cutoff=0.6)
    return (
        f"Did you mean {' or '.join(str(path.parent / name) for name in close)}?"
        if close
        else "Check the path."
    )
