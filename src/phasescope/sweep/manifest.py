"""One sweep a folder, which its manifest tells, and one run at a time, which a lock sees to."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

import phasescope
from phasescope.errors import InputError
from phasescope.regular_files import read_regular
from phasescope.whole_files import os_errors_told, write_whole

NAME = "manifest.json"
_LOCK = ".lock"
_HOLDER = ".lock.holder"
_MOST_OF_HOLDER = 500  # bytes
_MOST = 500_000_000  # bytes of a manifest; a task takes 30
_WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
_SHOWN = 4
_FIX = "Name another folder with --out DIR."


@contextmanager
def only_run(directory: Path) -> Iterator[None]:
    """Hold the folder's lock, which ends with its process; on file systems without locks, go on without.

    Who holds it stands in a file of its own: not every system lets others read a file that is locked.
    """
    path, holder = directory / _LOCK, directory / _HOLDER
    lock = FileLock(path, timeout=0, fallback_to_soft=False)
    try:
        with suppress(FileNotFoundError):
            found = os.lstat(path)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
                raise InputError(f"{path} is a link or no regular file: no lock can be taken.", "Remove it.")
        lock.acquire()
    except Timeout:
        raise InputError(
            f"Another run is at work in {directory}: {_named_in(holder)}.",
            "Wait until it has ended, or name another folder with --out DIR.",
        ) from None
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            with os_errors_told(directory):
                raise
    try:
        write_whole(holder, f"process {os.getpid()} on {socket.gethostname()}", durable=False)
        yield
    finally:
        with suppress(OSError):
            holder.unlink()
        lock.release()


def _named_in(holder: Path) -> str:
    try:
        return read_regular(holder, _MOST_OF_HOLDER).decode(errors="replace")
    except InputError:
        return "another process"


def agree(directory: Path, identity: Mapping[str, Any], ids: Iterable[str]) -> tuple[set[str], str]:
    """Hold the folder's manifest against this run and renew it; return the ids of all tasks of the sweep.

    Tasks of earlier runs of the same sweep stay expected. The second value is empty, or says how the earlier
    manifest was damaged; every task file carries its own description and version, so nothing is lost with it.
    """
    mine = {"phasescope": phasescope.__version__, **identity}
    theirs, expected, damage = _read(directory / NAME)
    if theirs is not None:
        differing = _differences(theirs, mine)
        if differing:
            shown = "; ".join(differing[:_SHOWN])
            more = f"; and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
            raise InputError(f"{directory} holds another run: {shown}{more}.", _FIX)
    everything = expected | set(ids)
    if theirs is None or everything != expected:
        write_whole(directory / NAME, _text({"identity": mine, "tasks": sorted(everything)}))
    return everything, damage


def _read(path: Path) -> tuple[dict[str, Any] | None, set[str], str]:
    if not os.path.lexists(path):
        return None, set(), ""
    try:
        found = read_regular(path, _MOST)
    except InputError as error:
        return None, set(), error.what.rstrip(".")
    try:
        content = json.loads(found)["content"]
        identity, ids = dict(content["identity"]), set(content["tasks"])
        if _text(content) == found and all(isinstance(each, str) for each in ids):
            return identity, ids, ""
    except (ValueError, LookupError, TypeError, RecursionError):
        pass
    return None, set(), f"{NAME} is damaged: its checksum does not fit"


def _text(content: dict[str, Any]) -> bytes:
    inner = json.dumps(content, sort_keys=True)
    digest = hashlib.sha256(inner.encode()).hexdigest()
    return (json.dumps({"sha256": digest, "content": content}, sort_keys=True, indent=1) + "\n").encode()


def _differences(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> list[str]:
    left, right = _flat(theirs), _flat(mine)
    return [
        f"{key} is {left.get(key, 'absent')} there and {right.get(key, 'absent')} here"
        for key in sorted(left.keys() | right.keys())
        if left.get(key) != right.get(key)
    ]


def _flat(value: Any, name: str = "") -> dict[str, str]:
    """Return every leaf as JSON text by its dotted name: NaN then equals NaN, and a tuple its list."""
    if not isinstance(value, Mapping):
        return {name: json.dumps(value)}
    return {
        key: text
        for inner in value
        for key, text in _flat(value[inner], f"{name}.{inner}".lstrip(".")).items()
    }
