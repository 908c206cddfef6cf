"""Loops of recurrent states: all dwells and starts at once, beside a loop over dwells, starts and values."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Comparison, interleaved
from phasescope.recurrent import hysteresis_loop

UNITS, STARTS = 24, 8
VALUES = np.linspace(-1.0, 1.0, 21)
DWELLS = (1, 2, 4, 8)
SETTLE = 8 * DWELLS[-1]  # steps at the first value before the scan
TOLERANCE = 1e-12


def _network() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(UNITS, UNITS, generator=generator, dtype=torch.float64) / UNITS**0.5
    start = torch.randn(STARTS, UNITS, generator=generator, dtype=torch.float64)
    return 1.2 * weight, start


def _by_loops(weight: Tensor, start: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the readings on the way up and down of one start and one dwell after the other."""

    def step(h: Tensor, value: float) -> Tensor:
        return torch.tanh(weight @ h + value)

    seen = np.empty((len(DWELLS), len(start), 2 * len(VALUES), UNITS))
    for number, dwell in enumerate(DWELLS):
        for row, h in enumerate(start):
            for _ in range(SETTLE):
                h = step(h, VALUES[0])
            for place, value in enumerate([*VALUES, *VALUES[::-1]]):
                for _ in range(dwell):
                    h = step(h, value)
                seen[number, row, place] = h.numpy()
    seen = seen.transpose(0, 2, 1, 3)
    return seen[:, : len(VALUES)], seen[:, len(VALUES) :][:, ::-1]


def run() -> Comparison:
    """Return the time of both, after their readings were found equal."""
    weight, start = _network()

    def at_once() -> tuple[np.ndarray, np.ndarray]:
        found = hysteresis_loop(lambda h, value: torch.tanh(h @ weight.T + value), start, VALUES, kick=0.0)
        return found.up, found.down

    pairs = zip(_by_loops(weight, start), at_once(), strict=True)
    apart = max(float(np.abs(one - other).max()) for one, other in pairs)
    if apart > TOLERANCE:
        raise AssertionError(f"the readings differ by {apart:.2g}")
    comparison = Comparison("Hysteresis of a recurrent network", f"{STARTS} starts, {len(DWELLS)} dwells")
    contenders = {"python loops": lambda: _by_loops(weight, start), "phasescope": at_once}
    comparison.seconds, comparison.ratios = interleaved(contenders, repeats=5, clock=time.process_time)
    comparison.remarks = [
        f"Readings agree to {apart:.1g}. The time of phasescope holds both branches in mid-loop for "
        f"{SETTLE} steps more, for the verdict, which the loops do not give."
    ]
    return comparison
