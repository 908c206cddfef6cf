"""Code to copy that sets the inspected networks to criticality."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from phasescope.instruments.weight_scale import critical_setting

if TYPE_CHECKING:
    from phasescope.report.comparison import Subject

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


def recipe(compared: Sequence[Subject]) -> list[dict[str, str]]:
    """Return what to run before training, each with the reason; nothing where all networks are critical."""
    ill = [subject for subject in compared if subject.verdict.phase not in ("critical", "not determined")]
    if not ill:
        return []
    steps = [
        {"why": "Set a network to criticality in place, layer by layer, before training:", "code": _IN_PLACE}
    ]
    settings = [critical_setting(json.loads(s.dataset.attrs.get("weight_scale", "{}"))) for s in ill]
    known = {setting["activation"]: setting for setting in settings if _has_point(setting)}
    steps += [
        {"why": f"Or by hand, for {name}; then check with phasescope inspect:", "code": _by_hand(setting)}
        for name, setting in known.items()
    ]
    return steps


def _has_point(setting: dict[str, Any]) -> bool:
    return bool(setting) and setting["universality_class"] != "none"


def _by_hand(setting: dict[str, Any]) -> str:
    bias = math.sqrt(setting["C_b"])
    set_bias = f"nn.init.normal_(layer.bias, std={bias:.6g})" if bias else "nn.init.zeros_(layer.bias)"
    return _BY_HAND.format(**setting, sigma_w=math.sqrt(setting["C_W"]), bias=set_bias).strip()
