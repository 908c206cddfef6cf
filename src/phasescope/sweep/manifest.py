"""One sweep a folder, which its manifest tells, and one run at a time, which a lock sees to."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import phasescope
from phasescope.errors import InputError
from phasescope.sweep.files import os_errors_told, write_whole

NAME = "manifest.json"
_LOCK = ".lock"
_SHOWN = 4
_FIX = "Name another folder with --out DIR."


@contextmanager
def only_run(directory: Path) -> Iterator[None]:
    """Hold the folder's lock, which ends with its process; on file systems without locks, go on without."""
    import fcntl  # not on every system, and only runs need it

    with os_errors_told(directory):
        descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
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
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        return None, set(), ""
    except OSError as error:
        return None, set(), f"{NAME} cannot be read: {error.strerror}"
    try:
        content = json.loads(found)["content"]
        if _text(content) == found:
            return content["identity"], set(content["tasks"]), ""
    except (ValueError, KeyError, TypeError):
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
