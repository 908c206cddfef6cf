"""Where groups of tasks are computed: in this process, in processes of their own, or on a Dask cluster."""

from __future__ import annotations

import gc
import importlib
import math
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

import phasescope
from phasescope.errors import InputError
from phasescope.sweep.store import Store, encode
from phasescope.sweep.task import Task
from phasescope.sweep.threads import settle_on_one_thread

Measure = Callable[[Task], dict[str, np.ndarray]]

_START = (
    "Define the measurement in a module that can be imported, run scripts under "
    "`if __name__ == '__main__':`, or use one worker."
)
_PATIENCE = 5.0  # seconds for a scheduler to answer, and between two looks at its workers
_WORTH_WAITING = 0.5  # seconds; a disk takes up to ten milliseconds, and the checksum shows what it lost


@dataclass(frozen=True)
class Measured:
    """What became of one task."""

    task: Task
    seconds: float  # how long it took, with writing its file if that was done there
    failure: str = ""  # the error that the measurement raised; empty if it did not
    content: bytes = b""  # of the task's file, where writing is left to the receiver


@dataclass(frozen=True)
class Crew:
    """Those who compute."""

    name: str  # for messages
    # Takes a group of tasks and never raises: an error waits in the future of what became of each.
    submit: Callable[[Sequence[Task]], Future[list[Measured]]]
    slots: Callable[[], int]  # how many groups to keep under way; 0 while nobody is there to compute
    deadly: tuple[type[Exception], ...] = (BrokenExecutor,)  # raised by a group's future when its worker died


def keep(store: Store, task: Task, content: bytes, seconds: float) -> None:
    """Write a task's file, and wait for the disk where computing it again would cost more than that."""
    store.keep(task, content, durable=seconds > _WORTH_WAITING)


@contextmanager
def in_process(measure: Measure, directory: Path) -> Iterator[Crew]:
    """Compute here and now."""

    def submit(tasks: Sequence[Task]) -> Future[list[Measured]]:
        try:
            found = _measure_group(measure, tasks, directory)
        except InputError as error:
            return _failed(error)
        future: Future[list[Measured]] = Future()
        future.set_result(found)
        return future

    yield Crew("this process", submit, lambda: 1)


@contextmanager
def processes(measure: Measure, directory: Path, workers: int, *, spare: int = 1) -> Iterator[Crew]:
    """Compute in spawned processes, which write their own files and end at once when this one is gone.

    `measure` must be importable from a module; `spare` groups wait, so that no worker waits for this process.
    """
    context = multiprocessing.get_context("spawn")
    # Nobody else holds the writing end: closing it, or dying, is what the workers see.
    watched, held = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, context, _begin, (watched, measure, directory))

    def submit(tasks: Sequence[Task]) -> Future[list[Measured]]:
        try:
            with _interrupts_held():
                return pool.submit(_measure_here, tasks)
        except BrokenExecutor as error:
            return _failed(error)

    try:
        probes = _start(pool, workers)
        yield Crew("the worker processes", submit, lambda: workers + spare)
        if all(probe.done() and probe.exception() for probe in probes):
            raise InputError("The worker processes end as soon as they start; they said why.", _START)
        pool.shutdown(wait=True)
    finally:
        held.close()
        pool.shutdown(wait=True, cancel_futures=True)
        watched.close()


def _failed(error: Exception) -> Future[list[Measured]]:
    future: Future[list[Measured]] = Future()
    future.set_exception(error)
    return future


def _start(pool: ProcessPoolExecutor, workers: int) -> list[Future[int]]:
    try:
        with _interrupts_held():
            return [pool.submit(os.getpid) for _ in range(workers)]
    except Exception as error:  # whatever pickling the measurement raises
        raise InputError(f"The worker processes cannot be started: {error}.", _START) from error


@contextmanager
def cluster(measure: Measure, address: str) -> Iterator[Crew]:
    """Compute on the workers of a Dask scheduler; their results come back to be written here.

    `measure` must be importable on every worker; the address is such as ``tcp://127.0.0.1:8786``.
    """
    try:
        distributed: Any = importlib.import_module("distributed")
    except ImportError as error:
        raise InputError(
            f"The scheduler {address} needs the package distributed.", "pip install 'phasescope[cluster]'"
        ) from error
    with _connected(distributed, address) as client:
        executor = client.get_executor(pure=False, retries=0)
        seen = (-math.inf, 0)

        def slots() -> int:
            nonlocal seen
            if not seen[1] or time.monotonic() - seen[0] > _PATIENCE:
                # A scheduler that is gone shows in the futures, which it cancels.
                with suppress(OSError):
                    seen = (time.monotonic(), 2 * sum(client.nthreads().values()))
            return seen[1]

        def submit(tasks: Sequence[Task]) -> Future[list[Measured]]:
            future: Future[list[Measured]] = executor.submit(
                _measure_far, measure, tasks, phasescope.__version__
            )
            return future

        try:
            yield Crew(f"the workers of {address}", submit, slots, (distributed.KilledWorker,))
        finally:
            executor.shutdown(wait=False)


def _connected(distributed: Any, address: str) -> Any:
    try:
        return distributed.Client(address, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        reason = str(error)
    # Collected later, in the midst of starting the next one, what is left of the client would wait for ever.
    gc.collect()
    raise InputError(
        f"No Dask scheduler answers at {address}: {reason}.",
        "Start one with `dask scheduler` and give the address that it prints.",
    )


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold back Ctrl-C while processes start: they inherit that, and this process gets it afterwards."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_here: list[tuple[Measure, Path]] = []


def _begin(watched: Connection, measure: Measure, directory: Path) -> None:
    settle_on_one_thread()
    _here[:] = [(measure, directory)]
    threading.Thread(target=_end_with, args=(watched,), daemon=True).start()


def _end_with(watched: Connection) -> None:
    watched.poll(None)
    os._exit(1)


def _measure_here(tasks: Sequence[Task]) -> list[Measured]:
    settle_on_one_thread()
    measure, directory = _here[0]
    return _measure_group(measure, tasks, directory)


def _measure_far(measure: Measure, tasks: Sequence[Task], version: str) -> list[Measured]:
    """Compute on a machine that may have another installation, and send the files' contents back."""
    if version != phasescope.__version__:
        raise InputError(
            f"A worker has phasescope {phasescope.__version__}, and this is {version}.",
            "Install the same release for all.",
        )
    settle_on_one_thread()
    return _measure_group(measure, tasks, None)


def _measure_group(measure: Measure, tasks: Sequence[Task], directory: Path | None) -> list[Measured]:
    """Write each file as soon as its task is done, or return the contents where there is no directory.

    An error of one task does not keep the others from being computed.
    """
    return [_measure_one(measure, task, directory) for task in tasks]


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
