"""The exponent as it would be read off a short piece of a curve, along the curve."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from phasescope.errors import InputError
from phasescope.results import Result
from phasescope.scaling.log_data import Array, LogData, Statistic, log_data, real_numbers


@dataclass(frozen=True)
class LocalSlopes(Result):
    """``d ln y / d ln x`` along a curve.

    Parameters
    ----------
    x : array of shape (slopes,)
        Geometric centre of each piece.
    slope, error : array of shape (slopes,)
        Slope of a straight line in logarithms, and its standard error; neighbours overlap by half.
    """

    x: Array
    slope: Array
    error: Array


def local_slopes(
    x: ArrayLike,
    y: ArrayLike,
    *,
    errors: ArrayLike | None = None,
    span: float = math.sqrt(10),
    statistic: Statistic = "mean",
) -> LocalSlopes:
    """Return the slope ``d ln y/d ln x`` in pieces of the curve that each cover a factor `span` of x.

    Parameters
    ----------
    x : array of shape (points,)
        Positive and ascending.
    y : array of shape (points,) or (networks, points)
        Positive; with networks the points of one network may depend on each other.
    errors : array of shape (points,) or None
        Standard errors of independent points.
    span : float
        Largest over smallest x of a piece; pieces with fewer than three points are left out.
    statistic : {"mean", "typical"}
        Mean over networks, or ``exp mean ln y``.

    Notes
    -----
    Weighted least squares in each piece; its error from the covariance over networks, from the given errors,
    or else from the scatter about the line. An `InputError` tells which input is of no use.
    """
    data = log_data(y, errors, statistic)
    return slopes_of(checked_abscissa(x, data), data, span)


def checked_abscissa(x: ArrayLike, data: LogData) -> Array:
    """Return ``ln x``, one entry a point of `data`."""
    given = real_numbers(x, "x")
    if given.shape != data.ln_y.shape:
        raise InputError(f"x has shape {given.shape}, y has {len(data.ln_y)} points.", "Give one x a point.")
    if not (np.isfinite(given).all() and (given > 0).all() and (np.diff(given) > 0).all()):
        raise InputError("x does not ascend from above 0.", "Sort the points and leave out x <= 0.")
    return np.log(given)


def slopes_of(ln_x: Array, data: LogData, span: float) -> LocalSlopes:
    """Return the local slopes of logarithms; see :func:`local_slopes`."""
    width = math.log(span)
    found = []
    start = ln_x[0]
    while start < ln_x[-1]:
        inside = (ln_x >= start - 1e-9) & (ln_x <= start + width + 1e-9)
        if inside.sum() >= 3:
            found.append(_line(ln_x[inside], data.at(inside)))
        start += width / 2
        if start + width > ln_x[-1] + 1e-9:
            break
    table = np.array(found).reshape(-1, 3)
    return LocalSlopes(np.exp(table[:, 0]), table[:, 1], table[:, 2])


def _line(ln_x: Array, data: LogData) -> tuple[float, float, float]:
    """Return centre, slope and its error of a weighted straight line."""
    weight = 1 / data.relative**2
    centre = float((weight * ln_x).sum() / weight.sum())
    offset = ln_x - centre
    pull = weight * offset / (weight * offset**2).sum()
    slope = float(pull @ data.ln_y)
    if data.known:
        return centre, slope, data.error_of(pull)
    rest = data.ln_y - data.ln_y.mean() - slope * offset
    scatter = float(rest @ rest) / (len(rest) - 2)
    return centre, slope, math.sqrt(scatter * float(pull @ pull))
