import math

import numpy as np
import pytest

from phasescope.errors import InputError
from phasescope.noise.generators import (
    arfima,
    arfima_autocovariance,
    autoregressive,
    autoregressive_autocovariance,
    coloured_noise,
    fractional_autocovariance,
    fractional_gaussian_noise,
    phase_randomised,
    shuffled,
)

LENGTH, SERIES = 48, 5000


def matrix(autocovariance):
    lags = np.arange(len(autocovariance))
    return autocovariance[np.abs(lags[:, None] - lags)]


@pytest.mark.parametrize("hurst", [0.1, 0.5, 0.7, 0.95])
def test_fractional_autocovariance_is_the_second_difference(hurst):
    def power(k):
        return abs(k) ** (2 * hurst)

    expected = [(power(k + 1) - 2 * power(k) + power(k - 1)) / 2 for k in range(200)]
    np.testing.assert_allclose(fractional_autocovariance(hurst, np.arange(200)), expected, atol=2e-12)


def test_fractional_autocovariance_decays_as_a_power_at_lags_of_millions():
    k = 10.0**7
    assert fractional_autocovariance(0.55, k) == pytest.approx(0.55 * 0.1 * k**-0.9, rel=1e-6)


@pytest.mark.parametrize("d", [-0.4, 0.2, 0.45])
def test_arfima_autocovariance_in_gamma_functions(d):
    def expected(k):
        return math.gamma(1 - d) * math.gamma(k + d) / (math.gamma(d) * math.gamma(k + 1 - d))

    found = arfima_autocovariance(d, np.arange(100))
    np.testing.assert_allclose(found, [1.0] + [expected(k) for k in range(1, 100)], rtol=1e-12)
    assert arfima_autocovariance(d, [-1]) == pytest.approx(d / (1 - d))


def test_autoregressive_autocovariance_in_closed_form():
    lags = np.arange(60)
    np.testing.assert_allclose(autoregressive_autocovariance([0.8], lags), 0.8**lags, rtol=1e-13)
    # Complex roots r exp(+-i w): a damped cosine whose phase fixes r(1) = a_1/(1 - a_2).
    radius, angle = 0.9, 0.4
    first, second = 2 * radius * math.cos(angle), -(radius**2)
    phase = math.atan((math.cos(angle) - first / (1 - second) / radius) / math.sin(angle))
    expected = radius**lags * np.cos(angle * lags + phase) / math.cos(phase)
    np.testing.assert_allclose(autoregressive_autocovariance([first, second], lags), expected, atol=1e-13)
    assert autoregressive_autocovariance([], [0, 1, 5]).tolist() == [1, 0, 0]


NOISES = {
    "anti-persistent": (
        lambda size: fractional_gaussian_noise(0.2, LENGTH, size=size, seed=1),
        fractional_autocovariance(0.2, np.arange(LENGTH)),
    ),
    "persistent": (
        lambda size: fractional_gaussian_noise(0.9, LENGTH, size=size, seed=2),
        fractional_autocovariance(0.9, np.arange(LENGTH)),
    ),
    "arfima": (
        lambda size: arfima(0.4, LENGTH, size=size, seed=3),
        arfima_autocovariance(0.4, np.arange(LENGTH)),
    ),
    "AR(1)": (lambda size: autoregressive([0.8], LENGTH, size=size, seed=4), 0.8 ** np.arange(LENGTH)),
    "AR(3)": (
        lambda size: autoregressive([0.5, 0.3, -0.2], LENGTH, size=size, seed=5),
        autoregressive_autocovariance([0.5, 0.3, -0.2], np.arange(LENGTH)),
    ),
}


@pytest.mark.parametrize("name", NOISES)
def test_covariance_of_all_pairs_of_times(name):
    make, autocovariance = NOISES[name]
    x = make((50, SERIES // 50)).reshape(SERIES, LENGTH)
    expected = matrix(autocovariance)
    # Var(x_s x_t) of a Gaussian with unit variances; no mean is subtracted.
    error = np.sqrt((1 + expected**2) / SERIES)
    apart = (x.T @ x / SERIES - expected) / error
    assert np.abs(x.mean(axis=0) * math.sqrt(SERIES)).max() < 4
    assert np.abs(apart).max() < 4.8  # 1176 pairs: one in five hundred runs


def test_a_short_series_of_a_long_memory_is_its_beginning():
    a = [0.4, 0.2, 0.1]
    x = autoregressive(a, 2, size=40_000, seed=6)
    assert x.shape == (40_000, 2)
    expected = autoregressive_autocovariance(a, [1])[0]
    assert np.mean(x[:, 0] * x[:, 1]) == pytest.approx(expected, abs=4 * math.sqrt(2 / 40_000))


@pytest.mark.parametrize("beta", [0.0, 0.8, 1.5])
def test_coloured_noise_has_the_autocovariance_of_its_spectrum(beta):
    length, period = 64, 256
    j = np.arange(1, period)
    power = np.minimum(j, period - j).astype(float) ** -beta
    lags = np.arange(length)
    expected = (np.cos(2 * np.pi * np.outer(lags, j) / period) @ power) / power.sum()
    x = coloured_noise(beta, length, size=4000, seed=7)
    found = x.T @ x / 4000
    apart = (found - matrix(expected)) / np.sqrt((1 + matrix(expected) ** 2) / 4000)
    assert np.abs(apart).max() < 4.8


def test_seed_size_and_shape():
    first = fractional_gaussian_noise(0.7, 10, size=(2, 3), seed=1)
    assert first.shape == (2, 3, 10)
    assert np.array_equal(first, fractional_gaussian_noise(0.7, 10, size=(2, 3), seed=1))
    assert not np.array_equal(first, fractional_gaussian_noise(0.7, 10, size=(2, 3), seed=2))
    assert autoregressive([0.5], 7, seed=0).shape == coloured_noise(1.0, 7, seed=0).shape == (7,)
    assert arfima(0.2, 1, size=3, seed=0).shape == (3, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fractional_gaussian_noise(1.0, 10, seed=0), "hurst = 1.0"),
        (lambda: fractional_gaussian_noise(0.7, 0, seed=0), "length 0"),
        (lambda: arfima(0.5, 10, seed=0), "d = 0.5"),
        (lambda: autoregressive([1.0], 10, seed=0), "no stationary process"),
        (lambda: autoregressive([0.7, 0.5], 10, seed=0), "no stationary process"),
        (lambda: autoregressive([math.nan], 10, seed=0), "not a list of finite numbers"),
        (lambda: coloured_noise(math.inf, 10, seed=0), "beta = inf"),
    ],
)
def test_input_that_has_no_process(call, message):
    with pytest.raises(InputError, match=message):
        call()


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
