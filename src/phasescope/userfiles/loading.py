"""The object that ``FILE.py:name`` names, and what it returns when it is called."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from phasescope.errors import InputError
from phasescope.userfiles.specs import functions_in, split


def load_object(spec: str) -> Any:
    """Return the object that ``FILE.py:name`` names; importing the file runs its code.

    Parameters
    ----------
    spec : str
        File, colon, name. An ``InputError`` says so if there is no such file or name, or if the file cannot
        be imported.
    """
    path, name, _ = split(spec)
    with _importable(path):
        return _lookup(_import(path), name, path)


def call_factory(spec: str) -> Any:
    """Return what the factory ``FILE.py:name`` returns; a name that is no function is returned as it is.

    Parameters
    ----------
    spec : str
        File, colon, name of a function or class that can be called without arguments.

    Raises
    ------
    InputError
        If it cannot be loaded, needs arguments or raises.
    """
    path, name, _ = split(spec)
    with _importable(path):
        found = _lookup(_import(path), name, path)
        if isinstance(found, nn.Module) or not callable(found):
            return found
        needed = _required_arguments(found)
        if needed:
            raise InputError(
                f"{spec} needs arguments: {', '.join(needed)}.",
                "Give each a default, or name a function without arguments that calls it.",
            )
        try:
            return found()
        except (Exception, SystemExit) as error:
            raise InputError(f"{spec} failed: {_what_happened(error, path)}") from error


def contents_hash(spec: str) -> str:
    """Return sixteen hexadecimal digits of the sha256 of the file that ``FILE.py:name`` names.

    Files that it imports are not part of it.

    Parameters
    ----------
    spec : str
        File, colon, name. An ``InputError`` says so if there is no such file.
    """
    path, _, _ = split(spec)
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def describe(value: Any) -> str:
    """Return what `value` is, with its article: ``an int``, ``a tuple of 3 (int, int, int)``.

    Parameters
    ----------
    value : object
        Something that is not what it should be.
    """
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
        line = error.lineno
        message = error.msg
    else:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame.lineno for frame in frames if frame.filename == str(path.resolve())]
        line = own[-1] if own else None
        message = str(error)
    place = f"{path}, line {line}" if line else str(path)
    return f"{type(error).__name__} in {place}: {message}."
