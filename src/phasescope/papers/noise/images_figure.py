"""Pictures of the exponents of LSTMs that read images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope import plotting
from phasescope.papers.noise.averages import of
from phasescope.papers.noise.images_checks import networks_of
from phasescope.papers.noise.images_geometry import READINGS, geometry
from phasescope.papers.noise.network_part import long_windows
from phasescope.papers.noise.observation import CONDITIONS, QUANTITIES
from phasescope.papers.noise.shared import window_lengths
from phasescope.papers.noise.sizes_numbers import Widths, used
from phasescope.studies.contract import Picture
from phasescope.studies.drawing import colours, legend, plain_ticks

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINES = ("-", "--")
_CURVES = (
    ("words", "input", "images x"),
    ("words", "hidden", "h, trained"),
    ("untrained", "hidden", "h, untrained"),
    ("shuffled", "hidden", "h, shuffled steps"),
)


def pictures(data: xr.Dataset, config: Any) -> list[Picture]:
    """Return the figures of the part."""
    return [
        Picture(
            reading,
            _figure(networks_of(data, config, reading), config, reading),
            f"LSTMs that read images by {reading}. Left: fluctuation functions over the root of n at the "
            "smallest width that learns as well as the largest; the dotted line is the length of an image. "
            "Middle: the state carried over many images. Right: what h adds to the exponent of the images "
            "(all units, and those that move at least half as much as the busiest). Points are networks.",
        )
        for reading in READINGS
    ]


def _figure(found: Widths, config: Any, reading: str) -> Figure:
    read = geometry(config, reading)
    with plotting.style():
        drawn, (curves, carried, size) = plotting.figure(3, panel_size=(3.7, 3.2))
        chosen = np.flatnonzero(found.units == found.plateau)
        if chosen.size:
            _curves(curves, found, chosen, window_lengths(*read.windows))
            _carried(carried, found, chosen, long_windows(read.windows[0], config.images.piece))
            _size(size, found)
        for axes in (curves, carried):
            axes.axvline(read.period, color=plotting.INK, lw=0.8, ls=":")
            axes.set_xlabel("window n (time steps)")
            axes.set_ylabel(r"$F(n)/\sqrt{n}$, first window 1")
        curves.set_title(f"By {reading}, width {found.plateau}")
        carried.set_title("h, state carried on")
        size.set_title("Beyond the images")
        size.set_xlabel("width")
        size.set_ylabel(r"$\beta(h) - \beta(x)$")
    return drawn


def _curves(axes: Axes, found: Widths, chosen: np.ndarray, windows: np.ndarray) -> None:
    flat = np.sqrt(windows / windows[0])
    for colour, (condition, quantity, label) in zip(colours(len(_CURVES)), _CURVES, strict=True):
        place = CONDITIONS.index(condition), QUANTITIES.index(quantity)
        curve = _log_mean(found.data["fluctuation"].values[chosen, place[0], place[1]])
        axes.plot(windows, curve / flat, "o-", ms=3, color=colour, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    plain_ticks(axes)
    axes.set_ylim(bottom=0.6)
    legend(axes, fontsize=8, loc="lower right", ncols=2)


def _carried(axes: Axes, found: Widths, chosen: np.ndarray, windows: np.ndarray) -> None:
    curve = _log_mean(found.data["long_fluctuation"].values[chosen])[: len(windows)]
    axes.plot(windows, curve / np.sqrt(windows / windows[0]), "o-", ms=3, color=plotting.MEASURED)
    axes.set_xscale("log")
    axes.set_yscale("log")
    plain_ticks(axes)


def _size(axes: Axes, found: Widths) -> None:
    inputs = of(found.data, "beta", "words", "input")
    both = {"all units": of(found.data, "beta", "words", "hidden"), "units in use": used(found.data)}
    for line, colour, (label, values) in zip(_LINES, colours(2), both.items(), strict=True):
        axes.plot(found.units, values - inputs, "o", ms=3, alpha=0.6, color=colour)
        means = [found.at(values - inputs, width).mean() for width in found.widths]
        axes.plot(found.widths, means, line, color=colour, label=label)
    axes.axhline(0, color=plotting.INK, lw=0.8)
    axes.set_xscale("log", base=2)
    legend(axes)


def _log_mean(curves: np.ndarray) -> np.ndarray:
    """Return the geometric mean over networks; NaN where one of them has nothing."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.exp(np.log(curves).mean(axis=0)))
