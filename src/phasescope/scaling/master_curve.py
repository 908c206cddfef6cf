"""The unknown smooth function of a collapse: splines in a logarithmic abscissa, projected out of the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from phasescope.scaling.log_data import Array

Form = Literal["constant", "function"]

# How much a kink of the spline costs, in units of a point: too little to bend it, enough to bridge gaps.
_STIFFNESS = 1e-3
_CORRECTION_INTERVALS = 2


def spline_basis(s: Array, low: float, high: float, intervals: int) -> Array:
    """Return uniform cubic B-splines at `s`, shape (points, intervals + 3)."""
    width = (high - low) or 1.0
    position = np.clip((s - low) / width, 0.0, 1.0) * intervals
    cell = np.minimum(position.astype(int), intervals - 1)
    t = position - cell
    weights = np.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1
    )
    basis = np.zeros((len(s), intervals + 3))
    np.put_along_axis(basis, cell[:, None] + np.arange(4), weights / 6, axis=1)
    return basis


@dataclass(frozen=True)
class Ansatz:
    """``ln y = F(s) - a ln size [+ c size^-omega | + G(s) size^-omega]`` with F and G unknown and smooth."""

    # x, size: (points,): of all curves, one after the other
    x: Array
    size: Array
    curve: NDArray[np.int_]  # (points,): which curve a point belongs to
    held: dict[str, float]  # parameters that are not fitted; among "a", "b", "critical", "omega"
    free: tuple[str, ...]  # those of "b", "critical", "omega" that are
    correction: Form | None  # form of the term in ``size^-omega``
    logarithmic: bool  # whether the abscissa is ``ln u`` (all u > 0) or ``asinh(u/median)``, for both signs

    def values(self, theta: Array) -> dict[str, float]:
        """Return all parameters but those that enter linearly."""
        return {**self.held, **dict(zip(self.free, theta.tolist(), strict=True))}

    def scaled(self, theta: Array) -> Array:
        """Return ``u = (x - critical) size^b``."""
        values = self.values(theta)
        return np.asarray((self.x - values["critical"]) * self.size ** values["b"])

    def abscissa(self, theta: Array) -> Array:
        """Return the coordinate s in which the master curve is smooth."""
        u = self.scaled(theta)
        if self.logarithmic:
            return np.asarray(np.log(u))
        size = np.abs(u)
        return np.asarray(np.arcsinh(u / np.median(size[size > 0])))

    @property
    def linear(self) -> tuple[str, ...]:
        """Names of the parameters, beside the master curve, in which ``ln y`` is linear."""
        return (() if "a" in self.held else ("a",)) + (("c",) if self.correction == "constant" else ())

    def design(self, theta: Array, intervals: int) -> Array:
        """Return the columns of the linear problem: the `linear` parameters, F, then G."""
        s = self.abscissa(theta)
        low, high = float(s.min()), float(s.max())
        small = self.size ** -self.values(theta).get("omega", 0.0)
        columns = [] if "a" in self.held else [-np.log(self.size)[:, None]]
        if self.correction == "constant":
            columns.append(small[:, None])
        columns.append(spline_basis(s, low, high, intervals))
        if self.correction == "function":
            columns.append(small[:, None] * spline_basis(s, low, high, _CORRECTION_INTERVALS))
        return np.concatenate(columns, axis=1)

    def offset(self) -> Array:
        """Return the part of ``ln y`` that is held fixed."""
        return -self.held.get("a", 0.0) * np.log(self.size)

    def solve(self, theta: Array, intervals: int, ln_y: Array, unit: Array) -> tuple[Array, Array]:
        """Return coefficients of the columns and residuals in units of `unit`, for one or more right sides.

        Shapes: `theta` (free,), `ln_y` (points,) or (points, draws), `unit` (points,).
        """
        design = self.design(theta, intervals) / unit[:, None]
        target = ((ln_y.T - self.offset()) / unit).T
        width = design.shape[1]
        first = len(self.linear)
        bend = np.zeros((intervals + 1, width))
        rows = np.arange(intervals + 1)
        for shift, weight in ((0, 1.0), (1, -2.0), (2, 1.0)):
            bend[rows, first + rows + shift] = weight * _STIFFNESS
        left, right = np.linalg.qr(np.concatenate([design, bend]))
        diagonal = np.abs(np.diag(right))
        if diagonal.min() <= 1e-10 * diagonal.max():
            padded = np.concatenate([target, np.zeros((len(bend), *target.shape[1:]))])
            coefficients = np.linalg.lstsq(np.concatenate([design, bend]), padded, rcond=1e-9)[0]
        else:
            coefficients = np.linalg.solve(right, left[: len(target)].T @ target)
        return coefficients, target - design @ coefficients

    def overlap(self, theta: Array) -> float:
        """Return the share of points within the reach of another curve."""
        s = self.abscissa(theta)
        labels = np.unique(self.curve)
        low = np.array([s[self.curve == label].min() for label in labels])
        high = np.array([s[self.curve == label].max() for label in labels])
        other = labels != self.curve[:, None]
        inside = (s[:, None] >= low) & (s[:, None] <= high) & other
        return float(inside.any(axis=1).mean())
