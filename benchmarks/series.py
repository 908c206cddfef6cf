"""Exponents and recurrence of scalar series beside nolds, neurokit2 and pyunicorn: accuracy and CPU time."""

from __future__ import annotations

import importlib
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.harness import Comparison, interleaved
from phasescope.training.recurrence import MEASURES, recurrence
from phasescope.training.series_exponents import kantz, rosenstein

Array = np.ndarray
OURS = "phasescope rosenstein"
PLOT = "phasescope recurrence"


@dataclass(frozen=True)
class System:
    """Stretches of a series whose exponent is known, and how to embed it."""

    name: str
    exponent: float
    stretches: Array
    dimension: int
    delay: int
    theiler: int
    dt: float = 1.0


def _henon(steps: int) -> Array:
    x, y, found = 0.1, 0.1, []
    for _ in range(steps + 500):
        x, y = 1 - 1.4 * x * x + y, 0.3 * x
        found.append(x)
    return np.array(found[500:])


def _lorenz(steps: int, dt: float = 0.01) -> Array:
    def flow(s: Array) -> Array:
        x, y, z = s
        return np.array([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])

    state, found = np.array([1.0, 1.0, 1.1]), []
    for _ in range(steps + 2000):
        a = flow(state)
        b = flow(state + dt / 2 * a)
        c = flow(state + dt / 2 * b)
        d = flow(state + dt * c)
        state = state + dt / 6 * (a + 2 * b + 2 * c + d)
        found.append(state[0])
    return np.array(found[2000:])


def _contenders(system: System) -> dict[str, Callable[[Array], float]]:
    """Return the exponent of one series by each method, per unit of time."""
    embedding = {
        "dimension": system.dimension,
        "delay": system.delay,
        "theiler": system.theiler,
        "dt": system.dt,
    }
    common = {"emb_dim": system.dimension, "lag": system.delay, "min_tsep": system.theiler, "tau": system.dt}
    # A length that shows the whole rise, as a person would choose it from the picture.
    by_eye = 10 if system.dt == 1 else round(3 / system.dt)
    return {
        OURS: lambda x: rosenstein(x, surrogates=0, **embedding).exponent.value,
        "phasescope rosenstein, 19 surrogates": lambda x: rosenstein(x, **embedding).exponent.value,
        "phasescope kantz": lambda x: kantz(x, surrogates=0, **embedding).exponent.value,
        "nolds lyap_r, 20 steps (default)": lambda x: importlib.import_module("nolds").lyap_r(x, **common),
        f"nolds lyap_r, {by_eye} steps (by eye)": lambda x: importlib.import_module("nolds").lyap_r(
            x, trajectory_len=by_eye, **common
        ),
        f"neurokit2, {by_eye} steps (by eye)": lambda x: (
            importlib.import_module("neurokit2").complexity_lyapunov(
                x,
                delay=system.delay,
                dimension=system.dimension,
                separation=system.theiler,
                len_trajectory=by_eye,
            )[0]
            / system.dt
        ),
    }


def _plots(x: Array, threshold: float) -> dict[str, Callable[[], dict[str, float]]]:
    def ours() -> dict[str, float]:
        found = recurrence(x, threshold=threshold, theiler=1, surrogates=0)
        return {name: getattr(found, name).value for name in MEASURES}

    def pyunicorn() -> dict[str, float]:
        series = importlib.import_module("pyunicorn.timeseries")
        plot = series.RecurrencePlot(x, threshold=threshold, metric="supremum", silence_level=2)
        return {
            "rate": plot.recurrence_rate(),
            "determinism": plot.determinism(l_min=2),
            "laminarity": plot.laminarity(v_min=2),
            "trapping_time": plot.trapping_time(v_min=2),
            "mean_diagonal": plot.average_diaglength(l_min=2),
            "longest_diagonal": plot.max_diaglength(),
            "entropy": plot.diag_entropy(l_min=2),
        }

    return {PLOT: ours, "pyunicorn": pyunicorn}


def run(stretches: int = 5, repeats: int = 3) -> Comparison:
    """Return CPU seconds a series, the errors of the exponents over stretches, and both sets of measures."""
    comparison = Comparison("Exponents and recurrence of scalar series", "CPU seconds a series")
    systems = (
        System("Henon, 2000 values", 0.41922, _henon(2000 * stretches).reshape(stretches, -1), 2, 1, 4),
        System(
            "Lorenz, 5000 values", 0.9056, _lorenz(5000 * stretches).reshape(stretches, -1), 4, 10, 150, 0.01
        ),
    )
    for system in systems:
        calls: dict[str, Callable[[], Any]] = {}
        for name, one in _contenders(system).items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    found = np.array([one(x) for x in system.stretches])
                except Exception as reason:  # a library of others may fail in any way
                    comparison.remarks.append(f"{name} is left out: {type(reason).__name__}: {reason}")
                    continue
            comparison.rows.append(
                {
                    "system": system.name,
                    "contender": name,
                    "mean": float(found.mean()),
                    "known": system.exponent,
                    "root mean square relative error": float(
                        np.sqrt(((found / system.exponent - 1) ** 2).mean())
                    ),
                }
            )
            calls[f"{system.name}: {name}"] = lambda one=one, x=system.stretches[0]: one(x)
        _timed(comparison, calls, repeats)
    x = systems[0].stretches[0]
    plots = _plots(x, 0.05)
    measured: dict[str, dict[str, float]] = {}
    for name, call in list(plots.items()):
        try:
            measured[name] = call()
        except Exception as reason:  # a library of others may fail in any way
            comparison.remarks.append(f"{name} is left out: {type(reason).__name__}: {reason}")
            del plots[name]
    for peer in list(plots)[1:]:
        comparison.rows += [
            {
                "system": name,
                "contender": peer,
                "mean": float(measured[peer][name]),
                "known": measured[PLOT][name],
            }
            for name in MEASURES
        ]
    _timed(comparison, {f"recurrence of 2000 values: {name}": call for name, call in plots.items()}, repeats)
    comparison.remarks += [
        "Embedding and Theiler window are given to all; phasescope chooses the window of the fit itself.",
        "The peers have no error of their own, no significance and no surrogates.",
        'Recurrence measures: "known" is phasescope; pyunicorn has no Theiler window and counts each point '
        "with itself in rate and laminarity.",
    ]
    return comparison


def _timed(comparison: Comparison, calls: dict[str, Callable[[], Any]], repeats: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seconds, ratios = interleaved(calls, repeats=repeats, clock=time.process_time)
    comparison.seconds |= seconds
    comparison.ratios |= ratios
