"""Memories that appear in a jump: curved networks, weight decay on deep linear nets, a flip-flop."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
_RANDOM, _PICTURES = (20, 40, 60, 80, 120, 160), (5, 10, 20, 30, 40, 60)  # numbers of patterns stored
_RECALLED = 0.6  # overlap with a pattern below which it counts as lost
_NEAR = 0.03  # share by which an area may miss its closed form


class ExplosiveSettings(Settings):
    """Sizes of the scans and trainings."""

    values: int = 241
    dwells: tuple[int, ...] = (32, 64, 128, 256)
    steps: int = 2_000  # of weight decay
    seeds: int = 5
    training: int = 300  # steps of the flip-flop
    memories: int = 0  # seeds of networks that store many patterns, and pictures of CIFAR-10 where named


QUICK = ExplosiveSettings()
PAPER = ExplosiveSettings(
    values=481, dwells=(64, 128, 256, 512), steps=10_000, seeds=10, training=600, memories=5
)

VARIABLES = {
    "states": Variable(("curvature", "number"), "down-jump, state after the up-jump, area", optional=True),
    "loop": Variable(("result",), "area, its error, 1 where bistable", optional=True),
    "areas": Variable(("dwell",), "area at each dwell", optional=True),
    "branches": Variable(("way", "value"), "beta, m up and m down at the slowest dwell", optional=True),
    "modes": Variable(("mode",), "singular values of the digits", optional=True),
    "left": Variable(("decay",), "modes left at each weight decay, then after it is lowered", optional=True),
    "flip_flop": Variable(("network", "result"), "untrained and trained: the same as loop", optional=True),
    "accuracy": Variable((), "share of signs that the trained flip-flop names", optional=True),
    "jump": Variable(("place",), "up-jump of pictures, its error, its theory, down-jump", optional=True),
    "scan": Variable(("way", "scanned"), "beta, memory up and down of pictures", optional=True),
    "recall": Variable(("curved", "count"), "overlap kept, plain and curved", optional=True),
    "stored": Variable(("count",), "patterns stored", optional=True),
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
    for start in range(settings.memories):
        made.append(task("recall", 2.0, start=start, folder=""))
        if config.cifar10:
            named = {"start": start, "folder": config.cifar10}
            made.append(task("recall-images", 4.0, **named))
            made += [task("images", 6.0, **named, gamma=gamma) for gamma in (0.0, jumps.CURVED)]
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
    if known["kind"] == "images":
        return jumps.image_scan(known["gamma"], known["folder"], task.seed)
    if known["kind"].startswith("recall"):
        return jumps.recall(_PICTURES if known["folder"] else _RANDOM, known["folder"], task.seed)
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
    missing: str  # why there are no pictures; empty where there are
    recalled: dict[str, tuple[np.ndarray, np.ndarray]]  # patterns stored (count), kept (seed, curved, count)

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
    missing, recalled = "", {}
    if not config.explosive.memories:
        missing = "no patterns are stored: the preset paper does"
    elif not config.cifar10:
        missing = "no cifar10 at hand: name the folder with --set cifar10=DIR"
    for kind in ["recall"] * bool(config.explosive.memories) + ["recall-images"] * (not missing):
        rows = chosen(data, kind=kind)
        recalled[kind] = (rows["stored"].values.mean(axis=0), rows["recall"].values)
    modes, left = decay["modes"].values[0], decay["left"].values
    return Numbers(states, loops, bistable, data, modes, left, *flip_flop, missing, recalled)


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
    return made + _image_claims(n) + [_capacity_claim(n, kind) for kind in ("recall", "recall-images")]


def _extrapolated(values: np.ndarray, errors: np.ndarray) -> Estimate:
    """Return the mean over seeds; their own errors, which all share, do not average out."""
    found = mean(values, "mean over seeds, its error beside that of each")
    return replace(found, error=float(np.hypot(found.error, np.nan_to_num(errors).mean())))


def _image_claims(n: Numbers) -> list[Check]:
    """Return what pictures as memories do as the temperature goes down and up."""
    area = plain = away = Estimate.not_determined(n.missing)
    proved = ""
    if not n.missing:
        flat, curved = (chosen(n.data, kind="images", gamma=gamma) for gamma in (0.0, jumps.CURVED))
        plain, area = (_extrapolated(*rows["loop"].values.T[:2]) for rows in (flat, curved))
        proved = f"Bistability was proved for {int(curved['loop'].values[:, 2].sum())} of {area.n} seeds."
        jump, error, theory, _ = curved["jump"].values.T
        away = _extrapolated(jump / theory - 1, error)
    name, asked = f"{jumps.IMAGES} pictures of CIFAR-10 as memories", "An error below 0.02 is asked for."
    none = Claim("images-plain", f"With {name} and no curvature there is no loop in slow change.")
    onset = f"With {name}, memory appears at one over the largest eigenvalue of the couplings."
    return [
        Claim("images", f"With {name}, curvature draws a loop.", SOURCE).positive(area, note=proved),
        none.equals(0.0, plain, resolution=0.02, note=asked),
        Claim("images-jump", onset).equals(0.0, away, resolution=0.02, note=f"Relative difference. {asked}"),
    ]


def _capacity_claim(n: Numbers, kind: str) -> Check:
    more, words = Estimate.not_determined(n.missing), ""
    if kind in n.recalled:
        stored, kept = n.recalled[kind]
        plain, curved = (np.array([_capacity(stored, one) for one in kept[:, row]]) for row in (0, 1))
        more = mean(curved - plain, "mean over seeds")
        words = f"Plain {mean(plain, '')}, curved {mean(curved, '')} patterns of 1,024 units."
    what = "random patterns" if kind == "recall" else "pictures of CIFAR-10"
    return Claim(
        "capacity-random" if kind == "recall" else "capacity-images",
        f"At inverse temperature {jumps.RECALL_BETA:g}, curvature {jumps.CURVED:g} lets a network hold more "
        f"{what} than a plain one does.",
        SOURCE,
    ).positive(more, note=words)


def _capacity(stored: np.ndarray, kept: np.ndarray) -> float:
    """Return the number of patterns at which the overlap first falls below the limit, or the largest."""
    lost = np.flatnonzero(kept < _RECALLED)
    if not len(lost) or not lost[0]:
        return float(stored[0] if len(lost) else stored[-1])
    pair = slice(lost[0] - 1, lost[0] + 1)
    return float(np.interp(-_RECALLED, -kept[pair], stored[pair]))


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
        "Many patterns: Hebb's couplings, and the curvature acts through the energy of all. Pictures: grey, "
        f"signs about their median, drawn so that two overlap by less than {jumps.OVERLAP:g} (scan) or "
        f"{jumps.RECALL_OVERLAP:g} (recall). Recall starts at a pattern; units are binary and noisy, and "
        f"change all at once. Below an overlap of {_RECALLED:g} a pattern counts as lost. Chosen here.",
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


def _draw_recall(axes: Axes, n: Numbers) -> None:
    names = {"recall": "random", "recall-images": "pictures"}
    for (kind, (stored, kept)), colour in zip(
        n.recalled.items(), (plotting.THEORY, plotting.MEASURED), strict=False
    ):
        for row, style in enumerate(("o--", "s-")):
            label = f"{names[kind]}, {('plain', 'curved')[row]}"
            axes.plot(stored, kept[:, row].mean(axis=0), style, color=colour, ms=4, label=label)
    axes.set(xlabel="patterns stored", ylabel="overlap kept", xscale="log", title="Recall")
    axes.legend(loc="lower left")


def _draw_scan(axes: Axes, n: Numbers) -> None:
    for gamma, colour in zip((0.0, jumps.CURVED), (plotting.THEORY, plotting.MEASURED), strict=True):
        beta, up, down = chosen(n.data, kind="images", gamma=gamma)["scan"].values[0]
        axes.plot(beta, up, color=colour, label=f"curvature {gamma:g}")
        axes.plot(beta, down, color=colour)
    axes.set(xlabel="inverse temperature", ylabel="size of all overlaps", title="Pictures as memories")
    axes.legend(loc="lower right")


def figures(n: Numbers) -> list[Panels]:
    caption = (
        "Left: memory as the inverse temperature goes up and down, slowest scan; dotted, the stable branch "
        "in closed form. Right: area of the loop at each dwell; squares, its limit; bars, closed form."
    )
    made = [Panels("loops", caption, [_draw_loops, _draw_areas])]
    if n.recalled:
        caption = (
            "Overlap with a stored pattern that noisy binary units keep, mean over seeds, against the number "
            "of patterns. Where there are pictures, right: a scan with 5 of them, as above."
        )
        made.append(Panels("recall", caption, [_draw_recall] + [_draw_scan] * (not n.missing)))
    return made


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
