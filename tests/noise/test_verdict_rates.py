"""How often a verdict is right, over many series."""

import math
from collections import Counter

import numpy as np
import pytest

from phasescope.noise.generators import autoregressive, fractional_gaussian_noise
from phasescope.noise.nulls import relaxation_test
from phasescope.noise.spectrum import lines
from phasescope.noise.verdict import verdict

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("phi", [0.5, 0.8, 0.95])
def test_how_often_short_memory_passes_as_1_f(phi):
    kinds = Counter(verdict(x).kind for x in autoregressive([phi], 500, size=100, seed=10))
    passed = kinds["1/f"] + kinds["power law"] + kinds["straight"] + kinds["brown"]
    assert passed < 5 + 3 * math.sqrt(100 * 0.05 * 0.95)


@pytest.mark.parametrize(("length", "at_least"), [(500, 0.35), (2000, 0.85)])
def test_how_often_scaling_beats_short_memory(length, at_least):
    noise = fractional_gaussian_noise(0.9, length, size=60, seed=11)
    kinds = Counter(verdict(x).kind for x in noise)
    assert kinds["straight"] + kinds["1/f"] > at_least * 60
    assert kinds["short memory"] <= 3


def mixture(length, series, seed):
    random = np.random.default_rng(seed)
    return sum(autoregressive([phi], length, size=series, seed=random) for phi in (0.3, 0.9, 0.99))


def test_a_sum_of_three_relaxation_times_is_not_called_1_f():
    kinds = Counter(verdict(x, copies=60).kind for x in mixture(4000, 40, 12))
    assert kinds["1/f"] + kinds["power law"] <= 4
    assert kinds["straight"] >= 24


def test_long_enough_1_f_noise_is():
    assert verdict(fractional_gaussian_noise(0.9, 2**19, seed=3)).kind == "1/f"
    assert verdict(mixture(2**18, 1, 4)[0]).kind != "1/f"


def test_white_noise_has_no_lines_and_a_band_of_none():
    found = [lines(x) for x in np.random.default_rng(13).standard_normal((1000, 500))]
    # One series in a thousand, at most, by chance.
    assert sum(len(one.share) > 0 for one in found) <= 5
    assert not any(one.band for one in found)


@pytest.mark.parametrize(
    ("number", "weights"), [(2, {1.5: 0.5, 30.0: 0.5}), (3, {1.0: 1 / 3, 9.5: 1 / 3, 99.5: 1 / 3})]
)
def test_false_alarm_rate_against_relaxation_times(number, weights):
    random = np.random.default_rng(14)
    series = sum(
        math.sqrt(weight) * autoregressive([math.exp(-1 / tau)], 4000, size=200, seed=random)
        for tau, weight in weights.items()
    )
    excluded = [
        len(p) > number - 2 and p[number - 2] <= 0.025 for p in (relaxation_test(x).p for x in series)
    ]
    assert np.mean(excluded) < 0.025 + 4 * math.sqrt(0.025 * 0.975 / 200)
