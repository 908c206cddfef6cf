"""Figures of the convolutional parts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from phasescope import plotting
from phasescope.papers.absorbing.cnn.numbers import RANDOM_WALK, RECORDED, Curves, Numbers, Statistic
from phasescope.scaling import Collapse, local_slopes
from phasescope.studies.drawing import colours, legend, shades
from phasescope.studies.part import Panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# What is drawn of mean and typical distances, and of local slopes in logarithms of distance.
_LOWEST, _LOWEST_TYPICAL, _LOWEST_LOG = 1e-8, 1e-20, -600.0


def figures(n: Numbers) -> list[Panels]:
    """Return decay, exponent, collapse and control; none where nothing was sampled."""
    if not n.main:
        return []
    s, dp = n.settings, n.dp.name
    return [
        Panels(
            "decay",
            f"Distance of two inputs in networks with shared weights, {s.sizes[-1]} sites along each "
            "dimension: averaged over networks, and of the typical one (note the other scale). Right: local "
            "slopes at the sampled sigma_w nearest to the zero of the exponent; the dashed line is directed "
            "percolation.",
            [draw_mean, draw_typical, draw_slopes],
        ),
        Panels(
            "exponent",
            "Left: spatio-temporal Lyapunov exponent; the dashed line marks its zero for shared weights on "
            "rows that vary. About a uniform row it is lower, so that near the zero sites, like inputs, "
            "become alike. Right: how many networks of the largest size have not fallen into a uniform row.",
            [draw_exponents, draw_share],
        ),
        Panels(
            "collapse",
            "Attempted collapses, sigma_w tuned in each: means as measured; rescaled with the exponents of "
            f"{dp}; with those of one random walk common to all sites (1/2 and 2); typical values with those "
            f"of {dp}. p is the chance of curves so far apart if they do collapse.",
            [
                draw_measured,
                partial(draw_collapsed, statistic="mean", name=dp, title=f"Mean, {dp}"),
                partial(draw_collapsed, statistic="mean", name=RANDOM_WALK, title="Mean, random walk"),
                partial(draw_collapsed, statistic="typical", name=dp, title=f"Typical, {dp}"),
            ],
        ),
        Panels(
            "control",
            "Left: the locally connected control around its transition, with the slopes of two classes. "
            f"Right: spread over networks of ln |u|^2 after {s.fluctuation_depth} layers; noise that is "
            "independent between sites averages out along the dashed line.",
            [draw_control, draw_spread],
        ),
    ]


def draw_mean(axes: Axes, n: Numbers) -> None:
    for curve, colour in zip(n.main, shades(len(n.main)), strict=True):
        label = rf"$\sigma_w$ = {curve.sigma_w:.3f}"
        axes.loglog(curve.layers, np.exp(curve.log_mean()), color=colour, label=label)
    last, delta = np.array([n.settings.first, n.settings.depth], dtype=float), n.dp.delta.value
    line, label = 0.9 * (last / last[0]) ** -delta, f"slope -{delta:.3f}"
    axes.loglog(last, line, "--", color=plotting.THEORY, label=label)
    _bound(axes, _LOWEST)
    axes.set(title="Mean", xlabel="layer l", ylabel=r"$\rho$")
    legend(axes, fontsize=7, loc="lower left")


def draw_typical(axes: Axes, n: Numbers) -> None:
    for curve, colour in zip(n.main, shades(len(n.main)), strict=True):
        axes.loglog(curve.layers, np.exp(np.maximum(curve.mean_log(), -700)), color=colour)
    _bound(axes, _LOWEST_TYPICAL)
    axes.set(title="Typical", xlabel="layer l")


def _bound(axes: Axes, lowest: float) -> None:
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, lowest), min(high, 3.0))


def draw_slopes(axes: Axes, n: Numbers) -> None:
    """Draw local slopes at the sampled sigma_w nearest to the zero of the exponent."""
    zero = next((value for value in reversed(n.critical.values()) if value.determined), None)
    axes.axhline(-n.dp.delta.value, ls="--", color=plotting.THEORY, label="directed percolation")
    axes.axhline(-0.5, ls=":", color=plotting.THEORY, label="common random walk")
    if zero is not None:
        near = min(n.main, key=lambda curve: abs(curve.sigma_w - zero.value))
        for (statistic, name), colour in zip(
            RECORDED.items(), (plotting.MEASURED, colours(3)[2]), strict=True
        ):
            kept = (near[name].min(axis=0) > _LOWEST_LOG) & (near.layers >= 2)
            if kept.sum() >= 3:
                rho = np.exp(near[name][:, kept])
                found = local_slopes(near.layers[kept], rho, statistic=statistic)
                axes.errorbar(
                    found.x, found.slope, found.error, fmt="o-", ms=3, color=colour, label=statistic
                )
        axes.set_title(rf"Local slopes, $\sigma_w$ = {near.sigma_w:.3f}")
    axes.set(xlabel="layer l", ylabel=r"d ln $\rho$ / d ln l", xscale="log")
    axes.set_yscale("symlog", linthresh=1)
    legend(axes, fontsize=7, loc="lower left")


def draw_exponents(axes: Axes, n: Numbers) -> None:
    """Draw the exponents against sigma_w: of rows that vary, of uniform rows, and of the local control."""
    s = n.settings
    for (size, curves), colour in zip(n.by_size.items(), shades(len(n.by_size)), strict=True):
        _draw_growth(axes, curves, s.discard, colour, f"varying rows, {size} sites a side")
    _draw_growth(axes, n.uniform, s.discard, colours(3)[2], "uniform rows")
    _draw_growth(axes, n.local, s.local_discard, colours(2)[1], "independent weights")
    axes.axhline(0, color=plotting.INK, lw=0.8)
    axes.set_ylabel(r"$\lambda$ per layer")
    legend(axes, fontsize=7)
    _mark_zero(axes, n)


def _draw_growth(axes: Axes, curves: Sequence[Curves], begin: float, colour: str, label: str) -> None:
    found = [curve.exponent(begin) for curve in curves]
    x, error = [curve.sigma_w for curve in curves], [one.error for one in found]
    axes.errorbar(x, [one.value for one in found], error, fmt="o-", ms=3, color=colour, label=label)


def draw_share(axes: Axes, n: Numbers) -> None:
    """Draw the share of networks whose sites still differ."""
    found = list(n.rough.values())
    x, error = list(n.rough), [one.error for one in found]
    axes.errorbar(x, [one.value for one in found], error, fmt="o-", ms=3, color=plotting.MEASURED)
    axes.set(title="Networks whose sites still differ", ylabel=f"share after {n.settings.depth} layers")
    axes.set_ylim(-0.05, 1.05)
    _mark_zero(axes, n)


def _mark_zero(axes: Axes, n: Numbers) -> None:
    axes.set_xlabel(r"$\sigma_w$")
    if n.zero.determined:
        axes.axvline(n.zero.value, color=plotting.THEORY, ls="--", lw=1)


def draw_measured(axes: Axes, n: Numbers) -> None:
    """Draw the means that the collapses are made of."""
    tried = n.collapses["mean"].get(n.dp.name)
    if tried is not None:
        for curve, colour in zip(tried.curves, shades(len(tried.curves)), strict=True):
            axes.loglog(curve.size, curve.y, "o-", ms=2, lw=1, color=colour, label=f"{curve.x[0]:.3f}")
        legend(axes, fontsize=7, title=r"$\sigma_w$", loc="lower left")
    axes.set(title="Mean, as measured", xlabel="layer l", ylabel=r"$\rho$")


def draw_collapsed(axes: Axes, n: Numbers, *, statistic: Statistic, name: str, title: str) -> None:
    """Draw a collapse with the exponents of one class."""
    one: Collapse | None = n.collapses[statistic].get(name)
    if one is not None:
        for curve, colour in zip(one.curves, shades(len(one.curves)), strict=True):
            axes.plot(curve.scaled_x, curve.scaled_y, "o-", ms=2, lw=1, color=colour)
        title = f"{title}: p = {one.p_value:.1g}"
    axes.set_yscale("log")
    low, _ = axes.get_ylim()
    axes.set_ylim(bottom=max(low, _LOWEST))
    axes.set(title=title, xlabel=r"$\tau\, l^{1/\nu_\parallel}$", ylabel=r"$l^{\delta} \rho$")


def draw_control(axes: Axes, n: Numbers) -> None:
    """Draw the mean distances of the locally connected control, and two slopes."""
    for curve, colour in zip(n.local, shades(len(n.local)), strict=True):
        axes.loglog(curve.layers, np.exp(curve.log_mean()), color=colour, label=f"{curve.sigma_w:.3f}")
    span = np.array([n.settings.first, n.settings.local_depth], dtype=float)
    for exponent, style, label in (
        (n.dp.delta.value, "--", "directed percolation"),
        (1.0, ":", "mean field"),
    ):
        line = 0.5 * (span / span[0]) ** -exponent
        axes.loglog(span, line, style, color=plotting.THEORY, label=label)
    axes.set(title="Independent weights at every site", xlabel="layer l", ylabel=r"mean $\rho$")
    legend(axes, fontsize=7, loc="lower left")


def draw_spread(axes: Axes, n: Numbers) -> None:
    """Draw the spread of growth over networks against the number of sites."""
    sites = np.array(n.settings.fluctuation_sizes, dtype=float) ** n.dimensions
    for (weights, (slope, (value, error))), colour in zip(n.spreads.items(), colours(2), strict=True):
        axes.errorbar(sites, value, error, fmt="o-", ms=3, color=colour, label=f"{weights}, {slope}")
    line = n.spreads["local"][1][0, 0] * (sites / sites[0]) ** -0.5
    axes.plot(sites, line, "--", color=plotting.THEORY, label="slope -1/2")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set(title="Spread of ln growth over networks", xlabel="sites")
    legend(axes, fontsize=7)
