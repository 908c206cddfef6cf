"""The picture of the stability of training: sharpness, growth of differences and loss against the step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from phasescope import plotting

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTIONS = {
    "stability": (
        "A copy of the network in training. Left: sharpness over the threshold of the optimiser; above the "
        "line a step overshoots. Middle: growth of a small difference, as a logarithm; its mean slope is the "
        "Lyapunov exponent. Right: loss."
    ),
    "curvature": "Share of the sharpest direction and of the fastest growing difference in each layer.",
}
_MOST_LAYERS = 16


def stability(dataset: xr.Dataset) -> Figure:
    """Return three panels against the step: sharpness over threshold, growth, loss."""
    steps, points = dataset["step"].values, dataset["point"].values
    with plotting.style():
        drawn, (ratio, growth, loss) = plotting.figure(3)
        values, errors = dataset["ratio"].values, np.nan_to_num(dataset["ratio_error"].values)
        ratio.errorbar(points, values, yerr=errors, fmt="o-", color=plotting.MEASURED, ms=4, lw=1.2)
        ratio.axhline(1.0, color=plotting.THEORY, ls="--", lw=1)
        ratio.set_ylim(
            min(0.0, np.nanmin(values, initial=0.0)), 1.15 * max(1.0, np.nanmax(values, initial=0.0))
        )
        ratio.set(title="Sharpness", xlabel="step", ylabel="sharpness / threshold")
        grown = np.cumsum(dataset["local_exponent"].values)
        growth.plot(steps + 1, grown, color=plotting.MEASURED)
        growth.axhline(0.0, color=plotting.INK, lw=0.8, ls=":")
        growth.set(title="A small difference", xlabel="step", ylabel="ln of its growth")
        known = np.isfinite(dataset["loss"].values)
        loss.plot(steps[known], dataset["loss"].values[known], color=plotting.MEASURED)
        if known.any() and (dataset["loss"].values[known] > 0).all():
            loss.set_yscale("log")
        loss.set(title="Loss", xlabel="step", ylabel="loss")
        for axes in (ratio, growth, loss):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    return drawn


def curvature(dataset: xr.Dataset) -> Figure:
    """Return the shares of the layers, those with the largest shares of curvature where they are many."""
    measured = np.flatnonzero(np.isfinite(dataset["curvature"].values))
    largest = np.argsort(-dataset["curvature"].values[measured], kind="stable")[:_MOST_LAYERS]
    chosen = measured[np.sort(largest)]
    with plotting.style():
        drawn, (axes,) = plotting.figure(1, panel_size=(5.4, 1.2 + 0.25 * max(chosen.size, 3)))
        places = -np.arange(chosen.size, dtype=np.float64)
        _bars(axes, places + 0.18, dataset["curvature"].values[chosen], plotting.MEASURED, "curvature")
        if "growth" in dataset:
            _bars(axes, places - 0.18, dataset["growth"].values[chosen], plotting.THEORY, "growth")
        axes.set_yticks(places, [str(name) for name in dataset["layer"].values[chosen]], fontsize=8)
        axes.set(title="Where it sits", xlabel="share", ylabel="layer", xlim=(0, 1))
        axes.legend(loc="best")
    return drawn


def _bars(axes: Axes, places: np.ndarray, values: np.ndarray, colour: str, label: str) -> None:
    axes.barh(places, np.nan_to_num(values), height=0.32, color=colour, label=label)
