"""Instruments by name: those of phasescope, and those of other packages, imported when one is asked for."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint

from phasescope import plugins
from phasescope.errors import InputError
from phasescope.instruments.contract import Instrument


@dataclass(frozen=True)
class Choice:
    """The instruments that were asked for, and what became of those that cannot run."""

    instruments: list[Instrument] = field(default_factory=list)
    origins: dict[str, str] = field(default_factory=dict)  # of those of other packages
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, InputError] = field(default_factory=dict)


def choose(asked: Sequence[Instrument | str], ours: Sequence[Instrument], needs: Mapping[str, str]) -> Choice:
    """Return what was asked for, by name or as it is; `needs` says what each of ours that is not there lacks.

    A name that nobody has is refused. A package that cannot be imported, or holds no instrument, costs itself
    alone.
    """
    own = {instrument.name: instrument for instrument in ours}
    others, hidden = plugins.offered(plugins.INSTRUMENTS, [*own, *needs])
    choice, names = Choice(), set[str]()
    for each in asked:
        if not isinstance(each, str):
            choice.instruments.append(each)
            continue
        if each in names:
            continue
        names.add(each)
        if each in own:
            choice.instruments.append(own[each])
        elif each in needs:
            choice.skipped[each] = needs[each]
        elif each in others:
            try:
                choice.instruments.append(_made(others[each]))
                choice.origins[each] = plugins.origin(others[each])
            except InputError as error:
                choice.failed[each] = error
        else:
            raise _unknown(each, [*own, *needs], others)
    for entry, taken in hidden:
        if entry.name in names:
            choice.skipped[f"{entry.name} of {plugins.package(entry)}"] = f"{taken} has one of that name"
    return choice


def _made(entry: EntryPoint) -> Instrument:
    """Return the instrument of an entry point, which names it, its class or a function that returns it."""
    found = plugins.load(entry)
    if not isinstance(found, Instrument) and callable(found):
        try:
            found = found()
        except (Exception, SystemExit) as error:
            raise plugins.broken(entry, f"{type(error).__name__}: {error}") from error
    if not isinstance(found, Instrument):
        raise plugins.broken(
            entry, f"it gives {type(found).__name__}, not a phasescope.instruments.Instrument"
        )
    name = getattr(found, "name", None)
    if name != entry.name or not isinstance(getattr(found, "title", None), str):
        raise plugins.broken(entry, f"its instrument has the name {name!r}, or no title")
    return found


def _unknown(name: str, own: Sequence[str], others: Mapping[str, EntryPoint]) -> InputError:
    close = difflib.get_close_matches(name, [*own, *others], n=1, cutoff=0.6)
    known = ", ".join([*own, *(f"{each} (of {plugins.package(entry)})" for each, entry in others.items())])
    guess = f"Did you mean {close[0]}? " if close else ""
    return InputError(f"There is no instrument {name!r}.", f"{guess}There are: {known}.")
