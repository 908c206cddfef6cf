"""The exact scaling function of correlation decay at finite width, ``n rho -> f(l/n)``."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import digamma

from phasescope.errors import InputError
from phasescope.results import Result
from phasescope.theory.critical_line import CriticalLinePoint

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]
Transform = Callable[[Complex], Complex]

_NODES = 28


@dataclass(frozen=True)
class FiniteWidthScaling(Result):
    r"""Laws of ``X(t) = lim n rho`` at depth ``l = t n`` on the critical line; :func:`finite_width_scaling`.

    ``dX = (a X - kappa X^2) dt + sqrt(v) X dW`` (Ito), started at infinity, has the solution
    ``X = G/(kappa int_0^t G)`` with ``G = exp((a - v/2) t + sqrt(v) W)``.

    Parameters
    ----------
    kappa, v, a : float
        As in :class:`CriticalLinePoint`, with ``a = d0 + v/2``.
    citations : tuple of str
        Keys of the papers behind the result.
    """

    kappa: float
    v: float
    a: float
    citations: tuple[str, ...] = ("tamai2023", "matsumoto2005")

    @property
    def order(self) -> float:
        """The index ``nu = 1 - 2a/v`` of the exponential functional behind X."""
        return 1 - 2 * self.a / self.v

    def mean(self, t: ArrayLike) -> Array:
        """Return ``f(t) = E X(t)``, what ``n E rho`` tends to at depth ``l = t n``.

        With ``A_tau = int_0^tau exp(2 (B_s + nu s)) ds``, X is ``v/(4 kappa A)`` at ``tau = v t/4`` in law.
        At an exponential time of rate p, A is ``B/(2 Gamma)`` of independent beta(1, alpha) and gamma(beta)
        variables with ``alpha, beta = (sqrt(2p + nu^2) +- nu)/2``, so that p times the Laplace transform of
        ``E ln A`` is ``psi(1) - ln 2 - psi(1 + alpha) - psi(beta)``. By
        ``d E ln X = (a - v/2 - kappa E X) dt`` that gives
        ``f = v/(4 kappa) L^-1[-psi(alpha) - psi(1 + beta)](v t/4)``. Small t:
        ``kappa f = 1/t + a/2 - v/6 + O(t)``.

        Parameters
        ----------
        t : array
            Depth over width, positive; anything else is an InputError.

        Notes
        -----
        Relative error below 1e-10. Cost: 28 pairs of digammas an entry. Source: the law at exponential times
        is Yor's (math/0511517); the rest is derived here.
        """
        return self._mean_at(t, self.order)

    def typical(self, t: ArrayLike) -> Array:
        """Return ``exp E ln X(t)``, what ``n exp E ln rho`` tends to.

        Small t: ``(1 + a t/2 - v t/3)/(kappa t)``.

        Parameters
        ----------
        t : array
            Depth over width, positive.
        """
        nu, tau = self.order, self._tau(t)

        def transform(p: Complex) -> Complex:
            alpha, beta = _indices(p, nu)
            return np.asarray((np.log(p / 2) - digamma(1 + alpha) - digamma(beta)) / p)

        # ln A = ln tau + a smooth rest, of which this is the transform.
        return np.asarray(np.exp(-_inverted(transform, tau, 0.0)) * self.v / (4 * self.kappa * tau))

    def onset(self, t: ArrayLike) -> Array:
        """Return ``g(t) = E[X^2/G]``: a start at ``x0`` instead of infinity gives ``f - g/x0``.

        A network's first layers act like such a start: ``1/rho = kappa l + (kappa - k3/kappa) ln l + const``
        for ``l << n`` joins the law above with ``1/x0 = ((kappa - k3/kappa) ln n + const)/n``. This is the
        leading correction to scaling.

        Parameters
        ----------
        t : array
            Depth over width, positive.

        Notes
        -----
        ``E[G/(int G)^2] = -d/dt E[1/int_0^t G]``, and the functional of G itself has index ``-nu``. Derived
        here.
        """
        nu = -self.order
        factor = (self.v / (4 * self.kappa)) ** 2
        tau = self._tau(t)
        return -factor * _inverted(lambda p: p * _mean_transform(p, nu), tau, _rightmost(abs(nu)))

    def typical_onset(self, t: ArrayLike) -> Array:
        """Return ``E[X/G]``: a start at x0 instead of infinity lowers ``E ln X`` by ``E[X/G]/x0``.

        Parameters
        ----------
        t : array
            Depth over width, positive.

        Notes
        -----
        ``X/G = 1/(kappa int_0^t G)``, an exponential functional of index ``-nu``. Derived here.
        """
        return self._mean_at(t, -self.order)

    def departure(self, fraction: float) -> float:
        """Return the t at which ``kappa t f(t)`` has fallen to ``1 - fraction``.

        Up to there the flow at infinite width, ``rho = 1/(kappa l)``, holds to that fraction: a network of
        depth L needs a width of at least ``L/t``.

        Parameters
        ----------
        fraction : float
            Between 0 and 1.

        Raises
        ------
        InputError
            If `fraction` is out of range, or f departs upwards (``a > v/3``).
        """
        if not 0 < fraction < 1:
            raise InputError(f"fraction = {fraction}.", "Choose it between 0 and 1.")
        low, high = 1e-4 / self.v, 1e3 / self.v
        if self.a >= self.v / 3:
            raise InputError(f"a = {self.a:.4g}, v = {self.v:.4g}.", "f departs downwards only for a < v/3.")
        for _ in range(60):
            middle = math.sqrt(low * high)
            below = self.kappa * middle * float(self.mean(middle)) < 1 - fraction
            low, high = (low, middle) if below else (middle, high)
        return low

    def _mean_at(self, t: ArrayLike, nu: float) -> Array:
        """Return the mean for an exponential functional of index nu."""
        found = _inverted(lambda p: _mean_transform(p, nu), self._tau(t), _rightmost(nu))
        return found * self.v / (4 * self.kappa)

    def _tau(self, t: ArrayLike) -> Array:
        given = np.asarray(t, dtype=np.float64)
        if not (np.isfinite(given) & (given > 0)).all():
            raise InputError(f"t = {given.min()}.", "Give a positive depth over width.")
        return np.asarray(given * self.v / 4)


def finite_width_scaling(point: CriticalLinePoint) -> FiniteWidthScaling:
    """Return the scaling functions of a point of the critical line: ``n rho -> f(l/n)`` as n grows.

    Parameters
    ----------
    point : CriticalLinePoint
        Gives kappa, v and d0.

    Raises
    ------
    InputError
        If kappa is NaN (the activation's slope jumps), where rho decays with another power.
    """
    if math.isnan(point.kappa):
        raise InputError(f"{point.activation} has no kappa.", "Its slope jumps; rho falls as 1/l^2 instead.")
    return FiniteWidthScaling(point.kappa, point.v, point.d0 + point.v / 2)


def _indices(p: Complex, nu: float) -> tuple[Complex, Complex]:
    root: Complex = np.asarray(np.sqrt(2 * p + nu**2))
    return (root + nu) / 2, (root - nu) / 2


def _mean_transform(p: Complex, nu: float) -> NDArray[np.complex128]:
    alpha, beta = _indices(p, nu)
    return np.asarray(-digamma(alpha) - digamma(1 + beta))


def _rightmost(nu: float) -> float:
    """Return the rightmost singularity of the transform of the mean: a pole or the branch point."""
    if nu < 0:
        return 0.0
    return -(nu**2) / 2 if nu <= 2 else 2 - 2 * nu


def _inverted(transform: Transform, tau: Array, rightmost: float) -> Array:
    """Return the inverse Laplace transform, on a contour around the real axis left of `rightmost`.

    The contour and its rate of convergence, ``3.89^-nodes``, are those of Trefethen, Weideman and Schmelzer
    (BIT 46, 653, 2006).
    """
    angle = np.pi * (2 * np.arange(_NODES) + 1) / _NODES - np.pi
    cotangent = 1 / np.tan(0.6407 * angle)
    place = _NODES * (-0.6122 + 0.5017 * angle * cotangent + 0.2645j * angle)
    bend = angle * 0.6407 / np.sin(0.6407 * angle) ** 2
    slope = _NODES * (0.5017 * (cotangent - bend) + 0.2645j)
    flat = tau.reshape(-1, 1)
    values = (
        transform(np.asarray(rightmost + place / flat, dtype=np.complex128)) * np.exp(place) * slope / flat
    )
    found = (values.sum(axis=1) / (1j * _NODES)).real * np.exp(rightmost * flat[:, 0])
    return np.asarray(found.reshape(tau.shape))
