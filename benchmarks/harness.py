"""Timing several ways of doing one thing side by side, interleaved: a noisy machine hits all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Comparison:
    """One benchmark's outcome: median seconds of each contender, ratios to the first, and remarks."""

    title: str
    unit: str
    seconds: dict[str, float] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)


def interleaved(
    contenders: dict[str, Callable[[], Any]],
    *,
    repeats: int = 7,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the median seconds of each contender, and the median over rounds of its ratio to the first.

    The contenders take turns; a ratio is formed within one round, so a slow spell of the machine cancels.
    `clock` is ``time.process_time`` where CPU seconds of one thread are compared.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for call in contenders.values():
        call()
    for _ in range(repeats):
        for name, call in contenders.items():
            start = clock()
            call()
            times[name].append(clock() - start)
    first = next(iter(contenders))
    ratios = {
        name: statistics.median(t / t0 for t, t0 in zip(values, times[first], strict=True))
        for name, values in times.items()
    }
    return {name: statistics.median(values) for name, values in times.items()}, ratios
