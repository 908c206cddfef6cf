"""Sensitivities of any module, held against its Jacobian taken one output number at a time."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from phasescope.errors import InputError
from phasescope.synapses import ClassMargin, Logit, ensemble, module_sensitivity, modules
from reference.weight_jacobians import jacobian
from zoo import ZOO, every


def small(dtype=torch.float64, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).to(dtype).eval()


def batch(samples=6, inputs=5, seed=1):
    return torch.randn(samples, inputs, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class Tied(nn.Module):
    """A small language model whose last layer shares its matrix with the embedding."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 4)
        self.mixing = nn.Linear(4, 4)
        self.head = nn.Linear(4, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        hidden = self.embedding(tokens)
        return {"tokens": tokens, "logits": self.head(torch.relu(self.mixing(hidden.cumsum(1))))}


class ForwardLess(torch.autograd.Function):
    """x^2 without a forward mode."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    def backward(ctx, gradient):
        return 2 * ctx.saved_tensors[0] * gradient


class Squares(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 4, dtype=torch.float64)

    def forward(self, x):
        return ForwardLess.apply(self.layer(x))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells = nn.LSTM(5, 2, num_layers=2, dtype=torch.float64)

    def forward(self, x):
        return self.cells(x)[0]


def cnn():
    layers = [nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4)]
    model = nn.Sequential(*layers).double().train()
    model(batch(8, 36, seed=3).reshape(8, 1, 6, 6))
    return model.eval()


MODELS = {
    "mlp": (small, batch),
    "cnn": (cnn, lambda: batch(4, 36).reshape(4, 1, 6, 6)),
    "lstm": (Recurrent, lambda: batch(8, 5).reshape(4, 2, 5)),
    "without forward mode": (Squares, batch),
}


@pytest.mark.parametrize("name", MODELS)
def test_products_and_sizes_are_those_of_the_jacobian(name):
    torch.manual_seed(5)
    model, inputs = (make() for make in MODELS[name])
    output, J = jacobian(model, inputs)
    found = module_sensitivity(model, inputs)
    assert found.size == len(J)
    torch.testing.assert_close(found.output, output)
    seeds = torch.randn(2, *output.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    expected = torch.einsum("sn,kn->ks", J.flatten(1), seeds.flatten(1))
    torch.testing.assert_close(found.pulled_back(seeds), expected)
    torch.testing.assert_close(found.pulled_back(seeds[1]), expected[1])
    steps = torch.randn(2, len(J), dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    change = torch.einsum("sn,ks->kn", J.flatten(1), steps).reshape(2, *output.shape)
    torch.testing.assert_close(found.change(steps), change)
    torch.testing.assert_close(found.change(steps[0]), change[0])
    torch.testing.assert_close(found.rms, J.flatten(1).square().mean(1).sqrt())
    assert found.rms_error == 0


@pytest.mark.parametrize("name", MODELS)
def test_parts_of_a_batch_give_the_same_products(name):
    torch.manual_seed(5)
    model, inputs = (make() for make in MODELS[name])
    whole, parts = module_sensitivity(model, inputs), module_sensitivity(model, inputs, chunk=2)
    seeds = torch.randn(whole.output.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(whole.output, parts.output)
    torch.testing.assert_close(whole.pulled_back(seeds), parts.pulled_back(seeds))
    step = torch.randn(whole.size, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(whole.change(step), parts.change(step))


def test_a_mask_counts_cases_and_numbers_weigh_them():
    model, inputs = small(), batch()
    _, J = jacobian(model, inputs)
    weights = torch.tensor([0.0, 1.0, 2.0, 0.0, 0.5, 0.0], dtype=torch.float64)
    expected = torch.einsum("sno,n->s", J.square(), weights)
    found = module_sensitivity(model, inputs)
    torch.testing.assert_close(found.energy(weights), expected)
    both = found.energy(torch.stack([weights, torch.ones_like(weights)]))
    torch.testing.assert_close(both, torch.stack([expected, J.square().sum((1, 2))]))


@pytest.fixture
def estimated(monkeypatch):
    """Sizes of maps are estimated however small the network is."""
    monkeypatch.setattr(modules, "_EXACT", 0)


@pytest.mark.usefixtures("estimated")
def test_estimated_sizes_are_right_on_average_and_within_their_error():
    model, inputs = small(), batch(120)
    _, J = jacobian(model, inputs)
    true = J.square().mean((1, 2))
    runs = [module_sensitivity(model, inputs, seed=s, chunk=8) for s in range(60)]
    energies = torch.stack([run.rms.square() for run in runs])
    spread = energies.std(0)
    # A mean of 60 runs; the sizes of different weights in one run depend on each other.
    assert ((energies.mean(0) - true).abs() < 4.5 * spread / 60**0.5).all()
    assert runs[0].rms_error == pytest.approx((2 * 15) ** -0.5)
    # Some of the 65 weights move few parts; where all parts move alike, the error is the largest.
    relative = (energies.clamp(min=0).sqrt() - true.sqrt()).square().mean(0).sqrt() / true.sqrt()
    assert 0.5 * runs[0].rms_error < float(relative.median()) < 1.3 * runs[0].rms_error


@pytest.mark.usefixtures("estimated")
def test_energies_of_estimated_maps_are_those_of_the_cases_that_a_mask_counts():
    model, inputs = small(), batch(60)
    inputs[10:, :2] = 0
    found = module_sensitivity(model, inputs, probes=40)
    _, J = jacobian(model, inputs)
    mask = torch.arange(60) < 10
    true = J.square().sum(2)
    both = found.energy(torch.stack([mask, ~mask]))
    for energies, inside in zip(both, (mask, ~mask), strict=True):
        expected = true[:, inside].sum(1)
        assert ((energies - expected).abs() <= 0.5 * expected).all()
    # The first two inputs are 0 outside.
    assert not both[1].reshape(-1)[:35].reshape(7, 5)[:, :2].any()


@pytest.mark.usefixtures("estimated")
def test_more_probes_make_a_smaller_error():
    model, inputs = small(), batch(120)
    one, many = (module_sensitivity(model, inputs, probes=n) for n in (1, 16))
    assert many.rms_error == pytest.approx(one.rms_error / 4)
    _, J = jacobian(model, inputs)
    true = J.square().mean((1, 2)).sqrt()
    assert (many.rms - true).abs().mean() < 0.5 * (one.rms - true).abs().mean()


def test_shared_weights_count_once_and_have_all_names():
    torch.manual_seed(0)
    model = Tied().double()
    tokens = torch.randint(0, 11, (5, 6), generator=torch.Generator().manual_seed(1))
    found = module_sensitivity(model, tokens, read=lambda output: output["logits"])
    assert found.size == 44 + 16 + 4
    assert found.name(4 * 7 + 2) == "embedding.weight = head.weight[7, 2]"
    assert found.name(44 + 4 * 1 + 3) == "mixing.weight[1, 3]"
    assert found.name(63) == "mixing.bias[3]"
    seeds = torch.randn(5, 6, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    parameters = [model.embedding.weight, model.mixing.weight, model.mixing.bias]
    expected = torch.autograd.grad(model(tokens)["logits"], parameters, seeds)
    torch.testing.assert_close(found.pulled_back(seeds), torch.cat([g.flatten() for g in expected]))
    assert any("embedding.weight = head.weight" in note for note in found.notes)


def test_frozen_weights_are_left_out_and_said_so_unless_named():
    model = small()
    model[0].weight.requires_grad_(False)
    found = module_sensitivity(model, batch())
    assert found.size == 7 + 24
    assert found.name(0) == "0.bias[0]"
    assert any("0.weight" in note and "frozen" in note for note in found.notes)
    named = module_sensitivity(model, batch(), parameters=["0"])
    assert named.size == 42
    assert [piece.names[0] for piece in named.pieces] == ["0.weight", "0.bias"]


def test_weights_are_grouped_by_the_unit_that_they_enter():
    found = module_sensitivity(small(), batch())
    rows = [unit for unit in range(7) for _ in range(5)]
    last = [7 + unit for unit in range(3) for _ in range(7)]
    assert found.groups.tolist() == rows + list(range(7)) + last + [7, 8, 9]
    torch.manual_seed(0)
    tied = module_sensitivity(Tied(), torch.ones(2, 3, dtype=torch.long), read=lambda o: o["logits"])
    assert tied.groups[:44].tolist() == [0, 1, 2, 3] * 11
    transposed = nn.ConvTranspose1d(2, 3, 2)
    up = module_sensitivity(transposed, torch.randn(2, 2, 4, generator=torch.Generator().manual_seed(0)))
    assert up.groups.tolist() == [0, 0, 1, 1, 2, 2] * 2 + [0, 1, 2]


def test_another_place_is_a_new_object_and_a_copy_of_the_model_follows_it():
    model, inputs = small(), batch()
    before = copy.deepcopy(model.state_dict())
    found = module_sensitivity(model, inputs)
    moved = found.weights + 0.1
    there = found.at(moved)
    torch.testing.assert_close(there.output, found.with_weights(moved)(inputs).detach())
    torch.testing.assert_close(found.output, model(inputs).detach())
    assert not torch.equal(there.output, found.output)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    with torch.no_grad():
        model[0].weight.zero_()
    torch.testing.assert_close(found.at(found.weights).output, found.output)


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 2)).double()
    model.train()
    model[3].eval()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    calls = []
    handle = model[0].register_forward_hook(lambda *_: calls.append(1))
    before = copy.deepcopy(model.state_dict())
    modes = [part.training for part in model.modules()]
    random = torch.get_rng_state()
    for mode in ("eval", "given"):
        found = module_sensitivity(model, batch(), mode=mode)
        found.rms, found.gradient(ClassMargin(0)), found.change(torch.ones(found.size))
    with pytest.raises(InputError, match="does not accept"):
        module_sensitivity(model, batch(6, 4))
    assert calls
    handle.remove()
    assert not model[0]._forward_hooks
    assert [part.training for part in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())
    assert torch.equal(model[0].weight.grad, torch.ones_like(model[0].weight))


def test_training_mode_uses_the_statistics_of_the_whole_batch():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Linear(6, 2)).double().train()
    inputs = batch(30)
    found = module_sensitivity(model, inputs, mode="given")
    expected, J = jacobian(copy.deepcopy(model), inputs)
    torch.testing.assert_close(found.output, expected)
    torch.testing.assert_close(found.rms, J.square().mean((1, 2)).sqrt())
    assert any("training mode" in note for note in found.notes)


def test_samples_that_depend_on_each_other_are_not_cut():
    class Centred(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, 3, dtype=torch.float64)

        def forward(self, x):
            y = self.layer(x)
            return y - y.mean(0)

    model, inputs = Centred(), batch(40)
    found = module_sensitivity(model, inputs)
    torch.testing.assert_close(found.output, model(inputs).detach())
    assert any("depends on the others" in note for note in found.notes)
    together = module_sensitivity(small(), inputs)
    assert any("in 14 parts" in note for note in together.notes)


def test_half_precision_computes_in_single():
    model = small(torch.float16)
    exact = copy.deepcopy(model).float()
    inputs = batch().half()
    found = module_sensitivity(model, inputs)
    _, J = jacobian(exact, inputs.float())
    assert found.weights.dtype == torch.float32
    torch.testing.assert_close(found.rms, J.square().mean((1, 2)).sqrt())
    assert found.with_weights(found.weights)[0].weight.dtype == torch.float16
    assert all(p.dtype == torch.float16 for p in model.parameters())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parameters": ["nothing"]}, "no parameter 'nothing'"),
        ({"mode": "test"}, "mode='test'"),
        ({"chunk": 0}, "chunk=0"),
        ({"read": lambda _: 3}, "without a tensor"),
    ],
)
def test_bad_settings_are_named(changes, words):
    with pytest.raises(InputError, match=words):
        module_sensitivity(small(), batch(), **changes)


def test_bad_models_and_weights_are_named():
    with pytest.raises(InputError, match="no parameter to look at"):
        module_sensitivity(nn.Tanh(), batch())
    found = module_sensitivity(small(), batch())
    with pytest.raises(InputError, match=r"2\.bias holds NaN"):
        found.at(torch.cat([found.weights[:-1], torch.tensor([torch.nan])]))
    with pytest.raises(InputError, match=r"\(65,\)"):
        found.at(found.weights[:-1])
    with pytest.raises(InputError, match="seeds"):
        found.pulled_back(torch.ones(6, 4))


@pytest.mark.slow
def test_twenty_million_weights_take_at_most_six_times_their_memory_and_a_batch():
    script = Path(__file__).parents[1] / "reference" / "sensitivity_memory.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["weights"] > 80e6
    assert found["extra"] < 6 * found["weights"] + found["batch"]


_NOT = {"parameter_free", "plain_callable", "nan_masking", "only_loss"}  # nothing to push


def test_a_loss_of_all_samples_together_is_refused():
    with pytest.raises(InputError, match="returns a loss, one number for all samples together"):
        module_sensitivity(*ZOO["only_loss"]())


@pytest.mark.parametrize("name", every(without=_NOT))
def test_pushing_forward_and_pulling_back_are_adjoint_on_all_kinds_of_networks(name):
    model, inputs = ZOO[name]()
    before = copy.deepcopy(dict(model.state_dict()))
    found = module_sensitivity(model, inputs)
    generator = torch.Generator().manual_seed(0)
    seeds = torch.randn(found.output.shape, generator=generator).to(found.output)
    step = torch.randn(found.size, generator=generator).to(found.weights)
    forward = float((seeds * found.change(step)).sum())
    assert forward == pytest.approx(float(found.pulled_back(seeds) @ step), rel=1e-3, abs=1e-3)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.usefixtures("estimated")
def test_damage_that_is_estimated_is_never_nothing():
    found = ensemble(module_sensitivity(small(), batch(40)), Logit(1))
    acts = found.strength != 0
    assert np.isfinite(found.control[acts]).all()
    assert (found.share < 1).all()
