"""The official files of CIFAR-10: the binary version, and the pickles of the Python version.

A pickle is a program. Here it is read as a list of operations, of which only those are followed that the
official files consist of: nothing is imported or called, and an array is its bytes alone.
"""

from __future__ import annotations

import pickletools
from pathlib import Path
from typing import Any

import numpy as np

from phasescope.errors import InputError
from phasescope.regular_files import read_regular

_PIXELS = 3 * 32 * 32
_PARTS = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
_FOLDERS = ("", "cifar-10-batches-bin", "cifar-10-batches-py")
_MOST = 200_000_000  # bytes of one file; the official ones have 31 million

_BYTES = ("SHORT_BINSTRING", "BINSTRING")
_NUMBERS = ("BININT1", "BININT2", "BININT")
_SINGLE = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_ARRAY, _NDARRAY, _DTYPE = "numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"


def official(folder: Path) -> list[tuple[np.ndarray, np.ndarray]] | None:
    """Return images (count, 3072) and labels of the six official files in `folder`, or None without any."""
    for place in _FOLDERS:
        for ending, read in ((".bin", _binary), ("", _pickled)):
            paths = [folder / place / f"{part}{ending}" for part in _PARTS]
            missing = [path.name for path in paths if not path.exists()]
            if not missing:
                return [read(path) for path in paths]
            if len(missing) < len(paths):
                raise InputError(
                    f"{paths[0].parent} lacks {', '.join(missing)}.", "Unpack the archive again."
                )
    return None


def _binary(path: Path) -> tuple[np.ndarray, np.ndarray]:
    content = np.frombuffer(read_regular(path, _MOST), np.uint8)
    if not content.size or content.size % (1 + _PIXELS):
        raise _damaged(path, f"its {content.size:,} bytes are not rows of {1 + _PIXELS:,}")
    rows = content.reshape(-1, 1 + _PIXELS)
    return rows[:, 1:], _checked(rows[:, 0], path)


def _pickled(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        known = _followed(read_regular(path, _MOST))
    except InputError:
        raise
    except _NotAdmittedError as error:
        raise InputError(
            f"{path} is not CIFAR-10 and was not run: it holds {error}.",
            "Download it again, or use the binary version.",
        ) from error
    except Exception as error:  # a damaged list of operations fails in many ways
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    images, labels = known.get(b"data"), known.get(b"labels")
    if not isinstance(images, _Array) or images.values.shape[1:] != (_PIXELS,):
        raise _damaged(path, f"b'data' is no array of rows of {_PIXELS:,} bytes")
    if not isinstance(labels, list) or [type(label) for label in labels] != [int] * len(images.values):
        raise _damaged(path, "b'labels' is no list of one number an image")
    return images.values, _checked(np.array(labels), path)


def _checked(labels: np.ndarray, path: Path) -> np.ndarray:
    if len(labels) == 0 or labels.min() < 0 or labels.max() > 9:
        raise _damaged(path, "its labels are not 0 to 9")
    return labels


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(f"{path} cannot be read: {reason}.", "Download it again.")


class _NotAdmittedError(Exception):
    """Something that the official files do not hold."""


class _Name(str):
    """What is named to be imported, which it never is."""


class _Array:
    """Stands for an array of bytes; its values come after it."""

    values: np.ndarray = np.empty(0, np.uint8)


class _ByteType:
    """Stands for the type of an array of bytes."""


def _followed(content: bytes) -> dict[bytes, Any]:
    """Return the dictionary that a pickle of protocol 2 describes."""
    stack: list[Any] = []
    below: list[list[Any]] = []  # what was on the stack at each mark that is open
    memo: dict[int, Any] = {}
    operation: pickletools.OpcodeInfo
    argument: Any
    for operation, argument, _ in pickletools.genops(content):
        name = operation.name
        if name in _BYTES:
            stack.append(argument.encode("latin-1"))
        elif name in _NUMBERS:
            stack.append(argument)
        elif name in _SINGLE:
            stack.append(_SINGLE[name])
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name == "EMPTY_LIST":
            stack.append([])
        elif name == "MARK":
            below.append(stack)
            stack = []
        elif name in ("TUPLE", "APPENDS", "SETITEMS"):
            items, stack = stack, below.pop()
            if name == "TUPLE":
                stack.append(tuple(items))
            elif name == "APPENDS":
                _last(stack, list).extend(items)
            else:
                if not all(type(key) is bytes for key in items[::2]):
                    raise _NotAdmittedError("another key than a word")
                _last(stack, dict).update(zip(items[::2], items[1::2], strict=True))
        elif name in _TUPLES:
            items = [stack.pop() for _ in range(_TUPLES[name])]
            stack.append(tuple(items[::-1]))
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "GLOBAL":
            if argument not in (_ARRAY, _NDARRAY, _DTYPE):
                raise _NotAdmittedError(f"the name {argument.replace(' ', '.')}")
            stack.append(_Name(argument))
        elif name == "REDUCE":
            arguments, called = stack.pop(), stack.pop()
            stack.append(_begun(called, arguments))
        elif name == "BUILD":
            state = stack.pop()
            if type(stack[-1]) is not _ByteType:  # how its bytes lie is in its name
                _last(stack, _Array).values = _values(state)
        elif name == "STOP":
            made: dict[bytes, Any] = _last(stack, dict)
            return made
        elif name != "PROTO":
            raise _NotAdmittedError(f"the operation {name}")
    raise ValueError("it has no end")


def _last(stack: list[Any], kind: type) -> Any:
    if type(stack[-1]) is not kind:
        raise _NotAdmittedError(f"an operation on another thing than a {kind.__name__.strip('_')}")
    return stack[-1]


def _begun(called: Any, arguments: Any) -> _Array | _ByteType:
    """Return what stands for the result of a call, which is not made."""
    match called, arguments:
        case _Name(), (_Name(), (0,), b"b") if (called, arguments[0]) == (_ARRAY, _NDARRAY):
            return _Array()
        case _Name(), (b"u1", _, _) if called == _DTYPE:
            return _ByteType()
    raise _NotAdmittedError("a call that makes no array of bytes")


def _values(state: Any) -> np.ndarray:
    match state:
        case (1, (int() as rows, int() as columns), _ByteType(), bool() as by_columns, bytes() as values):
            return np.frombuffer(values, np.uint8).reshape(rows, columns, order="F" if by_columns else "C")
    raise _NotAdmittedError("an array of other than rows of bytes")
