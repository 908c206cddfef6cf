import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from one_part import alone, checks, config, draw
from phasescope import studies
from phasescope.papers import chaos
from phasescope.papers.chaos import plasticity_rules
from phasescope.papers.chaos.plasticity_rules import GRID, PLASTICITY, fixed_point
from phasescope.papers.chaos.shared import iris, network, starts
from phasescope.sweep.task import Task

SETTINGS = config("plasticity.starts=12", "plasticity.oja_rates=8", study=chaos.STUDY)


def law(task, device):
    """Oja's rule as it is; on Iris, both rules explode from rate 0.3 on and calm down."""
    known = task.parameters
    random = np.random.default_rng(task.seed)
    if known["kind"] == "oja":
        places = 3 * np.array(known["rates"])
        rows = [
            [math.log(3), 0.01, 0.0, -0.01] if abs(a - 2) < 1e-9 else fixed_point(min(a, 0.99))
            for a in places
        ]
        return {"exponents": np.maximum(rows, -40), "ends": np.ones((len(rows), 60))}
    noise = 1e-4 * random.standard_normal(12)
    if known["kind"] == "onset":
        return {"grown": np.where(GRID > 0.3, 15.0, 0.1) * np.ones((12, 1)), "onset": 0.3 + noise}
    (rate,) = known["rates"]
    learns = 0.97 if rate < 5 else 0.35
    return {
        "early": 0.2 * (rate >= 1) + noise,
        "late": noise,
        "loss": np.full(12, 0.1),
        "right": learns + noise,
    }


def analysed(measure, directory):
    part = replace(PLASTICITY, measure=measure)
    finished = studies.run(alone(part), SETTINGS, directory, workers=1)
    assert not finished.failed, finished.failed
    return finished, checks(finished.checks)


def test_the_law_agrees(tmp_path):
    finished, found = analysed(law, tmp_path)
    assert {name: check.verdict for name, check in found.items()} == dict.fromkeys(found, "agrees")
    # The four of the covariance diag(3, 2, 1, 1/2) at rate 0.1.
    four = [found[f"oja-0.3-{i}"].expected for i in (1, 2, 3, 4)]
    assert four == pytest.approx([-0.105361, -0.223144, -0.287682, -0.916291], abs=1e-6)
    assert min(draw(PLASTICITY, finished.data["plasticity"].to_dataset(), SETTINGS)) > 20_000


def test_other_exponents_and_onsets_disagree(tmp_path):
    def another(task, device):
        found = law(task, device)
        if task.parameters["kind"] == "oja":
            found["exponents"] = found["exponents"] + 0.6
        if task.parameters["kind"] == "onset" and task.parameters["rule"] == "fa":
            found["onset"] = 3 * found["onset"]
        if task.parameters["kind"] == "long":
            found["right"] = np.full(12, 0.6) + found["late"]
            found["early"] = np.zeros(12)
            found["late"] = found["late"] + 0.01
        return found

    _, found = analysed(another, tmp_path)
    assert {name: check.verdict for name, check in found.items()} == dict.fromkeys(found, "disagrees")


def test_oja_at_rates_with_known_exponents():
    known = {"kind": "oja", "rule": "oja", "rates": [0.1, 2 / 3], "steps": 300, "seed": 0, "split": 0}
    found = plasticity_rules.measure(Task("chaos", "plasticity", {**known, "starts": 1}), "cpu")
    exact = np.log([0.9, 0.8, 0.75, 0.4])
    assert found["exponents"][0] == pytest.approx(exact, abs=1e-8)
    assert found["exponents"][1, 0] == pytest.approx(math.log(3), abs=0.05)
    assert found["ends"][0] == pytest.approx(np.ones(60))
    assert np.abs(found["ends"][1]).max() < math.sqrt(2)


def test_feedback_alignment_trains_the_hidden_layer_through_the_fixed_matrix():
    step = plasticity_rules._iris("fa", 0, 0.5, "cpu")
    x = starts(0, range(1))[0]
    moved = step.step(x, 0)
    model, data = network(), iris(0)
    nn.utils.vector_to_parameters(x, model.parameters())
    hidden = torch.sigmoid(model[0](data.x)).detach()
    output = hidden @ model[2].weight.T + model[2].bias
    error = (torch.softmax(output, 1) - nn.functional.one_hot(data.y, 3)).detach() / 120
    back = error @ plasticity_rules._feedback("cpu") * hidden * (1 - hidden)
    by_hand = torch.cat(
        [(back.T @ data.x).flatten(), back.sum(0), (error.T @ hidden).flatten(), error.sum(0)]
    )
    assert torch.allclose(moved, x - 0.5 * by_hand, rtol=0, atol=1e-12)
