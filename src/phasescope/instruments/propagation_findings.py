"""What a profile says, in sentences that a person can act on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope.estimate import Estimate
from phasescope.instruments.contract import Finding, Severity
from phasescope.instruments.weight_scale import critical_setting

if TYPE_CHECKING:
    import xarray as xr

    from phasescope.signal import Verdict

# Networks train up to a depth of about 6 correlation lengths (Schoenholz et al. 2017, section 5).
TRAINABLE_LENGTHS = 6.0
# Second moments of the gradient outside these bounds are 1000 and 10^6 times off in amplitude.
_GRADIENT_WARNING, _GRADIENT_PROBLEM = 1e6, 1e12
_MANY_DEAD, _NEARLY_ALL = 0.5, 0.95
_MANY_SATURATED = 0.3
_SAME = 1e-3
_DRIFT = 0.5
_SAME_SCALE = 0.05
_MOST_LOG_CHI = 20.0
_CALL = "phasescope.signal.critical_(model, batch)"


def propagation_findings(dataset: xr.Dataset, verdict: Verdict) -> list[Finding]:
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
    describe: dict[str, Callable[[xr.Dataset, Verdict], Finding]] = {
        "ordered": _ordered,
        "critical": _critical,
        "chaotic": _chaotic,
        "exploding": _exploding,
        "vanishing": _vanishing,
    }
    return describe.get(verdict.phase, _undetermined)(dataset, verdict)


def _ordered(dataset: xr.Dataset, verdict: Verdict) -> Finding:
    return _exponential(
        dataset,
        verdict,
        verdict.signal_depth,
        "Ordered: a difference between inputs shrinks by a factor e every",
    )


def _chaotic(dataset: xr.Dataset, verdict: Verdict) -> Finding:
    return _exponential(
        dataset,
        verdict,
        verdict.gradient_depth,
        "Chaotic: small differences between inputs, and gradients, grow by a factor e every",
    )


def _exponential(dataset: xr.Dataset, verdict: Verdict, depth: Estimate, what: str) -> Finding:
    layers = _layers(dataset)
    length = depth if depth.determined else _length(verdict.margin)
    trainable = TRAINABLE_LENGTHS * length.value
    reach = (
        f"so about {max(1, round(trainable))} of the {layers} layers can be trained"
        if round(trainable) < layers
        else f"which {layers} layers withstand"
    )
    severity: Severity = "note" if round(trainable) >= layers else "warning"
    if trainable < layers / 2:
        severity = "problem"
    return Finding(
        f"{what} {length} layers, {reach}.", _margin(dataset, verdict), _remedy(dataset, verdict), severity
    )


def _length(margin: Estimate) -> Estimate:
    """Return the depth over which a difference changes e-fold, from ln chi per layer."""
    slope = abs(margin.value)
    return Estimate(1 / slope, margin.error / slope**2, "1 / |ln chi|", margin.n)


def _critical(dataset: xr.Dataset, verdict: Verdict) -> Finding:
    sentence = f"Critical: a difference between inputs survives all {_layers(dataset)} layers."
    return Finding(sentence, _margin(dataset, verdict), "", "ok")


def _exploding(dataset: xr.Dataset, verdict: Verdict) -> Finding:
    bad = dataset["nonfinite"].values
    row = _first_row(dataset, bad > 0)
    if row is None:
        return _changing(dataset, verdict, "Exploding: the signal's mean square grows")
    return Finding(
        f"Exploding: the signal overflows at {_name(dataset, row)}, layer {_depth(dataset, row)} of "
        f"{_layers(dataset)}.",
        f"{_percent(bad[row])} of its units are infinite or NaN; {int((bad > 0).sum())} rows are affected",
        _remedy(dataset, verdict),
        "problem",
    )


def _vanishing(dataset: xr.Dataset, verdict: Verdict) -> Finding:
    return _changing(dataset, verdict, "Vanishing: the signal's mean square falls")


def _changing(dataset: xr.Dataset, verdict: Verdict, what: str) -> Finding:
    rows = np.flatnonzero(np.isfinite(dataset["kernel"].values) & (dataset["role"].values == "weight"))
    ends = [int(rows[0]), int(rows[-1])]
    first, last = (_kernel(dataset, row) for row in ends)
    return Finding(
        f"{what} from {first.value:.3g} to {last.value:.3g} over {_layers(dataset)} layers.",
        f"K = {first} at {_name(dataset, ends[0])}, {last} at {_name(dataset, ends[1])}; "
        f"{_margin(dataset, verdict)}",
        _remedy(dataset, verdict),
        "problem",
    )


def _undetermined(dataset: xr.Dataset, verdict: Verdict) -> Finding:
    measured = int((dataset["skipped"].values == "").sum())
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
    gradient = dataset["gradient"].values
    rows = np.flatnonzero(np.isfinite(gradient) & (gradient > 0))
    if rows.size == 0:
        return None
    row = int(rows[0])
    value, error = gradient[row], dataset["gradient_error"].values[row]
    size = max(value, 1 / value)
    if size < _GRADIENT_WARNING:
        return None
    grows = value > 1
    depth = verdict.gradient_depth
    pace = f", a factor e every {depth} layers" if depth.determined else ""
    return Finding(
        f"The gradient {'explodes' if grows else 'vanishes'} on its way back: at {_name(dataset, row)} it is "
        f"{math.sqrt(value):.1e} times that at the output{pace}.",
        f"mean square {value:.2e} ± {error:.1e} of that at the output",
        "No learning rate suits all layers: bring ln chi to 0 (see the first finding) or normalise.",
        "problem" if size > _GRADIENT_PROBLEM else "warning",
    )


def _collapse(dataset: xr.Dataset, verdict: Verdict) -> Finding | None:
    distance = dataset["distance"].values
    row = _first_row(dataset, distance < _SAME)
    if row is None or not np.isfinite(distance[_last_measured(distance)]):
        return None
    last = _last_measured(distance)
    if distance[last] >= _SAME:
        return None
    error = dataset["distance_error"].values[last]
    tiny = 1e-7 if dataset.attrs["dtype"] != "float64" else 1e-15
    return Finding(
        f"Different inputs become indistinguishable: from {_name(dataset, row)}, "
        f"layer {_depth(dataset, row)} of {_layers(dataset)}, their correlation exceeds {1 - _SAME}.",
        f"1 - c = {distance[last]:.2e} ± {error:.1e} at {_name(dataset, last)}",
        _remedy(dataset, verdict),
        "problem" if distance[last] < tiny else "warning",
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
    values = dataset[name].values
    rows = np.flatnonzero(np.nan_to_num(values) >= many)
    if rows.size == 0:
        return None
    worst = int(rows[np.argmax(values[rows])])
    where = f"{_name(dataset, worst)}, layer {_depth(dataset, worst)}"
    return Finding(
        f"At {where}, {_percent(values[worst])} of the units {what}.",
        f"{name} fraction {values[worst]:.3g}; {rows.size} row(s) are above {many:g}",
        action,
        "problem" if values[worst] >= _NEARLY_ALL else "warning",
    )


def _evaluation_drift(dataset: xr.Dataset) -> Finding | None:
    if "kernel_eval_drift" not in dataset:
        return None
    drift = dataset["kernel_eval_drift"].values
    known = np.flatnonzero(~np.isnan(drift))
    if known.size == 0:
        return None
    row = int(known[np.argmax(np.abs(drift[known]))])
    if abs(drift[row]) < _DRIFT:
        return None
    return Finding(
        f"In eval mode the signal differs from train mode: at {_name(dataset, row)} its mean square is "
        f"{drift[row] + 1:.3g} times as large.",
        f"K in eval mode / K in train mode - 1 = {drift[row]:.3g}",
        "Run the model in train mode over some batches until the running statistics settle, lower the "
        "momentum, or use nn.LayerNorm.",
        "warning" if abs(drift[row]) < 1e3 else "problem",
    )


def _remedy(dataset: xr.Dataset, verdict: Verdict) -> str:
    """Return what to do about the scale of the weights, with numbers to copy."""
    now: dict[str, Any] = json.loads(dataset.attrs.get("weight_scale", "{}"))
    point = critical_setting(now)
    if point.get("universality_class") == "none":
        return (
            f"No initialisation makes {point['activation']} critical: normalise before the activation "
            "(nn.LayerNorm), weight each residual branch by 0.1, connect the layers densely with C_W = 0.3, "
            f"or take another activation, such as tanh or GELU. {point['reason']}"
        )
    first_layer = _first_layer(dataset, now, point)
    if first_layer:
        return f"{first_layer} {_recipe(dataset, point)}"
    scale = _scale(now, point, verdict)
    if scale is None:
        return (
            f"Call {_CALL}, which says layer by layer what it can set; where it can set nothing, normalise "
            "(nn.LayerNorm) or weight each residual branch by 0.1."
        )
    first = f"Scale the weights by {scale:.3g}{_biases(now, point)}, or call {_CALL}."
    return f"{first} {_recipe(dataset, point)}".strip()


def _first_layer(dataset: xr.Dataset, now: dict[str, Any], point: dict[str, Any]) -> str:
    """Return what to do where the first layer alone decides, all others being critical; "" elsewhere."""
    kernel = _entry_kernel(dataset, point)
    if kernel is None or abs(_log_factor(now, point)) > _SAME_SCALE or _biases(now, point):
        return ""
    rows = np.flatnonzero((dataset["role"].values == "weight") & (dataset["kernel"].values > 0))
    present = _kernel(dataset, int(rows[0]))
    factor = math.sqrt(kernel / present.value)
    what = f"Scale the first layer's weights by {factor:.2g}"
    return f"{what}, to K = {kernel:.2g} from {present}, or call {_CALL}."


def _entry_kernel(dataset: xr.Dataset, point: dict[str, Any]) -> float | None:
    """Return the kernel that the first layer has to give, where the critical point asks for a certain one."""
    if point.get("universality_class") == "half-stable":
        return float(point["K"])
    if point.get("stable") is False and point["a1"]:
        return float(1 / (2 * point["a1"] * _layers(dataset)))
    return None


def _log_factor(now: dict[str, Any], point: dict[str, Any]) -> float:
    """Return the logarithm of the factor from the present scale of the weights to the critical one."""
    return 0.5 * math.log(point["C_W"] / now["C_W"]) if now["C_W"] > 0 else math.inf


def _scale(now: dict[str, Any], point: dict[str, Any], verdict: Verdict) -> float | None:
    """Return the factor on the weights: from theory where it asks for another scale, else from the margin."""
    if point and _SAME_SCALE < abs(_log_factor(now, point)) < math.inf:
        return math.exp(_log_factor(now, point))
    if now and verdict.margin.determined and abs(verdict.margin.value) < _MOST_LOG_CHI:
        return math.exp(-verdict.margin.value / 2)
    return None


def _biases(now: dict[str, Any], point: dict[str, Any]) -> str:
    if not point or abs(point["C_b"] - now["C_b"]) <= 0.02 * point["C_b"] + 1e-6:
        return ""
    return (
        f", draw the biases with std {math.sqrt(point['C_b']):.4g}" if point["C_b"] else ", zero the biases"
    )


def _recipe(dataset: xr.Dataset, point: dict[str, Any]) -> str:
    if not point:
        return ""
    biases = f"nn.init.normal_(b, std={math.sqrt(point['C_b']):.4g})" if point["C_b"] else "nn.init.zeros_(b)"
    recipe = (
        f"Critical for {point['activation']}: C_W = {point['C_W']:.4g}, C_b = {point['C_b']:.4g}, that is "
        f"nn.init.normal_(w, std=({point['C_W']:.4g} / fan_in) ** 0.5) and {biases}"
    )
    kernel = _entry_kernel(dataset, point)
    if kernel is not None:
        return f"{recipe}, and a first layer scaled so that K = {kernel:.4g}."
    return f"{recipe}."


def _margin(dataset: xr.Dataset, verdict: Verdict) -> str:
    if not verdict.margin.determined:
        return f"ln chi is {verdict.margin}"
    return f"ln chi = {verdict.margin} per weight layer on {dataset.attrs['inputs']} inputs; 0 is critical"


def _layers(dataset: xr.Dataset) -> int:
    return int(dataset["depth"].values.max())


def _kernel(dataset: xr.Dataset, row: int) -> Estimate:
    value, error = (float(dataset[name].values[row]) for name in ("kernel", "kernel_error"))
    return Estimate(value, error, "mean square over inputs and units", int(dataset.attrs["inputs"]))


def _first_row(dataset: xr.Dataset, holds: np.ndarray) -> int | None:
    rows = np.flatnonzero(holds & (dataset["skipped"].values == ""))
    return int(rows[0]) if rows.size else None


def _last_measured(values: np.ndarray) -> int:
    rows = np.flatnonzero(np.isfinite(values))
    return int(rows[-1]) if rows.size else -1


def _name(dataset: xr.Dataset, row: int) -> str:
    return f"{dataset['layer'].values[row]!s} ({dataset['kind'].values[row]!s})"


def _depth(dataset: xr.Dataset, row: int) -> int:
    return int(dataset["depth"].values[row])


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.3g} %"
