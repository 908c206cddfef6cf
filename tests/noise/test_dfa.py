"""The fluctuation function and its invariances, against the definition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from phasescope.citations import citation
from phasescope.noise import dfa
from phasescope.noise.generators import fractional_gaussian_noise
from phasescope.testing.resident import in_fresh_process
from reference import peak_memory
from reference.dfa import fluctuation

pytestmark = pytest.mark.usefixtures("coarse_errors")

WINDOWS = [5, 6, 8, 11, 16, 24, 37, 60]


def brown(seed=0, length=257, size=()):
    return np.random.default_rng(seed).standard_normal((*size, length)).cumsum(axis=-1)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("both_ends", [False, True])
@pytest.mark.parametrize("overlap", [False, True])
def test_fluctuations_are_those_of_a_fit_in_every_window(order, both_ends, overlap):
    for x in (fractional_gaussian_noise(0.9, 257, seed=1), brown()):
        found = dfa(x, order=order, windows=WINDOWS, both_ends=both_ends, overlap=overlap)
        expected = fluctuation(x, WINDOWS, order, both_ends=both_ends, overlap=overlap)
        np.testing.assert_allclose(found.fluctuation, expected, rtol=1e-12)
        np.testing.assert_allclose(
            found.local_slopes, np.diff(np.log(expected)) / np.diff(np.log(WINDOWS)), atol=1e-10
        )


def test_long_series_keep_their_digits():
    x = fractional_gaussian_noise(0.9, 8192, seed=2)
    windows = [8, 100, 2048]
    found = dfa(x, windows=windows, both_ends=True).fluctuation
    np.testing.assert_allclose(found, fluctuation(x, windows, 1, both_ends=True), rtol=1e-12)


def test_windows_may_be_as_long_as_the_series():
    x = brown(3, 40)
    found = dfa(x, windows=[10, 20, 40], both_ends=True).fluctuation
    np.testing.assert_allclose(found, fluctuation(x, [10, 20, 40], 1, both_ends=True), rtol=1e-12)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-12, 12), st.booleans(), st.sampled_from([1, 2, 3]))
def test_the_unit_does_not_matter(seed, exponent, negative, order):
    x = fractional_gaussian_noise(0.7, 300, seed=seed)
    factor = (-1) ** negative * 10**exponent
    here = dfa(x, order=order, windows=WINDOWS)
    there = dfa(factor * x, order=order, windows=WINDOWS)
    assert there.alpha == pytest.approx(here.alpha, abs=1e-10)
    np.testing.assert_allclose(there.fluctuation, abs(factor) * here.fluctuation, rtol=1e-10)


@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.floats(-20, 20), min_size=3, max_size=3),
    st.sampled_from([1, 2, 3]),
)
def test_trends_of_degree_below_the_order_do_not_matter(seed, coefficients, order):
    x = fractional_gaussian_noise(0.6, 300, seed=seed)
    trend = np.polyval(coefficients[:order], np.linspace(-1, 1, 300))
    here, there = (dfa(series, order=order, windows=WINDOWS) for series in (x, x + trend))
    np.testing.assert_allclose(there.fluctuation, here.fluctuation, rtol=1e-8)
    assert there.alpha == pytest.approx(here.alpha, abs=1e-8)


def test_a_trend_of_the_degree_of_the_order_does_matter():
    x = fractional_gaussian_noise(0.5, 1000, seed=1) + np.linspace(-4, 4, 1000)
    once, twice = dfa(x), dfa(x, order=2)
    assert once.alpha > 0.5 + 2.5 * once.alpha_error
    assert once.crossover
    assert abs(twice.alpha - 0.5) < 2 * twice.alpha_error
    assert not twice.crossover


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 40))
def test_a_batch_is_its_series_one_by_one(seed, rows, columns):
    x = brown(seed, 120, (rows, columns))
    whole = dfa(x, windows=[10, 15, 20, 30])
    assert whole.alpha.shape == whole.crossover.shape == whole.reason.shape == (rows, columns)
    assert whole.fluctuation.shape == (rows, columns, 4)
    assert whole.local_slopes.shape == (rows, columns, 3)
    alone = dfa(x[rows - 1, columns - 1], windows=[10, 15, 20, 30])
    np.testing.assert_allclose(whole.fluctuation[-1, -1], alone.fluctuation, rtol=1e-13)
    assert whole.alpha[-1, -1] == pytest.approx(alone.alpha, abs=1e-12, nan_ok=True)
    assert whole.reason[-1, -1] == alone.reason


def test_threads_change_nothing(monkeypatch):
    x = fractional_gaussian_noise(0.7, 4096, size=80, seed=1)
    single = dfa(x, windows=[16, 50, 200])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    np.testing.assert_array_equal(dfa(x, windows=[16, 50, 200]).fluctuation, single.fluctuation)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float32, 1e-6), (torch.float16, 1e-3), (torch.bfloat16, 1e-2)],
)
def test_tensors_of_any_precision(dtype, tolerance):
    x = fractional_gaussian_noise(0.8, 500, size=3, seed=1)
    found = dfa(torch.tensor(x, dtype=dtype, requires_grad=True), windows=WINDOWS)
    np.testing.assert_allclose(found.fluctuation, dfa(x, windows=WINDOWS).fluctuation, rtol=tolerance)
    assert isinstance(found.alpha, np.ndarray)


def test_tensors_and_arrays_share_one_kernel():
    from phasescope.noise.fluctuation import fluctuations

    profile, windows = brown(5, 400, (6,)), np.array(WINDOWS)
    # A straight profile takes the way that squares the residuals themselves.
    profile[2] = 1e4 * np.arange(400) + brown(6, 400)
    for order in (1, 2):
        options = {"order": order, "both_ends": True, "overlap": False}
        np.testing.assert_allclose(
            fluctuations(torch.from_numpy(profile), windows, **options),
            fluctuations(profile, windows, **options),
            rtol=1e-12,
        )


def test_integers_count_as_numbers():
    x = np.random.default_rng(0).integers(-100, 100, 1000)
    for kind in (np.int64, np.int8, np.float32):
        np.testing.assert_allclose(dfa(x.astype(kind)).alpha, dfa(x.astype(float)).alpha, atol=1e-12)


@pytest.mark.parametrize(("order", "factor"), [(1, 1 / 15), (2, 3 / 70), (3, 2 / 63)])
def test_the_correction_makes_white_noise_straight(order, factor):
    windows = np.array([6, 10, 30, 200])
    white = np.random.default_rng(1).standard_normal((100, 2000))
    found = dfa(white, order=order, windows=windows, correct_bias=True, both_ends=False)
    ratio = (found.fluctuation**2).mean(axis=0) / (factor * windows)
    # Mean of 100 series of about 2000/n windows; F^2 of one window scatters by less than 1.5.
    assert np.all(np.abs(ratio - 1) < 4 * 1.5 / np.sqrt(100 * 2000 / windows))
    bare = dfa(white, order=order, windows=windows, both_ends=False)
    assert found.alpha.mean() == pytest.approx(bare.alpha.mean(), abs=1e-9)


def test_result_prints_and_serialises():
    import json

    x = fractional_gaussian_noise(0.7, 1000, size=3, seed=1)
    x[1] = 0
    result = dfa(x)
    assert "2 of 3 series determined" in str(result)
    assert "not determined: constant" in str(dfa(x[1]))
    assert f"alpha = {result.estimate(0)}" in str(dfa(x[0]))
    table = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert table["alpha"][1] is None
    assert table["alpha"][0] == result.alpha[0]
    assert table["beta"][0] == pytest.approx(2 * result.alpha[0] - 1)
    assert set(table) >= {"windows", "fluctuation", "alpha_error", "crossover", "reason", "local_slopes"}
    assert result.estimate(0).window == (10.0, 125.0)
    assert not result.estimate(1).determined
    np.testing.assert_array_equal(result.beta_error, 2 * result.alpha_error)
    assert "@article{kantelhardt2001," in citation(result)


@pytest.mark.slow
@pytest.mark.parametrize(("series", "length"), [(100, 4096), (64, 2**17)])
def test_resident_memory_is_what_the_documentation_says(series, length):
    assert in_fresh_process(peak_memory.fluctuations, series, length) < 1.2 * (10e6 + 512 * length)
