"""Claims about the exponents of other sequence models than the LSTM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope.papers.noise.averages import less, of, over_networks
from phasescope.papers.noise.judging import more_than_chance, no_more_than_chance, positive
from phasescope.papers.noise.observation import QUANTITIES, state_of
from phasescope.papers.noise.sizes_numbers import best_accuracy, share, used
from phasescope.studies.check import Check, compare
from phasescope.studies.contract import Table

if TYPE_CHECKING:
    import xarray as xr

ARCHITECTURES = ("lstm", "gru", "rnn", "transformer")
LABELS = {"lstm": "LSTM", "gru": "GRU", "rnn": "plain RNN", "transformer": "transformer"}
BESIDE = "residual_beside_position"
_PAPER = "arXiv:2301.08530"
_HERE = "derived here"
_ASKED = "asked here; arXiv:2301.08530 speaks of LSTMs alone"
_NULL = "arXiv:2301.08530, as what 1/f noise means; null derived here"
_STATE = {"transformer": "residual stream that leaves the last block"}
_CHANCE = 0.5
_OWN = 0.1  # a tenth of the way from white to 1/f noise


def checks(data: xr.Dataset, config: Any) -> list[Check]:
    """Return the checks of the part."""
    made = [
        compare(
            "architectures/input-white",
            "The embedded words that enter the networks are white noise.",
            _PAPER,
            0.0,
            over_networks(of(data, "beta", "words", "input")),
            allowance=0.02,
            note="All architectures together; of the transformer before positions are added. Allowance 0.02.",
        )
    ]
    for name in ARCHITECTURES:
        made += _of_architecture(networks_of(data, name), name)
    made += [_beside_the_lstm(data, name) for name in ARCHITECTURES[1:]]
    return [*made, *_transformer(networks_of(data, "transformer"))]


def networks_of(data: xr.Dataset, architecture: str) -> xr.Dataset:
    """Return the networks of one architecture, possibly none."""
    return data.isel(task=np.flatnonzero(data["architecture"].values == architecture))


def state_beta(data: xr.Dataset, architecture: str, condition: str, name: str = "beta") -> np.ndarray:
    """Return a number of the state of each network of one architecture."""
    return of(networks_of(data, architecture), name, condition, state_of(architecture))


def _of_architecture(data: xr.Dataset, name: str) -> list[Check]:
    label = LABELS[name]
    state = _STATE.get(name, "hidden state")
    own = state_of(name)
    beta = {key: of(data, "beta", key, own) for key in ("words", "shuffled", "untrained", "noise")}
    accuracy = over_networks(best_accuracy(data))
    known = _known(data)
    tested, short, scaling = (of(data, key, "words", own) for key in ("tested", "beat_short", "beat_scaling"))
    return [
        positive(
            f"architectures/accuracy-{name}",
            f"A {label} learns to classify the texts better than by chance.",
            "asked here: what has not learned says nothing of training",
            less(accuracy, _CHANCE),
            note=f"Measured: test accuracy less {_CHANCE:g}. Accuracy {accuracy}, {known}.",
        ),
        compare(
            f"architectures/beta-{name}",
            f"Mean exponent of the {state} of the trained {label}.",
            f"{_PAPER}, for LSTMs whose width is not known" if name == "lstm" else _ASKED,
            None,
            over_networks(beta["words"]),
            note=f"Least squares as it is: {over_networks(of(data, 'plain_beta', 'words', own))}.",
        ),
        positive(
            f"architectures/trained-{name}",
            f"Training raises the exponent of the {state} of a {label}.",
            _HERE if name == "lstm" else _ASKED,
            over_networks(beta["words"] - beta["untrained"], "trained less untrained, paired"),
            note=f"Untrained {over_networks(beta['untrained'])}.",
        ),
        compare(
            f"architectures/order-{name}",
            f"The exponent of a {label} is its own: words in random order give the same one.",
            "derived here, as a null",
            0.0,
            over_networks(beta["words"] - beta["shuffled"], "words less shuffled words, paired"),
            allowance=_OWN,
            resolution=_OWN,
            note=f"Allowance {_OWN:g}. With white Gaussian input it is {over_networks(beta['noise'])}.",
        ),
        more_than_chance(
            f"architectures/short-memory-{name}",
            f"An autoregressive process fitted to a series of the {label} does not explain its curve.",
            _NULL,
            share(short, tested, "share of series that exclude short memory"),
        ),
        no_more_than_chance(
            f"architectures/straight-{name}",
            f"The curves of the {label} are those of scaling noise: one power law.",
            _NULL,
            share(scaling, tested, "share of series that exclude scaling noise"),
        ),
    ]


def _known(data: xr.Dataset) -> str:
    """Return how many networks learned."""
    accuracy = best_accuracy(data)
    learned = int((accuracy > 0.5 * (1 + _CHANCE)).sum())
    return f"{learned} of {len(accuracy)} networks above {0.5 * (1 + _CHANCE):g}"


def _beside_the_lstm(data: xr.Dataset, name: str) -> Check:
    rest = {
        key: dict(zip(networks_of(data, key)["replica"].values.tolist(), state_beta(data, key, "words"),
                      strict=True))
        for key in ("lstm", name)
    }  # fmt: skip
    both = sorted(rest["lstm"].keys() & rest[name].keys())
    difference = np.array([rest[name][replica] - rest["lstm"][replica] for replica in both])
    return compare(
        f"architectures/beside-lstm-{name}",
        f"Exponent of a trained {LABELS[name]} less that of a trained LSTM.",
        _ASKED,
        None,
        over_networks(difference, "difference of exponents"),
    )


def _transformer(data: xr.Dataset) -> list[Check]:
    whole, beside = (
        {key: of(data, "beta", key, quantity) for key in ("words", "shuffled", "untrained")}
        for quantity in ("residual", BESIDE)
    )
    mlp = of(data, "beta", "words", "mlp")
    residue = "Measured with the mean over texts at each position taken out of the stream."
    return [
        compare(
            "architectures/mlp",
            "Mean exponent of the MLP units of the trained transformer.",
            _ASKED,
            None,
            over_networks(mlp),
            note=f"Untrained {over_networks(of(data, 'beta', 'untrained', 'mlp'))}.",
        ),
        positive(
            "architectures/positions-untrained",
            "Sinusoidal positions alone give the stream of an untrained transformer slow components.",
            _HERE,
            over_networks(whole["untrained"] - beside["untrained"], "all less beside positions, paired"),
            note="Measured: beta of the stream less that of what remains without the mean over texts at each "
            "position.",
        ),
        positive(
            "architectures/positions-trained",
            "In a trained transformer positions still do.",
            _HERE,
            over_networks(whole["words"] - beside["words"], "all less beside positions, paired"),
        ),
        compare(
            "architectures/beside-positions-untrained",
            "Beside positions, the stream of an untrained transformer is white.",
            _HERE,
            0.0,
            over_networks(beside["untrained"]),
            allowance=0.05,
            resolution=0.05,
            note=f"{residue} Attention that has learned nothing averages over all words before: a small and "
            "fading part beside the word itself. Allowance 0.05.",
        ),
        positive(
            "architectures/beside-positions",
            "Beside positions, the stream of a trained transformer fluctuates slowly.",
            _ASKED,
            over_networks(beside["words"]),
            note=f"{residue} With shuffled words {over_networks(beside['shuffled'])}.",
        ),
    ]


def tables(data: xr.Dataset) -> list[Table]:
    """Return the numbers by architecture."""
    columns = ["architecture", "accuracy", "beta", "least squares", "in use", "shuffled", "white noise"]
    columns += ["untrained", "curvature", "memory (words)", "participation / width", "carried: same windows"]
    columns += ["carried: longer windows"]
    rows = []
    for name in ARCHITECTURES:
        some, own = networks_of(data, name), state_of(name)
        place = QUANTITIES.index(own)
        values = [
            best_accuracy(some),
            of(some, "beta", "words", own),
            of(some, "plain_beta", "words", own),
            used(some, own),
            *(of(some, "beta", key, own) for key in ("shuffled", "noise", "untrained")),
            of(some, "curvature", "words", own),
            of(some, "memory", "words", own),
            some["participation"].values[:, place] / some["units"].values,
            *some["long_beta"].values.T,
        ]
        rows.append([LABELS[name], *(str(over_networks(value)) for value in values)])
    return [Table("By architecture, over networks", columns, rows), _quantities(data)]


def _quantities(data: xr.Dataset) -> Table:
    rows = []
    for name in ARCHITECTURES:
        some = networks_of(data, name)
        for quantity in QUANTITIES:
            found = [over_networks(of(some, "beta", key, quantity)) for key in ("words", "untrained")]
            if found[0].determined:
                cells = [str(value) if value.determined else "-" for value in found]
                rows.append([LABELS[name], quantity.replace("_", " "), *cells])
    return Table("beta by quantity", ["architecture", "quantity", "trained", "untrained"], rows)


def notes(data: xr.Dataset, config: Any) -> list[str]:
    """Return what was chosen here, and which networks did not learn."""
    settings = config.architectures
    made = [
        f"All networks have width {settings.units}, the same embedding size, texts, optimiser and "
        f"{config.epochs} epochs over at most {settings.train} texts. The recurrent ones answer from their "
        "last state; the transformer "
        f"({settings.blocks} causal block(s) with 2 heads, sinusoidal positions added) from the mean of its "
        "states. Nothing was tuned for one of them, so that accuracies are no ranking.",
        "A transformer has no state to carry on: its exponents are those within one text, and positions, "
        "the same in every text, are a part of its stream that no word has put there.",
    ]
    failed = [
        LABELS[name]
        for name in ARCHITECTURES
        if networks_of(data, name).sizes["task"]
        and float(best_accuracy(networks_of(data, name)).mean()) < 0.5 * (1 + _CHANCE) - 0.15
    ]
    if failed:
        made.append(f"Hardly above chance after training: {', '.join(failed)}. Read their exponents so.")
    return made
