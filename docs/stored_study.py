"""Writes what a page shows of a study whose results are stored beside it: figures, checks, notes."""

from __future__ import annotations

from pathlib import Path

from tables import DOCS, TABLES, list_table

from phasescope import studies
from phasescope.report.numbers import measured
from phasescope.studies import Check, StudyRun


def write(name: str) -> None:
    """Write ``tables/NAME.rst`` and its pictures from ``docs/NAME/results.nc``."""
    run = studies.load(DOCS / name)
    parts = [run.sentence, ""]
    for part in run.study.parts:
        if part.name in run.analyses:
            parts += _part(run, name, part.name, part.title)
    (TABLES / f"{name}.rst").write_text("\n".join(parts) + "\n")


def _part(run: StudyRun, name: str, part: str, title: str) -> list[str]:
    analysis = run.analyses[part]
    lines = [title, "-" * len(title), ""]
    for picture in run.pictures[part]:
        file = Path("tables") / f"{name}-{part}-{picture.name}.png"
        picture.figure.savefig(DOCS / file, dpi=110, facecolor="white", transparent=False)
        lines += [f".. figure:: {file}", "", f"   {_plain(picture.caption)}", ""]
    rows = [_row(check) for check in analysis.checks]
    lines += [list_table(["claim", "expected", "measured", "verdict"], rows)]
    lines += [f"* {_plain(note)}" for note in analysis.notes]
    return [*lines, ""]


def _row(check: Check) -> list[str]:
    found = check.measured
    expected = "–" if check.expected is None else measured(check.expected, digits=6)
    value = measured(found.value, found.error, digits=6) if found.determined else f"– ({found.reason})"
    claim = f"{check.claim} ({check.source})"
    return [_plain(text) for text in (claim, expected, value, check.verdict)]


def _plain(text: str) -> str:
    """Return text with the marks of reStructuredText escaped."""
    return "".join(f"\\{letter}" if letter in r"\*`|_" else letter for letter in " ".join(text.split()))
