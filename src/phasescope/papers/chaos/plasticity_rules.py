"""Rules of biological plasticity beside back-propagation: Oja's rule, and feedback alignment on Iris.

The paper asks whether rules that a brain could use are stable too. Oja's rule has exact answers; feedback
alignment sends errors back through fixed random matrices, so that its steps are no gradient of anything,
and its derivative is not symmetric: small differences may grow for a while where no eigenvalue is large.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers.chaos.networks import EXPLODES, crossing
from phasescope.papers.chaos.shared import (
    CLASSES,
    PAPER,
    STUDY,
    UNITS,
    accuracy,
    iris,
    iris_map,
    network,
    over_starts,
    share,
    starts,
)
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen
from phasescope.sweep.task import Task
from phasescope.training import Map, feedback_alignment, oja, perturbation_growth, tangent_exponents

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

COVARIANCE = (3.0, 2.0, 1.0, 0.5)  # eigenvalues, of what the unit of Oja's rule sees
KNOWN = (0.3, 0.9, 2.0)  # rates of the rule times the leading eigenvalue at which exponents are known
RULES = {"bp": "back-propagation", "fa": "feedback alignment"}
LONG_RATES = (0.1, 1.0, 5.0)  # the paper's, but for the lowest
GRID = np.geomspace(2**-6, 2**5, 23)  # rates of the search for the onset
_COPIES = 3
_EARLY = 200
_FEEDBACK = 1  # seed of the feedback matrices
_LN3 = math.log(3)
_ENDS, _SPREAD = 5.0, 1.5  # of sums of logarithms: where a conjugacy leaves both ends, and of a step
_SETTLE, _LAST = 400, 60  # steps before Oja's rule is measured, and those shown afterwards


class PlasticitySettings(Settings):
    """Sizes of the runs."""

    starts: int = 16  # initialisations of the Iris network
    steps: int = 4000  # the second half is called late
    oja_rates: int = 46  # values of the rate times the leading eigenvalue, up to 2
    oja_steps: int = 3000


QUICK = PlasticitySettings(starts=6, steps=1000, oja_rates=13, oja_steps=400)
PAPER_PRESET = PlasticitySettings()

VARIABLES = {
    "exponents": Variable(
        ("place", "direction"), "exponents of Oja's rule at each rate, largest first", "1/step", optional=True
    ),
    "ends": Variable(
        ("place", "last"), "last values of the weight along the leading direction", optional=True
    ),
    "onset": Variable(("begun",), "onset of chaos", optional=True),
    "early": Variable(("begun",), f"exponent over steps 0 to {_EARLY}", "1/step", optional=True),
    "late": Variable(("begun",), "exponent over the second half", "1/step", optional=True),
    "loss": Variable(("begun",), "loss at the end", optional=True),
    "right": Variable(("begun",), "share of the training flowers named right", optional=True),
    "grown": Variable(("begun", "tried"), f"ln of the largest growth of L1 in {_EARLY} steps", optional=True),
}


def tasks(config: Any) -> list[Task]:
    """Return the long runs first, then the searches for the onset, then Oja's rule."""
    settings: PlasticitySettings = config.plasticity
    made = []

    def add(kind: str, name: str, rates: list[float], steps: int, seconds: float) -> None:
        known = {"kind": kind, "rule": name, "rates": rates, "steps": steps, "seed": config.seed}
        known |= {"split": config.split, "starts": settings.starts}
        made.append(Task(STUDY, "plasticity", known, seconds=seconds, memory=400_000_000))

    for name in RULES:
        slow = 8.0 if name == "fa" else 1.0
        for rate in LONG_RATES:
            add("long", name, [rate], settings.steps, 1 + slow * settings.steps * 1.2e-3)
        add("onset", name, GRID.tolist(), _EARLY, 1 + slow * 10 * _EARLY * 5e-4)
    for places in _groups(settings.oja_rates):
        rates = [float(place) / COVARIANCE[0] for place in places]
        add("oja", "oja", rates, settings.oja_steps, len(rates) * settings.oja_steps * 1e-3)
    return made


def _groups(count: int) -> list[np.ndarray]:
    """Return the rates of Oja's rule times the leading eigenvalue, in groups of a task each."""
    places = np.unique([*KNOWN, *np.linspace(0.2, 2.0, count)])
    return np.array_split(places, 3)


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return exponents of Oja's rule, or what one rule of learning does to the Iris network."""
    known = task.parameters
    kinds = {"oja": _oja, "onset": _onset, "long": _long}
    return kinds[known["kind"]](dict(known), task.seed % 2**31, device)


def _oja(known: dict[str, Any], seed: int, device: str) -> dict[str, Any]:
    """Return all exponents of one unit that starts along the leading direction, which it never leaves.

    Four inputs along the axes whose mean squares are the eigenvalues of the covariance. The first half of
    the steps turns the directions, the second half is measured.
    """
    count = len(COVARIANCE)
    inputs = torch.diag(torch.tensor(COVARIANCE, dtype=torch.float64).mul(count).sqrt())
    begun = torch.zeros(1, count, dtype=torch.float64)
    begun[0, 0] = 0.6
    exponents, ends = [], []
    for rate in known["rates"]:
        step = oja(inputs, rate, start=begun)
        found = tangent_exponents(step, steps=known["steps"], k=count, start=0, x=_settled(step), seed=seed)
        exponents.append(np.sort(found.local[known["steps"] // 2 :].mean(0))[::-1])
        x, last = found.state, []
        for t in range(_LAST):
            last.append(float(x[0]))
            x = step.step(x, t)
        ends.append(last)
    return {"exponents": np.array(exponents), "ends": np.array(ends)}


def _settled(step: Map) -> torch.Tensor:
    x = step.initial
    for t in range(_SETTLE):
        x = step.step(x, t)
    return x


def _iris(name: str, split: int, rate: float, device: str) -> Map:
    if name == "bp":
        return iris_map(split, rate, device)
    data = iris(split)
    return feedback_alignment(
        network().to(device),
        nn.functional.cross_entropy,
        (data.x.to(device), data.y.to(device)),
        rate,
        feedback=[_feedback(device)],
    )


def _feedback(device: str) -> torch.Tensor:
    """Return the matrix that takes errors back: of the law of the weights, so that both rules start alike."""
    generator = torch.Generator().manual_seed(_FEEDBACK)
    return torch.randn(CLASSES, UNITS, generator=generator, dtype=torch.float64).to(device)


def _onset(known: dict[str, Any], seed: int, device: str) -> dict[str, Any]:
    x = starts(known["seed"], range(known["starts"]), device)
    grown = np.full((len(x), len(known["rates"])), math.nan)
    for place, rate in enumerate(known["rates"]):
        step = _iris(known["rule"], known["split"], rate, device)
        l1 = perturbation_growth(step, steps=known["steps"], copies=_COPIES, x=x, seed=seed).l1
        grown[:, place] = np.log(np.where(np.isfinite(l1), l1, np.inf).max(1) / l1[:, 0])
        if (grown[:, : place + 1] > EXPLODES).any(1).all():
            break
    return {"grown": grown, "onset": np.array([crossing(GRID, rows) for rows in grown])}


def _long(known: dict[str, Any], seed: int, device: str) -> dict[str, Any]:
    x = starts(known["seed"], range(known["starts"]), device)
    step = _iris(known["rule"], known["split"], known["rates"][0], device)
    found = tangent_exponents(step, steps=known["steps"], x=x, weights_only=True, seed=seed)
    data = iris(known["split"])
    local = found.local[..., 0]
    return {
        "early": local[:, :_EARLY].mean(1),
        "late": local[:, local.shape[1] // 2 :].mean(1),
        "loss": found.loss[:, -1],
        "right": accuracy(found.state.cpu(), data.x, data.y).numpy(),
    }


@dataclass(frozen=True)
class Numbers:
    """Oja's exponents by rate times leading eigenvalue, and the two rules on Iris."""

    places: np.ndarray
    exponents: np.ndarray  # (places, directions)
    ends: np.ndarray  # (places, last)
    onset: dict[str, np.ndarray]
    grown: dict[str, np.ndarray]
    long: dict[tuple[str, float], xr.Dataset]
    steps: int  # of Oja's rule

    def at(self, place: float) -> np.ndarray:
        """Return the exponents at one value of the rate times the leading eigenvalue, largest first."""
        return np.asarray(self.exponents[np.abs(self.places - place).argmin()])


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    settings: PlasticitySettings = config.plasticity
    groups = _groups(settings.oja_rates)
    oja_rows = chosen(data, kind="oja")
    exponents = [rows[: len(g)] for rows, g in zip(oja_rows["exponents"].values, groups, strict=True)]
    ends = [rows[: len(g)] for rows, g in zip(oja_rows["ends"].values, groups, strict=True)]
    onset = chosen(data, kind="onset")
    longs = chosen(data, kind="long")
    wanted = [(name, rate) for name in RULES for rate in LONG_RATES]
    return Numbers(
        np.concatenate(groups),
        np.concatenate(exponents),
        np.concatenate(ends),
        {name: chosen(onset, rule=name)["onset"].values[0] for name in RULES},
        {name: chosen(onset, rule=name)["grown"].values[0] for name in RULES},
        {key: longs.isel(task=i) for i, key in enumerate(wanted)},
        settings.oja_steps,
    )


def fixed_point(place: float) -> list[float]:
    """Return the exponents of Oja's rule at its fixed point, largest first: exact, from its multipliers.

    1 - 2 a along the leading direction and 1 - a (1 - c_j / c_1) across it, with a the rate times c_1.
    """
    multipliers = [1 - 2 * place] + [1 - place * (1 - c / COVARIANCE[0]) for c in COVARIANCE[1:]]
    return sorted((math.log(abs(each)) if each else -math.inf for each in multipliers), reverse=True)


def claims(n: Numbers) -> list[Check]:
    """Return what is exact for Oja's rule, then how feedback alignment differs from back-propagation."""
    return [*_oja_claims(n), *_iris_claims(n)]


def _oja_claims(n: Numbers) -> list[Check]:
    source = "Oja 1982; multipliers derived here"
    made = []
    for place in KNOWN[:2]:
        for number, (exact, found) in enumerate(zip(fixed_point(place), n.at(place), strict=True), start=1):
            made.append(
                Claim(
                    f"oja-{place:g}-{number}",
                    f"Exponent {number} of Oja's rule at rate x leading eigenvalue = {place:g} is "
                    f"{exact:.6f}.",
                    source,
                ).equals(
                    exact,
                    Estimate(float(found), 1e-9, f"second half of {n.steps} steps; error: rounding", 1),
                    note="Covariance diag(3, 2, 1, 1/2), one unit.",
                )
            )
    chaotic = n.at(2.0)
    half = n.steps / 2
    method = f"second half of {n.steps} steps; error: "
    return [
        *made,
        Claim(
            "oja-ln3",
            "At rate x leading eigenvalue = 2 Oja's rule is chaotic with the exponent ln 3.",
            "derived here: w = 2^(1/2) sin x turns the step into x -> 3 x",
        ).equals(
            _LN3,
            Estimate(float(chaotic[0]), _ENDS / half, method + "what the ends of a run leave", n.steps),
            resolution=0.1,
        ),
        Claim(
            "oja-across",
            "Across the leading direction all its exponents there are exactly 0.",
            "derived here: the mean of ln|2 r - 1 + 2 cos x| is 0 for 0 < r < 1",
        ).equals(
            0.0,
            Estimate(
                float(np.abs(chaotic[1:]).max()),
                _SPREAD / math.sqrt(half),
                method + "of a mean of logarithms",
                n.steps,
            ),
            resolution=0.2,
            note="Measured: the largest of the three in size, c_j / c_1 = r = 2/3, 1/3, 1/6.",
        ),
    ]


def _iris_claims(n: Numbers) -> list[Check]:
    asked = f"asked in {PAPER}; measured here"

    def long(name: str, rate: float, what: str) -> np.ndarray:
        return np.asarray(n.long[name, rate][what].values, dtype=np.float64)

    apart = np.log(n.onset["fa"]) - np.log(n.onset["bp"])
    return [
        Claim(
            "fa-learns", "Feedback alignment learns Iris at rate 0.1.", "arXiv:1411.0247, of other tasks"
        ).positive(
            over_starts(long("fa", 0.1, "right")) - 0.7,
            note="Measured: share of training flowers named right, less 0.7, what two classes would give.",
        ),
        Claim(
            "fa-low",
            "At rate 0.1 small differences end by neither growing nor shrinking, as with a gradient.",
            asked,
        ).equals(
            0.0,
            over_starts(long("fa", 0.1, "late")),
            allowance=1e-3,
            note="Measured: exponent over the second half; with back-propagation "
            f"{over_starts(long('bp', 0.1, 'late'))}. Allowance 0.001.",
        ),
        Claim(
            "fa-onset",
            "The onset of chaos is the same with feedback alignment as with back-propagation.",
            asked,
        ).equals(
            0.0,
            over_starts(apart, "ln of the ratio, mean over initialisations"),
            allowance=math.log(1.5),
            resolution=0.3,
            note=f"Measured: ln of the ratio of onsets, same starts: {over_starts(n.onset['fa'])} against "
            f"{over_starts(n.onset['bp'])}. Allowance: a factor 1.5. {int(np.isnan(apart).sum())} starts "
            "have no onset.",
        ),
        Claim("fa-one", "At rate 1 small differences explode early under both rules.", asked).below(
            0.5,
            share(
                (
                    (long("fa", 1.0, "early") * _EARLY < EXPLODES)
                    | (long("bp", 1.0, "early") * _EARLY < EXPLODES)
                ),
                "share of starts in which not both explode",
            ),
            note="Measured: share of starts in which not both grow a thousandfold in 200 steps.",
        ),
        Claim(
            "fa-five", "At rate 5 feedback alignment does not learn, as back-propagation does not.", asked
        ).below(
            0.5,
            over_starts(long("fa", 5.0, "right")),
            note="Measured: share of training flowers named right; agrees 3 errors below one half. With "
            f"back-propagation it is {over_starts(long('bp', 5.0, 'right'))}.",
        ),
    ]


def tables(n: Numbers) -> list[Table]:
    rows = []
    for (name, rate), one in n.long.items():
        values = {
            what: np.asarray(one[what].values, dtype=np.float64)
            for what in ("early", "late", "loss", "right")
        }
        rows.append(
            [RULES[name], f"{rate:g}"]
            + [str(over_starts(values[what])) for what in ("early", "late", "right")]
            + [f"{np.median(values['loss']):.3g}"]
        )
    columns = ["rule", "rate", "exponent, steps 0-200", "exponent, second half", "named right", "loss"]
    return [Table("Iris: two rules from the same starts", columns, rows)]


def notes(n: Numbers) -> list[str]:
    return [
        "Oja's rule along the leading direction is the cubic map w -> w + a (w - w^3), a the rate times "
        "the leading eigenvalue: a fixed point up to a = 1, then period 2, 4, ... and chaos; beyond a = 2 "
        "it diverges. A rate of one over the leading eigenvalue is thus its edge of stability.",
        "Feedback alignment: a normal matrix of variance 1, as the weights have at the start, one draw for "
        "all starts. With one hidden layer its direct form is the same.",
        "Rules, rates and windows were chosen here.",
    ]


def draw_bifurcation(axes: Axes, n: Numbers) -> None:
    for place, ends in zip(n.places, n.ends, strict=True):
        axes.plot(np.full(len(ends), place), ends, ".", ms=1.5, color=plotting.MEASURED)
    axes.axvline(1, color=plotting.THEORY, lw=1)
    axes.set(title="Oja's rule", xlabel="rate x leading eigenvalue", ylabel="weight, last steps")


def draw_exponents(axes: Axes, n: Numbers) -> None:
    for number, colour in enumerate(colours(n.exponents.shape[1])):
        axes.plot(n.places, n.exponents[:, number], "o-", ms=2.5, lw=0.8, color=colour, label=f"{number + 1}")
    x = np.linspace(0.2, 0.99, 80)
    exact = np.array([fixed_point(place) for place in x])
    axes.plot(x, exact, color=plotting.THEORY, lw=1, label=["exact"] + [None] * (exact.shape[1] - 1))
    axes.plot([2], [_LN3], "x", color=plotting.THEORY)
    axes.axhline(0, color=plotting.INK, lw=0.7)
    axes.set(
        title="Its exponents", xlabel="rate x leading eigenvalue", ylabel="exponent, 1/step", ylim=(-2.5, 1.4)
    )
    legend(axes, fontsize=7)


def draw_rules(axes: Axes, n: Numbers) -> None:
    for (name, grown), colour in zip(n.grown.items(), colours(2), strict=True):
        finite = np.where(np.isfinite(grown), grown, math.nan)
        for number, rows in enumerate(finite):
            known = np.isfinite(rows)
            axes.plot(
                GRID[known], rows[known], lw=0.8, color=colour, label=RULES[name] if number == 0 else None
            )
    axes.axhline(EXPLODES, color=plotting.INK, lw=0.6, ls=":")
    axes.set(xscale="log", title="Iris", xlabel="learning rate", ylabel="ln(largest growth)")
    legend(axes, fontsize=7)


def figures(n: Numbers) -> list[Panels]:
    return [
        Panels(
            "plasticity",
            "Left: the weight of Oja's rule along the leading direction, last steps of a run; the line is "
            "where its fixed point loses stability. Middle: its four exponents, exact at the fixed point, "
            "and ln 3 at 2 (cross). Right: growth of small differences within 200 steps on Iris, one line "
            "a start; the dotted line is a thousandfold.",
            [draw_bifurcation, draw_exponents, draw_rules],
        )
    ]


PLASTICITY = Part(
    name="plasticity",
    title="Plasticity rules: Oja, and feedback alignment",
    presets={"quick": QUICK, "paper": PAPER_PRESET},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    ragged=("place", "begun"),
    citations=("danovski2024",),
)
