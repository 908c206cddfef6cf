"""What cannot be measured is refused in one line that repeats the user's own input."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from phasescope.errors import InputError, MemoryLimitError
from phasescope.signal import profile

MODEL = nn.Sequential(nn.Linear(8, 4), nn.Tanh())


def message(model, batch, **options):
    with pytest.raises(InputError) as caught:
        profile(model, batch, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("target", [7, "model.pt", nn.Linear, None, {"weights": 1}])
def test_target_that_is_no_model(target):
    words = message(target, torch.zeros(2, 8))
    assert type(target).__name__ in words
    assert "torch.nn.Module" in words


@pytest.mark.parametrize("batch", [torch.zeros(0, 8), [], (), {"x": torch.zeros(0, 8)}])
def test_empty_batch(batch):
    assert "empty" in message(MODEL, batch)


@pytest.mark.parametrize("batch", [3, "text", None, np.array(["text"]), {"x": 3}, object()])
def test_batch_without_tensors(batch):
    assert re.search("tensor|Pass numbers", message(MODEL, batch))


def test_batch_without_dimensions():
    assert "without dimensions" in message(MODEL, torch.tensor(1.0))


def test_batch_that_does_not_fit_repeats_the_shapes_and_the_models_words():
    words = message(MODEL, torch.zeros(5, 9))
    assert "(5, 9)" in words
    assert "float32" in words
    assert "Sequential" in words
    assert re.search(r"mat1 and mat2 shapes cannot be multiplied", words)


def test_keywords_that_the_model_does_not_take():
    words = message(MODEL, {"wrong_name": torch.zeros(2, 8)})
    assert "wrong_name" in words


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_batch_that_is_not_finite(bad):
    x = torch.zeros(3, 8)
    x[1, 2] = bad
    words = message(MODEL, x)
    assert "1 value(s)" in words
    assert "(3, 8)" in words


def test_error_inside_the_model_shows_the_users_own_line():
    class Own(nn.Module):
        def forward(self, x):
            raise ZeroDivisionError("mine")

    words = message(Own(), torch.zeros(2, 8))
    assert re.search(r"ZeroDivisionError: mine, at .*test_profile_errors\.py:\d+: raise Zero", words)


@pytest.mark.parametrize("size", ["many", "", "12 bananas", -1, 0, "1.2.3MB"])
def test_memory_limit_that_is_no_size(size):
    assert "max_memory" in message(MODEL, torch.zeros(2, 8), max_memory=size)


def test_memory_limit_below_one_pair():
    model = nn.Sequential(nn.Linear(8, 100_000), nn.Tanh())
    with pytest.raises(MemoryLimitError, match=r"One pair of inputs takes \d+\.\d MB.*max_memory = 1\.0 MB"):
        profile(model, torch.randn(16, 8), max_memory="1MB")


def test_torchscript_cannot_be_observed():
    with pytest.warns(DeprecationWarning, match="deprecated"):
        traced = torch.jit.trace(MODEL, torch.zeros(2, 8))
    assert "TorchScript" in message(nn.Sequential(traced), torch.zeros(2, 8))


def test_seed_and_probes_out_of_range():
    assert "seed is -1" in message(MODEL, torch.zeros(2, 8), seed=-1)
    assert "probes is 0" in message(MODEL, torch.zeros(2, 8), probes=0)


def test_labels_beside_the_inputs_are_left_out_with_a_note():
    x = torch.randn(6, 8)
    plain = profile(MODEL, x)
    for batch in ((x, torch.arange(6)), [x, torch.arange(6)]):
        found = profile(MODEL, batch)
        assert any("labels" in note for note in found.notes)
        assert found.dataset["kernel"].equals(plain.dataset["kernel"])


def test_second_argument_that_the_model_wants_is_passed():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 4)

        def forward(self, x, scale):
            return self.layer(x * scale)

    model, x = Two(), torch.randn(6, 8)
    found = profile(model, (x, torch.full((6, 1), 3.0)))
    with torch.no_grad():
        expected = float(model(x, 3.0).square().mean())
    assert float(found.dataset["kernel"].sel(layer="layer")) == pytest.approx(expected, rel=1e-5)
    assert not found.notes


def test_class_numbers_do_not_become_an_optional_state():
    found = profile(nn.GRU(8, 4, batch_first=True), (torch.randn(6, 5, 8), torch.arange(6)))
    assert any("labels" in note for note in found.notes)


def test_batch_of_another_precision_is_cast_with_a_note():
    found = profile(MODEL, torch.randn(4, 8, dtype=torch.float64))
    assert any("float64" in note and "float32" in note for note in found.notes)
