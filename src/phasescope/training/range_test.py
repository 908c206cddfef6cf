"""The plain learning-rate range test, with an error over initialisations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.results import Result
from phasescope.training.factory import Factory, Trial, trial

Array = NDArray[np.float64]

_SMOOTHING = 0.05  # weight of the newest loss in the running mean
_EXPLODED = 5.0  # times the smallest smoothed loss, where the ramp stops
_SCATTER = 0.5  # standard deviation of ln rate over initialisations above which a suggestion means nothing


@dataclass(frozen=True)
class RangeTest(Result):
    """What a ramp of the learning rate suggests, over several initialisations.

    Parameters
    ----------
    steepest : Estimate
        The rate at which the smoothed loss falls fastest in ln(rate), mean over initialisations; not
        determined where they differ by more than half a unit in ln(rate).
    tenth : Estimate
        A tenth of the rate at the smallest smoothed loss, likewise.
    rates : array of shape (steps,)
        The ramp.
    losses : array of shape (initialisations, steps)
        Smoothed loss of each; NaN after the ramp has stopped.
    """

    steepest: Estimate
    tenth: Estimate
    rates: Array
    losses: Array


def range_test(
    factory: Factory,
    low: float,
    high: float,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    steps: int = 100,
    dtype: torch.dtype | None = torch.float64,
    device: torch.device | str | None = None,
) -> RangeTest:
    """Return the learning rates that the range test suggests, each with its error over initialisations.

    Parameters
    ----------
    factory : callable
        As in :func:`scan_learning_rate`; its scheduler is left out.
    low, high : float
        First and last rate of the ramp, which rises exponentially.
    seeds : sequence of int
        Initialisations, one ramp each.
    steps : int
        Length of a ramp, one gradient a step.
    dtype, device
        As in :func:`training_map`.

    Returns
    -------
    RangeTest
        The two suggestions in use, steepest point and a tenth of the minimum.

    Raises
    ------
    InputError
        If the ramp does not rise, or is shorter than 10 steps; or as in :func:`scan_learning_rate`.

    Notes
    -----
    The loss is smoothed by ``s' = 0.95 s + 0.05 loss``, and the ramp stops where it exceeds 5 times its
    smallest value. It fails by design where the loss answers later than the ramp moves on, and where its
    noise is larger than its fall. The source is Smith, Cyclical Learning Rates (arXiv:1506.01186); the
    two suggestions are those of the tools in use.
    """
    if not (0 < low < high < math.inf):
        raise InputError(f"The ramp goes from {low!r} to {high!r}.", "Pass 0 < low < high.")
    if steps < 10:
        raise InputError(f"A ramp of {steps} steps has no slope.", "Pass steps=10 or more.")
    curves = [
        ramp(trial(factory, seed, steps=steps, dtype=dtype, device=device), low, high, steps)
        for seed in seeds
    ]
    rates = np.geomspace(low, high, steps)
    found = [suggestions(rates, curve) for curve in curves]
    return RangeTest(
        steepest=together([pair[0] for pair in found]),
        tenth=together([pair[1] for pair in found]),
        rates=rates,
        losses=np.array(curves),
    )


def ramp(setup: Trial, low: float, high: float, steps: int) -> Array:
    """Return the smoothed loss while the rate rises from `low` to `high`; NaN after it has exploded."""
    made = setup.map(low, schedule=lambda t: (high / low) ** (t / (steps - 1)))
    x, smoothed = made.initial, np.full(steps, math.nan)
    running = math.nan
    for t in range(steps):
        x, loss = made.advance(x, t)
        value = float(loss)
        running = value if t == 0 else running + _SMOOTHING * (value - running)
        if not math.isfinite(running) or (t > 0 and running > _EXPLODED * np.nanmin(smoothed)):
            break
        smoothed[t] = running
    return smoothed


def suggestions(rates: Array, smoothed: Array) -> tuple[float, float]:
    """Return the rate of the steepest fall and a tenth of that at the minimum; NaN where nothing falls."""
    there = np.isfinite(smoothed)
    if there.sum() < 3:
        return math.nan, math.nan
    slopes = np.gradient(smoothed[there])  # the ramp is even in ln(rate)
    if slopes.min() >= 0:
        return math.nan, math.nan
    return float(rates[slopes.argmin()]), float(rates[smoothed[there].argmin()]) / 10


def together(rates: Sequence[float]) -> Estimate:
    """Return the mean suggestion, or that initialisations disagree too much for one."""
    known = np.array([rate for rate in rates if math.isfinite(rate)])
    if len(known) < len(rates) or len(known) == 0:
        return Estimate.not_determined(
            f"the loss falls nowhere in {len(rates) - len(known)} of {len(rates)} ramps", n=len(known)
        )
    if len(known) == 1:
        return Estimate(float(known[0]), math.nan, "one ramp, which has no error", 1)
    if np.log(known).std(ddof=1) > _SCATTER:
        return Estimate.not_determined(
            f"{len(known)} initialisations suggest rates from {known.min():.3g} to {known.max():.3g}",
            n=len(known),
        )
    return Estimate.from_samples(known, method="range test, mean over initialisations")
