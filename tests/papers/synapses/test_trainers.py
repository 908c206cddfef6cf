from dataclasses import replace

import numpy as np
import pytest

from one_part import alone, checks, config, draw
from phasescope import studies
from phasescope.papers import synapses
from phasescope.papers.synapses import trainers
from phasescope.papers.synapses.trainers import _STEPS, _TIMES, METHODS, TRAINERS
from phasescope.sweep.task import Task

SETTINGS = config("pictures=flower,china", "seeds=3", study=synapses.STUDY)
IDS = ["newer", "newer-lm", "newer-lbfgs", "newer-rprop", "newer-early"]
ENDS = {"lm": 0.05, "lbfgs": 0.08, "rprop": 0.1, "adam": 0.2}


def course(task, ends):
    random = np.random.default_rng(task.seed)
    known = task.parameters
    # The middle of three rates is Adam's best.
    end = ends[known["method"]] * (1 if known["rate"] in (0.03, 0.01) else 3)
    end *= 3 if (known["method"], known["rate"]) == ("adam", 0.01) else 1
    moments = np.geomspace(known["allowed"] / 30, known["allowed"], _TIMES)
    return {
        "at_time": end * np.exp(0.03 * random.standard_normal()) * (1 + known["allowed"] / moments / 30),
        "moments": moments,
        "at_step": np.where(_STEPS <= 1000, end * (1 + 10 / _STEPS), np.nan),
        "steps_made": 1000.0,
    }


def analysed(ends, directory):
    part = replace(TRAINERS, measure=lambda task, device: course(task, ends))
    finished = studies.run(alone(part), SETTINGS, directory, workers=1)
    assert not finished.failed, finished.failed
    return finished, checks(finished.checks)


def test_an_adam_that_is_behind_agrees(tmp_path):
    finished, found = analysed(ENDS, tmp_path)
    assert {name: found[name].verdict for name in IDS} == dict.fromkeys(IDS, "agrees")
    # The best of its three rates counts.
    assert found["newer"].measured.value == pytest.approx(np.log10(4), abs=0.03)
    assert min(draw(TRAINERS, finished.data["trainers"].to_dataset(), SETTINGS)) > 20_000
    assert "bit-reproducible" in finished.analyses["trainers"].notes[0]


def test_an_adam_that_is_ahead_disagrees(tmp_path):
    _, found = analysed({**ENDS, "adam": 0.02}, tmp_path)
    assert {name: found[name].verdict for name in IDS} == dict.fromkeys(IDS, "disagrees")


@pytest.mark.parametrize("method", METHODS)
def test_a_course_falls_and_ends_where_the_fit_does(method):
    known = {"method": method, "rate": 0.03, "picture": "flower", "start": 0, "longest": 16, "seed": 0}
    found = trainers.measure(Task("synapses", "trainers", {**known, "allowed": 0.1, "horizon": 50}), "cpu")
    assert (np.diff(found["at_time"]) <= 0).all()
    steps = found["at_step"][np.isfinite(found["at_step"])]
    assert (np.diff(steps) <= 0).all()
    assert len(steps) >= 1
    assert steps[0] <= 1.5  # colours lie in (-1, 1)
    assert found["steps_made"] >= 1
