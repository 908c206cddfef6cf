"""Mean-field theory of a wide network at initialisation: kernels, susceptibilities, correlations, phase."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import overload

import numpy as np

from phasescope.activations import Activation, as_activation
from phasescope.activations.names import by_function
from phasescope.activations.resolve import Spec
from phasescope.errors import InputError
from phasescope.results import Result
from phasescope.theory._root import bracketed_root
from phasescope.theory.closed_forms import LeakyReLU
from phasescope.theory.correlation import DistanceMap, half_square_difference, pair_product
from phasescope.theory.gaussian import checked_variance
from phasescope.theory.moments import (
    mean_square_slope,
    second_moment,
    second_moment_slope,
    slopes_beside_zero,
    vanishes_at_zero,
)

_LARGEST = 1e8
# Where fixed points are looked for; coarse at the top, where one mean of a periodic activation costs 0.5 s.
_SCAN = np.concatenate([np.logspace(-12, 4, 97), np.logspace(4.5, 8, 8)])
# Relative change of K per layer below which a kernel counts as fixed, as critical variances are quoted to 8
# digits; and above which no critical kernel is looked for.
_TANGENT = 1e-7
_FAR_FROM_FIXED = 0.05
_FLAT = 1e-9
_ATTRACTING = ("stable", "half-stable", "marginally stable", "any")


@dataclass(frozen=True)
class FixedPoint(Result):
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
        return self.stability in _ATTRACTING

    @property
    def marginal(self) -> bool:
        """Whether the variances are tuned to this point: its kernel is left or neared as a power of depth."""
        return self.stability in ("half-stable", "any") or self.stability.startswith("marginally")


@dataclass(frozen=True)
class Phase(Result):
    """The phase of a wide network at initialisation.

    Parameters
    ----------
    name : str
        ``"ordered"`` (chi_perpendicular < 1: inputs become alike, gradients vanish), ``"critical"``,
        ``"chaotic"`` (above 1: inputs separate, gradients explode) or ``"exploding"`` (the kernel itself
        diverges).
    K : float
        Kernel of the fixed point.
    chi_parallel, chi_perpendicular : float
        Susceptibilities there.
    reason : str
        One sentence.
    """

    name: str
    K: float
    chi_parallel: float
    chi_perpendicular: float
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class MeanField:
    """A fully connected network of infinite width, ``z' = b + W s(z)``, at initialisation.

    ``W_ij ~ N(0, C_W/fan_in)`` and ``b_i ~ N(0, C_b)``, all independent. Pre-activations are then Gaussian
    with variance K (the kernel), which follows ``K' = C_b + C_W <s(z)^2>_K`` from layer to layer.

    Parameters
    ----------
    activation : str, nn.Module, callable or Activation
        Whatever :func:`phasescope.activations.as_activation` takes.
    C_W : float
        Weight variance times fan-in, above 0; ``sigma_w^2``.
    C_b : float
        Bias variance, 0 or more; ``sigma_b^2``.

    Raises
    ------
    InputError
        If a variance is negative or not finite, or the activation is not usable.

    Notes
    -----
    Sources: arXiv:1606.05340 (kernel and correlation map), arXiv:1611.01232 (depth scales), arXiv:2106.10165
    (susceptibilities). Everything is float64, on the CPU.

    Examples
    --------
    >>> field = MeanField("tanh", C_W=1.5**2, C_b=0.3**2)
    >>> field.phase().name
    'chaotic'
    """

    def __init__(self, activation: Spec, C_W: float, C_b: float = 0.0) -> None:
        if not (0 < C_W < math.inf and 0 <= C_b < math.inf):
            raise InputError(f"C_W = {C_W}, C_b = {C_b} are not variances.", "Use C_W > 0 and C_b >= 0.")
        self.activation: Activation = as_activation(activation)
        self.C_W, self.C_b = float(C_W), float(C_b)
        self._distance_maps: dict[float, tuple[DistanceMap, float]] = {}
        self._fixed_points: list[FixedPoint] | None = None

    def __repr__(self) -> str:
        return f"MeanField({self.activation.name!r}, C_W={self.C_W:.10g}, C_b={self.C_b:.10g})"

    def kernel_map(self, K: float) -> float:
        """Return the kernel of the next layer, ``C_b + C_W <s^2>_K``.

        Parameters
        ----------
        K : float
            Kernel of this layer, 0 or more. InputError where the result overflows.
        """
        return self.C_b + self.C_W * second_moment(self.activation, K)

    def kernel_map_pair(self, K_aa: float, K_ab: float, K_bb: float) -> tuple[float, float, float]:
        """Return the three kernels of the next layer for two inputs.

        Parameters
        ----------
        K_aa, K_ab, K_bb : float
            Covariance matrix of the two inputs' pre-activations; the variances may differ.

        Returns
        -------
        tuple of float
            ``(K_aa', K_ab', K_bb')`` with ``K_ab' = C_b + C_W <s(z_a) s(z_b)>``. InputError where the three
            numbers are no covariance matrix.
        """
        product = pair_product(self.activation, K_aa, K_ab, K_bb)
        return self.kernel_map(K_aa), self.C_b + self.C_W * product, self.kernel_map(K_bb)

    def chi_parallel(self, K: float) -> float:
        """Return the parallel susceptibility ``dK'/dK = (C_W/K) <z s s'>_K``; how differences in norm grow.

        Parameters
        ----------
        K : float
            Kernel; at 0 the limit is returned.
        """
        return self.C_W * second_moment_slope(self.activation, K)

    def chi_perpendicular(self, K: float) -> float:
        """Return the perpendicular susceptibility ``C_W <s'^2>_K``: the growth of differences and gradients.

        Parameters
        ----------
        K : float
            Kernel; at 0 the limit is returned. InputError where the activation itself jumps.
        """
        return self.C_W * mean_square_slope(self.activation, K)

    def fixed_points(self) -> list[FixedPoint]:
        """Return all fixed points of the kernel map in ``[0, 1e8]``, ascending, with their stability.

        Notes
        -----
        The relative growth ``K'/K - 1`` is scanned at 105 kernels from 1e-12 to 1e8; its sign changes are
        solved for. A kernel where it only touches zero, to 1e-7, is half-stable: found at the growth's
        extrema, and where ``chi_perpendicular = 1``, because a critical point may lie within a few per cent
        of another fixed point (as for GELU, 3.035 beside 3.562). Two other fixed points in one interval (a
        factor of 1.47 in K, 3.2 above 1e4) may be missed. The first call costs 1 ms with closed forms, 20 to
        30 ms without (a few once an activation known by name was scanned), seconds for a periodic one.
        """
        if self._fixed_points is None:
            self._fixed_points = _fixed_points(self)
        return list(self._fixed_points)

    def fixed_point(self, K: float | None = None) -> FixedPoint:
        """Return the fixed point that the kernel goes to with depth.

        Parameters
        ----------
        K : float, optional
            Kernel of the first layer. Without it, a marginal point is preferred (the variances are tuned to
            it); otherwise the one reached from K = 1.

        Returns
        -------
        FixedPoint
            With ``K = inf`` and ``stability = "diverges"`` where the kernel grows for ever, and ``K = 0``
            where it collapses. Where several attract, :meth:`fixed_points` has them all.
        """
        points = self.fixed_points()
        if K is None:
            tuned = [point for point in points if point.marginal]
            if tuned:
                return tuned[-1]
        start = 1.0 if K is None else checked_variance(K)
        if points and points[0].stability == "any":
            return FixedPoint(start, "any", points[0].chi_parallel, points[0].chi_perpendicular)
        if start == 0:
            return points[0] if points else self._divergence()
        # The map grows with K, for most activations: the kernel moves on to the next fixed point on its way.
        if _growth(self, start) > 0:
            return next((point for point in points if start <= point.K), self._divergence())
        below = [point for point in points if start >= point.K]
        return below[-1] if below else points[0] if points else self._divergence()

    def _divergence(self) -> FixedPoint:
        try:
            return FixedPoint(
                math.inf, "diverges", self.chi_parallel(_LARGEST), self.chi_perpendicular(_LARGEST)
            )
        except InputError:
            return FixedPoint(math.inf, "diverges", math.inf, math.inf)

    def phase(self, K: float | None = None, *, tolerance: float = 1e-6) -> Phase:
        """Return the phase at the fixed point of :meth:`fixed_point`, with both susceptibilities.

        Parameters
        ----------
        K : float, optional
            Kernel of the first layer, as for :meth:`fixed_point`.
        tolerance : float
            How close to 1 ``chi_perpendicular`` has to be to count as critical; the default lets variances
            be given to eight digits.
        """
        point = self.fixed_point(K)
        chi = point.chi_perpendicular
        where = _where(point)
        numbers = f"{where}, chi_parallel = {point.chi_parallel:.6g}, chi_perpendicular = {chi:.6g}"
        if point.stability == "diverges":
            name, reason = "exploding", f"the kernel grows without bound{self._way_out()}; {numbers}."
        elif abs(chi - 1) <= tolerance:
            name, reason = "critical", f"small differences keep their size; {numbers}."
        elif chi < 1:
            name, reason = "ordered", f"inputs become alike and gradients vanish; {numbers}."
        else:
            name, reason = "chaotic", f"inputs separate and gradients explode; {numbers}."
        return Phase(name, point.K, point.chi_parallel, chi, reason)

    def _way_out(self) -> str:
        stable = [point for point in self.fixed_points() if point.attracting]
        above = [point.K for point in self.fixed_points() if stable and point.K > stable[-1].K]
        if not above:
            return ""
        return f" (below K = {above[0]:.6g} it would go to K* = {stable[-1].K:.6g})"

    def correlation_depth(self, K: float | None = None) -> float:
        """Return the depth scale ``1/|ln chi_perpendicular(K*)|`` in layers; infinite at criticality.

        Small differences between inputs, and gradients, change by a factor e over it. NaN where the kernel
        diverges. Source: arXiv:1611.01232, eq. 9, for the ordered phase.

        Parameters
        ----------
        K : float, optional
            Kernel of the first layer, as for :meth:`fixed_point`.
        """
        point = self.fixed_point(K)
        if point.stability == "diverges":
            return math.nan
        if point.chi_perpendicular == 0:
            return 0.0
        rate = abs(math.log(point.chi_perpendicular))
        return 1 / rate if rate > 0 else math.inf

    @overload
    def distance_map(self, rho: float, K: float | None = None) -> float: ...
    @overload
    def distance_map(self, rho: np.ndarray, K: float | None = None) -> np.ndarray: ...
    def distance_map(self, rho: float | np.ndarray, K: float | None = None) -> float | np.ndarray:
        """Return ``1 - c'`` of the next layer for two inputs of equal kernel K with ``c = 1 - rho``.

        ``rho' = C_W <(s_a - s_b)^2>/(2 K')``, computed without a difference of nearly equal numbers: to full
        precision down to ``rho = 1e-300``, where ``rho' = chi_perpendicular rho`` at a fixed point.

        Parameters
        ----------
        rho : float or array
            Distance(s) in [0, 2].
        K : float, optional
            The kernel; default the fixed point's. ``K'`` is its image, so that `K` need not be fixed.

        Returns
        -------
        float or ndarray
            Shape of `rho`.

        Raises
        ------
        InputError
            If a distance lies outside [0, 2], or the kernel has no fixed point to be taken at.

        Notes
        -----
        The first call at a kernel costs 5 to 20 ms; then 10 us where the activation has a closed form or is
        smooth, 5 to 50 ms per value otherwise.
        """
        values = np.asarray(rho, dtype=np.float64)
        if not ((values >= 0) & (values <= 2)).all():
            raise InputError(f"rho = {rho}: a distance 1 - c lies between 0 and 2.", "Use rho in [0, 2].")
        half_square, factor = self._distance_map(K)
        # Rounding may leave the interval by one unit.
        result = np.minimum(factor * half_square(values), 2.0)
        return float(result) if result.ndim == 0 else result

    def correlation_map(self, c: float, K: float | None = None) -> float:
        """Return the correlation of two inputs in the next layer, ``1 - distance_map(1 - c)``.

        Parameters
        ----------
        c : float
            Correlation in [-1, 1]. Near 1 use :meth:`distance_map`, which keeps its digits.
        K : float, optional
            The kernel; default the fixed point's.
        """
        return 1 - self.distance_map(1 - float(c), K)

    def _distance_map(self, K: float | None) -> tuple[DistanceMap, float]:
        # The map to half the mean squared difference, and the factor that makes it a distance.
        key = -1.0 if K is None else checked_variance(K)
        if key not in self._distance_maps:
            kernel = self._correlated_kernel() if K is None else key
            if kernel > 0:
                scaled = half_square_difference(self.activation, kernel), self.C_W / self.kernel_map(kernel)
            else:
                scaled = self._vanishing_distance_map()
            self._distance_maps[key] = scaled
        return self._distance_maps[key]

    def _correlated_kernel(self) -> float:
        point = self.fixed_point()
        if point.stability == "diverges":
            raise InputError(
                f"{self!r}: the kernel grows without bound, so it has no fixed point to map correlations at.",
                "Name the kernel, as in distance_map(rho, K=1.0).",
            )
        return point.K

    def _vanishing_distance_map(self) -> tuple[DistanceMap, float]:
        # As K -> 0 the activation becomes its two one-sided slopes at 0, for which every kernel is alike.
        below, above = slopes_beside_zero(self.activation)
        steep, flat = (above, below) if abs(above) >= abs(below) else (below, above)
        if self.C_b > 0 or not vanishes_at_zero(self.activation) or steep == 0:
            raise InputError(
                f"{self!r}: at K = 0 there is no correlation map.",
                "It needs C_b = 0, s(0) = 0 and a slope at 0; name a kernel above 0.",
            )
        form = LeakyReLU(flat / steep)
        return lambda rho: form.half_square_difference(1.0, rho), 1 / form.second_moment(1.0)


def _where(point: FixedPoint) -> str:
    if point.stability == "diverges":
        return "K -> inf"
    if point.stability == "any":
        return "every K is a fixed point"
    return f"K* = {point.K:.8g} ({point.stability})"


def _growth(field: MeanField, K: float) -> float:
    """Return ``K'/K - 1``, or infinity where the map overflows."""
    try:
        return field.kernel_map(K) / K - 1
    except InputError:
        return math.inf


def _scanned(activation: Activation) -> np.ndarray:
    """Return ``<s^2>`` at the kernels of the scan, infinity where it overflows."""
    found = np.full(_SCAN.size, math.inf)
    for i, K in enumerate(_SCAN):
        with contextlib.suppress(InputError):
            found[i] = second_moment(activation, K)
    return found


_scanned_once = lru_cache(maxsize=64)(_scanned)


def _fixed_points(field: MeanField) -> list[FixedPoint]:
    # Only a named function can be trusted never to change.
    named = by_function(field.activation.function) is field.activation
    moments = (_scanned_once if named else _scanned)(field.activation)
    growth = (field.C_b + field.C_W * moments) / _SCAN - 1
    if field.C_b == 0 and (np.abs(growth) <= _FLAT).all():
        return [_point(field, 1.0, "any")]
    found = []
    if field.C_b == 0 and vanishes_at_zero(field.activation):
        found.append(_point(field, 0.0, _stability_at_zero(field, growth)))
    tangent = _critical_kernels(field, growth) or _extrema_at_zero(field, growth)
    found += [_point(field, K, "half-stable") for K in tangent]
    for K in _crossings(field, growth):
        if not any(_flat_between(field, K, t) for t in tangent):
            found.append(_point(field, K, "stable" if abs(field.chi_parallel(K)) < 1 else "unstable"))
    return sorted(found, key=lambda point: point.K)


def _point(field: MeanField, K: float, stability: str) -> FixedPoint:
    return FixedPoint(K, stability, field.chi_parallel(K), field.chi_perpendicular(K))


def _crossings(field: MeanField, growth: np.ndarray) -> list[float]:
    crossings = []
    rising = growth > 0
    for i in np.nonzero(rising[:-1] != rising[1:])[0]:
        # Where the map is the identity to rounding, its signs mean nothing.
        if max(abs(growth[i]), abs(growth[i + 1])) > _FLAT:
            K = _solve(partial(_growth, field), _SCAN[i], _SCAN[i + 1], growth[i], growth[i + 1])
            crossings += [K] if K is not None else []
    return crossings


def _flat_between(field: MeanField, K: float, other: float) -> bool:
    """Return whether no growth above the tolerance separates two kernels, so that they are one point."""
    between = [K ** (1 - t) * other**t for t in (0.25, 0.5, 0.75)]
    return abs(math.log(K / other)) < 1 and all(abs(_growth(field, x)) <= _TANGENT for x in between)


def _critical_kernels(field: MeanField, growth: np.ndarray) -> list[float]:
    """Return kernels where growth, chi_parallel - 1 and chi_perpendicular - 1 vanish together."""
    near = np.nonzero(np.abs(growth) < _FAR_FROM_FIXED)[0]
    if near.size == 0 or field.activation.jumps:
        return []
    # One neighbour on either side, so that a crossing at the rim of the range is bracketed.
    near = np.arange(max(near[0] - 1, 0), min(near[-1] + 2, _SCAN.size))

    def excess(K: float) -> float:
        return field.chi_perpendicular(K) - 1

    values = np.array([excess(K) for K in _SCAN[near]])
    points = []
    for j in np.nonzero(values[:-1] * values[1:] < 0)[0]:
        if max(abs(values[j]), abs(values[j + 1])) <= _FLAT:
            continue
        K = _solve(excess, _SCAN[near[j]], _SCAN[near[j + 1]], values[j], values[j + 1])
        if K is not None and abs(_growth(field, K)) <= _TANGENT and abs(field.chi_parallel(K) - 1) <= 1e-5:
            points.append(K)
    return points


def _solve(
    function: Callable[[float], float], low: float, high: float, at_low: float, at_high: float
) -> float | None:
    """Return the root between two kernels, in the logarithm; None where the map overflows between them."""
    if not (math.isfinite(at_low) and math.isfinite(at_high)):
        return None
    return math.exp(bracketed_root(lambda x: function(math.exp(x)), math.log(low), math.log(high)))


def _stability_at_zero(field: MeanField, growth: np.ndarray) -> str:
    chi = field.chi_parallel(0.0)
    if abs(chi - 1) > _TANGENT:
        return "stable" if chi < 1 else "unstable"
    seen = growth[np.abs(growth) > 10 * _TANGENT]
    return "marginally unstable" if seen.size and seen[0] > 0 else "marginally stable"


def _extrema_at_zero(field: MeanField, growth: np.ndarray) -> list[float]:
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
            return field.chi_parallel(K) - 1 - _growth(field, K)

        low, high = float(_SCAN[i - 1]), float(_SCAN[i + 1])
        at_low, at_high = slope(low), slope(high)
        if at_low * at_high >= 0:
            continue
        K = _solve(slope, low, high, at_low, at_high)
        if K is not None and abs(_growth(field, K)) <= _TANGENT:
            points.append(K)
    return points
