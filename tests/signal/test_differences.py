"""phi(h + e) - phi(h) against arithmetic of 400 digits."""

import math

import numpy as np
import pytest
import torch

from phasescope.activations import as_activation
from phasescope.signal.sampling.differences import differences, two_slopes

mpmath = pytest.importorskip("mpmath")

H = [-30.0, -3.0, -1.1, -0.2, -1e-7, 1e-9, 0.4, 1.7, 6.0, 25.0]
E = [1e-140, 1e-30, 1e-9, 3e-5, 0.9e-3, 1.1e-3, 0.3, 2.0, 35.0]
EXACT = {
    "tanh": mpmath.tanh,
    "sin": mpmath.sin,
    "cos": mpmath.cos,
    "erf": mpmath.erf,
    "relu": lambda z: max(z, mpmath.mpf(0)),
    "leaky_relu": lambda z: z if z > 0 else mpmath.mpf(0.01) * z,
    "linear": lambda z: z,
    "gelu": lambda z: z * mpmath.ncdf(z),
    "softplus": lambda z: mpmath.log1p(mpmath.exp(z)),
    "arctan": mpmath.atan,
    "hardtanh": lambda z: min(max(z, mpmath.mpf(-1)), mpmath.mpf(1)),
    "softsign": lambda z: z / (1 + abs(z)),
    "hardshrink": lambda z: z if abs(z) > 0.5 else mpmath.mpf(0),
}
# Where the two values are subtracted, their rounding is left.
CLOSED = {"tanh", "sin", "cos", "relu", "leaky_relu", "linear"}


def exact(name, h, e):
    with mpmath.workdps(400):
        return float(EXACT[name](mpmath.mpf(h) + mpmath.mpf(e)) - EXACT[name](mpmath.mpf(h)))


@pytest.mark.parametrize("name", EXACT)
def test_difference(name):
    rule = differences(as_activation(name))
    h = torch.tensor([*H, -0.999999, 0.9999999, 0.5001, 0.4999], dtype=torch.float64)
    for size in E:
        for sign in (1, -1):
            e = torch.full_like(h, sign * size)
            ours = rule.difference(h, e)
            truth = torch.tensor([exact(name, z, sign * size) for z in h.tolist()], dtype=torch.float64)
            scale = 1e-15 * (1 + h.abs()) * (10 * truth.abs() + size)
            if name not in CLOSED:
                # Beside h of order 1, the sum h + e decides a jump or a kink to its own rounding.
                scale = scale + (3e-16 * (1 + h.abs()) if size > 1e-3 else 1e-12 * size)
            assert ((ours - truth).abs() <= scale + 1e-320).all(), (name, size, sign)


@pytest.mark.parametrize("name", ["tanh", "sin", "cos", "erf", "relu", "leaky_relu"])
def test_slope_is_the_derivative(name):
    activation = as_activation(name)
    rule = differences(activation)
    h = torch.linspace(-5.01, 5, 57, dtype=torch.float64)
    torch.testing.assert_close(rule.slope(h), activation.derivative(h), rtol=1e-11, atol=0)


def test_slope_of_a_saturated_unit_keeps_its_digits():
    slope = differences(as_activation("tanh")).slope(torch.tensor([40.0], dtype=torch.float64))
    assert float(slope) == pytest.approx(4 * math.exp(-80), rel=1e-12)


def test_arguments_are_left_alone():
    for name in EXACT:
        rule = differences(as_activation(name))
        h, e = torch.linspace(-2, 2, 9, dtype=torch.float64), torch.full((9,), 1e-4, dtype=torch.float64)
        kept = h.clone(), e.clone()
        rule.value(h), rule.slope(h), rule.difference(h, e)
        assert torch.equal(h, kept[0])
        assert torch.equal(e, kept[1])


def test_two_kinks_close_together_are_both_seen():
    steep = as_activation(lambda z: torch.clamp(1e4 * z, 0.0, 1.0), kinks=[0.0, 1e-4])
    rule = differences(steep)
    h = torch.tensor([-1e-4, -3e-4, 5e-5, 2e-4], dtype=torch.float64)
    ours = rule.difference(h, torch.full_like(h, 3.5e-4))
    np.testing.assert_allclose(ours, [1.0, 0.5, 0.5, 0.0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("spec", "slopes"),
    [("relu", (1.0, 0.0)), ("linear", (1.0, 1.0)), (torch.abs, (1.0, -1.0)), ("tanh", None), ("relu6", None)],
)
def test_two_slopes(spec, slopes):
    assert two_slopes(as_activation(spec)) == slopes
