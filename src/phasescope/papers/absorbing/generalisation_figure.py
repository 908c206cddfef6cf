"""Pictures of test loss along the critical line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope import plotting
from phasescope.papers.absorbing.generalisation_checks import curves_of, headline
from phasescope.studies.drawing import colours, legend, shades

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from phasescope.papers.absorbing.loss_curves import LossCurves


def window_figure(data: xr.Dataset, config: Any, name: str) -> Figure:
    """Return two panels: loss against sigma_b, and against kappa L."""
    found = curves_of(data, config, name)
    with plotting.style():
        drawn, (apart, together) = plotting.figure(2, panel_size=(4.0, 3.1))
        depths = [] if found is None else list(found.depths)
        for row, shade in enumerate(shades(len(depths))):
            assert found is not None
            options = {"color": shade, "label": f"L = {depths[row]:g}"}
            _loss(apart, np.exp(found.log_bias), found, row, headline(config), **options)
            _loss(together, np.exp(found.log_kappa_L(row)), found, row, headline(config), **options)
        apart.set_xlabel(r"$\sigma_b$")
        together.set_xlabel(r"$\kappa L$")
        apart.set_title("Each depth its own curve")
        together.set_title("One curve")
        together.sharey(apart)
        for axes in (apart, together):
            axes.set_ylabel(f"test loss, {name}")
            legend(axes)
    return drawn


def distance_figure(data: xr.Dataset, config: Any) -> Figure:
    """Return three panels: shrunk distances, training times, accuracy."""
    settings = config.generalisation
    time = headline(config)
    own, shrunk = (curves_of(data, config, "digits", factor) for factor in (1.0, settings.shrinkage))
    labels = [f"{steps:g} steps" for steps in settings.steps] + ["no limit"]
    with plotting.style():
        drawn, (distances, times, right) = plotting.figure(3, panel_size=(3.5, 3.0))
        for found, colour, label in zip((own, shrunk), colours(2), ("as they are", "shrunk"), strict=True):
            if found is None:
                continue
            row = found.depths.size - 1
            place = found.log_kappa_L(row)
            _loss(distances, np.exp(place), found, row, time, color=colour, label=rf"{label}: $\kappa L$")
            place = place + found.log_distance
            ls = {"color": colour, "ls": "--", "markerfacecolor": "none"}
            _loss(distances, np.exp(place), found, row, time, **ls, label=rf"{label}: $\kappa \rho_0 L$")
        if own is not None:
            row = own.depths.size - 1
            place = np.exp(own.log_kappa_L(row))
            for number, shade in enumerate(shades(len(labels))):
                _loss(times, place, own, row, number, color=shade, label=labels[number])
                accuracy = own.accuracy[:, row, :, number].mean(axis=1)
                known = np.isfinite(accuracy)
                right.plot(
                    place[known], accuracy[known], "o-", ms=3, lw=1.2, color=shade, label=labels[number]
                )
        distances.set_xlabel(r"$\kappa L$ or $\kappa \rho_0 L$")
        distances.set_title("Distances")
        times.set_title("Training time")
        right.set_title("Accuracy")
        for axes in (times, right):
            axes.set_xlabel(r"$\kappa L$")
        for axes in (distances, times):
            axes.set_ylabel("test loss")
        right.set_xscale("log")
        for axes in (distances, times, right):
            legend(axes)
    return drawn


def _loss(axes: Axes, x: np.ndarray, found: LossCurves, row: int, time: int, **options: Any) -> None:
    loss = found.loss[:, row, :, time]
    known = np.isfinite(loss[:, 0]) & np.isfinite(x)
    error = loss.std(axis=1) / max(1, found.subsets - 1) ** 0.5
    axes.errorbar(
        x[known], loss[known].mean(axis=1), error[known], fmt="o", ms=3, lw=1.2, **{"ls": "-", **options}
    )
    axes.set_xscale("log")
