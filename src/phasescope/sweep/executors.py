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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import phasescope
from phasescope.errors import InputError
from phasescope.sweep.task import Task
from phasescope.sweep.threads import settle_on_one_thread
from phasescope.sweep.work import Measure, Measured, measure_far, measure_group

_START = (
    "Define the measurement in a module that can be imported, run scripts under "
    "`if __name__ == '__main__':`, or use one worker."
)
_PATIENCE = 5.0  # seconds for a scheduler to answer, and between two looks at its workers


@dataclass(frozen=True)
class Crew:
    """Those who compute."""

    name: str  # for messages
    # takes a group of tasks, returns the future of what became of each; never raises
    submit: Callable[[Sequence[Task]], Future[list[Measured]]]
    slots: Callable[[], int]  # returns how many groups to keep under way; 0 while nobody is there to compute
    # what the future of a group raises whose worker has died
    deadly: tuple[type[Exception], ...] = (BrokenExecutor,)


@contextmanager
def in_process(measure: Measure, directory: Path) -> Iterator[Crew]:
    """Compute here and now."""

    def submit(tasks: Sequence[Task]) -> Future[list[Measured]]:
        try:
            future: Future[list[Measured]] = Future()
            future.set_result(measure_group(measure, tasks, directory))
            return future
        except InputError as error:
            return _failed(error)

    yield Crew("this process", submit, lambda: 1)


@contextmanager
def processes(measure: Measure, directory: Path, workers: int, *, spare: int = 1) -> Iterator[Crew]:
    """Compute in spawned processes, which write their own files and end at once when this one is gone."""
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
    """Compute on the workers of a Dask scheduler; their results come back to be written here."""
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
                measure_far, measure, tasks, phasescope.__version__
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
    return measure_group(measure, tasks, directory)
