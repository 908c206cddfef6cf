"""Directions that the data fix around trained weights: by Langevin chains, and by the curvature alone.

The learning coefficient of a chain around a minimum is half the effective dimension where the loss is
quadratic; the chains of :func:`phasescope.training.langevin` are coupled to their quadratic part, so that a
difference of a few percent is seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers.related.shared import STUDY, digits
from phasescope.papers.small_networks import perceptron, train
from phasescope.studies.claim import Check, Claim, Outcome
from phasescope.studies.drawing import colours, legend
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen
from phasescope.studies.samples import mean, share
from phasescope.sweep.task import Task
from phasescope.theory import semi_implicit_variance
from phasescope.training import langevin

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr
    from matplotlib.axes import Axes

_RATE = 0.02  # of Adam, on all samples at once
_SIZES = (16, 12, 10)  # 334 parameters
_LOCALISATION = 100.0
_STEP = {"eta": 0.01, "beta": 50.0, "decay": 0.1, "curvature": 2.0, "weight": 10.0}
_COPIES, _SETTLE, _APART = 100_000, 150, 50  # of the semi-implicit step; steps before and between draws
_SERIES = {"loss": "loss", "value": "coefficient", "half": "half the dimension", "excess": "excess / half"}
_SAME, _RATIO = 0.1, (1.5, 3.0)  # relative excess that is called small; range of random over true labels


class LangevinSettings(Settings):
    """Networks that are trained and the chains around them."""

    seeds: int = 3
    noise: tuple[float, ...] = (0.0, 1.0)  # shares of labels that are drawn anew; 0 and 1 are among them
    samples: int = 1000
    steps: int = 400  # of training
    long: int = 1600  # of training until the loss has all but vanished
    chain: int = 0  # steps of each chain; 0 to choose them from the slowest mode
    draws: int = 32  # of the semi-implicit step, of each copy
    sizes: tuple[int, ...] = ()  # numbers of samples of a series; the last also at each of `cold`
    cold: tuple[float, ...] = ()  # inverse temperatures over 1/ln n; the localisation grows with them


QUICK = LangevinSettings()
PAPER = LangevinSettings(
    seeds=10, noise=(0.0, 0.25, 0.5, 0.75, 1.0), draws=128, sizes=(300, 600, 1200), cold=(0.25, 1.0, 4.0)
)

VARIABLES = {
    "value": Variable((), "local learning coefficient, or the variance of a step"),
    "error": Variable((), "its standard error"),
    "half": Variable((), "half the effective dimension", optional=True),
    "excess": Variable((), "learning coefficient less half the effective dimension", optional=True),
    "uncorrected_error": Variable((), "standard error of the plain mean", optional=True),
    "loss": Variable((), "training loss", "nats", optional=True),
}


def tasks(config: Any) -> list[Task]:
    s = config.langevin

    def task(kind: str, seed: int, seconds: float, **own: Any) -> Task:
        known = {"kind": kind, "seed": config.seed + seed, "noise": 0.0, "steps": 0, "samples": s.samples}
        parameters = {**known, "chain": s.chain, **own}
        return Task(STUDY, "langevin", parameters, seconds=seconds, memory=300_000_000)

    made = [task("step", 0, 0.15 * s.draws, steps=s.draws)]
    for seed in range(s.seeds):
        made += [task("trained", seed, 4.0, noise=p, steps=s.steps) for p in s.noise]
        made += [task("long", seed, 4.0, steps=s.long), task("untrained", seed, 0.5)]
        series = {(n, 1.0) for n in s.sizes} | {(s.sizes[-1], cold) for cold in s.cold if s.sizes}
        for n, cold in sorted(series):
            own = {"steps": s.steps, "samples": n, "cold": cold}
            made += [task("series", seed, 2.5, noise=p, **own) for p in (0.0, 1.0)]
    return made


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return the learning coefficient of one network, or the variance of the semi-implicit step."""
    known, seed = task.parameters, task.seed % 2**31
    if known["kind"] == "step":
        return _semi_implicit(known["steps"], seed)
    x, y = _images(known["seed"], known["samples"], known["noise"])
    model = perceptron(_SIZES, nn.Tanh, known["seed"])
    optimiser = torch.optim.Adam(model.parameters(), lr=_RATE)
    loss = train(model, x, y, optimiser, known["steps"], batch=len(x), seed=seed)
    cold = known.get("cold", 1.0)
    found = langevin(
        model,
        nn.CrossEntropyLoss(),
        (x, y),
        steps=known["chain"] or None,
        localisation=_LOCALISATION * cold,
        beta=cold / math.log(len(x)),
        seed=seed,
        device=device,
    )
    return {
        "value": found.value.value,
        "error": found.value.error,
        "half": found.half_dimension.value,
        "excess": found.excess.value,
        "uncorrected_error": found.uncorrected.error,
        "loss": loss,
    }


def _images(seed: int, samples: int, noise: float) -> tuple[Tensor, Tensor]:
    """Return digits of 4 by 4 pixels, means of two by two, and labels of which a share is drawn anew."""
    images = digits(seed, test=0)
    x = nn.functional.avg_pool2d(images.x[:samples].view(-1, 1, 8, 8), 2).flatten(1)
    x = (x - x.mean()) / x.std()
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(10, (len(x),), generator=generator)
    anew = torch.rand(len(x), generator=generator) < noise
    return x, torch.where(anew, drawn, images.y[:samples])


def _semi_implicit(draws: int, seed: int) -> dict[str, Any]:
    """Return the variance of many copies of one mode under the step that treats weight decay implicitly."""
    random = np.random.default_rng(seed)
    eta = _STEP["eta"]
    c = 1 / (1 + eta * _STEP["decay"] * _STEP["weight"])
    spread = math.sqrt(2 * eta / _STEP["beta"])
    x, found = np.zeros(_COPIES), []
    for step in range(1, _SETTLE + draws * _APART):
        x = c * (x - eta * _STEP["curvature"] * x + spread * random.standard_normal(_COPIES))
        if step >= _SETTLE and (step - _SETTLE) % _APART == 0:
            found.append(x**2)
    squares = np.mean(found, axis=0)
    return {"value": squares.mean(), "error": squares.std() / math.sqrt(_COPIES)}


@dataclass(frozen=True)
class Numbers:
    """All networks, and what the claims are about."""

    data: xr.Dataset
    noise: tuple[float, ...]
    sizes: tuple[int, ...]
    cold: tuple[float, ...]

    def of(self, kind: str, name: str, noise: float = 0.0) -> np.ndarray:
        """Return a variable of all seeds."""
        rows = chosen(self.data, kind=kind, noise=noise).sortby("seed")
        return np.asarray(rows[name].values, dtype=float)

    def mean(self, kind: str, name: str, noise: float = 0.0) -> Estimate:
        """Return its mean over seeds."""
        return mean(self.of(kind, name, noise), "mean over networks")

    def relative(self, kind: str, noise: float = 0.0) -> Estimate:
        """Return the mean over seeds of the excess over half the effective dimension."""
        return mean(self.of(kind, "excess", noise) / self.of(kind, "half", noise), "mean over networks")

    def series(self, name: str, noise: float, size: int, cold: float = 1.0) -> np.ndarray:
        """Return a variable of all seeds in one place of the series, the excess relative to half."""
        # The other tasks have no `cold`, so that it is text here.
        rows = chosen(self.data, kind="series", noise=noise, samples=size, cold=str(cold)).sortby("seed")
        found = np.asarray(rows[name].values, dtype=float)
        return found / rows["half"].values if name == "excess" else found


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    s = config.langevin
    return Numbers(data, s.noise, s.sizes, s.cold)


def claims(n: Numbers) -> list[Check]:
    made = []
    for labels, noise in (("true", 0.0), ("random", 1.0)):
        sentence = f"Trained on {labels} labels, the learning coefficient is half the effective dimension"
        relative, plain = n.relative("trained", noise), n.mean("trained", "uncorrected_error", noise).value
        note = f"Measured: their relative difference. The error of uncoupled chains, {plain:.2g}, hides it."
        size = replace(relative, value=abs(relative.value))
        rule = "Agrees 3 errors below 0.1, disagrees 3 above; the limit was chosen here."
        made += [
            Claim(f"quadratic-{labels}", f"{sentence}.").equals(0.0, relative, note=note),
            Claim(f"close-{labels}", f"{sentence}, to a tenth.").below(_SAME, size, note=rule),
        ]
    ratio = mean(n.of("trained", "value", 1.0) / n.of("trained", "value"), "mean over networks")
    beyond = max(_RATIO[0] - ratio.value, ratio.value - _RATIO[1])
    outside: Outcome = "disagrees" if beyond > 3 * ratio.error else "not determined"
    step = Estimate(n.of("step", "value")[0], n.of("step", "error")[0], "simulated", _COPIES)
    none = share(np.isnan(n.of("untrained", "value")), "share of networks")
    many = Claim("ratio", "Random labels fix 1.5 to 3 times as many directions as true ones.")
    long = Claim("vanishing-loss", "Where the loss has all but vanished the curvature says too little.")
    start = Claim("untrained", "An untrained network gets no number, since it is at no minimum.")
    noisy = Claim(
        "semi-implicit",
        "Steps that treat weight decay implicitly have a stationary variance that depends on the step.",
        "arXiv:2007.05824 for the step; its variance is derived here",
    )
    return [
        *made,
        many.found(None, ratio, "agrees" if beyond <= 0 else outside, "Agrees from 1.5 to 3."),
        long.positive(n.relative("long"), note=f"The relative difference, at loss {n.mean('long', 'loss')}."),
        start.found(1.0, none, "agrees" if none.value == 1 else "disagrees", "Agrees if none has a number."),
        noisy.equals(semi_implicit_variance(**_STEP), step, note="Without a step: 0.0066667."),
        *_series_claims(n),
    ]


def _series_claims(n: Numbers) -> list[Check]:
    """Return what more samples and colder chains do."""
    missing = Estimate.not_determined("no series of samples and temperatures: the preset paper has them")
    made = []
    for labels, noise in (("true", 0.0), ("random", 1.0)):
        worst = more = missing
        if n.sizes:
            drifts = [mean(n.series("excess", noise, size), "mean over networks") for size in n.sizes]
            worst = max(
                (replace(each, value=abs(each.value)) for each in drifts), key=lambda each: each.value
            )
            first, *_, last = (n.series("value", noise, size) for size in n.sizes)
            more = mean(last - first, "mean over networks")
        close = Claim(
            f"samples-close-{labels}",
            f"With {labels} labels the learning coefficient is half the effective dimension, to a tenth, at "
            "every number of samples.",
        )
        grown = Claim(f"samples-more-{labels}", f"More samples with {labels} labels fix more directions.")
        rule = "The largest relative difference. Agrees 3 errors below 0.1; the limit was chosen here."
        made += [close.below(_SAME, worst, note=rule), grown.positive(more)]
    limit = cooled = missing
    if n.sizes:
        places = [n.series("excess", 1.0, n.sizes[-1], cold) for cold in n.cold]
        warm, coldest = 1 / n.cold[-2], 1 / n.cold[-1]
        limit = mean((warm * places[-1] - coldest * places[-2]) / (warm - coldest), "mean over networks")
        cooled = mean(places[-1] - places[0], "mean over networks")
    rule = (
        "By a line through the two coldest, at one localisation over beta. An error below 0.01 is asked for."
    )
    warmer = Claim("temperature", "Random labels: warmer chains lie further below half the dimension.")
    limiting = Claim("cold-limit", "With random labels nothing is left of it at temperature 0.")
    made.append(warmer.positive(cooled, note="Measured: coldest less warmest, relative."))
    return [*made, limiting.equals(0.0, limit, resolution=0.01, note=rule)]


def tables(n: Numbers) -> list[Table]:
    kinds = [("trained", p, f"trained, {100 * p:.0f} % of labels drawn anew") for p in n.noise]
    kinds.append(("long", 0.0, "trained longer"))
    names = ("loss", "value", "half", "error", "uncorrected_error")
    rows = [[title, *(str(n.mean(kind, name, p)) for name in names)] for kind, p, title in kinds]
    columns = ["network", "loss", "coefficient", "half the dimension", "error", "error uncoupled"]
    made = [Table("Directions that the data fix", columns, rows)]
    if n.sizes:
        places = [(size, 1.0) for size in n.sizes] + [(n.sizes[-1], cold) for cold in n.cold if cold != 1]
        rows = [
            [
                labels,
                f"{size}",
                f"{cold:g}",
                *(f"{mean(n.series(key, p, size, cold), '')}" for key in _SERIES),
            ]
            for labels, p in (("true", 0.0), ("random", 1.0))
            for size, cold in places
        ]
        made.append(
            Table("More samples, colder chains", ["labels", "samples", "beta ln n", *_SERIES.values()], rows)
        )
    return made


def notes(n: Numbers) -> list[str]:
    return [
        "arXiv:2007.05824 bounds the risk of networks that are trained by Langevin steps, by an effective "
        "dimension. Here that dimension is measured around weights that Adam has found; no bound is checked.",
        "Chosen here: perceptrons 16-12-10 with tanh on digits of 4 by 4 pixels, 400 steps of Adam at rate "
        "0.02 on all samples (1600 for 'trained longer'), beta = 1/ln n, localisation 100.",
        "The basins are not quite quadratic. Random labels: the loss rises less steeply away from the "
        "weights than their curvature says, by about 2 %. True labels: more steeply, the more so the smaller "
        "the loss, since cross-entropy has no curvature where it vanishes.",
        "Where localisation over beta is held, terms beyond the curvature change the coefficient in "
        "proportion to the temperature at first: 'temperature' and 'cold-limit' ask this of random labels. "
        "They and 'samples-more' were put into words after a try with two networks, which count among these.",
    ]


def _each(n: Numbers) -> Iterator[tuple[str, float, str, str | None]]:
    """Give each kind of trained network with its colour, and a label for the first of a colour."""
    short, long = colours(2)
    for number, p in enumerate(n.noise):
        yield "trained", p, short, "trained" if number == 0 else None
    yield "long", 0.0, long, "trained longer"


def draw_values(axes: Axes, n: Numbers) -> None:
    for kind, p, colour, label in _each(n):
        x, y, error = (n.of(kind, name, p) for name in ("half", "value", "error"))
        axes.errorbar(x, y, error, fmt="o", ms=4, color=colour, label=label)
    axes.axline((0, 0), slope=1, color=plotting.INK, lw=0.8)
    axes.set(xlabel="half the effective dimension", ylabel="learning coefficient", title="Directions fixed")
    axes.set(xlim=(0, None), ylim=(0, None))
    legend(axes)


def draw_excess(axes: Axes, n: Numbers) -> None:
    for kind, p, colour, _ in _each(n):
        loss, excess, half, error = (n.of(kind, name, p) for name in ("loss", "excess", "half", "error"))
        axes.errorbar(loss, excess / half, error / half, fmt="o", ms=4, color=colour)
    axes.axhline(0, color=plotting.INK, lw=0.8)
    axes.set(xlabel="training loss", ylabel="excess over half the dimension", xscale="log")
    axes.set_title("Beyond the curvature")


def draw_samples(axes: Axes, n: Numbers) -> None:
    _draw_series(axes, n, [(size, 1.0) for size in n.sizes], list(n.sizes))
    axes.set(xlabel="samples", ylabel="excess over half the dimension", title="More samples")
    legend(axes)


def draw_temperature(axes: Axes, n: Numbers) -> None:
    _draw_series(axes, n, [(n.sizes[-1], cold) for cold in n.cold], [1 / cold for cold in n.cold])
    axes.set(xlabel="temperature / ln n", title="Colder chains")


def _draw_series(axes: Axes, n: Numbers, places: list[tuple[int, float]], x: list[Any]) -> None:
    for labels, noise, colour in zip(("true", "random"), (0.0, 1.0), colours(2), strict=True):
        found = [mean(n.series("excess", noise, *place), "mean over networks") for place in places]
        y, error = [each.value for each in found], [each.error for each in found]
        axes.errorbar(x, y, error, fmt="o-", ms=4, color=colour, label=f"{labels} labels")
    axes.axhline(0, color=plotting.INK, lw=0.8)


def figures(n: Numbers) -> list[Panels]:
    caption = (
        "Left: the learning coefficient against half the effective dimension; the line is equality. Right: "
        "the difference, relative, against the training loss. Each point is one network; bars, one error."
    )
    made = [Panels("langevin", caption, [draw_values, draw_excess])]
    if n.sizes:
        caption = (
            "Relative excess of the learning coefficient over half the effective dimension, mean of all "
            "networks with one error. Left: against the number of samples. Right: against the temperature."
        )
        made.append(Panels("series", caption, [draw_samples, draw_temperature]))
    return made


LANGEVIN = Part(
    name="langevin",
    title="Directions that the data fix",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    citations=("suzuki2020",),
)
