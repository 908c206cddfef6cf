"""The study engine: what a task costs beside its own work, and what a second worker brings."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Comparison, interleaved
from phasescope.sweep import Store, Task
from phasescope.sweep import run as sweep
from phasescope.sweep.store import encode

ROOT = Path(__file__).parents[1]
FEW, MANY, REPEATS = 100, 1100, 5
WORK_TASKS, PASSES, SIZE = 24, 2000, 50_000


def nothing(task: Task) -> dict[str, np.ndarray]:
    return {"value": np.zeros(10)}


def compute(task: Task) -> dict[str, np.ndarray]:
    """Return after some tenths of a second in the processor's own caches: no memory bus is shared."""
    x = np.linspace(-1, 1, SIZE)
    for _ in range(PASSES):
        x = np.tanh(x * 1.1)
    return {"sum": np.array(x.sum())}


def _tasks(count: int, seconds: float) -> list[Task]:
    return [Task("benchmark", "engine", {"number": number}, seconds=seconds) for number in range(count)]


def _swept(count: int, measure: Any, seconds: float, **options: Any) -> float:
    """Seconds from the survey to the last task: the start of workers is no part of a task's cost."""
    times = []
    with tempfile.TemporaryDirectory() as directory:
        outcome = sweep(
            _tasks(count, seconds),
            measure,
            directory,
            listener=lambda event: times.append(time.perf_counter()),
            **options,
        )
    assert outcome.computed == count
    return times[-1] - times[0]


def _overhead(**options: Any) -> float:
    """Milliseconds a task, from the difference of two counts, so that starting costs nothing."""
    differences = []
    for _ in range(REPEATS):
        few = _swept(FEW, nothing, 0.001, **options)
        many = _swept(MANY, nothing, 0.001, **options)
        differences.append((many - few) / (MANY - FEW) * 1e3)
    return statistics.median(differences)


def _write_cost(durable: bool) -> float:
    """Milliseconds to write one file, with and without waiting for the disk."""
    with tempfile.TemporaryDirectory() as directory:
        store = Store(directory)
        times = []
        for task in _tasks(200, 1.0):
            start = time.perf_counter()
            store.keep(task, encode(task, nothing(task)), durable=durable)
            times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


@contextmanager
def _dask(workers: int) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scheduler.json"
        started = []

        def start(module: str, *options: str) -> None:
            command = [sys.executable, "-m", f"distributed.cli.{module}", "--host", "127.0.0.1"]
            started.append(
                subprocess.Popen(
                    [*command, "--no-dashboard", "--scheduler-file", str(file), *options],
                    env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                    cwd=folder,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )

        try:
            start("dask_scheduler", "--port", "0")
            while not (file.exists() and file.read_text().strip()):
                time.sleep(0.05)
            for _ in range(workers):
                start("dask_worker", "--no-nanny", "--nthreads", "1", "--memory-limit", "0")
            address = json.loads(file.read_text())["address"]
            # All workers have to be there, with the package imported, before anything is timed.
            _swept(4 * workers, compute, 0.3, scheduler=address)
            yield address
        finally:
            for process in started:
                process.kill()
                process.wait()


def _overheads(address: str) -> list[dict[str, object]]:
    """Return one row for each way to compute."""
    ways: dict[str, dict[str, Any]] = {
        "in this process": {},
        "2 worker processes": {"workers": 2},
        "Dask, 2 workers": {"scheduler": address},
    }
    return [{"overhead of": name, "ms a task": _overhead(**options)} for name, options in ways.items()] + [
        {"overhead of": "writing one file", "ms a task": _write_cost(False)},
        {"overhead of": "writing one file and waiting for the disk", "ms a task": _write_cost(True)},
    ]


def run() -> Comparison:
    """Return times of the compute-bound tasks and the overhead a task of each way to compute."""
    comparison = Comparison("The study engine, 24 compute-bound tasks", "all tasks")
    with _dask(2) as address:
        comparison.rows = _overheads(address)
        comparison.seconds, comparison.ratios = interleaved(
            {
                "in this process": lambda: _swept(WORK_TASKS, compute, 0.3),
                "2 worker processes": lambda: _swept(WORK_TASKS, compute, 0.3, workers=2),
                "Dask, 2 workers": lambda: _swept(WORK_TASKS, compute, 0.3, scheduler=address),
            },
            repeats=3,
        )
    comparison.remarks = [
        "Tasks that do nothing, groups formed by the engine; the time of starting workers cancels.",
        "Times of the compute-bound tasks include starting the worker processes.",
    ]
    return comparison
