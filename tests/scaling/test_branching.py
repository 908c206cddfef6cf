import math

import numpy as np
import pytest
from scipy import stats

from phasescope.errors import InputError
from phasescope.scaling import branching


def test_runs_follow_the_exact_chain_of_a_tiny_system():
    size, p, parents, steps, runs = 5, 0.6, 2, 3, 40000
    activity = np.arange(size + 1) / size
    chance = 1 - (1 - p * activity) ** parents
    chain = stats.binom.pmf(np.arange(size + 1)[None, :], size, chance[:, None])
    law = np.linalg.matrix_power(chain, steps)[size]
    seen = np.bincount(
        branching(p, size, steps, parents=parents, runs=runs, seed=1, times=[steps]).mass.values[:, 0],
        minlength=size + 1,
    )
    assert (np.abs(seen - runs * law) < 4.5 * np.sqrt(runs * law * (1 - law))).all()


@pytest.mark.parametrize(("parents", "p"), [(2, 0.5), (3, 1 / 3), (2, 0.55), (2, 0.45), (2, 1.0)])
def test_a_large_system_follows_the_map_of_the_density(parents, p):
    steps, size = 60, 10**12
    runs = branching(p, size, steps, parents=parents, runs=16, seed=2, times=range(steps + 1))
    expected = [1.0]
    for _ in range(steps):
        expected.append(1 - (1 - p * expected[-1]) ** parents)
    np.testing.assert_allclose(runs.density.values.mean(axis=0), expected, rtol=1e-4)


def test_the_critical_density_tends_to_its_law():
    runs = branching(0.5, 10**16, 4000, runs=4, seed=0, times=[2000, 4000])
    # x' = x - x^2/4, so 1/x = t/4 + (1/4) ln t + c: the difference of two times drops the constant.
    inverse = 1 / runs.density.values.mean(axis=0)
    assert inverse[1] - inverse[0] == pytest.approx(2000 / 4 + math.log(2) / 4, rel=1e-4)


@pytest.mark.parametrize(("p", "mean"), [(0.5, 1.0), (0.55, 1.1)])
def test_a_seed_survives_as_its_generating_function_says(p, mean):
    steps, runs = 30, 20000
    seen = branching(p, 10**9, steps, runs=runs, seed=3, start="seed", times=range(1, steps + 1))
    survival, expected = 1.0, []
    for _ in range(steps):
        survival = 1 - math.exp(-mean * survival)
        expected.append(survival)
    expected = np.array(expected)
    error = np.sqrt(expected * (1 - expected) / runs)
    assert (np.abs(seen.survival.values.mean(axis=0) - expected) < 4 * error).all()
    masses = seen.mass.values
    assert (
        np.abs(masses.mean(axis=0) - mean ** np.arange(1, steps + 1))
        < 4 * masses.std(axis=0) / math.sqrt(runs)
    ).all()


def test_nothing_comes_of_nothing():
    runs = branching(0.2, 1000, 200, runs=5, seed=0)
    assert (runs.mass.values[:, -1] == 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p": -0.1}, "p = -0.1"),
        ({"parents": 1}, "parents = 1"),
        ({"size": 0}, "size = 0"),
        ({"size": 2.5}, "size = 2.5"),
        ({"size": 10**19}, "Give at most"),
        ({"runs": 1.5}, "runs = 1.5"),
        ({"parents": 2.5}, "parents = 2.5"),
        ({"seed": -1}, "seed = -1"),
        ({"p": 0.5 + 0j}, "p = "),
        ({"times": [1.5]}, "times = "),
        ({"start": "half"}, "start = 'half'"),
    ],
)
def test_bad_arguments_are_named(change, message):
    with pytest.raises(InputError, match=message):
        branching(**({"p": 0.5, "size": 10, "steps": 20} | change))
