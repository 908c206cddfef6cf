"""The picture of signal propagation: kernel, difference between inputs and gradient against depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter

from phasescope import plotting
from phasescope.instruments.propagation.findings import TRAINABLE_LENGTHS

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from phasescope.estimate import Estimate
    from phasescope.signal import Verdict

CAPTIONS = {
    "propagation": (
        "Mean square K of the units, difference 1 − c between two inputs, and squared gradient, summed over "
        "the units, relative to the output, against the depth of the stream: all values through which "
        "everything passes from input to output. Dots: its weight layers and sums, measured, with one "
        "standard error; small dots: norms and activations between them; lines: theory of infinitely wide "
        "layers with the same weight variances, where it is known; shaded: steps that a difference, or a "
        "gradient on its way back, does not reach unchanged. Bars, where there are shortcuts: the part of "
        "each sum's mean square that the branch brings."
    ),
    "units": "Fraction of units that are dead, saturated or not finite, against depth.",
}
# Above this many points error bars touch each other, and a band reads better.
_MOST_ERROR_BARS = 40
_FLOOR = 1e-300

_PANELS = (
    ("kernel", "Signal size", "kernel $K$ (mean square)"),
    ("distance", "Difference between inputs", "$1 - c$"),
    ("gradient", "Gradient", "squared norm (1 at the output)"),
)


def propagation(dataset: xr.Dataset, verdict: Verdict) -> Figure:
    """Return panels against depth: K, 1 - c and the gradient, with theory, and the shares of the branches."""
    main = _main_stream(dataset)
    places = _places(main)
    sums = np.flatnonzero(np.isfinite(main["share"].values))
    with plotting.style():
        drawn, panels = plotting.figure(len(_PANELS) + bool(sums.size))
        for axes, (name, title, label) in zip(panels, _PANELS, strict=False):
            _panel(axes, main, places, name)
            axes.set(title=title, ylabel=label)
        if sums.size:
            shares = main["share"].values[sums]
            panels[-1].bar(places[sums], shares, width=0.8, color=plotting.MEASURED)
            panels[-1].set(title="Share of each branch", ylabel="part of the sum's $K$")
            panels[-1].set_ylim(0, min(1.0, 1.25 * float(shares.max()) or 1.0))
        for axes in panels:
            axes.set_xlim(min(0.5, places.min() - 0.5), max(places.max(), 1.0) + 0.5)
            axes.set_xlabel("step of the stream")
            _whole_layers(axes)
        colour = plotting.PHASE_COLOURS.get(verdict.phase, plotting.PHASE_COLOURS["not determined"])
        lost = {"ordered": "lost", "vanishing": "lost"}.get(verdict.phase, "unrelated")
        _shade_beyond(panels[1], verdict.signal_depth, colour, lost)
        _shade_before(panels[2], verdict.gradient_depth, colour)
        drawn.suptitle(
            f"{verdict.phase.capitalize()}, {_margin(verdict.margin)}", x=0.01, ha="left", color=plotting.INK
        )
        handles, labels = panels[0].get_legend_handles_labels()
        if handles:
            panels[0].legend(handles, labels, loc="best")
    return drawn


def units(dataset: xr.Dataset) -> Figure:
    """Return the fractions of dead, saturated and non-finite units against depth, branches included."""
    places = _places(dataset)
    with plotting.style():
        drawn, (axes,) = plotting.figure(1, panel_size=(5.4, 3.1))
        colours = (plotting.MEASURED, plotting.THEORY, plotting.PHASE_COLOURS["vanishing"])
        for name, marker, colour in zip(("dead", "saturated", "nonfinite"), "osx", colours, strict=True):
            values = dataset[name].values
            known = np.isfinite(values)
            axes.plot(places[known], values[known], marker, color=colour, ms=4, label=name)
        axes.set(title="Units that carry nothing", xlabel="step of the stream", ylabel="fraction of units")
        axes.set_ylim(-0.03, 1.03)
        _whole_layers(axes)
        axes.legend(loc="best")
    return drawn


def _main_stream(dataset: xr.Dataset) -> xr.Dataset:
    """Return the rows of the main chain that lie on the stream; all rows where none does."""
    rows = (dataset["place"].values == "stream") & (dataset["chain"].values == 0)
    return dataset.isel(layer=np.flatnonzero(rows)) if rows.any() else dataset


def _places(dataset: xr.Dataset) -> np.ndarray:
    """Return where each row is drawn: steps at integers, what follows them evenly up to the next."""
    depth = dataset["depth"].values.astype(np.int64)
    places = depth.astype(np.float64)
    for level in np.unique(depth):
        rows = np.flatnonzero(depth == level)
        places[rows] = level + np.arange(rows.size) / rows.size - (level == 0)
    return places


def _panel(axes: Axes, stream: xr.Dataset, places: np.ndarray, name: str) -> None:
    values, errors = stream[name].values, stream[f"{name}_error"].values
    drawable = np.isfinite(values) & (values > _FLOOR)
    step = (places >= 1) & (places == np.round(places))
    if not (drawable & step).any():
        step = np.ones_like(step)
    others = drawable & ~step
    axes.plot(places[others], values[others], ".", color=plotting.MEASURED, ms=3, alpha=0.45)
    _measured(axes, places[drawable & step], values[drawable & step], errors[drawable & step])
    predicted = theory_of(stream, name)
    known = np.isfinite(predicted) & (predicted > _FLOOR) & step
    if known.sum() > 1:
        axes.plot(places[known], predicted[known], "-", color=plotting.THEORY, label="theory")
    if drawable.any():
        axes.set_yscale("log")
        _keep_readable(axes, values[drawable])
    missing = np.flatnonzero((stream["nonfinite"].values > 0) & (stream["skipped"].values == ""))
    if missing.size:
        axes.axvline(places[missing[0]], color=plotting.PHASE_COLOURS["exploding"], ls="--", label="overflow")


def _measured(axes: Axes, x: np.ndarray, y: np.ndarray, error: np.ndarray) -> None:
    error = np.nan_to_num(error, nan=0.0, posinf=0.0)
    lower = np.minimum(error, 0.999 * y)
    if x.size <= _MOST_ERROR_BARS:
        axes.errorbar(
            x,
            y,
            yerr=[lower, error],
            fmt="o",
            color=plotting.MEASURED,
            ms=4,
            capsize=2,
            lw=1,
            label="measured",
        )
        return
    axes.fill_between(x, y - lower, y + error, color=plotting.MEASURED, alpha=0.3, lw=0)
    axes.plot(x, y, "-", color=plotting.MEASURED, lw=1.2, label="measured")


def theory_of(dataset: xr.Dataset, name: str) -> np.ndarray:
    """Return what theory expects of "kernel", "distance" or "gradient", row by row."""
    if name == "distance" and "distance_theory" not in dataset:
        return np.asarray(1.0 - dataset["correlation_theory"].values)
    return np.asarray(dataset[f"{name}_theory"].values)


def _keep_readable(axes: Axes, values: np.ndarray) -> None:
    """Widen a nearly constant log axis to half a decade each side, so that noise does not fill the panel."""
    low, high = axes.get_ylim()
    centre = float(np.exp(np.mean(np.log(values))))
    low, high = min(low, centre / 3.2), max(high, centre * 3.2)
    axes.set_ylim(low, high)
    if high / low < 100:
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _whole_layers(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))


def _shade_beyond(axes: Axes, depth: Estimate, colour: str, label: str) -> None:
    left, right = axes.get_xlim()
    edge = max(TRAINABLE_LENGTHS * depth.value, left) if depth.determined else right
    if edge < right:
        axes.axvspan(edge, right, color=colour, alpha=0.14, lw=0)
        axes.axvline(edge, color=colour, lw=1)
        axes.annotate(
            label, (edge, 1), xycoords=("data", "axes fraction"), xytext=(4, -4),
            textcoords="offset points", va="top", color=plotting.INK, fontsize=9,
        )  # fmt: skip


def _shade_before(axes: Axes, depth: Estimate, colour: str) -> None:
    """Shade the layers that a gradient started at the output does not reach unchanged."""
    left, right = axes.get_xlim()
    edge = right - 0.5 - TRAINABLE_LENGTHS * depth.value if depth.determined else left
    if edge > left:
        axes.axvspan(left, edge, color=colour, alpha=0.14, lw=0)
        axes.axvline(edge, color=colour, lw=1)


def _margin(margin: Estimate) -> str:
    if not margin.determined:
        return "margin not determined"
    return rf"ln $\chi_\perp$ = {margin} per step"
