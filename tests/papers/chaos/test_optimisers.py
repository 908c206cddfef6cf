import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from one_part import alone, checks, config, draw
from phasescope import studies
from phasescope.papers import chaos
from phasescope.papers.chaos import optimisers
from phasescope.papers.chaos.optimisers import OPTIMISERS
from phasescope.papers.chaos.shared import iris, network, starts
from phasescope.sweep.task import Task

SETTINGS = config("optimisers.starts=6", "optimisers.long=6000", study=chaos.STUDY)
VERDICTS = {
    "sum-rule": "agrees",
    "below-threshold": "agrees",
    "above-threshold": "agrees",
    "adam-late": "agrees",
    "adam-kick": "agrees",
    "adam-functions": "agrees",
    "adam-bursts": "agrees",
    "adam-second-moments": "disagrees",
    "adam-cap": "agrees",
    "adam-sustained": "disagrees",
}


def law(task, device):
    """A transient: growth where the ratio passes 1, none after step 3000, none with a large eps."""
    known = task.parameters
    random = np.random.default_rng(task.seed)
    windows = known["steps"] // 100
    if known["kind"] == "sum":
        return {"sum": 83 * math.log(0.9 * 0.999)}
    if known["kind"] == "kick":
        steps = 100.0 * np.arange(windows + 1)
        grown = np.minimum(0.012 * steps, 20.0) + 0.1 * random.standard_normal((6, windows + 1))
        grown[:, 0] = 0
        tangent = 0.012 * steps + 0.1 * random.standard_normal((6, windows + 1))
        apart = 3.5e-9 * np.exp(grown)
        return {"distance": apart, "outputs": apart / 30, "tangent": tangent}
    if known["kind"] == "frozen":
        growth = 0.02 + 1e-3 * random.standard_normal((6, windows))
        return {"growth": growth, "loss": np.full((6, windows), 0.1)}
    window = np.arange(windows)
    crossing = np.zeros((6, windows), dtype=bool)
    if known["optimiser"] == "Adam":
        crossing[:, 15:30:2] = True
    if known["rate"] >= 1:
        crossing[:, :2] = True
    growth = np.where(crossing, 0.0174 if known["optimiser"] == "Adam" else 0.2, 0.0)
    growth = growth + 1e-4 * random.standard_normal((6, windows))
    loss = np.exp(-window / 10) * np.ones((6, 1))
    return {
        "growth": growth,
        "loss": loss,
        "rises": np.zeros((6, windows)),
        "ratio": np.where(crossing, 1.3, 0.7),
    }


def analysed(measure, directory):
    """The checks and data of the part where the measurement is replaced."""
    part = replace(OPTIMISERS, measure=measure)
    finished = studies.run(alone(part), SETTINGS, directory, workers=1)
    assert not finished.failed, finished.failed
    return finished, checks(finished.checks)


def test_a_transient_in_bursts_is_told_as_one(tmp_path):
    finished, found = analysed(law, tmp_path)
    assert {name: check.verdict for name, check in found.items()} == VERDICTS
    # 16 of 30 late windows grow by 0.0174 a step.
    assert found["adam-late"].measured.value == pytest.approx(0.0174 * 8 / 15, abs=2e-4)
    assert found["adam-bursts"].measured.value == pytest.approx(0.0174, abs=2e-4)
    assert found["adam-kick"].measured.value == pytest.approx(0, abs=0.3)
    analysis = finished.analyses["optimisers"]
    assert len(analysis.tables[0].rows) == 18
    assert [row[0] for row in analysis.tables[1].rows] == ["Adam", "Adam", "gradient descent"]
    data = finished.data["optimisers"].to_dataset()
    assert min(draw(OPTIMISERS, data, SETTINGS)) > 15_000


def test_lasting_growth_without_a_threshold_breaks_the_claims(tmp_path):
    def chaos_everywhere(task, device):
        found = law(task, device)
        if task.parameters["kind"] == "run":
            found["growth"] = 0.05 + 1e-3 * np.random.default_rng(task.seed).standard_normal(
                found["growth"].shape
            )
        if task.parameters["kind"] == "frozen":
            found["growth"] = np.zeros_like(found["growth"])
        if task.parameters["kind"] == "kick":
            found["distance"] = found["distance"][:, :1] * np.ones_like(found["distance"])
            found["outputs"] = found["distance"] / 30
        return found

    _, found = analysed(chaos_everywhere, tmp_path)
    for name in ("below-threshold", "adam-late", "adam-kick", "adam-functions", "adam-cap"):
        assert found[name].verdict == "disagrees", name
    assert found["adam-sustained"].verdict == "agrees"


def measured(kind, optimiser, rate, steps):
    known = {"kind": kind, "optimiser": optimiser, "rate": rate, "steps": steps, "copies": 2}
    return optimisers.measure(
        Task("chaos", "optimisers", {**known, "seed": 0, "split": 0, "starts": 2}), "cpu"
    )


def test_the_ratio_is_that_of_the_hessian():
    found = measured("run", "heavy ball", 0.05, 100)
    # By torch alone: 100 steps of SGD with momentum, then the Hessian of the loss.
    data, model = iris(0), network()
    nn.utils.vector_to_parameters(starts(0, range(2))[1], model.parameters())
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    ratios = []
    for t in range(100):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(data.x), data.y).backward()
        optimiser.step()
        if (t + 1) % 5 == 0:
            w = nn.utils.parameters_to_vector(model.parameters()).detach()

            def loss(vector):
                parts = torch.split(vector, [40, 10, 30, 3])
                hidden = torch.sigmoid(data.x @ parts[0].view(10, 4).T + parts[1])
                return nn.functional.cross_entropy(hidden @ parts[2].view(3, 10).T + parts[3], data.y)

            hessian = torch.autograd.functional.hessian(loss, w)
            ratios.append(float(torch.linalg.eigvalsh(hessian)[-1]) * 0.05 / 3.8)
    assert found["ratio"][1, 0] == pytest.approx(max(ratios), rel=1e-6)
    assert found["growth"].shape == (2, 1)


def test_the_sum_of_adams_exponents_is_exact():
    assert measured("sum", "Adam", 0.03, 5)["sum"] == pytest.approx(-8.8279643, abs=1e-6)


def test_frozen_moments_are_adam_without_its_second_average(monkeypatch):
    monkeypatch.setattr(optimisers, "_KICKED", 3)
    found = measured("frozen", "Adam", 0.01, 200)
    # By hand: the first average goes on, the divisor of step 3 stays.
    model, data = network(), iris(0)
    nn.utils.vector_to_parameters(starts(0, range(2))[0], model.parameters())
    adam = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(3):
        adam.zero_grad()
        nn.functional.cross_entropy(model(data.x), data.y).backward()
        adam.step()
    mean = [adam.state[p]["exp_avg"].clone() for p in model.parameters()]
    divisor = [
        (adam.state[p]["exp_avg_sq"] / (1 - 0.999**3)).sqrt().add(1e-8) * (1 - 0.9**4)
        for p in model.parameters()
    ]
    losses = []
    for _ in range(101):
        loss = nn.functional.cross_entropy(model(data.x), data.y)
        losses.append(loss.item())
        gradient = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for p, m, d, g in zip(model.parameters(), mean, divisor, gradient, strict=True):
                m.mul_(0.9).add_(0.1 * g)
                p -= 0.01 * m / d
    assert found["loss"][0] == pytest.approx([losses[0], losses[100]], rel=1e-9)
    assert losses[100] < losses[0]
