"""Pictures of processes with known curves, and of networks on known texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from phasescope import plotting
from phasescope.papers.noise.controls_checks import of_kind
from phasescope.papers.noise.ensemble import WINDOWS
from phasescope.papers.noise.known_texts import STATES
from phasescope.studies.contract import Picture
from phasescope.studies.drawing import colours, legend

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def pictures(data: xr.Dataset) -> list[Picture]:
    """Return the figures of the part."""
    return [
        Picture(
            "known-curves",
            _curves(data),
            "Fluctuations of LSTMs with constant forget gates and white input, and of fractional noise "
            "after fixed gates, over the square root of n, in which white noise is flat; lines are exact. In "
            "short windows a leaky integrator climbs like 1/f noise, in longer ones it flattens out. Gates "
            "lower the slope of what enters them.",
        ),
        Picture(
            "known-texts",
            _networks(data),
            "Exponents of h of LSTMs trained on artificial texts; lines join one network. With independent "
            "words their order does not matter, and training alone raises the exponent. With cues that are "
            "1/f noise, shuffling lowers it.",
        ),
    ]


def _curves(data: xr.Dataset) -> Figure:
    with plotting.style():
        drawn, panels = plotting.figure(3, panel_size=(3.5, 3.1))
        for axes, length in zip(panels[:2], WINDOWS, strict=True):
            some = of_kind(data, "integrator", length=length)
            names = [f"forget gate {value:g}" for value in some["forget"].values.astype(float)]
            _against_exact(axes, some, WINDOWS[length], names)
            axes.set_title(f"Leaky integrators, {length} steps")
        gates = of_kind(data, "gate")
        _against_exact(panels[2], gates, WINDOWS[4096], list(gates["function"].values.astype(str)))
        panels[2].set_title("H = 0.9 after a gate, 4096 steps")
        panels[0].set_ylabel(r"$F(n)/\sqrt{n}$ over the first")
    return drawn


def _against_exact(axes: Axes, some: xr.Dataset, windows: np.ndarray, names: list[str]) -> None:
    flat = np.sqrt(windows / windows[0])
    for row, (colour, name) in enumerate(zip(colours(len(names)), names, strict=True)):
        exact, curve = some["exact"].values[row], some["fluctuation"].values[row]
        axes.plot(windows, exact / exact[0] / flat, "-", lw=1, color=colour)
        axes.plot(windows, curve / exact[0] / flat, "o", ms=3.5, color=colour, label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks([10, 30, 100] if windows[-1] < 200 else [20, 100, 500])
    axes.set_yticks([1, 2, 4])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    axes.set_xlabel("window n")
    legend(axes)


def _networks(data: xr.Dataset) -> Figure:
    with plotting.style():
        drawn, panels = plotting.figure(2)
        for axes, kind in zip(panels, ("independent", "persistent"), strict=True):
            some = of_kind(data, kind)
            for row in some["state_beta"].values:
                axes.plot(range(len(STATES)), row, "o-", ms=4, lw=0.8, color=plotting.MEASURED)
            for value, label, style in (
                (some["input_beta"].values.mean(), "input", ":"),
                (some["beta"].values.mean(), "cues in the input", "--"),
            ):
                axes.axhline(value, color=plotting.INK, lw=0.8, ls=style, label=label)
            axes.set_xticks(range(len(STATES)), [state.replace(" ", "\n") for state in STATES])
            axes.set_xlim(-0.4, len(STATES) - 0.6)
            axes.set_ylim(-0.1, 1.2)
            axes.set_title(f"{kind} words" if kind == "independent" else "cues of 1/f noise")
            legend(axes)
        panels[0].set_ylabel(r"$\beta$ of h")
    return drawn
