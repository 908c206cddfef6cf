"""Kernels and susceptibilities during training, layer by layer, beside the loss.

The kernel of a layer is the mean square of what it hands to the next: pre-activation or residual stream.
chi_perp is the growth, one layer on, of a small random difference at right angles to it. MRePU2 starts in a
basin: an infinitely wide network keeps a kernel K over r further layers while ``a1 K r < 1``, ``a1 = 18``.
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
from phasescope.papers import perceptrons
from phasescope.papers.perceptrons import squared_error
from phasescope.papers.rectified_power import shared
from phasescope.papers.rectified_power.rescues import RESCUED, TRAINED, Rescued
from phasescope.papers.rectified_power.shared import STUDY, over_seeds, share
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

ROWS = {  # what is trained: name, activation and rescue
    "residual": ("RePU2, residual 0.1", "repu2", "residual-0.1"),
    "layer-norm": ("RePU2, LayerNorm before", "repu2", "layer-before"),
    "mrepu2": ("MRePU2, K_1 = 1/(2 a1 L)", "mrepu2", "best"),
    "gelu": ("GELU, critical", "gelu", "best"),
}
A1 = 18.0  # of MRePU2, 3p(2p-1)
_SMALL = 1e-3  # a difference beside the stream


class DriftSettings(Settings):
    rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2, 1e-1)  # of Adam, ascending
    depth: int = 10
    width: int = 64
    seeds: int = 3
    points: int = 1024
    batch: int = 128
    steps: int = 200
    every: int = 10  # steps between two looks, after the first twenty that are all looked at
    probes: int = 48  # inputs that are looked at


PAPER = DriftSettings(rates=(3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1), seeds=5, steps=600)
_LAYERS, _STEPS = ("network", "look", "layer"), ("network", "look", "step_of_depth")
VARIABLES = {
    "kernel": Variable(_LAYERS, "mean square of what a layer hands on, mean over inputs"),
    "largest": Variable(_LAYERS, "the same, of the input that has most"),
    "parallel": Variable(_STEPS, "chi_par"),
    "perpendicular": Variable(_STEPS, "chi_perp"),
    "loss": Variable(("network", "look"), "loss of the batch, in variances of the target"),
    "failed": Variable(("network",), "first step at which the loss is not finite; -1 where none"),
}


def tasks(config: Any) -> list[Task]:
    """Return one task for each network and rate."""
    s: DriftSettings = config.drift
    known = {name: value for name, value in s.model_dump().items() if name != "rates"} | {"seed": config.seed}
    seconds = s.seeds * s.steps * s.depth * s.batch * 1.6e-6 * 1.5
    rows = [{"row": row, "rate": rate, **known} for row in ROWS for rate in s.rates]
    return [Task(STUDY, "drift", row, seconds=seconds, memory=300_000_000) for row in rows]


def looks(steps: int, every: int) -> np.ndarray:
    """Return the steps before which the network is looked at."""
    return np.array(sorted({*range(min(20, steps)), *range(0, steps, every), steps - 1}))


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return kernels and susceptibilities while networks train at one rate."""
    known = task.parameters
    _, spec, key = ROWS[known["row"]]
    x, y = (each.float() for each in shared.xyz(known["points"], known["seed"]))
    seeds = [1000 * known["seed"] + number for number in range(known["seeds"])]
    depth = known["depth"] - (key == "residual-0.1")  # its first stream is a layer as well
    networks = Rescued(
        RESCUED[key], spec, (3, known["width"], depth), seeds, perceptrons.largest_of(x)
    ).float()
    at = looks(known["steps"], known["every"])
    seen: dict[int, dict[str, np.ndarray]] = {}

    def before(step: int) -> None:
        if step in at:
            seen[step] = _look(networks, x[: known["probes"]], step)

    optimiser = torch.optim.Adam(networks.parameters(), known["rate"])
    batches = perceptrons.minibatches(x, y, known["batch"], known["seed"])
    course = perceptrons.train(
        networks, batches, squared_error, optimiser, known["steps"], every=1, before=before
    )
    blank = {name: np.full_like(values, math.nan) for name, values in seen[0].items()}
    found = {name: np.stack([seen.get(step, blank)[name] for step in at], 1) for name in blank}
    return found | {"loss": course.loss[:, at], "failed": course.failed.astype(float)}


@torch.no_grad()
def _look(networks: Rescued, x: torch.Tensor, step: int) -> dict[str, np.ndarray]:
    """Return kernels of each layer, and what each does to small differences, of every network."""
    generator = torch.Generator().manual_seed(step)
    streams = networks.streams(x)
    made: dict[str, list[torch.Tensor]] = {"parallel": [], "perpendicular": []}
    for number, stream in enumerate(streams[:-1]):
        after, squares = partial(networks.step, number), stream.square().sum(-1, keepdim=True)
        made["perpendicular"].append(perceptrons.turned(after, stream, _SMALL * squares.sqrt(), generator))
        made["parallel"].append(perceptrons.scaled(after, stream, squares.sum((-2, -1)), _SMALL))
    kernels = [stream.square().mean(-1) for stream in streams]
    made |= {"kernel": [k.mean(-1) for k in kernels], "largest": [k.amax(-1) for k in kernels]}
    return {name: torch.stack(values, -1).double().numpy() for name, values in made.items()}


@dataclass(frozen=True)
class Numbers:
    settings: DriftSettings
    at: np.ndarray
    runs: dict[tuple[str, float], dict[str, np.ndarray]]  # by row and rate
    trains: dict[str, float | None]  # largest rate at which none fails and the median does
    diverges: dict[str, float | None]  # smallest rate at which one has no finite loss

    def best(self, row: str) -> dict[str, np.ndarray] | None:
        rate = self.trains[row]
        return None if rate is None else self.runs[row, rate]


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
        trains[row], diverges[row] = max(learned, default=None), min(failing, default=None)
    return Numbers(s, looks(s.steps, s.every), runs, trains, diverges)


def left(n: Numbers, run: dict[str, np.ndarray]) -> list[tuple[int, int] | None]:
    """Return, of each network, the step and the layer at which MRePU2's kernel first leaves its basin."""
    layers = run["largest"].shape[-1]
    with np.errstate(invalid="ignore"):
        outside = ~(A1 * run["largest"] * (layers - 1 - np.arange(layers)) < 1) & ~np.isnan(run["largest"])
    places = map(np.argwhere, outside)  # by look, then by layer
    return [(int(n.at[where[0, 0]]), int(where[0, 1]) + 1) if len(where) else None for where in places]


def claims(n: Numbers) -> list[Check]:
    nothing = Estimate.not_determined("no rate of the list trains the networks")
    made = []
    for row in ("residual", "mrepu2", "gelu"):  # LayerNorm keeps its kernel at 1
        sentence, found = f"{ROWS[row][0]}: training changes a kernel by more than a factor of 2.", nothing
        if run := n.best(row):
            change = np.abs(np.log(run["kernel"][:, -1] / run["kernel"][:, 0])).max(-1)
            found = over_seeds(change) - math.log(2)
        note = "ln of the largest change of any layer, less ln 2."
        made.append(Claim(f"kernel-{row}", sentence).positive(found, note=note))
    for row, expected in (("gelu", 1.0), ("layer-norm", 4 / 3)):
        sentence = f"{ROWS[row][0]}: chi_perp stays near {expected:.3g} during training."
        found, note = nothing, "The number is that of random weights; 0.1 is allowed for the width."
        if run := n.best(row):
            chi = run["perpendicular"].mean(-1)
            found, (first, last) = over_seeds(chi[:, -1]), chi[:, [0, -1]].mean(0)
            note += f" The mean over layers goes from {first:.2f} to {last:.2f} at rate {n.trains[row]:g}."
        made.append(Claim(f"chi-{row}", sentence).equals(expected, found, allowance=0.1, note=note))
    leaves = Claim("leaves", "MRePU2's kernel leaves its basin before the loss diverges.")
    stays = Claim("stays", "At the largest rate that trains, MRePU2's kernel stays in its basin.")
    for claim, rate in ((leaves, n.diverges["mrepu2"]), (stays, n.trains["mrepu2"])):
        does, note = np.array([], bool), "No rate of the list does so."
        if rate is not None:
            run = n.runs["mrepu2", rate]
            away = np.array([math.inf if where is None else where[0] for where in left(n, run)])
            lost = run["failed"] >= 0
            does = away == math.inf if claim is stays else (away <= run["failed"])[lost]  # a look comes first
            steps = ", ".join("never" if step == math.inf else f"{step:g}" for step in away)
            note = (
                f"At rate {rate:g} {lost.sum()} of {len(lost)} diverge; steps at which they leave: {steps}."
            )
        rule = f"Layer l of L is in its basin while K < 1/({A1:g} (L - l)), for the input that has most."
        made.append(claim.of_all(share(does), note=f"{rule} {note}"))
    return made


def tables(n: Numbers) -> list[Table]:
    rows = []
    for (row, rate), run in n.runs.items():
        failed = ", ".join(f"{step:.0f}" for step in run["failed"] if step >= 0)
        loss = np.median(np.nan_to_num(run["loss"][:, -1], nan=math.inf))
        chi = [f"{run['perpendicular'][:, look].mean():.3f}" for look in (0, -1)]
        places = [f"{at[0]} ({at[1]})" if at else "never" for at in left(n, run) if row == "mrepu2"]
        rows.append([ROWS[row][0], f"{rate:g}", failed, f"{loss:.2g}", *chi, ", ".join(places)])
    columns = ["network", "rate", "steps of failure", "loss at the end, median", "chi_perp at the start"]
    columns += ["at the end", "leaves the basin: step (layer)"]
    return [Table("What training does", columns, rows)]


def notes(n: Numbers) -> list[str]:
    s = n.settings
    return [
        f"Chosen here: {s.depth} layers of {s.width} neurons on x y z, Adam, {s.seeds} networks, {s.steps} "
        f"steps of {s.batch} points; {s.probes} points are looked at. A rate trains where none fails and the "
        f"median of the losses ends below {TRAINED:g} variances of the target.",
        "chi_perp is that of a random direction. The few directions that are learned can grow otherwise.",
        "The basin is that of random weights and infinite width. Some networks outside it go on to learn.",
    ]


def _draw_map(row: str, axes: Axes, n: Numbers) -> None:
    axes.set(title=ROWS[row][0], xlabel="step", ylabel="layer")
    axes.grid(visible=False)
    if run := n.best(row):
        values = np.log(run["kernel"][0].T)
        mesh = axes.pcolormesh(n.at, np.arange(len(values)) + 1, values, shading="nearest", rasterized=True)
        axes.figure.colorbar(mesh, ax=axes, label=f"ln K, rate {n.trains[row]:g}")


def draw_chi(axes: Axes, n: Numbers) -> None:
    for row, colour in zip(ROWS, colours(len(ROWS)), strict=True):
        if run := n.best(row):
            label = f"{ROWS[row][0]}, rate {n.trains[row]:g}"
            axes.plot(n.at, run["perpendicular"].mean((0, 2)), color=colour, label=label)
    axes.axhline(1, color=plotting.THEORY, lw=0.8)
    axes.set(title=r"$\chi_\perp$, mean over layers", xlabel="step")
    legend(axes, fontsize=7)


def draw_loss(axes: Axes, n: Numbers) -> None:
    for row, colour in zip(ROWS, colours(len(ROWS)), strict=True):
        if run := n.best(row):
            axes.plot(n.at, np.median(run["loss"], 0), color=colour)
    axes.set(yscale="log", title="Loss of the batch, median", xlabel="step", ylabel="variances of the target")


def figures(n: Numbers) -> list[Panels]:
    maps = "ln of the kernel by layer and step, of one network at the largest rate that trains."
    lines = "The same runs. Left: mean over layers and networks. Right: median over networks."
    panels = [partial(_draw_map, row) for row in ("residual", "mrepu2", "gelu")]  # LayerNorm keeps K at 1
    return [Panels("kernels", maps, panels), Panels("susceptibilities", lines, [draw_chi, draw_loss])]


DRIFT = Part(
    name="drift",
    title="Kernels and susceptibilities during training",
    presets={"quick": DriftSettings(), "paper": PAPER},
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
