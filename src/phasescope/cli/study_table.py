"""Plans and checks as text that fits 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from io import StringIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from phasescope.report.numbers import measured
from phasescope.studies import Check, PartPlan, StudyRun

_WIDTH = 80


def plan_text(plans: Sequence[PartPlan], *, where: str, seconds: float) -> str:
    """Return tasks, what of them is there, time and memory of each part, and how long it may take.

    Parameters
    ----------
    plans : sequence of PartPlan
        In the order of the study.
    where : str
        What computes, in a few words.
    seconds : float
        Estimated wall time.
    """
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
    """Return every check, part by part, and the sentence that counts them.

    Parameters
    ----------
    run : StudyRun
        With its analyses.
    """
    table = _table("verdict", "check", "expected", "measured")
    for part in run.study.parts:
        if part.name in run.analyses:
            for check in run.analyses[part.name].checks:
                table.add_row(check.verdict, check.id, expected(check), found(check))
            table.add_section()
    return f"{_text(table)}\n{textwrap.fill(run.sentence, _WIDTH)}"


def expected(check: Check) -> str:
    """Return what the claim leads to.

    Parameters
    ----------
    check : Check
        Any.
    """
    return "" if check.expected is None else measured(check.expected)


def found(check: Check) -> str:
    """Return the number with its error, or why there is none.

    Parameters
    ----------
    check : Check
        Any.
    """
    if not check.measured.determined:
        return check.measured.reason
    return measured(check.measured.value, check.measured.error)


def duration(seconds: float) -> str:
    """Return a time such as ``40 s``, ``12 min`` or ``3.5 h``.

    Parameters
    ----------
    seconds : float
        Zero or more.
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    """Return bytes such as ``300 MB``; nothing for none.

    Parameters
    ----------
    count : float
        Bytes.
    """
    if count <= 0:
        return ""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(1, round(count / 1e6))} MB"


def _table(*headings: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _text(table: Table) -> str:
    buffer = StringIO()
    Console(file=buffer, width=_WIDTH, force_terminal=False, markup=False, highlight=False).print(table)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())
