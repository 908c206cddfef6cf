"""What every part that trains networks has in common: a task is one network, trained and looked at."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from phasescope.noise import ablation, memory_test, population
from phasescope.papers.noise.observation import (
    CONDITIONS,
    QUANTITIES,
    SCALARS,
    USAGE,
    mean_beta,
    observed,
    state_of,
    used_mean,
)
from phasescope.papers.noise.sequences import (
    Labelled,
    SequenceSet,
    generator,
    image_set,
    review_set,
    shuffled_in_time,
    synthetic_set,
)
from phasescope.papers.noise.shared import STUDY, window_lengths
from phasescope.papers.noise.training import Classifier, History, batches, built, fit
from phasescope.studies.arrays import filled
from phasescope.studies.contract import Part, Variable
from phasescope.sweep.task import Task

_SETTLING = 100  # silent steps left out
_ABLATED_WITH = 100  # test sequences
_LONG_WINDOWS = 20
_MOST_ARTIFICIAL = 4000  # their cues are learned from fewer texts than reviews are

_NUMBER = ("condition", "quantity")
_CURVE = ("condition", "quantity", "window")
_UNIT = ("quantity", "unit")


def _variables() -> dict[str, Variable]:
    made = {
        "train_loss": Variable(("epoch",), "mean cross entropy over the epoch", "nat"),
        "validation_loss": Variable(("epoch",), "cross entropy of validation sequences", "nat"),
        "test_loss": Variable(("epoch",), "cross entropy of test sequences", "nat"),
        "test_accuracy": Variable(("epoch",), "share of test sequences classified right"),
        "best_epoch": Variable((), "epoch whose weights were kept"),
        "epoch_beta": Variable(("epoch",), "mean exponent of the state's units"),
        "epoch_used_beta": Variable(("epoch",), "mean exponent of the units in use"),
    }
    made |= {name: Variable(_NUMBER, name.replace("_", " ")) for name in SCALARS}
    made |= {name: Variable(("quantity",), name.replace("_", " ")) for name in USAGE}
    made |= {
        "fluctuation": Variable(_CURVE, "geometric mean of F(n) over F of the first window"),
        "fluctuation_error": Variable(_CURVE, "error of its logarithm"),
        "short_fluctuation": Variable(_CURVE, "the same of autoregressive processes fitted to the series"),
        "unit_beta": Variable(_UNIT, "mean exponent of a unit"),
        "unit_beta_error": Variable(_UNIT, "its standard error over sequences"),
        "unit_deviation": Variable(_UNIT, "temporal standard deviation of a unit"),
        "ablation": Variable(("unit",), "rise of the test loss with the unit held at its mean", "nat"),
        "ablation_error": Variable(("unit",), "its standard error over sequences", "nat"),
        "long_fluctuation": Variable(("long_window",), "F(n) with carried state over F of the first window"),
        "long_fluctuation_error": Variable(("long_window",), "error of its logarithm"),
        "long_beta": Variable(("range",), "exponent in the windows of the series, and in longer ones"),
        "long_beta_error": Variable(("range",), "its standard error over pieces"),
        "long_used_beta": Variable(("range",), "exponent of the units in use"),
        "long_input_beta": Variable(("range",), "exponent of the inputs"),
        "long_input_beta_error": Variable(("range",), "its standard error over pieces"),
        "long_tested": Variable((), "pieces of the busiest units held against short memory"),
        "long_beat_short": Variable((), "of these, how many exclude short memory"),
        "long_beat_scaling": Variable((), "of these, how many exclude scaling noise"),
        "long_memory": Variable((), "median memory of the autoregressive processes", "steps"),
    }
    return made


class NetworkPart(Part):
    """A part whose tasks are trained networks; what differs is which ones, and what is claimed of them."""

    variables: ClassVar = _variables()
    citations = ("chong2023", "peng1994", "kantelhardt2001")

    def network_task(
        self, config: Any, replica: int, *, architecture: str, units: int, seconds: float, **known: Any
    ) -> Task:
        """Return the task of one network."""
        parameters = {**_shared(config), "blocks": 1, "ablate": False, **known}
        parameters |= {"architecture": architecture, "units": units}
        memory = 1_500_000_000 if known["source"] == "imdb" else 800_000_000
        return Task(STUDY, self.name, parameters, replica, seconds=seconds, memory=memory)

    def measure(self, task: Task, device: str) -> dict[str, np.ndarray]:
        """Return what one network shows before and after training; the work is done on the CPU."""
        known = dict(task.parameters)
        windows = window_lengths(*known["windows"])
        lengths = {
            "epoch": known["epochs"] + 1,
            "condition": len(CONDITIONS),
            "quantity": len(QUANTITIES),
            "unit": known["most_units"],
            "window": len(windows),
            "long_window": _LONG_WINDOWS,
            "range": 2,
        }
        data = sequence_set(known, task.replica)
        weights, order, noise, tests = np.random.SeedSequence(task.seed).generate_state(4).tolist()
        network = built(
            weights, known["architecture"], known["units"], known["embedding"], data, known["blocks"]
        ).eval()
        betas: list[tuple[float, float]] = []

        def look(epoch: int) -> None:
            betas.append(mean_beta(_states(network, _embedded(network, data.series)), windows))

        look_at = partial(observed, network, windows=windows, seed=tests)
        conditions = {"untrained": look_at(_embedded(network, data.series), tests=known["tests"])}
        sizes = {name: known[name] for name in ("epochs", "rate", "batch")}
        history = fit(network, data, **sizes, seed=order, after_epoch=look)
        for name, inputs in _inputs(network, data, noise).items():
            count = 0 if name == "noise" else known["tests"]
            conditions[name] = look_at(inputs, tests=count, preactivations=name == "words")
        if known["architecture"] != "transformer":
            conditions["silence"] = _silence(network, data, windows)
        measured = _stacked(conditions)
        measured |= _learning(history, betas) | _long(network, data, known, windows, tests)
        if known["ablate"]:
            measured |= _ablated(network, data)
        return filled(self.variables, lengths, **measured)


def _shared(config: Any) -> dict[str, Any]:
    """Return what the measurement of any network needs, as parameters of a task."""
    names = {"words", "series", "pieces", "piece", "windows", "tests", "long_tests"}
    names |= {"epochs", "batch", "rate", "embedding"}
    return {**config.model_dump(mode="json", include=names), "seed": config.seed}


def text_source(config: Any) -> dict[str, Any]:
    """Return which texts, and how many, as parameters of a task."""
    sizes = config.model_dump(mode="json", include={"train", "test"})
    if config.imdb:
        return {"source": "imdb", "folder": config.imdb, "vocabulary": config.vocabulary, **sizes}
    sizes["train"] = min(sizes["train"], _MOST_ARTIFICIAL)
    return {"source": "synthetic", "folder": "", "vocabulary": 0, **sizes}


def sequence_set(known: dict[str, Any], replica: int) -> SequenceSet:
    """Return the sequences that a task's parameters name, chosen anew for each replica.

    So the scatter over networks holds that of the texts as well, which all conditions of one network share.
    """
    stream = known["pieces"] * known["piece"]
    sizes = {name: known[name] for name in ("train", "test", "series")}
    sizes["seed"] = int(generator("sequences", known["seed"], replica).integers(2**31))
    if known["source"] == "imdb":
        return review_set(
            known["folder"], vocabulary=known["vocabulary"], words=known["words"], stream=stream, **sizes
        )
    if known["source"] in ("rows", "pixels"):
        return image_set(
            known["folder"],
            known["source"],
            pooled=known["pooled"],
            steps=known["words"],
            stream=stream,
            **sizes,
        )
    return synthetic_set(persistent=False, words=known["words"], stream=stream, **sizes)


def _embedded(network: Classifier, series: Tensor) -> Tensor:
    with torch.no_grad():
        embedded: Tensor = network.embedding(series)
    return embedded


def _states(network: Classifier, inputs: Tensor) -> np.ndarray:
    with torch.no_grad():
        states = network.body(inputs)
    states = states[0] if isinstance(states, tuple) else states
    return np.asarray(states.transpose(1, 2).numpy())


def _inputs(network: Classifier, data: SequenceSet, seed: int) -> dict[str, Tensor]:
    """Return embedded sequences: as they are, shuffled in time, and Gaussian noise of their size."""
    x = _embedded(network, data.series)
    mixed = _embedded(network, shuffled_in_time(data.series, seed))
    drawn = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    noise = x.mean((0, 1)) + x.std((0, 1)) * drawn
    return {"words": x, "shuffled": mixed, "noise": noise}


def _silence(network: Classifier, data: SequenceSet, windows: np.ndarray) -> dict[str, np.ndarray]:
    """Return the exponents of the state while it is left alone after the words: the input is zero."""
    x = _embedded(network, data.series)
    quiet = torch.zeros(len(x), _SETTLING + x.shape[1], x.shape[2])
    states = _states(network, torch.cat([x, quiet], dim=1))[:, :, -x.shape[1] :]
    seen = population(states, windows=windows, tests=0)
    place = QUANTITIES.index("hidden")
    found = {name: np.full(len(QUANTITIES), np.nan) for name in ("beta", "beta_error", "determined_share")}
    found["beta"][place], found["beta_error"][place] = seen.mean.value, seen.mean.error
    found["determined_share"][place] = np.isfinite(seen.beta).mean()
    return found


def _stacked(conditions: dict[str, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return arrays over conditions, and what is measured under one only."""
    words = conditions["words"]
    single = (*USAGE, "unit_beta", "unit_beta_error", "unit_deviation")
    made = {name: words[name] for name in single}
    for name in words.keys() - set(single):
        empty = np.full_like(words[name], math.nan)
        made[name] = np.stack([conditions.get(c, {}).get(name, empty) for c in CONDITIONS])
    return made


def _learning(history: History, betas: list[tuple[float, float]]) -> dict[str, Any]:
    names = ("train_loss", "validation_loss", "test_loss", "test_accuracy")
    found: dict[str, Any] = {name: np.array(getattr(history, name)) for name in names}
    found |= {"best_epoch": float(history.best)}
    found |= {"epoch_beta": np.array(betas)[:, 0], "epoch_used_beta": np.array(betas)[:, 1]}
    return found


def _long(
    network: Classifier, data: SequenceSet, known: dict[str, Any], windows: np.ndarray, seed: int
) -> dict[str, Any]:
    """Return what a state shows that is carried on from one sequence to the next."""
    if state_of(known["architecture"]) != "hidden":
        return {}
    x = _embedded(network, data.stream[None])

    def cut(values: np.ndarray) -> np.ndarray:
        return values.reshape(len(values), known["pieces"], known["piece"]).transpose(1, 0, 2)

    pieces, inputs = cut(_states(network, x)[0]), cut(x[0].T.numpy())
    everything = long_windows(windows[0], known["piece"])
    whole = population(pieces, windows=everything, tests=0)
    beyond = np.unique([windows[-1], *everything[everything > windows[-1]]])
    parts = [population(pieces, windows=some, tests=0) for some in (windows, beyond)]
    entered = [population(inputs, windows=some, tests=0) for some in (windows, beyond)]
    busiest = np.argsort(-np.nan_to_num(whole.deviation))[: known["long_tests"]]
    found = [memory_test(piece[unit], seed=seed) for piece in pieces for unit in busiest]
    tests = [test for test in found if test is not None]
    return {
        "long_fluctuation": whole.fluctuation,
        "long_fluctuation_error": whole.fluctuation_error,
        "long_beta": np.array([part.mean.value for part in parts]),
        "long_beta_error": np.array([part.mean.error for part in parts]),
        "long_used_beta": np.array([used_mean(part.unit_beta, part.deviation) for part in parts]),
        "long_input_beta": np.array([part.mean.value for part in entered]),
        "long_input_beta_error": np.array([part.mean.error for part in entered]),
        "long_tested": float(len(tests)),
        "long_beat_short": float(sum(test.p_short <= 0.025 for test in tests)),
        "long_beat_scaling": float(sum(test.p_scaling <= 0.025 for test in tests)),
        "long_memory": float(np.median([test.memory for test in tests])) if tests else math.nan,
    }


def long_windows(shortest: int, piece: int) -> np.ndarray:
    """Return the windows of the series with carried state, up to an eighth of a piece."""
    return window_lengths(shortest, piece // 8, _LONG_WINDOWS)


def _ablated(network: Classifier, data: SequenceSet) -> dict[str, np.ndarray]:
    """Return how the test loss rises when one unit of the state at a time is held at its mean."""
    some = Labelled(data.test.sequences[:_ABLATED_WITH], data.test.labels[:_ABLATED_WITH])
    x, lengths, labels = next(batches(some, _ABLATED_WITH))
    rows = torch.arange(len(x))

    def loss(output: tuple[Tensor, object]) -> Tensor:
        logits = network.readout(output[0][rows, lengths - 1])
        return nn.functional.cross_entropy(logits, labels, reduction="none")

    found = ablation(network.body, _embedded(network, x), loss, layer="l0")
    return {"ablation": found.change, "ablation_error": found.change_error}
