"""Series in 1/width through quantities measured at several widths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from phasescope.estimate import Estimate


@dataclass(frozen=True)
class Series:
    """Coefficients of ``y(n) = y_0 + y_1/n + y_2/n^2 + ...``; :func:`in_inverse_width` fits it."""

    coefficients: tuple[Estimate, ...]  # ``y_0``, ``y_1``,
    # mean square of the residuals in units of their errors, per degree of freedom; NaN without freedom
    chi_squared: float = float("nan")

    @property
    def limit(self) -> Estimate:
        """The value at infinite width."""
        return self.coefficients[0]

    def at(self, n: float) -> float:
        """Return the series at width n, or 0 where nothing was fitted."""
        return float(sum(c.value / n**k for k, c in enumerate(self.coefficients) if c.determined))


def in_inverse_width(widths: Sequence[float], values: Sequence[Estimate], degree: int) -> Series:
    """Return the weighted least-squares series of a degree in 1/n, errors from the covariance."""
    known = [(n, value) for n, value in zip(widths, values, strict=True) if value.determined]
    if len(known) <= degree:
        reasons = [value.reason for value in values if not value.determined]
        reason = reasons[0] if reasons else f"{len(known)} widths for {degree + 1} coefficients"
        return Series((Estimate.not_determined(reason),) * (degree + 1))
    n = np.array([n for n, _ in known], dtype=np.float64)
    y = np.array([value.value for _, value in known])
    weight = 1 / np.array([value.error for _, value in known])
    basis = np.vander(1 / n, degree + 1, increasing=True) * weight[:, None]
    covariance = np.linalg.inv(basis.T @ basis)
    best = covariance @ basis.T @ (y * weight)
    residual = basis @ best - y * weight
    freedom = n.size - degree - 1
    window = (float(n.min()), float(n.max()))
    method = f"weighted fit of degree {degree} in 1/width"
    coefficients = tuple(
        Estimate(float(b), float(np.sqrt(covariance[k, k])), method, int(n.size), window)
        for k, b in enumerate(best)
    )
    return Series(coefficients, float(residual @ residual / freedom) if freedom else float("nan"))


def truncated_limit(widths: Sequence[float], values: Sequence[Estimate]) -> Estimate:
    """Return the limit of a series cut after 1/n, its error including what the term in 1/n^2 would change."""
    limit, next_order = (in_inverse_width(widths, values, degree).limit for degree in (1, 2))
    if not (limit.determined and next_order.determined):
        return limit
    return replace(limit, error=math.hypot(limit.error, next_order.value - limit.value))
