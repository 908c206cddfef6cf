"""Autoregressive fits by Burg's method, of one series or of many at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phasescope.errors import InputError
from phasescope.noise.spectrum import standardised

Array = NDArray[np.float64]
Criterion = Literal["aic", "bic"]


@dataclass(frozen=True)
class AutoregressiveFit:
    """The autoregressive process that imitates a series.

    Parameters
    ----------
    coefficients : array of shape (order,)
        ``a_1 .. a_p`` of ``x_t = sum_j a_j x_(t-j) + e_t``; always stationary.
    reflections : array of shape (order,)
        Partial autocorrelations at lags 1 to p.
    innovation : float
        Variance of e relative to that of x.
    criterion : array of shape (orders,)
        The criterion at order 0, 1, ..., smallest at the order that was chosen.
    name : {"aic", "bic"}
        Which criterion.
    """

    coefficients: Array
    reflections: Array
    innovation: float
    criterion: Array
    name: Criterion

    @property
    def order(self) -> int:
        """Number of coefficients."""
        return len(self.coefficients)

    def autocovariance(self, length: int) -> Array:
        """Return the autocovariance at lags 0 to ``length - 1``, at unit variance.

        Parameters
        ----------
        length : int
            How many lags.
        """
        return np.asarray(reflected_autocovariance(self.reflections[None], length)[0])


def fit_autoregressive(
    x: ArrayLike, *, order: int | None = None, max_order: int | None = None, criterion: Criterion = "bic"
) -> AutoregressiveFit:
    """Return the autoregressive process that is most like a series.

    Parameters
    ----------
    x : array of shape (time,)
        The series; it is centred first.
    order : int, optional
        Number of coefficients; by default that of the smallest criterion.
    max_order : int, optional
        Largest order tried; ``10 log10 N`` by default.
    criterion : {"aic", "bic"}
        ``N ln(variance of e) + 2 p`` or ``+ p ln N``.

    Notes
    -----
    Burg's method: each partial autocorrelation minimises the errors of forward and backward prediction, so
    that the process is stationary whatever the series is (Burg, Thesis, Stanford, 1975).
    Cost: the length times the largest order.

    Raises
    ------
    InputError
        If x is not one usable series, or is too short for the order.
    """
    series, reason = standardised(x)
    if series.ndim != 1:
        raise InputError(f"x has shape {series.shape}.", "Fit one series at a time, of shape (time,).")
    if reason[()]:
        raise InputError(f"There is nothing to fit: {reason[()]}.", "Leave this series out.")
    length = len(series)
    if criterion not in ("aic", "bic"):
        raise InputError(f"criterion = {criterion!r} is unknown.", "Use 'aic' or 'bic'.")
    most = order if order is not None else max_order
    if most is None:
        most = min(int(10 * np.log10(length)), length // 4)
    if not 0 <= most < length / 2:
        raise InputError(f"An order of {most} is too large for {length} values.", "Keep it below half.")
    reflections = burg_reflections(series[None], most)[0]
    left = np.concatenate([[1.0], np.cumprod(1 - reflections**2)])
    price = 2.0 if criterion == "aic" else np.log(length)
    score = length * np.log(np.maximum(left, 1e-300)) + price * np.arange(most + 1)
    chosen = int(score.argmin()) if order is None else order
    kept = reflections[:chosen]
    return AutoregressiveFit(
        reflected_coefficients(kept[None])[0], kept, float(left[chosen]), score, criterion
    )


def burg_reflections(series: Array, order: int) -> Array:
    """Return partial autocorrelations at lags 1 to `order` of centred series.

    Shapes: `series` (batch, time).
    """
    forward, backward = series[:, 1:], series[:, :-1]
    found = np.zeros((len(series), order))
    for lag in range(order):
        energy = (forward**2).sum(axis=-1) + (backward**2).sum(axis=-1)
        product = 2 * (forward * backward).sum(axis=-1)
        k = np.where(energy > 0, product / np.where(energy > 0, energy, 1.0), 0.0)
        found[:, lag] = np.clip(k, -1 + 1e-12, 1 - 1e-12)
        step = found[:, lag, None]
        forward, backward = (forward - step * backward)[:, 1:], (backward - step * forward)[:, :-1]
    return found


def reflected_coefficients(reflections: Array) -> Array:
    """Return ``a_1 .. a_p`` of each row of partial autocorrelations (Levinson's recursion).

    Shapes: `reflections` (batch, order).
    """
    a = np.zeros((len(reflections), 0))
    for lag in range(reflections.shape[1]):
        k = reflections[:, lag, None]
        a = np.concatenate([a - k * a[:, ::-1], k], axis=1)
    return a


def reflected_autocovariance(reflections: Array, length: int) -> Array:
    """Return the autocovariance at lags 0 to ``length - 1`` of each row, at unit variance.

    Shapes: `reflections` (batch, order).
    """
    batch, order = reflections.shape
    r = np.zeros((batch, max(length, order + 1)))
    r[:, 0] = 1.0
    a, left = np.zeros((batch, 0)), np.ones(batch)
    for lag in range(1, order + 1):
        k = reflections[:, lag - 1]
        r[:, lag] = k * left + (a * r[:, lag - 1 : 0 : -1]).sum(axis=1)
        a = np.concatenate([a - k[:, None] * a[:, ::-1], k[:, None]], axis=1)
        left = left * (1 - k**2)
    if order:
        backwards = a[:, ::-1]
        for lag in range(order + 1, length):
            r[:, lag] = (backwards * r[:, lag - order : lag]).sum(axis=1)
    return r[:, :length]
