"""The exact solution, derivatives that travel forward, and what follows from runs."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad, solve_ivp

from one_part import analysed, checks, config, draw, run
from phasescope.papers import rectified_power
from phasescope.papers.perceptrons import Networks, Start, best_start, module_of
from phasescope.papers.rectified_power import burgers

pytestmark = pytest.mark.whole

PART = burgers.BURGERS
TRAINED = burgers.FINITE + burgers.REPU
SMALL = ("burgers.steps=4", "burgers.control=4", "burgers.begun=40")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    settings = config(*SMALL, study=rectified_power.STUDY)
    data, analysis, made = run(PART, settings, tmp_path_factory.mktemp("burgers"))
    return data, settings, analysis, made


def test_the_slope_of_the_front_is_the_published_one():
    # Basdevant et al., Computers and Fluids 14 (1986) 23: -152.00516 at x = 0, pi t = 1.6037.
    h = 1e-6
    left, right = burgers.solution(np.array(1.6037 / math.pi), np.array([-h, h]), burgers.SHARP)
    assert (right - left) / (2 * h) == pytest.approx(-152.00516, rel=1e-6)


def test_the_exact_solution_is_that_of_sine_modes_integrated_in_time():
    count, nu = 40, burgers.SMOOTH
    k, x = np.arange(1, count), np.arange(1, 2 * count) / (2 * count)
    sines, cosines = np.sin(np.pi * np.outer(x, k)), np.cos(np.pi * np.outer(x, k))

    def change(_, a):
        return -(sines.T @ ((sines @ a) * (cosines @ (np.pi * k * a)))) / count - nu * (np.pi * k) ** 2 * a

    begun = np.where(k == 1, -1.0, 0.0)
    found = solve_ivp(change, (0, 1), begun, method="LSODA", rtol=1e-9, atol=1e-11, t_eval=[0.3, 1.0])
    assert found.success
    exact = burgers.solution(np.array([[0.3], [1.0]]), x, nu)
    assert pytest.approx(exact, abs=1e-6) == (sines @ found.y).T


def test_the_momentum_of_one_half_falls_by_what_flows_through_its_ends():
    # d/dt of the integral of u over [0, 1] is nu (u_x(1) - u_x(0)), as u vanishes at both ends.
    nu, t, h = burgers.SMOOTH, 0.4, 1e-4

    def u(time, x):
        return burgers.solution(np.array(time), np.asarray(x), nu)

    change = (quad(lambda x: u(t + h, x).item() - u(t - h, x).item(), 0, 1)[0]) / (2 * h)
    slopes = [(u(t, x + h) - u(t, x - h)).item() / (2 * h) for x in (0.0, 1.0)]
    assert change == pytest.approx(nu * (slopes[1] - slopes[0]), rel=1e-5)


def test_the_exact_solution_is_odd_and_starts_and_ends_as_it_should():
    x, t = np.linspace(-1, 1, 21), np.array([[0.0], [0.4], [1.0]])
    u = burgers.solution(t, x, burgers.SHARP)
    assert u == pytest.approx(-u[:, ::-1], abs=1e-12)
    assert u[:, [0, -1]] == pytest.approx(0, abs=1e-12)
    assert u[0] == pytest.approx(-np.sin(np.pi * x))
    # Soon after: u_0 + t (nu u_0'' - u_0 u_0').
    t, nu = 1e-6, burgers.SHARP
    change = nu * np.pi**2 * np.sin(np.pi * x) - np.pi * np.sin(2 * np.pi * x) / 2
    soon = burgers.solution(np.array(t), x, nu)
    assert (soon + np.sin(np.pi * x)) / t == pytest.approx(change, abs=1e-4)


@pytest.mark.parametrize("name", TRAINED)
def test_derivatives_that_travel_forward_are_those_of_automatic_differentiation(name):
    start, _ = best_start(name, 4)
    networks = Networks([2, 8, 8, 8, 1], module_of(name), start, range(2), dtype=torch.float64)
    x = 2 * torch.rand(9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 1
    x.requires_grad_(True)
    found = burgers.with_derivatives(networks, name, x.detach())
    for number in range(2):
        u = networks(x)[number, :, 0]
        (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        second = torch.zeros_like(x)
        if name != "relu":
            (second,) = torch.autograd.grad(slope[:, 1].sum(), x)
        for made, exact in zip(found, (u, slope[:, 0], slope[:, 1], second[:, 1]), strict=True):
            exact = exact.detach()
            assert torch.allclose(made[number], exact, rtol=1e-9, atol=1e-12 * float(exact.abs().max()))


@pytest.mark.parametrize(("p", "slope", "bend"), [(1, -1.0, 2.0), (2, 0.0, -2.0), (3, 0.0, 0.0)])
def test_modified_powers_jump_at_minus_one_as_the_note_says(p, slope, bend):
    around = torch.tensor([-1 - 1e-9, -1 + 1e-9], dtype=torch.float64)
    values = burgers.slopes(f"mrepu{p}", around)
    jumps = [float(value[1] - value[0]) for value in values]
    assert jumps == pytest.approx([0.0, slope, bend], abs=1e-7)


def physics(name, nu):
    known = {"activation": name, "nu": nu, "seed": 0, "width": 8, "networks": 2}
    return burgers._Physics(known, Start(1.0, 0.0, 0.01), "cpu")


def test_viscosity_is_no_part_of_what_relu_learns_and_is_of_what_others_learn():
    for name, alike in (("relu", True), ("tanh", False), ("mrepu2", False)):
        terms = [physics(name, nu)(physics(name, nu).batches(0)[0]) for nu in (burgers.SHARP, 10.0)]
        assert torch.equal(terms[0], terms[1]) == alike, name


def test_the_terms_of_the_loss_are_zero_for_the_exact_solution_alone(monkeypatch):
    # In place of a network: the exact solution with its derivatives by differences.
    h = 1e-4

    def exact(points):
        t, x = (points[:, 0].double().numpy() + 1) / 2, points[:, 1].double().numpy()
        u, later, sooner, right, left = (
            burgers.solution(np.maximum(t + i * h, 0), x + j * h, burgers.SMOOTH)
            for i, j in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
        )
        half = (later - sooner) / (4 * h)  # by 2 t - 1
        values = (u, half, (right - left) / (2 * h), (right - 2 * u + left) / h**2)
        return [torch.from_numpy(value)[None] for value in values]

    class Exact(torch.nn.Module):
        def forward(self, points):
            return exact(points)[0][..., None]

    one = physics("tanh", burgers.SMOOTH)
    one.networks = Exact()
    monkeypatch.setattr(burgers, "with_derivatives", lambda networks, name, points: exact(points))
    points = one.batches(0)[0]
    assert one(points).numpy() == pytest.approx(0, abs=1e-6)
    one.nu = 0.2
    assert one(points)[0, 0] > 0.1


def test_a_relu_network_has_no_viscous_term_and_the_others_have_one(finished):
    data, _, _, made = finished
    assert made["relu-flat"].verdict == "agrees"
    assert made["relu-flat"].measured.value == 0
    assert np.nanmin(data["bend"].values[data["activation"].values == "tanh"]) > 0


def test_starts_of_repu_explode_or_vanish_as_the_kernel_map_says(finished):
    # ln K_8/K_dag = p^7 ln K_1/K_dag: from He it is 229 and more, from C_W = 1/3 as far below.
    made = finished[3]
    for name in burgers.REPU:
        assert made[f"{name}-He"].measured.value == 1.0
        assert made[f"{name}-third"].measured.value > 0.9
    assert made["repu3-K_dag"].verdict == "agrees"


def with_errors(data, **errors):
    changed = data.copy(deep=True)
    for name, factor in errors.items():
        rows = (changed["activation"].values == name) & (changed["kind"].values == "train")
        changed["error"].values[rows] = factor * np.array([0.9, 1.0, 1.1])
    return changed


def test_the_order_follows_the_errors_of_paired_seeds(finished):
    data, settings, _, _ = finished

    def verdicts(**errors):
        made = checks(analysed(PART, with_errors(data, **errors), settings).checks)
        return made, [made[id].verdict for id in ("gelu-mrepu2", "mrepu2-relu")]

    made, found = verdicts(gelu=0.01, mrepu2=0.05, relu=0.5)
    assert found == ["agrees", "agrees"]
    assert made["gelu-mrepu2"].measured.value == pytest.approx(math.log10(5))
    assert verdicts(gelu=0.3, mrepu2=0.05, relu=0.02)[1] == ["disagrees", "disagrees"]
    assert verdicts(gelu=math.inf, mrepu2=0.05, relu=math.inf)[1] == ["disagrees", "agrees"]


def test_the_loss_chooses_the_rate_and_the_error_has_no_part_in_it(finished):
    data, settings, _, _ = finished
    changed = data.copy(deep=True)
    for rate, loss, error in zip(burgers.RATES, (0.1, 0.2), (0.9, 0.01), strict=True):
        rows = (changed["activation"].values == "gelu") & (changed["rate"].values == rate)
        changed["final"].values[rows], changed["error"].values[rows] = loss, error
    found = PART.numbers(changed, settings)
    assert found.error(burgers.SHARP, "gelu") == pytest.approx(0.9)


def test_the_control_says_whether_training_is_long_enough(finished):
    data, settings, _, made = finished
    assert made["control-tanh"].verdict == "disagrees"  # four steps
    good = checks(analysed(PART, with_errors(data, tanh=0.02, relu=0.02), settings).checks)
    assert good["control-tanh"].verdict == "agrees"
    assert good["relu-control"].verdict == "disagrees"


def test_figures_are_drawn(finished):
    data, settings, analysis, _ = finished
    assert all(size > 10_000 for size in draw(PART, data, settings))
    assert len(analysis.tables[0].rows) == len(burgers.RUNS)
    assert all(str(size) in analysis.notes[0] for size in (settings.burgers.width, settings.burgers.steps))
