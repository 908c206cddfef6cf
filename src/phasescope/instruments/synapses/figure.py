"""The picture of a property: how few weights carry it, in which layers, and how selective they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from phasescope import plotting
from phasescope.instruments.rows import Row

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTIONS = {
    "synapses": (
        "Left: share of the property that the strongest weights carry, (g w)² summed; the band has the "
        "weights of each layer shuffled, 5 to 95 % of 19 networks. Middle: share of each layer, and of the "
        "layer in the number of weights. Right: the most selective weight, of all that it changes the part "
        "that is the property, among sets of other samples."
    )
}
_MOST_LAYERS = 16


def figure(dataset: xr.Dataset) -> Figure:
    """Return three panels of the first property: weights, layers, and other samples."""
    with plotting.style():
        drawn, (covered, layers, alone) = plotting.figure(3)
        _draw_covered(covered, dataset)
        _draw_layers(layers, dataset)
        _draw_alone(alone, dataset)
    return drawn


def _draw_covered(axes: Axes, dataset: xr.Dataset) -> None:
    ranks = dataset["rank"].values
    low, middle, high = dataset["covered_shuffled"].values[0]
    axes.fill_between(ranks, low, high, color=plotting.THEORY, alpha=0.25, lw=0)
    axes.plot(ranks, middle, color=plotting.THEORY, lw=1, label="shuffled")
    axes.plot(ranks, dataset["covered"].values[0], color=plotting.MEASURED, label="this network")
    axes.axhline(0.9, color=plotting.INK, lw=0.8, ls=":")
    axes.set_xscale("log")
    axes.set(title=str(dataset["property"].values[0])[:34], xlabel="strongest weights", ylabel="share")
    axes.set_ylim(0, 1.02)
    axes.legend(loc="best")


def _draw_layers(axes: Axes, dataset: xr.Dataset) -> None:
    first = str(dataset["property"].values[0])
    rows = [row for row in Row.measured(dataset) if row.text("of") == first]
    rows = sorted(sorted(rows, key=lambda row: -row["share"])[:_MOST_LAYERS], key=lambda row: row.index)
    total = float(dataset.attrs["looked_at"])
    places = -np.arange(len(rows), dtype=np.float64)
    shares = np.nan_to_num([row["share"] for row in rows])
    weights = [row["weights"] / total for row in rows]
    axes.barh(places + 0.18, shares, height=0.32, color=plotting.MEASURED, label="property")
    axes.barh(places - 0.18, weights, height=0.32, color=plotting.THEORY, label="weights")
    names = [row.text("layer").removesuffix(f" ({first})") for row in rows]
    axes.set_yticks(places, [name if len(name) < 18 else f"…{name[-16:]}" for name in names], fontsize=8)
    axes.set(title="Layers", xlabel="share", ylabel="layer", xlim=(0, 1))
    axes.legend(loc="best")


def _draw_alone(axes: Axes, dataset: xr.Dataset) -> None:
    values = dataset["selective_elsewhere"].values[0]
    values = values[np.isfinite(values)]
    if len(values):
        axes.hist(
            values,
            bins=np.linspace(0, 1, 21).tolist(),
            color=plotting.THEORY,
            alpha=0.6,
            label="other samples",
        )
    axes.axvline(float(dataset["selective"].values[0]), color=plotting.MEASURED, lw=1.5, label="its samples")
    axes.set(title="Most selective weight", xlabel="share", ylabel="sets of samples", xlim=(0, 1))
    axes.legend(loc="best")
