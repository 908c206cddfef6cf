"""The bars of a study in a terminal, one a part."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from phasescope.cli.study_progress import trouble

if TYPE_CHECKING:
    from phasescope.studies import PartPlan
    from phasescope.sweep import Event

_NARROW = 60  # columns
_LOW = 4  # rows beyond the bars


class _Count(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.completed:.0f}/{task.total:.0f}")


class Bars:
    """One bar a part that has something to do, and how long it takes; only the total in a low terminal."""

    def __init__(self, stream: TextIO, plans: Sequence[PartPlan], clock: Any) -> None:
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

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def tell(self, event: Event) -> None:
        """Take note of what has happened to a task."""
        self._clock.learn(event)
        if event.kind == "done" and event.task is not None and event.task.part in self._bars:
            self._progress.advance(self._bars[event.task.part])
        if problem := trouble(event):
            self._progress.console.print(problem, markup=False, highlight=False)
        self._show()

    def analyse(self, part: str) -> None:
        """Say that a part is analysed from now on."""
        self._progress.update(self._all, description=f"analysing {part}")

    def _show(self) -> None:
        self._progress.update(self._all, completed=self._clock.done, description=str(self._clock))
