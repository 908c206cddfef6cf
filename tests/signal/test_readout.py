import math

import numpy as np
import pytest
import torch

from phasescope.errors import InputError
from phasescope.signal.readout import _components, classification_dimension, independence_deficit


def blobs(bits, samples=600, units=30, noise=0.1, seed=0):
    """Classes at the corners of a box, whose sides fall from unit to unit, and noise."""
    random = np.random.default_rng(seed)
    y = np.arange(samples) % 2**bits
    x = noise * random.standard_normal((samples, units)) * np.linspace(1, 0.5, units)
    for bit in range(bits):
        x[:, bit] += (2 - 0.3 * bit) * (2 * (y >> bit & 1) - 1)
    return x, y


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_classes_at_the_corners_of_a_box_need_all_its_sides(bits):
    found = classification_dimension(*blobs(bits))
    assert found.value == bits
    assert found.error == 0


def test_the_directions_that_count_may_be_small():
    random = np.random.default_rng(1)
    y = np.arange(400) % 2
    x = random.standard_normal((400, 8)) * 2.0 ** -np.arange(8)
    x[:, 5] = 0.03 * (2 * y - 1) + 0.001 * random.standard_normal(400)
    assert classification_dimension(x, torch.from_numpy(y)).value == 6


def test_equal_eigenvalues_at_the_cut_are_not_determined():
    signs = np.array([[a, b] for a in (-1.0, 1.0) for b in (-1.0, 1.0)])
    x = np.tile(signs, (16, 1))
    y = np.tile([0, 1, 2, 3], 16)
    assert classification_dimension(x, y).determined  # halves drawn at random are not so even
    half = np.concatenate([x[:32], x[:32]])
    number, reason = _components(half, np.tile(y[:32], 2), x, y, 4, 0.45)
    assert number == 0
    assert "eigenvalues 1 and 2 are equal" in reason


def test_random_classes_are_not_determined():
    random = np.random.default_rng(2)
    found = classification_dimension(random.standard_normal((200, 5)), random.integers(0, 2, 200))
    assert not found.determined
    assert "most frequent" in found.reason


def test_few_samples_and_still_features_are_not_determined():
    x, y = blobs(2, samples=31)
    assert "31 samples" in classification_dimension(x, y).reason
    assert "do not vary" in classification_dimension(np.ones((40, 3)), np.arange(40) % 2).reason


@pytest.mark.parametrize(
    "call",
    [
        lambda: classification_dimension(np.ones((40, 3)), np.zeros(40, dtype=int)),
        lambda: classification_dimension(np.ones((40, 3)), np.zeros(39, dtype=int)),
        lambda: classification_dimension(np.ones((40, 3)), np.linspace(0, 1, 40)),
        lambda: classification_dimension(np.full((40, 3), math.nan), np.arange(40)),
        lambda: classification_dimension(*blobs(2), keep=0.0),
        lambda: independence_deficit(np.ones((40, 2))),
        lambda: independence_deficit(np.full((40, 4), math.inf)),
        lambda: independence_deficit(np.ones((40, 4)), most=0),
    ],
)
def test_what_makes_no_sense_is_refused(call):
    with pytest.raises(InputError):
        call()


def test_logits_that_follow_from_two_others_say_so():
    z = np.random.default_rng(3).standard_normal((300, 6))
    z[:, 5] = 3 * z[:, 1] - 2 * z[:, 4] + 7
    found = independence_deficit(z)
    assert found.predictors[5] == 2
    assert found.r_squared[5, 1] == pytest.approx(1, abs=1e-12)
    assert math.isnan(found.predictors[0])
    assert "5 of 6 directions" in found.trivial
    assert "fewer features than classes" in str(found)


def test_held_out_shares_are_those_of_least_squares():
    random = np.random.default_rng(4)
    z = random.standard_normal((400, 4)) @ random.standard_normal((4, 4))
    found = independence_deficit(z, seed=5)
    order = np.random.default_rng(5).permutation(400)
    fit, held = z[order[:200]], z[order[200:]]
    design = np.column_stack([np.ones(200), fit[:, 1:]])
    weights = np.linalg.lstsq(design, fit[:, 0], rcond=None)[0]
    missed = held[:, 0] - np.column_stack([np.ones(200), held[:, 1:]]) @ weights
    assert found.r_squared[0, 2] == pytest.approx(1 - missed.var() / held[:, 0].var(), abs=5e-3)
    assert found.r_squared.shape == (4, 3)
    assert found.trivial == ""


def test_independent_logits_have_no_deficit():
    found = independence_deficit(np.random.default_rng(6).standard_normal((500, 10)))
    assert np.isnan(found.predictors).all()
    assert found.r_squared.max() < 0.2


def test_few_samples_and_still_logits_have_no_number():
    assert "20 samples" in str(independence_deficit(np.random.default_rng(7).standard_normal((20, 5))))
    z = np.random.default_rng(8).standard_normal((100, 4))
    z[:, 2] = 1.0
    assert np.isnan(independence_deficit(z).r_squared[2]).all()
