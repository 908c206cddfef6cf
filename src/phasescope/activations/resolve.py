"""From what a user calls an activation to an :class:`Activation` that has been looked at."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from phasescope.activations.activation import Activation
from phasescope.activations.kinks import find_kinks
from phasescope.activations.names import by_function, by_module, by_name
from phasescope.errors import InputError

Spec = str | nn.Module | Callable[[Tensor], Tensor] | Activation


def as_activation(spec: Spec, *, kinks: Iterable[float] | None = None) -> Activation:
    """Return the activation that `spec` stands for, checked and with its kinks known or found.

    Parameters
    ----------
    spec : str, nn.Module, callable or Activation
        A name of ``torch.nn`` or ``torch.nn.functional`` (``"gelu"``, ``"LeakyReLU"``), or ``erf``, ``sin``,
        ``repu2``, ``mrepu1`` and so on; a module, with its own settings and weights, which is copied and
        never changed; or any function of a tensor that works elementwise and that torch can differentiate.
    kinks : iterable of float, optional
        Where the function or one of its first two derivatives jumps. Without it the table of known
        activations is asked, and for everything else kinks are found numerically.

    Returns
    -------
    Activation
        Works in float64 on the CPU.

    Raises
    ------
    InputError
        If the name is unknown, or the function is not elementwise, random, not finite on ``|z| <= 20``, not
        made of torch functions, or not differentiable.

    Notes
    -----
    A user's own function costs about 10 ms to check and to search for kinks; a name costs nothing.
    """
    places = None if kinks is None else _declared(kinks)
    if isinstance(spec, Activation):
        activation = spec
    elif isinstance(spec, str):
        activation = by_name(spec)
    elif isinstance(spec, nn.Module):
        activation = by_module(spec) or _examined(type(spec).__name__, _own_copy(spec), places)
    elif callable(spec):
        activation = by_function(spec) or _examined(_name_of(spec), spec, places)
    else:
        raise InputError(
            f"{spec!r} is not an activation.", "Pass a name, an nn.Module or a function of a torch tensor."
        )
    return activation if places is None else dataclasses.replace(activation, kinks=places)


def _declared(kinks: Iterable[float]) -> tuple[float, ...]:
    positions = tuple(sorted({float(k) for k in kinks}))
    if not all(abs(k) < float("inf") for k in positions):
        raise InputError(f"kinks={positions}: a kink is not a finite number.", "Give finite positions in z.")
    return positions


def _own_copy(module: nn.Module) -> nn.Module:
    try:
        own = copy.deepcopy(module)
    except Exception as error:
        raise InputError(
            f"{type(module).__name__} cannot be copied ({_told(error)}).",
            "Pass a function of a tensor instead.",
        ) from error
    # The copy must not reach back into the user's program: no hooks, no gradients to its weights.
    for part in own.modules():
        part._forward_hooks.clear()
        part._forward_pre_hooks.clear()
    own.to(device="cpu", dtype=torch.float64).requires_grad_(False)
    return own


def _name_of(function: Callable[[Tensor], Tensor]) -> str:
    inner = function.func if isinstance(function, functools.partial) else function
    return getattr(inner, "__name__", None) or type(inner).__name__


def _told(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0].rstrip('.')}"


def _examined(
    name: str, function: Callable[[Tensor], Tensor], declared: tuple[float, ...] | None
) -> Activation:
    # The activation of an unknown function, after the checks, with its kinks found unless they are declared.
    plain = Activation(name, function)
    points = torch.cat([torch.linspace(-20, 20, 161, dtype=torch.float64) + 0.0123, torch.zeros(1)])
    points = points.to(torch.float64)
    values = _first_call(plain, points)
    _check_finite(name, points, values, "its value")
    if not torch.equal(values, plain(points)):
        raise InputError(
            f"Activation {name!r} gives other values when called again.", "Remove its randomness."
        )
    _check_elementwise(plain, points, values)
    _check_finite(name, points, _first_slopes(plain, points, values), "its derivative")
    if declared is None:
        kinks, jumps = find_kinks(plain)
    else:
        kinks, jumps = declared, tuple(k for k in declared if _jumps_at(plain, k))
    return dataclasses.replace(plain, kinks=kinks, jumps=jumps)


def _jumps_at(activation: Activation, kink: float) -> bool:
    beside = 1e-9 * max(1.0, abs(kink))
    below, above = activation(torch.tensor([kink - beside, kink + beside], dtype=torch.float64)).tolist()
    return bool(abs(above - below) > 1e-6 * max(1.0, abs(above), abs(below)))


def _first_call(activation: Activation, points: Tensor) -> Tensor:
    # The values, with whatever the user's function raises told as one line.
    try:
        values = activation(points)
    except Exception as error:
        raise InputError(
            f"Activation {activation.name!r} fails on a float64 tensor of shape ({len(points)},): "
            f"{_told(error)}.",
            "It has to map a tensor to a tensor elementwise, made of torch functions.",
        ) from error
    if not isinstance(values, Tensor) or values.shape != points.shape:
        found = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise InputError(
            f"Activation {activation.name!r} maps shape ({len(points)},) to {found}: it is not elementwise.",
            "Pass a function that returns a tensor of the same shape.",
        )
    if values.dtype != torch.float64:
        raise InputError(
            f"Activation {activation.name!r} returns {values.dtype} for torch.float64.",
            "Keep the dtype of its argument.",
        )
    return values


def _check_finite(name: str, points: Tensor, values: Tensor, what: str) -> None:
    bad = ~torch.isfinite(values)
    if bool(bad.any()):
        z, value = float(points[bad][0]), float(values[bad][0])
        fix = "Restrict it to where it is finite."
        if what == "its derivative":
            fix = "If it uses torch.where, clamp the argument of the branch that is not taken."
        raise InputError(f"Activation {name!r}: {what} is {value} at z = {z:g}.", fix)


def _check_elementwise(activation: Activation, points: Tensor, values: Tensor) -> None:
    # Compared with values taken in another order and among other neighbours.
    tolerance = 1e-12 * values.abs() + 1e-300
    backwards = activation(points.flip(0)).flip(0)
    half = activation(points[::2])
    if bool(((backwards - values).abs() > tolerance).any()) or bool(
        ((half - values[::2]).abs() > tolerance[::2]).any()
    ):
        raise InputError(
            f"Activation {activation.name!r} is not elementwise: its value at a point depends on the others.",
            "Softmax, GLU and normalisations are no activations in this sense; pass an elementwise function.",
        )


def _first_slopes(activation: Activation, points: Tensor, values: Tensor) -> Tensor:
    try:
        slopes = activation.derivative(points)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"Activation {activation.name!r}: torch cannot differentiate it ({_told(error)}).",
            "Write it with torch functions in place of numpy or math.",
        ) from error
    order = points.argsort()
    if not bool(slopes.any()) and float(values[order].diff().abs().max()) > 0:
        raise InputError(
            f"Activation {activation.name!r}: torch sees no dependence on z, yet its values vary.",
            "Write it with differentiable torch functions, without detach, no_grad, rounding or comparison.",
        )
    return slopes
