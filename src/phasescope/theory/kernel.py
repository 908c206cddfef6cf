"""Mean-field theory of a wide network at initialisation: kernels, susceptibilities, correlations, phase."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import overload

import numpy as np

from phasescope.activations import Activation, as_activation
from phasescope.activations.resolve import Spec
from phasescope.errors import InputError
from phasescope.theory.closed_forms import LeakyReLU
from phasescope.theory.correlation import DistanceMap, half_square_difference, pair_product
from phasescope.theory.fixed_points import FixedPoint, fixed_points, reached_from
from phasescope.theory.gaussian import checked_variance
from phasescope.theory.moments import (
    mean_square_slope,
    second_moment,
    second_moment_slope,
    slopes_beside_zero,
    vanishes_at_zero,
)

_LARGEST = 1e8


@dataclass(frozen=True)
class Phase:
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

        Costs 5 to 50 ms on the first call; see :func:`phasescope.theory.fixed_points.fixed_points`.
        """
        if self._fixed_points is None:
            self._fixed_points = fixed_points(self.activation, self.C_W, self.C_b)
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
        return reached_from(points, start, self._growth(start), self._divergence())

    def _growth(self, K: float) -> float:
        try:
            return self.kernel_map(K) / K - 1
        except InputError:
            return math.inf

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
