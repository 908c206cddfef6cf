import math

import numpy as np
import pytest

from one_part import analysed, checks, config, draw, run
from phasescope.activations import as_activation
from phasescope.papers.absorbing.decay import DECAY, fit_inverse, from_map, from_networks
from phasescope.papers.absorbing.iterates import distances, growth_rate, iterable, mean_distance_factor
from phasescope.studies.part import chosen

pytestmark = pytest.mark.whole

SMALL = (
    "decay.map_layers=4000",
    "decay.map_rates=[0.004, 0.006, 0.009, 0.014, 0.02, 0.028]",
    "decay.rates=[0.04, 0.12]",
    "decay.width=200",
    "decay.critical_width=400",
    "decay.critical_repeats=1",
)
KAPPA, K3, GAMMA = 0.23349782, 0.21759134, 0.60441309
LOG = KAPPA - K3 / KAPPA
IDS = {"critical-exponent", "kappa", "log-term", "kappa-networks", "log-term-networks", "ordered-rate"}
IDS |= {"gamma", "nu-par", "nu-par-networks", "plateau", "plateau-slope", "beta", "beta-networks"}

# 1 - c of tanh, erf and sin on their critical lines at sigma_b = 0.3, after l layers from c = 0: computed
# elsewhere from the Hermite series of the correlation map on 4001 points.
ITERATES = {
    "tanh": (1.39558398, {1: 0.88211791, 10: 0.38173596, 100: 0.0451564, 1000: 0.0043354106}),
    "erf": (1.23367251, {1: 0.86933253, 10: 0.35310906, 100: 0.041178607, 1000: 0.0039948738}),
    "sin": (1.26266460, {1: 0.86848295, 10: 0.36504152, 100: 0.048466464, 1000: 0.0049204649}),
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    settings = config(*SMALL)
    return settings, *run(DECAY, settings, tmp_path_factory.mktemp("decay"))


@pytest.mark.parametrize("name", ITERATES)
def test_the_exact_map(name):
    sigma_w, known = ITERATES[name]
    found = distances(as_activation(name), sigma_w, 0.3, np.array(list(known)))
    assert growth_rate(as_activation(name), sigma_w, 0.3) == pytest.approx(0, abs=2e-8)
    assert found == pytest.approx(np.array(list(known.values())), rel=2e-5)


def test_the_decay_at_the_critical_point(small):
    _, data, _, _ = small
    exact = chosen(data, kind="map", gamma_tau=0.0)
    layers, log = exact["layer"].values[0], exact["log_distance"].values[0, 0]
    late = layers >= 300
    kappa = from_map(layers[late], np.exp(log[late]), "kappa")
    constant = from_map(layers[late], np.exp(log[late]), "const")
    assert kappa.value == pytest.approx(KAPPA, abs=3 * kappa.error)
    # The published limit of 1/rho - kappa l - (kappa - k3/kappa) ln l.
    assert constant.value == pytest.approx(1.977, abs=2e-3)


def test_the_checks_of_the_exact_map(small):
    _, _, _, found = small
    assert set(found) == IDS
    assert found["kappa"].expected == pytest.approx(KAPPA, abs=1e-8)
    assert found["log-term"].expected == pytest.approx(-0.69838, abs=1e-5)
    assert found["gamma"].expected == pytest.approx(GAMMA, abs=1e-8)
    assert found["plateau-slope"].expected == pytest.approx(2.58851, abs=1e-4)
    for name in ("critical-exponent", "kappa", "gamma", "nu-par", "plateau-slope", "beta"):
        check = found[name]
        assert check.measured.value == pytest.approx(check.expected, rel=0.02)
    for name in ("critical-exponent", "kappa"):
        assert found[name].verdict == "agrees"


def test_small_networks_do_not_contradict_theory(small):
    _, _, _, found = small
    for name in ("ordered-rate", "plateau", "kappa-networks"):
        check = found[name]
        assert check.measured.determined
        assert abs(check.measured.value / check.expected - 1) < 4 * check.measured.error + 0.15


def test_networks_too_narrow_for_their_distance_are_left_out(small):
    _, data, analysis, _ = small
    # |d0|/(200 * 0.03) exceeds a quarter: nothing may be concluded from such networks.
    narrow = data.copy(deep=True)
    narrow["width"].values[:] = 20
    found = checks(analysed(DECAY, narrow, config(*SMALL)).checks)
    assert found["ordered-rate"].verdict == found["plateau"].verdict == "not determined"
    assert len(analysis.tables[0].rows) == 16


def altered(data, *, kind, sign, factor):
    """The data with all distances of one side or the critical point multiplied."""
    changed = data.copy(deep=True)
    rows = (data["kind"].values == kind) & (np.sign(data["gamma_tau"].values) == sign)
    changed["log_distance"].values[rows] += math.log(factor)
    changed["plateau"].values[rows] *= factor
    changed["network_rate"].values[rows] *= factor
    return changed


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({"kind": "map", "sign": 0, "factor": 0.9}, "kappa"),
        ({"kind": "map", "sign": 1, "factor": 0.8}, "plateau-slope"),
        ({"kind": "networks", "sign": 0, "factor": 0.5}, "kappa-networks"),
        ({"kind": "networks", "sign": 1, "factor": 2.0}, "plateau"),
        ({"kind": "networks", "sign": -1, "factor": 2.0}, "ordered-rate"),
    ],
)
def test_wrong_decays_disagree(small, change, broken):
    settings, data, _, _ = small
    found = checks(analysed(DECAY, altered(data, **change), settings).checks)
    assert found[broken].verdict == "disagrees"


def test_figures(small):
    settings, data, analysis, _ = small
    sizes = draw(DECAY, data, settings)
    assert len(sizes) == 2
    assert min(sizes) > 30_000
    assert any("tau = sigma_w - sigma_wc" in note for note in analysis.notes)


@pytest.mark.parametrize(
    ("activation", "reason"),
    [("relu", "no critical line"), ("hardtanh", "slope jumps"), ("softsign", "second derivative jumps")],
)
@pytest.mark.slow
def test_without_kappa_or_its_logarithm(activation, reason, tmp_path):
    settings = config(*SMALL, f"activation={activation}")
    data, _, found = run(DECAY, settings, tmp_path)
    assert set(found) == IDS
    assert all(reason in check.measured.reason for check in found.values())
    assert len(draw(DECAY, data, settings)) == 2


def test_a_map_that_takes_a_quadrature_is_not_iterated():
    steep = as_activation(lambda z: (40 * z).tanh())
    assert not iterable(steep, 1.0)
    assert np.isnan(distances(steep, 1.5, 0.3, np.array([1, 2]))).all()


def test_coefficients_of_a_known_decay():
    layers = np.unique(np.round(np.geomspace(300, 1e5, 100)))
    log = np.log(layers)
    rho = 1 / (0.4 * layers - 0.7 * log + 3 + 2 * log / layers)
    assert from_map(layers, rho, "kappa").value == pytest.approx(0.4, abs=1e-8)
    assert from_map(layers, rho, "log").value == pytest.approx(-0.7, abs=1e-5)
    rest = fit_inverse(layers, rho, np.ones_like(rho), {"kappa": 0.4, "log/l": 2.0, "1/l": 0.0}, 5)
    assert (rest["log"], rest["const"]) == pytest.approx((-0.7, 3.0))


def test_errors_over_networks_are_honest():
    random = np.random.default_rng(0)
    layers = np.arange(15.0, 101.0, 5)
    exact = 1 / (0.25 * layers - 0.7 * np.log(layers) + 2)
    held = {"log": -0.7, "log/l": 0.0, "1/l": 0.0}
    scores = []
    for _ in range(120):
        # Log-normal networks with steps that add up, as in a random product.
        steps = 0.03 * np.cumsum(random.standard_normal((60, layers.size)), axis=1)
        rho = exact * np.exp(steps - 0.5 * 0.03**2 * np.arange(1, layers.size + 1))
        found, again = from_networks(layers, rho, exact, "kappa", held, resamples=60)
        scores.append((found.value - 0.25) / found.error)
        assert again == pytest.approx(0.25)
    assert np.std(scores) == pytest.approx(1, abs=4 / math.sqrt(240))


@pytest.mark.parametrize("scaled_rate", [-2.0, 0.0, 2.0])
def test_the_effect_of_the_width(scaled_rate):
    # x' = x exp(noise) and a loss: dx = ((n e + a) x - kappa x^2) dt + sqrt(v) x dW, by its exact solution.
    random = np.random.default_rng(3)
    v, d0, n, layers, paths = 4.25, -1.854, 4000, 80, 20_000
    rate = scaled_rate / layers
    inverse = np.zeros(paths)
    growth = np.ones(paths)
    for _ in range(layers):
        step = np.exp(rate + d0 / n + math.sqrt(v / n) * random.standard_normal(paths))
        inverse = inverse / step + (1 + 1 / step) / 2
        growth *= step
    infinite = 0.0
    for _ in range(layers):
        infinite = infinite * math.exp(-rate) + (1 + math.exp(-rate)) / 2
    ratio = infinite / inverse
    predicted = mean_distance_factor(np.array([layers]), rate, {"v": v, "d0": d0}, n)[0]
    error = ratio.std() / math.sqrt(paths)
    # The next order is of the size (v l/n)^2.
    assert ratio.mean() == pytest.approx(predicted, abs=4 * error + 0.3 * (v * layers / n) ** 2)
    assert abs(predicted - 1) > 4 * error
    if scaled_rate == 0:
        assert predicted == pytest.approx(1 + (d0 / 2 + v / 12) * layers / n)
