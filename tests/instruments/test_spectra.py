"""Directions kept over depth as an instrument: what it says of networks whose answer is known."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from phasescope.errors import InputError
from phasescope.instruments.spectra import JacobianSpectra, _shuffle
from phasescope.testing import CHECKS, Case, check_instrument

SPECTRA = JacobianSpectra()


def normal(*shape, seed=7):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def chain(
    depth, width=32, made=lambda weight: nn.init.normal_(weight, std=weight.shape[1] ** -0.5), between=()
):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = []
        for _ in range(depth):
            layers += [nn.Linear(width, width, bias=False), *[kind() for kind in between]]
            made(layers[-1 - len(between)].weight)
    return nn.Sequential(*layers)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.branches = chain(3, 12)
        self.read = chain(1, 12)

    def forward(self, x):
        for branch in self.branches:
            x = x + torch.tanh(branch(x))
        return self.read(x)


def said(model, batch, instrument=SPECTRA):
    return instrument.findings(instrument.measure(model, batch))


def test_the_contract_holds_for_residual_networks():
    kinds = ("accounts", "skips", "says", "errors", "measures")
    few = [name for name in CHECKS if name.split("_")[0] in kinds]
    few += ["leaves_no_trace", "survives_netcdf", "draws_figures", "attributes_are_json", "cites_its_sources"]
    few = [name for name in few if name in CHECKS]
    assert check_instrument(SPECTRA, [Case("residual", lambda: (Residual(), normal(40, 12)))], only=few)


@pytest.mark.slow
def test_the_whole_contract_holds():
    assert check_instrument(SPECTRA, fast=False)


def test_independent_weights_are_as_their_shuffled_copies():
    data = SPECTRA.measure(chain(4), normal(64, 32))
    found = SPECTRA.findings(data)
    assert found[-1].severity == "ok"
    assert "as many directions apart as shuffled weights" in " ".join(f.sentence for f in found)
    spread = np.abs(data["participation"] - data["participation_null"])
    assert (spread < 4 * np.maximum(data["participation_null_sd"], 0.06 * data["participation"])).all()
    np.testing.assert_allclose(data["participation_null"], data["law"], rtol=0.15)


def test_orthogonal_weights_keep_more_and_lose_no_bits():
    found = said(chain(6, made=nn.init.orthogonal_), normal(64, 32))
    told = " ".join(finding.sentence for finding in found)
    assert "keeps more directions than shuffled weights" in told
    bits = next(finding for finding in found if "bits a direction" in finding.sentence)
    assert bits.severity == "ok"


def low_rank(weight):
    nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
    with torch.no_grad():
        weight.copy_(0.05 * weight + torch.outer(weight[0], weight[1]) * 8)


def test_a_lost_direction_is_told_with_the_first_row():
    found = said(chain(4, made=low_rank, between=(nn.Tanh,)), normal(64, 32))
    assert found[0].severity == "warning"
    assert found[0].sentence.startswith("From 0 on, the network sees about one direction of its input")
    assert "1/sqrt(L)" in found[0].action
    fewer = next(finding for finding in found if "fewer than half" in finding.sentence)
    assert fewer.sentence.startswith("From 0 on")
    assert fewer.severity == "note"


def test_few_inputs_leave_the_features_undetermined():
    found = said(chain(2), normal(8, 32))
    assert any("features over the batch is not determined" in f.sentence for f in found)
    assert all(f.severity in ("ok", "note") for f in found)


def test_random_directions_leave_the_bits_undetermined():
    data = JacobianSpectra(probes=16).measure(chain(2), normal(40, 32))
    assert np.isnan(data["deficit"]).all()
    assert np.isfinite(data["participation_null"]).all()
    told = " ".join(finding.sentence for finding in SPECTRA.findings(data))
    assert "bits the layers lose by treating directions unequally is not determined" in told


def test_few_random_directions_leave_a_factor_of_two_undetermined():
    data = JacobianSpectra(samples=1, probes=4).measure(chain(2), normal(40, 32))
    told = next(finding for finding in SPECTRA.findings(data) if "factor of two" in finding.sentence)
    assert told.severity == "note"
    assert "samples=4, probes=64" in told.action
    assert "1 input, 4 directions each" in told.evidence


def test_a_model_without_a_signal_is_told():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    with torch.no_grad():
        model[0].weight.fill_(math.nan)
    found = said(model, normal(40, 4))
    assert found[0].sentence == "Which directions the layers keep apart is not determined."
    assert "not finite" in found[0].evidence


def test_half_precision_is_refused_before_the_model_runs():
    model = nn.Linear(4, 4).half()
    reason = SPECTRA.applies(model, normal(4, 4).half())
    assert "float16" in reason
    with pytest.raises(InputError, match="float16"):
        SPECTRA.measure(model, normal(4, 4).half())


@pytest.mark.parametrize("options", [{"snr": -1.0}, {"samples": 0}, {"probes": 1}, {"snr": math.inf}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError):
        JacobianSpectra(**options)


def test_shuffling_keeps_the_entries_and_tied_weights_tied():
    shared = nn.Linear(5, 5)
    model = nn.Sequential(shared, nn.Tanh(), shared)
    before = shared.weight.detach().clone()
    bias = shared.bias.detach().clone()
    _shuffle(model, 3)
    assert not torch.equal(shared.weight, before)
    assert torch.equal(shared.weight.flatten().sort().values, before.flatten().sort().values)
    assert torch.equal(shared.bias, bias)
    large = nn.Linear(1100, 1000)
    weight = large.weight.detach()
    scale, mean = float(weight.std()), float(weight.mean())
    _shuffle(large, 3)
    assert float(weight.std()) == pytest.approx(scale, rel=0.01)
    assert float(weight.mean()) == pytest.approx(mean, abs=5 * scale / 1000)


def test_the_table_names_every_measured_row():
    data = SPECTRA.measure(Residual(), normal(40, 12))
    lines = SPECTRA.table(data).splitlines()
    assert len(lines) - 4 == int((data["skipped"].values == "").sum())
    assert "participation" in lines[2]
