"""Detrended fluctuation analysis of a batch beside six libraries that take one series at a time."""

from __future__ import annotations

import importlib
import math
import time
import tracemalloc
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from benchmarks.harness import Comparison, interleaved
from phasescope.noise import dfa
from phasescope.noise.dfa import line, log_moments

Array = np.ndarray
OURS = "phasescope, windows from the start"
BOTH = "phasescope, from both ends"
GRID = "phasescope, antropy's windows"


@dataclass(frozen=True)
class Peer:
    """A library: how it measures F(n) (or, without a choice of windows, alpha) of one series."""

    name: str
    module: str
    prepare: Callable[[Any, Array], Callable[[Array], Array]]
    against: str = OURS
    share: float = 1.0


def _neurodsp(module: Any, windows: Array) -> Callable[[Array], Array]:
    return lambda x: np.array([module.compute_detrended_fluctuation(x, n) for n in windows.tolist()])


def _mfdfa(module: Any, windows: Array) -> Callable[[Array], Array]:
    return lambda x: module.MFDFA(x, windows, 1, 2)[1].ravel()


def _fathon(module: Any, windows: Array) -> Callable[[Array], Array]:
    utilities = importlib.import_module("fathon.fathonUtils")
    return lambda x: module.DFA(utilities.toAggregated(x)).computeFlucVec(windows, polOrd=1)[1]


def _neurokit2(module: Any, windows: Array) -> Callable[[Array], Array]:
    def measured(x: Array) -> Array:
        return np.asarray(module.fractal_dfa(x, scale=windows, overlap=False)[1]["Fluctuations"]).ravel()

    return measured


def _nolds(module: Any, windows: Array) -> Callable[[Array], Array]:
    options = {"nvals": windows, "overlap": False, "fit_exp": "poly", "debug_data": True}
    return lambda x: np.exp(module.dfa(x, **options)[1][1])


def _antropy(module: Any, windows: Array) -> Callable[[Array], Array]:
    return lambda x: np.array([module.detrended_fluctuation(x)])


PEERS = (
    Peer("neurodsp", "neurodsp.aperiodic.dfa", _neurodsp),
    Peer("MFDFA", "MFDFA", _mfdfa, against=BOTH),
    Peer("fathon", "fathon", _fathon),
    Peer("antropy", "antropy", _antropy, against=GRID),
    # A few of the series are enough to time these.
    Peer("neurokit2", "neurokit2", _neurokit2, share=0.05),
    Peer("nolds", "nolds", _nolds, share=0.02),
)


def _slope(windows: Array, fluctuation: Array) -> Array:
    u = np.log(windows) - np.log(windows).mean()
    return (np.log(fluctuation) @ u / (u @ u))[..., None]


def _growth() -> list[dict[str, object]]:
    """Return time and memory of phasescope alone, for one to a thousand series and up to 65536 values."""
    rows: list[dict[str, object]] = []
    for series, length in ((1, 4096), (30, 4096), (1000, 4096), (250, 16384), (62, 65536)):
        x = np.random.default_rng(0).standard_normal((series, length))
        windows = np.unique(np.geomspace(16, length // 8, 16).round().astype(int))
        line.cache_clear()
        log_moments.cache_clear()
        start = time.perf_counter()
        dfa(x, windows=windows)
        first = time.perf_counter() - start
        start = time.perf_counter()
        dfa(x, windows=windows)
        seconds = time.perf_counter() - start
        tracemalloc.start()
        dfa(x, windows=windows)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        rows.append(
            {
                "series": series,
                "values": length,
                "first call, s": first,
                "later calls, ms a series": 1e3 * seconds / series,
                "memory beside x, MB": peak / 1e6,
            }
        )
    return rows


def run(series: int = 1000, length: int = 4096, repeats: int = 3) -> Comparison:
    """Return seconds for the whole batch, and the largest relative difference of F(n)."""
    x = np.random.default_rng(0).standard_normal((series, length))
    windows = np.unique(np.geomspace(16, length // 8, 16).round().astype(int))
    powers = range(1 + int(math.log(0.1 * length / 4) / math.log(1.2)))
    grid = np.unique([int(4 * 1.2**power) for power in powers])
    calls: dict[str, Callable[[], Any]] = {
        OURS: lambda: dfa(x, windows=windows, both_ends=False),
        BOTH: lambda: dfa(x, windows=windows, both_ends=True),
        GRID: lambda: dfa(x, windows=grid, both_ends=False),
    }
    if torch.cuda.is_available():
        on_device = torch.from_numpy(x).to("cuda")
        calls["phasescope, from the start, GPU"] = lambda: dfa(on_device, windows=windows, both_ends=False)
    comparison = Comparison(f"Fluctuation analysis, {series} series of {length} values", "all series")
    measured = {name: calls[name]().fluctuation for name in (OURS, BOTH)}
    measured[GRID] = _slope(grid, calls[GRID]().fluctuation)
    counts, found = dict.fromkeys(calls, series), []
    for peer in PEERS:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                one = peer.prepare(importlib.import_module(peer.module), windows)
                difference = np.abs(one(x[0]) / measured[peer.against][0] - 1).max()
        except Exception as reason:  # a library of others may fail in any way
            comparison.remarks.append(f"{peer.name} is left out: {type(reason).__name__}: {reason}")
            continue
        found.append((peer, float(difference)))
        counts[peer.name] = max(1, round(peer.share * series))
        calls[peer.name] = lambda one=one, rows=x[: counts[peer.name]]: [one(row) for row in rows]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seconds, ratios = interleaved(calls, repeats=repeats)
    comparison.seconds = {name: value * series / counts[name] for name, value in seconds.items()}
    comparison.ratios = {name: value * series / counts[name] for name, value in ratios.items()}
    comparison.rows = [
        {
            "peer": peer.name,
            "beside": peer.against,
            "largest relative difference": difference,
            "times as long": comparison.ratios[peer.name] / comparison.ratios[peer.against],
        }
        for peer, difference in found
    ]
    comparison.rows += _growth()
    comparison.remarks += [
        "phasescope fits exponents with their errors in that time; "
        f"{torch.get_num_threads()} threads, {'with' if find_spec('numba') else 'without'} numba.",
        "antropy has no choice of windows: its alpha is compared, on its own windows; the others' F(n).",
        "neurokit2 and nolds are timed on a part of the series.",
    ]
    return comparison
