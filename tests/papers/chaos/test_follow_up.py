import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from one_part import alone, checks, config, draw
from phasescope import studies
from phasescope.data import digits
from phasescope.papers import chaos
from phasescope.papers.chaos import follow_up
from phasescope.papers.chaos.follow_up import FOLLOW_UP, MULTIPLES, NETS
from phasescope.sweep.task import Task

SETTINGS = config("follow_up.starts=8", "follow_up.nets=tanh,relu", study=chaos.STUDY)
KINDS = ("onset", "learns", "slower-below", "slower-above", "range-test")


def law(task, device):
    """Tanh is fastest at its onset, ReLU at half of it; a range test is slower and faster in turn."""
    random = np.random.default_rng(task.seed)
    tanh = task.parameters["net"] == "tanh"
    onset = 1.8 * math.exp(0.05 * random.standard_normal())
    rates = np.array([0.2, 0.4, 0.8, 1.6, 3.2])
    scatter = np.exp(0.1 * random.standard_normal(len(MULTIPLES)))
    return {
        "rates": rates,
        "exponent": np.maximum(0, (rates - 1.6) / 10),
        "grown": np.where(rates > onset, 20.0, 1.0),
        "time": np.where(rates > onset, 60.0, 90.0),
        "final": np.full(5, 0.93),
        "onset": onset,
        "at_multiple": (np.array([100, 60, 30, np.nan]) if tanh else np.array([30, 15, 40, np.nan]))
        * scatter,
        "suggested": np.array([0.5, 0.1]),
        "at_suggested": np.array([np.nan, 150.0]) if tanh else np.array([12.0, np.nan]),
    }


def analysed(measure, directory, settings=SETTINGS):
    part = replace(FOLLOW_UP, measure=measure)
    finished = studies.run(alone(part), settings, directory, workers=1)
    assert not finished.failed, finished.failed
    return finished, checks(finished.checks)


def test_a_net_that_is_fastest_at_its_onset_agrees_and_another_disagrees(tmp_path):
    finished, found = analysed(law, tmp_path)
    wanted = ["no reference", "agrees", "agrees", "agrees", "agrees"]
    assert [found[f"tanh-{kind}"].verdict for kind in KINDS] == wanted
    wanted = ["no reference", "agrees", "disagrees", "agrees", "disagrees"]
    assert [found[f"relu-{kind}"].verdict for kind in KINDS] == wanted
    assert found["tanh-slower-below"].measured.value == pytest.approx(math.log(2), abs=0.2)
    # Never counts as the length of the run.
    assert found["relu-slower-above"].measured.value == pytest.approx(math.log(200 / 40), abs=0.2)
    rows = finished.analyses["follow-up"].tables[0].rows
    assert "never" in rows[0][6]
    assert min(draw(FOLLOW_UP, finished.data["follow-up"].to_dataset(), SETTINGS)) > 20_000


def test_a_net_that_learns_only_in_calm_disagrees(tmp_path):
    def calm(task, device):
        found = law(task, device)
        return {**found, "time": np.where(found["grown"] > 10, math.nan, found["time"])}

    assert analysed(calm, tmp_path)[1]["tanh-learns"].verdict == "disagrees"


def test_what_was_not_run_says_why(tmp_path):
    _, found = analysed(law, tmp_path)
    assert len(found) == 5 * 4 + 2 * (len(NETS) - 4) + 2 * 4
    assert "follow_up.nets" in found["cnn-range-test"].measured.reason
    assert "--set fashion_mnist=DIR" in found["fashion-mnist-relu-range-test"].measured.reason


def test_the_onset_of_a_small_run_lies_where_growth_passes_a_thousand():
    known = {"net": "tanh", "start": 0, "data_set": "digits", "folder": "", "steps": 60, "lowest": 0.4}
    known |= {"strides": 3, "seed": 0, "images": 100, "held_out": 50, "target": 0.5}
    found = follow_up.measure(Task("chaos", "follow-up", known), "cpu")
    rates, grown = found["rates"], found["grown"]
    below, above = rates[rates < found["onset"]], rates[rates > found["onset"]]
    assert grown[rates == below[-1]] <= math.log(1e3) < grown[rates == above[0]]
    assert above[0] / below[-1] == pytest.approx(2 ** (1 / 3))
    # The time to the target by torch alone, at the lowest rate.
    model = follow_up._model(NETS["tanh"], follow_up.images("digits", "", 100, 50), 0, 0)
    images = digits()
    x, y = images.x_train[:100].flatten(1).double(), images.y_train[:100]
    x_test, y_test = images.x_test[:50].flatten(1).double(), images.y_test[:50]
    optimiser = torch.optim.SGD(model.parameters(), lr=float(rates[0]))
    steps = 0
    reached = False
    while not reached:
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()
        steps += 1
        reached = bool((model(x_test).argmax(1) == y_test).double().mean() >= 0.5)
    assert found["time"][0] == steps


def test_starts_are_those_of_the_reference_numbers():
    model = follow_up._model(NETS["relu"], follow_up.images("digits", "", 100, 50), 3, 0)
    first = np.random.default_rng(1003).standard_normal((64, 64)) / 8
    assert model[0].weight.detach().numpy() == pytest.approx(first)
    assert not model[0].bias.any()
