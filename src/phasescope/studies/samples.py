"""Means and shares of repetitions, with the errors that studies state."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from phasescope.estimate import Estimate
from phasescope.noise.population import widening


def mean(samples: ArrayLike, method: str) -> Estimate:
    """Return the mean of independent samples, those without a number left out; its error is widened."""
    values = np.asarray(samples, dtype=np.float64)
    found = Estimate.from_samples(values[np.isfinite(values)], method=method)
    if not found.determined:
        return found
    return replace(found, error=widening(found.n - 1) * found.error)


def share(successes: ArrayLike, method: str) -> Estimate:
    """Return the share of trials that are true; none or all of n has the error of one in n."""
    trials = np.asarray(successes, dtype=bool)
    n = len(trials)
    if not n:
        return Estimate.not_determined("no trial is left")
    value = float(trials.mean())
    return Estimate(value, (max(value * (1 - value), 1 / n) / n) ** 0.5, method, n)
