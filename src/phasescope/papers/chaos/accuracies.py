"""What the networks have learnt at each rate (figures 13 and 14)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope import plotting
from phasescope.papers.chaos import shared
from phasescope.papers.chaos.shared import PAPER as SOURCE
from phasescope.papers.chaos.shared import STUDY, over_starts
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

# By rate: accuracy in training and in the test, and loss, after 5000 steps; read off figures 13 and 14.
READ = {0.01: (0.98, 0.90), 1.0: (1.0, 0.93), 5.0: (0.33, 0.33)}
LOSS = 0.275  # at rate 0.01
CHUNK = 10  # initialisations of one task
STRIDE = 50  # steps between two stored ones
_TRAIN, _TEST, _LOSS = 0.03, 0.1, 0.1  # allowances


class AccuraciesSettings(Settings):
    """How many networks are trained."""

    starts: int = 20
    steps: int = 5000  # as in the paper


QUICK = AccuraciesSettings()
PAPER = AccuraciesSettings(starts=200)

VARIABLES = {
    "train": Variable(("start", "step"), "accuracy on the training part"),
    "test": Variable(("start", "step"), "accuracy on the test part"),
    "loss": Variable(("start", "step"), "loss", "nat"),
}


def tasks(config: Any) -> list[Task]:
    """Return one task for each rate and some initialisations."""
    settings: AccuraciesSettings = config.accuracies
    made = []
    for rate in READ:
        for numbers in shared.chunks(settings.starts, CHUNK):
            known = {"rate": rate, "first_start": numbers.start, "starts": CHUNK, "steps": settings.steps}
            known |= {"split": config.split, "seed": config.seed}
            seconds = CHUNK * settings.steps * shared.STEP
            made.append(Task(STUDY, "accuracies", known, seconds=seconds))
    return made


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return accuracies and losses along the training of some networks."""
    known = task.parameters
    data, step = shared.iris(known["split"]), shared.iris_map(known["split"], known["rate"], device)
    numbers = range(known["first_start"], known["first_start"] + known["starts"])
    w = shared.starts(known["seed"], numbers, device)
    parts = [each.to(w.device) for each in (data.x, data.y, data.x_test, data.y_test)]
    rows = []
    for t in range(known["steps"] + 1):
        after, loss = step.advance(w, t)
        if t % STRIDE == 0:
            pairs = (parts[:2], parts[2:])
            rows.append([*(shared.accuracy(w, x, y).cpu().numpy() for x, y in pairs), loss.cpu().numpy()])
        w = after
    train, test, losses = np.moveaxis(np.array(rows), 0, -1)
    return {"train": train, "test": test, "loss": losses}


@dataclass(frozen=True)
class Numbers:
    """Curves by rate, each of shape (starts, steps)."""

    curves: dict[float, dict[str, np.ndarray]]

    def final(self, rate: float, name: str) -> np.ndarray:
        """Return the mean over the last tenth of a curve, by initialisation."""
        curve = self.curves[rate][name]
        return np.asarray(curve[:, -max(1, curve.shape[1] // 10) :].mean(axis=1))


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    curves = {}
    for rate in READ:
        some = chosen(data, rate=rate)
        curves[rate] = {name: np.concatenate(some[name].values) for name in VARIABLES}
    return Numbers(curves)


def claims(n: Numbers) -> list[Check]:
    """Return what figures 13 and 14 show."""
    made = []
    source = f"{SOURCE}, figures 13 and 14"
    for rate, (train, test) in READ.items():
        name = f"{rate:g}".replace(".", "-")
        made += [
            Claim(
                f"train-{name}", f"At rate {rate:g} the training accuracy is about {train:g}.", source
            ).equals(
                train,
                over_starts(n.final(rate, "train")),
                allowance=_TRAIN,
                resolution=0.05,
                note="Mean of the last 500 steps. Allowance 0.03: read off the figure, another split.",
            ),
            Claim(f"test-{name}", f"At rate {rate:g} the test accuracy is about {test:g}.", source).equals(
                test,
                over_starts(n.final(rate, "test")),
                allowance=_TEST,
                resolution=0.05,
                note="Mean of the last 500 steps. Allowance 0.1: other 30 flowers, two deviations.",
            ),
        ]
    made.append(
        Claim("loss", "At rate 0.01 the loss ends between 0.25 and 0.3.", source).equals(
            LOSS,
            over_starts(n.final(0.01, "loss")),
            allowance=_LOSS,
            resolution=0.05,
            note="Allowance 0.1: initialisations differ by more than the range of the figure.",
        )
    )
    made.append(
        Claim(
            "faster",
            "Rate 1, whose trajectories are sensitive, ends at a lower loss than rate 0.01.",
            f"{SOURCE}, figures 13 and 14",
        ).positive(
            over_starts(n.final(0.01, "loss") - n.final(1.0, "loss"), "pairs of one initialisation"),
            note="Measured: loss at 0.01 less that at 1.",
        )
    )
    return made


def tables(n: Numbers) -> list[Table]:
    rows = []
    for rate in READ:
        spread = n.final(rate, "train")
        cells = [str(over_starts(n.final(rate, name))) for name in VARIABLES]
        rows.append([f"{rate:g}", *cells, f"{spread.min():.2f} to {spread.max():.2f}"])
    columns = ("rate", "training accuracy", "test accuracy", "loss", "range of training accuracies")
    return [Table("After 5000 steps, mean of the last 500", columns, rows)]


def notes(n: Numbers) -> list[str]:
    count = len(n.final(1.0, "train"))
    return [f"{count} initialisations; the paper shows single runs. Test accuracies have steps of 1/30."]


def draw_train(axes: Axes, n: Numbers) -> None:
    _draw(axes, n, "train")
    axes.set(title="Training part", ylabel="accuracy", ylim=(0, 1.02))


def draw_test(axes: Axes, n: Numbers) -> None:
    _draw(axes, n, "test")
    axes.set(title="Test part", ylabel="accuracy", ylim=(0, 1.02))


def draw_loss(axes: Axes, n: Numbers) -> None:
    _draw(axes, n, "loss")
    axes.set(title="Loss", ylabel="loss", yscale="log")


def _draw(axes: Axes, n: Numbers, name: str) -> None:
    for (rate, curves), colour in zip(n.curves.items(), colours(len(n.curves)), strict=True):
        curve = curves[name]
        steps = STRIDE * np.arange(curve.shape[1])
        axes.plot(steps, np.median(curve, axis=0), lw=1.4, color=colour, label=f"rate {rate:g}")
        low, high = np.quantile(curve, [0.1, 0.9], axis=0)
        axes.fill_between(steps, low, high, color=colour, alpha=0.2, lw=0)
        if name != "loss":
            read = READ[rate][0 if name == "train" else 1]
            axes.plot(steps[-1], read, "x", color=plotting.THEORY, zorder=3)
    axes.set_xlabel("step")
    if name != "loss":
        legend(axes)


def figures(n: Numbers) -> list[Panels]:
    return [
        Panels(
            "accuracies",
            "Median over initialisations, and the band of eight in ten. Crosses: the paper's numbers. At "
            "rate 5 nothing is learnt.",
            [draw_train, draw_test, draw_loss],
        )
    ]


ACCURACIES = Part(
    name="accuracies",
    title="What is learnt",
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
