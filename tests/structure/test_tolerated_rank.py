"""Tolerated rank against closed forms and direct truncation; factors that do what they promise."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import brentq
from torch import nn

from phasescope.errors import InputError
from phasescope.structure import convolution_singular_values, factorised, spectral_tail, tolerated_rank


def quarter_circle(tolerance):
    """The tolerated share of the rank of a square Gaussian matrix, at infinite width."""

    def below(s, power):
        return quad(lambda x: x**power * np.sqrt(4 - x**2) / np.pi, 0, s)[0]

    start = brentq(lambda s: below(s, 2) - tolerance**2, 0, 2)
    return 1 - below(start, 0)


@pytest.mark.parametrize(
    ("tolerance", "share"), [(0.3, 0.526368), (0.1, 0.770558), (0.03, 0.896997), (0.01, 0.950464)]
)
def test_a_gaussian_matrix_has_the_rank_of_the_quarter_circle(tolerance, share):
    assert quarter_circle(tolerance) == pytest.approx(share, abs=5e-7)
    rng = np.random.default_rng(0)
    n, found = 300, []
    for _ in range(4):
        found.append(tolerated_rank(rng.standard_normal((n, n)), tolerance=tolerance, shuffles=0).weights / n)
    assert np.mean(found) == pytest.approx(share, abs=1.5 / n + 4 * np.std(found, ddof=1) / 2)


def truncated(weight, moment, tolerance):
    """The rank that the singular vectors of the weight itself need."""
    u, s, v = np.linalg.svd(weight, full_matrices=False)
    total = np.trace(weight @ moment @ weight.T)
    for rank in range(len(s) + 1):
        left = (u[:, rank:] * s[rank:]) @ v[rank:]
        if np.trace(left @ moment @ left.T) <= tolerance**2 * total:
            return rank
    raise AssertionError


def test_uneven_inputs_need_a_lower_rank_than_truncating_the_weight_itself():
    rng = np.random.default_rng(1)
    ours, itself = [], []
    for _ in range(12):
        x = rng.standard_normal((4000, 64)) / np.sqrt(np.arange(1, 65))
        weight = rng.standard_normal((64, 64))
        ours.append(tolerated_rank(weight, x, shuffles=0).rank.value)
        itself.append(truncated(weight, x.T @ x / len(x), 0.1))
    for values, expected in ((ours, 44.6), (itself, 49.4)):
        error = np.std(values, ddof=1) / np.sqrt(len(values))
        assert np.mean(values) == pytest.approx(expected, abs=4 * error + 0.1)


@pytest.mark.parametrize(("outputs", "inputs"), [(30, 20), (20, 30)])
def test_both_ways_of_adding_up_give_the_singular_values_of_the_definition(outputs, inputs):
    rng = np.random.default_rng(2)
    weight = rng.standard_normal((outputs, inputs))
    x = rng.standard_normal((80, inputs)) @ rng.standard_normal((inputs, inputs))
    found = tolerated_rank(weight, x, shuffles=3)
    exact = np.linalg.svd(x @ weight.T, compute_uv=False)
    np.testing.assert_allclose(found.values, exact[:20] / np.sqrt((exact**2).sum()), atol=1e-8)
    left = np.sqrt(np.cumsum(exact[::-1] ** 2)[::-1] / (exact**2).sum())
    assert found.rank.value == (left > 0.1).sum()


def test_shuffled_weights_tell_whether_the_inputs_or_the_weights_are_of_low_rank():
    rng = np.random.default_rng(3)
    low = rng.standard_normal((40, 2)) @ rng.standard_normal((2, 40))
    full, x = rng.standard_normal((40, 40)), rng.standard_normal((300, 40))
    narrow = x[:, :2] @ rng.standard_normal((2, 40))
    by_weights, by_inputs = tolerated_rank(low, x), tolerated_rank(full, narrow)
    assert by_weights.rank.value == by_inputs.rank.value == 2
    assert by_weights.shuffled.min() > 20
    assert by_inputs.shuffled.max() == 2
    assert (by_weights.weights, by_inputs.weights > 20) == (2, True)
    assert by_weights.saved == 40 * 40 - 2 * 80


LAYERS = [
    (lambda: nn.Linear(20, 30), (200, 20)),
    (lambda: nn.Linear(30, 20, bias=False), (50, 4, 30)),
    (lambda: nn.Conv2d(3, 16, 3, padding=1, stride=2, padding_mode="circular"), (16, 3, 8, 8)),
    (lambda: nn.Conv1d(3, 16, 3, dilation=2), (16, 3, 20)),
]


@pytest.mark.parametrize(("make", "shape"), LAYERS)
def test_factors_change_the_output_by_no_more_than_the_tolerance_and_one_rank_less_by_more(make, shape):
    layer, x = make().double(), torch.randn(shape, dtype=torch.float64)
    x = x * torch.linspace(0.05, 1, shape[-1], dtype=torch.float64) ** 3
    rank = int(tolerated_rank(layer, x, tolerance=0.25).rank.value)
    bias = (
        0
        if layer.bias is None
        else layer.bias.reshape(-1, *[1] * (len(shape) - 2 if "Conv" in str(layer) else 0))
    )
    with torch.no_grad():
        y = layer(x) - bias
        change = [
            float((factorised(layer, x, rank=r)(x) - bias - y).norm() / y.norm()) for r in (rank, rank - 1)
        ]
        by_tolerance = factorised(layer, x, tolerance=0.25)
    assert change[0] <= 0.25 < change[1]
    assert by_tolerance[0].weight.shape[0] == rank


def test_half_precision_weights_are_measured_in_float32():
    layer, x = nn.Linear(12, 12), torch.randn(64, 12)
    exact = tolerated_rank(layer, x).rank.value
    half = tolerated_rank(layer.half(), x.half()).rank.value
    assert half == pytest.approx(exact, abs=1)


def test_the_singular_values_of_a_circular_convolution_are_those_of_its_matrix():
    line = convolution_singular_values(np.array([[[1, 2, 1]]]) / 4, [8])
    expected = [1, 0.853553, 0.853553, 0.5, 0.5, 0.146447, 0.146447, 0]
    np.testing.assert_allclose(line, expected, atol=5e-7)
    conv = nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular", bias=False).double()
    basis = torch.eye(2 * 25, dtype=torch.float64).reshape(50, 2, 5, 5)
    dense = np.linalg.svd(conv(basis).detach().reshape(50, -1).numpy(), compute_uv=False)
    fast = convolution_singular_values(conv.weight.detach().numpy(), [5, 5])
    np.testing.assert_allclose(fast, dense, atol=1e-14)


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        (None, "no inputs were seen"),
        (torch.randn(20, 8), "20 input vectors are too few: at least 32"),
        (torch.randn(40, 60), "40 input vectors are too few for a rank of"),
        (torch.zeros(40, 8), "the output is 0 on all inputs"),
    ],
)
def test_a_rank_that_the_inputs_cannot_show_is_not_determined(inputs, reason):
    size = 8 if inputs is None else inputs.shape[1]
    found = tolerated_rank(nn.Linear(size, size), inputs, tolerance=0.01)
    assert reason in found.rank.reason
    assert found.saved == 0
    assert found.weights > 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tolerated_rank(nn.ReLU()), "ReLU has no weight that acts as a matrix"),
        (lambda: tolerated_rank(nn.Linear(2, 2), tolerance=1.0), "tolerance is 1.0"),
        (lambda: tolerated_rank(nn.Linear(2, 2), shuffles=-1), "shuffles is -1"),
        (lambda: tolerated_rank(np.array([[np.nan]])), "weight of the layer is not finite"),
        (
            lambda: tolerated_rank(nn.Linear(2, 2), torch.full((40, 2), torch.inf)),
            "inputs of the layer are not",
        ),
        (lambda: factorised(nn.Conv1d(4, 4, 3, groups=2), torch.randn(9, 4, 9)), "cannot be factorised"),
        (lambda: factorised(nn.Linear(4, 4), torch.randn(9, 4), rank=5), "from 1 to 4"),
        (lambda: convolution_singular_values(np.ones((1, 1, 3)), [2]), "does not fit a grid"),
        (lambda: spectral_tail(np.ones(3)), "Pass a finite matrix"),
    ],
)
def test_what_cannot_be_measured_is_refused(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_random_weights_have_no_tail_exponent():
    rng = np.random.default_rng(5)
    found = spectral_tail(rng.standard_normal((128, 128)))
    assert "that of shuffled weights" in found.exponent.reason
    # Heavy-tailed entries have a heavy-tailed spectrum without any structure.
    assert not spectral_tail(rng.standard_t(1.5, (96, 96))).exponent.determined
    assert "too few" in spectral_tail(rng.standard_normal((12, 12))).exponent.reason


def test_the_exponent_of_a_made_spectrum_is_found_and_told_from_a_lognormal():
    rng = np.random.default_rng(6)
    left, right = (np.linalg.qr(rng.standard_normal((300, 300)))[0] for _ in range(2))
    squares = (1 - (np.arange(300) + 0.5) / 300) ** (-1 / 1.5)  # density x^-2.5 above 1
    power = spectral_tail(left @ np.diag(np.sqrt(squares)) @ right)
    assert power.exponent.value == pytest.approx(2.5, abs=4 * power.exponent.error)
    lognormal = np.exp(0.5 * 1.5 * np.sort(rng.standard_normal(300)))
    other = spectral_tail(left @ np.diag(lognormal) @ right)
    assert other.exponent.determined
    assert power.against_lognormal > -2
    assert other.against_lognormal < 2
