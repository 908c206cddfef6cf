"""Figures of the convolutional parts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from phasescope import plotting
from phasescope.papers.absorbing.cnn.claims import directed_percolation
from phasescope.papers.absorbing.cnn.curves import Curves, collect
from phasescope.papers.absorbing.cnn.numbers import RANDOM_WALK, Numbers, numbers
from phasescope.scaling import Collapse, local_slopes
from phasescope.studies.contract import Picture
from phasescope.studies.drawing import colours, legend, shades

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from phasescope.papers.absorbing.cnn.part import CnnSettings

_LOWEST = 1e-8
_LOWEST_TYPICAL = 1e-20


def pictures(data: xr.Dataset, settings: CnnSettings, dimensions: int) -> list[Picture]:
    """Return the figures of one dimension; none where nothing was sampled."""
    found = numbers(data, settings, dimensions)
    if not found.main:
        return []
    with plotting.style():
        return [
            _decay(found, settings, dimensions),
            _exponent(found, data, settings),
            _collapse(found, dimensions),
            _control(found, settings, dimensions),
        ]


def _decay(found: Numbers, settings: CnnSettings, dimensions: int) -> Picture:
    drawn, (mean, typical, slope) = plotting.figure(3)
    for curve, colour in zip(found.main, shades(len(found.main)), strict=True):
        label = rf"$\sigma_w$ = {curve.sigma_w:.3f}"
        mean.loglog(curve.layers, np.exp(curve.log_mean()), color=colour, label=label)
        typical.loglog(curve.layers, np.exp(np.maximum(curve.mean_log(), -700)), color=colour)
    last = np.array([settings.first, settings.depth], dtype=float)
    delta = directed_percolation(dimensions).delta.value
    mean.loglog(
        last, 0.9 * (last / last[0]) ** -delta, "--", color=plotting.THEORY, label=f"slope -{delta:.3f}"
    )
    _bounded(mean, _LOWEST)
    _bounded(typical, _LOWEST_TYPICAL)
    mean.set_title("Mean")
    typical.set_title("Typical")
    mean.set_ylabel(r"$\rho$")
    legend(mean, fontsize=7, loc="lower left")
    _slopes(slope, found, delta)
    for axes in (mean, typical, slope):
        axes.set_xlabel("layer l")
    return Picture(
        "decay",
        drawn,
        f"Distance of two inputs in networks with shared weights, {settings.sizes[-1]} sites along each "
        "dimension: averaged over networks, and of the typical one (note the other scale). Right: local "
        "slopes at the sampled sigma_w nearest to the zero of the exponent; the dashed line is directed "
        "percolation.",
    )


def _slopes(axes: Axes, found: Numbers, delta: float) -> None:
    zero = next((value for value in reversed(found.critical.values()) if value.determined), None)
    axes.axhline(-delta, ls="--", color=plotting.THEORY, label="directed percolation")
    axes.axhline(-0.5, ls=":", color=plotting.THEORY, label="common random walk")
    if zero is not None:
        near = min(found.main, key=lambda curve: abs(curve.sigma_w - zero.value))
        lowest = -600.0
        for name, label, colour, statistic in (
            ("log_distance", "mean", plotting.MEASURED, "mean"),
            ("typical_log_distance", "typical", colours(3)[2], "typical"),
        ):
            kept = (near[name].min(axis=0) > lowest) & (near.layers >= 2)
            if kept.sum() >= 3:
                slopes = local_slopes(
                    near.layers[kept],
                    np.exp(near[name][:, kept]),
                    statistic="mean" if statistic == "mean" else "typical",
                )
                axes.errorbar(slopes.x, slopes.slope, slopes.error, fmt="o-", ms=3, color=colour, label=label)
        axes.set_title(rf"Local slopes, $\sigma_w$ = {near.sigma_w:.3f}")
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylabel(r"d ln $\rho$ / d ln l")
    legend(axes, fontsize=7, loc="lower left")


def _exponent(found: Numbers, data: xr.Dataset, settings: CnnSettings) -> Picture:
    drawn, (exponent, share) = plotting.figure(2)
    for size, colour in zip(settings.sizes, shades(len(settings.sizes)), strict=True):
        label = f"varying rows, {size} sites a side"
        _against_control(exponent, collect(data, "decay", size), settings.discard, colour, label)
    _against_control(exponent, found.uniform, settings.discard, colours(3)[2], "uniform rows")
    local_begin = min(settings.discard, settings.local_depth / 4)
    _against_control(exponent, found.local, local_begin, colours(2)[1], "independent weights")
    exponent.axhline(0, color=plotting.INK, lw=0.8)
    exponent.set_ylabel(r"$\lambda$ per layer")
    legend(exponent, fontsize=7)
    values = list(found.rough.items())
    share.errorbar(
        [x for x, _ in values],
        [one.value for _, one in values],
        [one.error for _, one in values],
        fmt="o-",
        ms=3,
        color=plotting.MEASURED,
    )
    share.set_ylim(-0.05, 1.05)
    share.set_ylabel(f"share after {settings.depth} layers")
    share.set_title("Networks whose sites still differ")
    zero = found.critical[settings.sizes[-1]]
    for axes in (exponent, share):
        axes.set_xlabel(r"$\sigma_w$")
        if zero.determined:
            axes.axvline(zero.value, color=plotting.THEORY, ls="--", lw=1)
    return Picture(
        "exponent",
        drawn,
        "Left: spatio-temporal Lyapunov exponent; the dashed line marks its zero for shared weights on rows "
        "that vary. About a uniform row it is lower, so that near the zero sites, like inputs, become "
        "alike. Right: how many networks of the largest size have not fallen into a uniform row.",
    )


def _against_control(axes: Axes, curves: Sequence[Curves], begin: float, colour: str, label: str) -> None:
    samples = [curve.exponents(begin) for curve in curves]
    axes.errorbar(
        [curve.sigma_w for curve in curves],
        [rows.mean() for rows in samples],
        [rows.std(ddof=1) / math.sqrt(len(rows)) for rows in samples],
        fmt="o-",
        ms=3,
        color=colour,
        label=label,
    )


def _collapse(found: Numbers, dimensions: int) -> Picture:
    name = directed_percolation(dimensions).name
    drawn, panels = plotting.figure(4)
    tried, typical = found.collapses.get(name), found.typical_collapses.get(name)
    if tried is not None:
        for curve, colour in zip(tried.curves, shades(len(tried.curves)), strict=True):
            panels[0].loglog(curve.size, curve.y, "o-", ms=2, lw=1, color=colour, label=f"{curve.x[0]:.3f}")
        legend(panels[0], fontsize=7, title=r"$\sigma_w$", loc="lower left")
    for axes, one, title in (
        (panels[1], tried, f"Mean, {name}"),
        (panels[2], found.collapses.get(RANDOM_WALK), "Mean, random walk"),
        (panels[3], typical, f"Typical, {name}"),
    ):
        _collapsed(axes, one, title)
    panels[0].set_title("Mean, as measured")
    panels[0].set_xlabel("layer l")
    panels[0].set_ylabel(r"$\rho$")
    return Picture(
        "collapse",
        drawn,
        "Attempted collapses, sigma_w tuned in each: means as measured; rescaled with the exponents of "
        f"{name}; with those of one random walk common to all sites (1/2 and 2); typical values with those "
        f"of {name}. p is the chance of curves so far apart if they do collapse.",
    )


def _collapsed(axes: Axes, one: Collapse | None, title: str) -> None:
    if one is not None:
        for curve, colour in zip(one.curves, shades(len(one.curves)), strict=True):
            axes.plot(curve.scaled_x, curve.scaled_y, "o-", ms=2, lw=1, color=colour)
        title = f"{title}: p = {one.p_value:.1g}"
    axes.set_yscale("log")
    low, _ = axes.get_ylim()
    axes.set_ylim(bottom=max(low, _LOWEST))
    axes.set_title(title)
    axes.set_xlabel(r"$\tau\, l^{1/\nu_\parallel}$")
    axes.set_ylabel(r"$l^{\delta} \rho$")


def _control(found: Numbers, settings: CnnSettings, dimensions: int) -> Picture:
    drawn, (local, spread) = plotting.figure(2)
    for curve, colour in zip(found.local, shades(len(found.local)), strict=True):
        local.loglog(curve.layers, np.exp(curve.log_mean()), color=colour, label=f"{curve.sigma_w:.3f}")
    span = np.array([settings.first, settings.local_depth], dtype=float)
    for exponent, style, label in (
        (directed_percolation(dimensions).delta.value, "--", "directed percolation"),
        (1.0, ":", "mean field"),
    ):
        local.loglog(span, 0.5 * (span / span[0]) ** -exponent, style, color=plotting.THEORY, label=label)
    local.set_title("Independent weights at every site")
    local.set_xlabel("layer l")
    local.set_ylabel(r"mean $\rho$")
    legend(local, fontsize=7, loc="lower left")
    sites = np.array(settings.fluctuation_sizes, dtype=float) ** dimensions
    for weights, colour in zip(("shared", "local"), colours(2), strict=True):
        value, error = found.spreads[weights][1]
        spread.errorbar(
            sites, value, error, fmt="o-", ms=3, color=colour, label=f"{weights}, {found.spreads[weights][0]}"
        )
    reference = found.spreads["local"][1][0, 0]
    spread.plot(
        sites, reference * (sites / sites[0]) ** -0.5, "--", color=plotting.THEORY, label="slope -1/2"
    )
    spread.set_xscale("log", base=2)
    spread.set_yscale("log", base=2)
    spread.set_title("Spread of ln growth over networks")
    spread.set_xlabel("sites")
    legend(spread, fontsize=7)
    return Picture(
        "control",
        drawn,
        "Left: the locally connected control around its transition, with the slopes of two classes. Right: "
        f"spread over networks of ln |u|^2 after {settings.fluctuation_depth} layers; noise that is "
        "independent between sites averages out along the dashed line.",
    )


def _bounded(axes: Axes, lowest: float) -> None:
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, lowest), min(high, 3.0))
