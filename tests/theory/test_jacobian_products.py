import itertools
import math

import numpy as np
import pytest

from phasescope.errors import InputError
from phasescope.theory import (
    layer_bits,
    product_moments,
    product_participation,
    product_rank_deep,
    product_rank_fraction,
    residual_spread,
    slope_ratio,
)


def squared_singular_values(n, depth, draws, slopes=None, seed=0):
    """Of products of Gaussian matrices, by plain multiplication."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        J = np.eye(n)
        for _ in range(depth):
            J = random.standard_normal((n, n)) / math.sqrt(n) @ J
            if slopes is not None:
                J = slopes(random, n)[:, None] * J
        found.append(np.linalg.svd(J, compute_uv=False) ** 2)
    return np.array(found)


@pytest.mark.parametrize(("depth", "fourth"), [(1, 2.015625), (5, 6.249313)])
def test_the_moments_of_gaussian_products_are_those_of_wick(depth, fourth):
    t1, t2 = product_moments([64] * (depth + 1))
    assert t2 / 64 == pytest.approx(fourth, abs=5e-7)
    squares = squared_singular_values(64, depth, 60)
    for expected, samples in ((t1, squares.sum(1) ** 2), (t2, (squares**2).sum(1))):
        assert samples.mean() == pytest.approx(expected, abs=4 * samples.std(ddof=1) / math.sqrt(60))


def test_the_participation_of_twenty_gaussian_layers_is_that_of_the_recursion():
    assert product_participation([64] * 21) == pytest.approx(2.811306, abs=5e-7)


def test_rectangular_layers_with_gates_agree_with_simulated_ones():
    widths, random = (12, 30, 7, 20), np.random.default_rng(3)
    t1, t2 = product_moments(widths, 2.0)
    first, second = [], []
    for _ in range(4000):
        J = np.eye(12)
        for n, m in itertools.pairwise(widths):
            gates = math.sqrt(2) * (random.random(m) < 0.5)
            J = gates[:, None] * (random.standard_normal((m, n)) / math.sqrt(n) @ J)
        A = J @ J.T
        first.append(np.trace(A) ** 2)
        second.append((A**2).sum())
    for expected, samples in ((t1, first), (t2, second)):
        assert np.mean(samples) == pytest.approx(expected, abs=4 * np.std(samples) / math.sqrt(4000))


@pytest.mark.parametrize(
    ("r", "orthogonal", "kept"), [(1.0, False, 1 / 8), (2.0, False, 1 / 15), (2.0, True, 1 / 8)]
)
def test_wide_products_keep_the_share_of_the_limit(r, orthogonal, kept):
    share = product_participation([10**7] * 8, r, orthogonal=orthogonal) / 10**7
    assert share == pytest.approx(kept, rel=1e-5)


def test_one_ratio_for_all_layers_is_the_same_ratio_for_each():
    assert product_moments([5, 6, 7], [1.5, 1.5]) == product_moments([5, 6, 7], 1.5)
    assert product_moments([5, 6, 7], [1.0, 2.0]) != product_moments([5, 6, 7], [2.0, 1.0])


def test_the_ratio_of_slopes_is_known_for_relu_and_tanh():
    assert slope_ratio("relu", 0.3) == pytest.approx(2, rel=1e-12)
    # tanh at the fixed point of chi = 1, sigma_b = 0.3
    from phasescope.theory import critical_line

    point = critical_line("tanh", 0.3)
    assert slope_ratio("tanh", point.K) == pytest.approx(1.455315, abs=5e-7)


@pytest.mark.parametrize(("depth", "variance", "spread"), [(4, 0.5, 2.2222), (16, 1 / 16, 1.8270)])
def test_residual_layers_spread_as_printed(depth, variance, spread):
    assert residual_spread(depth, variance) == pytest.approx(spread, abs=5e-5)


def test_residual_layers_of_finite_width_come_near_the_law():
    random, n, found = np.random.default_rng(5), 256, []
    for _ in range(4):
        J = np.eye(n)
        for _ in range(4):
            J = J + math.sqrt(0.5 / n) * random.standard_normal((n, n)) @ J
        squares = np.linalg.svd(J, compute_uv=False) ** 2
        found.append((squares**2).mean() / squares.mean() ** 2 - 1)
    assert np.mean(found) == pytest.approx(residual_spread(4, 0.5), rel=0.05)


@pytest.mark.parametrize(
    ("depth", "shares"),
    [
        (5, (0.389417, 0.694012, 0.853653)),
        (10, (0.222068, 0.458477, 0.633852)),
        (20, (0.118906, 0.267878, 0.401211)),
    ],
)
def test_rank_fractions_follow_fuss_and_catalan(depth, shares):
    for threshold, share in zip((1e-1, 1e-2, 1e-3), shares, strict=True):
        assert product_rank_fraction(depth, threshold) == pytest.approx(share, abs=1e-6)


def test_one_layer_has_the_rank_fraction_of_marchenko_and_pastur():
    # s is uniform in angle for a square matrix: the quarter circle law.
    t = 0.3
    below = 2 / math.pi * (t * math.sqrt(1 - t * t) + math.asin(t))
    assert product_rank_fraction(1, t) == pytest.approx(1 - below, abs=1e-9)


def test_the_count_from_exponents_is_an_upper_estimate_where_the_product_is_deep():
    squares = squared_singular_values(64, 10, 12)
    seen = (np.sqrt(squares) > 1e-2 * np.sqrt(squares.max(1, keepdims=True))).sum(1)
    assert product_rank_deep(64, 10, 1e-2) == 38 > seen.max()


@pytest.mark.parametrize(("snr", "bits"), [(1, 0.418712), (10, 1.361663), (100, 2.741303)])
def test_bits_of_a_gaussian_layer_are_those_of_the_integral(snr, bits):
    assert layer_bits(snr) == pytest.approx(bits, abs=5e-7)
    assert layer_bits(snr) < 0.5 * math.log2(1 + snr)
    squares = squared_singular_values(200, 1, 2)
    assert (0.5 * np.log2(1 + snr * squares)).mean() == pytest.approx(bits, rel=0.01)


@pytest.mark.parametrize(
    "call",
    [
        lambda: product_moments([4]),
        lambda: product_moments([4, 0]),
        lambda: product_moments([4, 4], 0.5),
        lambda: product_moments([4, 4], [1.0, 1.0]),
        lambda: product_moments([4, 5], orthogonal=True),
        lambda: slope_ratio(lambda z: 0 * z, 1.0),
        lambda: residual_spread(2, -1.0),
        lambda: product_rank_fraction(0, 0.1),
        lambda: product_rank_fraction(2, 1.0),
        lambda: product_rank_deep(4, 4, 0.0),
        lambda: layer_bits(0.0),
    ],
)
def test_what_makes_no_sense_is_refused(call):
    with pytest.raises(InputError):
        call()
