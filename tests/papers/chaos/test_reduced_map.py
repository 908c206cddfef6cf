"""The reduced map against closed forms and an independent recursion, and what the part says of it."""

import math

import numpy as np
import pytest
import torch
import xarray as xr

from one_part import analysed, checks, config, draw, run
from phasescope.papers import chaos
from phasescope.papers.chaos import shared
from phasescope.papers.chaos.reduced_map import (
    KNOWN,
    PERIODIC,
    PERIODIC_AT,
    REDUCED_MAP,
    ReducedMap,
    bifurcation,
    fixed_point_exponent,
    flowers_of,
    shares_of,
)
from phasescope.training import tangent_exponents

SMALL = (
    "reduced_map.strengths=[5,8]",
    "reduced_map.starts=4",
    "reduced_map.steps=150",
    "reduced_map.networks=5",
    "reduced_map.learnt=200",
    "reduced_map.compared=150",
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    settings = config(*SMALL, study=chaos.STUDY)
    return settings, *run(REDUCED_MAP, settings, tmp_path_factory.mktemp("reduced"))


def test_the_map_is_the_recursion_of_three_outputs():
    pi, strength = np.array([0.2, 0.3, 0.5]), 7.0
    step = ReducedMap(pi, strength)
    z = np.array([0.4, -1.0, 2.0])
    u = torch.tensor([z[0] - z[2], z[1] - z[2]], dtype=torch.float64)
    for t in range(30):
        p = np.exp(z) / np.exp(z).sum()
        assert float(step.loss(u)) == pytest.approx(-(pi * np.log(p)).sum(), rel=1e-9)
        z = z - strength * (p - pi)
        u = step.step(u, t)
    assert u.numpy() == pytest.approx(z[:2] - z[2], rel=1e-6)


def test_its_tangent_is_the_derivative_of_the_step():
    step = ReducedMap(np.array([0.2, 0.3, 0.5]), 7.0)
    x = torch.tensor([[0.3, -0.4], [2.0, 1.0]], dtype=torch.float64)
    v = torch.eye(2, dtype=torch.float64).expand(2, 2, 2).clone()
    _, moved, _ = step.tangent(x, v, 0)
    for i in range(2):
        jacobian = torch.autograd.functional.jacobian(lambda u: step.step(u, 0), x[i])
        assert moved[i].numpy() == pytest.approx(jacobian.mT.numpy(), abs=1e-12)


def test_equal_shares_have_their_bifurcation_at_six():
    assert bifurcation(np.full(3, 1 / 3)) == pytest.approx(6.0)
    # mu = 1/3 twice: 1 - 4/3
    assert fixed_point_exponent(np.full(3, 1 / 3), 4.0) == pytest.approx(math.log(1 / 3))


def test_a_saturated_network_takes_the_steps_of_the_reduced_map():
    """Weights that pin two units at 1 and the rest at 0 for all flowers."""
    step, data = shared.iris_map(0, 5.0), shared.iris(0)
    w = shared.starts(0, range(1))[0]
    w[:40] = torch.where(torch.arange(10).repeat_interleave(4) < 2, 20.0, -20.0)
    assert shared.saturation(w, data.x)[0].sum() == 2
    reduced = ReducedMap(data.shares, 15.0)
    z = shared.outputs(w, data.x)[0]
    u = z[:2] - z[2]
    for t in range(20):
        w, loss = step.advance(w, t)
        assert float(loss) == pytest.approx(float(reduced.loss(u)), rel=1e-9)
        u = reduced.step(u, t)


def test_the_known_exponent():
    step = ReducedMap(shares_of("35,42,43"), 20.0)
    x = torch.from_numpy(np.random.default_rng(1).normal(0, 3, (20, 2)))
    for t in range(300):
        x = step.step(x, t)
    found = [each[0].value for each in tangent_exponents(step, steps=800, x=x).exponents]
    assert np.mean(found) == pytest.approx(0.314, abs=0.015)


def following(split, *, shift=0.0, three=3.0, same=True, error=1e-6):
    """Maps with the known numbers, and twenty networks like them."""
    own = flowers_of(split)
    exponents = {**KNOWN, (own, 5.0): fixed_point_exponent(shares_of(own), 5.0), (own, 8.0): -0.2}
    exponents |= {(PERIODIC, e): -0.1 for e in PERIODIC_AT}
    periods = {(own, 5.0): 1.0, (own, 8.0): 2.0, **{(PERIODIC, e): three for e in PERIODIC_AT}}
    rows = len(exponents) + 1
    noise = 1e-4 * np.random.default_rng(0).standard_normal((rows, 50))
    values = np.array([*exponents.values(), np.nan])[:, None] + shift + noise
    counts = np.array([*(periods.get(key, 0.0) for key in exponents), np.nan])[:, None] + 0 * noise
    reduced = np.linspace(-0.2, 0.3, 20)
    networks = {
        "stuck": np.full(20, 2.0),
        "saturated": np.ones(20),
        "step_error": error * np.linspace(1, 2, 20),
        "full": np.maximum(reduced, 0) + 1e-3 + (0 if same else 0.1),
        "reduced": reduced,
        "full_period": np.where(np.arange(20) < (20 if same else 1), 3.0, 2.0),
        "reduced_period": np.full(20, 3.0),
    }
    nothing = np.full((rows - 1, 20), np.nan)
    arrays = {"exponent": (("task", "start"), values), "period": (("task", "start"), counts)}
    arrays |= {
        name: (("task", "network"), np.concatenate([nothing, each[None]])) for name, each in networks.items()
    }
    kinds = ["reduced"] * (rows - 1) + ["network"]
    coordinates = {"kind": kinds, "flowers": [*(f for f, _ in exponents), own]}
    coordinates["strength"] = [*(e for _, e in exponents), 0.0]
    return xr.Dataset(arrays, {name: ("task", each) for name, each in coordinates.items()})


def verdicts(data, settings):
    found = checks(analysed(REDUCED_MAP, data, settings).checks)
    return {name: check.verdict for name, check in found.items()}


def test_the_known_numbers_agree(small):
    found = verdicts(following(0), small[0])
    assert found == dict.fromkeys(found, "agrees")


@pytest.mark.parametrize(
    ("wrong", "broken"),
    [
        ({"shift": 0.05}, {"fixed-point", "exponent-35-42-43-20", "exponent-42-36-42-20"}),
        ({"three": 6.0}, {"period-3"}),
        ({"same": False}, {"network-exponent", "network-period"}),
        ({"error": 0.1}, {"step"}),
    ],
)
def test_other_numbers_disagree(small, wrong, broken):
    found = verdicts(following(0, **wrong), small[0])
    assert {found[name] for name in broken} == {"disagrees"}


def test_a_small_run(small):
    settings, data, analysis, found = small
    assert found["fixed-point"].verdict == "agrees"
    assert found["bifurcation"].verdict == "agrees"
    assert found["period-3"].verdict == "agrees"
    assert len(analysis.tables[1].rows) == 5
    assert min(draw(REDUCED_MAP, data, settings)) > 10_000
