"""Kernels that grow without end: how long a network survives, and where explosion begins."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy.special import ndtri

from phasescope.activations import Activation, as_activation
from phasescope.activations.resolve import Spec
from phasescope.errors import InputError
from phasescope.theory._root import bracketed_root
from phasescope.theory.critical import small_kernel
from phasescope.theory.moments import second_moment, second_moment_slope

# Logarithms of the kernels from 1e-9 to 1e6, four a decade.
_GRID: list[float] = (torch.linspace(-9, 6, 61, dtype=torch.float64) * math.log(10)).tolist()


def first_layer_kernel(activation: Spec, depth: int) -> float:
    """Return ``K_1 = 1/(2 a1 L)``, the largest first-layer kernel that at most doubles over `depth` layers.

    For activations whose critical kernel K* = 0 repels (``a1 > 0``; MRePU has ``a1 = 3p(2p-1)``) the flow at
    ``C_W = 1/sigma'(0)^2``, ``C_b = 0`` is ``K(l) = K_1/(1 - a1 K_1 (l-1))``. Set it by the first layer's
    variance alone, for the input of largest norm: ``C_W^(1) = K_1 n_0/|x|^2``.

    Parameters
    ----------
    activation : str, nn.Module, callable or Activation
        Elementwise nonlinearity with ``sigma(0) = 0`` and ``a1 > 0``.
    depth : int
        Number of layers L.

    Raises
    ------
    InputError
        If `depth` is below 1, or the activation has no ``a1 > 0``, so that there is no such limit.

    Notes
    -----
    Source: ``a1`` from arXiv:2106.10165, ch. 5; the rule follows from the flow.
    """
    function = as_activation(activation)
    if depth < 1:
        raise InputError(f"depth = {depth}.", "Give at least one layer.")
    zero = small_kernel(function)
    if not zero.vanishes or zero.a1 is None or zero.a1 <= 0:
        a1 = "no a1" if zero.a1 is None or not zero.vanishes else f"a1 = {zero.a1:.6g}"
        raise InputError(
            f"{function.name} has {a1} at K* = 0, so no first-layer kernel is set by the depth.",
            "Use critical_point for its initialisation.",
        )
    return 1 / (2 * zero.a1 * depth)


def survival_depth(
    activation: Spec,
    K1: float,
    *,
    growth: float = 10.0,
    C_W: float | None = None,
    C_b: float = 0.0,
    most_layers: int = 10_000,
) -> int | None:
    """Return after how many layers the kernel exceeds `growth` times its first value, at infinite width.

    Parameters
    ----------
    activation : str, nn.Module, callable or Activation
        Elementwise nonlinearity.
    K1 : float
        Kernel of the first layer, positive.
    growth : float
        Factor that ends survival, above 1.
    C_W : float, optional
        Weight variance times fan-in; by default the one that preserves a vanishing kernel.
    C_b : float
        Bias variance.
    most_layers : int
        Where to stop looking.

    Returns
    -------
    int or None
        Number of maps applied to `K1`; None where the kernel stays below through `most_layers`.

    Raises
    ------
    InputError
        If `K1` is not positive, `growth` is not above 1, or `C_W` is not given and sigma has no slope at 0.

    Notes
    -----
    Cost: one Gaussian mean a layer, 0.3 ms. Stops early once the kernel no longer changes.
    """
    function = as_activation(activation)
    if not (K1 > 0 and growth > 1):
        raise InputError(f"K1 = {K1}, growth = {growth}.", "Give a positive kernel and a growth above 1.")
    kernels = _kernels(function, K1, _weights(function, C_W), C_b)
    for layer, K in enumerate(itertools.islice(kernels, most_layers + 1)):
        if growth * K1 < K:
            return layer
    return None


def overflow_depth(
    activation: Spec,
    K1: float,
    dtype: torch.dtype = torch.float16,
    *,
    C_W: float | None = None,
    C_b: float = 0.0,
    width: int = 128,
    inputs: int = 128,
    most_layers: int = 10_000,
) -> int | None:
    """Return the first layer, counted from 1, whose pre-activations or activations overflow in `dtype`.

    That is the first layer l with ``x > M`` or ``max |sigma(z)| > M`` over ``|z| <= x``, where M is the
    largest number of the precision (65504 for float16, 3.4e38 for bfloat16 and float32), ``x = m sqrt(K_l)``,
    and m is the expected largest absolute value of ``width * inputs`` standard Gaussian numbers.

    Parameters
    ----------
    activation : str, nn.Module, callable or Activation
        Elementwise nonlinearity.
    K1 : float
        Kernel of the first layer, the variance of its pre-activations for the largest input; positive.
    dtype : torch.dtype
        Precision of the network, of at most 32 bits.
    C_W : float, optional
        Weight variance times fan-in; by default the one that preserves a vanishing kernel.
    C_b : float
        Bias variance.
    width : int
        Neurons in a layer.
    inputs : int
        Inputs that are looked at, such as those of a batch.
    most_layers : int
        Where to stop looking.

    Returns
    -------
    int or None
        The layer; None where no layer overflows, or none of the first `most_layers`.

    Raises
    ------
    InputError
        If `K1` is not positive, `width` or `inputs` is below 1, `dtype` is no floating precision of at most
        32 bits, or `C_W` is not given and sigma has no slope at 0.

    Notes
    -----
    Kernels are those of infinite width. Networks of width 200 overflow there or one layer earlier, those of
    width 64 up to 3 earlier, because the largest of their scattered kernels overflows first; the scatter
    grows where `K1` lies near a kernel that repels. The inputs count as independent; m changes little with
    their number.
    Cost: one Gaussian mean a layer, 0.3 ms. Source: kernel recursion of arXiv:2106.10165, ch. 4.
    """
    function = as_activation(activation)
    if not (K1 > 0 and width >= 1 and inputs >= 1):
        raise InputError(
            f"K1 = {K1}, width = {width}, inputs = {inputs}.",
            "Give a positive kernel and at least one of each.",
        )
    if not dtype.is_floating_point or torch.finfo(dtype).bits > 32:
        raise InputError(
            f"dtype = {dtype}: kernels are computed in float64, so they overflow before such a network does.",
            "Give torch.float16, torch.bfloat16 or torch.float32.",
        )
    limit = torch.finfo(dtype).max
    kernels = _kernels(function, K1, _weights(function, C_W), C_b)
    for layer, K in enumerate(itertools.islice(kernels, most_layers), 1):
        reach = _largest_of(width * inputs) * math.sqrt(K)
        if reach > limit:
            return layer
        values = function(reach * torch.linspace(-1, 1, 129, dtype=torch.float64))
        if not float(values.abs().max()) <= limit:
            return layer
    return None


def _largest_of(count: int) -> float:
    """Return the expected largest absolute value of so many standard Gaussian numbers, to 4 %.

    It is the quantile ``exp(-e^-gamma/count)``, at which the limit law of maxima (Gumbel) has its mean.
    """
    above = -math.expm1(-math.exp(-np.euler_gamma) / count)
    return float(-ndtri(above / 2))


def _kernels(function: Activation, K1: float, C_W: float, C_b: float) -> Iterator[float]:
    """Yield ``K_1, K_2, ...`` until they stay or vanish; inf where the Gaussian mean overflows."""
    K = K1
    while True:
        yield K
        try:
            following = C_b + C_W * second_moment(function, K)
        except InputError:
            following = math.inf
        if following == K or following < 1e-300:
            return
        K = following


def _weights(function: Activation, C_W: float | None) -> float:
    """Return `C_W`, by default the one that preserves a vanishing kernel."""
    if C_W is not None:
        return C_W
    zero = small_kernel(function)
    if zero.steepest <= 1e-9:
        raise InputError(f"{function.name} has no slope at 0 that would set C_W.", "Give C_W.")
    return zero.C_W


def unstable_kernel(activation: Spec, C_W: float) -> float:
    """Return ``K_u(C_W)``: at ``C_b = 0`` smaller kernels decay with depth, larger ones explode.

    It is the smallest K with ``C_W <sigma^2> = K`` crossed from below; 0 where every kernel grows. As a
    function of `C_W` it is the phase boundary between decay and explosion, ``(1 - C_W)/(a1 C_W)`` near 1
    where ``sigma'(0) = 1``.

    Parameters
    ----------
    activation : str, nn.Module, callable or Activation
        Elementwise nonlinearity with ``sigma(0) = 0``.
    C_W : float
        Weight variance times fan-in, positive.

    Raises
    ------
    InputError
        If `C_W` is not positive, ``sigma(0)`` is not 0, or no kernel in [1e-9, 1e6] separates two fates.

    Notes
    -----
    Source: fixed points of the kernel map; arXiv:2408.02697 for the rectified powers.
    """
    function = _without_bias(activation, C_W)

    def drift(log_K: float) -> float:
        K = math.exp(log_K)
        return C_W * second_moment(function, K) / K - 1

    # Rounding in a critical map is not growth.
    if drift(_GRID[0]) > 1e-12 and all(drift(log_K) > 0 for log_K in _GRID[1::8]):
        return 0.0
    K = _first_rise(drift)
    if K is None:
        raise InputError(
            f"At C_W = {C_W} no kernel between 1e-9 and 1e6 separates decay from explosion for "
            f"{function.name}.",
            "Try another C_W, or critical_point for the activation's class.",
        )
    return K


def largest_bias_variance(activation: Spec, C_W: float) -> float:
    """Return ``C_b_max(C_W)``, the bias variance above which the kernel of every input explodes.

    It is the first maximum over K of ``K - C_W <sigma^2>``, where ``chi_par = 1`` and the attracting and the
    repelling fixed point merge.

    Parameters
    ----------
    activation : str, nn.Module, callable or Activation
        Elementwise nonlinearity with ``sigma(0) = 0``.
    C_W : float
        Weight variance times fan-in, positive.

    Raises
    ------
    InputError
        As for :func:`unstable_kernel`, or where K = 0 repels already.
    """
    function = _without_bias(activation, C_W)

    def excess(log_K: float) -> float:
        return C_W * second_moment_slope(function, math.exp(log_K)) - 1

    K = _first_rise(excess)
    if K is None:
        raise InputError(
            f"At C_W = {C_W} the kernel of {function.name} explodes at no bias variance, or at every one.",
            "Try another C_W, or critical_point for the activation's class.",
        )
    return K - C_W * second_moment(function, K)


def _first_rise(function: Callable[[float], float]) -> float | None:
    """Return the smallest K at which a function of ln K rises through 0; None where it does nowhere."""
    values = ((log_K, function(log_K)) for log_K in _GRID)
    for (low, before), (high, after) in itertools.pairwise(values):
        if before < 0 < after:
            return math.exp(bracketed_root(function, low, high))
    return None


def _without_bias(activation: Spec, C_W: float) -> Activation:
    function = as_activation(activation)
    if not C_W > 0:
        raise InputError(f"C_W = {C_W}.", "C_W is a variance: give a positive number.")
    zero = small_kernel(function)
    if not zero.vanishes:
        raise InputError(
            f"{function.name} has sigma(0) = {zero.at_zero:.6g}, so K = 0 is not a fixed point without bias.",
            "Use MeanField(...).fixed_point() for its kernel.",
        )
    return function
