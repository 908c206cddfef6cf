"""Several networks in the same axes: kernel, difference between inputs and gradient against depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from phasescope import plotting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from phasescope.report.comparison import Subject

_PALETTE = ("#2f80c9", "#d9622b", "#2f9464", "#8b6fc9", "#b5821b", "#c2528b")
_SMALLEST = 1e-300
_PANELS = (
    ("kernel", "Signal size", "kernel K", "Mean square of the units of each weight layer"),
    ("distance", "Difference between inputs", "1 − c", "One minus the correlation of two inputs"),
    ("gradient", "Gradient", "relative to the output", "Mean square gradient at each weight layer"),
)


@dataclass(frozen=True)
class Panel:
    """One figure of the comparison."""

    figure: Figure  # one pair of axes, all networks in it
    caption: str  # what it shows, for those who cannot see it


def colours(compared: Sequence[Subject]) -> list[str]:
    """Return one colour a network: that of its phase where every phase occurs once."""
    phases = [subject.verdict.phase for subject in compared]
    if len(set(phases)) == len(phases):
        return [plotting.PHASE_COLOURS.get(phase, plotting.INK) for phase in phases]
    return [_PALETTE[position % len(_PALETTE)] for position in range(len(phases))]


def comparison_panels(compared: Sequence[Subject]) -> list[Panel]:
    """Return three figures against depth: K, 1 - c and the gradient, measured as dots and theory as lines."""
    names = ", ".join(subject.label for subject in compared)
    panels = []
    for variable, title, label, meaning in _PANELS:
        with plotting.style():
            drawn, (axes,) = plotting.figure(1, panel_size=(3.5, 2.9))
            for subject, colour in zip(compared, colours(compared), strict=True):
                _draw(axes, subject, variable, colour)
            axes.set_title(title)
            axes.set_xlabel("weight layer")
            axes.set_ylabel(label)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
            _logarithmic(axes)
        panels.append(Panel(drawn, f"{meaning} against depth, for {names}."))
    return panels


def _draw(axes: Axes, subject: Subject, variable: str, colour: str) -> None:
    dataset = subject.dataset
    weight = (dataset["role"].values == "weight") & (dataset["skipped"].values == "")
    depth = dataset["depth"].values[weight]
    values, errors = dataset[variable].values[weight], dataset[f"{variable}_error"].values[weight]
    known = np.isfinite(values) & (values > _SMALLEST)
    error = np.nan_to_num(errors[known], nan=0.0, posinf=0.0)
    below = np.minimum(error, 0.999 * values[known])
    axes.errorbar(depth[known], values[known], yerr=[below, error], fmt="o", ms=3.2, lw=0.9, color=colour)
    expected = _theory(dataset, variable)[weight]
    drawable = np.isfinite(expected) & (expected > _SMALLEST)
    axes.plot(depth[drawable], expected[drawable], "-", lw=1.2, color=colour)


def _theory(dataset: object, variable: str) -> np.ndarray:
    if variable == "distance" and "distance_theory" not in dataset:  # type: ignore[operator]
        return np.asarray(1.0 - dataset["correlation_theory"].values)  # type: ignore[index]
    return np.asarray(dataset[f"{variable}_theory"].values)  # type: ignore[index]


def _logarithmic(axes: Axes) -> None:
    """Use a logarithmic axis at least a decade high, so that noise does not fill it."""
    if not any(len(np.asarray(line.get_ydata())) for line in axes.lines):
        axes.text(0.5, 0.5, "not measured", ha="center", transform=axes.transAxes)
        return
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if high / low < 10:
        middle = (low * high) ** 0.5
        low, high = axes.set_ylim(middle / 3.2, middle * 3.2)
    if high / low < 100:
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
