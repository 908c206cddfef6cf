"""The steps of ``phasescope critical``."""

from __future__ import annotations

import json
import math
from typing import Any

from phasescope.activations import load_activation
from phasescope.cli.targets import seed_everything
from phasescope.errors import InputError
from phasescope.theory import CriticalPoint, critical_point
from phasescope.userfiles import is_file_spec


def run(spec: str, *, as_json: bool, seed: int) -> tuple[str, int]:
    """Return the critical point of an activation as text or as JSON, and the exit code."""
    seed_everything(seed)
    point = _critical_point_of(spec)
    answer = json.dumps(_as_dict(point), indent=2, allow_nan=False) if as_json else _as_text(point)
    return answer, 0


def _critical_point_of(spec: str) -> CriticalPoint:
    """Return the critical point of the activation that the user named."""
    activation = load_activation(spec)
    try:
        return critical_point(activation)
    except InputError as error:
        raise InputError(f"{spec}: {error.what}" if is_file_spec(spec) else error.what, error.fix) from error


def _as_dict(point: CriticalPoint) -> dict[str, Any]:
    """Return the answer under its documented keys; ``None`` where a number does not exist."""
    numbers = {key: _finite(getattr(point, key)) for key in ("C_W", "C_b", "K", "a1", "b1")}
    return {
        "activation": _name(point),
        "universality_class": point.universality_class,
        "stable": point.stable,
        **numbers,
        "reason": point.reason,
    }


def _as_text(point: CriticalPoint) -> str:
    """Return a few lines: class, initialisation with numbers to copy, kernel, coefficients, reason."""
    answer = _as_dict(point)
    stability = {True: ", stable", False: ", not stable", None: ""}[answer["stable"]]
    if answer["universality_class"] == "none":
        return f"{answer['activation']}: no critical initialisation\n  why          {answer['reason']}"
    weight, bias = answer["C_W"], answer["C_b"]
    lines = [f"{answer['activation']}: class {answer['universality_class']}{stability}"]
    lines.append(f"  initialise   C_W = {weight:.10g}, C_b = {bias:.10g}")
    lines.append(
        f"               nn.init.normal_(layer.weight, std={math.sqrt(weight):.8g} / layer.in_features**0.5)"
    )
    lines.append(
        f"               nn.init.normal_(layer.bias, std={math.sqrt(bias):.8g})"
        if bias
        else "               nn.init.zeros_(layer.bias)"
    )
    kernel = "any: it keeps the value it starts with" if answer["K"] is None else f"{answer['K']:.10g}"
    lines.append(f"  kernel K*    {kernel}")
    if answer["a1"] is not None:
        second = "" if answer["b1"] is None else f", b1 = {answer['b1']:.8g}"
        lines.append(f"  near K*      a1 = {answer['a1']:.8g}{second}")
    lines.append(f"  why          {answer['reason']}")
    return "\n".join(lines)


def _name(point: CriticalPoint) -> str:
    return str(getattr(point.activation, "name", point.activation))


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
