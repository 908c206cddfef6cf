import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from phasescope.citations import BIBTEX
from phasescope.errors import InputError
from phasescope.theory import MeanField, critical_line, deep_tangent_ratio, tangent_kernel, tangent_ratio

RHO = np.array([1e-4, 0.05, 0.3, 1.0, 1.7, 2.0])
DEEP_RHO = np.array([1e-6, 0.1, 0.5, 1.0, 1.9])


def relu_literature(C_W, C_b, K, c, depth):
    """Kernels by the arc-cosine functions of degree 0 and 1 (Cho and Saul 2009)."""
    aa, ab = K, K * c
    tangent_aa, tangent_ab = aa, ab
    for _ in range(depth - 1):
        theta = np.arccos(np.clip(ab / aa, -1, 1))
        slope = C_W / 2 * (1 - theta / math.pi)
        ab = C_b + C_W * aa / (2 * math.pi) * (np.sin(theta) + (math.pi - theta) * np.cos(theta))
        aa = C_b + C_W / 2 * aa
        tangent_ab = ab + slope * tangent_ab
        tangent_aa = aa + C_W / 2 * tangent_aa
    return aa, ab, tangent_aa, tangent_ab


def erf_literature(C_W, C_b, K, c, depth):
    """Kernels by the arcsine law (Williams 1997) and its derivative."""
    aa, ab = K, K * c
    tangent_aa, tangent_ab = aa, ab
    for _ in range(depth - 1):
        same = 4 / math.pi / math.sqrt((1 + 2 * aa) ** 2 - 4 * aa**2)
        slope = 4 / math.pi / np.sqrt((1 + 2 * aa) ** 2 - 4 * ab**2)
        ab = C_b + C_W * 2 / math.pi * np.arcsin(2 * ab / (1 + 2 * aa))
        aa = C_b + C_W * 2 / math.pi * math.asin(2 * aa / (1 + 2 * aa))
        tangent_ab = ab + C_W * slope * tangent_ab
        tangent_aa = aa + C_W * same * tangent_aa
    return aa, ab, tangent_aa, tangent_ab


@pytest.mark.parametrize(("name", "literature"), [("relu", relu_literature), ("erf", erf_literature)])
@pytest.mark.parametrize(("C_W", "C_b", "K"), [(2.0, 0.0, 1.0), (1.5, 0.1, 0.6), (1.9, 0.02, 1.3)])
def test_against_the_recursion_of_the_literature(name, literature, C_W, C_b, K):
    depths = [1, 2, 3, 10, 60]
    kernels = tangent_kernel(name, C_W, C_b, depths, RHO, K=K)
    for row, depth in enumerate(depths):
        aa, ab, tangent_aa, tangent_ab = literature(C_W, C_b, K, 1 - RHO, depth)
        assert kernels.kernel[row] == pytest.approx(aa, rel=1e-12)
        np.testing.assert_allclose(kernels.nngp[row], ab, rtol=1e-10, atol=1e-11 * aa)
        assert kernels.diagonal[row] == pytest.approx(tangent_aa, rel=1e-12)
        np.testing.assert_allclose(kernels.tangent[row], tangent_ab, rtol=1e-10, atol=1e-10 * tangent_aa)


def test_a_linear_network_has_one_kernel_depth_times_over():
    kernels = tangent_kernel("linear", 1.0, 0.0, [1, 7], RHO, K=0.4)
    np.testing.assert_allclose(kernels.nngp[1], 0.4 * (1 - RHO), rtol=1e-14, atol=1e-16)
    np.testing.assert_allclose(kernels.tangent, [0.4 * (1 - RHO), 2.8 * (1 - RHO)], rtol=1e-13, atol=1e-15)
    # With biases: K_ab = C_W^(L-1) K_ab(1) + C_b (C_W^(L-1) - 1)/(C_W - 1), for every pair alike.
    biased = tangent_kernel("linear", 0.8, 0.3, 4, RHO, K=0.5)
    ab = [0.5 * (1 - RHO)]
    for _ in range(3):
        ab.append(0.3 + 0.8 * ab[-1])
    expected = sum(0.8 ** (3 - layer) * kernel for layer, kernel in enumerate(ab))
    np.testing.assert_allclose(biased.tangent[0], expected, rtol=1e-12)


def test_exact_values_at_criticality():
    # An independent iteration, in which depth 1 is the start and L layers follow: depth L + 1.
    published = {
        ("tanh", 0.05): {30: 0.7377, 100: 0.5467, 300: 0.4184, 3000: 0.3417},
        ("tanh", 0.3): {100: 0.3583, 1000: 0.3339},
        ("sin", 0.05): {100: 0.5639, 1000: 0.3634},
    }
    for (name, rho), values in published.items():
        point = critical_line(name, 0.3)
        kernels = tangent_kernel(name, point.C_W, point.C_b, [layers + 1 for layers in values], rho)
        np.testing.assert_allclose(kernels.ratio, list(values.values()), atol=6e-5)
        np.testing.assert_allclose(kernels.kernel, point.K, rtol=1e-9)
        # chi = 1: each layer adds K to the diagonal.
        np.testing.assert_allclose(kernels.diagonal, point.K * kernels.depths, rtol=1e-8)


@pytest.mark.parametrize("name", ["tanh", "erf", "sin"])
def test_the_exact_recursion_tends_to_the_scaling_law(name):
    # At fixed u the deviation shrinks like ln L/L.
    point = critical_line(name, 0.3)
    u = np.array([0.1, 1.0, 10.0])
    worst = []
    for depth in (300, 3000):
        kernels = tangent_kernel(name, point.C_W, point.C_b, depth, u / (point.kappa * depth))
        worst.append(np.abs(kernels.ratio[0] - tangent_ratio(u)).max())
    assert worst[0] < 0.02
    assert worst[1] < worst[0] / 5


def test_the_law_solves_its_differential_equation_and_has_its_limits():
    # d(u Rbar)/du = 1 - 2 Rbar u/(1 + u) for Theta_ab = K L Rbar; integrated by Runge and Kutta.
    def slope(u, theta):
        return 1 - 2 * theta / (1 + u)

    theta, u, step = 0.0, 0.0, 1e-3
    for _ in range(5000):
        k1 = slope(u, theta)
        k2 = slope(u + step / 2, theta + step / 2 * k1)
        k3 = slope(u + step / 2, theta + step / 2 * k2)
        k4 = slope(u + step, theta + step * k3)
        theta += step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        u += step
    assert float(tangent_ratio(u)) == pytest.approx(theta / u, rel=1e-10)
    np.testing.assert_allclose(tangent_ratio([0.0, 1e12]), [1.0, 1 / 3], rtol=1e-11)
    assert (1 - tangent_ratio(1e-6)) / 1e-6 == pytest.approx(1.0, abs=1e-5)


def test_the_gap_keeps_its_digits_at_the_smallest_distances():
    point = critical_line("tanh", 0.3)
    gap = tangent_kernel("tanh", point.C_W, point.C_b, 50, [1e-200, 1e-30, 1e-8]).gap[0]
    assert gap[1] / gap[0] == pytest.approx(1e170, rel=1e-12)
    assert gap[2] / gap[1] == pytest.approx(1e22, rel=1e-5)
    # The sum over layers l of K rho + 2 kappa rho K (l - 1), over K L.
    assert gap[0] == pytest.approx(1e-200 * (1 + point.kappa * 49), rel=1e-6)


def test_depths_in_any_order_and_shapes_kept():
    both = tangent_kernel("erf", 1.5, 0.1, [5, 2], np.full((2, 3), 0.2))
    one = tangent_kernel("erf", 1.5, 0.1, 2, 0.2)
    assert both.tangent.shape == (2, 2, 3)
    assert one.tangent.shape == (1,)
    assert both.tangent[1, 0, 0] == pytest.approx(one.tangent[0], rel=1e-14)
    assert both.diagonal[0] > both.diagonal[1]
    assert set(both.citations) <= set(BIBTEX)


def test_deep_chaos_overflows_in_the_diagonal_only():
    # chi_perp = 4.5: the diagonal passes 1e308 near depth 470, unlike the ratio, which tends to 0.
    assert MeanField("sin", 9.0, 0.1).chi_perpendicular(4.6) == pytest.approx(4.5, abs=0.01)
    kernels = tangent_kernel("sin", 9.0, 0.1, 600, [0.0, 1e-3, 1.0])
    assert np.isinf(kernels.diagonal[0])
    assert kernels.ratio[0] == pytest.approx([1.0, 0.0, 0.0], abs=1e-12)


def empirical_kernels(activation, width, depth, C_W, C_b, inputs, networks, seed):
    """Tangent kernels of finite networks, by one backward pass for each input."""
    generator = torch.Generator().manual_seed(seed)
    result = []
    for _ in range(networks):
        sizes = [inputs.shape[1], *[width] * (depth - 1), 1]
        weights = [
            torch.randn(b, a, generator=generator, dtype=torch.float64, requires_grad=True)
            for a, b in itertools.pairwise(sizes)
        ]
        biases = [
            torch.randn(b, generator=generator, dtype=torch.float64, requires_grad=True) for b in sizes[1:]
        ]
        rows = []
        for x in inputs:
            z = x
            for number, (w, b) in enumerate(zip(weights, biases, strict=True)):
                z = math.sqrt(C_W / w.shape[1]) * w @ (activation(z) if number else z) + math.sqrt(C_b) * b
            gradients = torch.autograd.grad(z.sum(), [*weights, *biases])
            rows.append(torch.cat([g.flatten() for g in gradients]))
        stacked = torch.stack(rows)
        result.append(stacked @ stacked.T)
    return torch.stack(result).numpy()


@pytest.mark.parametrize(("name", "function"), [("tanh", torch.tanh), ("relu", torch.relu)])
def test_wide_finite_networks_by_automatic_differentiation(name, function):
    C_W, C_b, K, depth, networks, width = 1.7, 0.2, 0.9, 4, 60, 256
    angles = np.array([0.0, 0.3, 1.5, 2.8])
    # Two input features; |x|^2/2 times C_W plus C_b is K.
    scale = math.sqrt(2 * (K - C_b) / C_W)
    inputs = torch.tensor(np.stack([np.cos(angles), np.sin(angles)], axis=1) * scale)
    measured = empirical_kernels(function, width, depth, C_W, C_b, inputs, networks, seed=3)
    mean, error = measured.mean(0), measured.std(0, ddof=1) / math.sqrt(networks)
    rho = (1 - C_b / K) * (1 - np.cos(angles[:, None] - angles[None, :]))
    theory = tangent_kernel(name, C_W, C_b, depth, rho, K=K).tangent[0]
    assert (error < 0.022 * theory[0, 0]).all()
    # The mean over networks differs by O(1/width) from the limit.
    assert (np.abs(mean - theory) < 4 * error + 2 / width * theory[0, 0]).all()


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: tangent_kernel("tanh", 1.5, 0.1, 0, 0.1), "depth = 0"),
        (lambda: tangent_kernel("tanh", 1.5, 0.1, 2.5, 0.1), "depth = 2.5"),
        (lambda: tangent_kernel("tanh", 1.5, 0.1, [], 0.1), "depth = "),
        (lambda: tangent_kernel("tanh", 1.5, 0.1, 3, 2.1), "between 0 and 2"),
        (lambda: tangent_kernel("tanh", 1.5, 0.1, 3, math.nan), "between 0 and 2"),
        (lambda: tangent_kernel("tanh", 1.0, 0.0, 3, 0.1), "the kernel goes to 0"),
        (lambda: tangent_kernel("relu", 3.0, 0.0, 3, 0.1), "the kernel goes to inf"),
        (lambda: tangent_kernel("tanh", 1.5, 0.1, 3, 0.1, K=0.0), "no kernel of a first layer"),
        (lambda: tangent_kernel("hardshrink", 1.5, 0.1, 3, 0.1, K=1.0), "jumps"),
    ],
)
def test_what_has_no_tangent_kernel_says_why(call, why):
    with pytest.raises(InputError, match=why):
        call()


def decay(rho):
    return rho**2 - rho**3 / 3


@pytest.mark.parametrize("end", [0.7, 0.1, 0.01])
def test_the_deep_ratio_against_the_integrals_over_the_distance(end):
    # With the decay g: s = int dr/g from rho to rho_0, and T = g(rho) int (1 - r)/g^2 dr.
    start = 0.9
    s = quad(lambda r: 1 / decay(r), end, start, epsrel=1e-12)[0]
    T = decay(end) * quad(lambda r: (1 - r) / decay(r) ** 2, end, start, epsrel=1e-12)[0]
    assert float(deep_tangent_ratio(start, s)) == pytest.approx(T / s, rel=1e-8)


@pytest.mark.parametrize("name", ["tanh", "erf", "sin"])
@pytest.mark.parametrize("sigma_b", [0.0005, 0.03])
def test_deep_networks_with_little_bias(name, sigma_b):
    point = critical_line(name, sigma_b)
    kernels = tangent_kernel(name, point.C_W, point.C_b, 3000, DEEP_RHO)
    # What is left is of order 1/L and of order K, 0.1 here.
    np.testing.assert_allclose(kernels.ratio[0], deep_tangent_ratio(DEEP_RHO, point.kappa * 3000), atol=6e-4)


def test_the_deep_ratio_has_its_limits():
    np.testing.assert_allclose(deep_tangent_ratio(DEEP_RHO, 1e-9), 1 - DEEP_RHO, atol=1e-8)
    np.testing.assert_allclose(deep_tangent_ratio(DEEP_RHO[1:], 1e6), 1 / 3, atol=1e-4)
    small = np.array([1e-6, 1e-5])
    np.testing.assert_allclose(deep_tangent_ratio(small, 1e6), tangent_ratio(small * 1e6), atol=1e-5)


@pytest.mark.parametrize(("rho", "kappa_L"), [(2.1, 1.0), (0.5, 0.0), (0.5, float("nan"))])
def test_the_deep_ratio_refuses_what_is_no_distance_or_depth(rho, kappa_L):
    with pytest.raises(InputError, match="kappa_L"):
        deep_tangent_ratio(rho, kappa_L)
