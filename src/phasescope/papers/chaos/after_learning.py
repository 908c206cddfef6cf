"""Perturbed after learning: the distance decays slowly, as the flat directions of the loss tell (figure 6).

At rest a difference v becomes ``(1 - eta H)^t v``. Directions of curvature h keep ``(1 - eta h)^t``:
flat ones stay, and none changes sign unless ``eta h > 1``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers.chaos import shared
from phasescope.papers.chaos.shared import PAPER as SOURCE
from phasescope.papers.chaos.shared import STUDY, over_starts
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend
from phasescope.studies.part import Panels, Part, Settings, Table, Variable
from phasescope.sweep.task import Task
from phasescope.training import perturbation_growth

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

RATE = 0.01
COPIES = 20
LEARNT = 4000  # steps before the perturbation
STEPS = 1000  # steps after it
CHUNK = 4  # initialisations of one task
AT = (10, 100, 1000)  # steps at which the prediction is compared
KICKS = 400  # directions of the prediction
_KEPT = 0.99  # share of itself that a flat direction keeps over all steps


class AfterLearningSettings(Settings):
    """How many trained networks are perturbed."""

    starts: int = 8


QUICK = AfterLearningSettings()
PAPER = AfterLearningSettings(starts=60)

VARIABLES = {
    "distance": Variable(("start", "step"), "mean L1 distance of the copies"),
    "predicted": Variable(("start", "step"), "the same, from the eigenvalues at the perturbation"),
    "copies": Variable(("start", "copy"), "last distance of each copy"),
    "curvatures": Variable(("start", "direction"), "eigenvalues of the Hessian at the perturbation"),
}


def tasks(config: Any) -> list[Task]:
    """Return one task for some initialisations each."""
    made = []
    for numbers in shared.chunks(config.after_learning.starts, CHUNK):
        known = {"first_start": numbers.start, "starts": CHUNK, "steps": STEPS, "learnt": LEARNT}
        known |= {"split": config.split, "seed": config.seed}
        seconds = CHUNK * (LEARNT + (COPIES + 1) * STEPS) * shared.STEP
        made.append(Task(STUDY, "after-learning", known, seconds=seconds))
    return made


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return distances after a perturbation of trained networks, and what their Hessians predict."""
    known = task.parameters
    step = shared.iris_map(known["split"], RATE, device)
    numbers = range(known["first_start"], known["first_start"] + known["starts"])
    x = shared.starts(known["seed"], numbers, device)
    for t in range(known["learnt"]):
        x = step.step(x, t)
    grown = perturbation_growth(
        step, steps=known["steps"], copies=COPIES, x=x, start=known["learnt"], seed=task.seed
    )
    every = torch.eye(step.size, dtype=x.dtype, device=x.device)
    hessians = step.objective.products(x, every.expand(len(x), -1, -1), known["learnt"])[2]
    curvatures, directions = torch.linalg.eigh((hessians + hessians.mT) / 2)
    random = np.random.default_rng(task.seed)
    kicks = torch.from_numpy(random.uniform(-shared.SIZE, shared.SIZE, (KICKS, step.size))).to(x)
    parts = (kicks * step.is_weight) @ directions
    shrinking = 1 - RATE * curvatures[:, None]
    predicted = [
        (parts * shrinking**t @ directions.mT).abs().sum(-1).mean(-1) for t in range(known["steps"] + 1)
    ]
    return {
        "distance": grown.l1,
        "predicted": torch.stack(predicted, dim=-1).cpu().numpy(),
        "copies": grown.copies[:, :, -1] / grown.copies[:, :, 0],
        "curvatures": curvatures.cpu().numpy(),
    }


@dataclass(frozen=True)
class Numbers:
    """All trained networks, one a row."""

    distance: np.ndarray  # relative to the first, as all
    predicted: np.ndarray
    copies: np.ndarray
    curvatures: np.ndarray
    last: np.ndarray  # absolute

    @property
    def turns(self) -> np.ndarray:
        """How often each mean distance turns from falling to rising or back."""
        direction = np.sign(np.diff(self.distance, axis=1))
        return np.asarray((direction[:, 1:] * direction[:, :-1] < 0).sum(axis=1))

    @property
    def flat(self) -> np.ndarray:
        """The share of directions that keep 99 % of themselves over all steps."""
        kept = np.abs(1 - RATE * self.curvatures) ** (self.distance.shape[1] - 1)
        return np.asarray((kept > _KEPT).mean(axis=1))


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    distance, predicted, copies, curvatures = (np.concatenate(data[name].values) for name in VARIABLES)
    return Numbers(
        distance / distance[:, :1], predicted / predicted[:, :1], copies, curvatures, distance[:, -1]
    )


def claims(n: Numbers) -> list[Check]:
    """Return what figure 6 shows, and what the Hessians make of it."""
    end = n.distance.shape[1] - 1
    made = [
        Claim(
            "level", "After 1000 steps the distance is still between 3e-7 and 4e-7.", f"{SOURCE}, figure 6"
        ).equals(
            3.5e-7,
            over_starts(n.last),
            allowance=0.5e-7,
            resolution=0.2e-7,
            note="Allowance: the figure's range.",
        ),
        Claim("drop", "A sharp small drop comes first.", f"{SOURCE}, figure 6").positive(
            over_starts(_falls(n)),
            note="Measured: fall a step over the first 10 steps, less that over the last half, in units "
            "of the start.",
        ),
        Claim(
            "not-strong",
            "The trained network is no attractor: the distance does not vanish.",
            f"{SOURCE}, figure 6",
        ).positive(
            over_starts(n.distance[:, -1]) - 0.5,
            note="Measured: share of the distance that is left, less one half.",
        ),
    ]
    made += [
        Claim(
            f"spectrum-{t}",
            f"The eigenvalues of the Hessian at the perturbation give the distance {t} steps later.",
        ).equals(
            0.0,
            over_starts(
                n.distance[:, t] - n.predicted[:, t], "measured less predicted, over initialisations"
            ),
            allowance=0.01,
            resolution=0.01,
            note=f"Both relative to the start; measured {over_starts(n.distance[:, t])}. Allowance 0.01: "
            "the Hessian changes, and other directions are drawn.",
        )
        for t in AT
        if t <= end
    ]
    return [
        *made,
        Claim("flat", "Most directions are flat: they keep 99 % of a difference over 1000 steps.").positive(
            over_starts(n.flat, "share of the 83 directions, over initialisations") - 0.5,
            note="Measured: share of the directions, less one half.",
        ),
        Claim("bumps", "The decay shows bumps.", f"{SOURCE}, figure 6").positive(
            over_starts(n.turns > 0, "share of initialisations whose mean distance turns") - 0.1,
            note="Measured: share of initialisations whose mean distance turns, less 0.1.",
        ),
        Claim("no-oscillation", "No direction can oscillate at this rate: eta h stays below 1.").below(
            1.0,
            over_starts(RATE * n.curvatures[:, -1], "largest eta h, over initialisations"),
            note="Bumps can only come from negative curvatures and from the sum of absolute values.",
        ),
    ]


def _falls(n: Numbers) -> np.ndarray:
    half = n.distance.shape[1] // 2
    first = (n.distance[:, 0] - n.distance[:, 10]) / 10
    return np.asarray(first - (n.distance[:, half] - n.distance[:, -1]) / (n.distance.shape[1] - 1 - half))


def tables(n: Numbers) -> list[Table]:
    rows = [
        [
            str(i),
            *(f"{n.distance[i, t]:.4f} ({n.predicted[i, t]:.4f})" for t in AT if t < n.distance.shape[1]),
            f"{n.curvatures[i, -1]:.2f}",
            f"{n.curvatures[i, 0]:.3f}",
            f"{n.flat[i]:.2f}",
            f"{(n.copies[i] > 1).mean():.2f}",
        ]
        for i in range(min(8, len(n.distance)))
    ]
    heads = [f"after {t} (predicted)" for t in AT if t < n.distance.shape[1]]
    columns = ("start", *heads, "largest h", "smallest h", "share flat", "copies that grow")
    return [Table("Distance relative to its start, and the Hessian", columns, rows)]


def notes(n: Numbers) -> list[str]:
    rising = Estimate.from_samples((n.copies > 1).mean(axis=1), method="share of copies")
    largest, smallest = RATE * n.curvatures[:, -1].max(), RATE * n.curvatures[:, 0].min()
    return [
        f"Largest eta h: {largest:.3f}; smallest: {smallest:.5f}. Directions of negative curvature make "
        f"{rising} of the copies end farther away than they began.",
        "The prediction holds the Hessian as it is at the perturbation, with 400 directions of its own.",
    ]


def draw_decay(axes: Axes, n: Numbers) -> None:
    for i, colour in zip(range(min(5, len(n.distance))), colours(5), strict=False):
        axes.plot(n.distance[i], lw=1.2, color=colour)
        axes.plot(n.predicted[i], ":", lw=1.2, color=plotting.THEORY, label=None if i else "from the Hessian")
    axes.set(xlabel="steps after the perturbation", ylabel="L1 distance over its start", title="Decay")
    legend(axes)


def draw_spectrum(axes: Axes, n: Numbers) -> None:
    for each in n.curvatures:
        axes.plot(np.arange(1, len(each) + 1), each[::-1], lw=0.8, color=plotting.MEASURED)
    axes.set_yscale("symlog", linthresh=1e-3)
    axes.set(xlabel="direction, by rank", ylabel="curvature h", title="Hessian at the perturbation")


def figures(n: Numbers) -> list[Panels]:
    return [
        Panels(
            "decay",
            "Rate 0.01, perturbed by 1e-8 after 4000 steps. Left: mean distance of 20 copies; dotted, "
            "from the eigenvalues of the Hessian alone. Right: these eigenvalues; most are flat, some are "
            "negative.",
            [draw_decay, draw_spectrum],
        )
    ]


AFTER_LEARNING = Part(
    name="after-learning",
    title="Perturbed after learning",
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
