"""The neural tangent kernel of a wide network, as a function of the distance between two inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from phasescope.activations.resolve import Spec
from phasescope.errors import InputError
from phasescope.results import Result
from phasescope.theory.correlation import PairMaps, pair_maps
from phasescope.theory.kernel import MeanField

# Relative change of the kernel in a layer below which it counts as fixed.
_SETTLED = 1e-14
# Steps of 1 % in kappa l, from a first one on: the error of a fourth-order step is then far below 1e-6.
_LIMIT_STEP = 0.01
_LIMIT_START = 1e-4


@dataclass(frozen=True)
class TangentKernel(Result):
    """Neural network Gaussian process and tangent kernel at several depths; :func:`tangent_kernel` makes it.

    Parameters
    ----------
    activation : str
        Its name.
    C_W, C_b : float
        Weight variance times fan-in, and bias variance.
    depths : ndarray of shape (D,)
        Numbers of weight layers.
    kernel : ndarray of shape (D,)
        K of one input there.
    diagonal : ndarray of shape (D,)
        Tangent kernel of one input with itself; infinite where it overflows.
    distances : ndarray of shape (D, ...)
        ``1 - c`` of the two inputs' pre-activations there.
    gap : ndarray of shape (D, ...)
        ``1 - Theta_ab/Theta_aa``, with all its digits where the two are nearly equal.
    citations : tuple of str
        Keys of the papers behind the result.
    """

    activation: str
    C_W: float
    C_b: float
    depths: np.ndarray
    kernel: np.ndarray
    diagonal: np.ndarray
    distances: np.ndarray
    gap: np.ndarray
    citations: tuple[str, ...] = ("jacot2018", "tamai2023")

    @property
    def ratio(self) -> np.ndarray:
        """``Theta_ab/Theta_aa``, shape (D, ...)."""
        return 1 - self.gap

    @property
    def tangent(self) -> np.ndarray:
        """Tangent kernel ``Theta_ab`` of the two inputs, shape (D, ...)."""
        return np.asarray(self._aligned(self.diagonal) * self.ratio)

    @property
    def nngp(self) -> np.ndarray:
        """Covariance ``K_ab`` of the two inputs' pre-activations, shape (D, ...)."""
        return np.asarray(self._aligned(self.kernel) * (1 - self.distances))

    def _aligned(self, per_depth: np.ndarray) -> np.ndarray:
        return per_depth.reshape(-1, *[1] * (self.gap.ndim - 1))


def tangent_kernel(
    activation: Spec,
    C_W: float,
    C_b: float,
    depth: int | Sequence[int],
    distances: float | Sequence[float] | np.ndarray,
    *,
    K: float | None = None,
) -> TangentKernel:
    """Return the kernels of an infinitely wide network at the given depths, for pairs of inputs of one norm.

    The network is ``z' = sqrt(C_W/n) w s(z) + sqrt(C_b) b`` with all w and b standard normal, and the
    tangent kernel the sum over all w and b of the products of the output's derivatives at the two inputs
    (NTK parametrisation, biases trained). At infinite width it obeys, layer by layer,
    ``Theta'_ab = K'_ab + C_W <s'(z_a) s'(z_b)> Theta_ab``, beginning with ``Theta = K`` at depth 1. What is
    followed is ``gap = 1 - Theta_ab/Theta_aa``: a sum of terms that are not differences, so that it is right
    at any distance.

    Parameters
    ----------
    activation : str, nn.Module, callable or Activation
        Elementwise nonlinearity s.
    C_W, C_b : float
        Weight variance times fan-in, and bias variance.
    depth : int or sequence of int
        Numbers of weight layers, 1 or more; depth 1 is a linear model.
    distances : float or array
        ``1 - c`` of the pre-activations of the first layer, in [0, 2]; of inputs, see
        :func:`input_distances`.
    K : float, optional
        Kernel of the first layer, above 0; default the fixed point's.

    Raises
    ------
    InputError
        If a depth is below 1, a distance lies outside [0, 2], the activation jumps, or no `K` is given and
        there is no fixed point above 0.

    Notes
    -----
    Cost: a layer costs 1 us a distance by closed form, 1 us a distance and ten Hermite terms otherwise; where
    the kernel still moves, 10 ms a layer more (with kinks and no closed form: seconds, see
    :func:`phasescope.theory.correlation.pair_maps`). Source: arXiv:1806.07572 for the recursion; the
    form without differences is derived here.

    Examples
    --------
    >>> from phasescope.theory import critical_line, tangent_kernel
    >>> point = critical_line("tanh", 0.3)
    >>> kernels = tangent_kernel("tanh", point.C_W, point.C_b, [101, 1001], 0.3)
    >>> kernels.ratio.round(4)
    array([0.3583, 0.3339])
    """
    depths = _checked_depths(depth)
    rho = np.asarray(distances, dtype=np.float64)
    if not ((rho >= 0) & (rho <= 2)).all():
        raise InputError(f"distances = {distances}: 1 - c lies between 0 and 2.", "Use values in [0, 2].")
    field = MeanField(activation, C_W, C_b)
    layer = _Layer(field, first_kernel(field, K), rho, fixed=K is None)
    wanted, kept = set(depths), []
    for number in range(1, max(depths) + 1):
        if number > 1:
            layer.advance()
        if number in wanted:
            kept.append((number, layer.K, layer.diagonal, layer.rho, layer.gap))
    rows = {number: row for number, *row in kept}
    kernel, diagonal, distance, gap = (np.array([rows[number][i] for number in depths]) for i in range(4))
    return TangentKernel(
        field.activation.name, field.C_W, field.C_b, np.array(depths), kernel, diagonal, distance, gap
    )


def tangent_ratio(u: float | np.ndarray) -> np.ndarray:
    """Return ``R(u) = (1 + u + u^2/3)/(1 + u)^2``, the tangent kernel's ratio on the critical line.

    With ``rho = rho_0/(1 + kappa rho_0 l)`` at depth l and ``C_W <s'_a s'_b> = 1 - 2 kappa rho``, the
    recursion becomes ``dTheta/dl = K - 2 kappa rho Theta``, solved by
    ``Theta_ab = K ((1 + u)^3 - 1)/(3 kappa rho_0 (1 + u)^2)`` with ``u = kappa rho_0 L``, against
    ``Theta_aa = K L``: all activations, biases, distances and depths enter through u alone, as L grows and
    rho_0 shrinks. R is 1 at 0 (all outputs move together: rank one) and tends to 1/3 (all pairs alike: what
    is learned of one input says nothing of another).

    Parameters
    ----------
    u : float or array
        ``kappa rho_0 L``, 0 or more.

    Notes
    -----
    Derived here, for smooth activations. The limit 1/3 is that of arXiv:1912.13053; the control by
    ``kappa L`` that of arXiv:2307.02284.
    """
    values = np.asarray(u, dtype=np.float64)
    return np.asarray((1 + values + values**2 / 3) / (1 + values) ** 2)


def deep_tangent_ratio(distances: float | np.ndarray, kappa_L: float) -> np.ndarray:
    r"""Return ``Theta_ab/Theta_aa`` as depth L grows at fixed ``kappa L``, at any distance of the inputs.

    Along the critical line of an odd activation ``kappa`` vanishes with the bias, and with
    ``phi(z) = a (z - b z^3 + ...)`` all that is left of the map is ``1 - c' = rho - kappa g(rho)``
    with ``g = rho^2 - rho^3/3``. In ``s = kappa l`` the layers become ``d rho/ds = -g(rho)`` and, with
    ``Theta_ab = (K/kappa) T``, ``dT/ds = 1 - rho - g'(rho) T``, against ``T = s`` for one input. So the
    ratio depends on the distance and on kappa L alone, whatever the activation; for small distances it is
    ``tangent_ratio(kappa rho L)``, and for ``kappa L -> 0`` the linear network's ``1 - rho``.

    Parameters
    ----------
    distances : ndarray
        ``1 - c`` of the inputs, in [0, 2].
    kappa_L : float
        Above 0.

    Raises
    ------
    InputError
        If `kappa_L` is not positive and finite, or a distance lies outside [0, 2].

    Notes
    -----
    Runge and Kutta's method of order four, some 1000 steps of 0.1 us a distance. Derived here.

    Examples
    --------
    >>> from phasescope.theory import deep_tangent_ratio
    >>> deep_tangent_ratio([0.1, 0.5, 1.0], 3.0).round(4)
    array([0.7248, 0.3879, 0.2671])
    """
    rho = np.asarray(distances, dtype=np.float64)
    if not (0 < kappa_L < np.inf and ((rho >= 0) & (rho <= 2)).all()):
        raise InputError(
            f"distances = {distances}, kappa_L = {kappa_L}.", "Use distances in [0, 2] and kappa_L above 0."
        )
    start = min(_LIMIT_START, kappa_L)
    count = math.ceil(math.log(kappa_L / start) / _LIMIT_STEP)
    edges = np.concatenate([[0.0], np.geomspace(start, kappa_L, count + 1)])
    state = np.stack([rho, np.zeros(rho.shape)])
    for step in np.diff(edges):
        k1 = _limit_slope(state)
        k2 = _limit_slope(state + step / 2 * k1)
        k3 = _limit_slope(state + step / 2 * k2)
        k4 = _limit_slope(state + step * k3)
        state = state + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return np.asarray(state[1] / kappa_L)


def _limit_slope(state: np.ndarray) -> np.ndarray:
    rho, kernel = state
    return np.stack([-(rho**2) * (1 - rho / 3), 1 - rho - rho * (2 - rho) * kernel])


def first_kernel(field: MeanField, K: float | None) -> float:
    """Return the kernel of the first layer, the fixed point's where none is given."""
    if K is not None:
        if not 0 < K < np.inf:
            raise InputError(f"K = {K} is no kernel of a first layer.", "Use a positive number.")
        return float(K)
    point = field.fixed_point()
    if not 0 < point.K < np.inf:
        raise InputError(
            f"{field!r}: the kernel goes to {point.K:g}, where there is no tangent kernel.",
            "Name the kernel of the first layer, as in K=1.0.",
        )
    return point.K


def _checked_depths(depth: int | Sequence[int]) -> list[int]:
    depths = [int(value) for value in np.atleast_1d(np.asarray(depth))]
    if not depths or min(depths) < 1 or not np.array_equal(depths, np.atleast_1d(np.asarray(depth))):
        raise InputError(f"depth = {depth}.", "Give whole numbers of weight layers, at least 1.")
    return depths


class _Layer:
    """The pair's state at one layer: kernel, distance, and the tangent kernel's diagonal and gap."""

    def __init__(self, field: MeanField, K: float, rho: np.ndarray, *, fixed: bool) -> None:
        self.field, self.K, self.fixed = field, K, fixed
        self.rho, self.gap, self.diagonal = rho, rho, K
        self.maps, self.chi = self._at_this_kernel()

    def advance(self) -> None:
        field = self.field
        K = self.K if self.fixed else field.kernel_map(self.K)
        rho = np.minimum(field.C_W / K * self.maps.values(self.rho), 2.0)
        lost = field.C_W * self.maps.slopes(self.rho)
        with np.errstate(over="ignore"):
            diagonal = float(K + np.float64(self.chi) * self.diagonal)
        fresh = K / diagonal
        inherited = (1 - fresh) * (lost / self.chi + (1 - lost / self.chi) * self.gap) if self.chi else 0.0
        self.gap = fresh * rho + inherited
        self.rho, self.diagonal = rho, diagonal
        if not self.fixed:
            self._move(K)

    def _move(self, K: float) -> None:
        self.fixed = abs(K - self.K) <= _SETTLED * K
        if K != self.K:
            self.K = K
            self.maps, self.chi = self._at_this_kernel()

    def _at_this_kernel(self) -> tuple[PairMaps, float]:
        return pair_maps(self.field.activation, self.K), self.field.chi_perpendicular(self.K)
