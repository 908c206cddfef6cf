"""Loops in closed form: known digits, and what the equations themselves say of them."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from phasescope.errors import InputError
from phasescope.theory.hysteresis import (
    BistableUnit,
    CurvedMemory,
    decayed_modes,
    weight_decay_collapse,
)


@pytest.mark.parametrize(
    ("gamma", "down", "after", "area"),
    [
        (-0.8, 0.988285674, 0.724439, 0.00790521),
        (-1.0, 0.932233573, 0.922584, 0.05981399),
        (-1.2, 0.836377916, 0.980885, 0.15659510),
        (-1.5, 0.622936124, 0.999303, 0.37441969),
    ],
)
def test_curved_memories_jump_where_the_equation_turns(gamma, down, after, area):
    memory = CurvedMemory(gamma)
    assert memory.down_jump == pytest.approx(down, abs=1e-9)
    assert memory.after_up_jump == pytest.approx(after, abs=1e-6)
    assert memory.area == pytest.approx(area, abs=1e-8)
    # The area once more, from the branch itself.
    betas = memory.down_jump + (1 - memory.down_jump) * np.linspace(0, 1, 400) ** 2
    branch = [memory.branches(float(beta))[0] for beta in betas]
    assert np.trapezoid(branch, betas) == pytest.approx(area, rel=2e-5)


def test_states_of_a_curved_memory_solve_its_equation():
    memory = CurvedMemory(-1.5)
    stable, unstable = memory.branches(0.8)
    assert (stable, unstable) == (pytest.approx(0.996060, abs=1e-6), pytest.approx(0.674301, abs=1e-6))
    for m in (stable, unstable):
        assert math.tanh(0.8 * m / (1 - 0.75 * m * m)) == pytest.approx(m, abs=1e-12)
    assert memory.branches(0.6) == (0.0, 0.0)
    assert memory.branches(1.5)[1] == 0.0


def test_above_the_tricritical_curvature_nothing_jumps():
    for gamma in (-2 / 3, -0.5, 0.0, 1.0):
        memory = CurvedMemory(gamma)
        assert (memory.down_jump, memory.after_up_jump, memory.area) == (1.0, 0.0, 0.0)
    m = CurvedMemory(0.0).branches(1.3)[0]
    assert math.tanh(1.3 * m) == pytest.approx(m, abs=1e-12)


def test_at_the_tricritical_curvature_the_memory_grows_with_the_fourth_root():
    m = CurvedMemory(-2 / 3).branches(1 + 1e-8)[0]
    assert m / 1e-2 == pytest.approx((45 / 4) ** 0.25, rel=1e-4)


@pytest.mark.parametrize("gamma", [-2.0, -3.0, math.nan])
def test_curvatures_that_let_the_denominator_vanish_are_refused(gamma):
    with pytest.raises(InputError, match=r"above -2"):
        CurvedMemory(gamma)


@pytest.mark.parametrize(("gain", "jump"), [(1.5, 0.207546), (2.0, 0.532840), (3.0, 1.303274)])
def test_a_unit_jumps_where_its_state_loses_stability(gain, jump):
    unit = BistableUnit(gain)
    assert unit.jump == pytest.approx(jump, abs=1e-6)
    biases = unit.jump * np.sin(np.linspace(-math.pi / 2, math.pi / 2, 800))
    branch = [unit.upper(float(bias)) for bias in biases]
    assert 2 * np.trapezoid(branch, biases) == pytest.approx(unit.area, rel=1e-4)
    assert math.isnan(unit.upper(-jump - 1e-3))


def test_the_area_of_a_unit_of_gain_2():
    assert BistableUnit(2.0).area == pytest.approx(1.999149, abs=1e-6)


@pytest.mark.parametrize("gain", [0.5, 1.0])
def test_a_unit_of_small_gain_has_one_state(gain):
    unit = BistableUnit(gain)
    assert (unit.jump, unit.area) == (0.0, 0.0)
    for bias in (-0.3, 0.3):
        assert math.tanh(gain * unit.upper(bias) + bias) == pytest.approx(unit.upper(bias), abs=1e-12)


@pytest.mark.parametrize("gain", [0.0, -1.0, math.nan])
def test_gains_that_are_not_positive_are_refused(gain):
    with pytest.raises(InputError, match="positive"):
        BistableUnit(gain)


def test_weight_decay_removes_a_mode_at_the_printed_digits():
    for depth, decay in ((2, 1.0), (3, 0.472470), (4, 0.384900)):
        assert float(weight_decay_collapse(1.0, depth)) == pytest.approx(decay, abs=1e-6)


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_training_of_a_deep_linear_net_holds_the_predicted_modes(depth):
    modes = np.array([1.0, 0.5, 0.1])
    decay = 0.9 * float(weight_decay_collapse(0.5, depth))
    layers = nn.ParameterList([nn.Parameter(torch.eye(3, dtype=torch.float64)) for _ in range(depth)])
    target = torch.diag(torch.from_numpy(modes))
    optimiser = torch.optim.SGD(layers, lr=0.1, weight_decay=decay)
    for _ in range(1500):
        optimiser.zero_grad()
        product = torch.linalg.multi_dot(list(layers))
        torch.autograd.backward(0.5 * (target - product).square().sum())
        optimiser.step()
    held = torch.linalg.multi_dot(list(layers)).detach().diagonal().numpy()
    assert held == pytest.approx(decayed_modes(modes, depth, decay), abs=1e-6)
    assert (decayed_modes(modes, depth, decay) > 0).tolist() == [True, True, False]


def test_decay_of_nothing_and_modes_of_nothing_are_plain():
    assert decayed_modes([2.0, 0.0], 3, 0.0).tolist() == [2.0, 0.0]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: weight_decay_collapse([1.0], 1), "at least 2"),
        (lambda: weight_decay_collapse([-1.0], 3), "not negative"),
        (lambda: decayed_modes([1.0], 3, -0.1), "from 0"),
    ],
)
def test_impossible_nets_are_refused(call, words):
    with pytest.raises(InputError, match=words):
        call()
