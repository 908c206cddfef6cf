"""Numbers of the LSTMs by width: which width reaches the plateau, and trends over all networks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import spearmanr
from scipy.stats import t as student

from phasescope.estimate import Estimate
from phasescope.papers.noise.averages import of, over_networks
from phasescope.papers.noise.observation import QUANTITIES, used_mean

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray
_PLATEAU = 0.015
_SURE = 1.96


@dataclass(frozen=True)
class Widths:
    """The networks of one embedding size."""

    data: xr.Dataset  # their tasks alone
    widths: list[int]  # ascending
    plateau: int  # smallest width whose mean test accuracy is within 0.015 of the best mean

    @property
    def units(self) -> Array:
        """Width of each network."""
        return np.asarray(self.data["units"].values, dtype=np.int64)

    def at(self, values: Array, width: int | None = None) -> Array:
        """Return the numbers of the networks of one width, by default that of the plateau."""
        return np.asarray(values[self.units == (self.plateau if width is None else width)])

    def mean(self, values: Array, width: int | None = None, method: str = "mean over networks") -> Estimate:
        """Return the mean over the networks of one width, by default that of the plateau."""
        return over_networks(self.at(values, width), method)

    def trend(self, values: Array) -> Estimate:
        """Return the slope against log2 of the width over all networks.

        Ordinary least squares with the error from the scatter about the line, widened by Student's law: a
        curved dependence makes it larger.
        """
        known = np.isfinite(values)
        x, y = np.log2(self.units[known]), values[known]
        if len(set(x.tolist())) < 3 or len(x) < 4:
            why = f"{len(x)} networks of {len(set(x.tolist()))} widths; at least 4 of 3 are needed"
            return Estimate.not_determined(why)
        u = x - x.mean()
        slope = float(u @ y / (u @ u))
        rest = y - y.mean() - slope * u
        wider = float(student.ppf(0.975, len(x) - 2)) / _SURE
        error = wider * math.sqrt(float(rest @ rest) / (len(x) - 2) / float(u @ u))
        return Estimate(slope, error, "slope against log2(width)", len(x))


def widths(data: xr.Dataset, config: Any) -> Widths:
    """Return the networks with the embedding that all widths share."""
    main = data.isel(task=np.flatnonzero(data["embedding"].values == config.embedding))
    units = np.asarray(main["units"].values, dtype=np.int64)
    known = sorted(set(units.tolist()))
    accuracy = best_accuracy(main)
    means = [float(accuracy[units == width].mean()) for width in known]
    plateau = next(width for width, mean in zip(known, means, strict=True) if mean >= max(means) - _PLATEAU)
    return Widths(main, known, plateau)


def best_accuracy(data: xr.Dataset) -> Array:
    """Return the test accuracy of each network at the epoch whose weights were kept."""
    return _at_best(data, "test_accuracy")


def _at_best(data: xr.Dataset, name: str) -> Array:
    epochs = data["best_epoch"].values.astype(int)
    return np.asarray(data[name].values[np.arange(len(epochs)), epochs])


def used(data: xr.Dataset, quantity: str = "hidden") -> Array:
    """Return the mean exponent of the units in use of each network."""
    place = QUANTITIES.index(quantity)
    rows = zip(data["unit_beta"].values, data["unit_deviation"].values, strict=True)
    return np.array([used_mean(beta[place], deviation[place]) for beta, deviation in rows])


def rank_correlation(data: xr.Dataset, first: Array, second: Array, fewest: int = 8) -> Array:
    """Return Spearman's correlation over the units of each network; NaN with fewer than `fewest` units.

    Shapes: `first` and `second` (task, unit).
    """
    found = []
    for a, b in zip(first, second, strict=True):
        known = np.isfinite(a) & np.isfinite(b)
        enough = known.sum() >= fewest and np.ptp(a[known]) > 0 and np.ptp(b[known]) > 0
        found.append(float(spearmanr(a[known], b[known]).statistic) if enough else math.nan)
    return np.array(found)


def of_units(data: xr.Dataset, name: str, quantity: str = "hidden") -> Array:
    """Return a variable over units, shape (task, unit)."""
    return np.asarray(data[name].values[:, QUANTITIES.index(quantity)])


def share(counted: Array, tested: Array, method: str) -> Estimate:
    """Return a share of tested series over all networks together, with its binomial error.

    Shapes: `counted` and `tested` (networks,).
    """
    known = np.isfinite(counted) & np.isfinite(tested)
    total = float(tested[known].sum())
    if not total:
        return Estimate.not_determined("no series was tested", method=method)
    found = float(counted[known].sum())
    # Agresti and Coull: an error that is not zero where none or all were found.
    p = (found + 2) / (total + 4)
    return Estimate(found / total, math.sqrt(p * (1 - p) / (total + 4)), method, int(total))


def remaining(data: xr.Dataset, condition: str, name: str = "plain_beta") -> Array:
    """Return the exponent of the state under a condition over that under the words, network by network."""
    words = of(data, name, "words", "hidden")
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(of(data, name, condition, "hidden") / np.where(words > 0.1, words, np.nan))
