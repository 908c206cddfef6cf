"""The exact fluctuation function, against matrices, closed forms and simulated series."""

import numpy as np
import pytest
from scipy.linalg import toeplitz

from phasescope.errors import InputError
from phasescope.noise import expected_fluctuation
from phasescope.noise.fluctuation import lag_weights
from phasescope.noise.generators import autoregressive, fractional_autocovariance, fractional_gaussian_noise
from reference.dfa import fluctuation

LAGS = np.arange(600)
WHITE = (LAGS == 0).astype(float)


def trace(autocovariance, window, order):
    """F^2(n) as the trace of matrices of n x n."""
    sums = np.tril(np.ones((window, window)))
    basis = np.linalg.qr(np.vander(np.linspace(-1, 1, window), order + 1))[0]
    outside = np.eye(window) - basis @ basis.T
    return np.trace(outside @ sums @ toeplitz(autocovariance[:window]) @ sums.T @ outside) / window


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize(
    "autocovariance", [WHITE, fractional_autocovariance(0.95, LAGS), 0.8**LAGS, (-0.5) ** LAGS]
)
def test_the_trace_of_matrices(autocovariance, order):
    windows = [order + 2, 7, 50, 301]
    expected = [trace(autocovariance, n, order) for n in windows]
    found = expected_fluctuation(autocovariance, windows, order)
    np.testing.assert_allclose(found**2, expected, rtol=1e-11)


@pytest.mark.parametrize(
    ("order", "closed"),
    [
        (1, lambda n: (n**2 - 4) / (15 * n)),
        (2, lambda n: 3 * (n**2 - 9) / (70 * n)),
        (3, lambda n: 2 * (n**2 - 16) / (63 * n)),
    ],
)
def test_white_noise(order, closed):
    windows = np.arange(order + 2, 600)
    np.testing.assert_allclose(expected_fluctuation(WHITE, windows, order) ** 2, closed(windows), rtol=1e-12)


def test_a_constant_does_not_fluctuate():
    for order in (1, 2, 3):
        assert abs(lag_weights(100, order).sum()) < 1e-12
    np.testing.assert_array_equal(expected_fluctuation(np.ones(50), [10, 50]), 0)


@pytest.mark.parametrize(
    ("autocovariance", "slopes"),
    [
        (WHITE, (0.541, 0.506, 0.502, 0.609, 0.504)),
        (fractional_autocovariance(0.7, LAGS), (0.733, 0.704, 0.701, 0.794, 0.703)),
        (fractional_autocovariance(0.9, LAGS), (0.931, 0.904, 0.901, 0.987, 0.902)),
        (0.8**LAGS, (1.117, 0.894, 0.714, 1.268, 0.811)),
    ],
)
def test_slopes_of_known_processes(autocovariance, slopes):
    found = []
    for low, high, order in ((4, 50, 1), (10, 125, 1), (16, 512, 1), (4, 50, 2), (16, 512, 2)):
        n = np.unique(np.geomspace(low, high, 16).round().astype(int))
        exact = expected_fluctuation(autocovariance, n, order)
        found.append(np.polyfit(np.log(n), np.log(exact), 1)[0])
    np.testing.assert_allclose(found, slopes, atol=1.5e-3)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("process", ["fractional", "autoregressive"])
def test_simulated_series(order, process):
    windows = np.array([8, 20, 50])
    if process == "fractional":
        x = fractional_gaussian_noise(0.8, 200, size=200, seed=1)
        autocovariance = fractional_autocovariance(0.8, LAGS)
    else:
        x, autocovariance = autoregressive([0.8], 200, size=200, seed=1), 0.8**LAGS
    squares = np.array([fluctuation(series, windows, order) for series in x]) ** 2
    error = squares.std(axis=0) / np.sqrt(len(x))
    exact = expected_fluctuation(autocovariance, windows, order) ** 2
    assert np.all(np.abs(squares.mean(axis=0) - exact) < 4 * error)


def test_batches_of_autocovariances():
    both = np.stack([WHITE, 0.8**LAGS])
    found = expected_fluctuation(both, [10, 30])
    assert found.shape == (2, 2)
    np.testing.assert_allclose(found[1], expected_fluctuation(both[1], [10, 30]), rtol=1e-14)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 0.5], [10]), "2 lags"),
        (([1.0, np.nan], [10]), "finite real numbers"),
        ((1.0, [10]), "finite real numbers"),
        ((WHITE * 1j, [10]), "finite real numbers"),
        ((WHITE, [2]), "A window of 2 values"),
        ((WHITE, [10], 4), "order = 4"),
    ],
)
def test_input_of_no_use(arguments, message):
    with pytest.raises(InputError, match=message):
        expected_fluctuation(*arguments)
