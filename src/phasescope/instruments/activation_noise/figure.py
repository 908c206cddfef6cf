"""The picture of the noise of activations: curves, units, and all quantities beside their nulls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter, NullLocator

from phasescope import plotting
from phasescope.instruments.activation_noise.findings import Quantity, forward_states, main_row, state_rows

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTIONS = {
    "noise": (
        "Left: fluctuation function of the states, mean over the tested series (dots), and what short "
        "memories that imitate each of them give (lines); dotted, the slopes of white and of 1/f noise. "
        "Middle: β of each unit with its standard error against how much it moves. Right: mean β of each "
        "quantity; thin line, spread over units and sequences; band, the spread expected if all units were "
        "equal."
    ),
}
_COLOURS = (plotting.MEASURED, plotting.PHASE_COLOURS["critical"], plotting.PHASE_COLOURS["vanishing"])
_IDLE = 0.05
_MOST_ROWS, _MOST_STATES = 16, 10
_LABEL = 22
_ASIDE = 0.22  # of a row, so that nulls do not hide what was measured
_NULLS = (
    ("beta_untrained", "d", plotting.PHASE_COLOURS["vanishing"], _ASIDE, "untrained"),
    ("beta_shuffled", "s", plotting.PHASE_COLOURS["critical"], -_ASIDE, "shuffled time"),
)


def figure(dataset: xr.Dataset) -> Figure:
    """Return three panels: F(n) of states and of short memories, beta of units, and beta of quantities."""
    with plotting.style():
        drawn, (curves, units, rows) = plotting.figure(3, panel_size=(4.1, 3.8))
        _curves(curves, dataset)
        _units(units, dataset)
        _rows(rows, dataset)
    return drawn


def _curves(axes: Axes, dataset: xr.Dataset) -> None:
    """Draw F(n) of the tested series, each above the last, with what a short memory would give."""
    chosen = _chosen_states(dataset)
    lowest = np.inf
    for place, row in enumerate(chosen):
        windows, tested = row.array("window"), row.array("tested_fluctuation")
        curve = tested if np.isfinite(tested).any() else row.array("fluctuation")
        short = row.array("short_fluctuation")
        lift = 2.0**place
        colour = _COLOURS[place]
        label = row.short_name(_LABEL)
        axes.plot(windows, lift * curve, "o", color=colour, ms=4, label=label)
        name = "short memory" if place == len(chosen) - 1 else None
        axes.plot(windows, lift * short, "-", color=colour, lw=1.2, label=name)
        lowest = min(lowest, float(np.nanmin(windows, initial=np.inf)))
    axes.set(
        title="Fluctuation function", xlabel="window n", ylabel="F(n), shifted", xscale="log", yscale="log"
    )
    if np.isfinite(lowest):
        _guides(axes, lowest)
        axes.legend(loc="upper left")


def _guides(axes: Axes, first: float) -> None:
    """Draw the slopes of white and of 1/f noise, and whole numbers at the axis of windows."""
    last = axes.dataLim.x1
    span = np.array([first, last])
    bottom = axes.dataLim.y0
    for slope, name in ((0.5, "white"), (1.0, "1/f")):
        values = 0.35 * bottom * (span / first) ** slope
        axes.plot(span, values, ":", color=plotting.INK, lw=1, alpha=0.7)
        axes.annotate(
            name, (span[1], values[1]), xytext=(3, 0), textcoords="offset points", va="center", fontsize=8.5,
            color=plotting.INK,
        )  # fmt: skip
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.35)
    steps = [n * 10**k for k in range(1, 6) for n in (1, 2, 5)]
    axes.xaxis.set_major_locator(FixedLocator([n for n in steps if first <= n <= last]))
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())


def _units(axes: Axes, dataset: xr.Dataset) -> None:
    """Draw beta of each unit of the main state against how much it moves."""
    row = main_row(dataset)
    axes.set(title="Units", xlabel="temporal deviation of the unit", ylabel=r"$\beta$ of the unit")
    if row is None:
        return
    axes.set_title(f"Units: {row.short_name(_LABEL)}")
    deviation, beta, error = (row.array(name) for name in ("deviation", "unit_beta", "unit_beta_error"))
    known = np.isfinite(beta) & (deviation > 0)
    if not known.any():
        return
    idle = deviation < _IDLE * np.nanmax(deviation)
    for which, marker, colour, label in (
        (known & ~idle, "o", plotting.MEASURED, "moves"),
        (known & idle, "x", plotting.THEORY, "idle"),
    ):
        if which.any():
            bars = np.nan_to_num(error[which])
            axes.errorbar(
                deviation[which], beta[which], yerr=bars, fmt=marker, color=colour, ms=4, lw=0.6, label=label
            )
    axes.set_xscale("log")
    if deviation[known].max() / deviation[known].min() < 10:
        axes.set_xscale("linear")
        axes.xaxis.set_major_locator(MaxNLocator(5))
    _levels(axes, vertical=False)
    if (known & idle).any():
        axes.legend(loc="best")


def _rows(axes: Axes, dataset: xr.Dataset) -> None:
    """Draw the mean beta of each quantity: spread of the units, estimator noise, and the nulls beside it."""
    rows = _chosen_rows(dataset)
    places = -np.arange(len(rows), dtype=np.float64)
    value = {
        name: np.array([row[name] for row in rows])
        for name in ("beta", "beta_error", "spread", "estimator", "beta_untrained", "beta_shuffled")
    }
    axes.hlines(places, value["beta"] - value["spread"], value["beta"] + value["spread"],
                color=plotting.MEASURED, lw=1, alpha=0.9, label="spread")  # fmt: skip
    axes.hlines(places, value["beta"] - value["estimator"], value["beta"] + value["estimator"],
                color=plotting.MEASURED, lw=5, alpha=0.3, label="estimator noise")  # fmt: skip
    axes.errorbar(value["beta"], places, xerr=np.nan_to_num(value["beta_error"]), fmt="o",
                  color=plotting.MEASURED, ms=4.5, label="measured")  # fmt: skip
    for name, marker, colour, aside, label in _NULLS:
        if np.isfinite(value[name]).any():
            axes.plot(value[name], places + aside, marker, color=colour, ms=4, mfc="none", label=label)
    axes.set_yticks(places, [row.short_name(_LABEL) for row in rows], fontsize=8)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set(title="Quantities", xlabel=r"$\beta$", ylabel="layer and quantity")
    axes.set_ylim(-len(rows) + 0.4 - 0.28 * max(len(rows), 4), 0.6)
    _levels(axes, vertical=True)
    axes.legend(loc="lower right", ncols=2, fontsize=8, handlelength=1.4, columnspacing=1.0)


def _levels(axes: Axes, *, vertical: bool) -> None:
    for level in (0.0, 1.0):
        draw = axes.axvline if vertical else axes.axhline
        draw(level, color=plotting.INK, lw=0.8, ls=":", alpha=0.7)


def _chosen_states(dataset: xr.Dataset) -> list[Quantity]:
    """Return at most three states with a curve, the last one among them."""
    known = [row for row in forward_states(dataset) if np.isfinite(row.array("fluctuation")).any()]
    return _some(known, len(_COLOURS))


def _chosen_rows(dataset: xr.Dataset) -> list[Quantity]:
    """Return the rows with a beta; where they are many, states first, then evenly chosen others."""
    known = [row for row in Quantity.measured(dataset) if np.isfinite(row["beta"])]
    if len(known) <= _MOST_ROWS:
        return known
    states = {row.index for row in state_rows(dataset)}
    chosen = _some([row for row in known if row.index in states], _MOST_STATES)
    others = [row for row in known if row not in chosen]
    return sorted([*chosen, *_some(others, _MOST_ROWS - len(chosen))], key=lambda row: row.index)


def _some(rows: list[Quantity], most: int) -> list[Quantity]:
    """Return at most so many of the rows, evenly chosen, first and last among them."""
    places = np.linspace(0, len(rows) - 1, min(len(rows), most)).round().astype(int)
    return [rows[place] for place in places]
