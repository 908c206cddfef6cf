"""What is offered in place of an activation without a critical point, against closed forms."""

import math
import re

import pytest
import torch

from phasescope.theory import alternatives, critical_point


def numbers_after(text, words):
    return [float(found) for found in re.findall(re.escape(words) + r"(-?[\d.e+-]*\d)", text)]


@pytest.mark.parametrize("name", ["gelu", "relu", "tanh", "mrepu2"])
def test_what_is_critical_needs_nothing_else(name):
    assert alternatives(name) == ()


def test_repu_is_sent_to_mrepu_with_the_kernel_of_the_depth():
    first, norm, residual, dense, cost = alternatives("repu2")
    # K_1 = 1/(2 a1 L) with a1 = 3p(2p-1) = 18, and 3 for p = 1.
    assert first.startswith("mrepu2")
    assert numbers_after(first, "K_1 = ") == pytest.approx([1 / 360, 1 / 60], rel=2e-3)
    assert f"{1 / 1800:.3g} for 50" in first
    # <s'^2>/<s^2> = 2/1.5 at K = 1.
    assert numbers_after(norm, "a factor ") == pytest.approx([4 / 3], rel=1e-3)
    assert f"{(4 / 3) ** 10:.3g} in 10" in norm
    K = slope = 1.0
    for _ in range(10):
        K, slope = K + 0.01 * 1.5 * K * K, slope * (1 + 0.01 * 2 * K)
    assert f"factor {K:.3g} in 10 layers, squared gradients by {slope:.3g}" in residual
    assert "0.037 and 0.3" in dense
    assert numbers_after(cost, "chi_par = ") == pytest.approx([2.0])


def test_a_residual_factor_that_does_not_hold_is_said_to_fail():
    # dK/dl = 0.075 K^3 diverges at l = 6.7; the discrete map grows tenfold in 10.
    assert "Not residual branches" in alternatives("repu3")[2]
    assert "Dense connections" in alternatives("repu3")[3]
    assert not any("Dense" in text for text in alternatives("repu5"))


def test_an_offset_is_taken_out_and_the_relative_is_critical():
    first = alternatives("sigmoid")[0]
    # sigmoid - 1/2 = tanh(z/2)/2: slope 1/4, a1 = s3/s1 = -1/2.
    assert first.startswith("sigmoid(z) - 0.5:")
    assert numbers_after(first, "a1 = ") == pytest.approx([-0.5], abs=1e-4)
    assert numbers_after(first, "C_W = ") == pytest.approx([16.0], rel=1e-5)


def test_a_bias_is_moved_until_the_relative_is_stable():
    first = alternatives("softplus")[0]
    # With p = sigmoid(1): s2/s1 = 1 - p, s3/s1 = (1-p)(1-2p).
    p = 1 / (1 + math.exp(-1))
    a1 = (1 - p) * (1 - 2 * p) + 0.75 * (1 - p) ** 2
    assert first.startswith(f"softplus(z + 1) - {math.log(1 + math.e):.6g}:")
    assert numbers_after(first, "a1 = ") == pytest.approx([a1], rel=1e-3)
    moved = critical_point(lambda z: torch.nn.functional.softplus(z + 1) - math.log(1 + math.e))
    assert moved.stable
    assert numbers_after(first, "C_W = ") == pytest.approx([moved.C_W], rel=1e-5)


def test_selu_is_told_what_its_own_point_costs_and_where_gradients_keep_their_size():
    texts = " ".join(alternatives("selu"))
    assert "chi_par = 0.7826" in texts
    assert "chi_perp = 1.072" in texts
    assert "C_W = 0.933206, C_b = 0.0667942: K = 1 attracts" in texts
    assert "squared gradients by 2." in texts


def test_norm_after_sigmoid_is_better_than_before_it():
    # <s'^2>/Var(s) = 1.034 against <s'^2>/<s^2> = 0.153.
    norm = next(text for text in alternatives("sigmoid") if "LayerNorm" in text)
    assert "after sigmoid" in norm
    assert numbers_after(norm, "a factor ") == pytest.approx([1.034], rel=1e-3)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("hardshrink", "A continuous activation"),
        (lambda z: 0.0 * z + 1.0, "is flat"),
        (lambda z: torch.exp(z * z / 3), "infinite at K = 1"),
    ],
)
def test_jumps_flat_ones_and_those_that_grow_too_fast_get_one_sentence(function, words):
    (only,) = alternatives(function)
    assert words in only


def test_a_users_own_square_gets_a_relative_that_repels_with_its_first_kernel():
    first, *_ = alternatives(lambda z: z * z)
    # (z+1)^2 - 1 has s1 = 2, s2 = 2: a1 = 3/4.
    assert numbers_after(first, "a1 = ") == pytest.approx([0.75])
    assert numbers_after(first, "K_1 = ") == pytest.approx([1 / 15], rel=2e-3)
