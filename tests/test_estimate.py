import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasescope import Estimate


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (0.28213, 0.01134, "0.282 ± 0.011"),
        (6.2, 0.31, "6.20 ± 0.31"),
        (-0.5, 0.25, "-0.50 ± 0.25"),
        (123456.0, 789.0, "1.2346e+05 ± 7.9e+02"),
        (2.5e-9, 3e-10, "2.50e-09 ± 3.0e-10"),
        (1.5e7, 2.0, "1.50000000e+07 ± 2.0e+00"),
        (0.25, 0.0, "0.25"),
        (0.25, math.nan, "0.25"),
    ],
)
def test_prints_two_digits_of_the_error(value, error, shown):
    assert str(Estimate(value, error, "made up", 3)) == shown


@given(
    st.floats(-1e12, 1e12, allow_nan=False).filter(lambda x: x == 0 or abs(x) > 1e-12),
    st.floats(1e-12, 1e12),
)
def test_printed_numbers_are_within_a_twentieth_of_the_error(value, error):
    shown_value, shown_error = str(Estimate(value, error, "made up", 3)).split(" ± ")
    slack = abs(value) * 1e-14
    assert abs(float(shown_value) - value) <= 0.051 * error + slack
    assert abs(float(shown_error) - error) <= 0.051 * error


def test_not_determined_says_why():
    estimate = Estimate.not_determined("3 layers are too few for a fit")
    assert str(estimate) == "not determined: 3 layers are too few for a fit"
    assert not estimate.determined
    assert math.isnan(estimate.value)
    assert math.isnan(estimate.error)


def test_mean_and_standard_error_of_samples():
    # 1..9: mean 5, variance 60/8, standard error sqrt(7.5 / 9).
    estimate = Estimate.from_samples(range(1, 10))
    assert estimate.value == 5
    assert estimate.error == pytest.approx(math.sqrt(7.5 / 9), rel=1e-14)
    assert estimate.n == 9


@pytest.mark.parametrize(
    ("samples", "reason"),
    [([], "0 sample"), ([1.0], "1 sample"), ([1.0, math.nan, 2.0], "1 of 3"), ([math.inf, 1.0], "1 of 2")],
)
def test_samples_that_mean_nothing_are_not_determined(samples, reason):
    estimate = Estimate.from_samples(samples)
    assert not estimate.determined
    assert reason in estimate.reason


def test_errors_cover_the_truth_at_their_stated_rate():
    # 2000 repeats: one standard error covers the true mean in 68 % (n = 20: 67 %) of them, within 4 sigma.
    draws = np.random.default_rng(5).normal(3.0, 2.0, size=(2000, 20))
    covered = [abs(e.value - 3.0) < e.error for e in map(Estimate.from_samples, draws)]
    assert abs(np.mean(covered) - 0.670) < 4 * math.sqrt(0.67 * 0.33 / 2000)


@pytest.mark.parametrize(
    "estimate",
    [
        Estimate(1.0, 0.1, "fit", 4, (1.0, 8.0)),
        Estimate.not_determined("no"),
        Estimate(1.0, math.inf, "fit", 1),
    ],
)
def test_dictionary_is_json_without_nan(estimate):
    loaded = json.loads(json.dumps(estimate.to_dict(), allow_nan=False))
    assert set(loaded) == {"value", "error", "method", "n", "window", "reason"}
    assert loaded["value"] == (1.0 if estimate.determined else None)


A, B = Estimate(2.0, 0.03, "fit", 9, (1.0, 8.0)), Estimate(-1.5, 0.04, "mean", 8)


@pytest.mark.parametrize(
    ("made", "value", "error"),
    [
        (-A, -2.0, 0.03),
        (A + 1, 3.0, 0.03),
        (1 + A, 3.0, 0.03),
        (A - 1, 1.0, 0.03),
        (1 - A, -1.0, 0.03),
        (-2 * A, -4.0, 0.06),
        (A * 0.5, 1.0, 0.015),
        (A / -4, -0.5, 0.0075),
        (1 / A, 0.5, 0.0075),
        (-3 / B, 2.0, 3 * 0.04 / 1.5**2),
        (A + B, 0.5, 0.05),
        (A - B, 3.5, 0.05),
    ],
)
def test_arithmetic_carries_the_error(made, value, error):
    assert (made.value, made.error) == (pytest.approx(value), pytest.approx(error))
    assert made.determined


def test_arithmetic_with_known_numbers_keeps_how_it_was_obtained():
    assert (2 * A - 1).method == "fit"
    assert (2 * A - 1).n == 9
    assert (1 - A).window == (1.0, 8.0)
    assert (A - B).n == 8


@pytest.mark.parametrize(
    "made", [-1 * Estimate.not_determined("no"), 1 / Estimate.not_determined("no"),
             A - Estimate.not_determined("no"), Estimate.not_determined("no") + A]
)  # fmt: skip
def test_what_is_not_determined_stays_so(made):
    assert made.reason == "no"
    assert math.isnan(made.value)


def test_one_over_zero_is_not_determined():
    assert (1 / Estimate(0.0, 0.1, "fit", 3)).reason == "division by an estimate of zero"


def test_the_product_of_two_estimates_is_refused():
    with pytest.raises(TypeError):
        A * B


def test_errors_of_a_difference_and_of_an_inverse_are_those_of_simulated_draws():
    draws = np.random.default_rng(3)
    a, b = draws.normal(2.0, 0.03, 40_000), draws.normal(-1.5, 0.04, 40_000)
    assert (A - B).error == pytest.approx(np.std(a - b), rel=0.02)
    assert (1 / A).error == pytest.approx(np.std(1 / a), rel=0.02)


def test_a_number_is_made_of_it():
    assert float(Estimate(0.25, 0.01, "fit", 3)) == 0.25
    assert math.isnan(float(Estimate.not_determined("too few")))


def test_a_format_holds_for_value_and_error():
    one, none = Estimate(1.23456, 0.0456, "fit", 3), Estimate.not_determined("too few")
    assert f"{one:.3f}" == "1.235 ± 0.046"
    assert f"{one:.1e}" == "1.2e+00 ± 4.6e-02"
    assert f"{one}" == str(one) == "1.235 ± 0.046"
    assert f"{none:.3f}" == f"{none}" == "not determined: too few"


def test_it_is_compared_within_its_error():
    one = Estimate(1.0, 0.1, "fit", 3)
    assert one.deviation(0.7) == pytest.approx(3)
    assert one.deviation(Estimate(0.5, 0.3, "fit", 3)) == pytest.approx(0.5 / math.hypot(0.1, 0.3))
    assert one.agrees(1.19)
    assert not one.agrees(1.21)
    assert one.agrees(1.25, within=3)
    assert one.above(0.79)
    assert not one.above(0.81)
    assert one.below(1.21)
    assert not one.below(1.19)


def test_what_is_exact_agrees_with_itself_alone():
    one = Estimate(2.0, 0.0, "counted", 3)
    assert one.agrees(2)
    assert not one.agrees(2 + 1e-12)
    assert one.deviation(3) == -math.inf


def test_what_is_not_determined_is_neither_above_nor_below_nor_equal():
    none = Estimate.not_determined("too few")
    assert not none.agrees(0)
    assert not none.above(0)
    assert not none.below(0)
