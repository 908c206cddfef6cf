"""Means over two correlated inputs: products, and half squared differences of values and of slopes.

Distances are ``rho = 1 - c``; no difference of nearly equal numbers is taken, so that maps hold down to the
smallest positive number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.polynomial import chebyshev
from torch import Tensor

from phasescope.activations import Activation
from phasescope.errors import InputError
from phasescope.theory.closed_forms import pair_form
from phasescope.theory.gaussian import (
    Unbounded,
    checked_variance,
    expectation,
    initial_edges,
    integrate,
    mean_with_panels,
)
from phasescope.theory.moments import mean_square_slope, reached, second_moment

DistanceMap = Callable[[np.ndarray], np.ndarray]

# Hermite coefficients that are taken at most, and how many at a time.
_MOST_TERMS = 1600
_BLOCK = 200
# Half distances below which the mean slope over a segment is integrated; above, it is a difference quotient.
_SHORT = 5e-3
_GAUSS = ((-math.sqrt(0.6), 5 / 18), (0.0, 8 / 18), (math.sqrt(0.6), 5 / 18))
# Degrees of the Chebyshev tables, and the last coefficients' size at which they are resolved.
_DEGREES = (32, 64, 128, 256, 512)
_RESOLVED = 1e-12
# Standard deviations that an inner mean reaches, and its nodes a panel. Every node of an outer panel costs an
# inner mean of about a thousand nodes.
_REACH = 14.0
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_MOST_OUTER_PANELS = 3000


def pair_product(activation: Activation, K_aa: float, K_ab: float, K_bb: float) -> float:
    r"""Return ``<s(z_a) s(z_b)>`` for two jointly Gaussian inputs.

    Notes
    -----
    In closed form for the ReLU family, erf and sin. Otherwise the outer mean, over the input of larger
    variance, is adaptive; for each of its nodes the inner mean runs over panels that end at the kinks. 5 to
    50 ms. Source: arXiv:1606.05340, eq. 5.
    """
    K_aa, K_bb = checked_variance(K_aa), checked_variance(K_bb)
    if not abs(K_ab) <= math.sqrt(K_aa) * math.sqrt(K_bb) * (1 + 1e-12):
        raise InputError(
            f"K_aa = {K_aa:g}, K_ab = {K_ab:g}, K_bb = {K_bb:g} is not a covariance matrix.",
            "Use K_ab^2 <= K_aa K_bb.",
        )
    form = pair_form(activation)
    if form is not None:
        return form.product(K_aa, K_ab, K_bb)
    if K_aa < K_bb:
        K_aa, K_bb = K_bb, K_aa
    if K_bb == 0:
        at_zero = float(activation(torch.zeros(1, dtype=torch.float64)))
        return at_zero * float(expectation(activation, K_aa, kinks=activation.kinks))
    slope = K_ab / K_aa
    rest = max(0.0, K_bb - slope * K_ab)
    # Where the first input, or the mean of the second given the first, meets a kink.
    kinks = [*activation.kinks, *(kink / slope for kink in activation.kinks if slope)]
    if rest <= 1e-15 * K_bb:
        line = mean_with_panels(lambda z: activation(z) * activation(slope * z), K_aa, kinks=kinks)
        return float(line[0])
    square, edges = mean_with_panels(lambda z: activation(z) ** 2, K_bb, kinks=activation.kinks)
    floor = 1e-3 * math.sqrt(float(square) * second_moment(activation, K_aa))
    return _nested(activation, math.sqrt(K_aa), slope, math.sqrt(rest), kinks, edges, floor)


def _nested(
    activation: Activation,
    width: float,
    slope: float,
    rest: float,
    kinks: Sequence[float],
    edges: np.ndarray,
    floor: float,
) -> float:
    """Return ``<s(width x) <s(slope width x + rest y)>_y>_x`` over the standard normals x and y."""

    def outer(x: np.ndarray) -> np.ndarray:
        centre = slope * width * x
        breaks = (edges[None, :] - centre[:, None]) / rest
        column = torch.from_numpy(centre)[:, None]
        inner = _mean_over_rows(lambda y: activation(column + rest * y), breaks)
        values = activation(torch.from_numpy(width * x)).numpy() * inner
        weighted: np.ndarray = values * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
        return weighted

    try:
        value = float(
            integrate(outer, initial_edges(width, kinks), floor=floor, most_panels=_MOST_OUTER_PANELS).value
        )
    except Unbounded as error:
        raise InputError(
            f"The mean over two inputs does not converge ({error}).", "Use a smaller K."
        ) from error
    if not math.isfinite(value):
        raise InputError(f"The mean over two inputs is not finite at K = {width**2:g}.", "Use a smaller K.")
    return value


def _mean_over_rows(function: Callable[[Tensor], Tensor], breaks: np.ndarray) -> np.ndarray:
    """Return the mean of a function of a standard normal for each row, panels ending at that row's breaks."""
    usual = np.broadcast_to(initial_edges(1.0), (len(breaks), initial_edges(1.0).size))
    inside = np.clip(np.nan_to_num(breaks, nan=0.0), -_REACH, _REACH)
    edges = np.sort(np.concatenate([inside, usual], axis=1), axis=1)
    centre, half = (edges[:, 1:] + edges[:, :-1]) / 2, (edges[:, 1:] - edges[:, :-1]) / 2
    points = (centre[:, :, None] + half[:, :, None] * _NODES).reshape(len(breaks), -1)
    weights = (half[:, :, None] * _WEIGHTS).reshape(len(breaks), -1)
    weights = weights * np.exp(-0.5 * points * points) / math.sqrt(2 * math.pi)
    values = function(torch.from_numpy(points)).numpy()
    return np.asarray((weights * values).sum(axis=1))


def half_square_difference(activation: Activation, K: float) -> DistanceMap:
    r"""Return the map from ``rho`` to ``D = <(s(z_a) - s(z_b))^2>/2``, variances K and correlation 1 - rho.

    The correlation map at a fixed point K of the kernel is then ``rho' = C_W D(rho)/K``: no difference of
    nearly equal numbers is taken, so that it holds down to the smallest positive number. Of three ways the
    first that applies is taken: the closed form; the series ``D = -sum_k a_k^2 expm1(k log1p(-rho))`` in
    the normalised Hermite coefficients ``a_k`` of ``s(sqrt(K) x)``, where 1600 of them are enough for 1e-13
    (smooth activations, K not large); else a quadrature of ``D = K rho <y^2 S^2>``, where S is the mean
    slope of s over the segment between the two inputs.

    Notes
    -----
    Source: the map is that of arXiv:1606.05340, eq. 6; the mean-slope form follows from rotating the pair
    into its mean and its difference.
    """
    if not (0 < K < math.inf):
        raise InputError(f"K = {K}: the correlation map needs a positive kernel.", "Use K > 0.")
    if reached(activation.jumps, K):
        raise InputError(
            f"Activation {activation.name!r} jumps at z = {min(activation.jumps, key=abs):g}: two inputs "
            "separate like sqrt(rho), and there is no linear regime.",
            "Use a continuous activation.",
        )
    form = pair_form(activation)
    if form is not None:
        return lambda rho: form.half_square_difference(K, rho)
    # A kink makes the coefficients fall off too slowly, unless the Gaussian does not reach it.
    squares = None if reached(activation.kinks, K) else hermite_squares(activation, K)
    if squares is not None:
        return _HermiteSeries(squares)
    return _by_quadrature(activation, K)


def hermite_squares(activation: Activation, K: float) -> np.ndarray | None:
    """Return the squared normalised Hermite coefficients of ``x -> s(sqrt(K) x)``, or None if too many.

    With ``a_k = <s(sqrt(K) x) He_k(x)>/sqrt(k!)`` the mean product at correlation c is ``sum a_k^2 c^k``.
    They are held against the sum rules ``sum a_k^2 = <s^2>`` and ``sum k a_k^2 = K <s'^2>``.
    """
    edges = np.arange(-16.0, 16.01, 0.25)
    nodes, weights = np.polynomial.legendre.leggauss(12)
    half = np.diff(edges)[:, None] / 2
    x = ((edges[1:] + edges[:-1])[:, None] / 2 + half * nodes).ravel()
    values = activation(torch.from_numpy(math.sqrt(K) * x)).numpy()
    weighted = values * (half * weights).ravel() * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    total, slope = second_moment(activation, K), K * mean_square_slope(activation, K)
    squares = np.empty(_MOST_TERMS)
    previous, current = np.zeros_like(x), np.ones_like(x)
    for k in range(_MOST_TERMS):
        squares[k] = (weighted @ current) ** 2
        previous, current = current, (x * current - math.sqrt(k) * previous) / math.sqrt(k + 1)
        if (k + 1) % _BLOCK == 0 and _complete(squares[: k + 1], total, slope):
            tail = np.cumsum((np.arange(k + 1) * squares[: k + 1])[::-1])[::-1]
            return np.array(squares[: int((tail > 1e-17 * slope).sum())])
    return None


def _complete(squares: np.ndarray, total: float, slope: float) -> bool:
    missing = abs(squares.sum() - total)
    missing_slope = abs(np.arange(squares.size) @ squares - slope)
    return bool(missing <= 1e-13 * total and missing_slope <= 1e-13 * slope)


class _HermiteSeries:
    """The map ``rho -> -sum_k a_k^2 expm1(k log1p(-rho))``."""

    def __init__(self, squares: np.ndarray) -> None:
        kept = np.nonzero(squares[1:] > 1e-40 * squares.sum())[0] + 1
        self.orders = kept.astype(np.float64)
        self.squares = squares[kept]
        self.signs = np.where(kept % 2 == 0, 1.0, -1.0)

    def __call__(self, rho: np.ndarray) -> np.ndarray:
        """Return the map's values, an array like `rho`."""
        near = rho[..., None]
        if rho.size == 0 or rho.max() < 1:
            return np.asarray(-np.expm1(self.orders * np.log1p(-near)) @ self.squares)
        # Negative c: (-|c|)^k = (-1)^k |c|^k.
        with np.errstate(divide="ignore"):
            powers = np.exp(self.orders * np.log(np.abs(1 - near)))
            lost = np.where(
                near < 1, -np.expm1(self.orders * np.log1p(-np.minimum(near, 1))), 1 - self.signs * powers
            )
        return np.asarray(lost @ self.squares)


def _by_quadrature(activation: Activation, K: float) -> DistanceMap:
    """Return the map ``rho -> K rho <y^2 S(x, y)^2>``, x the pair's mean and y its distance, standardised."""

    def both(z: Tensor) -> Tensor:
        value, slope = activation.derivatives(z, 1)
        return torch.stack([value**2, slope**2])

    # A short segment may hold one kink, not two.
    gaps = np.diff(activation.kinks)
    short = min(_SHORT, 0.4 * float(gaps.min())) if gaps.size else _SHORT
    means, edges = mean_with_panels(both, K, kinks=activation.kinks)
    floor = 1e-3 * float(means[1])

    def squared(middle: Tensor, half: Tensor) -> Tensor:
        return _mean_slope(activation, middle, half, short) ** 2

    def one(rho: float) -> float:
        if rho == 0:
            return 0.0
        return K * rho * _mean_over_pairs(squared, activation, K, rho, edges=edges, floor=floor, power=2)

    return _value_by_value(one)


def _value_by_value(one: Callable[[float], float]) -> DistanceMap:
    return lambda rho: np.array([one(float(r)) for r in np.asarray(rho).ravel()]).reshape(np.shape(rho))


def _mean_slope(activation: Activation, middle: Tensor, half: Tensor, short: float) -> Tensor:
    """Return the mean of s' over ``[middle - half, middle + half]``; shapes (N, M) and (N, 1)."""
    result = torch.empty_like(middle)
    long = half[:, 0] > short
    m, h = middle[long], half[long]
    result[long] = (activation(m + h) - activation(m - h)) / (2 * h)
    result[~long] = _short_mean_slope(activation, middle[~long], half[~long])
    return result


def _short_mean_slope(activation: Activation, middle: Tensor, half: Tensor) -> Tensor:
    if middle.numel() == 0:
        return middle
    low, high = middle - half, middle + half
    split = middle.clone()
    for kink in activation.kinks:
        split = torch.where((low < kink) & (kink < high), torch.full_like(split, kink), split)
    share = torch.where(half > 0, ((split - low) / (2 * half)).clamp(0, 1), torch.full_like(split, 0.5))
    below, above = torch.zeros_like(middle), torch.zeros_like(middle)
    for node, weight in _GAUSS:
        below += weight * activation.derivative(low + (split - low) * (1 + node) / 2)
        above += weight * activation.derivative(split + (high - split) * (1 + node) / 2)
    return share * below + (1 - share) * above


def _mean_over_pairs(
    integrand: Callable[[Tensor, Tensor], Tensor],
    activation: Activation,
    K: float,
    rho: float,
    *,
    edges: np.ndarray,
    floor: float,
    power: int = 0,
) -> float:
    """Return ``<y^power F>`` over two Gaussian inputs, F a function of their mean and half their distance."""
    mean_width = math.sqrt(K * (1 - rho / 2))
    half_width = math.sqrt(K * rho / 2)

    def outer(y: np.ndarray) -> np.ndarray:
        half = half_width * y
        shifted = np.concatenate([edges - half[:, None], edges + half[:, None]], axis=1)
        inner = _mean_over_rows(
            lambda x: integrand(mean_width * x, torch.from_numpy(half)[:, None]),
            shifted / max(mean_width, 1e-150),
        )
        weighted: np.ndarray = inner * y**power * np.exp(-0.5 * y * y) * 2 / math.sqrt(2 * math.pi)
        return weighted

    # Nearly opposite inputs meet a kink each within a spread of their mean around it.
    beside = [kink + side * mean_width for kink in activation.kinks for side in (-16, -4, -1, 1, 4, 16)]
    outer_edges = initial_edges(half_width, [*activation.kinks, *beside])
    try:
        return float(
            integrate(outer, outer_edges[outer_edges >= 0], floor=floor, most_panels=_MOST_OUTER_PANELS).value
        )
    except Unbounded as error:
        raise InputError(
            f"The correlation map of {activation.name!r} at K = {K:g}, rho = {rho:g} does not "
            f"converge ({error}).",
            "Declare the activation's kinks.",
        ) from error


class PairMaps(NamedTuple):
    """Half the mean squared difference of values and of slopes, as functions of ``rho = 1 - c``."""

    values: DistanceMap
    slopes: DistanceMap


def pair_maps(activation: Activation, K: float) -> PairMaps:
    r"""Return ``<(s(z_a) - s(z_b))^2>/2`` and, as D', the same of the slopes s', by ``rho = 1 - c``.

    Both at variances K. With the second, ``C_W <s'(z_a) s'(z_b)> = chi_perp - C_W D'(rho)``, where nothing
    cancels as rho vanishes. By closed form, or the Hermite series
    ``D' = -sum_k k a_k^2 expm1((k - 1) log1p(-rho))/K``.
    Where only a quadrature is left (kinks), both are tabulated once as Chebyshev series in the angle
    ``theta = arccos(1 - rho)``, in which they are smooth to both ends: divided by the power of
    ``sin(theta/2)`` with which they vanish, they keep their digits at the smallest distances.

    Notes
    -----
    Relative errors are about 1e-12. Setting up costs 10 ms, with kinks and no closed form 1 to 20 s; a value
    then costs 0.1 to 1 us. Derived here; the Hermite form follows from arXiv:1606.05340, eq. 6.
    """
    values = half_square_difference(activation, K)
    form = pair_form(activation)
    if form is not None:
        return PairMaps(values, lambda rho: form.half_square_slope_difference(K, rho))
    squares = None if reached(activation.kinks, K) else hermite_squares(activation, K)
    if squares is not None:
        orders = np.arange(1, squares.size)
        return PairMaps(values, _HermiteSeries(orders * squares[1:] / K))
    vanishing = 1 if derivative_jumps(activation, 1) else 2
    slopes = _tabulated(_slopes_by_quadrature(activation, K), vanishing)
    return PairMaps(_tabulated(values, 2), slopes)


def _slopes_by_quadrature(activation: Activation, K: float) -> DistanceMap:
    mean, edges = mean_with_panels(lambda z: activation.derivative(z) ** 2, K, kinks=activation.kinks)
    floor = 1e-3 * float(mean)

    def squared(middle: Tensor, half: Tensor) -> Tensor:
        return (activation.derivative(middle + half) - activation.derivative(middle - half)) ** 2

    def one(rho: float) -> float:
        return _mean_over_pairs(squared, activation, K, rho, edges=edges, floor=floor * min(1, rho)) / 2

    return _value_by_value(one)


def derivative_jumps(function: Activation, order: int) -> bool:
    """Return whether a derivative differs on the two sides of a kink."""
    for kink in function.kinks:
        step = 1e-7 * max(1.0, abs(kink))
        offsets = torch.tensor([-step, step, -1e2 * step, 1e2 * step], dtype=torch.float64)
        left, right, far_left, far_right = function.derivative(kink + offsets, order).tolist()
        # Where the derivative is 0 at the kink, only that a jump does not shrink with the step tells it.
        differs = abs(left - right) > 1e-4 * (abs(left) + abs(right))
        if not math.isfinite(left + right) or (differs and abs(left - right) > abs(far_left - far_right) / 2):
            return True
    return False


def _tabulated(exact: DistanceMap, vanishing: int) -> DistanceMap:
    """Return the map as a series in the angle, `vanishing` being the power of the angle it begins with."""
    coefficients = np.zeros(0)
    for degree in _DEGREES:
        nodes = np.cos(np.pi * (np.arange(degree) + 0.5) / degree)
        half_angle = np.pi / 4 * (1 + nodes)
        reduced = exact(2 * np.sin(half_angle) ** 2) / np.sin(half_angle) ** vanishing
        # The discrete cosine transform that interpolates at these nodes.
        coefficients = 2 / degree * (chebyshev.chebvander(nodes, degree - 1).T @ reduced)
        coefficients[0] /= 2
        size = np.abs(coefficients)
        if size[-degree // 4 :].max() <= _RESOLVED * size.max():
            break
    else:
        return exact

    def series(rho: np.ndarray) -> np.ndarray:
        root = np.sqrt(np.asarray(rho) / 2)
        reduced = chebyshev.chebval(4 / math.pi * np.arcsin(root) - 1, coefficients)
        return np.asarray(reduced * root**vanishing)

    return series
