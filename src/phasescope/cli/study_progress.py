"""What a person sees while a study runs: bars in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

from phasescope.cli.study_table import duration

if TYPE_CHECKING:
    from phasescope.studies import PartPlan
    from phasescope.sweep import Event

_EVERY = 30.0  # seconds between two lines where nobody watches
_TELLING = 5.0  # seconds after which the pace so far says something


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
    from phasescope.cli.study_bars import Bars

    with Bars(target, plans, _Clock(plans, workers)) as bars:
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
        if problem := trouble(event):
            print(problem, file=self._stream, flush=True)
        if time.monotonic() - self._said > _EVERY:
            self._said = time.monotonic()
            print(f"{self._clock}", file=self._stream, flush=True)

    def analyse(self, part: str) -> None:
        if time.monotonic() - self._said > _EVERY:
            self._said = time.monotonic()
            print(f"analysing {part}", file=self._stream, flush=True)


def trouble(event: Event) -> str:
    """Return the line that names what is wrong, or nothing."""
    if event.kind in ("survey", "done"):
        return ""
    of = f"{event.task.part} task {event.task.id}: " if event.task is not None else ""
    return " ".join(f"{event.kind}: {of}{event.message}".split())
