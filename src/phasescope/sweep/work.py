"""What runs where a task is computed: in this process, in a worker process, or on a cluster."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import phasescope
from phasescope.errors import InputError
from phasescope.sweep.store import Store, encode
from phasescope.sweep.task import Task
from phasescope.sweep.threads import settle_on_one_thread

_WORTH_WAITING = 0.5  # seconds; a disk takes up to ten milliseconds, and the checksum shows what it lost

Measure = Callable[[Task], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Measured:
    """What became of one task."""

    task: Task  # which
    seconds: float  # how long it took, with writing its file if that was done there
    failure: str = ""  # the error that `measure` raised; empty if it did not
    content: bytes = b""  # what the file shall hold, where writing is left to the receiver


def measure_group(measure: Measure, tasks: Sequence[Task], directory: Path | None) -> list[Measured]:
    """Return what became of each task; an error of one does not keep the others from being computed."""
    return [_measure_one(measure, task, directory) for task in tasks]


def measure_far(measure: Measure, tasks: Sequence[Task], version: str) -> list[Measured]:
    """Return the contents for each task from a machine that may have another installation."""
    if version != phasescope.__version__:
        raise InputError(
            f"A worker has phasescope {phasescope.__version__}, and this is {version}.",
            "Install the same release for all.",
        )
    settle_on_one_thread()
    return measure_group(measure, tasks, None)


def keep(store: Store, task: Task, content: bytes, seconds: float) -> None:
    """Write a task's file, and wait for the disk where computing it again would cost more than that."""
    store.keep(task, content, durable=seconds > _WORTH_WAITING)


def _measure_one(measure: Measure, task: Task, directory: Path | None) -> Measured:
    start = time.perf_counter()
    try:
        content = encode(task, measure(task))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return Measured(task, time.perf_counter() - start, _told(error))
    seconds = time.perf_counter() - start
    if directory is None:
        return Measured(task, seconds, content=content)
    keep(Store(directory), task, content, seconds)
    return Measured(task, time.perf_counter() - start)


def _told(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    said = f"{type(error).__name__}: {error}".removesuffix(": ")
    return f"{said} ({Path(last.filename).name}, line {last.lineno})"
