"""An LSTM, a GRU, a plain RNN and a causal transformer on the same texts, trained alike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from phasescope import plotting
from phasescope.papers.noise.networks import (
    COMPARED,
    QUANTITIES,
    NetworkPart,
    Networks,
    draw_over_white,
    draw_points,
    label_windows,
    network_task,
    paired,
    relaxations_check,
    state_of,
    text_source,
)
from phasescope.papers.noise.shared import over_networks, window_lengths
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend, plain_ticks
from phasescope.studies.part import Panels, Settings, Table
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

LABELS = {"lstm": "LSTM", "gru": "GRU", "rnn": "plain RNN", "transformer": "transformer"}
BESIDE = "residual_beside_position"
_MLP_UNITS = 4  # of a transformer, for each component of its width
_CHANCE = 0.5
_LEARNED = 0.75  # accuracy half-way from chance to all
_OWN = 0.1  # a tenth of the way from white to 1/f noise
_ASKED = "asked here; arXiv:2301.08530 speaks of LSTMs alone"
_NULL = "arXiv:2301.08530, as what 1/f noise means; null derived here"


class ArchitecturesSettings(Settings):
    """Sizes of the comparison of architectures."""

    units: int = 32  # width of every state and of the embedding that all of them read; even
    blocks: int = 1  # of the transformer
    networks: int = 3  # of each architecture, that differ in their seeds alone; at least 3 for an error
    train: int = 2000  # texts for training and validation; at most as many as in the whole study
    test: int = 500  # texts for the accuracy; likewise
    series: int = 30  # texts that are recorded
    tests: int = 4  # series held against short memory
    pieces: int = 2  # of the series with carried state
    long_tests: int = 1  # units whose pieces are held against short memory


QUICK = ArchitecturesSettings()
PAPER = ArchitecturesSettings(
    blocks=2, networks=4, train=5000, test=2000, series=60, tests=12, pieces=4, long_tests=2
)


def tasks(config: Any) -> list[Task]:
    """Return one task a network, the transformers first, which take longest."""
    settings: ArchitecturesSettings = config.architectures
    texts = text_source(config)
    texts |= {name: min(texts[name], getattr(settings, name)) for name in ("train", "test")}
    known = settings.model_dump(include={"series", "tests", "pieces", "long_tests", "blocks"})
    read = config.epochs * (texts["train"] + 0.4 * texts["test"])
    made = []
    for architecture in reversed(LABELS):
        a_text = 1.6e-3 * settings.blocks if architecture == "transformer" else 3e-4
        made += [
            network_task(
                "architectures",
                config,
                replica,
                architecture=architecture,
                units=settings.units,
                seconds=5 + 0.25 * settings.tests + read * a_text,
                most_units=_MLP_UNITS * settings.units,
                embedding=settings.units,
                **texts,
                **known,
            )
            for replica in range(settings.networks)
        ]
    return made


@dataclass(frozen=True)
class Numbers:
    """All networks together, and those of each architecture, possibly none."""

    config: Any
    networks: Networks
    by_name: dict[str, Networks]


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    by_name = {name: Networks(data, state_of(name)).where(architecture=name) for name in LABELS}
    return Numbers(config, Networks(data), by_name)


def claims(n: Numbers) -> list[Check]:
    """Return what each architecture shows, trained, untrained and with shuffled words."""
    white = Claim(
        "input-white", "The embedded words that enter the networks are white noise.", "arXiv:2301.08530"
    ).equals(
        0.0,
        n.networks.mean("beta", quantity="input"),
        allowance=0.02,
        note="All architectures together; of the transformer before positions are added. Allowance 0.02.",
    )
    by_name = [
        replace(check, id=f"{check.id}-{name}")
        for name, some in n.by_name.items()
        for check in _architecture_claims(some, name)
    ]
    beside = [_beside_the_lstm(n, name) for name in LABELS if name != "lstm"]
    return [white, *by_name, *beside, *_transformer_claims(n.by_name["transformer"])]


def _architecture_claims(some: Networks, name: str) -> list[Check]:
    label = LABELS[name]
    state = "residual stream that leaves the last block" if name == "transformer" else "hidden state"
    words, shuffled, untrained = (some.of("beta", key) for key in ("words", "shuffled", "untrained"))
    accuracy = over_networks(some.accuracy)
    learned = f"{(some.accuracy > _LEARNED).sum()} of {len(some.accuracy)} networks above {_LEARNED:g}"
    return [
        Claim(
            "accuracy",
            f"A {label} learns to classify the texts better than by chance.",
            "asked here: what has not learned says nothing of training",
        ).positive(
            accuracy - _CHANCE,
            note=f"Measured: test accuracy less {_CHANCE:g}. Accuracy {accuracy}, {learned}.",
        ),
        Claim(
            "beta",
            f"Mean exponent of the {state} of the trained {label}.",
            "arXiv:2301.08530, for LSTMs whose width is not known" if name == "lstm" else _ASKED,
        ).equals(
            None,
            over_networks(words),
            note=f"Least squares as it is: {some.mean('plain_beta')}.",
        ),
        Claim(
            "trained",
            f"Training raises the exponent of the {state} of a {label}.",
            "derived here" if name == "lstm" else _ASKED,
        ).positive(
            over_networks(words - untrained, "trained less untrained, paired"),
            note=f"Untrained {over_networks(untrained)}.",
        ),
        Claim(
            "order",
            f"The exponent of a {label} is its own: words in random order give the same one.",
            "derived here, as a null",
        ).equals(
            0.0,
            over_networks(words - shuffled, "words less shuffled words, paired"),
            allowance=_OWN,
            resolution=_OWN,
            note=f"Allowance {_OWN:g}. With white Gaussian input it is {some.mean('beta', 'noise')}.",
        ),
        Claim(
            "short-memory",
            f"An autoregressive process fitted to a series of the {label} does not explain its curve.",
            _NULL,
        ).more_than_chance(some.excluding("short memory")),
        relaxations_check(
            Claim(
                "few-relaxations",
                f"A sum of two to four relaxation times does not explain the series of the {label}.",
                _NULL,
            ),
            some.excluding("a few relaxation times"),
        ),
        Claim(
            "straight", f"The curves of the {label} are those of scaling noise: one power law.", _NULL
        ).more_than_chance(some.excluding("scaling noise"), wanted=False),
    ]


def _beside_the_lstm(n: Numbers, name: str) -> Check:
    """Return the difference of two architectures, replica by replica."""
    difference = paired(n.by_name[name], n.by_name["lstm"], lambda networks: networks.of("beta"))
    return Claim(
        f"beside-lstm-{name}", f"Exponent of a trained {LABELS[name]} less that of a trained LSTM.", _ASKED
    ).equals(None, over_networks(difference, "difference of exponents"))


def _transformer_claims(some: Networks) -> list[Check]:
    whole, beside = (
        {key: some.of("beta", key, quantity) for key in ("words", "untrained")}
        for quantity in ("residual", BESIDE)
    )
    residue = "Measured with the mean over texts at each position taken out of the stream."
    return [
        Claim("mlp", "Mean exponent of the MLP units of the trained transformer.", _ASKED).equals(
            None,
            some.mean("beta", quantity="mlp"),
            note=f"Untrained {some.mean('beta', 'untrained', 'mlp')}.",
        ),
        Claim(
            "positions-untrained",
            "Sinusoidal positions alone give the stream of an untrained transformer slow components.",
        ).positive(
            over_networks(whole["untrained"] - beside["untrained"], "all less beside positions, paired"),
            note="Measured: beta of the stream less that of what remains without the mean over texts at each "
            "position.",
        ),
        Claim("positions-trained", "In a trained transformer positions still do.").positive(
            over_networks(whole["words"] - beside["words"], "all less beside positions, paired")
        ),
        Claim(
            "beside-positions-untrained", "Beside positions, the stream of an untrained transformer is white."
        ).equals(
            0.0,
            over_networks(beside["untrained"]),
            allowance=0.05,
            resolution=0.05,
            note=f"{residue} Attention that has learned nothing averages over all words before: a small and "
            "fading part beside the word itself. Allowance 0.05.",
        ),
        Claim(
            "beside-positions",
            "Beside positions, the stream of a trained transformer fluctuates slowly.",
            _ASKED,
        ).positive(
            over_networks(beside["words"]),
            note=f"{residue} With shuffled words {some.mean('beta', 'shuffled', BESIDE)}.",
        ),
    ]


def tables(n: Numbers) -> list[Table]:
    columns = ["architecture", "accuracy", "beta", "least squares", "in use", "shuffled", "white noise"]
    columns += ["untrained", "curvature", "memory (words)", "participation / width", "carried: same windows"]
    columns += ["carried: longer windows"]
    by_name, by_quantity = [], []
    for name, some in n.by_name.items():
        values = [
            some.accuracy,
            some.of("beta"),
            some.of("plain_beta"),
            some.used,
            *(some.of("beta", condition) for condition in ("shuffled", "noise", "untrained")),
            some.of("curvature"),
            some.of("memory"),
            some.of("participation") / some.units,
            *some.of("long_beta").T,
        ]
        by_name.append([LABELS[name], *(str(over_networks(value)) for value in values)])
        for quantity in QUANTITIES:
            trained, untrained = (some.mean("beta", key, quantity) for key in ("words", "untrained"))
            if trained.determined:
                cells = [str(trained), str(untrained) if untrained.determined else "-"]
                by_quantity.append([LABELS[name], quantity.replace("_", " "), *cells])
    return [
        Table("By architecture, over networks", columns, by_name),
        Table("beta by quantity", ["architecture", "quantity", "trained", "untrained"], by_quantity),
    ]


def notes(n: Numbers) -> list[str]:
    """Return what was chosen here, and which networks did not learn."""
    settings: ArchitecturesSettings = n.config.architectures
    made = [
        f"All networks have width {settings.units}, the same embedding size, texts, optimiser and "
        f"{n.config.epochs} epochs over at most {settings.train} texts. The recurrent ones answer from their "
        "last state; the transformer "
        f"({settings.blocks} causal block(s) with 2 heads, sinusoidal positions added) from the mean of its "
        "states. Nothing was tuned for one of them, so that accuracies are no ranking.",
        "A transformer has no state to carry on: its exponents are those within one text, and positions, "
        "the same in every text, are a part of its stream that no word has put there.",
    ]
    failed = [
        LABELS[name]
        for name, some in n.by_name.items()
        if len(some.accuracy) and some.accuracy.mean() < _LEARNED - 0.15
    ]
    if failed:
        made.append(f"Hardly above chance after training: {', '.join(failed)}. Read their exponents so.")
    return made


def draw_states(axes: Axes, n: Numbers) -> None:
    for shift, (colour, (condition, label)) in enumerate(zip(colours(4), COMPARED.items(), strict=True)):
        for place, some in enumerate(n.by_name.values()):
            values, named = some.of("beta", condition), label if place == 0 else None
            draw_points(axes, place + 0.16 * (shift - 1.5), values, color=colour, label=named)
    axes.set_xticks(range(len(LABELS)), [label.replace(" ", "\n") for label in LABELS.values()])
    axes.axhline(0, color=plotting.INK, lw=0.8)
    axes.set(title="By architecture", ylabel=r"$\beta$ of the state")
    axes.margins(y=0.3)
    legend(axes, ncols=2, loc="upper left", fontsize=8)


def draw_curves(axes: Axes, n: Numbers) -> None:
    windows = window_lengths(*n.config.windows)
    for colour, (name, some) in zip(colours(len(LABELS)), n.by_name.items(), strict=True):
        if some.widths:
            curves, nulls = some.of("fluctuation"), some.of("short_fluctuation")
            draw_over_white(axes, windows, curves, lw=1.4, color=colour, label=LABELS[name])
            draw_over_white(axes, windows, nulls, "--", lw=1, color=colour)
    label_windows(axes, "words")
    plain_ticks(axes)
    axes.set_title("Curves, trained")
    legend(axes)


def draw_stream(axes: Axes, n: Numbers) -> None:
    drawn = {"residual": "whole\nstream", BESIDE: "beside\npositions", "mlp": "MLP\nunits"}
    conditions = (("words", "trained", plotting.MEASURED), ("untrained", "untrained", "none"))
    for place, quantity in enumerate(drawn):
        for shift, (condition, label, face) in zip((-0.1, 0.1), conditions, strict=True):
            values = n.by_name["transformer"].of("beta", condition, quantity)
            named = label if place == 0 else None
            draw_points(
                axes, place + shift, values, 4.5, color=plotting.MEASURED, markerfacecolor=face, label=named
            )
    axes.set_xticks(range(len(drawn)), list(drawn.values()))
    axes.set_xlim(-0.6, len(drawn) - 0.4)
    axes.axhline(0, color=plotting.INK, lw=0.8)
    axes.set(title="Inside the transformer", ylabel=r"$\beta$")
    legend(axes)


def figures(n: Numbers) -> list[Panels]:
    return [
        Panels(
            "architectures",
            "Left: mean exponent of the state of each network, for words, for words in random order, for "
            "white noise as input, and before training. Middle: fluctuation functions over the root of "
            "n, in which white noise is flat; dashed, autoregressive processes fitted to single series. "
            "Right: the transformer's residual stream, what remains of it without the mean over texts at "
            "each position, and its MLP units; open circles before training.",
            [draw_states, draw_curves, draw_stream],
            size=(3.7, 3.2),
        )
    ]


ARCHITECTURES = NetworkPart(
    name="architectures",
    title="GRU, plain RNN and transformer beside the LSTM",
    presets={"quick": QUICK, "paper": PAPER},
    tasks=tasks,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
)
