"""The mechanism of intermittency at rate 5: a laminar regime ends when a hidden unit leaves saturation.

The reduced map says that a network whose units are all saturated has one attractor, which its number of units
stuck at 1 decides. So a laminar regime should end where that number changes or a unit is not saturated.
The return needs no such change: after one, the reduced map's own transient is irregular, and dies out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers.chaos import shared
from phasescope.papers.chaos.shared import STUDY
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend
from phasescope.studies.part import Panels, Part, Settings, Table, Variable
from phasescope.sweep.task import Task
from phasescope.training import Regimes, regimes

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

RATE = 5.0
WINDOW = 40
FIRST = 200  # steps that are left out
CHUNK = 10  # initialisations of one task
SHIFTS = 500  # of the null
_NAMES = {0.0: "irregular", 1.0: "at rest, or settling"}
_APART = 3  # windows: a shift of the null is at least so large


class IntermittencySettings(Settings):
    """How many runs are followed, and for how long."""

    starts: int = 20
    steps: int = 6000


QUICK = IntermittencySettings()
PAPER = IntermittencySettings(starts=200, steps=20_000)

VARIABLES = {
    "regime": Variable(("start", "window"), "period of the loss, 1 without one, 0 where irregular"),
    "changed": Variable(("start", "window"), "whether the saturated units change within the window"),
    "stuck": Variable(("start", "window"), "hidden units stuck at 1, at the end of the window"),
    "moving": Variable(("start", "window"), "hidden units that are not saturated, at the end of the window"),
    "loss": Variable(("start", "window"), "mean loss in the window", "nat"),
}


def tasks(config: Any) -> list[Task]:
    """Return one task for some initialisations each."""
    settings: IntermittencySettings = config.intermittency
    made = []
    for numbers in shared.chunks(settings.starts, CHUNK):
        known = {"first_start": numbers.start, "starts": CHUNK, "split": config.split, "seed": config.seed}
        known["steps"] = settings.steps // WINDOW * WINDOW
        seconds = 1.5 * CHUNK * settings.steps * shared.STEP
        made.append(Task(STUDY, "intermittency", known, seconds=seconds))
    return made


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return regimes and saturated units of some runs, window by window."""
    known = task.parameters
    step = shared.iris_map(known["split"], RATE, device)
    numbers = range(known["first_start"], known["first_start"] + known["starts"])
    w = shared.starts(known["seed"], numbers, device)
    flowers = shared.iris(known["split"]).x.to(w.device)
    losses, counts = [], []
    for t in range(known["steps"]):
        stuck, moving = shared.saturation(w, flowers)
        counts.append(torch.stack([stuck.sum(-1), moving.sum(-1)]))
        w, loss = step.advance(w, t)
        losses.append(loss)
    series = torch.stack(losses, dim=-1).cpu().numpy()
    count = torch.stack(counts, dim=-1).cpu().numpy()  # (stuck or moving, starts, steps)
    different = (np.diff(count, axis=-1, prepend=count[..., :1]) != 0).any(axis=0)
    windows = (len(series), -1, WINDOW)
    return {
        "regime": np.array([regime_numbers(regimes(each, window=WINDOW, shuffles=40)) for each in series]),
        "changed": different.reshape(windows).any(axis=-1).astype(np.float64),
        "stuck": count[0].reshape(windows)[..., -1].astype(np.float64),
        "moving": count[1].reshape(windows)[..., -1].astype(np.float64),
        "loss": series.reshape(windows).mean(axis=-1),
    }


def regime_numbers(found: Regimes) -> np.ndarray:
    """Return the period of each window: 1 where it rests, drifts or settles, 0 where it is irregular."""
    settled = (found.periods == 0) & (found.kinds != "irregular")
    return np.where(settled, 1, found.periods).astype(np.float64)


@dataclass(frozen=True)
class Numbers:
    """All runs, one a row, without their first windows."""

    with_switch: Estimate  # share of switches with a change of the saturated units
    leaving: Estimate  # share of the switches to irregular windows with a change, or with an unsaturated unit
    returning: Estimate  # share of the switches from irregular windows with a change
    without: Estimate  # share of windows without a switch nearby that have a change
    null: float  # share of the switches to irregular windows that shifted changes would have
    p: float  # probability of so large a share among shifted changes
    regime: np.ndarray  # (starts, windows), as all that follow
    changed: np.ndarray
    stuck: np.ndarray
    moving: np.ndarray
    loss: np.ndarray


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    first = FIRST // WINDOW
    rows = [np.concatenate(data[name].values)[:, first:] for name in VARIABLES]
    regime, changed, moving = rows[0], rows[1] > 0.5, rows[3] > 0
    switched, leaves, returns = (np.zeros_like(changed) for _ in range(3))
    switched[:, 1:] = regime[:, 1:] != regime[:, :-1]
    leaves[:, 1:] = switched[:, 1:] & (regime[:, 1:] == 0)
    returns[:, 1:] = switched[:, 1:] & (regime[:, :-1] == 0)
    near = _spread(changed)
    unsettled = near | moving
    random = np.random.default_rng(0)
    null = []
    possible = leaves.any() and changed.shape[1] > 2 * _APART
    for _ in range(SHIFTS if possible else 0):
        shifts = random.integers(_APART, changed.shape[1] - _APART, len(changed))
        moved = [np.roll(each, shift) for each, shift in zip(unsettled, shifts, strict=True)]
        null.append(np.array(moved)[leaves].mean())
    leaving = shared.share(unsettled[leaves], "share of switches")
    return Numbers(
        shared.share(near[switched], "share of switches"),
        leaving,
        shared.share(near[returns], "share of switches"),
        shared.share(near[~_spread(switched)], "share of windows"),
        float(np.mean(null)) if null else np.nan,
        float((1 + np.sum(np.array(null) >= leaving.value)) / (1 + SHIFTS)),
        *rows,
    )


def _spread(which: np.ndarray) -> np.ndarray:
    """Return which windows are true or beside one that is, run by run."""
    wide = np.pad(which, ((0, 0), (1, 1)))
    return np.asarray(wide[:, :-2] | wide[:, 1:-1] | wide[:, 2:])


def claims(n: Numbers) -> list[Check]:
    """Return whether the saturated units explain the switches."""
    irregular = (n.regime == 0).mean(axis=1)
    intermittent = shared.share((irregular > 0.05) & (irregular < 0.95))
    return [
        Claim("intermittent", "Some runs at rate 5 alternate between irregular and laminar windows.").found(
            None,
            intermittent,
            "agrees" if intermittent.value > 0 else "disagrees",
            f"Measured: share of runs with 5 to 95 % irregular windows after step {FIRST}. Agrees if there "
            "is one.",
        ),
        Claim(
            "with-switch", "Wherever the regime switches, the set of saturated hidden units changes."
        ).equals(
            1.0,
            n.with_switch,
            allowance=0.05,
            resolution=0.05,
            note=f"{n.with_switch.n} switches between periods, rest and irregular windows of {WINDOW} "
            "steps; a change counts in the same window or beside it. Allowance 0.05. The next two claims "
            "tell where it fails.",
        ),
        Claim(
            "leaving", "Where a laminar regime breaks, a unit leaves or enters saturation, or is unsaturated."
        ).equals(
            1.0,
            n.leaving,
            allowance=0.05,
            resolution=0.05,
            note=f"{n.leaving.n} switches to irregular windows. Allowance 0.05: windows that cut a slow "
            "transient.",
        ),
        Claim(
            "returning", "The return from irregular to laminar needs no change: a transient dies out."
        ).below(
            1.0,
            n.returning,
            note=f"Measured: share with a change among {n.returning.n} switches from irregular windows. "
            "Agrees 3 errors below 1.",
        ),
        Claim("elsewhere", "Where no regime switches, the saturated units hardly ever change.").below(
            0.1,
            n.without,
            note="Measured: share of windows with such a change, among those with no switch in them or "
            "beside. Agrees 3 errors below 0.1.",
        ),
        Claim("null", "Breaks and changes coincide more often than by chance.").positive(
            n.leaving - n.null if np.isfinite(n.null) else Estimate.not_determined("too few windows"),
            note=f"Less the mean of {SHIFTS} random shifts of each run's changes in time, {n.null:.3f}; p "
            f"= {n.p:.3g}.",
        ),
    ]


def tables(n: Numbers) -> list[Table]:
    late = slice(n.regime.shape[1] // 2, None)
    periods, counts = np.unique(n.regime[:, late], return_counts=True)
    shares = [
        [_NAMES.get(float(p), f"period {p:.0f}"), f"{c / counts.sum():.3f}"]
        for p, c in sorted(zip(periods, counts, strict=True), key=lambda pair: -pair[1])
    ]
    rows = []
    for stuck in np.unique(n.stuck[:, late]):
        some = n.regime[:, late][(n.stuck[:, late] == stuck) & (n.moving[:, late] == 0)]
        if len(some):
            common = [f"{np.mean(some == period):.2f}" for period in (1, 2, 3, 10, 0)]
            rows.append([f"{stuck:.0f}", f"{RATE * (1 + stuck):g}", str(len(some)), *common])
    columns = ("units at 1", "E", "windows", "at rest", "period 2", "period 3", "period 10", "irregular")
    return [
        Table("Regimes in the second half of the runs", ("regime", "share of windows"), shares),
        Table("Regimes by units stuck at 1, where all units are saturated", columns, rows),
    ]


def notes(n: Numbers) -> list[str]:
    return [
        "A unit is stuck at 1 above 0.9 for all flowers, and not saturated where its range over them "
        f"exceeds 0.1. Windows have {WINDOW} steps; the first {FIRST} steps are left out.",
        "The null shifts the changes of each run in time as a whole, round its end, so that they keep "
        "their own clustering.",
    ]


def draw_run(axes: Axes, n: Numbers) -> None:
    _draw_run(axes, n, 0)


def draw_other(axes: Axes, n: Numbers) -> None:
    _draw_run(axes, n, 1)


def _draw_run(axes: Axes, n: Numbers, place: int) -> None:
    """Draw regimes and changes of the saturated units of one of the runs that switch most."""
    switches = (np.diff(n.regime, axis=1) != 0).sum(axis=1)
    row = np.argsort(-switches)[min(place, len(switches) - 1)]
    steps = FIRST + WINDOW * (np.arange(n.regime.shape[1]) + 0.5)
    for number, step in enumerate(steps[n.changed[row] > 0.5]):
        label = None if number else "units change"
        axes.axvline(step, lw=0.8, color=plotting.THEORY, label=label, zorder=0)
    periods = np.unique(n.regime[row])
    for period, colour in zip(periods, colours(len(periods)), strict=True):
        which = n.regime[row] == period
        label = _NAMES.get(float(period), f"period {period:.0f}")
        axes.plot(steps[which], n.loss[row, which], "o", ms=2.5, color=colour, label=label)
    low, high = n.loss[row].min(), n.loss[row].max()
    axes.set(xlabel="step", ylabel="mean loss in the window", title=f"Initialisation {row}")
    axes.set_ylim(low - 0.05 * (high - low), high + 0.6 * (high - low))
    legend(axes, loc="upper right", ncol=2)


def draw_shares(axes: Axes, n: Numbers) -> None:
    bars = {"break": n.leaving, "return": n.returning, "no switch": n.without}
    values = [n.null, *(each.value for each in bars.values())]
    errors = [0.0, *(each.error for each in bars.values())]
    axes.bar(range(4), values, 0.6, yerr=errors, color=plotting.MEASURED)
    axes.set_xticks(range(4), ["break,\nshifted", *bars])
    axes.set(ylabel="share with a change of units", title="Changes of saturated units", ylim=(0, 1.05))


def figures(n: Numbers) -> list[Panels]:
    return [
        Panels(
            "mechanism",
            "Left: two runs at rate 5. Dots are the mean loss of windows, coloured by regime; lines are "
            "windows in which the saturated hidden units change. Right: share of windows with such a "
            "change, where a laminar regime breaks (and the same for changes shifted in time), where one "
            "returns, and elsewhere.",
            [draw_run, draw_other, draw_shares],
            size=(4.2, 3.2),
        )
    ]


INTERMITTENCY = Part(
    name="intermittency",
    title="What makes training intermittent",
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
