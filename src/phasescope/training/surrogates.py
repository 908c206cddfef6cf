"""Surrogates of a scalar series, which keep its values alone, or its values and its spectrum."""

from __future__ import annotations

import numpy as np

from phasescope.training.series import Array

_ROUNDS = 100
_TAIL = 0.1  # share of a series that may be cut so that its ends meet


def meeting_ends(away: Array, from_second: Array) -> int:
    """Return how many values to keep, nine tenths or more, so that the end continues into the beginning.

    A periodogram takes a series for one period, and a jump between its ends is power at all frequencies. The
    first two values that are cut must be near the first two of the series, from which `away` and
    `from_second` hold the distance of each value.
    """
    n = len(away)
    lengths = np.arange(max(4, n - int(_TAIL * n)), n - 1)
    return int(lengths[np.argmin(away[lengths] + from_second[lengths + 1])]) if len(lengths) else n


def shuffled(x: Array, copies: int, random: np.random.Generator) -> Array:
    """Return copies with the values in random order, as (copies, time)."""
    return random.permuted(np.broadcast_to(x, (copies, len(x))), axis=1)


def phase_randomised(x: Array, copies: int, random: np.random.Generator) -> Array:
    """Return copies with the values of the series and, nearly, its periodogram, as (copies, time).

    The iteration of Schreiber and Schmitz, Phys. Rev. Lett. 77, 635 (1996): the amplitudes of the series'
    Fourier coefficients, then its values by rank, until no order changes.
    """
    amplitude, values = np.abs(np.fft.rfft(x)), np.sort(x)
    found = shuffled(x, copies, random)
    for _ in range(_ROUNDS):
        spectrum = np.fft.rfft(found)
        size = np.abs(spectrum)
        phase = np.where(size > 0, spectrum / np.where(size > 0, size, 1.0), 1.0)
        order = np.fft.irfft(amplitude * phase, n=len(x)).argsort(axis=1, kind="stable")
        before = found
        found = np.empty_like(before)
        np.put_along_axis(found, order, np.broadcast_to(values, before.shape), axis=1)
        if np.array_equal(found, before):
            break
    return found
