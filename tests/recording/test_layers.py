"""Rows: which there are, what they are, and hooks that go away."""

import pytest
import torch
from torch import nn

from phasescope.recording import as_batch, discover, untouched
from phasescope.recording.layers import observed, role


class Square(nn.Module):
    def forward(self, z):
        return z * z


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(8))

    def forward(self, z):
        return z * self.gain


class Roll(nn.Module):
    def forward(self, z):
        return z.roll(1, dims=-1)


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(8, 8))

    def forward(self, z):
        return z @ self.matrix


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.Linear(8, 8), "weight"),
        (nn.Conv2d(1, 1, 3), "weight"),
        (nn.Embedding(3, 8), "weight"),
        (nn.LSTM(8, 8), "weight"),
        (nn.MultiheadAttention(8, 2), "weight"),
        (Own(), "weight"),
        (nn.BatchNorm1d(8), "norm"),
        (nn.LayerNorm(8), "norm"),
        (nn.GroupNorm(2, 8), "norm"),
        (nn.RMSNorm(8), "norm"),
        (nn.ReLU(), "activation"),
        (nn.PReLU(), "activation"),
        (Square(), "activation"),
        (nn.Softmax(dim=-1), "other"),
        (nn.Dropout(), "other"),
        (nn.Identity(), "other"),
        (nn.Flatten(), "other"),
        (nn.MaxPool2d(2), "other"),
        (Roll(), "other"),
        (Scale(), "other"),
    ],
)
def test_roles(module, expected):
    assert role(module.eval()) == expected


def layers_of(model, x):
    with untouched(model):
        return {layer.name: layer for layer in discover(model, as_batch(model, x)).layers}


def test_chain_and_end_are_noticed():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Unflatten(1, (2, 2)), nn.Flatten())
    found = list(layers_of(model, torch.randn(5, 4)).values())
    assert [layer.chained for layer in found[:2]] == [True, True]
    assert [layer.final for layer in found[:2]] == [False, True]
    assert [layer.skipped for layer in found[2:]] == ["passes its input on unchanged"] * 2


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        first = self.a(x)
        second = self.b(first)
        return self.c(first.relu_() + second) * 2


def test_branches_break_the_chain_and_a_factor_behind_the_last_layer_does_not():
    found = layers_of(Branching(), torch.randn(5, 4))
    assert {name: layer.place for name, layer in found.items()} == {
        "a": "stream",
        "b": "branch",
        "b (sum)": "stream",
        "c": "stream",
    }
    assert [found[name].chained for name in ("a", "b (sum)", "c")] == [True, False, True]
    assert found["b"].block == "b (sum)"
    assert found["c"].final


class Overwriting(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.b(self.a(x).relu_())


def test_functions_in_place_are_rows_of_the_chain_too():
    found = layers_of(Overwriting(), torch.randn(5, 4))
    assert [(layer.name, layer.role, layer.chained) for layer in found.values()] == [
        ("a", "weight", True),
        ("a (relu)", "activation", True),
        ("b", "weight", True),
    ]


def test_units_and_channels():
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(2), nn.Linear(16, 7), nn.Tanh())
    found = layers_of(model, torch.randn(4, 3, 6, 6))
    measured = [layer for layer in found.values() if not layer.skipped]
    assert [layer.units for layer in measured] == [80, 80, 35, 35]
    assert [layer.unit_axis for layer in measured] == [1, 1, 2, 2]


class Conv1D(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 7))

    def forward(self, x):
        return x @ self.weight


def test_a_matrix_that_is_called_a_convolution_has_its_units_last():
    found = layers_of(nn.Sequential(Conv1D(), nn.Tanh()), torch.randn(4, 6, 4))
    assert [layer.unit_axis for layer in found.values()] == [2, 2]


class Merging(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        return self.layer(x.reshape(-1, 4)).reshape(len(x), -1)


def test_samples_merged_with_time_are_taken_apart():
    found = layers_of(Merging(), torch.randn(5, 6, 4))
    assert found["layer"].batch_axis == 0
    assert found["layer"].units == 18
    z = torch.arange(5 * 18.0).reshape(30, 3)
    assert torch.equal(found["layer"].samples(z, 5)[1], torch.arange(18.0, 36.0))


def test_hooks_are_gone_after_an_error():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

    def fail(*args):
        raise RuntimeError("inside a hook")

    with (
        pytest.raises(RuntimeError, match="inside a hook"),
        observed(dict(model.named_children()), fail, fail),
    ):
        model(torch.randn(2, 4))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
