import math

import numpy as np
import pytest
import scipy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from phasescope.errors import InputError
from phasescope.theory.rectified_power import (
    repu_C_b_max,
    repu_coefficient,
    repu_fixed_points,
    repu_log_kernel_std,
    repu_susceptibilities,
    repu_trajectory,
    repu_unstable_kernel,
)
from reference.gaussian_quad import kernel_derivative, mean
from reference.random_networks import log_kernels


@pytest.mark.parametrize(("p", "coefficient"), [(1, 0.5), (2, 1.5), (3, 7.5), (4, 52.5)])
@pytest.mark.parametrize("K", [0.3, 2.0])
def test_kernel_and_susceptibilities_against_quadrature(p, coefficient, K):
    assert repu_coefficient(p) == coefficient
    power = lambda z: max(z, 0.0) ** p  # noqa: E731
    slope = lambda z: p * z ** (p - 1) if z > 0 else 0.0  # noqa: E731
    assert coefficient * K**p == pytest.approx(mean(lambda z: power(z) ** 2, K, (0.0,)), rel=1e-12)
    chi_parallel, chi_perpendicular = repu_susceptibilities(p, K, C_W=0.7)
    assert chi_parallel == pytest.approx(0.7 * kernel_derivative(power, K, (0.0,)), rel=1e-12)
    assert chi_perpendicular == pytest.approx(0.7 * mean(lambda z: slope(z) ** 2, K, (0.0,)), rel=1e-12)
    assert chi_parallel / chi_perpendicular == pytest.approx((2 * p - 1) / p, rel=1e-14)


@pytest.mark.parametrize(
    ("p", "C_W", "K_dag"),
    [(2, 1, 2 / 3), (2, 2, 1 / 3), (2, 1 / 3, 2.0), (3, 1, 0.3651), (3, 2, 0.2582), (3, 1 / 3, 0.6325)],
)
def test_unstable_kernel_separates_vanishing_from_explosion(p, C_W, K_dag):
    K = repu_unstable_kernel(p, C_W)
    assert pytest.approx(K_dag, abs=5e-5) == K
    assert repu_susceptibilities(p, K, C_W) == pytest.approx((p, p * p / (2 * p - 1)), rel=1e-13)
    assert repu_trajectory(p, K * 0.99, 12, C_W=C_W)[-1] < math.log(K) - 10
    assert repu_trajectory(p, K * 1.01, 12, C_W=C_W)[-1] > math.log(K) + 10


def test_trajectory_of_he_initialised_squared_relu():
    # K' = 3 K^2 at C_W = 2, so 3 K_l = (3 K_1)^(2^(l-1)); published values for C_W = 1, K_1 = 1 and 1/2.
    expected = [2**layer * math.log(1.2) - math.log(3) for layer in range(20)]
    assert repu_trajectory(2, 0.4, 20, C_W=2.0).tolist() == pytest.approx(expected, rel=1e-12)
    decimal = repu_trajectory(2, 1.0, 10, C_W=1.0) / math.log(10)
    assert 10 ** decimal[4].item() == pytest.approx(438, rel=2e-3)
    assert decimal[9].item() == pytest.approx(90, abs=0.5)
    assert repu_trajectory(2, 0.5, 10, C_W=1.0)[9].item() / math.log(10) == pytest.approx(
        math.log10(7e-65), abs=0.1
    )


def test_trajectory_with_bias_settles_on_the_lower_fixed_point():
    # p = 2: 3/2 C_W K^2 - K + C_b = 0 in closed form.
    C_W, C_b = 0.8, 0.1
    lower = (1 - math.sqrt(1 - 6 * C_W * C_b)) / (3 * C_W)
    upper = (1 + math.sqrt(1 - 6 * C_W * C_b)) / (3 * C_W)
    points = repu_fixed_points(2, C_W, C_b)
    assert points == pytest.approx((lower, upper), rel=1e-13)
    assert repu_trajectory(2, 0.999 * upper, 200, C_W=C_W, C_b=C_b)[-1].exp().item() == pytest.approx(lower)
    assert repu_trajectory(2, 1.001 * upper, 200, C_W=C_W, C_b=C_b)[-1] > 50


@given(p=st.integers(2, 8), C_W=st.floats(1e-3, 1e3), fraction=st.floats(0, 0.999))
@settings(max_examples=60, deadline=None)
def test_fixed_points_solve_the_kernel_map(p, C_W, fraction):
    C_b = fraction * repu_C_b_max(p, C_W)
    lower, upper = repu_fixed_points(p, C_W, C_b)
    assert 0 <= lower < upper
    for K in (lower, upper):
        assert C_b + C_W * repu_coefficient(p) * K**p == pytest.approx(K, rel=1e-11, abs=1e-300)


@pytest.mark.parametrize("p", [2, 3])
def test_largest_bias_variance_is_where_the_fixed_points_merge(p):
    C_b = repu_C_b_max(p, 0.6)
    lower, upper = repu_fixed_points(p, 0.6, C_b)
    # Two roots that merge are known to the square root of the rounding error only.
    assert lower == pytest.approx(upper, rel=1e-6)
    chi = repu_susceptibilities(p, (lower + upper) / 2, 0.6)
    assert chi == pytest.approx((1, p / (2 * p - 1)), abs=1e-6)
    with pytest.raises(InputError, match="exceeds C_b_max"):
        repu_fixed_points(p, 0.6, 1.001 * C_b)


def test_trajectory_at_the_unstable_kernel_stays_put_at_any_depth():
    K = repu_unstable_kernel(2, 1.0)
    log_K = repu_trajectory(2, K, 2000, C_W=1.0)
    assert torch.isfinite(log_K[:50]).all()
    assert not torch.isnan(log_K).any()


def test_spread_over_networks_against_sampled_networks():
    width, depth, networks = 800, 10, 1500
    squared = lambda z: z.clamp(min=0).square()  # noqa: E731
    log_K = log_kernels(squared, width, depth, networks, C_W=1.0, K1=2 / 3, degree=2, seed=3)
    measured = log_K[:, -1].std().item()
    # 4 standard errors of a standard deviation.
    assert repu_log_kernel_std(2, width, depth) == pytest.approx(measured, rel=0.10)
    # 20 explicit networks of width 200 gave 49.5 decades, with a standard error of 16 %.
    assert repu_log_kernel_std(2, 200, 10) / math.log(10) == pytest.approx(49.5, rel=0.2)


@pytest.mark.parametrize(("p", "variance"), [(1, 5.0), (2, 67 / 3), (3, 457 / 5)])
def test_spread_added_by_one_layer_in_wide_networks(p, variance):
    assert repu_log_kernel_std(p, 10**6, 2) ** 2 * 10**6 == pytest.approx(variance, rel=1e-3)
    assert repu_log_kernel_std(p, 100, 1) == 0


@pytest.mark.parametrize("width", [1, 2, 30, 200])
def test_spread_of_relu_is_that_of_chi_square_with_a_random_number_of_units(width):
    active = np.arange(1, width + 1)
    share = scipy.stats.binom.pmf(active, width, 0.5) / (1 - 0.5**width)
    mean, variance = scipy.special.digamma(active / 2), scipy.special.polygamma(1, active / 2)
    exact = share @ (variance + mean**2) - (share @ mean) ** 2
    assert repu_log_kernel_std(1, width, 2) ** 2 == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_spread_of_a_single_neuron(p):
    # ln |g| of a normal number has the variance pi^2/8.
    assert repu_log_kernel_std(p, 1, 2) == pytest.approx(2 * p * math.pi / math.sqrt(8), rel=1e-5)


def test_spread_of_narrow_layers_of_a_high_power():
    g = np.random.default_rng(0).standard_normal((100_000, 20))
    logs = np.log((np.maximum(g, 0.0) ** 6).sum(1))
    # The error of a variance of 1e5 values with this kurtosis is 0.5 %.
    assert repu_log_kernel_std(3, 20, 2) ** 2 == pytest.approx(logs.var(), rel=0.02)


def test_refuses_what_has_no_meaning():
    for call in (
        lambda: repu_coefficient(0),
        lambda: repu_coefficient(151),
        lambda: repu_unstable_kernel(1, 1.0),
        lambda: repu_unstable_kernel(2, 0.0),
        lambda: repu_trajectory(2, -1.0, 5, C_W=1.0),
        lambda: repu_trajectory(2, 1.0, 0, C_W=1.0),
        lambda: repu_fixed_points(2, 1.0, -0.1),
        lambda: repu_log_kernel_std(2, 0, 3),
    ):
        with pytest.raises(InputError):
            call()
