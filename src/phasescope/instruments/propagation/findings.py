"""What a profile says, in sentences that a person can act on."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from phasescope.estimate import Estimate
from phasescope.instruments.contract import Finding, Severity
from phasescope.instruments.propagation.weight_scale import remedy
from phasescope.instruments.rows import Column, Row

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

COLUMNS = (
    Column("kernel", "K", "mean square of the units, (1/n) Σᵢ zᵢ², averaged over inputs"),
    Column(
        "distance", "1 − c", "one minus the correlation c = z·z′ / (|z| |z′|), averaged over pairs of inputs"
    ),
    Column(
        "chi_parallel",
        "χ∥",
        "growth from one weight layer to the next of the response of K to scaling the input",
    ),
    Column(
        "chi_perpendicular",
        "χ⊥",
        "the same for the part across z of a small difference between inputs, |u|²/n",
    ),
    Column(
        "gradient",
        "gradient",
        "squared norm of the gradient at the row, relative to that at the output, for random cotangents",
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
        """Its name and its kind."""
        return f"{self.text('layer')} ({self.text('kind')})"

    @property
    def depth(self) -> int:
        """How many weight layers there are down to it, itself included."""
        return int(self["depth"])


def findings(dataset: xr.Dataset, verdict: Verdict) -> list[Finding]:
    """Return the verdict first, then every other thing that stands out."""
    found = [
        _verdict(dataset, verdict),
        _masked(dataset),
        _gradient(dataset, verdict),
        _collapse(dataset, verdict),
        _dead(dataset, verdict),
        _saturated(dataset),
        _evaluation_drift(dataset),
    ]
    return [finding for finding in found if finding is not None]


def _verdict(dataset: xr.Dataset, verdict: Verdict) -> Finding:
    if verdict.phase == "ordered":
        what = "Ordered: a difference between inputs shrinks by a factor e every"
        return _exponential(dataset, verdict, verdict.signal_depth, what)
    if verdict.phase == "chaotic":
        what = "Chaotic: small differences between inputs, and gradients, grow by a factor e every"
        return _exponential(dataset, verdict, verdict.gradient_depth, what)
    if verdict.phase == "critical":
        sentence = f"Critical: a difference between inputs survives all {_layers(dataset)} layers."
        return Finding(sentence, _margin(dataset, verdict), "", "ok")
    if verdict.phase == "exploding":
        return _exploding(dataset, verdict)
    if verdict.phase == "vanishing":
        return _changing(dataset, verdict, "Vanishing: the signal's mean square falls")
    return _undetermined(dataset, verdict)


def _exponential(dataset: xr.Dataset, verdict: Verdict, depth: Estimate, what: str) -> Finding:
    layers = _layers(dataset)
    length = depth if depth.determined else _length(verdict.margin)
    trainable = TRAINABLE_LENGTHS * length.value
    reach = (
        f"so about {max(1, round(trainable))} of the {layers} layers can be trained"
        if round(trainable) < layers
        else f"so all {layers} layers can be trained"
    )
    severity: Severity = "note" if round(trainable) >= layers else "warning"
    if trainable < layers / 2:
        severity = "problem"
    return Finding(
        f"{what} {length} layers, {reach}.", _margin(dataset, verdict), remedy(dataset, verdict), severity
    )


def _length(margin: Estimate) -> Estimate:
    """Return the depth over which a difference changes e-fold, from ln chi per layer."""
    slope = abs(margin.value)
    return Estimate(1 / slope, margin.error / slope**2, "1 / |ln chi|", margin.n)


def _exploding(dataset: xr.Dataset, verdict: Verdict) -> Finding:
    bad = [row for row in Layer.measured(dataset) if row["nonfinite"] > 0]
    if not bad:
        return _changing(dataset, verdict, "Exploding: the signal's mean square grows")
    return Finding(
        f"Exploding: the signal overflows at {bad[0].who}, layer {bad[0].depth} of {_layers(dataset)}.",
        f"{_percent(bad[0]['nonfinite'])} of its units are infinite or NaN; {len(bad)} rows are affected",
        remedy(dataset, verdict),
        "problem",
    )


def _changing(dataset: xr.Dataset, verdict: Verdict, what: str) -> Finding:
    weights = Layer.weights(dataset)
    finite = [row for row in weights if math.isfinite(row["kernel"])]
    first, last = finite[0], finite[-1]
    return Finding(
        f"{what} from {first['kernel']:.3g} to {last['kernel']:.3g} over {_layers(dataset)} layers.",
        f"K = {first.estimate('kernel')} at {first.who}, {last.estimate('kernel')} at {last.who}; "
        f"{_margin(dataset, verdict)}",
        remedy(dataset, verdict),
        "problem",
    )


def _undetermined(dataset: xr.Dataset, verdict: Verdict) -> Finding:
    measured = len(Layer.measured(dataset))
    reason = verdict.reason.rstrip(".") or "too few layers were measured"
    return Finding(
        f"The phase is not determined: {reason}.",
        f"{measured} of {dataset.sizes['layer']} rows were measured on {dataset.attrs['inputs']} inputs",
        "Read the table row by row, or pass more inputs.",
        "note",
    )


def _masked(dataset: xr.Dataset) -> Finding | None:
    notes = [note for note in json.loads(dataset.attrs["notes"]) if "mask" in note.lower()]
    if not notes:
        return None
    return Finding(
        "An overflow is hidden: NaN or infinity inside the network is turned into finite numbers.",
        "; ".join(note.rstrip(".") for note in notes),
        "Let NaN propagate, for example torch.where(z > -1, f(z), 0 * z); then cure the overflow.",
        "problem",
    )


def _gradient(dataset: xr.Dataset, verdict: Verdict) -> Finding | None:
    first = next((row for row in Layer.measured(dataset) if 0 < row["gradient"] < math.inf), None)
    if first is None:
        return None
    value, error = first["gradient"], first["gradient_error"]
    size = max(value, 1 / value)
    if size < _GRADIENT_WARNING:
        return None
    depth = verdict.gradient_depth
    pace = f", a factor e every {depth} layers" if depth.determined else ""
    return Finding(
        f"The gradient {'explodes' if value > 1 else 'vanishes'} on its way back: at {first.who} it is "
        f"{math.sqrt(value):.1e} times that at the output{pace}.",
        f"mean square {value:.2e} ± {error:.1e} of that at the output",
        "No learning rate suits all layers: bring ln chi to 0 (see the first finding) or normalise.",
        "problem" if size > _GRADIENT_PROBLEM else "warning",
    )


def _collapse(dataset: xr.Dataset, verdict: Verdict) -> Finding | None:
    known = [row for row in Layer.measured(dataset) if math.isfinite(row["distance"])]
    same = [row for row in known if row["distance"] < _SAME]
    if not same or same[-1] is not known[-1]:
        return None
    first, last = same[0], same[-1]
    distance, error = last["distance"], last["distance_error"]
    tiny = 1e-7 if dataset.attrs["dtype"] != "float64" else 1e-15
    return Finding(
        f"Different inputs become indistinguishable: from {first.who}, layer {first.depth} of "
        f"{_layers(dataset)}, their correlation exceeds {1 - _SAME}.",
        f"1 - c = {distance:.2e} ± {error:.1e} at {last.who}",
        remedy(dataset, verdict),
        "problem" if distance < tiny else "warning",
    )


def _dead(dataset: xr.Dataset, verdict: Verdict) -> Finding | None:
    cure = (
        "Lower the learning rate or the biases, or use an activation with a slope on both sides, such as "
        "nn.LeakyReLU or nn.GELU."
    )
    if verdict.phase in ("ordered", "vanishing", "exploding"):
        cure = "It follows from the phase: cure that first."
    return _units(dataset, "dead", _MANY_DEAD, "respond to no input", cure)


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
    return Finding(
        f"At {worst.who}, layer {worst.depth}, {_percent(worst[name])} of the units {what}.",
        f"{name} fraction {worst[name]:.3g}; {len(found)} row(s) are above {many:g}",
        action,
        "problem" if worst[name] >= _NEARLY_ALL else "warning",
    )


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
    return f"ln chi = {verdict.margin} per weight layer on {dataset.attrs['inputs']} inputs; 0 is critical"


def _layers(dataset: xr.Dataset) -> int:
    return int(dataset["depth"].values.max())


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.3g} %"
