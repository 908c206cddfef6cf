"""Adaptive Gauss-Kronrod quadrature on many panels at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

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
_MOST_HALVINGS = 60
# Errors below this share of the whole that do not halve in so many rounds are rounding in the integrand.
_ROUNDING = 1e-9
_PATIENCE = 4


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


@dataclass
class _Panels:
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray
    error: np.ndarray
    magnitude: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> _Panels:
        return _Panels(
            self.left[chosen], self.right[chosen],
            self.value[..., chosen], self.error[..., chosen], self.magnitude[..., chosen],
        )  # fmt: skip

    def joined(self, other: _Panels) -> _Panels:
        return _Panels(
            np.concatenate([self.left, other.left]),
            np.concatenate([self.right, other.right]),
            np.concatenate([self.value, other.value], axis=-1),
            np.concatenate([self.error, other.error], axis=-1),
            np.concatenate([self.magnitude, other.magnitude], axis=-1),
        )


def integrate(
    function: Callable[[np.ndarray], np.ndarray],
    edges: np.ndarray,
    *,
    rtol: float = 1e-13,
    floor: float = 0.0,
    most_panels: int = 200_000,
) -> Integral:
    """Return the integral of `function` over ``[edges[0], edges[-1]]``."""
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
        halves = panels[bad]
        middle = 0.5 * (halves.left + halves.right)
        fresh = _measured(
            function, np.concatenate([halves.left, middle]), np.concatenate([middle, halves.right])
        )
        panels = panels[~bad].joined(fresh)
    raise Unbounded(f"{panels.left.size} panels leave a relative error of {worst:.1e}")


def _measured(function: Callable[[np.ndarray], np.ndarray], left: np.ndarray, right: np.ndarray) -> _Panels:
    """Return value, error and magnitude of each panel, with one call of the function."""
    centre, half = 0.5 * (left + right), 0.5 * (right - left)
    offsets = np.concatenate([-_NODES, _NODES[-2::-1]])
    points = centre[:, None] + half[:, None] * offsets
    values = function(points.ravel())
    values = values.reshape(*values.shape[:-1], *points.shape)
    kronrod = np.concatenate([_KRONROD, _KRONROD[-2::-1]])
    gauss = np.concatenate([_GAUSS, _GAUSS[::-1]])
    value = half * (values @ kronrod)
    magnitude = half * (np.abs(values) @ kronrod)
    raw = np.abs(value - half * (values[..., 1::2] @ gauss))
    # QUADPACK's estimate: the two rules differ by the lower rule's error, the upper one's is far less.
    mean = (value / np.where(half > 0, 2 * half, 1.0))[..., None]
    spread = half * (np.abs(values - mean) @ kronrod)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.where(spread > 0, spread * np.minimum(1.0, (200 * raw / spread) ** 1.5), raw)
    return _Panels(left, right, value, np.maximum(error, 0.0), magnitude)


def _finished(panels: _Panels, error: np.ndarray, magnitude: np.ndarray) -> Integral:
    order = np.argsort(panels.left)
    ordered = panels[order]
    edges = np.append(ordered.left, ordered.right[-1])
    outermost = ordered.magnitude[..., 0] + ordered.magnitude[..., -1]
    return Integral(np.asarray(ordered.value.sum(axis=-1)), error, magnitude, outermost, edges)
