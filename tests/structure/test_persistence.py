"""Persistence of weights against values worked out by hand, a slow reference, and what must not change it."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.special import zeta

from phasescope.errors import InputError
from phasescope.structure import Wiring, balanced, collapse, persistence, spanning_tree
from reference import bottleneck

S = np.array([[0.9, 0.2], [0.5, 0.4], [0.1, 0.8]])
W1 = np.array([[1, 0.3], [0.2, 0.6]])
W2 = np.array([[0.5, 0.7], [0.9, 0.1]])


def gaussian(sizes, seed):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((b, a)) for a, b in pairwise(sizes)]


def rescaled(weights, seed):
    """The same ReLU network with its hidden units multiplied by exp(normal)."""
    rng = np.random.default_rng(seed)
    factors = [np.exp(rng.standard_normal(len(w))) for w in weights[:-1]]
    after = [*factors, np.ones(len(weights[-1]))]
    before = [np.ones(weights[0].shape[1]), *factors]
    return [w * a[:, None] / b for w, a, b in zip(weights, after, before, strict=True)]


def test_the_tree_of_a_small_matrix_is_known():
    assert spanning_tree(S).tolist() == [0.9, 0.8, 0.5, 0.4]
    assert np.sqrt(np.mean((1 - spanning_tree(S)) ** 2)) == pytest.approx(0.406202, abs=5e-7)
    assert persistence(S.T, "unscaled", shuffles=0).value == pytest.approx(0.360041, abs=5e-7)


def test_a_collapsed_chain_is_known_in_every_variant():
    assert collapse([W1, W2]).tolist() == [[0.5, 0.7], [0.6, 0.2]]
    value = {v: persistence([W1.T, W2.T], v, shuffles=0).value for v in ("paper", "unscaled", "rank")}
    assert value["unscaled"] == pytest.approx(0.408248, abs=5e-7)
    assert value["paper"] == pytest.approx(0.172355, abs=5e-7)
    # With the class that is never paired, as the code of the paper counts: the division alone, 3 edges.
    divided = spanning_tree(collapse([W1, W2])) / 0.7
    assert np.sqrt(np.mean((1 - divided) ** 2)) == pytest.approx(0.184428, abs=5e-7)
    assert np.sqrt((np.sum((1 - divided) ** 2) + 1) / 3) == pytest.approx(0.606092, abs=5e-7)
    # Ranks over sizes: 4, 2, 1, 3 of 4 and 2, 3, 4, 1 of 4, so S = [[2, 3], [3, 1]]/4 and the tree 3, 3, 2.
    assert value["rank"] == pytest.approx(1 - (3 + 3 + 2) / 12)


def test_tree_and_collapse_equal_the_slow_reference():
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (1, 5), (7, 1), (2, 2), (12, 9), (9, 30), (40, 3)):
        strengths = rng.random(shape).round(1 if shape[0] == 12 else 2)  # with ties
        assert spanning_tree(strengths) == pytest.approx(bottleneck.spanning_tree(strengths), abs=1e-15)
    chain = [rng.random(shape) for shape in ((300, 70), (70, 90), (90, 4))]
    slow = bottleneck.collapse(bottleneck.collapse(chain[0], chain[1]), chain[2])
    assert np.array_equal(collapse(chain), slow)


def test_the_tree_of_uniform_strengths_tends_to_twice_zeta_of_three():
    rng = np.random.default_rng(1)
    sums = [float((1 - spanning_tree(rng.random((200, 200)))).sum()) for _ in range(12)]
    error = np.std(sums, ddof=1) / np.sqrt(len(sums))
    assert np.mean(sums) == pytest.approx(2 * zeta(3), abs=4 * error + 0.02)  # 2 ln(n)/n is left at width n


def test_a_residual_branch_keeps_the_stronger_of_both_ways():
    branch = [np.array([[0.1, 0.9], [0.3, 0.2]])]
    through = bottleneck.collapse(S, branch[0])
    assert np.array_equal(collapse([S, branch]), np.maximum(S, through))
    with pytest.raises(InputError, match="A branch from 2 units gives 3"):
        collapse([S, [np.ones((2, 3))]])


def test_channels_of_a_convolution_stand_for_all_positions_of_a_circular_one():
    rng = np.random.default_rng(2)
    kernels = [np.abs(rng.standard_normal(shape)) for shape in ((4, 3, 3), (5, 4, 3))]
    positions = 6
    unrolled = []
    for kernel in kernels:
        outputs, inputs, taps = kernel.shape
        whole = np.zeros((inputs, positions, outputs, positions))
        for at in range(positions):
            for tap in range(taps):
                whole[:, (at + tap - 1) % positions, :, at] = kernel[:, :, tap].T
        unrolled.append(whole.reshape(inputs * positions, outputs * positions))
    full = collapse(unrolled).reshape(3, positions, 5, positions).max(axis=(1, 3))
    assert np.array_equal(full, collapse([Wiring(k).edges(k) for k in kernels]))


def test_groups_do_not_touch_and_a_flattened_channel_keeps_its_strongest_position():
    grouped = Wiring(np.arange(1.0, 9.0).reshape(4, 2), groups=2)
    edges = grouped.edges(grouped.weight)
    assert edges.tolist() == [[1, 3, 0, 0], [2, 4, 0, 0], [0, 0, 5, 7], [0, 0, 6, 8]]
    flat = np.array([[0.1], [0.4], [0.3], [0.2]])  # two channels of two positions
    assert collapse([np.eye(2), flat]).tolist() == [[0.4], [0.3]]


def test_the_rank_of_random_weights_is_that_of_their_shuffles():
    z = [persistence(gaussian((40, 20, 20, 8), seed), shuffles=40).z.value for seed in range(8)]
    assert abs(np.mean(z)) < 4 * np.std(z, ddof=1) / np.sqrt(8) + 0.1
    assert np.std(z, ddof=1) < 2


def test_gaussian_chains_have_known_values():
    chains = [gaussian((64, 32, 32, 10), seed) for seed in range(24)]
    for variant, expected in (("paper", 0.236), ("unscaled", 0.467), ("rank", 0.050)):
        values = [persistence(chain, variant, shuffles=0).value for chain in chains]
        error = np.std(values, ddof=1) / np.sqrt(len(values))
        assert np.mean(values) == pytest.approx(expected, abs=4 * error), variant


def test_rank_sees_a_planted_direction_where_the_paper_hardly_does():
    chain = gaussian((64, 32, 32, 10), 3)
    rng = np.random.default_rng(4)
    chain[0] = np.outer(rng.standard_normal(32), rng.standard_normal(64)) + 0.3 * rng.standard_normal(
        (32, 64)
    )
    rank, paper = persistence(chain, "rank", shuffles=49), persistence(chain, "paper", shuffles=49)
    assert 15 < rank.z.value < 60
    assert 1 < paper.z.value < 8
    assert rank.layers[0].z.value > 40 > 5 > abs(rank.layers[1].z.value)
    assert paper.explained > 0.5 > rank.explained


def test_rescaled_relu_networks_are_one_network_when_balanced():
    chain = gaussian((64, 32, 32, 10), 5)
    copy = rescaled(chain, 6)
    for one, other in zip(balanced(chain), balanced(copy), strict=True):
        np.testing.assert_allclose(one.weight, other.weight, rtol=1e-13)
    product = chain[2] @ chain[1] @ chain[0]
    even = balanced(copy)
    np.testing.assert_allclose(
        even[2].weight @ even[1].weight @ even[0].weight, product, rtol=1e-9, atol=1e-9
    )
    # Unbalanced, the same function looks full of structure.
    assert persistence(copy, shuffles=30).z.value > 20
    assert abs(persistence(copy, balance=True, shuffles=30).z.value) < 4


def test_the_norms_of_a_balanced_convolutional_chain_are_equal_unit_by_unit():
    rng = np.random.default_rng(7)
    chain = [
        Wiring(rng.standard_normal((6, 2, 3, 3))),
        Wiring(rng.standard_normal((6, 1, 3, 3)), groups=6),
        Wiring(rng.standard_normal((3, 6 * 4))),
    ]
    one, two, three = (layer.weight for layer in balanced(chain))
    norm = (two**2).reshape(6, -1).sum(1)
    np.testing.assert_allclose((one**2).reshape(6, -1).sum(1), norm, rtol=1e-12)
    np.testing.assert_allclose((three**2).reshape(3, 6, 4).sum((0, 2)), norm, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: persistence(np.array([[np.nan, 1.0]])), "1 of 2 weights of a layer are NaN"),
        (lambda: persistence(np.ones((2, 2)), "paper"), "All weights of a layer are equal"),
        (lambda: persistence(np.zeros((2, 2)), "unscaled"), "All weights are 0"),
        (lambda: persistence([W1, np.ones((2, 3))]), "2 outputs is followed by one with 3 inputs"),
        (lambda: persistence(W1, "deep"), "one of rank, paper, unscaled"),
        (lambda: persistence([W1, [W1]], balance=True), "no balanced weights"),
        (lambda: persistence([]), "There is no layer"),
        (lambda: Wiring(np.ones((3, 2)), 2), "3 outputs do not divide into 2 groups"),
    ],
)
def test_what_cannot_be_measured_is_refused(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_a_layer_of_one_unit_has_no_z():
    found = persistence(np.array([[2.0]]), shuffles=9)
    assert found.value == 0
    assert not found.z.determined
