import math

import numpy as np
import pytest
from scipy.linalg import solve_toeplitz

from phasescope.errors import InputError
from phasescope.noise.generators import (
    autoregressive,
    autoregressive_autocovariance,
    fractional_gaussian_noise,
    phase_randomised,
    shuffled,
)
from phasescope.noise.nulls import burg_reflections, fit_autoregressive, levinson

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


def test_shuffled_copies_hold_the_same_values():
    x = fractional_gaussian_noise(0.9, 2000, size=2, seed=8)
    copies = shuffled(x, copies=5, seed=9)
    assert copies.shape == (5, 2, 2000)
    assert np.array_equal(np.sort(copies[3], axis=-1), np.sort(x, axis=-1))
    assert not np.array_equal(copies[0, 0], copies[1, 0])
    centred = copies - x.mean(axis=-1, keepdims=True)
    neighbours = (centred[..., 1:] * centred[..., :-1]).mean(axis=-1) / x.var(axis=-1)
    assert np.abs(neighbours).max() < 4 / math.sqrt(2000)


@pytest.mark.parametrize("length", [999, 1000])
def test_phase_randomised_copies_keep_periodogram_and_mean(length):
    x = fractional_gaussian_noise(0.9, length, seed=10) ** 3 + 2
    copies = phase_randomised(x, copies=4, seed=11)
    assert copies.shape == (4, length)
    np.testing.assert_allclose(np.abs(np.fft.rfft(copies)), [np.abs(np.fft.rfft(x))] * 4, rtol=1e-8)
    assert np.corrcoef(copies[0], x)[0, 1] < 0.5
    # What the cube had made skew is so no more.
    skewness = np.abs(((copies - 2) ** 3).mean(axis=-1)).max() / np.abs((x - 2) ** 3).mean()
    assert skewness < 0.5
