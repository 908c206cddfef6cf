"""Where the ratio of the two susceptibilities is 1: a scan over kernels, free of both variances."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from phasescope.activations import Activation
from phasescope.errors import InputError
from phasescope.theory._root import bracketed_root
from phasescope.theory.gaussian import expectation
from phasescope.theory.moments import mean_square_slope, second_moment, second_moment_slope

# Fine where activations have their own scale, coarse beyond, where an oscillating one is costly.
_GRID = tuple(10.0**e for e in (-6, -5, *(step / 3 for step in range(-12, 13)), 5, 6))
# Ratios this close to 1 are taken for rounding, not for a side of 1.
_DEAD_BAND = 1e-9
_UNDERFLOW = 1e-200


class RatioScan(NamedTuple):
    """``g = <sigma^2>``, ``g'`` and ``<sigma'^2>`` on a grid of kernels, shape (N,) each."""

    K: Tensor
    square: Tensor
    slope: Tensor
    perpendicular: Tensor

    @property
    def ratio(self) -> Tensor:
        """``chi_par/chi_perp`` on the grid."""
        return self.slope / self.perpendicular

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest ratio."""
        return float(self.ratio.min()), float(self.ratio.max())

    @property
    def span(self) -> tuple[float, float]:
        """Smallest and largest kernel of the grid."""
        return float(self.K[0]), float(self.K[-1])

    @property
    def always_one(self) -> bool:
        """Whether the ratio is 1 to rounding at every kernel."""
        return float((self.ratio - 1).abs().max()) <= _DEAD_BAND


class CriticalKernel(NamedTuple):
    """A kernel where ``chi_par = chi_perp = 1``, with the variances that it takes and ``C_W g''``."""

    K: float
    C_W: float
    C_b: float
    curvature: float


def scan_ratio(function: Activation) -> RatioScan:
    """Return the means behind both susceptibilities for K from 1e-6 to 1e6.

    The grid ends early where the activation overflows, and leaves out kernels where ``<sigma'^2>``
    underflows.
    """
    rows: list[tuple[float, float, float, float]] = []
    for K in _GRID:
        try:
            row = (
                K,
                second_moment(function, K),
                second_moment_slope(function, K),
                mean_square_slope(function, K),
            )
        except InputError:
            if not rows:
                raise
            break
        if row[3] > _UNDERFLOW:
            rows.append(row)
    return RatioScan(*torch.tensor(rows, dtype=torch.float64).reshape(-1, 4).T)


def critical_kernels(function: Activation, scan: RatioScan) -> list[CriticalKernel]:
    """Return every kernel of the scan where the ratio crosses 1, to rounding, also those with ``C_b < 0``.

    Where the ratio is 1 throughout, every kernel is one; K = 1 stands for all.
    """

    def excess(log_K: float) -> float:
        K = math.exp(log_K)
        return second_moment_slope(function, K) / mean_square_slope(function, K) - 1

    offsets = zip(scan.K.log().tolist(), (scan.ratio - 1).tolist(), strict=True)
    if scan.always_one:
        return [_at(function, 1.0)]
    decided = [(log_K, offset) for log_K, offset in offsets if abs(offset) > _DEAD_BAND]
    return [
        _at(function, math.exp(bracketed_root(excess, low, high)))
        for (low, before), (high, after) in itertools.pairwise(decided)
        if before * after < 0
    ]


def _at(function: Activation, K: float) -> CriticalKernel:
    def curvature(z: Tensor) -> Tensor:
        x = z * z / K
        return function(z).square() * (x * x - 6 * x + 3)

    C_W = 1 / mean_square_slope(function, K)
    second = float(expectation(curvature, K, kinks=function.kinks)) / (4 * K * K)
    return CriticalKernel(K, C_W, K - C_W * second_moment(function, K), C_W * second)
