"""A configuration with some settings changed, from text such as ``finite_width.networks=100``."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from phasescope.errors import InputError
from phasescope.studies.part import Settings

Config = TypeVar("Config", bound=Settings)


def changed(config: Config, assignments: Sequence[str]) -> Config:
    """Return a copy of a configuration with the named settings changed and everything validated again.

    Parameters
    ----------
    config : Settings
        Left as it is.
    assignments : sequence of str
        ``key=value`` each; dots lead into groups. Values are JSON (``0.3``, ``true``, ``[1, 2]``), plain
        text, or ``a,b,c`` for a list.

    Raises
    ------
    InputError
        If there is no such setting, or it does not take the value; the message repeats what was typed.
    """
    values = config.model_dump()
    for text in assignments:
        key, separator, typed = text.partition("=")
        if not separator:
            raise InputError(f"{text!r} is not of the form key=value.", "Example: seed=1.")
        field = _field(config, key.strip(), text)
        group = values
        *path, last = key.strip().split(".")
        for name in path:
            group = group[name]
        group[last] = _value(field, typed.strip(), text)
    try:
        return type(config).model_validate(values)
    except ValidationError as error:
        raise InputError(f"{' '.join(assignments)}: {told(error)}") from error


def differences(config: Settings, base: Settings) -> list[str]:
    """Return the assignments that turn `base` into `config`."""
    before = dict(_leaves(base.model_dump(mode="json")))
    found = dict(_leaves(config.model_dump(mode="json"))).items()
    return [f"{key}={_typed(value)}" for key, value in found if value != before.get(key)]


def _field(config: Settings, key: str, text: str) -> FieldInfo:
    """Return the setting that a dotted key names."""
    group: Any = config
    walked: list[str] = []
    for name in key.split("."):
        fields = type(group).model_fields if isinstance(group, BaseModel) else {}
        if name not in fields:
            raise InputError(f"{text}: there is no setting {key!r}.", _nearest(config, name, group, walked))
        field, group = fields[name], getattr(group, name)
        walked.append(name)
    if isinstance(group, BaseModel):
        inside = ", ".join(f"{key}.{name}" for name in type(group).model_fields)
        raise InputError(f"{text}: {key} is a group of settings.", f"Name one of them: {inside}.")
    return field


def _nearest(config: Settings, name: str, group: Any, walked: Sequence[str]) -> str:
    """Return what may have been meant: a setting of nearly that name here, or of that name elsewhere."""
    if not isinstance(group, BaseModel):
        return f"{'.'.join(walked)} is no group of settings."
    here = list(type(group).model_fields)
    close = [".".join([*walked, known]) for known in difflib.get_close_matches(name, here, n=2, cutoff=0.6)]
    elsewhere = [key for key, _ in _leaves(config.model_dump()) if key.split(".")[-1] == name]
    if close or elsewhere:
        return f"Did you mean {' or '.join((close + elsewhere)[:3])}?"
    return f"There are: {', '.join('.'.join([*walked, known]) for known in here)}."


def _value(field: FieldInfo, typed: str, text: str) -> Any:
    """Return the typed text as the first of JSON, plain text and a list that the setting takes."""
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[field.annotation, field])  # type: ignore[arg-type]
    refusals = []
    for candidate in _readings(typed):
        try:
            return adapter.validate_python(candidate)
        except ValidationError as error:
            refusals.append(told(error))
    raise InputError(f"{text}: {refusals[0]}", f"{typed!r} was given; write JSON, text, or a,b,c for a list.")


def _readings(typed: str) -> Iterator[Any]:
    with suppress(ValueError):
        yield json.loads(typed)
    yield typed
    yield [part.strip() for part in typed.split(",")] if typed else []


def _leaves(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _typed(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"))


def told(error: ValidationError) -> str:
    """Return the first thing that is wrong with a configuration, in one sentence."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(step) for step in first["loc"])
    return f"{place + ': ' if place else ''}{first['msg']}."
