"""Gaussian means that are known in closed form: leaky ReLU, erf, sin, cos, RePU_p and MRePU_p."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from phasescope.activations import Activation
from phasescope.errors import InputError
from phasescope.theory.rectified_power import repu_coefficient


class ClosedForm(Protocol):
    """What is known of an activation s for ``z ~ N(0, K)``, K > 0."""

    def second_moment(self, K: float) -> float:
        """Return ``<s^2>``."""

    def second_moment_slope(self, K: float) -> float:
        """Return ``d<s^2>/dK = <z s s'>/K``."""

    def mean_square_slope(self, K: float) -> float:
        """Return ``<s'^2>``."""


class PairForm(ClosedForm, Protocol):
    """The same with two correlated inputs."""

    def product(self, K_aa: float, K_ab: float, K_bb: float) -> float:
        """Return ``<s(z_a) s(z_b)>`` for the covariance with these entries."""

    def half_square_difference(self, K: float, rho: np.ndarray) -> np.ndarray:
        """Return ``<(s(z_a) - s(z_b))^2>/2`` at variances K and correlation ``1 - rho``."""

    def half_square_slope_difference(self, K: float, rho: np.ndarray) -> np.ndarray:
        """Return ``<(s'(z_a) - s'(z_b))^2>/2`` there."""


class LeakyReLU:
    """``s(z) = z`` for z > 0, ``slope z`` below; slope 0 is ReLU, slope 1 the identity.

    With ``theta`` the angle between the inputs, ``<s_a s_b> = sqrt(K_aa K_bb) [(1 + a)^2/4 cos(theta) +
    (1 - a)^2/(2 pi) (sin(theta) + (pi/2 - theta) cos(theta))]`` (Cho and Saul 2009, arc-cosine kernel of
    degree 1).
    """

    def __init__(self, slope: float) -> None:
        self.even = (1 - slope) / 2
        self.odd = (1 + slope) / 2

    def second_moment(self, K: float) -> float:
        """Return ``K (1 + a^2)/2``."""
        return (self.odd**2 + self.even**2) * K

    def second_moment_slope(self, K: float) -> float:
        """Return ``(1 + a^2)/2``."""
        return self.odd**2 + self.even**2

    def mean_square_slope(self, K: float) -> float:
        """Return ``(1 + a^2)/2``."""
        return self.odd**2 + self.even**2

    def product(self, K_aa: float, K_ab: float, K_bb: float) -> float:
        size = math.sqrt(K_aa) * math.sqrt(K_bb)
        if size == 0:
            return 0.0
        c = max(-1.0, min(1.0, K_ab / size))
        rectified = 2 / math.pi * (math.sqrt((1 - c) * (1 + c)) + c * math.asin(c))
        return size * (self.odd**2 * c + self.even**2 * rectified)

    def half_square_difference(self, K: float, rho: np.ndarray) -> np.ndarray:
        """Return ``K [(1 + a^2)/2 rho - (1 - a)^2/(2 pi) (sin(theta) - theta cos(theta))]``."""
        theta = 2 * np.arcsin(np.sqrt(rho / 2))
        linear = (self.odd**2 + self.even**2) * rho
        return np.asarray(K * (linear - self.even**2 * 2 / math.pi * _sine_excess(theta, rho)))

    def half_square_slope_difference(self, K: float, rho: np.ndarray) -> np.ndarray:
        """Return ``(1 - a)^2 theta/(2 pi)``."""
        return np.asarray(self.even**2 * 4 / math.pi * np.arcsin(np.sqrt(rho / 2)))


def _sine_excess(theta: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """Return ``sin(theta) - theta cos(theta)``, by its series where the two cancel."""
    small = np.minimum(theta, 0.7)
    series = np.zeros_like(small)
    for k in range(10, 0, -1):
        # (-1)^(k+1) 2k theta^(2k+1)/(2k+1)!, nested in theta^2.
        series = (-1) ** (k + 1) * 2 * k / math.factorial(2 * k + 1) + small**2 * series
    return np.asarray(np.where(theta < 0.7, small**3 * series, np.sin(theta) - theta * (1 - rho)))


class Erf:
    """``s(z) = erf(z)``, from Williams 1997.

    ``<s_a s_b> = (2/pi) asin(2 K_ab/sqrt((1 + 2 K_aa)(1 + 2 K_bb)))``.
    """

    def second_moment(self, K: float) -> float:
        """Return ``(2/pi) asin(2K/(1 + 2K))``."""
        # asin by atan, which keeps its precision where the argument tends to 1.
        return 2 / math.pi * math.atan2(2 * K, math.sqrt(1 + 4 * K))

    def second_moment_slope(self, K: float) -> float:
        """Return ``(4/pi)/((1 + 2K) sqrt(1 + 4K))``."""
        return 4 / math.pi / ((1 + 2 * K) * math.sqrt(1 + 4 * K))

    def mean_square_slope(self, K: float) -> float:
        """Return ``(4/pi)/sqrt(1 + 4K)``."""
        return 4 / math.pi / math.sqrt(1 + 4 * K)

    def product(self, K_aa: float, K_ab: float, K_bb: float) -> float:
        determinant = max(0.0, K_aa * K_bb - K_ab**2)
        cosine = math.sqrt(1 + 2 * K_aa + 2 * K_bb + 4 * determinant)
        return 2 / math.pi * math.atan2(2 * K_ab, cosine)

    def half_square_difference(self, K: float, rho: np.ndarray) -> np.ndarray:
        """Return ``(2/pi) (asin A - asin(A (1 - rho)))`` with ``A = 2K/(1 + 2K)``, by its sine."""
        A = 2 * K / (1 + 2 * K)
        B = A * (1 - rho)
        cos_a = math.sqrt(1 + 4 * K) / (1 + 2 * K)
        cos_b = np.sqrt(cos_a**2 + A * A * rho * (2 - rho))
        near = A * rho * (2 - rho) / (cos_b + np.maximum(1 - rho, 0) * cos_a)
        sine = np.where(B > 0, near, A * cos_b - B * cos_a)
        return np.asarray(2 / math.pi * np.arctan2(sine, cos_a * cos_b + A * B))

    def half_square_slope_difference(self, K: float, rho: np.ndarray) -> np.ndarray:
        """Return ``(4/pi)(1/a - 1/b)`` with ``a^2 = 1 + 4K`` and ``b^2 = a^2 + 4 K^2 rho (2 - rho)``."""
        near = math.sqrt(1 + 4 * K)
        gain = 4 * K * K * rho * (2 - rho)
        far = np.sqrt(near**2 + gain)
        return np.asarray(4 / math.pi * gain / (near * far * (near + far)))


class Sine:
    """``s(z) = sin(z)``: ``<s_a s_b> = exp(-(K_aa + K_bb)/2) sinh(K_ab)``."""

    def second_moment(self, K: float) -> float:
        """Return ``(1 - e^(-2K))/2``."""
        return -math.expm1(-2 * K) / 2

    def second_moment_slope(self, K: float) -> float:
        """Return ``e^(-2K)``."""
        return math.exp(-2 * K)

    def mean_square_slope(self, K: float) -> float:
        """Return ``(1 + e^(-2K))/2``."""
        return (1 + math.exp(-2 * K)) / 2

    def product(self, K_aa: float, K_ab: float, K_bb: float) -> float:
        near, far = (K_aa + K_bb) / 2 - abs(K_ab), (K_aa + K_bb) / 2 + abs(K_ab)
        return math.copysign(math.exp(-near) * -math.expm1(near - far) / 2, K_ab)

    def half_square_difference(self, K: float, rho: np.ndarray) -> np.ndarray:
        """Return ``(1 - e^(-K rho))(1 + e^(-K (2 - rho)))/2``."""
        return np.asarray(-np.expm1(-K * rho) * (1 + np.exp(-K * (2 - rho))) / 2)

    def half_square_slope_difference(self, K: float, rho: np.ndarray) -> np.ndarray:
        """Return what :class:`Cosine` has for its values."""
        return Cosine().half_square_difference(K, rho)


class Cosine:
    """``s(z) = cos(z)``: ``<s_a s_b> = exp(-(K_aa + K_bb)/2) cosh(K_ab)``."""

    def second_moment(self, K: float) -> float:
        """Return ``(1 + e^(-2K))/2``."""
        return (1 + math.exp(-2 * K)) / 2

    def second_moment_slope(self, K: float) -> float:
        """Return ``-e^(-2K)``."""
        return -math.exp(-2 * K)

    def mean_square_slope(self, K: float) -> float:
        """Return ``(1 - e^(-2K))/2``."""
        return -math.expm1(-2 * K) / 2

    def product(self, K_aa: float, K_ab: float, K_bb: float) -> float:
        near, far = (K_aa + K_bb) / 2 - abs(K_ab), (K_aa + K_bb) / 2 + abs(K_ab)
        return (math.exp(-near) + math.exp(-far)) / 2

    def half_square_difference(self, K: float, rho: np.ndarray) -> np.ndarray:
        """Return ``(1 - e^(-K rho))(1 - e^(-K (2 - rho)))/2``."""
        return np.asarray(np.expm1(-K * rho) * np.expm1(-K * (2 - rho)) / 2)

    def half_square_slope_difference(self, K: float, rho: np.ndarray) -> np.ndarray:
        """Return what :class:`Sine` has for its values."""
        return Sine().half_square_difference(K, rho)


class RectifiedPower:
    """``s(z) = max(z, 0)^p``: ``<s^2> = (2p - 1)!!/2 K^p`` (arXiv:2408.02697 studies the family)."""

    def __init__(self, p: float) -> None:
        self.p = int(p)
        self.coefficient = repu_coefficient(self.p)

    def second_moment(self, K: float) -> float:
        """Return ``(2p - 1)!!/2 K^p``."""
        return self.coefficient * K**self.p

    def second_moment_slope(self, K: float) -> float:
        """Return ``p (2p - 1)!!/2 K^(p - 1)``."""
        return self.p * self.coefficient * K ** (self.p - 1)

    def mean_square_slope(self, K: float) -> float:
        """Return ``p^2 (2p - 3)!!/2 K^(p - 1)``."""
        return self.p**2 * self.coefficient / (2 * self.p - 1) * K ** (self.p - 1)


class ModifiedRectifiedPower:
    """``f(a z)/a`` at scale a, ``f(z) = z (z + c)^p`` for z > -c, else 0: moments of ``u = a z/c``.

    ``f(a z)/a = c^p (c/a) u (u + 1)^p``.
    """

    def __init__(self, p: float, shift: float = 1.0, scale: float = 1.0) -> None:
        if p > 150:
            raise InputError(f"p = {p:g}: the moments of MRePU overflow.", "Give a power of at most 150.")
        self.p, self.shift, self.unit = int(p), shift, shift / scale
        power = np.array([math.comb(2 * self.p, j) for j in range(2 * self.p + 1)], dtype=np.float64)
        lower = np.array([math.comb(2 * self.p - 1, j) for j in range(2 * self.p)], dtype=np.float64)
        lowest = np.array([math.comb(2 * self.p - 2, j) for j in range(2 * self.p - 1)], dtype=np.float64)
        linear = np.array([1.0, self.p + 1.0])
        # Coefficients of s^2, u s s' and s'^2 in ascending powers of u; none is negative, so none cancel.
        self.square = np.concatenate([[0.0, 0.0], power])
        self.radial = np.concatenate([[0.0, 0.0], np.convolve(lower, linear)])
        self.slope = np.convolve(lowest, np.convolve(linear, linear))

    def second_moment(self, K: float) -> float:
        """Return ``c^(2p) (c/a)^2 <u^2 (u + 1)^(2p)>`` over u > -1."""
        return self.unit**2 * self._mean(self.square, K)

    def second_moment_slope(self, K: float) -> float:
        """Return ``<z s s'>/K``."""
        return self._mean(self.radial, K) / (K / self.unit**2)

    def mean_square_slope(self, K: float) -> float:
        """Return ``c^(2p) <(u + 1)^(2p - 2) ((p + 1) u + 1)^2>`` over u > -1."""
        return self._mean(self.slope, K)

    def _mean(self, polynomial: np.ndarray, K: float) -> float:
        moments = _truncated_moments(K / self.unit**2, polynomial.size)
        return self.shift ** (2 * self.p) * float(polynomial @ moments)


def _truncated_moments(K: float, count: int) -> np.ndarray:
    """Return ``<z^n 1_{z > -1}>`` for n < `count`, by ``m_n = (n - 1) K m_(n-2) + (-1)^(n-1) K p(1)``."""
    density = math.exp(-0.5 / K) / math.sqrt(2 * math.pi * K)
    moments = np.empty(max(count, 2))
    moments[0] = 0.5 * math.erfc(-1 / math.sqrt(2 * K))
    moments[1] = K * density
    for n in range(2, count):
        moments[n] = (n - 1) * K * moments[n - 2] + (-1) ** (n - 1) * K * density
    return moments[:count]


_FORMS: dict[str, type] = {
    "leaky_relu": LeakyReLU,
    "erf": Erf,
    "sin": Sine,
    "cos": Cosine,
    "repu": RectifiedPower,
    "mrepu": ModifiedRectifiedPower,
}
_PAIRS = (LeakyReLU, Erf, Sine, Cosine)


def closed_form(activation: Activation) -> ClosedForm | None:
    """Return the closed forms for one input, or None where the activation has none."""
    if activation.closed_form is None:
        return None
    family, parameters = activation.closed_form
    form: ClosedForm = _FORMS[family](*parameters)
    return form


def pair_form(activation: Activation) -> PairForm | None:
    """Return the closed forms for two inputs, or None where the activation has none."""
    form = closed_form(activation)
    return form if isinstance(form, _PAIRS) else None
