"""What the data of every part say, where one part that fails leaves the others standing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import xarray as xr

from phasescope.estimate import Estimate
from phasescope.studies.check import Check
from phasescope.studies.contract import Analysis, Part, Picture, Settings, Study


@dataclass(frozen=True)
class Findings:
    """Analyses and pictures of the parts, and what went wrong."""

    # by part; a part that could not be analysed has one check, "not determined"
    analyses: dict[str, Analysis] = field(default_factory=dict)
    pictures: dict[str, list[Picture]] = field(default_factory=dict)  # by part
    failed: dict[str, str] = field(default_factory=dict)  # the reason, by part


def examine(
    study: Study, config: Settings, data: xr.DataTree, announce: Callable[[str], None] = lambda text: None
) -> Findings:
    """Return the analyses and pictures of the parts that `data` holds, in the order of the study."""
    found = Findings()
    for part in study.parts:
        if part.name in data.children:
            announce(part.name)
            _examine_part(found, study, part, data[part.name].to_dataset(), config)
    counts = Counter(check.id for analysis in found.analyses.values() for check in analysis.checks)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        found.failed["checks"] = f"more than one check is called {', '.join(twice)}"
    return found


def _examine_part(found: Findings, study: Study, part: Part, data: xr.Dataset, config: Settings) -> None:
    reason = _incomplete(data)
    analysis = Analysis([])
    pictures: list[Picture] = []
    if not reason:
        try:
            analysis = part.analyse(data, config)
        except Exception as error:
            reason = f"the analysis failed with {_told(error)}"
    if not reason:
        try:
            pictures = part.figures(data, config)
        except Exception as error:
            reason = f"a figure failed with {_told(error)}"
    if reason:
        found.failed[part.name] = reason
        analysis = Analysis([*analysis.checks, _undone(study, part, reason)], analysis.tables, analysis.notes)
    found.analyses[part.name] = analysis
    found.pictures[part.name] = pictures


def _incomplete(data: xr.Dataset) -> str:
    """Return why the data of a part cannot be analysed, or nothing."""
    if "error" in data.attrs:
        return str(data.attrs["error"])
    missing: dict[str, str] = json.loads(data.attrs["missing"])
    if not missing:
        return ""
    first, why = next(iter(missing.items()))
    have = data.sizes.get("task", 0)
    return f"{len(missing)} of {have + len(missing)} tasks are missing; the first, {first}: {why}"


def _undone(study: Study, part: Part, reason: str) -> Check:
    return Check(
        id=f"{part.name}/complete",
        claim=f"{part.title}: everything was measured, analysed and drawn.",
        source=study.source,
        expected=None,
        measured=Estimate.not_determined(reason),
        verdict="not determined",
    )


def _told(error: Exception) -> Any:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
