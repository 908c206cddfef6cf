import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from one_part import alone, checks, config, draw
from phasescope import studies
from phasescope.papers import chaos
from phasescope.papers.chaos import beyond
from phasescope.papers.chaos.beyond import BEYOND, RATES, VARIANTS
from phasescope.papers.chaos.shared import iris
from phasescope.sweep.task import Task

SETTINGS = config("beyond.starts=40", "beyond.flow_starts=4", study=chaos.STUDY)
SHARPNESS = {
    "3 units": 5.0,
    "100 units": 20.0,
    "3 layers": 16.0,
    "squared error": 1.5,
    "standardised": 0.5,
    "from 0 to 1": 0.7,
    "L2 0.01": 6.0,
    "L2 0.1": 4.0,
    "batches of 10": 10.0,
}


def at_the_edge(task, device, onset_of=lambda sharpness: 2.4 / sharpness):
    """Every variant explodes where the rate times its sharpness is a little above 2."""
    name = task.parameters["variant"]
    random = np.random.default_rng(task.seed)
    largest = SHARPNESS.get(name, 8.0)
    onset = onset_of(largest) * np.exp(0.02 * random.standard_normal(40))
    if name == "batches of 10":
        onset *= 0.9
    whole = {"paper": 0.08, "L2 0.01": 0.04}.get(name, 0.0) + 1e-3 * random.standard_normal(40)
    kept = np.full(40, math.nan if largest < 2 else 0.3)
    grown = np.where(onset[:, None] < RATES, 15.0, 0.1)
    return {
        "grown": grown,
        "onset": onset,
        "kept": kept,
        "whole": whole,
        "rises": 0.4,
        "first": np.full(4, largest / 3) * np.exp(0.5 * random.standard_normal()),
        "largest": np.full(4, largest),
    }


def analysed(measure, directory):
    part = replace(BEYOND, measure=measure)
    finished = studies.run(alone(part), SETTINGS, directory, workers=1)
    assert not finished.failed, finished.failed
    return finished, checks(finished.checks)


@pytest.mark.slow
def test_onsets_at_the_edge_agree(tmp_path):
    finished, found = analysed(at_the_edge, tmp_path)
    wanted = set(found) - {"axis-start"}
    assert {name: found[name].verdict for name in wanted} == dict.fromkeys(wanted, "agrees")
    assert found["axis-slope"].measured.value == pytest.approx(-1, abs=0.05)
    assert len(finished.analyses["beyond"].tables[0].rows) == len(VARIANTS) == 18
    assert min(draw(BEYOND, finished.data["beyond"].to_dataset(), SETTINGS)) > 20_000


def test_onsets_that_do_not_know_of_sharpness_disagree(tmp_path):
    _, found = analysed(lambda task, device: at_the_edge(task, device, lambda sharpness: 0.05), tmp_path)
    for name in ("axis-largest", "axis-slope", "axis-two", "axis-bound", "loss", "inputs"):
        assert found[name].verdict == "disagrees", name


def test_no_onset_leaves_the_axis_open(tmp_path):
    def calm(task, device):
        found = at_the_edge(task, device)
        return {**found, "onset": np.full(40, math.nan), "grown": np.zeros((40, len(RATES)))}

    _, found = analysed(calm, tmp_path)
    assert {found[name].verdict for name in ("axis-largest", "axis-two", "units")} == {"not determined"}


def small(variant, starts=2):
    known = {"variant": variant, "starts": starts, "flow_starts": 1, "looks": 3, "seed": 0, "split": 0}
    return beyond.measure(Task("chaos", "beyond", known), "cpu")


@pytest.mark.parametrize("variant", ["L2 0.1", "squared error"])
def test_sharpness_at_the_start_is_that_of_the_hessian(variant, monkeypatch):
    monkeypatch.setattr(beyond, "STEPS", 5)
    monkeypatch.setattr(beyond, "RATES", RATES[[0, -1]])
    found = small(variant)
    random = np.random.default_rng(1000)
    w1, w2 = random.standard_normal((10, 4)), random.standard_normal((3, 10))
    w = torch.from_numpy(np.concatenate([w1.ravel(), np.zeros(10), w2.ravel(), np.zeros(3)]))
    data = iris(0)

    def loss(vector):
        parts = torch.split(vector, [40, 10, 30, 3])
        output = torch.sigmoid(data.x @ parts[0].view(10, 4).T + parts[1]) @ parts[2].view(3, 10).T + parts[3]
        if variant == "squared error":
            return ((torch.sigmoid(output) - nn.functional.one_hot(data.y, 3)) ** 2).mean()
        return nn.functional.cross_entropy(output, data.y) + 0.05 * (vector**2).sum()

    exact = float(torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, w))[-1])
    assert found["first"][0] == pytest.approx(exact, rel=2e-3)


def test_the_onset_lies_between_a_calm_rate_and_one_that_explodes(monkeypatch):
    monkeypatch.setattr(beyond, "RATES", np.array([0.05, 1.0, 2.0]))
    found = small("paper")
    # Reference numbers: at rate 0.1 nothing grows, at rate 1 85 to 100 % explode.
    assert (found["grown"][:, 0] < 2).all()
    assert (found["grown"][:, 1] > math.log(1e3)).all()
    assert ((found["onset"] > 0.05) & (found["onset"] < 1)).all()
