"""Roots of a scalar function.

By hand, though scipy has two finders that agree to 3e-15: critical variances are parameters of the studies'
tasks, whose seeds are a hash of every digit. ``brentq`` takes other digits. ``elementwise.find_root`` is the
same method, for arrays: it takes 1 ms of its own a root, a hundred times what this one takes, and scipy 1.15.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable


def crossings(function: Callable[[float], float], values: Iterable[tuple[float, float]]) -> list[float]:
    """Return a root between any two neighbouring pairs of argument and value whose values differ in sign."""
    return [
        bracketed_root(function, low, high)
        for (low, before), (high, after) in itertools.pairwise(values)
        if before * after < 0
    ]


def bracketed_root(
    function: Callable[[float], float], low: float, high: float, *, tolerance: float = 1e-15
) -> float:
    """Return an argument between `low` and `high` where the function, of opposite signs there, is zero.

    Chandrupatla's method: inverse quadratic interpolation where it is safe, bisection where it is not.
    `tolerance` is relative to the larger bound.
    """
    a, b = high, low
    value_a, value_b = function(a), function(b)
    if value_a * value_b > 0:
        raise ValueError(f"the function has the same sign at {low} and {high}")
    scale = max(abs(low), abs(high))
    fraction = 0.5
    for _ in range(200):
        trial = a + fraction * (b - a)
        value = function(trial)
        if value * value_a > 0:
            c, value_c = a, value_a
        else:
            c, value_c, b, value_b = b, value_b, a, value_a
        a, value_a = trial, value
        best = a if abs(value_a) < abs(value_b) else b
        width = tolerance * scale / abs(b - a) if b != a else 1.0
        if width >= 0.5 or value_a == 0 or value_b == 0:
            return best
        fraction = _step(a, b, c, value_a, value_b, value_c)
        fraction = min(max(fraction, width), 1 - width)
    return best


def _step(a: float, b: float, c: float, value_a: float, value_b: float, value_c: float) -> float:
    if value_c in (value_a, value_b):
        return 0.5
    xi = (a - b) / (c - b)
    phi = (value_a - value_b) / (value_c - value_b)
    if not (phi**2 < xi and (1 - phi) ** 2 < 1 - xi):
        return 0.5
    linear = value_a / (value_b - value_a) * value_c / (value_b - value_c)
    quadratic = (c - a) / (b - a) * value_a / (value_c - value_a) * value_b / (value_c - value_b)
    return linear + quadratic
