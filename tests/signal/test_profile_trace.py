"""The profile leaves no trace, however it ends."""

import contextlib
import itertools
import random
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from phasescope.errors import InputError
from phasescope.signal import profile


class Interrupting(nn.Module):
    """Raises on the n-th call."""

    def __init__(self, error, after):
        super().__init__()
        self.error, self.after, self.calls = error, after, itertools.count(1)  # which nobody can wind back

    def forward(self, x):
        if next(self.calls) == self.after:
            raise self.error("stop")
        return x


class Careless(nn.Module):
    """Keeps state of its own, draws random numbers and changes its buffers."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.register_buffer("calls", torch.zeros(()))
        self.last = None

    def forward(self, x):
        self.calls += 1
        self.last = x
        self.fresh = torch.rand(2)
        np.random.rand()  # noqa: NPY002
        random.random()
        return self.layer(x)


def build(extra=None):
    torch.manual_seed(0)
    layers = [nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Dropout(0.5), Careless()]
    model = nn.Sequential(*layers, *([extra] if extra else []), nn.Linear(8, 3))
    model[0].weight.requires_grad_(False)
    model[1].eval()
    model(torch.randn(4, 8)).sum().backward()
    model[4].register_forward_hook(lambda *_: None)
    return model


def state(model):
    modules = list(model.modules())
    return {
        "tensors": [t.detach().clone() for t in [*model.parameters(), *model.buffers()]],
        "identities": [id(t) for t in [*model.parameters(), *model.buffers()]],
        "gradients": [None if p.grad is None else (id(p.grad), p.grad.clone()) for p in model.parameters()],
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "training": [m.training for m in modules],
        "hooks": [
            (list(m._forward_hooks), list(m._forward_pre_hooks), list(m._backward_hooks)) for m in modules
        ],
        "attributes": [{k: id(v) for k, v in vars(m).items()} for m in modules],
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1].copy(),  # noqa: NPY002
        "python": random.getstate(),
        "process": (
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.backends.mha.get_fastpath_enabled(),
            torch.backends.cuda.math_sdp_enabled(),
            torch.backends.cuda.flash_sdp_enabled(),
            torch.backends.cuda.mem_efficient_sdp_enabled(),
            torch._C._get_mkldnn_enabled(),
        ),
    }


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return one == other


def assert_untouched(before, model):
    after = state(model)
    changed = [key for key in before if not same(before[key], after[key])]
    assert not changed


@pytest.mark.parametrize("training", [True, False])
def test_nothing_changes(training):
    model, x = build().train(training), torch.randn(8, 8)
    kept, before = x.clone(), state(model)
    profile(model, x)
    assert_untouched(before, model)
    assert torch.equal(x, kept)
    assert x.grad is None
    assert not x.requires_grad


@pytest.mark.parametrize("after", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, RuntimeError])
def test_nothing_changes_when_the_model_stops_half_way(error, after):
    model, x = build(Interrupting(error, after + 1)), torch.randn(8, 8)  # build itself calls it once
    before = state(model)
    # A pass that fails may be made up for by another way to the same numbers.
    with contextlib.suppress(error, InputError):
        profile(model, x, theory=False)
    assert next(model[5].calls) > after + 1
    assert_untouched(before, model)


def test_an_interrupt_reaches_the_user():
    with pytest.raises(KeyboardInterrupt):
        profile(build(Interrupting(KeyboardInterrupt, 5)), torch.randn(8, 8))


def test_requires_grad_of_the_batch_is_kept():
    x = torch.randn(4, 8, requires_grad=True)
    profile(nn.Linear(8, 8), x)
    assert x.requires_grad
    assert x.grad is None


def test_lstm_and_attention_switches_are_put_back():
    before = state(build())["process"]
    profile(nn.LSTM(8, 4, batch_first=True), torch.randn(4, 5, 8))
    profile(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(), torch.randn(4, 5, 8))
    assert state(build())["process"] == before


def test_use_inside_no_grad():
    model, x = nn.Sequential(nn.Linear(8, 8), nn.Tanh()), torch.randn(4, 8)
    expected = profile(model, x).dataset
    with torch.no_grad():
        assert profile(model, x).dataset.identical(expected)
        assert not torch.is_grad_enabled()


def test_a_model_that_is_still_in_a_graph_can_be_trained_on():
    model, x = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1)), torch.randn(4, 8)
    loss = model(x).square().mean()
    profile(model, x)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


class Rescaling(nn.Module):
    """Brings its weights back to unit norm at each call, by way of ``data``."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 8))

    def forward(self, x):
        self.weight.data = self.weight.data / self.weight.data.norm()
        return x @ self.weight


class Counting(nn.Module):
    """Counts how often its weight was read, in its own weight."""

    def __init__(self):
        super().__init__()
        self.weight, self.reads = nn.Parameter(torch.randn(8, 8)), nn.Parameter(torch.zeros(1))

    def forward(self, x):
        with torch.no_grad():
            self.reads += 1
        return x @ self.weight


CHANGING = {
    "max_norm": lambda: nn.Embedding(9, 8, max_norm=0.1),
    "rescaling": Rescaling,
    "counting": Counting,
    "spectral norm": lambda: parametrizations.spectral_norm(nn.Linear(8, 8)),
    "weight norm": lambda: parametrizations.weight_norm(nn.Linear(8, 8)),
    "old spectral norm": lambda: torch.nn.utils.spectral_norm(nn.Linear(8, 8)),
}


@pytest.mark.parametrize("kind", CHANGING)
def test_weights_that_the_model_changes_are_put_back(kind):
    layers = [nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.ReLU(), Careless(), CHANGING[kind]()]
    x = torch.randn(8, 8)
    if kind == "max_norm":
        x, layers = torch.randint(0, 9, (8,)), [layers[-1], *layers[:-1]]
    model = nn.Sequential(*layers, nn.Linear(8, 3))
    before = state(model)
    profile(model, x)
    assert_untouched(before, model)


def test_two_threads_get_what_one_gets_and_leave_nothing():
    x, models = torch.randn(8, 5, 8), [nn.LSTM(8, 4, batch_first=True), nn.GRU(8, 4, batch_first=True)]
    expected, before = [profile(m, x).dataset for m in models], state(build())["process"]
    found = {}

    def work(number):
        found[number] = profile(models[number % 2], x).dataset

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[number].identical(expected[number % 2]) for number in range(4))
    assert state(build())["process"] == before
    assert all(p.requires_grad for model in models for p in model.parameters())
    assert not any(m._forward_hooks for model in models for m in model.modules())
