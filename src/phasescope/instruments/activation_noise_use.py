"""Whether the units that move most are those whose fluctuations remember most."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from phasescope.estimate import Estimate

if TYPE_CHECKING:
    from phasescope.noise import Population

Array = NDArray[np.float64]
_FEWEST_RANKED = 10
_GROUPS = 10


def beta_of_used_half(found: Population) -> Estimate:
    """Return the mean beta of the half of the units that move most; error by leaving out sequences."""
    known = np.flatnonzero(np.isfinite(found.unit_beta) & np.isfinite(found.deviation))
    if known.size < 2 or found.beta.shape[0] < 2:
        return Estimate.not_determined("too few units or sequences")
    used = known[np.argsort(-found.deviation[known], kind="stable")[: math.ceil(known.size / 2)]]
    beta = found.beta[:, used]
    groups = np.arange(len(beta)) * min(len(beta), _GROUPS) // len(beta)
    without = np.array([_mean_of_units(beta[groups != group]) for group in np.unique(groups)])
    error = math.sqrt((len(without) - 1) / len(without) * float(((without - without.mean()) ** 2).sum()))
    return Estimate(_mean_of_units(beta), error, "mean over the more used half of the units", len(beta))


def rank_correlation(found: Population) -> Estimate:
    r"""Return Spearman's correlation between the beta of a unit and how much it moves.

    Notes
    -----
    Error: that of Fisher's z, :math:`\sqrt{(1 + \rho^2/2)/(n - 3)}` (Bonett and Wright 2000), times
    :math:`1 - \rho^2`, as if the n units were independent. Not determined for fewer than 10 units.
    """
    known = np.isfinite(found.unit_beta) & np.isfinite(found.deviation)
    n = int(known.sum())
    if n < _FEWEST_RANKED or np.ptp(found.deviation[known]) == 0 or np.ptp(found.unit_beta[known]) == 0:
        return Estimate.not_determined(f"{n} units are too few", n=n)
    rho = float(spearmanr(found.unit_beta[known], found.deviation[known]).statistic)
    error = (1 - rho**2) * math.sqrt((1 + rho**2 / 2) / (n - 3))
    return Estimate(rho, error, "Spearman's rank correlation", n)


def _mean_of_units(beta: Array) -> float:
    known = np.isfinite(beta)
    count = known.sum(axis=0)
    sums = np.where(known, beta, 0.0).sum(axis=0)
    return float((sums[count > 0] / count[count > 0]).mean()) if count.any() else math.nan
