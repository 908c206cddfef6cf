"""Claims about processes and texts whose answers are known."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from scipy.stats import f as law_of_f

from phasescope.estimate import Estimate
from phasescope.noise.nulls import Kind
from phasescope.papers.noise.averages import over_networks
from phasescope.papers.noise.judging import more_than_chance, positive
from phasescope.papers.noise.known_texts import STATES
from phasescope.studies.check import Check, Outcome, compare
from phasescope.studies.contract import Table

if TYPE_CHECKING:
    import xarray as xr

_HERE = "derived here"
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
_KNOWN_TO = 0.002
_KNOWN_INPUT = 0.005  # what population's corrections for short windows leave
_FINE = 0.05
_VERDICTS: dict[str, Outcome] = {"short memory": "agrees", "not determined": "not determined"}
_LEARNED = {"independent": 0.85, "persistent": 0.7}


def checks(data: xr.Dataset) -> list[Check]:
    """Return the checks of the part."""
    return [
        *_integrators(data),
        *_short_memory(data),
        *_independent(data),
        *_persistent(data),
        *_gates(data),
    ]


def of_kind(data: xr.Dataset, kind: str, **parameters: Any) -> xr.Dataset:
    """Return the tasks of one kind, and of given values of their parameters."""
    chosen = data["kind"].values.astype(str) == kind
    for name, value in parameters.items():
        chosen &= data[name].values == value
    return data.isel(task=np.flatnonzero(chosen))


def _integrators(data: xr.Dataset) -> list[Check]:
    made = []
    for (length, forget), known in PLAIN_BETA.items():
        one = of_kind(data, "integrator", length=length, forget=forget)
        name = f"{round(100 * forget)}-{length}"
        what = f"An LSTM with the constant forget gate {forget:g} and white input"
        made.append(
            _curve(f"integrator-curve-{name}", f"{what} has the exact F(n) of an AR(1) process.", one)
        )
        made.append(
            compare(
                f"controls/integrator-beta-{name}",
                f"{what}, which has no 1/f noise, shows beta = {known:.2f} in series of {length}.",
                _HERE,
                known,
                _one(one, "plain_beta"),
                allowance=_KNOWN_TO,
                resolution=_FINE,
                note=f"Mean of single series, least squares. Allowance {_KNOWN_TO} for the simulated number.",
            )
        )
    for forget in (0.5, 0.8, 0.95):
        short, long = (
            _one(of_kind(data, "integrator", length=length, forget=forget), "beta") for length in (500, 4096)
        )
        made.append(
            positive(
                f"controls/integrator-falls-{round(100 * forget)}",
                f"With the forget gate {forget:g}, beta falls towards white noise in longer windows.",
                _HERE,
                _difference(short, long),
                note="Windows of 10 to 125 less those of 16 to 512.",
            )
        )
    return made


def _short_memory(data: xr.Dataset) -> list[Check]:
    one = of_kind(data, "integrator", length=500, forget=0.8)
    kind = get_args(Kind)[int(one["verdict"].values[0])]
    tested = int(one["tested"].values[0])
    scaling = _share(float(one["beat_scaling"].values[0]) / tested if tested else math.nan, tested)
    bent = _share(float(one["bent"].values[0]), int(one["judged"].values[0]))
    return [
        Check(
            "controls/integrator-verdict",
            "The verdict on the leaky integrator with forget gate 0.8 is short memory.",
            _HERE,
            None,
            scaling,
            _VERDICTS.get(kind, "disagrees"),
            f"Verdict on {bent.n} series of 500: {kind}. Measured: share that excludes scaling noise.",
        ),
        more_than_chance(
            "controls/integrator-test",
            "Held against short memory and scaling, single series of 500 exclude scaling.",
            _HERE,
            scaling,
        ),
        Check(
            "controls/integrator-bend",
            "The bend of its curve does not give it away in most single series of 500.",
            _HERE,
            None,
            bent,
            _below(bent, 0.5),
            "Measured: share of the curves flagged as bent. Agrees 3 errors below one half.",
        ),
    ]


def _independent(data: xr.Dataset) -> list[Check]:
    some = of_kind(data, "independent")
    words, mixed, before = (some["state_beta"].values[:, place] for place in range(len(STATES)))
    return [
        _learned("independent", some),
        compare(
            "controls/independent-input",
            "Embedded independent words are white noise.",
            _HERE,
            0.0,
            over_networks(some["input_beta"].values),
            allowance=_KNOWN_INPUT,
            resolution=_FINE,
            note=f"Allowance {_KNOWN_INPUT}: what the correction for short windows leaves.",
        ),
        _cues("independent", "white noise", some),
        compare(
            "controls/independent-order",
            "The order of independent words makes no difference to beta of h.",
            _HERE,
            0.0,
            over_networks(words - mixed, "words less shuffled words"),
            resolution=_FINE,
            note="Exact in law: shuffled independent words are independent words.",
        ),
        positive(
            "controls/independent-training",
            "Training alone gives h an exponent where the input is white: the memory is the network's own.",
            _HERE,
            over_networks(words - before, "trained less untrained"),
        ),
    ]


def _persistent(data: xr.Dataset) -> list[Check]:
    some = of_kind(data, "persistent")
    words, mixed, _ = (some["state_beta"].values[:, place] for place in range(len(STATES)))
    return [
        _learned("persistent", some),
        _cues("persistent", "1/f noise seen through single words", some),
        positive(
            "controls/persistent-order",
            "A true positive: where cues are 1/f noise, beta of h is larger than for shuffled words.",
            _HERE,
            over_networks(words - mixed, "words less shuffled words"),
        ),
    ]


def _gates(data: xr.Dataset) -> list[Check]:
    some = of_kind(data, "gate")
    raw = _one(of_kind(data, "gate", function="none"), "beta")
    made = []
    for function in some["function"].values.astype(str):
        one = of_kind(data, "gate", function=function)
        exact = float(one["exact_beta"].values[0])
        name = function.partition("(")[0]
        said = "left as it is" if name == "none" else f"after {function}"
        made += [
            compare(
                f"controls/gate-{name}",
                f"Fractional noise of H = 0.9, {said}, has beta = {exact:.3f} in windows of 16 to 512.",
                _HERE,
                exact,
                _one(one, "beta"),
                resolution=_FINE,
                note="Exact by Mehler's formula; of the root of the mean of F(n)^2.",
            ),
            _curve(f"gate-curve-{name}", f"Fractional noise of H = 0.9, {said}, has the exact F(n).", one),
        ]
        if name != "none":
            made.append(
                positive(
                    f"controls/gate-lowers-{name}",
                    f"A gate alone lowers the exponent of what enters it: {function}.",
                    _HERE,
                    _difference(raw, _one(one, "beta")),
                    note="A part of internal before external that needs no learning.",
                )
            )
    return made


def _curve(name: str, claim: str, one: xr.Dataset) -> Check:
    """Return the check that a curve is the exact one in all windows at once."""
    windows, series = one.sizes["window"], int(float(one["series"].values[0]))
    mean, variance = law_of_f.stats(windows, series - windows)
    distance = Estimate(
        float(one["distance"].values[0]), math.sqrt(variance), "Hotelling's statistic", series
    )
    note = f"Expected: the mean of the law of F; error: its deviation. {windows} windows at once."
    return compare(f"controls/{name}", claim, _HERE, float(mean), distance, sigmas=4, resolution=1, note=note)


def _cues(name: str, what: str, some: xr.Dataset) -> Check:
    exact = float(some["exact_beta"].values[0])
    return compare(
        f"controls/{name}-cues",
        f"The cues in the texts are {what}: beta = {exact:.3f} in windows of 10 to 125.",
        _HERE,
        exact,
        over_networks(some["beta"].values, "mean over texts of networks"),
        allowance=0.002,
        resolution=_FINE,
        note="Exact, by least squares: short windows add 0.013. Allowance 0.002: texts are few.",
    )


def _learned(name: str, some: xr.Dataset) -> Check:
    share = _LEARNED[name]
    return positive(
        f"controls/{name}-learned",
        f"The networks learn the task: more than {100 * share:g} % of the test texts are classified right.",
        _HERE,
        over_networks(some["accuracy"].values - share, f"accuracy less {share}"),
    )


def _one(one: xr.Dataset, name: str) -> Estimate:
    value, error = (float(one[key].values[0]) for key in (name, f"{name}_error"))
    return Estimate(value, error, "over independent series", int(float(one["series"].values[0])))


def _difference(first: Estimate, second: Estimate) -> Estimate:
    error = math.hypot(first.error, second.error)
    return Estimate(first.value - second.value, error, "difference", min(first.n, second.n))


def _share(value: float, n: int) -> Estimate:
    if not n:
        return Estimate.not_determined("no series was tested")
    return Estimate(value, math.sqrt(max(value * (1 - value), 1 / n) / n), "share of series", n)


def _below(share: Estimate, limit: float) -> Outcome:
    if share.value + 3 * share.error < limit:
        return "agrees"
    return "disagrees" if share.value - 3 * share.error > limit else "not determined"


def tables(data: xr.Dataset) -> list[Table]:
    """Return the known processes, and the networks on known texts."""
    known = data.isel(task=np.flatnonzero(np.isin(data["kind"].values.astype(str), ["integrator", "gate"])))
    processes = []
    for place in range(known.sizes["task"]):
        one = known.isel(task=[place])
        gate = str(one["function"].values[0])
        processes.append(
            [
                f"H = 0.9, {gate}" if gate else f"forget gate {float(one['forget'].values[0]):g}",
                str(int(one["length"].values[0])),
                f"{float(one['exact_beta'].values[0]):.3f}",
                str(_one(one, "beta")),
                str(_one(one, "plain_beta")),
            ]
        )
    networks = []
    for kind in ("independent", "persistent"):
        some = of_kind(data, kind)
        columns = [some["accuracy"].values, some["input_beta"].values, some["beta"].values]
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
