"""Causal transformers that predict the next word, as language models do, with positions and without.

Not in arXiv:2301.08530, which speaks of LSTMs: whether the stream of a language model fluctuates slowly,
whether that is the order of the words, and what of it comes from positions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope import plotting
from phasescope.papers.noise import networks
from phasescope.papers.noise.networks import (
    COMPARED,
    NetworkPart,
    Networks,
    draw_over_white,
    draw_points,
    label_windows,
    network_task,
    null_claims,
    text_source,
)
from phasescope.papers.noise.shared import over_networks, window_lengths
from phasescope.papers.noise.training import kept_words
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend, plain_ticks
from phasescope.studies.part import Panels, Settings, Table, Variable
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

POSITIONS = {"sinusoidal": "with sinusoidal positions", "none": "without positions"}
STREAM, BESIDE = "residual", "residual_beside_position"
_MLP_UNITS = 4  # of a transformer, for each component of its width
_OWN = 0.1  # a tenth of the way from white to 1/f noise
_ASKED = "asked here; arXiv:2301.08530 speaks of LSTMs alone"
_NULL = "asked here, as what 1/f noise means; null derived here"


class LanguageSettings(Settings):
    """Sizes of the models of the next word."""

    units: int = 16  # width of the stream and of the embedding; even
    blocks: int = 1
    networks: int = 3  # with each kind of positions; at least 3 for an error
    predicted: int = 200  # most frequent words that are told apart where the next one is predicted
    train: int = 300  # texts for training and validation
    test: int = 100  # texts for the loss
    epochs: int = 2
    batch: int = 32  # texts a step
    rate: float = 3e-3  # learning rate of Adam
    series: int = 16  # texts that are recorded
    tests: int = 2  # series held against short memory


QUICK = LanguageSettings()
PAPER = LanguageSettings(
    units=32,
    blocks=2,
    predicted=500,
    train=2500,
    test=300,
    epochs=3,
    batch=16,
    series=40,
    tests=12,
)

VARIABLES = {
    **networks.VARIABLES,
    "frequency_loss": Variable((), "cross entropy of the next word under the frequencies of words", "nat"),
}


def tasks(config: Any) -> list[Task]:
    """Return one task a network."""
    settings: LanguageSettings = config.language
    texts = text_source(config) | {"train": settings.train, "test": settings.test}
    names = {"series", "tests", "epochs", "batch", "rate", "blocks", "predicted"}
    known = settings.model_dump(include=names)
    read = settings.epochs * (settings.train + 0.4 * settings.test)
    a_text = settings.blocks * settings.units * 3e-5 + settings.predicted * settings.units * 6e-8
    return [
        network_task(
            "language",
            config,
            replica,
            architecture="transformer",
            units=settings.units,
            seconds=5 + 0.25 * settings.tests + read * a_text,
            embedding=settings.units,
            most_units=_MLP_UNITS * settings.units,
            positions=positions,
            **texts,
            **known,
        )
        for positions in POSITIONS
        for replica in range(settings.networks)
    ]


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return what one network shows, and how well the frequencies of words predict the next one."""
    known = dict(task.parameters)
    data = networks.sequence_set(known, task.replica)
    train, test = (
        np.concatenate([kept_words(text[1:], known["predicted"]).numpy() for text in some.sequences])
        for some in (data.train, data.test)
    )
    counts = 1.0 + np.bincount(train, minlength=known["predicted"])  # none has the probability 0
    measured = networks.measure(task, device)
    return measured | {"frequency_loss": float(-np.log(counts / counts.sum())[test].mean())}


@dataclass(frozen=True)
class Numbers:
    """The networks by their positions, possibly none."""

    config: Any
    networks: Networks
    by_positions: dict[str, Networks]


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    everything = Networks(data, STREAM)
    return Numbers(config, everything, {kind: everything.where(positions=kind) for kind in POSITIONS})


def claims(n: Numbers) -> list[Check]:
    """Return what the stream shows, in natural order and shuffled, with positions and without."""
    white = Claim("input-white", "The embedded words are white noise.", "arXiv:2301.08530, of LSTMs").equals(
        0.0,
        n.networks.mean("beta", quantity="input"),
        allowance=0.02,
        resolution=0.02,
        note="All networks together, before positions are added; in random order "
        f"{n.networks.mean('beta', 'shuffled', 'input')}. Allowance 0.02.",
    )
    by_kind = [
        replace(check, id=f"{check.id}-{kind}")
        for kind, some in n.by_positions.items()
        for check in _claims_of(some, kind)
    ]
    return [white, *by_kind, *_position_claims(n)]


def _claims_of(some: Networks, kind: str) -> list[Check]:
    model = f"a model of the next word {POSITIONS[kind]}"
    words, shuffled, untrained = (some.of("beta", key) for key in ("words", "shuffled", "untrained"))
    beside, mixed = (some.of("beta", key, BESIDE) for key in ("words", "shuffled"))
    orders = [over_networks(values) for values in some.of("order_beta").T]
    return [
        Claim(
            "learned",
            f"{model[:1].upper()}{model[1:]} predicts better than the frequencies of words.",
            "asked here: what has not learned says nothing of training",
        ).positive(
            over_networks(some.of("frequency_loss") - some.kept("test_loss"), "gain in nat a word"),
            note=f"Measured: cross entropy under the frequencies, {some.mean('frequency_loss')} nat, less "
            f"that of the network. {over_networks(100 * some.accuracy)} % of the next words are right.",
        ),
        Claim("beta", f"Mean exponent of the stream of {model}.", _ASKED).equals(
            None,
            over_networks(words),
            note=f"Least squares {some.mean('plain_beta')}, after detrending of orders 2 and 3 {orders[0]} "
            f"and {orders[1]}.",
        ),
        Claim("trained", f"Training raises the exponent of the stream of {model}.", _ASKED).positive(
            over_networks(words - untrained, "trained less untrained, paired"),
            note=f"Untrained {over_networks(untrained)}.",
        ),
        Claim("order", f"The order of the words makes no part of the exponent of {model}.", _ASKED).equals(
            0.0,
            over_networks(words - shuffled, "words less shuffled words, paired"),
            allowance=_OWN,
            resolution=_OWN,
            note=f"Allowance {_OWN:g}. With white Gaussian input it is {some.mean('beta', 'noise')}.",
        ),
        Claim(
            "beside",
            f"Without the mean over texts at each position, the stream of {model} still fluctuates slowly.",
            _ASKED,
        ).positive(over_networks(beside), note=f"Untrained {some.mean('beta', 'untrained', BESIDE)}."),
        Claim("beside-order", f"Of that, the order of the words makes no part in {model}.", _ASKED).equals(
            0.0,
            over_networks(beside - mixed, "words less shuffled words, paired"),
            allowance=_OWN,
            resolution=_OWN,
            note=f"Shuffled {over_networks(mixed)}. Allowance {_OWN:g}.",
        ),
        *null_claims(
            replace(some, state=BESIDE),
            _NULL,
            f"Of the stream of {model}, without the mean at each position.",
        ),
    ]


def _position_claims(n: Numbers) -> list[Check]:
    placed, free = (n.by_positions[kind] for kind in POSITIONS)
    return [
        Claim(
            "positions",
            "Positions that are added make the stream slower than what remains without their mean.",
            _ASKED,
        ).positive(
            over_networks(placed.of("beta") - placed.of("beta", quantity=BESIDE), "all less beside, paired"),
            note="Measured: beta of the stream less that without the mean over texts at each position.",
        ),
        Claim(
            "without-positions", "A network that has no positions has a smaller exponent.", _ASKED
        ).positive(
            over_networks(
                networks.paired(placed, free, lambda some: some.of("beta")), "with less without positions"
            ),
            note="Paired by texts.",
        ),
    ]


def tables(n: Numbers) -> list[Table]:
    columns = ["positions", "loss", "of frequencies", "stream", "least squares", "order 2", "order 3"]
    columns += [
        "shuffled",
        "white noise",
        "untrained",
        "beside positions",
        "shuffled",
        "untrained",
        "MLP units",
    ]
    rows = []
    for kind, some in n.by_positions.items():
        values = [
            some.kept("test_loss"),
            some.of("frequency_loss"),
            some.of("beta"),
            some.of("plain_beta"),
            *some.of("order_beta").T,
            *(some.of("beta", condition) for condition in ("shuffled", "noise", "untrained")),
            *(some.of("beta", condition, BESIDE) for condition in ("words", "shuffled", "untrained")),
            some.of("beta", quantity="mlp"),
        ]
        rows.append([kind, *(str(over_networks(value)) for value in values)])
    return [Table("Models of the next word: loss, and beta of", columns, rows)]


def notes(n: Numbers) -> list[str]:
    """Return what was chosen here."""
    settings: LanguageSettings = n.config.language
    return [
        f"{settings.blocks} causal block(s) of width {settings.units} with 2 heads, trained for "
        f"{settings.epochs} epochs on {settings.train} texts to predict each next word among the "
        f"{settings.predicted} most frequent ones (every other one counts as unknown). Large language models "
        "are wider by a hundred times and have read a million times as much: that they are alike is not "
        "shown.",
        "Series, windows, shuffling and white input are those of the LSTMs. A causal transformer can tell "
        "positions apart without being given any, as early words see fewer others: what all texts have in "
        "common at a position is taken out in both kinds.",
        *(
            []
            if n.config.imdb
            else [
                "Artificial words are independent of each other: beyond the class of its text nothing can "
                "be learned of the next word."
            ]
        ),
    ]


def draw_stream(axes: Axes, n: Numbers) -> None:
    _draw_exponents(axes, n, STREAM)
    axes.set(title="Whole stream", ylabel=r"$\beta$")


def draw_beside(axes: Axes, n: Numbers) -> None:
    _draw_exponents(axes, n, BESIDE)
    axes.set_title("Without the mean at each position")


def _draw_exponents(axes: Axes, n: Numbers, quantity: str) -> None:
    for shift, (colour, (condition, label)) in enumerate(zip(colours(4), COMPARED.items(), strict=True)):
        for place, some in enumerate(n.by_positions.values()):
            values, named = some.of("beta", condition, quantity), label if place == 0 else None
            draw_points(axes, place + 0.16 * (shift - 1.5), values, color=colour, label=named)
    axes.set_xticks(range(len(POSITIONS)), [label.replace(" ", "\n", 1) for label in POSITIONS.values()])
    axes.axhline(0, color=plotting.INK, lw=0.8)
    axes.margins(y=0.3)
    legend(axes, ncols=2, loc="upper left", fontsize=8)


def draw_curves(axes: Axes, n: Numbers) -> None:
    windows = window_lengths(*n.config.windows)
    for colour, (kind, some) in zip(colours(len(POSITIONS)), n.by_positions.items(), strict=True):
        if some.widths:
            draw_over_white(axes, windows, some.of("fluctuation"), color=colour, label=POSITIONS[kind])
            beside = some.of("fluctuation", quantity=BESIDE)
            draw_over_white(axes, windows, beside, "--", lw=1, color=colour)
    label_windows(axes, "words")
    plain_ticks(axes)
    axes.set_title("Curves, trained")
    legend(axes)


def figures(n: Numbers) -> list[Panels]:
    return [
        Panels(
            "language",
            "Transformers that predict the next word. Left: mean exponent of the residual stream that leaves "
            "the last block, one point a network. Middle: the same without the mean over texts at each "
            "position. Right: fluctuation functions over the root of n, in which white noise is flat; dashed "
            "without the mean at each position.",
            [draw_stream, draw_beside, draw_curves],
            size=(3.7, 3.2),
        )
    ]


LANGUAGE = NetworkPart(
    name="language",
    title="Transformers that predict the next word",
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
