"""Studies by name: phasescope's, those of other packages, and those in a user's own file."""

from __future__ import annotations

import difflib
import importlib
from functools import lru_cache
from importlib.metadata import EntryPoint

from phasescope import plugins
from phasescope.errors import InputError
from phasescope.studies.part import Study
from phasescope.userfiles import contents_hash, describe, is_file_spec, load_object

_HOMES = {
    "absorbing": "phasescope.papers.absorbing:STUDY",
    "noise": "phasescope.papers.noise:STUDY",
    "chaos": "phasescope.papers.chaos:STUDY",
    "synapses": "phasescope.papers.synapses:STUDY",
    "rectified_power": "phasescope.papers.rectified_power:STUDY",
    "related": "phasescope.papers.related:STUDY",
}


def names() -> list[str]:
    """Return the names of the studies that phasescope brings."""
    return list(_HOMES)


def names_of_others() -> list[str]:
    """Return the names of the studies that other packages bring, none of which is imported for that."""
    return list(plugins.offered(plugins.STUDIES, _HOMES)[0])


def hidden() -> list[str]:
    """Return a sentence for each study of another package whose name is taken."""
    return [
        f"{plugins.origin(entry)}: not used, as {taken} has a study of that name."
        for entry, taken in plugins.offered(plugins.STUDIES, _HOMES)[1]
    ]


def study(name: str) -> Study:
    """Return the study that a user named.

    Parameters
    ----------
    name : str
        One of :func:`names`; or one that an installed package brings, which is then imported; or
        ``FILE.py:NAME`` where NAME is a :class:`Study`. Naming a file runs its code.

    Raises
    ------
    InputError
        If there is no such study, or if the package that brings it cannot be imported.
    """
    if is_file_spec(name):
        return _from_file(name, contents_hash(name))
    if name not in _HOMES:
        others = plugins.offered(plugins.STUDIES, _HOMES)[0]
        if name in others:
            return _from_package(others[name])
        there = [*_HOMES, *others]
        close = difflib.get_close_matches(name, there, n=1, cutoff=0.5)
        known = f"Did you mean {close[0]}?" if close else f"There is: {', '.join(there)}."
        raise InputError(f"There is no study {name!r}.", f"{known} Your own is FILE.py:NAME.")
    module, _, attribute = _HOMES[name].partition(":")
    found: Study = getattr(importlib.import_module(module), attribute)
    return found


def version(name: str) -> str:
    """Return what tells one version of a study of somebody else from the next; empty for phasescope's own."""
    if is_file_spec(name):
        return contents_hash(name)
    others = {} if name in _HOMES else plugins.offered(plugins.STUDIES, _HOMES)[0]
    return plugins.origin(others[name]) if name in others else ""


def _from_package(entry: EntryPoint) -> Study:
    """Return the study that an entry point names."""
    found = plugins.load(entry)
    if not isinstance(found, Study):
        raise plugins.broken(entry, f"it is {describe(found)}, not a phasescope.studies.Study")
    if found.name != entry.name:
        raise plugins.broken(entry, f"its study has the name {found.name!r}")
    return found


@lru_cache(maxsize=8)
def _from_file(spec: str, contents: str) -> Study:
    """Return the study in a file, loaded once for each version of its contents."""
    found = load_object(spec)
    if not isinstance(found, Study):
        raise InputError(
            f"{spec} is {describe(found)}, not a phasescope.studies.Study.",
            "Name the Study object of the file.",
        )
    return found
