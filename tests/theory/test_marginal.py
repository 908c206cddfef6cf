import math

import pytest

from phasescope.errors import InputError
from phasescope.theory import first_layer_kernel, largest_bias_variance, survival_depth, unstable_kernel

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
