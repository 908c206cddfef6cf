"""Test loss as a function of ``ln(kappa L)``, depth by depth, and where it is lowest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.interpolate import CubicSpline

from phasescope.estimate import Estimate
from phasescope.papers.absorbing import shared
from phasescope.papers.absorbing.optimum import Optimum, mean_place, minimum

if TYPE_CHECKING:
    import xarray as xr

_GRID = 40


@dataclass(frozen=True)
class LossCurves:
    """Losses of one activation on one data set along the critical line; :func:`loss_curves` makes it."""

    depths: np.ndarray  # (depths,): weight layers
    # log_bias, log_kappa, log_distance: (points,): logarithms of ``sigma_b``, ascending, of kappa, and of the
    # median distance in the first layer
    log_bias: np.ndarray
    log_kappa: np.ndarray
    log_distance: np.ndarray
    # loss, accuracy: (points, depths, subsets, times): naN where kappa L is out of reach
    loss: np.ndarray
    accuracy: np.ndarray

    def log_kappa_L(self, row: int) -> np.ndarray:
        """Return ln(kappa L) at the depth number `row`, shape (points,)."""
        return np.asarray(self.log_kappa + math.log(self.depths[row]))

    @cached_property
    def subsets(self) -> int:
        """Number of repetitions."""
        return int(self.loss.shape[2])

    def best(self, row: int, time: int) -> list[Optimum | None]:
        """Return the lowest point of ln(loss) against ln(kappa L), one for each repetition."""
        x = self.log_kappa_L(row)
        return [minimum(x, np.log(self.loss[:, row, s, time])) for s in range(self.subsets)]

    def place(self, row: int, time: int) -> Estimate:
        """Return the mean position of the minimum in ln(kappa L)."""
        value, error = mean_place(self.best(row, time))
        if not math.isfinite(value + error):
            return Estimate.not_determined(
                "the loss has no minimum inside the range, or there is one repetition"
            )
        return Estimate(value, error, "minimum of a spline, mean over repetitions", self.subsets)

    def at(self, row: int, time: int, kappa_L: float) -> np.ndarray:
        """Return ln(loss) at one kappa L, one for each repetition; NaN out of reach."""
        x = self.log_kappa_L(row)
        known = np.isfinite(self.loss[:, row, 0, time])
        if known.sum() < 4 or not x[known][0] <= math.log(kappa_L) <= x[known][-1]:
            return np.full(self.subsets, np.nan)
        values = CubicSpline(x[known], np.log(self.loss[known, row, :, time]))(math.log(kappa_L))
        return np.asarray(values)

    def left_over(self, time: int, *, by_bias: bool = False) -> Estimate:
        """Return the share of the variance of ln(loss) that kappa L leaves to depth, or that sigma_b leaves.

        The losses of all depths are interpolated over the range that they have in common; of their variance
        over that range and over depth, the share within the same abscissa is returned: 0 is one curve.
        """
        every = np.array([self._left_over(time, by_bias, [s]) for s in range(self.subsets)])
        if not np.isfinite(every).all():
            return Estimate.not_determined("the depths have too small a range in common")
        return Estimate.from_samples(every, method="variance over depth over all variance, by repetition")

    def _left_over(self, time: int, by_bias: bool, subsets: list[int]) -> float:
        curves, lows, highs = [], [], []
        for row in range(self.depths.size):
            x = self.log_bias if by_bias else self.log_kappa_L(row)
            y = np.log(self.loss[:, row, subsets, time].mean(axis=1))
            known = np.isfinite(y)
            if known.sum() < 4:
                return math.nan
            curves.append(CubicSpline(x[known], y[known]))
            lows.append(x[known][0])
            highs.append(x[known][-1])
        if max(lows) >= min(highs) or len(curves) < 2:
            return math.nan
        grid = np.linspace(max(lows), min(highs), _GRID)
        values = np.stack([curve(grid) for curve in curves])
        return float(values.var(axis=0, ddof=1).mean() / values.var(ddof=1))


def loss_curves(
    data: xr.Dataset, depths: Sequence[int], spec: str, data_set: str, shrinkage: float
) -> LossCurves | None:
    """Return the losses of one case, or None where it was not measured or the activation has no kappa."""
    chosen = (
        (data["activation"].values.astype(str) == spec)
        & (data["data_set"].values.astype(str) == data_set)
        & (data["shrinkage"].values.astype(float) == shrinkage)
    )
    case = data.isel(task=np.flatnonzero(chosen))
    kappa = case["reference"].values[:, shared.QUANTITIES.index("kappa")]
    case = case.isel(task=np.flatnonzero(np.isfinite(kappa)))
    if case.sizes["task"] == 0:
        return None
    case = case.isel(task=np.argsort(case["sigma_b"].values.astype(float)))
    kappa = case["reference"].values[:, shared.QUANTITIES.index("kappa")]
    return LossCurves(
        np.array(depths, dtype=np.float64),
        np.log(case["sigma_b"].values.astype(float)),
        np.log(kappa),
        np.log(case["median_distance"].values.mean(axis=1)),
        case["loss"].values,
        case["accuracy"].values,
    )
