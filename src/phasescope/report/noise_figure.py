"""The picture of a fluctuation function between its two explanations."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from phasescope import plotting
from phasescope.noise import MemoryTest, Verdict

_SHORT = plotting.PHASE_COLOURS["critical"]


def noise_figure(found: Verdict, test: MemoryTest) -> Figure:
    """Return F(n) with both explanations, and the local slopes, which a crossover bends."""
    with plotting.style():
        figure, (curve, slopes) = plotting.figure(2, panel_size=(4.2, 3.4))
        windows = test.windows
        lines = [
            (test.scaling, plotting.THEORY, "--", "scaling noise"),
            (test.short_memory, _SHORT, "-", "short memory"),
        ]
        middles = np.sqrt(windows[1:] * windows[:-1])
        for values, colour, dashes, label in lines:
            curve.plot(windows, values, color=colour, linestyle=dashes, label=label)
            slopes.plot(middles, _slopes(windows, values), color=colour, linestyle=dashes, label=label)
        points: dict[str, Any] = {
            "color": plotting.MEASURED,
            "marker": "o",
            "linestyle": "none",
            "markersize": 4.5,
        }
        curve.plot(windows, test.measured, label="measured", **points)
        slopes.plot(middles, found.fluctuations.local_slopes, label="measured", **points)
        curve.set(title="Fluctuation function", xlabel="window n", ylabel="F(n)", xscale="log", yscale="log")
        slopes.set(title="Local slopes", xlabel="window n", ylabel="d ln F / d ln n", xscale="log")
        ticks = _ticks(float(windows[0]), float(windows[-1]))
        for axes in (curve, slopes):
            axes.set_xticks(ticks, [str(tick) for tick in ticks])
            axes.xaxis.set_minor_formatter(NullFormatter())
        curve.legend(loc="upper left")
    return figure


def _slopes(windows: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.asarray(np.diff(np.log(values)) / np.diff(np.log(windows)))


def _ticks(first: float, last: float) -> list[int]:
    """Return 1, 2, 5, 10, ... within the windows, at most five of them."""
    found = [step * 10**decade for decade in range(8) for step in (1, 2, 5)]
    inside = [tick for tick in found if first <= tick <= last]
    return inside[:: -(-len(inside) // 5)] if inside else [round(first)]
