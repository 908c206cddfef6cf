"""Tasks with seeds of their own, run in any order on any executor, each kept in one checked file."""

from phasescope.sweep.run import Event, Outcome, run
from phasescope.sweep.store import DamagedTaskError, Store, Survey
from phasescope.sweep.task import Task
from phasescope.whole_files import check_writable, clear_leftovers, write_together, write_whole

__all__ = [
    "DamagedTaskError",
    "Event",
    "Outcome",
    "Store",
    "Survey",
    "Task",
    "check_writable",
    "clear_leftovers",
    "run",
    "write_together",
    "write_whole",
]


def __dir__() -> list[str]:
    return list(__all__)
