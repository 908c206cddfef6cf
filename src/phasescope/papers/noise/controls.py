"""Controls with known answers: what shows an exponent without 1/f noise, and what has it.

Nothing here is from arXiv:2301.08530. Leaky integrators and fractional noise after a fixed gate have exact
fluctuations; LSTMs are trained on artificial texts whose cues are white, or 1/f noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from scipy.stats import f as law_of_f

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.noise import fractional_autocovariance, fractional_gaussian_noise, population
from phasescope.noise.nulls import Kind
from phasescope.papers.noise.known_processes import (
    FUNCTIONS,
    against_exact,
    autocovariance_after,
    integrated_noise,
)
from phasescope.papers.noise.sequences import (
    CUE_SHARE,
    LEAN,
    PERSISTENCE,
    PERSISTENT_SHARE,
    SWING,
    cues,
    shuffled_in_time,
    synthetic_set,
)
from phasescope.papers.noise.shared import STUDY, over_networks, window_lengths
from phasescope.papers.noise.training import built, fit
from phasescope.studies.claim import Check, Claim, Outcome
from phasescope.studies.drawing import colours, legend
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

FORGET = (0.5, 0.8, 0.95)
HURST = 0.9
STATES = ("words", "shuffled words", "untrained")  # under which a trained network is looked at
# By length of the series: the windows of a review, and those of a long recording.
WINDOWS = {500: window_lengths(10, 125, 12), 4096: window_lengths(16, 512, 12)}
# Mean exponent of single autoregressive series by length and coefficient, least squares: means over 100,000
# and 12,000 simulated series by a recursion of their own; the first are derived once more in the tests.
PLAIN_BETA = {
    (500, 0.5): 0.2879,
    (500, 0.8): 0.7654,
    (500, 0.95): 1.4602,
    (4096, 0.5): 0.1405,
    (4096, 0.8): 0.4222,
    (4096, 0.95): 1.0563,
}
_SHORT, _LONG = WINDOWS
_VERDICT_SERIES = 60  # at least, behind a verdict
_KNOWN_TO = 0.002  # precision of the exponents above
_KNOWN_INPUT = 0.005  # what population's corrections for short windows leave
_POOLED = 4.0  # deviations of the pooled distance; chance exceeds them a few times in ten thousand
_FINE = 0.05  # largest error with which agreement says anything
_LEARNED = {"independent": 0.85, "persistent": 0.7}  # accuracy that each kind of text allows at least


class ControlsSettings(Settings):
    """Sizes of the controls."""

    sets: int = 3  # independent sets of series of each process, fixed beforehand; their distances are pooled
    short_series: int = 660  # of 500 steps in a set, more than 12
    long_series: int = 130  # of 4096 steps in a set; of gates twice as many
    tests: int = 24  # single series of 500 steps of each integrator that are held against short memory
    networks: int = 5  # LSTMs trained on each kind of artificial texts, each on texts of its own
    units: int = 8  # of these LSTMs
    train: int = 2500  # texts that each is trained with; a tenth of them chooses the epoch
    texts: int = 200  # test texts behind the accuracy, and as many that the exponents come from
    epochs: int = 4
    rate: float = 1e-2  # learning rate of Adam


QUICK = ControlsSettings()
PAPER = ControlsSettings(
    sets=6, short_series=1000, long_series=250, tests=100, networks=10, train=5000, texts=400, epochs=5
)

VARIABLES = {
    "fluctuation": Variable(("window",), "root of the mean of F(n)^2 over series"),
    "exact": Variable(("window",), "root of its expectation"),
    "beta": Variable((), "exponent of that curve, least squares"),
    "beta_error": Variable((), "its standard error"),
    "exact_beta": Variable((), "exponent of the expectation, least squares"),
    "distance": Variable((), "Hotelling's distance between both curves, with the law of F"),
    "plain_beta": Variable((), "mean exponent of single series, least squares"),
    "plain_beta_error": Variable((), "its standard error"),
    "verdict": Variable(
        (), f"kind of the population: {', '.join(get_args(Kind))}, by number from 0", optional=True
    ),
    "tested": Variable((), "single series held against short memory", optional=True),
    "beat_short": Variable((), "of these, how many exclude short memory", optional=True),
    "beat_scaling": Variable((), "of these, how many exclude scaling noise", optional=True),
    "judged": Variable((), "series of the population", optional=True),
    "bent": Variable((), "share of single curves flagged as bent", optional=True),
    "state_beta": Variable(
        ("state",), f"mean exponent of the units of h: {', '.join(STATES)}", optional=True
    ),
    "input_beta": Variable((), "mean exponent of the components of the embedded words", optional=True),
    "accuracy": Variable((), "share of test texts classified right", optional=True),
}


def tasks(config: Any) -> list[Task]:
    """Return the networks first, as they take longest, then the integrators and the gates."""
    known: ControlsSettings = config.controls

    def task(kind: str, length: int, replica: int = 0, *, seconds: float, **more: Any) -> Task:
        parameters = {"kind": kind, "length": length, "forget": 0.0, "function": "", "seed": config.seed}
        return Task(STUDY, "controls", parameters | more, replica, seconds=seconds, memory=600_000_000)

    trained: dict[str, Any] = known.model_dump(include={"units", "train", "texts", "epochs", "rate"})
    trained |= {"embedding": config.embedding, "batch": config.batch}
    seconds = 1 + known.texts * 4e-3 + known.epochs * known.train * 1.5e-4
    made = [
        task(kind, _SHORT, replica, seconds=seconds, **trained)
        for kind in _LEARNED
        for replica in range(known.networks)
    ]
    short, long = {"series": known.short_series}, {"series": known.long_series}
    for each in range(known.sets):
        # One set is enough for the verdict.
        tests = {"tests": 0 if each else known.tests}
        for forget in FORGET:
            seconds = known.short_series * 4e-4 + tests["tests"] * 0.07
            made.append(task("integrator", _SHORT, each, seconds=seconds, forget=forget, **short, **tests))
            seconds = known.long_series * 4e-3
            made.append(task("integrator", _LONG, each, seconds=seconds, forget=forget, **long, tests=0))
        many = 2 * known.long_series
        made += [
            task("gate", _LONG, each, seconds=many * 4e-4, series=many, function=name) for name in FUNCTIONS
        ]
    return made


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return the curve of one process beside the exact one, or what a network shows; on the CPU."""
    known = dict(task.parameters)
    kinds = {"integrator": _integrator, "gate": _gate}
    return kinds.get(known["kind"], _network_on_texts)(known, WINDOWS[known["length"]], task.seed)


def _integrator(known: dict[str, Any], windows: np.ndarray, seed: int) -> dict[str, Any]:
    length, forget = known["length"], known["forget"]
    series = integrated_noise(forget, length, known["series"], np.random.default_rng(seed))
    found: dict[str, Any] = against_exact(series, windows, forget ** np.arange(windows[-1] + 1.0))
    if known["tests"]:
        some = series[: max(_VERDICT_SERIES, known["tests"]), None]
        seen = population(some, windows=windows, tests=known["tests"], seed=seed % 2**31)
        found |= {name: getattr(seen, name) for name in ("tested", "beat_short", "beat_scaling")}
        found |= {"verdict": get_args(Kind).index(seen.kind)}
        found |= {"judged": len(some), "bent": seen.crossover_share}
    return found


def _gate(known: dict[str, Any], windows: np.ndarray, seed: int) -> dict[str, Any]:
    function = FUNCTIONS[known["function"]]
    correlations = fractional_autocovariance(HURST, np.arange(windows[-1] + 1))
    noise = fractional_gaussian_noise(HURST, known["length"], size=known["series"], seed=seed)
    return against_exact(function(noise), windows, autocovariance_after(function, correlations))


def _network_on_texts(known: dict[str, Any], windows: np.ndarray, seed: int) -> dict[str, Any]:
    """Return what an LSTM shows before and after training, and what the cues in its texts show."""
    texts, weights, order, shuffle = np.random.SeedSequence(seed).generate_state(4).tolist()
    persistent, length = known["kind"] == "persistent", known["length"]
    sizes = {"train": known["train"], "test": known["texts"], "series": known["texts"]}
    data = synthetic_set(persistent=persistent, words=length, stream=1, seed=texts, **sizes)
    network = built(weights, "lstm", known["units"], known["embedding"], data).eval()

    def betas(words: torch.Tensor) -> list[float]:
        """Return the mean exponents of the embedded words and of the units of h."""
        with torch.no_grad():
            embedded = network.embedding(words)
            both = (embedded, network.body(embedded)[0])
        series = (np.asarray(x.transpose(1, 2).numpy()) for x in both)
        return [population(x, windows=windows, tests=0).mean.value for x in series]

    _, before = betas(data.series)
    options = {name: known[name] for name in ("epochs", "rate", "batch")}
    history = fit(network, data, **options, seed=order)
    entered, after = betas(data.series)
    _, mixed = betas(shuffled_in_time(data.series, shuffle))
    spoken = cues(data.series).double().numpy()
    return {
        **against_exact(spoken, windows, cue_autocovariance(persistent, int(windows[-1]))),
        "state_beta": np.array([after, mixed, before]),
        "input_beta": entered,
        "accuracy": history.test_accuracy[history.best],
    }


def cue_autocovariance(persistent: bool, longest: int) -> np.ndarray:
    r"""Return the autocovariance of the cues as 1, -1, and 0 between them, at lags 0 to `longest`.

    A cue comes with probability p, and its mean is m. With a steady lean m = 1/2: the variance is
    :math:`p - p^2 m^2`, and there is no memory. With a persistent one m is twice the lean, cut at 1 and -1:
    :math:`r(k) = p^2 r_m(k)`, and :math:`r(0) = p`. That the lean is given the sign of the class does not
    change this: a product of two of its values has none. Derived here.
    """
    if not persistent:
        steady = np.zeros(longest + 1)
        steady[0] = CUE_SHARE - (CUE_SHARE * 2 * LEAN) ** 2
        return steady
    correlations = fractional_autocovariance(PERSISTENCE, np.arange(longest + 1))
    clipped = autocovariance_after(lambda lean: np.clip(2 * SWING * lean, -1, 1), correlations)
    found = PERSISTENT_SHARE**2 * clipped
    found[0] = PERSISTENT_SHARE
    return np.asarray(found)


@dataclass(frozen=True)
class Numbers:
    """The measured rows of the data: the sets of each process, and the networks by kind of text."""

    integrators: dict[tuple[int, float], xr.Dataset]  # by length and forget gate
    gates: dict[str, xr.Dataset]  # by function
    texts: dict[str, xr.Dataset]


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    return Numbers(
        {
            (length, forget): chosen(data, kind="integrator", length=length, forget=forget)
            for length in WINDOWS
            for forget in FORGET
        },
        {function: chosen(data, kind="gate", function=function) for function in FUNCTIONS},
        {kind: chosen(data, kind=kind) for kind in _LEARNED},
    )


def _beta(sets: xr.Dataset, name: str = "beta") -> Estimate:
    """Return the mean over sets of one size, each with its own error."""
    errors = sets[f"{name}_error"].values
    error = math.sqrt(float(errors @ errors)) / len(errors)
    return Estimate(float(sets[name].values.mean()), error, "over independent series", sum(_series(sets)))


def _series(sets: xr.Dataset) -> list[int]:
    """Return the number of series in each set."""
    return [int(count) for count in sets["series"].values]


def _exact(sets: xr.Dataset, name: str) -> float:
    """Return what is the same for all sets."""
    return float(sets[name].values[0])


def claims(n: Numbers) -> list[Check]:
    """Return what the known processes and the trained networks show."""
    return [*_integrator_claims(n), *_short_memory_claims(n), *_text_claims(n), *_gate_claims(n)]


def _integrator_claims(n: Numbers) -> list[Check]:
    made = []
    for (length, forget), known in PLAIN_BETA.items():
        one = n.integrators[length, forget]
        name = f"{round(100 * forget)}-{length}"
        what = f"An LSTM with the constant forget gate {forget:g} and white input"
        made += [
            _curve_claim(f"integrator-curve-{name}", f"{what} has the exact F(n) of an AR(1) process.", one),
            Claim(
                f"integrator-beta-{name}",
                f"{what}, which has no 1/f noise, shows beta = {known:.2f} in series of {length}.",
            ).equals(
                known,
                _beta(one, "plain_beta"),
                allowance=_KNOWN_TO,
                resolution=_FINE,
                note=f"Mean of single series, least squares. Allowance {_KNOWN_TO} for the simulated number.",
            ),
        ]
    for forget in FORGET:
        short, long = (_beta(n.integrators[length, forget]) for length in WINDOWS)
        made.append(
            Claim(
                f"integrator-falls-{round(100 * forget)}",
                f"With the forget gate {forget:g}, beta falls towards white noise in longer windows.",
            ).positive(short - long, note="Windows of 10 to 125 less those of 16 to 512.")
        )
    return made


def _short_memory_claims(n: Numbers) -> list[Check]:
    one = n.integrators[_SHORT, 0.8].isel(task=0)
    kind, tested, judged = get_args(Kind)[int(one["verdict"])], int(one["tested"]), int(one["judged"])
    scaling = _share(float(one["beat_scaling"]) / tested if tested else math.nan, tested)
    verdicts: dict[str, Outcome] = {"short memory": "agrees", "not determined": "not determined"}
    return [
        Claim(
            "integrator-verdict", "The verdict on the leaky integrator with forget gate 0.8 is short memory."
        ).found(
            None,
            scaling,
            verdicts.get(kind, "disagrees"),
            f"Verdict on {judged} series of 500: {kind}. Measured: share that excludes scaling noise.",
        ),
        Claim(
            "integrator-test", "Held against short memory and scaling, single series of 500 exclude scaling."
        ).more_than_chance(scaling),
        Claim(
            "integrator-bend", "The bend of its curve does not give it away in most single series of 500."
        ).below(
            0.5,
            _share(float(one["bent"]), judged),
            note="Measured: share of the curves flagged as bent. Agrees 3 errors below one half.",
        ),
    ]


def _share(value: float, n: int) -> Estimate:
    if not n:
        return Estimate.not_determined("no series was tested")
    return Estimate(value, math.sqrt(max(value * (1 - value), 1 / n) / n), "share of series", n)


def _text_claims(n: Numbers) -> list[Check]:
    white, pink = n.texts.values()
    words, mixed, before = white["state_beta"].values.T
    pink_words, pink_mixed, _ = pink["state_beta"].values.T
    return [
        _learned_claim("independent", white),
        Claim("independent-input", "Embedded independent words are white noise.").equals(
            0.0,
            over_networks(white["input_beta"].values),
            allowance=_KNOWN_INPUT,
            resolution=_FINE,
            note=f"Allowance {_KNOWN_INPUT}: what the correction for short windows leaves.",
        ),
        _cues_claim("independent", "white noise", white),
        Claim("independent-order", "The order of independent words makes no difference to beta of h.").equals(
            0.0,
            over_networks(words - mixed, "words less shuffled words"),
            resolution=_FINE,
            note="Exact in law: shuffled independent words are independent words.",
        ),
        Claim(
            "independent-training",
            "Training alone gives h an exponent where the input is white: the memory is the network's own.",
        ).positive(over_networks(words - before, "trained less untrained")),
        _learned_claim("persistent", pink),
        _cues_claim("persistent", "1/f noise seen through single words", pink),
        Claim(
            "persistent-order",
            "A true positive: where cues are 1/f noise, beta of h is larger than for shuffled words.",
        ).positive(over_networks(pink_words - pink_mixed, "words less shuffled words")),
    ]


def _gate_claims(n: Numbers) -> list[Check]:
    raw = _beta(n.gates["none"])
    made = []
    for function, one in n.gates.items():
        name, exact = function.partition("(")[0], _exact(one, "exact_beta")
        noise = f"Fractional noise of H = 0.9, {'left as it is' if name == 'none' else f'after {function}'}"
        made += [
            Claim(f"gate-{name}", f"{noise}, has beta = {exact:.3f} in windows of 16 to 512.").equals(
                exact,
                _beta(one),
                resolution=_FINE,
                note="Exact by Mehler's formula; of the root of the mean of F(n)^2.",
            ),
            _curve_claim(f"gate-curve-{name}", f"{noise}, has the exact F(n).", one),
        ]
        if name != "none":
            sentence = f"A gate alone lowers the exponent of what enters it: {function}."
            note = "A part of internal before external that needs no learning."
            made.append(Claim(f"gate-lowers-{name}", sentence).positive(raw - _beta(one), note=note))
    return made


def _curve_claim(id: str, sentence: str, sets: xr.Dataset) -> Check:
    """Return the check that curves are the exact one in all windows at once, their distances pooled."""
    windows, series, count = sets.sizes["window"], _series(sets)[0], sets.sizes["task"]
    mean, variance = law_of_f.stats(windows, series - windows)
    return Claim(id, sentence).equals(
        float(mean),
        Estimate(
            float(sets["distance"].values.mean()),
            math.sqrt(variance / count),
            "mean of Hotelling's statistic over sets",
            count,
        ),
        sigmas=_POOLED,
        resolution=1,
        note=f"Expected: the mean of the law of F; error: its deviation over the root of {count} sets. "
        f"{windows} windows at once. Fixed beforehand: {count} sets of {series} series, each with a seed of "
        f"its own, one mean distance, {_POOLED:g} deviations; no set is drawn again.",
    )


def _cues_claim(kind: str, what: str, some: xr.Dataset) -> Check:
    exact = _exact(some, "exact_beta")
    sentence = f"The cues in the texts are {what}: beta = {exact:.3f} in windows of 10 to 125."
    return Claim(f"{kind}-cues", sentence).equals(
        exact,
        over_networks(some["beta"].values, "mean over texts of networks"),
        allowance=0.002,
        resolution=_FINE,
        note="Exact, by least squares: short windows add 0.013. Allowance 0.002: texts are few.",
    )


def _learned_claim(kind: str, some: xr.Dataset) -> Check:
    share = _LEARNED[kind]
    return Claim(
        f"{kind}-learned",
        f"The networks learn the task: more than {100 * share:g} % of the test texts are classified right.",
    ).positive(over_networks(some["accuracy"].values - share, f"accuracy less {share}"))


def tables(n: Numbers) -> list[Table]:
    named = [(f"forget gate {forget:g}", one) for (_, forget), one in n.integrators.items()]
    named += [(f"H = 0.9, {function}", one) for function, one in n.gates.items()]
    processes = [
        [
            name,
            str(int(one["length"].values[0])),
            f"{_exact(one, 'exact_beta'):.3f}",
            str(_beta(one)),
            str(_beta(one, "plain_beta")),
        ]
        for name, one in named
    ]
    networks = []
    for kind, some in n.texts.items():
        columns = [some[name].values for name in ("accuracy", "input_beta", "beta")]
        columns += list(some["state_beta"].values.T)
        networks.append([kind, *(str(over_networks(values)) for values in columns)])
    return [
        Table(
            "Processes with an exact expectation",
            ("process", "steps", "exact beta", "beta of the mean curve", "mean beta of single series"),
            processes,
        ),
        Table(
            "LSTMs on artificial texts: accuracy, and beta of",
            ("words", "accuracy", "input", "cues", *(f"h, {state}" for state in STATES)),
            networks,
        ),
    ]


def notes(n: Numbers) -> list[str]:
    """Return where the answers come from, and what errors are of."""
    return [
        "Nothing here is from the source, and no data are needed: the answers are known, or exact "
        "by construction. Series have 500 steps and windows of 10 to 125, or 4096 and 16 to 512.",
        "Each process is drawn in several sets with seeds of their own, as many as the settings say. Numbers "
        "are means over the sets, and the distances to the exact curve are pooled: one set alone is further "
        "away than 4 deviations about once in a thousand, and is not drawn again for that.",
        "Exact expectations are of the mean of F(n)^2 over series. The mean exponent of single "
        "series is smaller, as the logarithm of few windows is below that of their mean.",
        "Each trained LSTM has its own weights, texts and order; errors are over LSTMs, widened by "
        "Student's law.",
    ]


def draw_short(axes: Axes, n: Numbers) -> None:
    _draw_integrators(axes, n, _SHORT)
    axes.set_ylabel(r"$F(n)/\sqrt{n}$ over the first")


def draw_long(axes: Axes, n: Numbers) -> None:
    _draw_integrators(axes, n, _LONG)


def draw_gates(axes: Axes, n: Numbers) -> None:
    _draw_against_exact(axes, _LONG, n.gates)
    axes.set_title("H = 0.9 after a gate, 4096 steps")


def _draw_integrators(axes: Axes, n: Numbers, length: int) -> None:
    _draw_against_exact(axes, length, {f"forget gate {f:g}": n.integrators[length, f] for f in FORGET})
    axes.set_title(f"Leaky integrators, {length} steps")


def _draw_against_exact(axes: Axes, length: int, processes: Mapping[str, xr.Dataset]) -> None:
    windows = WINDOWS[length]
    flat = np.sqrt(windows / windows[0])
    for colour, (name, one) in zip(colours(len(processes)), processes.items(), strict=True):
        exact = one["exact"].values[0]
        curve = np.sqrt((one["fluctuation"].values ** 2).mean(axis=0))
        axes.plot(windows, exact / exact[0] / flat, "-", lw=1, color=colour)
        axes.plot(windows, curve / exact[0] / flat, "o", ms=3.5, color=colour, label=name)
    axes.set(xscale="log", yscale="log", xlabel="window n")
    axes.set_xticks([10, 30, 100] if length == _SHORT else [20, 100, 500])
    axes.set_yticks([1, 2, 4])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    legend(axes)


def draw_independent(axes: Axes, n: Numbers) -> None:
    _draw_networks(axes, n.texts["independent"], "independent words")
    axes.set_ylabel(r"$\beta$ of h")


def draw_persistent(axes: Axes, n: Numbers) -> None:
    _draw_networks(axes, n.texts["persistent"], "cues of 1/f noise")


def _draw_networks(axes: Axes, some: xr.Dataset, title: str) -> None:
    for row in some["state_beta"].values:
        axes.plot(range(len(STATES)), row, "o-", ms=4, lw=0.8, color=plotting.MEASURED)
    for name, label, style in (("input_beta", "input", ":"), ("beta", "cues in the input", "--")):
        axes.axhline(some[name].values.mean(), color=plotting.INK, lw=0.8, ls=style, label=label)
    axes.set_xticks(range(len(STATES)), [state.replace(" ", "\n") for state in STATES])
    axes.set(xlim=(-0.4, len(STATES) - 0.6), ylim=(-0.1, 1.2), title=title)
    legend(axes)


def figures(n: Numbers) -> list[Panels]:
    return [
        Panels(
            "known-curves",
            "Fluctuations of LSTMs with constant forget gates and white input, and of fractional noise "
            "after fixed gates, over the square root of n, in which white noise is flat; lines are exact. In "
            "short windows a leaky integrator climbs like 1/f noise, in longer ones it flattens out. Gates "
            "lower the slope of what enters them.",
            [draw_short, draw_long, draw_gates],
            size=(3.5, 3.1),
        ),
        Panels(
            "known-texts",
            "Exponents of h of LSTMs trained on artificial texts; lines join one network. With independent "
            "words their order does not matter, and training alone raises the exponent. With cues that are "
            "1/f noise, shuffling lowers it.",
            [draw_independent, draw_persistent],
        ),
    ]


CONTROLS = Part(
    name="controls",
    title="Controls with known answers",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    citations=("chong2023", "peng1994", "kantelhardt2001"),
)
