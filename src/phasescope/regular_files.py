"""The one way to read a file: regular files only, up to a stated size, in one sentence where that fails.

A FIFO would wait for ever, a device such as ``/dev/zero`` never ends, and opening some devices has effects.
Links to regular files are followed: a user may link results, and what is read is checked all the same.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from phasescope.errors import InputError

LARGEST = 4_000_000_000  # bytes

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFDIR: "a folder",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
_FLAGS = ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY")  # those that the system has


def open_regular(path: Path | str, most: int = LARGEST) -> BinaryIO:
    """Open a regular file of at most `most` bytes for reading, or raise ``InputError``."""
    try:
        _check(path, os.stat(path), most)  # before it is opened, since that alone may have effects
        descriptor = os.open(path, os.O_RDONLY | sum(getattr(os, name, 0) for name in _FLAGS))
        try:
            _check(path, os.fstat(descriptor), most)  # again: another file may have taken its place
            return os.fdopen(descriptor, "rb")
        except BaseException:
            os.close(descriptor)
            raise
    except FileNotFoundError:
        raise InputError(f"There is no {path}.", "Check its name.") from None
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise _unreadable(path, error) from error


def read_regular(path: Path | str, most: int = LARGEST) -> bytes:
    """Return the content of a regular file of at most `most` bytes, or raise ``InputError``."""
    with open_regular(path, most) as file:
        try:
            content = file.read(min(os.fstat(file.fileno()).st_size, most) + 1)
            while len(content) <= most and (more := file.read(1 << 20)):  # of a file that says it is empty
                content += more
        except OSError as error:
            raise _unreadable(path, error) from error
    if len(content) > most:
        raise _too_large(path, len(content), most)
    return content


def _check(path: Path | str, found: os.stat_result, most: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "no file")
        raise InputError(f"{path} is {kind}, not a regular file.", "Name a regular file.")
    if found.st_size > most:
        raise _too_large(path, found.st_size, most)


def _too_large(path: Path | str, size: int, most: int) -> InputError:
    return InputError(f"{path} has {size:,} bytes, and at most {most:,} are read.", "See what it is.")


def _unreadable(path: Path | str, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or str(error)
    return InputError(f"{path} cannot be read: {reason}.", "Check its name and rights.")
