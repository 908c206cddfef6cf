import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from phasescope.activations import as_activation
from phasescope.errors import InputError
from phasescope.theory import MeanField
from reference.quadrature import pair_mean, smooth_pair_mean

# sigma_w, K*, chi_parallel of the critical points at sigma_b = 0.3.
CRITICAL = {
    "tanh": (1.39558398, 0.76347477, 0.45164027),
    "erf": (1.23367251, 0.68877127, 0.42060236),
    "sin": (1.26266460, 0.68432190, 0.40567810),
}


@pytest.mark.parametrize("name", CRITICAL)
def test_the_critical_points_at_bias_0_3(name):
    sigma_w, K, chi = CRITICAL[name]
    field = MeanField(name, sigma_w**2, 0.09)
    point = field.fixed_point()
    assert pytest.approx(K, rel=2e-8) == point.K
    assert point.stability == "stable"
    assert point.chi_parallel == pytest.approx(chi, rel=1e-7)
    assert point.chi_perpendicular == pytest.approx(1, abs=2e-8)
    assert field.phase().name == "critical"
    assert field.correlation_depth() > 1e7


def test_susceptibilities_are_the_slopes_of_the_maps():
    field = MeanField("softplus", 0.8, 0.1)
    K, step = 1.3, 1e-4
    slope = (field.kernel_map(K + step) - field.kernel_map(K - step)) / (2 * step)
    assert field.chi_parallel(K) == pytest.approx(slope, rel=1e-8)
    fixed = field.fixed_point().K
    assert field.distance_map(1e-9) / 1e-9 == pytest.approx(field.chi_perpendicular(fixed), rel=1e-7)


@pytest.mark.parametrize(("C_W", "name"), [(1.3**2, "ordered"), (1.5**2, "chaotic")])
def test_phases_of_tanh(C_W, name):
    field = MeanField("tanh", C_W, 0.09)
    phase = field.phase()
    assert phase.name == name
    assert str(phase).startswith(name)
    assert field.kernel_map(phase.K) == pytest.approx(phase.K, rel=1e-12)
    # 1/|ln chi| from a direct iteration: a small distance changes by that factor a layer.
    rho = 1e-12
    for _ in range(50):
        rho = field.distance_map(rho)
    assert math.log(rho / 1e-12) / 50 == pytest.approx(
        math.copysign(1 / field.correlation_depth(), phase.chi_perpendicular - 1), rel=1e-6
    )


@pytest.mark.parametrize(
    ("name", "C_W", "C_b", "expected"),
    [
        ("relu", 2.0, 0.0, [(1.0, "any")]),
        ("leaky_relu", 2 / 1.0001, 0.0, [(1.0, "any")]),
        ("relu", 1.5, 0.3, [(1.2, "stable")]),
        ("relu", 1.5, 0.0, [(0.0, "stable")]),
        ("relu", 2.5, 0.0, [(0.0, "unstable")]),
        ("relu", 2.5, 0.1, []),
        ("tanh", 1.0, 0.0, [(0.0, "marginally stable")]),
        ("erf", math.pi / 4, 0.0, [(0.0, "marginally stable")]),
        ("softsign", 1.0, 0.0, [(0.0, "marginally stable")]),
        ("mrepu2", 1.0, 0.0, [(0.0, "marginally unstable")]),
        ("silu", 4.0, 0.0, [(0.0, "marginally unstable")]),
        # K_u of the phase boundary, to the digits that are tabulated.
        ("mrepu2", 0.9, 0.0, [(0.0, "stable"), (0.00614, "unstable")]),
        ("mrepu1", 0.5, 0.0, [(0.0, "stable"), (0.345, "unstable")]),
        # K_dag = (C_W 3!!/2)^(-1/(p-1)); with a bias the two roots of 1.5 C_W K^2 - K + C_b.
        ("repu2", 1.0, 0.0, [(0.0, "stable"), (2 / 3, "unstable")]),
        ("repu3", 2.0, 0.0, [(0.0, "stable"), (15**-0.5, "unstable")]),
        (
            "repu2",
            0.3,
            0.1,
            [((1 - math.sqrt(0.82)) / 0.9, "stable"), ((1 + math.sqrt(0.82)) / 0.9, "unstable")],
        ),
        # At the largest bias the two merge at K_t = 1/(3 C_W), C_b = K_t/2.
        ("repu2", 0.3, 1 / 1.8, [(1 / 0.9, "half-stable")]),
        ("gelu", 1.98305826, 0.17292239, [(3.035, "stable"), (3.56155281, "half-stable")]),
        ("silu", 1.98800468, 0.55514317, [(14.32017362, "half-stable")]),
        ("selu", 1.0, 0.0, [(0.0, "unstable"), (1.0, "stable")]),
    ],
)
def test_fixed_points_and_their_stability(name, C_W, C_b, expected):
    points = MeanField(name, C_W, C_b).fixed_points()
    assert [point.stability for point in points] == [stability for _, stability in expected]
    for point, (K, stability) in zip(points, expected, strict=True):
        digits = 2e-3 if stability == "unstable" and name.startswith("mrepu") else 1e-6
        assert pytest.approx(K, rel=2e-4 if K == 3.035 else digits) == point.K


def test_a_fixed_point_that_the_scan_hits_exactly_is_found():
    # No weight on a bump at z = 5, so that K' = C_b = 0.1, a kernel of the scan.
    field = MeanField(lambda z: torch.exp(-((z - 5) ** 2) * 100), 1.0, 0.1)
    assert [point.stability for point in field.fixed_points()] == ["stable"]
    assert pytest.approx(0.1, rel=1e-12) == field.fixed_point().K


def test_selu_at_its_own_point():
    point = MeanField("selu", 1.0).fixed_point()
    assert point.chi_parallel == pytest.approx(0.7826, abs=5e-5)
    assert point.chi_perpendicular == pytest.approx(1.0716, abs=5e-5)
    assert MeanField("selu", 1.0).phase().name == "chaotic"


@pytest.mark.parametrize(("name", "C_W", "C_b"), [("gelu", 1.98305826, 0.17292239), ("relu", 2.0, 0.0)])
def test_tuned_networks_are_critical(name, C_W, C_b):
    field = MeanField(name, C_W, C_b)
    assert field.phase().name == "critical"
    assert field.phase().chi_parallel == pytest.approx(1, abs=1e-6)
    assert field.phase().chi_perpendicular == pytest.approx(1, abs=1e-6)


def test_where_the_kernel_goes_depends_on_where_it_starts():
    field = MeanField("repu2", 1.0)
    assert field.fixed_point(0.6).K == 0.0
    assert field.fixed_point(0.7).stability == "diverges"
    assert math.inf == field.fixed_point(0.7).K
    assert field.fixed_point(0.0).K == 0.0
    assert field.phase().name == "exploding"
    assert "below K = 0.666667 it would go to K* = 0" in field.phase().reason
    assert field.phase(0.5).name == "ordered"
    assert math.isnan(field.correlation_depth())
    assert field.correlation_depth(0.5) == 0.0
    gelu = MeanField("gelu", 1.98305826, 0.17292239)
    assert pytest.approx(3.5615528, rel=1e-6) == gelu.fixed_point(5.0).K
    assert pytest.approx(3.035, rel=1e-3) == gelu.fixed_point(1.0).K
    assert MeanField("relu", 2.0).fixed_point(0.3).K == 0.3


@pytest.mark.parametrize("start", [0.2, 5.0])
def test_the_fixed_point_is_where_iteration_ends(start):
    field = MeanField("elu", 1.2, 0.05)
    K = start
    for _ in range(400):
        K = field.kernel_map(K)
    assert pytest.approx(K, rel=1e-9) == field.fixed_point(start).K


@given(log_K=st.floats(-12, 8), log_scale=st.floats(-3, 3), slope=st.floats(-0.9, 0.9))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_a_piecewise_linear_network_scales_with_its_kernel(log_K, log_scale, slope):
    field = MeanField(nn.LeakyReLU(slope), 1.7)
    K, scale = 10**log_K, 10**log_scale
    assert field.kernel_map(scale * K) == pytest.approx(scale * field.kernel_map(K), rel=1e-12)
    assert field.kernel_map(K) == pytest.approx(1.7 * (1 + slope**2) / 2 * K, rel=1e-12)


PAIRS = {
    "relu": (lambda z: np.maximum(z, 0), (0.0,)),
    "hardtanh": (lambda z: np.clip(z, -1, 1), (-1.0, 1.0)),
    "erf": (None, ()),
    "repu2": (lambda z: np.maximum(z, 0) ** 2, (0.0,)),
}


@pytest.mark.parametrize("covariance", [(1.3, 0.4, 0.6), (0.5, -0.3, 2.0), (3.0, 2.9, 3.1)])
@pytest.mark.parametrize("name", PAIRS)
def test_the_two_input_kernel_against_a_slow_double_mean(name, covariance):
    function, kinks = PAIRS[name]
    if function is None:
        function = np.vectorize(math.erf)
    field = MeanField(name, 1.6, 0.2)
    K_aa, K_ab, K_bb = covariance
    new = field.kernel_map_pair(K_aa, K_ab, K_bb)
    assert new[0] == pytest.approx(field.kernel_map(K_aa), rel=1e-14)
    assert new[2] == pytest.approx(field.kernel_map(K_bb), rel=1e-14)
    assert new[1] == pytest.approx(0.2 + 1.6 * pair_mean(function, K_aa, K_ab, K_bb, kinks), rel=1e-11)


def test_the_two_input_kernel_of_arc_cosine_degree_two():
    # RePU_2: K_aa K_bb (3 sin t cos t + (pi - t)(1 + 2 cos^2 t))/(2 pi), Cho and Saul 2009.
    for t in (0.02, 0.7, 2.5):
        K_aa, K_bb = 1.7, 0.4
        field = MeanField("repu2", 1.0)
        exact = K_aa * K_bb * (3 * math.sin(t) * math.cos(t) + (math.pi - t) * (1 + 2 * math.cos(t) ** 2))
        new = field.kernel_map_pair(K_aa, math.sqrt(K_aa * K_bb) * math.cos(t), K_bb)
        assert new[1] == pytest.approx(exact / (2 * math.pi), rel=1e-12)


@given(
    K_aa=st.floats(1e-3, 30),
    K_bb=st.floats(1e-3, 30),
    c=st.floats(-1, 1),
    name=st.sampled_from(["elu", "tanh", "sin"]),
)
@settings(max_examples=6, deadline=None, derandomize=True)
def test_the_two_input_kernel_is_symmetric_and_a_covariance(K_aa, K_bb, c, name):
    field = MeanField(name, 1.2, 0.1)
    K_ab = c * math.sqrt(K_aa * K_bb)
    a, ab, b = field.kernel_map_pair(K_aa, K_ab, K_bb)
    assert (b, ab, a) == pytest.approx(field.kernel_map_pair(K_bb, K_ab, K_aa), rel=1e-11)
    assert ab**2 <= a * b * (1 + 1e-11)


@pytest.mark.parametrize("name", ["elu", "tanh", "relu", "sin"])
def test_identical_opposite_and_absent_second_inputs(name):
    field = MeanField(name, 1.2, 0.1)
    assert field.kernel_map_pair(0.8, 0.8, 0.8)[1] == pytest.approx(field.kernel_map(0.8), rel=1e-13)
    at_zero = field.kernel_map(0.0)
    assert field.kernel_map_pair(0.8, 0.0, 0.0)[1] == pytest.approx(at_zero, abs=1e-15)
    assert field.kernel_map_pair(0.0, 0.0, 0.0) == pytest.approx((at_zero,) * 3, abs=1e-15)
    opposite = field.kernel_map_pair(0.8, -0.8, 0.8)[1]
    close = field.kernel_map_pair(0.8, -0.8 * (1 - 1e-9), 0.8)[1]
    assert opposite == pytest.approx(close, rel=1e-7)


def test_smooth_pairs_against_the_trapezoid_rule():
    for c in (-0.9, 0.2, 0.99):
        new = MeanField("tanh", 1.0).kernel_map_pair(0.8, 0.8 * c, 0.8)[1]
        assert new == pytest.approx(smooth_pair_mean(np.tanh, 0.8, c), rel=1e-12)


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: MeanField("tanh", -1.0), "C_W = -1.0"),
        (lambda: MeanField("tanh", 1.0, math.nan), "not variances"),
        (lambda: MeanField("tanh", 1.0).kernel_map(-0.1), "is not a variance"),
        (lambda: MeanField("tanh", 1.0).kernel_map_pair(1.0, 1.1, 1.0), "not a covariance"),
        (lambda: MeanField("repu40", 1.0).kernel_map(1e8), "K = 1e.08"),
        (lambda: MeanField("hardshrink", 1.0).chi_perpendicular(1.0), "jumps at z = -0.5"),
    ],
)
def test_what_cannot_be_used_is_refused(call, why):
    with pytest.raises(InputError, match=why):
        call()


def test_repr_has_the_numbers_to_copy():
    assert repr(MeanField("gelu", 1.98305826, 0.1)) == "MeanField('gelu', C_W=1.98305826, C_b=0.1)"
    assert MeanField(as_activation("tanh"), 1.0).activation is as_activation("tanh")
