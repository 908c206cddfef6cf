"""The kernel map of an activation from one table, so that many starts, variances and layers cost little."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

from phasescope.activations import as_activation
from phasescope.activations.resolve import Spec
from phasescope.errors import InputError
from phasescope.theory.moments import second_moment

Array = NDArray[np.float64]

VANISHES, SETTLES, EXPLODES = 0, 1, 2
# Logarithms of the tabulated kernels, 16 a decade; 0.01, 1 and 100 are among them.
_GRID = np.linspace(-6, 4, 161) * math.log(10)
_UNDERFLOW = 1e-250
# Relative changes of a kernel in one layer that are rounding.
_STILL = 1e-9
_BEYOND = 1e6  # largest |ln K|; powers are then no longer told apart


class KernelFlow:
    """The map ``K -> C_b + C_W <s^2>_K`` at any variances: ``ln <s^2>`` is a cubic spline in ``ln K``.

    The relative error is at most 1e-6 for K from 1e-6 to 1e4; beyond, the end slopes go on, which is exact
    for powers. The table costs 161 Gaussian means, 40 ms where there is no closed form.
    """

    def __init__(self, spec: Spec) -> None:
        self.activation = as_activation(spec)
        table, self._ends = [], math.inf
        for log_K in _GRID:
            try:
                square = second_moment(self.activation, math.exp(log_K))
            except InputError:
                self._ends = float(log_K)  # where the activation overflows under the Gaussian
                break
            if square > _UNDERFLOW:
                table.append((float(log_K), math.log(square)))
        if len(table) < 4:
            raise InputError(
                f"{self.activation.name} has no mean square to follow over depth: it is 0, or it overflows.",
                "Use an activation that is finite and not 0 for |z| below 1.",
            )
        self.log_K, self.log_square = np.array(table).T
        self._spline = CubicSpline(self.log_K, self.log_square)
        self._slopes = self._spline(self.log_K[[0, -1]], 1)

    @property
    def whole(self) -> bool:
        """Whether the table goes on to its last kernel; if not, the activation overflows from there on."""
        return math.isinf(self._ends)

    def square(self, K: float) -> float:
        """Return ``<s^2>_K``."""
        return float(np.exp(self._logarithm(np.array([math.log(K)]))[0]))

    def _logarithm(self, log_K: Array) -> Array:
        inside = np.clip(log_K, self.log_K[0], self.log_K[-1])
        low, high = self._slopes
        below, above = np.minimum(log_K - self.log_K[0], 0), np.maximum(log_K - self.log_K[-1], 0)
        grown = self._spline(inside) + low * below + high * above
        return np.asarray(np.where(log_K < self._ends, grown, _BEYOND))

    def step(self, log_K: Array, C_W: ArrayLike, C_b: float) -> Array:
        """Return ``ln K`` of the next layer; anything that broadcasts."""
        grown = np.log(C_W) + self._logarithm(np.asarray(log_K))
        if C_b > 0:
            grown = np.logaddexp(grown, math.log(C_b))
        return np.asarray(np.clip(grown, -_BEYOND, _BEYOND))

    def growth(self, C_W: Array, C_b: float) -> Array:
        """Return ``ln K'/K`` for each variance at each tabulated kernel, shape (variances, kernels)."""
        return np.asarray(self.step(self.log_K[None, :], C_W[:, None], C_b) - self.log_K)

    def fates(self, C_W: Array, C_b: float) -> NDArray[np.int_]:
        """Return what becomes of each tabulated kernel: VANISHES, SETTLES or EXPLODES.

        A kernel moves on to the next one that the map keeps, as it does where the map rises with K.
        """
        growth = self.growth(C_W, C_b)
        made = np.full(growth.shape, SETTLES)
        rises, falls = growth > _STILL, growth < -_STILL
        # Nothing but rising kernels above, or nothing but falling ones below.
        made[np.logical_and.accumulate(rises[:, ::-1], axis=1)[:, ::-1]] = EXPLODES
        made[np.logical_and.accumulate(falls, axis=1)] = VANISHES
        return made

    def fate(self, K1: float, C_W: float, C_b: float) -> int:
        """Return what becomes of one kernel, by the nearest tabulated one."""
        nearest = np.abs(self.log_K - math.log(K1)).argmin()
        return int(self.fates(np.array([C_W]), C_b)[0, nearest])

    def layers(
        self, K1: ArrayLike, C_W: float, C_b: float, *, factor: float = 10.0, most: int = 10_000
    ) -> tuple[Array, Array]:
        """Return after how many layers each kernel is `factor` times larger, and smaller; NaN for never.

        Only what happens first is counted. ``survival_depth`` counts the first of the two, without a table.
        """
        start = np.log(np.atleast_1d(np.asarray(K1, dtype=np.float64)))
        grown, shrunk = np.full(start.shape, np.nan), np.full(start.shape, np.nan)
        moving, log_K = np.arange(start.size), start
        for layer in range(1, most + 1):
            following = self.step(log_K, C_W, C_b)
            up = following - start[moving] > math.log(factor)
            down = start[moving] - following > math.log(factor)
            grown[moving[up]], shrunk[moving[down]] = layer, layer
            goes_on = ~(up | down) & (np.abs(following - log_K) > 1e-13)
            moving, log_K = moving[goes_on], following[goes_on]
            if not moving.size:
                break
        return grown, shrunk
