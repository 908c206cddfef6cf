import math

import numpy as np
import pytest
import xarray as xr

from one_part import analysed, checks, config, draw, run
from phasescope.errors import InputError
from phasescope.papers import absorbing
from phasescope.papers.absorbing.boundary import BOUNDARY
from phasescope.papers.absorbing.shared import QUANTITIES

SETTINGS = config(
    "activation=tanh", "compared=tanh,erf,sin", "boundary.network_depths=10,20", "boundary.depths=20,40,80"
)
GAMMAS = {"tanh": 0.5, "erf": 0.7, "sin": 1.0}


def synthetic(edge, settings=SETTINGS, seed=0):
    """Losses that pass half of their fall at ``edge(task, gamma, side, time)``, in gamma tau L."""
    random = np.random.default_rng(seed)
    rows = []
    for task in BOUNDARY.tasks(settings):
        known, gamma = task.parameters, GAMMAS[task.parameters["activation"]]
        x = known["growth"]  # here tau is exactly y/(gamma L)
        shape = (known["repetitions"], len(known["steps"]))
        low, high = (
            np.array([edge(known, gamma, side, time) for time in known["steps"]])
            for side in ("ordered", "chaotic")
        )
        fall = 1 / (1 + np.exp(-1.5 * (x + low))) / (1 + np.exp(1.5 * (x - high)))
        loss = np.full((3, 3), np.nan)
        loss[: shape[0], : shape[1]] = 1 - 0.8 * fall + 0.002 * random.standard_normal(shape)
        reference = [gamma if name == "gamma" else math.nan for name in QUANTITIES]
        rows.append((known, reference, x / (gamma * known["depth"]), loss))
    names = ("kind", "activation", "depth", "kappa_L", "growth")
    return xr.Dataset(
        {
            "reference": (("task", "quantity"), [row[1] for row in rows]),
            "tau": ("task", [row[2] for row in rows]),
            "loss": (("task", "repetition", "time"), [row[3] for row in rows]),
        },
        {name: ("task", [row[0][name] for row in rows]) for name in names},
    )


def found(edge):
    return checks(analysed(BOUNDARY, synthetic(edge), SETTINGS).checks)


def test_edges_at_one_gamma_tau_L_that_move_with_the_time_on_the_ordered_side_agree():
    made = found(lambda known, gamma, side, time: math.log(time) if side == "ordered" else 3.0)
    assert {check.verdict for check in made.values()} == {"agrees"}
    assert made["time-ordered"].measured.value == pytest.approx(1.0, abs=0.1)
    assert made["gamma-chaotic"].measured.value == pytest.approx(1.0, abs=0.03)
    assert made["depth-chaotic"].measured.value == pytest.approx(1.0, abs=0.03)


def test_edges_at_one_tau_disagree():
    rate = {"kernel": 0.18, "networks": 0.4}
    made = found(lambda known, gamma, side, time: rate[known["kind"]] * gamma * known["depth"])
    for id in ("depth-ordered", "depth-chaotic", "networks-depth", "gamma-ordered", "time-ordered"):
        assert made[id].verdict == "disagrees", id
    assert made["depth-chaotic"].measured.value == pytest.approx(0.0, abs=0.1)
    assert made["gamma-chaotic"].measured.value == pytest.approx(0.0, abs=0.1)


def test_edges_that_depend_on_the_bias_disagree():
    made = found(lambda known, gamma, side, time: 3 + math.log(known["kappa_L"]))
    assert {id for id, check in made.items() if check.verdict == "disagrees"} >= {
        "bias-ordered",
        "bias-chaotic",
    }
    expected = math.log((3 + math.log(10)) / 3)
    assert made["bias-chaotic"].measured.value == pytest.approx(expected, abs=0.05)


def test_training_that_works_everywhere_has_no_edge():
    made = found(lambda known, gamma, side, time: 100.0)
    assert made["necessary-ordered"].verdict != "agrees"
    assert made["depth-ordered"].verdict == "not determined"
    assert "up to the ordered end" in made["depth-ordered"].measured.reason


def test_a_data_set_that_is_not_at_hand_is_refused():
    with pytest.raises(InputError, match="mnist=DIR"):
        BOUNDARY.tasks(config("boundary.data_set=mnist"))


@pytest.mark.parametrize(("preset", "budget"), [("quick", 40), ("paper", 600)])
def test_presets_stay_within_their_budgets(preset, budget):
    tasks = BOUNDARY.tasks(absorbing.STUDY.presets[preset])
    assert len({task.id for task in tasks}) == len(tasks)
    assert sum(task.seconds for task in tasks) < budget


TINY = (
    "compared=erf,sin",
    "boundary.growths=-12,-6,-3,0,3,6,9",
    "boundary.depths=20,40,80",
    "boundary.train=40",
    "boundary.test=40",
    "boundary.network_growths=-6,-3,0,3,6",
    "boundary.network_depths=5",
    "boundary.width=16",
)


@pytest.mark.slow
def test_a_small_run_has_edges_on_both_sides(tmp_path):
    settings = config("activation=erf", *TINY)
    data, _, made = run(BOUNDARY, settings, tmp_path)
    for id in ("necessary-ordered", "necessary-chaotic"):
        assert made[id].measured.value > 0.2
    assert made["time-ordered"].measured.value == pytest.approx(1, abs=0.3)
    assert made["depth-chaotic"].measured.value == pytest.approx(1, abs=0.3)
    assert min(draw(BOUNDARY, data, settings)) > 2000


@pytest.mark.slow
def test_an_activation_without_kappa_says_so(tmp_path):
    settings = config("activation=relu", *TINY)
    data, _, made = run(BOUNDARY, settings, tmp_path)
    assert {check.verdict for check in made.values()} == {"not determined"}
    assert draw(BOUNDARY, data, settings)
