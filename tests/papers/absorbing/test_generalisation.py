import math

import numpy as np
import pytest

from one_part import config, draw, run
from phasescope import studies
from phasescope.citations import BIBTEX
from phasescope.papers import absorbing
from phasescope.papers.absorbing.generalisation import GENERALISATION, LossCurves
from phasescope.papers.absorbing.image_subsets import folders, subset
from phasescope.papers.absorbing.optimum import Optimum, mean_place, minimum

TINY = (
    "generalisation.biases=2e-3,1.5",
    "generalisation.points=9",
    "generalisation.depths=10,20,40",
    "generalisation.train=60",
    "generalisation.test=80",
    "generalisation.replicas=2",
    "generalisation.steps=100",
)


def curves(power, noise=0.0, depths=(10, 40, 160), points=16):
    """Losses with their minimum at kappa = 2 L^-power, as LossCurves."""
    log_bias = np.linspace(-6, 1, points)
    log_kappa = 1.3 * log_bias
    generator = np.random.default_rng(0)
    loss = np.full((points, len(depths), 4, 1), np.nan)
    for row, depth in enumerate(depths):
        for s in range(4):
            place = log_kappa + power * math.log(depth) - math.log(2) + noise * generator.standard_normal()
            loss[:, row, s, 0] = np.where(np.abs(place) < 5, 0.1 * np.cosh(place / 2), np.nan)
    return LossCurves(np.array(depths, float), log_bias, log_kappa, 0 * log_bias, loss, loss)


def test_a_window_at_one_kappa_L_is_found_and_one_at_one_bias_is_told_apart():
    found, other = curves(1.0), curves(0.0)
    exponent = found.depth_exponent(0)
    assert exponent.value == pytest.approx(1.0, abs=3 * exponent.error + 1e-9)
    assert exponent.error < 0.05
    assert found.place(0).value == pytest.approx(math.log(2), abs=0.02)
    assert found.left_over(0).value < 1e-3
    assert found.left_over(0, by_bias=True).value > 0.3
    assert other.depth_exponent(0).value == pytest.approx(0.0, abs=0.05)
    assert other.left_over(0).value > 0.3
    assert other.left_over(0, by_bias=True).value < 1e-3
    # cosh(ln(0.1/2)/2) and cosh(ln(30/2)/2): the smaller rise is the one to 30.
    assert found.rise(0).value == pytest.approx(math.log(math.cosh(math.log(15) / 2)), abs=0.02)


def test_errors_cover_the_noise_of_repetitions():
    exponent = curves(1.0, noise=0.1).depth_exponent(0)
    # 0.1 for each of 4 repetitions and 3 depths: 0.1/(2 ln(16) sqrt(1/2)) for the slope.
    assert 0.01 < exponent.error < 0.08
    assert abs(exponent.value - 1) < 4 * exponent.error


def test_minima():
    x = np.linspace(-3, 4, 15)
    found = minimum(x, 1 + (x - 0.7) ** 2)
    assert found.place == pytest.approx(0.7, abs=1e-12)
    assert math.isnan(minimum(x, x).place)
    assert math.isnan(minimum(x[:4], x[:4] ** 2).place)
    gappy = np.where(np.abs(x) < 2, np.cosh(x - 0.3), np.nan)
    assert minimum(x, gappy).place == pytest.approx(0.3, abs=0.02)
    assert math.isnan(mean_place([found, Optimum(math.nan, math.nan)])[0])
    value, error = mean_place([minimum(x, (x - p) ** 2) for p in (0.6, 0.7, 0.8)])
    assert (value, error) == pytest.approx((0.7, 0.1 / math.sqrt(3)), abs=1e-9)


def test_subsets_share_no_image_and_do_not_depend_on_the_folder():
    known = {"data_set": "digits", "folder": "", "seed": 3}
    made = [subset(known, train=200, test=90, replica=i, replicas=5) for i in range(5)]
    rows = np.concatenate([np.concatenate([s.x_train, s.x_test]) for s in made])
    assert rows.shape == (5 * 290, 64)
    assert len(np.unique(rows, axis=0)) == len(rows)
    again = subset(known | {"folder": "elsewhere"}, train=200, test=90, replica=1, replicas=5)
    np.testing.assert_array_equal(again.x_train, made[1].x_train)
    other = subset(known | {"seed": 4}, train=200, test=90, replica=1, replicas=5)
    assert not np.array_equal(other.x_train, made[1].x_train)
    targets, _ = made[0].targets()
    assert targets.sum(axis=1) == pytest.approx(0, abs=1e-12)
    assert (targets.argmax(axis=1) == made[0].y_train).all()
    within, across = made[0].distances()
    assert within.shape == (200, 200)
    assert across.shape == (90, 200)


@pytest.mark.parametrize(("inputs", "share"), [("raw", 0.698), ("less the mean", 0.497), ("by pixel", 0.139)])
def test_the_rank_one_share_of_the_digits_is_set_by_what_is_done_to_them(inputs, share):
    # Largest eigenvalue over trace of the cosines between digits, from another program on another subset.
    known = {"data_set": "digits", "folder": "", "seed": 0, "inputs": inputs}
    within, _ = subset(known, train=1000, test=1, replica=0, replicas=1).distances()
    values = np.linalg.eigvalsh(1 - within)
    assert values[-1] / values.sum() == pytest.approx(share, abs=0.012)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    settings = config(*TINY, "activation=erf", "compared=sin")
    return settings, *run(GENERALISATION, settings, tmp_path_factory.mktemp("run"))


def test_checks_and_figures_at_a_small_size(small):
    settings, data, analysis, checks = small
    assert len(checks) == len(analysis.checks)
    # Far outside, what is learned of one image says nothing of another.
    assert checks["window-digits"].measured.value > 0.05
    assert checks["exponent-digits"].measured.value == pytest.approx(1, abs=0.3)
    assert checks["collapse-digits"].measured.value < 0.3
    assert "--set mnist=DIR" in checks["window-mnist"].measured.reason
    assert {check.verdict for check in analysis.checks if "mnist" in check.id} == {"not determined"}
    pictures = GENERALISATION.pictures(GENERALISATION.numbers(data, settings))
    assert [len(picture.figure.axes) for picture in pictures] == [2, 3]
    assert len({picture.name for picture in pictures}) == len(pictures)
    assert set(GENERALISATION.citations) <= set(BIBTEX)
    losses = data["loss"].values
    # Out of reach is NaN, in reach is a loss between 0 and about 1.
    assert np.isnan(losses).any()
    assert (losses[np.isfinite(losses)] < 1.2).all()


def test_a_task_is_the_same_whenever_it_is_measured(small):
    settings, *_ = small
    task = GENERALISATION.tasks(settings)[4]
    first, second = GENERALISATION.measure(task, "cpu"), GENERALISATION.measure(task, "cpu")
    for name in GENERALISATION.variables:
        np.testing.assert_array_equal(first[name], second[name])


def test_an_activation_without_kappa_says_so(tmp_path):
    settings = config(*TINY, "generalisation.points=5", "activation=relu", "compared=")
    data, _, checks = run(GENERALISATION, settings, tmp_path)
    assert {check.verdict for check in checks.values()} == {"not determined"}
    assert draw(GENERALISATION, data, settings)


def test_data_sets_are_those_with_a_folder():
    assert list(folders(config())) == ["digits"]
    assert list(folders(config("mnist=x"))) == ["digits", "mnist"]


@pytest.mark.parametrize(("preset", "budget"), [("quick", 60), ("paper", 800)])
def test_presets_stay_within_their_budgets(preset, budget):
    settings = studies.changed(absorbing.STUDY.presets[preset], ["mnist=a", "fashion_mnist=b"])
    tasks = GENERALISATION.tasks(settings)
    assert len({task.id for task in tasks}) == len(tasks)
    own = [task for task in tasks if preset == "paper" or not task.parameters["folder"]]
    assert sum(task.seconds for task in own) < budget
    assert max(task.seconds for task in tasks) < 30
