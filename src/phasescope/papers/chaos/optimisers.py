"""Momentum and adaptive rates on the Iris network: exponents beside sharpness over each one's threshold.

The paper trains by plain gradient descent alone. Here the same network and starts are trained by five
optimisers. Adam keeps small positive exponents for thousands of steps while it learns; most of the part
asks what they are: whether copies of a run confirm them, when within a run differences grow, what freezing
Adam's second moments does, and whether it lasts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers.chaos.networks import EXPLODES
from phasescope.papers.chaos.shared import STUDY, iris, iris_map, over_starts, share, starts
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen
from phasescope.sweep.task import Task
from phasescope.training import (
    Adam,
    GradientDescent,
    HeavyBall,
    Nesterov,
    RMSprop,
    Rule,
    TrainingMap,
    perturbation_growth,
    tangent_exponents,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

RATES = {
    "gradient descent": (0.1, 1.0, 5.0),
    "heavy ball": (0.03, 0.1, 0.3),
    "Nesterov": (0.03, 0.1, 0.3),
    "RMSprop": (0.003, 0.01, 0.03),
    "Adam": (0.01, 0.03, 0.1, 0.3, 1.0),
    "Adam, eps 0.01": (0.03,),
}
LONG = (("Adam", 0.03), ("Adam", 0.1), ("gradient descent", 1.0))  # followed further
ASKED = 0.03  # the rate of Adam that the questions are about
MOMENTUM = 0.9
_WINDOW = 100  # steps over which growth is averaged
_LOOK, _FIRST_LOOK = (
    25,
    5,
)  # steps between two looks at the sharpness, odd as it alternates; in steps 0 to 200
_EARLY, _LATE = slice(0, 2), slice(15, 30)  # windows: steps 0 to 200, and 1500 to 3000
_KICKED = 1500  # the step at which late kicks start
_KICK = 1e-10
_FAR = 15.0  # ln of the growth up to which kicked copies are close
_GROWS = 0.01  # an exponent that is called positive, 1/step
_SUM_STEPS, _SUM_AFTER = 20, 10  # steps of the sum rule, after so many
_ROUNDING = 1e-6  # of a sum of 249 logarithms
# Measured once for 16 of the same starts: the mean exponent of Adam at rate 0.03 over steps 1500 to 3000.
_ADAM_LATE, _ADAM_LATE_ERROR = 0.0087, 0.0017


class OptimisersSettings(Settings):
    """Sizes of the runs."""

    starts: int = 16  # initialisations
    steps: int = 3000
    long: int = 12_000  # steps of the runs that are followed further
    copies: int = 8  # kicked copies of each start


QUICK = OptimisersSettings(starts=8, long=6000, copies=3)
PAPER_PRESET = OptimisersSettings()

VARIABLES = {
    "growth": Variable(("begun", "window"), f"mean exponent over {_WINDOW} steps", "1/step", optional=True),
    "loss": Variable(("begun", "window"), "loss at the start of the window", optional=True),
    "rises": Variable(("begun", "window"), "share of its steps at which the loss rises", optional=True),
    "ratio": Variable(
        ("begun", "window"), "largest sharpness over the optimiser's threshold in the window", optional=True
    ),
    "distance": Variable(
        ("begun", "window"), "L1 distance of kicked copies at the start of the window", optional=True
    ),
    "outputs": Variable(("begun", "window"), "distance of their outputs, root mean square", optional=True),
    "tangent": Variable(("begun", "window"), "ln of the growth of a tangent since the kick", optional=True),
    "sum": Variable((), "sum of all exponents", "1/step", optional=True),
}


def tasks(config: Any) -> list[Task]:
    """Return one task an optimiser and rate, and those that look closer at Adam."""
    settings: OptimisersSettings = config.optimisers
    common = {"seed": config.seed, "split": config.split, "starts": settings.starts}
    each = 3e-4 + 1e-4 * settings.starts

    def task(kind: str, optimiser: str, rate: float, steps: int, cost: float = 1.0) -> Task:
        known = {"kind": kind, "optimiser": optimiser, "rate": rate, "steps": steps, "copies": 0, **common}
        if kind == "kick":
            known["copies"] = settings.copies
        return Task(STUDY, "optimisers", known, seconds=1 + cost * steps * each, memory=400_000_000)

    made = [
        task("run", optimiser, rate, settings.long if (optimiser, rate) in LONG else settings.steps)
        for optimiser, rates in RATES.items()
        for rate in rates
    ]
    made += [
        task("kick", "Adam", ASKED, settings.long - _KICKED, settings.copies),
        task("frozen", "Adam", ASKED, settings.steps - _KICKED, 4.0),
        task("sum", "Adam", ASKED, _SUM_STEPS, 30.0),
    ]
    return sorted(made, key=lambda each: -each.seconds)


def rule(optimiser: str, rate: float) -> Rule:
    """Return the update rule that a name stands for, with the defaults of torch."""
    match optimiser:
        case "gradient descent":
            return GradientDescent(rate)
        case "heavy ball":
            return HeavyBall(rate, momentum=MOMENTUM)
        case "Nesterov":
            return Nesterov(rate, momentum=MOMENTUM)
        case "RMSprop":
            return RMSprop(rate)
        case "Adam":
            return Adam(rate)
    return Adam(rate, eps=0.01)


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return exponents, losses and sharpness by window; or what kicks, freezing or the sum rule show."""
    known = task.parameters
    plain = iris_map(known["split"], 1.0, device)
    step = TrainingMap(plain.objective, rule(known["optimiser"], known["rate"]))
    x = step.state(starts(known["seed"], range(known["starts"]), device))
    kinds = {"run": _run, "kick": _kick, "frozen": _frozen, "sum": _sum}
    return kinds[known["kind"]](step, x, dict(known), task.seed)


def _run(step: TrainingMap, x: Tensor, known: dict[str, Any], seed: int) -> dict[str, Any]:
    """Carry one tangent along each run, and look at the sharpness on the way."""
    generator = torch.Generator().manual_seed(seed % 2**63)
    v = torch.zeros(len(x), 1, step.size, dtype=x.dtype)
    v[..., : step.weights] = torch.randn(len(x), 1, step.weights, generator=generator, dtype=x.dtype)
    v = (v * torch.nn.functional.pad(step.is_weight.cpu(), (0, step.size - step.weights))).to(x)
    v /= v.norm(dim=-1, keepdim=True)
    growth, losses = [], []
    ratio = np.full((len(x), known["steps"] // _WINDOW), -math.inf)
    for t in range(known["steps"]):
        x, v, loss = step.tangent(x, v, t)
        size = v.norm(dim=-1, keepdim=True)
        v = v / size
        growth.append(size[:, 0, 0].log().cpu())
        losses.append(loss.cpu())
        if (t + 1) % (_FIRST_LOOK if t < _EARLY.stop * _WINDOW else _LOOK) == 0:
            np.maximum(ratio[:, t // _WINDOW], _ratio(step, x, t + 1), out=ratio[:, t // _WINDOW])
    lost = torch.stack(losses, -1).numpy()
    return {
        "growth": _windows(torch.stack(growth, -1).numpy()).mean(-1),
        "loss": _windows(lost)[..., 0],
        "rises": _windows(np.diff(lost, axis=1, append=np.nan) > 0).mean(-1),
        "ratio": ratio,
    }


def _windows(series: np.ndarray) -> np.ndarray:
    """Return (starts, windows, steps of a window) of (starts, steps)."""
    return series.reshape(len(series), -1, _WINDOW)


def _ratio(step: TrainingMap, x: Tensor, t: int) -> np.ndarray:
    """Return sharpness over threshold of each state, from all 83 rows of the Hessian.

    The largest eigenvalue of P^(-1/2) H P^(-1/2), with what the optimiser divides the gradient by in P,
    times the rate, over the threshold of the rule; NaN where a state is not finite.
    """
    parts = step.parts(x)
    w = parts[0]
    everything = torch.eye(step.weights, dtype=w.dtype, device=w.device).expand(len(w), -1, -1)
    hessian = step.objective.products(w, everything.contiguous(), t)[2]
    divisor = step.rule.preconditioner(parts, t)
    if isinstance(divisor, Tensor):
        root = divisor.rsqrt()
        hessian = root[:, :, None] * hessian * root[:, None, :]
    found = np.full(len(w), math.nan)
    finite = hessian.isfinite().flatten(1).all(1)
    top = torch.linalg.eigvalsh(((hessian + hessian.mT) / 2)[finite])[:, -1]
    found[finite.cpu().numpy()] = top.cpu().numpy()
    rate, threshold = step.rule.rate_at(t), step.rule.threshold(t)
    return np.asarray(found * float(rate) / float(threshold))


def _late(step: TrainingMap, x: Tensor) -> Tensor:
    for t in range(_KICKED):
        x = step.step(x, t)
    return x


def _kick(step: TrainingMap, x: Tensor, known: dict[str, Any], seed: int) -> dict[str, Any]:
    """Kick copies after learning has begun; return distances of weights and outputs beside the tangent's."""
    x, steps = _late(step, x), known["steps"]
    apart = perturbation_growth(
        step,
        steps=steps,
        copies=known["copies"],
        size=_KICK,
        x=x,
        start=_KICKED,
        inputs=iris(known["split"]).x,
        seed=seed % 2**31,
    )
    tangents = tangent_exponents(step, steps=steps, x=x, start=_KICKED, weights_only=True, seed=seed % 2**31)
    grown = np.cumsum(tangents.local[..., 0], axis=1)
    assert apart.outputs is not None
    return {
        "distance": apart.l1[:, ::_WINDOW],
        "outputs": apart.outputs[:, ::_WINDOW],
        "tangent": np.concatenate([np.zeros((len(grown), 1)), grown[:, _WINDOW - 1 :: _WINDOW]], axis=1),
    }


def _frozen(step: TrainingMap, x: Tensor, known: dict[str, Any], seed: int) -> dict[str, Any]:
    """Go on with Adam's second moments as they are: heavy ball, with a rate for each weight of each start."""
    x = _late(step, x)
    assert isinstance(step.rule, Adam)
    growth, loss = [], []
    for number, one in enumerate(x):
        w, mean, _ = step.parts(one)
        divisor = step.rule.preconditioner(step.parts(one), _KICKED)
        beta = float(step.rule.beta1)
        held = TrainingMap(step.objective, HeavyBall(known["rate"] * (1 - beta) / divisor, momentum=beta))
        begun = torch.cat([w, mean / (1 - beta)])
        found = tangent_exponents(
            held, steps=known["steps"], x=begun, weights_only=True, seed=(seed + number) % 2**31
        )
        growth.append(found.local[:, 0])
        loss.append(found.loss)
    return {
        "growth": _windows(np.array(growth)).mean(-1),
        "loss": _windows(np.array(loss))[..., 0],
    }


def _sum(step: TrainingMap, x: Tensor, known: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return ln|det| of the derivative of a step, averaged over some steps of one run."""
    one, total = x[0], 0.0
    everything = torch.eye(step.size, dtype=x.dtype, device=x.device)
    for t in range(_SUM_AFTER + known["steps"]):
        new, columns, _ = step.tangent(one, everything, t)
        if t >= _SUM_AFTER:
            total += float(torch.linalg.slogdet(columns)[1])
        one = new
    return {"sum": total / known["steps"]}


@dataclass(frozen=True)
class Numbers:
    """Window by window, shape (starts, windows) each."""

    runs: dict[tuple[str, float], dict[str, np.ndarray]]
    kick: dict[str, np.ndarray]
    frozen: dict[str, np.ndarray]
    total: float  # sum of all exponents of Adam
    size: int  # weights

    def outputs_apart(self) -> np.ndarray:
        """Return the rms difference of outputs of kicked copies at the end, of each start."""
        outputs = self.kick["outputs"]
        return np.asarray(np.median(outputs[:, _last(outputs)], axis=1))


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    def of(one: xr.Dataset, *names: str) -> dict[str, np.ndarray]:
        found = {name: np.asarray(one[name].values[0], dtype=np.float64) for name in names}
        return {name: rows[:, : _filled(rows)] for name, rows in found.items()}

    runs = {
        (optimiser, rate): of(
            chosen(data, kind="run", optimiser=optimiser, rate=rate), "growth", "loss", "rises", "ratio"
        )
        for optimiser, rates in RATES.items()
        for rate in rates
    }
    return Numbers(
        runs,
        of(chosen(data, kind="kick"), "distance", "outputs", "tangent"),
        of(chosen(data, kind="frozen"), "growth", "loss"),
        float(chosen(data, kind="sum")["sum"].values[0]),
        83,
    )


def _filled(rows: np.ndarray) -> int:
    """Return how many columns hold a number in any row."""
    there = np.flatnonzero(np.isfinite(rows).any(0))
    return int(there[-1]) + 1 if there.size else 0


def claims(n: Numbers) -> list[Check]:
    """Return what holds for all optimisers, then what Adam's late exponents are."""
    return [*_threshold_claims(n), *_adam_claims(n)]


def _mean(rows: np.ndarray, windows: slice) -> np.ndarray:
    """Return the mean over windows of each start, NaN where a run diverged."""
    return np.asarray(rows[:, windows].mean(1))


def _last(rows: np.ndarray) -> slice:
    """Return the windows of the last quarter."""
    return slice(3 * rows.shape[1] // 4, rows.shape[1])


def _threshold_claims(n: Numbers) -> list[Check]:
    early = {
        key: (_mean(run["growth"], _EARLY), run["ratio"][:, _EARLY].max(1)) for key, run in n.runs.items()
    }
    growth = np.concatenate([pair[0] for pair in early.values()])
    ratio = np.concatenate([pair[1] for pair in early.values()])
    known = np.isfinite(growth) & np.isfinite(ratio)
    growth, ratio = growth[known], ratio[known]
    exploded = growth * _EARLY.stop * _WINDOW > EXPLODES
    calm, wild = exploded[ratio < 1], exploded[ratio >= 1]
    return [
        Claim(
            "sum-rule",
            "All exponents of Adam add up to n ln(beta_1 beta_2) at any loss, as its memory fades.",
        ).equals(
            n.size * math.log(0.9 * 0.999),
            Estimate(n.total, _ROUNDING, f"{_SUM_STEPS} steps of one start; error: rounding", 1),
            note=f"n = {n.size}, {3 * n.size} exponents: whatever grows, volume shrinks at a fixed rate.",
        ),
        Claim(
            "below-threshold",
            "Small differences do not explode while sharpness stays below the optimiser's own threshold.",
        ).below(
            0.1,
            share(calm, "share of runs that explode"),
            note=f"Of runs of all optimisers, {len(calm)} stay below it in steps 0 to 200; exploding is a "
            "growth of more than a thousandfold there. Agrees 3 errors below 10 %.",
        ),
        Claim(
            "above-threshold", "They explode in more of the runs that pass it than of those that do not."
        ).positive(
            share(wild) - share(calm),
            note=f"{len(wild)} runs pass it. Passing it is necessary and not sufficient: a short passage is "
            "forgotten.",
        ),
    ]


def _adam_claims(n: Numbers) -> list[Check]:
    adam, capped = n.runs["Adam", ASKED], n.runs["Adam, eps 0.01", ASKED]
    late, last = _mean(adam["growth"], _LATE), _mean(adam["growth"], _last(adam["growth"]))
    grown = np.log(n.kick["distance"] / n.kick["distance"][:, :1])
    # The last window of each start before its copies come near the size of the attractor.
    linear = np.array(
        [
            np.flatnonzero(rows < _FAR)[-1] if (rows[-1] < _FAR) else np.argmax(rows >= _FAR) - 1
            for rows in grown
        ]
    )
    along = np.take_along_axis(grown - n.kick["tangent"], linear[:, None], axis=1)[:, 0]
    limit = (3000 - _KICKED) // _WINDOW
    apart = np.log10(n.outputs_apart())
    crossing, staying = _by_crossing(adam)
    frozen = np.cumsum(n.frozen["growth"] * _WINDOW, axis=1).max(1) > EXPLODES
    steps = adam["growth"].shape[1] * _WINDOW
    where = f"Iris, rate {ASKED}, steps 1500 to 3000"
    source = "asked here: Adam is in neither paper"
    return [
        Claim(
            "adam-late", f"While it learns, Adam keeps a small positive exponent ({where}).", source
        ).equals(
            _ADAM_LATE,
            over_starts(late),
            allowance=3 * _ADAM_LATE_ERROR,
            note=f"Expected: {_ADAM_LATE} ± {_ADAM_LATE_ERROR}, once, of 16 of these starts; allowance 3 of "
            f"its errors. {int((late > _GROWS).sum())} of {len(late)} starts are above {_GROWS}.",
        ),
        Claim("adam-kick", f"Copies kicked by 1e-10 at step {_KICKED} grow as tangents do.", source).equals(
            0.0,
            over_starts(along),
            allowance=2.0,
            note="Measured: ln growth of the mean distance less that of a tangent, in the last window "
            f"before the growth reaches e^{_FAR:g}. Allowance 2: directions are random. At step 3000 the "
            f"growth is e^{np.median(grown[:, limit]):.1f} in the median; it ends near e^21, at a distance "
            "of 3.",
        ),
        Claim(
            "adam-functions", "Copies end as different functions, not as one in other weights.", source
        ).positive(
            over_starts(apart + 3.0),
            note="Measured: base-10 logarithm of the rms difference of outputs in the last quarter, plus "
            f"3: outputs differ by 10^{np.median(apart):.1f} in the median, after a kick of 1e-10.",
        ),
        Claim(
            "adam-bursts",
            "Adam's differences grow in bursts, where the preconditioned sharpness passes Adam's threshold.",
            source,
        ).positive(
            crossing[0] - staying[0],
            note=f"Measured: exponent in windows of {_WINDOW} steps that pass 38 over the rate, "
            f"{100 * crossing[1]:.0f} % of all, less that in the others, which is {staying[0]}.",
        ),
        Claim(
            "adam-second-moments",
            f"The growth is the second moments' own: with them frozen at step {_KICKED} nothing grows.",
            source,
        ).below(
            0.1,
            share(frozen, "share of starts that explode"),
            note="Measured: share of starts in which a tangent grows a thousandfold. Agrees 3 errors below "
            "10 %, disagrees 3 above: then freezing removes what saves Adam, which is that a growing "
            "gradient enlarges the divisor.",
        ),
        Claim(
            "adam-cap",
            "A divisor of at least 0.01 (eps) ends it: the effective rate is then bounded.",
            source,
        ).positive(
            over_starts(late / 2 - _mean(capped["growth"], _LATE), "difference of means of the same starts"),
            note="Measured: half the exponent of Adam less that with eps = 0.01, same starts. That run "
            f"also learns less: loss {np.median(capped['loss'][:, -1]):.3g} at step 3000, against "
            f"{np.median(adam['loss'][:, 2900 // _WINDOW]):.3g}.",
        ),
        Claim(
            "adam-sustained",
            "Adam's small positive exponents last (rate 0.03): they are chaos and no transient.",
            source,
        ).positive(
            over_starts(last - late / 2, "difference of means of the same starts"),
            note=f"Measured: exponent of the last quarter of {steps} steps, {over_starts(last)}, less half "
            "of that of steps 1500 to 3000. Disagrees 3 errors below zero: then it was a transient, as at "
            "rate 1 of plain gradient descent.",
        ),
    ]


def _by_crossing(run: dict[str, np.ndarray]) -> tuple[tuple[Estimate, float], tuple[Estimate, float]]:
    """Return exponents, averaged for each start, and shares of windows, with and without a passed threshold.

    From step 500, when most of the descent is over.
    """
    growth, passed = run["growth"][:, 5:], run["ratio"][:, 5:] > 1
    made = []
    for kind in (passed, ~passed):
        counts = kind.sum(1)
        sums = np.where(kind, growth, 0).sum(1)
        made.append((over_starts(np.where(counts, sums / np.maximum(counts, 1), np.nan)), float(kind.mean())))
    return made[0], made[1]


def tables(n: Numbers) -> list[Table]:
    rows = []
    for (optimiser, rate), run in n.runs.items():
        early, late = _mean(run["growth"], _EARLY), _mean(run["growth"], _LATE)
        rows.append(
            [
                optimiser,
                f"{rate:g}",
                str(over_starts(early)),
                str(over_starts(late)),
                f"{int((late > _GROWS).sum())} of {len(late)}",
                f"{np.nanmedian(run['ratio'][:, _EARLY].max(1)):.2f}",
                f"{np.nanmedian(run['ratio'][:, _LATE]):.2f}",
                f"{np.nanmean(run['rises'][:, _LATE]):.2f}",
                f"{np.nanmedian(run['loss'][:, _LATE][:, -1]):.3g}",
            ]
        )
    columns = ["optimiser", "rate", "exponent, steps 0-200", "exponent, 1500-3000", f"late above {_GROWS}"]
    columns += ["largest ratio, 0-200", "median ratio, late", "steps where the loss rises, late", "loss"]
    later = []
    for key in LONG:
        growth, loss = n.runs[key]["growth"], n.runs[key]["loss"]
        quarters = np.linspace(0, growth.shape[1], 5).astype(int)
        spans = [slice(a, b) for a, b in pairwise(quarters)]
        later.append(
            [key[0], f"{key[1]:g}"]
            + [str(over_starts(_mean(growth, span))) for span in spans]
            + [f"{int((_mean(growth, spans[-1]) > _GROWS / 10).sum())} of {len(growth)}"]
            + [f"{np.median(loss[:, -1]):.2g}"]
        )
    steps = n.runs[LONG[0]]["growth"].shape[1] * _WINDOW
    names = [f"{i * steps // 4}-{(i + 1) * steps // 4}" for i in range(4)]
    return [
        Table("Exponents, and sharpness over the optimiser's own threshold (ratio)", columns, rows),
        Table(
            "Exponents in quarters of a longer run",
            ["optimiser", "rate", *names, f"last above {_GROWS / 10:g}", "loss"],
            later,
        ),
    ]


def notes(n: Numbers) -> list[str]:
    return [
        "Thresholds of rate times sharpness: 2 for gradient descent, 2 (1 + b) for heavy ball, 2 (1 + "
        "b)/(1 + 2 b) for Nesterov, 2 for RMSprop and 2 (1 + b)/(1 - b) = 38 for Adam, with b = 0.9; for "
        "the last two sharpness is that of P^(-1/2) H P^(-1/2), P what the gradient is divided by, held "
        f"fixed. The ratio is looked at every {_LOOK} steps, from the whole Hessian.",
        "What Adam does: while the loss falls, gradients shrink and with them the divisor, so that the "
        "effective rate rises until the preconditioned sharpness passes the threshold. Differences then "
        "grow e^15 to e^20-fold within some hundred steps, the gradient grows, the divisor with it, and "
        "the run is stable again. At rate 0.03 it ends when the loss is below 0.001, as the sharpness then "
        "falls faster than the divisor; at 0.1 some starts go on to the end, as a few do with gradient "
        "descent at 1. The table of quarters counts them.",
        "So two runs of Adam that differ by rounding end as different functions even where no exponent stays "
        "positive: what grew is not taken back.",
        "Optimisers, rates and windows were chosen here.",
    ]


def draw_early(axes: Axes, n: Numbers) -> None:
    _on_one_axis(axes, n, _EARLY)
    axes.set(title="Steps 0 to 200", xlabel="largest sharpness / threshold", ylabel="exponent, 1/step")


def draw_late(axes: Axes, n: Numbers) -> None:
    _on_one_axis(axes, n, _LATE)
    axes.set(title="Steps 1500 to 3000", xlabel="largest sharpness / threshold", ylabel="exponent, 1/step")
    legend(axes, fontsize=7, loc="lower left", ncols=2)


def _on_one_axis(axes: Axes, n: Numbers, windows: slice) -> None:
    """Draw a dot for each start of each run, and the threshold."""
    for (optimiser, rates), colour in zip(RATES.items(), colours(len(RATES)), strict=True):
        runs = [n.runs[optimiser, rate] for rate in rates]
        ratio = np.concatenate([run["ratio"][:, windows].max(1) for run in runs])
        growth = np.concatenate([_mean(run["growth"], windows) for run in runs])
        axes.plot(ratio, growth, "o", ms=2.6, color=colour, label=optimiser, alpha=0.8)
    axes.axvline(1, color=plotting.THEORY, lw=1)
    axes.set_xscale("log")
    axes.set_xlim(0.03, 30)
    axes.set_yscale("symlog", linthresh=1e-3)


def draw_in_time(axes: Axes, n: Numbers) -> None:
    for key, colour in zip(LONG, colours(len(LONG)), strict=True):
        growth = n.runs[key]["growth"]
        groups = growth[:, : growth.shape[1] // 5 * 5].reshape(len(growth), -1, 5).mean((0, 2))
        axes.plot(
            (np.arange(len(groups)) + 0.5) * 5 * _WINDOW,
            groups,
            "o-",
            ms=3,
            color=colour,
            lw=1,
            label=f"{key[0]}, {key[1]:g}",
        )
    axes.set_yscale("symlog", linthresh=1e-3)
    axes.set(title="Mean over starts", xlabel="step", ylabel="exponent, 1/step")
    legend(axes, fontsize=7)


def draw_kick(axes: Axes, n: Numbers) -> None:
    steps = _KICKED + _WINDOW * np.arange(n.kick["distance"].shape[1])
    for name, colour, label in (
        ("distance", plotting.MEASURED, "weights, L1"),
        ("outputs", colours(2)[1], "outputs, rms"),
    ):
        for number, rows in enumerate(n.kick[name]):
            axes.plot(steps, rows, color=colour, lw=0.8, alpha=0.8, label=label if number == 0 else None)
    axes.set(yscale="log", title=f"Adam, {ASKED:g}, kicked by 1e-10", xlabel="step", ylabel="distance")
    legend(axes)


def draw_bursts(axes: Axes, n: Numbers) -> None:
    run = n.runs["Adam", ASKED]
    start = int(np.nanargmax(_mean(run["growth"], _LATE)))
    growth, ratio = run["growth"][start], run["ratio"][start]
    steps = (np.arange(len(growth)) + 0.5) * _WINDOW
    axes.plot(steps, ratio, color=plotting.INK, lw=0.9, label="sharpness / threshold")
    axes.plot(steps, 30 * growth, color=plotting.MEASURED, lw=1.1, label="30 x exponent")
    axes.axhline(1, color=plotting.THEORY, lw=0.8)
    axes.set(title=f"Adam, {ASKED:g}, start {start}", xlabel="step")
    legend(axes, loc=(0.42, 0.24))


def figures(n: Numbers) -> list[Panels]:
    return [
        Panels(
            "one-axis",
            "Exponent of single runs against the largest sharpness in the same steps, over the threshold "
            "of the optimiser: early, and after learning. Right of the line sharpness has passed it.",
            [draw_early, draw_late],
        ),
        Panels(
            "adam",
            "Left: exponents in time, averaged over starts and 500 steps. Middle: copies kicked by 1e-10 "
            "at step 1500, one line a start. Right: one start of Adam; differences grow where sharpness "
            "passes the threshold.",
            [draw_in_time, draw_kick, draw_bursts],
        ),
    ]


OPTIMISERS = Part(
    name="optimisers",
    title="Momentum, RMSprop and Adam",
    presets={"quick": QUICK, "paper": PAPER_PRESET},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    ragged=("window",),
    citations=("danovski2024",),
)
