"""Recurrence measures: held against the definitions, closed forms of simple processes, and surrogates."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from phasescope.errors import InputError, MemoryLimitError
from phasescope.training.recurrence import MEASURES, recurrence
from phasescope.training.surrogates import meeting_ends, phase_randomised, shuffled
from reference.recurrence import distances, measures
from reference.series_maps import henon, logistic, softmax_loss


def noise(length, seed):
    return np.random.default_rng(seed).standard_normal(length)


def values(found):
    return {name: getattr(found, name).value for name in MEASURES}


def doubling(steps, seed):
    """The map ``x <- 2 x mod 1`` on a circle of length 1, exactly: a window over random bits."""
    bits = np.random.default_rng(seed).integers(0, 2, steps + 60)
    return np.array([bits[i : i + 53] @ 0.5 ** np.arange(1, 54) for i in range(steps)])


@pytest.mark.parametrize(
    ("series", "options"),
    [
        (logistic(60), {"threshold": 0.2, "theiler": 1}),
        (noise(50, 1), {"threshold": 0.7, "theiler": 4, "minimal_length": 3}),
        (np.cumsum(noise(50, 2)), {"threshold": 1.5, "theiler": 6}),
        (henon(60), {"threshold": 0.4, "theiler": 2, "dimension": 3, "delay": 2}),
    ],
)
def test_every_measure_is_that_of_the_definitions(series, options):
    embedding = {name: options[name] for name in ("dimension", "delay") if name in options}
    apart = distances(series, **embedding)
    expected = measures(apart, options["threshold"], options["theiler"], options.get("minimal_length", 2))
    found = recurrence(series, surrogates=0, **options)
    assert values(found) == pytest.approx(expected, rel=1e-12)
    of_matrix = {name: value for name, value in options.items() if name not in embedding}
    assert values(recurrence(apart, surrogates=0, **of_matrix)) == pytest.approx(expected, rel=1e-12)
    assert found.length == len(apart)
    hit = (apart <= options["threshold"]) & (
        np.abs(np.subtract.outer(*[range(len(apart))] * 2)) >= found.theiler
    )
    np.testing.assert_array_equal(found.picture, hit)


def test_a_small_plot_counted_by_hand():
    # 0 0 5 0 0 5: recurrent pairs beside the diagonal are (0,1) (0,3) (0,4) (1,3) (1,4) (2,5) (3,4).
    found = recurrence([0.0, 0, 5, 0, 0, 5] * 4, threshold=1, theiler=1, surrogates=0)
    assert found.longest_diagonal.value == 21
    short = measures(distances([0.0, 0, 5, 0, 0, 5]), 1, 1, 2)
    assert short["rate"] == pytest.approx(14 / 30)
    assert short["longest_diagonal"] == 3
    # Lines of the upper half: lag 1: (0,1), (3,4); lag 2: (1,3); lag 3: (0,3) to (2,5); lag 4: (0,4).
    assert short["determinism"] == pytest.approx(3 / 7)


def test_independent_values_have_the_determinism_of_chance():
    # A recurrent pair is alone on its diagonal with probability (1 - p)^2.
    found = recurrence(noise(3000, 3), rate=0.1, surrogates=0)
    p = found.rate.value
    assert p == pytest.approx(0.1, abs=0.005)
    assert abs(found.determinism.value - (2 * p - p * p)) < 4 * found.determinism.error
    assert 0 < found.determinism.error < 0.02
    # Lines of independent pairs are geometric: two more points and a mean of p / (1 - p).
    assert abs(found.mean_diagonal.value - (2 + p / (1 - p))) < 4 * found.mean_diagonal.error


def test_lines_of_the_doubling_map_halve_in_number_with_each_step():
    # Recurrent pairs have uniform distance on the circle; it doubles, so a line goes on with probability 1/2.
    x = doubling(2500, 4)
    apart = np.abs(np.subtract.outer(x, x))
    found = recurrence(np.minimum(apart, 1 - apart), rate=0.02, theiler=1, surrogates=0)
    assert abs(found.determinism.value - 3 / 4) < 4 * found.determinism.error
    assert abs(found.mean_diagonal.value - 3) < 4 * found.mean_diagonal.error
    assert found.entropy.value == pytest.approx(2 * math.log(2), rel=0.03)


def test_a_cycle_is_all_diagonals():
    found = recurrence(np.tile([1.0, 2.0, 4.0], 100), surrogates=40, seed=1)
    assert values(found)["determinism"] == 1
    assert found.laminarity.value == 0
    assert "no line of 2 points" in found.trapping_time.reason
    assert found.rate.value == pytest.approx(1 / 3, abs=0.01)
    assert found.longest_diagonal.value == 297
    assert math.isnan(found.longest_diagonal.error)


def test_a_cycle_exceeds_its_shuffles_and_not_its_phase_surrogates():
    found = recurrence(softmax_loss(400, 15), seed=1)
    assert found.surrogates["shuffled"].p["determinism"] == pytest.approx(0.05)
    assert found.surrogates["phase"].p["determinism"] == 1
    assert found.surrogates["phase"].mean["determinism"] == 1
    assert "memory, which the spectrum explains" in found.verdict
    assert "chaos" not in found.verdict


def test_chaos_exceeds_both():
    found = recurrence(softmax_loss(400, 20), dimension=2, seed=1)
    for kind in ("shuffled", "phase"):
        other = found.surrogates[kind]
        assert other.copies == 39
        assert other.p["determinism"] == pytest.approx(0.05)
        assert other.measured["determinism"] > other.mean["determinism"] + 3 * other.spread["determinism"]
    assert "more order than the spectrum explains" in found.verdict
    assert "takes a tangent exponent" in found.verdict


def test_noise_with_memory_exceeds_its_shuffles_alone():
    found = recurrence(lfilter([1], [1, -0.9], noise(500, 5)), seed=1)
    assert found.theiler > 3
    assert found.surrogates["shuffled"].p["determinism"] == pytest.approx(0.05)
    assert found.surrogates["phase"].p["determinism"] > 0.05
    assert "memory, which the spectrum explains" in found.verdict


@pytest.mark.parametrize("skewed", [False, True])
def test_white_noise_exceeds_neither(skewed):
    # One series in twenty does, by chance.
    series = [noise(200, seed) for seed in (7, 8, 9)]
    said = [recurrence(np.exp(x) if skewed else x, seed=1).verdict for x in series]
    assert sum("no order is seen" in one for one in said) >= 2


@pytest.mark.slow
def test_white_noise_is_significant_as_often_as_p_says():
    p = [
        [
            recurrence(noise(100, seed), seed=seed).surrogates[kind].p["determinism"]
            for kind in ("shuffled", "phase")
        ]
        for seed in range(60)
    ]
    assert ((np.array(p) <= 0.1).mean(axis=0) < 0.2).all()


def trajectory(seed, turn=0.05, scatter=0.01):
    """Networks on a noisy circle in ten dimensions."""
    random = np.random.default_rng(seed)
    plane = np.linalg.qr(random.standard_normal((10, 2)))[0]
    angle = 2 * np.pi * turn * np.arange(200)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1) @ plane.T + scatter * random.standard_normal(
        (200, 10)
    )


@pytest.mark.parametrize("order", [1, 2])
def test_whole_networks_are_compared_by_their_distances(order):
    points = trajectory(1)
    apart = np.linalg.norm(points[:, None] - points, ord=order, axis=2)
    found = recurrence(apart, surrogates=39, seed=2)
    assert not found.notes
    assert found.surrogates["shuffled"].p["determinism"] == pytest.approx(0.05)
    # A circle is a line of its spectrum: its phase surrogates turn as well.
    phase = found.surrogates["phase"]
    assert phase.mean["determinism"] > 5 * found.surrogates["shuffled"].mean["determinism"]


def test_turned_states_are_those_with_random_phases():
    from phasescope.training.recurrence import _gram, _turned

    points = np.random.default_rng(3).standard_normal((31, 4))
    squares = (np.linalg.norm(points[:, None] - points, axis=2)) ** 2
    found = _turned(_gram(squares), np.random.default_rng(9))
    phase = np.random.default_rng(9).uniform(0, 2 * np.pi, 16)
    phase[0] = 0
    turned = np.fft.irfft(np.exp(1j * phase)[:, None] * np.fft.rfft(points, axis=0), n=31, axis=0)
    np.testing.assert_allclose(found, np.linalg.norm(turned[:, None] - turned, axis=2) ** 2, atol=1e-12)


def test_distances_of_no_space_have_no_phase_surrogates():
    random = np.random.default_rng(4)
    apart = random.random((40, 40)) ** 8
    found = recurrence((apart + apart.T) * (1 - np.eye(40)), surrogates=5)
    assert set(found.surrogates) == {"shuffled"}
    assert "not distances between points" in found.notes[0]


@settings(max_examples=20, deadline=None)
@given(st.floats(1e-3, 1e3), st.floats(-10, 10), st.booleans())
def test_scale_offset_and_sign_change_nothing(scale, offset, flip):
    x = logistic(120)
    moved = (-scale if flip else scale) * (x + offset)
    plain, other = (recurrence(y, surrogates=0, rate=0.1) for y in (x, moved))
    for name in ("rate", "determinism", "laminarity", "entropy"):
        assert getattr(other, name).value == pytest.approx(getattr(plain, name).value, abs=0.02)


def test_the_seed_decides_the_surrogates():
    x = noise(80, 6)
    one, same, other = (recurrence(x, surrogates=9, seed=seed).surrogates["phase"].mean for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_the_picture_of_a_long_series_holds_shares():
    x = noise(500, 8)
    fine = recurrence(x, surrogates=0, cells=500)
    coarse = recurrence(x, surrogates=0, cells=50)
    assert coarse.picture.shape == (50, 50)
    np.testing.assert_allclose(coarse.picture, fine.picture.reshape(50, 10, 50, 10).mean(axis=(1, 3)))


def test_a_constant_run_and_one_without_recurrence_are_not_determined():
    flat = recurrence(np.full(100, 0.5))
    assert "all 100 points are equal" in flat.determinism.reason
    assert not flat.surrogates
    assert "Not determined" in flat.verdict
    away = recurrence(np.arange(100.0) ** 2, threshold=0.5, theiler=1)
    assert away.rate.value == 0
    assert "no pair of points is within 0.5" in away.determinism.reason


def test_rounding_does_not_break_a_cycle():
    x = np.tile([1.0, 2.0, 4.0], 60)
    x += 1e-15 * noise(len(x), 9)
    assert recurrence(x, surrogates=0).determinism.value == 1


def test_without_surrogates_the_verdict_claims_nothing():
    assert "separates nothing" in recurrence(logistic(100), surrogates=0).verdict


def test_memory_is_refused_before_it_is_taken():
    with pytest.raises(MemoryLimitError, match="100000 points take 10034 MB"):
        recurrence(noise(100000, 1), max_memory="1GB")
    with pytest.raises(MemoryLimitError, match="Pass every k-th step"):
        recurrence(np.zeros((2000, 2000)), max_memory="100MB")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"rate": 0}, "rate = 0"),
        ({"rate": 1.0}, "rate = 1.0"),
        ({"threshold": -1.0}, "threshold = -1.0"),
        ({"theiler": 0}, "theiler = 0"),
        ({"theiler": 100}, "leaves no pair"),
        ({"minimal_length": 1}, "minimal_length = 1"),
        ({"dimension": 0}, "dimension = 0"),
        ({"dimension": 90}, "11 points of 90 values"),
        ({"surrogates": -1}, "surrogates = -1"),
        ({"kinds": ("bootstrap",)}, "'bootstrap'"),
        ({"cells": 0}, "cells = 0"),
        ({"max_memory": "much"}, "max_memory is 'much'"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, said):
    with pytest.raises(InputError, match=said):
        recurrence(logistic(100), **arguments)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.zeros((30, 20)), r"shape \(30, 20\)"),
        (np.arange(900.0).reshape(30, 30), "not symmetric"),
        (np.ones((30, 30)), "zeros on its diagonal"),
        (np.full((30, 30), np.nan), "not all finite"),
        (np.zeros(10), "10 steps"),
        (np.zeros((10, 10)), "10 values give 10 points"),
        (np.zeros((3, 3, 3)), "shape"),
    ],
)
def test_what_is_no_series_and_no_matrix_of_distances_is_refused(given, said):
    with pytest.raises(InputError, match=said):
        recurrence(given)


def test_distances_are_not_embedded():
    with pytest.raises(InputError, match="cannot be embedded"):
        recurrence(np.zeros((30, 30)), dimension=2)


def test_phase_surrogates_keep_the_values_and_nearly_the_spectrum():
    x = lfilter([1], [1, -0.8], noise(512, 10))
    found = phase_randomised(x, 5, np.random.default_rng(1))
    np.testing.assert_array_equal(np.sort(found, axis=1), np.broadcast_to(np.sort(x), found.shape))
    assert np.abs(found - x).max(axis=1).min() > 1
    power, others = np.abs(np.fft.rfft(x)), np.abs(np.fft.rfft(found))
    assert (np.linalg.norm(others - power, axis=1) < 0.05 * np.linalg.norm(power)).all()
    mixed = shuffled(x, 5, np.random.default_rng(1))
    np.testing.assert_array_equal(np.sort(mixed, axis=1), np.sort(found, axis=1))
    assert (np.linalg.norm(np.abs(np.fft.rfft(mixed)) - power, axis=1) > 0.3 * np.linalg.norm(power)).all()


@pytest.mark.parametrize("period", [3, 7, 17.5])
def test_a_periodic_series_is_cut_after_whole_periods(period):
    x = np.sin(2 * np.pi * np.arange(400) / period)
    kept = meeting_ends(np.abs(x - x[0]), np.abs(x - x[1]))
    assert 360 <= kept < 400
    assert min(kept % period, period - kept % period) < 1e-9
