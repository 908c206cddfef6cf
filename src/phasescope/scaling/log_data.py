"""Means over networks on logarithmic scales, with how they vary from one draw of networks to another."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from phasescope.errors import InputError

Array = NDArray[np.float64]
Statistic = Literal["mean", "typical"]

# Above this relative error the expansion of ``ln`` of a mean says nothing.
_LARGEST_EXPANDED = 0.5


@dataclass(frozen=True)
class LogData:
    """Positive numbers at some points, as logarithms; :func:`log_data` makes it."""

    ln_y: Array  # (points,): logarithm of the mean over networks, or mean of the logarithm
    relative: Array  # (points,): standard error of `ln_y`; all 1 where nothing is known of it
    # (networks, points): what each network adds to `ln_y`, times their number; None without networks.
    influence: Array | None
    values: Array | None  # (networks, points): what was averaged; None without networks
    statistic: Statistic  # how it was averaged
    known: bool = True  # whether `relative` is known

    @property
    def networks(self) -> int:
        """Number of independent networks; 0 where only errors are known."""
        return 0 if self.values is None else len(self.values)

    @cached_property
    def factor(self) -> Array:
        """F of shape (rows, points): ``F^T F`` is the covariance of `ln_y`, without bias, of low rank.

        Its last rows are rounding: networks that are exactly proportional leave no other scatter about a law.
        """
        rounding = 8 * np.finfo(np.float64).eps * np.maximum(1.0, np.abs(self.ln_y))
        if self.influence is None:
            return np.diag(np.hypot(self.relative, rounding))
        rows: Array = self.influence / math.sqrt(self.networks * (self.networks - 1))
        if len(rows) > rows.shape[1]:
            rows = np.asarray(np.linalg.qr(rows, mode="r"))
        return np.concatenate([rows, np.diag(rounding)])

    @cached_property
    def covariance(self) -> Array:
        """The covariance of `ln_y`, shape (points, points)."""
        factor = self.factor
        return np.asarray(factor.T @ factor)

    def error_of(self, pull: Array) -> float:
        """Return the standard error of ``pull @ ln_y``."""
        return float(np.linalg.norm(self.factor @ pull))

    def at(self, chosen: NDArray[np.bool_] | slice) -> LogData:
        """Return the same at some of the points."""
        return replace(
            self,
            ln_y=self.ln_y[chosen],
            relative=self.relative[chosen],
            influence=None if self.influence is None else self.influence[:, chosen],
            values=None if self.values is None else self.values[:, chosen],
        )

    def resampled(self, resamples: int, rng: np.random.Generator) -> Array:
        """Return `ln_y` of other draws, shape (resamples, points): networks drawn with replacement.

        A bootstrap over m networks spreads too little by ``sqrt((m-1)/m)``, which is made up for. Without
        networks the draws are normal with the known errors.
        """
        if self.values is None:
            return self.ln_y + self.relative * rng.standard_normal((resamples, len(self.ln_y)))
        m = self.networks
        weights = rng.multinomial(m, np.full(m, 1 / m), size=resamples) / m
        if self.statistic == "typical":
            drawn, centre = weights @ np.log(self.values), np.log(self.values).mean(axis=0)
        else:
            values = self.values / self.values.max(axis=0)
            mean = values.mean(axis=0)
            drawn, centre = np.log(np.maximum(weights @ values, 1e-3 * mean)), np.log(mean)
        return np.asarray(self.ln_y + (drawn - centre) * math.sqrt(m / (m - 1)))


def goodness(residual: Array, jacobian: Array, factor: Array, networks: int) -> tuple[float, float]:
    """Return chi^2 over what chance leads one to expect, and its p-value.

    The fit weighs points as if they were independent, so with P the projection off the Jacobian and S the
    true covariance, chi^2 has mean ``tr(PS)`` and variance ``2 tr(PSPS)``; its law is taken as F with the
    matching number of degrees of freedom; for a covariance estimated from `networks`, 0 where it is known.
    Derived here.

    Shapes, all in units of the errors that weigh the fit: `residual` (points,), `jacobian`
    (points, parameters), `factor` (rows, points) with ``factor^T factor`` the covariance.
    """
    left, size, _ = np.linalg.svd(jacobian, full_matrices=False)
    kept = left[:, size > 1e-10 * size.max()]
    if kept.shape[1] >= len(residual):
        return math.nan, math.nan
    left_over = factor - (factor @ kept) @ kept.T
    projected = left_over.T @ left_over
    expected, square = float(np.trace(projected)), float(np.sum(projected**2))
    if not (expected > 0 and square > 0):
        return math.nan, math.nan
    ratio = float(residual @ residual) / expected
    freedom = expected**2 / square
    if networks:
        return ratio, float(stats.f.sf(ratio, freedom, networks - 1))
    return ratio, float(stats.chi2.sf(ratio * freedom, freedom))


def real_numbers(given: ArrayLike, name: str) -> Array:
    """Return real numbers as float64; complex, masked and other values are refused by name."""
    if np.ma.is_masked(given):
        raise InputError(f"{name} has masked values.", "Leave these points out.")
    try:
        values = np.asarray(given)
        if not np.iscomplexobj(values):
            return values.astype(np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{name} cannot be read as numbers ({error}).", "Give an array of real numbers."
        ) from error
    raise InputError(f"{name} is complex.", "Give real numbers, such as the absolute value.")


def log_data(y: ArrayLike, errors: ArrayLike | None, statistic: Statistic, *, name: str = "y") -> LogData:
    """Return positive numbers as logarithms, with their errors and correlations.

    ``ln`` of a mean with relative error r is low by ``r^2/2`` on average, which is added.

    Shapes: `y` (points,) or (networks, points), `errors` (points,).
    """
    values = real_numbers(y, name)
    if statistic not in get_args(Statistic):
        raise InputError(f"statistic = {statistic!r}.", "Choose 'mean' or 'typical'.")
    if values.ndim not in (1, 2) or not values.size:
        raise InputError(f"{name} has shape {values.shape}.", "Give (points,) or (networks, points).")
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise InputError(f"{bad} of {values.size} values of {name} are not finite.", "Leave them out.")
    if values.ndim == 1:
        return _without_networks(values, errors, name)
    return _of_networks(values, errors, statistic, name)


def _without_networks(values: Array, errors: ArrayLike | None, name: str) -> LogData:
    _refuse(values, name)
    if errors is None:
        return LogData(np.log(values), np.ones_like(values), None, None, "mean", known=False)
    given = real_numbers(errors, f"errors of {name}")
    if given.shape != values.shape:
        raise InputError(f"errors have shape {given.shape}, {name} has {values.shape}.", "Give one a point.")
    if not (np.isfinite(given) & (given > 0)).all():
        raise InputError(f"Some errors of {name} are not positive.", "Leave out points without an error.")
    with np.errstate(over="ignore"):
        relative = given / values
    if not np.isfinite(relative).all():
        raise InputError(
            f"Some errors of {name} exceed it by more than numbers can hold.", "Leave these points out."
        )
    return LogData(np.log(values) + _lowered(relative**2), relative, None, None, "mean")


def _of_networks(values: Array, errors: ArrayLike | None, statistic: Statistic, name: str) -> LogData:
    if errors is not None:
        raise InputError(
            f"{name} has one row a network and errors are given too.", "Leave one out: networks give errors."
        )
    if len(values) < 2:
        raise InputError(f"{name} has {len(values)} network.", "Give at least 2, or (points,) with errors.")
    if statistic == "typical":
        _refuse(values, name)
        logs = np.log(values)
        influence = logs - logs.mean(axis=0)
        ln_y = logs.mean(axis=0)
    else:
        # In units of the largest, whose sum could exceed all numbers.
        largest = np.where(values.max(axis=0) > 0, values.max(axis=0), 1.0)
        mean = (values / largest).mean(axis=0)
        _refuse(mean * largest, f"the mean of {name}")
        influence = values / largest / mean - 1
        ln_y = np.log(mean) + np.log(largest)
    variance = (influence**2).sum(axis=0) / (len(values) * (len(values) - 1))
    if not (variance > 0).all():
        raise InputError(
            f"All networks have the same {name} at {int((variance == 0).sum())} point(s).",
            "Leave these points out: they have no error.",
        )
    if statistic == "mean":
        ln_y = ln_y + _lowered(variance)
    return LogData(ln_y, np.sqrt(variance), influence, values, statistic)


def _lowered(variance: Array) -> Array:
    """Return by how much ``ln`` of a mean with this relative variance is low on average."""
    return np.minimum(variance, _LARGEST_EXPANDED**2) / 2


def _refuse(values: Array, name: str) -> None:
    if not (values > 0).all():
        raise InputError(
            f"{int((values <= 0).sum())} value(s) of {name} are not positive (smallest {values.min():.4g}).",
            "Power laws and collapses are made on logarithmic scales: leave these points out.",
        )
