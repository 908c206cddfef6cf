import numpy as np
import pytest

from one_part import config, draw, run
from phasescope.errors import InputError
from phasescope.papers import absorbing
from phasescope.papers.absorbing.finite_training import FINITE_TRAINING

TINY = (
    "finite_training.biases=0.005,0.05,0.3,1.0,2.0",
    "finite_training.beside=0.3",
    "finite_training.depths=6",
    "finite_training.widths=8,40",
    "finite_training.networks=2",
    "finite_training.train=40",
    "finite_training.test=60",
    "finite_training.steps=30",
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    settings = config(*TINY, "activation=erf")
    return settings, *run(FINITE_TRAINING, settings, tmp_path_factory.mktemp("run"))


def test_checks_and_figures_at_a_small_size(small):
    settings, data, analysis, checks = small
    assert list(checks) == [
        "below-window",
        "above-window",
        "ordered",
        "chaotic",
        "wide-enough",
        "approach",
        "window-place",
    ]
    # 40 neurons, 6 layers: far from the loss of infinite width, nearer than 8 neurons.
    assert checks["wide-enough"].measured.value > 0
    assert checks["approach"].measured.value > 0
    (picture,) = FINITE_TRAINING.pictures(FINITE_TRAINING.numbers(data, settings))
    assert len(picture.figure.axes) == 4
    (table,) = analysis.tables
    assert len(table.rows) == 2 * 7
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_a_task_is_the_same_whenever_it_is_measured(small):
    settings, *_ = small
    task = FINITE_TRAINING.tasks(settings)[2]
    first, second = FINITE_TRAINING.measure(task, "cpu"), FINITE_TRAINING.measure(task, "cpu")
    for name in FINITE_TRAINING.variables:
        np.testing.assert_array_equal(first[name], second[name])


def test_an_activation_without_kappa_says_so(tmp_path):
    settings = config(*TINY, "finite_training.steps=2", "activation=relu")
    data, _, checks = run(FINITE_TRAINING, settings, tmp_path)
    assert {check.verdict for check in checks.values()} == {"not determined"}
    assert draw(FINITE_TRAINING, data, settings)


def test_a_data_set_that_is_not_at_hand_is_refused():
    with pytest.raises(InputError, match="mnist=DIR"):
        FINITE_TRAINING.tasks(config("finite_training.data_set=mnist"))


@pytest.mark.parametrize(("preset", "budget"), [("quick", 60), ("paper", 800)])
def test_presets_stay_within_their_budgets(preset, budget):
    tasks = FINITE_TRAINING.tasks(absorbing.STUDY.presets[preset])
    assert len({task.id for task in tasks}) == len(tasks)
    assert sum(task.seconds for task in tasks) < budget
    assert max(task.seconds for task in tasks) < 60
