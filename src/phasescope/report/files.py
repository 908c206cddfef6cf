"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from phasescope.errors import InputError

_FIX = "Name another folder with --out DIR."


def check_writable(directory: Path) -> None:
    """Raise now, rather than after the measurement, where `directory` cannot be written; create nothing.

    Parameters
    ----------
    directory : Path
        A folder that may not exist yet.

    Raises
    ------
    InputError
        If it, or the nearest folder above it, is no folder or does not allow writing.
    """
    nearest = directory.absolute()
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        raise InputError(f"{directory} cannot be a folder: {nearest} is a file.", _FIX)
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(f"{directory} cannot be written: no permission in {nearest}.", _FIX)


def write_together(directory: Path, texts: Mapping[str, str]) -> None:
    """Write every file of `texts` into `directory`, each whole; on failure none is changed.

    All are written and synced under temporary names first, and renamed only when the last one is complete.

    Parameters
    ----------
    directory : Path
        Made where it does not exist.
    texts : mapping of str to str
        Contents by file name, stored as UTF-8.

    Raises
    ------
    InputError
        If the folder or one of the files cannot be written.
    """
    waiting: dict[Path, Path] = {}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            if (directory / name).is_dir():
                raise InputError(f"{directory / name} is a folder.", _FIX)
            temporary = directory / f".{name}.{secrets.token_hex(6)}"
            waiting[temporary] = directory / name
            with temporary.open("x", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        for temporary, final in waiting.items():
            temporary.replace(final)
    except OSError as error:
        raise InputError(f"{directory} cannot be written: {error.strerror or error}.", _FIX) from error
    finally:
        for temporary in waiting:
            temporary.unlink(missing_ok=True)
