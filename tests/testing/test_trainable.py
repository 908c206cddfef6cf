"""Models that can be trained pass, and those that cannot are refused with the reason and the cure."""

import copy
import math

import pytest
import torch
from torch import nn

from phasescope.errors import InputError
from phasescope.testing import assert_trainable


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def deep(depth, gain, activation=nn.Tanh, width=32):
    """A perceptron whose weights have the variance gain / width."""
    torch.manual_seed(0)
    layers = [layer for _ in range(depth) for layer in (nn.Linear(width, width), activation())]
    model = nn.Sequential(*layers, nn.Linear(width, 4))
    for layer in model[::2]:
        nn.init.normal_(layer.weight, std=math.sqrt(gain / width))
        nn.init.zeros_(layer.bias)
    return model


class Residual(nn.Module):
    """Blocks whose branches begin at zero."""

    def __init__(self):
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8)) for _ in range(4)
        )
        for branch in self.branches:
            nn.init.zeros_(branch[2].weight)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        for branch in self.branches:
            x = x + branch(x)
        return self.head(x)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(4, 16, batch_first=True), nn.Linear(16, 1)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


def attention():
    layers = [nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(3)]
    return nn.Sequential(*layers), normal(4, 5, 8)


def images():
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10)]
    return nn.Sequential(*layers), normal(16, 3, 8, 8)


@pytest.mark.parametrize(
    "made",
    [
        lambda: (deep(12, 1.0), normal(32, 32)),
        lambda: (deep(12, 2.0, nn.ReLU), normal(32, 32)),
        lambda: (Residual(), normal(16, 8)),
        lambda: (Recurrent(), normal(16, 9, 4)),
        attention,
        images,
    ],
    ids=["tanh", "relu", "residual", "lstm", "attention", "images"],
)
def test_a_sound_model_passes(made):
    torch.manual_seed(0)
    assert_trainable(*made())


def test_what_a_loss_sees_passes_where_it_is_right_and_fails_where_it_is_not():
    model, x, y = deep(2, 1.0), normal(16, 32), torch.arange(16) % 4
    assert_trainable(model, x, loss=nn.CrossEntropyLoss(), targets=y)
    with pytest.raises(AssertionError, match="passed a softmax already"):
        assert_trainable(nn.Sequential(model, nn.Softmax(-1)), x, loss=nn.CrossEntropyLoss(), targets=y)


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        (0.2, "squared gradient falls by a factor 1e"),
        (0.2, "difference between inputs falls by a factor 1e"),
        (16.0, "squared gradient grows by a factor 1e"),
    ],
)
def test_a_deep_network_far_from_criticality_fails_with_the_number_and_the_cure(gain, said):
    with pytest.raises(AssertionError) as failed:
        assert_trainable(deep(20, gain), normal(32, 32))
    message = str(failed.value)
    assert message.startswith("Sequential cannot be trained as it stands, for ")
    assert said in message
    assert "the limit is " in message
    assert "to do: Scale the weights by" in message


def test_a_signal_that_explodes_is_refused_though_a_linear_rate_was_not_asked_for():
    # Each orthogonal layer multiplies squares by 9: from layer 0 over 6 steps to the last by 9^6 = e^13.2.
    model = nn.Sequential(*(nn.Linear(16, 16, bias=False) for _ in range(7)))
    for layer in model:
        nn.init.orthogonal_(layer.weight, gain=3.0)
    with pytest.raises(AssertionError, match=r"mean square grows by a factor 1e6 from 0 to 6[\s\S]*\+13.2"):
        assert_trainable(model, normal(32, 16), allow=["Nothing lies between"])
    assert_trainable(model, normal(32, 16), growth=13.3)


def test_a_limit_of_ones_own_makes_the_assertion_strict():
    model, x = deep(8, 0.6), normal(32, 32)
    assert_trainable(model, x)
    with pytest.raises(AssertionError, match="the limit is -2"):
        assert_trainable(model, x, growth=2.0)


def nan():
    model = deep(3, 1.0)
    model[2].weight.data[3, 4] = math.nan
    return model, normal(16, 32)


def zeroed():
    model = deep(3, 1.0)
    model[2].weight.data.zero_()
    return model, normal(16, 32)


def copied():
    return nn.TransformerEncoder(attention()[0][0], 3), normal(4, 5, 8)


def pixels():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), torch.arange(3072).view(16, 3, 8, 8) % 256 * 1.0


def saturated():
    model = deep(3, 1.0)
    model[2].bias.data.fill_(8.0)
    return model, normal(16, 32)


def beyond_the_vocabulary():
    return nn.Sequential(nn.Embedding(50, 8), nn.Flatten(), nn.Linear(40, 2)), torch.arange(30).view(
        6, 5
    ) + 28


@pytest.mark.parametrize(
    ("made", "said", "cure"),
    [
        (nan, "1. The weights 2.weight hold NaN", "draw these weights again"),
        (zeroed, "1. The weights 2.weight are all zero", "kaiming_normal_(model[2].weight)"),
        (copied, "1. layers.0 and layers.1 and layers.2 have equal weights", "xavier_uniform_"),
        (pixels, "1. The input holds pixels from 0 to 255", "x / 255"),
        (saturated, "1. The biases of 2 alone saturate 32 of 32 units", "zeros_(model[2].bias)"),
        (beyond_the_vocabulary, "1. Token id 57 is beyond the vocabulary", "tokeniser"),
    ],
)
def test_a_mistake_is_named_first_with_its_cure(made, said, cure):
    torch.manual_seed(0)
    with pytest.raises(AssertionError) as failed:
        assert_trainable(*made())
    assert said in str(failed.value)
    assert cure in str(failed.value)


def test_what_is_allowed_does_not_count_and_what_can_be_trained_passes():
    model, batch = copied()
    assert_trainable(model, batch, allow=["have EQUAL weights"])
    frozen = deep(4, 1.0)
    frozen[4].requires_grad_(False)
    assert_trainable(frozen, normal(16, 32))


def test_the_model_is_left_as_it_was_also_where_the_assertion_fails():
    model, batch = deep(20, 0.2), normal(32, 32)
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    with pytest.raises(AssertionError):
        assert_trainable(model, batch)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_an_instrument_that_fails_fails_the_assertion(monkeypatch):
    def fails(*args, **options):
        raise ZeroDivisionError("no step left")

    monkeypatch.setattr("phasescope.instruments.SignalPropagation.measure", fails)
    with pytest.raises(
        AssertionError, match="instrument propagation failed: ZeroDivisionError: no step left"
    ):
        assert_trainable(deep(3, 1.0), normal(16, 32))


@pytest.mark.parametrize(
    ("options", "said"), [({"growth": 0}, "growth is 0"), ({"allow": "x"}, "allow is one text")]
)
def test_options_that_cannot_be_meant_are_refused(options, said):
    with pytest.raises(InputError, match=said):
        assert_trainable(deep(3, 1.0), normal(16, 32), **options)
