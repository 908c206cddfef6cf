"""MNIST, from a rate at which nothing moves to one at which nothing is learned: the paper's figures 15 to 18.

784-64-10, sigmoid, softmax and cross-entropy, weights of variance 1, the first 5000 images, full-batch
gradient descent. The pixels are raw, 0 to 255, as in the authors' code, so that most hidden units start
saturated: their inputs have a standard deviation of some 2500. Without a folder the digits of scikit-learn,
stretched to 0 to 255, stand in; what the paper read off MNIST is then not held against them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers.chaos.networks import NAMES, Split, drawn, images, perceptron
from phasescope.papers.chaos.shared import PAPER, SIZE, STUDY, over_starts
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import legend, shades
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen, undetermined
from phasescope.sweep.task import Task
from phasescope.training import TrainingMap, training_map

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

UNITS, CLASSES = 64, 10
BRIGHTEST = 255.0
RATES = (0.001, 0.01, 0.1, 1.0, 5.0, 15.0)
LIMIT_RATES = (0.01, 1.0, 2.0, 5.0)  # figure 16
COUNTS = tuple(2**k for k in range(16))  # of perturbed weights of the first layer
_STEPS, _LIMIT_STEPS, _IMAGES = 1000, 100, 5000  # of the paper
_EVERY = 10  # steps from one test to the next
# Read off figures 15 and 17: the distance at the end, and the test accuracy.
_DISTANCE = {0.001: 2.6e-4, 0.01: 1.0, 0.1: 250.0, 1.0: 1600.0, 5.0: 6000.0, 15.0: 11_000.0}
_ACCURACY = {0.001: 0.12, 0.01: 0.2, 0.1: 0.62, 1.0: 0.80, 5.0: 0.85, 15.0: 0.25}
_READ_DECADES, _READ_ACCURACY = 0.3, 0.05  # how well a figure of one run is read; at 15 it says 0.1 to 0.4
_READ_AT_15 = 0.15
_LARGE = 1e2  # the distance that figure 16 reaches in 4 to 8 steps
_SOON = 8


class MnistSettings(Settings):
    """Sizes of the runs."""

    steps: int = _STEPS
    images: int = _IMAGES  # for training; the digits have 1437
    test: int = 2000  # images for the accuracy
    starts: int = 2  # initialisations
    copies: int = 1  # perturbed copies of each; the paper has 10 or 20
    limit_starts: int = 2  # initialisations of figure 16
    limit_steps: int = _LIMIT_STEPS


QUICK = MnistSettings(steps=200, images=1000, test=500, limit_steps=30)
PAPER_PRESET = MnistSettings()

VARIABLES = {
    "distance": Variable(("step", "copy"), "L1 distance of each perturbed copy from the reference"),
    "loss": Variable(("step",), "cross-entropy of the reference on the training images"),
    "accuracy": Variable(("record",), f"share of test images named right, every {_EVERY} steps"),
}


def tasks(config: Any) -> list[Task]:
    """Return one task a rate and an initialisation, for figure 15 and for figure 16."""
    settings: MnistSettings = config.mnist_panels
    folder = config.mnist
    name = "mnist" if folder else "digits"
    known = {"data_set": name, "folder": folder, "seed": config.seed}
    known |= {"images": settings.images, "test": settings.test}
    one = (6e-6 if folder else 8e-7) * (settings.images if folder else min(settings.images, 1437))

    def task(kind: str, rate: float, start: int, steps: int, copies: int) -> Task:
        parameters = {"kind": kind, "rate": rate, "start": start, "steps": steps, "copies": copies, **known}
        return Task(
            STUDY, "mnist-panels", parameters, seconds=1 + one * steps * (copies + 1), memory=1_000_000_000
        )

    made = [
        task("all weights", rate, start, settings.steps, settings.copies)
        for rate in RATES
        for start in range(settings.starts)
    ]
    made += [
        task("few weights", rate, start, settings.limit_steps, len(COUNTS))
        for rate in LIMIT_RATES
        for start in range(settings.limit_starts)
    ]
    return made


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return how far perturbed copies of one network get from it while all are trained."""
    known = task.parameters
    data = images(known["data_set"], known["folder"], known["images"], known["test"], device)
    model = perceptron((data.x.shape[1], UNITS, CLASSES), nn.Sigmoid).to(device)
    step = training_map(
        model, nn.functional.cross_entropy, (data.x * BRIGHTEST, data.y), known["rate"], device=device
    )
    w = drawn(step.objective, [known["start"]], known["seed"], lambda inputs: 1.0)
    kicks = _kicks(step, known["kind"], known["copies"], task.seed).to(w)
    return _followed(step, torch.cat([w, w + kicks]), known["steps"], data)


def _kicks(step: TrainingMap, kind: str, copies: int, seed: int) -> Tensor:
    """Return uniform perturbations: of all weights, or of 1, 2, 4, ... weights of the first layer."""
    generator = torch.Generator().manual_seed(seed % 2**63)
    kicks = SIZE * (2 * torch.rand(copies, step.weights, generator=generator, dtype=torch.float64) - 1)
    if kind == "all weights":
        return kicks * step.is_weight.cpu()
    first = step.slices["0.weight"]
    mask = torch.zeros_like(kicks)
    for row, count in zip(mask, COUNTS, strict=True):
        places = torch.randperm(first.stop - first.start, generator=generator)[:count]
        row[first.start + places] = 1
    return kicks * mask


def _followed(step: TrainingMap, x: Tensor, steps: int, data: Split) -> dict[str, Any]:
    """Train the reference, which comes first, and the copies; return distances, loss and accuracy in time."""
    distance, loss, accuracy = [], [], []
    for t in range(steps + 1):
        distance.append((x[1:] - x[0]).abs().sum(-1).cpu())
        if t % _EVERY == 0 or t == steps:
            guess = step.objective.outputs(x[0], data.x_test * BRIGHTEST).argmax(-1)
            accuracy.append(float((guess == data.y_test).double().mean()))
        if t == steps:
            loss.append(float(step.loss(x[0])))
            break
        x, losses = step.advance(x, t)
        loss.append(float(losses[0]))
    return {"distance": torch.stack(distance).numpy(), "loss": np.array(loss), "accuracy": np.array(accuracy)}


@dataclass(frozen=True)
class Numbers:
    """The runs by rate, and what they are runs of."""

    rates: dict[float, xr.Dataset]
    limits: dict[float, xr.Dataset]
    name: str  # of the data
    steps: int
    images: int
    kicked: int  # weights that are perturbed

    @property
    def not_the_papers(self) -> str:
        """Why the paper's numbers are not held against these; empty where they are."""
        if self.name != "mnist":
            return f"measured on {NAMES[self.name]}, not on MNIST: name its folder with --set mnist=DIR"
        if (self.steps, self.images) != (_STEPS, _IMAGES):
            return (
                f"measured after {self.steps} steps on {self.images} images, the paper's after {_STEPS} "
                f"on {_IMAGES}"
            )
        return ""


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    settings: MnistSettings = config.mnist_panels
    name = str(data["data_set"].values[0])
    pixels = 28**2 if name == "mnist" else 8**2
    return Numbers(
        {rate: chosen(data, kind="all weights", rate=rate).dropna("step", how="all") for rate in RATES},
        {rate: chosen(data, kind="few weights", rate=rate) for rate in LIMIT_RATES},
        name,
        settings.steps,
        settings.images,
        UNITS * (pixels + CLASSES),
    )


def claims(n: Numbers) -> list[Check]:
    """Return the numbers of figures 15 and 17, then what both show, then figure 16."""
    return [*_figure_claims(n), *_shape_claims(n), *_limit_claims(n)]


def _figure_claims(n: Numbers) -> list[Check]:
    made = []
    for rate in RATES:
        final = over_starts(np.log10(_distance(n.rates[rate])[:, -1]))
        made.append(
            Claim(
                f"distance-{rate:g}",
                f"On MNIST, after {_STEPS} steps at rate {rate:g}, perturbed networks are "
                f"{_DISTANCE[rate]:g} apart.",
                f"{PAPER}, fig. 15, read off",
            ).equals(
                math.log10(_DISTANCE[rate]),
                final,
                allowance=_READ_DECADES,
                resolution=_READ_DECADES,
                note=f"Base-10 logarithm of L1. Allowance {_READ_DECADES}: read off a plot of one network.",
            )
        )
    for rate in RATES:
        allowance = _READ_AT_15 if rate == RATES[-1] else _READ_ACCURACY
        made.append(
            Claim(
                f"accuracy-{rate:g}",
                f"On MNIST, after {_STEPS} steps at rate {rate:g}, the test accuracy is "
                + ("0.1 to 0.4." if rate == RATES[-1] else f"{_ACCURACY[rate]:g}."),
                f"{PAPER}, fig. 17, read off",
            ).equals(
                _ACCURACY[rate],
                over_starts(_end(n.rates[rate]["accuracy"].values)),
                allowance=allowance,
                resolution=2 * _READ_ACCURACY,
                note=f"Allowance {allowance}: read off a plot of one network.",
            )
        )
    return undetermined(made, n.not_the_papers)


def _shape_claims(n: Numbers) -> list[Check]:
    on = f"On {NAMES[n.name]}, "
    source = f"{PAPER}, figs. 15 to 18" + ("" if n.name == "mnist" else ", of MNIST")
    start = np.concatenate([runs["distance"].values[:, 0].ravel() for runs in n.rates.values()])
    start = start[np.isfinite(start)]
    growth = {rate: _growth(runs) for rate, runs in n.rates.items()}
    accuracy = {rate: _end(runs["accuracy"].values) for rate, runs in n.rates.items()}
    rises = np.mean(np.diff(n.rates[5.0]["loss"].values, axis=1) > 0, axis=1)
    sensitive = np.min([growth[rate] for rate in RATES[2:5]], axis=0)
    best = np.max([accuracy[rate] for rate in RATES[2:5]], axis=0)
    return [
        Claim("d0", "Perturbed weights start at a distance of (number of weights) eps/2.", PAPER).equals(
            1.0,
            Estimate(
                float(start.mean() / (n.kicked * SIZE / 2)),
                1 / math.sqrt(3 * n.kicked * start.size),
                "mean over copies, error of uniform numbers",
                start.size,
            ),
            note=f"{n.kicked} weights; biases are not perturbed.",
        ),
        Claim("low", f"{on}at rate 0.001 small differences do not grow.", source).below(
            1.0,
            over_starts(growth[0.001]),
            note="Measured: ln of the distance at the end over that at the start; agrees 3 errors below 1.",
        ),
        Claim(
            "sensitive", f"{on}small differences grow a thousandfold or more at rates 0.1, 1 and 5.", source
        ).positive(
            over_starts(sensitive - math.log(1e3)),
            note="Measured: the least of the three ln(growth), less ln 1000.",
        ),
        Claim(
            "fastest", f"{on}what is learned most is learned at sensitive rates, 0.1 to 5.", source
        ).positive(
            over_starts(best - accuracy[0.01]),
            note="Measured: best test accuracy of them, less that at 0.01.",
        ),
        Claim("loss-rises", f"{on}at rate 5 the loss is not monotone.", source).positive(
            over_starts(rises), note="Measured: share of steps at which the training loss rises."
        ),
        Claim(
            "no-learning", f"{on}at rate 15 less is learned than at the best of the others.", source
        ).positive(
            over_starts(best - accuracy[15.0]),
            note=f"Measured: difference of test accuracies; at 15 it is {over_starts(accuracy[15.0])}.",
        ),
        *undetermined(
            [
                Claim(
                    "loss-15", "On MNIST, at rate 15 the loss stays between 10 and 100.", f"{PAPER}, fig. 18"
                ).equals(
                    1.5,
                    over_starts(np.log10(_tail(n.rates[15.0]["loss"].values))),
                    allowance=0.5,
                    resolution=0.5,
                    note="Base-10 logarithm of the median over the second half.",
                )
            ],
            n.not_the_papers,
        ),
    ]


def _limit_claims(n: Numbers) -> list[Check]:
    on = f"On {NAMES[n.name]}, "
    source = f"{PAPER}, fig. 16" + ("" if n.name == "mnist" else ", of MNIST")
    fast = [_times_to_large(n.limits[rate]) for rate in LIMIT_RATES[1:]]
    speed = [_speed(n.limits[rate]) for rate in LIMIT_RATES[1:]]
    slow = _early(n.limits[0.01])
    low = np.concatenate([each[:, : len(COUNTS) // 2].mean(1) for each in speed])
    high = np.concatenate([each[:, len(COUNTS) // 2 :].mean(1) for each in speed])
    numbers_of_the_figure = [
        Claim(
            "limit-soon",
            "On MNIST, at rates 1, 2 and 5 a change of single weights by 1e-8 becomes a distance of 100 in "
            "at most 8 steps.",
            f"{PAPER}, fig. 16",
        ).below(
            _SOON + 0.5,
            over_starts(np.concatenate([each.max(1) for each in fast])),
            note="Measured: the slowest of 2^0 to 2^15 perturbed weights, mean over networks and rates. "
            "Agrees 3 errors below 8.5. A run that never gets there counts as its length.",
        ),
        Claim(
            "limit-speed", "On MNIST, the distance then grows e^4 to e^5-fold a step.", f"{PAPER}, fig. 16"
        ).equals(
            4.5,
            over_starts(np.concatenate([each.mean(1) for each in speed])),
            allowance=0.5,
            note="Measured: ln(distance over initial distance) a step, up to the step that exceeds 100.",
        ),
    ]
    other = "" if n.name == "mnist" else n.not_the_papers
    return [
        *undetermined(numbers_of_the_figure, other),
        Claim(
            "limit-linear",
            f"{on}the speed does not depend on how many weights are perturbed: a limit of small "
            "perturbations exists.",
            source,
        ).equals(
            0.0,
            over_starts(high - low),
            allowance=0.5,
            note="Measured: speed of 2^8 to 2^15 weights less that of 2^0 to 2^7. Allowance 0.5: one step "
            "more or less.",
        ),
        Claim("limit-mild", f"{on}at rate 0.01 the growth is mild.", source).below(
            0.5 * 4.5,
            over_starts(slow),
            note="Measured: ln(growth) a step over the first 8; agrees 3 errors below half of 4.5.",
        ),
    ]


def _distance(runs: xr.Dataset) -> np.ndarray:
    """Return the mean distance over copies, shape (starts, steps + 1)."""
    return np.asarray(np.nanmean(runs["distance"].values, axis=2))


def _growth(runs: xr.Dataset) -> np.ndarray:
    distance = _distance(runs)
    return np.asarray(np.log(distance[:, -1] / distance[:, 0]))


def _end(series: np.ndarray) -> np.ndarray:
    """Return the last number of each row before the missing ones."""
    return np.array([row[np.isfinite(row)][-1] for row in series])


def _tail(series: np.ndarray) -> np.ndarray:
    return np.asarray(np.median(series[:, series.shape[1] // 2 :], axis=1))


def _times_to_large(runs: xr.Dataset) -> np.ndarray:
    """Return the first step at which each copy is far, shape (starts, copies)."""
    distance = runs["distance"].values
    far = distance > _LARGE
    return np.asarray(np.where(far.any(1), far.argmax(1), np.isfinite(distance).sum(1)))


def _speed(runs: xr.Dataset) -> np.ndarray:
    """Return the growth a step of each copy until it is far, shape (starts, copies)."""
    distance, times = runs["distance"].values, _times_to_large(runs)
    last = np.minimum(times, np.isfinite(distance).sum(1) - 1)
    there = np.take_along_axis(distance, last[:, None], axis=1)[:, 0]
    return np.asarray(np.log(there / distance[:, 0]) / last)


def _early(runs: xr.Dataset) -> np.ndarray:
    distance = runs["distance"].values
    return np.asarray(np.log(distance[:, _SOON] / distance[:, 0]).mean(1) / _SOON)


def tables(n: Numbers) -> list[Table]:
    rows = []
    for rate, runs in n.rates.items():
        loss = runs["loss"].values
        rows.append(
            [
                f"{rate:g}",
                f"{np.exp(np.log(_distance(runs)[:, -1]).mean()):.3g}",
                f"{_DISTANCE[rate]:g}",
                str(over_starts(_end(runs["accuracy"].values))),
                "0.1 to 0.4" if rate == RATES[-1] else f"{_ACCURACY[rate]:g}",
                f"{np.median(_end(loss)):.3g}",
                f"{np.mean(np.diff(loss, axis=1) > 0):.2f}",
            ]
        )
    columns = ["rate", "L1 distance at the end", "figure 15 (MNIST)", "test accuracy", "figure 17 (MNIST)"]
    columns += ["training loss at the end", "steps at which it rises"]
    return [Table(f"{NAMES[n.name]}: after {n.steps} steps", columns, rows)]


def notes(n: Numbers) -> list[str]:
    made = [
        "Pixels are raw, 0 to 255, as in the authors' code: a hidden unit then saturates for most images, "
        "and only the few that do not are trained in the first layer. In float64 the slope of a sigmoid is "
        "exactly 0 beyond 37, so a unit may never move.",
        "The paper's caption says 20 perturbed copies, its data 10. Here there are fewer: a distance is a "
        "sum over all weights, and one network differs from the next by more than its copies do.",
    ]
    if n.not_the_papers:
        made.append(f"The numbers of figures 15 and 17 are shown and not checked: {n.not_the_papers}.")
    return made


def draw_distances(axes: Axes, n: Numbers) -> None:
    for (rate, runs), colour in zip(n.rates.items(), shades(len(n.rates)), strict=True):
        distance = np.exp(np.log(_distance(runs)).mean(0))
        axes.plot(distance, color=colour, lw=1.2, label=f"{rate:g}")
    axes.set(yscale="log", title="Distance of copies", xlabel="step", ylabel="L1 distance")
    legend(axes, title="rate", fontsize=7, ncols=2, loc="center right")


def draw_accuracy(axes: Axes, n: Numbers) -> None:
    for (rate, runs), colour in zip(n.rates.items(), shades(len(n.rates)), strict=True):
        accuracy = runs["accuracy"].values.mean(0)
        accuracy = accuracy[np.isfinite(accuracy)]
        axes.plot(np.linspace(0, n.steps, len(accuracy)), accuracy, color=colour, lw=1.2, label=f"{rate:g}")
    axes.set(title="Test accuracy", xlabel="step", ylabel="share named right", ylim=(0, 1))


def draw_loss(axes: Axes, n: Numbers) -> None:
    for (rate, runs), colour in zip(n.rates.items(), shades(len(n.rates)), strict=True):
        axes.plot(runs["loss"].values[0], color=colour, lw=0.9, label=f"{rate:g}")
    axes.set(yscale="log", title="Loss of one network", xlabel="step", ylabel="cross-entropy")


def draw_limit(axes: Axes, n: Numbers, rate: float) -> None:
    distance = n.limits[rate]["distance"].values[0].T
    for count, series, colour in zip(COUNTS, distance, shades(len(COUNTS)), strict=True):
        label = f"{count}" if count in (COUNTS[0], COUNTS[8], COUNTS[-1]) else None
        axes.plot(series[:31], color=colour, lw=1, label=label)
    axes.set(yscale="log", title=f"Few weights, rate {rate:g}", xlabel="step", ylabel="L1 distance")
    axes.set_ylim(1e-9, 1e5)


def draw_limit_low(axes: Axes, n: Numbers) -> None:
    draw_limit(axes, n, LIMIT_RATES[0])
    legend(axes, title="weights")


def draw_limit_one(axes: Axes, n: Numbers) -> None:
    draw_limit(axes, n, 1.0)


def draw_limit_five(axes: Axes, n: Numbers) -> None:
    draw_limit(axes, n, 5.0)
    axes.axhline(_LARGE, color=plotting.THEORY, lw=0.8, ls="--")


def figures(n: Numbers) -> list[Panels]:
    where = NAMES[n.name] + ("" if n.name == "mnist" else ", in place of MNIST")
    return [
        Panels(
            "rates",
            f"{where[0].upper()}{where[1:]}: L1 distance of networks whose weights differed by up to 1e-8, "
            "test accuracy, and training loss, at six learning rates (figures 15, 17 and 18). Geometric "
            "mean of the distance, mean of the accuracy, over initialisations.",
            [draw_distances, draw_accuracy, draw_loss],
        ),
        Panels(
            "limit",
            "One network and 16 copies in which 1, 2, 4, ... 32768 weights of the first layer (or all of "
            "it, where it has fewer) differ by up to 1e-8 (figure 16). The speed of the rise does not "
            "depend on their number.",
            [draw_limit_low, draw_limit_one, draw_limit_five],
            share_y=True,
        ),
    ]


MNIST = Part(
    name="mnist-panels",
    title="MNIST: six learning rates",
    presets={"quick": QUICK, "paper": PAPER_PRESET},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    ragged=("step", "copy", "record"),
    citations=("danovski2024",),
)
