"""How wide a network has to be for its depth."""

from __future__ import annotations

import math

from phasescope.activations import as_activation
from phasescope.activations.resolve import Spec
from phasescope.errors import InputError, NoCriticalPointError
from phasescope.theory.critical import critical_point
from phasescope.theory.finite_width import four_point_vertex, vertex_rate_of_fixed_point

# Any kernel does for a scale-invariant activation; this one is small enough for those that saturate.
_SMALL = 1e-2
_ROUNDING = 1e-6  # of a width that is a whole number


def vertex_rate(activation: Spec, *, residual: float = 0.0) -> float:
    """Return ``nu`` of ``Var(K) = nu K^2 L/n``, the spread over critical networks of width n at depth L.

    Without a residual weight: ``3 A4/A2^2 - 1`` for scale-invariant activations (ReLU 5, linear 2), 2/3 for
    the stable K* = 0 class, ``C_W^2 (<sigma^4> - <sigma^2>^2)/K*^2`` at a half-stable point, and 14/3 where
    ``a1 > 0`` and the first-layer kernel is ``1/(2 a1 L)``. A residual weight r multiplies the rates at K*
    = 0 by ``1 - r^4``; with ``q = 1 - r^2`` the others become ``q [q nu + 2 r^2 C_W (<z^2 sigma^2> - K
    <sigma^2>)/K^2 + 2 r (1 + r) C_W^2 <z sigma^2>^2/K^3]``, where the second term is ``4 r^2`` for
    scale-invariant activations and the third vanishes for odd ones.

    Parameters
    ----------
    activation : str, nn.Module, callable or Activation
        Elementwise nonlinearity.
    residual : float
        Residual weight r in [0, 1): ``z' = r z + W sigma + b`` with ``C_W`` and ``C_b`` times ``1 - r^2``.

    Raises
    ------
    InputError
        If `residual` is out of range.
    NoCriticalPointError
        If the activation has no critical point.

    Notes
    -----
    Source: arXiv:2106.10165, ch. 5 and app. B. The value 14/3 follows from its recursion for ``a1 > 0``; the
    last residual term (see :func:`four_point_vertex`) is not in the formulas in use and was checked on
    sampled networks.
    """
    if not 0 <= residual < 1:
        raise InputError(f"residual = {residual}.", "The residual weight lies in [0, 1).")
    function = as_activation(activation)
    point = critical_point(function)
    if point.C_W is None or point.nu is None:
        raise NoCriticalPointError(f"{point.activation} has no critical initialisation. {point.reason}")
    if point.universality_class == "K*=0":
        return point.nu * (1 - residual**4)
    K = _SMALL if point.K is None else point.K
    return vertex_rate_of_fixed_point(function, K, point.C_W, residual)


def aspect_ratio(
    activation: Spec,
    *,
    outputs: int = 1,
    residual: float = 0.0,
) -> float:
    """Return ``r* = 4/((20 + 3 n_out) nu)``, the ratio of depth to width L/n that serves learning best.

    Shallower networks learn few representations, deeper ones differ too much from each other.

    Parameters
    ----------
    activation : str, nn.Module, callable or Activation
        Elementwise nonlinearity with a critical point.
    outputs : int
        Number of output neurons ``n_out``.
    residual : float
        Residual weight in [0, 1); see :func:`vertex_rate`.

    Raises
    ------
    InputError
        If `outputs` is below 1.

    Notes
    -----
    Source: arXiv:2106.10165, app. A (by an information-theoretic argument, at leading order in L/n).
    """
    if outputs < 1:
        raise InputError(f"outputs = {outputs}.", "Give the number of output neurons, at least 1.")
    return 4 / ((20 + 3 * outputs) * vertex_rate(activation, residual=residual))


def width_for_depth(
    activation: Spec,
    depth: int,
    *,
    spread: float,
    K1: float | None = None,
    C_W: float | None = None,
    C_b: float = 0.0,
    residual: float = 0.0,
) -> int:
    r"""Return the width at which the kernel of random networks of a depth differs by no more than `spread`.

    The kernel is the mean square of the pre-activations after `depth` hidden layers of n neurons. Over random
    networks its relative standard deviation is, with ``nu`` of :func:`vertex_rate`,

    .. math:: \frac{\textrm{std}\,K}{\langle K\rangle} = \sqrt{(1 + \nu/n)^L - 1} \approx \sqrt{\nu L/n}.

    Parameters
    ----------
    activation : str, nn.Module, callable or Activation
        Elementwise nonlinearity.
    depth : int
        Number L of hidden layers.
    spread : float
        The largest relative standard deviation allowed, for example 0.3; above 0.
    K1 : float, optional
        Kernel of the first layer. With `C_W` the width is that of these weights and not of critical ones.
    C_W, C_b : float, optional
        Weight variance times fan-in, and bias variance; `C_W` together with `K1`.
    residual : float
        Residual weight in [0, 1); see :func:`vertex_rate`.

    Raises
    ------
    InputError
        If `depth` is below 1, `spread` not positive, or `K1` and `C_W` are not given together; or as in
        :func:`four_point_vertex`.
    NoCriticalPointError
        If the activation has no critical point, and no `K1` and `C_W` are given.

    Notes
    -----
    The product is exact at any width for scale-invariant activations (linear, ReLU, leaky ReLU) without a
    residual weight, whether critical or not. For others it is ``nu L/n``, the leading order in 1/n: trust it
    for a spread below about 0.5. Without `K1`, ``nu`` is that deep in a critical network; a tanh network
    needs some ten layers to come near it, and with `K1` and `C_W` the layers are summed one by one. The
    spread of gradients is of the same order, not the same. Cost: as :func:`critical_point`, or one Gaussian
    mean a layer. Source: arXiv:2106.10165, ch. 4; the product is derived here.

    Examples
    --------
    >>> from phasescope.theory import width_for_depth
    >>> width_for_depth("relu", 10, spread=0.5)
    222
    >>> width_for_depth("tanh", 10, spread=0.5)
    27
    """
    if depth < 1:
        raise InputError(f"depth = {depth}.", "Give the number of hidden layers, at least 1.")
    if not (spread > 0 and math.isfinite(spread)):
        raise InputError(f"spread = {spread}.", "Give a positive number, such as 0.3.")
    if (K1 is None) != (C_W is None) or (C_W is None and C_b):
        raise InputError(
            f"K1 = {K1}, C_W = {C_W} and C_b = {C_b} do not say which network is meant.",
            "Give both K1 and C_W, or none of the three for a critical network.",
        )
    function = as_activation(activation)
    if K1 is not None and C_W is not None:
        flow = four_point_vertex(function, [1] * depth, K1, C_W=C_W, C_b=C_b, residual=residual)
        rate = float(flow.variance[-1] / flow.K[-1] ** 2) / depth
    else:
        rate = vertex_rate(function, residual=residual)
    scale_invariant = critical_point(function).universality_class == "scale-invariant"
    if scale_invariant and not C_b and not residual:
        return max(1, math.ceil(rate / math.expm1(math.log1p(spread**2) / depth) - _ROUNDING))
    return max(1, math.ceil(rate * depth / spread**2 - _ROUNDING))
