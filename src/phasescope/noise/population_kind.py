"""The verdict on many series together: what their mean exponent, mean curvature and tests say."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from phasescope.estimate import Estimate
from phasescope.noise.verdict import EXCLUDED, PINK, Kind

_BY_CHANCE = 0.01
_SURE = 3.0


@dataclass(frozen=True)
class Counts:
    """How many of the tested series exclude an explanation, and the median memory of their short ones."""

    tested: int  # number of series
    # beat_short, beat_scaling, beat_fit: those that exclude short memory, scaling noise, and the curve of
    # their autoregressive process
    beat_short: int
    beat_scaling: int
    beat_fit: int
    memory: float  # in steps; NaN without tests

    def more_than_chance(self, count: int) -> bool:
        """Return whether so many exclude a true explanation less than once in a hundred."""
        return bool(self.tested and binom.sf(count - 1, self.tested, EXCLUDED) < _BY_CHANCE)


def judged(
    beta: Estimate, curvature: Estimate, counts: Counts, windows: NDArray[np.int64]
) -> tuple[Kind, str]:
    """Return kind and reason."""
    if not beta.determined:
        return "not determined", f"{beta.reason[:1].upper()}{beta.reason[1:]}."
    bent = abs(curvature.value) > _SURE * curvature.error
    reach = _SURE * beta.error
    flat = abs(beta.value) <= reach and beta.value + reach < PINK[0]
    beats_short = counts.more_than_chance(counts.beat_short)
    straight = not bent and not counts.more_than_chance(counts.beat_scaling)
    if flat and (straight or not (bent or beats_short or counts.memory)):
        return "white", f"The mean beta = {beta} is zero within its error."
    if not counts.tested:
        how = "the curves are bent" if bent else "the curves are straight"
        return "not determined", f"beta = {beta}, and {how}, but no series was tested against short memory."
    short = _short(counts)
    share = f"{counts.beat_short} of {counts.tested} series tested"
    if not straight:
        how = (
            f"The curves are bent (curvature {curvature})" if bent else "Scaling noise does not look like it"
        )
        if beats_short or counts.more_than_chance(counts.beat_fit):
            excluded = f"{share} exclude it, {counts.beat_fit} exclude the curve of their own process"
            end = "There is no one exponent."
            if beats_short and counts.more_than_chance(counts.beat_scaling):
                end = "There is no one exponent, or units differ in kind."
            return "crossover", f"{how}, and short memory does not explain it: {excluded}. {end}"
        return "short memory", (
            f"{how}, and {short} explains it: beta = {beta} describes these windows only."
        )
    if abs(beta.value - 2) <= reach and (beats_short or counts.memory > windows[-1]):
        return "brown", f"The mean beta = {beta} is that of a random walk within its error."
    if not beats_short:
        return "not determined", (
            f"beta = {beta}, but {short} explains the curves as well: only {share} exclude it. Longer series "
            "would tell, or more tests."
        )
    if PINK[0] <= beta.value <= PINK[1]:
        return "1/f", f"The curves are straight with beta = {beta}, and {share} exclude short memory."
    return "power law", (
        f"The curves are straight, and {share} exclude short memory, but beta = {beta} is not that of 1/f "
        f"noise ({PINK[0]} to {PINK[1]})."
    )


def _short(counts: Counts) -> str:
    if not counts.memory:
        return "white noise"
    how = f"{counts.memory:.3g} steps" if math.isfinite(counts.memory) else "more steps than the series has"
    return f"an autoregressive process with a memory of {how}"
