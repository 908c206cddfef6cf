"""How the drift of the tangent kernel scales with width and depth, in the family of scalings with exponent s.

``f = n^(-(1+s)/2) sum_i a_i phi(w_i.x)`` is trained with the rate ``n^s``; units come in pairs of opposite
read-outs, so that f starts at 0. The drift falls as n^-(1-s) (arXiv:2210.04909; exactly so for a linear
network, ``theory.two_layer_linear``). Gates of ReLU add n^(-1/2-(1-s)/4), derived here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers.related.family import DeepLinear, Family, descend, problem
from phasescope.papers.related.shared import STUDY
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import legend, shades
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen
from phasescope.studies.samples import mean
from phasescope.sweep.task import Task
from phasescope.theory import two_layer_linear
from phasescope.training.drift_scaling import drift_scaling

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

_FAMILY = "arXiv:2210.04909"
_ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU}


class ScalingSettings(Settings):
    """Sizes of the networks."""

    widths: tuple[int, ...] = (256, 512, 1024, 2048)
    exponents: tuple[float, ...] = (0.0, 0.5, 1.0)
    inputs: int = 48
    seeds: int = 4
    loss: float = 0.3  # at which training of two layers ends, as a share of the first
    depths: tuple[int, ...] = (1, 2, 4)  # hidden layers of the linear networks
    deep_widths: tuple[int, ...] = (48, 96, 192)
    deep_seeds: int = 12
    deep_loss: float = 0.7


QUICK = ScalingSettings()
PAPER = ScalingSettings(
    widths=(256, 512, 1024, 2048, 4096), seeds=8, depths=(1, 2, 4, 8), deep_widths=(96, 192, 384)
)

VARIABLES = {
    "drift": Variable(("width", "depth"), "drift of the tangent kernel"),
    "slope": Variable((), "of ln drift in ln width"),
    "slope_in_depth": Variable((), "of ln drift in ln depth"),
    "flips_slope": Variable((), "of ln flips in ln width"),
    "coordinate": Variable((), "of the ln rms of hidden units' movement in ln width"),
}


def tasks(config: Any) -> list[Task]:
    """Return a task for each seed, activation and exponent, and one for each seed of deep linear networks."""
    known: ScalingSettings = config.scaling
    made = []

    def add(kind: str, s: float, number: int, widths: Sequence[int], depths: Sequence[int]) -> None:
        what: dict[str, Any] = {"kind": kind, "s": s, "number": number, "seed": config.seed}
        what |= {"widths": list(widths), "depths": list(depths), "inputs": known.inputs}
        what |= {"loss": known.deep_loss if kind == "linear" else known.loss}
        seconds = 1e-3 * sum(widths) + 0.15 * len(widths) * len(depths)
        made.append(Task(STUDY, "scaling", what, seconds=seconds, memory=300_000_000))

    for number in range(known.seeds):
        for activation in _ACTIVATIONS:
            for s in known.exponents:
                add(activation, s, number, known.widths, [1])
    for number in range(known.deep_seeds):
        add("linear", 0.0, number, known.deep_widths, known.depths)
    return made


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return drifts over widths and depths, each of two networks, and their slopes."""
    known = task.parameters
    x, way = (each.to(device) for each in problem(known["inputs"]))

    def factory(width: int, depth: int, number: int) -> nn.Module:
        if known["kind"] == "linear":
            return DeepLinear(x.shape[1], width, depth, number).to(device)
        return Family(x.shape[1], width, known["s"], _ACTIVATIONS[known["kind"]](), number).to(device)

    def train(model: nn.Module, width: int, depth: int, number: int) -> float:
        return descend(model, x, way, known["loss"])

    # Two seeds are the least that it takes.
    found = drift_scaling(
        factory, known["widths"], known["depths"], train, x, seeds=2, seed=task.seed % 2**31
    )
    units = found.coordinates.get("activation")
    return {
        "drift": np.exp(np.log(found.drifts).mean(2)),
        "slope": found.drift.width.value,
        "slope_in_depth": found.drift.depth.value,
        "flips_slope": found.flips.width.value,
        "coordinate": math.nan if units is None else units.slope.value,
    }


@dataclass(frozen=True)
class Numbers:
    """Slopes with errors over tasks."""

    data: xr.Dataset
    settings: ScalingSettings
    slopes: dict[tuple[str, float], Estimate]
    flips: dict[float, Estimate]
    coordinates: dict[float, Estimate]
    depth: Estimate


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    known: ScalingSettings = config.scaling

    def over(name: str, kind: str, s: float = 0.0) -> Estimate:
        return mean(chosen(data, kind=kind, s=s)[name].values, "mean over tasks")

    slopes = {(kind, s): over("slope", kind, s) for kind in _ACTIVATIONS for s in known.exponents}
    slopes["linear", 0.0] = over("slope", "linear")
    flips = {s: over("flips_slope", "relu", s) for s in known.exponents}
    coordinates = {s: over("coordinate", "tanh", s) for s in known.exponents}
    return Numbers(data, known, slopes, flips, coordinates, over("slope_in_depth", "linear"))


def claims(n: Numbers) -> list[Check]:
    """Return the slopes of tanh and ReLU, and what depth adds."""
    made = []
    note = "0.1 is left to the next order in the width and to the fit over few widths."
    gates = f"{note} Gates that flip add n^(-1/2-(1-s)/4), derived here, which the family does not count."
    for kind, name, said in (("tanh", "tanh", note), ("relu", "ReLU", gates)):
        for s in n.settings.exponents:
            sentence = f"At s = {s:g} the drift of {name} networks goes with the width as n^{s - 1:g}."
            claim = Claim(f"{kind}-s{s:g}", sentence, _FAMILY)
            made.append(claim.equals(s - 1, n.slopes[kind, s], allowance=0.1, resolution=0.1, note=said))
    sentence = "At s = 0 gates that flip bring the slope of wide ReLU networks nearer to -3/4 than to -1."
    said = "Slope + 7/8. Gates lead only where sqrt(share of flips / n) exceeds the drift by n^-1."
    made.append(Claim("relu-gates", sentence).positive(n.slopes["relu", 0.0] + 0.875, note=said))
    sentence = "At s = 1 training moves hidden units by as much at each width."
    left = "Flat is a slope within 0.05 of zero."
    flat = Claim("coordinates", sentence, "arXiv:2203.03466")
    made.append(flat.equals(0.0, n.coordinates[1.0], allowance=0.05, resolution=0.03, note=left))
    left = "What is left, 0.15 and 0.25, is to the next order in L/n, which is at most 0.1 here."
    for name, along, power, expected, found, allowance in (
        ("width", "width", "1/n", -1.0, n.slopes["linear", 0.0], 0.15),
        ("depth", "depth", "L", 1.0, n.depth, 0.25),
    ):
        sentence = f"The drift of deep linear networks goes with the {along} as {power}."
        claim = Claim(f"linear-{name}", sentence, _FAMILY)
        made.append(claim.equals(expected, found, allowance=allowance, resolution=0.12, note=left))
    return made


def tables(n: Numbers) -> list[Table]:
    known = [(n.slopes["tanh", s], n.slopes["relu", s], n.flips[s], n.coordinates[s]) for s in n.flips]
    rows = [[f"{s:g}", f"{s - 1:g}", *map(str, row)] for s, row in zip(n.flips, known, strict=True)]
    columns = ["s", "s - 1", "drift, tanh", "drift, ReLU", "flips of ReLU", "movement of tanh units"]
    return [Table("Slopes in the logarithm of the width", columns, rows)]


def notes(n: Numbers) -> list[str]:
    return [
        f"Chosen here: {n.settings.inputs} digits, odd against even as 1 and -1, squared error, gradient "
        "descent at half the largest stable rate of the initial kernel, down to "
        f"{n.settings.loss:g} of the first loss, {n.settings.deep_loss:g} for deep linear networks. There "
        "the targets are shifted by the initial output, so that all networks have the same way to go.",
        "Each task fits the geometric mean of two networks of each size; errors are over tasks.",
    ]


def draw_widths(axes: Axes, n: Numbers) -> None:
    for s, colour in zip(n.settings.exponents, shades(len(n.settings.exponents)), strict=True):
        for kind, style in (("tanh", "o-"), ("relu", "s--")):
            drift = chosen(n.data, kind=kind, s=s)["drift"].values[:, : len(n.settings.widths), 0]
            values = np.exp(np.log(drift).mean(0))
            label = f"{kind}, s = {s:g}"
            axes.plot(n.settings.widths, values, style, ms=3.5, color=colour, label=label)
    axes.set(
        title="Drift of the tangent kernel", xlabel="width n", ylabel="drift", xscale="log", yscale="log"
    )
    legend(axes)


def draw_depths(axes: Axes, n: Numbers) -> None:
    widths, depths = n.settings.deep_widths, np.array(n.settings.depths)
    drift = chosen(n.data, kind="linear")["drift"].values[:, : len(widths), : len(depths)]
    median = np.exp(np.median(np.log(drift), 0))
    for width, values, colour in zip(widths, median, shades(len(widths)), strict=True):
        axes.plot(depths / width, values, "o-", ms=3.5, color=colour, label=f"n = {width}")
    exact = [two_layer_linear(width, 0).drift for width in widths]
    axes.plot(1 / np.array(widths), exact, ":", color=plotting.THEORY, label="one input, f to 1")
    axes.set(title="Linear networks", xlabel="depth over width", ylabel="drift", xscale="log", yscale="log")
    axes.minorticks_off()
    legend(axes)


def figures(n: Numbers) -> list[Panels]:
    caption = (
        "Left: drift of the tangent kernel of two-layer networks over training, geometric mean over seeds. "
        "Right: the same for linear networks of L hidden layers, median over seeds; dotted, "
        "the exact two-layer model on one input."
    )
    return [Panels("scaling", caption, [draw_widths, draw_depths])]


SCALING = Part(
    name="scaling",
    title="Drift against width and depth",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    ragged=("width", "depth"),
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    citations=("yaida2022", "jacot2018"),
)
