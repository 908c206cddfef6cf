import json
import math

import pytest
import torch
from torch import nn

from phasescope.activations import MRePU, Scaled
from phasescope.citations import BIBTEX
from phasescope.theory import critical_point
from reference.gaussian_quad import kernel_derivative, mean


def _gelu(z):
    return z * 0.5 * math.erfc(-z / math.sqrt(2))


def _gelu_slope(z):
    return 0.5 * math.erfc(-z / math.sqrt(2)) + z * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _logistic(z):
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


def _silu(z):
    return z * _logistic(z)


def _silu_slope(z):
    s = _logistic(z)
    return s * (1 + z * (1 - s))


def _hardswish(z):
    return z * min(max(z + 3, 0), 6) / 6


def _hardswish_slope(z):
    return 0.0 if z <= -3 else 1.0 if z >= 3 else (2 * z + 3) / 6


def _softplus(z):
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))


# Half-stable points of GELU and SiLU: Roberts, Yaida and Hanin 2022, section 5.3, to more digits.
HALF_STABLE = {
    "gelu": (1.98305826, 0.17292239, 3.56155281, _gelu, _gelu_slope, ()),
    "silu": (1.98800468, 0.55514317, 14.32017362, _silu, _silu_slope, ()),
    "hardswish": (None, None, None, _hardswish, _hardswish_slope, (-3.0, 3.0)),
}


@pytest.mark.parametrize("name", HALF_STABLE)
def test_half_stable_points_against_quadrature(name):
    C_W, C_b, K, function, slope, kinks = HALF_STABLE[name]
    point = critical_point(name)
    assert (point.universality_class, point.stable, point.a1) == ("half-stable", None, None)
    if C_W is not None:
        assert (point.C_W, point.C_b, point.K) == pytest.approx((C_W, C_b, K), abs=6e-9)
    assert point.C_W * mean(lambda z: slope(z) ** 2, point.K, kinks) == pytest.approx(1, abs=1e-11)
    assert point.C_W * kernel_derivative(function, point.K, kinks) == pytest.approx(1, abs=1e-10)
    square = mean(lambda z: function(z) ** 2, point.K, kinks)
    assert point.C_b + point.C_W * square == pytest.approx(point.K, rel=1e-11)
    step = 1e-3 * point.K
    high, low = (kernel_derivative(function, point.K + side * step, kinks) for side in (1, -1))
    assert point.curvature == pytest.approx(point.C_W * (high - low) / (2 * step), rel=1e-3)
    fourth = mean(lambda z: function(z) ** 4, point.K, kinks)
    assert point.nu == pytest.approx(point.C_W**2 * (fourth - square**2) / point.K**2, rel=1e-10)


def test_half_stable_points_name_their_direction_and_the_unstable_alternative():
    gelu, silu = critical_point("gelu"), critical_point("silu")
    assert gelu.curvature == pytest.approx(-2.9e-4, rel=0.02)
    assert "attracts kernels from above" in gelu.reason
    assert silu.curvature == pytest.approx(5.7e-6, rel=0.02)
    assert "attracts kernels from below" in silu.reason
    # At C_W = 1/sigma'(0)^2 = 4: a1 = (3/4) (sigma''/sigma')^2 = 6/pi for GELU and 3/4 for SiLU.
    assert "K* = 0 at C_W = 4, C_b = 0, marginally unstable (a1 = +1.91)" in gelu.also[0]
    assert "a1 = +0.75" in silu.also[0]


SCALE_INVARIANT = {"linear": 1.0, "relu": 0.0, "leaky_relu": 0.01}


@pytest.mark.parametrize(("name", "slope"), SCALE_INVARIANT.items())
def test_scale_invariant_class(name, slope):
    point = critical_point(name)
    assert (point.universality_class, point.stable) == ("scale-invariant", True)
    A2, A4 = (1 + slope**2) / 2, (1 + slope**4) / 2
    assert (point.C_W, point.C_b, point.K) == (pytest.approx(1 / A2, rel=1e-14), 0.0, None)
    assert point.nu == pytest.approx(3 * A4 / A2**2 - 1, rel=1e-12)


@pytest.mark.parametrize("slope", [0.2, -1.0, 3.0])
def test_any_leaky_slope_is_scale_invariant(slope):
    point = critical_point(nn.LeakyReLU(slope))
    assert point.universality_class == "scale-invariant"
    assert pytest.approx(2 / (1 + slope**2), rel=1e-14) == point.C_W


# C_W = 1/s1^2, a1 = s3/s1 + (3/4)(s2/s1)^2 and b1 = s3/s1 + (s2/s1)^2 with the derivatives s1, s2, s3 at 0.
ZERO_KERNEL = {
    "tanh": (1.0, -2.0, -2.0),
    "sin": (1.0, -1.0, -1.0),
    "erf": (math.pi / 4, -2.0, -2.0),
    "arctan": (1.0, -2.0, -2.0),
}


@pytest.mark.parametrize("name", ZERO_KERNEL)
def test_stable_zero_kernel_class(name):
    C_W, a1, b1 = ZERO_KERNEL[name]
    point = critical_point(name)
    assert (point.universality_class, point.stable, point.C_b, point.K) == ("K*=0", True, 0.0, 0.0)
    assert (point.C_W, point.a1, point.b1) == pytest.approx((C_W, a1, b1), rel=1e-12)
    assert point.nu == pytest.approx(2 / 3)


@pytest.mark.parametrize("p", [1, 2, 3, 4])
def test_modified_rectified_powers_are_marginally_unstable(p):
    point = critical_point(f"mrepu{p}")
    assert (point.universality_class, point.stable) == ("K*=0", False)
    assert (point.C_W, point.C_b, point.K) == pytest.approx((1, 0, 0), abs=1e-12)
    assert point.a1 == pytest.approx(3 * p * (2 * p - 1), abs=1e-12)
    assert point.b1 == pytest.approx(p * (7 * p - 3), abs=1e-12)
    assert "repels" in point.reason


@pytest.mark.parametrize("p", [1, 2, 3])
def test_a_shift_divides_a1_by_its_square_and_a_scale_multiplies_it_by_its_own(p):
    shift, s = 0.5, 0.1
    a1, b1 = 3 * p * (2 * p - 1), p * (7 * p - 3)
    point = critical_point(MRePU(p, shift))
    assert (point.C_W, point.a1, point.b1) == pytest.approx(
        (shift ** (-2 * p), a1 / shift**2, b1 / shift**2), rel=1e-9
    )
    point = critical_point(Scaled(MRePU(p), s))
    assert (point.C_W, point.a1, point.b1) == pytest.approx((1, a1 * s**2, b1 * s**2), rel=1e-9)


@pytest.mark.parametrize("name", ["softsign", "elu"])
def test_zero_kernel_with_a_kink_has_no_a1(name):
    point = critical_point(name)
    assert (point.universality_class, point.stable) == ("K*=0", True)
    assert pytest.approx(1, rel=1e-9) == point.C_W
    assert (point.a1, point.b1) == (None, None)
    assert "sqrt(K)" in point.reason


def test_saturating_pieces_of_lines():
    hardtanh, relu6 = critical_point("hardtanh"), critical_point("relu6")
    assert (hardtanh.universality_class, hardtanh.stable, hardtanh.C_W) == ("K*=0", True, pytest.approx(1))
    assert (hardtanh.a1, hardtanh.b1) == (0, 0)
    assert "linear up to |z| = 1" in hardtanh.reason
    assert (relu6.universality_class, relu6.C_W) == ("scale-invariant", pytest.approx(2))
    assert "|z| = 6" in relu6.reason


NONE = {
    # Ratio chi_par/chi_perp: its limits as K -> 0 and K -> infinity bound it.
    "sigmoid": (0.0, 1.0),
    "softplus": (1.0, 1.69315),
    "logsigmoid": (1.0, 1.69315),
    "selu": (0.7, 1.0),
    "repu2": (1.5, 1.5),
    "repu3": (5 / 3, 5 / 3),
    "cos": (-1.0000001e6, 0.0),
}


@pytest.mark.parametrize("name", NONE)
def test_no_critical_point_comes_with_the_range_of_the_ratio(name):
    low, high = NONE[name]
    point = critical_point(name)
    assert (point.universality_class, point.stable) == ("none", None)
    assert (point.C_W, point.C_b, point.K, point.a1, point.b1, point.nu) == (None,) * 6
    assert low - 1e-12 <= point.ratio_range[0] <= point.ratio_range[1] <= high + 1e-6
    words = f"is {low:.6g} for" if low == high else "lies in ["
    assert f"chi_par/chi_perp {words}" in point.reason


def test_ratio_of_softplus_at_its_ends():
    # As K -> 0 the ratio is 1 + s0 s2/s1^2 = 1 + ln 2; at K = 1e4 it was 1.008.
    point = critical_point("softplus")
    assert point.ratio_range[1] == pytest.approx(1 + math.log(2), abs=1e-6)
    low = kernel_derivative(_softplus, 1e4) / mean(lambda z: _logistic(z) ** 2, 1e4)
    assert low == pytest.approx(1.008, abs=5e-4)
    assert point.ratio_range[0] < low


def test_gaussian_bump_falls_where_it_should_grow():
    point = critical_point(lambda z: torch.exp(-z * z / 2))
    assert point.universality_class == "none"
    assert point.ratio_range[1] < 0
    assert "never positive" in point.reason


def test_jumps_and_flat_functions_have_no_critical_point():
    assert "jumps at z = -0.5" in critical_point("hardshrink").reason
    assert "flat" in critical_point(lambda z: 0 * z + 1).reason


def test_root_with_negative_bias_variance_is_rejected():
    # <(z + 1)^2> = 1 + K: both susceptibilities are C_W at every K, and K = C_b + 1 + K asks for C_b = -1.
    point = critical_point(lambda z: z + 1)
    assert (point.universality_class, point.C_b) == ("none", None)
    assert "would have to be negative (C_b = -1 at K = 1)" in point.reason


def test_scale_of_the_argument_does_not_matter():
    # sigma(z) = gelu(s z) has K* = K/s^2 and C_W/s^2, C_b/s^2.
    point = critical_point(lambda z: torch.nn.functional.gelu(0.02 * z))
    reference = critical_point("gelu")
    expected = [value / 0.02**2 for value in (reference.C_W, reference.C_b, reference.K)]
    assert [point.C_W, point.C_b, point.K] == pytest.approx(expected, rel=1e-9)


def test_other_critical_points_are_named():
    # g = K - K^2 + 5/12 K^3 and <s'^2> = 1 - K + 3/4 K^2, so g' = <s'^2> at K = 2.
    point = critical_point(lambda z: z - z**3 / 6)
    assert (point.universality_class, point.stable, point.a1) == ("K*=0", True, pytest.approx(-1))
    assert point.also == ("half-stable at K* = 2 at C_W = 0.5, C_b = 1.33333.",)


def test_ratio_that_is_one_everywhere_without_scale_invariance():
    # sigma sigma'' = 0 for soft shrinkage, so d<s^2>/dK = <s'^2> = P(|z| > 1/2) at every K.
    point = critical_point("softshrink")
    assert point.universality_class == "half-stable"
    assert pytest.approx(1 / math.erfc(0.5 / math.sqrt(2)), rel=1e-12) == point.C_W
    assert "every kernel" in point.reason


def test_named_function_module_and_own_callable_agree():
    def own(z):
        return torch.where(z >= -1, z * (z + 1) ** 2, torch.zeros_like(z))

    points = [critical_point(f).to_dict() for f in ("mrepu2", own)]
    assert points[0]["universality_class"] == points[1]["universality_class"]
    for key in ("stable", "C_W", "C_b", "K", "a1", "b1"):
        assert points[0][key] == pytest.approx(points[1][key], rel=1e-12), key
    assert critical_point(nn.GELU()).K == critical_point(torch.nn.functional.gelu).K


@pytest.mark.parametrize("name", ["relu", "tanh", "gelu", "sigmoid", "mrepu2", "hardshrink"])
def test_result_is_ready_for_json_and_for_a_person(name):
    point = critical_point(name)
    values = json.loads(json.dumps(point.to_dict(), allow_nan=False))
    keys = {"activation", "universality_class", "stable", "C_W", "C_b", "K", "a1", "b1", "reason"}
    assert keys <= values.keys()
    assert point.reason.endswith(".")
    assert set(point.citations) <= set(BIBTEX)
    text = str(point)
    assert text.startswith(name)
    assert ("fan_in" in text) == (point.C_W is not None)
