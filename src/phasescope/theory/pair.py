"""Gaussian means over two correlated inputs, by nested panels."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
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
from phasescope.theory.moments import second_moment

_REACH = 14.0
# Every node of an outer panel costs an inner mean of about a thousand nodes.
MOST_OUTER_PANELS = 3000
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


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
    if rest <= 1e-15 * K_bb:
        return _on_a_line(activation, K_aa, slope)
    square, edges = mean_with_panels(lambda z: activation(z) ** 2, K_bb, kinks=activation.kinks)
    floor = 1e-3 * math.sqrt(float(square) * second_moment(activation, K_aa))
    return _nested(activation, math.sqrt(K_aa), slope, math.sqrt(rest), edges, floor)


def _on_a_line(activation: Activation, K: float, slope: float) -> float:
    kinks = list(activation.kinks)
    if slope != 0:
        kinks += [k / slope for k in activation.kinks]
    return float(mean_with_panels(lambda z: activation(z) * activation(slope * z), K, kinks=kinks)[0])


def _nested(
    activation: Activation, width: float, slope: float, rest: float, edges: np.ndarray, floor: float
) -> float:
    # Over the standard normals x and y: <s(width x) <s(slope width x + rest y)>_y>_x.

    def outer(x: np.ndarray) -> np.ndarray:
        centre = slope * width * x
        breaks = (edges[None, :] - centre[:, None]) / rest
        column = torch.from_numpy(centre)[:, None]
        inner = mean_over_rows(lambda y: activation(column + rest * y), breaks)
        values = activation(torch.from_numpy(width * x)).numpy() * inner
        weighted: np.ndarray = values * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
        return weighted

    kinks = list(activation.kinks)
    if slope != 0:
        kinks += [k / slope for k in activation.kinks]
    try:
        value = float(
            integrate(outer, initial_edges(width, kinks), floor=floor, most_panels=MOST_OUTER_PANELS).value
        )
    except Unbounded as error:
        raise InputError(
            f"The mean over two inputs does not converge ({error}).", "Use a smaller K."
        ) from error
    if not math.isfinite(value):
        raise InputError(f"The mean over two inputs is not finite at K = {width**2:g}.", "Use a smaller K.")
    return value


def mean_over_rows(function: Callable[[Tensor], Tensor], breaks: np.ndarray) -> np.ndarray:
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
