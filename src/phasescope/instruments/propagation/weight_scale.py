"""The scale of a network's weights: what it is, which one would be critical, and how to set that."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from phasescope.activations import Activation, as_activation
from phasescope.errors import InputError
from phasescope.instruments.rows import Row
from phasescope.recording.batch import as_batch
from phasescope.recording.dataflow import Flow, fan_in
from phasescope.recording.forward import fitting, run
from phasescope.recording.modules import as_module
from phasescope.recording.untouched import quiet, untouched
from phasescope.signal.initialising.recognise import Layer, recognise
from phasescope.theory import critical_point

if TYPE_CHECKING:
    import xarray as xr

    from phasescope.signal import Verdict

_POINT = ("activation", "universality_class", "stable", "C_W", "C_b", "K", "a1", "reason")
_SAME_SCALE = 0.05  # of ln sigma_w: what is nearer to critical than that is not to be scaled
_MOST_LOG_CHI = 20.0
_CALL = "phasescope.signal.critical_(model, batch)"

_IN_PLACE = """import phasescope

report = phasescope.signal.critical_(model, batch)  # in place, measured on your own input
print(report)"""

_BY_HAND = """
from torch import nn

for layer in model.modules():  # critical for {activation}: C_W = {C_W:.6g}, C_b = {C_b:.6g}
    if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        fan_in = layer.weight[0].numel()
        nn.init.normal_(layer.weight, std={sigma_w:.6g} / fan_in**0.5)
        if layer.bias is not None:
            {bias}"""


def weight_scale(model: nn.Module | Callable[..., Any], batch: Any) -> dict[str, Any]:
    """Return the activation that most plain layers are fed by, and their present ``C_W`` and ``C_b``.

    A plain layer takes the activation of another layer's output, with no normalisation or residual sum in
    between: for those, and only those, the scale of the weights decides the phase. The dictionary is
    JSON-ready, and empty where no such layer is recognised. For an activation without a name of its own it
    holds the critical point too.
    """
    module = as_module(model)
    with untouched(module):
        quiet(module)
        return _weight_scale(module, batch)


def _weight_scale(module: nn.Module, batch: Any) -> dict[str, Any]:
    try:
        inputs = fitting(module, as_batch(module, batch)).take(0, 2)
        flow = Flow(module, inputs.tensors())
        with torch.no_grad():
            with flow:
                run(module, inputs)
            layers = [layer for layer in recognise(module, flow) if _plain(layer)]
    except Exception:  # what cannot be followed operation by operation has no scale to report
        return {}
    if not layers:
        return {}
    name, count = Counter(_activation(layer).name for layer in layers).most_common(1)[0]
    same = [layer for layer in layers if _activation(layer).name == name]
    scale: dict[str, Any] = {
        "activation": name,
        "layers": count,
        "C_W": sum(_mean_square(layer.call.weight) * fan_in(layer.call) for layer in same) / count,
        "C_b": sum(_mean_square(layer.call.bias) for layer in same) / count,
    }
    if not _has_name(name):
        scale["point"] = _as_dict(_activation(same[0]))
    return scale


def _plain(layer: Layer) -> bool:
    fed = layer.activation is not None and layer.follows == "weight"
    return fed and layer.branch is None and "transpose" not in layer.call.operation


def _activation(layer: Layer) -> Activation:
    assert layer.activation is not None
    return layer.activation


def _mean_square(values: Tensor | None) -> float:
    return 0.0 if values is None else float(values.detach().double().square().mean())


def _has_name(name: str) -> bool:
    try:
        as_activation(name)
    except InputError:
        return False
    return True


def _present(dataset: xr.Dataset) -> dict[str, Any]:
    """Return what `weight_scale` found when the profile was measured."""
    found: dict[str, Any] = json.loads(dataset.attrs.get("weight_scale", "{}"))
    return found


def _critical(scale: dict[str, Any]) -> dict[str, Any]:
    """Return the critical point that belongs to a weight scale, as a dictionary of its fields."""
    if not scale:
        return {}
    stored: dict[str, Any] | None = scale.get("point")
    return stored if stored is not None else dict(_named_point(scale["activation"]))


@lru_cache(maxsize=64)
def _named_point(name: str) -> dict[str, Any]:
    return _as_dict(name)


def _as_dict(activation: str | Activation) -> dict[str, Any]:
    point = critical_point(activation)
    return {key: getattr(point, key) for key in _POINT}


def remedy(dataset: xr.Dataset, verdict: Verdict) -> str:
    """Return what to do about the scale of the weights, with numbers to copy."""
    branches = _branches(dataset) if verdict.phase in ("chaotic", "exploding") else ""
    if branches:
        return branches
    now = _present(dataset)
    point = _critical(now)
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


def _branches(dataset: xr.Dataset) -> str:
    """Return what to do where branches that are too large make the stream grow; "" elsewhere.

    A branch of share s multiplies the mean square of the stream by 1 / (1 - s), if it is independent of it:
    branches scaled by f add f^2 s / (1 - s) each, and all L together 1 at f = (sum s / (1 - s))^(-1/2).
    """
    steps = Row.steps(dataset)
    shares = np.array([row["share"] for row in steps if 0 < row["share"] < 1])
    if len(shares) < max(2, len(steps) // 3):
        return ""
    scale = float((shares / (1 - shares)).sum() ** -0.5)
    if scale > 0.9:
        return ""
    return (
        f"Multiply the last weights of each branch by {scale:.2g}: all {len(shares)} branches then add to "
        "the signal about as much as enters the first."
    )


def _first_layer(dataset: xr.Dataset, now: dict[str, Any], point: dict[str, Any]) -> str:
    """Return what to do where the first layer alone decides, all others being critical; "" elsewhere."""
    kernel = _entry_kernel(dataset, point)
    if kernel is None or abs(_log_factor(now, point)) > _SAME_SCALE or _biases(now, point):
        return ""
    present = next(row for row in Row.steps(dataset) if row["kernel"] > 0).estimate("kernel")
    factor = math.sqrt(kernel / present.value)
    what = f"Scale the first layer's weights by {factor:.2g}"
    return f"{what}, to K = {kernel:.2g} from {present}, or call {_CALL}."


def _entry_kernel(dataset: xr.Dataset, point: dict[str, Any]) -> float | None:
    """Return the kernel that the first layer has to give, where the critical point asks for a certain one."""
    if point.get("universality_class") == "half-stable":
        return float(point["K"])
    if point.get("stable") is False and point["a1"]:
        return float(1 / (2 * point["a1"] * np.max(dataset["depth"].values)))
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


def code_to_copy(datasets: Sequence[xr.Dataset]) -> list[tuple[str, str]]:
    """Return what sets the networks of these profiles to criticality, each step with its reason first."""
    points = [_critical(_present(dataset)) for dataset in datasets]
    known = {
        point["activation"]: point for point in points if point.get("universality_class", "none") != "none"
    }
    in_place = ("Set a network to criticality in place, layer by layer, before training:", _IN_PLACE)
    return [in_place] + [
        (f"Or by hand, for {name}; then check with phasescope inspect:", _by_hand(point))
        for name, point in known.items()
    ]


def _by_hand(point: dict[str, Any]) -> str:
    bias = math.sqrt(point["C_b"])
    set_bias = f"nn.init.normal_(layer.bias, std={bias:.6g})" if bias else "nn.init.zeros_(layer.bias)"
    return _BY_HAND.format(**point, sigma_w=math.sqrt(point["C_W"]), bias=set_bias).strip()
