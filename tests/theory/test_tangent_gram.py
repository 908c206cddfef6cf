import numpy as np
import pytest

from phasescope.errors import InputError
from phasescope.theory import TangentGram, critical_line, input_distances, tangent_kernel


@pytest.mark.parametrize(
    ("name", "C_W", "C_b"),
    [("relu", 2.0, 0.0), ("tanh", 1.3**2, 0.09), ("tanh", 3.0, 0.02), ("cos", 2.0, 0.1), ("sin", 1.6, 0.09)],
)
def test_interpolation_against_the_recursion_itself(name, C_W, C_b):
    depths = [1, 3, 40, 400]
    gram = TangentGram(name, C_W, C_b, depths)
    powers = np.random.default_rng(1).uniform(-13, np.log10(2), 300)
    rho = np.concatenate([10.0**powers, [0.0, 1.0, 2.0]])
    exact = tangent_kernel(name, C_W, C_b, depths, rho)
    for row, depth in enumerate(depths):
        np.testing.assert_allclose(gram.gap(depth, rho), exact.gap[row], atol=1e-8, rtol=0)
        scale = exact.kernel[row]
        np.testing.assert_allclose(gram.nngp(depth, rho), exact.nngp[row], atol=1e-8 * scale, rtol=0)
        scale = exact.diagonal[row]
        np.testing.assert_allclose(gram.tangent(depth, rho), exact.tangent[row], atol=1e-8 * scale, rtol=0)


def test_small_gaps_keep_their_digits():
    point = critical_line("tanh", 0.05)
    gram = TangentGram("tanh", point.C_W, point.C_b, 100)
    rho = np.array([3e-14, 1e-10, 1e-5])
    exact = tangent_kernel("tanh", point.C_W, point.C_b, 100, rho).gap[0]
    np.testing.assert_allclose(gram.gap(100, rho), exact, rtol=2e-8)
    assert gram.gap(100, np.zeros(2)).tolist() == [0.0, 0.0]


def test_a_network_on_data_layer_by_layer():
    # ReLU on explicit vectors, with the covariance matrix of the first layer written out.
    generator = np.random.default_rng(0)
    x = generator.standard_normal((5, 7))
    C_W, C_b, K = 1.4, 0.2, 1.1
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    inputs = unit * np.sqrt(7 * (K - C_b) / C_W)
    covariance = C_b + C_W * inputs @ inputs.T / 7
    np.testing.assert_allclose(np.diag(covariance), K, rtol=1e-12)
    gram = TangentGram("relu", C_W, C_b, 2, K=K)
    rho = gram.first_layer(input_distances(x))
    np.testing.assert_allclose(K * (1 - rho), covariance, atol=1e-14)
    theta = np.arccos(np.clip(covariance / K, -1, 1))
    nngp = C_b + C_W * K / (2 * np.pi) * (np.sin(theta) + (np.pi - theta) * np.cos(theta))
    tangent = nngp + C_W / 2 * (1 - theta / np.pi) * covariance
    np.testing.assert_allclose(gram.nngp(2, rho), nngp, atol=3e-8)
    np.testing.assert_allclose(gram.tangent(2, rho), tangent, atol=3e-8)
    assert np.linalg.eigvalsh(gram.tangent(2, rho)).min() > 0


def test_distances_do_not_depend_on_the_norms():
    x = np.array([[1.0, 0.0], [0.0, 3.0], [-2.0, 0.0], [1.0, 1.0]])
    expected = 1 - np.array([[1, 0, -1, 0.5**0.5], [0, 1, 0, 0.5**0.5]])
    np.testing.assert_allclose(input_distances(x[:2], x), expected, atol=1e-15)
    assert input_distances(x)[0, 0] == 0.0
    # The same direction twice: rounding is not taken for a distance.
    twice = np.random.default_rng(2).standard_normal((1, 50)) * np.array([[1.0], [1.7]])
    assert input_distances(twice)[0, 1] == 0.0


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: input_distances(np.zeros((2, 3))), "Input 0 has norm 0"),
        (lambda: input_distances(np.array([[1.0, 0.0], [np.nan, 0.0]])), "Input 1 has norm nan"),
        (lambda: input_distances(np.ones(3)), r"shape \(3,\)"),
        (lambda: input_distances(np.ones((2, 3)), np.ones((2, 4))), "3 and 4 features"),
        (lambda: TangentGram("erf", 1.5, 0.1, 3).gap(2, np.zeros(1)), "depth = 2"),
        (lambda: TangentGram("erf", 1.5, 0.1, 3).gap(3, np.array([2.5])), r"outside \[0, 2\]"),
        (lambda: TangentGram("erf", 1.5, 0.1, 3, K=0.05).first_layer(np.ones(1)), "below C_b"),
    ],
)
def test_unusable_data_says_why(call, why):
    with pytest.raises(InputError, match=why):
        call()
