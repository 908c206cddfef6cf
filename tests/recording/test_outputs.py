"""Which tensor of a model's output is measured, and the derivative of a loss by it."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from phasescope.errors import InputError
from phasescope.recording import as_batch
from phasescope.recording.outputs import loss_cotangents, primary_output, sampled_outputs

LOSS, LOGITS, HIDDEN = torch.tensor(2.0), torch.randn(4, 3), torch.randn(7, 4, 2)
Named = namedtuple("Named", "loss logits")


class ModelOutput(OrderedDict):
    """As in the package transformers: a mapping with attributes."""


@dataclass
class Answer:
    loss: torch.Tensor
    logits: torch.Tensor


class Cache:
    """As in the package transformers: an object that holds tensors."""

    def __init__(self, *tensors):
        self.layers = [{"keys": tensor} for tensor in tensors]


@pytest.mark.parametrize(
    "returned",
    [
        LOGITS,
        (LOSS, LOGITS),
        {"loss": LOSS, "logits": LOGITS},
        Named(LOSS, LOGITS),
        ModelOutput(loss=LOSS, logits=LOGITS),
        Answer(LOSS, LOGITS),
        [torch.arange(4), {"deep": (None, LOSS, [LOGITS])}],
        Cache(LOSS, LOGITS),
    ],
)
def test_the_output_with_the_samples_comes_before_the_loss(returned):
    found, note = primary_output(returned, 4)
    assert found is LOGITS
    assert note == ""


def test_the_samples_may_lie_along_any_axis():
    assert primary_output(HIDDEN, 4)[0] is HIDDEN
    assert sampled_outputs((LOSS, LOGITS, HIDDEN, torch.zeros(3, 3)), 4) == [LOGITS, HIDDEN]
    flat = torch.zeros(20, 6)  # (sample x time, class)
    assert primary_output(flat, 4)[0] is flat


@pytest.mark.parametrize("returned", [LOSS, {"loss": LOSS}, (torch.arange(4), LOSS), torch.ones(1)])
def test_where_there_is_nothing_else_the_loss_is_taken_and_said(returned):
    found, note = primary_output(returned, 4)
    assert found.numel() == 1
    assert "single number" in note


def test_an_output_of_all_samples_together_is_said():
    found, note = primary_output(torch.zeros(5, 3), 4)
    assert found.shape == (5, 3)
    assert "(5, 3)" in note


@pytest.mark.parametrize(
    ("returned", "reason"), [(None, "None"), (torch.arange(3), "int64"), ("text", "a str"), ({}, "a dict")]
)
def test_without_a_float_the_reason_is_said(returned, reason):
    found, note = primary_output(returned, 4)
    assert found is None
    assert reason in note


def test_the_derivative_of_a_loss_of_output_and_targets():
    x, labels = torch.randn(4, 5), torch.tensor([0, 2, 1, 1])
    batch = as_batch(nn.Linear(5, 3), (x, labels))
    ((tensor, slope),) = loss_cotangents(F.cross_entropy, LOGITS, batch)
    assert tensor is LOGITS
    assert torch.allclose(slope, (LOGITS.softmax(1) - F.one_hot(labels, 3)) / 4)
    ((_, part),) = loss_cotangents(F.cross_entropy, LOGITS[:2], batch.take(0, 2))
    assert torch.allclose(part, 2 * slope[:2])


def test_a_loss_of_the_output_alone_or_of_a_model():
    batch = as_batch(nn.Linear(5, 3), torch.randn(4, 5))
    for loss in (
        lambda output: output["logits"].square().sum(),
        lambda model, batch: model(batch)["logits"].square().sum(),
    ):
        found = loss_cotangents(loss, {"loss": LOSS, "logits": LOGITS}, batch)
        assert len(found) == 1
        assert torch.allclose(found[0][1], 2 * LOGITS)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (lambda output: output, r"shape \(4, 3\)"),
        (lambda output: 3.0, r"is 3\.0"),
        (lambda output: output.detach().sum(), "does not depend"),
        (lambda output: output.sum() / 0 / (1 // 0), r"ZeroDivisionError.*test_outputs\.py:\d+: "),
    ],
)
def test_a_loss_that_serves_not_is_refused(loss, words):
    with pytest.raises(InputError, match=words):
        loss_cotangents(loss, LOGITS, as_batch(nn.Linear(5, 3), torch.randn(4, 5)))
