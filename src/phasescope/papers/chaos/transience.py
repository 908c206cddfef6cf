"""Learning rate 1, later: whether the exponential growth of differences is a transient or lasts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers.chaos import shared
from phasescope.papers.chaos.shared import STUDY, over_starts
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import legend
from phasescope.studies.part import Panels, Part, Settings, Table, Variable
from phasescope.sweep.task import Task
from phasescope.training import tangent_exponents

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

RATE = 1.0
CHUNK = 20  # initialisations of one task
BLOCK = 100  # steps whose mean growth is kept
EARLY = 200  # steps of the paper's measurement
CHAOTIC = 0.05  # 1/step: the paper keeps no smaller exponent
LEARNT = 0.3  # loss below which a network has learnt; at chance it is 1.1


class TransienceSettings(Settings):
    """How many initialisations are followed, and for how long."""

    starts: int = 100
    steps: int = 2000


QUICK = TransienceSettings()
PAPER = TransienceSettings(starts=300, steps=10_000)

VARIABLES = {
    "growth": Variable(("start", "block"), "growth of infinitely small differences in each block", "1/step"),
    "late": Variable(("start",), "growth over the second half of the run", "1/step"),
    "late_error": Variable(("start",), "its standard error over blocks of steps", "1/step"),
    "loss": Variable(("start", "block"), "mean loss in each block", "nat"),
    "rises": Variable(("start",), "share of the steps of the second half in which the loss rises"),
}


def tasks(config: Any) -> list[Task]:
    """Return the tangents of some initialisations each."""
    settings: TransienceSettings = config.transience
    made = []
    for numbers in shared.chunks(settings.starts, CHUNK):
        known = {"first_start": numbers.start, "starts": len(numbers), "steps": settings.steps}
        known |= {"split": config.split, "seed": config.seed}
        seconds = len(numbers) * settings.steps * shared.TANGENT
        made.append(Task(STUDY, "transience", known, seconds=seconds))
    return made


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return the growth of some initialisations in blocks of steps."""
    known = task.parameters
    numbers = range(known["first_start"], known["first_start"] + known["starts"])
    found = tangent_exponents(
        shared.iris_map(known["split"], RATE, device),
        steps=known["steps"],
        x=shared.starts(known["seed"], numbers, device),
        weights_only=True,
        seed=task.seed,
    )
    half = known["steps"] // 2
    late = [each[0] for each in found.over(half)]
    return {
        "growth": found.local[..., 0].reshape(len(numbers), -1, BLOCK).mean(axis=-1),
        "late": np.array([each.value for each in late]),
        "late_error": np.array([each.error for each in late]),
        "loss": found.loss.reshape(len(numbers), -1, BLOCK).mean(axis=-1),
        "rises": (np.diff(found.loss[:, half:], axis=1) > 0).mean(axis=1),
    }


@dataclass(frozen=True)
class Numbers:
    """All initialisations, one a row."""

    growth: np.ndarray  # (starts, blocks)
    late: np.ndarray
    late_error: np.ndarray
    loss: np.ndarray  # (starts, blocks)
    rises: np.ndarray

    @property
    def early(self) -> np.ndarray:
        """The growth over the steps of the paper's measurement."""
        return np.asarray(self.growth[:, : EARLY // BLOCK].mean(axis=1))

    @property
    def positive(self) -> np.ndarray:
        """Whether the late exponent is above the paper's smallest by 2 errors."""
        return np.asarray(self.late - 2 * self.late_error > CHAOTIC)

    @property
    def shares(self) -> np.ndarray:
        """The share of initialisations whose growth exceeds the paper's smallest exponent, block by block."""
        return np.asarray((self.growth > CHAOTIC).mean(axis=0))


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    return Numbers(*(np.concatenate(data[name].values) for name in VARIABLES))


def claims(n: Numbers) -> list[Check]:
    """Return what becomes of the growth."""
    blocks = n.growth.shape[1]
    calm, loss = ~n.positive, n.loss[:, -1]
    share = shared.share(n.positive)
    return [
        Claim(
            "early", "Over the first 200 steps differences grow by 0.2 a step, less than in the best window."
        ).below(
            0.28, over_starts(n.early), note="Agrees 3 errors below 0.28, the paper's number at size 1e-8."
        ),
        Claim("transient", "In most networks the growth is a transient: few keep a positive exponent.").below(
            0.5,
            share,
            note=f"Measured: share of {len(n.late)} initialisations whose exponent over the second half of "
            f"{blocks * BLOCK} steps exceeds {CHAOTIC} by 2 errors. Agrees 3 errors below one half.",
        ),
        Claim("sustained", "Some networks stay chaotic at rate 1.").positive(
            share, note=f"Of {len(n.late)} initialisations, {int(n.positive.sum())} do."
        ),
        _lasting_claim(n),
        Claim("calm", "The others end on a cycle of two steps: the loss rises in every other step.").equals(
            0.5,
            over_starts(n.rises[calm], "share of steps, over calm initialisations"),
            allowance=0.1,
            resolution=0.1,
            note="Allowance 0.1: some come to rest.",
        ),
        Claim("chaotic-learn", "Networks that stay chaotic have learnt: their loss is below 0.3.").positive(
            _sure(loss[n.positive] < LEARNT) - 0.5,
            note="Measured: share of them with a mean loss below 0.3 in the last 100 steps, less one half.",
        ),
    ]


def _lasting_claim(n: Numbers) -> Check:
    quarter = n.growth.shape[1] // 4
    chaotic = n.growth > CHAOTIC
    last, before = chaotic[:, -quarter:].mean(axis=1), chaotic[:, -2 * quarter : -quarter].mean(axis=1)
    change = over_starts(last - before, "pairs of one initialisation")
    return Claim("lasting", "The share of networks with growth does not fall any more at the end.").found(
        None,
        change,
        "not determined"
        if not change.determined
        else "disagrees"
        if change.value < -3 * change.error
        else "agrees",
        f"Measured: share of blocks with growth above {CHAOTIC} a step in the last quarter of the run, "
        "less that in the quarter before. Disagrees 3 errors below zero.",
    )


def _sure(which: np.ndarray) -> Estimate:
    if len(which) < 5:
        return Estimate.not_determined(f"only {len(which)} networks stay chaotic")
    return shared.share(which)


def tables(n: Numbers) -> list[Table]:
    marks = np.unique(np.geomspace(1, n.growth.shape[1], 8).round().astype(int)) - 1
    rows = [
        [
            f"{BLOCK * b} to {BLOCK * (b + 1)}",
            f"{n.shares[b]:.2f}",
            f"{n.growth[:, b].mean():.3f}",
            f"{np.median(n.loss[:, b]):.3f}",
        ]
        for b in marks
    ]
    columns = ("steps", "share above 0.05", "mean growth a step", "median loss")
    return [Table(f"Growth of differences over {len(n.late)} initialisations", columns, rows)]


def notes(n: Numbers) -> list[str]:
    return [
        "The paper measures the first 200 steps. Here the derivative of the map carries a difference on, "
        "so that it never saturates. The errors of late exponents come from blocks of steps and allow for "
        "their correlation.",
        f"Over {len(n.late)} initialisations the late exponents are above {CHAOTIC} in "
        f"{int(n.positive.sum())}; the largest is {np.max(n.late):.3f} a step.",
    ]


def draw_growth(axes: Axes, n: Numbers) -> None:
    steps = BLOCK * (np.arange(n.growth.shape[1]) + 0.5)
    for each, positive in zip(n.growth, n.positive, strict=True):
        colour = plotting.THEORY if positive else plotting.MEASURED
        axes.plot(steps, each, lw=0.5, color=colour, alpha=0.8, zorder=2 if positive else 1)
    axes.set(xlabel="step", ylabel="growth, 1/step", title="Each initialisation", ylim=(-0.3, 0.7))


def draw_share(axes: Axes, n: Numbers) -> None:
    steps = BLOCK * (np.arange(n.growth.shape[1]) + 0.5)
    error = np.sqrt(np.maximum(n.shares * (1 - n.shares), 1 / len(n.late)) / len(n.late))
    axes.errorbar(steps, n.shares, error, fmt="o-", ms=3, lw=0.8, color=plotting.MEASURED)
    axes.axvspan(0, EARLY, color=plotting.INK, alpha=0.12, lw=0, label="steps of the paper")
    axes.set(xlabel="step", ylabel="share above 0.05 a step", title="Share with growth", ylim=(0, 1))
    legend(axes)


def draw_loss(axes: Axes, n: Numbers) -> None:
    for which, colour, label in (
        (~n.positive, plotting.MEASURED, "others"),
        (n.positive, plotting.THEORY, "chaotic to the end"),
    ):
        axes.plot(n.late[which], n.loss[which, -1], "o", ms=3.5, color=colour, label=label)
    axes.set(xlabel="late exponent, 1/step", ylabel="loss in the last 100 steps", yscale="log", title="Late")
    legend(axes)


def figures(n: Numbers) -> list[Panels]:
    return [
        Panels(
            "transience",
            "Growth of infinitely small differences at rate 1 in blocks of 100 steps. Orange: the "
            "exponent over the second half of the run is positive. Middle: share of initialisations with "
            "growth above 0.05 a step. Right: late exponent and loss.",
            [draw_growth, draw_share, draw_loss],
        )
    ]


TRANSIENCE = Part(
    name="transience",
    title="Transient or sustained",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    citations=("danovski2024", "sharafi2024"),
)
