"""Exponents and gradients of recurrent states, where they are known exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from phasescope.citations import citation
from phasescope.errors import InputError, MemoryLimitError
from phasescope.recurrent import through_time
from reference.state_exponents import largest_exponent, step_jacobians


def _normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def _zeroed(module: nn.Module) -> nn.Module:
    for parameter in module.double().parameters():
        nn.init.zeros_(parameter)
    return module


def _rotating(scale: float, units: int = 6, **options) -> nn.RNN:
    """A ReLU network whose units are all active, so that it is linear: J = scale times a rotation."""
    rnn = _zeroed(nn.RNN(3, units, nonlinearity="relu", **options))
    with torch.no_grad():
        for name, parameter in rnn.named_parameters():
            if "weight_hh" in name:
                parameter.copy_(scale * torch.eye(units).double().roll(1, 0))
            elif "bias_hh" in name:
                parameter.fill_(1e4)
    return rnn


def _forgetting(gate: float, units: int = 4) -> nn.LSTM:
    """An LSTM whose forget gate is constant and whose gates do not see the state."""
    lstm = _zeroed(nn.LSTM(3, units))
    with torch.no_grad():
        lstm.weight_ih_l0[2 * units : 3 * units].copy_(_normal(units, 3))
        lstm.bias_ih_l0[units : 2 * units] = math.log(gate / (1 - gate))
    return lstm


@pytest.mark.parametrize("scale", [0.5, 0.9, 1.0, 1.2])
def test_a_scaled_rotation_grows_by_its_scale_in_every_step(scale):
    layer = through_time(_rotating(scale), _normal(20, 5, 3)).layers[0]
    lags = np.arange(21)
    assert layer.exponent.value == pytest.approx(math.log(scale), abs=1e-12)
    assert layer.exponent.error < 1e-12
    assert np.allclose(layer.perturbation, math.log(scale) * lags, atol=1e-11)
    assert np.allclose(layer.gradient, math.log(scale) * lags, atol=1e-11)
    assert layer.phase == ("critical" if scale == 1.0 else "vanishing" if scale < 1 else "chaotic")


def test_reach_and_memory_are_where_the_curves_cross():
    layer = through_time(_rotating(0.9), _normal(60, 5, 3)).layers[0]
    assert layer.memory.value == pytest.approx(1 / -math.log(0.9))
    assert layer.reach.value == pytest.approx(math.log(100) / -math.log(0.9))
    still = through_time(_rotating(1.0), _normal(60, 5, 3)).layers[0]
    assert not still.memory.determined
    assert "stays above 1/e over 60 steps" in still.memory.reason


def test_small_states_grow_by_the_largest_eigenvalue():
    rnn = _zeroed(nn.RNN(3, 5))
    with torch.no_grad():
        change = _normal(5, 5, seed=1)
        values = torch.diag(torch.tensor([0.8, -0.5, 0.3, 0.2, 0.1]).double())
        rnn.weight_hh_l0.copy_(change @ values @ torch.linalg.inv(change))
    layer = through_time(rnn, _normal(200, 4, 3)).layers[0]
    assert layer.exponent.value == pytest.approx(math.log(0.8), abs=1e-6)


@pytest.mark.parametrize("w", [0.7, -1.1])
def test_a_scalar_network_contracts_at_the_slope_of_its_fixed_point(w):
    rnn = _zeroed(nn.RNN(1, 1))
    with torch.no_grad():
        rnn.weight_hh_l0.fill_(w)
        rnn.bias_hh_l0.fill_(0.9)
    fixed = 0.0
    for _ in range(4000):
        fixed = 0.5 * fixed + 0.5 * math.tanh(w * fixed + 0.9)
    layer = through_time(rnn, torch.zeros(400, 3, 1).double()).layers[0]
    assert layer.exponent.value == pytest.approx(math.log(abs(w) * (1 - fixed**2)), abs=1e-6)


def test_a_cell_state_decays_by_its_forget_gate_forwards_and_backwards():
    layer = through_time(_forgetting(0.8), _normal(30, 4, 3)).layers[0]
    assert layer.exponent.value == pytest.approx(math.log(0.8), abs=0.03)
    # The part at the hidden state joins that at the cell state, which is all that goes further back.
    assert np.allclose(np.diff(layer.gradient[1:]), math.log(0.8), atol=1e-12)
    assert layer.keep == pytest.approx(0.8)


def test_a_forget_gate_of_one_is_critical():
    assert through_time(_forgetting(1 - 1e-9), _normal(50, 4, 3)).layers[0].phase == "critical"


@pytest.mark.parametrize(("g", "phase"), [(0.5, "vanishing"), (3.0, "chaotic")])
def test_a_random_network_is_chaotic_beyond_unit_gain(g, phase):
    units = 40
    rnn = _zeroed(nn.RNN(1, units))
    with torch.no_grad():
        rnn.weight_hh_l0.copy_(g / math.sqrt(units) * _normal(units, units, seed=2))
    start = 0.5 * _normal(1, 2, units, seed=4)
    x = torch.zeros(80, 2, 1).double()
    layer = through_time(rnn, (x, start)).layers[0]
    cell = _zeroed(nn.RNNCell(1, units))
    cell.weight_hh.data.copy_(rnn.weight_hh_l0)
    slow = [largest_exponent(step_jacobians(cell, x[:, i], (start[0, i],)), discard=20) for i in range(2)]
    assert layer.phase == phase
    assert layer.exponent.value == pytest.approx(np.mean(slow), abs=0.02)


@pytest.mark.parametrize(
    ("build", "cell"), [(nn.LSTM, nn.LSTMCell), (nn.GRU, nn.GRUCell), (nn.RNN, nn.RNNCell)]
)
def test_exponents_are_those_of_torchs_own_jacobians(build, cell):
    module, one = build(3, 4).double(), cell(3, 4).double()
    with torch.no_grad():
        for seed, (parameter, own) in enumerate(zip(module.parameters(), one.parameters(), strict=True)):
            own.copy_(_normal(*own.shape, seed=seed))
            parameter.copy_(own)
    x = _normal(80, 2, 3)
    layer = through_time(module, x).layers[0]
    state = tuple(torch.zeros(4).double() for _ in range(2 if build is nn.LSTM else 1))
    slow = [largest_exponent(step_jacobians(one, x[:, i], state), discard=20) for i in range(2)]
    # Vectors of another start differ by their alignment alone, which is of order 1/T.
    assert layer.exponent.value == pytest.approx(np.mean(slow), abs=0.02)


class _Loop(nn.Module):
    """A cell called step by step; `change` acts on the state in between."""

    def __init__(self, cell: nn.Module, change=None) -> None:
        super().__init__()
        self.cell, self.change = cell, change or (lambda state: state)

    def forward(self, x):
        state = None
        for now in x.unbind(1):
            state = self.cell(now, state)
            state = self.change(state)
        return state[0] if isinstance(state, tuple) else state


@pytest.mark.parametrize(
    ("build", "cell"), [(nn.LSTM, nn.LSTMCell), (nn.GRU, nn.GRUCell), (nn.RNN, nn.RNNCell)]
)
def test_a_cell_in_a_loop_is_measured_as_the_module(build, cell):
    module, one = build(3, 4, batch_first=True).double(), cell(3, 4).double()
    one.load_state_dict({name.removesuffix("_l0"): value for name, value in module.state_dict().items()})
    x = _normal(5, 12, 3)
    whole, looped = through_time(module, x), through_time(_Loop(one), x)
    assert looped.layers[0].name == "cell"
    assert looped.layers[0].exponent.value == pytest.approx(whole.layers[0].exponent.value, rel=1e-9)
    assert np.allclose(looped.layers[0].gradient, whole.layers[0].gradient)


def test_a_module_called_piece_by_piece_is_one_series():
    class Pieces(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = _rotating(0.9, batch_first=True)

        def forward(self, x):
            state = None
            for piece in x.split(7, dim=1):
                out, state = self.rnn(piece, state)
            return out

    (layer,) = through_time(Pieces(), _normal(4, 21, 3)).layers
    assert (layer.name, layer.steps) == ("rnn.l0", 21)
    assert layer.exponent.value == pytest.approx(math.log(0.9))


def test_a_state_that_the_model_changes_in_between_is_skipped_with_the_reason():
    found = through_time(_Loop(nn.GRUCell(3, 4), change=lambda state: 0.5 * state), torch.randn(5, 9, 3))
    assert found.layers == ()
    assert "changed by the model between two steps" in found.skipped["cell"]


def test_a_reversed_direction_is_the_forward_one_on_time_reversed():
    both = nn.GRU(3, 1, bidirectional=True).double()
    forwards = nn.GRU(3, 1).double()
    names = [name for name in both.state_dict() if name.endswith("_reverse")]
    forwards.load_state_dict({name.removesuffix("_reverse"): both.state_dict()[name] for name in names})
    x = _normal(25, 3, 3)
    backwards = through_time(both, x).layers[1]
    assert backwards.name == "l0_reverse"
    # With one unit a perturbation has no direction, so that no random number matters.
    expected = through_time(forwards, x.flip(0)).layers[0]
    assert np.allclose(backwards.perturbation, expected.perturbation)
    assert np.allclose(backwards.gradient, expected.gradient)


def test_packed_sequences_count_up_to_their_own_ends():
    lengths = (9, 30, 12)
    pieces = [_normal(length, 3, seed=length) for length in lengths]
    gru = nn.GRU(3, 1, bidirectional=True).double()
    packed = through_time(gru, pack_sequence(pieces, enforce_sorted=False))
    alone = [through_time(gru, piece[:, None]) for piece in pieces]
    for place in (0, 1):
        expected = [found.layers[place].exponent.value for found in alone]
        assert packed.layers[place].exponent.value == pytest.approx(np.mean(expected))
        ends = [found.layers[place].gradient[9] for found in alone]
        assert packed.layers[place].gradient[9] == pytest.approx(np.mean(ends))


def test_layers_are_named_as_torch_names_their_weights():
    model = nn.ModuleDict({"a": nn.LSTM(3, 4, 2, bidirectional=True, proj_size=2, batch_first=True)}).double()
    model.forward = lambda x: model["a"](x)[0]
    found = through_time(model, _normal(4, 10, 3))
    assert [layer.name for layer in found.layers] == ["a.l0", "a.l0_reverse", "a.l1", "a.l1_reverse"]
    assert {layer.units for layer in found.layers} == {4}
    assert "pascanu2013" in citation(found)


def test_a_perturbation_that_dies_out_exactly_is_said_to():
    rnn = _zeroed(nn.RNN(3, 4, nonlinearity="relu"))
    layer = through_time(rnn, _normal(20, 5, 3)).layers[0]
    assert layer.phase == "vanishing"
    assert "exactly 0 after 1 steps in 5 of 5 sequences" in layer.exponent.reason
    assert layer.reach.value <= 1


def test_few_steps_determine_no_exponent():
    layer = through_time(_rotating(0.5), _normal(4, 5, 3)).layers[0]
    assert layer.phase == "not determined"
    assert "at least 6 are needed" in layer.exponent.reason


def test_chunks_give_what_the_whole_gives():
    gru = nn.GRU(3, 6, 2, batch_first=True).double()
    x = _normal(8, 40, 3)
    whole, chunks = through_time(gru, x), through_time(gru, x, max_memory=300_000)
    for a, b in zip(whole.layers, chunks.layers, strict=True):
        assert a.exponent.value == pytest.approx(b.exponent.value, rel=1e-9)
        assert np.allclose(a.gradient, b.gradient)


def test_unusable_input_is_refused_with_the_reason():
    rnn = nn.RNN(3, 4, batch_first=True)
    x = torch.randn(4, 20, 3)
    with pytest.raises(InputError, match="no recurrent operator"):
        through_time(nn.Linear(3, 4), x)
    with pytest.raises(InputError, match="seed is -1"):
        through_time(rnn, x, seed=-1)
    with pytest.raises(MemoryLimitError, match="One sequence takes"):
        through_time(rnn, x, max_memory=100)


def test_states_that_overflow_are_skipped():
    found = through_time(_rotating(1e200), _normal(20, 5, 3))
    assert found.layers == ()
    assert "NaN or infinite" in found.skipped["l0"]
