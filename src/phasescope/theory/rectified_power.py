"""Closed forms for rectified power units ``RePU_p(z) = max(z, 0)^p``, which have no critical point.

Everything follows from ``<z^(2p) 1_{z>0}> = (2p-1)!!/2 K^p`` for ``z ~ N(0, K)``: the kernel map is
``K -> C_b + G K^p`` with ``G = C_W (2p-1)!!/2``, and the ratio of the two susceptibilities is ``(2p-1)/p``
whatever the kernel and the variances are.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from phasescope.errors import InputError


class RectifiedPowerFixedPoints(NamedTuple):
    """The two fixed points of the kernel map: the lower attracts, the upper repels."""

    lower: float
    upper: float


def repu_coefficient(p: int) -> float:
    """Return ``(2p-1)!!/2``, the coefficient of ``<RePU_p^2> = (2p-1)!!/2 K^p``.

    Parameters
    ----------
    p : int
        Power, at least 1 (1 is ReLU).

    Raises
    ------
    InputError
        If `p` is not a whole number of at least 1, or so large that the coefficient overflows (p > 150).

    Notes
    -----
    Source: arXiv:2408.02697 for the family; the Gaussian moments are elementary.
    """
    if p != int(p) or p < 1:
        raise InputError(
            f"the power of a rectified power unit is {p!r}.", "Give a whole number of at least 1."
        )
    coefficient = math.prod(range(1, 2 * int(p), 2))
    if p > 150:
        raise InputError(f"p = {p}: the coefficient (2p-1)!!/2 overflows.", "Give a power of at most 150.")
    return coefficient / 2


def repu_susceptibilities(p: int, K: float, C_W: float) -> tuple[float, float]:
    """Return ``(chi_par, chi_perp)`` of ``RePU_p`` at kernel `K`.

    ``chi_par = C_W p (2p-1)!!/2 K^(p-1)`` and ``chi_perp = C_W p^2 (2p-3)!!/2 K^(p-1)``; their ratio is
    ``(2p-1)/p``, which is 1 only for ``p = 1``. So no choice of variances makes both 1 when ``p > 1``.

    Parameters
    ----------
    p : int
        Power, at least 1.
    K : float
        Kernel (pre-activation variance), positive.
    C_W : float
        Weight variance times fan-in, positive.

    Notes
    -----
    Raises :class:`InputError` if `p`, `K` or `C_W` is out of range.
    Source: arXiv:2408.02697.
    """
    _check_positive(K=K, C_W=C_W)
    chi_parallel = C_W * p * repu_coefficient(p) * K ** (p - 1)
    return chi_parallel, chi_parallel * p / (2 * p - 1)


def repu_unstable_kernel(p: int, C_W: float) -> float:
    """Return ``K_dag = [C_W (2p-1)!!/2]^(-1/(p-1))``, the fixed point at ``C_b = 0`` that repels.

    First-layer kernels below it vanish and those above it explode, both double-exponentially in depth.
    There ``chi_par = p`` and ``chi_perp = p^2/(2p-1)``.

    Parameters
    ----------
    p : int
        Power, at least 2.
    C_W : float
        Weight variance times fan-in, positive.

    Notes
    -----
    Raises :class:`InputError` if `C_W` is not positive or `p` is below 2: ReLU has no such point.
    Source: arXiv:2408.02697.
    """
    return math.exp(-_log_gain(p, C_W) / (p - 1))


def repu_trajectory(p: int, K1: float, depth: int, *, C_W: float, C_b: float = 0.0) -> Tensor:
    """Return ``ln K_l`` for ``l = 1..depth``, shape ``(depth,)``, in log space and so without overflow.

    At ``C_b = 0`` it is ``ln(K_l/K_dag) = p^(l-1) ln(K_1/K_dag)``; otherwise the map
    ``ln K -> logaddexp(ln C_b, ln G + p ln K)`` is iterated. ``-inf`` and ``inf`` appear only where ``ln K``
    itself leaves the range of float64, some 1000 layers later than ``K`` would.

    Parameters
    ----------
    p : int
        Power, at least 2.
    K1 : float
        Kernel of the first layer, positive.
    depth : int
        Number of layers, at least 1.
    C_W : float
        Weight variance times fan-in, positive.
    C_b : float
        Bias variance, not negative.

    Raises
    ------
    InputError
        If an argument is out of range.

    Notes
    -----
    A rounding error in ``ln K_1`` is multiplied by ``p^(l-1)``: near ``K_dag`` the fate of a network
    hangs on the last digits of its first-layer kernel. Source: arXiv:2408.02697.
    """
    _check_positive(K1=K1)
    _check_bias(C_b)
    if depth < 1:
        raise InputError(f"depth = {depth}.", "Give at least one layer.")
    log_gain = _log_gain(p, C_W)
    if C_b == 0:
        centre = -log_gain / (p - 1)
        offset = math.log(K1) - centre
        if offset == 0:
            return torch.full((depth,), centre, dtype=torch.float64)
        return centre + offset * torch.pow(float(p), torch.arange(depth, dtype=torch.float64))
    log_K = torch.empty(depth, dtype=torch.float64)
    log_K[0] = math.log(K1)
    log_C_b = torch.tensor(math.log(C_b), dtype=torch.float64)
    for layer in range(1, depth):
        log_K[layer] = torch.logaddexp(log_C_b, log_gain + p * log_K[layer - 1])
    return log_K


def repu_C_b_max(p: int, C_W: float) -> float:
    """Return ``C_b_max = K_t (1 - 1/p)``, the bias variance above which the kernel of every input explodes.

    ``K_t = [C_W p (2p-1)!!/2]^(-1/(p-1))`` is where the two fixed points merge and ``chi_par = 1``; there
    ``chi_perp = p/(2p-1) < 1``, so inputs become indistinguishable.

    Parameters
    ----------
    p : int
        Power, at least 2.
    C_W : float
        Weight variance times fan-in, positive.

    Notes
    -----
    Raises :class:`InputError` if `p` is below 2 or `C_W` is not positive.
    Source: follows from the closed kernel map of arXiv:2408.02697.
    """
    return _merging_kernel(p, C_W) * (1 - 1 / p)


def repu_fixed_points(p: int, C_W: float, C_b: float = 0.0) -> RectifiedPowerFixedPoints:
    """Return both fixed points of ``K -> C_b + C_W (2p-1)!!/2 K^p``; at ``C_b = 0`` they are 0 and ``K_dag``.

    Parameters
    ----------
    p : int
        Power, at least 2.
    C_W : float
        Weight variance times fan-in, positive.
    C_b : float
        Bias variance, between 0 and :func:`repu_C_b_max`.

    Raises
    ------
    InputError
        If `p` or `C_W` is out of range, or `C_b` exceeds :func:`repu_C_b_max`, where there is no fixed point.

    Notes
    -----
    In units of the merging kernel the equation is ``x - x^p/p = C_b/K_t``, concave in ``x``, so Newton's
    method from either side converges monotonically. Source: arXiv:2408.02697 for the map.
    """
    _check_bias(C_b)
    scale = _merging_kernel(p, C_W)
    target = C_b / scale
    if target > (1 - 1 / p) * (1 + 1e-14):
        raise InputError(
            f"C_b = {C_b} exceeds C_b_max = {repu_C_b_max(p, C_W):.6g} of RePU_{p} at C_W = {C_W}: "
            "every kernel explodes and there is no fixed point.",
            "Lower C_b or C_W.",
        )
    upper = _newton(p, target, p ** (1 / (p - 1)))
    return RectifiedPowerFixedPoints(scale * _newton(p, target, target), scale * upper)


def repu_log_kernel_std(p: int, width: int, depth: int) -> float:
    r"""Return the standard deviation over networks of ``ln K_depth`` at ``C_b = 0``, exact at every width.

    Given the layers below, the n pre-activations of a layer are independent normal numbers of variance K, so
    ``ln K' = ln C_W + p ln K + ln M`` with ``M`` the mean of n independent values ``max(g, 0)^(2p)``, g
    standard normal. Every later layer multiplies by ``p``:
    ``Var(ln K_L) = Var(ln M) sum_{j=0}^{L-2} p^(2j)``. To first order in 1/n, ``Var(ln M) = kappa_p/n`` with
    ``kappa_p = 2 (4p-1)!!/(2p-1)!!^2 - 1`` (5 for ReLU, 67/3 for p = 2, 457/5 for p = 3). For n = 200 that is
    3 % too large for p = 2, and 37 % for p = 3.

    Parameters
    ----------
    p : int
        Power, at least 1.
    width : int
        Neurons in each hidden layer, ``n``.
    depth : int
        The layer ``L`` whose kernel is meant; that of layer 1 is fixed by the input, so its spread is 0.

    Raises
    ------
    InputError
        If an argument is below 1.

    Notes
    -----
    ``K_L`` is the variance of the pre-activations given the layers below; their mean square over the n
    neurons of layer L scatters by another ``2/n`` in the logarithm. A share 2^-n of layers has silent units
    only, and so ``ln K = -inf``; they are left out.
    With E exponential, ``P(E/S > t) = <exp(-t max(g, 0)^(2p))>^n`` for the sum S, and the variance of
    ``ln E`` is pi^2/6: two quadratures give ``Var(ln M)`` to 5 digits. Derived here; 0.1 s, remembered.
    """
    if p < 1 or width < 1 or depth < 1:
        raise InputError(f"p = {p}, width = {width}, depth = {depth}.", "Each is a whole number, at least 1.")
    return math.sqrt(_log_mean_variance(p, width) * sum(float(p) ** (2 * j) for j in range(depth - 1)))


@lru_cache(maxsize=64)
def _log_mean_variance(p: int, width: int) -> float:
    """Return the variance of ln of a sum of `width` values ``max(g, 0)^(2p)``, of which one is not 0."""
    log_z = np.linspace(math.log(1e-9), math.log(12.0), 3001)
    weight = np.exp(log_z - np.exp(2 * log_z) / 2) / math.sqrt(2 * math.pi) * (log_z[1] - log_z[0])
    u = np.linspace(-45.0 - 6 * p, 25.0 + 30 * p, 6001)  # ln t
    lost = np.array([-np.expm1(-np.exp(each + 2 * p * log_z)) @ weight for each in u])
    silent = 0.5**width
    beyond = np.clip((np.exp(width * np.log1p(-lost)) - silent) / (1 - silent), 0.0, 1.0)
    step = u[1] - u[0]
    mean = u[0] + np.trapezoid(beyond, u)
    # The integrand begins with the slope 1, so the rule of trapezoids lacks step^2/12.
    second = 2 * (np.trapezoid((u - mean) * beyond, u) + step**2 / 12)
    return float((u[0] - mean) ** 2 + second - math.pi**2 / 6)


def _newton(p: int, target: float, start: float) -> float:
    x = start
    for _ in range(200):
        slope = 1 - x ** (p - 1)
        if slope == 0:
            return x
        step = (x - x**p / p - target) / slope
        x -= step
        if abs(step) <= 1e-16 * x:
            return x
    return x


def _merging_kernel(p: int, C_W: float) -> float:
    return math.exp(-(_log_gain(p, C_W) + math.log(p)) / (p - 1))


def _log_gain(p: int, C_W: float) -> float:
    _check_positive(C_W=C_W)
    coefficient = repu_coefficient(p)
    if p < 2:
        raise InputError(
            f"p = {p} is ReLU, whose kernel map is linear.", "Give p >= 2, or use critical_point('relu')."
        )
    return math.log(C_W) + math.log(coefficient)


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not (value > 0 and math.isfinite(value)):
            raise InputError(f"{name} = {value}.", f"{name} is a variance: give a positive finite number.")


def _check_bias(C_b: float) -> None:
    if not (C_b >= 0 and math.isfinite(C_b)):
        raise InputError(f"C_b = {C_b}.", "C_b is a variance: give 0 or a positive finite number.")
