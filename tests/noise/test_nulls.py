import math

import numpy as np
import pytest

from phasescope.noise.fluctuation import expected_fluctuation
from phasescope.noise.generators import autoregressive, fractional_autocovariance, fractional_gaussian_noise
from phasescope.noise.nulls import memory_test, scaling_noise


def test_short_memory_is_explained_by_its_own_process():
    x = 3 * autoregressive([0.8], 4096, seed=1)
    found = memory_test(x, copies=40)
    assert found.fit.order == 1
    assert found.p_short > 0.05
    assert found.p_fit > 0.05
    assert found.p_scaling < 0.05
    assert found.memory == pytest.approx(-1 / math.log(0.8), rel=0.15)
    phi = found.fit.coefficients[0]
    curve = x.std() * expected_fluctuation(phi ** np.arange(600), found.windows)
    np.testing.assert_allclose(found.short_memory, curve, rtol=1e-10)


def test_long_memory_is_not():
    found = memory_test(fractional_gaussian_noise(0.9, 4096, seed=2), copies=80)
    assert found.p_short < 0.025 < found.p_scaling
    slope = np.polyfit(np.log(found.windows), np.log(found.scaling), 1)[0]
    assert slope == pytest.approx(found.alpha, abs=0.05)


def test_the_same_seed_gives_the_same_shares_and_the_unit_does_not_matter():
    x = autoregressive([0.5], 800, seed=3)
    first = memory_test(x, copies=20, seed=4)
    again = memory_test(x * 1e9, copies=20, seed=4)
    assert (first.p_short, first.p_scaling) == (again.p_short, again.p_scaling)
    other = [memory_test(x, copies=20, seed=seed).p_short for seed in range(5, 10)]
    assert len({first.p_short, *other}) > 1


@pytest.mark.parametrize("x", [np.ones(500), np.arange(50.0), np.full(500, np.nan)])
def test_what_has_no_exponent_has_no_test(x):
    assert memory_test(x, copies=20) is None


@pytest.mark.parametrize(("alpha", "hurst"), [(0.3, 0.3), (0.8, 0.8)])
def test_scaling_noise_below_one_is_fractional(alpha, hurst):
    random = np.random.default_rng(5)
    x = np.stack([scaling_noise(alpha, 16, random) for _ in range(4096)])
    expected = fractional_autocovariance(hurst, 1)
    assert np.mean(x[:, 3] * x[:, 4]) == pytest.approx(expected, abs=4 * math.sqrt(2 / 4096))


def test_scaling_noise_above_one_is_its_sum():
    random = np.random.default_rng(6)
    x = np.stack([scaling_noise(1.7, 16, random) for _ in range(4096)])
    # A fractional Brownian motion: the variance grows as t^2H.
    assert x[:, 15].var() == pytest.approx(16**1.4, rel=4 * math.sqrt(2 / 4096))


@pytest.mark.slow
@pytest.mark.parametrize("phi", [0.0, 0.5, 0.8])
def test_false_alarm_rate_against_short_memory(phi):
    tests = [memory_test(x, copies=80, seed=7) for x in autoregressive([phi], 500, size=200, seed=8)]
    # Near white noise the direction follows the measured exponent, which makes the test two-sided.
    assert np.mean([test.p_short <= 0.025 for test in tests]) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)


@pytest.mark.slow
def test_false_alarm_rate_of_the_fit():
    tests = [memory_test(x, copies=80, seed=7) for x in autoregressive([0.8], 500, size=200, seed=12)]
    assert np.mean([test.p_fit <= 0.025 for test in tests]) < 0.025 + 4 * math.sqrt(0.025 * 0.975 / 200)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.6, 0.9, 1.5])
def test_false_alarm_rate_against_scaling(alpha):
    random = np.random.default_rng(9)
    tests = [memory_test(scaling_noise(alpha, 500, random), copies=80, seed=10) for _ in range(200)]
    assert np.mean([test.p_scaling <= 0.025 for test in tests]) < 0.025 + 4 * math.sqrt(0.025 * 0.975 / 200)
