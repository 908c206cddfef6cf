"""The picture of the width that a larger kappa costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope import plotting
from phasescope.papers.absorbing.width_cost_analysis import line_of
from phasescope.studies.drawing import colours, legend, short

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from phasescope.estimate import Estimate


def width_cost_figure(data: xr.Dataset, config: Any) -> Figure:
    """Return two panels: v and mu against kappa."""
    with plotting.style():
        drawn, (variance, ratio) = plotting.figure(2, panel_size=(4.6, 3.4))
        for activation, colour in zip(config.activations, colours(len(config.activations)), strict=True):
            points = line_of(data, activation, config)
            kappa = np.array([point.known["kappa"] for point in points])
            theory = np.array([point.known["v"] for point in points])
            name = short(activation)
            _line(variance, kappa, theory, [point.v for point in points], colour, name)
            expected = np.array([point.expected_mu for point in points])
            _line(ratio, kappa, expected, [point.mu for point in points], colour, name)
        variance.set(title="Variance of growth", xlabel=r"$\kappa$", ylabel="v", xscale="log")
        ratio.set(title="End of the infinite-width flow", xlabel=r"$\kappa$", ylabel=r"$\mu$", xscale="log")
        legend(variance)
    return drawn


def _line(
    axes: Axes, kappa: np.ndarray, theory: np.ndarray, found: list[Estimate], colour: str, name: str
) -> None:
    axes.plot(kappa, theory, "--", color=colour, lw=1.1)
    value, error = np.array([f.value for f in found]), np.array([f.error for f in found])
    axes.errorbar(kappa, value, error, fmt="o", ms=4, lw=0.9, color=colour, label=name)
