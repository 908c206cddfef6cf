import dataclasses
import functools
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from torch import nn

from phasescope.activations import as_activation
from phasescope.errors import InputError
from phasescope.theory import MeanField, critical_line
from phasescope.theory.correlation import half_square_difference, hermite_squares, pair_maps
from phasescope.theory.moments import mean_square_slope, second_moment
from reference.gaussian_quad import mean
from reference.quadrature import pair_mean, smooth_pair_mean

RHO = np.array([1e-300, 1e-150, 1e-20, 1e-9, 1e-5, 1e-3, 0.05, 0.4, 1.0, 1.5, 1.99, 2.0])
SLOPE_RHO = np.array([1e-300, 1e-12, 1e-5, 0.01, 0.3, 1.0, 1.7, 1.999999])

# Critical at sigma_b = 0.3: sigma_w, the map from rho = 1 after l layers, kappa, and the limit of
# 1/rho - kappa l - (kappa - k3/kappa) ln l with k3.
TABLE = {
    "tanh": (
        1.39558398,
        {1: 0.88211791, 10: 0.38173596, 100: 0.0451564, 1000: 0.0043354106, 100_000: 4.2838076e-5},
        (0.23349782, 0.21759134, 1.977),
    ),
    "erf": (
        1.23367251,
        {1: 0.86933253, 10: 0.35310906, 100: 0.041178607, 1000: 0.0039948738, 100_000: 3.9584638e-5},
        (0.25267383, 0.21191274, 1.689),
    ),
    "sin": (
        1.26266460,
        {1: 0.86848295, 10: 0.36504152, 100: 0.048466464, 1000: 0.0049204649, 100_000: 4.9177694e-5},
        (0.20335375, 0.07804941, 1.125),
    ),
}
PLAIN = {"tanh": np.tanh, "erf": np.vectorize(math.erf), "sin": np.sin}


@functools.cache
def _critical_weight(name):
    """Return C_W for which chi_perpendicular is 1 at the fixed point, to more digits than the table."""
    low, high = (TABLE[name][0] + shift for shift in (-1e-6, 1e-6))
    for _ in range(28):
        middle = (low + high) / 2
        chi = MeanField(name, middle**2, 0.09).fixed_point().chi_perpendicular
        low, high = (middle, high) if chi < 1 else (low, middle)
    return middle**2


@pytest.mark.parametrize("name", TABLE)
def test_critical_iterates_against_a_double_trapezoid_and_the_table(name):
    C_W = _critical_weight(name)
    field = MeanField(name, C_W, 0.09)
    K = field.fixed_point().K
    rho, slow = 1.0, 1.0
    for layer in range(1, 101):
        rho = field.distance_map(rho)
        if layer <= 10:
            slow = 1 - (C_W * smooth_pair_mean(PLAIN[name], K, 1 - slow) + 0.09) / K
            assert rho == pytest.approx(slow, rel=1e-11)
        if layer in TABLE[name][1]:
            assert rho == pytest.approx(TABLE[name][1][layer], rel=2e-7)


@pytest.mark.parametrize("name", ["tanh", "sin", pytest.param("erf", marks=pytest.mark.slow)])
def test_a_hundred_thousand_critical_layers(name):
    field = MeanField(name, _critical_weight(name), 0.09)
    _, table, (kappa, k3, limit) = TABLE[name]
    rho = np.ones(1)
    for layer in range(1, 100_001):
        rho = field.distance_map(rho)
        if layer in (1000, 100_000):
            assert float(rho[0]) == pytest.approx(table[layer], rel=2e-7)
    constant = 1 / float(rho[0]) - kappa * 1e5 - (kappa - k3 / kappa) * math.log(1e5)
    assert constant == pytest.approx(limit, abs=3e-3)


def test_relu_map_and_its_power_three_halves():
    field = MeanField("relu", 2.0)
    theta = 2 * np.arcsin(np.sqrt(RHO / 2))
    # Cho and Saul's arc-cosine kernel, safe where nothing cancels.
    direct = 1 - (np.sin(theta) + (np.pi - theta) * np.cos(theta)) / np.pi
    np.testing.assert_allclose(field.distance_map(RHO)[6:], direct[6:], rtol=1e-12)
    for rho in (1e-8, 1e-12):
        exact = rho - 2 * math.sqrt(2) / (3 * math.pi) * rho**1.5
        assert field.distance_map(rho) == pytest.approx(exact, rel=1e-15)
    lost = 1e-8 - field.distance_map(1e-8)
    assert lost == pytest.approx(2 * math.sqrt(2) / (3 * math.pi) * 1e-12, rel=1e-4)


@pytest.mark.parametrize(
    "name", ["linear", "relu", "leaky_relu", "erf", "sin", "cos", "tanh", "gelu", "silu"]
)
@pytest.mark.parametrize("K", [1e-6, 0.7, 4.0])
def test_closed_forms_and_series_against_the_mean_slope_quadrature(name, K):
    # An undeclared closed form and a kink that is none: the quadrature is what is left.
    activation = as_activation(name)
    bent = dataclasses.replace(activation, closed_form=None, kinks=(*activation.kinks, 0.25 * math.sqrt(K)))
    few = RHO[[0, 2, 4, 6, 8, 10, 11]]
    fast = half_square_difference(activation, K)(few)
    slow = half_square_difference(bent, K)(few)
    np.testing.assert_allclose(slow[:-1], fast[:-1], rtol=3e-13)
    # At rho = 2 an even function gives exactly 0.
    assert slow[-1] == pytest.approx(fast[-1], rel=3e-13, abs=1e-40)


@pytest.mark.parametrize(
    ("name", "plain", "kinks"),
    [
        ("hardtanh", lambda z: np.clip(z, -1, 1), (-1.0, 1.0)),
        ("repu2", lambda z: np.maximum(z, 0) ** 2, (0.0,)),
        ("softsign", lambda z: z / (1 + np.abs(z)), (0.0,)),
        ("mrepu2", lambda z: np.where(z > -1, z * (z + 1) ** 2, 0), (-1.0,)),
    ],
)
@pytest.mark.parametrize("rho", [0.02, 0.6, 1.7])
def test_kinked_activations_against_a_slow_double_mean(name, plain, kinks, rho):
    K = 1.3
    activation = as_activation(name)
    slow = second_moment(activation, K) - pair_mean(plain, K, K * (1 - rho), K, kinks)
    assert float(half_square_difference(activation, K)(np.array(rho))) == pytest.approx(slow, rel=1e-11)


@pytest.mark.parametrize(
    ("name", "C_W", "C_b"),
    [
        ("tanh", 2.0, 0.09),
        ("relu", 1.5, 0.3),
        ("elu", 1.2, 0.05),
        ("hardtanh", 2.5, 0.1),
        ("gelu", 1.9, 0.2),
        ("selu", 1.0, 0.0),
        ("tanh", 400.0, 0.0),
    ],
)
def test_the_smallest_distances_grow_by_chi_perpendicular(name, C_W, C_b):
    field = MeanField(name, C_W, C_b)
    chi = field.fixed_point().chi_perpendicular
    for rho in (1e-300, 1e-200, 1e-40):
        assert field.distance_map(rho) / rho == pytest.approx(chi, rel=1e-12)


@given(exponents=st.lists(st.floats(-300, 0.3), min_size=2, max_size=6), which=st.integers(0, 3))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_the_distance_map_is_monotone_and_stays_in_range(exponents, which):
    field = _FIELDS[which]
    rho = np.sort(np.minimum(10.0 ** np.array(exponents), 2.0))
    new = field.distance_map(rho)
    assert (new >= 0).all()
    assert (new <= 2).all()
    assert (np.diff(new) >= -1e-15 * new[1:]).all()


_FIELDS = [
    MeanField("tanh", 2.0, 0.09),
    MeanField("relu", 2.0),
    MeanField("erf", 1.5),
    MeanField("gelu", 1.9, 0.2),
]


def test_correlation_and_distance_are_one_map():
    field = MeanField("tanh", 2.0, 0.09)
    assert field.correlation_map(0.3) == pytest.approx(1 - field.distance_map(0.7), rel=1e-15)
    assert field.correlation_map(1.0) == 1.0
    K = field.fixed_point().K
    assert field.correlation_map(-0.4) == pytest.approx(
        field.kernel_map_pair(K, -0.4 * K, K)[1] / K, rel=1e-12
    )
    # Odd function, no bias: opposite inputs stay opposite.
    assert MeanField("tanh", 2.0).correlation_map(-1.0) == pytest.approx(-1.0, rel=1e-14)


def test_a_kernel_that_is_not_fixed_is_normalised_by_its_image():
    field = MeanField("elu", 1.4, 0.2)
    aa, ab, _ = field.kernel_map_pair(0.3, 0.3 * 0.55, 0.3)
    assert field.correlation_map(0.55, K=0.3) == pytest.approx(ab / aa, rel=1e-12)


def test_vanishing_kernels_see_the_slopes_at_zero():
    rho = np.array([1e-200, 1e-3, 0.7, 2.0])
    np.testing.assert_allclose(MeanField("tanh", 1.0).distance_map(rho), rho, rtol=1e-14)
    np.testing.assert_allclose(MeanField("mrepu2", 1.0).distance_map(rho), rho, rtol=1e-14)
    # SELU tends to a leaky ReLU whose slopes have the ratio alpha = 1.6733.
    ratio = 1 / 1.6732632423543772
    leaky = MeanField(nn.LeakyReLU(ratio), 1.0)
    np.testing.assert_allclose(
        MeanField("selu", 1.0).distance_map(rho, K=0.0), leaky.distance_map(rho, K=1.0), rtol=1e-14
    )


@pytest.mark.parametrize(("name", "K"), [("gelu", 3.56155281), ("silu", 14.32017362), ("tanh", 0.7635)])
def test_hermite_coefficients_obey_their_sum_rules(name, K):
    activation = as_activation(name)
    squares = hermite_squares(activation, K)
    orders = np.arange(squares.size)
    assert squares.sum() == pytest.approx(second_moment(activation, K), rel=1e-13)
    assert orders @ squares == pytest.approx(K * mean_square_slope(activation, K), rel=1e-13)


def test_hermite_coefficients_of_sine_are_those_of_its_generating_function():
    # sin(sqrt(K) x) = e^(-K/2) sum (-1)^m K^(k/2)/k! He_k, k = 2m + 1.
    squares = hermite_squares(as_activation("sin"), 0.8)
    exact = [math.exp(-0.8) * 0.8**k / math.factorial(k) if k % 2 else 0.0 for k in range(squares.size)]
    np.testing.assert_allclose(np.sqrt(squares), np.sqrt(exact), rtol=1e-14, atol=1e-15)


def test_a_kernel_too_large_for_the_series_is_left_to_quadrature():
    assert hermite_squares(as_activation("tanh"), 1e4) is None


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: MeanField("tanh", 1.0).distance_map(-1e-3), "between 0 and 2"),
        (lambda: MeanField("tanh", 1.0).distance_map(np.array([0.1, math.nan])), "between 0 and 2"),
        (lambda: MeanField("relu", 3.0).distance_map(0.1), "grows without bound"),
        (lambda: MeanField("repu2", 1.0).distance_map(0.1, K=0.0), "no correlation map"),
        (lambda: MeanField("sigmoid", 1.0, 0.1).distance_map(0.1, K=0.0), "no correlation map"),
        (lambda: MeanField("hardshrink", 1.0, 0.1).distance_map(0.1, K=1.0), "jumps at z = -0.5"),
        (lambda: half_square_difference(as_activation("tanh"), 0.0), "needs a positive kernel"),
    ],
)
def test_what_has_no_correlation_map_says_why(call, why):
    with pytest.raises(InputError, match=why):
        call()


def test_shapes_are_kept():
    field = MeanField("tanh", 2.0, 0.09)
    assert isinstance(field.distance_map(0.1), float)
    assert field.distance_map(np.full((2, 3), 0.1)).shape == (2, 3)
    assert field.distance_map(np.array([])).shape == (0,)
    kinked = MeanField("hardtanh", 2.0, 0.09)
    assert kinked.distance_map(np.full((2, 1), 0.1)).shape == (2, 1)
    assert kinked.distance_map(0.0) == 0.0


@pytest.mark.parametrize(
    ("name", "slope"),
    [
        ("relu", lambda z: (z > 0) * 1.0),
        ("erf", lambda z: 2 / math.sqrt(math.pi) * np.exp(-z * z)),
        ("sin", np.cos),
        ("cos", lambda z: -np.sin(z)),
        ("tanh", lambda z: 1 / np.cosh(z) ** 2),
    ],
)
@pytest.mark.parametrize("rho", [0.05, 1.6])
def test_slopes_against_a_slow_double_mean(name, slope, rho):
    K = 0.9
    product = pair_mean(slope, K, K * (1 - rho), K, (0.0,))
    square = mean(lambda z: float(slope(np.float64(z))) ** 2, K, (0.0,))
    measured = float(pair_maps(as_activation(name), K).slopes(np.array(rho)))
    assert measured == pytest.approx(square - product, rel=1e-9)


@pytest.mark.parametrize(("name", "kink"), [("relu", 0.0), ("sin", 0.1), ("tanh", 0.1)])
def test_quadrature_tables_against_closed_forms_and_series(name, kink):
    # With the closed form hidden, or a kink declared that is none, the quadrature is what is left.
    activation = as_activation(name)
    hidden = dataclasses.replace(activation, closed_form=None, kinks=(kink,))
    fast, slow = pair_maps(activation, 0.7), pair_maps(hidden, 0.7)
    np.testing.assert_allclose(slow.values(SLOPE_RHO), fast.values(SLOPE_RHO), rtol=1e-12)
    # Opposite inputs of an odd function have one slope: there a difference of 0.
    found, expected = slow.slopes(SLOPE_RHO), fast.slopes(SLOPE_RHO)
    np.testing.assert_allclose(found[:-1], expected[:-1], rtol=1e-11)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-14)


@pytest.mark.slow
def test_two_jumps_of_the_slope_against_the_normal_integral():
    # Half the mean squared difference of two indicators is P(|z_a| < 1 < |z_b|).
    K = 0.8
    slopes = pair_maps(as_activation("hardtanh"), K).slopes
    edge = 1 / math.sqrt(K)

    def apart(rho):
        spread = math.sqrt(rho * (2 - rho))

        def outside(x):
            below, above = ((edge + s * (1 - rho) * x) / spread / math.sqrt(2) for s in (1, -1))
            return math.exp(-x * x / 2) / math.sqrt(8 * math.pi) * (math.erfc(below) + math.erfc(above))

        cuts = [0.0, max(0.0, edge - 8 * spread), edge]
        return 2 * sum(quad(outside, *pair, epsabs=1e-15, limit=500)[0] for pair in itertools.pairwise(cuts))

    for rho in (1e-4, 0.1, 1.0, 1.5, 1.9999):
        assert float(slopes(np.array(rho))) == pytest.approx(apart(rho), rel=1e-10)
    # Two jumps of 1: sqrt(rho) times the sum of exp(-k^2/2K)/(sqrt(2) pi).
    leading = 2 * math.exp(-1 / (2 * K)) / (math.sqrt(2) * math.pi)
    assert float(slopes(np.array(1e-200))) == pytest.approx(1e-100 * leading, rel=1e-10)


@pytest.mark.parametrize("name", ["tanh", "erf", "sin"])
def test_small_distances_see_the_curvature(name):
    # chi_1 - chi(c) = 2 kappa rho, and rho - rho' = kappa rho^2, on the critical line.
    point = critical_line(name, 0.3)
    maps = pair_maps(as_activation(name), point.K)
    for rho in (1e-200, 1e-9):
        assert point.C_W * float(maps.slopes(np.array(rho))) == pytest.approx(2 * point.kappa * rho, rel=1e-7)


def test_opposite_inputs_of_an_odd_activation_have_one_slope():
    slopes = pair_maps(as_activation("tanh"), 0.7).slopes
    assert float(slopes(np.array(2.0))) == pytest.approx(0.0, abs=1e-15)
    # Far apart, one independent pair: half the variance of the slope twice.
    K = 0.7
    variance = mean_square_slope(as_activation("tanh"), K) - mean(lambda z: 1 - math.tanh(z) ** 2, K) ** 2
    assert float(slopes(np.array(1.0))) == pytest.approx(variance, rel=1e-10)


def test_an_activation_that_jumps_has_no_slopes_to_compare():
    with pytest.raises(InputError, match="jumps at z"):
        pair_maps(as_activation("hardshrink"), 1.0)
