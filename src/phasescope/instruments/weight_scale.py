"""The scale that a network's weights have, beside the activation that decides which one would be critical."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from phasescope.activations import Activation, as_activation
from phasescope.errors import InputError
from phasescope.recording.batch import as_batch
from phasescope.recording.layers import run
from phasescope.recording.modules import as_module
from phasescope.recording.untouched import quiet, untouched
from phasescope.signal.initialising.dataflow import Flow, fan_in
from phasescope.signal.initialising.recognise import Layer, recognise
from phasescope.theory import critical_point

_POINT = ("activation", "universality_class", "stable", "C_W", "C_b", "K", "a1", "reason")


def weight_scale(model: nn.Module | Callable[..., Any], batch: Any) -> dict[str, Any]:
    """Return the activation that most plain layers are fed by, and their present ``C_W`` and ``C_b``.

    A plain layer takes the activation of another layer's output, with no normalisation or residual sum in
    between: for those, and only those, the scale of the weights decides the phase. The dictionary is
    JSON-ready, and empty where no such layer is recognised. For an activation without a name of its own it
    holds the critical point too.
    """
    module = as_module(model)
    try:
        with untouched(module), torch.no_grad():
            quiet(module)
            inputs = as_batch(module, batch).take(0, 2)
            flow = Flow(module, (inputs.args, inputs.kwargs))
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


@lru_cache(maxsize=64)
def _named_point(name: str) -> dict[str, Any]:
    return _as_dict(name)


def critical_setting(scale: dict[str, Any]) -> dict[str, Any]:
    """Return the critical point that belongs to a weight scale, as a dictionary of its fields."""
    if not scale:
        return {}
    stored: dict[str, Any] | None = scale.get("point")
    return stored if stored is not None else dict(_named_point(scale["activation"]))


def _as_dict(activation: str | Activation) -> dict[str, Any]:
    point = critical_point(activation)
    return {key: getattr(point, key) for key in _POINT}


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
