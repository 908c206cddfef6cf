import numpy as np
import pytest

from one_part import analysed, checks, config, draw, run
from phasescope.papers.absorbing import shared
from phasescope.papers.absorbing.phase_diagram import PHASE_DIAGRAM, vanishing_power
from phasescope.studies.part import chosen

pytestmark = pytest.mark.whole

SMALL = (
    "phase_diagram.line_points=5",
    "phase_diagram.effort=3e4",
    "phase_diagram.rows=2",
    "phase_diagram.columns=4",
    "phase_diagram.map_depth=20",
    "compared=[]",
)
# sigma_w, K, kappa at sigma_b, of tanh: independent trapezoid quadrature on 4001 points.
TANH = {
    0.05: (1.12253900, 0.15369194, 0.02545693),
    0.1: (1.19340073, 0.27330091, 0.06009872),
    0.3: (1.39558398, 0.76347477, 0.23349782),
    1.0: (1.85558910, 3.03639639, 1.12392756),
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    settings = config(*SMALL)
    return settings, *run(PHASE_DIAGRAM, settings, tmp_path_factory.mktemp("phase"))


def with_transition_at(data, sigma_w, error=2e-4):
    """The data with exponents that rise through zero at sigma_w(n) = sigma_w + 3.07/n."""
    changed = data.copy(deep=True)
    rows = np.flatnonzero(data["kind"].values == "exponent")
    for row in rows:
        width, sigma_b = float(data["width"].values[row]), float(data["sigma_b"].values[row])
        zero = sigma_w[sigma_b] + 3.07 / width
        changed["exponent"].values[row] = 0.302 * (data["sigma_w"].values[row] - zero)
        changed["exponent_error"].values[row] = error
    return changed


def test_the_numbers_of_theory(small):
    settings, data, _, _ = small
    reference = shared.named(chosen(data, kind="line", activation="tanh")["reference"].values[0])
    assert (reference["sigma_w"], reference["K"], reference["kappa"]) == pytest.approx(TANH[0.3], abs=2e-8)
    assert (reference["gamma"], reference["k3"]) == pytest.approx((0.60441309, 0.21759134), abs=2e-8)
    assert (reference["v"], reference["d0"]) == pytest.approx((4.250, -1.854), abs=1e-3)
    for sigma_b in (0.1, 1.0):
        rows = chosen(data, kind="exponent", sigma_b=sigma_b)
        assert rows["reference"].values[0][:1] == pytest.approx(TANH[sigma_b][:1], abs=2e-8)
    assert settings.phase_diagram.sampled == (0.1, 1.0)


def test_theory_meets_the_paper_and_kappa_vanishes(small):
    _, _, _, found = small
    point = found["critical-point-theory"]
    assert (point.expected, point.verdict) == (1.39558, "agrees")
    assert point.measured.value == pytest.approx(1.39558398, abs=2e-8)
    vanishing = found["kappa-vanishes"]
    assert (vanishing.expected, vanishing.verdict) == (pytest.approx(4 / 3), "agrees")


def test_the_power_of_kappa_from_the_published_line():
    # kappa = 18 b^2 K^2 and sigma_b^2 = 12 b^2 K^3 with b = 1/3, corrected by orders of K.
    biases = np.geomspace(1e-4, 1e-3, 4)
    K = (0.75 * biases**2) ** (1 / 3)
    assert vanishing_power(biases, 2 * K**2 * (1 - 2 * K + K**2)).value == pytest.approx(4 / 3, abs=2e-4)
    wrong = vanishing_power(biases, 2 * K**3)
    assert abs(wrong.value - 4 / 3) > 3 * wrong.error + 0.5


def test_the_map_is_ordered_on_one_side_and_chaotic_on_the_other(small):
    _, data, _, _ = small
    rows = chosen(data, kind="map")
    ends = np.exp(rows["map_log_distance"].values[:, [0, -1]])
    # At sigma_b = 0.05, 1.5: tanh is ordered at 0.6 sigma_wc = 0.84 and, without much bias, chaotic at 2.37.
    assert (ends[:, 0] < 0.05).all()
    assert ends[0, 1] > 0.3


def test_small_networks_do_not_contradict_theory(small):
    _, _, _, found = small
    for name in ("critical-point-networks", "networks-sigma_b-0.1", "networks-sigma_b-1"):
        check = found[name]
        assert abs(check.measured.value - check.expected) < 4 * check.measured.error + 0.002


def test_a_transition_elsewhere_disagrees(small):
    settings, data, _, _ = small
    true = {sigma_b: values[0] for sigma_b, values in TANH.items()}
    right = checks(analysed(PHASE_DIAGRAM, with_transition_at(data, true), settings).checks)
    moved = {sigma_b: value + 0.02 for sigma_b, value in true.items()}
    wrong = checks(analysed(PHASE_DIAGRAM, with_transition_at(data, moved), settings).checks)
    for name in ("critical-point-networks", "networks-sigma_b-0.1", "networks-sigma_b-1"):
        assert right[name].verdict == "agrees"
        assert wrong[name].verdict == "disagrees"
    assert right["critical-point-networks"].expected == 1.39558


def test_a_noisy_transition_is_not_determined(small):
    settings, data, _, _ = small
    true = {sigma_b: values[0] for sigma_b, values in TANH.items()}
    noisy = checks(analysed(PHASE_DIAGRAM, with_transition_at(data, true, error=0.01), settings).checks)
    assert noisy["critical-point-networks"].verdict == "not determined"


def test_figures_and_table(small):
    settings, data, analysis, _ = small
    assert [row[:2] for row in analysis.tables[0].rows] == [
        ["0.3", "1.39558"],
        ["0.1", "1.19340"],
        ["1", "1.85559"],
    ]
    assert min(draw(PHASE_DIAGRAM, data, settings)) > 20_000
    assert any("Chosen here" in note for note in analysis.notes)


LEAST = (*SMALL, "phase_diagram.sampled=[]", "phase_diagram.rows=1", "phase_diagram.columns=2")


@pytest.mark.parametrize("activation", ["relu", "hardtanh"])
def test_without_a_line_or_without_kappa(activation, tmp_path):
    settings = config(*LEAST, f"activation={activation}")
    data, _, found = run(PHASE_DIAGRAM, settings, tmp_path)
    assert set(found) == {"critical-point-theory", "critical-point-networks", "kappa-vanishes"}
    assert found["kappa-vanishes"].verdict == "not determined"
    sampled = found["critical-point-networks"].measured
    if activation == "relu":
        assert "no critical line" in found["critical-point-theory"].measured.reason
        assert "no critical line" in sampled.reason
    else:
        assert sampled.value == pytest.approx(1.116145, abs=4 * sampled.error + 0.002)
    assert min(draw(PHASE_DIAGRAM, data, settings)) > 10_000


def test_a_users_own_activation(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("import torch\n\n\ndef scaled(z):\n    return torch.tanh(2 * z) / 2\n")
    settings = config(*LEAST, f"activation={file}:scaled", "sigma_b=0.25")
    data, _, found = run(PHASE_DIAGRAM, settings, tmp_path / "out")
    # Twice its pre-activations are those of tanh at twice the bias.
    reference = shared.named(chosen(data, kind="line")["reference"].values[0])
    assert (reference["sigma_w"], reference["kappa"]) == pytest.approx((1.54967391, 0.44601207), abs=2e-8)
    assert found["critical-point-theory"].verdict == "no reference"
    assert found["kappa-vanishes"].verdict == "agrees"
