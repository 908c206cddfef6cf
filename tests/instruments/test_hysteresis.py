"""The instrument for memories of recurrent states: known loops, what it refuses, what it says to do."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from phasescope.errors import InputError, MemoryLimitError
from phasescope.instruments.hysteresis import Hysteresis
from phasescope.recurrent.held_inputs import KNOBS, HeldNetwork, InputLine
from phasescope.testing import check_instrument
from phasescope.testing.cases import Case
from phasescope.theory.hysteresis import BistableUnit


def copies(gain: float, units: int = 3) -> nn.RNN:
    """Units that each feed themselves, all with the input as their bias."""
    rnn = nn.RNN(1, units, batch_first=True).double()
    with torch.no_grad():
        rnn.weight_hh_l0.copy_(gain * torch.eye(units))
        rnn.weight_ih_l0.fill_(1.0)
        rnn.bias_ih_l0.zero_()
        rnn.bias_hh_l0.zero_()
    return rnn


def ramp(low: float = -1.0, high: float = 1.0) -> torch.Tensor:
    return torch.linspace(low, high, 40, dtype=torch.float64).reshape(2, 20, 1)


def sequences(features: int = 3, size: int = 4) -> torch.Tensor:
    return torch.randn(size, 12, features, generator=torch.Generator().manual_seed(2))


class Tagger(nn.Module):
    """Words, a GRU, a cell that is never called, and a read-out."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(3, 4, batch_first=True)
        self.norm = nn.BatchNorm1d(4)
        self.spare = nn.LSTMCell(4, 4)
        self.readout = nn.Linear(4, 2)

    def forward(self, batch):
        return self.readout(self.norm(self.gru(batch["x"])[0][:, -1]))


QUICK = np.linspace(-1, 1, 11)


@pytest.mark.slow
def test_it_keeps_the_promises_of_instruments():
    check_instrument(Hysteresis(values=np.linspace(-2, 2, 7), dwell=1))


@pytest.mark.slow
def test_it_keeps_the_promises_with_the_other_knob():
    case = Case("rnn", lambda: (copies(1.5), ramp()))
    check_instrument(Hysteresis("recurrent gain", values=np.linspace(0, 2, 7), dwell=1), cases=[case])


@pytest.mark.parametrize(
    ("model", "batch", "reason"),
    [
        (nn.Linear(3, 2), torch.randn(4, 3), "feed-forward network has no state"),
        (nn.LSTM(3, 4), torch.randn(4, 3), "has no sequences along"),
        (42, torch.randn(4, 3), "not a torch.nn.Module"),
    ],
)
def test_it_says_why_it_does_not_apply(model, batch, reason):
    assert reason in Hysteresis().applies(model, batch)
    with pytest.raises(InputError, match=r"state|sequences|Module"):
        Hysteresis().measure(model, batch)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"knob": "temperature"}, "input bias"),
        ({"values": [1.0, 0.0, 2.0]}, "do not rise"),
        ({"values": [0.0, 1.0]}, "at least 3"),
        ({"values": [0.0, 1.0, math.inf]}, "finite"),
        ({"dwell": 0}, "at least 1"),
    ],
)
def test_impossible_knobs_are_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        Hysteresis(**arguments)


def test_copies_of_a_unit_draw_the_loop_of_theory():
    known = BistableUnit(2.0)
    instrument = Hysteresis(values=np.linspace(-1, 1, 81))
    data = instrument.measure(copies(2.0), ramp())
    assert data["verdict"].values.tolist() == ["bistable"]
    for name, value in {"area": known.area, "jump_up": known.jump, "jump_down": -known.jump}.items():
        assert float(data[name][0]) == pytest.approx(value, abs=3 * float(data[f"{name}_error"][0])), name
    assert float(data["area_error"][0]) < 0.06 * known.area
    assert abs(float(data["area_null"][0])) < 0.05
    found = instrument.findings(data)[0]
    assert "is bistable: between -0.5" in found.sentence
    assert "reset the state" in found.action
    assert "untrained" in found.evidence


def test_copies_of_a_unit_of_small_gain_keep_no_memory():
    data = Hysteresis(values=np.linspace(-1, 1, 41), dwell=2).measure(copies(0.9), ramp())
    assert data["verdict"].values.tolist() == ["slow relaxation"]
    assert math.isnan(float(data["jump_up"][0]))
    found = Hysteresis().findings(data)[0]
    assert "keeps no memory" in found.sentence


def test_a_loop_that_stays_open_asks_for_more_values():
    instrument = Hysteresis(values=np.linspace(-0.3, 1, 27), dwell=2)
    found = instrument.findings(instrument.measure(copies(2.0), ramp()))[0]
    assert "does not close" in found.action


def test_the_recurrent_gain_takes_the_state_from_the_input_to_the_memory():
    steady = torch.full((2, 5, 1), 0.1, dtype=torch.float64)
    data = Hysteresis("recurrent gain", values=np.linspace(0, 2, 21), dwell=8).measure(copies(1.0), steady)
    ends = [math.tanh(0.1), BistableUnit(2.0).upper(0.1)]
    assert data["up"].values[0, -1, [0, -1]] == pytest.approx(ends, abs=1e-4)


def test_rows_are_modules_and_everything_else_says_why_not():
    data = Hysteresis(values=QUICK, dwell=1).measure(Tagger(), {"x": sequences()})
    assert data["layer"].values.tolist() == ["gru", "norm", "spare", "readout"]
    reasons = ["", "it keeps no state in time", "not called in forward", "it keeps no state in time"]
    assert data["skipped"].values.tolist() == reasons
    assert np.isfinite(data["area"].values).tolist() == [True, False, False, False]


def test_the_values_reach_as_far_as_the_real_inputs():
    data = Hysteresis(dwell=1).measure(copies(0.5), ramp(-0.2, 0.7))
    assert data["value"].values[0, [0, -1]] == pytest.approx([-0.2, 0.7])


def test_inputs_that_do_not_differ_and_broken_weights_are_rows_with_a_reason():
    same = Hysteresis(dwell=1).measure(copies(0.5), torch.ones(2, 5, 1, dtype=torch.float64))
    assert "all the same" in same["skipped"].values[0]
    broken = copies(0.5)
    with torch.no_grad():
        broken.weight_hh_l0[0, 0] = math.nan
    instrument = Hysteresis(dwell=1)
    data = instrument.measure(broken, ramp())
    assert "NaN" in data["skipped"].values[0]
    assert "could be taken" in instrument.findings(data)[0].sentence


def test_little_memory_is_refused():
    with pytest.raises(MemoryLimitError, match="max_memory"):
        Hysteresis(dwell=1).measure(copies(0.5), ramp(), max_memory=1)


def line(features: int) -> InputLine:
    return InputLine([torch.randn(50, features, generator=torch.Generator().manual_seed(7)).double()])


@pytest.mark.parametrize(
    "module",
    [
        nn.RNN(3, 5, 2),
        nn.RNN(3, 5, nonlinearity="relu", bias=False),
        nn.GRU(3, 5, 2, bidirectional=True),
        nn.LSTM(3, 5, 2, proj_size=2),
        nn.LSTM(3, 1),
        nn.GRUCell(3, 5),
        nn.LSTMCell(3, 5),
        nn.RNNCell(3, 5),
    ],
    ids=lambda module: repr(module),
)
def test_a_step_is_that_of_torch_on_the_held_input(module):
    module = module.double()
    along = line(3)
    network = HeldNetwork(module, along, KNOBS[0])
    state = network.start(4, seed=1)
    value = torch.linspace(-1, 1, 4, dtype=torch.float64)[:, None]
    x = along.mean + (value - along.mean @ along.axis) * along.axis
    for _ in range(3):
        state = network.step(state, value)
    first = network.start(4, seed=1)
    if isinstance(module, nn.RNNCellBase):
        given = first if len(first) > 1 else first[0]
        for _ in range(3):
            given = module(x, given)
        own = given if isinstance(given, tuple) else (given,)
        expected = torch.cat(own, dim=1)
    else:
        lstm = isinstance(module, nn.LSTM)
        given = (torch.stack(first[::2]), torch.stack(first[1::2])) if lstm else torch.stack(first)
        for _ in range(3):
            given = module(x[None], given)[1]
        parts = [p for pair in zip(*given, strict=True) for p in pair] if lstm else list(given)
        expected = torch.cat(parts, dim=1)
    assert torch.allclose(torch.cat(state, dim=1), expected, atol=1e-12)
    assert network.state_size == expected.shape[1]


@pytest.mark.parametrize(
    "module", [nn.RNN(3, 5), nn.GRU(3, 5), nn.LSTM(3, 5)], ids=lambda m: type(m).__name__
)
def test_the_gain_multiplies_the_recurrent_weights(module):
    module = module.double()
    network, along = HeldNetwork(module, line(3), KNOBS[1]), line(3)
    state = network.start(2, seed=1)
    by_gain = network.step(state, torch.full((2, 1), 1.7, dtype=torch.float64))
    with torch.no_grad():
        module.weight_hh_l0.mul_(1.7)
    by_hand = HeldNetwork(module, along, KNOBS[1]).step(state, torch.ones(2, 1, dtype=torch.float64))
    assert all(torch.allclose(a, b, atol=1e-14) for a, b in zip(by_gain, by_hand, strict=True))


def test_the_line_follows_the_largest_variance_with_few_inputs_too():
    random = torch.Generator().manual_seed(1)
    direction = torch.tensor([0.6, -0.8, 0.0, 0.0])
    many = torch.randn(200, 1, generator=random) * direction + 0.01 * torch.randn(200, 4, generator=random)
    for inputs in (many, many[:3]):
        axis = InputLine([inputs]).axis
        assert abs(float(axis @ direction.double())) == pytest.approx(1, abs=2e-3)
        assert float(axis[axis.abs().argmax()]) > 0


def test_the_table_fits_the_terminal(monkeypatch):
    instrument = Hysteresis(values=QUICK, dwell=1)
    data = instrument.measure(copies(2.0), ramp())
    for width in (50, 100):
        monkeypatch.setenv("COLUMNS", str(width))
        lines = instrument.table(data).splitlines()
        assert max(map(len, lines)) <= width
        assert {"verdict", "area"} <= set(lines[2].split())
