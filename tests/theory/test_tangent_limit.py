import numpy as np
import pytest
from scipy.integrate import quad

from phasescope.errors import InputError
from phasescope.theory import critical_line, deep_tangent_ratio, tangent_kernel, tangent_ratio

RHO = np.array([1e-6, 0.1, 0.5, 1.0, 1.9])


def g(rho):
    return rho**2 - rho**3 / 3


@pytest.mark.parametrize("end", [0.7, 0.1, 0.01])
def test_against_the_integrals_over_the_distance(end):
    # s = int dr/g from rho to rho_0, and T = g(rho) int (1 - r)/g^2 dr.
    start = 0.9
    s = quad(lambda r: 1 / g(r), end, start, epsrel=1e-12)[0]
    T = g(end) * quad(lambda r: (1 - r) / g(r) ** 2, end, start, epsrel=1e-12)[0]
    assert float(deep_tangent_ratio(start, s)) == pytest.approx(T / s, rel=1e-8)


@pytest.mark.parametrize("name", ["tanh", "erf", "sin"])
@pytest.mark.parametrize("sigma_b", [0.0005, 0.03])
def test_deep_networks_with_little_bias(name, sigma_b):
    point = critical_line(name, sigma_b)
    kernels = tangent_kernel(name, point.C_W, point.C_b, 3000, RHO)
    # What is left is of order 1/L and of order K, 0.1 here.
    np.testing.assert_allclose(kernels.ratio[0], deep_tangent_ratio(RHO, point.kappa * 3000), atol=6e-4)


def test_its_limits():
    np.testing.assert_allclose(deep_tangent_ratio(RHO, 1e-9), 1 - RHO, atol=1e-8)
    np.testing.assert_allclose(deep_tangent_ratio(RHO[1:], 1e6), 1 / 3, atol=1e-4)
    small = np.array([1e-6, 1e-5])
    np.testing.assert_allclose(deep_tangent_ratio(small, 1e6), tangent_ratio(small * 1e6), atol=1e-5)


@pytest.mark.parametrize(("rho", "kappa_L"), [(2.1, 1.0), (0.5, 0.0), (0.5, float("nan"))])
def test_refuses_what_is_no_distance_or_depth(rho, kappa_L):
    with pytest.raises(InputError, match="kappa_L"):
        deep_tangent_ratio(rho, kappa_L)
