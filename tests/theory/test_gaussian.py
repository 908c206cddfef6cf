import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from phasescope.errors import InputError
from phasescope.theory.gaussian import Unbounded, expectation, integrate, mean_with_panels
from reference.quadrature import gaussian_mean

KERNELS = [1e-12, 1e-6, 1e-3, 0.3, 2.0, 1e3, 1e8]


@pytest.mark.parametrize("K", KERNELS)
@pytest.mark.parametrize("power", [2, 4, 8, 16])
def test_even_moments_are_double_factorials(K, power):
    exact = math.prod(range(1, power, 2)) * K ** (power // 2)
    assert float(expectation(lambda z: z**power, K)) == pytest.approx(exact, rel=1e-13)


@pytest.mark.parametrize("K", KERNELS)
def test_a_bent_function_with_and_without_its_kink_named(K):
    exact = math.sqrt(2 * K / math.pi)
    assert float(expectation(torch.abs, K, kinks=(0.0,))) == pytest.approx(exact, rel=1e-14)
    assert float(expectation(torch.abs, K)) == pytest.approx(exact, rel=1e-14)


@pytest.mark.parametrize("K", [0.01, 1.0, 1e4])
def test_a_step_away_from_zero_and_not_named(K):
    exact = 0.5 * math.erfc(0.37 / math.sqrt(2 * K))
    assert float(expectation(lambda z: (z > 0.37).double(), K)) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("K", [1e-12, 1e-4, 1.0, 50.0, 1e4])
def test_cosine_against_its_closed_form(K):
    # The mean is 1e-11 of the magnitude at K = 50, and nothing at 1e4: an absolute comparison.
    assert float(expectation(torch.cos, K)) == pytest.approx(math.exp(-K / 2), abs=1e-14)


@pytest.mark.parametrize("K", [0.5, 10.0, 60.0, 300.0])
def test_an_integrand_whose_weight_lies_far_out(K):
    # exp(z) is weighed most at z = K, that is sqrt(K) standard deviations out: 17 for K = 300.
    assert float(expectation(torch.exp, K)) == pytest.approx(math.exp(K / 2), rel=1e-11)


@pytest.mark.parametrize("K", KERNELS)
@pytest.mark.parametrize(
    ("function", "plain", "kinks"),
    [
        (torch.tanh, np.tanh, ()),
        (lambda z: torch.tanh(z) ** 2, lambda z: np.tanh(z) ** 2, ()),
        (lambda z: 1 / (1 + z * z), lambda z: 1 / (1 + z * z), ()),
        (lambda z: torch.clamp(z, -1, 2.5), lambda z: np.clip(z, -1, 2.5), (-1.0, 2.5)),
    ],
)
def test_against_slow_panels(function, plain, kinks, K):
    exact = gaussian_mean(plain, K, kinks)
    magnitude = gaussian_mean(lambda z: np.abs(plain(z)), K, kinks)
    assert float(expectation(function, K, kinks=kinks)) == pytest.approx(exact, abs=2e-13 * magnitude)


def test_several_integrands_at_once():
    means = expectation(lambda z: torch.stack([z**2, z**4, torch.ones_like(z)]), 3.0)
    assert means.tolist() == pytest.approx([3.0, 27.0, 1.0], rel=1e-14)


def test_no_variance_means_the_value_at_zero():
    assert float(expectation(lambda z: torch.cos(z) + 1, 0.0)) == 2.0
    assert expectation(lambda z: torch.stack([z, z + 3]), 0.0).tolist() == [0.0, 3.0]


def test_the_panels_that_resolved_it_end_at_the_kinks():
    _, edges = mean_with_panels(lambda z: torch.relu(z - 0.3), 2.0, kinks=(0.3,))
    assert np.abs(edges - 0.3).min() < 1e-15
    assert (np.diff(edges) > 0).all()


@given(
    log_K=st.floats(-11, 7),
    log_scale=st.floats(-2, 2),
    shift=st.floats(-3, 3),
)
@settings(max_examples=30, deadline=None, derandomize=True)
def test_a_function_of_a_scaled_argument_has_the_mean_of_a_scaled_kernel(log_K, log_scale, shift):
    K, scale = 10**log_K, 10**log_scale
    left = float(expectation(lambda z: torch.tanh(scale * z + shift) ** 2, K))
    right = float(expectation(lambda z: torch.tanh(z + shift) ** 2, K * scale**2))
    assert left == pytest.approx(right, rel=1e-11)


@pytest.mark.parametrize("K", [-1.0, math.nan, math.inf])
def test_what_is_no_variance_is_refused(K):
    with pytest.raises(InputError, match="is not a variance"):
        expectation(torch.abs, K)


@pytest.mark.parametrize(
    ("integrand", "K", "why"),
    [
        (torch.exp, 1e8, "infinite at z = .* variance K = 1e"),
        (lambda z: torch.exp(z**2), 0.4, None),
        (lambda z: torch.exp(z**2), 0.6, "infinite|outgrows"),
        (lambda z: torch.exp(z**2 / 2), 1.01, "infinite|outgrows"),
        (lambda z: torch.log(z), 1.0, "NaN at z = -"),
        (lambda z: 1 / z.abs() ** 1.5, 1.0, "infinite|does not converge"),
    ],
)
def test_a_mean_that_is_not_finite_is_never_returned(integrand, K, why):
    if why is None:
        # <exp(z^2)> = 1/sqrt(1 - 2K), just below the divergence.
        assert float(expectation(integrand, K)) == pytest.approx(1 / math.sqrt(1 - 2 * K), rel=1e-9)
        return
    with pytest.raises(InputError, match=why):
        expectation(integrand, K)


def test_a_value_at_zero_that_is_not_finite_is_refused():
    with pytest.raises(InputError, match="not finite at z = 0"):
        expectation(lambda z: 1 / z, 0.0)


def test_rounding_noise_in_the_integrand_ends_the_halving():
    # exp(z) - 1 at |z| ~ 1e-6 carries ten digits; <(e^z - 1)^2> = e^(2K) - 2 e^(K/2) + 1.
    exact = math.expm1(2e-12) - 2 * math.expm1(0.5e-12)
    assert float(expectation(lambda z: (torch.exp(z) - 1) ** 2, 1e-12)) == pytest.approx(exact, rel=1e-9)


def test_quadrature_of_polynomials_is_exact_and_its_error_honest():
    result = integrate(lambda x: x**20, np.array([0.0, 0.5, 1.0]))
    assert float(result.value) == pytest.approx(1 / 21, rel=1e-15)
    rough = integrate(lambda x: np.sqrt(np.abs(x - 0.3)), np.array([0.0, 1.0]), rtol=1e-6)
    exact = (0.3**1.5 + 0.7**1.5) * 2 / 3
    assert abs(float(rough.value) - exact) <= max(float(rough.error), 1e-15)
    assert float(rough.value) == pytest.approx(exact, rel=1e-6)


def test_an_integral_that_does_not_exist_is_told():
    with pytest.raises(Unbounded):
        integrate(lambda x: 1 / (np.abs(x - 1 / 3) + 1e-300), np.array([0.0, 1.0]))
