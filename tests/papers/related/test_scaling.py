from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from one_part import alone, checks, config, draw, run
from phasescope import studies
from phasescope.papers import related
from phasescope.papers.related.family import DeepLinear, Family, descend, problem
from phasescope.papers.related.scaling import SCALING

SETTINGS = config(study=related.STUDY)


def law(slope, wide=None):
    """Drifts that follow s - 1 for tanh, `slope` of s for ReLU, and L/n for linear networks."""

    def measure(task, device):
        known = task.parameters
        random = np.random.default_rng(task.seed)
        s, kind = known["s"], known["kind"]
        widths, depths = (np.array(known[name], dtype=float) for name in ("widths", "depths"))
        exponent = (slope(s) if kind == "relu" else s - 1) + 0.004 * random.standard_normal()
        drift = widths[:, None] ** exponent * depths ** (1.0 if wide is None else wide)
        flat = (s - 1) / 2 + 0.01 * random.standard_normal()
        return {
            "drift": drift,
            "slope": exponent,
            "slope_in_depth": (1.0 if wide is None else wide) + 0.02 * random.standard_normal(),
            "flips_slope": (s - 1) / 2,
            "coordinate": flat if kind == "tanh" else np.nan,
        }

    return measure


def analysed(measure, directory):
    finished = studies.run(alone(replace(SCALING, measure=measure)), SETTINGS, directory, workers=1)
    assert not finished.failed, finished.failed
    return finished, checks(finished.checks)


def test_gates_of_relu_contradict_the_family_where_they_dominate(tmp_path):
    finished, found = analysed(law(lambda s: -0.5 - (1 - s) / 4), tmp_path)
    verdicts = {name: check.verdict for name, check in found.items()}
    assert {name for name, verdict in verdicts.items() if verdict != "agrees"} == {
        "relu-s0",
        "relu-s0.5",
        "relu-s1",
    }
    data = finished.data["scaling"].to_dataset()
    assert min(draw(SCALING, data, SETTINGS)) > 15_000
    assert len(finished.analyses["scaling"].tables[0].rows) == 3


def test_a_relu_network_that_follows_the_family_has_no_gate_noise(tmp_path):
    _, found = analysed(law(lambda s: s - 1, wide=0.3), tmp_path)
    assert found["relu-s0"].verdict == "agrees"
    assert found["relu-gates"].verdict == "disagrees"
    assert found["linear-depth"].verdict == "disagrees"


def test_a_small_run_measures_each_kind_of_network(tmp_path):
    small = config(
        "scaling.widths=[16,64]",
        "scaling.exponents=[0.0,1.0]",
        "scaling.inputs=8",
        "scaling.seeds=2",
        "scaling.deep_widths=[16,32]",
        "scaling.depths=[1,2]",
        "scaling.deep_seeds=2",
        study=related.STUDY,
    )
    data, _, found = run(SCALING, small, tmp_path)
    assert data.sizes["task"] == 10
    assert found["tanh-s0"].measured.value < -0.5
    linear = data["drift"].values[8:, :2]
    assert linear.shape == (2, 2, 2)
    assert ((linear > 1e-4) & (linear < 1)).all()
    assert np.isfinite(data["coordinate"].values[:8]).all()


def test_networks_of_the_family_start_at_zero_and_end_at_the_share_asked_for():
    x, way = problem(6)
    model = Family(64, 32, 0.5, nn.ReLU(), 3)
    assert float(model(x).detach().abs().max()) < 1e-15
    assert descend(model, x, way, 0.3) > 0
    with torch.no_grad():
        assert float((model(x) - way).pow(2).mean()) == pytest.approx(0.3, abs=0.1)
    deep = DeepLinear(64, 32, 3, 3)
    before = deep(x).detach()
    descend(deep, x, way, 0.7)
    assert 0.3 < float((deep(x).detach() - before - way).pow(2).mean()) <= 0.7
    assert len(deep.layers) == 4
    assert torch.equal(torch.unique(way), torch.tensor([-1.0, 1.0], dtype=torch.float64))
