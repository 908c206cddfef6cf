"""Pictures of the tangent kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope import plotting
from phasescope.papers.absorbing.image_subsets import DATA_SETS
from phasescope.papers.absorbing.tangent_kernel_checks import images, pairs
from phasescope.studies.drawing import colours, legend, shades, short
from phasescope.theory import tangent_ratio

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SMALL, _DEEP = 0.1, 100


def law_figure(data: xr.Dataset, config: Any) -> Figure:
    """Return two panels: the ratio against kappa L, and against u."""
    depths = np.array(config.tangent_kernel.depths)
    known = [point for point in pairs(data) if np.isfinite(point.kappa)]
    with plotting.style():
        drawn, (apart, together) = plotting.figure(2, panel_size=(4.4, 3.3))
        own = [point for point in known if point.activation == config.activation]
        columns = range(6, 19, 3)
        for column, shade in zip(columns, shades(len(columns)), strict=True):
            x = np.concatenate([point.kappa * depths for point in own]) if own else np.array([])
            y = np.concatenate([1 - point.gap[:, column] for point in own]) if own else np.array([])
            order = np.argsort(x)
            label = rf"$\rho_0$ = {own[0].distance[0, column]:.0e}" if own else ""
            apart.plot(x[order], y[order], "o-", ms=3.5, lw=1.0, color=shade, label=label)
        names = list(dict.fromkeys(point.activation for point in known))
        for name, colour in zip(names, colours(len(names)), strict=True):
            group = [point for point in known if point.activation == name]
            u, ratio = _within(group, depths)
            together.plot(u, ratio, "o", ms=3, color=colour, alpha=0.7, label=short(name))
        u = np.geomspace(1e-3, 1e3, 200)
        together.plot(u, tangent_ratio(u), color=plotting.THEORY, label="R(u)", zorder=1)
        apart.set_xlabel(r"$\kappa L$")
        together.set_xlabel(r"$u = \kappa \rho_0 L$")
        for axes in (apart, together):
            axes.set_xscale("log")
            axes.axhline(1 / 3, color=plotting.INK, lw=0.8, ls=":")
            axes.set_ylabel(r"$\Theta_{ab}/\Theta_{aa}$")
            axes.set_ylim(0.25, 1.05)
            legend(axes)
        apart.set_title(f"Each distance its own curve ({short(config.activation)})")
        together.set_title("One curve")
        together.set_xlim(1e-3, 1e3)
    return drawn


def _within(group: list[Any], depths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    u, ratio = [], []
    for point in group:
        chosen = (point.distance <= _SMALL) & (depths[:, None] >= _DEEP)
        u.append((point.kappa * point.distance * depths[:, None])[chosen])
        ratio.append(1 - point.gap[chosen])
    return np.concatenate(u), np.concatenate(ratio)


def data_figure(data: xr.Dataset, config: Any) -> Figure:
    """Return three panels over images: top eigenvalue, condition number, and near against far pairs."""
    shown = [name for name in DATA_SETS if np.isfinite(images(data, name)[0]).any()]
    with plotting.style():
        drawn, (top, condition, apart) = plotting.figure(3)
        for name, colour in zip(shown, colours(len(shown)), strict=True):
            place, chosen = images(data, name)
            for row, filled in ((0, colour), (1, "none")):
                marks = {"ms": 4, "color": colour, "markerfacecolor": filled, "ls": "none"}
                label = name if row == 0 else None
                _mean(top, place, chosen["top"].values[:, row], label=label, **marks)
                top.plot(
                    np.exp(place), chosen["predicted"].values[:, row].mean(axis=1), color=plotting.THEORY
                )
                _mean(condition, place, chosen["condition"].values[:, row], **marks)
                gaps = chosen["quantile_gap"].values[:, row]
                _mean(apart, place, gaps[:, :, 2] - gaps[:, :, 0], **{**marks, "ls": "-", "lw": 0.8})
        for axes in (top, condition, apart):
            axes.set_xscale("log")
            axes.set_xlabel(r"$\kappa L$")
        condition.set_yscale("log")
        top.axhline(1 / 3, color=plotting.INK, lw=0.8, ls=":")
        top.set_title("Largest eigenvalue / trace")
        condition.set_title("Condition number")
        apart.set_title("Near less far pairs")
        legend(top)
    return drawn


def _mean(axes: Axes, place: np.ndarray, values: np.ndarray, **options: Any) -> None:
    finite = np.where(np.isfinite(values), values, np.nan)
    axes.errorbar(
        np.exp(place), finite.mean(axis=1), finite.std(axis=1), fmt="o", lw=options.pop("lw", 0.8), **options
    )
