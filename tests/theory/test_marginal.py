import math

import pytest
import torch
import torch.nn.functional as F

from phasescope.activations import MRePU, RePU
from phasescope.errors import InputError
from phasescope.theory import (
    first_layer_kernel,
    largest_bias_variance,
    overflow_depth,
    repu_trajectory,
    survival_depth,
    unstable_kernel,
)

# Layers until the kernel has grown tenfold, and until it exceeds 1000, at C_W = 1 and infinite width.
SURVIVAL = {
    (1, 0.1): (5, 8),
    (1, 0.01): (33, 40),
    (1, 1e-3): (303, 343),
    (2, 0.1): (2, 4),
    (2, 0.01): (7, 10),
    (2, 1e-3): (53, 63),
    (2, 1e-4): (503, 565),
}


def _polynomial_map(p, K):
    """<MRePU_p^2> for z >= -1 by Simpson's rule."""
    scale, count = math.sqrt(K), 20_000
    low, high = -min(1 / scale, 12.0), 12.0
    step = (high - low) / count
    total = 0.0
    for i in range(count + 1):
        x = low + i * step
        weight = 1 if i in (0, count) else 4 if i % 2 else 2
        z = scale * x
        total += weight * (z * (z + 1) ** p) ** 2 * math.exp(-x * x / 2)
    return total * step / 3 / math.sqrt(2 * math.pi)


@pytest.mark.parametrize(("p", "K1"), SURVIVAL)
def test_survival_depth(p, K1):
    tenfold, thousand = SURVIVAL[p, K1]
    assert survival_depth(f"mrepu{p}", K1) == tenfold
    assert survival_depth(f"mrepu{p}", K1, growth=1e3 / K1) == thousand


def test_survival_ends_or_not():
    assert survival_depth("tanh", 1.0, most_layers=500) is None
    assert survival_depth("mrepu2", 0.01, C_W=0.5) is None
    assert survival_depth("mrepu2", 0.06, C_W=0.5) is not None
    assert survival_depth("repu2", 0.7, C_W=1.0) is not None


UNSTABLE = {
    0.95: (0.0175, 0.00292, None),
    0.9: (0.0370, 0.00614, 1.54e-4),
    0.8: (0.0834, 0.01373, None),
    0.5: (0.345, 0.0532, 6.79e-3),
    0.3: (0.881, 0.118, 2.16e-2),
}


@pytest.mark.parametrize("C_W", UNSTABLE)
def test_phase_boundary_of_modified_rectified_powers(C_W):
    expected1, expected2, C_b = UNSTABLE[C_W]
    for p, expected in ((1, expected1), (2, expected2)):
        K = unstable_kernel(f"mrepu{p}", C_W)
        assert pytest.approx(expected, rel=0.01) == K
        assert C_W * _polynomial_map(p, K) == pytest.approx(K, rel=1e-8)
    if C_b is not None:
        assert largest_bias_variance("mrepu2", C_W) == pytest.approx(C_b, rel=0.01)


def test_phase_boundary_near_one_follows_a1():
    assert unstable_kernel("mrepu2", 0.999) == pytest.approx((1 - 0.999) / (18 * 0.999), rel=0.01)
    # GELU's vanishing kernel is preserved at C_W = 4: K' = (C_W/4) (K + (6/pi) K^2).
    assert unstable_kernel("gelu", 3.99) == pytest.approx((4 / 3.99 - 1) * math.pi / 6, rel=0.01)
    assert unstable_kernel("mrepu2", 1.0) == 0
    assert unstable_kernel("mrepu2", 1.1) == 0


def test_rectified_powers_have_their_closed_form_boundary():
    assert unstable_kernel("repu2", 1.0) == pytest.approx(2 / 3, rel=1e-12)
    assert largest_bias_variance("repu2", 1.0) == pytest.approx(1 / 6, rel=1e-12)


def test_first_layer_kernel_lets_the_kernel_double():
    assert first_layer_kernel("mrepu2", 10) == pytest.approx(1 / (2 * 18 * 10), rel=1e-12)
    assert first_layer_kernel("mrepu2", 50) == pytest.approx(5.6e-4, rel=0.01)
    assert first_layer_kernel("gelu", 10) == pytest.approx(math.pi / 120, rel=1e-10)
    # K(l) = K1/(1 - a1 K1 (l - 1)) doubles at l = 1 + L; higher orders in K shorten that by some 10 %.
    K1 = first_layer_kernel("mrepu2", 200)
    assert survival_depth("mrepu2", K1, growth=2.0) == pytest.approx(200, rel=0.1)


def _largest_of(count, repeats=400):
    """The mean largest absolute value of so many Gaussian numbers, drawn."""
    generator = torch.Generator().manual_seed(0)
    return float(torch.randn(repeats, count, generator=generator).abs().amax(1).mean())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize(("p", "K1"), [(2, 1.0), (2, 0.7), (3, 0.5)])
def test_rectified_powers_overflow_where_their_exact_kernel_says(p, K1, dtype):
    largest = math.log(torch.finfo(dtype).max)
    # The activation overflows before the next pre-activation does: p (ln m + ln K_l/2) > ln M.
    log_size = p * (math.log(_largest_of(1000)) + repu_trajectory(p, K1, 40, C_W=1.0) / 2)
    layer = int((log_size > largest).nonzero()[0]) + 1
    assert overflow_depth(f"repu{p}", K1, dtype, C_W=1.0, width=100, inputs=10) == layer


def test_modified_rectified_powers_overflow_where_the_iterated_map_says():
    K, layer, m = 0.01, 1, _largest_of(1000)
    while m * math.sqrt(K) * (m * math.sqrt(K) + 1) ** 2 <= 65504:
        K, layer = _polynomial_map(2, K), layer + 1
    assert layer == 11
    assert overflow_depth("mrepu2", 0.01, width=100, inputs=10) == layer


def test_a_kernel_that_doubles_overflows_by_its_logarithm():
    m = _largest_of(1000)
    for dtype in (torch.float16, torch.bfloat16):
        # m 2^((l - 1)/2) > M
        layer = 2 + math.floor(2 * math.log2(torch.finfo(dtype).max / m))
        assert overflow_depth("relu", 1.0, dtype, C_W=4.0, width=100, inputs=10) == layer


def test_what_keeps_or_loses_its_kernel_never_overflows():
    assert overflow_depth("linear", 1.0) is None
    assert overflow_depth("relu", 5.0, C_W=2.0) is None
    assert overflow_depth("tanh", 5.0, C_W=100.0) is None
    assert overflow_depth("repu2", 0.6, C_W=1.0) is None
    assert overflow_depth("mrepu2", 1e-3, C_W=0.5) is None
    assert overflow_depth("mrepu2", 1e-3, most_layers=40) is None


def test_an_input_that_is_too_large_overflows_in_the_first_layer():
    assert overflow_depth("relu", 1e12, C_W=2.0) == 1
    # Its square overflows there, not the pre-activation.
    assert overflow_depth("repu2", 3e4, C_W=1.0, width=10, inputs=1) == 1
    assert overflow_depth("relu", 3e4, C_W=2.0, width=10, inputs=1) is None


def _first_overflow(activation, K1, C_W, width, dtype, seed):
    """The first layer of a network, in that precision, with a number that is not finite."""
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(8, width, generator=generator)
    h = F.normalize(h) * math.sqrt(width)
    for layer in range(1, 40):
        variance = (K1 if layer == 1 else C_W) / width
        w = torch.randn(width, width, generator=generator) * math.sqrt(variance)
        z = h.to(dtype) @ w.to(dtype)
        h = activation(z)
        if not (z.isfinite().all() and h.isfinite().all()):
            return layer
    return None


@pytest.mark.parametrize(
    ("name", "activation", "K1", "C_W"),
    [
        ("repu2", RePU(2), 1.0, 1.0),
        ("mrepu2", MRePU(2), 0.1, 1.0),
        ("mrepu2", MRePU(2), 0.01, 1.0),
        ("mrepu1", MRePU(1), 0.05, 1.0),
        ("relu", F.relu, 1.0, 8.0),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_networks_in_half_precision_overflow_there_or_a_layer_or_two_earlier(
    name, activation, K1, C_W, dtype
):
    predicted = overflow_depth(name, K1, dtype, C_W=C_W, width=200, inputs=8)
    seen = [_first_overflow(activation, K1, C_W, 200, dtype, seed) for seed in range(3)]
    if predicted >= 40:
        assert seen == [None] * 3
    else:
        assert all(predicted - 2 <= layer <= predicted + 1 for layer in seen)


@pytest.mark.parametrize(
    "wrong", [{"K1": 0.0}, {"K1": math.nan}, {"width": 0}, {"inputs": 0}, {"dtype": torch.float64},
              {"dtype": torch.int8}, {"activation": "repu2"}]
)  # fmt: skip
def test_an_overflow_that_cannot_be_computed_is_refused(wrong):
    with pytest.raises(InputError):
        overflow_depth(**{"activation": "mrepu2", "K1": 1.0} | wrong)


def test_refuses_what_has_no_meaning():
    for call in (
        lambda: first_layer_kernel("tanh", 10),
        lambda: first_layer_kernel("relu", 10),
        lambda: first_layer_kernel("sigmoid", 10),
        lambda: first_layer_kernel("mrepu2", 0),
        lambda: survival_depth("mrepu2", 0.0),
        lambda: survival_depth("mrepu2", 1.0, growth=1.0),
        lambda: survival_depth("repu2", 1.0),
        lambda: unstable_kernel("mrepu2", -1.0),
        lambda: unstable_kernel("sigmoid", 1.0),
        lambda: unstable_kernel("tanh", 0.9),
        lambda: largest_bias_variance("tanh", 0.9),
    ):
        with pytest.raises(InputError):
            call()
