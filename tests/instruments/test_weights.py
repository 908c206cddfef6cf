"""The instrument for weights: promises, nulls, what it says of made networks, and what it refuses."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from phasescope.errors import InputError, MemoryLimitError
from phasescope.instruments.weights import WeightStructure
from phasescope.structure import persistence, tolerated_rank
from phasescope.testing import check_instrument
from phasescope.testing.cases import Case, default_cases

FEW = WeightStructure(shuffles=15)


def normal(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def relu_net(seed=0, sizes=(32, 32, 32, 8)):
    generator = torch.Generator().manual_seed(seed)
    layers = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        with torch.no_grad():
            layers[-2].weight.normal_(0, inputs**-0.5, generator=generator)
            layers[-2].bias.zero_()
    return nn.Sequential(*layers[:-1])


def planted(seed=0):
    """A network whose first layer is wired along one direction, of low rank."""
    model = relu_net(seed)
    with torch.no_grad():
        model[0].weight.copy_(
            normal(32, 1, seed=5) @ normal(1, 32, seed=6) / 6 + 1e-3 * normal(32, 32, seed=7)
        )
    return model


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 10)
        self.inside = nn.Sequential(nn.Linear(10, 14), nn.BatchNorm1d(14), nn.ReLU(), nn.Linear(14, 10))
        self.last = nn.Linear(10, 3)

    def forward(self, x):
        h = self.first(x)
        return self.last(h + self.inside(h))


class Attention(nn.Module):
    """A block with queries, keys and values of its own, tied to nothing, behind an embedding."""

    def __init__(self, tied=False):
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.q_proj, self.k_proj, self.v_proj, self.out = (nn.Linear(8, 8, bias=False) for _ in range(4))
        self.head = nn.Linear(8, 11, bias=False)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens):
        h = self.embedding(tokens)
        mixed = nn.functional.scaled_dot_product_attention(self.q_proj(h), self.k_proj(h), self.v_proj(h))
        return self.head(h + self.out(mixed))


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 8)
        self.two.weight = self.one.weight

    def forward(self, x):
        return self.two(torch.relu(self.one(torch.relu(self.one(x)))))


def test_it_keeps_the_promises_of_instruments():
    check_instrument(FEW, cases=[Case("relu", lambda: (relu_net(sizes=(12, 12, 4)), normal(40, 12)))])


@pytest.mark.slow
def test_it_keeps_them_on_all_kinds_of_networks():
    check_instrument(FEW, cases=default_cases())
    check_instrument(
        FEW, cases=[Case("residual", lambda: (Residual(), normal(64, 6)))], only=["leaves_no_trace"]
    )


def test_its_rows_are_those_of_the_free_functions():
    model, x = relu_net(), normal(300, 32)
    data = WeightStructure(shuffles=15, balance="never").measure(model, x, seed=3)
    assert data["layer"].values.tolist() == ["0", "1", "2", "3", "4"]
    assert data["skipped"].values.tolist()[1] == "it holds no connections"
    row = data.sel(layer="2")
    hidden = torch.relu(model[0](x)).detach()
    rank = tolerated_rank(model[2], hidden)
    assert (float(row["rank"]), float(row["rank_weights"])) == (rank.rank.value, rank.weights)
    assert float(row["rank_error"]) == rank.rank.error
    assert float(row["rank_null"]) == pytest.approx(float(rank.shuffled.mean()), abs=1.5)
    weights = [model[i].weight.detach().double().numpy() for i in (0, 2, 4)]
    assert float(row["persistence"]) == pytest.approx(persistence(weights[1], shuffles=0).value, abs=1e-15)
    for variant in ("rank", "paper", "unscaled"):
        deep = persistence(weights, variant, shuffles=0).value
        assert float(data["deep"].sel(variant=variant)) == pytest.approx(deep, abs=1e-15)


def test_an_untrained_network_is_wired_like_its_shuffles_however_it_was_drawn():
    torch.manual_seed(2)
    uniform = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 8))
    for model in (relu_net(), uniform):
        data = FEW.measure(model, normal(100, 32))
        assert data.attrs["balanced"] == "True"
        assert np.nanmax(np.abs(data["z"].values)) < 4
        assert "no structure that training left" in FEW.findings(data)[0].sentence


def test_planted_structure_is_seen_in_its_layer_and_its_rank_is_in_the_weights():
    data = WeightStructure(shuffles=15, balance="never").measure(planted(), normal(300, 32))
    rows = data.sel(layer=["0", "2"])
    assert rows["z"].values[0] > 10 > 4 > abs(rows["z"].values[1])
    assert rows["rank"].values[0] == 1
    assert rows["rank_null"].values[0] > 15
    assert rows["rank_untrained"].values[0] > 15
    assert rows["tail_p"].values[0] < 0.05 < rows["tail_p"].values[1]
    wired, ranked = FEW.findings(data)[:2]
    assert "1 of 3 layers hold more structure" in wired.sentence
    assert "the low rank is in the weights" in ranked.action
    assert "rank=1) saves 94 %" in ranked.action
    assert 0 < float(data["output_change"]) < 0.5


def test_a_rank_that_the_inputs_set_is_told_from_one_of_the_weights():
    x = normal(300, 2) @ normal(2, 32, seed=4)
    data = FEW.measure(relu_net(), x)
    assert float(data["rank"].sel(layer="0")) == 2
    text = FEW.findings(data)[1]
    assert "the low rank is that of the inputs" in text.action


def test_rescaled_copies_of_one_network_have_one_persistence():
    model, copy = relu_net().double(), relu_net().double()
    factor = torch.exp(normal(32, seed=8))
    with torch.no_grad():
        copy[0].weight.mul_(factor[:, None])
        copy[0].bias.mul_(factor)
        copy[2].weight.div_(factor)
    one, other = (FEW.measure(net, normal(64, 32).double()) for net in (model, copy))
    np.testing.assert_allclose(one["deep"].values, other["deep"].values, rtol=1e-9)
    apart = WeightStructure(shuffles=15, balance="never").measure(copy, normal(64, 32).double())
    assert float(apart["deep_z"].sel(variant="rank")) > 10 > float(other["deep_z"].sel(variant="rank"))


def test_residual_branches_and_batch_normalisation_are_followed_and_not_balanced():
    data = FEW.measure(Residual().eval(), normal(80, 6))
    assert data.attrs["chain"] == "followed"
    assert data.attrs["balanced"] == "False"
    assert np.isfinite(data["deep"].values).all()
    assert "not balanced" in data.attrs["notes"]
    assert np.isfinite(data["rank"].values[data["skipped"].values == ""]).all()


def test_of_attention_only_values_and_output_are_on_the_way():
    data = FEW.measure(Attention(), torch.arange(60).reshape(10, 6) % 11)
    assert data["skipped"].sel(layer="embedding").item() == "a table that is looked up, no map"
    assert any("only v_proj and out" in note for note in json.loads(data.attrs["notes"]))
    torchs = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
    data = FEW.measure(torchs, normal(10, 6, 8))
    row = data.sel(layer="self_attn")
    assert math.isfinite(float(row["z"]))
    assert math.isnan(float(row["rank"]))


def test_tied_weights_are_measured_once():
    data = FEW.measure(Shared(), normal(64, 8))
    named = dict(zip(data["layer"].values.tolist(), data["skipped"].values.tolist(), strict=True))
    assert named["one"] == ""
    assert named["one (call 2)"] == named["two"] == "the weights of one, measured there"
    assert FEW.measure(Attention(tied=True), torch.arange(60).reshape(10, 6) % 11)["skipped"].sel(
        layer="head"
    ).item() in ("", "the weights of embedding, measured there")


def test_grouped_convolutions_and_a_flattened_read_out_form_one_chain():
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, groups=6),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 4),
    )
    data = FEW.measure(model, normal(40, 3, 8, 8))
    assert data.attrs["balanced"] == "True"
    assert np.isfinite(data["deep"].values).all()
    assert data["shape"].sel(layer="2").item() == "54 x 6"


def test_weights_without_numbers_and_layers_of_one_unit_are_rows_with_reasons():
    model = nn.Sequential(nn.Linear(6, 1), nn.ReLU(), nn.Linear(1, 6), nn.ReLU(), nn.Linear(6, 6))
    with torch.no_grad():
        model[4].weight[0, 0] = math.nan
    data = FEW.measure(model, normal(64, 6))
    assert data["skipped"].sel(layer="4").item() == "its weights are NaN or infinite"
    assert data.attrs["chain"] == "4 is not measured"
    assert float(data["full"].sel(layer="0")) == 1
    assert FEW.findings(data)


def test_nan_in_the_first_layer_leaves_the_ranks_behind_it_undetermined():
    model, x = relu_net(), normal(64, 32)
    with torch.no_grad():
        model[0].weight[0, 0] = math.nan
    data = FEW.measure(model, x, seed=0)
    assert data["skipped"].sel(layer="0").item() == "its weights are NaN or infinite"
    assert np.isnan(data["rank"].sel(layer=["2", "4"]).values).all()
    assert FEW.findings(data)


def test_few_inputs_give_no_rank():
    data = FEW.measure(relu_net(), normal(20, 32))
    assert np.isnan(data["rank"].values).all()
    found = next(f for f in FEW.findings(data) if "is not determined" in f.sentence)
    assert "20 input vectors are too few" in found.evidence


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: WeightStructure(shuffles=3), "shuffles is 3"),
        (lambda: WeightStructure(tolerance=0), "tolerance is 0"),
        (lambda: WeightStructure(balance="on"), "balance is 'on'"),
        (lambda: FEW.measure(nn.LSTM(3, 4, batch_first=True), normal(4, 5, 3)), "no linear layer"),
    ],
)
def test_what_it_cannot_use_is_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_a_limit_below_three_copies_of_a_weight_is_refused():
    with pytest.raises(MemoryLimitError, match="largest weight"):
        FEW.measure(relu_net(), normal(40, 32), max_memory=1000)
