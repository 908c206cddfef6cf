"""Measurements that worker processes can import, and a sweep to be started as a process of its own."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from phasescope.sweep import Task, run


def tasks(count, sleep=0.0, part="noise", estimated=0.1, **parameters):
    return [
        Task("trial", part, {"number": number, "sleep": sleep, **parameters}, seconds=estimated)
        for number in range(count)
    ]


def contents(directory):
    return {path.name: path.read_bytes() for path in Path(directory).glob("*.task")}


def measure(task):
    if log := os.environ.get("SWEEP_LOG"):
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"{task.id}\n")
    time.sleep(task.parameters["sleep"])
    values = np.random.default_rng(task.seed).standard_normal((3, 4))
    return {
        "values": values,
        "product": values @ values.T,
        "number": np.array(task.parameters["number"]),
        "none": np.zeros((0, 2)),
    }


def fails_on_odd_numbers(task):
    if task.parameters["number"] % 2:
        raise ValueError(f"number {task.parameters['number']} is odd")
    return measure(task)


def dies_on_three(task):
    """Die like a process that the system ends for its memory; the first time only if a file is named."""
    if task.parameters["number"] == 3:
        marker = Path(task.parameters.get("dies_unless", "absent"))
        if not marker.exists():
            if marker.is_absolute():
                marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return measure(task)


def sees_threads(task):
    import torch
    from threadpoolctl import threadpool_info

    found = [library["num_threads"] for library in threadpool_info()]
    return {"torch": np.array(torch.get_num_threads()), "libraries": np.array(found)}


def large(task):
    return {"zeros": np.zeros(100_000)}


if __name__ == "__main__":
    count, sleep, workers = int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    run(
        tasks(count, sleep, estimated=sleep),
        measure,
        Path(sys.argv[1]),
        workers=workers,
        listener=lambda event: print(event.kind, flush=True),
    )
