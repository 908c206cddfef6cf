"""The tasks still to do, longest first, in groups that are worth sending."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from phasescope.sweep.task import Task

SHORTEST = 0.1
_UNMEASURED = 8  # most tasks in a group of a part whose estimates nothing has confirmed
_LEAST = 1e-6


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
    """The tasks still to do.

    Each part's estimated seconds are corrected by the ratio that its finished tasks have shown.
    """

    def __init__(self, tasks: Iterable[Task], shortest: float = SHORTEST) -> None:
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
