"""What a profile says, in sentences that a person can act on."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from phasescope.estimate import Estimate
from phasescope.instruments.contract import Finding, Severity, importance
from phasescope.instruments.propagation.weight_scale import remedy
from phasescope.instruments.rows import Column, Row
from phasescope.signal.table import growth_law
from phasescope.signal.verdict import hidden_steps

if TYPE_CHECKING:
    import xarray as xr

    from phasescope.signal import Verdict

# Networks train up to a depth of about 6 correlation lengths (Schoenholz et al. 2017, section 5).
TRAINABLE_LENGTHS = 6.0
# Second moments of the gradient outside these bounds are 1000 and 10^6 times off in amplitude.
_GRADIENT_WARNING, _GRADIENT_PROBLEM = 1e6, 1e12
_MANY_DEAD, _NEARLY_ALL = 0.5, 0.95
_MANY_SATURATED = 0.3
_SAME = 1e-3  # 1 - c between inputs that can hardly be told apart
_DRIFT = 0.5
_IDLE, _DROWNING = 0.01, 0.99  # share of a branch in its sum
# Growth of K below which NaN or infinity did not come from growth, as a power of the largest number: by this
# power 1e6 in float32, and 5.6 in float16.
_BROKEN_AT_ONCE, _MOST_AT_ONCE = 0.156, 1e6
_CALL = "phasescope.signal.critical_(model, batch)"
_SAME_FACTOR = math.log(2)  # between the growth of differences and of the signal in a change of scale
_KEEPS = "keeps its size"
_FEW = 3  # steps needed for a phase

COLUMNS = (
    Column("kernel", "K", "mean square of the units, (1/n) Σᵢ zᵢ², averaged over inputs"),
    Column(
        "distance", "1 − c", "one minus the correlation c = z·z′ / (|z| |z′|), averaged over pairs of inputs"
    ),
    Column(
        "chi_parallel",
        "χ∥",
        "growth from one step of the stream to the next of the response of K to scaling the input",
    ),
    Column(
        "chi_perpendicular",
        "χ⊥",
        "the same for the part across z of a small difference between inputs, |u|²/n",
    ),
    Column(
        "share",
        "share",
        "part of the sum's mean square that the branch brings, |b|² / (|b|² + |s|²)",
        fraction=True,
    ),
    Column(
        "gradient",
        "gradient",
        "squared norm of the gradient at the row, summed over its units, relative to that at the output, for "
        "random cotangents",
    ),
    Column("dead", "dead", "units that respond to no input", fraction=True),
    Column("saturated", "saturated", "units within 1 % of a limit of the activation", fraction=True),
    Column("nonfinite", "non-finite", "units that are NaN or infinite, or computed from such", fraction=True),
)
"""What a page shows of each row."""


class Layer(Row):
    """One row of a profile."""

    @property
    def who(self) -> str:
        """Its name, and its kind where the name does not say it."""
        name = self.text("layer")
        return name if name.endswith(")") else f"{name} ({self.text('kind')})"

    @property
    def depth(self) -> int:
        """How many steps of the stream there are down to it, itself included."""
        return int(self["depth"])

    @property
    def where(self) -> str:
        """Its name and its place in the network."""
        word, last = _word(self.dataset), _layers(self.dataset)
        if self["chain"] != 0:
            return self.who
        return f"{self.who}, {word} {self.depth} of {last}"


def findings(dataset: xr.Dataset, verdict: Verdict) -> list[Finding]:
    """Return everything that stands out, the most important first."""
    cut = _cut_off(dataset)
    found = [
        cut,
        _verdict(dataset, verdict) if cut is None else None,
        *_other_chains(dataset),
        _masked(dataset),
        _gradient(dataset, verdict),
        _collapse(dataset, verdict) if cut is None else None,
        _dead(dataset, verdict) if cut is None else None,
        _saturated(dataset),
        _drowning(dataset),
        _idle(dataset),
        _evaluation_drift(dataset),
    ]
    return sorted((finding for finding in found if finding is not None), key=importance)


def _verdict(dataset: xr.Dataset, verdict: Verdict) -> Finding:
    broken = _not_finite(dataset, verdict)
    if broken is not None:
        return broken
    if verdict.phase == "ordered":
        what = "Ordered: the distance 1-c between inputs falls"
        return _exponential(dataset, verdict, verdict.signal_depth, what)
    if verdict.phase == "chaotic":
        what = "Chaotic: the squared gradient grows, on its way back,"
        return _exponential(dataset, verdict, verdict.gradient_depth, what)
    if verdict.phase == "exploding":
        return _changing(dataset, verdict, "Exploding: the signal's mean square grows")
    if verdict.phase == "vanishing":
        return _changing(dataset, verdict, "Vanishing: the signal's mean square falls")
    if verdict.phase == "uneven":
        return _uneven(dataset, verdict)
    if verdict.phase == "critical":
        over = _count(verdict.total.n, _word(dataset))
        sentence = f"Critical: over {over}, {_differences(verdict.total)}{growth_law(verdict)}."
        return Finding(sentence, _margin(dataset, verdict), "", "ok", "phase")
    return _undetermined(dataset, verdict)


@dataclass(frozen=True)
class _Leading:
    """The step that changes a small difference most."""

    who: str
    log: Estimate  # of the factor by which the square changes
    before: float  # kernel
    after: float

    @property
    def scales(self) -> bool:
        """Whether the signal changes with it, so that it is a change of scale alone."""
        known = self.before > 0 and self.after > 0
        return known and abs(math.log(self.after / self.before) - self.log.value) < _SAME_FACTOR


def _leading(dataset: xr.Dataset, total: float, chain: int = 0) -> _Leading:
    steps = hidden_steps(dataset, chain)
    chi, kernel = steps["chi_perpendicular"].values, steps["kernel"].values
    signed = [math.copysign(1.0, total) * math.log(x) if x > 0 else -math.inf for x in chi]
    place = int(np.argmax(signed))
    name = str(steps["layer"].values[place])
    who = next(row.who for row in Layer.measured(dataset) if row.text("layer") == name)
    error = float(steps["chi_perpendicular_error"].values[place] / chi[place])
    log = Estimate(math.log(chi[place]), error, "", 1)
    return _Leading(who, log, float(kernel[max(0, place - 1)]), float(kernel[place]))


def _uneven(dataset: xr.Dataset, verdict: Verdict) -> Finding:
    """Return that one step does nearly all, and whether it is more than a change of scale."""
    step = _leading(dataset, verdict.total.value)
    evidence = f"K = {step.before:.3g} to {step.after:.3g} at {step.who}; {_margin(dataset, verdict)}"
    others = f"over the other {_count(verdict.total.n - 1, _word(dataset))} it "
    others += changes(verdict.total - step.log.value)
    sentence = f"Uneven: at {step.who} the square of a small difference between inputs {changes(step.log)}"
    if step.scales:
        sentence += f", and the signal with it, which is a change of scale alone; {others}."
        return Finding(sentence, evidence, "", "ok", "phase")
    action = f"Look at {step.who} first: change the scale of its weights, or normalise behind it."
    return Finding(f"{sentence}; {others}.", evidence, action, "warning", "phase")


def changes(total: Estimate) -> str:
    """Return in words by what factor something changes whose logarithm changes by `total`."""
    size = abs(total.value)
    if size <= total.error or size < 0.01:
        return _KEEPS
    factor = f"{math.exp(size):.3g}" if size < math.log(999.5) else f"{math.exp(min(size, 700)):.1e}"
    return f"{'grows' if total.value > 0 else 'falls'} {factor}-fold"


def _differences(total: Estimate) -> str:
    """Return in words what happens to small differences, from the logarithm of the factor of the square."""
    if changes(total) == _KEEPS:
        return "small differences between inputs keep their size"
    return f"the square of a small difference between inputs {changes(total)}"


def _exponential(dataset: xr.Dataset, verdict: Verdict, depth: Estimate, what: str) -> Finding:
    layers, word = _layers(dataset), _word(dataset)
    if not depth.determined:
        depth = _length(verdict.margin)
        direction = "fall" if verdict.margin.value < 0 else "grow"
        what = f"{verdict.phase.capitalize()}: squared differences between inputs {direction}"
    trainable = TRAINABLE_LENGTHS * depth.value
    sentence, action = f"{what} by a factor e every {depth} {word}s", remedy(dataset, verdict)
    if round(trainable) >= layers:
        sentence += f", but all {layers} {word}s can be trained."
        action = (
            f"Nothing has to be done at this depth. For a deeper network, {action[0].lower()}{action[1:]}"
        )
        return Finding(sentence, _margin(dataset, verdict), action, "note", "phase")
    sentence += f", so about {max(1, round(trainable))} of the {layers} {word}s can be trained."
    severity: Severity = "problem" if trainable < layers / 2 else "warning"
    return Finding(sentence, _margin(dataset, verdict), action, severity, "phase")


def _length(margin: Estimate) -> Estimate:
    """Return the depth over which a difference changes e-fold, from ln chi per step."""
    slope = abs(margin.value)
    return Estimate(1 / slope, margin.error / slope**2, "1 / |ln chi|", margin.n)


def _not_finite(dataset: xr.Dataset, verdict: Verdict) -> Finding | None:
    bad = [row for row in Layer.measured(dataset) if row["nonfinite"] > 0]
    if not bad:
        return None
    before = [row["kernel"] for row in Layer.steps(dataset) if row.index < bad[0].index and row["kernel"] > 0]
    evidence = (
        f"{_percent(bad[0]['nonfinite'])} of its units are infinite or NaN; {len(bad)} rows are affected"
    )
    precision, largest = dataset.attrs["dtype"], _largest_number(dataset)
    at_once = min(_MOST_AT_ONCE, largest**_BROKEN_AT_ONCE)
    if before and before[-1] < at_once * max(before[0], 1.0):
        action = "Look there for NaN in the weights, a division by 0, a log or root of 0, or a mask of -inf."
        if at_once < _MOST_AT_ONCE:
            action += f" Or for numbers above {largest:.5g}, where {precision} ends: bfloat16 holds them."
        return Finding(
            f"Broken: {bad[0].where}, gives NaN or infinity, though its input is of ordinary size.",
            f"{evidence}; K = {before[-1]:.3g} at the step before",
            action,
            "problem",
            "broken",
        )
    if not before and bad[0].index == Layer.measured(dataset)[0].index:
        return Finding(
            f"Broken: the first row, {bad[0].who}, already gives NaN or infinity.",
            evidence,
            "Look for NaN or infinity in its weights, and for a batch of very large numbers.",
            "problem",
            "broken",
        )
    return Finding(
        f"Exploding: the signal overflows at {bad[0].where}, in {precision}, which ends at {largest:.5g}.",
        evidence,
        remedy(dataset, verdict),
        "problem",
        "broken",
    )


def _largest_number(dataset: xr.Dataset) -> float:
    """Return the largest number of the precision that the model computes in."""
    dtype = getattr(torch, dataset.attrs["dtype"])
    return torch.finfo(dtype if dtype.is_floating_point else torch.float32).max


def _changing(dataset: xr.Dataset, verdict: Verdict, what: str) -> Finding:
    finite = [row for row in _hidden(dataset, verdict) if math.isfinite(row["kernel"])]
    first, last, over = finite[0], finite[-1], _count(len(finite), _word(dataset))
    return Finding(
        f"{what} from {first['kernel']:.3g} to {last['kernel']:.3g} over {over}.",
        f"K = {first.estimate('kernel')} at {first.who}, {last.estimate('kernel')} at {last.who}; "
        f"{_margin(dataset, verdict)}",
        remedy(dataset, verdict),
        "problem",
        "phase",
    )


def _undetermined(dataset: xr.Dataset, verdict: Verdict) -> Finding:
    steps, word = hidden_steps(dataset).sizes["layer"], _word(dataset)
    measured = len(Layer.measured(dataset))
    evidence = (
        f"{measured} of {dataset.sizes['layer']} rows were measured on {dataset.attrs['inputs']} inputs"
    )
    if 0 < steps < _FEW:
        there = "is 1" if steps == 1 else f"are {steps}"
        sentence = f"A phase needs at least {_FEW} {word}s before the read-out, and there {there}"
        if steps > 1 and verdict.total.determined:
            sentence += f": between them {_differences(verdict.total)}"
        advice = "Read K and the gradient in the table: both should stay of order one."
        return Finding(f"{sentence}.", evidence, advice, "note", "phase")
    reason = verdict.reason.rstrip(".") or f"no {word} was measured"
    advice = "Read the table row by row: K and the gradient should stay of order one."
    return Finding(f"The phase is not determined: {reason}.", evidence, advice, "note", "phase")


def _other_chains(dataset: xr.Dataset) -> list[Finding]:
    """Return one sentence a chain beyond the main one, the input of the others held fixed."""
    found = []
    for number, chain in enumerate(json.loads(dataset.attrs["chains"])[1:], start=1):
        verdict = chain["verdict"]
        phase, reason = str(verdict["phase"]), str(verdict["reason"]).rstrip(".")
        well = phase in ("critical", "not determined")
        if phase == "uneven" and _leading(dataset, verdict["total"]["value"], number).scales:
            well, reason = True, f"{reason}, a change of scale alone"
        found.append(
            Finding(
                f"The chain from {chain['input']} is {phase}: {reason}."
                if phase != "not determined"
                else f"The phase of the chain from {chain['input']} is not determined: {reason}.",
                f"{chain['steps']} steps, the other inputs held fixed",
                "" if well else f"Call {_CALL}, and look at the rows of this chain in the table.",
                "ok" if well else "warning",
                "phase",
            )
        )
    return found


def _masked(dataset: xr.Dataset) -> Finding | None:
    notes = [note for note in json.loads(dataset.attrs["notes"]) if note.startswith("masked: ")]
    if not notes:
        return None
    return Finding(
        "An overflow is hidden: NaN or infinity inside the network is turned into finite numbers.",
        "; ".join(note.rstrip(".") for note in notes),
        "Let NaN propagate, for example torch.where(z > -1, f(z), 0 * z); then cure the overflow.",
        "problem",
        "broken",
    )


def _gradient(dataset: xr.Dataset, verdict: Verdict) -> Finding | None:
    steps = [row for row in Layer.steps(dataset) if 0 < row["gradient"] < math.inf]
    if not steps:
        return None
    first = steps[0]
    value, error = first["gradient"], first["gradient_error"]
    size = max(value, 1 / value)
    if size < _GRADIENT_WARNING:
        return None
    depth = verdict.gradient_depth
    pace = f", its square a factor e every {depth} {_word(dataset)}s" if depth.determined else ""
    logs = [math.log(row["gradient"]) for row in steps]
    jumps = [abs(a - b) for a, b in itertools.pairwise(logs)]
    action = (
        "No single learning rate suits all layers. Set the weights to criticality "
        "(phasescope.signal.critical_), or add normalisation."
    )
    if verdict.phase == "critical" and max(jumps) > 0.5 * abs(logs[0]):
        jump = steps[jumps.index(max(jumps)) + 1]
        action = f"Most of the change is at {jump.who}: rescale its weights."
    return Finding(
        f"The gradient {'explodes' if value > 1 else 'vanishes'} on its way back: at {first.who} it is "
        f"{math.sqrt(value):.1e} times that at the output{pace}.",
        f"squared norm, summed over the units, {value:.2e} ± {error:.1e} of that at the output",
        action,
        "problem" if size > _GRADIENT_PROBLEM else "warning",
        "phase",
    )


def _collapse(dataset: xr.Dataset, verdict: Verdict) -> Finding | None:
    known = [row for row in Layer.steps(dataset) if math.isfinite(row["distance"])]
    same = [row for row in known if row["distance"] < _SAME]
    if not same or same[-1] is not known[-1]:
        return None
    first, last = same[0], same[-1]
    distance, error = last["distance"], last["distance_error"]
    evidence = f"1 - c = {distance:.2e} ± {error:.1e} at {last.who}"
    if first is known[0]:
        return Finding(
            f"The inputs are hardly different from the start: at {first.who} their correlation exceeds "
            f"{1 - _SAME}.",
            evidence,
            "Subtract the mean of the data from the inputs, or pass inputs that differ more.",
            "note",
        )
    tiny = 1e-7 if dataset.attrs["dtype"] != "float64" else 1e-15
    return Finding(
        f"Different inputs become indistinguishable: from {first.where}, their correlation exceeds "
        f"{1 - _SAME}.",
        evidence,
        remedy(dataset, verdict),
        "problem" if distance < tiny else "warning",
        "phase",
    )


_REVIVE = (
    "Lower the learning rate or the biases, or use an activation with a slope on both sides, such as "
    "nn.LeakyReLU or nn.GELU."
)


def _cut_off(dataset: xr.Dataset) -> Finding | None:
    """Return that the input does not reach the output, where all units of a row of the stream are dead."""
    if (dataset["nonfinite"].values > 0).any():
        return None
    cut = next((row for row in Layer.measured(dataset) if row["dead"] == 1 and _on_the_way(row)), None)
    if cut is None:
        return None
    return Finding(
        f"The output does not depend on the input: all units of {cut.where}, are dead.",
        f"dead fraction 1 at {cut.who}, on {dataset.attrs['inputs']} inputs",
        _REVIVE,
        "problem",
        "broken",
    )


def _dead(dataset: xr.Dataset, verdict: Verdict) -> Finding | None:
    follows = verdict.phase in ("ordered", "vanishing", "exploding")
    cure = "The phase causes this: correct it first." if follows else _REVIVE
    return _units(dataset, "dead", _MANY_DEAD, "respond to no input", cure)


def _on_the_way(row: Layer) -> bool:
    """Whether all that reaches the output from the main input passes this row."""
    return row.text("place") == "stream" and row["chain"] == 0


def _saturated(dataset: xr.Dataset) -> Finding | None:
    return _units(
        dataset,
        "saturated",
        _MANY_SATURATED,
        "are saturated, and pass hardly any gradient",
        "Make the weights before it smaller, or normalise its input.",
    )


def _units(dataset: xr.Dataset, name: str, many: float, what: str, action: str) -> Finding | None:
    found = [row for row in Layer.measured(dataset) if row[name] >= many]
    if not found:
        return None
    worst = max(found, key=lambda row: row[name])
    others = f"; {len(found)} rows are above {many:g}" if len(found) > 1 else ""
    return Finding(
        f"At {worst.where}, {_percent(worst[name])} of the units {what}.",
        f"{name} fraction {worst[name]:.3g}{others}",
        action,
        "problem" if worst[name] >= _NEARLY_ALL else "warning",
        "units",
    )


def _sums(dataset: xr.Dataset) -> list[Layer]:
    """Return the sums of the stream whose share is known."""
    return [row for row in Layer.measured(dataset) if _on_the_way(row) and not math.isnan(row["share"])]


def _drowning(dataset: xr.Dataset) -> Finding | None:
    sums = _sums(dataset)
    found = [row for row in sums if row["share"] > _DROWNING]
    if not found:
        return None
    first, many = found[0], len(found)
    where = first.who if many == 1 else f"{many} of {len(sums)} sums"
    return Finding(
        f"At {where} the shortcut brings less than {_percent(1 - _DROWNING)} of the sum; "
        "the branch brings the rest.",
        ", ".join(f"{_percent(row['share'])} at {row.who}" for row in found[:3]),
        f"{_branch_scale(len(sums))} Or enlarge what enters the first block, such as the embedding.",
        "warning" if 2 * many > len(sums) else "note",
    )


def _idle(dataset: xr.Dataset) -> Finding | None:
    sums = _sums(dataset)
    found = [row for row in sums if row["share"] < _IDLE]
    if not found:
        return None
    least = min(found, key=lambda row: row["share"])
    if least["share"] == 0:
        zero = sum(row["share"] == 0 for row in found)
        return Finding(
            f"{zero} of {len(sums)} branches are 0, so that their blocks pass the stream on unchanged.",
            f"share 0 at {least.who}",
            "This is fine if the last layer of each branch is initialised to 0 on purpose. If not, look for "
            "zeroed weights.",
            "note",
        )
    return Finding(
        f"Of {len(sums)} branches {len(found)} bring less than {_percent(_IDLE)} of their sum, least at "
        f"{least.who}.",
        f"{_percent(least['share'])} of the mean square of the sum at {least.who}",
        "Before training this is harmless, since training can enlarge a branch. After training, test the "
        "network without this block.",
        "note",
    )


def _branch_scale(sums: int) -> str:
    return f"Multiply the last weights of each branch by 1/sqrt({sums}) = {sums**-0.5:.2g}."


def _evaluation_drift(dataset: xr.Dataset) -> Finding | None:
    if "kernel_eval_drift" not in dataset:
        return None
    known = [row for row in Layer.measured(dataset) if not math.isnan(row["kernel_eval_drift"])]
    if not known:
        return None
    largest = max(known, key=lambda row: abs(row["kernel_eval_drift"]))
    drift = largest["kernel_eval_drift"]
    if abs(drift) < _DRIFT:
        return None
    return Finding(
        f"In eval mode the signal differs from train mode: at {largest.who} its mean square is "
        f"{drift + 1:.3g} times as large.",
        f"K in eval mode / K in train mode - 1 = {drift:.3g}",
        "Run the model in train mode over some batches until the running statistics settle, lower the "
        "momentum, or use nn.LayerNorm.",
        "warning" if abs(drift) < 1e3 else "problem",
    )


def _margin(dataset: xr.Dataset, verdict: Verdict) -> str:
    if not verdict.margin.determined:
        return f"ln chi is {verdict.margin}"
    per = f"per {_word(dataset)} on {dataset.attrs['inputs']} inputs"
    return f"ln chi = {verdict.margin} {per}; 0 is critical"


def _hidden(dataset: xr.Dataset, verdict: Verdict) -> list[Layer]:
    """Return the steps that the verdict was read from: without the read-out, in a network that is deep."""
    steps, window = Layer.steps(dataset), verdict.total.window
    return steps if window is None else [row for row in steps if row.depth <= window[1]]


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _layers(dataset: xr.Dataset) -> int:
    return max((row.depth for row in Layer.steps(dataset)), default=0)


def _word(dataset: xr.Dataset) -> str:
    """Return what a step of the stream is called: a layer, where all are weight layers."""
    return "layer" if all(row.text("role") == "weight" for row in Layer.steps(dataset)) else "step"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.3g} %"
