"""The picture of the metric factors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from phasescope import plotting
from phasescope.papers.absorbing.metric_analysis import Curves, curves_of, sampled_of, universal, worst
from phasescope.studies.drawing import colours, legend, logarithmic, short

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Drawn: the curves nearest these gamma |tau|.
_DRAWN = (0.03, 0.0025)


def metric_figure(data: xr.Dataset, activations: tuple[str, ...]) -> Figure:
    """Return three panels: raw curves, the collapse, and what is left as tau vanishes."""
    with plotting.style():
        drawn, (raw, collapsed, left) = plotting.figure(3, panel_size=(3.9, 3.4))
        for spec, colour in zip(activations, colours(len(activations)), strict=True):
            curves = curves_of(data, spec)
            if curves is None:
                continue
            _raw(raw, curves, colour, short(spec))
            _collapsed(collapsed, data, spec, curves, colour)
            sizes = worst(curves)
            left.plot(
                list(sizes), [both[0] for both in sizes.values()], "o-", ms=3, color=colour, label=short(spec)
            )
        y = np.geomspace(0.08, 7, 200)
        for sign, label in ((1, r"$y/(1 - e^{-y})$"), (-1, None)):
            collapsed.plot(y, universal(sign * y), color=plotting.THEORY, lw=1.8, label=label, zorder=1)
        _label(raw, "As they are", "layers $l$", r"$\rho = 1 - c$")
        _label(collapsed, "In units of each activation", r"$\gamma|\tau|\,l$", r"$\kappa\, l\, \rho$")
        _label(left, "What is left", r"$\gamma|\tau|$", "largest relative deviation")
        raw.set_ylim(1e-5, 2)
        collapsed.set_ylim(5e-3, 12)
        collapsed.text(2.2, 4.2, "chaotic", ha="right", fontsize=9)
        collapsed.text(1.5, 0.12, "ordered", ha="right", fontsize=9)
    return drawn


def _label(axes: Axes, title: str, across: str, up: str) -> None:
    logarithmic(axes)
    axes.set_title(title)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    legend(axes)


def _nearest(curves: Curves) -> list[int]:
    gamma_tau = curves.known["gamma"] * curves.tau
    return [int(np.argmin(np.abs(gamma_tau - sign * size))) for size in _DRAWN for sign in (-1, 1)]


def _raw(axes: Axes, curves: Curves, colour: str, name: str) -> None:
    for index in _nearest(curves):
        axes.plot(curves.layers[index], curves.rho[index], color=colour, lw=1.1, label=name)
        name = ""


def _collapsed(axes: Axes, data: xr.Dataset, spec: str, curves: Curves, colour: str) -> None:
    kappa = curves.known["kappa"]
    for index in _nearest(curves)[-2:]:
        y = np.abs(curves.rate[index]) * curves.layers[index]
        axes.plot(y, kappa * curves.layers[index] * curves.rho[index], color=colour, lw=1.0, zorder=2)
    for sampled in sampled_of(data, spec, curves):
        if abs(abs(sampled.gamma_tau) - _DRAWN[0]) > 1e-9:
            continue
        mean = sampled.rho.mean(axis=0)
        some = slice(None, None, 2)
        y = abs(sampled.gamma_tau) * sampled.layers
        axes.plot(y[some], (kappa * sampled.layers * mean)[some], "o", ms=3, color=colour, zorder=3)
