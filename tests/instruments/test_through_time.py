"""The instrument for recurrent networks: promises, phases and what it says to do."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from phasescope import inspect
from phasescope.instruments import GradientThroughTime
from phasescope.testing import check_instrument
from phasescope.testing.cases import Case

INSTRUMENT = GradientThroughTime()


class Tagger(nn.Module):
    """An LSTM of two layers with a read-out; its forget gates can be set."""

    def __init__(self, forget: float = 0.0) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 6, 2, batch_first=True)
        self.readout = nn.Linear(6, 2)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
                if "bias_ih" in name:
                    parameter[6:12] += forget

    def forward(self, x):
        return self.readout(self.lstm(x)[0])


def _sequences(steps: int = 40, size: int = 6) -> torch.Tensor:
    return torch.randn(size, steps, 3, generator=torch.Generator().manual_seed(2))


def _rotation(scale: float) -> nn.RNN:
    """A ReLU network whose units are all active: each step multiplies a perturbation by `scale`."""
    rnn = nn.RNN(3, 5, nonlinearity="relu", batch_first=True).double()
    with torch.no_grad():
        rnn.bias_hh_l0.fill_(1e4)
        rnn.weight_hh_l0.copy_(scale * torch.eye(5).double().roll(1, 0))
    return rnn


@pytest.mark.slow
def test_it_keeps_the_promises_of_instruments():
    check_instrument(INSTRUMENT)


@pytest.mark.slow
def test_it_keeps_the_promises_on_a_network_with_other_layers():
    check_instrument(INSTRUMENT, cases=[Case("tagger", lambda: (Tagger(), _sequences(12, 4)))])


@pytest.mark.parametrize(
    ("model", "batch", "reason"),
    [
        (nn.Linear(3, 2), torch.randn(4, 3), "no recurrent layer"),
        (nn.LSTM(3, 4, batch_first=True), torch.randn(4, 1, 3), "one time step"),
        (nn.LSTM(3, 4), torch.randn(4, 3), "has no sequences along"),
    ],
)
def test_it_says_why_it_does_not_apply(model, batch, reason):
    assert reason in INSTRUMENT.applies(model, batch)


def test_rows_are_layers_and_everything_else_says_why_not():
    data = INSTRUMENT.measure(Tagger(), _sequences())
    assert data["layer"].values.tolist() == ["lstm.l0", "lstm.l1", "readout"]
    assert data["skipped"].values.tolist() == ["", "", "it keeps no state in time"]
    assert (data["exponent"].values[:2] < 0).all()
    assert np.isfinite(data["exponent_untrained"].values[:2]).all()


def test_a_short_memory_is_told_with_its_numbers_and_the_bias_to_raise():
    found = INSTRUMENT.findings(INSTRUMENT.measure(Tagger(), _sequences(100)))[0]
    assert found.severity == "warning"
    assert "of 100 steps in lstm.l" in found.sentence
    assert "forget gate" in found.evidence
    assert "entries 6 to 11 of lstm.bias_ih_l" in found.action


def test_an_open_forget_gate_reaches_further():
    closed, opened = (INSTRUMENT.measure(Tagger(forget), _sequences(60)) for forget in (0.0, 3.0))
    assert (opened["exponent"].values[:2] > closed["exponent"].values[:2] + 0.2).all()
    assert (opened["gradient"].values[:2, -1] > closed["gradient"].values[:2, -1]).all()


@pytest.mark.parametrize(
    ("scale", "severity", "words"),
    [
        (0.9, "warning", "reaches back 44 of 100 steps in l0: it falls by a factor e every 9.5 steps"),
        (1.0, "ok", "stay of order one through all 100 steps"),
        (1.1, "warning", "is chaotic: a small change grows by a factor e every 10 steps"),
    ],
)
def test_the_verdict_on_a_scaled_rotation_is_its_scale(scale, severity, words):
    found = INSTRUMENT.findings(INSTRUMENT.measure(_rotation(scale), _sequences(100).double()))
    assert len(found) == 1
    assert found[0].severity == severity
    assert words in found[0].sentence
    if scale > 1:
        assert f"exp(-{math.log(scale):.3g}) = {1 / scale:.3g}" in found[0].action


def test_the_advice_for_a_chaotic_state_makes_it_critical():
    rnn = _rotation(1.1)
    with torch.no_grad():
        rnn.weight_hh_l0.mul_(1 / 1.1)
    assert INSTRUMENT.measure(rnn, _sequences(100).double())["phase"].values[0] == "critical"


def test_an_inspection_of_a_recurrent_network_opens_with_time():
    inspection = inspect(Tagger(), _sequences(100))
    assert next(iter(inspection.datasets)) == "time"
    assert "gradient of the last step reaches back" in inspection.sentence
    assert inspection.tables["time"].startswith("Memory and gradient through time")


@pytest.mark.parametrize("width", [50, 80])
def test_the_table_fits_the_terminal_and_keeps_exponent_and_reach(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    table = INSTRUMENT.table(INSTRUMENT.measure(Tagger(), _sequences(20)))
    lines = table.splitlines()
    assert max(map(len, lines)) <= width
    assert {"exponent", "memory", "reach"} <= set(lines[2].split())
    assert ("untrained" in lines[2]) == (width == 80)
