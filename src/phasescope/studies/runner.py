"""A study from its configuration to its checks: tasks, measurement, one dataset, analysis."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import xarray as xr
from pydantic import ValidationError

from phasescope.errors import InputError
from phasescope.studies import circumstances, registry, results
from phasescope.studies.contract import Settings, Study
from phasescope.studies.examine import examine
from phasescope.studies.measurement import Measurement
from phasescope.studies.planning import TASKS, chosen_parts
from phasescope.studies.settings import told
from phasescope.studies.study_run import StudyRun
from phasescope.sweep import Event, Outcome, Store, Task, check_writable, write_together
from phasescope.sweep import run as run_tasks
from phasescope.sweep.threads import one_thread

CHECKS = "checks.json"
CIRCUMSTANCES = "run.json"


def run(
    study: Study | str,
    config: Settings,
    directory: Path | str,
    *,
    parts: Sequence[str] | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    device: str = "cpu",
    listener: Callable[[Event], None] | None = None,
    announce: Callable[[str], None] = lambda part: None,
    command: str = "",
) -> StudyRun:
    """Measure what is not there yet, write results and checks, and return what they say.

    Task files are kept in ``DIR/tasks``, so the same call goes on where an earlier one stopped.
    ``results.nc`` holds the parts asked for, and those that earlier calls with the same configuration
    completed; ``checks.json`` follows from it alone. What differs from run to run is in ``run.json``.

    Parameters
    ----------
    study : Study or str
        A study, its name, or ``FILE.py:NAME``; workers must be able to import a study that is passed itself.
    config : Settings
        What to measure: one of ``study.presets`` or a changed copy.
    directory : Path or str
        Made where it does not exist.
    parts : sequence of str, optional
        Which to measure; all by default.
    workers : int
        Processes; 1 computes in this one.
    scheduler : str, optional
        Address of a Dask scheduler, in place of own processes.
    device : str
        Where torch computes.
    listener : callable, optional
        Called with every :class:`phasescope.sweep.Event`.
    announce : callable
        Called with the name of each part before it is analysed.
    command : str
        The command line, kept in ``run.json``.

    Returns
    -------
    StudyRun
        Its `failed` names the parts that could not be measured or analysed; an ``InputError`` says so if the
        study, a part, the device or the folder cannot be used at all.
    """
    name, found = _named(study)
    path = Path(directory)
    chosen = [part.name for part in chosen_parts(found, parts)]
    check_writable(path)
    if scheduler is None:
        circumstances.check_device(device)
    tasks = {part.name: part.tasks(config) for part in found.parts}
    for part in found.parts:
        results.check_names(part, tasks[part.name])
    diary = _Diary(path, command, {"workers": workers, "scheduler": scheduler, "parts": chosen})
    diary.write(finished=False)
    outcome = run_tasks(
        [task for part in chosen for task in tasks[part]],
        Measurement(study, device, registry.version(name)),
        path / TASKS,
        identity=_identity(found, name, config, device),
        workers=workers,
        scheduler=scheduler,
        listener=listener,
    )
    data = _collected(found, tasks, chosen, Store(path / TASKS), outcome.failed)
    data.attrs = _attributes(found, name, config, device, list(data.children))
    results.write(data, path)
    made = _examined(found, name, config, results.read(path), announce, outcome)
    write_together(path, {CHECKS: made.checks_json()})
    diary.write(finished=True)
    return made


def load(
    directory: Path | str,
    *,
    study: Study | str | None = None,
    announce: Callable[[str], None] = lambda part: None,
) -> StudyRun:
    """Return the study in a folder, analysed again from ``results.nc`` alone.

    Parameters
    ----------
    directory : Path or str
        What :func:`run` wrote into.
    study : Study or str, optional
        The study, for one that cannot be found by the name in the file.
    announce : callable
        Called with the name of each part before it is analysed.

    Raises
    ------
    InputError
        If the file is missing or damaged, or the study cannot be found or has other settings by now.
    """
    path = Path(directory)
    data = results.read(path)
    name, found = _named(study if study is not None else str(data.attrs["found_by"]))
    try:
        kind = type(next(iter(found.presets.values())))
        config = kind.model_validate_json(data.attrs["configuration"])
    except ValidationError as error:
        raise InputError(
            f"{path / results.RESULTS} has a configuration that {name} does not take: {told(error)}",
            "Use the version of the study that wrote it.",
        ) from error
    return _examined(found, name, config, data, announce, None)


def _named(study: Study | str) -> tuple[str, Study]:
    return (study.name, study) if isinstance(study, Study) else (study, registry.study(study))


def _collected(
    study: Study,
    tasks: Mapping[str, Sequence[Task]],
    chosen: Sequence[str],
    store: Store,
    reasons: Mapping[str, str],
) -> xr.DataTree:
    """Return the parts asked for, and the others where they are complete."""
    nodes: dict[str, xr.Dataset] = {}
    for part in study.parts:
        needed = tasks[part.name]
        if part.name not in chosen and len(store.survey(needed).done) < len(needed):
            continue
        try:
            nodes[part.name] = results.collect(part, needed, store, reasons)
        except ValueError as error:
            nodes[part.name] = xr.Dataset(attrs={"missing": "{}", "error": str(error)})
    return xr.DataTree.from_dict(nodes)


def _identity(study: Study, name: str, config: Settings, device: str) -> dict[str, Any]:
    """Return what the task files of one folder have in common."""
    return {
        "study": study.name,
        "file_sha256": registry.version(name),
        "configuration": config.model_dump(mode="json"),
        "versions": circumstances.versions(),
        "device": device,
    }


def _attributes(
    study: Study, name: str, config: Settings, device: str, parts: Sequence[str]
) -> dict[str, str | int]:
    """Return what the numbers depend on, and nothing that differs between two runs of the same thing."""
    return {
        "study": study.name,
        "found_by": name,
        "title": study.title if not config.subtitle else f"{study.title}: {config.subtitle}",
        "source": study.source,
        "configuration": config.model_dump_json(),
        "configuration_sha256": circumstances.digest(config),
        "versions": json.dumps(circumstances.versions()),
        "device": device,
        "threads": 1,
        "seed": int(getattr(config, "seed", 0)),
        "citations": " ".join(circumstances.citation_keys(study, parts)),
    }


def _examined(
    study: Study,
    name: str,
    config: Settings,
    data: xr.DataTree,
    announce: Callable[[str], None],
    outcome: Outcome | None,
) -> StudyRun:
    with one_thread():
        found = examine(study, config, data, announce)
    return StudyRun(study, name, config, data, found.analyses, found.pictures, found.failed, outcome)


@dataclass
class _Diary:
    """Writes ``run.json``: what differs from one run to the next and so must not be in the results."""

    directory: Path
    command: str
    options: Mapping[str, Any]
    start: float = field(default_factory=time.time)

    def write(self, *, finished: bool) -> None:
        content = {
            "command": self.command,
            "started": datetime.fromtimestamp(self.start, UTC).isoformat(timespec="seconds"),
            "finished": finished,
            "wall_seconds": round(time.time() - self.start, 3),
            **self.options,
            **circumstances.host(),
        }
        write_together(self.directory, {CIRCUMSTANCES: json.dumps(content, indent=1) + "\n"})
