"""The instrument that counts the directions that the data fix: promises, findings, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from phasescope.errors import InputError
from phasescope.instruments.langevin import LangevinProbe
from phasescope.testing import Case, check_instrument


def normal(*shape, seed=3):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def fitted(*layers, inputs=(48, 4)):
    """A network whose last layer is zero, so that it fits targets of zero exactly."""
    model = nn.Sequential(*layers)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.5, generator=generator)
        for parameter in list(model[-1].parameters()):
            parameter.zero_()
    return model, normal(*inputs)


def linear():
    return fitted(nn.Linear(4, 1, bias=False))


def network():
    return fitted(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1))


class Residual(nn.Module):
    """A dictionary goes in; a block beside a shortcut, normalised, with weights that two layers share."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight
        self.norm, self.out = nn.BatchNorm1d(3), nn.Linear(3, 1)
        with torch.no_grad():
            self.first.weight.copy_(0.5 * normal(3, 3, seed=8))
            self.out.weight.zero_()
            self.out.bias.zero_()

    def forward(self, batch):
        x = batch["x"]
        return self.out(self.norm(x + self.second(torch.tanh(self.first(x)))))


def probe(size=48, **options):
    return LangevinProbe(nn.MSELoss(), torch.zeros(size, 1), **{"steps": 150, **options})


def test_it_returns_a_dataset_and_leaves_no_trace():
    promises = ("returns_a_dataset_over_layers", "leaves_no_trace", "leaves_the_batch_alone")
    promises += ("survives_netcdf", "finds_something_to_say", "measures_frozen_parameters")
    check_instrument(probe(steps=100), [Case("linear", linear)], only=promises)


@pytest.mark.slow
def test_it_keeps_the_promises_of_instruments():
    passed = check_instrument(probe(steps=100), [Case("linear", linear)])
    assert "joins_an_inspection" in passed


@pytest.mark.slow
def test_it_keeps_the_promises_on_awkward_networks():
    cases = [Case("network", network), Case("residual", lambda: (Residual(), {"x": normal(48, 3)}))]
    check_instrument(probe(), cases)


@pytest.mark.parametrize(
    ("instrument", "reason"),
    [
        (LangevinProbe(), "loss and targets missing"),
        (LangevinProbe(nn.MSELoss()), "targets missing"),
        (LangevinProbe(targets=torch.zeros(48, 1)), "loss missing"),
    ],
)
def test_it_names_what_is_missing(instrument, reason):
    model, batch = linear()
    assert instrument.applies(model, batch).startswith(reason)
    with pytest.raises(InputError, match=reason):
        instrument.measure(model, batch)


def test_functions_and_targets_of_another_length_are_refused():
    model, batch = linear()
    assert "tanh has no parameters" in probe().applies(torch.tanh, batch)
    with pytest.raises(InputError, match="48 inputs, the targets"):
        probe(47).measure(model, batch)


@pytest.mark.parametrize("options", [{"steps": 10}, {"chains": 1}, {"localisation": 0.0}])
def test_arguments_out_of_range_are_refused(options):
    with pytest.raises(InputError, match="localisation"):
        probe(**options)


def test_weights_that_are_not_finite_are_refused():
    model, batch = linear()
    with torch.no_grad():
        model[0].weight[0, 0] = math.nan
    with pytest.raises(InputError, match="loss at the start is nan"):
        probe().measure(model, batch)


def test_a_linear_fit_is_a_quadratic_basin_with_as_many_directions_as_weights():
    model, batch = linear()
    data = probe(localisation=1e-3, steps=400).measure(model, batch)
    h = np.linalg.eigvalsh(2 * (batch.T @ batch).double().numpy() / 48)
    nb = 48 / math.log(48)
    assert float(data["half_dimension"]) == pytest.approx(0.5 * (nb * h / (nb * h + 1e-3)).sum(), rel=1e-6)
    assert data.attrs["quadratic"] == "True"
    finding = probe().findings(data)[0]
    assert finding.severity == "ok"
    assert "of 4 directions" in finding.sentence
    # The whole network is one layer: what is fixed there is twice the learning coefficient.
    assert abs(data["fixed"].values[0] - 4) < 4 * data["fixed_error"].values[0] + 0.01


def test_layers_share_the_directions_and_tied_ones_are_counted_once():
    model, batch = Residual(), {"x": normal(48, 3)}
    data = probe(steps=100).measure(model, batch)
    rows = dict(zip(data["layer"].values.tolist(), data["skipped"].values.tolist(), strict=True))
    assert list(rows) == ["first", "second", "norm", "out"]
    assert rows["second"] == "its parameters are those of first.weight"
    assert data["parameters"].values.tolist() == [9, 0, 6, 4]
    total, error = float(data["fixed"].sum()), float(data["fixed_error"].sum())
    assert abs(total - 2 * float(data["learning_coefficient"])) < 4 * error


def test_too_few_samples_give_no_number_and_say_so():
    model, _ = linear()
    data = probe(20).measure(model, normal(20, 4))
    assert np.isnan(data["learning_coefficient"])
    assert np.isnan(data["fixed"]).all()
    finding = probe().findings(data)[0]
    assert "not determined: 20 samples, at least 32 needed" in finding.sentence
    assert "32 samples or more" in finding.action


def test_an_untrained_network_is_no_minimum():
    model, batch = network()
    with torch.no_grad():
        model[2].weight.normal_(generator=torch.Generator().manual_seed(1))
    found = probe(localisation=1.0)
    data = found.measure(model, batch)
    assert np.isnan(data["learning_coefficient"])
    finding = found.findings(data)[0]
    assert finding.severity == "note"
    assert "not determined: no minimum" in finding.sentence
    assert "Train further" in finding.action


def test_table_and_figure_show_layers_and_chains():
    instrument = probe()
    model, batch = network()
    data = instrument.measure(model, batch)
    assert "0 " in instrument.table(data).splitlines()[4]
    left, right = instrument.figures(data)["langevin"].axes
    assert len(left.lines) == 4 + 2
    assert len(right.patches) == 2
