"""The steps of ``phasescope study list``, ``run`` and ``report``."""

from __future__ import annotations

import json
import os
import re
import textwrap
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from phasescope import report as pages
from phasescope import studies
from phasescope.cli.study_progress import display, duration
from phasescope.cli.terminal import say
from phasescope.errors import InputError
from phasescope.report.study_page import expected_and_measured
from phasescope.studies import PartPlan, Study, StudySettings, registry
from phasescope.sweep import check_writable

if TYPE_CHECKING:
    from phasescope.cli.commands import StudyReport, StudyRun

_WIDTH = 80
_SHARE = 0.8  # of the free memory
_UNKNOWN = 4e9  # bytes, where the system does not tell


def listing(*, as_json: bool) -> str:
    """Return name, summary, source, presets and parts of every study; tell of those that cannot be used."""
    found = [studies.study(name) for name in studies.names()]
    for name in registry.names_of_others():
        try:
            found.append(studies.study(name))
        except InputError as error:
            say(f"phasescope: {error}")
    for sentence in registry.hidden():
        say(f"phasescope: {sentence}")
    if as_json:
        entries = [
            {
                "name": study.name,
                "title": study.title,
                "summary": study.summary,
                "source": study.source,
                "presets": list(study.presets),
                "parts": [part.name for part in study.parts],
            }
            for study in found
        ]
        return json.dumps(entries, indent=1, ensure_ascii=False)
    return "\n\n".join(_entry(study) for study in found)


def _entry(study: Study) -> str:
    facts = {
        "source": study.source,
        "presets": ", ".join(study.presets),
        "parts": ", ".join(part.name for part in study.parts),
        "run": f"phasescope study run {study.name} --preset quick",
    }
    lines = [study.name, *textwrap.wrap(study.summary, _WIDTH, initial_indent="  ", subsequent_indent="  ")]
    for name, value in facts.items():
        lines += textwrap.wrap(
            value, _WIDTH, initial_indent=f"  {name:8} ", subsequent_indent=" " * 11, break_on_hyphens=False
        )
    return "\n".join(lines)


def run(words: StudyRun, command: str) -> tuple[str, int]:
    """Print the plan, run the study, write its files, and return what to print and the exit code."""
    study = studies.study(words.name)
    config = _configuration(study, words)
    directory = words.out or Path(f"phasescope-{study.name}-{words.preset}")
    parts = words.parts or None
    plans = studies.plan(study, config, directory, parts=parts)
    if words.workers is not None and words.workers < 1:
        raise InputError(f"--workers {words.workers} computes nothing.", "Use 1 or more.")
    workers = words.workers or studies.fitting_workers(plans, studies.cores(), _free_memory())
    say(_plan_text(plans, workers, words.scheduler))
    if words.plan:
        return json.dumps(config.model_dump(mode="json"), indent=1) if words.json else "", 0
    try:
        with display(plans, workers) as shown:
            made = studies.run(
                words.name,
                config,
                directory,
                parts=parts,
                workers=workers,
                scheduler=words.scheduler,
                device=words.device,
                listener=shown.tell,
                announce=shown.analyse,
                command=command,
            )
            pages.save_study(made, directory)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped with Ctrl-C; what is finished is in {directory}, and the same command resumes it."
        ) from None
    answer = _answer(made, directory / "results.nc", directory, as_json=words.json)
    return answer, _code(made, check=words.check)


def report(words: StudyReport) -> tuple[str, int]:
    """Write the page and the checks again, and return what to print and the exit code."""
    out = words.out or words.directory
    check_writable(out)
    made = studies.load(words.directory, study=words.study, max_memory=words.max_memory)
    pages.save_study(made, out)
    answer = _answer(made, words.directory / "results.nc", out, as_json=words.json)
    return answer, _code(made, check=words.check)


def _configuration(study: Study, words: StudyRun) -> StudySettings:
    if words.preset not in study.presets:
        raise InputError(
            f"{study.name} has no preset {words.preset!r}.", f"There are: {', '.join(study.presets)}."
        )
    assignments = [text for group in words.changes for text in group]
    if words.seed is not None:
        assignments.append(f"seed={words.seed}")
    return studies.changed(study.presets[words.preset], assignments)


def _answer(run: studies.StudyRun, results: Path, out: Path, *, as_json: bool) -> str:
    for what, why in _failures(run).items():
        say(f"failed: {what}: {why}")
    if as_json:
        content = {
            "study": run.name,
            "configuration": run.config.model_dump(mode="json"),
            "sentence": run.sentence,
            "checks": [check.to_dict() for check in run.checks],
            "failed": _failures(run),
            "results": str(results),
            "page": str(out / "report.html"),
        }
        return json.dumps(content, indent=1, allow_nan=False)
    return f"{_checks_text(run)}\n\npage: {out / 'report.html'}"


def _failures(run: studies.StudyRun) -> dict[str, str]:
    """Return parts and tasks that failed, and why."""
    tasks = run.outcome.failed if run.outcome is not None else {}
    return {**run.failed, **{f"task {name}": why for name, why in tasks.items()}}


def _code(run: studies.StudyRun, *, check: bool) -> int:
    disagrees = any(each.verdict == "disagrees" for each in run.checks)
    return int(bool(_failures(run)) or (check and disagrees))


def _plan_text(plans: Sequence[PartPlan], workers: int, scheduler: str | None) -> str:
    """Return tasks, what of them is there, time and memory of each part, and how long it may take."""
    table = _table("part", "tasks", "there", "time on one core", "memory a worker")
    for column in table.columns[1:]:
        column.justify = "right"
    for each in plans:
        there = len(each.tasks) - len(each.todo)
        time = duration(each.seconds) if each.todo else "done"
        table.add_row(each.part.name, str(len(each.tasks)), str(there or ""), time, size(each.memory))
    left = sum(len(each.todo) for each in plans)
    if not left:
        return f"{_text(table)}\nAll tasks are there."
    if scheduler is not None:
        where, seconds = "on one core", sum(each.seconds for each in plans)
    else:
        where = "in this process" if workers == 1 else f"with {workers} workers"
        seconds = studies.wall_seconds(plans, workers)
    tasks = "1 task" if left == 1 else f"{left} tasks"
    return f"{_text(table)}\n{tasks} left, about {duration(seconds)} {where}."


def _checks_text(run: studies.StudyRun) -> str:
    """Return every check, part by part, then what kept some from being determined, and how many there are."""
    table = _table("verdict", "check", "expected", "measured")
    for name, analysis in run.analyses.items():
        table.add_row("", f"{name}/")
        for check in analysis.checks:
            table.add_row(check.verdict, check.id.removeprefix(f"{name}/"), *expected_and_measured(check))
    reasons = [
        textwrap.fill(f"{', '.join(ids)}: {reason}.", _WIDTH, subsequent_indent="  ", break_on_hyphens=False)
        for reason, ids in _undetermined(run).items()
    ]
    parts = [_text(table), "\n".join(["Not determined:", *reasons])] if reasons else [_text(table)]
    return "\n\n".join([*parts, textwrap.fill(run.sentence, _WIDTH)])


def _undetermined(run: studies.StudyRun) -> dict[str, list[str]]:
    """Return the checks that have no number, by the reason."""
    reasons: dict[str, list[str]] = {}
    for check in run.checks:
        if not check.measured.determined:
            reasons.setdefault(check.measured.reason.rstrip("."), []).append(check.id)
    return reasons


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


def _free_memory() -> float:
    """Return the bytes that workers may take together."""
    try:
        known = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"))
    except OSError:  # not Linux
        known = None
    if known:
        return _SHARE * int(known[1]) * 1024
    if not hasattr(os, "sysconf"):  # Windows
        return _UNKNOWN
    try:
        return _SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return _UNKNOWN
