"""Critical initialisation of an activation: its universality class, or why there is none.

Two places can be critical: K = 0, as the activation's derivatives there tell, and kernels where the ratio of
the two susceptibilities, which is free of both variances, is 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from phasescope.activations import Activation, as_activation
from phasescope.activations.resolve import Spec
from phasescope.errors import InputError
from phasescope.results import Result
from phasescope.theory._root import crossings
from phasescope.theory.finite_width import (
    LINEAR_RATE,
    MARGINAL_RATE,
    ZERO_KERNEL_RATE,
    vertex_rate_of_fixed_point,
)
from phasescope.theory.gaussian import expectation
from phasescope.theory.moments import (
    mean_square_slope,
    second_moment,
    second_moment_slope,
    slopes_beside_zero,
)

UniversalityClass = Literal["scale-invariant", "K*=0", "half-stable", "none"]

# Where higher derivatives at 0 are read off from both sides.
_BESIDE = torch.tensor([-1e-6, 1e-6, -2e-6, 2e-6], dtype=torch.float64)
# Kernels of the scan: fine where activations have their own scale, coarse beyond, where an oscillating one is
# costly.
_GRID = tuple(10.0**e for e in (-6, -5, *(step / 3 for step in range(-12, 13)), 5, 6))
# Ratios this close to 0 or 1 are rounding errors of them.
_DEAD_BAND = 1e-9
_UNDERFLOW = 1e-200
_FLAT = "The activation is flat (<sigma'^2> = 0 at every kernel), so every difference between inputs is lost."
_TITLES = {
    ("scale-invariant", True): "critical, scale-invariant class",
    ("K*=0", True): "critical, K* = 0 class",
    ("K*=0", False): "critical, K* = 0 class, marginally unstable",
    ("half-stable", None): "critical, half-stable class",
    ("none", None): "no critical initialisation",
}


@dataclass(frozen=True)
class CriticalPoint(Result):
    """A critical initialisation, or the reason why there is none; :func:`critical_point` makes it.

    Parameters
    ----------
    activation : str
        Its name.
    universality_class : {"scale-invariant", "K*=0", "half-stable", "none"}
        The class of the kernel's flow with depth.
    stable : bool or None
        True where a kernel near the critical one stays or returns (scale-invariant; K*=0 with ``a1 < 0``),
        False where it leaves (K*=0 with ``a1 > 0``), None for half-stable points, which attract from one
        side and repel from the other, and where there is no point.
    C_W, C_b : float or None
        Weight variance times fan-in, and bias variance.
    K : float or None
        The critical kernel; None also where every kernel is critical (scale-invariant).
    a1, b1 : float or None
        Coefficients of ``K' = K + a1 K^2`` and ``chi_perp = 1 + b1 K`` at K* = 0, where they exist.
    nu : float or None
        Spread of the kernel over networks of width n at depth L: ``Var(K) = nu K^2 L/n``.
    curvature : float or None
        ``C_W g''(K*)`` of a half-stable point; negative: it attracts from above.
    ratio_range : tuple of float or None
        Smallest and largest ``chi_par/chi_perp`` over the kernels in `scanned`.
    scanned : tuple of float or None
        Smallest and largest kernel looked at.
    reason : str
        One sentence.
    also : tuple of str
        Other critical points of the same activation, and why they were not chosen.
    citations : tuple of str
        Keys of the papers behind the result.
    """

    activation: str
    universality_class: UniversalityClass
    stable: bool | None = None
    C_W: float | None = None
    C_b: float | None = None
    K: float | None = None
    a1: float | None = None
    b1: float | None = None
    reason: str = ""
    nu: float | None = None
    curvature: float | None = None
    ratio_range: tuple[float, float] | None = None
    scanned: tuple[float, float] | None = None
    also: tuple[str, ...] = ()
    citations: tuple[str, ...] = ("roberts2022",)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    def __str__(self) -> str:
        lines = [f"{self.activation}: {_TITLES[self.universality_class, self.stable]}"]
        if self.C_W is not None and self.C_b is not None:
            kernel = "any" if self.K is None else f"{self.K:.9g}"
            lines.append(f"  C_W = {self.C_W:.9g}   C_b = {self.C_b:.9g}   K* = {kernel}")
            weights = f"weights: std = sqrt({self.C_W:.6g} / fan_in)"
            biases = f"std = {math.sqrt(self.C_b):.6g}" if self.C_b else "zero"
            lines.append(f"  {weights}, normal; biases: {biases}")
        if self.a1 is not None:
            lines.append(f"  a1 = {self.a1:.6g}   b1 = {self.b1:.6g}")
        lines.append(f"  {self.reason}")
        lines += [f"  Also: {other}" for other in self.also]
        return "\n".join(lines)


def critical_point(activation: Spec) -> CriticalPoint:
    """Return the critical initialisation of an activation: universality class, ``C_W``, ``C_b`` and ``K*``.

    Critical means ``K* = C_b + C_W <sigma^2>`` with ``chi_par = chi_perp = 1`` at ``z ~ N(0, K*)``:
    differences in norm and in direction between inputs neither grow nor shrink exponentially with depth,
    and neither do gradients. ``chi_par = C_W d<sigma^2>/dK`` and ``chi_perp = C_W <sigma'^2>``, so the
    ratio of the two is free of both variances: it has to be 1 somewhere.

    Parameters
    ----------
    activation : str, nn.Module, callable or Activation
        Elementwise nonlinearity; names as in ``torch.nn.functional``.

    Notes
    -----
    K is scanned from 1e-6 to 1e6 for sign changes of ``ratio - 1``; each is refined to rounding.
    Roots that need ``C_b < 0`` are rejected. K = 0 is critical where ``sigma(0) = 0`` with one slope there.
    Of several points the stable K* = 0 is chosen first, then the half-stable one that a kernel leaves most
    slowly, then an unstable K* = 0; the others are named in `also`. Cost: some 50 Gaussian means, about 0.1
    s. Source: arXiv:2106.10165, ch. 5; arXiv:2408.02697 for rectified powers.
    """
    function = as_activation(activation)
    zero = small_kernel(function)
    if zero.piecewise_linear and math.isinf(zero.reach):
        return _scale_invariant(function, zero)
    if function.jumps:
        return _jumping(function)
    scan = _scan_ratio(function)
    if not scan.K.numel():
        return CriticalPoint(function.name, "none", reason=_FLAT)
    roots = _critical_kernels(function, scan)
    usable = [root for root in roots if root.C_b >= 0]
    usable.sort(key=lambda root: abs(root.curvature) * root.K)
    at_zero = _at_zero(function, zero, scan)
    candidates = [_half_stable(function, root, scan) for root in usable]
    if at_zero is not None:
        candidates.insert(0 if at_zero.stable else len(candidates), at_zero)
    if not candidates:
        return _none(function, zero, scan, roots)
    also = tuple(map(_in_short, candidates[1:]))
    return replace(candidates[0], ratio_range=scan.range, scanned=scan.span, also=also)


@dataclass(frozen=True)
class SmallKernel:
    """The behaviour of an activation around zero."""

    at_zero: float  # ``sigma(0)``; a critical point at K = 0 needs 0
    left: float  # slope at 0 from below
    right: float  # and from above
    # With ``C_W = 1/sigma'(0)^2`` and no bias, ``K' = K + a1 K^2``, ``chi_par = 1 + 2 a1 K`` and
    # ``chi_perp = 1 + b1 K``. None where a slope or the second derivative jumps at 0, because the corrections
    # are then of order ``sqrt(K)``.
    a1: float | None
    b1: float | None
    # Largest |z| up to which the function is exactly ``left z`` or ``right z``: the nearest kink, infinite if
    # it is so everywhere, 0 if nowhere.
    reach: float

    @property
    def vanishes(self) -> bool:
        """Whether ``sigma(0) = 0`` to rounding."""
        return abs(self.at_zero) <= 1e-12 * max(1.0, self.steepest)

    @property
    def steepest(self) -> float:
        """The larger of the two slopes at 0, without sign."""
        return max(abs(self.left), abs(self.right))

    @property
    def smooth_slope(self) -> bool:
        """Whether there is one slope at 0, and it is not 0."""
        return self.steepest > 1e-9 and abs(self.left - self.right) <= 1e-8 * self.steepest

    @property
    def piecewise_linear(self) -> bool:
        """Whether the function is exactly linear on either side of 0, in a neighbourhood or everywhere."""
        return self.vanishes and self.steepest > 1e-9 and self.reach > 0

    @property
    def C_W(self) -> float:
        """The weight variance that preserves a vanishing kernel, ``2/(left^2 + right^2)``."""
        return 2 / (self.left**2 + self.right**2)


def small_kernel(activation: Activation) -> SmallKernel:
    """Return slopes at 0, ``a1 = s3/s1 + (3/4)(s2/s1)^2`` and ``b1 = s3/s1 + (s2/s1)^2``.

    Here ``s1, s2, s3`` are the derivatives at 0. The third may jump there (its mean counts); where the first
    or second does, `a1` and `b1` are None.

    Notes
    -----
    Cost: a few evaluations. Source: arXiv:2106.10165, ch. 5; both follow from ``<z^4> = 3 K^2``.
    """
    at_zero = float(activation(torch.zeros(1, dtype=torch.float64)))
    left, right = slopes_beside_zero(activation)
    scale = max(abs(left), abs(right))
    reach = _linear_reach(activation, left, right) if scale > 0 else 0.0
    if scale <= 1e-9 or abs(left - right) > 1e-8 * scale or _jumps(activation, scale):
        return SmallKernel(at_zero, left, right, None, None, reach)
    s1, s2, s3 = (_derivative_at_zero(activation, order) for order in (1, 2, 3))
    a1, b1 = s3 / s1 + 0.75 * (s2 / s1) ** 2, s3 / s1 + (s2 / s1) ** 2
    return SmallKernel(at_zero, left, right, a1, b1, reach)


def _jumps(activation: Activation, scale: float) -> bool:
    """Return whether the second derivative jumps at 0: its change does not shrink with the interval."""
    second = activation.derivative(_BESIDE, 2)
    if not bool(torch.isfinite(second).all()):
        return True
    inner, outer = float((second[1] - second[0]).abs()), float((second[3] - second[2]).abs())
    return inner > 1e-7 * scale and inner > 0.6 * outer


def _derivative_at_zero(activation: Activation, order: int) -> float:
    """Return a derivative at 0, or the mean of the one-sided ones where autograd is off there."""
    exact = float(activation.derivative(torch.zeros(1, dtype=torch.float64), order))
    mean = float(activation.derivative(_BESIDE[:2], order).mean())
    return exact if math.isfinite(exact) and abs(exact - mean) <= 1e-4 * (1 + abs(mean)) else mean


def _linear_reach(activation: Activation, left: float, right: float) -> float:
    nearest = min((abs(kink) for kink in activation.kinks if kink), default=math.inf)
    z = torch.logspace(-6, 6, 97, dtype=torch.float64)
    z = z[z < nearest]
    scale = max(abs(left), abs(right))
    positive = (activation(z) - right * z).abs() <= 1e-12 * scale * z
    negative = (activation(-z) + left * z).abs() <= 1e-12 * scale * z
    return nearest if z.numel() and bool((positive & negative).all()) else 0.0


class _RatioScan(NamedTuple):
    """``g = <sigma^2>``, ``g'`` and ``<sigma'^2>`` on a grid of kernels, shape (N,) each."""

    K: Tensor
    square: Tensor
    slope: Tensor
    perpendicular: Tensor

    @property
    def ratio(self) -> Tensor:
        """``chi_par/chi_perp`` on the grid."""
        return self.slope / self.perpendicular

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest ratio."""
        return float(self.ratio.min()), float(self.ratio.max())

    @property
    def span(self) -> tuple[float, float]:
        """Smallest and largest kernel of the grid."""
        return float(self.K[0]), float(self.K[-1])

    @property
    def always_one(self) -> bool:
        """Whether the ratio is 1 to rounding at every kernel."""
        return float((self.ratio - 1).abs().max()) <= _DEAD_BAND


class _CriticalKernel(NamedTuple):
    """A kernel where ``chi_par = chi_perp = 1``, with the variances that it takes and ``C_W g''``."""

    K: float
    C_W: float
    C_b: float
    curvature: float


def _scan_ratio(function: Activation) -> _RatioScan:
    """Return the means behind both susceptibilities for K from 1e-6 to 1e6.

    The grid ends early where the activation overflows, and leaves out kernels where ``<sigma'^2>``
    underflows.
    """
    rows: list[tuple[float, float, float, float]] = []
    for K in _GRID:
        try:
            row = (
                K,
                second_moment(function, K),
                second_moment_slope(function, K),
                mean_square_slope(function, K),
            )
        except InputError:
            if not rows:
                raise
            break
        if row[3] > _UNDERFLOW:
            rows.append(row)
    return _RatioScan(*torch.tensor(rows, dtype=torch.float64).reshape(-1, 4).T)


def _critical_kernels(function: Activation, scan: _RatioScan) -> list[_CriticalKernel]:
    """Return every kernel of the scan where the ratio crosses 1, to rounding, also those with ``C_b < 0``.

    Where the ratio is 1 throughout, every kernel is one; K = 1 stands for all.
    """

    def excess(log_K: float) -> float:
        K = math.exp(log_K)
        return second_moment_slope(function, K) / mean_square_slope(function, K) - 1

    if scan.always_one:
        return [_critical_kernel(function, 1.0)]
    offsets = zip(scan.K.log().tolist(), (scan.ratio - 1).tolist(), strict=True)
    decided = [(log_K, offset) for log_K, offset in offsets if abs(offset) > _DEAD_BAND]
    return [_critical_kernel(function, math.exp(log_K)) for log_K in crossings(excess, decided)]


def _critical_kernel(function: Activation, K: float) -> _CriticalKernel:
    def curvature(z: Tensor) -> Tensor:
        x = z * z / K
        return function(z).square() * (x * x - 6 * x + 3)

    C_W = 1 / mean_square_slope(function, K)
    second = float(expectation(curvature, K, kinks=function.kinks)) / (4 * K * K)
    return _CriticalKernel(K, C_W, K - C_W * second_moment(function, K), C_W * second)


def _at_zero(function: Activation, zero: SmallKernel, scan: _RatioScan) -> CriticalPoint | None:
    """Return the critical point at K = 0, if there is one."""
    if zero.piecewise_linear and not zero.smooth_slope:
        return _saturating(function, zero)
    if not (zero.vanishes and zero.smooth_slope):
        return None
    stable, reason = _fate_at_zero(zero, scan)
    rate = LINEAR_RATE if zero.piecewise_linear else ZERO_KERNEL_RATE if stable else MARGINAL_RATE
    citations = ("roberts2022",) if stable else ("roberts2022", "kim2024repu")
    return CriticalPoint(
        function.name, "K*=0", stable, zero.C_W, 0.0, 0.0, zero.a1, zero.b1, reason, rate, citations=citations
    )


def _fate_at_zero(zero: SmallKernel, scan: _RatioScan) -> tuple[bool, str]:
    drifts_up = _leading_sign(zero, scan) > 0
    if zero.piecewise_linear:
        return not drifts_up, (
            f"Exactly linear up to |z| = {zero.reach:.6g} and bent beyond (a1 = b1 = 0): kernels far below "
            f"{zero.reach**2:.3g} are preserved, larger ones {'grow' if drifts_up else 'shrink to K* = 0'}."
        )
    if zero.a1 is None:
        return not drifts_up, (
            "The activation's second derivative jumps at 0, so corrections are of order sqrt(K), a1 and b1 "
            f"do not exist, and with depth l the kernel {'grows' if drifts_up else 'decays as 1/l^2'}."
        )
    if zero.a1 < 0:
        return True, (
            f"K* = 0 attracts (a1 = {zero.a1:.4g} < 0): at C_W = {zero.C_W:.6g} the kernel decays only as "
            f"1/{_times_depth(-zero.a1)} with depth l."
        )
    if zero.a1 > 0:
        return False, (
            f"K* = 0 repels (a1 = {zero.a1:+.4g} > 0): at C_W = {zero.C_W:.6g} a first-layer kernel K1 "
            f"diverges after about 1/({zero.a1:.4g} K1) layers, so give a network of depth L "
            "K1 = 1/(2 a1 L)."
        )
    return not drifts_up, (
        f"K* = 0 {'repels' if drifts_up else 'attracts'}, though only beyond second order in K (a1 = 0): at "
        f"C_W = {zero.C_W:.6g} the kernel {'grows' if drifts_up else 'decays'} by terms of order K^3."
    )


def _times_depth(rate: float) -> str:
    return "l" if rate == 1 else f"({rate:.4g} l)"


def _leading_sign(zero: SmallKernel, scan: _RatioScan) -> float:
    """Return the sign of ``C_W g(K)/K - 1`` at the smallest K where it exceeds rounding."""
    drift = zero.C_W * scan.square / scan.K - 1
    seen = drift[drift.abs() > 1e-8]
    return float(seen[0].sign()) if seen.numel() else 0.0


def _scale_invariant(function: Activation, zero: SmallKernel) -> CriticalPoint:
    rate = vertex_rate_of_fixed_point(function, 1.0, zero.C_W)
    return CriticalPoint(
        function.name,
        "scale-invariant",
        stable=True,
        C_W=zero.C_W,
        C_b=0.0,
        reason=f"Linear on either side of 0 (slopes {zero.left:.6g} and {zero.right:.6g}), so "
        f"C_W = {zero.C_W:.6g} without bias preserves every kernel, with both susceptibilities 1 at any K.",
        nu=rate,
        ratio_range=(1.0, 1.0),
    )


def _saturating(function: Activation, zero: SmallKernel) -> CriticalPoint:
    largest = (zero.reach / 5) ** 2
    return CriticalPoint(
        function.name,
        "scale-invariant",
        stable=True,
        C_W=zero.C_W,
        C_b=0.0,
        reason=f"Linear on either side of 0 up to |z| = {zero.reach:.3g} only: scale-invariant for kernels "
        f"below about {largest:.2g}, where that is 5 standard deviations.",
        nu=vertex_rate_of_fixed_point(function, largest / 100, zero.C_W),
    )


def _half_stable(function: Activation, root: _CriticalKernel, scan: _RatioScan) -> CriticalPoint:
    attracts, repels = ("above", "below") if root.curvature < 0 else ("below", "above")
    reason = (
        f"Both susceptibilities are 1 at K* = {root.K:.6g}, which attracts kernels from {attracts} and "
        f"repels them from {repels} (C_W g'' = {root.curvature:+.2g}): set the first-layer kernel to K*."
    )
    if scan.always_one:
        reason += (
            " The ratio of the two is 1 at every kernel, so each K* has its own C_W and C_b; this is one."
        )
    return CriticalPoint(
        function.name,
        "half-stable",
        C_W=root.C_W,
        C_b=root.C_b,
        K=root.K,
        reason=reason,
        nu=vertex_rate_of_fixed_point(function, root.K, root.C_W),
        curvature=root.curvature,
    )


def _in_short(point: CriticalPoint) -> str:
    where = f"K* = {point.K:.6g} at C_W = {point.C_W:.6g}, C_b = {point.C_b:.6g}"
    if point.universality_class == "half-stable":
        return f"half-stable at {where}."
    coefficient = "" if point.a1 is None else f" (a1 = {point.a1:+.4g})"
    return f"{where}, {'stable' if point.stable else 'marginally unstable'}{coefficient}."


def _jumping(function: Activation) -> CriticalPoint:
    reason = (
        f"The activation jumps at z = {function.jumps[0]:.6g}, so <sigma'^2> is infinite and chi_perp "
        "is never 1: small differences between inputs grow without bound in one layer."
    )
    return CriticalPoint(function.name, "none", reason=reason)


def _none(
    function: Activation, zero: SmallKernel, scan: _RatioScan, rejected: list[_CriticalKernel]
) -> CriticalPoint:
    """Return the verdict that there is no critical point, with the evidence."""
    low, high = scan.range
    first, last = scan.span
    constant = high - low <= _DEAD_BAND * abs(high)
    where = _near_one(high) if constant else f"in [{_near_one(low)}, {_near_one(high)}]"
    reason = f"chi_par/chi_perp {'is' if constant else 'lies'} {where} for K in [{first:.0e}, {last:.0e}]"
    if rejected:
        needs = ", ".join(f"C_b = {root.C_b:.4g} at K = {root.K:.4g}" for root in rejected)
        reason += f" and is 1 only where the bias variance would have to be negative ({needs})"
    elif high <= _DEAD_BAND:
        reason += " and is never positive at K > 0, so chi_par cannot be 1"
    else:
        grows = low + high > 2
        never = ", never 1" if constant else " and is never 1 at K > 0"
        reason += (
            f"{never}: where differences in direction are preserved (chi_perp = 1), "
            f"differences in norm {'grow' if grows else 'die out'} exponentially with depth"
        )
        if not grows:
            reason += " (critical_line gives such points)"
    if not zero.vanishes:
        reason += f"; K* = 0 is ruled out by sigma(0) = {zero.at_zero:.4g}"
    elif zero.steepest > 1e-9:
        fate = "shrinks" if _leading_sign(zero, scan) <= 0 else "grows"
        reason += (
            "; only as K -> 0 does it tend to a leaky ReLU, for which "
            f"C_W = {zero.C_W:.6g}, C_b = 0 is critical, and there the kernel {fate}"
        )
    return CriticalPoint(
        function.name,
        "none",
        reason=reason + ".",
        ratio_range=scan.range,
        scanned=scan.span,
        citations=("roberts2022", "kim2024repu"),
    )


def _near_one(ratio: float) -> str:
    """Return the ratio as text that does not round to 1."""
    offset = ratio - 1
    if 0 < abs(offset) < 1e-5:
        return f"1 {'+' if offset > 0 else '-'} {abs(offset):.1g}"
    return f"{ratio:.6g}"
