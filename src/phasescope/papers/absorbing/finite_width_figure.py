"""The pictures of finite-width scaling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope import plotting
from phasescope.papers.absorbing import shared
from phasescope.papers.absorbing.finite_width_analysis import (
    AT,
    KINDS,
    Width,
    law_of,
    limit_of,
    ratio,
    widths_of,
)
from phasescope.studies.drawing import colours, legend, shades

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def collapse_figure(data: xr.Dataset, config: Any) -> Figure:
    """Return three panels: the mean distance by width, and mean and typical value rescaled."""
    known = shared.named(data["reference"].values[0])
    usable = not shared.missing(known, config.activation, config.sigma_b, curved=True)
    widths = widths_of(data) if usable else []
    with plotting.style():
        drawn, (plain, mean, typical) = plotting.figure(3, panel_size=(4.0, 3.4))
        for width, colour in zip(widths, shades(len(widths)), strict=True):
            plain.plot(width.layers, width.mean.mean(axis=0), color=colour, label=f"n = {width.n}")
            for axes, kind in ((mean, "mean"), (typical, "typical")):
                _rescaled(axes, width, kind, colour)
        if widths:
            t = np.geomspace(0.02, config.finite_width.reach, 80)
            law = law_of(known)
            for axes, values in ((mean, law.mean(t)), (typical, law.typical(t))):
                axes.plot(t, values, "--", color=plotting.THEORY, label="exact, n to infinity")
                axes.set_ylim(values.min() / 2, 2 * values.max())
            legend(plain)
            legend(mean)
        plain.set(title="As measured", xlabel="depth l", ylabel="1 - c, mean", xscale="log", yscale="log")
        for axes, kind in ((mean, "mean"), (typical, "typical")):
            axes.set(title=f"Rescaled, {kind}", xlabel="l/n", ylabel="n (1 - c)", xscale="log", yscale="log")
    return drawn


def _rescaled(axes: Axes, width: Width, kind: Any, colour: str) -> None:
    samples = np.log(width.mean) if kind == "mean" else width.mean_log
    value = np.log(width.mean.mean(axis=0)) if kind == "mean" else samples.mean(axis=0)
    spread = width.mean.std(axis=0) / width.mean.mean(axis=0) if kind == "mean" else samples.std(axis=0)
    y = width.n * np.exp(value)
    axes.errorbar(
        width.layers / width.n, y, y * spread / np.sqrt(len(samples)), fmt=".", ms=4, lw=0.8, color=colour
    )


def limits_figure(data: xr.Dataset, config: Any) -> Figure:
    """Return two panels: ``n rho`` over the exact function against 1/n, mean and typical."""
    known = shared.named(data["reference"].values[0])
    usable = not shared.missing(known, config.activation, config.sigma_b, curved=True)
    widths = widths_of(data) if usable else []
    with plotting.style():
        drawn, panels = plotting.figure(2, panel_size=(4.6, 3.4))
        for axes, kind in zip(panels, KINDS, strict=True):
            axes.axhline(1.0, ls="--", color=plotting.THEORY, lw=1.2, label="exact, n to infinity")
            for t, colour in zip(AT, colours(len(AT)), strict=True):
                if widths:
                    _limit(axes, widths, t, kind, known, colour)
            axes.set(title=kind.capitalize(), xlabel="1/n", ylabel="n (1 - c) / exact")
            axes.locator_params(axis="x", nbins=5)
        legend(panels[0])
    return drawn


def _limit(axes: Axes, widths: list[Width], t: float, kind: Any, known: Any, colour: str) -> None:
    values = [ratio(width, t, kind, known) for width in widths]
    x = np.array([1 / width.n for width in widths])
    y, error = np.array([value.value for value in values]), np.array([value.error for value in values])
    axes.errorbar(x, y, error, fmt="o", ms=4, lw=0.9, color=colour, label=f"l/n = {t:g}")
    series = limit_of(widths, t, kind, known)
    if series.limit.determined:
        grid = np.linspace(0, x.max(), 40)
        axes.plot(
            grid, [series.limit.value if g == 0 else series.at(1 / g) for g in grid], color=colour, lw=1
        )
        axes.errorbar([0], [series.limit.value], [series.limit.error], fmt="s", ms=4, color=colour)
