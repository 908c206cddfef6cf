"""Colours, names and legends that the figures of all studies share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import to_hex, to_rgb
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from phasescope import plotting

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DISTINCT = ("#2f80c9", "#2f9464", "#8b6fc9", "#b0892b", "#c2548f", "#3f9aa6", "#808088")


def colours(count: int) -> list[str]:
    """Return colours for things that differ in kind, none of them the theory's."""
    return [_DISTINCT[index % len(_DISTINCT)] for index in range(count)]


def shades(count: int) -> list[str]:
    """Return shades of the colour of measured things, from light to dark, for things that differ in size."""
    dark = to_rgb(plotting.MEASURED)
    made = []
    for index in range(count):
        # From two thirds of the way to white down to somewhat darker than the colour itself.
        lightness = 0.55 - 0.85 * index / max(1, count - 1)
        target = (1.0, 1.0, 1.0) if lightness > 0 else (0.0, 0.0, 0.0)
        red, green, blue = (c + (t - c) * abs(lightness) for c, t in zip(dark, target, strict=True))
        made.append(to_hex((red, green, blue)))
    return made


def short(activation: str) -> str:
    """Return what a figure calls an activation: its name, or the function's in a user's file."""
    file, _, function = activation.rpartition(".py:")
    return function if file else Path(activation).name


def logarithmic(axes: Axes, *, up: bool = True) -> None:
    """Make the axes logarithmic, unless nothing positive is drawn on them, where matplotlib refuses."""
    drawn = [np.asarray(line.get_xydata(), dtype=np.float64) for line in axes.get_lines()]
    points = np.concatenate([*drawn, np.empty((0, 2))])
    if (np.isfinite(points).all(axis=1) & (points > 0).all(axis=1)).any():
        axes.set_xscale("log")
        if up:
            axes.set_yscale("log")


def plain_ticks(axes: Axes) -> None:
    """Label logarithmic axes of few decades with 1, 2, 5, 10 as plain numbers."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def legend(axes: Axes, **options: Any) -> None:
    """Draw the legend if there is anything to name."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(**{"loc": "best", "handlelength": 1.4, "labelspacing": 0.3, **options})
