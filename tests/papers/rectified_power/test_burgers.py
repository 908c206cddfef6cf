"""The exact solution, derivatives that travel forward, and what follows from runs."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from one_part import analysed, checks, config, draw, run
from phasescope.papers import rectified_power
from phasescope.papers.rectified_power import burgers
from phasescope.papers.rectified_power.shared import Networks, best_start, module_of

PART = burgers.BURGERS
SMALL = ("burgers.steps=4", "burgers.control=4", "burgers.begun=3", "burgers.width=6")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    settings = config(*SMALL, study=rectified_power.STUDY)
    data, analysis, made = run(PART, settings, tmp_path_factory.mktemp("burgers"))
    return data, settings, analysis, made


def test_the_slope_of_the_front_is_the_published_one():
    # Basdevant et al., Computers and Fluids 14 (1986) 23: -152.00516 at x = 0, pi t = 1.6037.
    t, h = np.array(1.6037 / math.pi), 1e-6
    right, left = (burgers.solution(t, np.array(x), burgers.SHARP) for x in (h, -h))
    assert (right - left) / (2 * h) == pytest.approx(-152.00516, rel=1e-6)


def test_the_exact_solution_is_that_of_a_spectral_method():
    # Sine modes of an odd solution that vanishes at both ends, integrated in time: nothing in common.
    count, nu = 64, burgers.SMOOTH
    k = np.arange(1, count)
    x = np.arange(1, 2 * count) / (2 * count)
    sines, cosines = np.sin(np.pi * np.outer(x, k)), np.cos(np.pi * np.outer(x, k))

    def change(_, a):
        u, u_x = sines @ a, cosines @ (np.pi * k * a)
        return -(2 / (2 * count)) * (sines.T @ (u * u_x)) - nu * (np.pi * k) ** 2 * a

    begun = np.zeros(count - 1)
    begun[0] = -1.0
    found = solve_ivp(change, (0, 1), begun, method="LSODA", rtol=1e-9, atol=1e-11, t_eval=[0.3, 1.0])
    for column, t in enumerate((0.3, 1.0)):
        exact = burgers.solution(np.full_like(x, t), x, nu)
        assert sines @ found.y[:, column] == pytest.approx(exact, abs=1e-6)


def test_the_exact_solution_is_odd_and_starts_and_ends_as_it_should():
    x = np.linspace(-1, 1, 21)
    for t in (0.0, 0.4, 1.0):
        u = burgers.solution(np.full_like(x, t), x, burgers.SHARP)
        assert u == pytest.approx(-u[::-1], abs=1e-12)
        assert u[[0, -1]] == pytest.approx(0, abs=1e-12)
    assert burgers.solution(np.zeros_like(x), x, 0.1) == pytest.approx(-np.sin(np.pi * x))


@pytest.mark.parametrize("name", burgers.ACTIVATIONS)
def test_derivatives_that_travel_forward_are_those_of_automatic_differentiation(name):
    start, _ = best_start(name, 4)
    networks = Networks([2, 8, 8, 8, 1], module_of(name), start, range(2), dtype=torch.float64)
    x = (2 * torch.rand(9, 2, dtype=torch.float64) - 1).requires_grad_(True)
    found = burgers.with_derivatives(networks, burgers.slopes(name), x.detach())
    for number in range(2):
        u = networks(x)[number, :, 0]
        (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        second = torch.zeros_like(x)
        if name != "relu":
            (second,) = torch.autograd.grad(slope[:, 1].sum(), x)
        for made, exact in zip(found, (u, slope[:, 0], slope[:, 1], second[:, 1]), strict=True):
            exact = exact.detach()
            assert torch.allclose(made[number], exact, rtol=1e-9, atol=1e-12 * float(exact.abs().max()))


def test_a_relu_network_has_no_viscous_term_and_the_others_have_one(finished):
    data, _, _, made = finished
    assert made["relu-flat"].verdict == "agrees"
    assert made["relu-flat"].measured.value == 0
    smooth = data["viscous"].values[data["activation"].values == "tanh"]
    assert np.nanmin(smooth) > 0


def test_a_start_that_overflows_is_counted(finished):
    # RePU 3 in seven layers from He: ln K grows 3-fold a layer, far beyond float32.
    made = finished[3]
    assert made["repu3-begins-He"].measured.value == 1.0
    assert made["repu3-begins-He"].verdict == "agrees"


def test_a_start_that_explodes_or_vanishes_does_so_as_the_kernel_map_says(finished):
    data = finished[0]
    begun = data.where(data["kind"] == "start", drop=True)
    start = (begun["activation"] == "repu3") & (begun["start"] == "C_W = 1/3")
    assert float(begun["dead"][start.values].mean()) == 1.0  # below K_dag = 0.63 by far


def test_the_order_follows_the_errors_of_paired_seeds(finished):
    data, settings, _, _ = finished

    def with_errors(**errors):
        changed = data.copy(deep=True)
        for name, factor in errors.items():
            rows = (changed["activation"].values == name) & (changed["kind"].values == "train")
            values = changed["error"].values
            values[rows, :3] = factor * np.array([0.9, 1.0, 1.1])
            changed["error"].values = values
        return checks(analysed(PART, changed, settings).checks)

    made = with_errors(gelu=0.01, mrepu2=0.05, relu=0.5)
    assert [made[id].verdict for id in ("gelu-mrepu", "mrepu-relu")] == ["agrees", "agrees"]
    assert made["gelu-mrepu"].measured.value == pytest.approx(math.log10(5))
    made = with_errors(gelu=0.3, mrepu2=0.05, relu=0.02)
    assert [made[id].verdict for id in ("gelu-mrepu", "mrepu-relu")] == ["disagrees", "disagrees"]
    assert with_errors(gelu=math.inf, mrepu2=0.05)["gelu-mrepu"].verdict == "disagrees"


def test_the_control_says_whether_training_is_long_enough(finished):
    data, settings, _, made = finished
    assert made["control-tanh"].verdict != "agrees"  # four steps
    good = data.copy(deep=True)
    good["error"].values = np.where(np.isfinite(good["error"].values), 0.02, good["error"].values)
    made = checks(analysed(PART, good, settings).checks)
    assert made["control-gelu"].verdict == "agrees"


def test_figures_are_drawn(finished):
    data, settings, analysis, _ = finished
    assert all(size > 10_000 for size in draw(PART, data, settings))
    assert len(analysis.tables[0].rows) == 2 * len(burgers.ACTIVATIONS)
