"""Where the Lyapunov exponent of networks of one width changes sign, and series in 1/width.

The fits are solved by hand since ``numpy.polyfit(..., cov="unscaled")`` rounds differently, and stored checks
are compared to the last digit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from phasescope.estimate import Estimate

DISCARD = 20  # first layers of a tangent vector, whose growth does not count
TANGENT = 9e-8  # seconds for one neuron of one layer of a tangent vector, on one core


@dataclass(frozen=True)
class ExponentCurve:
    """A weighted polynomial through the exponents of one width; :func:`fit_exponents` makes it."""

    zero: Estimate  # ``sigma_w`` of the change of sign
    slope: Estimate  # ``d lambda/d sigma_w`` there
    at_line: Estimate  # lambda at the ``sigma_w`` that was asked for
    chi_squared: float  # mean square of the residuals in units of their errors, per degree of freedom


def fit_exponents(
    sigma_w: np.ndarray, exponents: np.ndarray, errors: np.ndarray, at: float, *, degree: int = 2
) -> ExponentCurve:
    """Return zero and slope of the Lyapunov exponent from a polynomial fit, and its value at one ``sigma_w``.

    Errors come from the covariance of the coefficients; the zero's is ``sigma(lambda)/slope`` at the zero.
    Samples of equal effort have equal true errors, so that the mean square of the given ones is used.
    """
    points = int(sigma_w.size)
    usable = np.isfinite(exponents).all() and np.isfinite(errors).all() and float(errors.max(initial=0)) > 0
    if points <= degree or not usable:
        why = Estimate.not_determined(f"{points} usable samples for a fit of degree {degree}", n=points)
        return ExponentCurve(why, why, why, math.nan)
    error = math.sqrt(float(np.mean(errors**2)))
    centre, scale = float(sigma_w.mean()), float(np.ptp(sigma_w)) / 2
    basis = np.vander((sigma_w - centre) / scale, degree + 1, increasing=True)
    covariance = np.linalg.inv(basis.T @ basis) * error**2
    coefficients = np.linalg.lstsq(basis, exponents, rcond=None)[0]
    residuals = exponents - basis @ coefficients
    freedom = max(1, points - degree - 1)
    window = (float(sigma_w.min()), float(sigma_w.max()))
    method = f"weighted polynomial fit of degree {degree}"

    def value(x: float, derivative: int = 0) -> Estimate:
        row = np.array(
            [math.perm(k, derivative) * x ** max(k - derivative, 0) for k in range(degree + 1)]
        ) / (scale**derivative)
        spread = math.sqrt(float(row @ covariance @ row))
        return Estimate(float(row @ coefficients), spread, method, points, window)

    chi_squared = float(np.sum(residuals**2) / error**2 / freedom)
    zero = _zero(coefficients)
    at_line = value((at - centre) / scale)
    if not math.isfinite(zero):
        why = Estimate.not_determined("no change of sign near the samples", method=method, n=points)
        return ExponentCurve(why, why, at_line, chi_squared)
    slope = value(zero, 1)
    spread = value(zero).error / abs(slope.value)
    return ExponentCurve(
        Estimate(centre + scale * zero, spread, method, points, window), slope, at_line, chi_squared
    )


def _zero(coefficients: np.ndarray) -> float:
    """Return the root nearest the middle of the samples, or NaN where none is near."""
    roots = np.polynomial.polynomial.polyroots(coefficients)
    near = [float(x) for x in roots.real[np.abs(roots.imag) < 1e-9] if abs(x) < 3]
    return min(near, key=abs) if near else math.nan


@dataclass(frozen=True)
class Series:
    """Coefficients of ``y(n) = y_0 + y_1/n + y_2/n^2 + ...``; :func:`in_inverse_width` fits it."""

    coefficients: tuple[Estimate, ...]

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
    errors = np.sqrt(np.diag(covariance))
    window = (float(n.min()), float(n.max()))
    method = f"weighted fit of degree {degree} in 1/width"
    found = zip(best, errors, strict=True)
    return Series(tuple(Estimate(float(b), float(error), method, int(n.size), window) for b, error in found))
