import math

import numpy as np
import pytest
import torch
from torch import nn

from phasescope.errors import InputError, MemoryLimitError
from phasescope.signal.spectra import pair_participation, spectra
from phasescope.theory import layer_bits, product_participation, residual_spread
from reference import jacobians


def normal(*shape, seed=7, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def linear(n, m, scale=1.0, seed=0, bias=False):
    layer = nn.Linear(n, m, bias=bias, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(scale * normal(m, n, seed=seed) / math.sqrt(n))
        if bias:
            layer.bias.copy_(0.1 * normal(m, seed=seed + 1000))
    return layer


def orthogonal(n, seed):
    layer = linear(n, n, seed=seed)
    with torch.no_grad():
        layer.weight.copy_(torch.linalg.qr(layer.weight)[0])
    return layer


def rows(found):
    """The measured rows, by name."""
    data = found.dataset
    return {
        str(name): data.sel(layer=name)
        for name, reason in zip(data["layer"].values, data["skipped"].values, strict=True)
        if not reason
    }


class Residual(nn.Module):
    def __init__(self, n, depth, variance, seed=0):
        super().__init__()
        self.branches = nn.ModuleList(linear(n, n, math.sqrt(variance), seed + i) for i in range(depth))

    def forward(self, x):
        for branch in self.branches:
            x = x + branch(x)
        return x


def convolutional():
    torch.manual_seed(3)
    layers = nn.Conv2d(2, 3, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 5)
    return nn.Sequential(*layers).double(), normal(6, 2, 4, 4)


def perceptron():
    layers = linear(6, 9, seed=1, bias=True), nn.Tanh(), linear(9, 4, seed=2, bias=True), nn.ReLU()
    return nn.Sequential(*layers, linear(4, 1, seed=3)), normal(5, 6)


@pytest.mark.parametrize("made", [perceptron, convolutional])
def test_all_numbers_are_those_of_plain_jacobians(made):
    model, x = made()
    found = rows(spectra(model, x, samples=len(x)))
    for index, layer in enumerate(model):
        if str(index) not in found:
            assert isinstance(layer, nn.Flatten)
            continue
        each = [jacobians.numbers(model[: index + 1], one) for one in x]
        for name in each[0]:
            samples = np.array([numbers[name] for numbers in each], dtype=float)
            row = found[str(index)]
            np.testing.assert_allclose(row[name], samples.mean(0), rtol=1e-9, atol=1e-12)
            error = samples.std(0, ddof=1) / math.sqrt(len(x))
            np.testing.assert_allclose(row[f"{name}_error"], error, rtol=1e-6, atol=1e-9)


def test_orthogonal_layers_keep_everything():
    model = nn.Sequential(*[orthogonal(16, seed) for seed in range(4)])
    last = rows(spectra(model, normal(3, 16), snr=7))["3"]
    assert float(last["spread"]) == pytest.approx(0, abs=1e-12)
    assert float(last["participation"]) == pytest.approx(16, rel=1e-12)
    assert float(last["deficit"]) == pytest.approx(0, abs=1e-12)
    assert float(last["bits"]) == pytest.approx(0.5 * math.log2(8), rel=1e-12)
    assert last["rank"].values.tolist() == [16, 16, 16]


def test_ranks_may_rise_with_the_depth():
    first, second = (nn.Linear(2, 2, bias=False, dtype=torch.float64) for _ in range(2))
    with torch.no_grad():
        first.weight.copy_(torch.diag(torch.tensor([1, 1e-3])))
        second.weight.copy_(torch.diag(torch.tensor([1e-3, 1])))
    found = rows(spectra(nn.Sequential(first, second), normal(2, 2)))
    assert [float(found[name]["rank"].sel(threshold=1e-2)) for name in "01"] == [1, 2]


def test_a_gaussian_layer_has_the_bits_and_the_participation_of_theory():
    found = rows(spectra(nn.Sequential(linear(256, 256)), normal(2, 256), samples=1))["0"]
    assert float(found["bits"]) == pytest.approx(layer_bits(100), rel=0.01)
    assert float(found["participation"]) == pytest.approx(product_participation([256, 256]), rel=0.02)
    assert float(found["law"]) == product_participation([256, 256])


def test_rows_of_residual_networks_are_their_sums():
    found = spectra(Residual(128, 4, 0.5), normal(2, 128), samples=1)
    data, kept = found.dataset, rows(found)
    assert len(kept) == 4
    assert all(data["role"].sel(layer=name) == "sum" for name in kept)
    branch = str(data["skipped"].sel(layer="branches.0").item())
    assert branch.startswith("beside the stream")
    last = list(kept.values())[-1]
    assert float(last["spread"]) == pytest.approx(residual_spread(4, 0.5), rel=0.12)
    assert float(last["gain"]) == pytest.approx(1.5**4, rel=0.1)
    assert math.isnan(last["law"])


def test_layer_norm_takes_two_directions():
    n = 12
    norm = nn.LayerNorm(n, eps=0, elementwise_affine=False)
    x = normal(2, n)
    found = rows(spectra(nn.Sequential(norm, nn.Identity()), x, samples=2))["0"]
    assert float(found["participation"]) == pytest.approx(n - 2, rel=1e-9)
    assert float(found["rank"][2]) == n - 2
    sigma = x.std(dim=1, correction=0)
    assert float(found["gain"]) == pytest.approx(float((n - 2) / n * (sigma**-2).mean()), rel=1e-9)


class Attention(nn.Module):
    """Uniform attention with orthogonal values and outputs, and no shortcut."""

    def __init__(self, d, causal):
        super().__init__()
        self.value, self.out, self.causal = orthogonal(d, 1), orthogonal(d, 2), causal

    def forward(self, x):
        T = x.shape[1]
        weights = torch.ones(T, T, dtype=x.dtype)
        weights = weights.tril() if self.causal else weights
        return self.out((weights / weights.sum(1, keepdim=True)) @ self.value(x))


@pytest.mark.parametrize(("causal", "participation"), [(False, 1.0), (True, 1.890019)])
def test_uniform_attention_keeps_what_its_matrix_keeps(causal, participation):
    found = rows(spectra(Attention(4, causal), normal(2, 8, 4)))
    last = list(found.values())[-1]
    assert float(last["participation"]) == pytest.approx(4 * participation, rel=1e-6)
    assert float(last["rank"][2]) == (4 if not causal else 32)


class Language(nn.Module):
    def __init__(self, causal=True):
        super().__init__()
        self.table = nn.Embedding(9, 4, dtype=torch.float64)
        self.table.weight.data.copy_(normal(9, 4))
        self.attention = Attention(4, causal)

    def forward(self, input_ids):
        x = self.table(input_ids)
        return x + self.attention(x)


def test_token_models_are_differentiated_by_their_embedding():
    words = torch.randint(0, 9, (3, 5), generator=torch.Generator().manual_seed(0))
    model = Language()
    found = spectra(model, {"input_ids": words}, samples=3)
    last = list(rows(found).values())[-1]
    inside = model.table(words).detach()
    plain = [jacobians.numbers(lambda x: x + model.attention(x), one) for one in inside]
    assert found.dataset.attrs["input_units"] == 20
    assert float(last["participation"]) == pytest.approx(np.mean([p["participation"] for p in plain]))


def test_random_directions_agree_with_all_of_them():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 30))
    x = normal(16, 64, dtype=torch.float32)
    exact, probed = (rows(spectra(model, x, samples=8, probes=probes)) for probes in (None, 32))
    assert exact.keys() == probed.keys()
    assert len(exact) == 5
    for name, row in probed.items():
        for number in ("gain", "spread", "participation"):
            error = math.hypot(float(row[f"{number}_error"]), float(exact[name][f"{number}_error"]))
            assert float(row[number]) == pytest.approx(float(exact[name][number]), abs=4 * error)
            assert float(row[f"{number}_error"]) < 0.2 * float(row[number])
        assert np.isnan(row["rank"]).all()
        assert math.isnan(row["bits"])


def test_little_memory_gives_random_directions_and_says_so():
    model, x = nn.Sequential(nn.Linear(400, 400), nn.Tanh(), nn.Linear(400, 50)), normal(4, 400).float()
    full = spectra(model, x, samples=2)
    small = spectra(model, x, samples=2, max_memory="1.5MB")
    assert full.dataset.attrs["exact"] == 1
    assert small.dataset.attrs["exact"] == 0
    assert any("max_memory" in note for note in small.notes)
    with pytest.raises(MemoryLimitError):
        spectra(model, x, samples=2, max_memory=1000)
    for name, row in rows(small).items():
        expected = float(rows(full)[name]["participation"])
        assert float(row["participation"]) == pytest.approx(
            expected, abs=4 * float(row["participation_error"])
        )


def test_pairs_in_blocks_give_the_same_in_the_mean():
    vectors = np.random.default_rng(0).standard_normal((400, 30))
    gram = vectors @ vectors.T
    whole, error = pair_participation(gram)
    blocks = np.full_like(gram, np.nan)
    for start in range(0, 400, 50):
        blocks[start : start + 50, start : start + 50] = gram[start : start + 50, start : start + 50]
    part, wider = pair_participation(blocks)
    assert abs(whole - 30) < 4 * error
    assert abs(part - 30) < 4 * wider
    assert wider > error


@pytest.mark.parametrize("inputs", [64, 256])
def test_the_dimension_of_features_does_not_depend_on_the_number_of_inputs(inputs):
    found = [
        rows(
            spectra(nn.Sequential(nn.Identity(), orthogonal(100, 1)), normal(inputs, 100, seed=s), samples=1)
        )
        for s in range(4)
    ]
    last = [list(each.values())[-1] for each in found]
    values = [float(row["features"]) for row in last]
    assert np.mean(values) == pytest.approx(100, abs=4 * (28, 6)[inputs > 100] / 2)
    error = float(last[0]["features_error"])
    assert 0.3 * (20, 5)[inputs > 100] < error < 3 * (20, 5)[inputs > 100]


def test_features_are_those_of_all_pairs_of_differences():
    model, x = perceptron()[0], normal(40, 6)
    found = rows(spectra(model, x, seed=3))
    order = np.random.default_rng((3, 6)).permutation(40)
    reference = jacobians.feature_participation(model[:3](x)[order].detach())
    assert float(found["2"]["features"]) == pytest.approx(reference, rel=1e-9)
    assert math.isnan(rows(spectra(model, x[:31]))["2"]["features"])


def test_batch_normalisation_in_training_is_measured_input_by_input():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3)).double()
    x = normal(12, 5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = spectra(model, x, samples=1)
    assert any("influence each other" in note for note in found.notes)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())

    def of_the_first(one):
        return model(torch.cat([one, x[1:]]))[:1]

    plain = jacobians.numbers(of_the_first, x[0])
    last = list(rows(found).values())[-1]
    for name in ("gain", "participation", "bits"):
        assert float(last[name]) == pytest.approx(plain[name], rel=1e-9)
    probed = list(rows(spectra(model, x, samples=1, probes=200)).values())[-1]
    error = float(probed["participation_error"])
    assert float(probed["participation"]) == pytest.approx(plain["participation"], abs=4 * error)


def test_tied_weights_and_one_unit_layers_are_measured():
    shared = linear(4, 4, seed=5)
    model = nn.Sequential(shared, nn.Tanh(), shared, linear(4, 1, seed=6))
    found = rows(spectra(model, normal(3, 4)))
    one = list(found.values())[-1]
    assert float(one["participation"]) == 1
    assert float(one["deficit"]) == pytest.approx(0, abs=1e-12)
    assert len(found) == 4


def test_rows_without_a_signal_say_why():
    silent = nn.Sequential(linear(4, 4), nn.Linear(4, 4, dtype=torch.float64))
    with torch.no_grad():
        silent[1].weight.zero_()
    found = spectra(silent, normal(40, 4)).dataset
    assert str(found["skipped"].sel(layer="1").item()) == "no signal: its derivative by the input is zero"
    assert math.isnan(found["features"].sel(layer="1"))
    broken = nn.Sequential(linear(4, 4), linear(4, 4))
    with torch.no_grad():
        broken[1].weight[0, 0] = math.nan
    found = spectra(broken, normal(40, 4)).dataset
    assert str(found["skipped"].sel(layer="1").item()) == "its derivative is not finite"
    assert not str(found["skipped"].sel(layer="0").item())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused(dtype):
    with pytest.raises(InputError, match="too coarse"):
        spectra(nn.Linear(3, 3).to(dtype), torch.ones(2, 3, dtype=dtype))


@pytest.mark.parametrize(
    "options", [{"snr": 0.0}, {"samples": 0}, {"probes": 0}, {"probes": 1}, {"seed": -1}]
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError):
        spectra(nn.Linear(3, 3), torch.ones(2, 3), **options)


def test_the_same_seed_gives_the_same_numbers_and_another_other_directions():
    model, x = nn.Sequential(nn.Linear(20, 20), nn.Tanh()), normal(40, 20).float()
    one, again, other = (spectra(model, x, probes=8, seed=seed).dataset for seed in (1, 1, 2))
    assert one.identical(again)
    assert float(one["gain"][0]) != float(other["gain"][0])
    assert "participation" in str(spectra(model, x))
