"""Which part of a decay can tell a universality class: long enough, and not carried by rare runs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phasescope.scaling.local_slopes import slopes_of
from phasescope.scaling.log_data import Array, log_data

FEWEST_RUNS = 8
FEWEST_POINTS = 8
_FIRST_TIME = 10.0
_MOST_DECADES = 3.0
_LARGEST_GAP = 0.02
_LARGEST_GAP_SLOPE = 0.1
_SATURATED = 0.6
_FEWEST_CARRIERS = 50


@dataclass(frozen=True)
class Usable:
    """The part of the data that can be used, or why there is none."""

    chosen: NDArray[np.bool_]  # (times,): which times
    refusal: str  # why they cannot be used; empty where they can
    notes: tuple[str, ...]  # where the window was cut, and why


def usable_times(
    times: Array, density: Array, start: str, window: tuple[float, float] | None, decades: float
) -> Usable:
    """Return the times between microscopic scales and the point where rare runs carry the mean.

    Shapes: `times` (times,), `density` (runs, times).
    """
    nothing = np.zeros(len(times), dtype=bool)
    if len(density) < FEWEST_RUNS:
        return Usable(nothing, f"{len(density)} runs are too few for an error, {FEWEST_RUNS} needed.", ())
    first, last = window or (_FIRST_TIME, math.inf)
    reach, why = (_carried if start == "seed" else _self_averaging)(times, density, first)
    notes = (f"Cut at t = {reach:.4g}: {why}.",) if reach < min(last, times[-1]) else ()
    last = min(last, reach)
    inside = times[(times <= last) & (times >= first)]
    if window is None and inside.size:
        first = max(first, inside[-1] / 10**_MOST_DECADES)
    # At points where all runs agree there is no error to weigh them with.
    chosen = (times >= first) & (times <= last) & (density.std(axis=0) > 0)
    kept = times[chosen]
    if kept.size < FEWEST_POINTS or kept[-1] / kept[0] < 10**decades * (1 - 1e-9):
        span = f"t = {kept[0]:.4g} to {kept[-1]:.4g}" if kept.size else "no time"
        return Usable(
            nothing, f"Too short: {span} with {kept.size} points, {decades:g} decade(s) needed.", notes
        )
    if start == "homogeneous":
        late, most = _late_slope(kept, density[:, chosen])
        if late < _SATURATED * most:
            reason = f"Off criticality: the local slope falls from {most:.3g} to {late:.3g} (active phase)."
            return Usable(nothing, reason, notes)
        ratio = _gap_slope(kept, density[:, chosen])
        if ratio > _LARGEST_GAP_SLOPE:
            reason = (
                f"Mean and typical run decay at rates that differ by {ratio:.0%}: rare runs carry the mean."
            )
            return Usable(nothing, reason, notes)
    return Usable(chosen, "", notes)


def _self_averaging(times: Array, density: Array, first: float) -> tuple[float, str]:
    """Return the last time at which runs are alike, and what ends it."""
    ended = np.flatnonzero((density <= 0).any(axis=0) & (times >= first))
    alive = times[ended[0] - 1] if ended.size and ended[0] else (0.0 if ended.size else math.inf)
    kept = times <= alive
    logs = np.log(density[:, kept & (density > 0).all(axis=0)])
    clock = times[kept & (density > 0).all(axis=0)]
    gap = np.log(np.exp(logs - logs.max(axis=0)).mean(axis=0)) + logs.max(axis=0) - logs.mean(axis=0)
    apart = np.flatnonzero((gap > _LARGEST_GAP) & (clock >= first))
    if apart.size:
        limit = float(clock[apart[0] - 1]) if apart[0] else 0.0
        return limit, "from there on mean and typical run part (finite size, or noise common to a whole run)"
    return float(alive), "from there on runs have ended (finite size)"


def _carried(times: Array, density: Array, first: float) -> tuple[float, str]:
    total, square = density.sum(axis=0), (density**2).sum(axis=0)
    carriers = np.where(square > 0, total**2 / np.where(square > 0, square, 1.0), 0.0)
    few = np.flatnonzero((carriers < _FEWEST_CARRIERS) & (times >= first))
    reached = math.inf if not few.size else (float(times[few[0] - 1]) if few[0] else 0.0)
    return reached, f"from there on fewer than {_FEWEST_CARRIERS} runs carry the mean"


def _late_slope(times: Array, density: Array) -> tuple[float, float]:
    """Return the size of the last local slope and of the steepest one before."""
    data = log_data(density, None, "mean", name="density")
    slopes = slopes_of(np.log(times), data, math.sqrt(10))
    steepness = -slopes.slope
    # What chance could have added to the steepest, and taken from the last, is allowed for.
    most = float((steepness - 2 * slopes.error).max())
    return float(max(0.0, steepness[-1] + 2 * slopes.error[-1])), most


def _gap_slope(times: Array, density: Array) -> float:
    """Return by how much the slopes of mean and typical run differ, relative to the mean's, late on."""
    late = times >= times[-1] / math.sqrt(10)
    clock = np.log(times[late])
    mean, typical = np.log(density[:, late].mean(axis=0)), np.log(density[:, late]).mean(axis=0)
    slope, gap_slope = np.polyfit(clock, mean, 1)[0], np.polyfit(clock, mean - typical, 1)[0]
    return float(abs(gap_slope) / max(abs(slope), 1e-300))
