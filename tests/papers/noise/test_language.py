"""Models of the next word at a size that a test can afford, and what is said of known data."""

from __future__ import annotations

import math

import numpy as np
import pytest

from one_part import analysed, config, draw, run
from one_part import checks as by_id
from phasescope.papers import noise
from phasescope.papers.noise.language import BESIDE, LANGUAGE, STREAM
from phasescope.papers.noise.networks import CONDITIONS, QUANTITIES
from phasescope.papers.noise.sequences import SYNTHETIC_WORDS

pytestmark = pytest.mark.usefixtures("coarse_errors")

SETTINGS = config(
    "language.units=8",
    "language.networks=1",
    "language.predicted=50",
    "language.train=20",
    "language.test=10",
    "language.epochs=1",
    "language.series=8",
    "language.tests=0",
    "words=120",
    "windows=[6,30,5]",
    study=noise.STUDY,
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    return run(LANGUAGE, SETTINGS, tmp_path_factory.mktemp("tasks"))[0]


@pytest.fixture(scope="module")
def data(measured):
    """Each network twice, as two replicas."""
    twice = measured.isel(task=[0, 0, 1, 1])
    return twice.assign_coords(replica=("task", [0, 1, 0, 1]))


def checks(data):
    return by_id(analysed(LANGUAGE, data, SETTINGS).checks)


def test_networks_of_both_kinds_are_measured_alike(data):
    assert data["positions"].values.tolist() == ["sinusoidal"] * 2 + ["none"] * 2
    for quantity in (STREAM, BESIDE, "mlp", "input"):
        found = data["beta"].values[:, [CONDITIONS.index(c) for c in ("words", "shuffled", "untrained")]]
        assert np.isfinite(found[:, :, QUANTITIES.index(quantity)]).all()
    assert np.isfinite(data["order_beta"].values).all()
    # 20 texts of 120 words teach next to nothing: the loss is about that of one word in 50.
    assert data["test_loss"].values[:, 0] == pytest.approx(math.log(50), abs=0.6)


def test_the_frequencies_of_artificial_words_predict_as_well_as_their_entropy_says(data):
    weights = 1 / np.arange(1, SYNTHETIC_WORDS - 40)
    shares = 0.8 * weights / weights.sum()
    # Words 1 to 40 are cues, equally frequent over both classes; 41 to 49 are told apart, the rest is one.
    known = np.concatenate([np.full(40, 0.2 / 40), shares[:9], [shares[9:].sum()]])
    entropy = -float(known @ np.log(known))
    assert data["frequency_loss"].values == pytest.approx(entropy, abs=0.12)


def changed(data, **betas):
    """The data with other exponents, by kind, condition and quantity, and a scatter of 0.001."""
    new = data.copy(deep=True)
    for name, value in betas.items():
        kind, condition, quantity = name.split("__")
        rows = np.flatnonzero(data["positions"].values == kind)
        place = CONDITIONS.index(condition), QUANTITIES.index(quantity)
        new["beta"].values[rows, place[0], place[1]] = value + 0.001 * np.array([-1, 1])
    return new


def test_known_exponents_get_the_verdicts_that_they_deserve(data):
    new = changed(
        data,
        sinusoidal__words__residual=0.5,
        sinusoidal__shuffled__residual=0.5,
        sinusoidal__untrained__residual=0.3,
        sinusoidal__words__residual_beside_position=0.2,
        sinusoidal__shuffled__residual_beside_position=0.0,
        none__words__residual=0.1,
        none__shuffled__residual=0.4,
        none__words__residual_beside_position=-0.1,
    )
    new["frequency_loss"].values[:] = 4.0
    new["test_loss"].values[:] = 3.5
    new["test_loss"].values[data["positions"].values == "none"] = 4.5
    new["test_loss"].values[:] += 0.001 * np.array([-1, 1, -1, 1])[:, None]
    found = {id: check.verdict for id, check in checks(new).items()}
    known = {
        "learned-sinusoidal": "agrees",
        "learned-none": "disagrees",
        "trained-sinusoidal": "agrees",
        "order-sinusoidal": "agrees",
        "order-none": "disagrees",
        "beside-sinusoidal": "agrees",
        "beside-none": "disagrees",
        "beside-order-sinusoidal": "disagrees",
        "positions": "agrees",
        "without-positions": "agrees",
        "beta-none": "no reference",
    }
    assert {id: found[id] for id in known} == known


def test_checks_keep_their_ids_where_networks_are_missing_and_figures_are_drawn(data):
    some = data.isel(task=np.flatnonzero(data["positions"].values == "none"))
    assert checks(some).keys() == checks(data).keys()
    assert checks(some)["positions"].verdict == "not determined"
    assert draw(LANGUAGE, some, SETTINGS)[0] > 10_000


@pytest.mark.slow
def test_a_task_is_the_same_whenever_it_is_measured(measured):
    task = LANGUAGE.tasks(SETTINGS)[-1]
    again = LANGUAGE.measure(task, "cpu")
    row = measured["task_id"].values.tolist().index(task.id)
    for name in ("beta", "test_loss", "frequency_loss", "order_beta"):
        np.testing.assert_array_equal(again[name], measured[name].values[row])
