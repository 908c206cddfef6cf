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


def test_quiet_switches_off_all_but_running_statistics():
    model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2), nn.LayerNorm(2)).train()
    with untouched(model):
        quiet(model)
        assert [m.training for m in model] == [False, True, False]
        before = model[1].running_mean.clone()
        model(torch.randn(5, 2) + 3)
        assert torch.equal(model[1].running_mean, before)
    assert [m.training for m in model] == [True, True, True]
    assert model[1].momentum == 0.1


def test_running_statistics_are_recognised():
    assert has_running_statistics(nn.BatchNorm2d(3))
    assert not has_running_statistics(nn.BatchNorm2d(3, track_running_stats=False))
    assert not has_running_statistics(nn.LayerNorm(3))
