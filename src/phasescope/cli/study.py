"""What ``phasescope study list``, ``run`` and ``report`` take, as their help says it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

_DEBUG = "Show the whole traceback of an error."
_JSON = "Print the result as JSON on stdout and nothing else there."
_CHECK = "Exit with code 1 where a claim disagrees, for use in scripts."
_NAME = (
    "A study that `phasescope study list` shows, or FILE.py:NAME with one of your own, whose code then runs."
)
_SET = "Change settings: seed=1, finite_width.networks=100, compared=tanh,sin. May be repeated."
_PARTS = "Measure only these; what other calls have completed in the same folder is shown with them."
_WORKERS = "Processes. Without it, as many as cores and memory allow and the time that is left is worth."
_SCHEDULER = "A Dask scheduler, whose workers then compute."


@dataclass(frozen=True)
class StudyList:
    """Show which studies there are."""

    json: Annotated[bool, tyro.conf.arg(help=_JSON)] = False
    debug: Annotated[bool, tyro.conf.arg(help=_DEBUG)] = False

    def run(self) -> tuple[str, int]:
        """Return what to print and the exit code."""
        from phasescope.cli import study_list

        return study_list.listing(as_json=self.json), 0


@dataclass(frozen=True)
class StudyRun:
    """Measure a study, or go on where the same command was stopped, and check its claims."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME|FILE.py:NAME", help=_NAME)]
    preset: Annotated[str, tyro.conf.arg(metavar="quick|paper")] = "quick"
    """Sizes to start from: quick for minutes, paper to resolve every claim."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of results and report; phasescope-NAME-PRESET without it."""
    changes: Annotated[
        tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]],
        tyro.conf.arg(name="set", metavar="KEY=VALUE [KEY=VALUE ...]", help=_SET),
    ] = ()
    parts: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PART [PART ...]", help=_PARTS)] = ()
    workers: Annotated[int | None, tyro.conf.arg(metavar="N", help=_WORKERS)] = None
    scheduler: Annotated[str | None, tyro.conf.arg(metavar="ADDRESS", help=_SCHEDULER)] = None
    device: Annotated[str, tyro.conf.arg(metavar="DEVICE")] = "cpu"
    """Where torch computes: cpu, cuda, cuda:1."""
    seed: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """The same as --set seed=INT."""
    plan: bool = False
    """Print what would be done, and stop."""
    check: Annotated[bool, tyro.conf.arg(help=_CHECK)] = False
    json: Annotated[bool, tyro.conf.arg(help=_JSON)] = False
    debug: Annotated[bool, tyro.conf.arg(help=_DEBUG)] = False

    def run(self) -> tuple[str, int]:
        """Return what to print and the exit code."""
        from phasescope.cli import study_run

        return study_run.run(self, command=shlex.join(["phasescope", *sys.argv[1:]]))


@dataclass(frozen=True)
class StudyReport:
    """Write report.html and checks.json again, from results.nc alone."""

    directory: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]
    """The folder that `phasescope study run` wrote into."""
    study: Annotated[str | None, tyro.conf.arg(metavar="NAME|FILE.py:NAME")] = None
    """The study, where it is no longer found under the name that the results have for it."""
    check: Annotated[bool, tyro.conf.arg(help=_CHECK)] = False
    json: Annotated[bool, tyro.conf.arg(help=_JSON)] = False
    debug: Annotated[bool, tyro.conf.arg(help=_DEBUG)] = False

    def run(self) -> tuple[str, int]:
        """Return what to print and the exit code."""
        from phasescope.cli import study_run

        return study_run.report(self)


@dataclass(frozen=True)
class StudyCommands:
    """Reproduce a paper's study: list, run, report."""


COMMANDS: dict[str, Callable[..., Any]] = {"list": StudyList, "run": StudyRun, "report": StudyReport}
