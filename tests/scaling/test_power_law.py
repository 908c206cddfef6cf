import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from phasescope.errors import InputError
from phasescope.scaling import fit_power_law, local_slopes

X = np.geomspace(1, 1000, 30)


def noisy(seed, *, exponent=-1.3, relative=0.02, factor=1.0, x=X):
    """A power law with amplitude 2, normal noise and its errors."""
    exact = 2 * x**exponent * factor
    random = np.random.default_rng(seed)
    return {"y": exact * (1 + relative * random.standard_normal(x.size)), "errors": relative * exact}


def networks(seed, count, *, exponent=-0.5, step=0.1):
    """Networks whose logarithms walk at random, so that the points of one depend on each other."""
    random = np.random.default_rng(seed)
    return 2 * X**exponent * np.exp(np.cumsum(step * random.standard_normal((count, X.size)), axis=1))


def sin_map(layers):
    """1 - c of sin at its critical point for sigma_b = 0.3, by the closed form of the map."""
    C_W, K = 1.26266460**2, 0.68432190
    rho, found = 1.0, []
    for layer in range(1, layers[-1] + 1):
        # sinh(K) - sinh(K c) with c = 1 - rho, without cancellation.
        rho = C_W * math.exp(-K) * 2 * math.cosh(K * (1 - rho / 2)) * math.sinh(K * rho / 2) / K
        if layer in layers:
            found.append(rho)
    return np.array(found)


def test_a_plain_power():
    fit = fit_power_law(X, **noisy(0))
    assert fit.exponent.value == pytest.approx(-1.3, abs=4 * fit.exponent.error)
    assert fit.amplitude.value == pytest.approx(2, abs=4 * fit.amplitude.error)
    # Weighted least squares: sigma / sqrt(sum (ln x - mean)^2).
    assert fit.exponent.error >= 0.9 * 0.02 / math.sqrt(((np.log(X) - np.log(X).mean()) ** 2).sum())
    assert fit.window == (X[0], X[-1])
    assert 0.01 < fit.p_value <= 1


def test_the_decay_of_sin_networks_with_its_logarithm():
    layers = np.unique(np.geomspace(30, 10000, 40).round().astype(int))
    rho = sin_map(layers.tolist())
    kappa, k3, const = 0.20335375, 0.07804941, 1.125
    fit = fit_power_law(layers, rho, correction="log", exponent=-1.0, window=(200, 10000))
    assert 1 / fit.amplitude.value == pytest.approx(kappa, rel=2e-4)
    assert fit.coefficients["b"].value == pytest.approx((kappa - k3 / kappa) / kappa, rel=0.03)
    assert fit.coefficients["c"].value == pytest.approx(const / kappa, rel=0.05)
    free = fit_power_law(layers, rho, correction="log", window=(200, 10000))
    assert free.exponent.value == pytest.approx(-1, abs=1e-3)
    bare = fit_power_law(layers, rho, window=(200, 10000))
    assert abs(bare.exponent.value + 1) > 5 * abs(free.exponent.value + 1)


def test_a_power_correction():
    fit = fit_power_law(X, **noisy(1, factor=1 + 0.8 / X, relative=1e-3), correction="power")
    assert fit.exponent.value == pytest.approx(-1.3, abs=4 * fit.exponent.error)
    assert fit.coefficients["b"].value == pytest.approx(0.8, abs=4 * fit.coefficients["b"].error)
    free = fit_power_law(X, **noisy(1, factor=1 + 0.8 / X, relative=1e-3), correction="power", omega=None)
    assert free.coefficients["omega"].value == pytest.approx(1, abs=4 * free.coefficients["omega"].error)


@pytest.mark.parametrize("correction", [None, "log", "power"])
def test_units_do_not_matter(correction):
    data = noisy(2)
    here = fit_power_law(X, **data, correction=correction, window=(1, 1000), omega=1.0)
    there = fit_power_law(
        7 * X, 3 * data["y"], errors=3 * data["errors"], correction=correction, window=(7, 7000)
    )
    assert there.exponent.value == pytest.approx(here.exponent.value, abs=1e-6)
    assert there.exponent.error == pytest.approx(here.exponent.error, rel=1e-3)
    expected = 3 * here.amplitude.value * 7**-here.exponent.value
    assert there.amplitude.value == pytest.approx(expected, rel=1e-5)


def test_correlated_points_are_counted_as_such():
    # The slope of a sum of steps: each step moves all later points.
    fit = fit_power_law(X, networks(0, 200), statistic="typical", window=(1, 1000))
    pull = np.log(X) - np.log(X).mean()
    # The weights of the fit are 1/variance, and the variance grows with every step.
    weight = 1 / (np.arange(X.size) + 1.0)
    pull = weight * (np.log(X) - (weight * np.log(X)).sum() / weight.sum())
    pull /= (pull * np.log(X)).sum()
    exact = 0.1 * math.sqrt((np.cumsum(pull[::-1]) ** 2).sum() / 200)
    assert fit.exponent.error == pytest.approx(exact, rel=0.25)
    assert fit.exponent.value == pytest.approx(-0.5, abs=4 * exact)


def test_mean_and_typical_differ_by_the_spread():
    values = networks(3, 4000)
    mean = fit_power_law(X, values, window=(1, 1000))
    typical = fit_power_law(X, values, statistic="typical", window=(1, 1000))
    # ln of a log-normal's mean exceeds the mean of ln by half the variance: 0.005 for each of 29 steps.
    gain = 29 * 0.005 / math.log(1000)
    assert mean.exponent.value - typical.exponent.value == pytest.approx(gain, abs=0.006)


def test_the_window_leaves_out_a_plateau():
    x = np.geomspace(1, 1e5, 50)
    fit = fit_power_law(x, **noisy(4, exponent=-1.0, factor=1 + x / 2e3, x=x))
    assert fit.determined
    assert fit.window[1] < 2e3
    assert fit.exponent.value == pytest.approx(-1, abs=4 * fit.exponent.error)
    assert "windows" in fit.why


@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [
        (np.linspace(1, 5, 20), np.linspace(1, 5, 20) ** -1.0, "less than a decade"),
        (np.geomspace(1, 100, 5), np.geomspace(1, 100, 5) ** -1.0, "5 points"),
        (X, np.exp(-X / 30), "drift"),
    ],
)
def test_what_is_no_power_law_is_not_determined(x, y, reason):
    fit = fit_power_law(x, y, errors=0.01 * y)
    assert not fit.determined
    assert reason in fit.exponent.reason
    assert reason in str(fit)
    assert fit.error == pytest.approx(0.01 * y, rel=1e-4)
    # Where no errors are known there are none, whether a law was found or not.
    assert np.isnan(fit_power_law(x, y).error).all()


def test_errors_from_scatter():
    data = noisy(5)
    fit = fit_power_law(X, data["y"])
    assert fit.exponent.value == pytest.approx(-1.3, abs=4 * fit.exponent.error)
    assert math.isnan(fit.p_value)


def test_local_slopes():
    exact = local_slopes(X, X**-1.3, errors=0.01 * X**-1.3)
    assert exact.slope == pytest.approx(-1.3, abs=1e-4)
    curved = local_slopes(X, np.exp(-X / 100), errors=0.01 * np.exp(-X / 100))
    assert curved.slope[-1] < -3 < -0.1 < curved.slope[0]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"y": [1.0, -1.0, 2.0]}, "not positive"),
        ({"y": [1.0, math.nan, 2.0]}, "1 of 3 values of y are not finite"),
        ({"y": [1.0, 2.0]}, "x has shape"),
        ({"y": [3.0, 2.0, 1.0], "errors": [0.1, 0.1]}, "errors have shape"),
        ({"y": [3.0, 2.0, 1.0], "window": (50, 60)}, "window"),
        ({"y": [3.0, 2.0, 1.0], "correction": "cubic"}, "correction"),
        ({"y": [3.0, 2.0, 1.0], "statistic": "median"}, "statistic"),
        ({"y": [[3.0, 2.0, 1.0]]}, "1 network"),
    ],
)
def test_unusable_input(arguments, told):
    with pytest.raises(InputError, match=told):
        fit_power_law([1.0, 2.0, 3.0], **arguments)


@pytest.mark.parametrize(
    ("statistic", "correction", "unit"),
    [("mean", None, 1.0), ("typical", None, 1e300), ("mean", "log", 1e-300), ("typical", "power", 1.0)],
)
def test_networks_that_are_exactly_proportional_leave_the_exponent_without_error(statistic, correction, unit):
    amplitudes = np.exp(np.random.default_rng(0).standard_normal(12))
    fit = fit_power_law(
        X, amplitudes[:, None] * unit * X**-1.3, statistic=statistic, correction=correction, resamples=50
    )
    assert fit.window == (X[0], X[-1])
    assert fit.exponent.value == pytest.approx(-1.3, abs=1e-13)
    assert fit.exponent.error == 0
    assert fit.p_value > 0.5
    logs = np.log(amplitudes)
    expected = logs.mean() if statistic == "typical" else np.log(amplitudes.mean())
    # The mean of 12 is low in the logarithm by half its relative variance, which is made up for.
    gained = 0 if statistic == "typical" else np.var(amplitudes, ddof=1) / 12 / amplitudes.mean() ** 2 / 2
    assert math.log(fit.amplitude.value / unit) == pytest.approx(expected + gained, abs=1e-9)
    assert fit.amplitude.error > 0.05 * fit.amplitude.value
    # ln of 1e300 is rounded at 1e-13.
    assert fit.slopes.slope == pytest.approx(-1.3, abs=1e-10)
    assert fit.slopes.error == pytest.approx(0, abs=1e-10)


def test_two_proportional_networks():
    fit = fit_power_law(X, np.stack([X**-1.0, 2 * X**-1.0]), resamples=50)
    assert fit.exponent.value == pytest.approx(-1, abs=1e-13)
    assert fit.exponent.error == 0


def test_errors_larger_than_the_values_do_not_move_the_fit():
    # ln of a mean is low by half its relative variance only while that is small.
    data = noisy(6)
    data["errors"][-5:] = 20 * data["y"][-5:]
    fit = fit_power_law(X, **data, window=(1, 1000))
    assert fit.exponent.value == pytest.approx(-1.3, abs=4 * fit.exponent.error)
    assert fit.p_value > 0.01


@given(
    values=arrays(np.float64, (3, 8), elements=st.floats(5e-324, 1.7e308)),
    correction=st.sampled_from([None, "log", "power"]),
    statistic=st.sampled_from(["mean", "typical"]),
)
@settings(max_examples=30, deadline=None)
def test_any_positive_numbers_are_fitted_or_refused(values, correction, statistic):
    x = np.geomspace(1, 100, 8)
    try:
        fit = fit_power_law(
            x, values, window=(1, 100), correction=correction, statistic=statistic, resamples=20
        )
    except InputError:
        # Only networks that agree, which leave a point without an error.
        assert (np.ptp(values, axis=0) <= 1e-7 * values.max(axis=0)).any()
        return
    assert fit.exponent.error >= 0
    assert math.isfinite(fit.exponent.value)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"y": np.array([3.0, 2.0, 1.0]) + 0j}, "y is complex"),
        ({"x": np.array([1.0, 2.0, 3.0]) + 0j, "y": [3.0, 2.0, 1.0]}, "x is complex"),
        ({"y": [3.0, 2.0, 1.0], "errors": [0.1j, 0.1, 0.1]}, "errors of y is complex"),
        ({"y": np.ma.masked_less([3.0, 2.0, 1.0], 2)}, "y has masked values"),
        ({"y": ["a", "b", "c"]}, "y cannot be read as numbers"),
        ({"y": [3.0, 2.0, 1.0], "exponent": math.nan}, "exponent = nan"),
        ({"y": [3.0, 2.0, 1.0], "correction": "power", "omega": 0.0}, "omega = 0"),
    ],
)
def test_what_is_no_real_number_is_refused_by_name(arguments, told):
    with pytest.raises(InputError, match=told):
        fit_power_law(**{"x": [1.0, 2.0, 3.0], **arguments})


def test_abscissas_have_to_ascend():
    with pytest.raises(InputError, match="ascend"):
        fit_power_law([1.0, 3.0, 2.0], [3.0, 2.0, 1.0])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["errors", "networks", "scatter", "corrected", "crossover"])
def test_errors_cover_the_truth(kind):
    hits, trials = 0, 300
    for seed in range(trials):
        if kind == "networks":
            fit, truth = fit_power_law(X, networks(seed, 20), statistic="typical", resamples=200), -0.5
        elif kind == "corrected":
            data = noisy(seed, factor=1 + 0.8 / X)
            fit, truth = fit_power_law(X, **data, correction="power", resamples=200), -1.3
        elif kind == "crossover":
            fit, truth = fit_power_law(X, **noisy(seed, factor=1 + 0.1 / X**2), resamples=200), -1.3
        else:
            data = noisy(seed)
            if kind == "scatter":
                data.pop("errors")
            fit, truth = fit_power_law(X, **data, resamples=200), -1.3
        hits += fit.determined and abs(fit.exponent.value - truth) < fit.exponent.error
    # 68 % within four standard errors, and a window chosen from the data may cost a little.
    assert 0.55 < hits / trials < 0.80


def test_a_correction_that_is_not_small_is_kept_out_of_the_window():
    """1/y = kappa x + b ln x + c with a large c: near x = c/kappa the form's own next order matters."""
    x = np.arange(1.0, 401.0)
    exact = 1 / (0.2335 * x - 0.698 * np.log(x) + 1.98 + 2.1 * np.log(x + 1) / x)
    pulls = []
    for seed in range(12):
        noise = np.random.default_rng(seed).normal(0, 0.02, x.size)
        fit = fit_power_law(x, exact * np.exp(noise), errors=0.02 * exact, correction="log", resamples=100)
        if fit.determined:
            assert fit.window[0] >= 5
            pulls.append((fit.exponent.value + 1) / fit.exponent.error)
    assert len(pulls) >= 6
    assert np.abs(pulls).max() < 3.5
    assert abs(np.mean(pulls)) < 4 / len(pulls) ** 0.5
