"""LSTM, GRU, plain RNN and transformer at a size that a test can afford, and what is said of known data."""

from __future__ import annotations

import numpy as np
import pytest

from one_part import analysed, config, draw, run
from one_part import checks as by_id
from phasescope.citations import BIBTEX
from phasescope.papers import noise
from phasescope.papers.noise.architectures import ARCHITECTURES, BESIDE, LABELS
from phasescope.papers.noise.networks import CONDITIONS, QUANTITIES, state_of

pytestmark = [pytest.mark.usefixtures("coarse_errors"), pytest.mark.whole]

UNITS = 8
SETTINGS = config(
    f"architectures.units={UNITS}",
    "architectures.networks=2",
    "architectures.train=60",
    "architectures.test=30",
    "architectures.series=12",
    "architectures.tests=1",
    "architectures.long_tests=0",
    "words=160",
    "windows=[6,40,6]",
    "piece=512",
    "epochs=1",
    study=noise.STUDY,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return run(ARCHITECTURES, SETTINGS, tmp_path_factory.mktemp("tasks"))[0]


def checks(data):
    found = analysed(ARCHITECTURES, data, SETTINGS).checks
    assert len({check.id for check in found}) == len(found)
    return by_id(found)


def with_beta(data, values):
    """The data with other exponents, given by architecture and condition, and a scatter of 0.001."""
    changed = data.copy(deep=True)
    for (architecture, condition), value in values.items():
        rows = np.flatnonzero(data["architecture"].values == architecture)
        place = CONDITIONS.index(condition), QUANTITIES.index(state_of(architecture))
        for sign, row in zip((-1, 1), rows, strict=True):
            changed["beta"].values[row, place[0], place[1]] = value + 0.001 * sign
    return changed


def test_every_network_is_looked_at_alike(data):
    assert sorted(set(data["architecture"].values.tolist())) == sorted(LABELS)
    for name in LABELS:
        some = data.isel(task=np.flatnonzero(data["architecture"].values == name))
        state = QUANTITIES.index(state_of(name))
        for condition in ("words", "shuffled", "untrained", "noise"):
            row = CONDITIONS.index(condition)
            assert np.isfinite(some["beta"].values[:, row, state]).all()
            # Artificial words are independent; 96 series of 160 words scatter by about 0.03.
            assert (np.abs(some["beta"].values[:, row, 0]) < 0.1).all()
        assert np.isfinite(some["long_beta"].values).all() == (name != "transformer")
        assert np.isfinite(some["beta"].values[:, 0, QUANTITIES.index("mlp")]).all() == (
            name == "transformer"
        )
    seen = {name: np.isfinite(data["unit_beta"].values[:, QUANTITIES.index(name)]).sum(axis=1).max()
            for name in ("hidden", "residual", BESIDE, "mlp")}  # fmt: skip
    assert seen == {"hidden": UNITS, "residual": UNITS, BESIDE: UNITS, "mlp": 4 * UNITS}


def test_positions_alone_move_an_untrained_transformer_slowly(data):
    found = checks(data)
    # Of 4 pairs of sinusoids three have periods of 63 words and more, beside words that are independent.
    assert found["positions-untrained"].measured.value > 0.03
    assert abs(found["beside-positions-untrained"].measured.value) < 0.1


def test_checks_and_figures_at_a_small_size(data):
    analysis = analysed(ARCHITECTURES, data, SETTINGS)
    found = checks(data)
    assert {found[f"beta-{name}"].verdict for name in LABELS} == {"no reference"}
    assert all(len(row) == len(table.columns) for table in analysis.tables for row in table.rows)
    (figure,) = ARCHITECTURES.figures(ARCHITECTURES.numbers(data, SETTINGS))
    assert len(figure.draw) == 3
    assert draw(ARCHITECTURES, data, SETTINGS)[0] > 10_000
    assert set(ARCHITECTURES.citations) <= set(BIBTEX)


def test_known_exponents_get_the_verdicts_that_they_deserve(data):
    values = {("gru", "words"): 0.8, ("gru", "shuffled"): 0.8, ("gru", "untrained"): 0.3}
    values |= {("lstm", "words"): 0.6, ("lstm", "shuffled"): 0.0, ("lstm", "untrained"): 0.9}
    changed = with_beta(data, values)
    accuracy = {"gru": 0.9, "rnn": 0.5}
    for name, value in accuracy.items():
        for sign, row in zip((-1, 1), np.flatnonzero(data["architecture"].values == name), strict=True):
            changed["test_accuracy"].values[row] = value + 0.001 * sign
    found = checks(changed)
    assert found["order-gru"].verdict == "agrees"
    assert found["order-lstm"].verdict == "disagrees"
    assert found["order-lstm"].measured.value == pytest.approx(0.6, abs=1e-12)
    assert found["trained-gru"].measured.value == pytest.approx(0.5, abs=1e-12)
    assert found["beside-lstm-gru"].measured.value == pytest.approx(0.2, abs=1e-12)
    # Two networks at -0.001 and 0.001 have the standard error 0.001, and Student's 95 % are 12.706 of them.
    assert found["beta-gru"].measured.error == pytest.approx(0.001 * 12.706 / 1.96, rel=1e-3)
    assert found["accuracy-gru"].verdict == "agrees"
    assert found["accuracy-rnn"].verdict == "not determined"
    assert "plain RNN" in analysed(ARCHITECTURES, changed, SETTINGS).notes[-1]


def test_checks_keep_their_ids_where_networks_are_missing(data):
    some = data.isel(task=np.flatnonzero(data["architecture"].values == "gru"))
    found = checks(some)
    assert found.keys() == checks(data).keys()
    assert found["beta-lstm"].verdict == found["mlp"].verdict == "not determined"
    assert len(draw(ARCHITECTURES, some, SETTINGS)) == 1


def test_a_task_is_the_same_whenever_it_is_measured(data):
    task = ARCHITECTURES.tasks(SETTINGS)[0]
    assert task.parameters["architecture"] == "transformer"
    again = ARCHITECTURES.measure(task, "cpu")
    row = data["task_id"].values.tolist().index(task.id)
    for name, values in again.items():
        np.testing.assert_array_equal(values, data[name].values[row])


def test_tasks_of_the_presets():
    for preset, texts in (("quick", 2000), ("paper", 5000)):
        settings = noise.STUDY.presets[preset]
        tasks = ARCHITECTURES.tasks(settings.model_copy(update={"imdb": "somewhere"}))
        assert len(tasks) == len(LABELS) * settings.architectures.networks
        assert {task.parameters["train"] for task in tasks} == {texts}
        assert len({task.seed for task in tasks}) == len(tasks)
        assert len({tuple(sorted(task.parameters)) for task in tasks}) == 1
