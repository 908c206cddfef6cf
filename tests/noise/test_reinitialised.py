"""The untrained copy: drawn as torch draws, everything reset, nothing else changed."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from phasescope.errors import InputError
from phasescope.noise import reinitialised


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(40, 16, padding_idx=0)
        self.lstm = nn.LSTM(16, 32, num_layers=2, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(64, 16)
        self.head = nn.Sequential(
            nn.LayerNorm(16), nn.Sequential(nn.Linear(16, 16), nn.PReLU()), nn.Linear(16, 2)
        )


class OwnParameters(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.scale = nn.Parameter(torch.full((4,), 7.0))


class ResetsItself(OwnParameters):
    def reset_parameters(self):
        nn.init.ones_(self.scale)


def spoilt(model):
    """Return the model with all its parameters far from where they started."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.full_like(parameter, 50.0))
    return model


@pytest.mark.parametrize(
    "make",
    [
        Nested,
        lambda: nn.Transformer(16, 2, 1, 1, 32, batch_first=True),
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32), 2, enable_nested_tensor=False),
        lambda: nn.MultiheadAttention(8, 2, add_bias_kv=True, kdim=4, vdim=6),
        lambda: nn.Sequential(nn.Conv1d(3, 8, 5), nn.BatchNorm1d(8), nn.ReLU()),
    ],
)
def test_parameters_are_drawn_by_the_law_of_the_constructor(make):
    torch.manual_seed(1)
    new, trained = make(), spoilt(make())
    kept = copy.deepcopy(trained.state_dict())
    generator = torch.get_rng_state()
    fresh = reinitialised(trained, seed=3)
    assert torch.equal(generator, torch.get_rng_state())
    assert all(torch.equal(value, kept[name]) for name, value in trained.state_dict().items())
    again, other = (reinitialised(trained, seed=seed) for seed in (3, 4))
    for (name, one), two, three, same in zip(
        fresh.named_parameters(), new.parameters(), other.parameters(), again.parameters(), strict=True
    ):
        assert torch.equal(one, same), name
        random = bool(two.std() > 0) if two.numel() > 1 else False
        assert torch.equal(one, three) != random, name
        if not random:
            assert torch.equal(one, two), name
        else:
            # Two samples of one law: their standard deviations agree within 5 standard errors.
            ratio = math.log(float(one.detach().std() / two.detach().std()))
            assert abs(ratio) < 5 / math.sqrt(one.numel()), name
            assert float(one.detach().abs().max()) < 6 * float(two.detach().std()), name


def test_a_padding_row_is_zero_and_layers_of_a_transformer_differ():
    assert float(reinitialised(nn.Embedding(5, 3, padding_idx=2)).weight[2].detach().abs().sum()) == 0
    layer = nn.TransformerEncoderLayer(8, 2, 16)
    fresh = reinitialised(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False))
    assert not torch.equal(fresh.layers[0].linear1.weight, fresh.layers[1].linear1.weight)


def test_running_statistics_start_again_and_other_buffers_stay():
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6, momentum=None))
    model.register_buffer("positions", torch.arange(5.0))
    model(torch.randn(20, 4)).sum().backward()
    assert model[1].num_batches_tracked == 1
    fresh = reinitialised(model)
    assert torch.equal(fresh[1].running_mean, torch.zeros(6))
    assert torch.equal(fresh[1].running_var, torch.ones(6))
    assert fresh[1].num_batches_tracked == 0
    assert torch.equal(fresh.positions, torch.arange(5.0))
    assert all(p.grad is None for p in fresh.parameters())
    assert model[1].num_batches_tracked == 1
    assert model[0].weight.grad is not None


def test_type_mode_ties_and_frozen_parameters_are_kept():
    model = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 6, bias=False)).double().eval()
    model[1].weight = model[0].weight
    model[0].weight.requires_grad_(False)
    fresh = reinitialised(model)
    assert fresh[1].weight is fresh[0].weight
    assert fresh[0].weight.dtype == torch.float64
    assert not fresh.training
    assert not fresh[0].weight.requires_grad
    assert not torch.equal(fresh[0].weight, model[0].weight)


def test_weight_norm_is_taken_apart_again():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(50, 40)))
    plain = reinitialised(nn.Sequential(nn.Linear(50, 40)), seed=5)[0]
    fresh = reinitialised(spoilt(model), seed=5)[0]
    torch.testing.assert_close(fresh.weight, plain.weight)
    torch.testing.assert_close(fresh.bias, plain.bias)
    norms = np.linalg.norm(plain.weight.detach().numpy(), axis=1)
    magnitude = fresh.parametrizations.weight.original0.detach().numpy()
    np.testing.assert_allclose(magnitude[:, 0], norms, rtol=1e-5)


def test_a_module_may_reset_what_it_owns():
    model = nn.Sequential(ResetsItself())
    assert torch.equal(reinitialised(model)[0].scale, torch.ones(4))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: nn.Sequential(OwnParameters()),
            ["0 (OwnParameters)", "scale", "reset_parameters"],
        ),
        (lambda: nn.ModuleDict({"a": nn.ParameterList([torch.ones(2)])}), ["a (ParameterList)"]),
        (
            lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))),
            ["0 (ParametrizedLinear)", "SpectralNorm", "remove_parametrizations"],
        ),
        (lambda: nn.Sequential(nn.LazyLinear(4)), ["0 (LazyLinear)", "Run the model once"]),
        (lambda: lambda x: x, ["function", "Module"]),
    ],
)
def test_what_cannot_be_drawn_is_named(make, words):
    with pytest.raises(InputError) as caught:
        reinitialised(make())
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_reset_that_fails_is_named():
    class Broken(nn.Linear):
        def reset_parameters(self, gain=None):
            if gain is not None or hasattr(self, "made"):
                raise TypeError("gain is missing")
            super().reset_parameters()

    model = nn.Sequential(Broken(2, 2))
    model[0].made = True
    with pytest.raises(InputError, match=r"0 \(Broken\): reset_parameters\(\) fails \(gain is missing\)"):
        reinitialised(model)
