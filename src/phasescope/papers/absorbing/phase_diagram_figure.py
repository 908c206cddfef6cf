"""The picture of the phase diagram."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope import plotting
from phasescope.papers.absorbing import shared
from phasescope.studies.drawing import colours, legend, logarithmic, short

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from phasescope.estimate import Estimate

_FLOOR = -4.0


def phase_diagram_figure(
    data: xr.Dataset, config: Any, points: dict[float, tuple[Estimate, float, float]]
) -> Figure:
    """Return three panels: the map of the order parameter, the critical lines, and kappa along them."""
    lines = shared.of_kind(data, "line")
    with plotting.style():
        drawn, (map_axes, line_axes, kappa_axes) = plotting.figure(3)
        _map(drawn, map_axes, data, config)
        shades = colours(lines.sizes["task"])
        for index, colour in enumerate(shades):
            row = lines.isel(task=index)
            name = str(row["activation"].values)
            biases, values = row["line_sigma_b"].values, row["line"].values
            drawn_here = biases >= 0.01
            line_axes.plot(
                biases[drawn_here],
                values[drawn_here, shared.QUANTITIES.index("sigma_w")],
                color=colour,
                label=short(name),
            )
            kappa_axes.plot(
                biases, values[:, shared.QUANTITIES.index("kappa")], color=colour, label=short(name)
            )
        _points(line_axes, points)
        logarithmic(line_axes, up=False)
        line_axes.set_title("Critical lines")
        line_axes.set_xlabel(r"bias $\sigma_b$")
        line_axes.set_ylabel(r"critical $\sigma_w$")
        logarithmic(kappa_axes)
        kappa_axes.set_title(r"$\kappa$ along the lines")
        kappa_axes.set_xlabel(r"bias $\sigma_b$")
        kappa_axes.set_ylabel(r"$\kappa$")
        for axes in (line_axes, kappa_axes):
            legend(axes)
    return drawn


def _map(drawn: Figure, axes: Axes, data: xr.Dataset, config: Any) -> None:
    rows = shared.of_kind(data, "map")
    axes.set_title(f"1 - c after {config.phase_diagram.map_depth} layers, {short(config.activation)}")
    axes.set_xlabel(r"weights $\sigma_w$")
    axes.set_ylabel(r"bias $\sigma_b$")
    if rows.sizes["task"] == 0:
        return
    biases, sigma_w = rows["sigma_b"].values.astype(float), rows["map_sigma_w"].values[0]
    shown = np.clip(rows["map_log_distance"].values / np.log(10), _FLOOR, 0)
    mesh = axes.pcolormesh(sigma_w, biases, shown, cmap="viridis", vmin=_FLOOR, vmax=0, shading="nearest")
    axes.set_yscale("log")
    axes.grid(False)
    bar = drawn.colorbar(mesh, ax=axes, ticks=[-4, -3, -2, -1, 0])
    bar.set_ticklabels([r"$<10^{-4}$", *(rf"$10^{{{k}}}$" for k in (-3, -2, -1)), "1"])
    own = shared.of_kind(data, "line", activation=config.activation).isel(task=0)
    place = own["line"].values[:, shared.QUANTITIES.index("sigma_w")]
    limits = axes.get_xlim(), axes.get_ylim()
    axes.plot(place, own["line_sigma_b"].values, color=plotting.THEORY, lw=2.2)
    axes.set(xlim=limits[0], ylim=limits[1])


def _points(axes: Axes, points: dict[float, tuple[Estimate, float, float]]) -> None:
    known = [(b, measured) for b, (measured, _, _) in points.items() if measured.determined]
    if known:
        axes.errorbar(
            [b for b, _ in known],
            [measured.value for _, measured in known],
            [measured.error for _, measured in known],
            fmt="o",
            ms=4.5,
            color=plotting.INK,
            label="networks",
        )
