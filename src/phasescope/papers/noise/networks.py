"""What every part that trains networks has in common: a task is one network, trained and looked at.

In order: the arrays of one task, the task, its measurement, what is recorded under one condition, the numbers
of many networks, and what several parts claim and draw alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from phasescope.estimate import Estimate
from phasescope.noise import Recording, ablation, dfa, memory_test, population, record, utilisation
from phasescope.noise.nulls import excluded_by
from phasescope.noise.population import widening
from phasescope.noise.utilisation import jackknife
from phasescope.papers.noise.sequences import (
    Labelled,
    SequenceSet,
    generator,
    image_set,
    review_set,
    shuffled_in_time,
    synthetic_set,
)
from phasescope.papers.noise.shared import STUDY, over_networks, slopes, window_lengths
from phasescope.papers.noise.training import NextWord, SequenceModel, batches, built, fit, seeded
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend, logarithmic
from phasescope.studies.part import Part, Variable, chosen
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

Array = np.ndarray

GATES = ("input_gate", "forget_gate", "output_gate", "candidate")  # of an LSTM
QUANTITIES = (
    "input",
    *GATES,
    "reset_gate",
    "update_gate",
    "cell",
    "hidden",
    "residual",
    "mlp",
    *(f"{gate}_preactivation" for gate in GATES),
    "residual_beside_position",
)
ORDERS = (2, 3)  # of detrending, beside 1
CONDITIONS = ("words", "shuffled", "untrained", "noise", "silence")
# Conditions that figures compare, and what they call them.
COMPARED = {"words": "words", "shuffled": "shuffled words", "noise": "white noise", "untrained": "untrained"}

Explanation = Literal["short memory", "a few relaxation times", "scaling noise"]
_COUNTED = {
    "short memory": "beat_short",
    "a few relaxation times": "beat_few",
    "scaling noise": "beat_scaling",
}
_TESTED = ("hidden", "residual", "residual_beside_position")  # held against short memory
_USED = 0.5  # of the largest deviation in the layer
_SETTLING = 100  # silent steps left out
_SILENT, _SILENT_UNITS = 10, 16  # sequences and units seen there: most are at rest
_ABLATED_WITH = 100  # test sequences
_LONG_WINDOWS = 20
_LONG_COPIES = 100  # simulated series behind each share of a long test
_FEW_TESTS = 2  # series of the conditions that claims do not count
_MOST_ARTIFICIAL = 4000  # texts to train with: their cues are learned from fewer than reviews are
_PLATEAU = 0.015  # a mean accuracy within it of the best one is as good
_PLATEAU_ERRORS = 2.0  # by so many errors an accuracy has to be within it, or beyond it, to be sure

_NUMBER = ("condition", "quantity")
_CURVE = ("condition", "quantity", "window")
_UNIT = ("quantity", "unit")
_SCALARS = (
    "beta",
    "beta_error",
    "plain_beta",
    "spread",
    "estimator",
    "between_units",
    "between_units_error",
    "between_sequences",
    "curvature",
    "curvature_error",
    "crossover_share",
    "determined_share",
    "tested",
    "beat_short",
    "beat_scaling",
    "beat_fit",
    "beat_few",
    "memory",
)
_USAGE = ("participation", "effective_rank", "idle_relative", "idle_absolute", "quantised")
# Of the words alone, not of every condition.
_SINGLE = (*_USAGE, "unit_beta", "unit_beta_error", "unit_deviation")

_sometimes = partial(Variable, optional=True)  # not of every width or architecture
VARIABLES = {
    "train_loss": Variable(("epoch",), "mean cross entropy over the epoch", "nat"),
    "validation_loss": Variable(("epoch",), "cross entropy of validation sequences", "nat"),
    "test_loss": Variable(("epoch",), "cross entropy of test sequences", "nat"),
    "test_accuracy": Variable(("epoch",), "share of test sequences classified right"),
    "best_epoch": Variable((), "epoch whose weights were kept"),
    "epoch_beta": Variable(("epoch",), "mean exponent of the state's units"),
    "epoch_used_beta": Variable(("epoch",), "mean exponent of the units in use"),
    **{name: Variable(_NUMBER, name.replace("_", " ")) for name in _SCALARS},
    **{name: Variable(("quantity",), name.replace("_", " ")) for name in _USAGE},
    "fluctuation": Variable(_CURVE, "geometric mean of F(n) over F of the first window"),
    "fluctuation_error": Variable(_CURVE, "error of its logarithm"),
    "short_fluctuation": Variable(_CURVE, "the same of autoregressive processes fitted to the series"),
    "order_beta": Variable(("order",), "exponent of the state, least squares, detrending of orders 2 and 3"),
    "order_input_beta": Variable(("order",), "the same of the inputs"),
    "unit_beta": Variable(_UNIT, "mean exponent of a unit"),
    "unit_beta_error": Variable(_UNIT, "its standard error over sequences"),
    "unit_deviation": Variable(_UNIT, "temporal standard deviation of a unit"),
    "ablation": _sometimes(("unit",), "rise of the test loss with the unit held at its mean", "nat"),
    "ablation_error": _sometimes(("unit",), "its standard error over sequences", "nat"),
    "long_fluctuation": _sometimes(("long_window",), "F(n) with carried state over F of the first window"),
    "long_fluctuation_error": _sometimes(("long_window",), "error of its logarithm"),
    "long_beta": _sometimes(("range",), "exponent in the windows of the series, and in longer ones"),
    "long_beta_error": _sometimes(("range",), "its standard error over pieces"),
    "long_used_beta": _sometimes(("range",), "exponent of the units in use"),
    "long_input_beta": _sometimes(("range",), "exponent of the inputs"),
    "long_input_beta_error": _sometimes(("range",), "its standard error over pieces"),
    "long_tested": _sometimes((), "pieces of the busiest units held against short memory"),
    "long_beat_short": _sometimes((), "of these, how many exclude short memory"),
    "long_beat_scaling": _sometimes((), "of these, how many exclude scaling noise"),
    "long_beat_few": _sometimes((), "of these, how many exclude a few relaxation times"),
    "long_memory": _sometimes((), "median memory of the autoregressive processes", "steps"),
}


def state_of(architecture: str) -> str:
    """Return the quantity that leaves the sequence model."""
    return "residual" if architecture == "transformer" else "hidden"


def text_source(config: Any) -> dict[str, Any]:
    """Return which texts, and how many, as parameters of a task."""
    sizes = config.model_dump(include={"train", "test"})
    if config.imdb:
        return {"source": "imdb", "folder": config.imdb, "vocabulary": config.vocabulary, **sizes}
    sizes["train"] = min(sizes["train"], _MOST_ARTIFICIAL)
    return {"source": "synthetic", "folder": "", "vocabulary": 0, **sizes}


def network_task(
    part: str, config: Any, replica: int, *, architecture: str, units: int, seconds: float, **known: Any
) -> Task:
    """Return the task of one network, with `known` in place of or beside what the whole study sets."""
    names = {"words", "series", "pieces", "piece", "windows", "tests", "long_tests"}
    names |= {"epochs", "batch", "rate", "embedding"}
    parameters = {**config.model_dump(mode="json", include=names), "seed": config.seed}
    parameters |= {"blocks": 1, "ablate": False, **known, "architecture": architecture, "units": units}
    memory = 1_500_000_000 if known["source"] == "imdb" else 800_000_000
    return Task(STUDY, part, parameters, replica, seconds=seconds, memory=memory)


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return what one network shows before and after training; the work is done on the CPU."""
    known = dict(task.parameters)
    windows = window_lengths(*known["windows"])
    data = sequence_set(known, task.replica)
    weights, order, noise, tests = np.random.SeedSequence(task.seed).generate_state(4).tolist()
    network = _made(weights, known, data).eval()
    betas: list[tuple[float, float]] = []

    def look(epoch: int) -> None:
        betas.append(mean_beta(_states(network, _embedded(network, data.series)), windows))

    look_at = partial(observed, network, windows=windows, seed=tests)
    few = min(known["tests"], _FEW_TESTS)
    conditions = {"untrained": look_at(_embedded(network, data.series), tests=few)}
    sizes = {name: known[name] for name in ("epochs", "rate", "batch")}
    history = fit(network, data, **sizes, seed=order, after_epoch=look)
    for name, inputs in _inputs(network, data, noise).items():
        count = {"words": known["tests"], "shuffled": few}.get(name, 0)
        conditions[name] = look_at(inputs, tests=count, preactivations=name == "words")
    measured = _orders(network, data, windows)
    if state_of(known["architecture"]) == "hidden":
        conditions["silence"] = _silence(network, data, windows)
        measured |= _carried(network, data, known, windows, tests)
    if known["ablate"]:
        measured |= _ablated(network, data)
    return measured | {
        **_stacked(conditions),
        "train_loss": history.train_loss,
        "validation_loss": history.validation_loss,
        "test_loss": history.test_loss,
        "test_accuracy": history.test_accuracy,
        "best_epoch": float(history.best),
        "epoch_beta": [beta for beta, _ in betas],
        "epoch_used_beta": [used for _, used in betas],
    }


def _made(seed: int, known: Mapping[str, Any], data: SequenceSet) -> SequenceModel:
    """Return the network that a task's parameters name: a classifier, or a model of the next word."""
    if not known.get("predicted"):
        return built(seed, known["architecture"], known["units"], known["embedding"], data, known["blocks"])
    with seeded(seed):
        return NextWord(
            known["units"], data, known["blocks"], known["predicted"], known["positions"] == "sinusoidal"
        )


# A part whose tasks are trained networks; what differs is which ones, and what is claimed of them.
NetworkPart = partial(
    Part,
    variables=VARIABLES,
    measure=measure,
    ragged=("unit", "long_window"),
    citations=("chong2023", "peng1994", "kantelhardt2001"),
)


def sequence_set(known: Mapping[str, Any], replica: int) -> SequenceSet:
    """Return the sequences that a task's parameters name, chosen anew for each replica.

    So the scatter over networks holds that of the texts as well, which all conditions of one network share.
    """
    sizes = {name: known[name] for name in ("train", "test", "series")}
    sizes["stream"] = known["pieces"] * known["piece"]
    sizes["seed"] = int(generator("sequences", known["seed"], replica).integers(2**31))
    if known["source"] == "imdb":
        return review_set(known["folder"], vocabulary=known["vocabulary"], words=known["words"], **sizes)
    if known["source"] in ("rows", "pixels"):
        return image_set(
            known["folder"], known["source"], pooled=known["pooled"], steps=known["words"], **sizes
        )
    return synthetic_set(persistent=False, words=known["words"], **sizes)


def _embedded(network: SequenceModel, series: Tensor) -> Tensor:
    with torch.no_grad():
        embedded: Tensor = network.embedding(series)
    return embedded


def _states(network: SequenceModel, inputs: Tensor) -> Array:
    """Return what leaves the sequence model, shape (sequence, unit, time)."""
    with torch.no_grad():
        states = network.body(inputs)
    states = states[0] if isinstance(states, tuple) else states
    return np.asarray(states.transpose(1, 2).numpy())


def _inputs(network: SequenceModel, data: SequenceSet, seed: int) -> dict[str, Tensor]:
    """Return embedded sequences: as they are, shuffled in time, and Gaussian noise of their size."""
    x = _embedded(network, data.series)
    mixed = _embedded(network, shuffled_in_time(data.series, seed))
    drawn = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    noise = x.mean((0, 1)) + x.std((0, 1)) * drawn
    return {"words": x, "shuffled": mixed, "noise": noise}


def _silence(network: SequenceModel, data: SequenceSet, windows: Array) -> dict[str, Array]:
    """Return the exponents of the state while it is left alone after the words: the input is zero."""
    x = _embedded(network, data.series[:_SILENT])
    quiet = torch.zeros(len(x), _SETTLING + x.shape[1], x.shape[2])
    states = _states(network, torch.cat([x, quiet], dim=1))[:, :_SILENT_UNITS, -x.shape[1] :]
    seen = population(states, windows=windows, tests=0)
    found: dict[str, Array] = {}
    moving = {"determined_share": np.isfinite(seen.beta).mean()}
    _put(found, "hidden", {"beta": seen.mean.value, "beta_error": seen.mean.error, **moving})
    return found


def _orders(network: SequenceModel, data: SequenceSet, windows: Array) -> dict[str, Any]:
    """Return the exponents of the state and of the inputs with more of a trend taken out."""
    x = _embedded(network, data.series)
    state, inputs = _states(network, x), x.transpose(1, 2).numpy()
    return {
        "order_beta": [plain_beta(state, windows, order) for order in ORDERS],
        "order_input_beta": [plain_beta(inputs, windows, order) for order in ORDERS],
    }


def _stacked(conditions: Mapping[str, Mapping[str, Array]]) -> dict[str, Array]:
    """Return arrays over conditions, and what is measured under the words alone."""
    words = conditions["words"]
    made = {name: words[name] for name in _SINGLE}
    for name in words.keys() - set(_SINGLE):
        empty = np.full_like(words[name], math.nan)
        made[name] = np.stack([conditions.get(c, {}).get(name, empty) for c in CONDITIONS])
    return made


def _carried(
    network: SequenceModel, data: SequenceSet, known: Mapping[str, Any], windows: Array, seed: int
) -> dict[str, Any]:
    """Return what a state shows that is carried on from one sequence to the next."""
    x = _embedded(network, data.stream[None])

    def cut(values: Array) -> Array:
        return values.reshape(len(values), known["pieces"], known["piece"]).transpose(1, 0, 2)

    pieces, inputs = cut(_states(network, x)[0]), cut(x[0].T.numpy())
    everything = long_windows(windows[0], known["piece"])
    whole = population(pieces, windows=everything, tests=0)
    beyond = np.unique([windows[-1], *everything[everything > windows[-1]]])
    parts = [population(pieces, windows=some, tests=0) for some in (windows, beyond)]
    entered = [population(inputs, windows=some, tests=0) for some in (windows, beyond)]
    busiest = np.argsort(-np.nan_to_num(whole.deviation))[: known["long_tests"]]
    found = [memory_test(piece[unit], copies=_LONG_COPIES, seed=seed) for piece in pieces for unit in busiest]
    tests = [test for test in found if test is not None]
    return {
        "long_fluctuation": whole.fluctuation,
        "long_fluctuation_error": whole.fluctuation_error,
        "long_beta": [part.mean.value for part in parts],
        "long_beta_error": [part.mean.error for part in parts],
        "long_used_beta": [used_mean(part.unit_beta, part.deviation) for part in parts],
        "long_input_beta": [part.mean.value for part in entered],
        "long_input_beta_error": [part.mean.error for part in entered],
        "long_tested": float(len(tests)),
        "long_beat_short": float(sum("short" in excluded_by(test) for test in tests)),
        "long_beat_scaling": float(sum("scaling" in excluded_by(test) for test in tests)),
        "long_beat_few": float(sum("few" in excluded_by(test) for test in tests)),
        "long_memory": float(np.median([test.memory for test in tests])) if tests else math.nan,
    }


def long_windows(shortest: int, piece: int) -> Array:
    """Return the windows of the series with carried state, up to an eighth of a piece."""
    return window_lengths(shortest, piece // 8, _LONG_WINDOWS)


def _ablated(network: SequenceModel, data: SequenceSet) -> dict[str, Array]:
    """Return how the test loss rises when one unit of the state at a time is held at its mean."""
    some = Labelled(data.test.sequences[:_ABLATED_WITH], data.test.labels[:_ABLATED_WITH])
    x, lengths, labels = next(batches(some, _ABLATED_WITH))
    rows = torch.arange(len(x))

    def loss(output: tuple[Tensor, object]) -> Tensor:
        logits = network.readout(output[0][rows, lengths - 1])
        return nn.functional.cross_entropy(logits, labels, reduction="none")

    found = ablation(network.body, _embedded(network, x), loss, layer="l0")
    return {"ablation": found.change, "ablation_error": found.change_error}


def observed(
    network: SequenceModel,
    inputs: Tensor,
    *,
    windows: Array,
    tests: int,
    seed: int,
    preactivations: bool = False,
) -> dict[str, Array]:
    """Return exponents, curves and utilisation of everything inside a network, NaN for what it has not.

    Arrays have the quantities first. `inputs`, of shape (sequence, time, features), are embedded words or
    vectors; `tests` series of each state are held against short memory.
    """
    with torch.no_grad():
        recording = record(network.body, inputs, batch_axis=0, preactivations=preactivations)
    series = _series(recording, inputs)
    units = max(x.shape[1] for x in series.values())
    found: dict[str, Array] = {}
    for quantity, x in series.items():
        _put(found, quantity, _seen(x, windows, tests if quantity in _TESTED else 0, seed, units))
    return found


def _put(found: dict[str, Array], quantity: str, numbers: Mapping[str, Any]) -> None:
    """Put the numbers of one quantity into arrays over all quantities, made of NaN at first."""
    for name, value in numbers.items():
        whole = found.setdefault(name, np.full((len(QUANTITIES), *np.shape(value)), math.nan))
        whole[QUANTITIES.index(quantity)] = value


def _series(recording: Recording, inputs: Tensor) -> dict[str, Array]:
    """Return each quantity of the last layer that has it, shape (sequence, unit, time)."""
    found = {"input": inputs.transpose(1, 2).numpy()}
    for layer in recording.layers:
        found |= {name: recording[layer, name] for name in recording.quantities(layer) if name in QUANTITIES}
    if "residual" in found:
        # What all sequences have in common at a position comes from the position, not from the input.
        found["residual_beside_position"] = found["residual"] - found["residual"].mean(axis=0)
    return found


def _seen(x: Array, windows: Array, tests: int, seed: int, units: int) -> dict[str, Any]:
    """Return what is known of one quantity; what is by unit has the length `units`."""
    seen = population(x, windows=windows, tests=tests, seed=seed)
    usage = utilisation(x)

    def by_unit(values: Array) -> Array:
        return np.pad(values, (0, units - len(values)), constant_values=math.nan)

    return {
        "beta": seen.mean.value,
        "beta_error": seen.mean.error,
        "plain_beta": plain_beta(x, seen.windows),
        "spread": seen.spread.value,
        "estimator": seen.estimator,
        "between_units": seen.between_units.value,
        "between_units_error": seen.between_units.error,
        "between_sequences": seen.between_sequences.value,
        "curvature": seen.curvature.value,
        "curvature_error": seen.curvature.error,
        "crossover_share": seen.crossover_share,
        "determined_share": np.isfinite(seen.beta).mean(),
        "tested": seen.tested,
        "beat_short": seen.beat_short,
        "beat_scaling": seen.beat_scaling,
        "beat_fit": seen.beat_fit,
        "beat_few": seen.beat_few,
        "memory": seen.memory,
        "participation": usage.participation_ratio.value,
        "effective_rank": usage.effective_rank.value,
        "idle_relative": usage.idle_relative.sum(),
        "idle_absolute": usage.idle_absolute.sum(),
        "quantised": usage.quantised.sum(),
        "fluctuation": seen.fluctuation,
        "fluctuation_error": seen.fluctuation_error,
        "short_fluctuation": seen.short_fluctuation,
        "unit_beta": by_unit(seen.unit_beta),
        "unit_beta_error": by_unit(seen.unit_beta_error),
        "unit_deviation": by_unit(seen.deviation),
    }


def mean_beta(series: Array, windows: Array) -> tuple[float, float]:
    """Return the mean exponent of all units, and that of the units in use.

    Shapes: `series` (sequence, unit, time).
    """
    seen = population(series, windows=windows, tests=0)
    return seen.mean.value, used_mean(seen.unit_beta, seen.deviation)


def used_mean(unit_beta: Array, deviation: Array) -> float:
    """Return the mean exponent of the units that move at least half as much as the one that moves most.

    Only units with an exponent count.

    Shapes: `unit_beta` and `deviation` (unit,).
    """
    known = np.isfinite(unit_beta) & np.isfinite(deviation)
    if not known.any():
        return math.nan
    beta, moves = unit_beta[known], deviation[known]
    return float(beta[moves >= _USED * moves.max()].mean())


def plain_beta(series: Array, windows: Array, order: int = 1) -> float:
    """Return the mean of ``2 alpha - 1`` with alpha by ordinary least squares, as in most of the literature.

    Shapes: `series` (sequence, unit, time).
    """
    seen = dfa(series, order=order, windows=windows)
    known = seen.reason == ""
    if not known.any():
        return math.nan
    return float((2 * slopes(np.log(seen.fluctuation[known]), np.log(windows)) - 1).mean())


@dataclass(frozen=True)
class Networks:
    """Some of the networks of a part; arrays have one entry for each of them."""

    data: xr.Dataset
    state: str = "hidden"  # the quantity that is meant where none is named

    def where(self, **parameters: Any) -> Networks:
        """Return those whose parameters have the given values, possibly none."""
        return replace(self, data=chosen(self.data, **parameters))

    def at(self, width: int) -> Networks:
        """Return those of one width."""
        return self.where(units=width)

    def of(self, name: str, condition: str = "words", quantity: str = "") -> Array:
        """Return a variable, under the condition and of the quantity if it has any."""
        row, place = CONDITIONS.index(condition), QUANTITIES.index(quantity or self.state)
        found = self.data[name].isel(condition=row, quantity=place, missing_dims="ignore")
        return np.asarray(found.values, dtype=np.float64)

    def mean(self, name: str, condition: str = "words", quantity: str = "") -> Estimate:
        """Return the mean of a variable over networks."""
        return over_networks(self.of(name, condition, quantity))

    @cached_property
    def accuracy(self) -> Array:
        """Test accuracy at the epoch whose weights were kept."""
        return self.kept("test_accuracy")

    def kept(self, name: str) -> Array:
        """Return a variable of the epochs at the one whose weights were kept."""
        epochs = self.of("best_epoch").astype(int)
        return np.asarray(self.of(name)[np.arange(len(epochs)), epochs])

    @cached_property
    def units(self) -> Array:
        """Their widths."""
        return np.asarray(self.data["units"].values, dtype=np.int64)

    @cached_property
    def widths(self) -> list[int]:
        """The different widths, ascending."""
        return sorted(set(self.units.tolist()))

    @cached_property
    def plateau(self) -> int:
        """Smallest width whose mean test accuracy is within 0.015 of the best mean; 0 without networks."""
        means = {width: float(self.at(width).accuracy.mean()) for width in self.widths}
        return next((width for width, mean in means.items() if mean >= max(means.values()) - _PLATEAU), 0)

    @cached_property
    def plateaus(self) -> list[int]:
        """The widths that may be the smallest of the plateau, as far as the accuracies tell; ascending.

        A width may be one where its mean accuracy is within 0.015 of the best one, or beyond that by less
        than two errors; the list ends with the first that is within it by two. Accuracies are compared
        network by network of the same texts.
        """
        by_width = {width: self.at(width) for width in self.widths}
        top = max(by_width, key=lambda width: float(by_width[width].accuracy.mean()), default=0)
        found = []
        for width, some in by_width.items():
            behind = over_networks(paired(by_width[top], some, lambda networks: networks.accuracy))
            reach = _PLATEAU_ERRORS * behind.error if behind.determined else math.inf
            if behind.value - reach > _PLATEAU:
                continue
            found.append(width)
            if behind.value + reach <= _PLATEAU:
                break
        return found

    @cached_property
    def best(self) -> Networks:
        """Those of the smallest width of the plateau."""
        return self.at(self.plateau)

    @property
    def largest(self) -> int:
        """The largest width; 0 without networks."""
        return max(self.widths, default=0)

    @cached_property
    def widest(self) -> Networks:
        """Those of the largest width."""
        return self.at(self.largest)

    @cached_property
    def used(self) -> Array:
        """Mean exponent of the units of the state that are in use."""
        rows = zip(self.of("unit_beta"), self.of("unit_deviation"), strict=True)
        return np.array([used_mean(beta, deviation) for beta, deviation in rows])

    def excluding(self, what: Explanation, *, carried: bool = False) -> Estimate:
        """Return the share of tested series, single or with carried state, that exclude an explanation."""
        counted = _COUNTED[what]
        before = "long_" if carried else ""
        series = self.of(f"{before}{counted}"), self.of(f"{before}tested")
        return share(*series, f"share of series that exclude {what}")

    def trend(self, values: Array) -> Estimate:
        """Return the slope against log2 of the width.

        Ordinary least squares with the error from the scatter about the line, widened by Student's law: a
        curved dependence makes it larger.
        """
        known = np.isfinite(values)
        x, y = np.log2(self.units[known]), values[known]
        if len(set(x.tolist())) < 3 or len(x) < 4:
            why = f"{len(x)} networks of {len(set(x.tolist()))} widths; at least 4 of 3 are needed"
            return Estimate.not_determined(why)
        u = x - x.mean()
        slope = float(slopes(y, x))
        rest = y - y.mean() - slope * u
        error = math.sqrt(float(rest @ rest) / (len(x) - 2) / float(u @ u))
        return Estimate(slope, widening(len(x) - 2) * error, "slope against log2(width)", len(x))


def paired(first: Networks, second: Networks, values: Callable[[Networks], Array]) -> Array:
    """Return by how much a number of some networks exceeds that of others, replica by replica."""
    one, other = (
        dict(zip(some.data["replica"].values.tolist(), values(some), strict=True)) for some in (first, second)
    )
    return np.array([one[replica] - other[replica] for replica in sorted(one.keys() & other.keys())])


def share(counted: Array, tested: Array, method: str) -> Estimate:
    """Return a share of tested series over all networks together; its error is from leaving out networks.

    Series of one network are alike, so that they count as fewer than they are: `n` is how many independent
    ones would have that error. The error is no smaller than that of independent series.

    Shapes: `counted` and `tested` (networks,).
    """
    known = np.isfinite(counted) & np.isfinite(tested) & (tested > 0)
    counted, tested = counted[known], tested[known]
    total, found = float(tested.sum()), float(counted.sum())
    if not total:
        return Estimate.not_determined("no series was tested", method=method)
    # Agresti and Coull: an error that is not zero where none or all were found.
    p = (found + 2) / (total + 4)
    error, networks = math.sqrt(p * (1 - p) / (total + 4)), len(counted)
    alike = 1.0
    if networks > 1:
        without = (found - counted) / (total - tested)
        _, clustered = jackknife(np.concatenate([[found / total], without]))
        alike = max(1.0, widening(networks - 1) * float(clustered) / error)
    return Estimate(found / total, alike * error, method, max(1, round(total / alike**2)))


def rank_correlation(first: Array, second: Array, fewest: int = 8) -> Array:
    """Return Spearman's correlation over the units of each network; NaN with fewer than `fewest` units.

    Shapes: `first` and `second` (task, unit), NaN where there is no unit.
    """
    found = []
    for a, b in zip(first, second, strict=True):
        known = np.isfinite(a) & np.isfinite(b)
        enough = known.sum() >= fewest and np.ptp(a[known]) > 0 and np.ptp(b[known]) > 0
        found.append(float(spearmanr(a[known], b[known]).statistic) if enough else math.nan)
    return np.array(found)


def null_claims(some: Networks, source: str, note: str = "") -> list[Check]:
    """Return whether series exclude short memory, a few relaxation times, and one power law."""
    return [
        Claim(
            "short-memory",
            "An autoregressive process fitted to the series does not explain its curve.",
            source,
        ).more_than_chance(some.excluding("short memory"), note=note),
        relaxations_check(
            Claim(
                "few-relaxations",
                "A sum of two to four relaxation times does not explain the series.",
                source,
            ),
            some.excluding("a few relaxation times"),
        ),
        Claim("straight", "The curves are those of scaling noise: one power law.", source).more_than_chance(
            some.excluding("scaling noise"), wanted=False
        ),
    ]


def relaxations_check(claim: Claim, share: Estimate) -> Check:
    """Return the check that a few relaxation times are excluded, which short series cannot be held to."""
    check = claim.more_than_chance(
        share,
        note="That they are not excluded says little: 1/f noise of 4000 values excludes four of them in 3 %, "
        "and only some 200,000 values tell the two apart.",
    )
    return replace(check, verdict="not determined") if check.verdict == "disagrees" else check


def little_used_claim(networks: Networks, source: str) -> Check:
    """Return whether fewer of the units carry the movement where there are more."""
    return Claim(
        "little-used",
        "The larger the network, the smaller the share of its units that carry the movement.",
        source,
    ).positive(
        -networks.trend(networks.of("participation") / networks.units),
        note="Measured: fall of the participation ratio over the width for each doubling.",
    )


def idle_are_white_claim(networks: Networks, source: str) -> Check:
    """Return whether units that move less are whiter, in the widest networks."""
    units = networks.widest.of("unit_beta"), networks.widest.of("unit_deviation")
    return Claim("idle-are-white", "Within a layer, units that move less are whiter.", source).positive(
        over_networks(rank_correlation(*units)),
        note=f"Spearman's correlation of a unit's beta with its deviation in time, width {networks.largest}.",
    )


def draw_against_width(
    axes: Axes, networks: Networks, columns: Mapping[str, Array], styles: Sequence[str]
) -> None:
    """Draw numbers of all networks as points and their means as lines."""
    for style, colour, (label, values) in zip(styles, colours(len(columns)), columns.items(), strict=True):
        axes.plot(networks.units, values, "o", ms=3, alpha=0.6, color=colour)
        known = np.isfinite(values)
        some = [width for width in networks.widths if (known & (networks.units == width)).any()]
        means = [values[known & (networks.units == width)].mean() for width in some]
        axes.plot(some, means, style, color=colour, label=label)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("width")
    legend(axes)


def draw_points(axes: Axes, place: float | str, values: Array, size: float = 4, **options: Any) -> None:
    """Draw one number of each network above a place of the x axis."""
    axes.plot(np.full(len(values), place), values, "o", ms=size, **options)


def draw_over_white(axes: Axes, windows: Array, curves: Array, style: str = "o-", **options: Any) -> None:
    """Draw the geometric mean of curves over the root of n, in which white noise is flat.

    Shapes: `curves` (networks, windows); NaN where one of the networks has nothing.
    """
    with np.errstate(invalid="ignore"):
        mean = np.exp(np.log(curves).mean(axis=0))[: len(windows)]
    axes.plot(windows, mean / np.sqrt(windows / windows[0]), style, ms=3, **options)


def label_windows(axes: Axes, steps: str) -> None:
    """Make axes with such curves logarithmic, and label them."""
    logarithmic(axes)
    axes.set(xlabel=f"window n ({steps})", ylabel=r"$F(n)/\sqrt{n}$, first window 1")
