"""The picture of trained networks of finite width."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope import plotting
from phasescope.papers.absorbing.finite_training_checks import along_line, off_line
from phasescope.studies.drawing import legend, shades

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def training_figure(data: xr.Dataset, config: Any) -> Figure:
    """Return three panels: loss by width, accuracy by depth and width, and the phases."""
    settings = config.finite_training
    depth = settings.depths[-1]
    with plotting.style():
        drawn, (loss, chart, phases) = plotting.figure(3, panel_size=(3.7, 3.2))
        for width, shade in zip(settings.widths, shades(len(settings.widths)), strict=True):
            found = along_line(data, depth, width)
            values = np.exp(found.log_loss)
            error = values.std(axis=1) / max(1, values.shape[1] - 1) ** 0.5
            label = f"n = {width}"
            loss.errorbar(
                found.kappa_L, values.mean(axis=1), error, fmt="o-", ms=3, lw=1.2, color=shade, label=label
            )
        loss.plot(found.kappa_L, np.exp(found.kernel), color=plotting.THEORY, label="infinite width")
        loss.set_xscale("log")
        loss.set_ylim(0, 1.1)
        loss.set_title(f"Test loss, L = {depth}")
        loss.set_xlabel(r"$\kappa L$")
        legend(loss)
        _chart(chart, data, settings)
        _phases(phases, data, settings)
    return drawn


def _chart(axes: Axes, data: xr.Dataset, settings: Any) -> None:
    rows = [(depth, width) for depth in settings.depths for width in settings.widths]
    values = np.stack([along_line(data, *row).accuracy.mean(axis=1) for row in rows])
    mesh = axes.pcolormesh(values, vmin=0.1, vmax=1.0, cmap="viridis")
    axes.figure.colorbar(mesh, ax=axes)
    axes.set_xticks(np.arange(len(settings.biases)) + 0.5, [f"{sigma_b:g}" for sigma_b in settings.biases])
    axes.set_yticks(np.arange(len(rows)) + 0.5, [f"L {depth}, n {width}" for depth, width in rows])
    axes.grid(visible=False)
    axes.set_xlabel(r"$\sigma_b$ along the critical line")
    axes.set_title("Accuracy")


def _phases(axes: Axes, data: xr.Dataset, settings: Any) -> None:
    depth, width = settings.depths[-1], settings.widths[-1]
    found = along_line(data, depth, width)
    beside = settings.biases.index(settings.beside) if settings.beside in settings.biases else 0
    cases = [("ordered", *_off(data, "ordered", depth, width))]
    cases.append(("critical", np.exp(found.log_loss[beside]), float(np.exp(found.kernel[beside]))))
    cases.append(("chaotic", *_off(data, "chaotic", depth, width)))
    for place, (kind, losses, kernel) in enumerate(cases):
        finite = np.minimum(losses, 2.0)
        colour = plotting.PHASE_COLOURS[kind]
        axes.plot(np.full(finite.size, place), finite, "o", ms=5, color=colour, alpha=0.8)
        label = "infinite width" if place == 0 else None
        axes.plot([place - 0.25, place + 0.25], [kernel, kernel], color=plotting.THEORY, label=label)
    axes.set_xticks(range(3), [case[0] for case in cases])
    axes.set_xlim(-0.6, 2.6)
    axes.set_ylim(0, None)
    axes.set_title(f"On and off the line, n = {width}")
    axes.set_ylabel("test loss")
    legend(axes)


def _off(data: xr.Dataset, kind: str, depth: int, width: int) -> tuple[np.ndarray, float]:
    found = off_line(data, kind, depth, width)
    return found["test_loss"].values, float(found["kernel_loss"])
