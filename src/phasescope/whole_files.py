"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from phasescope.errors import InputError

_FIX = "Name another folder with --out DIR."
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{12}\.part")


def check_writable(directory: Path, *names: str) -> None:
    """Raise now, rather than after the measurement, where `directory` cannot be written; create nothing.

    Parameters
    ----------
    directory : Path
        A folder that may not exist yet.
    *names : str
        Files that will be written into it.

    Raises
    ------
    InputError
        If it, or the nearest folder above it, is no folder or does not allow writing; or if one of the files
        is a folder.
    """
    if "\0" in str(directory):
        raise InputError(f"{directory} is no name of a folder: it holds a zero byte.", _FIX)
    nearest = directory.absolute()
    while not os.path.exists(nearest) and nearest != nearest.parent:  # Path.exists raises without permission
        nearest = nearest.parent
    if not os.path.isdir(nearest):
        raise InputError(f"{directory} cannot be a folder: {nearest} is a file.", _FIX)
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(f"{directory} cannot be written: no permission in {nearest}.", _FIX)
    for name in names:
        _check_no_folder(directory / name)


def _check_no_folder(path: Path) -> None:
    if os.path.isdir(path):
        raise InputError(f"{path} is a folder.", _FIX)


def write_whole(path: Path, content: str | bytes, *, durable: bool = True) -> None:
    """Write one file, whole or not at all.

    Parameters
    ----------
    path : Path
        Its folder is made where it does not exist.
    content : str or bytes
        Text is stored as UTF-8.
    durable : bool
        Wait until the disk has it; without, a power failure may leave a file without its content.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    write_together(path.parent, {path.name: content}, durable=durable)


def write_together(directory: Path, contents: Mapping[str, str | bytes], *, durable: bool = True) -> None:
    """Write every file of `contents` into `directory`, each whole; on failure none is changed.

    All are written under temporary names first, and renamed only when the last one is complete.

    Parameters
    ----------
    directory : Path
        Made where it does not exist.
    contents : mapping of str to str or bytes
        By file name; text is stored as UTF-8.
    durable : bool
        As in :func:`write_whole`.

    Raises
    ------
    InputError
        If the disk is full, or the folder or one of the files cannot be written.
    """
    waiting: dict[Path, Path] = {}
    try:
        with os_errors_told(directory):
            directory.mkdir(parents=True, exist_ok=True)
            for name, content in contents.items():
                _check_no_folder(directory / name)
                temporary = directory / f".{name}.{secrets.token_hex(6)}.part"
                waiting[temporary] = directory / name
                with temporary.open("xb") as file:
                    file.write(_bytes(content))
                    if durable:
                        file.flush()
                        os.fsync(file.fileno())
            for temporary, final in waiting.items():
                temporary.replace(final)
            if durable:
                _sync_names(directory)
    finally:
        for temporary in waiting:
            _remove(temporary)


@contextmanager
def os_errors_told(directory: Path, done: str = "written") -> Iterator[None]:
    """Turn what the system says while something is done to `directory` into an ``InputError``."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _FULL:
            raise InputError(
                f"The disk of {directory} is full: {reason}.",
                "Free some space, or name another folder with --out DIR.",
            ) from error
        raise InputError(f"{directory} cannot be {done}: {reason}.", _FIX) from error


def clear_leftovers(directory: Path) -> int:
    """Remove the temporary files that killed processes left in `directory`; return how many there were.

    Parameters
    ----------
    directory : Path
        A folder in which nobody is writing.
    """
    with suppress(OSError):
        return sum(_remove(path) for path in directory.iterdir() if _LEFTOVER.fullmatch(path.name))
    return 0


def _remove(path: Path) -> bool:
    """Remove a file; clearing up fails in silence, since it must not hide the error that it follows."""
    try:
        path.unlink()
    except OSError:
        return False
    return True


def _bytes(content: str | bytes) -> bytes:
    return content if isinstance(content, bytes) else content.encode(errors="backslashreplace")


def _sync_names(directory: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):
        return  # Windows opens no folders
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
