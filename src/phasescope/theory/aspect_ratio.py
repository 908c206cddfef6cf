"""How wide a network has to be for its depth."""

from __future__ import annotations

from phasescope.activations import as_activation
from phasescope.activations.resolve import Spec
from phasescope.errors import InputError, NoCriticalPointError
from phasescope.theory.critical import critical_point
from phasescope.theory.finite_width import vertex_rate_of_fixed_point

# Any kernel does for a scale-invariant activation; this one is small enough for those that saturate.
_SMALL = 1e-2


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
