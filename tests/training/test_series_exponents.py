"""Exponents of scalar series: maps and flows whose exponent is known, and what has none."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter
from scipy.stats import linregress

from phasescope.errors import InputError
from phasescope.training.series_exponents import _lines, kantz, local_exponents, rosenstein
from reference.series_maps import HENON, LN2, LORENZ, henon, logistic, lorenz, softmax_loss

BOTH = pytest.mark.parametrize("method", [kantz, rosenstein])


def noise(length, seed):
    return np.random.default_rng(seed).standard_normal(length)


def test_rosenstein_finds_ln_2_of_the_logistic_map():
    found = rosenstein(logistic(2000))
    assert found.positive
    assert found.significant
    assert found.p_surrogates == 0.05
    assert found.exponent.value == pytest.approx(LN2, abs=0.01)
    assert abs(found.exponent.value - LN2) < 4 * found.exponent.error
    first, last = found.exponent.window
    assert 1 <= first < last <= 12


def test_rosenstein_finds_the_exponent_of_henons_map():
    found = rosenstein(henon(3000), dimension=2, surrogates=0)
    assert found.positive
    assert found.exponent.value == pytest.approx(HENON, rel=0.04)
    assert abs(found.exponent.value - HENON) < 4 * found.exponent.error


def test_kantz_is_a_few_percent_high_on_maps():
    for series, dimension, known in ((logistic(2000), 1, LN2), (henon(3000), 2, HENON)):
        found = kantz(series, dimension=dimension, surrogates=0)
        assert found.positive
        assert -0.02 < found.exponent.value / known - 1 < 0.06


def test_both_methods_find_lorenz_per_unit_of_time():
    x = lorenz(6000)
    options = {"dimension": 4, "delay": 10, "dt": 0.01, "surrogates": 0}
    nearest = rosenstein(x, **options)
    assert nearest.exponent.value == pytest.approx(LORENZ, rel=0.15)
    assert kantz(x, **options).exponent.value == pytest.approx(LORENZ, rel=0.25)
    assert nearest.exponent.window[1] < 10
    np.testing.assert_allclose(np.diff(nearest.times), 0.01)


@pytest.mark.slow
def test_the_error_covers_the_truth_over_eight_stretches_of_lorenz():
    x = lorenz(80000).reshape(8, -1)
    found = [rosenstein(one, dimension=4, delay=10, dt=0.01).exponent for one in x]
    apart = [(one.value - LORENZ) / one.error for one in found]
    assert np.mean([one.value for one in found]) == pytest.approx(LORENZ, rel=0.04)
    assert np.sqrt(np.mean(np.square(apart))) < 2


def test_the_reduced_softmax_map_is_chaotic_at_20_and_not_at_15():
    # Transverse exponents 0.314 and -0.019. The loss alone reads low: its neighbours start too far apart.
    found = rosenstein(softmax_loss(2000, 20), dimension=3)
    assert found.positive
    assert 0.157 < found.exponent.value < 0.35
    assert "equal one elsewhere" in rosenstein(softmax_loss(1000, 15), dimension=3).exponent.reason


@BOTH
@pytest.mark.parametrize("dimension", [1, 3])
def test_white_noise_has_no_exponent(method, dimension):
    found = method(noise(2000, 1), dimension=dimension)
    assert "saturate at step 1, as in noise" in found.exponent.reason
    assert not found.positive


@BOTH
@pytest.mark.parametrize(
    "series",
    [
        lfilter([1], [1, -0.95], noise(2000, 2)),
        np.cumsum(noise(2000, 3)),
        gaussian_filter1d(noise(2000, 4), 10),
    ],
    ids=["one pole", "walk", "smooth"],
)
def test_noise_with_memory_is_not_called_chaos(method, series):
    found = method(series, dimension=3)
    assert not found.positive
    assert not found.exponent.determined or abs(found.exponent.value) < 2 * found.exponent.error


def test_without_surrogates_smooth_noise_passes_for_chaos():
    x = gaussian_filter1d(noise(2000, 4), 10)
    assert kantz(x, dimension=3, surrogates=0).positive


@BOTH
def test_a_sine_has_the_exponent_zero(method):
    found = method(np.sin(0.1 * np.arange(2000)), dimension=3, delay=10)
    assert not found.positive
    assert abs(found.exponent.value) < 1e-3


@BOTH
def test_a_contraction_has_its_own_negative_exponent(method):
    found = method(np.exp(-0.01 * np.arange(800)))
    assert found.exponent.value == pytest.approx(-0.01, rel=1e-9)
    assert not found.positive


@BOTH
def test_what_repeats_itself_has_no_exponent(method):
    found = method(np.tile([1.0, 2.0, 4.0], 300))
    assert "100 % of the points have an equal one elsewhere" in found.exponent.reason
    assert math.isnan(found.p)
    assert "equal one elsewhere" in kantz(np.tile([1.0, 2.0, 4.0], 300), radius=0.1).exponent.reason


@BOTH
def test_a_constant_series_and_a_short_one_are_not_determined(method):
    assert "constant" in method(np.full(500, 0.3)).exponent.reason
    assert "40 values are too few" in method(logistic(40)).exponent.reason
    assert "neighbours, at least 20 needed" in method(logistic(300), starts=10).exponent.reason


def test_a_radius_follows_kantzs_own_definition():
    x, radius, steps = logistic(400), 0.01, 6
    found = kantz(x, radius=radius, theiler=2, steps=steps, starts=10**6, window=(0, 6), surrogates=0)
    inside, curves = len(x) - steps, []
    for i in range(inside):
        near = [j for j in range(inside) if abs(x[i] - x[j]) <= radius and abs(i - j) > 2]
        if near:
            curves.append(
                [np.log(np.mean([abs(x[i + k] - x[j + k]) for j in near])) for k in range(steps + 1)]
            )
    np.testing.assert_allclose(found.curve, np.mean(curves, axis=0), rtol=1e-9)
    assert found.starts == len(curves)
    fit = linregress(np.arange(7), found.curve)
    assert found.exponent.value == pytest.approx(fit.slope, rel=1e-9)
    assert found.p == pytest.approx(fit.pvalue)
    assert found.r2 == pytest.approx(fit.rvalue**2)


def test_rosenstein_takes_the_nearest_point_outside_the_window():
    x, steps, theiler = henon(300), 5, 6
    found = rosenstein(x, dimension=2, delay=3, theiler=theiler, steps=steps, window=(0, 5), surrogates=0)
    points = np.stack([x[: len(x) - 3 - steps], x[3 : len(x) - steps]], axis=1)
    apart = np.linalg.norm(points[:, None] - points, axis=2)
    at = np.arange(len(points))
    apart[np.abs(at[:, None] - at) <= theiler] = np.inf
    near = apart.argmin(axis=1)
    expected = [np.log(np.abs(x[at + 3 + k] - x[near + 3 + k])).mean() for k in range(steps + 1)]
    np.testing.assert_allclose(found.curve, expected, rtol=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.floats(1e-3, 1e3), st.floats(-10, 10))
def test_scale_and_offset_change_no_exponent(scale, offset):
    x = logistic(300)
    plain, moved = (rosenstein(y, surrogates=0).exponent for y in (x, scale * (x + offset)))
    assert moved.value == pytest.approx(plain.value, rel=1e-4)
    assert moved.window == plain.window


def test_the_seed_decides_everything():
    x = logistic(600)
    one, same, other = (kantz(x, starts=100, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.curve, same.curve)
    assert (one.curve != other.curve).any()


def test_lines_are_those_of_scipy():
    y = np.random.default_rng(5).standard_normal((4, 9))
    found = _lines(y)
    for row, slope, error, r2, p in zip(y, *found, strict=True):
        fit = linregress(np.arange(9), row)
        np.testing.assert_allclose([slope, error, r2, p], [fit.slope, fit.stderr, fit.rvalue**2, fit.pvalue])
    exact = _lines(np.array([[0.0, 2.0, 4.0, 6.0]]))
    assert (exact.slope, exact.p, exact.r2) == (2, 0, 1)
    level = _lines(np.zeros((1, 5)))
    assert (level.slope, level.p, level.r2) == (0, 1, 0)


def test_slopes_of_single_starts_scatter_around_ln_2():
    found = local_exponents(logistic(40000), starts=300)
    assert found.drawn == 300
    assert found.share.value > 0.9
    assert found.median.value == pytest.approx(LN2, rel=0.1)
    assert set(np.unique(found.ends)) <= set(range(5, 26))
    assert (found.significant == (found.p < 0.05)).all()
    assert len(found.slopes) == len(found.starts) == found.share.n


def test_chance_alone_makes_one_start_of_noise_in_twenty_significant():
    found = local_exponents(np.random.default_rng(6).random(60000), starts=1000)
    assert found.share.value == pytest.approx(0.05, abs=0.03)


def test_no_neighbour_means_no_slope():
    found = local_exponents(np.arange(200.0), starts=50)
    assert len(found.slopes) == 0
    assert "no start has a neighbour within 5e-05" in found.share.reason
    assert "0 starts have a significant slope" in found.median.reason


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"dimension": 0}, "dimension = 0"),
        ({"delay": 0}, "delay = 0"),
        ({"starts": 0}, "starts = 0"),
        ({"neighbours": 0}, "neighbours = 0"),
        ({"radius": 0.0}, "radius = 0.0 is no distance"),
        ({"theiler": -1}, "theiler = -1"),
        ({"steps": 2}, "steps = 2 are too few"),
        ({"dt": 0.0}, "dt = 0.0"),
        ({"surrogates": -1}, "surrogates = -1"),
        ({"window": (3, 4)}, r"window = \(3, 4\)"),
        ({"window": (0, 10**6)}, "window"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, said):
    with pytest.raises(InputError, match=said):
        kantz(logistic(300), **arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"radius": -1.0}, "radius"),
        ({"ends": (2, 5)}, "ends"),
        ({"ends": (9, 5)}, "ends"),
        ({"tested": 2}, "tested"),
    ],
)
def test_local_exponents_refuse_what_they_cannot_fit(arguments, said):
    with pytest.raises(InputError, match=said):
        local_exponents(logistic(300), **arguments)


def test_a_series_that_diverged_names_the_step():
    x = logistic(300)
    x[120] = np.nan
    with pytest.raises(InputError, match="nan at step 120: it diverged"):
        rosenstein(x)
    with pytest.raises(InputError, match=r"shape \(2, 150\)"):
        rosenstein(logistic(300).reshape(2, 150))
