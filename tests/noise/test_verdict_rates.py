"""How often a verdict is right, over many series."""

import math
from collections import Counter

import pytest

from phasescope.noise.generators import autoregressive, fractional_gaussian_noise
from phasescope.noise.verdict import verdict

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("phi", [0.5, 0.8, 0.95])
def test_how_often_short_memory_passes_as_1_f(phi):
    kinds = Counter(verdict(x).kind for x in autoregressive([phi], 500, size=100, seed=10))
    passed = kinds["1/f"] + kinds["power law"] + kinds["brown"]
    assert passed < 5 + 3 * math.sqrt(100 * 0.05 * 0.95)


# 55 % at 500 values, 99 of 180 over three seeds: 60 series may fall three errors below.
@pytest.mark.parametrize(("length", "at_least"), [(500, 0.35), (2000, 0.85)])
def test_how_often_1_f_is_found(length, at_least):
    noise = fractional_gaussian_noise(0.9, length, size=60, seed=11)
    kinds = Counter(verdict(x).kind for x in noise)
    assert kinds["1/f"] > at_least * 60
    assert kinds["short memory"] <= 3
