"""What an inspection must keep to, from a file: each limit is one check, which passes or fails."""

from __future__ import annotations

import difflib
import json
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.instruments.contract import SEVERITIES, Finding, Severity
from phasescope.regular_files import read_regular

if TYPE_CHECKING:
    import xarray as xr

    from phasescope.instruments.inspection import Inspection

_Undetermined = Literal["fail", "pass"]
_MOST = 1_000_000  # bytes of a file of limits
_STRUCTURE = frozenset({"limit", "words", "values", "sections"})  # places that the user did not write


class _Limit(BaseModel):
    """Between what a number must lie."""

    model_config = ConfigDict(extra="forbid", strict=True)

    min: float | None = None
    max: float | None = None
    errors: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    rows: str | list[str] | None = None
    undetermined: _Undetermined | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_pair(cls, given: Any) -> Any:
        if isinstance(given, Mapping):
            return given
        if isinstance(given, list) and len(given) == 2:
            return {"min": given[0], "max": given[1]}
        raise ValueError(f"{given!r} is no limit: write [least, most], or a table with min, max or both")

    @model_validator(mode="after")
    def _ordered(self) -> _Limit:
        if self.min is None and self.max is None:
            raise ValueError("a limit needs min, max or both")
        least, most = self.range
        if not least <= most:
            raise ValueError(f"no number lies between min = {least:g} and max = {most:g}")
        return self

    @property
    def range(self) -> tuple[float, float]:
        return (
            -math.inf if self.min is None else self.min,
            math.inf if self.max is None else self.max,
        )

    def __str__(self) -> str:
        if self.min is None or self.max is None:
            side = f"at least {self.min:g}" if self.min is not None else f"at most {self.max:g}"
        else:
            side = f"{self.min:g} to {self.max:g}"
        return f"{side}, within {self.errors:g} errors" if self.errors else side

    def holds(self, value: float, error: float) -> bool:
        """Whether a value lies within, or outside by no more than the errors that are allowed."""
        room = self.errors * error if math.isfinite(error) else 0.0
        return self.range[0] - room <= value <= self.range[1] + room


def _are_words(given: Any) -> bool:
    return isinstance(given, str) or (
        isinstance(given, list) and bool(given) and all(isinstance(each, str) for each in given)
    )


def _kind_of(given: Any) -> str:
    return "words" if _are_words(given) else "limit"


class _Section(BaseModel):
    """What one instrument must keep to."""

    model_config = ConfigDict(extra="forbid", strict=True)

    severity: Severity | None = None
    allow: list[str] = []
    undetermined: _Undetermined | None = None
    values: dict[
        str,
        Annotated[
            Annotated[_Limit, Tag("limit")] | Annotated[str | list[str], Tag("words")],
            Discriminator(_kind_of),
        ],
    ] = {}

    @model_validator(mode="before")
    @classmethod
    def _split(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            raise ValueError(f"{given!r} is neither a setting nor a table; settings are {_listed(_TOP)}")
        own = {key: given[key] for key in _RESERVED if key in given}
        return {**own, "values": {key: value for key, value in given.items() if key not in own}}


class Limits(BaseModel):
    """What an inspection must keep to; made by :func:`read_limits`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    severity: Severity = "warning"
    undetermined: _Undetermined = "fail"
    sections: dict[str, _Section] = {}

    @model_validator(mode="before")
    @classmethod
    def _split(cls, given: Mapping[str, Any]) -> Any:
        own = {key: given[key] for key in _TOP if key in given}
        return {**own, "sections": {key: value for key, value in given.items() if key not in own}}


_TOP = ("severity", "undetermined")
_RESERVED = ("severity", "allow", "undetermined")


@dataclass(frozen=True)
class Check:
    """One limit, and whether an inspection keeps to it.

    Parameters
    ----------
    label : str
        Name of the model.
    instrument : str
        Name of the instrument; empty for a limit on the findings of all of them.
    name : str
        What is limited: a number or a word of the instrument, or "findings".
    passed : bool
        Whether the limit is kept.
    measured : str
        What was found: the value that decides, with its error and its row.
    limit : str
        What was asked for.
    """

    label: str
    instrument: str
    name: str
    passed: bool
    measured: str
    limit: str

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        return asdict(self)

    def __str__(self) -> str:
        name = f"{self.instrument}.{self.name}" if self.instrument else self.name
        return f"{'passed' if self.passed else 'FAILED'}  {name}: {self.measured} (limit: {self.limit})"


def read_limits(source: Path | str | Mapping[str, Any] | None) -> Limits:
    """Return limits from a file or a dictionary, validated.

    At the top stand ``severity``, the worst severity of a finding that is allowed ("warning" by default), and
    ``undetermined``, "fail" (the default) or "pass", which says what becomes of a limit on a number that was
    not determined. Every other key is the name of an instrument, and holds a table in which ``severity`` and
    ``undetermined`` replace those of the top, ``allow`` is a list of texts (a finding whose sentence contains
    one of them does not count), and every other key is the name of

    - a word, such as ``phase = ["critical", "ordered"]``: one of these;
    - a number, such as ``margin = [-0.2, 0.2]`` or ``dead = {max = 0.5}``: between ``min`` and ``max``, each
      included. Of a number for each layer every layer that was measured counts, or those in ``rows``, a name,
      a pattern such as ``"blocks.*"``, or a list of them. With ``errors = k`` a value fails only where it
      lies outside by more than k of its standard errors; k is 0 by default, so the value itself decides.

    Names are those of the variables of the instrument's dataset, of its attributes, and of the fields of its
    verdict.

    Parameters
    ----------
    source : path, mapping or None
        A file of TOML, of JSON where its name ends in ``.json``, or what such a file holds. None: no finding
        may be a problem.

    Raises
    ------
    InputError
        If the file cannot be read, or holds a setting or a value that there is not.
    """
    where, given = "limits", source
    if isinstance(source, Path | str):
        where = str(source)
        try:
            text = read_regular(source, _MOST).decode()
            given = json.loads(text) if where.lower().endswith(".json") else tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            if isinstance(error, InputError):
                raise
            kind = "JSON" if where.lower().endswith(".json") else "TOML"
            raise InputError(f"{where} is no {kind}: {error}.", "Mend it there.") from None
    if given is None:
        return Limits()
    if not isinstance(given, Mapping):
        raise InputError(f"{where} holds no table, but {given!r}.", 'Write for example severity = "warning".')
    try:
        return Limits.model_validate(given)
    except ValidationError as error:
        raise InputError(f"{where}: {_told(error)}") from None


def check(inspection: Inspection, limits: Limits | Path | str | Mapping[str, Any] | None) -> list[Check]:
    """Return one check for every limit: whether an inspection keeps to it.

    Parameters
    ----------
    inspection : Inspection
        What :func:`phasescope.inspect` returned.
    limits : Limits, path, mapping or None
        As for :func:`read_limits`, which describes the format. None: no finding may be a problem.

    Raises
    ------
    InputError
        If a limit names an instrument, a number, a word or a row that the inspection does not have; the
        message says which there are. Of an instrument that was skipped or failed all limits are undetermined.

    Notes
    -----
    An instrument that failed is a check that fails, also where no limit names it. Nothing is measured again:
    findings and numbers are read from the datasets, in milliseconds. A limit on a number for each layer fails
    where a layer has no such number, as a linear layer has no saturated units: name its rows, or let what is
    undetermined pass.

    Examples
    --------
    >>> import torch, phasescope
    >>> from phasescope.instruments import SignalPropagation, check
    >>> layers = [torch.nn.Linear(64, 64, bias=False) for _ in range(5)]
    >>> for layer in layers:
    ...     _ = torch.nn.init.orthogonal_(layer.weight)
    >>> model, batch = torch.nn.Sequential(*layers), torch.randn(16, 64)
    >>> found = phasescope.inspect(model, batch, instruments=[SignalPropagation()])
    >>> for each in check(found, {"propagation": {"phase": "critical", "dead": {"max": 0.1}}}):
    ...     print(each)
    passed  findings: ok (limit: warning at worst)
    passed  propagation.phase: critical (limit: critical)
    passed  propagation.dead: 0 at all 5 rows (limit: at most 0.1)
    """
    asked = limits if isinstance(limits, Limits) else read_limits(limits)
    checks = [
        Check(inspection.label, name, "measured", False, f"failed: {_first_line(why)}", "must not fail")
        for name, why in inspection.failed.items()
    ]
    own = {name for name, section in asked.sections.items() if section.severity or section.allow}
    rest = [f for name in inspection.datasets if name not in own for f in inspection.findings_of(name)]
    checks.append(_worst(inspection.label, "", rest, asked.severity))
    for name, section in asked.sections.items():
        checks += _section(inspection, name, section, asked)
    return checks


def _section(inspection: Inspection, name: str, section: _Section, asked: Limits) -> list[Check]:
    missing = {**inspection.skipped, **inspection.failed}
    if name not in inspection.datasets and name not in missing:
        names = [*inspection.datasets, *missing]
        raise InputError(f"There is no instrument {name!r} in this inspection.", _nearest(name, names, _TOP))
    undetermined = section.undetermined or asked.undetermined
    checks = []
    if name in missing:
        measured = f"not determined: {_first_line(missing[name])}"
        limits = {key: _limit_text(limit) for key, limit in section.values.items()}
        if section.severity or section.allow:
            limits = {"findings": _severity_text(section.severity or asked.severity), **limits}
        for key, text in limits.items():
            value = section.values.get(key)
            passes = (value.undetermined if isinstance(value, _Limit) else None) or undetermined
            checks.append(Check(inspection.label, name, key, passes == "pass", measured, text))
        return checks
    if section.severity or section.allow:
        kept = [f for f in inspection.findings_of(name) if not _allowed(f, section.allow)]
        checks.append(_worst(inspection.label, name, kept, section.severity or asked.severity))
    dataset = inspection.datasets[name]
    there = _there(dataset)
    for key, limit in section.values.items():
        if key not in there:
            raise InputError(f"{name} has no {key!r}.", _nearest(key, list(there), _RESERVED))
        where = f"{name}.{key}"
        thing = there[key]
        if isinstance(thing, str) != (not isinstance(limit, _Limit)):
            fix = f'Write {key} = ["{thing}"].' if isinstance(thing, str) else "Write [least, most]."
            kind = f"a word, here {thing!r}" if isinstance(thing, str) else "a number"
            raise InputError(f"{where} is {kind}, and cannot be held to {_limit_text(limit)}.", fix)
        if isinstance(limit, _Limit):
            limit = limit.model_copy(update={"undetermined": limit.undetermined or undetermined})
            passed, measured = _numbers(where, _rows(where, dataset, key, thing, limit), limit)
        else:
            unknown = thing == "not determined" and undetermined == "pass"
            passed, measured = unknown or thing in _words(limit), str(thing)
        checks.append(Check(inspection.label, name, key, passed, measured, _limit_text(limit)))
    return checks


# Findings


def _allowed(finding: Finding, texts: Iterable[str]) -> bool:
    return any(text.casefold() in finding.sentence.casefold() for text in texts)


def _worst(label: str, instrument: str, findings: Sequence[Finding], limit: Severity) -> Check:
    rank = max((SEVERITIES.index(finding.severity) for finding in findings), default=0)
    worst = next((finding for finding in findings if SEVERITIES.index(finding.severity) == rank), None)
    measured = "ok" if worst is None or rank == 0 else f"{worst.severity}: {worst.sentence.rstrip('.')}"
    passed = rank <= SEVERITIES.index(limit)
    return Check(label, instrument, "findings", passed, measured, _severity_text(limit))


def _severity_text(limit: Severity) -> str:
    return f"{limit} at worst"


# Numbers


@dataclass(frozen=True)
class _Row:
    """One value, and what its row is called: "" where there is only one."""

    name: str
    value: Estimate


def _there(dataset: xr.Dataset) -> dict[str, Any]:
    """Return what can be limited by name: words, numbers, and names of variables."""
    found: dict[str, Any] = {}
    for key, value in dataset.attrs.items():
        if not isinstance(value, str):
            found[key] = value
        elif key == "verdict" and value.startswith("{"):
            found |= json.loads(value)
        elif value[:1] not in ("{", "["):
            found[key] = value
    return found | {str(key): v for key, v in dataset.data_vars.items() if v.dtype.kind in "fiub"}


def _rows(where: str, dataset: xr.Dataset, key: str, thing: Any, limit: _Limit) -> list[_Row]:
    """Return every value that a limit is about."""
    stored = key in dataset.data_vars
    if limit.rows is not None and not (stored and thing.dims):
        raise InputError(f"{where} is one number and has no rows.", "Leave out rows.")
    if not stored:
        return [_Row("", _estimate(where, thing))]
    dims = [str(dim) for dim in thing.dims]
    if len(dims) > 1:
        raise InputError(f"{where} has the dimensions {_listed(dims)}.", "Limit a number with at most one.")
    values = np.atleast_1d(thing.values).astype(float)
    errors = np.full(len(values), math.nan)
    if f"{key}_error" in dataset.data_vars:
        errors = np.atleast_1d(dataset[f"{key}_error"].values).astype(float)
    named = dims and dims[0] in dataset.coords
    names = [str(each) for each in dataset[dims[0]].values] if named else [""] * len(values)
    by_layer = dims == ["layer"]
    skipped = [str(each) for each in dataset["skipped"].values] if by_layer else [""] * len(values)
    rows = [
        (_Row(name, Estimate(float(value), float(error), "", 1)), why)
        for name, value, error, why in zip(names, values, errors, skipped, strict=True)
    ]
    if limit.rows is not None:
        for pattern in _words(limit.rows):
            if not any(_matches(row.name, [pattern]) for row, _ in rows):
                raise InputError(f"{where}: no row is called {pattern!r}.", _nearest(pattern, names, ()))
        rows = [(row, why) for row, why in rows if _matches(row.name, _words(limit.rows))]
    measured = [
        replace(row, value=Estimate.not_determined("NaN")) if math.isnan(row.value.value) else row
        for row, why in rows
        if not why
    ]
    skipped_rows = [replace(row, value=Estimate.not_determined(why)) for row, why in rows if why]
    return measured or skipped_rows or [_Row("", Estimate.not_determined("there is no row"))]


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


def _estimate(where: str, thing: Any) -> Estimate:
    """Return a field of a verdict, or a number of the attributes."""
    if isinstance(thing, dict) and "value" in thing:
        if thing["value"] is None:
            return Estimate.not_determined(str(thing.get("reason") or "NaN"))
        error = thing.get("error")
        return Estimate(float(thing["value"]), math.nan if error is None else float(error), "", 1)
    if not isinstance(thing, int | float | np.number):
        raise InputError(f"{where} is no number, but {thing!r}.", "Limit a number.")
    value = float(thing)
    return Estimate.not_determined("NaN") if math.isnan(value) else Estimate(value, math.nan, "", 1)


def _numbers(where: str, rows: Sequence[_Row], limit: _Limit) -> tuple[bool, str]:
    """Return whether every value keeps to a limit, and the one that decides."""
    known = [row for row in rows if row.value.determined]
    outside = [row for row in known if not limit.holds(row.value.value, row.value.error)]
    open_ = [row for row in rows if not row.value.determined]
    if outside:
        worst = max(outside, key=lambda row: _excess(row.value.value, limit))
        more = f", {len(outside)} of {len(rows)} rows outside" if len(rows) > 1 else ""
        return False, f"{worst.value}{_at(worst)}{more}"
    if open_ and (limit.undetermined == "fail" or not known):
        first, many = open_[0], f", {len(open_)} of {len(rows)} rows" if len(rows) > 1 else ""
        return limit.undetermined == "pass", f"{first.value}{_at(first)}{many}"
    if len(rows) == 1:
        return True, f"{known[0].value}{_at(known[0])}"
    low = min(known, key=lambda row: row.value.value).value.value
    high = max(known, key=lambda row: row.value.value).value.value
    span = f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
    return True, f"{span} at {'all ' if not open_ else f'{len(known)} of '}{len(rows)} rows"


def _excess(value: float, limit: _Limit) -> float:
    least, most = limit.range
    return max(least - value, value - most)


def _at(row: _Row) -> str:
    return f" at {row.name}" if row.name else ""


# Words and messages


def _words(given: str | list[str]) -> list[str]:
    return [given] if isinstance(given, str) else given


def _limit_text(limit: _Limit | str | list[str]) -> str:
    return str(limit) if isinstance(limit, _Limit) else " or ".join(_words(limit))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _nearest(name: str, names: Sequence[str], settings: Sequence[str]) -> str:
    shown = [each for each in names if not each.endswith(("_error", "_null", "_sd"))]
    close = difflib.get_close_matches(name, [*shown, *settings], n=2, cutoff=0.6)
    meant = f"Did you mean {' or '.join(close)}? " if close else ""
    also = f"; and the settings {_listed(settings)}" if settings else ""
    return f"{meant}There are: {_listed(shown)}{also}."


def _told(error: ValidationError) -> str:
    """Return the first thing that is wrong, with its place as the user wrote it."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(step) for step in first["loc"] if step not in _STRUCTURE)
    if first["type"] == "extra_forbidden":
        return f"there is no setting {place}; there are: {_listed(_Limit.model_fields)}."
    return f"{place}: {first['msg'].removeprefix('Value error, ')}."


def _first_line(reason: str) -> str:
    return (reason.strip().splitlines() or ["no reason was given"])[0].rstrip(".")
