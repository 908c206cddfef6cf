"""The steps of ``phasescope study run`` and ``phasescope study report``."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from phasescope import report as pages
from phasescope import studies
from phasescope.cli.study_progress import display
from phasescope.cli.study_table import checks_text, plan_text
from phasescope.errors import InputError
from phasescope.studies import Study, StudySettings

if TYPE_CHECKING:
    from phasescope.cli.study import StudyReport, StudyRun

_SHARE = 0.8  # of the free memory
_UNKNOWN = 4e9  # bytes, where the system does not tell


def run(words: StudyRun, command: str) -> tuple[str, int]:
    """Print the plan, run the study, write its files, and return what to print and the exit code.

    Parameters
    ----------
    words : StudyRun
        What the user typed.
    command : str
        The command line, kept in ``run.json``.

    Raises
    ------
    InputError
        If the study, a setting, a part, the device or the folder cannot be used.
    KeyboardInterrupt
        With the line to print, if the user stops it.
    """
    study = studies.study(words.name)
    config = _configuration(study, words)
    directory = words.out or Path(f"phasescope-{study.name}-{words.preset}")
    parts = words.parts or None
    plans = studies.plan(study, config, directory, parts=parts)
    if words.workers is not None and words.workers < 1:
        raise InputError(f"--workers {words.workers} computes nothing.", "Use 1 or more.")
    workers = words.workers or studies.fitting_workers(plans, studies.cores(), _free_memory())
    _say(_plan(plans, workers, words.scheduler))
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
    return _answer(made, directory, as_json=words.json), _code(made, check=words.check)


def report(words: StudyReport) -> tuple[str, int]:
    """Write the page and the checks again, and return what to print and the exit code.

    Parameters
    ----------
    words : StudyReport
        What the user typed.
    """
    made = studies.load(words.directory, study=words.study)
    pages.save_study(made, words.directory)
    return _answer(made, words.directory, as_json=words.json), _code(made, check=words.check)


def _configuration(study: Study, words: StudyRun) -> StudySettings:
    if words.preset not in study.presets:
        raise InputError(
            f"{study.name} has no preset {words.preset!r}.", f"There are: {', '.join(study.presets)}."
        )
    assignments = [text for group in words.changes for text in group]
    if words.seed is not None:
        assignments.append(f"seed={words.seed}")
    return studies.changed(study.presets[words.preset], assignments)


def _plan(plans: Sequence[studies.PartPlan], workers: int, scheduler: str | None) -> str:
    if scheduler is not None:
        return plan_text(plans, where="on one core", seconds=sum(each.seconds for each in plans))
    where = "in this process" if workers == 1 else f"with {workers} workers"
    return plan_text(plans, where=where, seconds=studies.wall_seconds(plans, workers))


def _answer(run: studies.StudyRun, directory: Path, *, as_json: bool) -> str:
    for what, why in _failures(run).items():
        _say(f"failed: {what}: {why}")
    if as_json:
        content = {
            "study": run.name,
            "configuration": run.config.model_dump(mode="json"),
            "sentence": run.sentence,
            "checks": [check.to_dict() for check in run.checks],
            "failed": _failures(run),
            "results": str(directory / "results.nc"),
            "page": str(directory / "report.html"),
        }
        return json.dumps(content, indent=1, allow_nan=False)
    return f"{checks_text(run)}\n\npage: {directory / 'report.html'}"


def _failures(run: studies.StudyRun) -> dict[str, str]:
    """Return parts and tasks that failed, and why."""
    tasks = run.outcome.failed if run.outcome is not None else {}
    return {**run.failed, **{f"task {name}": why for name, why in tasks.items()}}


def _code(run: studies.StudyRun, *, check: bool) -> int:
    disagrees = any(each.verdict == "disagrees" for each in run.checks)
    return int(bool(_failures(run)) or (check and disagrees))


def _free_memory() -> float:
    """Return the bytes that workers may take together."""
    try:
        known = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"))
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return _SHARE * (int(known[1]) * 1024 if known else pages)
    except (OSError, ValueError):
        return _UNKNOWN


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
