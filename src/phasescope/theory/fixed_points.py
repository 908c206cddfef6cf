"""Fixed points of the kernel map ``K' = C_b + C_W g(K)`` and where the kernel goes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from phasescope.activations import Activation
from phasescope.errors import InputError
from phasescope.theory._root import bracketed_root
from phasescope.theory.moments import (
    mean_square_slope,
    second_moment,
    second_moment_slope,
    vanishes_at_zero,
)

# Coarse at the top: there a periodic activation costs half a second a kernel.
_SCAN = np.concatenate([np.logspace(-12, 4, 97), np.logspace(4.5, 8, 8)])
# Relative change of K per layer below which a kernel counts as fixed, as critical variances are quoted to 8
# digits; and above which no critical kernel is looked for.
_TANGENT = 1e-7
_FAR_FROM_FIXED = 0.05
_FLAT = 1e-9
ATTRACTING = ("stable", "half-stable", "marginally stable", "any")


@dataclass(frozen=True)
class FixedPoint:
    """A kernel that the kernel map leaves as it is.

    Parameters
    ----------
    K : float
        The kernel; ``inf`` where the kernel diverges and there is no fixed point to be reached.
    stability : str
        ``"stable"``, ``"unstable"``, ``"half-stable"`` (attracts from one side only), ``"marginally stable"``
        or ``"marginally unstable"`` (K = 0 with both susceptibilities 1), ``"any"`` (every kernel is fixed; K
        is 1), or ``"diverges"``.
    chi_parallel, chi_perpendicular : float
        Susceptibilities there; at K = 0 and for a diverging kernel their limits.
    """

    K: float
    stability: str
    chi_parallel: float
    chi_perpendicular: float

    @property
    def attracting(self) -> bool:
        """Whether the kernel is drawn to this point, at least from one side."""
        return self.stability in ATTRACTING

    @property
    def marginal(self) -> bool:
        """Whether the variances are tuned to this point: its kernel is left or neared as a power of depth."""
        return self.stability in ("half-stable", "any") or self.stability.startswith("marginally")


@dataclass(frozen=True)
class _KernelMap:
    activation: Activation
    C_W: float
    C_b: float

    def growth(self, K: float) -> float:
        """Return ``K'/K - 1``, or infinity where the map overflows."""
        try:
            return (self.C_W * second_moment(self.activation, K) + self.C_b) / K - 1
        except InputError:
            return math.inf

    def point(self, K: float, stability: str) -> FixedPoint:
        return FixedPoint(
            K,
            stability,
            self.C_W * second_moment_slope(self.activation, K),
            self.C_W * mean_square_slope(self.activation, K),
        )


def fixed_points(activation: Activation, C_W: float, C_b: float) -> list[FixedPoint]:
    """Return all fixed points of the kernel map in ``0 <= K <= 1e8``, ascending, with their stability.

    Notes
    -----
    The relative growth ``K'/K - 1`` is scanned at 105 kernels from 1e-12 to 1e8; its sign changes are
    solved for. A kernel where it only touches zero, to 1e-7, is half-stable: found at the growth's extrema,
    and where ``chi_perpendicular = 1``, because a critical point may lie within a few per cent of another
    fixed point (as for GELU, 3.035 beside 3.562). Two other fixed points in one interval (a factor of 1.47
    in K, 3.2 above 1e4) may be missed. 1 ms with closed forms, 50 ms without, seconds for a periodic
    activation without.
    """
    the_map = _KernelMap(activation, C_W, C_b)
    growth = np.array([the_map.growth(K) for K in _SCAN])
    if C_b == 0 and (np.abs(growth) <= _FLAT).all():
        return [the_map.point(1.0, "any")]
    found = [the_map.point(0.0, _stability_at_zero(the_map, growth))] if _fixed_at_zero(the_map) else []
    tangent = _critical_kernels(the_map, growth) or _extrema_at_zero(the_map, growth)
    found += [the_map.point(K, "half-stable") for K in tangent]
    for K in _crossings(the_map, growth):
        if not any(_flat_between(the_map, K, t) for t in tangent):
            chi = C_W * second_moment_slope(activation, K)
            found.append(the_map.point(K, "stable" if abs(chi) < 1 else "unstable"))
    return sorted(found, key=lambda point: point.K)


def _crossings(the_map: _KernelMap, growth: np.ndarray) -> list[float]:
    crossings = []
    rising = growth > 0
    for i in np.nonzero(rising[:-1] != rising[1:])[0]:
        # Where the map is the identity to rounding, its signs mean nothing.
        if max(abs(growth[i]), abs(growth[i + 1])) > _FLAT:
            K = _solve(the_map.growth, _SCAN[i], _SCAN[i + 1], growth[i], growth[i + 1])
            crossings += [K] if K is not None else []
    return crossings


def _flat_between(the_map: _KernelMap, K: float, other: float) -> bool:
    """Return whether no growth above the tolerance separates two kernels, so that they are one point."""
    between = [K ** (1 - t) * other**t for t in (0.25, 0.5, 0.75)]
    return abs(math.log(K / other)) < 1 and all(abs(the_map.growth(x)) <= _TANGENT for x in between)


def _critical_kernels(the_map: _KernelMap, growth: np.ndarray) -> list[float]:
    """Return kernels where growth, chi_parallel - 1 and chi_perpendicular - 1 vanish together."""
    near = np.nonzero(np.abs(growth) < _FAR_FROM_FIXED)[0]
    if near.size == 0 or the_map.activation.jumps:
        return []
    # One neighbour on either side, so that a crossing at the rim of the range is bracketed.
    near = np.arange(max(near[0] - 1, 0), min(near[-1] + 2, _SCAN.size))

    def excess(K: float) -> float:
        return the_map.C_W * mean_square_slope(the_map.activation, K) - 1

    values = np.array([excess(K) for K in _SCAN[near]])
    points = []
    for j in np.nonzero(values[:-1] * values[1:] < 0)[0]:
        if max(abs(values[j]), abs(values[j + 1])) <= _FLAT:
            continue
        K = _solve(excess, _SCAN[near[j]], _SCAN[near[j + 1]], values[j], values[j + 1])
        if K is not None and abs(the_map.growth(K)) <= _TANGENT:
            chi = the_map.C_W * second_moment_slope(the_map.activation, K)
            points += [K] if abs(chi - 1) <= 1e-5 else []
    return points


def _solve(
    function: Callable[[float], float], low: float, high: float, at_low: float, at_high: float
) -> float | None:
    """Return the root between two kernels, in the logarithm; None where the map overflows between them."""
    if not (math.isfinite(at_low) and math.isfinite(at_high)):
        return None
    return math.exp(bracketed_root(lambda x: function(math.exp(x)), math.log(low), math.log(high)))


def _fixed_at_zero(the_map: _KernelMap) -> bool:
    return the_map.C_b == 0 and vanishes_at_zero(the_map.activation)


def _stability_at_zero(the_map: _KernelMap, growth: np.ndarray) -> str:
    chi = the_map.C_W * second_moment_slope(the_map.activation, 0.0)
    if abs(chi - 1) > _TANGENT:
        return "stable" if chi < 1 else "unstable"
    seen = growth[np.abs(growth) > 10 * _TANGENT]
    return "marginally unstable" if seen.size and seen[0] > 0 else "marginally stable"


def _extrema_at_zero(the_map: _KernelMap, growth: np.ndarray) -> list[float]:
    """Return kernels where the growth has an extremum within `_TANGENT` of zero."""
    points = []
    for i in range(1, _SCAN.size - 1):
        before, here, after = growth[i - 1 : i + 2]
        if not np.isfinite([before, here, after]).all() or abs(here) <= _FLAT / 10:
            continue
        turns = (here - before) * (after - here) < 0
        # A parabola through three points bounds what the extremum between them can reach.
        near = abs(here) <= max(abs(before - here), abs(after - here)) + _TANGENT
        if not (turns and near):
            continue

        def slope(K: float) -> float:
            chi = the_map.C_W * second_moment_slope(the_map.activation, K)
            return chi - 1 - the_map.growth(K)

        low, high = float(_SCAN[i - 1]), float(_SCAN[i + 1])
        at_low, at_high = slope(low), slope(high)
        if at_low * at_high >= 0:
            continue
        K = _solve(slope, low, high, at_low, at_high)
        if K is not None and abs(the_map.growth(K)) <= _TANGENT:
            points.append(K)
    return points


def reached_from(points: list[FixedPoint], K: float, growth: float, limit: FixedPoint) -> FixedPoint:
    """Return the fixed point that the kernel goes to from `K`, or `limit` where it diverges."""
    if growth > 0:
        return next((point for point in points if point.K >= K), limit)
    return next((point for point in reversed(points) if point.K <= K), points[0] if points else limit)
