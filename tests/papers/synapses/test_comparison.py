from dataclasses import replace

import numpy as np
import pytest
import torch

from one_part import alone, checks, config, draw
from phasescope import studies
from phasescope.papers import synapses
from phasescope.papers.synapses import comparison
from phasescope.papers.synapses.comparison import _EXACT, _FEW, _PAIRS, COMPARISON, DESCENTS, METHODS, SLOW
from phasescope.sweep.task import Task
from phasescope.synapses import PictureNet

SETTINGS = config(study=synapses.STUDY)
LEARNING = ["not-every-one", "not-every-two", "not-every-slow", "few-pairs", "two-complicate"]
LEARNING += ["halves-complicate"]
EXACT = ["line", "exact", "two-ensembles", "band", "two-bands", "border-pair", "hebb"]
VALUES = (0.0, 240.0, 16.0, 1.0, 1.0, 1.0, 0.0, 0.02, 0.0003, 0.0175, 0.0)


def law(task, device):
    """One method fails, slow ones too; two neurons are worse than one."""
    known = task.parameters
    if known["net"] == "exact":
        return {"exact": np.array(VALUES)}
    random = np.random.default_rng(task.seed)
    fails = known["method"] in ("adam", *SLOW)
    right = np.ones(known["starts"])
    if fails or known["pairs"] == _FEW:
        right -= 0.02 + 0.005 * random.random(len(right)) + 0.05 * (known["net"] != "one")
    if known["net"] == "one" and known["method"] == "lm":
        right[:] = 1
    made = {"right": right}
    if known["net"] == "one":
        made["weights"] = np.tile([1, 0.5, 0.25, 0.125, -1, -0.5, -0.25, -0.125], (len(right), 1))
    return made


def analysed(measure, directory):
    finished = studies.run(alone(replace(COMPARISON, measure=measure)), SETTINGS, directory, workers=1)
    assert not finished.failed, finished.failed
    return finished, checks(finished.checks)


def test_methods_of_which_one_fails_agree(tmp_path):
    finished, found = analysed(law, tmp_path)
    assert {name: found[name].verdict for name in (*LEARNING, *EXACT)} == dict.fromkeys(found, "agrees")
    assert "adam 0 %" in found["not-every-one"].note
    assert min(draw(COMPARISON, finished.data["comparison"].to_dataset(), SETTINGS)) > 20_000


def test_methods_that_all_learn_and_inexact_weights_disagree(tmp_path):
    def all_learn(task, device):
        found = law(task, device)
        if "exact" in found:
            return {"exact": found["exact"] + 0.01}
        right = np.ones(task.parameters["starts"])
        if task.parameters["net"] == "one" and task.parameters["pairs"] == _FEW:
            right -= 0.1 + 0.001 * np.arange(len(right))
        return {**found, "right": right}

    _, found = analysed(all_learn, tmp_path)
    broken = [name for name in (*LEARNING, *EXACT) if name != "few-pairs"]
    assert {name: found[name].verdict for name in broken} == dict.fromkeys(broken, "disagrees")


def task(**parameters):
    return Task("synapses", "comparison", {"starts": 3, "seed": 0, **parameters})


def test_exact_weights_do_what_the_article_says():
    found = dict(zip(_EXACT, comparison.measure(task(net="exact"), "cpu")["exact"], strict=True))
    assert found == pytest.approx(dict(zip(_EXACT, VALUES, strict=True)), abs=3e-4)
    assert found["borders"] < 1e-7
    assert found["hebb"] < 1e-12


@pytest.mark.parametrize("net", ["one", "two", "halves"])
def test_marquardt_finds_a_net_that_is_right_for_all_pairs(net):
    found = comparison.measure(task(net=net, method="lm", pairs=_PAIRS), "cpu")
    assert (found["right"] == 1).all()
    if net == "one":
        powers = np.array([8, 4, 2, 1, -8, -4, -2, -1])
        assert 8 * found["weights"] == pytest.approx(np.tile(powers, (3, 1)), abs=0.6)


def test_plain_descent_learns_with_a_large_rate_and_not_with_a_small_one():
    large, small = (
        comparison.measure(task(net="one", method=method, pairs=_PAIRS, starts=1), "cpu")["right"]
        for method in ("descent, rate 1", "descent, rate 0.01")
    )
    assert (large == 1).all()
    assert (small < 1).all()


def test_a_step_of_descent_is_that_of_torch(monkeypatch):
    monkeypatch.setattr(comparison, "_PASSES", 1)
    points = torch.randn(16, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    targets = torch.sign(points[:, :1])
    net = PictureNet(comparison.wiring("two"), seed=0)
    after = comparison._descended(net, points, targets, 0.3, 0).weights
    optimiser = torch.optim.SGD(net.parameters(), lr=0.3)
    (0.5 * (net(points) - targets).square().mean()).backward()
    optimiser.step()
    assert torch.allclose(after, net.weights)


def test_each_half_of_the_bits_enters_its_own_neuron():
    sources = comparison.wiring("halves").sources
    assert sources == ((2, 3, 6, 7), (0, 1, 4, 5, 8))
    assert set(METHODS) | set(DESCENTS) | set(SLOW) == {
        task.parameters["method"] for task in COMPARISON.tasks(SETTINGS) if task.parameters["method"]
    }
