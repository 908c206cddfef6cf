"""The answer of ``phasescope critical``, as text and as JSON-ready values."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

from torch import nn

from phasescope.activations import as_activation
from phasescope.cli.specs import is_file_spec
from phasescope.cli.targets import call_factory, describe, load_object
from phasescope.errors import InputError
from phasescope.theory import CriticalPoint, critical_point


def critical_point_of(spec: str) -> CriticalPoint:
    """Return the critical point of the activation that the user named.

    Parameters
    ----------
    spec : str
        A name, or ``FILE.py:function``.

    Raises
    ------
    InputError
        If it is unknown, cannot be loaded, or is not an elementwise function without NaN.
    """
    if not is_file_spec(spec):
        return critical_point(as_activation(spec))
    loaded = _load(spec)
    try:
        return critical_point(as_activation(loaded))
    except InputError as error:
        raise InputError(f"{spec}: {error.what}", error.fix) from error


def as_dict(point: CriticalPoint) -> dict[str, Any]:
    """Return the answer under its documented keys; ``None`` where a number does not exist.

    Parameters
    ----------
    point : CriticalPoint
        What the theory found.
    """
    numbers = {key: _finite(getattr(point, key)) for key in ("C_W", "C_b", "K", "a1", "b1")}
    return {
        "activation": _name(point),
        "universality_class": point.universality_class,
        "stable": point.stable,
        **numbers,
        "reason": point.reason,
    }


def as_text(point: CriticalPoint) -> str:
    """Return a few lines: class, initialisation with numbers to copy, kernel, coefficients, reason.

    Parameters
    ----------
    point : CriticalPoint
        What the theory found.
    """
    answer = as_dict(point)
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


def _load(spec: str) -> Any:
    """Return the activation in a user's file: a function, a module, or what a class or factory makes.

    Raises
    ------
    InputError
        If the factory gives something else.
    """
    found = load_object(spec)
    if isinstance(found, nn.Module) or not (callable(found) and _is_factory(found)):
        return found
    made = call_factory(spec)
    if not callable(made):
        raise InputError(
            f"{spec} gives {describe(made)}, not an activation.",
            "Name a function of one tensor, or a module.",
        )
    return made


def _is_factory(function: Callable[..., Any]) -> bool:
    """Return whether it can be called without arguments; a builtin without a signature takes a tensor."""
    try:
        inspect.signature(function).bind()
    except (TypeError, ValueError):
        return False
    return True


def _name(point: CriticalPoint) -> str:
    return str(getattr(point.activation, "name", point.activation))


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
