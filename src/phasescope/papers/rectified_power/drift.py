"""Kernels and susceptibilities during training, layer by layer, beside the loss.

The kernel of a layer is the mean square of what it hands to the next: the pre-activation, or the stream of
a residual network. chi_perp is the growth of a small random difference at right angles to it, one layer on,
with the weights of the moment. MRePU2 starts in a basin: an infinitely wide network keeps a kernel K over r
further layers while ``a1 K r < 1``, with ``a1 = 18``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers.rectified_power.rescues import RESCUED, TRAINED, Rescued, all_do
from phasescope.papers.rectified_power.shared import (
    STUDY,
    largest_of,
    minibatches,
    over_seeds,
    squared_error,
    train,
    xyz,
)
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

# What is trained: activation and rescue.
ROWS = {
    "residual": ("repu2", "residual-0.1"),
    "layer-norm": ("repu2", "layer-before"),
    "mrepu2": ("mrepu2", "best"),
    "gelu": ("gelu", "best"),
}
NAMES = {
    "residual": "RePU2, residual 0.1",
    "layer-norm": "RePU2, LayerNorm before",
    "mrepu2": "MRePU2, K_1 = 1/(2 a1 L)",
    "gelu": "GELU, critical",
}
A1 = 18.0  # of MRePU2, 3p(2p-1)
_SMALL = 1e-3  # a difference beside the stream


class DriftSettings(Settings):
    """Sizes of the training that is looked on."""

    rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2, 1e-1)  # of Adam, ascending
    depth: int = 10
    width: int = 64
    seeds: int = 3
    points: int = 1024
    batch: int = 128
    steps: int = 200
    every: int = 10  # steps between two looks, after the first twenty that are all looked at
    probes: int = 48  # inputs that are looked at


QUICK = DriftSettings()
PAPER = DriftSettings(rates=(3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1), seeds=5, steps=600)

VARIABLES = {
    "kernel": Variable(
        ("network", "look", "layer"), "mean square of what a layer hands on, mean over inputs"
    ),
    "largest": Variable(("network", "look", "layer"), "the same, of the input that has most"),
    "parallel": Variable(("network", "look", "step_of_depth"), "chi_par"),
    "perpendicular": Variable(("network", "look", "step_of_depth"), "chi_perp"),
    "loss": Variable(("network", "look"), "loss of the batch, in variances of the target"),
    "failed": Variable(("network",), "first step at which the loss is not finite; -1 where none"),
}


def tasks(config: Any) -> list[Task]:
    """Return one task for each network and rate."""
    s: DriftSettings = config.drift
    known = {name: value for name, value in s.model_dump().items() if name != "rates"} | {"seed": config.seed}
    seconds = s.seeds * s.steps * s.depth * s.batch * 1.6e-6 * 1.5
    return [
        Task(STUDY, "drift", {"row": row, "rate": rate, **known}, seconds=seconds, memory=300_000_000)
        for row in ROWS
        for rate in s.rates
    ]


def looks(steps: int, every: int) -> np.ndarray:
    """Return the steps before which the network is looked at."""
    return np.array(sorted({*range(min(20, steps)), *range(0, steps, every), steps - 1}))


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return kernels and susceptibilities while networks train at one rate."""
    known = task.parameters
    spec, key = ROWS[known["row"]]
    x, y = (each.float() for each in xyz(known["points"], known["seed"]))
    seeds = [1000 * known["seed"] + number for number in range(known["seeds"])]
    rescue = RESCUED[key]
    depth = known["depth"] - (rescue.block == "residual")  # its first stream is a layer as well
    networks = Rescued(rescue, spec, depth, known["width"], seeds, largest=largest_of(x))
    at = looks(known["steps"], known["every"])
    seen: dict[int, dict[str, np.ndarray]] = {}

    def before(step: int) -> None:
        if step in at:
            seen[step] = _look(networks, x[: known["probes"]], step)

    optimiser = torch.optim.Adam(networks.parameters(), known["rate"])
    batches = minibatches(x, y, known["batch"], known["seed"])
    course = train(networks, batches, squared_error, optimiser, known["steps"], every=1, before=before)
    blank = {name: np.full_like(values, math.nan) for name, values in seen[0].items()}
    found = {name: np.stack([seen.get(step, blank)[name] for step in at], 1) for name in blank}
    return found | {"loss": course.loss[:, at], "failed": course.failed.astype(float)}


@torch.no_grad()
def _look(networks: Rescued, x: torch.Tensor, step: int) -> dict[str, np.ndarray]:
    """Return kernels of each layer, and what each does to small differences, of every network."""
    generator = torch.Generator().manual_seed(step)
    stream = networks.enter(x)
    kernels, parallel, perpendicular = [stream.square().mean(-1)], [], []
    for number in range(networks.steps):
        after = partial(networks.step, number)
        beside = torch.randn(stream.shape, generator=generator)
        squares = stream.square().sum(-1, keepdim=True)
        beside -= stream * (beside * stream).sum(-1, keepdim=True) / squares
        beside *= _SMALL * squares.sqrt() / beside.norm(dim=-1, keepdim=True)
        turned = (after(stream + beside) - after(stream - beside)).square().sum(-1) / 4
        perpendicular.append((turned / beside.square().sum(-1)).mean(-1))
        above, below = (after(stream * (1 + e)).square().sum((-2, -1)) for e in (_SMALL, -_SMALL))
        parallel.append((above - below) / (4 * _SMALL * squares.sum((-2, -1))))
        stream = after(stream)
        kernels.append(stream.square().mean(-1))
    made = {
        "kernel": [kernel.mean(-1) for kernel in kernels],
        "largest": [kernel.amax(-1) for kernel in kernels],
        "parallel": parallel,
        "perpendicular": perpendicular,
    }
    return {name: torch.stack(values, -1).double().numpy() for name, values in made.items()}


@dataclass(frozen=True)
class Numbers:
    """Every run by row and rate, and the rates between which each row ceases to train."""

    settings: DriftSettings
    at: np.ndarray
    runs: dict[tuple[str, float], dict[str, np.ndarray]]
    trains: dict[str, float | None]  # largest rate at which none fails and the median does
    diverges: dict[str, float | None]  # smallest rate at which one has no finite loss

    def change(self, row: str) -> np.ndarray:
        """Return, of each network, the largest change of ln K over layers at the largest rate that trains."""
        if self.trains[row] is None:
            return np.array([])
        kernel = self.runs[row, self.trains[row] or 0.0]["kernel"]
        return np.asarray(np.abs(np.log(kernel[:, -1] / kernel[:, 0])).max(-1))


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    s: DriftSettings = config.drift
    runs, trains, diverges = {}, {}, {}
    for row in ROWS:
        for rate in s.rates:
            one = chosen(data, row=row, rate=rate).isel(task=0)
            runs[row, rate] = {name: one[name].values for name in VARIABLES}
        failing = [rate for rate in s.rates if (runs[row, rate]["failed"] >= 0).any()]
        end = {rate: np.median(runs[row, rate]["loss"][:, -5:].mean(1)) for rate in s.rates}
        learned = [rate for rate in s.rates if end[rate] < TRAINED and rate not in failing]
        trains[row] = max(learned, default=None)
        diverges[row] = min(failing, default=None)
    return Numbers(s, looks(s.steps, s.every), runs, trains, diverges)


def left(n: Numbers, run: dict[str, np.ndarray]) -> list[tuple[int, int] | None]:
    """Return, of each network, the step and the layer at which MRePU2's kernel first leaves its basin."""
    layers = run["largest"].shape[-1]
    with np.errstate(invalid="ignore"):
        outside = ~(A1 * run["largest"] * (layers - 1 - np.arange(layers)) < 1) & ~np.isnan(run["largest"])
    places = [np.argwhere(one) for one in outside]  # by look, then by layer
    return [(int(n.at[where[0, 0]]), int(where[0, 1]) + 1) if len(where) else None for where in places]


def claims(n: Numbers) -> list[Check]:
    nothing = Estimate.not_determined("no rate of the list trains the networks")
    made = []
    for row, name in NAMES.items():
        if row == "layer-norm":  # which keeps its kernel at 1
            continue
        claim = Claim(f"kernel-{row}", f"{name}: training changes a kernel by more than a factor of 2.")
        above = over_seeds(n.change(row)) - math.log(2) if n.trains[row] else nothing
        made.append(claim.positive(above, note="ln of the largest change of any layer, less ln 2."))
    for row, expected, sentence in (
        ("gelu", 1.0, "GELU keeps chi_perp near 1 during training."),
        ("layer-norm", 4 / 3, "RePU2 behind LayerNorm keeps chi_perp = 4/3 during training."),
    ):
        found = nothing
        if n.trains[row]:
            found = over_seeds(n.runs[row, n.trains[row] or 0.0]["perpendicular"][:, -1].mean(-1))
        note = "Mean over layers at the end, at the largest rate that trains; 0.1 is allowed for the width."
        made.append(Claim(f"chi-{row}", sentence).equals(expected, found, allowance=0.1, note=note))
    return [*made, *_basin(n)]


def _basin(n: Numbers) -> list[Check]:
    """Return whether MRePU2 leaves its basin before it diverges, and whether it stays where it trains."""
    rule = f"The basin of layer l of L is K < 1/(a1 (L - l)), a1 = {A1:g}, for the input that has most."
    leaves = Claim("leaves", "MRePU2's kernel leaves its basin before the loss diverges.")
    stays = Claim("stays", "At the largest rate that trains, MRePU2's kernel stays in its basin.")
    made = []
    for claim, rate in ((leaves, n.diverges["mrepu2"]), (stays, n.trains["mrepu2"])):
        if rate is None:
            missing = Estimate.not_determined("no rate of the list does so")
            made.append(claim.found(None, missing, "not determined", rule))
            continue
        run = n.runs["mrepu2", rate]
        away = np.array([math.inf if where is None else where[0] for where in left(n, run)])
        failed = run["failed"]
        does = away == math.inf if claim is stays else (away <= failed)[failed >= 0]  # a look comes first
        steps = ", ".join(f"{step:g}" for step in away)
        note = f"{rule} At rate {rate:g}; it leaves at the steps {steps}."
        made.append(all_do(claim, does, note))
    return made


def tables(n: Numbers) -> list[Table]:
    rows = []
    for (row, rate), run in n.runs.items():
        failed = ", ".join(f"{step:.0f}" for step in run["failed"] if step >= 0)
        loss = np.median(np.nan_to_num(run["loss"][:, -1], nan=math.inf))
        chi = [f"{run['perpendicular'][:, look].mean():.3f}" for look in (0, -1)]
        places = [f"{where[0]} ({where[1]})" if where else "never" for where in left(n, run)]
        basin = ", ".join(places) if row == "mrepu2" else ""
        rows.append([NAMES[row], f"{rate:g}", failed, f"{loss:.2g}", *chi, basin])
    columns = ["network", "rate", "steps of failure", "loss at the end, median", "chi_perp at the start"]
    columns += ["at the end", "leaves the basin: step (layer)"]
    return [Table("What training does", columns, rows)]


def notes(n: Numbers) -> list[str]:
    s = n.settings
    return [
        f"Chosen here: {s.depth} layers of {s.width} neurons on x y z, Adam, {s.seeds} networks, {s.steps} "
        f"steps of {s.batch} points; {s.probes} points are looked at. A rate trains where none "
        f"fails and the median of the losses ends below {TRAINED:g} variances of the target.",
        "chi_perp is that of a random direction. The few directions that are learned can grow otherwise.",
        "The basin is that of random weights in infinitely wide networks. To leave it is not to diverge: the "
        "table has networks outside it that go on to learn.",
    ]


def _draw_map(row: str, axes: Axes, n: Numbers) -> None:
    rate = n.trains[row]
    axes.set(title=NAMES[row], xlabel="step", ylabel="layer")
    if rate is None:
        axes.text(0.5, 0.5, "no rate trains", ha="center", transform=axes.transAxes)
        return
    values = np.log(n.runs[row, rate]["kernel"][0].T)
    layers, low, high = np.arange(1, len(values) + 1), values.min(), max(values.max(), values.min() + 0.2)
    mesh = axes.pcolormesh(
        n.at, layers, values, vmin=low, vmax=high, cmap="viridis", shading="nearest", rasterized=True
    )
    axes.grid(visible=False)
    axes.figure.colorbar(mesh, ax=axes, label=f"ln K, rate {rate:g}")


def draw_chi(axes: Axes, n: Numbers) -> None:
    for (row, name), colour in zip(NAMES.items(), colours(len(NAMES)), strict=True):
        if n.trains[row] is not None:
            chi = n.runs[row, n.trains[row] or 0.0]["perpendicular"].mean((0, 2))
            axes.plot(n.at, chi, color=colour, label=f"{name}, rate {n.trains[row]:g}")
    axes.axhline(1, color=plotting.THEORY, lw=0.8)
    axes.set(title=r"$\chi_\perp$, mean over layers", xlabel="step")
    legend(axes, fontsize=7)


def draw_loss(axes: Axes, n: Numbers) -> None:
    for row, colour in zip(ROWS, colours(len(ROWS)), strict=True):
        if n.trains[row] is not None:
            axes.plot(n.at, np.median(n.runs[row, n.trains[row] or 0.0]["loss"], 0), color=colour)
    axes.set(yscale="log", title="Loss of the batch, median", xlabel="step", ylabel="variances of the target")


def draw_leaving(axes: Axes, n: Numbers) -> None:
    for rate, style in ((n.trains["mrepu2"], "-"), (n.diverges["mrepu2"], "--")):
        if rate is None:
            continue
        run = n.runs["mrepu2", rate]
        outside = A1 * run["largest"] * (n.settings.depth - np.arange(1, n.settings.depth + 1))
        with np.errstate(invalid="ignore"):
            most = np.where(outside < 1e12, outside, math.nan).max(-1)
        for number, line in enumerate(most):
            label = f"rate {rate:g}" if number == 0 else None
            axes.plot(n.at, line, style, lw=1, color=plotting.MEASURED, label=label)
    axes.axhline(1, color=plotting.THEORY, lw=1)
    axes.set(yscale="log", title="MRePU2: largest a1 K (L - l)", xlabel="step")
    legend(axes, fontsize=7.5)


def figures(n: Numbers) -> list[Panels]:
    maps = "ln of the kernel by layer and step, of one network at the largest rate that trains."
    lines = (
        "Left: chi_perp in training, mean over layers and networks. Middle: loss of the same runs. Right: "
        "how far MRePU2 is from the edge of its basin, at the largest rate that trains and the smallest that "
        "diverges, a line for each network; above 1 it has left."
    )
    return [
        Panels("kernels", maps, [partial(_draw_map, row) for row in ROWS], size=(3.3, 2.9)),
        Panels("susceptibilities", lines, [draw_chi, draw_loss, draw_leaving]),
    ]


DRIFT = Part(
    name="drift",
    title="Kernels and susceptibilities during training",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    citations=("kim2024repu", "roberts2022"),
)
