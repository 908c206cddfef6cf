"""Curves as a user gives them, checked and put one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from phasescope.errors import InputError
from phasescope.scaling.log_data import Array, LogData, Statistic, log_data

_LARGEST_ERROR = 0.5
_FEWEST_POINTS = 8


def gather(
    x: Sequence[ArrayLike],
    y: Sequence[ArrayLike],
    size: Sequence[ArrayLike],
    errors: Sequence[ArrayLike] | None,
    statistic: Statistic,
) -> tuple[tuple[Array, Array, Array], list[LogData], list[str]]:
    """Return abscissas, sizes and curve numbers of all points, the curves' logarithms, and notes."""
    count = len(y)
    if count < 2:
        raise InputError(f"{count} curve.", "A collapse needs at least two.")
    for name, given in (("x", x), ("size", size), ("errors", errors)):
        if given is not None and len(given) != count:
            raise InputError(
                f"{name} has {len(given)} entries for {count} curves.", "Give one a curve, in the same order."
            )
    found: list[Array] = []
    curves: list[LogData] = []
    dropped = 0
    for index in range(count):
        name = f"y[{index}]"
        data = log_data(y[index], None if errors is None else errors[index], statistic, name=name)
        if not data.known:
            raise InputError(
                f"{name} has neither networks nor errors.", "Give errors=, or y as (networks, points)."
            )
        points = np.stack(
            [_along(x[index], data, f"x[{index}]"), _along(size[index], data, f"size[{index}]")]
        )
        if not (points[1] > 0).all():
            raise InputError(f"size[{index}] is not positive.", "Sizes enter as powers: give positive ones.")
        usable = data.relative <= _LARGEST_ERROR
        dropped += int((~usable).sum())
        if usable.any():
            found.append(np.concatenate([points[:, usable], np.full((1, usable.sum()), len(curves))]))
            curves.append(data.at(usable))
    total = sum(len(data.ln_y) for data in curves)
    if len(curves) < 2 or total < _FEWEST_POINTS:
        raise InputError(
            f"{total} points on {len(curves)} curves have a relative error below {_LARGEST_ERROR}.",
            f"Give at least {_FEWEST_POINTS} on two curves; more networks make the errors smaller.",
        )
    notes = [f"{dropped} points with relative errors above {_LARGEST_ERROR} are left out."] if dropped else []
    joined = np.concatenate(found, axis=1)
    return (joined[0], joined[1], joined[2]), curves, notes


def _along(given: ArrayLike, data: LogData, name: str) -> Array:
    values = np.asarray(given, dtype=np.float64)
    points = len(data.ln_y)
    if values.ndim > 1 or (values.ndim == 1 and len(values) != points):
        raise InputError(
            f"{name} has shape {values.shape}, the curve has {points} points.",
            "Give one number, or one a point.",
        )
    if not np.isfinite(values).all():
        raise InputError(f"{name} has values that are not finite.", "Leave these points out.")
    return np.broadcast_to(values, points)
