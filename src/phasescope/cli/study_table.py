"""Plans and checks as text that fits 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from io import StringIO

from rich.console import Console
from rich.table import Table

from phasescope.report.numbers import measured
from phasescope.studies import Check, PartPlan, StudyRun

_WIDTH = 80


def plan_text(plans: Sequence[PartPlan], *, where: str, seconds: float) -> str:
    """Return tasks, what of them is there, time and memory of each part, and how long it may take."""
    table = _table("part", "tasks", "there", "time on one core", "memory a worker")
    for column in table.columns[1:]:
        column.justify = "right"
    for each in plans:
        there = len(each.tasks) - len(each.todo)
        time = duration(each.seconds) if each.todo else "done"
        table.add_row(each.part.name, str(len(each.tasks)), str(there or ""), time, size(each.memory))
    left = sum(len(each.todo) for each in plans)
    tasks = "1 task" if left == 1 else f"{left} tasks"
    total = f"{tasks} left, about {duration(seconds)} {where}." if left else "All tasks are there."
    return f"{_text(table)}\n{total}"


def checks_text(run: StudyRun) -> str:
    """Return every check, part by part, then what kept some from being determined, and how many there are."""
    table = _table("verdict", "check", "expected", "measured")
    for name, analysis in run.analyses.items():
        table.add_row("", f"{name}/")
        for check in analysis.checks:
            table.add_row(check.verdict, check.id.removeprefix(f"{name}/"), expected(check), found(check))
    reasons = [
        textwrap.fill(f"{', '.join(ids)}: {reason}.", _WIDTH, subsequent_indent="  ", break_on_hyphens=False)
        for reason, ids in _undetermined(run).items()
    ]
    parts = [_text(table), "\n".join(["Not determined:", *reasons])] if reasons else [_text(table)]
    return "\n\n".join([*parts, textwrap.fill(run.sentence, _WIDTH)])


def _undetermined(run: StudyRun) -> dict[str, list[str]]:
    """Return the checks that have no number, by the reason."""
    reasons: dict[str, list[str]] = {}
    for check in run.checks:
        if not check.measured.determined:
            reasons.setdefault(check.measured.reason.rstrip("."), []).append(check.id)
    return reasons


def expected(check: Check) -> str:
    """Return what the claim leads to."""
    return "" if check.expected is None else measured(check.expected, digits=6)


def found(check: Check) -> str:
    """Return the number with its error, or a dash."""
    return (
        measured(check.measured.value, check.measured.error, digits=6) if check.measured.determined else "–"
    )


def duration(seconds: float) -> str:
    """Return a time such as ``40 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    """Return bytes such as ``300 MB``; nothing for none."""
    if count <= 0:
        return ""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(1, round(count / 1e6))} MB"


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _text(table: Table) -> str:
    buffer = StringIO()
    Console(file=buffer, width=_WIDTH, force_terminal=False, markup=False, highlight=False).print(table)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())
