"""Newer optimisers do not beat older ones on a network of this size: RMSE against CPU time, and steps.

Levenberg-Marquardt (1944, 1963), L-BFGS (1989) and Rprop (1993) beside Adam (2014), each from the same start
and for the same CPU seconds of one thread. Adam runs with three rates, and the best of them counts. How far a
method gets in a time depends on the machine and on what else it does: numbers of this part are not
bit-reproducible. RMSE against the number of steps is, as far as the steps go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from phasescope import plotting
from phasescope.papers.synapses import shared
from phasescope.papers.synapses.shared import ARTICLE, STUDY, over_networks
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend, plain_ticks
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen
from phasescope.sweep.task import Task
from phasescope.synapses import PictureNet, fit

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

RATES = (0.01, 0.03, 0.1)  # of Adam; the others have none to be chosen
METHODS = {"lm": "Levenberg-Marquardt", "lbfgs": "L-BFGS", "rprop": "Rprop", "adam": "Adam"}
OLDER = ("lm", "lbfgs", "rprop")
_TIMES = 24  # on the axis of seconds
_STEPS = np.unique(np.geomspace(1, 1e5, 61).round())
_BATCH = 1024


class TrainersSettings(Settings):
    """Sizes of the runs."""

    seconds: float = 8.0  # of CPU, for each run
    horizon: int = 3000  # steps over which Adam's rate falls: about as many as it makes


QUICK = TrainersSettings(seconds=2.0, horizon=900)
PAPER = TrainersSettings()

VARIABLES = {
    "at_time": Variable(("moment",), "lowest RMSE so far, on an axis of CPU seconds"),
    "moments": Variable(("moment",), "CPU seconds", "s"),
    "at_step": Variable(("step",), "lowest RMSE so far, on an axis of steps; NaN beyond the last"),
    "steps_made": Variable((), "steps in the whole time"),
}


def tasks(config: Any) -> list[Task]:
    """Return one task a picture, a start and a method."""
    settings: TrainersSettings = config.trainers
    return [
        Task(
            STUDY,
            "trainers",
            {
                "method": method,
                "rate": rate,
                "picture": known["picture"],
                "start": known["start"],
                "longest": known["longest"],
                "seed": known["seed"],
                "allowed": settings.seconds,
                "horizon": settings.horizon,
            },
            seconds=settings.seconds + 0.5,
            memory=600_000_000,
        )
        for known in shared.networks(config)
        for method in METHODS
        for rate in (RATES if method == "adam" else RATES[:1])
    ]


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return the course of one fit."""
    known = task.parameters
    exact = known["method"] in ("lm", "lbfgs")
    net = PictureNet(
        seed=known["start"] + 1000 * known["seed"], dtype=torch.float64 if exact else torch.float32
    )
    target = shared.pictured(known["picture"], known["longest"])
    found = fit(
        net,
        target,
        method=known["method"],
        seconds=known["allowed"],
        seed=known["start"],
        batch=_BATCH,
        rate=known["rate"],
        horizon=known["horizon"],
    )
    steps, error, seconds = found.curve.T
    best = np.minimum.accumulate(error)
    moments = np.geomspace(known["allowed"] / 30, known["allowed"], _TIMES)
    at_step = best[np.searchsorted(steps, _STEPS, side="right") - 1]
    # A method that stopped of itself keeps what it has; one that ran out of time has not been further.
    at_step = np.where((steps[-1] >= _STEPS) | bool(found.notes), at_step, np.nan)
    return {
        "at_time": best[np.searchsorted(seconds, moments, side="right") - 1],
        "moments": moments,
        "at_step": at_step,
        "steps_made": steps[-1],
    }


@dataclass(frozen=True)
class Numbers:
    """RMSE by method, one row a network."""

    at_time: dict[str, np.ndarray]
    at_step: dict[str, np.ndarray]
    made: dict[str, np.ndarray]
    moments: np.ndarray
    pictures: list[str]

    def final(self, method: str) -> np.ndarray:
        """Return base-10 logarithms of the RMSE at the end."""
        return np.asarray(np.log10(self.at_time[method][:, -1]))


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    def of(name: str) -> dict[str, np.ndarray]:
        """Return rows of shape (rates, networks, ...), of which there is one for most methods."""
        found = {}
        for method in METHODS:
            values = chosen(data, method=method)[name].values
            rates = len(RATES) if method == "adam" else 1
            found[method] = np.moveaxis(values.reshape(-1, rates, *values.shape[1:]), 1, 0)
        return found

    pictures = chosen(data, method="lm")["picture"].values
    return Numbers(
        {method: rows.min(0) for method, rows in of("at_time").items()},
        {method: rows.min(0) for method, rows in of("at_step").items()},
        {method: np.median(rows, axis=0) for method, rows in of("steps_made").items()},
        data["moments"].values[0],
        [str(name) for name in pictures],
    )


def claims(n: Numbers) -> list[Check]:
    """Return the claim, then the same against each older method."""
    oldest = np.min([n.final(method) for method in OLDER], axis=0)
    when = f"after {n.moments[-1]:g} CPU seconds"
    made = [
        Claim(
            "newer",
            "Newer algorithms are no more accurate than older ones on a network of this size.",
            ARTICLE,
        ).positive(
            over_networks(n.final("adam") - oldest),
            note=f"Measured: RMSE of Adam {when} over that of the best older method, in decades; the same "
            "starts. Adam on mini-batches, the best of three rates, each falling as a cosine over about the "
            "steps it makes.",
        )
    ]
    made += [
        Claim(
            f"newer-{method}",
            f"Adam is no more accurate than {METHODS[method]} on a network of this size.",
            ARTICLE,
        ).positive(
            over_networks(n.final("adam") - n.final(method)), note=f"Measured: RMSE {when}, in decades."
        )
        for method in OLDER
    ]
    early = int(np.searchsorted(n.moments, n.moments[-1] / 8))
    return [
        *made,
        Claim(
            "newer-early",
            "Nor are they after an eighth of that time.",
            "asked here",
        ).positive(
            over_networks(
                np.log10(n.at_time["adam"][:, early])
                - np.min([np.log10(n.at_time[method][:, early]) for method in OLDER], axis=0)
            ),
            note=f"At {n.moments[early]:.2g} s, in decades, against the best older method.",
        ),
    ]


def tables(n: Numbers) -> list[Table]:
    rows = []
    names = np.array(n.pictures)
    for picture in dict.fromkeys(n.pictures):
        for method, title in METHODS.items():
            curves = n.at_time[method][names == picture]
            moments = [np.median(curves[:, k]) for k in (_TIMES // 3, 2 * _TIMES // 3, -1)]
            rows.append(
                [picture, title]
                + [f"{value:.4f}" for value in moments]
                + [f"{curves[:, -1].min():.4f} to {curves[:, -1].max():.4f}"]
                + [f"{np.median(n.made[method][names == picture]):.0f}"]
            )
    times = [f"RMSE at {n.moments[k]:.2g} s" for k in (_TIMES // 3, 2 * _TIMES // 3, -1)]
    return [
        Table(
            "Medians over starts",
            ["picture", "method", *times, "range at the end", "steps made"],
            rows,
        )
    ]


def notes(n: Numbers) -> list[str]:
    return [
        "Times are CPU seconds of the process that trains (time.process_time), one thread. These numbers are "
        "not bit-reproducible: another machine, or another load, makes other numbers of steps in the same "
        "time. RMSE at a given step is reproducible.",
        f"Adam runs with rates of {', '.join(f'{rate:g}' for rate in RATES)}, and the best of them at each "
        "moment counts; the others have no rate, and run once.",
        "Levenberg-Marquardt and L-BFGS work in float64, apart from the former's product of maps; Rprop and "
        f"Adam in float32, which is faster. Adam has mini-batches of {_BATCH} pixels; a step of the others "
        "sees all pixels, and one of L-BFGS is a whole line search. Courses are recorded every 1, 5, 10 and "
        "50 steps, in the order of the table.",
    ]


def draw_times(axes: Axes, n: Numbers) -> None:
    for (method, title), colour in zip(METHODS.items(), _colours(), strict=True):
        curves = n.at_time[method] / n.at_time["lm"][:, -1:]
        axes.plot(n.moments, np.exp(np.log(curves).mean(0)), color=colour, label=title)
    axes.axhline(1, color=plotting.INK, lw=0.8, ls=":")
    axes.set(xscale="log", yscale="log", title="Equal time", xlabel="CPU seconds")
    axes.set_ylabel("RMSE / last of Levenberg-Marquardt")
    plain_ticks(axes)
    legend(axes)


def draw_steps(axes: Axes, n: Numbers) -> None:
    for (method, title), colour in zip(METHODS.items(), _colours(), strict=True):
        curves = n.at_step[method]
        known = np.isfinite(curves).all(0)
        axes.plot(_STEPS[known], np.exp(np.log(curves[:, known]).mean(0)), color=colour, label=title)
    axes.set(xscale="log", yscale="log", title="Equal steps", xlabel="step", ylabel="RMSE, geometric mean")


def draw_ends(axes: Axes, n: Numbers) -> None:
    names = list(dict.fromkeys(n.pictures))
    for k, (method, colour) in enumerate(zip(METHODS, _colours(), strict=True)):
        places = np.array([names.index(picture) for picture in n.pictures]) + 0.15 * (k - 1.5)
        axes.plot(places, n.at_time[method][:, -1], "o", ms=3.5, color=colour)
    axes.set_xticks(range(len(names)), names)
    axes.set(title=f"After {n.moments[-1]:g} s, each start", ylabel="RMSE")
    axes.set_ylim(bottom=0)


def _colours() -> list[str]:
    return [plotting.MEASURED, *colours(3)[1:], plotting.THEORY]


def figures(n: Numbers) -> list[Panels]:
    caption = (
        "Left: RMSE against CPU time, geometric mean over pictures and starts. Middle: the same against "
        "steps. Right: each start at the end."
    )
    return [Panels("trainers", caption, [draw_times, draw_steps, draw_ends])]


TRAINERS = Part(
    name="trainers",
    title="Newer and older ways to train a network of this size",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    citations=("ensembles2015",),
)
