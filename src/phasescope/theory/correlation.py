"""The correlation map between two inputs, in the distance ``rho = 1 - c``, without cancellation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from phasescope.activations import Activation
from phasescope.errors import InputError
from phasescope.theory.closed_forms import pair_form
from phasescope.theory.gaussian import Unbounded, initial_edges, integrate, mean_with_panels
from phasescope.theory.moments import mean_square_slope, reached, second_moment
from phasescope.theory.pair import MOST_OUTER_PANELS, mean_over_rows

DistanceMap = Callable[[np.ndarray], np.ndarray]
_MOST_TERMS = 1600
_BLOCK = 200
# Half distances below which the mean slope over a segment is integrated; above, it is a difference quotient.
_SHORT = 5e-3
_GAUSS = ((-math.sqrt(0.6), 5 / 18), (0.0, 8 / 18), (math.sqrt(0.6), 5 / 18))


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
        return HermiteSeries(squares)
    return _MeanSlope(activation, K)


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


class HermiteSeries:
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


class _MeanSlope:
    def __init__(self, activation: Activation, K: float) -> None:
        self.activation, self.K = activation, K

        def both(z: Tensor) -> Tensor:
            value, slope = activation.derivatives(z, 1)
            return torch.stack([value**2, slope**2])

        # A short segment may hold one kink, not two.
        gaps = np.diff(activation.kinks)
        self.short = min(_SHORT, 0.4 * float(gaps.min())) if gaps.size else _SHORT
        means, self.edges = mean_with_panels(both, K, kinks=activation.kinks)
        self.floor = 1e-3 * float(means[1])

    def __call__(self, rho: np.ndarray) -> np.ndarray:
        flat = [self._one(float(r)) for r in np.asarray(rho).ravel()]
        return np.array(flat).reshape(np.shape(rho))

    def _one(self, rho: float) -> float:
        # K rho <y^2 S(x, y)^2>; x is the pair's mean in units of its spread, y its difference.
        if rho == 0:
            return 0.0
        mean = mean_over_pairs(
            lambda middle, half: self._mean_slope(middle, half) ** 2,
            self.activation,
            self.K,
            rho,
            edges=self.edges,
            floor=self.floor,
            power=2,
        )
        return self.K * rho * mean

    def _mean_slope(self, middle: Tensor, half: Tensor) -> Tensor:
        """Return the mean of s' over ``[middle - half, middle + half]``; shapes (N, M) and (N, 1)."""
        result = torch.empty_like(middle)
        long = half[:, 0] > self.short
        m, h = middle[long], half[long]
        result[long] = (self.activation(m + h) - self.activation(m - h)) / (2 * h)
        result[~long] = self._short_mean_slope(middle[~long], half[~long])
        return result

    def _short_mean_slope(self, middle: Tensor, half: Tensor) -> Tensor:
        if middle.numel() == 0:
            return middle
        low, high = middle - half, middle + half
        split = middle.clone()
        for kink in self.activation.kinks:
            split = torch.where((low < kink) & (kink < high), torch.full_like(split, kink), split)
        share = torch.where(half > 0, ((split - low) / (2 * half)).clamp(0, 1), torch.full_like(split, 0.5))
        below, above = torch.zeros_like(middle), torch.zeros_like(middle)
        for node, weight in _GAUSS:
            below += weight * self.activation.derivative(low + (split - low) * (1 + node) / 2)
            above += weight * self.activation.derivative(split + (high - split) * (1 + node) / 2)
        return share * below + (1 - share) * above


def mean_over_pairs(
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
        inner = mean_over_rows(
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
            integrate(outer, outer_edges[outer_edges >= 0], floor=floor, most_panels=MOST_OUTER_PANELS).value
        )
    except Unbounded as error:
        raise InputError(
            f"The correlation map of {activation.name!r} at K = {K:g}, rho = {rho:g} does not "
            f"converge ({error}).",
            "Declare the activation's kinks.",
        ) from error
