import dataclasses
import itertools
import math

import numpy as np
import pytest
from scipy.integrate import quad

from phasescope.activations import as_activation
from phasescope.errors import InputError
from phasescope.theory import critical_line
from phasescope.theory.correlation import pair_maps
from phasescope.theory.moments import mean_square_slope
from reference.gaussian_quad import mean
from reference.quadrature import pair_mean

RHO = np.array([1e-300, 1e-12, 1e-5, 0.01, 0.3, 1.0, 1.7, 1.999999])


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
    np.testing.assert_allclose(slow.values(RHO), fast.values(RHO), rtol=1e-12)
    # Opposite inputs of an odd function have one slope: there a difference of 0.
    np.testing.assert_allclose(slow.slopes(RHO[:-1]), fast.slopes(RHO[:-1]), rtol=1e-11)
    np.testing.assert_allclose(slow.slopes(RHO), fast.slopes(RHO), rtol=1e-11, atol=1e-14)


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
