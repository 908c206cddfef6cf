import json
import math

import numpy as np
import pytest
import torch

from phasescope.activations import as_activation
from phasescope.citations import BIBTEX
from phasescope.errors import InputError, NoCriticalPointError
from phasescope.theory import MeanField, critical_line
from phasescope.theory.correlation import derivative_jumps
from reference.gaussian_quad import kernel_derivative, mean
from reference.random_networks import growth_of_differences

# sigma_w, K, kappa along the critical line, independent trapezoid quadrature on 4001 points.
LINE = {
    ("tanh", 0.05): (1.12253900, 0.15369194, 0.02545693),
    ("tanh", 0.1): (1.19340073, 0.27330091, 0.06009872),
    ("tanh", 0.3): (1.39558398, 0.76347477, 0.23349782),
    ("tanh", 0.5): (1.54967391, 1.31793900, 0.44601207),
    ("tanh", 1.0): (1.85558910, 3.03639639, 1.12392756),
    ("erf", 0.05): (0.99368629, 0.14514586, 0.02665765),
    ("erf", 0.1): (1.05559465, 0.25320966, 0.06370618),
    ("erf", 0.3): (1.23367251, 0.68877127, 0.25267383),
    ("erf", 0.5): (1.37133047, 1.18327244, 0.48843947),
    ("erf", 1.0): (1.64875145, 2.74489093, 1.25787990),
    ("sin", 0.05): (1.09281669, 0.19674832, 0.01910902),
    ("sin", 0.1): (1.14226672, 0.31477326, 0.04796724),
    ("sin", 0.3): (1.26266460, 0.68432190, 0.20335375),
    ("sin", 0.5): (1.33032883, 1.01977479, 0.39249846),
    ("sin", 1.0): (1.40042128, 1.96117975, 0.94252313),
}


@pytest.mark.parametrize(("name", "sigma_b"), LINE)
def test_critical_line(name, sigma_b):
    point = critical_line(name, sigma_b)
    assert (point.sigma_w, point.K, point.kappa) == pytest.approx(LINE[name, sigma_b], abs=1.1e-8)


# chi_q, gamma, gamma_b, k3, then v, d0 and d(sigma_w)/d(1/n), at sigma_b = 0.3.
SCALES = {
    "tanh": (0.45164027, 0.60441309, -0.51515995, 0.21759134, 4.250, -1.854, 3.068),
    "erf": (0.42060236, 0.72884772, -0.55154980, 0.21191274, 4.238, -1.885, 2.587),
    "sin": (0.40567810, 0.94137732, -0.40955390, 0.07804941, 3.343, -1.524, 1.619),
}


@pytest.mark.parametrize("name", SCALES)
def test_depth_scales_and_corrections(name):
    chi_q, gamma, gamma_b, k3, v, d0, shift = SCALES[name]
    point = critical_line(name, 0.3)
    assert (point.chi_q, point.gamma, point.gamma_b, point.k3) == pytest.approx(
        (chi_q, gamma, gamma_b, k3), abs=2e-8
    )
    assert (point.v, point.d0) == pytest.approx((v, d0), abs=6e-4)
    assert 500 * (point.sigma_w_at_width(500) - point.sigma_w) == pytest.approx(shift, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("tanh", (3.60, 3.65, 4.25, 4.97, 6.84)),
        ("erf", (3.58, 3.62, 4.24, 5.00, 7.01)),
        ("sin", (3.51, 3.39, 3.34, 3.40, 3.48)),
    ],
)
def test_noise_of_growth_along_the_line(name, values):
    line = [critical_line(name, sigma_b).v for sigma_b in (0.05, 0.1, 0.3, 0.5, 1.0)]
    assert line == pytest.approx(values, abs=6e-3)


def test_sine_in_closed_form():
    # <sin^2> = (1 - e^-2K)/2 = <sin''^2>, <cos^2> = (1 + e^-2K)/2, chi_q = sigma_w^2 e^-2K.
    point = critical_line("sin", 0.7)
    decay = math.exp(-2 * point.K)
    square, slope = (1 - decay) / 2, (1 + decay) / 2
    C_W = 1 / slope
    assert pytest.approx(C_W, rel=1e-12) == point.C_W
    assert C_W * square + point.C_b == pytest.approx(point.K, rel=1e-12)
    assert point.chi_q == pytest.approx(C_W * decay, rel=1e-10)
    assert point.kappa == pytest.approx(C_W * point.K * square / 2, rel=1e-10)
    assert point.k3 == pytest.approx(C_W * point.K**2 * slope / 6, rel=1e-10)


@pytest.mark.parametrize("name", ["tanh", "sin"])
def test_gammas_are_slopes_of_chi_along_the_fixed_point(name):
    function = {"tanh": math.tanh, "sin": math.sin}[name]
    slope = {"tanh": lambda z: 1 - math.tanh(z) ** 2, "sin": math.cos}[name]
    point = critical_line(name, 0.3)

    def chi(sigma_w, sigma_b):
        K = point.K
        for _ in range(40):
            K = sigma_w**2 * mean(lambda z: function(z) ** 2, K) + sigma_b**2
        return sigma_w**2 * mean(lambda z: slope(z) ** 2, K)

    step = 1e-4
    by_weight = (chi(point.sigma_w + step, 0.3) - chi(point.sigma_w - step, 0.3)) / (2 * step)
    by_bias = (chi(point.sigma_w, 0.3 + step) - chi(point.sigma_w, 0.3 - step)) / (2 * step)
    assert (point.gamma, point.gamma_b) == pytest.approx((by_weight, by_bias), rel=1e-6)
    assert point.chi_q == pytest.approx(point.C_W * kernel_derivative(function, point.K), rel=1e-9)


@pytest.mark.parametrize("name", ["tanh", "erf", "sin"])
def test_kappa_from_the_iterated_correlation_map(name):
    point = critical_line(name, 0.3)
    theory = MeanField(name, point.C_W, point.C_b)
    layers, inverse = np.arange(1, 20_001), []
    rho = 1.0
    for _ in layers:
        rho = theory.distance_map(rho, point.K)
        inverse.append(1 / rho)
    # 1/rho = kappa l + (kappa - k3/kappa) ln l + const + O(ln l/l)
    late = layers >= 2000
    basis = np.stack([layers, np.log(layers), np.ones(layers.size), np.log(layers) / layers], axis=1)[late]
    slope, logarithm, constant, _ = np.linalg.lstsq(basis, np.array(inverse)[late], rcond=None)[0]
    assert slope == pytest.approx(point.kappa, rel=1e-3)
    assert logarithm == pytest.approx(point.kappa - point.k3 / point.kappa, rel=0.05)
    assert constant == pytest.approx({"tanh": 1.977, "erf": 1.689, "sin": 1.125}[name], rel=0.05)


def _growth(name, width, networks, depth):
    function, derivative = {
        "tanh": (torch.tanh, lambda h: 1 - torch.tanh(h).square()),
        "sin": (torch.sin, torch.cos),
    }[name]
    point = critical_line(name, 0.3)
    settings = {"sigma_w": point.sigma_w, "sigma_b": 0.3, "q": point.K, "seed": 11}
    return point, growth_of_differences(function, derivative, width, depth, networks, **settings)[:, 20:]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tanh", "sin"])
def test_growth_of_differences_against_sampled_networks(name):
    width, block = 50, 80
    point, growth = _growth(name, width, networks=500, depth=20 + 10 * block)
    steps = growth.numel()
    error = math.sqrt(point.v * width / steps)
    assert width * growth.mean().item() == pytest.approx(point.d0, abs=4 * error + 0.02)
    sums = growth.reshape(-1, 10, block).sum(2).flatten()
    # 4 standard errors of a variance (8 %), and the next order in 1/width (3 %).
    assert width * sums.var().item() / block == pytest.approx(point.v, rel=0.11)


def test_growth_of_differences_in_short():
    width = 50
    point, growth = _growth("tanh", width, networks=200, depth=120)
    error = math.sqrt(point.v * width / growth.numel())
    assert width * growth.mean().item() == pytest.approx(point.d0, abs=4 * error + 0.02)
    sums = growth.sum(1)
    assert width * sums.var().item() / growth.shape[1] == pytest.approx(point.v, rel=0.45)


def test_jumps_of_the_slope_leave_kappa_undetermined():
    hardtanh, softsign = critical_line("hardtanh", 0.3), critical_line("softsign", 0.3)
    # <hardtanh'^2> = P(|z| < 1).
    assert hardtanh.C_W * math.erf(1 / math.sqrt(2 * hardtanh.K)) == pytest.approx(1, rel=1e-12)
    assert math.isnan(hardtanh.kappa)
    assert math.isnan(hardtanh.k3)
    assert "(1 - c)^(3/2)" in hardtanh.notes[0]
    curvature = mean(lambda z: (2 / (1 + abs(z)) ** 3) ** 2, softsign.K, (0.0,))
    assert softsign.kappa == pytest.approx(softsign.C_W * softsign.K * curvature / 2, rel=1e-9)
    assert math.isnan(softsign.k3)
    assert json.loads(json.dumps(softsign.to_dict(), allow_nan=False))["k3"] is None


@pytest.mark.parametrize(("name", "first_jump"), [("relu", 1), ("repu2", 2), ("repu3", 3), ("hardtanh", 1)])
def test_which_derivative_jumps_though_the_lower_ones_vanish_at_the_kink(name, first_jump):
    jumping = [derivative_jumps(as_activation(name), order) for order in range(1, first_jump + 1)]
    assert jumping == [False] * (first_jump - 1) + [True]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("relu", "no kernel"),
        ("softplus", "no kernel"),
        ("repu2", "not attract"),
        ("gelu", "not attract"),
        ("softshrink", "not attract"),
    ],
)
def test_no_line_comes_with_its_reason(name, reason):
    with pytest.raises(NoCriticalPointError, match=reason):
        critical_line(name, 0.3)


def test_an_activation_that_is_flat_where_small_kernels_reach_has_no_line():
    with pytest.raises(NoCriticalPointError):
        critical_line("softshrink", 1e-4)


@pytest.mark.parametrize("sigma_b", [0.0, -0.1, math.nan, math.inf])
def test_bias_has_to_be_positive(sigma_b):
    with pytest.raises(InputError, match="sigma_b"):
        critical_line("tanh", sigma_b)


def test_result_is_ready_for_json_and_for_a_person():
    point = critical_line("tanh", 0.3)
    values = json.loads(json.dumps(point.to_dict(), allow_nan=False))
    assert values["sigma_w"] == point.sigma_w
    assert set(point.citations) <= set(BIBTEX)
    assert "sigma_w = 1.39558" in str(point)
    with pytest.raises(InputError, match="n = 0"):
        point.sigma_w_at_width(0)
