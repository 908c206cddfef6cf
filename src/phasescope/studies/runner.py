"""A study from its configuration to its checks: tasks, measurement, one dataset, numbers, claims, figures."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from pydantic import ValidationError

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.recording.memory import in_bytes
from phasescope.regular_files import LARGEST
from phasescope.studies import circumstances, registry, results
from phasescope.studies.claim import Check
from phasescope.studies.part import Analysis, Part, Picture, Study, StudySettings, Variable
from phasescope.studies.planning import TASKS, chosen_parts
from phasescope.studies.settings import told
from phasescope.studies.study_run import StudyRun
from phasescope.sweep import Event, Outcome, Store, Task, check_writable, write_together
from phasescope.sweep import run as run_tasks
from phasescope.sweep.threads import one_thread
from phasescope.userfiles import nothing_imported

CHECKS = "checks.json"
CIRCUMSTANCES = "run.json"


def run(
    study: Study | str,
    config: StudySettings,
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
    chosen = [part.name for part in chosen_parts(found, config, parts)]
    check_writable(path, results.RESULTS, results.CHECKSUM, CHECKS, CIRCUMSTANCES)
    if scheduler is None:
        circumstances.check_device(device)
    tasks = {part.name: part.tasks(config) for part in found.parts}
    for part in found.parts:
        results.check_names(part, tasks[part.name])
    diary = _Diary(path, command, {"workers": workers, "scheduler": scheduler, "parts": chosen})

    def heard(event: Event) -> None:
        if event.kind == "survey":  # lock and manifest have agreed to this run
            diary.write(finished=False)
        if listener is not None:
            listener(event)

    outcome = run_tasks(
        [task for part in chosen for task in tasks[part]],
        measurement(study, device),
        path / TASKS,
        identity=_identity(found, name, config, device),
        workers=workers,
        scheduler=scheduler,
        listener=heard,
    )
    data = _collected(found, tasks, chosen, Store(path / TASKS), outcome.failed)
    data.attrs = _attributes(found, name, config, device, list(data.children))
    results.write(data, path)
    made = _analysed(found, name, config, results.read(path), announce, outcome)
    write_together(path, {CHECKS: made.checks_json()})
    diary.write(finished=True)
    return made


def load(
    directory: Path | str,
    *,
    study: Study | str | None = None,
    announce: Callable[[str], None] = lambda part: None,
    max_memory: float | str | None = None,
) -> StudyRun:
    """Return the study in a folder, analysed again from ``results.nc`` alone.

    The folder may come from anybody: nothing in it chooses what is imported, read or followed.

    Parameters
    ----------
    directory : Path or str
        What :func:`run` wrote into.
    study : Study or str, optional
        The study, for one that is not phasescope's own. Naming a file runs its code, so ``FILE.py:NAME`` is
        never taken from the results.
    announce : callable
        Called with the name of each part before it is analysed.
    max_memory : float or str, optional
        Bytes that the file, and the arrays that it declares, may have: a number or text such as "20GB"; 4 GB
        by default. More is refused before it is read.

    Raises
    ------
    InputError
        If the file is missing or damaged, holds what no study writes, or is too large; or if the study is not
        phasescope's own and not named, or has other settings by now.
    """
    path = Path(directory)
    data = results.receive(path, LARGEST if max_memory is None else in_bytes(max_memory))
    name, found = _named(study if study is not None else _own(str(data.attrs["found_by"]), path))
    try:
        kind = type(next(iter(found.presets.values())))
        config = kind.model_validate_json(data.attrs["configuration"])
    except ValidationError as error:
        raise InputError(
            f"{path / results.RESULTS} has a configuration that {name} does not take: {told(error)}",
            "Use the version of the study that wrote it.",
        ) from error
    with nothing_imported(f"{path / results.RESULTS} was only opened"):
        return _analysed(found, name, config, data, announce, None)


def _own(name: str, directory: Path) -> str:
    """Return the name that results have for their study where it is one of phasescope's."""
    if name in registry.names():
        return name
    raise InputError(
        f"{directory / results.RESULTS} is of the study {name!r}, which is not one of phasescope's.",
        "Naming a file runs its code, and so does naming a study of a package. If you trust it, say which: "
        "--study FILE.py:NAME or --study NAME, or study= in Python.",
    )


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
        except (ValueError, TypeError) as error:
            nodes[part.name] = xr.Dataset(attrs={"missing": "{}", "error": str(error)})
    return xr.DataTree.from_dict(nodes)


def _identity(study: Study, name: str, config: StudySettings, device: str) -> dict[str, Any]:
    """Return what the task files of one folder have in common."""
    return {
        "study": study.name,
        "file_sha256": registry.version(name),
        "configuration": config.model_dump(mode="json"),
        "versions": circumstances.versions(),
        "device": device,
    }


def _attributes(
    study: Study, name: str, config: StudySettings, device: str, parts: Sequence[str]
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


@dataclass(frozen=True)
class Measurement:
    """Measures tasks and makes sure of what comes back; travels to the processes that work.

    A study that has a name is found by it in each process; of another one, what measures its parts travels.
    """

    device: str
    name: str  # of the study; empty where it travels
    version: str  # what ``registry.version`` said of the name when the run was started
    parts: Mapping[str, tuple[Callable[[Task, str], Mapping[str, Any]], Mapping[str, Variable]]]

    def __call__(self, task: Task) -> dict[str, np.ndarray]:
        if not self.name:
            return _checked(task, *self.parts[task.part], self.device)
        if registry.version(self.name) != self.version:
            raise InputError(f"{self.name} has changed while it was running.", "Run the same command again.")
        part = registry.study(self.name).part(task.part)
        return _checked(task, part.measure, part.variables, self.device)


def measurement(study: Study | str, device: str) -> Measurement:
    """Return the measurement of the tasks of a study."""
    if isinstance(study, str):
        return Measurement(device, study, registry.version(study), {})
    return Measurement(device, "", "", {part.name: (part.measure, part.variables) for part in study.parts})


def _checked(
    task: Task,
    measure: Callable[[Task, str], Mapping[str, Any]],
    variables: Mapping[str, Variable],
    device: str,
) -> dict[str, np.ndarray]:
    arrays = {name: np.asarray(value) for name, value in measure(task, device).items()}
    results.check_arrays(task, arrays, variables)
    return arrays


def _analysed(
    study: Study,
    name: str,
    config: StudySettings,
    data: xr.DataTree,
    announce: Callable[[str], None],
    outcome: Outcome | None,
) -> StudyRun:
    """Return what the parts that `data` holds say; one that fails leaves the others standing."""
    analyses: dict[str, Analysis] = {}
    pictures: dict[str, list[Picture]] = {}
    failed: dict[str, str] = {}
    with one_thread():
        for part in study.parts:
            if part.name not in data.children:
                continue
            announce(part.name)
            analysis, drawn, reason = _what_it_says(part, data[part.name].to_dataset(), config)
            if reason:
                failed[part.name] = reason
                checks = [*analysis.checks, _incomplete(study, part, reason)]
                analysis = Analysis(checks, analysis.tables, analysis.notes)
            analyses[part.name], pictures[part.name] = analysis, drawn
    counts = Counter(check.id for analysis in analyses.values() for check in analysis.checks)
    twice = [id for id, count in counts.items() if count > 1]
    if twice:
        failed["checks"] = f"more than one check is called {', '.join(twice)}"
    return StudyRun(study, name, config, data, analyses, pictures, failed, outcome)


def _what_it_says(part: Part, data: xr.Dataset, config: StudySettings) -> tuple[Analysis, list[Picture], str]:
    """Return checks, pictures, and why there are none of either, if so."""
    reason = _missing(data)
    if reason:
        return Analysis([]), [], reason
    try:
        numbers = part.numbers(data, config)
        analysis = part.analysis(numbers)
    except Exception as error:
        return Analysis([]), [], f"the analysis failed with {_told(error)}"
    try:
        return analysis, part.pictures(numbers), ""
    except Exception as error:
        return analysis, [], f"a figure failed with {_told(error)}"


def _missing(data: xr.Dataset) -> str:
    """Return why the data of a part are not complete, or nothing."""
    if "error" in data.attrs:
        return str(data.attrs["error"])
    missing: dict[str, str] = json.loads(data.attrs["missing"])
    if not missing:
        return ""
    first, why = next(iter(missing.items()))
    have = data.sizes.get("task", 0)
    return f"{len(missing)} of {have + len(missing)} tasks are missing; the first, {first}: {why}"


def _incomplete(study: Study, part: Part, reason: str) -> Check:
    return Check(
        id=f"{part.name}/complete",
        claim=f"{part.title}: everything was measured, analysed and drawn.",
        source=study.source,
        expected=None,
        measured=Estimate.not_determined(reason),
        verdict="not determined",
    )


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


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
