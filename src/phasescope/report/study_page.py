"""One page of a study: its claims and what became of them, then part by part the figures behind them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from phasescope.citations import BIBTEX
from phasescope.report.numbers import measured
from phasescope.report.svg import inline
from phasescope.report.templating import render_template
from phasescope.studies import Check, StudyRun, Table
from phasescope.sweep import write_together


@dataclass(frozen=True)
class _Row:
    """One check as the page prints it."""

    check: Check
    expected: str
    measured: str
    note: str

    @property
    def kind(self) -> str:
        return {"agrees": "ok", "disagrees": "problem", "not determined": "warning"}.get(
            self.check.verdict, "note"
        )


@dataclass(frozen=True)
class _Section:
    """One part as the page shows it."""

    anchor: str
    title: str
    rows: list[_Row]
    pictures: list[tuple[list[Markup], str]]
    tables: list[Table]
    notes: list[str]


def save_study(run: StudyRun, directory: Path | str) -> Path:
    """Write ``report.html`` and ``checks.json`` into `directory`, both or none; return the path of the page.

    The same data give the same bytes.

    Parameters
    ----------
    run : StudyRun
        From ``studies.run`` or ``studies.load``.
    directory : Path or str
        Made where it does not exist; an ``InputError`` says so if it cannot be written.
    """
    folder = Path(directory)
    write_together(folder, {"checks.json": run.checks_json(), "report.html": render_study(run)})
    return folder / "report.html"


def render_study(run: StudyRun) -> str:
    """Return the page as HTML that needs no other file.

    Parameters
    ----------
    run : StudyRun
        From ``studies.run`` or ``studies.load``.
    """
    sections = [_section(run, name, number) for number, name in enumerate(run.analyses)]
    return render_template(
        "study.html.j2",
        title=f"{run.title}: phasescope",
        kicker=f"study {run.study.name}",
        heading=run.title,
        sentence=run.sentence,
        summary=run.study.summary,
        source=run.study.source,
        sections=sections,
        absent=[part.name for part in run.study.parts if part.name not in run.analyses],
        circumstances=_circumstances(run),
        settings=_leaves(json.loads(run.data.attrs["configuration"])),
        again=run.again,
        bibtex="\n\n".join(BIBTEX.get(key, key) for key in dict.fromkeys([*run.citations, "phasescope"])),
    )


def _section(run: StudyRun, name: str, number: int) -> _Section:
    analysis = run.analyses[name]
    part = run.study.part(name)
    pictures = [
        (inline(picture.figure, f"f{number}-{position}", f"{part.title}: {picture.name}"), picture.caption)
        for position, picture in enumerate(run.pictures[name])
    ]
    return _Section(
        anchor="part-" + re.sub(r"[^\w-]", "-", name),
        title=part.title,
        rows=[_row(check) for check in analysis.checks],
        pictures=pictures,
        tables=list(analysis.tables),
        notes=list(analysis.notes),
    )


def _row(check: Check) -> _Row:
    why = check.measured.reason
    reason = f"Not determined: {why}." if why else ""
    note = " ".join(text for text in (reason, check.note) if text)
    return _Row(check, *expected_and_measured(check), note)


def expected_and_measured(check: Check) -> tuple[str, str]:
    """Return what the claim leads to, and what was measured, with its error, or a dash."""
    found = check.measured
    return (
        "" if check.expected is None else measured(check.expected, digits=6),
        measured(found.value, found.error, digits=6) if found.determined else "–",
    )


def _circumstances(run: StudyRun) -> list[tuple[str, str]]:
    attributes = run.data.attrs
    versions = ", ".join(f"{name} {number}" for name, number in json.loads(attributes["versions"]).items())
    return [
        ("Seed", str(attributes["seed"])),
        ("Device", str(attributes["device"])),
        ("Threads of a task", str(attributes["threads"])),
        ("Versions", versions),
        ("Configuration, sha256", str(attributes["configuration_sha256"])),
    ]


def _leaves(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += _leaves(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)))
    return found
