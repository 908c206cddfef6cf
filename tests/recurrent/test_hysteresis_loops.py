"""Loops of states whose branches are known, and verdicts that must not be fooled."""

import numpy as np
import pytest
import torch

from phasescope.errors import InputError
from phasescope.recurrent import hysteresis_loop
from phasescope.theory.hysteresis import BistableUnit, CurvedMemory
from reference import hysteresis_loops


def unit(gain):
    return lambda h, bias: torch.tanh(gain * h + bias)


def curved(gamma):
    return lambda m, beta: torch.tanh(beta * m / (1 + gamma * m * m / 2))


def rows(number=3, units=1, size=0.1):
    generator = torch.Generator().manual_seed(3)
    return size * torch.rand(number, units, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("gain", [1.5, 2.0])
def test_a_unit_jumps_and_its_loop_has_the_area_of_theory(gain):
    known = BistableUnit(gain)
    loop = hysteresis_loop(unit(gain), rows(), np.linspace(-1, 1, 201), dwells=(8, 16, 32))
    assert loop.verdict == "bistable"
    assert loop.closed
    assert loop.area.value == pytest.approx(known.area, abs=3 * loop.area.error)
    assert loop.area.error < 0.04 * known.area
    assert loop.jump_up.value == pytest.approx(known.jump, abs=3 * loop.jump_up.error)
    assert loop.jump_down.value == pytest.approx(-known.jump, abs=3 * loop.jump_down.error)
    assert loop.width.value == pytest.approx(2 * known.jump, abs=3 * loop.width.error)
    assert loop.middle == pytest.approx(0, abs=0.02)


def test_a_curved_memory_draws_its_loop():
    loop = hysteresis_loop(curved(-1.5), rows(), np.linspace(0.5, 1.2, 141), dwells=(16, 32, 64))
    assert loop.verdict == "bistable"
    assert loop.area.value == pytest.approx(CurvedMemory(-1.5).area, rel=0.03)


@pytest.mark.parametrize(
    ("step", "values"),
    [(unit(1.0), np.linspace(-1, 1, 101)), (curved(0.0), np.linspace(0.5, 1.2, 71))],
    ids=["unit of gain 1", "memory without curvature"],
)
def test_a_state_that_merely_lags_is_no_memory(step, values):
    loop = hysteresis_loop(step, rows(), values, dwells=(8, 16, 32))
    assert loop.areas[0].mean() > 2 * loop.areas[-1].mean() > 0
    assert loop.verdict == "slow relaxation"
    assert abs(loop.area.value) < 3 * loop.area.error
    assert not loop.jump_up.determined


def test_a_state_that_follows_at_once_is_smooth():
    loop = hysteresis_loop(unit(0.3), rows(), np.linspace(-1, 1, 101), dwells=(4, 8))
    assert loop.verdict == "smooth"


def test_a_chaotic_state_is_not_taken_for_a_memory():
    def logistic(x, r):
        return r * x * (1 - x)

    loop = hysteresis_loop(logistic, rows(size=0.9), np.linspace(3.6, 4, 21), dwells=(4, 8), kick=0.0)
    assert loop.verdict == "not determined"
    assert "do not come to rest" in loop.reason


def test_states_that_grow_without_bound_are_not_determined():
    loop = hysteresis_loop(lambda h, v: 1e30 * h + v, rows(), [0.0, 1.0, 2.0], dwells=(1, 4))
    assert loop.verdict == "not determined"
    assert "NaN or infinite" in loop.reason
    assert not loop.area.determined


def test_a_loop_that_does_not_close_in_the_range_says_so():
    loop = hysteresis_loop(unit(2.0), rows() - 1, np.linspace(-0.3, 1, 131), dwells=(8, 16, 32))
    assert loop.verdict == "bistable"
    assert not loop.closed


def test_an_unstable_state_is_left_only_with_a_kick():
    zero = torch.zeros(2, 1, dtype=torch.float64)
    values = np.linspace(0.5, 1.3, 81)
    still = hysteresis_loop(unit_of_gain, zero, values, dwells=(16, 32), kick=0.0)
    assert np.ptp(still.up) == 0
    assert np.abs(hysteresis_loop(unit_of_gain, zero, values, dwells=(16, 32)).up[-1, -1]).min() > 0.5


def unit_of_gain(h, gain):
    return torch.tanh(gain * h)


def test_all_dwells_at_once_equal_one_row_at_a_time():
    generator = torch.Generator().manual_seed(5)
    weight = torch.randn(6, 6, generator=generator, dtype=torch.float64) * 0.9

    def network(h, bias):
        return torch.tanh(h @ weight.T + bias)

    start, values, dwells = rows(4, 6, 1.0), np.linspace(-1, 1, 9), (1, 2, 3)
    loop = hysteresis_loop(network, start, values, dwells=dwells, kick=0.0)
    up, down = hysteresis_loops.readings(network, start, values, dwells)
    assert loop.up == pytest.approx(up, abs=1e-12)
    assert loop.down == pytest.approx(down, abs=1e-12)
    gap = np.sqrt(((up - down) ** 2).mean(-1))
    assert loop.areas == pytest.approx(np.trapezoid(gap, values, axis=1), abs=1e-12)


def test_a_state_may_be_several_tensors_and_read_by_a_function():
    def pair(state, value):
        h, count = state
        return torch.tanh(2 * h + value[..., 0]), count + 1

    start = torch.zeros(3, 2), torch.zeros(3)
    loop = hysteresis_loop(
        lambda s, v: pair((s[0], s[1]), v[..., None]),
        start,
        np.linspace(-1, 1, 41),
        dwells=(8, 16),
        read=lambda state: state[0],
    )
    assert loop.up.shape == (2, 41, 3, 2)
    assert loop.verdict == "bistable"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"values": [0.0, 1.0, 0.5]}, "do not rise"),
        ({"values": [0.0, 1.0]}, "at least 3"),
        ({"values": [0.0, 1.0, np.nan]}, "finite"),
        ({"dwells": (4,)}, "at least two"),
        ({"dwells": (4, 2)}, "rising"),
        ({"step": lambda h, v: h[:1]}, "like the one given"),
    ],
)
def test_impossible_requests_are_refused(change, words):
    asked = {"step": unit(1.0), "state": rows(), "values": [0.0, 1.0, 2.0], "dwells": (1, 2)} | change
    with pytest.raises(InputError, match=words):
        hysteresis_loop(asked["step"], asked["state"], asked["values"], dwells=asked["dwells"])
