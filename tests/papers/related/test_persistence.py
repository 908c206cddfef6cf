"""The part on persistence: made networks beyond and within their shuffles, and one that is really trained."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from one_part import alone, checks, config, draw, run
from phasescope import studies
from phasescope.papers import related
from phasescope.papers.related import persistence as part
from phasescope.papers.related.persistence import PERSISTENCE
from phasescope.papers.related.shared import digits
from phasescope.papers.small_networks import perceptron, pooled_convnet, train
from phasescope.structure import persistence

SETTINGS = config("persistence.networks=3", "persistence.convolutional=3", study=related.STUDY)
TINY = config("persistence.networks=2", "persistence.steps=40", "persistence.shuffles=9", study=related.STUDY)


def as_found(task, device):
    """Ranks far beyond their shuffles, the published value hardly."""
    known = task.parameters
    noise = 0.1 * np.random.default_rng(task.seed).standard_normal(10)
    rank = 2.0 if known["C_W"] > 1 else 30.0 if known["labels"] == "random" else 12.0
    return {
        "z": np.array([rank, 2.0]) + noise[:2],
        "explained": np.array([0.6, 0.7]),
        "layers": np.array([30.0, 28.0, 8.0]) + noise[2:5],
        "layer_explained": np.array([0.87, 0.93, 0.96]) + 0.01 * noise[5:8],
        "untrained": 0.3 * noise[8:10],
        "accuracy": 1.0,
        "test": 0.97,
    }


def without_wiring(task, device):
    """Ranks within their shuffles everywhere, and the published value beyond them."""
    found = as_found(task, device)
    noise = 0.1 * np.random.default_rng(task.seed + 1).standard_normal(6)
    found["z"] = np.array([0.0 + 5 * (task.parameters["C_W"] > 1), 20.0]) + noise[:2]
    found["z"][0] -= 5 * (task.parameters["labels"] == "random")
    found["layers"] = np.array([0.0, 1.0, 5.0]) + noise[2:5]
    found["layer_explained"] = np.full(3, 0.2) + 0.01 * noise[:3]
    found["untrained"] = found["z"] * 0 + 3.0 + noise[:2]
    return found


def made(measure, directory):
    finished = studies.run(alone(replace(PERSISTENCE, measure=measure)), SETTINGS, directory, workers=1)
    assert not finished.failed, finished.failed
    return finished, checks(finished.checks)


def test_structure_that_ranks_see_and_the_published_value_does_not(tmp_path):
    finished, found = made(as_found, tmp_path)
    assert found.pop("published-beyond-shuffled").verdict == "disagrees"
    assert found.pop("convolutional-published-beyond-shuffled").verdict == "disagrees"
    assert {check.verdict for check in found.values()} == {"agrees"}
    assert len(finished.analyses["persistence"].tables[0].rows) == 4
    data = finished.data["persistence"].to_dataset()
    assert min(draw(PERSISTENCE, data, SETTINGS)) > 10_000


def test_networks_wired_like_their_shuffles_break_the_claims(tmp_path):
    _, found = made(without_wiring, tmp_path)
    assert found.pop("published-beyond-shuffled").verdict == "agrees"
    assert found.pop("convolutional-published-beyond-shuffled").verdict == "agrees"
    assert {check.verdict for check in found.values()} == {"disagrees"}


def test_a_task_measures_the_network_that_it_says(tmp_path):
    task = next(task for task in PERSISTENCE.tasks(TINY) if task.parameters["labels"] == "true")
    found = part.measure(task, "cpu")
    data = digits(0)
    model = perceptron((64, 64, 64, 10), nn.ReLU, task.seed, C_W=1 / 3)
    train(model, data.x, data.y, torch.optim.Adam(model.parameters(), lr=3e-3), 40, batch=200, seed=task.seed)
    weights = [layer.weight.detach().numpy() for layer in model if isinstance(layer, nn.Linear)]
    assert found["z"][1] == pytest.approx(persistence(weights, "paper", shuffles=9).z.value)


def test_a_tiny_run_gives_every_check(tmp_path):
    data, _, found = run(PERSISTENCE, TINY, tmp_path)
    assert data.sizes["task"] == 6
    assert len(found) == 12
    without = [check for name, check in found.items() if name.startswith("convolutional-")]
    assert {check.verdict for check in without} == {"not determined"}
    assert "no convolutional" in without[0].measured.reason


def test_a_convolutional_task_measures_the_network_that_it_says():
    changes = ("persistence.networks=0", "persistence.convolutional=1", "persistence.convolutional_steps=5")
    tiny = config(*changes, "persistence.shuffles=9", study=related.STUDY)
    (task,) = PERSISTENCE.tasks(tiny)
    found = part.measure(task, "cpu")
    images = digits(0)
    x = images.x.float().reshape(-1, 1, 8, 8)
    model = pooled_convnet(8, 10, task.seed, 1 / 3)
    assert float(model[3].weight.detach().var()) == pytest.approx(1 / 3 / (9 * 16), rel=0.1)
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    train(model, x, images.y, adam, 5, batch=200, seed=task.seed)
    weights = [layer.weight.detach().numpy() for layer in (model[0], model[3], model[-1])]
    assert found["z"][1] == pytest.approx(persistence(weights, "paper", shuffles=9).z.value)
    assert len(found["layers"]) == 3
