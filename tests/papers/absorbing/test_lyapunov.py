import math

import numpy as np
import pytest

from one_part import analysed, checks, config, draw, run
from phasescope.estimate import Estimate
from phasescope.papers.absorbing.exponent_zero import fit_exponents, in_inverse_width
from phasescope.papers.absorbing.lyapunov import LYAPUNOV
from phasescope.studies.part import chosen

SMALL = (
    "lyapunov.widths=[50,100,200,400]",
    "lyapunov.points=5",
    "lyapunov.effort=1e4",
    "lyapunov.overview=2",
    "lyapunov.overview_effort=1e4",
    "lyapunov.neurons=3200",
)
# Of tanh at sigma_b = 0.3: independent quadrature, and networks sampled elsewhere.
SIGMA_W, GAMMA, D0 = 1.39558398, 0.60441309, -1.854
IDS = {"zero-infinite-width", "zero-shift", "slope", "at-critical-point"}
IDS |= {f"zero-n{n}" for n in (50, 100, 200, 400)}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    settings = config(*SMALL)
    return settings, *run(LYAPUNOV, settings, tmp_path_factory.mktemp("lyapunov"))


def following(data, *, gamma=GAMMA, d0=D0, second=-9.0, error=1e-5, seed=0):
    """The data with 2 lambda = gamma tau - 0.3 tau^2 + d0/n + second tau^0/n^2 and normal noise."""
    random = np.random.default_rng(seed)
    changed = data.copy(deep=True)
    tau = data["sigma_w"].values - SIGMA_W
    n = data["width"].values
    exact = (gamma * tau - 0.3 * tau**2 + d0 / n + second / n**2) / 2
    changed["exponent"].values[:] = exact + error * random.standard_normal(exact.size)
    changed["error"].values[:] = error
    return changed


def test_the_law_is_recovered(small):
    settings, data, _, _ = small
    found = checks(analysed(LYAPUNOV, following(data), settings).checks)
    assert {name: check.verdict for name, check in found.items()} == dict.fromkeys(IDS, "agrees")
    assert found["zero-shift"].expected == pytest.approx(3.068, abs=1e-3)
    assert found["slope"].expected == pytest.approx(0.302, abs=3e-4)
    assert found["at-critical-point"].expected == pytest.approx(-1.854, abs=1e-3)
    assert found["zero-n100"].expected == pytest.approx(1.39558 + 0.03068, abs=2e-5)
    # The order 1/n^2 of the zero follows from -second/gamma and the curvature.
    measured = found["zero-n50"].measured
    root = np.roots([-0.3, GAMMA, D0 / 50 - 9 / 2500]).min()
    assert measured.value == pytest.approx(SIGMA_W + root, abs=4 * measured.error)


@pytest.mark.parametrize(
    ("wrong", "broken"),
    [
        ({"d0": -3.0}, {"zero-shift", "at-critical-point"}),
        ({"gamma": 0.7}, {"slope", "zero-shift"}),
    ],
)
def test_another_law_disagrees(small, wrong, broken):
    settings, data, _, _ = small
    found = checks(analysed(LYAPUNOV, following(data, **wrong), settings).checks)
    assert {found[name].verdict for name in broken} == {"disagrees"}


def test_noise_leaves_it_open(small):
    settings, data, _, _ = small
    found = checks(analysed(LYAPUNOV, following(data, error=5e-3), settings).checks)
    assert {found[name].verdict for name in ("slope", "zero-shift", "zero-n400")} == {"not determined"}


def test_small_networks_do_not_contradict_theory(small):
    _, data, _, found = small
    assert set(found) == IDS
    for check in found.values():
        assert check.verdict != "disagrees"
    wide = chosen(data, kind="overview", width=400).sortby("sigma_w")
    # ln(chi_1)/2 on both sides, from the mean-field tables: negative at 0.98, positive at 2.23.
    assert wide["theory"].values[0] < -0.1 < 0.1 < wide["theory"].values[-1]
    assert wide["exponent"].values == pytest.approx(wide["theory"].values, abs=0.03)


def test_figure_and_table(small):
    settings, data, analysis, _ = small
    assert [row[:2] for row in analysis.tables[0].rows][:2] == [["50", "1.45694"], ["100", "1.42626"]]
    assert min(draw(LYAPUNOV, data, settings)) > 20_000


def test_without_a_critical_line(tmp_path):
    settings = config(*SMALL, "activation=relu")
    data, _, found = run(LYAPUNOV, settings, tmp_path)
    assert set(found) == IDS
    assert all("no critical line" in check.measured.reason for check in found.values())
    assert len(draw(LYAPUNOV, data, settings)) == 1


def test_errors_of_the_zero_are_honest():
    random = np.random.default_rng(1)
    sigma_w = np.linspace(1.3, 1.5, 7)
    exact = 0.3 * (sigma_w - 1.38) - 0.2 * (sigma_w - 1.38) ** 2
    scores = []
    for _ in range(400):
        noisy = exact + 1e-3 * random.standard_normal(7)
        curve = fit_exponents(sigma_w, noisy, np.full(7, 1e-3), 1.4)
        scores.append(
            [
                (curve.zero.value - 1.38) / curve.zero.error,
                (curve.slope.value - 0.3) / curve.slope.error,
                (curve.at_line.value - 0.00592) / curve.at_line.error,
            ]
        )
    assert np.std(scores, axis=0) == pytest.approx(np.ones(3), abs=4 / math.sqrt(800))
    assert np.abs(np.mean(scores, axis=0)).max() < 4 / math.sqrt(400)


def test_a_line_that_never_crosses_has_no_zero():
    sigma_w = np.linspace(1.0, 1.1, 5)
    curve = fit_exponents(sigma_w, 0.5 + 0.1 * sigma_w, np.full(5, 1e-3), 1.0, degree=1)
    assert not curve.zero.determined
    assert curve.at_line.value == pytest.approx(0.6)


def test_series_in_inverse_width():
    widths = [25, 50, 100, 200]
    exact = [2.0 - 3.0 / n + 40.0 / n**2 for n in widths]
    series = in_inverse_width(widths, [Estimate(value, 1e-3, "", 1) for value in exact], 2)
    assert [c.value for c in series.coefficients] == pytest.approx([2.0, -3.0, 40.0])
    assert series.at(10) == pytest.approx(2.1)
    unknown = Estimate.not_determined("lost")
    few = in_inverse_width(widths, [Estimate(1.0, 0.1, "", 1), unknown, unknown, unknown], 2)
    assert few.limit.reason == "lost"
    assert few.at(10) == 0
