"""Running a list of tasks: what is there is kept, the rest is computed, and everything is told."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from phasescope.errors import InputError
from phasescope.sweep import executors, manifest
from phasescope.sweep.executors import Measure, Measured
from phasescope.sweep.store import Store
from phasescope.sweep.task import Task
from phasescope.sweep.threads import one_thread
from phasescope.whole_files import check_writable, clear_leftovers, os_errors_told

Kind = Literal["survey", "damaged", "foreign", "done", "failed", "died", "waiting"]
_LOST = "See that they run and have the same packages as here; what is finished is kept."
_LOOK = 5.0  # seconds between two looks at how many workers there are
_LOOK_AGAIN = 0.2  # where there was none
_SHORTEST = 0.1  # seconds that a group of tasks should last
_UNMEASURED = 8  # most tasks in a group of a part whose estimates nothing has confirmed
_LEAST = 1e-6  # seconds of a task, so that estimates have a ratio


@dataclass(frozen=True)
class Event:
    """What has just happened.

    Parameters
    ----------
    kind : str
        ``damaged`` and ``foreign`` for each file that is; then ``survey`` once; ``done`` and ``failed`` for
        each task; ``died`` when a worker process has ended, whose tasks are then tried again one by one;
        ``waiting`` while a cluster has no worker.
    task : Task, optional
        Which one.
    message : str
        What to tell.
    seconds : float
        How long the task took.
    done, total : int
        Tasks that have a file now, and all of them.
    remaining : float
        Expected seconds, on one core, of what is left.
    """

    kind: Kind
    task: Task | None = None
    message: str = ""
    seconds: float = 0.0
    done: int = 0
    total: int = 0
    remaining: float = 0.0


@dataclass
class Outcome:
    """What became of a run.

    Parameters
    ----------
    total : int
        Tasks asked for.
    reused : int
        Those whose files were there and whole.
    computed : int
        Those computed now.
    damaged : dict of str to str
        What was wrong with the files that were computed anew, by task id; or with the manifest, by its name.
    foreign : list of Path
        Files in the folder that no task owns; neither read nor removed.
    failed : dict of str to str
        Why, by task id.
    """

    total: int
    reused: int
    computed: int = 0
    damaged: dict[str, str] = field(default_factory=dict)
    foreign: list[Path] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def run(
    tasks: Iterable[Task],
    measure: Measure,
    directory: Path | str,
    *,
    identity: Mapping[str, Any] | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    listener: Callable[[Event], None] | None = None,
) -> Outcome:
    """Return what became of every task, once each has its file in `directory` or has failed.

    Files that are there and whole are kept, so a run that was killed goes on where it was: at most one task a
    worker is computed again. The files do not depend on workers, order or interruptions, bit for bit, as long
    as `measure` depends on nothing but its task.

    Parameters
    ----------
    tasks : iterable of Task
        In any order; the longest are computed first.
    measure : callable
        From a task to a mapping of names to arrays; importable from a module where `workers` or `scheduler`
        send it elsewhere.
    directory : Path or str
        Belongs to this sweep alone; made where it does not exist.
    identity : mapping of str to JSON value, optional
        What makes results comparable: study, configuration, versions. A folder of another is refused.
    workers : int
        1 computes in this process; more, in as many spawned processes.
    scheduler : str, optional
        Address of a Dask scheduler, whose workers then compute.
    listener : callable, optional
        Called in this thread with each :class:`Event`.

    Raises
    ------
    InputError
        If the folder belongs to another run, is in use or cannot be written, if the disk is full, or if
        workers cannot be started or reached. What is finished is kept.
    """
    if workers < 1:
        raise InputError(f"workers={workers} computes nothing.", "Use 1 or more.")
    wanted = {task.id: task for task in tasks}
    store = Store(directory)
    check_writable(store.directory)
    with os_errors_told(store.directory):
        store.directory.mkdir(parents=True, exist_ok=True)
    with manifest.only_run(store.directory), one_thread():
        clear_leftovers(store.directory)
        known, damage = manifest.agree(store.directory, identity or {}, wanted)
        survey = store.survey(wanted.values(), known)
        outcome = Outcome(len(wanted), len(survey.done), damaged=survey.damaged, foreign=survey.foreign)
        if damage:
            outcome.damaged[manifest.NAME] = damage
        open_tasks = survey.missing + [wanted[name] for name in survey.damaged if name in wanted]
        state = _Run(store, Backlog(open_tasks), outcome, listener or (lambda event: None))
        state.open(wanted)
        try:
            if not state.backlog:
                pass
            elif scheduler is not None:
                state.on_cluster(measure, scheduler)
            elif workers > 1:
                state.in_processes(measure, min(workers, len(open_tasks)))
            else:
                state.feed(state.backlog, executors.in_process(measure, store.directory))
        finally:
            clear_leftovers(store.directory)
    return outcome


@dataclass
class _Run:
    store: Store
    backlog: Backlog
    outcome: Outcome
    listener: Callable[[Event], None]

    def open(self, wanted: Mapping[str, Task]) -> None:
        """Tell what the survey has found."""
        for name, reason in self.outcome.damaged.items():
            self.tell("damaged", wanted.get(name), reason)
        for path in self.outcome.foreign:
            self.tell("foreign", message=f"{path.name} belongs to no task")
        self.tell("survey")

    def in_processes(self, measure: Measure, workers: int) -> None:
        """Compute all; after the death of a worker, what it may have been at is tried again one by one."""
        suspects: list[Task] = []
        while self.backlog or suspects:
            if not suspects:
                crew = executors.processes(measure, self.store.directory, workers)
                suspects = self._unwritten(self.feed(self.backlog, crew))
                self._tell_death(suspects)
                continue
            alone = Backlog(suspects, shortest=0.0)
            crew = executors.processes(measure, self.store.directory, 1, spare=0)
            self._give_up(self._unwritten(self.feed(alone, crew)))
            suspects = alone.rest()

    def on_cluster(self, measure: Measure, address: str) -> None:
        """Compute all; the tasks of a group that has ended workers are tried again one by one."""
        lost = self.feed(self.backlog, executors.cluster(measure, address))
        self._tell_death(lost)
        if lost:
            alone = Backlog(lost, shortest=0.0)
            self._give_up(self.feed(alone, executors.cluster(measure, address)))

    def feed(self, source: Backlog, crew: AbstractContextManager[executors.Crew]) -> list[Task]:
        """Keep `crew` busy until `source` is empty or the crew is broken; return the tasks lost."""
        under_way: dict[Future[list[Measured]], list[Task]] = {}
        lost: list[Task] = []
        with crew as at_work:
            idle = False
            while source or under_way:
                slots = at_work.slots()
                if not slots and not idle:
                    self.tell("waiting", message="The scheduler has no worker yet.")
                idle = not slots
                while source and len(under_way) < max(slots, 1):
                    group = source.take()
                    under_way[at_work.submit(group)] = group
                for future in wait(under_way, _LOOK if slots else _LOOK_AGAIN, FIRST_COMPLETED).done:
                    group = under_way.pop(future)
                    try:
                        found = _result(future, at_work)
                    except at_work.deadly as error:
                        lost += group
                        if isinstance(error, BrokenExecutor):
                            return lost + [task for tasks in under_way.values() for task in tasks]
                    else:
                        self._receive(found)
        return lost

    def _receive(self, group: Sequence[Measured]) -> None:
        for measured in group:
            if measured.failure:
                self._fail(measured.task, measured.failure, measured.seconds)
                continue
            if measured.content:
                executors.keep(self.store, measured.task, measured.content, measured.seconds)
            self.backlog.learn(measured.task, measured.seconds)
            self._done(measured.task, measured.seconds)

    def _unwritten(self, lost: Sequence[Task]) -> list[Task]:
        """Count those of `lost` whose files were written before the end, and return the others."""
        survey = self.store.survey(lost)
        for task in survey.done:
            self.backlog.forget(task)
            self._done(task, 0.0)
        return [task for task in lost if task not in survey.done]

    def _give_up(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            self._fail(task, "its worker process died; was there enough memory?", 0.0)

    def _done(self, task: Task, seconds: float) -> None:
        self.outcome.computed += 1
        self.tell("done", task, seconds=seconds)

    def _fail(self, task: Task, message: str, seconds: float) -> None:
        self.backlog.forget(task)
        self.outcome.failed[task.id] = message
        self.tell("failed", task, message, seconds)

    def _tell_death(self, lost: Sequence[Task]) -> None:
        if lost:
            names = ", ".join(f"{task.part} {task.id}" for task in lost)
            self.tell("died", message=f"A worker process died. Tried again one by one: {names}.")

    def tell(self, kind: Kind, task: Task | None = None, message: str = "", seconds: float = 0.0) -> None:
        """Call the listener, with how far the run has come."""
        done = self.outcome.reused + self.outcome.computed
        remaining = self.backlog.remaining
        self.listener(Event(kind, task, message, seconds, done, self.outcome.total, remaining))


def _result(future: Future[list[Measured]], crew: executors.Crew) -> list[Measured]:
    try:
        return future.result()
    except Exception as error:
        if isinstance(error, (InputError, *crew.deadly)):
            raise
        raise InputError(f"Nothing can be computed by {crew.name}: {error!r}.", _LOST) from error


@dataclass
class _Part:
    waiting: deque[Task] = field(default_factory=deque)
    open: float = 0.0
    estimated: float = 0.0
    measured: float = 0.0

    @property
    def correction(self) -> float:
        return self.measured / self.estimated if self.estimated else 1.0

    def expected(self) -> float:
        return _seconds(self.waiting[0]) * self.correction


class Backlog:
    """The tasks still to do, longest first, in groups that last at least `shortest` seconds.

    Each part's estimated seconds are corrected by the ratio that its finished tasks have shown.
    """

    def __init__(self, tasks: Iterable[Task], shortest: float = _SHORTEST) -> None:
        self._shortest = shortest
        self._parts: dict[str, _Part] = {}
        for task in sorted(tasks, key=lambda task: (-task.seconds, task.id)):
            part = self._parts.setdefault(task.part, _Part())
            part.waiting.append(task)
            part.open += _seconds(task)

    def __bool__(self) -> bool:
        return any(part.waiting for part in self._parts.values())

    @property
    def remaining(self) -> float:
        """Expected seconds, on one core, of everything that is not learnt to be done."""
        return sum(part.open * part.correction for part in self._parts.values())

    def take(self) -> list[Task]:
        """Return the next group, which leaves the backlog; it must not be empty."""
        group: list[Task] = []
        expected = 0.0
        while self and (not group or expected < self._shortest):
            part = max((part for part in self._parts.values() if part.waiting), key=_Part.expected)
            if not part.estimated and len(group) >= _UNMEASURED:
                break
            expected += part.expected()
            group.append(part.waiting.popleft())
        return group

    def learn(self, task: Task, seconds: float) -> None:
        """Take note of how long `task` took."""
        self.forget(task)
        part = self._parts[task.part]
        part.estimated += _seconds(task)
        part.measured += seconds

    def forget(self, task: Task) -> None:
        """Take note that nothing of `task` is left to do, without learning from it."""
        part = self._parts[task.part]
        part.open = max(0.0, part.open - _seconds(task))

    def rest(self) -> list[Task]:
        """Return the tasks that wait."""
        return [task for part in self._parts.values() for task in part.waiting]


def _seconds(task: Task) -> float:
    return max(task.seconds, _LEAST)
