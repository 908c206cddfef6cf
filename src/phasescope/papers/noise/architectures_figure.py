"""Pictures of the exponents of LSTM, GRU, plain RNN and transformer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope import plotting
from phasescope.papers.noise.architectures_checks import (
    ARCHITECTURES,
    BESIDE,
    LABELS,
    networks_of,
    state_beta,
)
from phasescope.papers.noise.averages import of
from phasescope.papers.noise.observation import CONDITIONS, QUANTITIES, state_of
from phasescope.papers.noise.shared import window_lengths
from phasescope.studies.contract import Picture
from phasescope.studies.drawing import colours, legend, plain_ticks

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAMED = {"words": "words", "shuffled": "shuffled words", "noise": "white noise", "untrained": "untrained"}
_STREAM = {"residual": "whole stream", BESIDE: "beside positions", "mlp": "MLP units"}


def pictures(data: xr.Dataset, config: Any) -> list[Picture]:
    """Return the figures of the part."""
    return [
        Picture(
            "architectures",
            _figure(data, config),
            "Left: mean exponent of the state of each network, for words, for words in random order, for "
            "white noise as input, and before training. Middle: fluctuation functions over the root of "
            "n, in which white noise is flat; dashed, autoregressive processes fitted to single series. "
            "Right: the transformer's residual stream, what remains of it without the mean over texts at "
            "each position, and its MLP units; open circles before training.",
        )
    ]


def _figure(data: xr.Dataset, config: Any) -> Figure:
    with plotting.style():
        drawn, (states, curves, stream) = plotting.figure(3, panel_size=(3.7, 3.2))
        _states(states, data)
        _curves(curves, data, config)
        _stream(stream, networks_of(data, "transformer"))
    return drawn


def _states(axes: Axes, data: xr.Dataset) -> None:
    for shift, (colour, (condition, label)) in enumerate(zip(colours(4), _NAMED.items(), strict=True)):
        for place, name in enumerate(ARCHITECTURES):
            values = state_beta(data, name, condition)
            position = np.full(len(values), place + 0.16 * (shift - 1.5))
            axes.plot(position, values, "o", ms=4, color=colour, label=label if place == 0 else None)
    axes.set_xticks(range(len(ARCHITECTURES)), [LABELS[name].replace(" ", "\n") for name in ARCHITECTURES])
    axes.axhline(0, color=plotting.INK, lw=0.8)
    axes.set_ylabel(r"$\beta$ of the state")
    axes.set_title("By architecture")
    axes.margins(y=0.3)
    legend(axes, ncols=2, loc="upper left", fontsize=8)


def _curves(axes: Axes, data: xr.Dataset, config: Any) -> None:
    windows = window_lengths(*config.windows)
    flat = np.sqrt(windows / windows[0])
    row = CONDITIONS.index("words")
    for colour, name in zip(colours(len(ARCHITECTURES)), ARCHITECTURES, strict=True):
        some, place = networks_of(data, name), QUANTITIES.index(state_of(name))
        if not some.sizes["task"]:
            continue
        for variable, style in (("fluctuation", "o-"), ("short_fluctuation", "--")):
            curve = np.exp(np.log(some[variable].values[:, row, place]).mean(axis=0))
            dots = style == "o-"
            axes.plot(
                windows,
                curve / flat,
                style,
                ms=3,
                lw=1.4 if dots else 1,
                color=colour,
                label=LABELS[name] if dots else None,
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    plain_ticks(axes)
    axes.set_xlabel("window n (words)")
    axes.set_ylabel(r"$F(n)/\sqrt{n}$, first window 1")
    axes.set_title("Curves, trained")
    legend(axes)


def _stream(axes: Axes, data: xr.Dataset) -> None:
    for place, quantity in enumerate(_STREAM):
        for condition, shift, filled in (("words", -0.1, True), ("untrained", 0.1, False)):
            values = of(data, "beta", condition, quantity)
            axes.plot(
                np.full(len(values), place + shift),
                values,
                "o",
                ms=4.5,
                color=plotting.MEASURED,
                markerfacecolor=plotting.MEASURED if filled else "none",
                label=("trained" if filled else "untrained") if place == 0 else None,
            )
    axes.set_xticks(range(len(_STREAM)), [label.replace(" ", "\n") for label in _STREAM.values()])
    axes.set_xlim(-0.6, len(_STREAM) - 0.4)
    axes.axhline(0, color=plotting.INK, lw=0.8)
    axes.set_ylabel(r"$\beta$")
    axes.set_title("Inside the transformer")
    legend(axes)
