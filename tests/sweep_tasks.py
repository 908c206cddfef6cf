"""Measurements that worker processes can import, and a sweep to be started as a process of its own."""

import sys
import time
from pathlib import Path

import numpy as np

from phasescope.sweep import Task


def tasks(count, seconds=0.0, part="noise", estimated=0.1, **parameters):
    return [
        Task("trial", part, {"number": number, "sleep": seconds, **parameters}, seconds=estimated)
        for number in range(count)
    ]


def measure(task):
    time.sleep(task.parameters["sleep"])
    values = np.random.default_rng(task.seed).standard_normal((3, 4))
    return {
        "values": values,
        "product": values @ values.T,
        "number": np.array(task.parameters["number"]),
        "flags": values > 0,
        "none": np.zeros((0, 2)),
    }


if __name__ == "__main__":
    from phasescope.sweep import run

    count, seconds, workers = int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    run(
        tasks(count, seconds),
        measure,
        Path(sys.argv[1]),
        workers=workers,
        listener=lambda e: print(e.kind, flush=True),
    )
