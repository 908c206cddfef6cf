"""From what a user calls an activation to an :class:`Activation` that has been looked at."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from phasescope.activations.activation import Activation
from phasescope.activations.modules import LearnedMRePU, Scaled
from phasescope.activations.names import by_function, by_module, by_name
from phasescope.errors import InputError
from phasescope.userfiles import call_factory, describe, is_file_spec, load_object

_MOST = 64  # kinks
_TOLERANCE = 1e-9  # of a change that the next derivative does not explain, beside the function's scale

Spec = str | nn.Module | Callable[[Tensor], Tensor] | Activation


def as_activation(spec: Spec, *, kinks: Iterable[float] | None = None) -> Activation:
    """Return the activation that `spec` stands for, checked and with its kinks known or found.

    Parameters
    ----------
    spec : str, nn.Module, callable or Activation
        A name of ``torch.nn`` or ``torch.nn.functional`` (``"gelu"``, ``"LeakyReLU"``), or ``erf``, ``sin``,
        ``repu2``, ``mrepu1`` and so on; a module, with its own settings and weights, which is copied and
        never changed (what it learns counts as it is now); or any function of a tensor that works elementwise
        and that torch can differentiate.
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
    elif isinstance(spec, Scaled):
        activation = _scaled(as_activation(spec.activation), spec.s)
    elif isinstance(spec, LearnedMRePU):
        activation = _learned(spec)
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


def _scaled(activation: Activation, s: float) -> Activation:
    """Return ``sigma(s z)/s``; leaky ReLU stays what it is."""
    family, parameters = activation.closed_form or ("", ())
    if family == "mrepu":
        p, shift, scale = (*parameters, 1.0, 1.0)[:3]
        closed_form: tuple[str, tuple[float, ...]] | None = (family, (p, shift, s * scale))
    else:
        closed_form = activation.closed_form if family == "leaky_relu" else None
    return Activation(
        f"{activation.name}(s={s:g})",
        lambda z: activation.function(s * z) / s,
        tuple(kink / s for kink in activation.kinks),
        tuple(jump / s for jump in activation.jumps),
        closed_form,
    )


def _learned(module: LearnedMRePU) -> Activation:
    """Return what a learned activation is now."""
    own = _own_copy(module)
    assert isinstance(own, LearnedMRePU)
    p, shift = float(own.p), float(own.shift)
    return Activation(f"mrepu(p={p:g}, shift={shift:g})", own, (-shift,))


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


def find_kinks(activation: Activation) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the kinks of a function and, among them, the points where the function itself jumps.

    On a grid over ``|z| < 1e4``, geometric on both sides of 0 and of spacing 0.05 for ``|z| < 10``, the
    change of the function and of its first and second derivatives over each interval is held against what the
    next derivative explains. The intervals with an unexplained change are halved until the
    change is explained (no kink) or the interval has no more numbers in it (a kink). Kept are the 64 nearest
    to 0, in ascending order. Two kinks in one interval of the grid may be found as one, and none is found
    beyond it; neither harms the adaptive quadrature, which bisects on its own.
    """
    order = _highest_derivative(activation)
    grid = _grid()
    values = _values(activation, grid, order)
    scale = values.nan_to_num(0.0).abs().amax(dim=1).clamp(max=1e3, min=1e-3)[:-1]
    wrong = _unexplained(values[:, :-1], values[:, 1:], grid.diff()) > _TOLERANCE * scale[:, None]
    rows, intervals = wrong.nonzero(as_tuple=True)
    found: dict[float, bool] = {}
    for row, position in _bisect(activation, grid[intervals], grid[intervals + 1], rows, scale[rows]):
        found[position] = found.get(position, False) or row == 0
    kinks = sorted(sorted(found, key=abs)[:_MOST])
    return tuple(kinks), tuple(k for k in kinks if found[k])


def _highest_derivative(activation: Activation) -> int:
    """Return 3, or less where torch cannot differentiate so often."""
    for order in (3, 2):
        try:
            activation.derivatives(torch.tensor([0.3], dtype=torch.float64), order)
        except InputError:
            continue
        return order
    return 1


def _grid() -> Tensor:
    # Shifted by an odd amount, so that the usual kinks do not fall on the grid itself.
    near = torch.arange(-10.0, 10.0, 0.05, dtype=torch.float64) + 0.0137
    far = 10.3 * torch.logspace(0, 3, 90, dtype=torch.float64)
    small = torch.logspace(-6, -2, 25, dtype=torch.float64)
    return torch.cat([-far, -small, near, small, far]).sort().values


def _values(activation: Activation, z: Tensor, order: int) -> Tensor:
    values = torch.stack(activation.derivatives(z, order))
    # NaN compares as false everywhere below: where the function overflows, nothing is called a kink.
    values = torch.where(values.isfinite(), values, torch.nan)
    # Where the third derivative is not to be had, the change of the last one goes unexplained: then it still
    # shrinks with the interval, only more slowly.
    return values if order == 3 else torch.cat([values, torch.zeros_like(values[:1])])


def _unexplained(low: Tensor, high: Tensor, width: Tensor) -> Tensor:
    """Return the change of each derivative beyond the trapezoid of the next, shape (order, intervals)."""
    return (high[:-1] - low[:-1] - width * (low[1:] + high[1:]) / 2).abs()


def _bisect(
    activation: Activation, left: Tensor, right: Tensor, rows: Tensor, scale: Tensor
) -> list[tuple[int, float]]:
    """Return (derivative, position) of each jump, from intervals that may hold one in derivative `rows`."""
    order = _highest_derivative(activation)
    low, high = _values(activation, left, order), _values(activation, right, order)
    for _ in range(80):
        if left.numel() == 0:
            return []
        middle = (left + right) / 2
        mid = _values(activation, middle, order)
        pick = rows[None]
        first = _unexplained(low, mid, middle - left).gather(0, pick)[0]
        second = _unexplained(mid, high, right - middle).gather(0, pick)[0]
        go_left = first > second
        left, right = torch.where(go_left, left, middle), torch.where(go_left, middle, right)
        low, high = torch.where(go_left, low, mid), torch.where(go_left, mid, high)
        # The unexplained change shrinks with the interval where the function is smooth, and stays at a jump.
        rounding = 1e-13 * (low.abs() + high.abs()).gather(0, pick)[0]
        keep = torch.maximum(first, second) > _TOLERANCE * scale + rounding
        left, right, rows, scale = left[keep], right[keep], rows[keep], scale[keep]
        low, high = low[:, keep], high[:, keep]
        if bool((right - left <= 4e-16 * right.abs().clamp(min=1e-4)).all()):
            break
    middle = (left + right) / 2
    return sorted({(int(row), _rounded(float(z))) for row, z in zip(rows, middle, strict=True)})


def _rounded(z: float) -> float:
    """Return the round number that `z` is within rounding, or `z`."""
    for digits in range(13):
        near = round(z, digits)
        if abs(z - near) <= 4e-15 * max(abs(z), 1e-3):
            return near + 0.0
    return z


def load_activation(spec: str) -> Activation:
    """Return the activation that a user typed, checked and with its kinks known or found.

    Parameters
    ----------
    spec : str
        A name as in :func:`as_activation`, or ``FILE.py:function`` with the user's own function, module,
        module class or factory without arguments; a relative path starts at the working folder. Naming a
        file runs its code.

    Raises
    ------
    InputError
        If it is unknown, cannot be loaded, or is not an elementwise function without NaN.
    """
    if not is_file_spec(spec):
        return as_activation(spec)
    loaded = _load(spec)
    try:
        return as_activation(loaded)
    except InputError as error:
        raise InputError(f"{spec}: {error.what}", error.fix) from error


def _load(spec: str) -> Any:
    """Return the activation in a user's file: a function, a module, or what a class or factory makes."""
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
