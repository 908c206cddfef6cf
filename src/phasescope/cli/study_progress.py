"""What a person sees while a study runs: bars in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from phasescope.cli.terminal import say
from phasescope.errors import printable

if TYPE_CHECKING:
    from phasescope.studies import PartPlan
    from phasescope.sweep import Event

_EVERY = 30.0  # seconds between two lines where nobody watches
_TELLING = 5.0  # seconds after which the pace so far says something
_NARROW = 60  # columns below which there is no room for bars
_LOW = 4  # rows that a terminal needs beyond the bars


class Display(Protocol):
    """Tells how far a study is."""

    def tell(self, event: Event) -> None:
        """Take note of what has happened to a task."""

    def analyse(self, part: str) -> None:
        """Say that a part is analysed from now on."""


@contextmanager
def display(plans: Sequence[PartPlan], workers: float, stream: TextIO | None = None) -> Iterator[Display]:
    """Yield the display that suits where stderr goes."""
    target = stream if stream is not None else sys.stderr
    if not target.isatty():
        yield _Lines(target, _Clock(plans, workers))
        return
    with _Bars(target, plans, _Clock(plans, workers)) as bars:
        yield bars


class _Clock:
    """How much is done, and how long the rest may take at the pace so far."""

    def __init__(self, plans: Sequence[PartPlan], workers: float) -> None:
        self.total = sum(len(plan.tasks) for plan in plans)
        self.done = self.total - sum(len(plan.todo) for plan in plans)
        self._start: float | None = None
        self._pace = max(workers, 1.0)
        self._work = 0.0
        self._left = sum(plan.seconds for plan in plans)

    def learn(self, event: Event) -> None:
        if event.kind in ("done", "failed"):
            # Workers may take long to come: the pace is that of those who are at work.
            self._start = self._start or time.monotonic() - event.seconds
            self.done += event.kind == "done"
            self._work += event.seconds
            self._left = event.remaining

    @property
    def left(self) -> float:
        """Expected seconds, at the pace so far once that says anything: seconds of tasks a second."""
        passed = time.monotonic() - self._start if self._start else 0.0
        pace = self._work / passed if passed > _TELLING and self._work > 0 else self._pace
        return self._left / pace

    def __str__(self) -> str:
        rest = f", about {duration(self.left)} left" if self.done < self.total else ""
        return f"{self.done} of {self.total} tasks{rest}"


class _Lines:
    """A line when something goes wrong, and one now and then to say how far it is."""

    def __init__(self, stream: TextIO, clock: _Clock) -> None:
        self._stream, self._clock, self._said = stream, clock, time.monotonic()

    def tell(self, event: Event) -> None:
        self._clock.learn(event)
        if problem := _trouble(event):
            say(problem, self._stream)
        if time.monotonic() - self._said > _EVERY:
            self._said = time.monotonic()
            say(f"{self._clock}", self._stream)

    def analyse(self, part: str) -> None:
        if time.monotonic() - self._said > _EVERY:
            self._said = time.monotonic()
            say(f"analysing {part}", self._stream)


class _Count(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.completed:.0f}/{task.total:.0f}")


class _Bars:
    """One bar a part that has something to do, and how long it takes; only the total in a low terminal."""

    def __init__(self, stream: TextIO, plans: Sequence[PartPlan], clock: _Clock) -> None:
        console = Console(file=stream)
        columns: list[ProgressColumn] = [TextColumn("{task.description}", markup=False)]
        if console.width >= _NARROW:
            columns.append(BarColumn(bar_width=None))
        columns.append(_Count())
        self._clock = clock
        self._progress = Progress(
            *columns, console=console, transient=True, expand=True, redirect_stdout=False
        )
        self._bars = {}
        if console.height >= len(plans) + _LOW:
            for plan in plans:
                done = len(plan.tasks) - len(plan.todo)
                self._bars[plan.part.name] = self._progress.add_task(
                    plan.part.name, total=len(plan.tasks), completed=done
                )
        self._all = self._progress.add_task("", total=clock.total, completed=clock.done)
        self._show()

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def tell(self, event: Event) -> None:
        self._clock.learn(event)
        if event.kind == "done" and event.task is not None and event.task.part in self._bars:
            self._progress.advance(self._bars[event.task.part])
        if problem := _trouble(event):
            self._progress.console.print(problem, markup=False, highlight=False)
        self._show()

    def analyse(self, part: str) -> None:
        self._progress.update(self._all, description=f"analysing {part}")

    def _show(self) -> None:
        self._progress.update(self._all, completed=self._clock.done, description=str(self._clock))


def _trouble(event: Event) -> str:
    """Return the line that names what is wrong, or nothing."""
    if event.kind in ("survey", "done"):
        return ""
    of = f"{event.task.part} task {event.task.id}: " if event.task is not None else ""
    return printable(" ".join(f"{event.kind}: {of}{event.message}".split()))


def duration(seconds: float) -> str:
    """Return a time such as ``40 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
