"""Learning rate 0.01: differences neither explode nor vanish (figures 3 to 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.stats import linregress
from torch import Tensor

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers.chaos import shared
from phasescope.papers.chaos.shared import PAPER as SOURCE
from phasescope.papers.chaos.shared import STUDY, over_starts
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen
from phasescope.sweep.task import Task
from phasescope.training import TrainingMap, perturbation_growth, trajectory

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

RATE = 0.01
COPIES = 20
STRIDE = 10  # steps between two stored ones
WEIGHTS = 4 * shared.UNITS + shared.UNITS * shared.CLASSES  # those that are perturbed
LARGE = 1e-2  # size at which losses of copies can be told apart
# Of weights that count among the few: a loss that rises by a tenth of the largest rise when it is zeroed.
_FEW = 0.1
_TURN = 0.01  # relative fall or rise of the distance that counts


class LowRateSettings(Settings):
    """Sizes of the ensembles at rate 0.01."""

    starts: int = 10  # initialisations; the paper shows 3
    sizes: tuple[float, ...] = (1e-14, 1e-10, 1e-6, 1e-2)  # of the perturbations of one of them
    steps: int = 3000  # the paper has 5000


QUICK = LowRateSettings()
PAPER = LowRateSettings(starts=40, steps=5000)

VARIABLES = {
    "distance": Variable(("step",), "mean L1 distance of the copies"),
    "loss_gap": Variable(("step",), "mean difference of the copies' losses", "nat", optional=True),
    "loss": Variable(("step",), "loss of the unperturbed network", "nat", optional=True),
    "zeroed": Variable(("weight",), "rise of the final loss when a weight is zeroed", "nat", optional=True),
    "path": Variable(("weight",), "sum of a weight's steps", optional=True),
    "displacement": Variable(("weight",), "distance of a weight from its start", optional=True),
}


def tasks(config: Any) -> list[Task]:
    """Return one task for each initialisation, at the paper's size and followed itself, and for each size."""
    settings: LowRateSettings = config.low_rate
    common = {"steps": settings.steps, "split": config.split, "seed": config.seed}
    seconds = (COPIES + 1) * settings.steps * shared.STEP
    made = []
    for start in range(settings.starts):
        known = {"kind": "start", "start": start, "size": shared.SIZE, "kick": start, **common}
        made.append(Task(STUDY, "low-rate", known, seconds=2 * seconds))
    for size in settings.sizes:
        known = {"kind": "size", "start": 0, "size": size, "kick": 0, **common}
        made.append(Task(STUDY, "low-rate", known, seconds=seconds))
    return made


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return the distance of copies of one initialisation, and what becomes of its own weights."""
    known = task.parameters
    step = shared.iris_map(known["split"], RATE, device)
    (x,) = shared.starts(known["seed"], range(known["start"], known["start"] + 1), device)
    # The same directions at every size of one initialisation.
    kicks = 1000 * known["seed"] + known["kick"]
    grown = perturbation_growth(
        step, steps=known["steps"], copies=COPIES, size=known["size"], x=x, seed=kicks
    )
    distance = {"distance": grown.l1[::STRIDE]}
    if known["kind"] == "size":
        return distance
    return distance | {"loss": grown.loss[::STRIDE], **_followed(step, x, known["steps"], task.seed)}


def _followed(step: TrainingMap, x: Tensor, steps: int, seed: int) -> dict[str, np.ndarray]:
    """Return paths and displacements of the weights, and how far apart the losses of perturbed copies are."""
    kicks = np.random.default_rng(seed).uniform(-LARGE, LARGE, (COPIES, len(x)))
    states = torch.cat([x[None], x + torch.from_numpy(kicks).to(x) * step.is_weight])
    gaps = []
    for t in range(steps + 1):
        after, loss = step.advance(states, t)
        if t % STRIDE == 0:
            gaps.append(float((loss[1:] - loss[0]).abs().mean()))
        if t < steps:
            states = after
    final, weights = states[0], step.is_weight
    without = final.repeat(len(final), 1).fill_diagonal_(0.0)
    moved = trajectory(step, steps=steps, x=x, times=[0, steps])
    return {
        "loss_gap": np.array(gaps),
        "zeroed": (step.loss(without) - step.loss(final))[weights].cpu().numpy(),
        "path": moved.path[weights.cpu().numpy()],
        "displacement": moved.displacement[weights.cpu().numpy()],
    }


@dataclass(frozen=True)
class Numbers:
    """Distances by initialisation and by size, relative to the first; weights, one row an initialisation."""

    steps: np.ndarray
    first: np.ndarray  # L1 distances at the start, by initialisation
    growth: np.ndarray  # (starts, steps)
    by_size: dict[float, np.ndarray]
    loss: np.ndarray  # (starts, steps)
    loss_gap: np.ndarray
    zeroed: np.ndarray  # (starts, weights)
    path: np.ndarray
    displacement: np.ndarray

    @property
    def slopes(self) -> np.ndarray:
        """Slopes of ln displacement against ln path over the weights, by initialisation."""
        pairs = zip(self.path, self.displacement, strict=True)
        return np.array([linregress(np.log(path), np.log(moved)).slope for path, moved in pairs])

    @property
    def few(self) -> np.ndarray:
        """The share of weights that raise the loss, when zeroed, by a tenth of the largest rise."""
        return np.asarray((self.zeroed > _FEW * self.zeroed.max(axis=1, keepdims=True)).mean(axis=1))

    @property
    def turning(self) -> np.ndarray:
        """Whether a distance both falls and rises by 1 %, by initialisation."""
        logs = np.log(self.growth)
        risen = logs - np.minimum.accumulate(logs, axis=1)
        fallen = np.maximum.accumulate(logs, axis=1) - logs
        return np.asarray((risen.max(axis=1) > _TURN) & (fallen.max(axis=1) > _TURN))


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    starts = chosen(data, kind="start")
    distance = starts["distance"].values
    sizes = chosen(data, kind="size")
    by_size = dict(zip(sizes["size"].values.tolist(), sizes["distance"].values, strict=True))
    return Numbers(
        STRIDE * np.arange(distance.shape[1]),
        distance[:, 0],
        distance / distance[:, :1],
        {size: each / each[0] for size, each in by_size.items()},
        *(starts[name].values for name in ("loss", "loss_gap", "zeroed", "path", "displacement")),
    )


def claims(n: Numbers) -> list[Check]:
    """Return what figures 3 to 5 show."""
    end = n.growth[:, -1]
    half = len(n.steps) // 2
    late = np.log(end / n.growth[:, half]) / (n.steps[-1] - n.steps[half])
    relative = over_starts(np.log(n.loss_gap[:, -1] / n.loss_gap[:, 0] / n.loss[:, -1] * n.loss[:, 0]))
    apart = [np.abs(each / n.growth[0] - 1).max() for size, each in n.by_size.items() if size > 1e-12]
    return [
        Claim(
            "start", "The distance starts at 3.5e-7: 70 weights, each moved by half of 1e-8 on average."
        ).equals(
            WEIGHTS * shared.SIZE / 2,
            over_starts(n.first),
            resolution=1e-8,
        ),
        Claim("bounded", "The distance ends between 1 and 3 times its start.", f"{SOURCE}, figure 3").equals(
            2.0,
            over_starts(end),
            allowance=1.0,
            resolution=0.5,
            note=f"Allowance 1: the range that the figure shows. Here {end.min():.2f} to {end.max():.2f}.",
        ),
        Claim(
            "no-exponent", "Differences do not grow exponentially at a low rate.", f"{SOURCE}, figure 3"
        ).below(
            1e-3,
            over_starts(late, "growth a step over the second half, over initialisations"),
            note="Agrees 3 errors below 0.001 a step; at rate 1 it is 0.2.",
        ),
        Claim("non-monotone", "The distance does not change monotonically.", f"{SOURCE}, figure 3").found(
            None,
            shared.share(n.turning),
            "agrees" if n.turning.mean() >= 0.5 else "disagrees",
            "Measured: share of initialisations whose mean distance both rises and falls by 1 %. Agrees "
            "at one half or more.",
        ),
        Claim(
            "every-size",
            "The curve is the same for perturbations of every size: the map is linear over their range.",
            f"{SOURCE}, figure 4",
        ).equals(
            0.0,
            Estimate(float(np.max(apart)), 0.0, "largest relative deviation from 1e-8", len(apart)),
            allowance=0.02,
            note="Sizes from 1e-10 to 1e-2, the same directions. Allowance 0.02: the second order at 1e-2.",
        ),
        Claim(
            "every-size-smallest",
            "It is the same at 1e-14, where rounding begins.",
            f"{SOURCE}, figure 4",
        ).equals(
            0.0,
            _smallest(n),
            allowance=0.1,
            note="Measured: relative deviation at the last step. Allowance 0.1 for rounding.",
        ),
        Claim(
            "loss-coincides",
            "The losses of perturbed networks come together while their weights separate.",
            f"{SOURCE}, figure 3",
        ).below(
            0.0,
            over_starts(np.log(n.loss_gap[:, -1] / n.loss_gap[:, 0]) - np.log(end)),
            note="Measured: ln of the change of the difference of losses at size 1e-2, less ln of the "
            "change of the distance at 1e-8. Agrees 3 errors below 0. Relative to the loss itself the "
            f"difference changes by ln {relative}.",
        ),
        Claim("few-weights", "Few weights of the trained network matter.", f"{SOURCE}, figure 5").below(
            0.5,
            over_starts(n.few, "share of weights, over initialisations"),
            note="Measured: share of the 70 weights whose zeroing raises the loss by a tenth of the "
            "largest rise. Agrees 3 errors below one half: the paper gives no number.",
        ),
        Claim(
            "straight",
            "The displacement of a weight is proportional to its path: no random walk, which gives 1/2.",
            f"{SOURCE}, figure 5",
        ).equals(
            1.0,
            over_starts(n.slopes, "slope in logarithms, over initialisations"),
            allowance=0.05,
            resolution=0.05,
            note="Allowance 0.05: weights that turn back are below the line.",
        ),
    ]


def _smallest(n: Numbers) -> Estimate:
    if min(n.by_size) > 1e-12:
        return Estimate.not_determined("no size below 1e-12 was measured")
    deviation = n.by_size[min(n.by_size)][-1] / n.growth[0, -1] - 1
    return Estimate(float(deviation), 0.0, "relative deviation from 1e-8", 1)


def tables(n: Numbers) -> list[Table]:
    marks = [t for t in (100, 500, 1000, 3000, 5000) if t <= n.steps[-1]]
    named = {f"initialisation {i}, 1e-8": each for i, each in enumerate(n.growth[:6])}
    named |= {f"initialisation 0, {size:.0e}": each for size, each in n.by_size.items()}
    rows = [[name, *(f"{each[t // STRIDE]:.4f}" for t in marks)] for name, each in named.items()]
    return [Table("Mean distance relative to its start, at steps", ("run", *map(str, marks)), rows)]


def notes(n: Numbers) -> list[str]:
    ratio = np.median(n.displacement / n.path)
    return [
        f"Half of the weights keep more than {ratio:.3f} of their path as displacement.",
        "Losses of copies that start 1e-8 apart coincide to 8 digits whatever happens. So losses are "
        "compared at 1e-2, where the distance changes by the same factors.",
    ]


def draw_starts(axes: Axes, n: Numbers) -> None:
    for each in n.growth[:6]:
        axes.plot(n.steps, each, lw=1, color=plotting.MEASURED)
    axes.set(xlabel="step", ylabel="L1 distance over its start", title="Initialisations, size 1e-8")


def draw_sizes(axes: Axes, n: Numbers) -> None:
    axes.plot(n.steps, n.growth[0], color=plotting.INK, lw=3, alpha=0.3, label="1e-8")
    for (size, each), colour in zip(n.by_size.items(), colours(len(n.by_size)), strict=True):
        axes.plot(n.steps, each, lw=1, color=colour, label=f"{size:.0e}")
    axes.set(xlabel="step", ylabel="L1 distance over its start", title="Sizes, one initialisation")
    legend(axes)


def draw_gap(axes: Axes, n: Numbers) -> None:
    for each in n.loss_gap[:6]:
        axes.plot(n.steps, each, lw=1, color=plotting.MEASURED)
    axes.set(xlabel="step", ylabel="difference of losses", yscale="log", title="Losses at size 1e-2")


def draw_zeroed(axes: Axes, n: Numbers) -> None:
    for each in n.zeroed[:6]:
        axes.plot(np.arange(1, len(each) + 1), np.sort(each)[::-1], lw=1, color=plotting.MEASURED)
    axes.set(xlabel="weight, by rank", ylabel="rise of the loss", title="When one weight is zeroed")


def draw_path(axes: Axes, n: Numbers) -> None:
    axes.plot(n.path[:6], n.displacement[:6], "o", ms=2.5, color=plotting.MEASURED)
    ends = [n.path.min(), n.path.max()]
    axes.plot(ends, ends, color=plotting.THEORY, lw=1, label="straight")
    axes.set(xscale="log", yscale="log", xlabel="path of a weight", ylabel="displacement")
    axes.set_title("Displacement against path")
    legend(axes)


def figures(n: Numbers) -> list[Panels]:
    return [
        Panels(
            "distances",
            "Rate 0.01. Left: mean distance of 20 copies from networks that start 1e-8 apart, over its "
            "start. Middle: one initialisation, perturbations of several sizes in the same directions. "
            "Right: difference of the losses of copies that start 1e-2 apart.",
            [draw_starts, draw_sizes, draw_gap],
        ),
        Panels(
            "weights",
            "Left: what zeroing one weight of a trained network adds to its loss, in order. Right: "
            "displacement of each weight against the length of its path; on the line a weight never "
            "turned back.",
            [draw_zeroed, draw_path],
        ),
    ]


LOW_RATE = Part(
    name="low-rate",
    title="Low learning rate",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    citations=("danovski2024",),
)
