"""Renews what the documentation shows of a study: ``python docs/make_study.py FOLDER``, a run of it.

Writes ``docs/studies/NAME/``: every figure, all checks, a text for each part, the text that includes them,
and each table for a page to include. A folder that holds some parts renews these and leaves the others as
they are; what is there of parts that the study has no longer is removed. Each part names its run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tables import DOCS, list_table

from phasescope import plotting, studies
from phasescope.report.numbers import measured
from phasescope.studies import Check, StudyRun
from phasescope.studies.study_run import told


def write(folder: Path, studies_folder: Path = DOCS / "studies") -> None:
    """Write figures, checks and text of the parts in `folder`, and compose them with those kept."""
    run = studies.load(folder)
    out = studies_folder / run.name
    out.mkdir(parents=True, exist_ok=True)
    names = [part.name for part in run.study.parts]
    kept = {name for name in names if name not in run.analyses and (out / f"part-{name}.rst").is_file()}
    checks = [entry for entry in _stored(out / "checks.json") if _part_of(entry) in kept]
    for path in out.iterdir():
        if _owner(path, names) not in kept:
            path.unlink()
    origin = _origin(folder)
    for part in run.study.parts:
        if part.name in run.analyses:
            lines = [part.title, "~" * len(part.title), "", origin, "", *_part(run, out, part.name)]
            (out / f"part-{part.name}.rst").write_text("\n".join(lines) + "\n")
    checks += json.loads(run.checks_json())
    checks.sort(key=lambda entry: names.index(_part_of(entry)))
    (out / "checks.json").write_text(json.dumps(checks, indent=1, allow_nan=False, ensure_ascii=False) + "\n")
    shown = [
        f".. include:: /studies/{out.name}/part-{name}.rst"
        for name in names
        if name in kept | {*run.analyses}
    ]
    sentence = told([entry["verdict"] for entry in checks])
    (out / "claims.rst").write_text("\n\n".join([sentence, *shown]) + "\n")
    print(f"{sentence} Renewed: {', '.join(run.analyses)}. Kept: {', '.join(sorted(kept)) or 'none'}.")


def _stored(path: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else []
    return entries


def _part_of(entry: dict[str, Any]) -> str:
    return str(entry["id"]).partition("/")[0]


def _owner(path: Path, names: list[str]) -> str:
    """Return the part that a file is of: the longest name that it begins with; the empty text for none."""
    stem = path.stem.removeprefix("part-").removeprefix("table-")
    return max((name for name in names if f"{stem}-".startswith(f"{name}-")), key=len, default="")


def _origin(folder: Path) -> str:
    """Return the day of the last call that wrote the folder, and its commit where this history has it."""
    diary = json.loads((folder / "run.json").read_text())
    git = diary["git"]
    asked = ["git", "merge-base", "--is-ancestor", git["commit"] if git else "", "HEAD"]
    known = subprocess.run(asked, cwd=DOCS, capture_output=True, check=False).returncode == 0
    commit = f", commit {git['commit'][:7]}{'' if git['clean'] else ' with changes'}" if known else ""
    return f"*Run of {diary['started'][:10]}{commit}.*"


def _part(run: StudyRun, out: Path, part: str) -> list[str]:
    analysis = run.analyses[part]
    lines: list[str] = []
    for picture in run.pictures[part]:
        file = f"{part}-{picture.name}.png"
        with plotting.style():
            picture.figure.savefig(out / file, dpi=90, facecolor="white", transparent=False)
        lines += [f".. figure:: /studies/{out.name}/{file}", "", f"   {_plain(picture.caption)}", ""]
    lines += [list_table(["claim", "expected", "measured", "verdict"], [_row(c) for c in analysis.checks])]
    for number, table in enumerate(analysis.tables):
        rows = [[_plain(cell) for cell in row] for row in table.rows]
        (out / f"table-{part}-{number}.rst").write_text(list_table(list(table.columns), rows))
    return [*lines, *(f"* {_plain(note)}" for note in analysis.notes)]


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
