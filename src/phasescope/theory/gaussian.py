"""Means over a Gaussian, by adaptive panels that know where the integrand has kinks.

The panels are refined here and not by scipy, whose adaptive rule calls the integrand panel by panel: one call
serves all panels and all integrands of a round.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from phasescope.errors import InputError

Integrand = Callable[[Tensor], Tensor]
# Standard deviations. The density at 14 is 1e-43 of its peak; at 37.5 it is the smallest normal number.
_REACH = 14.0
_FAR_REACH = 37.5
_BASE = np.array([0.5, 1.0, 2.0, 3.0, 4.5, 6.0, 8.0, 10.5, _REACH])
_FAR = np.array([17.0, 21.0, 26.0, 31.0, _FAR_REACH])
# Gauss-Kronrod (10, 21) on [-1, 1], the non-negative half (Piessens et al., QUADPACK, 1983).
_NODES = np.array(
    [0.995657163025808080735527280689003, 0.973906528517171720077964012084452,
     0.930157491355708226001207180059508, 0.865063366688984510732096688423493,
     0.780817726586416897063717578345042, 0.679409568299024406234327365114874,
     0.562757134668604683339000099272694, 0.433395394129247190799265943165784,
     0.294392862701460198131126603103866, 0.148874338981631210884826001129720, 0.0]
)  # fmt: skip
_GAUSS = np.array(
    [0.066671344308688137593568809893332, 0.149451349150580593145776339657697,
     0.219086362515982043995534934228163, 0.269266719309996355091226921569469,
     0.295524224714752870173892994651338]
)  # fmt: skip
_KRONROD = np.array(
    [0.011694638867371874278064396062192, 0.032558162307964727478818972459390,
     0.054755896574351996031381300244580, 0.075039674810919952767043140916190,
     0.093125454583697605535065465083366, 0.109387158802297641899210590325805,
     0.123491976262065851077958109831074, 0.134709217311473325928054001771707,
     0.142775938577060080797094273138717, 0.147739104901338491374841515972068,
     0.149445554002916905664936468389821]
)  # fmt: skip
# The same on the whole panel; Gauss has every other node.
_OFFSETS = np.concatenate([-_NODES, _NODES[-2::-1]])
_KRONROD_WEIGHTS = np.concatenate([_KRONROD, _KRONROD[-2::-1]])
_GAUSS_WEIGHTS = np.concatenate([_GAUSS, _GAUSS[::-1]])
_MOST_HALVINGS = 60
# Errors below this share of the whole that do not halve in so many rounds are rounding in the integrand.
_ROUNDING = 1e-9
_PATIENCE = 4


def expectation(
    integrand: Integrand, K: float, *, kinks: Iterable[float] = (), rtol: float = 1e-13
) -> Tensor:
    r"""Return the mean of `integrand` over ``z ~ N(0, K)``.

    .. math:: \langle F \rangle_K = \int \frac{dz}{\sqrt{2\pi K}} e^{-z^2/2K} F(z)

    Parameters
    ----------
    integrand : callable
        Maps z of shape (N,), float64, to values of shape (N,), or (m, N) for m integrands at once.
    K : float
        The variance; 0 gives the value at z = 0.
    kinks : iterable of float
        Points in z where the integrand or one of its derivatives jumps; panels end there. Kinks that are not
        named cost time, not precision: the panels around them are halved until they do not matter.
    rtol : float
        Error allowed, relative to the mean of ``|integrand|``; 1e-14 is about the best that rounding allows.

    Returns
    -------
    Tensor
        A scalar, or shape (m,); float64.

    Notes
    -----
    Gauss-Kronrod panels of 21 nodes, all in one call of `integrand`; panels start at the kinks, at fixed
    multiples of ``sqrt(K)`` and at powers of 2 in z, so that an activation of scale 1 is seen under a
    Gaussian of width 1e4. Usually one to three calls on about 500 nodes, 0.3 ms.

    Fails with InputError if `K` is negative or not a number, or if the mean is not finite: the integrand
    overflows, is NaN, or grows faster than the Gaussian decays.
    """
    return mean_with_panels(integrand, K, kinks=kinks, rtol=rtol)[0]


def mean_with_panels(
    integrand: Integrand, K: float, *, kinks: Iterable[float] = (), rtol: float = 1e-13
) -> tuple[Tensor, np.ndarray]:
    """Return the mean as :func:`expectation` does, and the edges in z of the panels that resolved it."""
    K = checked_variance(K)
    if K == 0.0:
        return _value_at_zero(integrand), np.zeros(1)
    width = math.sqrt(K)
    places = tuple(kinks)

    def weighted(x: np.ndarray) -> np.ndarray:
        values = integrand(torch.from_numpy(width * x)).detach().numpy()
        _check_values(values, width * x, K)
        weighed: np.ndarray = values * (np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi))
        return weighed

    try:
        inner = integrate(weighted, initial_edges(width, places), rtol=rtol)
        tail = inner.outermost
        if (tail <= 1e-2 * rtol * inner.magnitude).all():
            return torch.from_numpy(inner.value), width * inner.edges
        outer = integrate(weighted, initial_edges(width, places, far=True), rtol=rtol)
    except Unbounded as error:
        raise InputError(
            f"The mean over a Gaussian of variance K = {K:g} does not converge ({error}).",
            "Name the integrand's kinks, or use a smaller K.",
        ) from error
    if (outer.outermost > 1e-6 * outer.magnitude).any():
        raise InputError(
            f"The mean over a Gaussian of variance K = {K:g} is infinite: the integrand outgrows it.",
            "Use a smaller K.",
        )
    return torch.from_numpy(outer.value), width * outer.edges


def checked_variance(K: float) -> float:
    """Return `K` as a float; InputError where it is negative or not finite."""
    value = float(K)
    if not (0.0 <= value < math.inf):
        raise InputError(f"K = {value} is not a variance.", "Use a finite number of at least 0.")
    return value


def initial_edges(width: float, kinks: Iterable[float] = (), *, far: bool = False) -> np.ndarray:
    """Return ascending panel edges, in standard deviations, for a Gaussian of that `width` in z."""
    base = np.concatenate([_BASE, _FAR]) if far else _BASE
    reach = float(base[-1])
    # Powers of 2 in z, where they lie inside the first base panel: the activation's own scale.
    octaves = np.arange(-2, max(-2, math.ceil(math.log2(width))))
    inner = 2.0**octaves / width
    half = np.concatenate([inner[inner < 0.7 * base[0]], base])
    own = np.array([k / width for k in kinks if abs(k) < reach * width])
    return np.unique(np.concatenate([-half, [0.0], half, own]))


def _value_at_zero(integrand: Integrand) -> Tensor:
    value = integrand(torch.zeros(1, dtype=torch.float64)).detach()[..., 0]
    if not bool(torch.isfinite(value).all()):
        raise InputError("The integrand is not finite at z = 0, so its mean at K = 0 is not.", "Use K > 0.")
    return value


def _check_values(values: np.ndarray, z: np.ndarray, K: float) -> None:
    finite = np.isfinite(values)
    if finite.all():
        return
    flat = finite.reshape(-1, z.size).all(axis=0)
    worst = float(z[~flat][np.argmin(np.abs(z[~flat]))])
    kind = "NaN" if np.isnan(values).any() else "infinite"
    raise InputError(
        f"The integrand is {kind} at z = {worst:.6g}, within the Gaussian of variance K = {K:g}.",
        "Use a smaller K, or an activation that stays finite there (torch.where passes on NaN derivatives).",
    )


class Unbounded(ArithmeticError):
    """The integral did not converge within the panels allowed."""


@dataclass(frozen=True)
class Integral:
    """An integral, its error, and the panels that it took."""

    value: np.ndarray  # shape () or (m,)
    error: np.ndarray  # estimated error, same shape
    magnitude: np.ndarray  # the integral of the absolute value, same shape
    outermost: np.ndarray  # what the first and last panel contribute to `magnitude`
    edges: np.ndarray  # panel edges, ascending


class _Panels(NamedTuple):
    """Panels along the last axis of each array."""

    left: np.ndarray
    right: np.ndarray
    value: np.ndarray
    error: np.ndarray
    magnitude: np.ndarray

    def at(self, chosen: np.ndarray) -> _Panels:
        return _Panels(*(array[..., chosen] for array in self))

    def joined(self, other: _Panels) -> _Panels:
        return _Panels(*(np.concatenate(pair, axis=-1) for pair in zip(self, other, strict=True)))


def integrate(
    function: Callable[[np.ndarray], np.ndarray],
    edges: np.ndarray,
    *,
    rtol: float = 1e-13,
    floor: float = 0.0,
    most_panels: int = 200_000,
) -> Integral:
    """Return the integral of `function` over ``[edges[0], edges[-1]]``, to `rtol` of its absolute value's.

    The function maps points of shape (N,) to values of shape (N,) or (m, N); each of the m rows is integrated
    to that error. Integrals that may vanish by symmetry need a `floor`, which the error is relative to at
    least. Every point where the function is not smooth should be an edge.
    """
    panels = _measured(function, edges[:-1], edges[1:])
    history = [np.inf] * _PATIENCE
    for _ in range(_MOST_HALVINGS):
        magnitude = np.maximum(panels.magnitude.sum(axis=-1), floor)
        error = panels.error.sum(axis=-1)
        worst = float(np.max(error / np.maximum(magnitude, 1e-300), initial=0.0))
        if worst <= rtol or (worst < _ROUNDING and worst > 0.5 * history[-_PATIENCE]):
            return _finished(panels, error, magnitude)
        history.append(worst)
        share = rtol * magnitude[..., None] / panels.left.size
        bad = (panels.error > share).reshape(-1, panels.left.size).any(axis=0)
        if panels.left.size + int(bad.sum()) > most_panels:
            break
        halves = panels.at(bad)
        middle = 0.5 * (halves.left + halves.right)
        fresh = _measured(
            function, np.concatenate([halves.left, middle]), np.concatenate([middle, halves.right])
        )
        panels = panels.at(~bad).joined(fresh)
    raise Unbounded(f"{panels.left.size} panels leave a relative error of {worst:.1e}")


def _measured(function: Callable[[np.ndarray], np.ndarray], left: np.ndarray, right: np.ndarray) -> _Panels:
    """Return value, error and magnitude of each panel, with one call of the function."""
    centre, half = 0.5 * (left + right), 0.5 * (right - left)
    points = centre[:, None] + half[:, None] * _OFFSETS
    values = function(points.ravel())
    values = values.reshape(*values.shape[:-1], *points.shape)
    value = half * (values @ _KRONROD_WEIGHTS)
    magnitude = half * (np.abs(values) @ _KRONROD_WEIGHTS)
    raw = np.abs(value - half * (values[..., 1::2] @ _GAUSS_WEIGHTS))
    # QUADPACK's estimate: the two rules differ by the lower rule's error, the upper one's is far less.
    mean = (value / np.where(half > 0, 2 * half, 1.0))[..., None]
    spread = half * (np.abs(values - mean) @ _KRONROD_WEIGHTS)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.where(spread > 0, spread * np.minimum(1.0, (200 * raw / spread) ** 1.5), raw)
    return _Panels(left, right, value, np.maximum(error, 0.0), magnitude)


def _finished(panels: _Panels, error: np.ndarray, magnitude: np.ndarray) -> Integral:
    ordered = panels.at(np.argsort(panels.left))
    edges = np.append(ordered.left, ordered.right[-1])
    outermost = ordered.magnitude[..., 0] + ordered.magnitude[..., -1]
    return Integral(np.asarray(ordered.value.sum(axis=-1)), error, magnitude, outermost, edges)
