"""Beyond the paper's network: structure, loss, inputs, start, regularisation and batches, on one axis.

The paper leaves open how the onset of chaos depends on them. One thing at a time is changed in the Iris
network, and the onset is held against sharpness: of the start, which a user can know, and the largest along
the flow that training follows at small rates, which moves nothing by itself to the edge of stability.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers.chaos.networks import EXPLODES, crossing, drawn, perceptron
from phasescope.papers.chaos.shared import CLASSES, PAPER, STUDY, UNITS, Iris, iris, over_starts, share
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen
from phasescope.sweep.task import Task
from phasescope.training import (
    GradientDescent,
    Objective,
    TrainingMap,
    objective,
    perturbation_growth,
    sharpness,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

Loss = Callable[[Tensor, Tensor], Tensor]
STEPS = 200  # of the paper, in which differences are to grow
RATES = np.geomspace(2**-7, 2**8, 31)  # each the square root of 2 times the one before
_COPIES = 3
_ONE = 1.0  # the paper's rate at the edge
_FLOW = 8.0  # the onset is so many times the rate at which the flow is followed


def binary(output: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy of sigmoid outputs, summed over classes."""
    losses = nn.functional.binary_cross_entropy_with_logits(output, target, reduction="none")
    return losses.sum(1).mean()


@dataclass(frozen=True)
class _Variant:
    """What differs from the paper's network, and in which group it is shown."""

    group: str
    hidden: tuple[int, ...] = (UNITS,)
    loss: Loss = nn.functional.cross_entropy
    inputs: str = "raw"
    deviation: Callable[[int], float] = field(default=lambda inputs: 1.0)
    decay: float = 0.0
    batch: int = 0  # flowers a step; 0 for all
    sigmoid: bool = False  # whether the outputs pass a sigmoid


VARIANTS = {
    "paper": _Variant("paper"),
    "3 units": _Variant("structure", (3,)),
    "30 units": _Variant("structure", (30,)),
    "100 units": _Variant("structure", (100,)),
    "2 layers": _Variant("structure", (UNITS, UNITS)),
    "3 layers": _Variant("structure", (UNITS, UNITS, UNITS)),
    "squared error": _Variant("loss", loss=nn.functional.mse_loss, sigmoid=True),
    "binary": _Variant("loss", loss=binary),
    "standardised": _Variant("inputs", inputs="standardised"),
    "from 0 to 1": _Variant("inputs", inputs="from 0 to 1"),
    "variance 1/4": _Variant("start", deviation=lambda inputs: 0.5),
    "variance 1/n": _Variant("start", deviation=lambda inputs: inputs**-0.5),
    "variance 4": _Variant("start", deviation=lambda inputs: 2.0),
    "L2 0.001": _Variant("L2", decay=1e-3),
    "L2 0.01": _Variant("L2", decay=1e-2),
    "L2 0.1": _Variant("L2", decay=1e-1),
    "batches of 30": _Variant("batches", batch=30),
    "batches of 10": _Variant("batches", batch=10),
}
GROUPS = tuple(dict.fromkeys(variant.group for variant in VARIANTS.values()))


class BeyondSettings(Settings):
    """Sizes of the comparison."""

    starts: int = 40  # initialisations
    flow_starts: int = 16  # of them, whose sharpness is followed
    looks: int = 24  # at the sharpness of each


QUICK = BeyondSettings(starts=8, flow_starts=4, looks=10)
PAPER_PRESET = BeyondSettings()

VARIABLES = {
    "grown": Variable(
        ("begun", "tried"), f"ln of the largest growth of L1 in {STEPS} steps; NaN where not tried"
    ),
    "onset": Variable(("begun",), "onset of chaos"),
    "kept": Variable(("begun",), "exponent in the best window at rate 1; NaN where it is not kept", "1/step"),
    "whole": Variable(("begun",), "exponent over the whole run at rate 1", "1/step"),
    "rises": Variable((), "share of steps at which the loss rises, at rate 1"),
    "first": Variable(("followed",), "sharpness of the loss of all flowers, at the start"),
    "largest": Variable(
        ("followed",), "largest sharpness along the flow, over the time of a run at the onset"
    ),
}


def tasks(config: Any) -> list[Task]:
    """Return one task a variant."""
    settings: BeyondSettings = config.beyond
    common = {**settings.model_dump(), "seed": config.seed, "split": config.split}
    made = []
    for name, variant in VARIANTS.items():
        slow = 3.0 if variant.loss is binary else 1.0
        size = 1 + sum(variant.hidden) / 60
        seconds = 1 + slow * size * (
            16 * STEPS * settings.starts * 6e-5 + settings.flow_starts * (settings.looks * 0.03)
        )
        made.append(Task(STUDY, "beyond", {"variant": name, **common}, seconds=seconds, memory=400_000_000))
    return sorted(made, key=lambda task: -task.seconds)


@lru_cache(maxsize=4)
def _inputs(split: int, kind: str) -> Iris:
    """Return the flowers, each of their four lengths as it is or rescaled by those of the training part."""
    data = iris(split)
    if kind == "raw":
        return data
    if kind == "standardised":
        centre, scale = data.x.mean(0), data.x.std(0, correction=0)
    else:
        centre, scale = data.x.amin(0), data.x.amax(0) - data.x.amin(0)
    return Iris((data.x - centre) / scale, data.y, (data.x_test - centre) / scale, data.y_test)


def _objectives(variant: _Variant, split: int, device: str) -> tuple[Objective, Objective]:
    """Return the loss that training sees, and that of all flowers."""
    data = _inputs(split, variant.inputs)
    model = perceptron((4, *variant.hidden, CLASSES), nn.Sigmoid)
    if variant.sigmoid:
        model.append(nn.Sigmoid())
    target = data.y
    if variant.loss is not nn.functional.cross_entropy:
        target = nn.functional.one_hot(target, CLASSES).double()
    whole = objective(model, variant.loss, (data.x, target), device=device)
    if not variant.batch:
        return whole, whole
    parts = list(zip(torch.split(data.x, variant.batch), torch.split(target, variant.batch), strict=True))
    return objective(model, variant.loss, parts, device=device), whole


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return the growth of small differences at rising rates, and the sharpness that training meets."""
    known = task.parameters
    variant = VARIANTS[known["variant"]]
    seen, whole = _objectives(variant, known["split"], device)
    w = drawn(whole, range(known["starts"]), known["seed"], variant.deviation)

    def step(rate: float) -> TrainingMap:
        return TrainingMap(seen, GradientDescent(rate, decay=variant.decay))

    def apart(rate: float) -> Any:
        return perturbation_growth(step(rate), steps=STEPS, copies=_COPIES, x=w, seed=task.seed % 2**31)

    grown = np.full((len(w), len(RATES)), math.nan)
    for place, rate in enumerate(RATES):
        grown[:, place] = _grown(apart(float(rate)).l1)
        above = grown[:, : place + 1] > EXPLODES
        if place and above.any(1).all():
            break
    onset = np.array([crossing(RATES, rows) for rows in grown])
    one = apart(_ONE)
    kept = np.array([each.value if each.determined else math.nan for each in one.fitted])
    whole_run = np.array([each.value if each.determined else math.nan for each in one.whole_run])
    time = float(np.nanmedian(onset)) if np.isfinite(onset).any() else float(RATES[-1])
    followed = _sharpness(
        TrainingMap(whole, GradientDescent(time / _FLOW, decay=variant.decay)),
        w[: known["flow_starts"]],
        round(_FLOW * STEPS),
        known["looks"],
    )
    loss = one.loss[:, :-1]
    return {
        "grown": grown,
        "onset": onset,
        "kept": kept,
        "whole": whole_run,
        "rises": float(np.mean(np.diff(loss, axis=1) > 0)),
        "first": followed[:, 0],
        "largest": followed.max(1),
    }


def _grown(l1: np.ndarray) -> np.ndarray:
    """Return ln of the largest growth; infinite where a copy diverged."""
    ratio = np.where(np.isfinite(l1), l1, np.inf).max(1) / l1[:, 0]
    return np.asarray(np.log(ratio))


def _sharpness(step: TrainingMap, x: Tensor, steps: int, looks: int) -> np.ndarray:
    """Return the sharpness at the start and at times even in their logarithm, shape (starts, looks)."""
    times = {0, *np.unique(np.geomspace(1, steps, looks - 1).round().astype(int)).tolist()}
    found = []
    for t in range(steps + 1):
        if t in times:
            found.append([sharpness(step.objective, one).top.value for one in x])
        x = step.step(x, t)
    return np.array(found).T + float(step.rule.decay)


@dataclass(frozen=True)
class Numbers:
    """What each variant shows."""

    variants: dict[str, xr.Dataset]  # one task each
    names: list[str]  # of those with an onset and a sharpness

    def of(self, variant: str, name: str) -> np.ndarray:
        """Return one value for each start."""
        return np.asarray(self.variants[variant][name].values, dtype=np.float64)

    def edge(self, variant: str) -> float:
        """Return the geometric mean onset times the largest sharpness over 2: 1 at the edge of stability."""
        onset, largest = (np.log(self.of(variant, name)) for name in ("onset", "largest"))
        return float(np.exp(np.nanmean(onset) + largest.mean()) / 2)

    def log(self, name: str) -> np.ndarray:
        """Return for each variant that has one the mean logarithm over starts."""
        return np.array([np.nanmean(np.log(self.of(variant, name))) for variant in self.names])


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    variants = {name: chosen(data, variant=name).isel(task=0) for name in VARIANTS}
    known = [name for name, one in variants.items() if np.isfinite(one["onset"].values).any()]
    return Numbers(variants, known)


def claims(n: Numbers) -> list[Check]:
    """Return whether sharpness places the onset, then what moves it."""
    return [*_axis_claims(n), *_variant_claims(n)]


def _jackknife(function: Callable[[np.ndarray], float], rows: np.ndarray, method: str) -> Estimate:
    """Return a function of all variants, rows of a matrix, with its error from leaving out one at a time."""
    if len(rows) < 4:
        return Estimate.not_determined(
            f"{len(rows)} variants have an onset, at least 4 needed", method=method
        )
    left = np.array([function(np.delete(rows, i, axis=0)) for i in range(len(rows))])
    error = math.sqrt((len(left) - 1) / len(left) * ((left - left.mean()) ** 2).sum())
    return Estimate(function(rows), error, method, len(rows))


def _axis_claims(n: Numbers) -> list[Check]:
    rows = np.stack([n.log("onset"), n.log("first"), n.log("largest")], axis=1)  # (variants, 3)
    spread = "difference of standard deviations over variants, jackknife"

    def narrower(column: int) -> Estimate:
        return _jackknife(
            lambda some: float(some[:, 0].std(ddof=1) - (some[:, 0] + some[:, column]).std(ddof=1)),
            rows,
            spread,
        )

    note = f"Measured: standard deviation of ln(onset) over {len(rows)} variants less that of ln(onset x "
    note += "sharpness)."
    if len(rows) > 1:
        plain, first, largest = (100 * (rows[:, 0] + x).std(ddof=1) for x in (0, rows[:, 1], rows[:, 2]))
        note += (
            f" They are {plain:.0f} %, {first:.0f} % with the sharpness of the start and {largest:.0f} % "
            "with the largest along the flow."
        )
    source = f"asked in {PAPER}; measured here"
    ratios = rows[:, 0] + rows[:, 2] - math.log(2)
    worst = f"{math.exp(ratios.max()):.1f} ({n.names[int(ratios.argmax())]})" if len(ratios) else "none"
    pairs = [(n.of(name, "onset"), n.of(name, "largest")) for name in n.names]
    edges = np.concatenate([np.zeros(0), *(onset[: len(largest)] * largest / 2 for onset, largest in pairs)])
    below = edges[np.isfinite(edges)] < 1
    return [
        Claim(
            "axis-largest",
            "Rate times the largest sharpness along the flow places the onset better than the rate.",
            source,
        ).positive(narrower(2), note=note),
        Claim(
            "axis-start",
            "Rate times the sharpness of the start places the onset better than the rate does.",
            source,
        ).positive(narrower(1), note=note),
        Claim(
            "axis-slope",
            "The onset is inversely proportional to the largest sharpness along the flow.",
            source,
        ).equals(
            -1.0,
            _jackknife(
                lambda some: float(np.polyfit(some[:, 2], some[:, 0], 1)[0]),
                rows,
                "slope over variants, jackknife",
            ),
            resolution=0.3,
            note="Measured: slope of ln(onset) against ln(sharpness).",
        ),
        Claim(
            "axis-bound",
            "There is no chaos before the edge of stability: rate times sharpness below 2.",
            source,
        ).below(
            0.1,
            share(below, "share of starts and variants"),
            note="Measured: share of starts, of all variants, whose onset times the largest sharpness of "
            "their own flow is below 2. Agrees 3 errors below 10 %.",
        ),
        Claim("axis-two", "Chaos begins at the edge of stability: rate times sharpness is 2.", source).equals(
            0.0,
            _jackknife(
                lambda some: float((some[:, 0] + some[:, 2] - math.log(2)).mean()),
                rows,
                "mean over variants, jackknife",
            ),
            allowance=math.log(1.25),
            resolution=0.3,
            note="Measured: mean over variants of ln(onset x largest sharpness / 2). Allowance ln 1.25: "
            f"growing a thousandfold within {STEPS} steps needs more than the edge. Largest: {worst}.",
        ),
    ]


def _ratio(n: Numbers, one: str, other: str, name: str = "onset") -> Estimate:
    """Return ln of the ratio of onsets of the same starts, or of their means where networks differ."""
    return over_starts(
        np.log(n.of(one, name)) - np.log(n.of(other, name)), "ln of the ratio, mean over initialisations"
    )


def _variant_claims(n: Numbers) -> list[Check]:
    asked = f"asked in {PAPER}; measured here"
    kept = share(np.isfinite(n.of("standardised", "kept")))
    made = [
        Claim(
            "units", "More hidden units bring the onset forward, at weights of variance 1.", asked
        ).positive(
            _ratio(n, "3 units", "100 units"),
            note="Measured: ln of the onset with 3 units over that with 100.",
        ),
        Claim("layers", "More layers bring the onset forward, at weights of variance 1.", asked).positive(
            _ratio(n, "paper", "3 layers"),
            note="Measured: ln of the onset with 1 hidden layer over that with 3.",
        ),
        Claim("inputs", "Standardised inputs put the onset off more than threefold.", asked).positive(
            _ratio(n, "standardised", "paper") - math.log(3),
            note="Measured: ln of the ratio of onsets, less ln 3.",
        ),
        Claim("inputs-one", "With standardised inputs nothing grows at rate 1.", asked).below(
            0.2,
            kept,
            note="Measured: share of starts with an exponent by the paper's rule (R^2 above 0.9, slope "
            f"above 0.05). It is {share(np.isfinite(n.of('paper', 'kept')))} with raw inputs. Agrees 3 "
            "errors below 20 %.",
        ),
        Claim(
            "loss", "Squared error of sigmoid outputs puts the onset off more than threefold.", asked
        ).positive(
            _ratio(n, "squared error", "paper") - math.log(3),
            note="Measured: ln of the ratio of onsets, less ln 3.",
        ),
        Claim(
            "start", "Smaller initial weights move the onset less than inputs and loss do.", asked
        ).positive(
            _ratio(n, "standardised", "variance 1/4"),
            note="Measured: ln of the onset with standardised inputs over that with weights of variance 1/4.",
        ),
        Claim("regularisation", "L2 regularisation stabilises training.", f"{PAPER}, a conjecture").positive(
            over_starts(n.of("paper", "whole") - n.of("L2 0.01", "whole")),
            note="Measured: exponent over 200 steps at rate 1 without L2 less that with 0.01, same starts.",
        ),
        Claim(
            "regularisation-onset", "L2 regularisation of 0.01 puts the onset off.", f"{PAPER}, a conjecture"
        ).positive(_ratio(n, "L2 0.01", "paper"), note="Measured: ln of the ratio of onsets, same starts."),
        Claim("batches", "The noise of mini-batches of 10 brings the onset forward.", asked).positive(
            _ratio(n, "paper", "batches of 10"),
            note="Measured: ln of the ratio of onsets, same starts; the same sequence of batches for all "
            "copies.",
        ),
    ]
    return made


def tables(n: Numbers) -> list[Table]:
    rows = []
    for name, one in n.variants.items():
        kept = n.of(name, "kept")
        onset = n.of(name, "onset")
        rows.append(
            [
                name,
                f"{over_starts(onset)}"
                + ("" if np.isfinite(onset).all() else f" ({np.isnan(onset).sum()} without)"),
                str(over_starts(n.of(name, "first"))),
                str(over_starts(n.of(name, "largest"))),
                f"{n.edge(name):.2f}" if name in n.names else "unknown",
                f"{np.isfinite(kept).mean():.2f}",
                str(over_starts(kept)),
                str(over_starts(n.of(name, "whole"))),
                f"{float(one['rises']):.2f}",
            ]
        )
    columns = ["variant", "onset", "sharpness at the start", "largest along the flow", "onset x largest / 2"]
    columns += [
        "kept at rate 1",
        "exponent, best window",
        "exponent, 200 steps",
        "steps where the loss rises",
    ]
    return [Table("One thing changed in the paper's network", columns, rows)]


def notes(n: Numbers) -> list[str]:
    return [
        "The onset is the rate at which the L1 distance of copies kicked by 1e-8 grows a thousandfold "
        f"within {STEPS} steps: first from rate to rate, each the square root of 2 times the one before, "
        "then linear between the two.",
        "Sharpness is that of the loss of all flowers, L2 included. Along the trajectory at the onset "
        "itself it would be close to 2 over the rate whatever the network, as sharpness settles at the "
        "edge of stability; so it is followed at an eighth of the onset, over the same training time.",
        "The best window raises an exponent; that of the whole run stands beside it.",
        "Variants were chosen here. Mini-batches are a fixed sequence, the same for all copies.",
    ]


def _palette() -> dict[str, str]:
    return dict(zip(GROUPS, colours(len(GROUPS)), strict=True))


def draw_onsets(axes: Axes, n: Numbers) -> None:
    palette = _palette()
    for place, (name, variant) in enumerate(VARIANTS.items()):
        onset = n.of(name, "onset")
        onset = onset[np.isfinite(onset)]
        colour = palette[variant.group]
        axes.plot(onset, np.full(len(onset), place), "|", ms=5, color=colour, alpha=0.7)
        if len(onset):
            axes.plot(np.exp(np.log(onset).mean()), place, "o", ms=4.5, color=colour)
    axes.set(xscale="log", title="Onset of chaos", xlabel="learning rate")
    axes.set_yticks(range(len(VARIANTS)), list(VARIANTS), fontsize=7)
    axes.invert_yaxis()


def draw_sharpness(axes: Axes, n: Numbers) -> None:
    palette = _palette()
    seen: set[str] = set()
    for name in n.names:
        group = VARIANTS[name].group
        largest, onset = np.log(n.of(name, "largest")), np.log(n.of(name, "onset"))
        axes.plot(
            np.exp(largest.mean()),
            np.exp(np.nanmean(onset)),
            "o",
            ms=5,
            color=palette[group],
            label=None if group in seen else group,
        )
        seen.add(group)
    if n.names:
        x = np.exp([n.log("largest").min() - 0.3, n.log("largest").max() + 0.3])
        axes.plot(x, 2 / x, color=plotting.THEORY, lw=1, label="2 / sharpness")
    axes.set(xscale="log", yscale="log", title="Against sharpness", xlabel="largest sharpness along the flow")
    axes.set_ylabel("onset of chaos")
    legend(axes, fontsize=7)


def _growth(axes: Axes, n: Numbers, *, scaled: bool) -> None:
    palette = _palette()
    for name in n.names:
        grown = n.of(name, "grown")
        finite = np.where(np.isfinite(grown), grown, math.nan)
        known = np.isfinite(finite).all(0)
        scale = math.exp(np.log(n.of(name, "largest")).mean()) / 2 if scaled else 1.0
        axes.plot(RATES[known] * scale, finite[:, known].mean(0), lw=1, color=palette[VARIANTS[name].group])
    axes.axhline(EXPLODES, color=plotting.INK, lw=0.6, ls=":")
    axes.set(xscale="log", ylim=(-1, 25), ylabel="ln(largest growth)")


def draw_growth(axes: Axes, n: Numbers) -> None:
    _growth(axes, n, scaled=False)
    axes.set(title="By learning rate", xlabel="learning rate")


def draw_scaled(axes: Axes, n: Numbers) -> None:
    _growth(axes, n, scaled=True)
    axes.axvline(1, color=plotting.THEORY, lw=1)
    axes.set(title="By distance from the edge", xlabel="rate x largest sharpness / 2")


def figures(n: Numbers) -> list[Panels]:
    return [
        Panels(
            "onset",
            "Left: onset of chaos when one thing is changed in the paper's network; a bar a start, dots "
            "geometric means. Right: the same against the largest sharpness that the flow of training "
            "meets.",
            [draw_onsets, draw_sharpness],
            size=(4.6, 3.9),
        ),
        Panels(
            "axis",
            "Growth of small differences within 200 steps, mean over starts, one line a variant: against "
            "the learning rate, and against the rate over the edge of stability of its flow. The dotted "
            "line is the thousandfold growth that counts as chaos.",
            [draw_growth, draw_scaled],
            size=(4.6, 3.1),
            share_y=True,
        ),
    ]


BEYOND = Part(
    name="beyond",
    title="Beyond the paper's network: rate or sharpness?",
    presets={"quick": QUICK, "paper": PAPER_PRESET},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    citations=("danovski2024", "cohen2021"),
)
