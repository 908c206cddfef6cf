"""One run a folder: whether another is alive is judged from a lock that ends with its process."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from phasescope.errors import InputError

NAME = ".lock"


@contextmanager
def only_run(directory: Path) -> Iterator[None]:
    """Hold the folder's lock; on file systems without locks, go on without."""
    import fcntl  # not on every system, and only runs need it

    try:
        descriptor = os.open(directory / NAME, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise InputError(
            f"{directory} cannot be written: {error.strerror}.", "Name another folder with --out DIR."
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode(errors="replace") or "another process"
            raise InputError(
                f"Another run is at work in {directory}: {holder}.",
                "Wait until it has ended, or name another folder with --out DIR.",
            ) from None
        except OSError:
            pass
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        os.close(descriptor)
