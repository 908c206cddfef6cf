import math

import numpy as np
import pytest
from scipy.special import digamma

from phasescope.errors import InputError
from phasescope.signal import lyapunov_exponent, sample_mlp
from phasescope.theory import critical_line

# Independent Monte Carlo, tanh at sigma_b = 0.3 and the critical sigma_w, 2000 layers: 2 n lambda.
MONTE_CARLO = {25: (-1.876, 0.010), 50: (-1.856, 0.019), 100: (-1.93, 0.04)}
POINT = critical_line("tanh", 0.3)


def at_critical(width, **others):
    return lyapunov_exponent("tanh", width, POINT.C_W, POINT.C_b, **others)


@pytest.mark.parametrize(("n", "C_W"), [(2, 1.0), (9, 1.7), (100, 0.8)])
def test_linear_network_has_a_closed_form(n, C_W):
    exact = (math.log(C_W) + digamma(n / 2) + math.log(2 / n)) / 2
    found = lyapunov_exponent("linear", n, C_W, 0.0, networks=30, depth=60, kernel=1.0)
    # The control variate is the whole fluctuation.
    assert found.value == pytest.approx(exact, abs=1e-12)
    assert found.error < 1e-12
    plain = lyapunov_exponent("linear", n, C_W, 0.0, networks=10, depth=200, kernel=1.0)
    assert abs(plain.value - exact) < 5 * plain.error
    assert plain.error == pytest.approx(math.sqrt(2 / n / 200 / 10) / 2, rel=0.9)


def test_relu_has_a_closed_form():
    """|phi'(h) u|^2 has the law of chi^2 of k units, k binomial: half of them are on."""
    n = 12
    k = np.arange(1, n + 1)
    weights = np.array([math.comb(n, int(i)) for i in k]) / 2.0**n
    exact = ((weights * digamma(k / 2)).sum() / weights.sum() + math.log(2 / n) + math.log(2.0)) / 2
    found = lyapunov_exponent("relu", n, 2.0, 0.0, networks=60, depth=80, kernel=1.0, seed=3)
    assert abs(found.value - exact) < 4 * found.error + 2.0**-n * 10


@pytest.mark.parametrize("n", MONTE_CARLO)
def test_monte_carlo_table(n):
    value, error = MONTE_CARLO[n]
    found = at_critical(n, networks=10000 // n, depth=200, seed=1)
    assert abs(2 * n * found.value - value) < 4 * math.hypot(error, 2 * n * found.error)


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["tanh", "erf", "sin"])
def test_shift_and_noise_of_the_critical_line(activation):
    """d0 and v of the theory hold to order 1/n: both are extrapolated from two widths."""
    point = critical_line(activation, 0.3)
    drift, spread = [], []
    for n in (50, 100):
        found = lyapunov_exponent(activation, n, point.C_W, point.C_b, networks=500, depth=1000, seed=n)
        drift.append((2 * n * found.value, 2 * n * found.error))
        growth = sample_mlp(
            activation,
            n,
            400,
            point.C_W,
            point.C_b,
            networks=4000,
            replicas=1,
            tangent=True,
            layers=[20, 400],
            seed=n,
        ).log_growth.values
        spread.append(n * (growth[:, 1] - growth[:, 0]).var() / 380)
    d0 = 2 * drift[1][0] - drift[0][0]
    assert abs(d0 - point.d0) < 4 * math.hypot(2 * drift[1][1], drift[0][1]) + 0.01
    v = 2 * spread[1] - spread[0]
    assert abs(v - point.v) < 4 * math.sqrt(5) * math.sqrt(2 / 2000) * point.v


def test_sign_changes_where_the_theory_says():
    n = 50
    zero = point_at = POINT.sigma_w_at_width(n)
    for shift, sign in ((-0.04, -1), (0.04, 1)):
        found = lyapunov_exponent(
            "tanh", n, (point_at + shift) ** 2, POINT.C_b, networks=100, depth=300, seed=5
        )
        assert sign * found.value > 4 * found.error
    middle = lyapunov_exponent("tanh", n, zero**2, POINT.C_b, networks=100, depth=300, seed=5)
    # The next order of the shift is some 8/n^2.
    assert abs(middle.value) < 4 * middle.error + POINT.gamma / 2 * 25 / n**2


def test_the_same_seed_pairs_two_variances():
    """With common random numbers the slope gamma/2 needs few networks."""
    values = [
        lyapunov_exponent(
            "tanh", 400, (POINT.sigma_w + s) ** 2, POINT.C_b, networks=20, depth=150, seed=6
        ).value
        for s in (-0.02, 0.02)
    ]
    assert (values[1] - values[0]) / 0.04 == pytest.approx(POINT.gamma / 2, rel=0.06)


@pytest.mark.slow
def test_error_bars_cover():
    """Of 100 repetitions, about 95 % lie within two errors of a long run."""
    truth = at_critical(20, networks=2000, depth=1000, seed=1)
    for networks in (12, 40):
        inside = 0
        for seed in range(100):
            found = lyapunov_exponent(
                "tanh", 20, POINT.C_W, POINT.C_b, networks=networks, depth=60, seed=seed + 10
            )
            inside += abs(found.value - truth.value) < 2 * math.hypot(found.error, truth.error)
        assert 0.86 <= inside / 100 <= 0.99


def test_control_variates_pay():
    few = [at_critical(50, networks=k, depth=200, seed=2) for k in (19, 200)]
    assert "control" in few[1].method
    assert "control" not in few[0].method
    assert few[1].error * math.sqrt(200) < 0.8 * few[0].error * math.sqrt(19)


def test_residual_weight_multiplies_the_distance_to_zero():
    """At criticality the exponent stays near 0 for any residual weight; in the ordered phase it shrinks."""
    plain, kept = (
        lyapunov_exponent("tanh", 100, 1.0, 0.09, networks=40, depth=120, residual=r, seed=4)
        for r in (0.0, 0.9)
    )
    chi = math.exp(2 * plain.value)
    assert kept.value == pytest.approx(math.log(0.81 + 0.19 * chi) / 2, abs=0.006)


def test_layer_norm_without_biases_knows_no_variance():
    """Scale drops out: without biases the exponent does not depend on C_W."""
    values = [
        lyapunov_exponent("relu", 60, C_W, 0.0, networks=40, depth=100, layer_norm=True, seed=7)
        for C_W in (0.5, 4.0)
    ]
    assert values[0].value == pytest.approx(values[1].value, abs=1e-9)


def test_tangent_that_is_cut_off():
    found = lyapunov_exponent("relu", 2, 1.0, 0.5, networks=50, depth=100)
    assert not found.determined
    assert "cut off" in found.reason


def test_one_network_has_no_error():
    assert not lyapunov_exponent("tanh", 10, 1.9, 0.09, networks=1, depth=20).determined


def test_window_and_samples_are_told():
    found = lyapunov_exponent("tanh", 10, 1.9, 0.09, networks=5, depth=20, discard=4)
    assert found.window == (4.0, 20.0)
    assert found.n == 5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width": 0}, "width = 0"),
        ({"networks": 0}, "networks = 0"),
        ({"depth": 2.5}, "depth = 2.5"),
        ({"discard": 50}, "discard = 50 of depth = 50"),
        ({"discard": None, "C_W": math.nan}, "C_W = nan"),
        ({"activation": "hardshrink"}, "no tangent"),
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_bad_input(change, words):
    arguments = {
        "activation": "tanh",
        "width": 10,
        "C_W": 1.9,
        "C_b": 0.09,
        "depth": 50,
        "kernel": 1.0,
    } | change
    with pytest.raises(InputError, match=words):
        lyapunov_exponent(**arguments)
