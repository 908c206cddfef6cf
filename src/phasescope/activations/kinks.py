"""Where a function or its first two derivatives jump: found by bisection, to machine precision."""

from __future__ import annotations

import torch
from torch import Tensor

from phasescope.activations.activation import Activation
from phasescope.errors import InputError

_MOST = 64
_TOLERANCE = 1e-9


def find_kinks(activation: Activation) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the kinks of a function and, among them, the points where the function itself jumps.

    On a grid over ``|z| < 1e4``, geometric on both sides of 0 and of spacing 0.05 for ``|z| < 10``, the
    change of the function and of its first and second derivatives over each interval is held against what the
    next derivative explains. The intervals with an unexplained change are halved until the
    change is explained (no kink) or the interval has no more numbers in it (a kink).
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
