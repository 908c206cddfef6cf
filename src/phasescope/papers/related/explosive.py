"""Memories that appear in a jump: curved networks, weight decay on deep linear nets, a flip-flop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers.related import jumps
from phasescope.papers.related.jumps import COMPONENTS, DECAYS, DEPTH
from phasescope.papers.related.shared import STUDY
from phasescope.studies.claim import Check, Claim, Outcome
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen
from phasescope.studies.samples import mean
from phasescope.sweep.task import Task
from phasescope.theory.hysteresis import CurvedMemory, decayed_modes

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

SOURCE = "arXiv:2408.02326"
TABLED = (-0.8, -1.0, -1.2, -1.5)  # curvatures whose states are compared with theory
LOOPED = (0.0, -1.2, -1.5)  # curvatures whose loops are scanned
_NEAR = 0.03  # share by which an area may miss its closed form


class ExplosiveSettings(Settings):
    """Sizes of the scans and trainings."""

    values: int = 241
    dwells: tuple[int, ...] = (32, 64, 128, 256)
    steps: int = 2_000  # of weight decay
    seeds: int = 5
    training: int = 300  # steps of the flip-flop


QUICK = ExplosiveSettings()
PAPER = ExplosiveSettings(values=481, dwells=(64, 128, 256, 512), steps=10_000, seeds=10, training=600)

VARIABLES = {
    "states": Variable(("curvature", "number"), "down-jump, state after the up-jump, area", optional=True),
    "loop": Variable(("result",), "area, its error, 1 where bistable", optional=True),
    "areas": Variable(("dwell",), "area at each dwell", optional=True),
    "branches": Variable(("way", "value"), "beta, m up and m down at the slowest dwell", optional=True),
    "modes": Variable(("mode",), "singular values of the digits", optional=True),
    "left": Variable(("decay",), "modes left at each weight decay, then after it is lowered", optional=True),
    "flip_flop": Variable(("network", "result"), "untrained and trained: the same as loop", optional=True),
    "accuracy": Variable((), "share of signs that the trained flip-flop names", optional=True),
}


def tasks(config: Any) -> list[Task]:
    """Return one task for the states, one a loop, and one a seed for weight decay and for the flip-flop."""
    settings: ExplosiveSettings = config.explosive
    scan = {"values": settings.values, "dwells": list(settings.dwells)}

    def task(kind: str, seconds: float, **known: Any) -> Task:
        return Task(
            STUDY,
            "explosive",
            {"kind": kind, "seed": config.seed, "gamma": 0.0, **known},
            seconds=seconds,
            memory=300_000_000,
        )

    made = [task("states", 1.0)]
    sweep = 5e-5 * 2 * settings.values * settings.dwells[-1]
    made += [task("loop", sweep, gamma=gamma, **scan) for gamma in LOOPED]
    for start in range(settings.seeds):
        made.append(task("decay", 3e-4 * settings.steps, start=start, steps=settings.steps))
        made.append(task("flip-flop", 0.01 * settings.training, start=start, steps=settings.training))
    return made


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return what one task found; everything is computed on the CPU, in double precision."""
    known = task.parameters
    if known["kind"] == "states":
        return {"states": jumps.states(np.array(TABLED))}
    if known["kind"] == "loop":
        return jumps.loop(known["gamma"], known["values"], known["dwells"], task.seed)
    if known["kind"] == "decay":
        return jumps.decayed(known["steps"], task.seed)
    return jumps.flip_flop(known["steps"], task.seed)


@dataclass(frozen=True)
class Numbers:
    """What all tasks found."""

    states: np.ndarray  # (curvature, number)
    loops: dict[float, Estimate]  # areas
    bistable: dict[float, bool]
    data: xr.Dataset
    modes: np.ndarray
    left: np.ndarray  # (seed, decay and one more)
    flip_flop: np.ndarray  # (seed, network, result)
    accuracy: np.ndarray

    @property
    def expected(self) -> np.ndarray:
        """Jumps, states and areas of TABLED in closed form."""
        known = [CurvedMemory(gamma) for gamma in TABLED]
        return np.array([[each.down_jump, each.after_up_jump, each.area] for each in known])

    @property
    def predicted(self) -> list[int]:
        """Modes that each of DECAYS leaves."""
        return [int((decayed_modes(self.modes, DEPTH, decay) > 0).sum()) for decay in DECAYS]


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    loops, bistable = {}, {}
    for gamma in LOOPED:
        area, error, proved = chosen(data, kind="loop", gamma=gamma)["loop"].values[0]
        loops[gamma] = Estimate(float(area), float(error), "loop, extrapolated in the dwell", 3)
        bistable[gamma] = bool(proved)
    decay, flips = chosen(data, kind="decay"), chosen(data, kind="flip-flop")
    states = chosen(data, kind="states")["states"].values[0]
    flip_flop = (flips["flip_flop"].values, flips["accuracy"].values)
    return Numbers(states, loops, bistable, data, decay["modes"].values[0], decay["left"].values, *flip_flop)


def claims(n: Numbers) -> list[Check]:
    """Return the states, the loops, the modes that weight decay leaves, and the flip-flop."""
    worst = float(np.abs(n.states - n.expected).max())
    made = [
        Claim(
            "states", "Jumps, states and areas of curved memories are those of the closed forms.", SOURCE
        ).below(
            1e-6,
            Estimate(worst, 0.0, "largest of 12 differences, by iteration", 12),
            note="Agrees below 1e-6.",
        )
    ]
    made += [_area_claim(n, gamma) for gamma in LOOPED[1:]]
    flat = n.loops[0.0]
    made.append(
        Claim("area-0", "Without curvature there is no loop: that of a scan closes as it slows down.").equals(
            0.0, flat, resolution=0.02, note="An error below 0.02 is asked for."
        )
    )
    wrong = np.abs(n.left[:, :-1] - n.predicted).sum()
    kept = n.left[:, -1] - n.predicted[-1]
    trials = n.left[:, :-1].size
    made += [
        Claim("decay-modes", "Weight decay leaves a three-layer linear net the predicted modes.").equals(
            0.0, Estimate(float(wrong), 0.0, "modes too many or too few, all decays and seeds", trials)
        ),
        Claim("decay-return", "What weight decay has removed stays away when the decay is lowered.").equals(
            0.0, Estimate(float(np.abs(kept).sum()), 0.0, "modes that came back", len(kept))
        ),
        Claim(
            "untrained", "An untrained network of 24 units draws no loop in the limit of slow change."
        ).equals(0.0, mean(n.flip_flop[:, 0, 0], "area over seeds"), allowance=1e-3, resolution=0.02),
        Claim("trained", "Trained as a flip-flop, it does.").positive(
            mean(n.flip_flop[:, 1, 0], "area over seeds"),
            note=f"Bistability was proved for {int(n.flip_flop[:, 1, 2].sum())} of {len(n.flip_flop)} seeds.",
        ),
    ]
    return made


def _area_claim(n: Numbers, gamma: float) -> Check:
    area, found = CurvedMemory(gamma).area, n.loops[gamma]
    away = abs(found.value - area)
    verdict: Outcome = "agrees" if away <= _NEAR * area else "disagrees"
    if away > _NEAR * area and away <= 3 * found.error:
        verdict = "not determined"
    return Claim(
        f"area-{-gamma:g}",
        f"A memory of curvature {gamma:g} draws a loop, whose area extrapolates to the closed form.",
        SOURCE,
    ).found(
        area,
        found,
        verdict,
        f"Agrees within {100 * _NEAR:g} %, disagrees beyond that and beyond 3 errors. Bistability was "
        f"{'' if n.bistable[gamma] else 'not '}proved.",
    )


def tables(n: Numbers) -> list[Table]:
    rows = [
        [f"{gamma:g}", *(f"{value:.8f}" for pair in zip(seen, known, strict=True) for value in pair)]
        for gamma, seen, known in zip(TABLED, n.states, n.expected, strict=True)
    ]
    heads = ["down-jump", "closed form", "m after the up-jump", "closed form", "area", "closed form"]
    counts = [
        [f"{d:g}", f"{p}", ", ".join(f"{c:.0f}" for c in n.left[:, i])]
        for i, (d, p) in enumerate(zip(DECAYS, n.predicted, strict=True))
    ]
    return [
        Table("Curved memories, by iteration", ["curvature", *heads], rows),
        Table("Modes left by weight decay", ["weight decay", "predicted", "counted, by seed"], counts),
    ]


def notes(n: Numbers) -> list[str]:
    return [
        "The paper solves curved networks in general; here is the memory of one pattern, m = tanh(beta m / "
        f"(1 + gamma m^2/2)). Curvatures, ranges, dwells and the kick of {jumps.KICK:g} at each new "
        "beta are chosen here.",
        f"Weight decay: {COMPONENTS} whitened components of the digits, classes one-hot and centred, {DEPTH} "
        "linear layers, full gradients; chosen here.",
        f"Flip-flop: {jumps.UNITS} tanh units, pulses of either sign with probability {jumps.PULSES:g}, "
        f"Adam; chosen here. It names {100 * n.accuracy.mean():.1f} % of the signs.",
    ]


def _draw_loops(axes: Axes, n: Numbers) -> None:
    for gamma, colour in zip(LOOPED[1:], (plotting.THEORY, plotting.MEASURED), strict=True):
        beta, up, down = chosen(n.data, kind="loop", gamma=gamma)["branches"].values[0]
        axes.plot(beta, up, color=colour, label=f"curvature {gamma:g}")
        axes.plot(beta, down, color=colour)
        known = CurvedMemory(gamma)
        dense = np.linspace(known.down_jump, beta[-1], 200)
        branch = [known.branches(float(b))[0] for b in dense]
        axes.plot(dense, branch, color=plotting.INK, ls=":", lw=1.0)
    axes.set(xlabel="inverse temperature", ylabel="memory m", title="Loops of curved memories")
    axes.legend(loc="lower right")


def _draw_areas(axes: Axes, n: Numbers) -> None:
    colours = (plotting.PHASE_COLOURS["critical"], plotting.THEORY, plotting.MEASURED)
    for gamma, colour in zip(LOOPED, colours, strict=True):
        areas = chosen(n.data, kind="loop", gamma=gamma)["areas"].values[0]
        x = 2.0 ** -(np.arange(len(areas)) ** 1.0)
        axes.plot(x ** (2 / 3), areas, "o-", color=colour, label=f"curvature {gamma:g}")
        axes.errorbar(0, n.loops[gamma].value, n.loops[gamma].error, color=colour, marker="s")
        axes.plot(0, CurvedMemory(gamma).area, "_", ms=16, color=plotting.INK)
    axes.set(xlabel="(fastest dwell / dwell)$^{2/3}$", ylabel="area", title="Area against the dwell")
    axes.legend(loc="center right")


def figures(n: Numbers) -> list[Panels]:
    caption = (
        "Left: memory as the inverse temperature goes up and down, slowest scan; dotted, the stable branch "
        "in closed form. Right: area of the loop at each dwell; squares, its limit; bars, closed form."
    )
    return [Panels("loops", caption, [_draw_loops, _draw_areas])]


EXPLOSIVE = Part(
    name="explosive",
    title="Memories that appear in a jump",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
)
