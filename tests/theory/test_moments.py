import dataclasses
import math

import numpy as np
import pytest

from phasescope.activations import MRePU, Scaled, as_activation
from phasescope.errors import InputError
from phasescope.theory.moments import mean_square_slope, second_moment, second_moment_slope
from reference.quadrature import gaussian_mean

KERNELS = [1e-12, 1e-6, 1e-3, 0.3, 2.0, 40.0, 1e3, 1e8]
CLOSED = [
    "linear",
    "relu",
    "leaky_relu",
    "erf",
    "sin",
    "cos",
    "repu2",
    "repu3",
    "repu5",
    "mrepu1",
    "mrepu2",
    "mrepu3",
]


@pytest.mark.parametrize("K", KERNELS)
@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms_and_quadrature_hold_each_other(name, K):
    closed = as_activation(name)
    quadrature = dataclasses.replace(closed, closed_form=None)
    for mean in (second_moment, mean_square_slope, second_moment_slope):
        # sin and cos oscillate: their g' is what is left of terms of size 1/sqrt(K).
        lost = 1e-13 / math.sqrt(K) if name in ("sin", "cos") else 0.0
        assert mean(closed, K) == pytest.approx(mean(quadrature, K), rel=1e-12, abs=lost)


@pytest.mark.parametrize("K", [1e-9, 1e-3, 0.3, 40.0])
@pytest.mark.parametrize("p", [1, 3])
@pytest.mark.parametrize("shift", [0.2, 5.0])
def test_shifted_and_scaled_forms_of_mrepu_have_closed_forms_too(p, shift, K):
    for module in (MRePU(p, shift), Scaled(MRePU(p, shift), 0.3)):
        closed = as_activation(module)
        assert closed.closed_form is not None
        quadrature = dataclasses.replace(closed, closed_form=None)
        for mean in (second_moment, mean_square_slope, second_moment_slope):
            assert mean(closed, K) == pytest.approx(mean(quadrature, K), rel=1e-12)


@pytest.mark.parametrize("module", [MRePU(600), MRePU(99, 1e-3), Scaled(MRePU(99), 1e9)])
def test_moments_of_mrepu_that_overflow_are_refused(module):
    with pytest.raises(InputError, match="overflow"):
        second_moment(as_activation(module), 1e9)


@pytest.mark.parametrize("K", KERNELS)
@pytest.mark.parametrize("p", [1, 2, 3, 4])
def test_rectified_powers_by_double_factorials(p, K):
    odd = math.prod(range(1, 2 * p, 2))
    activation = as_activation(f"repu{p}")
    assert second_moment(activation, K) == pytest.approx(odd / 2 * K**p, rel=1e-13)
    assert second_moment_slope(activation, K) == pytest.approx(p * odd / 2 * K ** (p - 1), rel=1e-13)
    below = math.prod(range(1, 2 * p - 2, 2))
    assert mean_square_slope(activation, K) == pytest.approx(p**2 * below / 2 * K ** (p - 1), rel=1e-13)


def _sech2(z):
    return 1 / np.cosh(np.clip(z, -300, 300)) ** 2


def _sigmoid(z):
    return 0.5 * (1 + np.tanh(z / 2))


REFERENCE = {
    "tanh": (np.tanh, _sech2, ()),
    "softsign": (lambda z: z / (1 + np.abs(z)), lambda z: 1 / (1 + np.abs(z)) ** 2, (0.0,)),
    "elu": (
        lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
        lambda z: np.where(z > 0, 1.0, np.exp(np.minimum(z, 0))),
        (0.0,),
    ),
    "hardtanh": (lambda z: np.clip(z, -1, 1), lambda z: np.abs(z) < 1, (-1.0, 1.0)),
    "silu": (
        lambda z: z * _sigmoid(z),
        lambda z: _sigmoid(z) + z * _sigmoid(z) * _sigmoid(-z),
        (),
    ),
    "mrepu2": (
        lambda z: np.where(z > -1, z * (z + 1) ** 2, 0),
        lambda z: np.where(z > -1, (z + 1) * (3 * z + 1), 0),
        (-1.0,),
    ),
}


@pytest.mark.parametrize("K", KERNELS)
@pytest.mark.parametrize("name", REFERENCE)
def test_means_against_slow_panels(name, K):
    function, slope, kinks = REFERENCE[name]
    activation = as_activation(name)
    assert second_moment(activation, K) == pytest.approx(
        gaussian_mean(lambda z: function(z) ** 2, K, kinks), rel=1e-12
    )
    assert mean_square_slope(activation, K) == pytest.approx(
        gaussian_mean(lambda z: slope(z) ** 2, K, kinks), rel=1e-12
    )
    radial = gaussian_mean(lambda z: z * function(z) * slope(z), K, kinks) / K
    assert second_moment_slope(activation, K) == pytest.approx(radial, rel=1e-11)


@pytest.mark.parametrize("name", ["sigmoid", "softplus", "logsigmoid"])
def test_slope_of_the_second_moment_where_the_activation_is_not_zero_at_zero(name):
    # g'(0) = s'(0)^2 + s(0) s''(0), where <z s s'>/K loses six digits to cancellation at K = 1e-12.
    exact = {"sigmoid": 1 / 16, "softplus": 1 / 4 + math.log(2) / 4, "logsigmoid": 1 / 4 + math.log(2) / 4}
    activation = as_activation(name)
    assert second_moment_slope(activation, 0.0) == pytest.approx(exact[name], rel=1e-14)
    assert second_moment_slope(activation, 1e-12) == pytest.approx(exact[name], rel=1e-11)
    step = (second_moment(activation, 0.2 + 1e-4) - second_moment(activation, 0.2 - 1e-4)) / 2e-4
    assert second_moment_slope(activation, 0.2) == pytest.approx(step, rel=1e-7)
    assert second_moment_slope(activation, 0.999999) == pytest.approx(
        second_moment_slope(activation, 1.000001), rel=1e-5
    )


def test_limits_at_zero_kernel():
    assert mean_square_slope(as_activation("leaky_relu"), 0.0) == pytest.approx((1 + 1e-4) / 2, rel=1e-15)
    assert mean_square_slope(as_activation("selu"), 0.0) == pytest.approx(
        (1.0507009873554805**2) * (1 + 1.6732632423543772**2) / 2, rel=1e-14
    )
    assert second_moment_slope(as_activation("erf"), 0.0) == pytest.approx(4 / math.pi, rel=1e-15)
    assert second_moment(as_activation("sigmoid"), 0.0) == 0.25
    assert second_moment(as_activation("gelu"), 0.0) == 0.0


def test_an_activation_that_jumps_has_a_kernel_and_its_slope_but_no_mean_square_slope():
    shrink = as_activation("hardshrink")
    K = 0.7
    exact = gaussian_mean(lambda z: np.where(np.abs(z) > 0.5, z, 0) ** 2, K, (-0.5, 0.5))
    assert second_moment(shrink, K) == pytest.approx(exact, rel=1e-13)
    step = (second_moment(shrink, K + 1e-4) - second_moment(shrink, K - 1e-4)) / 2e-4
    assert second_moment_slope(shrink, K) == pytest.approx(step, rel=1e-7)
    with pytest.raises(InputError, match=r"jumps at z = -0\.5"):
        mean_square_slope(shrink, K)
    assert mean_square_slope(shrink, 1e-6) == 0.0


def test_an_infinite_limit_is_told():
    lifted = as_activation(lambda z: z.abs() + 1)
    with pytest.raises(InputError, match="slope of its second moment at K = 0 is infinite"):
        second_moment_slope(lifted, 0.0)


@pytest.mark.parametrize("name", ["repu40", "mrepu40"])
def test_overflow_names_the_kernel(name):
    with pytest.raises(InputError, match=r"K = 1e.08"):
        second_moment(as_activation(name), 1e8)
