"""Exponents and their errors on noises whose exponent is known."""

import sys

import numpy as np
import pytest

from phasescope.noise import dfa, expected_fluctuation
from phasescope.noise.dfa import Grid, line, log_moments, simulated_moments
from phasescope.noise.fluctuation import default_windows
from phasescope.noise.generators import (
    arfima,
    arfima_autocovariance,
    autoregressive,
    coloured_noise,
    fractional_autocovariance,
    fractional_gaussian_noise,
)

module = sys.modules["phasescope.noise.dfa"]
LATE = np.unique(np.geomspace(16, 512, 16).round().astype(int))
SHORT = np.unique(np.geomspace(10, 125, 16).round().astype(int))


def plain_slope(result):
    """Ordinary least squares through ln F."""
    u = np.log(result.windows)
    u = (u - u.mean()) / ((u - u.mean()) ** 2).sum()
    return np.log(result.fluctuation) @ u


def coverage(result, truth):
    return np.mean(np.abs(result.alpha - truth) < 1.96 * result.alpha_error)


@pytest.mark.parametrize("hurst", [0.2, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("order", [1, 2])
def test_intervals_cover_fractional_noise(hurst, order):
    result = dfa(fractional_gaussian_noise(hurst, 600, size=200, seed=3), order=order)
    spread = result.alpha.std(ddof=1)
    assert abs(result.alpha.mean() - hurst) < 4 * spread / np.sqrt(200)
    # 4 binomial errors about 95 %.
    assert 0.888 < coverage(result, hurst) <= 1
    assert 0.8 < result.alpha_error.mean() / spread < 1.25
    assert result.crossover.mean() < 0.045


@pytest.mark.slow
@pytest.mark.parametrize("hurst", [0.5, 0.7, 0.9])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_coverage_and_scatter_of_long_series(hurst, order):
    x = fractional_gaussian_noise(hurst, 4096, size=1000, seed=21)
    result = dfa(x, order=order)
    # Half the difference to ARFIMA is an error that fractional noise does not need.
    assert 0.92 < coverage(result, hurst) < 0.98
    if order > 1:
        return
    late = dfa(x, windows=LATE, both_ends=False)
    assert 0.92 < coverage(late, hurst) < 0.98
    slope = plain_slope(late)
    assert abs(slope.mean() - hurst) < 0.01
    # Scatter of ordinary least squares: figures of an independent implementation.
    assert slope.std() == pytest.approx({0.5: 0.030, 0.7: 0.036, 0.9: 0.040}[hurst], rel=0.15)
    assert late.alpha.std() < 0.8 * slope.std()


@pytest.mark.slow
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("d", [0.1, 0.2, 0.3, 0.4])
def test_intervals_cover_other_noises_of_one_exponent(d, order):
    for length in (500, 4000):
        found = dfa(arfima(d, length, size=800, seed=22), order=order)
        assert 0.92 < coverage(found, d + 0.5) < 0.975
        found = dfa(fractional_gaussian_noise(d + 0.5, length, size=800, seed=21), order=order)
        assert 0.925 < coverage(found, d + 0.5) < 0.975


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("alpha", [0.6, 0.8, 0.98])
def test_arfima_and_fractional_noise_differ_by_what_their_autocovariances_say(order, alpha):
    windows = (10, 20, 60, 500, 2000) if order == 1 else (16, 30, 60, 500, 2000)
    lags = np.arange(2000)
    exact = np.log(expected_fluctuation(arfima_autocovariance(alpha - 0.5, lags), windows, order))
    exact -= np.log(expected_fluctuation(fractional_autocovariance(alpha, lags), windows, order))
    found = module._arfima_excess(windows, order, alpha)
    np.testing.assert_allclose(found - found[-1], exact - exact[-1], atol=2e-4)
    # The constant is that of long windows, where nothing is left.
    assert abs(found[-1]) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.9, 1.0, 1.25, 1.5, 1.7])
@pytest.mark.parametrize("order", [1, 2])
def test_coverage_around_and_above_one(alpha, order):
    pink = dfa(coloured_noise(2 * alpha - 1, 1024, size=600, seed=5), order=order)
    assert 0.91 < coverage(pink, alpha) < 0.985
    if alpha > 1.2:
        sums = dfa(arfima(alpha - 1.5, 1024, size=600, seed=6).cumsum(axis=-1), order=order)
        assert 0.92 < coverage(sums, alpha) < 0.98


@pytest.mark.slow
def test_pink_and_brown_noise():
    pink = dfa(coloured_noise(1.0, 1000, size=100, seed=5))
    assert pink.alpha.mean() == pytest.approx(1, abs=0.03)
    steps = np.random.default_rng(1).standard_normal((100, 1000))
    brown = dfa(steps.cumsum(axis=-1))
    assert brown.alpha.mean() == pytest.approx(1.5, abs=4 * brown.alpha.std() / 10)
    assert brown.beta.mean() == pytest.approx(2, abs=8 * brown.alpha.std() / 10)
    assert coverage(brown, 1.5) > 0.86
    twice = dfa(steps.cumsum(axis=-1).cumsum(axis=-1), order=3)
    known = np.isfinite(twice.alpha)
    assert known.sum() >= 98  # a false alarm in a thousand is expected
    assert twice.alpha[known].mean() == pytest.approx(2.5, abs=4 * twice.alpha[known].std() / 10)


def test_an_order_shows_no_exponent_at_its_limit():
    steps = np.random.default_rng(1).standard_normal(500).cumsum().cumsum()
    found = dfa(steps)
    assert np.isnan(found.alpha)
    assert "take a higher order" in str(found.reason)
    higher = dfa(steps, order=2)
    assert higher.alpha == pytest.approx(2.5, abs=4 * higher.alpha_error)


def test_shuffling_leaves_white_noise():
    x = fractional_gaussian_noise(0.9, 1000, size=100, seed=2)
    shuffled = np.random.default_rng(3).permuted(x, axis=-1)
    result = dfa(shuffled)
    assert result.alpha.mean() == pytest.approx(0.5, abs=4 * result.alpha.std() / 10)
    assert coverage(result, 0.5) > 0.86


def test_short_memory_looks_like_flicker_noise_and_is_bent():
    x = autoregressive([0.8], 500, size=100, seed=4)
    result = dfa(x, windows=SHORT)
    assert 2 * plain_slope(result).mean() - 1 == pytest.approx(0.75, abs=0.05)
    # Log of the mean square: free of the logarithm's own bias.
    mean_square = np.log((result.fluctuation**2).mean(axis=0)) / 2
    exact = np.log(expected_fluctuation(0.8 ** np.arange(200), SHORT))
    assert np.abs(mean_square - exact).max() < 0.08
    assert result.curvature.mean() < -8 * result.curvature.std() / 10
    assert result.crossover.mean() > 0.15
    longer = dfa(autoregressive([0.8], 4096, size=20, seed=4))
    assert longer.crossover.all()


def test_noise_of_one_exponent_is_not_bent():
    result = dfa(fractional_gaussian_noise(0.8, 500, size=300, seed=8), windows=SHORT)
    assert abs(result.curvature.mean()) < 4 * result.curvature.std() / np.sqrt(300)
    assert result.curvature_error.mean() == pytest.approx(result.curvature.std(), rel=0.2)
    assert result.crossover.mean() < 0.035


def test_many_windows_enter_the_fit_as_a_few():
    x = fractional_gaussian_noise(0.6, 400, size=200, seed=9)
    result = dfa(x, windows=np.arange(10, 101))
    assert result.fluctuation.shape == (200, 91)
    assert coverage(result, 0.6) > 0.888


@pytest.mark.slow
def test_errors_shrink_with_the_length():
    errors = [dfa(fractional_gaussian_noise(0.7, n, seed=1)).alpha_error for n in (250, 1000, 4000)]
    assert errors[0] > 1.5 * errors[1] > 2.25 * errors[2]


def test_the_error_is_the_same_on_every_call():
    x = fractional_gaussian_noise(0.7, 333, seed=1)
    first = dfa(x)
    log_moments.cache_clear()
    line.cache_clear()
    again = dfa(x)
    assert (first.alpha, first.alpha_error) == (again.alpha, again.alpha_error)


def test_covariance_of_white_noise_from_gaussian_theory():
    length, windows = 120, (10, 15, 24, 40)
    forms = []
    for n in windows:
        sums = np.tril(np.ones((n, n)))
        basis = np.linalg.qr(np.vander(np.linspace(-1, 1, n), 2))[0]
        residual = sums - basis @ (basis.T @ sums)
        form = np.kron(np.eye(length // n), residual.T @ residual) / (n * (length // n))
        forms.append(form)
    exact = [[2 * np.trace(a @ b) / (np.trace(a) * np.trace(b)) for b in forms] for a in forms]
    _, found, series = log_moments(Grid(length, windows, 1, False, False), 0.5)
    # Cov ln F = Cov F^2/(4 F^2 F^2) to first order; within 4 errors of the simulation, and the next order.
    exact = np.array(exact) / 4
    error = np.sqrt((exact**2 + np.outer(np.diag(exact), np.diag(exact))) / series)
    assert np.all(np.abs(found - exact) < 4 * error + 3 * exact * np.diag(exact).max())


def same_moments(grid, alpha, tolerance):
    """Compare what follows from shorter series with the simulation of the whole length."""
    mean, covariance, series = simulated_moments(grid, alpha)
    found, scaled, others = module._rescaled(grid, alpha)
    errors = np.sqrt(1 / (2 * series) + 1 / (2 * others))
    ratio = np.sqrt(np.diag(scaled) / np.diag(covariance))
    assert np.abs(ratio - 1).max() < tolerance + 4 * errors
    correlations = [c / np.sqrt(np.outer(np.diag(c), np.diag(c))) for c in (covariance, scaled)]
    assert np.abs(correlations[0] - correlations[1]).max() < tolerance + 5 * np.sqrt(2) * errors
    u = np.log(grid.windows) - np.mean(np.log(grid.windows))
    columns = np.vander(u, 2, increasing=True)
    slopes = [module._least_squares(columns, c, 10**6) for c in (covariance, scaled)]
    # The error that the weights have in truth, and what they add.
    true = np.sqrt(slopes[1][0] @ covariance @ slopes[1][0])
    assert slopes[1][1] == pytest.approx(true, rel=tolerance + 4 * errors)
    assert abs(slopes[1][0] @ (found - mean)) < 4 * slopes[1][1] * np.sqrt(1 / series + 1 / others) + 0.001


@pytest.mark.parametrize(("order", "alpha"), [(1, 0.25), (1, 1.25), (2, 0.75)])
def test_moments_of_long_series_follow_from_short_ones(monkeypatch, order, alpha):
    for name, value in (("_REFERENCE", 1024), ("_SMALL_PART", 32), ("_MOST_SERIES", 512)):
        monkeypatch.setattr(module, name, value)
    log_moments.cache_clear()
    grid = Grid(4000, tuple(default_windows(4000, order).tolist()), order, True, False)
    same_moments(grid, alpha, 0.12)
    log_moments.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize(("order", "alpha"), [(1, 0.25), (1, 0.98), (1, 1.75), (2, 1.25), (3, 0.5)])
def test_moments_of_longer_series_follow_from_short_ones(order, alpha):
    length = 2**16
    same_moments(
        Grid(length, tuple(default_windows(length, order).tolist()), order, True, False), alpha, 0.05
    )


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.3, 0.5, 0.9, 1.5])
def test_intervals_cover_series_longer_than_those_simulated(alpha):
    x = fractional_gaussian_noise(min(alpha, alpha % 1), 40_000, size=300, seed=2)
    found = dfa(x if alpha < 1 else x.cumsum(axis=1))
    assert 0.90 < coverage(found, alpha) < 0.99


def test_windows_close_together_are_simulated_at_their_own_length(monkeypatch):
    asked = []
    monkeypatch.setattr(module, "simulated_moments", lambda grid, alpha: asked.append(grid) or (0, 0, 0))
    log_moments.cache_clear()
    log_moments(Grid(20_000, (100, 110, 300), 1, True, False), 0.5)
    assert [grid.length for grid in asked] == [20_000]
    log_moments.cache_clear()
