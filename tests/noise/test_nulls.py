"""Autoregressive fits, and the test of short memory against scaling."""

import math

import numpy as np
import pytest
from scipy.linalg import solve_toeplitz

from phasescope.errors import InputError
from phasescope.noise.fluctuation import expected_fluctuation
from phasescope.noise.generators import (
    autoregressive,
    autoregressive_autocovariance,
    fractional_autocovariance,
    fractional_gaussian_noise,
)
from phasescope.noise.nulls import burg_reflections, fit_autoregressive, levinson, memory_test, scaling_noise

KNOWN = [0.5, 0.3, -0.2]


def test_a_long_series_gives_its_coefficients_back():
    length, series = 4000, 100
    x = autoregressive(KNOWN, length, size=series, seed=1)
    found, _ = levinson(burg_reflections(x, 3))
    # Asymptotic covariance of the coefficients: innovation variance times the inverse of the autocovariance.
    r = autoregressive_autocovariance(KNOWN, np.arange(4))
    lags = np.arange(3)
    innovation = 1 - np.dot(KNOWN, r[1:])
    expected = np.sqrt(np.diag(innovation * np.linalg.inv(r[np.abs(lags[:, None] - lags)])) / length)
    np.testing.assert_allclose(found.std(axis=0), expected, rtol=0.3)
    assert np.abs((found.mean(axis=0) - KNOWN) / expected * math.sqrt(series)).max() < 5


def test_the_order_is_found():
    orders = [fit_autoregressive(x).order for x in autoregressive(KNOWN, 4000, size=60, seed=2)]
    assert np.mean(np.array(orders) == 3) > 0.9
    white = [fit_autoregressive(x).order for x in autoregressive([], 4000, size=60, seed=3)]
    assert np.mean(np.array(white) == 0) > 0.9
    # The asymptotic probability that AIC takes order 0 for white noise is 0.71.
    more = [fit_autoregressive(x, criterion="aic").order for x in autoregressive([], 4000, size=100, seed=4)]
    assert np.mean(np.array(more) == 0) == pytest.approx(0.71, abs=0.19)


def test_coefficients_autocovariance_and_innovation_belong_together():
    fit = fit_autoregressive(fractional_gaussian_noise(0.9, 3000, seed=5), order=6)
    r = fit.autocovariance(200)
    np.testing.assert_allclose(solve_toeplitz(r[:6], r[1:7]), fit.coefficients, atol=1e-12)
    np.testing.assert_allclose(r, autoregressive_autocovariance(fit.coefficients, np.arange(200)), atol=1e-12)
    assert fit.innovation == pytest.approx(1 - fit.coefficients @ r[1:7], rel=1e-12)


def test_burg_by_least_squares_of_both_directions():
    x = autoregressive([0.7], 40, seed=6)
    x = x - x.mean()
    both = np.concatenate([x[1:], x[:-1]]), np.concatenate([x[:-1], x[1:]])
    expected = np.linalg.lstsq(both[1][:, None], both[0], rcond=None)[0][0]
    assert fit_autoregressive(x, order=1).coefficients[0] == pytest.approx(expected, rel=1e-12)


def test_a_random_walk_stays_stationary():
    walk = np.cumsum(np.random.default_rng(7).standard_normal(2000))
    fit = fit_autoregressive(walk, order=20)
    assert np.abs(np.roots(np.concatenate([[1.0], -fit.coefficients]))).max() < 1
    assert np.abs(fit.autocovariance(3000)).max() <= 1


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (np.ones(100), {}, "constant"),
        ([1.0, math.nan, 2.0], {}, "NaN"),
        (np.zeros((2, 100)), {}, "has shape"),
        (np.arange(10.0), {"order": 5}, "order of 5"),
        (np.arange(10.0), {"criterion": "r2"}, "'r2' is unknown"),
    ],
)
def test_nothing_to_fit(x, options, message):
    with pytest.raises(InputError, match=message):
        fit_autoregressive(x, **options)


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
