"""The critical line of an activation at a given bias, and the scales of depth along it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import torch

from phasescope.activations import Activation, as_activation
from phasescope.activations.resolve import Spec
from phasescope.errors import InputError, NoCriticalPointError
from phasescope.results import Result
from phasescope.theory._root import crossings
from phasescope.theory.correlation import derivative_jumps
from phasescope.theory.finite_width import growth_statistics
from phasescope.theory.gaussian import expectation
from phasescope.theory.moments import mean_square_slope, second_moment

_DECADES = (-6.0, 6.0)
_PER_DECADE = 4
# Where phi phi'' = 0, as for soft shrinkage, chi_q is chi_1 = 1 up to rounding.
_ATTRACTS = 1 - 1e-9


@dataclass(frozen=True)
class CriticalLinePoint(Result):
    """A point of the critical line ``chi_1 = 1``; :func:`critical_line` makes it.

    Near the line, ``rho = 1 - c`` of two inputs obeys ``rho' = chi_1 rho - kappa rho^2 + k3 rho^3 - ...``.

    Parameters
    ----------
    activation : str
        Its name.
    sigma_b : float
        Standard deviation of the biases.
    sigma_w : float
        Critical standard deviation of the weights times ``sqrt(fan_in)``, at infinite width.
    K : float
        Fixed point of the kernel there.
    chi_q : float
        Factor per layer by which deviations of the kernel from `K` shrink.
    kappa : float
        ``sigma_w^2 K <phi''^2>/2``: on the line ``rho -> 1/(kappa l)``. NaN where the slope of phi jumps.
    gamma : float
        ``d chi_1/d sigma_w`` along the kernel's fixed point: the depth scale is
        ``1/(gamma |sigma_w - sigma_wc|)``.
    gamma_b : float
        ``d chi_1/d sigma_b`` along the same.
    k3 : float
        ``sigma_w^2 K^2 <phi'''^2>/6``. NaN where the second derivative of phi jumps.
    v, d0 : float
        At width n, the log of a small difference's squared norm grows by ``d0/n`` per layer and its
        variance by ``v/n``.
    notes : tuple of str
        Why a value is NaN.
    citations : tuple of str
        Keys of the papers behind the result.
    """

    activation: str
    sigma_b: float
    sigma_w: float
    K: float
    chi_q: float
    kappa: float
    gamma: float
    gamma_b: float
    k3: float
    v: float
    d0: float
    notes: tuple[str, ...] = ()
    citations: tuple[str, ...] = ("poole2016", "schoenholz2017", "tamai2023")

    @property
    def C_W(self) -> float:
        """Weight variance times fan-in, ``sigma_w^2``."""
        return self.sigma_w**2

    @property
    def C_b(self) -> float:
        """Bias variance, ``sigma_b^2``."""
        return self.sigma_b**2

    def sigma_w_at_width(self, n: int) -> float:
        """Return ``sigma_w - d0/(gamma n)``, where small differences neither grow nor shrink at width `n`.

        Parameters
        ----------
        n : int
            Neurons in each layer; the correction is of order 1/n and the next one is left out.

        Raises
        ------
        InputError
            If `n` is below 1.
        """
        if n < 1:
            raise InputError(f"n = {n}.", "Give the number of neurons in a layer, at least 1.")
        return self.sigma_w - self.d0 / (self.gamma * n)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values; None in place of NaN."""
        values: dict[str, Any] = {}
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, float) and math.isnan(value):
                value = None
            values[entry.name] = list(value) if isinstance(value, tuple) else value
        return values

    def __str__(self) -> str:
        lines = [
            f"{self.activation}: critical line at sigma_b = {self.sigma_b:g}",
            f"  sigma_w = {self.sigma_w:.9g}   K* = {self.K:.9g}   chi_q = {self.chi_q:.6g}",
            f"  kappa = {self.kappa:.6g}   k3 = {self.k3:.6g}   gamma = {self.gamma:.6g}",
            f"  at width n: sigma_w(n) = {self.sigma_w:.6g} {-self.d0 / self.gamma:+.4g}/n   v = {self.v:.4g}"
            f"   d0 = {self.d0:.4g}",
        ]
        return "\n".join(lines + [f"  {note}" for note in self.notes])


def critical_line(activation: Spec, sigma_b: float) -> CriticalLinePoint:
    """Return the critical ``sigma_w`` at bias `sigma_b`, with depth scales and finite-width corrections.

    Solves ``(K - sigma_b^2) <phi'^2>/<phi^2> = 1`` for the kernel's fixed point K, so that
    ``chi_1 = sigma_w^2 <phi'^2> = 1`` with ``sigma_w^2 = (K - sigma_b^2)/<phi^2>``. Derivatives by K are
    taken of the Gaussian density, so kinks of the activation do no harm.

    Parameters
    ----------
    activation : str, nn.Module, callable or Activation
        Elementwise nonlinearity.
    sigma_b : float
        Standard deviation of the biases, positive; at 0 the line ends in :func:`critical_point`.

    Raises
    ------
    InputError
        If `sigma_b` is not a positive finite number.
    NoCriticalPointError
        If no kernel has ``chi_1 = 1``, or none of those attracts (``chi_q >= 1``); the message says which.

    Notes
    -----
    Cost: some 60 Gaussian means, 0.1 s. Of several solutions the one of smallest K that attracts is returned.
    Source: arXiv:1606.05340 and arXiv:1611.01232 for chi_1 and the line, arXiv:2307.02284 for kappa and
    gamma; v and d0 follow from the linear dynamics of a tangent vector at order 1/n.
    """
    if not (sigma_b > 0 and math.isfinite(sigma_b)):
        raise InputError(
            f"sigma_b = {sigma_b}.", "Give a positive standard deviation; without bias use critical_point."
        )
    function = as_activation(activation)
    roots = _kernels(function, sigma_b**2)
    repelling = []
    for K in roots:
        square = second_moment(function, K)
        C_W = (K - sigma_b**2) / square
        statistics = growth_statistics(function, K, C_W)
        if statistics.chi_q < _ATTRACTS:
            return _point(function, sigma_b, K, C_W, square)
        repelling.append(f"K = {K:.6g} with chi_q = {statistics.chi_q:.4g}")
    if repelling:
        raise NoCriticalPointError(
            f"{function.name} at sigma_b = {sigma_b:g}: chi_1 = 1 only where the kernel's fixed point does "
            f"not attract ({', '.join(repelling)}), so no deep network stays there."
        )
    raise NoCriticalPointError(
        f"{function.name} at sigma_b = {sigma_b:g}: no kernel between {_bounds(sigma_b)} has chi_1 = 1 "
        "together with K = sigma_w^2 <phi^2> + sigma_b^2. Use critical_point, or another sigma_b."
    )


def _bounds(sigma_b: float) -> str:
    return " and ".join(f"{sigma_b**2 * (1 + 10.0**decade):.3g}" for decade in _DECADES)


def _kernels(function: Activation, C_b: float) -> list[float]:
    """Return every K of the scan where the fixed point has chi_1 = 1, ascending."""

    def excess(log_surplus: float) -> float:
        surplus = math.exp(log_surplus)
        return (
            surplus * mean_square_slope(function, C_b + surplus) / second_moment(function, C_b + surplus) - 1
        )

    count = round((_DECADES[1] - _DECADES[0]) * _PER_DECADE) + 1
    grid = (torch.linspace(*_DECADES, count, dtype=torch.float64) * math.log(10) + math.log(C_b)).tolist()
    values = []
    for log_surplus in grid:
        try:
            values.append((log_surplus, excess(log_surplus)))
        except ZeroDivisionError:
            # Flat as far as a kernel as small as this one reaches.
            continue
        except InputError:
            # The activation overflows beyond this kernel.
            break
    return [C_b + math.exp(log_surplus) for log_surplus in crossings(excess, values)]


def _point(function: Activation, sigma_b: float, K: float, C_W: float, square: float) -> CriticalLinePoint:
    statistics = growth_statistics(function, K, C_W)
    sigma_w = math.sqrt(C_W)
    # Along the fixed point, dK = (2 sigma_w <phi^2> dsigma_w + 2 sigma_b dsigma_b)/(1 - chi_q).
    response = statistics.log_slope / (1 - statistics.chi_q)
    slope_jumps, curvature_jumps = (derivative_jumps(function, order) for order in (1, 2))
    kappa = math.nan if slope_jumps else C_W * K * _squared_derivative(function, K, 2) / 2
    k3 = math.nan if slope_jumps or curvature_jumps else C_W * K**2 * _squared_derivative(function, K, 3) / 6
    notes = []
    if slope_jumps:
        notes.append("kappa and k3: the slope of the activation jumps, so 1 - c enters as (1 - c)^(3/2).")
    elif curvature_jumps:
        notes.append("k3: the second derivative of the activation jumps, so 1 - c enters as (1 - c)^(5/2).")
    return CriticalLinePoint(
        activation=function.name,
        sigma_b=sigma_b,
        sigma_w=sigma_w,
        K=K,
        chi_q=statistics.chi_q,
        kappa=kappa,
        gamma=2 / sigma_w + 2 * sigma_w * square * response,
        gamma_b=2 * sigma_b * response,
        k3=k3,
        v=statistics.v,
        d0=statistics.d0,
        notes=tuple(notes),
    )


def _squared_derivative(function: Activation, K: float, order: int) -> float:
    mean = expectation(lambda z: function.derivative(z, order).square(), K, kinks=function.kinks)
    return float(mean)
