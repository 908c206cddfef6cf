"""What tells several networks apart: the sentence and the table that a page opens with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from phasescope.report.numbers import measured
from phasescope.signal import Verdict, verdict

if TYPE_CHECKING:
    import xarray as xr

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


@dataclass(frozen=True)
class Subject:
    """One inspected network, with the verdict on its signals."""

    label: str  # name of the network for people
    dataset: xr.Dataset  # its signal propagation
    verdict: Verdict  # the phase and its margin


@dataclass(frozen=True)
class Row:
    """One line of the comparison."""

    name: str  # what is compared
    cells: tuple[str, ...]  # one a network

    @property
    def differs(self) -> bool:
        """Whether the networks are told apart by it."""
        return len(set(self.cells)) > 1


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
    groups = [[s.label for s in compared if s.verdict.phase == phase] for phase in phases]
    parts = [f"{_names(group)} {_is(group)} {phase}" for group, phase in zip(groups, phases, strict=True)]
    return f"{_join(parts)}{_advice(compared)}."


def rows(compared: Sequence[Subject]) -> list[Row]:
    """Return what is known of every network, the physics first."""
    verdicts = [subject.verdict for subject in compared]
    lines = [
        Row("Phase", tuple(each.phase for each in verdicts)),
        Row("Margin, mean ln χ⊥ per weight layer", tuple(_estimate(each.margin) for each in verdicts)),
        Row(
            "Layers in which a difference between inputs falls by e",
            tuple(_estimate(v.signal_depth) for v in verdicts),
        ),
        Row(
            "Layers in which the squared gradient changes by e",
            tuple(_estimate(v.gradient_depth) for v in verdicts),
        ),
        Row("Kernel K at the last weight layer", tuple(_edge(s.dataset, "kernel", -1) for s in compared)),
        Row("1 − c at the last weight layer", tuple(_edge(s.dataset, "distance", -1) for s in compared)),
        Row("Gradient at the first weight layer", tuple(_edge(s.dataset, "gradient", 0) for s in compared)),
    ]
    lines += [
        Row(name, tuple(_fact(s.dataset.attrs.get(key)) for s in compared)) for name, key in FACTS.items()
    ]
    return [line for line in lines if any(cell != "–" for cell in line.cells)]


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
        f"{everything} are {phase}; ln χ⊥ per layer runs from {_estimate(low[1])} in {_quote(low[0].label)} "
        f"to {_estimate(high[1])} in {_quote(high[0].label)}."
    )


def _advice(compared: Sequence[Subject]) -> str:
    healthy = [subject for subject in compared if subject.verdict.phase == "critical"]
    if not healthy:
        return ": initialise at criticality instead"
    best = min(healthy, key=lambda subject: abs(subject.verdict.margin.value))
    return f": start from {_quote(best.label)}"


def _edge(dataset: xr.Dataset, name: str, position: int) -> str:
    weight = (dataset["role"].values == "weight") & (dataset["skipped"].values == "")
    values, errors = dataset[name].values[weight], dataset[f"{name}_error"].values[weight]
    return measured(float(values[position]), float(errors[position])) if values.size else "–"


def _estimate(estimate: Estimate) -> str:
    if not estimate.determined:
        return f"not determined: {estimate.reason}"
    return measured(estimate.value, estimate.error)


def _fact(value: object) -> str:
    return (
        f"{value:,}".replace(",", "\u2009")
        if isinstance(value, int)
        else str(value if value is not None else "–")
    )


def _quote(label: str) -> str:
    return f"“{label}”"


def _names(labels: Sequence[str]) -> str:
    return _join([_quote(label) for label in labels])


def _is(group: Sequence[str]) -> str:
    return "is" if len(group) == 1 else "are"


def _join(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
