"""Random words whose bits are independent and set with a given probability."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

BITS = 64
_BLOCK = 16384
_SPRINKLED_PER_WORD = 0.5
_DIGITS = 53


def bernoulli_words(generator: np.random.Generator, probabilities: Sequence[float], n: int) -> Words:
    """Return words of shape (len(probabilities), n), every bit of row k set with ``probabilities[k]``.

    The bits of one row are independent of each other. A bit of one row is **not** independent of the bit
    at the same place in another row: the rows are cut from the same random numbers, so use at most one row
    at each place.

    Notes
    -----
    Reading the binary digits of q from the last to the first, ``m = m | r`` for a 1 and ``m = m & r`` for a
    0, with fresh random words r, sets each bit of m with probability q. The digits are the same constants
    for all bits while every bit has its own random digits, which is why bits stay independent. Digits beyond
    the d-th would each cost a word for a change in a fraction 2^-d of the bits; the missing probability
    e is added instead by setting a Poisson number of mean ``-ln(1 - e)`` per bit at uniformly drawn places:
    counts at different places are independent, and a place is hit with probability e. So q is exact to
    rounding. Cost: d + 1 is about 9 random words per word, however many rows.
    """
    digits = _digits_needed(probabilities)
    scaled = [int(q * 2**digits) for q in probabilities]
    rates = [_missing_rate(q, digits) for q in probabilities]
    words = np.zeros((len(probabilities), n), dtype=np.uint64)
    for start in range(0, n, _BLOCK):
        block = words[:, start : start + _BLOCK]
        _expand(generator, scaled, digits, block)
        for row, rate in zip(block, rates, strict=True):
            if rate == math.inf:
                row[:] = np.uint64(2**BITS - 1)
            elif rate > 0:
                _sprinkle(generator, row, rate)
    return words


def _missing_rate(q: float, digits: int) -> float:
    """Events per bit that raise the first `digits` binary digits of q to q."""
    if q >= 1:
        return math.inf
    kept = int(q * 2**digits) / 2**digits
    return -math.log1p(-(q - kept) / (1 - kept))


def _digits_needed(probabilities: Sequence[float]) -> int:
    for digits in range(1, _DIGITS):
        rates = (_missing_rate(q, digits) for q in probabilities if q < 1)
        if max(rates, default=0.0) * BITS <= _SPRINKLED_PER_WORD:
            return digits
    return _DIGITS


def _expand(generator: np.random.Generator, scaled: Sequence[int], digits: int, rows: Words) -> None:
    for digit in range(digits):
        # random_raw of a 64-bit generator is the fastest source of whole random words that numpy has.
        fresh = generator.bit_generator.random_raw(rows.shape[1])
        for row, number in zip(rows, scaled, strict=True):
            combine = np.bitwise_or if number >> digit & 1 else np.bitwise_and
            combine(row, fresh, out=row)


def _sprinkle(generator: np.random.Generator, row: Words, rate: float) -> None:
    events = generator.poisson(rate * BITS * row.size)
    places = generator.integers(0, BITS * row.size, events)
    bits = np.uint64(1) << (places & (BITS - 1)).astype(np.uint64)
    np.bitwise_or.at(row, places >> 6, bits)
