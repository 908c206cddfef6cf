"""Averages over networks that differ in their seeds alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import t as student

from phasescope.estimate import Estimate
from phasescope.papers.noise.observation import CONDITIONS, QUANTITIES

if TYPE_CHECKING:
    import xarray as xr

_SURE = 1.96


def over_networks(samples: np.ndarray, method: str = "mean over networks") -> Estimate:
    """Return the mean of independent networks; value +- 1.96 errors is the 95 % interval also for few.

    Shapes: `samples` (networks,).
    """
    values = np.asarray(samples, dtype=np.float64)
    values = values[np.isfinite(values)]
    found = Estimate.from_samples(values, method=method)
    if not found.determined:
        return found
    wider = float(student.ppf(0.975, found.n - 1)) / _SURE
    return Estimate(found.value, wider * found.error, method, found.n)


def of(data: xr.Dataset, name: str, condition: str, quantity: str) -> np.ndarray:
    """Return one number of every network, shape (task,)."""
    values = data[name].values[:, CONDITIONS.index(condition), QUANTITIES.index(quantity)]
    return np.asarray(values, dtype=np.float64)


def less(estimate: Estimate, by: float) -> Estimate:
    """Return an estimate less a known number."""
    if not estimate.determined:
        return estimate
    return Estimate(estimate.value - by, estimate.error, estimate.method, estimate.n)


def negated(estimate: Estimate) -> Estimate:
    """Return an estimate with the opposite sign."""
    if not estimate.determined:
        return estimate
    return Estimate(-estimate.value, estimate.error, estimate.method, estimate.n)
