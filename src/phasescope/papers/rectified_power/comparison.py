"""Images, text and x y z: activations compared, each from its critical start and at its own best rate.

One protocol for every activation, the user's own included. Adam trains networks at a fixed grid of rates
(``training.scan_learning_rate``); the fastest rate that serves all initialisations is taken, and fresh
networks are trained with it for longer. A network that diverges, or ends worse than a guess that knows how
frequent the answers are, counts as that guess.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from phasescope import plotting
from phasescope.activations import load_activation
from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.papers.perceptrons import best_start
from phasescope.papers.rectified_power.protocol import LESS_IS_BETTER, measure
from phasescope.papers.rectified_power.shared import PAPER, STUDY, over_seeds
from phasescope.studies.claim import Check, Claim, Outcome
from phasescope.studies.drawing import colours, legend, short
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen
from phasescope.sweep.task import Task
from phasescope.userfiles import contents_hash, is_file_spec, split

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

ACTIVATIONS = ("relu", "gelu", "silu", "tanh", "repu2", "repu3", "mrepu1", "mrepu2", "mrepu3")


@dataclass(frozen=True)
class Kind:
    """What a task is called, what its score is, and which gain over a guess counts as trained."""

    title: str
    score: str
    enough: float
    source: str = "asked here"
    seconds: float = 1.0  # of a step, relative to the digits


_SUMMARY = f"{PAPER}, versions 4 and 5, by published summaries"
_ACCURACY = "test accuracy"
KINDS = {
    "digits": Kind("the digits of scikit-learn", _ACCURACY, 0.4),
    "mnist": Kind("MNIST", _ACCURACY, 0.4, source=_SUMMARY, seconds=1.5),
    "fashion_mnist": Kind("Fashion-MNIST", _ACCURACY, 0.4, seconds=1.5),
    "cifar10": Kind("CIFAR-10", _ACCURACY, 0.1, source=_SUMMARY, seconds=3.0),
    "text": Kind("characters of a text", "nats a character, test text", 0.25, seconds=1.3),
    "xyz": Kind("x y z", "log10 of test error over variance", 0.3),
}


def sign_of(name: str) -> int:
    """Return -1 for a task whose score is better where it is less."""
    return -1 if name in LESS_IS_BETTER else 1


_NAMED = ("mnist", "fashion_mnist", "cifar10")  # tasks that need a folder
_CLAIMED = (("mrepu2", "repu2"), ("mrepu2", "relu"))  # which is said to be ahead of which


class ComparisonSettings(Settings):
    """Sizes of networks, scan and training; none of them is the paper's."""

    depth: int = 8  # layers: of a perceptron, or of the residual network with its two ends
    width: int = 64
    channels: int = 8
    residual: float = 0.1  # weight of a block
    batch: int = 64
    train: Annotated[int, Field(ge=512)] = 4000  # samples, the 256 held out for the scan among them
    test: int = 1000
    rates: tuple[float, ...] = (1e-4, 1e-3, 1e-2)  # of Adam
    scan_seeds: int = 1  # networks; those without a finite loss are counted and replaced
    scan_steps: int = 40
    seeds: Annotated[int, Field(ge=3)] = 4  # fresh networks
    steps: int = 200


QUICK = ComparisonSettings()
PAPER_PRESET = ComparisonSettings(
    rates=(3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2), scan_seeds=2, seeds=5, steps=600
)

VARIABLES = {
    "score": Variable(("network",), "score of each network; NaN where it diverged"),
    "failed": Variable(("network",), "first step whose loss is not finite; -1 where there is none"),
    "loss": Variable(("network", "record"), "loss of the batch"),
    "guess": Variable((), "score of a guess that knows how frequent the answers are"),
    "chosen_rate": Variable((), "learning rate of the training"),
    "recommended": Variable((), "1 where the scan recommends that rate"),
    "scan_failed": Variable(("rate",), "scanned networks that diverge or begin with no finite loss"),
    "scan_loss": Variable(("rate",), "mean loss at the end of the scan; NaN where one is not finite"),
    "onset": Variable((), "rate at which small differences grow 1000-fold in the scan"),
    "onset_error": Variable((), "its error"),
}


def tasks(config: Any) -> list[Task]:
    """Return one task for each set of data and activation, after a look at all that the user named."""
    settings: ComparisonSettings = config.comparison
    sizes = settings.model_dump(mode="json")
    known = [identified(spec, settings.depth) for spec in config.activations or ACTIVATIONS]
    once = {item["activation"]: item for item in known}
    gradients = settings.scan_seeds * len(settings.rates) * (5 * settings.scan_steps + 1000)
    gradients += (settings.seeds + 3) * settings.steps
    return [
        Task(
            STUDY,
            "comparison",
            {"data_set": name, "folder": folder, **item, **sizes, "seed": config.seed},
            seconds=1 + 8e-4 * KINDS[name].seconds * gradients,
            memory=1_500_000_000 if folder else 500_000_000,
        )
        for name, folder in _at_hand(config).items()
        for item in once.values()
    ]


def _at_hand(config: Any) -> dict[str, str]:
    """Return the tasks asked for whose data are at hand, with folder or file, or say what is wrong."""
    if config.task and config.task not in KINDS:
        raise InputError(f"task={config.task} is no task of this study.", f"There are: {', '.join(KINDS)}.")
    named = {name: getattr(config, name, "") for name in KINDS}
    if config.task in _NAMED and not named[config.task]:
        raise InputError(f"task={config.task} has no data.", f"Name them with --set {config.task}=DIR.")
    for name, place in named.items():
        if place and not (Path(place).is_dir() or (name == "text" and Path(place).is_file())):
            what = "file or folder" if name == "text" else "folder"
            raise InputError(f"{name}={place} is no {what}.", "Check the path.")
    return {
        name: place
        for name, place in named.items()
        if (place or name not in _NAMED) and config.task in ("", name)
    }


def identified(spec: str, depth: int) -> dict[str, Any]:
    """Return what a task knows of an activation: name or file, its contents, and where it starts."""
    activation, sha256 = load_activation(spec), ""
    name = activation.name
    if is_file_spec(spec):
        path, function, _ = split(spec)
        name, sha256 = f"{path.resolve()}:{function}", contents_hash(spec)
    start, rule = best_start(activation, depth)
    found = {key: float(f"{getattr(start, key):.10g}") for key in ("C_W", "C_b", "K1")}
    return {"activation": name, "file_sha256": sha256, "rule": rule, **found}


@dataclass(frozen=True)
class Row:
    """What one activation does on one task; gains over the guess, 0 for a network that diverged."""

    label: str
    known: Mapping[str, Any]
    rate: float
    onset: Estimate
    scan_failed: np.ndarray  # (rates,)
    failed: np.ndarray  # (networks,)
    gains: np.ndarray  # (networks,)
    loss: np.ndarray  # (networks, records)

    @property
    def gain(self) -> Estimate:
        """Return the mean over networks."""
        return over_seeds(self.gains)


@dataclass(frozen=True)
class Numbers:
    """Activations by task, best first, and why some tasks have none."""

    rows: dict[str, dict[str, Row]]
    guess: dict[str, float]
    missing: dict[str, str]
    settings: ComparisonSettings
    text: str

    def score(self, name: str, row: Row) -> Estimate:
        """Return the mean score of an activation."""
        return self.guess[name] + sign_of(name) * row.gain


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    there = data.isel(task=np.flatnonzero(np.isfinite(data["guess"].values)))
    labels = {spec: short(spec) for spec in dict.fromkeys(there["activation"].values.tolist())}
    twice = [label for label in labels.values() if list(labels.values()).count(label) > 1]
    rows: dict[str, dict[str, Row]] = {}
    guess, missing = {}, {}
    for name in KINDS:
        alike = chosen(there, data_set=name)
        made = {}
        for one in (alike.isel(task=number) for number in range(alike.sizes["task"])):
            spec = str(one["activation"].values)
            guess[name] = float(one["guess"])
            gains = np.fmax(0.0, sign_of(name) * (one["score"].values - guess[name]))
            made[spec] = Row(
                spec if labels[spec] in twice else labels[spec],
                {key: one[key].item() for key in ("rule", "C_W", "C_b", "K1", "recommended")},
                float(one["chosen_rate"]),
                Estimate(
                    float(one["onset"]), float(one["onset_error"]), "scan", config.comparison.scan_seeds
                ),
                one["scan_failed"].values,
                one["failed"].values,
                gains,
                one["loss"].values,
            )
        rows[name] = dict(sorted(made.items(), key=lambda item: -float(item[1].gains.mean())))
        if config.task not in ("", name):
            missing[name] = f"only task={config.task} was asked for"
        elif not made and not getattr(config, name, "") and name in _NAMED:
            missing[name] = f"no {name} at hand: name the folder with --set {name}=DIR"
        elif not made:
            missing[name] = "no activation could be measured"
    return Numbers(rows, guess, missing, config.comparison, config.text)


def claims(n: Numbers) -> list[Check]:
    """Return for each task whether MRePU2 is ahead of RePU2 and ReLU and is trained, and which is best."""
    return [check for name in KINDS for check in _claims_of(n, name)]


def _claims_of(n: Numbers, name: str) -> list[Check]:
    kind, rows = KINDS[name], n.rows[name]
    on = f"On {kind.title}"

    def gain(spec: str) -> Estimate:
        if spec in rows:
            return rows[spec].gain
        return Estimate.not_determined(n.missing.get(name) or f"{spec} is not among the activations")

    rule = f"Measured: {kind.score}, gain over the guess, mean over networks, each at its own best rate."
    made = [
        Claim(f"{name}-{one}-{other}", f"{on}, {one} ends ahead of {other}.", kind.source).positive(
            gain(one) - gain(other), note=rule
        )
        for one, other in _CLAIMED
    ]
    served = Claim(
        f"{name}-mrepu2-trains", f"{on}, mrepu2 gains more than {kind.enough:g} on a guess.", kind.source
    )
    where = f"The guess has {n.guess[name]:.3g}. " if rows else ""
    made.append(served.positive(gain("mrepu2") - kind.enough, note=f"{where}{rule} Less {kind.enough:g}."))
    return [*made, _best(n, name, on)]


def _best(n: Numbers, name: str, on: str) -> Check:
    claim = Claim(f"{name}-best", f"{on}, one activation is ahead of all others.", "asked here")
    if len(rows := list(n.rows[name].values())) < 2:
        reason = n.missing.get(name) or "there is a single activation"
        return claim.positive(Estimate.not_determined(reason))
    gaps = [rows[0].gain - row.gain for row in rows[1:]]
    near = [row.label for row, gap in zip(rows[1:], gaps, strict=True) if gap.value <= 3 * gap.error]
    verdict: Outcome = "not determined" if near else "agrees"
    note = f"Best: {rows[0].label}, {KINDS[name].score} {n.score(name, rows[0])}. Measured: its lead on the "
    note += f"second, {rows[1].label}. Agrees where it is ahead of each by 3 errors"
    note += f"; it cannot be told from {', '.join(near)}." if near else "."
    return claim.found(None, gaps[0], verdict, note)


def tables(n: Numbers) -> list[Table]:
    columns = ["activation", "start", "best rate", "scan: networks fail from", "onset of chaos"]
    made = []
    for name, rows in n.rows.items():
        cells = []
        for row in rows.values():
            bad = [r for r, count in zip(sorted(n.settings.rates), row.scan_failed, strict=True) if count]
            steps = row.failed[row.failed >= 0]
            cells.append(
                [
                    row.label,
                    f"C_W {row.known['C_W']:.4g}, C_b {row.known['C_b']:.4g}; {row.known['rule']}",
                    f"{row.rate:g}" + ("" if row.known["recommended"] else " (none recommended)"),
                    f"{bad[0]:g}" if bad else "none",
                    str(row.onset) if math.isfinite(row.onset.value) else "-",
                    f"{len(steps)} of {len(row.failed)}"
                    + (f", from step {steps.min():.0f}" if len(steps) else ""),
                    str(n.score(name, row)),
                ]
            )
        last = ["diverged in training", KINDS[name].score]
        if cells:
            title = f"On {KINDS[name].title}, best first; a guess has {n.guess[name]:.3g}"
            made.append(Table(title, [*columns, *last], cells))
    return made


def notes(n: Numbers) -> list[str]:
    s = n.settings
    made = [
        "Of the paper's settings on images we know that there are MNIST, CIFAR-10 and a ResNet. Chosen here, "
        f"for all alike: perceptrons of {s.depth} layers of width {s.width} without norms; up to {s.train:,} "
        f"training and {s.test:,} test samples, of a text five times as many; batches of {s.batch}; Adam. "
        f"Rates {', '.join(f'{r:g}' for r in s.rates)}: {s.scan_seeds} network(s) and {s.scan_steps} steps "
        f"each; then the fastest rate and the next two below, one network and {s.steps} steps each, scored "
        f"on held-out samples; then {s.seeds} fresh networks at the best. Where no network begins with a "
        "finite loss the lowest rate is taken. Weights that an activation has of its own stay as they are.",
        "A network counts as the guess where it diverges or ends worse than it; divergences stand in the "
        "table. The guess names the most frequent class, the frequencies of characters, or the mean.",
        "RePU has no critical start: its perceptrons begin at K_dag, which repels.",
        "One published summary says that MRePU is ahead of RePU and ReLU throughout, another that ReLU has "
        "the lower error for smooth functions. The claims are those of the first, measured here.",
    ]
    if n.rows["cifar10"]:
        made.append(
            f"CIFAR-10: a residual network of {s.depth - 2} blocks h + {s.residual:g} s(conv(h)) of "
            f"{s.channels} channels, all activations alike, on images halved to 16 x 16. Where the "
            "folder holds a JPEG subset, accuracies are not comparable with published ones."
        )
    if n.rows["text"]:
        source = (
            f"that of {Path(n.text).name} (of IMDb reviews, rare words are <unk>)"
            if n.text
            else "scikit-learn's descriptions of its data sets"
        )
        made.append(f"The text is {source}, lower case; every fifth piece of 400 characters is for tests.")
    left_out = {why: [name for name in n.missing if n.missing[name] == why] for why in n.missing.values()}
    return made + [f"{', '.join(names)}: {why}." for why, names in left_out.items()]


def draw_scores(axes: Axes, n: Numbers, name: str) -> None:
    rows = list(n.rows[name].values())[::-1]
    sign, guess = sign_of(name), n.guess[name]
    for place, row in enumerate(rows):
        each, mean = guess + sign * row.gains, n.score(name, row)
        axes.plot(each, np.full(len(each), place), "o", ms=3, alpha=0.45, color=plotting.MEASURED)
        axes.errorbar(mean.value, place, xerr=mean.error, fmt="D", ms=4, lw=1.2, color=plotting.INK)
    axes.axvline(guess, color=plotting.THEORY, ls="--", lw=1, label="guess")
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.set(title=KINDS[name].title, xlabel=KINDS[name].score)
    legend(axes, fontsize=7)


def draw_losses(axes: Axes, n: Numbers, name: str) -> None:
    rows = sorted(n.rows[name].values(), key=lambda row: row.label)
    steps = np.linspace(0, n.settings.steps - 1, rows[0].loss.shape[1])
    medians = [np.median(np.where(np.isfinite(row.loss), row.loss, math.inf), axis=0) for row in rows]
    finite = [loss[np.isfinite(loss)] for loss in medians]
    top = 100 * float(np.median(np.concatenate(finite))) if any(map(len, finite)) else math.inf
    for number, (row, loss, colour) in enumerate(zip(rows, medians, colours(len(rows)), strict=True)):
        seen = loss <= top
        if seen.any() and math.isfinite(top):
            style = "-" if number < 7 else "--"  # as many colours are there
            axes.plot(steps[seen], loss[seen], style, color=colour, lw=1.2, label=row.label)
    axes.set(yscale="log", title="Training at the best rate", xlabel="step", ylabel="loss of the batch")
    legend(axes, fontsize=6.5, ncols=2)


def figures(n: Numbers) -> list[Panels]:
    return [
        Panels(
            name.replace("_", "-"),
            f"On {KINDS[name].title}. Left: fresh networks (dots), mean and error (diamonds), and a "
            "guess (dashed). Right: median loss in training; what is above 100 times the median of all is "
            "left out.",
            [partial(draw, name=name) for draw in (draw_scores, draw_losses)],
        )
        for name, rows in n.rows.items()
        if rows
    ]


COMPARISON = Part(
    name="comparison",
    title="Images and text",
    presets={"quick": QUICK, "paper": PAPER_PRESET},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    citations=("kim2024repu", "roberts2022"),
)
