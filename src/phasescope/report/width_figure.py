"""One figure of a coordinate check: what the start and each step show against the width, layer by layer."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from phasescope import plotting
from phasescope.training import WidthCheck

_LAYERS = ("#2f80c9", "#d9622b", "#2f9464", "#8b6fc9", "#a07a1a", "#d4504f")
_MARKS = "os^Dv<>"
_MOST_NAMED = 10


def width_figure(found: WidthCheck) -> Figure:
    """Return panels against the width: sizes at the start, what one step changes, and what all steps change.

    Each layer has one line, the geometric mean over networks with its standard error. Widths at which a value
    is zero or not finite are left out. Up to 10 layers are named.

    Parameters
    ----------
    found : WidthCheck
        As :func:`phasescope.training.coordinate_check` returns it.
    """
    titles = ["Size at the start", "Change after 1 step"]
    if found.steps > 1:
        titles.append(f"Change after {found.steps} steps")
    with plotting.style():
        figure, panels = plotting.figure(len(titles), panel_size=(3.6, 4.0))
        for place, (axes, title) in enumerate(zip(panels, titles, strict=True)):
            axes.set(title=title, xlabel="width", xscale="log", yscale="log")
            axes.set_xticks(found.widths, [str(width) for width in found.widths])
            axes.xaxis.set_minor_locator(NullLocator())
            step = (-1, 0, found.steps - 1)[place]
            for number, row in enumerate(found.layers):
                values, slope = (row.starts, row.start) if step < 0 else (row.moves[step], row.changes[step])
                usable = (np.isfinite(values) & (values > 0)).all(1)
                if not usable.any():
                    continue
                logs = np.log(values[usable])
                middle = np.exp(logs.mean(1))
                axes.errorbar(
                    np.array(found.widths)[usable],
                    middle,
                    middle * logs.std(1, ddof=1) / np.sqrt(found.seeds),
                    marker=_MARKS[number % len(_MARKS)],
                    color=_LAYERS[number % len(_LAYERS)],
                    markersize=4,
                    label=f"{row.name}: {slope.value:+.2f}" if slope.determined else row.name,
                )
            if axes.has_data() and len(found.layers) <= _MOST_NAMED:
                axes.legend(
                    title="layer: slope",
                    loc="upper center",
                    bbox_to_anchor=(0.5, -0.2),
                    ncols=2,
                    title_fontsize=9,
                )
        panels[0].set_ylabel("root mean square")
    return figure
