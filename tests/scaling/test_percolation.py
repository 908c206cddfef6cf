import math

import numpy as np
import pytest

from phasescope.errors import InputError
from phasescope.scaling import CRITICAL_PROBABILITY, directed_percolation
from phasescope.scaling.percolation import bernoulli_words, next_row
from reference import percolation as reference


def unpacked(words):
    """Bits of words, run first."""
    return np.stack([(words >> np.uint64(run)) & np.uint64(1) for run in range(64)]).astype(bool)


@pytest.mark.parametrize("q", [0.644700185, 0.28733838, 1e-3, 0.999, 1 / 3, 0.25])
def test_each_bit_of_a_word_is_set_with_its_probability(q):
    words = bernoulli_words(np.random.Generator(np.random.SFC64(3)), [q], 40000)[0]
    set_bits = unpacked(words).sum(axis=1)
    error = math.sqrt(40000 * q * (1 - q))
    assert np.abs(set_bits - 40000 * q).max() < 4.5 * error
    assert abs(set_bits.sum() - 64 * 40000 * q) < 4 * 8 * error


def test_certain_bits_are_certain():
    words = bernoulli_words(np.random.Generator(np.random.SFC64(0)), [0.0, 1.0, 0.6], 1000)
    assert not words[0].any()
    assert (words[1] == np.uint64(2**64 - 1)).all()


def test_bits_are_independent_of_each_other_and_of_the_next_word():
    n = 20000
    bits = unpacked(bernoulli_words(np.random.Generator(np.random.SFC64(5)), [0.644700185], n)[0])
    # Every pair of runs at one place, and every pair of runs at neighbouring places.
    scaled = (bits - bits.mean(axis=1, keepdims=True)) / bits.std(axis=1, keepdims=True)
    same = scaled @ scaled.T / n
    following = scaled[:, 1:] @ scaled[:, :-1].T / (n - 1)
    assert np.abs(same[~np.eye(64, dtype=bool)]).max() < 5 / math.sqrt(n)
    assert np.abs(following).max() < 5 / math.sqrt(n)


@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize(("shape", "masks"), [((7,), 2), ((7,), 1), ((4, 5), 4), ((4, 5), 1)])
def test_same_bits_give_the_same_row_as_a_loop_over_sites(shape, masks, forward):
    generator = np.random.Generator(np.random.SFC64(1))
    state = bernoulli_words(generator, [0.5], math.prod(shape))[0].reshape(shape)
    chosen = bernoulli_words(generator, [0.3] * masks, math.prod(shape)).reshape(masks, *shape)
    # The rows of one call share random numbers; here each mask must differ from the others.
    chosen ^= np.arange(masks, dtype=np.uint64).reshape(-1, *(1,) * len(shape)) * np.uint64(
        0x9E3779B97F4A7C15
    )
    fast = unpacked(next_row(state, chosen, forward=forward))
    for run, active in enumerate(unpacked(state)):
        slow = reference.next_row(active, [unpacked(mask)[run] for mask in chosen], forward)
        assert (fast[run] == slow).all()


@pytest.mark.parametrize("kind", ["bond", "site"])
@pytest.mark.parametrize(("dimensions", "size", "steps"), [(1, 4, 3), (2, 2, 3)])
def test_masses_follow_the_law_of_all_bonds_enumerated(dimensions, size, steps, kind):
    p, runs = 0.55, 6400
    law = reference.mass_law((size,) * dimensions, steps, p, kind)
    runs_seen = directed_percolation(
        p, size, steps, dimensions=dimensions, kind=kind, runs=runs, seed=2, times=[steps]
    )
    seen = np.bincount(runs_seen.mass.values[:, 0], minlength=law.size)
    assert (np.abs(seen - runs * law) < 4.5 * np.sqrt(runs * law * (1 - law)) + 1e-9).all()


def test_a_seed_fills_its_light_cone_when_everything_is_open():
    runs = directed_percolation(1.0, 40, 50, start="seed", runs=3)
    t = runs.time.values
    assert (runs.mass.values == np.minimum(t + 1, 40)).all()
    # Sites at -t/2, 1 - t/2, ..., t/2.
    inside = t < 40
    np.testing.assert_allclose(runs.spread.values[:, inside], np.tile(t * (t + 2) / 12, (3, 1))[:, inside])


def test_a_seed_fills_its_light_cone_in_two_dimensions():
    runs = directed_percolation(1.0, 50, 20, dimensions=2, start="seed", runs=1)
    t = runs.time.values
    assert (runs.mass.values == (t + 1) ** 2).all()
    np.testing.assert_allclose(runs.spread.values[0], t * (t + 2) / 6)


def test_a_seed_survives_its_first_rows_as_often_as_it_should():
    p, runs = 0.6447, 12800
    q = 1 - p
    seen = directed_percolation(p, 1000, 2, start="seed", runs=runs, seed=8, times=[1, 2])
    survival = np.array([1 - q**2, 2 * p * q * (1 - q**2) + p**2 * (1 - q**4)])
    error = np.sqrt(survival * (1 - survival) / runs)
    assert (np.abs(seen.survival.values.mean(axis=0) - survival) < 4 * error).all()
    # The mean of the first row is 2p.
    assert abs(seen.mass.values[:, 0].mean() - 2 * p) < 4 * math.sqrt(2 * p * q / runs)


def test_more_runs_leave_the_first_ones_as_they_were():
    few = directed_percolation(0.6447, 30, 40, runs=10, seed=4)
    many = directed_percolation(0.6447, 30, 40, runs=130, seed=4)
    assert (few.mass.values == many.mass.values[:10]).all()
    assert not (many.mass.values[:64] == many.mass.values[64:128]).all()


def test_activity_ends_and_stays_ended_below_the_threshold():
    runs = directed_percolation(0.3, 100, 1000, runs=64, seed=1)
    assert not runs.survival.values[:, -1].any()
    assert (np.diff(runs.survival.values.astype(int), axis=1) <= 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p": 1.5}, "p = 1.5"),
        ({"size": 1}, "size = 1"),
        ({"steps": 0}, "steps = 0"),
        ({"runs": 0}, "runs = 0"),
        ({"dimensions": 3}, "dimensions = 3"),
        ({"kind": "vertex"}, "kind = 'vertex'"),
        ({"start": "half"}, "start = 'half'"),
        ({"times": [5, 3]}, "times"),
        ({"times": [50]}, "times"),
        ({"times": [1.5]}, "times"),
        ({"size": 9.5}, "size = 9.5"),
        ({"runs": 1.5}, "runs = 1.5"),
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_bad_arguments_are_named(change, message):
    arguments = {"p": 0.5, "size": 10, "steps": 20} | change
    with pytest.raises(InputError, match=message):
        directed_percolation(**arguments)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "size"), [("bond", 180), ("site", 250)])
def test_critical_probabilities_in_two_dimensions_are_bracketed(kind, size):
    # At the threshold the local slope settles; 5e-4 beside it, it has left 0.4505 on either side by t = 1000.
    slopes = []
    for shift in (-5e-4, 0, 5e-4):
        runs = directed_percolation(
            CRITICAL_PROBABILITY[2, kind] + shift, size, 1000, dimensions=2, kind=kind, times=[180, 1000]
        )
        density = runs.density.values.mean(axis=0)
        slopes.append(-np.diff(np.log(density))[0] / math.log(1000 / 180))
    assert slopes[0] > 0.48 > slopes[1] > 0.41 > slopes[2]
