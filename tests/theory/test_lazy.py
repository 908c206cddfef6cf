import math

import numpy as np
import pytest

from phasescope.errors import InputError
from phasescope.theory import orthonormal_tangent_kernel, random_flips, two_layer_linear


@pytest.mark.parametrize(
    ("width", "s", "drift", "gap"),
    [
        (16, 0, 0.030776, 0.007606),
        (64, 0, 0.007782, 0.001940),
        (64, 0.5, 0.060660, 0.014829),
        (64, 1, 0.414214, 0.089820),
        (5, 1, 0.414214, 0.089820),
    ],
)
def test_drift_and_gap_of_the_two_layer_linear_model(width, s, drift, gap):
    found = two_layer_linear(width, s)
    assert found.drift == pytest.approx(drift, abs=6e-7)
    assert found.gap == pytest.approx(gap, abs=6e-7)


@pytest.mark.parametrize("s", [0.0, 0.5, 1.0])
def test_gradient_descent_follows_the_closed_form(s):
    n, rate = 64, 0.005
    a, w = np.ones(n), np.tile([1.0, -1.0], n // 2)
    scale = n ** (-(1 + s) / 2)
    for _ in range(4000):
        slope = rate * n**s * scale * (scale * a @ w - 1)
        a, w = a - slope * w, w - slope * a
    expected = two_layer_linear(n, s)
    assert scale * a @ w == pytest.approx(1, abs=1e-8)
    assert (a @ a + w @ w) / (2 * n) - 1 == pytest.approx(expected.drift, rel=3e-3)
    exact = expected.weights(np.ones(n), np.tile([1.0, -1.0], n // 2))
    assert np.abs(np.stack(exact) - [a, w]).max() < 3e-3 * np.abs(a - 1).max()


def test_the_kernel_keeps_its_distance_from_the_square_of_the_output():
    for output in (0.3, 2.0):
        found = two_layer_linear(32, 0.4, output)
        assert (2 * (1 + found.drift)) ** 2 == pytest.approx(4 + 4 * 32**-0.6 * output**2, rel=1e-12)


def test_random_movement_flips_an_arctangent_of_gates():
    assert [round(random_flips(ratio), 6) for ratio in (0.1, 0.5, 1.0)] == [0.031726, 0.147584, 0.25]
    random = np.random.default_rng(0)
    z, dz = random.standard_normal((2, 200_000))
    share = np.mean((z > 0) != (z + 0.5 * dz > 0))
    assert share == pytest.approx(random_flips(0.5), abs=4 * math.sqrt(0.148 * 0.852 / 200_000))


def test_the_kernel_of_orthonormal_inputs_has_two_eigenvalues():
    assert orthonormal_tangent_kernel(1) == pytest.approx((0.840845, 1.0), abs=6e-7)
    # A network of finite width: its kernel is a mean over units.
    n, inputs = 200_000, 4
    random = np.random.default_rng(1)
    z, a = random.standard_normal((n, inputs)), random.standard_normal(n)
    relu, gate = np.maximum(z, 0), z > 0
    kernel = relu.T @ relu / n + np.eye(inputs) * ((a[:, None] * gate).T @ (a[:, None] * gate) / n)
    found = np.linalg.eigvalsh(kernel)
    small, large = orthonormal_tangent_kernel(inputs)
    assert found == pytest.approx([small] * 3 + [large], abs=4 * 2.5 / math.sqrt(n))


def test_what_cannot_be_is_refused():
    with pytest.raises(InputError, match="width is 1"):
        two_layer_linear(1, 0)
    with pytest.raises(InputError, match="ratio is -1"):
        random_flips(-1)
    with pytest.raises(InputError, match="inputs is 0"):
        orthonormal_tangent_kernel(0)
