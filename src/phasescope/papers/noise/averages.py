"""Averages over networks that differ in their seeds alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from phasescope.estimate import Estimate
from phasescope.papers.noise.observation import CONDITIONS, QUANTITIES
from phasescope.papers.noise.shared import over_networks

__all__ = ["over_networks"]

if TYPE_CHECKING:
    import xarray as xr


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
