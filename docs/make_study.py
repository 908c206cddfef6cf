"""Renews what the documentation shows of a study: ``python docs/make_study.py FOLDER``, a finished run of it.

Writes ``docs/studies/NAME/``: every figure, all checks, the text that the study's page includes, and each
table for a page to include.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tables import DOCS, list_table

from phasescope import plotting, studies
from phasescope.report.numbers import measured
from phasescope.studies import Check, StudyRun


def write(folder: Path) -> None:
    """Write figures, checks and text of the run in `folder`."""
    run = studies.load(folder)
    out = DOCS / "studies" / run.name
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / "checks.json").write_text(run.checks_json())
    lines = [run.sentence, ""]
    for part in run.study.parts:
        if part.name in run.analyses:
            lines += _part(run, out, part.name, part.title)
    (out / "claims.rst").write_text("\n".join(lines) + "\n")


def _part(run: StudyRun, out: Path, part: str, title: str) -> list[str]:
    analysis = run.analyses[part]
    lines = [title, "~" * len(title), ""]
    for picture in run.pictures[part]:
        file = f"{part}-{picture.name}.png"
        with plotting.style():
            picture.figure.savefig(out / file, dpi=90, facecolor="white", transparent=False)
        lines += [f".. figure:: /studies/{out.name}/{file}", "", f"   {_plain(picture.caption)}", ""]
    lines += [list_table(["claim", "expected", "measured", "verdict"], [_row(c) for c in analysis.checks])]
    for number, table in enumerate(analysis.tables):
        rows = [[_plain(cell) for cell in row] for row in table.rows]
        (out / f"table-{part}-{number}.rst").write_text(list_table(list(table.columns), rows))
    lines += [f"* {_plain(note)}" for note in analysis.notes]
    return [*lines, ""]


def _row(check: Check) -> list[str]:
    found = check.measured
    expected = "–" if check.expected is None else measured(check.expected, digits=6)
    value = measured(found.value, found.error, digits=6) if found.determined else f"– ({found.reason})"
    texts = (f"{check.claim} ({check.source})", expected, value, check.verdict)
    return [_plain(text) for text in texts]


def _plain(text: str) -> str:
    """Return text with the marks of reStructuredText escaped."""
    return "".join(f"\\{letter}" if letter in r"\*`|_" else letter for letter in " ".join(text.split()))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
