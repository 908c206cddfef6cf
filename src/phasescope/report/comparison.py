"""What tells several networks apart: sentence, table and pictures that a page opens with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from phasescope import plotting
from phasescope.instruments.propagation.figure import theory_of
from phasescope.instruments.propagation.findings import changes
from phasescope.instruments.rows import Row
from phasescope.report.numbers import measured
from phasescope.signal import Verdict, verdict
from phasescope.signal.table import growth_law

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from phasescope.estimate import Estimate
    from phasescope.instruments import Inspection

PROPAGATION = "propagation"
FACTS = {
    "Class": "model",
    "Parameters": "parameters",
    "Inputs": "inputs",
    "Mode": "mode",
    "Dtype": "dtype",
    "Device": "device",
    "Seed": "seed",
}
"""What a page calls the attributes of a dataset that say how it was measured."""
_SIGNIFICANT = 3.0  # standard errors between two margins that count as different
_PALETTE = ("#2f80c9", "#d9622b", "#2f9464", "#8b6fc9", "#b5821b", "#c2528b")
_SMALLEST = 1e-300
_PANELS = (
    ("kernel", "Signal size", "kernel K", "Mean square of the units at each step of the stream"),
    ("distance", "Difference between inputs", "1 − c", "One minus the correlation of two inputs"),
    ("gradient", "Gradient", "relative to the output", "Squared gradient at each step of the stream"),
)


@dataclass(frozen=True)
class Subject:
    """One inspected network, with the verdict on its signals."""

    label: str  # name of the network for people
    dataset: xr.Dataset  # its signal propagation
    verdict: Verdict  # the phase and its margin


@dataclass(frozen=True)
class Line:
    """One line of the table: what is compared, and a cell for each network."""

    name: str
    cells: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether the networks are told apart by it."""
        return len(set(self.cells)) > 1


@dataclass(frozen=True)
class Panel:
    """One picture: one pair of axes with all networks in it."""

    figure: Figure
    caption: str  # what it shows, for those who cannot see it


def subjects(inspections: Sequence[Inspection]) -> list[Subject]:
    """Return the networks whose signal propagation was measured."""
    found = [(each.label, each.datasets[PROPAGATION]) for each in inspections if PROPAGATION in each.datasets]
    return [Subject(label, dataset, verdict(dataset)) for label, dataset in found]


def opening(inspections: Sequence[Inspection]) -> str:
    """Return the one sentence of the page: a network's own, or what differs between several."""
    compared = subjects(inspections)
    if len(inspections) == 1 or len(compared) < 2:
        return inspections[0].sentence
    phases = list(dict.fromkeys(subject.verdict.phase for subject in compared))
    if len(phases) == 1:
        return _within_one_phase(compared)
    groups = [[_quote(s.label) for s in compared if s.verdict.phase == phase] for phase in phases]
    parts = [
        f"{listed(group)} {'is' if len(group) == 1 else 'are'} {phase}"
        for group, phase in zip(groups, phases, strict=True)
    ]
    return f"{listed(parts)}{_advice(compared)}."


def _within_one_phase(compared: Sequence[Subject]) -> str:
    phase = compared[0].verdict.phase
    everything = "Both" if len(compared) == 2 else f"All {len(compared)}"
    margins = [(s, s.verdict.margin) for s in compared if s.verdict.margin.determined]
    if len(margins) < len(compared):
        return f"{everything} are {phase}, by verdict; their margins are not all determined."
    low, high = min(margins, key=lambda m: m[1].value), max(margins, key=lambda m: m[1].value)
    error = math.hypot(low[1].error, high[1].error)
    if high[1].value - low[1].value <= _SIGNIFICANT * error:
        return f"{everything} are {phase}, and their margins agree within their errors."
    return (
        f"{everything} are {phase}; ln χ⊥ per step runs from {_estimate(low[1])} in {_quote(low[0].label)} "
        f"to {_estimate(high[1])} in {_quote(high[0].label)}."
    )


def _advice(compared: Sequence[Subject]) -> str:
    healthy = [subject for subject in compared if subject.verdict.phase == "critical"]
    if not healthy:
        return ": initialise at criticality instead"
    best = min(healthy, key=lambda subject: abs(subject.verdict.margin.value))
    return f": start from {_quote(best.label)}"


def listed(parts: Sequence[str]) -> str:
    """Return "a", "a and b" or "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _quote(label: str) -> str:
    return f"“{label}”"


def lines(compared: Sequence[Subject]) -> list[Line]:
    """Return what is known of every network, the physics first."""
    verdicts = [subject.verdict for subject in compared]
    found = [
        Line("Phase", tuple(each.phase for each in verdicts)),
        Line("Margin, mean ln χ⊥ per step", tuple(_estimate(each.margin) for each in verdicts)),
        Line("Growth of a squared difference", tuple(map(_growth, verdicts))),
        Line(
            "Steps over which 1 − c falls by e",
            tuple(_estimate(each.signal_depth) for each in verdicts),
        ),
        Line(
            "Steps over which the gradient changes by e",
            tuple(_estimate(each.gradient_depth) for each in verdicts),
        ),
        Line("Kernel K at the last step", tuple(_edge(s.dataset, "kernel", -1) for s in compared)),
        Line("1 − c at the last step", tuple(_edge(s.dataset, "distance", -1) for s in compared)),
        Line("Gradient at the first step", tuple(_edge(s.dataset, "gradient", 0) for s in compared)),
    ]
    found += [
        Line(name, tuple(_fact(s.dataset.attrs.get(key)) for s in compared)) for name, key in FACTS.items()
    ]
    return [line for line in found if any(cell != "–" for cell in line.cells)]


def _estimate(estimate: Estimate) -> str:
    if not estimate.determined:
        return f"not determined: {estimate.reason}"
    return measured(estimate.value, estimate.error)


def _growth(verdict: Verdict) -> str:
    total = verdict.total
    if not total.determined:
        return _estimate(total)
    factor = math.exp(total.value) if abs(total.value) < 600 else math.inf
    if not 0 < factor < math.inf:
        return changes(total)
    return f"{measured(factor, factor * total.error)}-fold{growth_law(verdict)}"


def _edge(dataset: xr.Dataset, name: str, position: int) -> str:
    """Return a variable at the first (0) or last (-1) step."""
    steps = Row.steps(dataset)
    return measured(steps[position][name], steps[position][f"{name}_error"]) if steps else "–"


def _fact(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u2009")
    return "–" if value is None else str(value)


def colours(compared: Sequence[Subject]) -> list[str]:
    """Return one colour a network: that of its phase where every phase occurs once."""
    phases = [subject.verdict.phase for subject in compared]
    if len(set(phases)) == len(phases):
        return [plotting.PHASE_COLOURS.get(phase, plotting.INK) for phase in phases]
    return [_PALETTE[position % len(_PALETTE)] for position in range(len(phases))]


def panels(compared: Sequence[Subject]) -> list[Panel]:
    """Return three figures against depth: K, 1 - c and the gradient, measured as dots and theory as lines."""
    names = ", ".join(subject.label for subject in compared)
    found = []
    for variable, title, label, meaning in _PANELS:
        with plotting.style():
            drawn, (axes,) = plotting.figure(1, panel_size=(3.5, 2.9))
            for subject, colour in zip(compared, colours(compared), strict=True):
                _draw(axes, subject.dataset, variable, colour)
            axes.set(title=title, xlabel="step of the stream", ylabel=label)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
            _logarithmic(axes)
        found.append(Panel(drawn, f"{meaning} against depth, for {names}."))
    return found


def _draw(axes: Axes, dataset: xr.Dataset, variable: str, colour: str) -> None:
    rows = [row.index for row in Row.steps(dataset)]
    depth = dataset["depth"].values[rows]
    values, errors = dataset[variable].values[rows], dataset[f"{variable}_error"].values[rows]
    known = np.isfinite(values) & (values > _SMALLEST)
    error = np.nan_to_num(errors[known], nan=0.0, posinf=0.0)
    below = np.minimum(error, 0.999 * values[known])
    axes.errorbar(depth[known], values[known], yerr=[below, error], fmt="o", ms=3.2, lw=0.9, color=colour)
    expected = theory_of(dataset, variable)[rows]
    drawable = np.isfinite(expected) & (expected > _SMALLEST)
    axes.plot(depth[drawable], expected[drawable], "-", lw=1.2, color=colour)


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
