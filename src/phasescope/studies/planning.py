"""What a study needs, before it is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from phasescope.errors import InputError
from phasescope.studies.part import Part, Study, StudySettings
from phasescope.sweep import Store, Task

TASKS = "tasks"
_START = 6.0  # seconds that a process takes to import torch


@dataclass(frozen=True)
class PartPlan:
    """What is left to do in a part.

    Parameters
    ----------
    part : Part
        Which.
    tasks : tuple of Task
        All of it.
    todo : tuple of Task
        Those without a sound file.
    """

    part: Part
    tasks: tuple[Task, ...]
    todo: tuple[Task, ...]

    @property
    def seconds(self) -> float:
        """Estimated time of what is left on one core."""
        return sum(task.seconds for task in self.todo)

    @property
    def memory(self) -> int:
        """Estimated memory of the largest task that is left, in bytes."""
        return max((task.memory for task in self.todo), default=0)


def plan(
    study: Study, config: StudySettings, directory: Path | str, *, parts: Sequence[str] | None = None
) -> list[PartPlan]:
    """Return what each part needs and what of it is there already; nothing is run or written.

    Parameters
    ----------
    study : Study
        Which one.
    config : Settings
        What to measure.
    directory : Path or str
        Where the task files of an earlier run may be.
    parts : sequence of str, optional
        All by default; an unknown name raises ``InputError``.
    """
    store = Store(Path(directory) / TASKS)
    plans = []
    for part in chosen_parts(study, config, parts):
        tasks = tuple(part.tasks(config))
        done = {task.id for task in store.survey(tasks).done}
        plans.append(PartPlan(part, tasks, tuple(task for task in tasks if task.id not in done)))
    return plans


def wall_seconds(plans: Sequence[PartPlan], workers: int) -> float:
    """Return the estimated time of everything that is left with so many processes.

    Parameters
    ----------
    plans : sequence of PartPlan
        What :func:`plan` returned.
    workers : int
        Processes; 1 means none besides the own.
    """
    left = [task.seconds for each in plans for task in each.todo]
    if not left:
        return 0.0
    return max(sum(left) / workers, *left) + (_START if workers > 1 else 0.0)


def fitting_workers(plans: Sequence[PartPlan], cores: int, memory: float) -> int:
    """Return how many processes are worth starting: short work stays in this one.

    Parameters
    ----------
    plans : sequence of PartPlan
        What :func:`plan` returned.
    cores : int
        Of this machine.
    memory : float
        Bytes that all of them may take together.
    """
    most = max(1, cores)
    largest = max((each.memory for each in plans), default=0)
    if largest:
        most = max(1, min(most, int(memory // largest)))
    return min(range(1, most + 1), key=lambda workers: wall_seconds(plans, workers))


def chosen_parts(study: Study, config: StudySettings, names: Sequence[str] | None) -> list[Part]:
    """Return the named parts in the order of the study; for None, those that the settings ask for, or all."""
    known = [part.name for part in study.parts]
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise InputError(f"{study.name} has no part {unknown[0]!r}.", f"There are: {', '.join(known)}.")
    wanted = config.asked or known if names is None else names
    return [part for part in study.parts if part.name in wanted]
