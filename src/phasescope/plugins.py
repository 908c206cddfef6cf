"""What other packages bring: instruments and studies, by the entry points of their distributions.

Looking which there are reads the metadata of what is installed and imports none of it.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from phasescope.errors import InputError

INSTRUMENTS = "phasescope.instruments"
STUDIES = "phasescope.studies"


def offered(group: str, ours: Collection[str]) -> tuple[dict[str, EntryPoint], list[tuple[EntryPoint, str]]]:
    """Return the entry points of a group by name, and those whose name is taken, each with by whom."""
    found: dict[str, EntryPoint] = {}
    hidden: list[tuple[EntryPoint, str]] = []
    for entry in entry_points(group=group):
        if entry.name in ours:
            hidden.append((entry, "phasescope"))
        elif entry.name in found:
            hidden.append((entry, package(found[entry.name])))
        else:
            found[entry.name] = entry
    return found, hidden


def load(entry: EntryPoint) -> Any:
    """Return the object that an entry point names; importing its package runs code of the package."""
    try:
        return entry.load()
    except (Exception, SystemExit) as error:
        raise broken(entry, f"{type(error).__name__}: {error}") from error


def broken(entry: EntryPoint, why: str) -> InputError:
    """Return the error that names the package, the entry point and what is wrong with it."""
    return InputError(f"{origin(entry)}: {why.rstrip('.')}.", f"Update or remove {package(entry)}.")


def origin(entry: EntryPoint) -> str:
    """Return distribution, version and entry point, such as ``units 1.0, entry point dead = units:Dead``."""
    version = f" {entry.dist.version}" if entry.dist is not None else ""
    return f"{package(entry)}{version}, entry point {entry.name} = {entry.value}"


def package(entry: EntryPoint) -> str:
    """Return the name of the distribution that an entry point is of."""
    return entry.dist.name if entry.dist is not None else "an unnamed package"
