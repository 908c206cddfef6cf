"""One style for every figure.

Figures are made without pyplot, so that nothing opens a window and no global state changes. Text, axes and
ticks are drawn in `INK`, a colour used for nothing else: a page can swap it for ``currentColor`` and the
figure follows the light or dark of the page. Backgrounds are transparent, and the other colours have a
contrast of at least 3 against both white and near-black.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#1b1b1f"
MEASURED = "#2f80c9"
THEORY = "#d9622b"
PHASE_COLOURS = {
    "ordered": "#4c7fd6",
    "critical": "#2f9464",
    "chaotic": "#d6663a",
    "exploding": "#d4504f",
    "vanishing": "#8b6fc9",
    "uneven": "#a07a1a",
    "not determined": "#808088",
}

_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10.0,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "grid.color": INK,
    "grid.alpha": 0.13,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "lines.linewidth": 1.6,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "phasescope",
}


@contextmanager
def style() -> Iterator[None]:
    """Apply the figure style inside the ``with`` block and restore matplotlib's settings after it."""
    with matplotlib.rc_context(_STYLE):
        yield


def figure(panels: int, *, panel_size: tuple[float, float] = (3.6, 3.1)) -> tuple[Figure, list[Axes]]:
    """Return a transparent figure with `panels` axes in one row, each of a width and height in inches."""
    width, height = panel_size
    made = Figure(figsize=(panels * width, height), layout="constrained")
    made.patch.set_alpha(0.0)
    grid = made.subplots(1, panels, squeeze=False)
    return made, list(grid[0])
