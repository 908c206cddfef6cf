"""The convolutional parts: curves of a known class get the right verdict, numbers their known answers."""

import math
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from scipy.special import digamma

from phasescope.activations import as_activation
from phasescope.estimate import Estimate
from phasescope.papers import absorbing
from phasescope.papers.absorbing import cnn
from phasescope.papers.absorbing.cnn import CNN_1D, CNN_2D, DISORDER, FREE, MEAN_FIELD, NARROWER, Curves
from phasescope.scaling import UNIVERSALITY_CLASSES
from phasescope.studies import Study, run
from phasescope.studies.claim import Claim
from phasescope.theory import critical_line

pytestmark = pytest.mark.whole

TINY = {
    "shifts": (0.1, 0.4, 0.7),
    "together": 3,
    "channels": (4, 6),
    "sizes": (4, 3),
    "batches": (2, 1),
    "batch": 4,
    "depth": 30,
    "points": 10,
    "first": (4,),
    "few": 4,
    "many": 6,
    "deep_size": 3,
    "deep_depth": 40,
    "deep_batches": 1,
    "typical_size": 8,
    "typical_depth": 20,
    "typical_batches": 1,
    "fluctuation_sizes": (2, 4),
    "fluctuation_depth": 5,
    "fluctuation_batches": 1,
}
ZEROS = {
    "zero_channels": (4, 6, 8),
    "zero_uniform_batches": (1, 1, 1),
    "zero_varying_batches": (1, 1, 1),
    "offsets": (0.0, 0.2),
    "zero_layers": 4,
    "zero_size": 6,
}
IDS = {
    "window-collapse",
    "window-delta",
    "window-nu",
    "window-disorder",
    "window-mean-field",
    "beyond-channels",
    "beyond-channels-6",
    "beyond-first-layer",
    "beyond-depth",
    "beyond-typical",
    "self-averaging-shared",
    "self-averaging-local",
}
ZERO_IDS = {"zero-uniform", "zero-varying"}
STUDY = Study("absorbing", "title", "summary", "source", (CNN_1D, CNN_2D))
DP = "DP 1+1"
CLASSES = {name: cnn.exponents_to_try(1)[name] for name in (DP, DISORDER, MEAN_FIELD)}


def tiny(**common):
    quick = absorbing.STUDY.presets["quick"]
    own = {
        "cnn_1d": quick.cnn_1d.model_copy(update=TINY | ZEROS),
        "cnn_2d": quick.cnn_2d.model_copy(update=TINY),
    }
    return quick.model_copy(update=own | common)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return run(STUDY, tiny(), tmp_path_factory.mktemp("tiny"), parts=["cnn-1d"])


def test_every_check_and_figure_is_there(done):
    assert done.failed == {}
    assert {check.id for check in done.checks} == {f"cnn-1d/{id}" for id in IDS | ZERO_IDS}
    assert [picture.name for picture in done.pictures["cnn-1d"]] == ["window", "beyond", "depth"]
    value = {check.id: check.expected for check in done.checks}
    # delta and 1/nu_par of directed percolation: Jensen 1999.
    assert value["cnn-1d/window-delta"] == pytest.approx(0.27649 / 1.73385, rel=1e-4)
    assert value["cnn-1d/window-nu"] == pytest.approx(1 / 1.73385, rel=1e-4)
    assert all(check.claim.endswith(".") for check in done.checks)


def test_only_claims_of_the_paper_name_it_as_their_source(done):
    of_the_paper = {check.id.partition("/")[2] for check in done.checks if "2307.02284" in check.source}
    assert of_the_paper == {"window-collapse", "window-delta", "window-nu"}


def test_tasks_measure_what_their_parameters_say(done):
    data = done.data["cnn-1d"].to_dataset()
    curves = cnn.collect(data, kind="decay", channels=4)
    assert [curve.networks for curve in curves] == [8, 8, 8]
    assert curves[0].layers[-1] == 30
    # tanh at sigma_b = 0.3: 1.39558 at infinite width, 1.854/(0.6044 n) above it at n neurons.
    shifts = (np.array([curve.sigma_w for curve in curves]) - 1.39558) / (1.854 / 0.6044 / 4)
    np.testing.assert_allclose(shifts, TINY["shifts"], atol=1e-3)
    zeros = cnn.collect(data, kind="zero-varying", channels=8)
    shifts = 8 * (np.array([curve.sigma_w for curve in zeros]) - 1.39558)
    np.testing.assert_allclose(shifts, (0.7, 1.3), atol=1e-3)
    assert zeros[0].layers.tolist() == [8, 32]
    assert np.isfinite(zeros[0]["log_growth"]).all()


def test_an_activation_without_a_critical_line_leaves_every_check_open(tmp_path):
    done = run(STUDY, tiny(activation="relu"), tmp_path, parts=["cnn-2d"])
    assert done.failed == {}
    assert {check.id for check in done.checks} == {f"cnn-2d/{id}" for id in IDS}
    assert {check.verdict for check in done.checks} == {"not determined"}
    # Directed percolation in two dimensions: Voigt and Ziff 1997.
    assert next(c.expected for c in done.checks if c.id.endswith("window-delta")) == pytest.approx(0.4505)


def test_no_task_of_the_presets_lasts_longer_than_a_minute():
    for preset, budgets in {"quick": (60, 40), "paper": (1000, 500)}.items():
        for part, budget in zip((CNN_1D, CNN_2D), budgets, strict=True):
            seconds = [task.seconds for task in part.tasks(absorbing.STUDY.presets[preset])]
            assert sum(seconds) < budget
            assert max(seconds) < 60


def curves_of(exponents, *, critical=1.8, sigma_w=(1.7, 1.75, 1.8, 1.85, 1.9), networks=40, scatter=0.15):
    """Networks whose mean is ``l^-delta F((sigma_w - critical) l^(1/nu))``, with F rising smoothly."""
    delta, rate = exponents
    rng = np.random.default_rng(5)
    layers = np.unique(np.geomspace(10, 600, 12).round())
    made = []
    for value in sigma_w:
        u = (value - critical) / 0.1 * (layers / 600) ** rate
        logs = -3 - delta * np.log(layers / 10) + 2 * np.arcsinh(2 * u)
        noise = rng.normal(0, scatter, (networks, len(layers)))
        made.append(Curves(value, layers, {"log_distance": logs + noise - scatter**2 / 2}))
    return made


@pytest.mark.parametrize("own", CLASSES)
def test_curves_of_one_class_are_given_to_that_class_alone(own):
    curves = curves_of(CLASSES[own])
    made = {name: cnn.centred_collapse(curves, 10, 600, each, 5) for name, each in CLASSES.items()}
    for name, one in made.items():
        check = cnn.collapse_check(Claim("id", "Sentence."), made, name)
        assert check.verdict == ("agrees" if name == own else "disagrees")
        assert f"rms {one.rms:.2g} %" in check.note
        if name == own:
            assert abs(one.exponents["critical"].value - 1.8) < 4 * one.exponents["critical"].error


def test_free_exponents_of_curves_of_directed_percolation_are_its_own():
    free = cnn.centred_collapse(curves_of(CLASSES[DP]), 10, 600, (math.nan, math.nan), 5)
    for key, expected in zip("ab", CLASSES[DP], strict=True):
        assert abs(free.exponents[key].value - expected) < 4 * free.exponents[key].error
        assert free.exponents[key].error < 0.05


def test_two_classes_that_both_hold_are_not_told_apart():
    made = dict.fromkeys(
        (DP, DISORDER), cnn.centred_collapse(curves_of(CLASSES[DP]), 10, 600, CLASSES[DP], 5)
    )
    assert cnn.collapse_check(Claim("id", "Sentence."), made, DP).verdict == "not determined"
    # Free exponents are no rival.
    made = {DP: made[DP], FREE: made[DP]}
    assert cnn.collapse_check(Claim("id", "Sentence."), made, DP).verdict == "agrees"


def test_a_collapse_goes_to_where_its_own_critical_point_is():
    sigma_w = (1.55, 1.6, 1.65, 1.7, 1.75, 1.8, 1.85, 1.9)
    one = cnn.centred_collapse(curves_of(CLASSES[DP], sigma_w=sigma_w), 10, 600, CLASSES[DP], 5)
    assert [curve.x[0] for curve in one.curves] == [1.7, 1.75, 1.8, 1.85, 1.9]
    # Where no sigma_w lies above the critical point, it is at the rim, and nothing agrees.
    one = cnn.centred_collapse(
        curves_of(CLASSES[DP], critical=1.78, sigma_w=sigma_w[:5]), 10, 600, CLASSES[DP], 5
    )
    check = cnn.collapse_check(Claim("id", "Sentence."), {DP: one}, DP)
    assert check.verdict == "not determined"
    assert "at the rim" in check.note


def test_too_few_curves_are_said_to_be_too_few():
    assert cnn.centred_collapse([], 10, 600, CLASSES[DP], 5) is None
    check = cnn.collapse_check(Claim("id", "Sentence."), {}, DP)
    assert check.verdict == "not determined"
    assert "too few curves" in check.measured.reason


def test_a_trend_with_the_channels_is_found_and_needs_two_of_them():
    deltas = {c: Estimate(0.1 + 0.3 * math.log(c), 0.05, "", 9) for c in (3, 5, 20)}
    trend = cnn._trend(deltas)
    assert trend.value == pytest.approx(0.3)
    x = np.log([3, 5, 20])
    assert trend.error == pytest.approx(0.05 / math.sqrt(((x - x.mean()) ** 2).sum()))
    assert not cnn._trend({3: deltas[3], 5: Estimate.not_determined("why")}).determined


def test_the_typical_network_lies_below_the_mean_by_half_the_variance():
    rng = np.random.default_rng(2)
    logs = -3 + 1.2 * rng.standard_normal((400, 1))
    gap = cnn._gap(Curves(1.5, np.array([9.0]), {"log_distance": logs, "typical_log_distance": logs}))
    # ln <exp x> = mean + variance/2 for a normal x.
    assert abs(gap.value + 0.72) < 4 * gap.error
    assert 0.04 < gap.error < 0.12


def test_the_spread_of_independent_sites_falls_with_their_root():
    rng = np.random.default_rng(3)
    growths = [rng.standard_normal(400) / math.sqrt(sites) for sites in (4, 16, 64)]
    slope, spread = cnn.fluctuation_slope((4, 16, 64), growths, 0)
    assert abs(slope.value + 0.5) < 4 * slope.error
    # The standard deviation of a normal sample of 400 has an error of 1/sqrt(800).
    assert spread[1] / spread[0] == pytest.approx(1 / math.sqrt(800), rel=0.3)


def test_padding_is_left_out():
    data = xr.Dataset(
        {
            "recorded_layer": (("task", "point"), [[1.0, 5.0, math.nan]]),
            "log_distance": (
                ("task", "network", "point"),
                [[[0.0, -1.0, math.nan], [0.0, -2.0, math.nan], [math.nan] * 3]],
            ),
        },
        coords={"kind": ("task", ["decay"]), "sigma_w": ("task", [1.5]), "networks": ("task", [2])},
    )
    (curve,) = cnn.collect(data, kind="decay")
    assert curve.layers.tolist() == [1.0, 5.0]
    assert curve["log_distance"].tolist() == [[0.0, -1.0], [0.0, -2.0]]


def test_the_limit_of_the_zero_is_that_of_sums_over_gauss_hermite_points():
    point = critical_line("tanh", 0.3)
    x, weight = np.polynomial.hermite_e.hermegauss(200)
    weight = weight / weight.sum()
    z = math.sqrt(point.K) * x
    square, slope = np.tanh(z) ** 2, (1 - np.tanh(z) ** 2) ** 2
    m4 = weight @ slope**2 / (weight @ slope) ** 2
    back = weight @ (slope * (x**2 - 1)) / (weight @ slope)
    along = back * point.C_W**2 * (weight @ (square * slope)) / (point.K * (1 - point.chi_q**2))
    expected = -(point.d0 + m4 / 2 - along) / point.gamma
    assert cnn.uniform_shift(as_activation("tanh"), point) == pytest.approx(expected, rel=1e-6)
    # The phase alone, without what a wave does not share with the row.
    assert -(point.d0 + m4 / 2) / point.gamma == pytest.approx(1.864, abs=1e-3)
    assert expected == pytest.approx(1.281, abs=1e-3)


@pytest.mark.slow
def test_the_zero_about_uniform_rows_tends_to_its_limit():
    """By the exact law of a wave with f(k) = 0: a circular normal amplitude, independent of the row."""
    point = critical_line("tanh", 0.3)
    rng = np.random.default_rng(1)
    zeros = []
    for channels, networks in ((20, 1200), (40, 1200)):
        growth = []
        for shift in (1.1, 1.7):
            C_W = (point.sigma_w + shift / channels) ** 2
            q, total = np.full(networks, point.K), np.zeros(networks)
            for layer in range(720):
                value = np.tanh(np.sqrt(q)[:, None] * rng.standard_normal((networks, channels)))
                size = rng.standard_exponential((networks, channels))
                if layer >= 20:
                    # The mean of exponentials has a known mean logarithm.
                    total += np.log(C_W * ((1 - value**2) ** 2 * size).mean(1)) - np.log(size.mean(1))
                q = C_W * (value**2).mean(1) + 0.09
            growth.append(total.mean() / 700 + digamma(channels) - math.log(channels))
        zeros.append(1.1 - 0.6 * growth[0] / (growth[1] - growth[0]))
    # Straight in 1/C; each zero has an error of about 0.01.
    assert abs(2 * zeros[1] - zeros[0] - cnn.uniform_shift(as_activation("tanh"), point)) < 0.1


def test_the_error_of_a_free_exponent_holds_what_fewer_sigma_w_change():
    free = cnn.centred_collapse(curves_of(CLASSES[DP]), 10, 600, (math.nan, math.nan), 5)
    other = replace(free, exponents=free.exponents | {"a": free.exponents["a"] + 0.3})
    alone = cnn._exponent({FREE: free}, "a")
    found = cnn._exponent({FREE: free, NARROWER: other}, "a")
    assert found.value == alone.value
    assert found.error == pytest.approx(math.hypot(alone.error, 0.3))


def test_directed_percolation_and_its_rivals_are_tried_by_their_exponents():
    tried = cnn.exponents_to_try(2)
    assert tried["DP 2+1"] == pytest.approx((0.4505, 1 / 1.295))
    assert tried[DISORDER] == (0.5, 0.5)
    assert DP not in tried
    assert math.isnan(tried[FREE][0])
    assert set(tried) - {FREE, NARROWER} <= set(UNIVERSALITY_CLASSES)
