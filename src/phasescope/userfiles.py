"""Objects from a user's own Python files, named as ``FILE.py:name`` or ``FILE.py:name@CHECKPOINT``.

Naming a file runs its code.
"""

from __future__ import annotations

import ast
import difflib
import functools
import hashlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from phasescope.errors import InputError
from phasescope.regular_files import read_regular

_LARGEST = 50_000_000  # bytes of source
_SPEC = re.compile(r"(?P<file>.+\.py):(?P<name>\w+)(?:@(?P<checkpoint>.+))?")


def is_file_spec(spec: str) -> bool:
    """Return whether `spec` means a Python file rather than a name that phasescope knows."""
    return ".py" in spec


def split(spec: str) -> tuple[Path, str, str]:
    """Return file, name and checkpoint ("" for none) of a spec whose file exists; or say what is nearest."""
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
    """Return the shortest names that tell several targets apart."""
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
    """Return the names of a file's public functions and classes without running it; none if it is broken."""
    try:
        body = ast.parse(read_regular(path, _LARGEST)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [node.name for node in body if isinstance(node, kinds) and not node.name.startswith("_")]


def _nearest_files(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.suffix == path.suffix]
    except OSError:
        return "Check the path."
    close = difflib.get_close_matches(path.name, names, n=2, cutoff=0.6)
    if not close:
        return "Check the path."
    return f"Did you mean {' or '.join(str(path.parent / name) for name in close)}?"


def load_object(spec: str) -> Any:
    """Return the object that ``FILE.py:name`` names; importing the file runs its code."""
    path, name, _ = split(spec)
    with _importable(path):
        return _lookup(_import(path), name, path)


def call_factory(spec: str, *, seed: int | None = None) -> Any:
    """Return what the factory ``FILE.py:name`` returns; a name that is no function is returned as it is.

    A factory that needs an argument called seed, and no other, is given `seed`.
    """
    path, name, _ = split(spec)
    with _importable(path):
        found = _lookup(_import(path), name, path)
        if isinstance(found, nn.Module) or not callable(found):
            return found
        needed = _required_arguments(found)
        offered = {"seed": seed} if seed is not None and needed == ["seed"] else {}
        if needed and not offered:
            raise InputError(
                f"{spec} needs arguments: {', '.join(needed)}.",
                "Give each a default, or name a function without arguments that calls it.",
            )
        try:
            return found(**offered)
        except (Exception, SystemExit) as error:
            raise InputError(f"{spec} failed: {_what_happened(error, path)}") from error


def load_factory(spec: str) -> Callable[..., Any]:
    """Return ``FILE.py:name`` as a function that says where it failed."""
    path, _, _ = split(spec)
    found = load_object(spec)
    if isinstance(found, nn.Module) or not callable(found):
        raise InputError(f"{spec} is {describe(found)}, not a function.", "Name a function.")

    @functools.wraps(found)
    def call(*arguments: Any) -> Any:
        with _importable(path):
            try:
                return found(*arguments)
            except (Exception, SystemExit) as error:
                raise InputError(f"{spec} failed: {_what_happened(error, path)}") from error

    return call


def contents_hash(spec: str) -> str:
    """Return sixteen hexadecimal digits of the sha256 of the file that ``FILE.py:name`` names.

    Files that it imports are not part of it.
    """
    path, _, _ = split(spec)
    return hashlib.sha256(read_regular(path, _LARGEST)).hexdigest()[:16]


def describe(value: Any) -> str:
    """Return what `value` is, with its article: ``an int``, ``a tuple of 3 (int, int, int)``."""
    if isinstance(value, tuple):
        return f"a tuple of {len(value)} ({', '.join(type(item).__name__ for item in value[:4])})"
    return f"{'an' if type(value).__name__[0] in 'aeiou' else 'a'} {type(value).__name__}"


def _required_arguments(function: Any) -> list[str]:
    """Return the arguments that it cannot be called without; a builtin without a signature has none."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in variadic]


_reason_not_to: ContextVar[str] = ContextVar("reason not to import", default="")


@contextmanager
def nothing_imported(reason: str) -> Iterator[None]:
    """Refuse to import a user's file while text from elsewhere, such as stored settings, may name it."""
    before = _reason_not_to.set(reason)
    try:
        yield
    finally:
        _reason_not_to.reset(before)


@contextmanager
def _importable(path: Path) -> Iterator[None]:
    """Let the file import its neighbours; forget them after, so that the next target finds its own."""
    folder = str(path.resolve().parent)
    known = set(sys.modules)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        for name in set(sys.modules) - known:
            origin = getattr(sys.modules[name], "__file__", None) or ""
            if Path(origin).is_relative_to(folder) and "site-packages" not in origin:
                del sys.modules[name]


def _import(path: Path) -> ModuleType:
    if reason := _reason_not_to.get():
        raise InputError(
            f"{path} is not imported: {reason}.", "Run the command that made it, if you trust both."
        )
    name = path.stem if path.stem not in sys.modules else f"{path.stem} of {path.parent}"
    source = importlib.util.spec_from_file_location(name, path.resolve())
    if source is None or source.loader is None:
        raise InputError(f"{path} is not a Python file.", "Name a file that ends in .py.")
    module = importlib.util.module_from_spec(source)
    sys.modules[name] = module  # dataclasses and pickling look a class's module up there
    try:
        source.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise InputError(f"{path} cannot be imported: {_what_happened(error, path)}") from error
    return module


def _lookup(module: ModuleType, name: str, path: Path) -> Any:
    if hasattr(module, name):
        return getattr(module, name)
    names = [known for known, value in vars(module).items() if callable(value) and not known.startswith("_")]
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or functions_in(path)[:5]
    raise InputError(
        f"{path} defines no {name!r}.",
        f"Did you mean {' or '.join(close)}?" if close else "It defines no function.",
    )


def _what_happened(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError):
        line, message = error.lineno, error.msg
    else:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame.lineno for frame in frames if frame.filename == str(path.resolve())]
        line, message = own[-1] if own else None, str(error)
    place = f"{path}, line {line}" if line else str(path)
    return f"{type(error).__name__} in {place}: {message.rstrip('.')}."
