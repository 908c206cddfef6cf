"""Studies by name: those of phasescope, imported when asked for, and those in a user's own file."""

from __future__ import annotations

import difflib
import importlib
from functools import lru_cache

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


def study(name: str) -> Study:
    """Return the study that a user named.

    Parameters
    ----------
    name : str
        One of :func:`names`, or ``FILE.py:NAME`` where NAME is a :class:`Study`. Naming a file runs its code.

    Raises
    ------
    InputError
        If there is no such study.
    """
    if is_file_spec(name):
        return _from_file(name, contents_hash(name))
    if name not in _HOMES:
        close = difflib.get_close_matches(name, _HOMES, n=1, cutoff=0.5)
        known = f"Did you mean {close[0]}?" if close else f"There is: {', '.join(_HOMES)}."
        raise InputError(f"There is no study {name!r}.", f"{known} Your own is FILE.py:NAME.")
    module, _, attribute = _HOMES[name].partition(":")
    found: Study = getattr(importlib.import_module(module), attribute)
    return found


def version(name: str) -> str:
    """Return what tells one version of a user's study file from the next; empty for phasescope's own."""
    return contents_hash(name) if is_file_spec(name) else ""


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
