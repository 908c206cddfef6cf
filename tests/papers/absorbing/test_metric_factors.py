import math

import numpy as np
import pytest

from one_part import analysed, checks, config, draw, run
from phasescope.papers.absorbing.metric_factors import (
    METRIC_FACTORS,
    Curves,
    limit,
    networks_against_map,
    numbers,
    universal,
)

SMALL = (
    "compared=tanh,sin",
    "metric_factors.also=[]",
    "metric_factors.rates=[0.06, 0.02, 0.01, 0.005, 0.0025, 0.00125]",
    "metric_factors.sampled_rates=[0.06]",
    "metric_factors.width=800",
    "metric_factors.networks=20",
)
RATES = (0.01, 0.005, 0.0025, 0.00125, 0.0006, 0.0003)
KAPPA, K3 = 0.23349782, 0.21759134


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    settings = config(*SMALL)
    return settings, *run(METRIC_FACTORS, settings, tmp_path_factory.mktemp("metric"))


def iterated(kappa, k3, *, claimed=None):
    """Curves of rho' = chi rho - kappa rho^2 + k3 rho^3, with other metric factors claimed for them."""
    rows = []
    for epsilon in (sign * rate for sign in (-1, 1) for rate in RATES):
        layers = np.round(np.geomspace(0.1, 6, 16) / abs(epsilon)).astype(int)
        rho, recorded = 0.5, []
        for layer in range(1, layers[-1] + 1):
            rho = math.exp(epsilon) * rho - kappa * rho**2 + k3 * rho**3
            if layer in layers:
                recorded.append(rho)
        rows.append((epsilon, layers, recorded))
    known = {"kappa": claimed or kappa, "k3": k3, "gamma": 1.0, "v": 4.0, "d0": -2.0}
    rates = np.array([row[0] for row in rows])
    return Curves(known, rates, rates, np.array([row[1] for row in rows]), np.array([row[2] for row in rows]))


def test_the_universal_curve_solves_its_equation():
    # rho' = e rho - kappa rho^2 from a large start, by small Euler steps: rho = g(e l)/(kappa l).
    for epsilon in (-0.5, 0.5):
        rho, step = 1e4, 1e-4
        for _ in range(40_000):
            middle = rho + step / 2 * (epsilon * rho - 0.3 * rho**2)
            rho = (
                rho + step * (epsilon * middle - 0.3 * middle**2) if rho < 50 else 1 / (1 / rho + 0.3 * step)
            )
        assert universal(4 * epsilon) == pytest.approx(0.3 * 4 * rho, rel=1e-3)
    assert universal(np.array([0.0, 40.0, -40.0])) == pytest.approx([1, 40, 40 * math.exp(-40)])


def test_a_known_map_collapses_with_the_derived_correction():
    left, ratio = limit(iterated(0.74, 0.27))
    assert abs(left.value) < 3 * left.error
    assert left.error < 1e-3
    assert ratio.value == pytest.approx(1, abs=3 * ratio.error)
    assert ratio.error < 0.1


def test_a_wrong_metric_factor_does_not_collapse():
    left, _ = limit(iterated(KAPPA, K3, claimed=1.03 * KAPPA))
    assert left.value == pytest.approx(0.03, rel=0.05)
    assert left.value > 10 * left.error


def test_the_activations_collapse(small):
    settings, data, _, found = small
    names = {f"{what}-{name}" for what in ("collapse", "approach", "networks") for name in ("tanh", "sin")}
    assert set(found) == names
    for name in ("tanh", "sin"):
        assert found[f"collapse-{name}"].verdict == "agrees"
        assert abs(found[f"networks-{name}"].measured.value) < 0.2
    tanh = numbers(data, settings).followed[0]
    assert (tanh.curves.point["kappa"], tanh.curves.point["k3"]) == pytest.approx((KAPPA, K3), abs=1e-8)
    sizes = tanh.worst
    assert list(sizes) == sorted(sizes, reverse=True)
    assert sizes[0.00125][0] < 0.5 * sizes[0.06][0]


def test_a_wrong_curve_disagrees(small):
    settings, data, _, _ = small
    wrong = data.copy(deep=True)
    wrong["map_log_distance"].values += math.log(1.1)
    found = checks(analysed(METRIC_FACTORS, wrong, settings).checks)
    assert {found[f"collapse-{name}"].verdict for name in ("tanh", "sin")} == {"disagrees"}
    # The map moved, the networks did not.
    assert found["networks-tanh"].measured.value == pytest.approx(
        checks(analysed(METRIC_FACTORS, data, settings).checks)["networks-tanh"].measured.value
        - math.log(1.1)
    )


def test_networks_elsewhere_disagree(small):
    settings, data, _, _ = small
    wrong = data.copy(deep=True)
    wrong["log_distance"].values += 1.0
    found = checks(analysed(METRIC_FACTORS, wrong, settings).checks)
    assert found["networks-tanh"].verdict == "disagrees"
    estimate, allowance = networks_against_map(numbers(data, settings).followed[0].networks)
    # v/12 + d0/2 per layer in units of the width: 0.57 * 67/800 at the critical point, less above it.
    assert 0 < allowance < 0.06**2
    assert estimate.n == 40


@pytest.mark.slow
def test_figure_table_and_notes(small):
    settings, data, analysis, _ = small
    assert min(draw(METRIC_FACTORS, data, settings)) > 40_000
    assert len(analysis.tables[0].rows) == 12
    assert any("Chosen here" in note for note in analysis.notes)


@pytest.mark.slow
def test_activations_without_kappa_or_line_beside_one_that_has_it(tmp_path):
    changes = ("activation=hardtanh", "compared=relu", "metric_factors.rates=[0.06]")
    settings = config(*SMALL, *changes, "metric_factors.also=[]")
    data, _, found = run(METRIC_FACTORS, settings, tmp_path)
    assert len(found) == 6
    assert all(
        "slope jumps" in found[f"{what}-hardtanh"].measured.reason for what in ("collapse", "networks")
    )
    assert "no critical line" in found["collapse-relu"].measured.reason
    assert len(draw(METRIC_FACTORS, data, settings)) == 1


@pytest.mark.slow
def test_few_distances_leave_the_limit_open(tmp_path):
    changes = ("compared=sin", "activation=sin", "metric_factors.rates=[0.06]")
    settings = config(*SMALL, *changes)
    data, _, found = run(METRIC_FACTORS, settings, tmp_path)
    assert found["collapse-sin"].verdict == "not determined"
    assert "distances" in found["collapse-sin"].measured.reason
    assert len(draw(METRIC_FACTORS, data, settings)) == 1
