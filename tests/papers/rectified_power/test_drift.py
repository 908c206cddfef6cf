"""Kernels during training: the looks against plain formulas, and the claims on made data."""

import math

import numpy as np
import pytest
import torch

from one_part import config, draw, run
from phasescope.papers import rectified_power
from phasescope.papers.rectified_power import drift
from phasescope.papers.rectified_power.drift import DRIFT, DriftSettings
from phasescope.papers.rectified_power.rescues import RESCUED, Rescued
from phasescope.papers.rectified_power.shared import xyz

TINY = config(
    *("drift.rates=[0.001,100.0]", "drift.depth=4", "drift.width=8", "drift.points=32", "drift.batch=16"),
    *("drift.steps=25", "drift.probes=8"),
    study=rectified_power.STUDY,
)
IDS = {"kernel-residual", "kernel-mrepu2", "kernel-gelu", "chi-gelu", "chi-layer-norm", "leaves", "stays"}


@pytest.mark.slow
def test_a_tiny_run_has_every_network_claim_and_figure(tmp_path):
    data, analysis, found = run(DRIFT, TINY, tmp_path)
    assert set(found) == IDS
    assert len(analysis.tables[0].rows) == 8
    assert data["kernel"].shape == (8, 3, 22, 4)  # 20 looks at first, then at 20 and 24
    assert min(draw(DRIFT, data, TINY)) > 10_000


def test_a_look_sees_kernels_and_susceptibilities():
    x = xyz(32, 0)[0].float()
    networks = Rescued(RESCUED["best"], "gelu", (3, 400, 3), [0]).float()
    seen = drift._look(networks, x, 0)
    z1 = x @ networks.weights[0][0] + networks.biases[0][0]
    z2 = torch.nn.functional.gelu(z1) @ networks.weights[1][0] + networks.biases[1][0]
    assert seen["kernel"][0, :2] == pytest.approx(
        [float(z.detach().square().mean()) for z in (z1, z2)], rel=1e-5
    )
    assert seen["largest"][0, 0] == pytest.approx(float(z1.detach().square().mean(-1).max()), rel=1e-5)
    # chi_perp = C_W <s'^2>, with the average over the units of this very layer.
    slope = torch.autograd.functional.jvp(torch.nn.functional.gelu, z1.detach(), torch.ones_like(z1))[1]
    expected = 1.98305826 * float(slope.square().mean())
    assert seen["perpendicular"][0, 0] == pytest.approx(expected, rel=0.05)


def made(kernel, *, failed=-1, chi=1.0, loss=0.1, settings=None):
    """A run of three networks whose kernel in all ten layers is a function of the step."""
    settings = settings or DriftSettings()
    at = drift.looks(settings.steps, settings.every)
    values = np.array([kernel(step) if failed < 0 or step <= failed else math.nan for step in at])
    factor = 1 + 0.01 * np.arange(3)
    layers = factor[:, None, None] * np.repeat(values[None, :, None], 10, 2)
    return {
        "kernel": layers,
        "largest": layers,
        "perpendicular": chi * factor[:, None, None] * np.ones((3, len(at), 9)),
        "loss": np.full((3, len(at)), loss),
        "failed": np.full(3, failed),
    }


def verdicts(calm, mrepu, diverging):
    settings = DriftSettings(rates=(1e-3, 1e-2))
    runs = {(row, rate): calm for row in drift.ROWS for rate in settings.rates}
    runs["mrepu2", 1e-3], runs["mrepu2", 1e-2] = mrepu, diverging
    trains = dict.fromkeys(drift.ROWS, 1e-3)
    diverges = dict.fromkeys(drift.ROWS, 1e-2)
    n = drift.Numbers(settings, drift.looks(settings.steps, settings.every), runs, trains, diverges)
    return {check.id: check.verdict for check in drift.claims(n)}


def test_a_kernel_that_leaves_before_it_diverges_is_told_from_one_that_stays():
    inside, outside = 1e-3, 1.0  # the basin of the first of ten layers is K < 1/(18 * 9) = 0.0062
    calm = made(lambda step: 1.0)
    leaving = made(lambda step: outside if step >= 5 else inside, failed=12)
    found = verdicts(calm, made(lambda step: inside), leaving)
    assert found["leaves"] == found["stays"] == "agrees"
    assert found["chi-gelu"] == "agrees"
    assert found["chi-layer-norm"] == "disagrees"
    assert found["kernel-gelu"] == "disagrees"
    growing = made(lambda step: 1 + step, chi=4 / 3)
    found = verdicts(growing, made(lambda step: outside), made(lambda step: inside, failed=12))
    assert found["leaves"] == found["stays"] == "disagrees"
    assert found["kernel-gelu"] == found["chi-layer-norm"] == "agrees"
    assert found["chi-gelu"] == "disagrees"


def test_fewer_than_three_diverging_networks_determine_nothing():
    calm, leaving = made(lambda step: 1e-3), made(lambda step: 1.0 if step >= 5 else 1e-3, failed=12)
    leaving["failed"] = np.array([12, 12, -1])
    assert verdicts(calm, calm, leaving)["leaves"] == "not determined"


def test_where_no_rate_trains_nothing_is_determined(tmp_path):
    settings = DriftSettings(rates=(1e-3,))
    runs = {(row, 1e-3): made(lambda step: 1.0) for row in drift.ROWS}
    none = dict.fromkeys(drift.ROWS)
    n = drift.Numbers(settings, drift.looks(settings.steps, settings.every), runs, none, none)
    assert {check.verdict for check in drift.claims(n)} == {"not determined"}


def test_the_first_step_and_layer_outside_are_found():
    settings = DriftSettings()
    run = made(lambda step: 1e-4)
    run["largest"] = run["largest"].copy()
    run["largest"][1, 7, 3:] = 0.02  # layer 4 of 10: the edge is 1/(18 * 6) = 0.0093
    at = drift.looks(settings.steps, settings.every)
    n = drift.Numbers(settings, at, {}, {}, {})
    assert drift.left(n, run) == [None, (7, 4), None]
