"""The context that leaves no trace, used by itself."""

import pytest
import torch
from torch import nn

from phasescope.recording import untouched
from phasescope.recording.untouched import has_running_statistics, quiet


def misuse(model):
    with untouched(model):
        model(torch.randn(3, 4))
        model[1].running_mean.add_(5)
        model[1].register_buffer("extra", torch.zeros(1))
        model[1].running_var = torch.zeros(4)
        model[0].note = "left behind"
        model[0].register_forward_hook(lambda *_: None)
        model.eval()
        torch.rand(3)
        torch.set_default_dtype(torch.float64)
        raise KeyboardInterrupt


def test_what_is_changed_inside_is_put_back():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    model(torch.randn(3, 4)).sum().backward()
    mean, gradient, rng = model[1].running_mean, model[0].weight.grad, torch.get_rng_state()
    value, kept = mean.clone(), gradient.clone()
    with pytest.raises(KeyboardInterrupt):
        misuse(model)
    assert model[1].running_mean is mean
    assert torch.equal(mean, value)
    assert "extra" not in dict(model.named_buffers())
    assert not torch.equal(model[1].running_var, torch.zeros(4))
    assert model[0].weight.grad is gradient
    assert torch.equal(gradient, kept)
    assert not hasattr(model[0], "note")
    assert not model[0]._forward_hooks
    assert model.training
    assert model[0].training
    assert torch.equal(torch.get_rng_state(), rng)
    assert torch.get_default_dtype() == torch.float32
    assert all(p.requires_grad for p in model.parameters())


def test_parameters_ask_for_no_gradient_inside():
    model = nn.Linear(2, 2)
    with untouched(model):
        assert not model(torch.randn(1, 2)).requires_grad
    assert model(torch.randn(1, 2)).requires_grad


class Own(nn.Module):
    """A layer that drops by its own rate, adds noise in training, and counts its calls."""

    def __init__(self, rate=0.5):
        super().__init__()
        self.attention_dropout = rate
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        x = nn.functional.dropout(x, self.attention_dropout, self.training)
        return x + self.calls if self.training else -x


class StochasticDepth(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x):
        return x * torch.bernoulli(torch.full((len(x), 1), 1 - self.p)) if self.training else x


def test_quiet_switches_off_dropout_and_nothing_else():
    parts = {
        "drop": nn.Dropout(),
        "norm": nn.BatchNorm1d(2),
        "plain": nn.LayerNorm(2),
        "depth": StochasticDepth(0.3),
        "own": Own(),
        "lstm": nn.LSTM(2, 2, 2, dropout=0.4),
        "head": nn.MultiheadAttention(2, 1, dropout=0.1),
    }
    model = nn.ModuleDict(parts).train()
    with untouched(model):
        (note,) = quiet(model)
        assert "5 modules, first drop" in note
        assert [name for name, part in parts.items() if not part.training] == ["drop", "depth"]
        assert model["own"].attention_dropout == model["lstm"].dropout == model["head"].dropout == 0
        before = model["norm"].running_mean.clone()
        model["norm"](torch.randn(5, 2) + 3)
        assert torch.equal(model["norm"].running_mean, before)
    assert all(part.training for part in parts.values())
    assert model["norm"].momentum == 0.1
    assert (model["own"].attention_dropout, model["lstm"].dropout) == (0.5, 0.4)
    assert not model._forward_pre_hooks


def test_quiet_says_nothing_of_dropout_that_is_off():
    with untouched(model := nn.Sequential(nn.Dropout(), Own(), nn.LSTM(2, 2)).eval()):
        assert quiet(model) == []
    with untouched(model := nn.Sequential(nn.Dropout(0.0), Own(0.0)).train()):
        assert quiet(model) == []


def test_every_pass_starts_from_the_same_buffers():
    model = nn.Sequential(Own(), nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))).train()
    x, calls = torch.randn(3, 4), model[0].calls
    with untouched(model):
        quiet(model)
        first, second = model(x), model(x)
        model[0].calls = torch.ones(())
        third = model(x)
        assert torch.equal(first, second)
        assert torch.equal(first, third)
    assert model[0].calls is calls
    assert calls == 0


def test_running_statistics_are_recognised():
    assert has_running_statistics(nn.BatchNorm2d(3))
    assert not has_running_statistics(nn.BatchNorm2d(3, track_running_stats=False))
    assert not has_running_statistics(nn.LayerNorm(3))
