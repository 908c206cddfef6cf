"""The pictures of the decay with depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope import plotting
from phasescope.papers.absorbing import shared
from phasescope.papers.absorbing.decay_analysis import (
    Beside,
    chaotic,
    critical_map,
    critical_networks,
    ordered,
)
from phasescope.studies.drawing import legend, logarithmic

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOWEST = 1e-5


def decay_figure(data: xr.Dataset, config: Any) -> Figure:
    """Two panels: 1 - c against depth in the three phases, and kappa l (1 - c) at the critical point."""
    known = shared.named(data["reference"].values[0])
    with plotting.style():
        drawn, (decays, critical) = plotting.figure(2, panel_size=(4.6, 3.4))
        _decays(decays, data, config)
        _critical(critical, data, known)
    return drawn


def exponents_figure(data: xr.Dataset, config: Any) -> Figure:
    """Return two panels: the plateau, and the correlation depth, against the distance from criticality."""
    known = shared.named(data["reference"].values[0])
    with plotting.style():
        drawn, (plateau, depth) = plotting.figure(2, panel_size=(4.6, 3.4))
        above, below = chaotic(data, known), ordered(data, known)
        _against_tau(plateau, above, inverse=False)
        _against_tau(depth, below, inverse=True)
        for axes, points, amplitude, power, name in (
            (plateau, above, known["gamma"] / known["kappa"], 1, r"$\gamma|\tau|/\kappa$"),
            (depth, below, 1 / known["gamma"], -1, r"$1/(\gamma|\tau|)$"),
        ):
            if points:
                tau = np.array([abs(point.tau) for point in points])
                axes.plot(tau, amplitude * tau**power, ":", color=plotting.INK, lw=1.1, label=name)
            legend(axes)
        plateau.set_title("Chaotic side: plateau")
        plateau.set_xlabel(r"$|\tau| = |\sigma_w - \sigma_{wc}|$")
        plateau.set_ylabel(r"$1 - c$ at great depth")
        depth.set_title("Ordered side: correlation depth")
        depth.set_xlabel(r"$|\tau|$")
        depth.set_ylabel("layers")
    return drawn


def _decays(axes: Axes, data: xr.Dataset, config: Any) -> None:
    settings = config.decay
    rates = sorted(settings.rates)
    few = (rates[0], rates[len(rates) // 2], rates[-1])
    shown = [0.0, *(sign * rate for sign in (-1, 1) for rate in few)]
    named = set()
    for rate in sorted(shown):
        phase = "critical" if rate == 0 else "ordered" if rate < 0 else "chaotic"
        colour = plotting.PHASE_COLOURS[phase]
        exact = shared.of_kind(data, "map", gamma_tau=rate)
        networks = shared.of_kind(data, "networks", gamma_tau=rate)
        if exact.sizes["task"]:
            label = None if phase in named else phase
            named.add(phase)
            layers, rho = exact["layer"].values[0], np.exp(exact["log_distance"].values[0, 0])
            axes.plot(layers, rho, color=colour, label=label)
        if networks.sizes["task"]:
            layers = networks["layer"].values[0]
            stacked = networks["log_distance"].values.reshape(-1, layers.size)
            chosen = np.flatnonzero(np.isfinite(layers))[::6]
            # Below the transition a few networks carry the mean; the typical value is what decays evenly.
            rho = (
                np.exp(stacked[:, chosen]).mean(axis=0)
                if rate >= 0
                else np.exp(stacked[:, chosen].mean(axis=0))
            )
            axes.plot(layers[chosen], rho, "o", ms=2.6, color=colour)
    logarithmic(axes)
    axes.set_xlim(1, 3e3)
    axes.set_ylim(_LOWEST, 2)
    axes.set_title("Difference between two inputs")
    axes.set_xlabel("layers $l$")
    axes.set_ylabel(r"$\rho = 1 - c$")
    legend(axes, loc="lower left")


def _critical(axes: Axes, data: xr.Dataset, known: dict[str, float]) -> None:
    kappa, log = known["kappa"], known["kappa"] - known["k3"] / known["kappa"]
    layers, rho = critical_map(data)
    if layers.size:
        constant = 1 / rho[-1] - kappa * layers[-1] - log * np.log(layers[-1])
        predicted = kappa * layers + log * np.log(layers) + constant
        axes.plot(layers, kappa * layers * rho, color=plotting.MEASURED, label="exact map")
        axes.plot(layers, kappa * layers / predicted, "--", color=plotting.THEORY, label="with the logarithm")
    depth, sampled = critical_networks(data, known)
    if sampled.size:
        mean = sampled.mean(axis=0)
        error = sampled.std(axis=0, ddof=1) / np.sqrt(sampled.shape[0])
        few = slice(None, None, 4)
        scale = (kappa * depth)[few]
        axes.errorbar(
            depth[few],
            scale * mean[few],
            scale * error[few],
            fmt="o",
            ms=3,
            color=plotting.INK,
            label="networks",
        )
    axes.axhline(1, color=plotting.INK, lw=0.8)
    logarithmic(axes, up=False)
    axes.set_ylim(0.2, 1.3)
    axes.set_title("At the critical point")
    axes.set_xlabel("layers $l$")
    axes.set_ylabel(r"$\kappa\, l\, \rho$")
    legend(axes)


def _against_tau(axes: Axes, points: list[Beside], *, inverse: bool) -> None:
    def turned(value: float) -> float:
        return 1 / value if inverse else value

    if points:
        tau = [abs(point.tau) for point in points]
        axes.plot(tau, [turned(point.exact) for point in points], color=plotting.THEORY, label="exact map")
    for point in points:
        if point.networks.determined and point.networks.value > 0:
            value = turned(point.networks.value)
            error = value * point.networks.error / point.networks.value
            axes.errorbar(abs(point.tau), value, error, fmt="o", ms=4, color=plotting.MEASURED)
    if points:
        axes.plot([], [], "o", ms=4, color=plotting.MEASURED, label="networks")
    logarithmic(axes)
