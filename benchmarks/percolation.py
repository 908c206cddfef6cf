"""Directed percolation: 64 runs in the bits of a word, against one byte a site and against a plain loop."""

from __future__ import annotations

import random
import time

import numpy as np

from benchmarks.harness import Comparison, interleaved
from phasescope.scaling import CRITICAL_PROBABILITY, directed_percolation

P = CRITICAL_PROBABILITY[1, "bond"]
SIZE = 10_000
RUNS = 64
WORDS_STEPS, BYTES_STEPS, LOOP_STEPS = 400, 20, 4
UNIT = 1e9


def _bytes(steps: int) -> int:
    """64 runs as an array of bytes, two random numbers a site."""
    rng = np.random.default_rng(0)
    active = np.ones((RUNS, SIZE), dtype=bool)
    for step in range(steps):
        neighbour = np.roll(active, -1 if step % 2 == 0 else 1, axis=1)
        active = (active & (rng.random(active.shape) < P)) | (neighbour & (rng.random(active.shape) < P))
    return int(active.sum())


def _loop(steps: int) -> int:
    """One run, site by site."""
    draw = random.Random(0).random
    active = [True] * SIZE
    for step in range(steps):
        shift = 1 if step % 2 == 0 else -1
        active = [
            (active[i] and draw() < P) or (active[(i + shift) % SIZE] and draw() < P) for i in range(SIZE)
        ]
    return sum(active)


def run() -> Comparison:
    """Return seconds for 1e9 site updates of each way, and the time of the largest simulation."""
    work = {
        "phasescope, 64 runs in a word": (
            lambda: directed_percolation(P, SIZE, WORDS_STEPS, times=[WORDS_STEPS]),
            RUNS * SIZE * WORDS_STEPS,
        ),
        "numpy, one byte a site": (lambda: _bytes(BYTES_STEPS), RUNS * SIZE * BYTES_STEPS),
        "plain loop": (lambda: _loop(LOOP_STEPS), SIZE * LOOP_STEPS),
    }
    seconds, ratios = interleaved({name: call for name, (call, _) in work.items()}, repeats=5)
    comparison = Comparison("Directed percolation, 1+1 dimensions, bonds, 10000 sites", "1e9 site updates")
    first = next(iter(work.values()))[1]
    for name, (_, updates) in work.items():
        comparison.seconds[name] = seconds[name] * UNIT / updates
        comparison.ratios[name] = ratios[name] * first / updates
        comparison.rows.append({"contender": name, "site updates a second": updates / seconds[name]})
    start = time.perf_counter()
    directed_percolation(P, SIZE, 10_000)
    long = time.perf_counter() - start
    comparison.remarks = [
        f"10000 rows of 10000 sites, 64 runs: {long:.2f} s, which is {int(60 / long) * RUNS} runs a minute, "
        "on one core (nothing here runs in threads).",
        "The plain loop draws no random numbers for bonds from inactive sites; the others draw all.",
    ]
    return comparison
