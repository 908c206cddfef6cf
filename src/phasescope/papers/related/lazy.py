"""What lazy training leaves visible: gates that flip, and a loss that the initial kernel predicts.

Two-layer ReLU networks ``f = n^(-1/2) sum_i a_i relu(w_i.x)``, with units in pairs so that f starts at 0,
learn N digits by gradient descent. Near the kernel's limit weights move by n^(-1/2) of their size, so gates
flip as n^(-1/2), and the loss decays with every eigenvalue of the initial kernel (derived here). The smallest
one alone, on which bounds of convergence rest, says little of the loss that is reached.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers.related.family import Family, descend, problem
from phasescope.papers.related.shared import STUDY
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import legend
from phasescope.studies.part import Panels, Part, Settings, Table, Variable
from phasescope.studies.samples import mean
from phasescope.sweep.task import Task
from phasescope.theory import random_flips
from phasescope.training import lazy_or_rich

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

_WIDE = 256  # from which on the prediction is asked to be close
_FACTOR, _CLOSE, _APART = 3.0, 1.5, 10.0


class LazySettings(Settings):
    """Sizes of the networks."""

    widths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    inputs: int = 48
    horizons: tuple[int, ...] = (300, 600)  # steps after which all is measured
    seeds: int = 6


QUICK = LazySettings()
PAPER = LazySettings(widths=(64, 128, 256, 512, 1024, 2048), inputs=96, horizons=(600, 2400), seeds=8)

VARIABLES = {
    "flips": Variable(("horizon", "width"), "share of gates that flipped"),
    "at_random": Variable(("horizon", "width"), "share that the same movement in random directions flips"),
    "law": Variable(("horizon", "width"), "arctan(|dW|/|W|)/pi"),
    "gap": Variable(("horizon", "width"), "gap to the linearised network"),
    "drift": Variable(("horizon", "width"), "drift of the tangent kernel"),
    "seen": Variable(("horizon", "width"), "loss after training"),
    "whole": Variable(("horizon", "width"), "loss that the whole spectrum predicts"),
    "smallest": Variable(("horizon", "width"), "loss if all components decayed with the smallest eigenvalue"),
}


def tasks(config: Any) -> list[Task]:
    """Return a task for each seed."""
    known: LazySettings = config.lazy
    what = {"widths": list(known.widths), "inputs": known.inputs, "seed": config.seed}
    what |= {"horizons": list(known.horizons)}
    seconds = sum(known.horizons) * (2e-6 * sum(known.widths) * known.inputs / 48 + 1e-3)
    return [
        Task(STUDY, "lazy", what | {"number": number}, seconds=seconds, memory=400_000_000)
        for number in range(known.seeds)
    ]


def half_squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Return half the mean squared error."""
    return (output - target).pow(2).mean() / 2


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return what training moved in networks of each width, and the losses seen and predicted."""
    known = task.parameters
    x, y = (each.to(device) for each in problem(known["inputs"]))
    shape = (len(known["horizons"]), len(known["widths"]))
    columns = {name: np.full(shape, np.nan) for name in VARIABLES}
    for place in np.ndindex(shape):
        steps, width = known["horizons"][place[0]], known["widths"][place[1]]
        model = Family(x.shape[1], width, 0.0, nn.ReLU(), task.seed % 2**31).to(device)
        before = copy.deepcopy(model.state_dict())
        rate = descend(model, x, y, 0.0, steps)
        asked = {"loss": half_squared_error, "targets": y, "rate": rate, "steps": steps}
        found = lazy_or_rich(before, model, x, seed=width, **asked)
        gates = next(layer for layer in found.layers if layer.flips.determined)
        moved = float((model.w.detach() - before["w"]).norm() / before["w"].norm())
        assert found.loss is not None
        decay = 1 - rate * float(found.eigenvalues[0]) / len(x)
        values = {
            "flips": gates.flips.value,
            "at_random": gates.flips_null,
            "law": random_flips(moved),
            "gap": found.gap.value,
            "drift": found.drift.value,
            "seen": found.loss.trained,
            "whole": found.loss.final.value,
            "smallest": found.loss.initial * decay ** (2 * steps),
        }
        for name, value in values.items():
            columns[name][place] = value
    return columns


@dataclass(frozen=True)
class Numbers:
    """Slopes and ratios with errors over seeds."""

    data: xr.Dataset
    widths: tuple[int, ...]
    settings: LazySettings
    slopes: dict[str, Estimate]  # in the logarithm of the width
    excess: list[Estimate]  # ln of flips over those of random directions, by width
    off: dict[str, list[Estimate]]  # |ln| of predicted over seen loss, by width


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    known: LazySettings = config.lazy
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = {name: np.log(data[name].values[:, 0]) for name in VARIABLES}

    def slope(name: str) -> Estimate:
        return mean(np.polyfit(np.log(known.widths), logs[name].T, 1)[0], "fit over widths, mean of seeds")

    def by_width(values: Any) -> list[Estimate]:
        return [mean(column, "mean over seeds") for column in values.T]

    off = {name: by_width(np.abs(logs[name] - logs["seen"])) for name in ("whole", "smallest")}
    slopes = {name: slope(name) for name in ("flips", "gap", "drift")}
    return Numbers(data, known.widths, known, slopes, by_width(logs["flips"] - logs["at_random"]), off)


def claims(n: Numbers) -> list[Check]:
    """Return how gates flip with the width, then how well two predictions of the loss do."""
    flips = Claim("flips-slope", "The share of gates that flip falls with the width as n^-1/2.")
    left = "0.12 is left to the next order and to the fit over few widths."
    made = [flips.equals(-0.5, n.slopes["flips"], allowance=0.12, resolution=0.08, note=left)]
    sentence = "Training flips more gates than the same movement in random directions, at each width."
    least = min(n.excess, key=lambda each: each.value - 3 * each.error)
    note = "ln of the ratio, at the width where it is least."
    made.append(Claim("flips-excess", sentence).positive(least, note=note))
    wide = [each for width, each in zip(n.widths, n.off["whole"], strict=True) if width >= _WIDE]
    for name, kept, factor, where in (
        ("loss-whole", n.off["whole"], _FACTOR, "at each width"),
        ("loss-wide", wide, _CLOSE, f"from n = {_WIDE} on"),
    ):
        worst = max(kept, key=lambda each: each.value + 3 * each.error)
        sentence = (
            f"The whole initial spectrum predicts the final loss within a factor of {factor:g} {where}."
        )
        note = f"|ln| of predicted over seen loss where it is largest, held against ln {factor:g}."
        made.append(Claim(name, sentence).below(math.log(factor), worst, note=note))
    nearest = min(n.off["smallest"], key=lambda each: each.value - 3 * each.error)
    sentence = f"The smallest eigenvalue alone misses the final loss by more than a factor of {_APART:g}."
    note = f"|ln| of predicted over seen loss where it is least, less ln {_APART:g}."
    made.append(Claim("loss-smallest", sentence).positive(nearest - math.log(_APART), note=note))
    return made


def tables(n: Numbers) -> list[Table]:
    columns = ["steps", "width", "flips", "at random", "arctan law", "gap", "drift", "loss", "whole spectrum"]
    rows = []
    for h, steps in enumerate(n.settings.horizons):
        for i, width in enumerate(n.widths):
            values = [np.exp(np.log(n.data[name].values[:, h, i]).mean()) for name in VARIABLES]
            rows.append([str(steps), str(width), *(f"{value:.3g}" for value in values)])
    return [Table("Geometric means over seeds", [*columns, "smallest eigenvalue"], rows)]


def notes(n: Numbers) -> list[str]:
    return [
        f"Chosen here: {n.settings.inputs} digits, odd or even, {n.settings.horizons[0]} steps at "
        "half the largest stable rate of the initial kernel. Slopes in the logarithm of the width: flips "
        f"{n.slopes['flips']}, gap {n.slopes['gap']}, drift {n.slopes['drift']}.",
        "Random directions move every tensor as far as training did; the arctan law is that of the first "
        "layer alone.",
        "The prediction has a horizon: what the kernel has drifted adds up over steps, so that the logarithm "
        f"of the loss is off by ever more. The table has it after {n.settings.horizons[-1]} steps as well.",
    ]


def draw_flips(axes: Axes, n: Numbers) -> None:
    flips = n.data["flips"].values[:, 0]
    spread = np.exp(np.log(flips).mean(0))
    axes.plot(n.widths, flips.T, "o", ms=3, color=plotting.MEASURED, alpha=0.5)
    axes.plot(n.widths, spread, color=plotting.MEASURED, label="trained")
    at_random = np.exp(np.log(n.data["at_random"].values[:, 0]).mean(0))
    axes.plot(n.widths, at_random, "x--", ms=5, color=plotting.THEORY, label="random directions")
    guide = spread[0] * np.sqrt(n.widths[0] / np.array(n.widths))
    axes.plot(n.widths, guide, ":", color=plotting.INK, label=r"$n^{-1/2}$")
    axes.set(title="Gates that flip", xlabel="width n", ylabel="share", xscale="log", yscale="log")
    axes.minorticks_off()
    legend(axes)


def draw_loss(axes: Axes, n: Numbers) -> None:
    labels = {"seen": "seen", "whole": "whole spectrum", "smallest": "smallest eigenvalue"}
    styles = {"seen": "o", "whole": "-", "smallest": ":"}
    for h, alpha in zip(range(len(n.settings.horizons)), (1.0, 0.45), strict=False):
        for name, label in labels.items():
            colour = plotting.MEASURED if name == "seen" else plotting.THEORY
            values = np.exp(np.log(n.data[name].values[:, h]).mean(0))
            said = "" if h else label
            axes.plot(n.widths, values, styles[name], ms=4.5, color=colour, alpha=alpha, label=said)
    axes.set(title="Loss after training", xlabel="width n", ylabel="loss", xscale="log", yscale="log")
    axes.set_ylim(top=30 * axes.get_ylim()[1])
    legend(axes, loc="upper right")


def figures(n: Numbers) -> list[Panels]:
    caption = (
        "Left: share of ReLU gates that flip in training, each seed and geometric mean, and what the same "
        "movement in random directions flips. Right: loss after training, and what the whole spectrum of the "
        "initial tangent kernel and its smallest eigenvalue alone predict; pale, after more steps."
    )
    return [Panels("lazy", caption, [draw_flips, draw_loss])]


LAZY = Part(
    name="lazy",
    title="Gate flips and predicted losses",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    citations=("noy2021", "yaida2022", "jacot2018", "lee2019"),
)
