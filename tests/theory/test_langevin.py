"""Learning coefficients that are known exactly, to the digits of their closed forms."""

import numpy as np
import pytest

from phasescope.errors import InputError
from phasescope.theory import (
    crossing_learning_coefficient,
    power_learning_coefficient,
    quadratic_learning_coefficient,
    reduced_rank_learning_coefficient,
    semi_implicit_variance,
)

CURVATURES = (10, 1, 0.1, 0.01, 0)


@pytest.mark.parametrize(("step", "expected"), [(0, 1.699095), (1e-4, 1.713307), (1e-3, 1.880020)])
def test_a_quadratic_with_and_without_a_step(step, expected):
    found = quadratic_learning_coefficient(CURVATURES, 100, 1, step=step)
    assert found == pytest.approx(expected, abs=6e-7)


def test_a_chain_that_has_not_reached_equilibrium_measures_less():
    found = quadratic_learning_coefficient(CURVATURES, 100, 1, step=1e-4, draws=(1501, 3000))
    assert found == pytest.approx(1.511, abs=6e-4)
    early = quadratic_learning_coefficient([2.0], 10, 1, step=0.01, draws=(1, 2))
    assert early == pytest.approx(10 * 2 * 0.01 / 2)  # after one step the variance is the step


def test_the_variance_of_a_long_simulated_chain_is_the_one_of_the_formula():
    random, step, k = np.random.default_rng(1), 0.3, 3.0
    x = np.zeros(4000)
    for _ in range(60):
        x = x - step / 2 * k * x + step**0.5 * random.standard_normal(x.size)
    found = quadratic_learning_coefficient([2.0], 1, 1, step=step)
    seen = x**2  # half of h x^2 with h = 2
    assert abs(seen.mean() - found) < 4 * seen.std() / x.size**0.5


def test_a_step_beyond_stability_has_no_finite_mean():
    assert quadratic_learning_coefficient([1.0], 100, 1, step=4 / 101) == np.inf


def test_a_maximum_has_no_equilibrium():
    with pytest.raises(InputError, match="no equilibrium"):
        quadratic_learning_coefficient([-1.0], 100, 1)


@pytest.mark.parametrize(("k", "expected"), [(1, 0.5), (2, 0.25), (3, 1 / 6)])
def test_a_power_alone_has_one_over_twice_its_half_power(k, expected):
    assert power_learning_coefficient(k) == pytest.approx(expected)
    assert power_learning_coefficient(k, 50.0, 1e-9) == pytest.approx(expected, rel=1e-8)


def test_a_localised_power_is_the_quadratic_where_it_is_one():
    expected = quadratic_learning_coefficient([2.0], 30, 7)
    assert power_learning_coefficient(1, 30, 7) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("nb", "expected"), [(1e2, 0.354204), (1e3, 0.390273), (1e4, 0.412337), (1e6, 0.437543)]
)
def test_crossing_lines_approach_one_half_as_a_logarithm(nb, expected):
    assert crossing_learning_coefficient(nb) == pytest.approx(expected, abs=6e-7)
    assert crossing_learning_coefficient(nb * 49, 7) == pytest.approx(expected, abs=6e-7)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [((4, 4, 4, 2), 7.5), ((4, 4, 4, 0), 6), ((3, 3, 3, 1), 4), ((2, 9, 3, 1), 6), ((9, 2, 3, 1), 6)],
)
def test_reduced_rank_regression(sizes, expected):
    assert reduced_rank_learning_coefficient(*sizes) == expected


def test_a_full_rank_map_through_a_wide_layer_has_half_its_entries():
    assert reduced_rank_learning_coefficient(2, 3, 9, 2) == 3


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [((0.01, 50, 0.1, 2, 10), 0.0067001675), ((0.01, 50, 0.1, 0, 1), 0.1999000500)],
)
def test_the_variance_of_a_semi_implicit_step(arguments, expected):
    assert semi_implicit_variance(*arguments) == pytest.approx(expected, abs=6e-11)


def test_a_vanishing_step_gives_the_variance_of_the_flow():
    assert semi_implicit_variance(1e-9, 50, 0.1, 2, 10) == pytest.approx(1 / (50 * 3), rel=1e-6)


@pytest.mark.parametrize(
    "call",
    [
        lambda: power_learning_coefficient(0),
        lambda: crossing_learning_coefficient(-1.0),
        lambda: reduced_rank_learning_coefficient(3, 3, 2, 3),
        lambda: quadratic_learning_coefficient([1.0], 10, 1, step=0.01, draws=(5, 5)),
    ],
)
def test_what_makes_no_sense_is_refused(call):
    with pytest.raises(InputError):
        call()
