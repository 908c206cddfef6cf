"""First corrections in 1/width: the four-point vertex of the kernel and the statistics of tangent growth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from phasescope.activations import Activation, as_activation
from phasescope.activations.resolve import Spec
from phasescope.errors import InputError
from phasescope.theory.gaussian import expectation

ZERO_KERNEL_RATE = 2 / 3
"""``V/(n K^2)`` per layer of depth for the stable K* = 0 class, whatever the activation."""
LINEAR_RATE = 2.0
"""The same for a linear network."""
MARGINAL_RATE = 14 / 3
"""The same where ``a1 > 0``, at depth L for a first-layer kernel ``K_1 = 1/(2 a1 L)``."""


class KernelFluctuations(NamedTuple):
    """Kernel and its spread over networks, one entry a layer."""

    K: Tensor
    variance: Tensor
    excess_kurtosis: Tensor


def four_point_vertex(
    activation: Spec,
    widths: Sequence[int],
    K1: float,
    *,
    C_W: float,
    C_b: float = 0.0,
    residual: float = 0.0,
) -> KernelFluctuations:
    """Return kernel, its variance ``V/n`` and the excess kurtosis ``3V/(n K^2)``, layer by layer.

    For one input, with ``g = <sigma^2>`` at the kernel of layer l and ``n_l`` neurons there,
    ``Var K^(l+1) = chi_par^2 Var K^(l) + C_W^2 (<sigma^4> - g^2)/n_l`` and ``Var K^(1) = 0``. With a residual
    weight r, ``z' = r z + W sigma + b`` with variances ``C = (1-r^2) C_W`` and ``(1-r^2) C_b``, it becomes
    ``V' = f^2 V + C^2 (<sigma^4> - g^2) + 2 r^2 C (<z^2 sigma^2> - K g) + 2 C f T <z sigma^2>/K`` with
    ``f = r^2 + C g'`` and ``T' = r f T + r C <z sigma^2>``.

    Parameters
    ----------
    activation : str, nn.Module, callable or Activation
        Elementwise nonlinearity.
    widths : sequence of int
        Neurons in layers 1..L-1; the result has L entries.
    K1 : float
        Kernel of layer 1, fixed by the input.
    C_W, C_b : float
        Weight variance times fan-in, and bias variance.
    residual : float
        Residual weight in [0, 1); needs equal widths.

    Raises
    ------
    InputError
        If a width is below 1, `residual` is out of range, or it is used with unequal widths.

    Notes
    -----
    T/n is the cumulant of ``z_i`` and ``z_j^2`` for two neurons: a residual stream keeps the sign of
    ``z_i``, and the kernel correlates with it unless sigma^2 is even. The residual formula in common use
    leaves T out; for ReLU at r = 0.6 it doubles the spread, as sampled networks confirm. Cost: one Gaussian
    mean of five functions a layer. Leading order: needs the kurtosis well below 1. Source:
    arXiv:2106.10165, ch. 4 and app. B; T is derived here.
    """
    function = as_activation(activation)
    if not widths or min(widths) < 1:
        raise InputError(f"widths = {list(widths)}.", "Give the number of neurons of at least one layer.")
    if not 0 <= residual < 1:
        raise InputError(f"residual = {residual}.", "The residual weight lies in [0, 1).")
    if residual and len(set(widths)) > 1:
        raise InputError(
            f"residual = {residual} with widths {list(widths)}.", "Use one width for all layers."
        )
    kept, added = residual**2, 1 - residual**2
    K, variance, skew = [float(K1)], [0.0], 0.0
    for width in widths:
        moments = _kernel_moments(function, K[-1])
        factor = kept + added * C_W * moments.slope
        noise, source = _injected(moments, K[-1], C_W, residual)
        drive = 2 * added * C_W * factor * skew * moments.odd / K[-1]
        variance.append(factor**2 * variance[-1] + noise / width + drive)
        skew = residual * factor * skew + source / width
        K.append(kept * K[-1] + added * (C_b + C_W * moments.square))
    kernel = torch.tensor(K, dtype=torch.float64)
    spread = torch.tensor(variance, dtype=torch.float64)
    return KernelFluctuations(kernel, spread, 3 * spread / kernel**2)


class _KernelMoments(NamedTuple):
    """``<sigma^2>``, its derivative by K, ``<sigma^4>``, ``<z^2 sigma^2>`` and ``<z sigma^2>``."""

    square: float
    slope: float
    fourth: float
    cross: float
    odd: float


def _kernel_moments(activation: Activation, K: float) -> _KernelMoments:
    """Return the Gaussian means that the spread of the kernel is made of, at ``z ~ N(0, K)``."""

    def integrand(z: Tensor) -> Tensor:
        square = activation(z).square()
        return torch.stack([square, square * (z * z / K - 1), square * square, z * z * square, z * square])

    square, slope, fourth, cross, odd = expectation(integrand, K, kinks=activation.kinks).tolist()
    return _KernelMoments(square, slope / (2 * K), fourth, cross, odd)


def _injected(moments: _KernelMoments, K: float, C_W: float, residual: float) -> tuple[float, float]:
    """Return what one layer of n neurons adds to n Var K, and to n times the cumulant of z_i and z_j^2."""
    C = (1 - residual**2) * C_W
    own = C**2 * (moments.fourth - moments.square**2)
    shared = 2 * residual**2 * C * (moments.cross - K * moments.square)
    return own + shared, residual * C * moments.odd


def vertex_rate_of_fixed_point(activation: Activation, K: float, C_W: float, residual: float = 0.0) -> float:
    """Return ``V/(n K^2)`` per layer at a critical fixed point K > 0, where ``chi_par = 1``, deep in the net.

    Also right for scale-invariant activations at any K, where it is ``3 A4/A2^2 - 1`` without a residual
    weight (``<sigma^2> = A2 K``, ``<sigma^4> = 3 A4 K^2``): 5 for ReLU, 2 for a linear network.
    """
    moments = _kernel_moments(activation, K)
    noise, source = _injected(moments, K, C_W, residual)
    skew = source / (1 - residual)
    return (noise + 2 * (1 - residual**2) * C_W * skew * moments.odd / K) / K**2


class GrowthStatistics(NamedTuple):
    """Statistics of the growth of small differences at a critical point (``chi_1 = 1``)."""

    v: float
    d0: float
    chi_q: float
    log_slope: float


def growth_statistics(activation: Activation, K: float, C_W: float) -> GrowthStatistics:
    r"""Return ``v``, ``d0``, ``chi_q`` and ``A = d ln chi_1/dK`` at the fixed point K of a critical network.

    Over many layers of width n, the logarithm of a tangent vector's squared norm grows by ``d0/n`` per
    layer on average and its variance by ``v/n``. Write ``chi_1(K) = C_W <phi'^2>``, ``m4 =
    <phi'^4>/<phi'^2>^2``, ``e2 = C_W^2 Var(phi^2)``, ``s = C_W (<phi^2 phi'^2>/<phi'^2> - <phi^2>)``; then

    ``v = 3 m4 - 1 + 2 A s/(1-chi_q) + A^2 e2/(1-chi_q)^2`` and
    ``d0 = A K2 vq/(2 (1-chi_q)) + (ln chi_1)'' vq/2 + (<phi'^2 z^2>/(K <phi'^2>) - 1) vr - (3 m4 - 1)/2``,

    with ``vq = e2/(1-chi_q^2)``, ``vr = C_W^2 <phi^2 phi'^2>/(K (1-chi_q^2))`` and K2 the second derivative
    of the kernel map. Derivatives by K are Gaussian means with Hermite weights, so kinks do no harm.
    """

    def integrand(z: Tensor) -> Tensor:
        value, slope = (derivative.square() for derivative in activation.derivatives(z, 1))
        x = z * z / K
        weights = torch.stack([torch.ones_like(x), x - 1, x * x - 6 * x + 3])
        products = torch.stack([value * value, slope * slope, value * slope])
        return torch.cat([value * weights, slope * weights, products])

    means = expectation(integrand, K, kinks=activation.kinks).tolist()
    square, square1, square2, slope, slope1, slope2, fourth, slope_fourth, product = means
    chi_q = C_W * square1 / (2 * K)
    log_slope = slope1 / (2 * K * slope)
    log_curvature = slope2 / (4 * K**2 * slope) - log_slope**2
    map_curvature = C_W * square2 / (4 * K**2)
    own_noise = 3 * slope_fourth / slope**2 - 1
    kernel_noise = C_W**2 * (fourth - square**2)
    shared_noise = C_W * (product / slope - square)
    slack = 1 - chi_q
    v = own_noise + 2 * log_slope * shared_noise / slack + log_slope**2 * kernel_noise / slack**2
    kernel_variance = kernel_noise / (1 - chi_q**2)
    alignment = C_W**2 * product / (K * (1 - chi_q**2))
    d0 = (
        log_slope * map_curvature * kernel_variance / (2 * slack)
        + log_curvature * kernel_variance / 2
        + slope1 / slope * alignment
        - own_noise / 2
    )
    return GrowthStatistics(v, d0, chi_q, log_slope)
