"""What a profile says, in sentences that a person can act on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope.instruments.contract import Finding, Severity

if TYPE_CHECKING:
    import xarray as xr

    from phasescope.signal import Verdict

# Second moments of the gradient outside these bounds are 1000 and 10^6 times off in amplitude.
_GRADIENT_WARNING, _GRADIENT_PROBLEM = 1e6, 1e12
_MANY_DEAD, _NEARLY_ALL = 0.5, 0.95
_MANY_SATURATED = 0.3
_SAME = 1e-3
_DRIFT = 0.5
_CALL = "phasescope.signal.critical_(model, batch)"


def propagation_findings(dataset: xr.Dataset, verdict: Verdict) -> list[Finding]:
    """Return the verdict first, then every other thing that stands out.

    Parameters
    ----------
    dataset : xr.Dataset
        What ``signal.profile`` measured.
    verdict : Verdict
        Its verdict.
    """
    found = [
        _verdict(dataset, verdict),
        _non_finite(dataset),
        _masked(dataset),
        _gradient(dataset, verdict),
        _collapse(dataset, verdict),
        _dead(dataset),
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
    layers = _layers(dataset)
    depth = verdict.signal_depth
    lost = depth.determined and depth.value < layers
    what = (
        f"Ordered: a difference between inputs is lost after {depth} of {layers} layers."
        if lost
        else f"Ordered: a difference between inputs shrinks, and outlasts the {layers} layers."
    )
    return Finding(what, _margin(dataset, verdict), _remedy(dataset, verdict), _severity(depth, layers))


def _chaotic(dataset: xr.Dataset, verdict: Verdict) -> Finding:
    layers = _layers(dataset)
    depth = verdict.signal_depth
    short = depth.determined and depth.value < layers
    what = (
        f"Chaotic: similar inputs become unrelated after {depth} of {layers} layers, and gradients grow."
        if short
        else f"Chaotic: a difference between inputs grows, but stays small over the {layers} layers."
    )
    return Finding(what, _margin(dataset, verdict), _remedy(dataset, verdict), _severity(depth, layers))


def _critical(dataset: xr.Dataset, verdict: Verdict) -> Finding:
    sentence = f"Critical: a difference between inputs survives all {_layers(dataset)} layers."
    return Finding(sentence, _margin(dataset, verdict), "", "ok")


def _exploding(dataset: xr.Dataset, verdict: Verdict) -> Finding:
    first, last, where = _kernel_ends(dataset)
    overflow = _first_row(dataset, dataset["nonfinite"].values > 0)
    if overflow is None:
        fate = f"signal's mean square grows from {first} to {last} over {_layers(dataset)} layers"
    else:
        where_to = f"{_name(dataset, overflow)}, layer {_depth(dataset, overflow)}"
        fate = f"signal overflows at {where_to} of {_layers(dataset)}"
    evidence = f"K = {first} at {where[0]}, {last} at {where[1]}; {_margin(dataset, verdict)}"
    return Finding(f"Exploding: the {fate}.", evidence, _remedy(dataset, verdict), "problem")


def _vanishing(dataset: xr.Dataset, verdict: Verdict) -> Finding:
    first, last, where = _kernel_ends(dataset)
    sentence = (
        f"Vanishing: the signal's mean square falls from {first} to {last} over {_layers(dataset)} layers."
    )
    evidence = f"K = {first} at {where[0]}, {last} at {where[1]}; {_margin(dataset, verdict)}"
    return Finding(sentence, evidence, _remedy(dataset, verdict), "problem")


def _undetermined(dataset: xr.Dataset, verdict: Verdict) -> Finding:
    measured = int((dataset["skipped"].values == "").sum())
    reason = verdict.reason.rstrip(".") or "too few layers were measured"
    return Finding(
        f"The phase is not determined: {reason}.",
        f"{measured} of {dataset.sizes['layer']} rows were measured on {dataset.attrs['inputs']} inputs",
        "Read the table row by row, or pass more inputs.",
        "note",
    )


def _non_finite(dataset: xr.Dataset) -> Finding | None:
    bad = dataset["nonfinite"].values
    row = _first_row(dataset, bad > 0)
    if row is None:
        return None
    return Finding(
        f"Values become infinite or NaN at {_name(dataset, row)}, layer {_depth(dataset, row)}.",
        f"{_percent(bad[row])} of its units; {int((bad > 0).sum())} rows are affected",
        "Nothing after it can be trained: make the weights before it smaller, or normalise before it.",
        "problem",
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
    reach = f", and reaches back {depth} of {_layers(dataset)} layers" if depth.determined else ""
    return Finding(
        f"The gradient {'explodes' if grows else 'vanishes'} on its way back: at {_name(dataset, row)} it is "
        f"{math.sqrt(value):.1e} times that at the output{reach}.",
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


def _dead(dataset: xr.Dataset) -> Finding | None:
    return _units(
        dataset,
        "dead",
        _MANY_DEAD,
        "give the same output for every input",
        "Lower the learning rate or the biases, or use an activation with a slope on both sides, such as "
        "nn.LeakyReLU or nn.GELU.",
    )


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
    point = json.loads(dataset.attrs.get("critical_point", "{}"))
    if point.get("universality_class") == "none":
        return (
            f"No initialisation makes {point['activation']} critical ({point['reason'].rstrip('.')}): "
            "normalise before the activation (nn.LayerNorm), weight each residual branch by 0.1, connect the "
            "layers densely with C_W = 0.3, or take another activation, such as tanh or GELU."
        )
    scale = _scale(point, verdict)
    if scale is None:
        return f"Call {_CALL}."
    first = f"Scale the weights by {scale:.3g} or call {_CALL}."
    return f"{first} {_recipe(point)}".strip()


def _scale(point: dict[str, Any], verdict: Verdict) -> float | None:
    """Return the factor on the weights: from theory where the layers are recognised, else from the margin."""
    if point.get("C_W") and point.get("C_W_now"):
        return math.sqrt(point["C_W"] / point["C_W_now"])
    if verdict.margin.determined and abs(verdict.margin.value) < 50:
        return math.exp(-verdict.margin.value / 2)
    return None


def _recipe(point: dict[str, Any]) -> str:
    if not point.get("C_W"):
        return ""
    biases = f"nn.init.normal_(b, std={math.sqrt(point['C_b']):.4g})" if point["C_b"] else "nn.init.zeros_(b)"
    return (
        f"For {point['activation']}, C_W = {point['C_W']:.4g} and C_b = {point['C_b']:.4g}: "
        f"nn.init.normal_(w, std=({point['C_W']:.4g} / fan_in) ** 0.5), {biases}."
    )


def _margin(dataset: xr.Dataset, verdict: Verdict) -> str:
    if not verdict.margin.determined:
        return f"ln chi is {verdict.margin}"
    return f"ln chi = {verdict.margin} per weight layer on {dataset.attrs['inputs']} inputs; 0 is critical"


def _severity(depth: Any, layers: int) -> Severity:
    if not depth.determined or depth.value >= layers:
        return "note"
    return "problem" if depth.value < layers / 2 else "warning"


def _layers(dataset: xr.Dataset) -> int:
    return int(dataset["depth"].values.max())


def _kernel_ends(dataset: xr.Dataset) -> tuple[str, str, tuple[str, str]]:
    kernel, error = dataset["kernel"].values, dataset["kernel_error"].values
    known = np.flatnonzero(np.isfinite(kernel))
    if known.size == 0:
        return "an unknown value", "an unknown value", ("the input", "the output")
    ends = (int(known[0]), int(known[-1]))
    first, last = (f"{kernel[row]:.2e} ± {error[row]:.0e}" for row in ends)
    return first, last, (_name(dataset, ends[0]), _name(dataset, ends[1]))


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
