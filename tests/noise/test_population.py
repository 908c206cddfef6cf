"""Layers whose units have known exponents: their mean, what they scatter and why, and the verdict."""

import json
import sys
import tracemalloc
from itertools import permutations

import numpy as np
import pytest
import torch

from phasescope.errors import InputError
from phasescope.noise import autoregressive, dfa, fractional_gaussian_noise, population
from phasescope.noise.population import (
    deviation_of,
    variance_between_sequences,
    variance_between_units,
)

pytestmark = pytest.mark.usefixtures("coarse_errors")

WINDOWS = np.unique(np.geomspace(10, 125, 16).round().astype(int))


def layer(exponents, sequences, length=500, seed=0, shared=0.0):
    """Return units of fractional Gaussian noise (sequence, unit, time) with a share of a common series."""
    rng = np.random.default_rng(seed)
    own = [fractional_gaussian_noise(H, length, size=sequences, seed=rng) for H in exponents]
    common = fractional_gaussian_noise(exponents[0], length, size=sequences, seed=rng)
    return np.sqrt(1 - shared) * np.stack(own, axis=1) + np.sqrt(shared) * common[:, None]


@pytest.mark.parametrize(
    ("exponents", "sequences", "shared"),
    [([0.55, 0.65, 0.75, 0.85, 0.92], 8, 0.0), ([0.55, 0.7, 0.9], 4, 0.0), ([0.8] * 6, 12, 0.7)],
)
def test_mean_and_deviation_between_units_are_covered_as_often_as_said(exponents, sequences, shared):
    beta = 2 * np.array(exponents) - 1
    mean, deviation = [], []
    for seed in range(60):
        found = population(layer(exponents, sequences, seed=seed, shared=shared), windows=WINDOWS, tests=0)
        mean.append((found.mean.value - beta.mean()) / found.mean.error)
        deviation.append((found.between_units.value - beta.std(ddof=1)) / found.between_units.error)
    # 95 % of 60 is 57 +- 1.7; an interval at the edge zero may be too wide.
    for apart in (mean, deviation):
        assert np.sum(np.abs(apart) <= 1.96) >= 51
    assert np.std(mean) > 0.5


def test_units_that_differ_are_told_from_estimator_noise():
    exponents = [0.55, 0.65, 0.75, 0.85, 0.92]
    found = population(layer(exponents, 40, seed=3), windows=WINDOWS, tests=0)
    known = np.std(2 * np.array(exponents) - 1, ddof=1)
    assert found.between_units.value == pytest.approx(known, abs=4 * found.between_units.error)
    assert found.between_units.error < 0.1 * known
    np.testing.assert_array_less(
        np.abs(found.unit_beta - (2 * np.array(exponents) - 1)), 4 * found.unit_beta_error
    )
    total = np.sqrt(found.between_units.value**2 * 0.8 + found.estimator**2)  # 0.8: population of 5 units
    assert found.spread.value == pytest.approx(total, abs=4 * found.spread.error)


def test_units_that_are_alike_scatter_by_estimator_noise_only():
    found = population(layer([0.8] * 8, 20, seed=1), windows=WINDOWS, tests=0)
    assert found.between_units.value < 1.96 * found.between_units.error < 0.1
    assert found.between_sequences.value < 1.96 * found.between_sequences.error < 0.1
    assert found.spread.value == pytest.approx(found.estimator, abs=4 * found.spread.error)


def test_sequences_that_differ_are_told_from_estimator_noise():
    parts = [layer([H] * 4, 12, seed=i) for i, H in enumerate((0.6, 0.9))]
    found = population(np.concatenate(parts), windows=WINDOWS, tests=0)
    assert found.between_sequences.value == pytest.approx(0.3, abs=4 * found.between_sequences.error)
    assert found.between_sequences.error < 0.05
    assert found.between_units.value < 1.96 * found.between_units.error


def test_units_that_are_all_the_same_series_count_once():
    x = layer([0.8], 10, seed=4)
    one, many = (population(np.repeat(x, copies, axis=1), windows=WINDOWS, tests=0) for copies in (1, 32))
    assert many.mean.value == pytest.approx(one.mean.value, abs=1e-9)
    assert many.mean.error == pytest.approx(one.mean.error, rel=1e-6)
    assert many.curvature.error == pytest.approx(one.curvature.error, rel=1e-6)
    assert many.fluctuation_error[-1] == pytest.approx(one.fluctuation_error[-1], rel=1e-6)
    # The textbook error of a mean of 10, widened by Student's law with 9 degrees of freedom: 2.262/1.96.
    textbook = one.beta.std(ddof=1) / np.sqrt(10) * 2.262 / 1.96
    assert one.mean.error == pytest.approx(np.hypot(textbook, 0.005), rel=1e-3)
    assert not one.between_units.determined
    assert many.between_units.value < 1e-6


def test_variance_between_units_is_the_covariance_between_different_sequences():
    rng = np.random.default_rng(0)
    beta = rng.normal(size=(6, 9)) + rng.normal(size=(6, 1)) + rng.normal(size=9)
    pairs = [np.cov(beta[s], beta[r])[0, 1] for s, r in permutations(range(6), 2)]
    assert variance_between_units(beta) == pytest.approx(np.mean(pairs), rel=1e-12)


def test_variances_are_unbiased_where_pairs_are_missing():
    rng = np.random.default_rng(1)
    truth = np.linspace(-1, 1, 7)
    units, sequences = [], []
    for _ in range(1500):
        beta = truth + 0.6 * rng.normal(size=(5, 7)) + rng.normal(size=(5, 1)) * np.linspace(0, 1, 7)
        beta[rng.random((5, 7)) < 0.3] = np.nan
        units.append(variance_between_units(beta))
        sequences.append(variance_between_sequences(beta, np.full((5, 7), 0.6)))
    units, sequences = np.array(units), np.array(sequences)
    # Units with fewer than two sequences drop out at random, each alike for the law of the rest.
    assert np.nanmean(units) == pytest.approx(truth.var(ddof=1), abs=4 * np.nanstd(units) / np.sqrt(1500))
    shared = (np.linspace(0, 1, 7) ** 2).mean()
    assert sequences.mean() == pytest.approx(shared, abs=4 * sequences.std() / np.sqrt(1500) + 0.005)


@pytest.mark.parametrize("variance", [-0.5, 0.0, 0.3, 2.5, 100.0])
def test_interval_of_a_deviation_holds_that_of_its_variance(variance):
    value, error = deviation_of(variance, 1.0)
    low, high = (max(max(variance, 0.0) + side * 1.96, 0.0) for side in (-1, 1))
    assert value - 1.96 * error <= np.sqrt(low) + 1e-12
    assert value + 1.96 * error >= np.sqrt(high) - 1e-12
    if variance == 100.0:
        assert error == pytest.approx(1 / (2 * 10), rel=0.02)


def test_leaky_integrators_read_three_quarters_and_are_short_memory():
    x = autoregressive([0.8], 500, size=(32, 6), seed=6)
    found = population(x, windows=WINDOWS, tests=32, copies=80)
    # The slope of a mean is the mean of slopes; 0.75 is that of least squares without weights.
    slope = np.polyfit(np.log(WINDOWS), np.log(found.fluctuation), 1)[0]
    assert 2 * slope - 1 == pytest.approx(0.75, abs=0.05)
    assert found.curvature.value < -8 * found.curvature.error
    assert found.kind == "short memory"
    assert found.tested == 32
    assert found.beat_short <= 4  # 0.8 expected; 5 or more once in 1000
    assert found.beat_scaling >= 20
    assert found.memory == pytest.approx(-1 / np.log(0.8), rel=0.15)
    # Slopes fall from near that of a walk to near that of white noise.
    assert found.local_slopes[0] > 1.1 > 0.8 > found.local_slopes[-1]
    assert found.local_slopes.shape == found.local_slopes_error.shape == (len(WINDOWS) - 1,)
    np.testing.assert_allclose(np.log(found.short_fluctuation), np.log(found.tested_fluctuation), atol=0.15)


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        # Two relaxation times do the same in so few windows.
        ("straight", lambda size, seed: fractional_gaussian_noise(0.9, 500, size=size, seed=seed)),
        ("white", lambda size, seed: np.random.default_rng(seed).standard_normal((*size, 500))),
        ("straight", lambda size, seed: fractional_gaussian_noise(0.65, 2000, size=size, seed=seed)),
        ("brown", lambda size, seed: np.random.default_rng(seed).standard_normal((*size, 500)).cumsum(-1)),
    ],
)
def test_kinds_of_noise_that_scale(kind, make):
    found = population(make((24, 5), 11), tests=16, copies=60, seed=2)
    assert found.kind == kind
    assert str(found).startswith(f"{kind}: 5 units in 24 sequences")
    assert abs(found.curvature.value) < 3 * found.curvature.error


def test_a_bend_that_no_short_memory_explains_is_a_crossover():
    fast = fractional_gaussian_noise(0.2, 2000, size=(16, 3), seed=3)
    x = fast + 0.2 * fractional_gaussian_noise(0.98, 2000, size=(16, 3), seed=53)
    found = population(x, tests=16, copies=60)
    assert found.kind == "crossover"
    assert found.curvature.value > 3 * found.curvature.error


def test_units_of_two_kinds_are_no_one_kind():
    both = [layer([0.9] * 3, 24, seed=1), autoregressive([0.8], 500, size=(24, 3), seed=1)]
    found = population(np.concatenate(both, axis=1), windows=WINDOWS, tests=48, copies=60)
    assert found.kind == "crossover"
    assert "units differ in kind" in found.reason
    assert found.beat_short > 5
    assert found.beat_scaling > 5


def test_without_tests_only_white_noise_is_told():
    white = population(np.random.default_rng(2).standard_normal((12, 4, 500)), tests=0)
    pink = population(layer([0.9] * 4, 12), tests=0)
    assert (white.kind, pink.kind) == ("white", "not determined")
    assert "no series was tested" in pink.reason
    assert pink.tested == 0
    assert np.isnan(pink.short_fluctuation).all()


def test_units_without_an_exponent_are_counted_and_left_out():
    x = layer([0.8] * 6, 6, seed=5).astype(np.float32)
    x[:, 1] = 0.5
    x[:, 2] = np.float32(0.75) + np.float32(6e-8) * np.sign(x[:, 2])
    x[2, 3, 17] = np.nan
    x[4, 3, 5:8] = np.inf
    found = population(x, tests=4, copies=40)
    good = population(x[:, [0, 4, 5]], tests=0)
    assert found.reasons["constant"] == 6
    assert found.reasons["values are not finite"] == 2
    assert sum(found.reasons.values()) == 14
    assert np.isnan(found.unit_beta[[1, 2]]).all()
    assert np.isfinite(found.unit_beta[[0, 3, 4, 5]]).all()
    np.testing.assert_array_equal(np.isnan(found.beta[:, 3]), [False, False, True, False, True, False])
    np.testing.assert_allclose(found.unit_beta[[0, 4, 5]], good.unit_beta)
    assert found.mean.determined
    assert found.deviation[1] == 0
    np.testing.assert_allclose(found.deviation[0], np.sqrt(np.var(x[:, 0], axis=-1, dtype=float).mean()))
    json.dumps(found.to_dict(), allow_nan=False)


def test_nothing_is_determined_where_all_units_are_idle():
    found = population(np.ones((3, 4, 500)))
    assert found.kind == "not determined"
    assert found.reasons == {"constant": 12}
    assert not any(e.determined for e in (found.mean, found.spread, found.between_units, found.curvature))
    assert "constant" in found.reason
    json.dumps(found.to_dict(), allow_nan=False)
    assert "not determined" in str(found)


def test_too_short_series_say_so():
    found = population(np.random.default_rng(0).standard_normal((3, 4, 60)))
    assert found.kind == "not determined"
    assert "too short" in found.reason
    assert found.fluctuation.shape == found.windows.shape == (0,)


def test_one_sequence_has_numbers_of_units_but_no_errors():
    x = layer([0.6, 0.8, 0.9], 1, seed=7)[0]
    found = population(x, tests=3, copies=40)
    np.testing.assert_allclose(found.unit_beta, dfa(x).beta)
    np.testing.assert_allclose(found.beta, dfa(x).beta[None])
    assert np.isnan(found.unit_beta_error).all()
    assert found.tested == 3
    assert found.kind == "not determined"
    assert "one sequence" in found.mean.reason
    assert not found.between_units.determined
    assert np.isnan(found.fluctuation_error).all()
    two = population(layer([0.6, 0.8, 0.9], 2), tests=0)
    assert two.mean.determined
    assert "three sequences" in two.between_units.reason


def test_tests_see_one_series_of_each_sequence_before_a_second():
    x = np.repeat(layer([0.8], 8, seed=8), 5, axis=1)
    found = population(x, tests=8, copies=40)
    curves = np.log(dfa(x[:, 0]).fluctuation)
    np.testing.assert_allclose(np.log(found.tested_fluctuation), (curves - curves[:, :1]).mean(axis=0))
    assert population(x[:2, :2], tests=24, copies=40).tested == 4


def test_blocks_and_types_make_no_difference(tmp_path, monkeypatch):
    x = layer([0.7, 0.8, 0.9], 5, seed=9).astype(np.float32)
    stored = np.memmap(tmp_path / "x", dtype=np.float32, mode="w+", shape=(5, 3, 520))
    stored[..., 20:] = x
    whole = population(x, tests=4, copies=40)
    monkeypatch.setattr(sys.modules["phasescope.noise.population"], "_BLOCK", 1100)
    for same in (stored[..., 20:], torch.from_numpy(x)):
        cut = population(same, tests=4, copies=40)
        np.testing.assert_allclose(cut.beta, whole.beta, rtol=1e-12)
        np.testing.assert_allclose(cut.fluctuation, whole.fluctuation, rtol=1e-12)
        np.testing.assert_allclose(cut.deviation, whole.deviation, rtol=1e-12)
        assert (cut.kind, cut.beat_short) == (whole.kind, whole.beat_short)


def test_memory_is_bounded_for_a_file_on_disk(tmp_path):
    shape = (64, 32, 8192)  # 67 MB on disk, 134 MB in double precision
    stored = np.memmap(tmp_path / "x", dtype=np.float32, mode="w+", shape=shape)
    rng = np.random.default_rng(0)
    for sequence in stored:
        sequence[:] = rng.standard_normal(shape[1:], dtype=np.float32)
    tracemalloc.start()
    found = population(stored, windows=[16, 64, 256, 1024], tests=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.kind == "white"
    assert peak < 90e6


@pytest.mark.parametrize(
    ("x", "options", "word"),
    [
        (np.ones(500), {}, "shape"),
        (np.ones((2, 0, 500)), {}, "shape"),
        (np.ones((2, 3, 500), dtype=complex), {}, "real"),
        (np.ones((2, 3, 500)), {"tests": -1}, "tests"),
        (np.ones((2, 3, 500)), {"copies": 10}, "copies"),
        (np.ones((2, 3, 500)), {"windows": [900]}, "longer"),
    ],
)
def test_input_of_no_use(x, options, word):
    with pytest.raises(InputError, match=word):
        population(x, **options)


def test_units_with_a_period_are_periodic():
    t = np.arange(500)
    waves = np.sin(2 * np.pi * (t / 12 + np.random.default_rng(1).random((4, 3, 1))))
    found = population(waves + 0.3 * np.random.default_rng(2).standard_normal((4, 3, 500)), tests=6)
    assert found.kind == "periodic"
    assert (found.periodic, found.tested) == (6, 0)
