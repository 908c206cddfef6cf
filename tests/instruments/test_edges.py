"""Edges that can go, on networks whose answer is known, and against what every instrument promises."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from phasescope.errors import InputError
from phasescope.instruments.edges import RemovableEdges
from phasescope.testing import Case, check_instrument
from phasescope.testing.cases import default_cases

CE = F.cross_entropy


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.f = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, x):
        return x + self.f(x)


def residual(samples=40):
    """Three blocks, of which the second does next to nothing, and targets that the network mostly names."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        model = nn.Sequential(nn.Linear(5, 6), Block(6), Block(6), Block(6), nn.Linear(6, 3)).double()
        x = torch.randn(samples, 5, dtype=torch.float64)
        with torch.no_grad():
            model[-1].weight.mul_(12)
            model[2].f[2].weight.mul_(1e-6)
            model[2].f[2].bias.mul_(1e-6)
            y = model(x).argmax(-1)
            y[::10] = 0
    return model, (x, y)


def measured(instrument=None, make=residual):
    return (instrument or RemovableEdges(CE)).measure(*make())


def test_the_block_that_does_nothing_goes_first_and_the_finding_names_it():
    dataset = measured()
    rows = [str(name) for name in dataset["layer"].values if str(name).endswith("(sum)")]
    assert rows == ["1 (sum)", "2 (sum)", "3 (sum)"]
    assert list(dataset["verdict"].values[:3]) == ["needed", "can go", "not determined"]
    assert str(dataset["removed_edge"].values[1]) == "2 (sum)"
    assert dataset.attrs["removable"] == 1
    found = RemovableEdges().findings(dataset)[0]
    assert found.sentence.startswith("Of 3 edges, 1 can be removed together")
    assert "2 (sum)" in found.action
    assert "accuracy" in found.evidence
    skipped = dict(zip(dataset["layer"].values, dataset["skipped"].values, strict=True))
    assert skipped["0"].startswith("no gate of its own")
    assert "2 (sum)" in RemovableEdges().table(dataset)


def test_targets_of_the_constructor_are_those_of_the_batch():
    model, (x, y) = residual()
    one, other = RemovableEdges(CE).measure(model, (x, y)), RemovableEdges(CE, y).measure(model, x)
    np.testing.assert_array_equal(one["change"], other["change"])


@pytest.mark.parametrize(
    ("instrument", "batch", "words"),
    [
        (RemovableEdges(), "both", "the loss is missing"),
        (RemovableEdges(CE), "inputs", "the targets are missing"),
        (RemovableEdges(), "inputs", "the loss and the targets are missing"),
        (RemovableEdges(CE, torch.zeros(3)), "inputs", "lengths of the targets"),
    ],
)
def test_what_is_missing_is_named(instrument, batch, words):
    model, (x, y) = residual()
    given = (x, y) if batch == "both" else x
    assert words in instrument.applies(model, given)
    with pytest.raises(InputError, match=words):
        instrument.measure(model, given)


def test_a_loss_that_cannot_be_called_is_refused_at_once():
    with pytest.raises(InputError, match="cannot be called"):
        RemovableEdges(0.5)


def test_too_few_samples_and_no_edges_determine_nothing():
    few = RemovableEdges().findings(measured(make=lambda: residual(20)))
    assert "not determined: 20 samples are too few" in few[0].sentence
    assert few[0].severity == "note"
    chain = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    none = RemovableEdges(CE).measure(chain, residual()[1])
    assert all(none["skipped"].values)
    assert "nothing was removed" in RemovableEdges().findings(none)[0].sentence
    assert any("No residual branch" in note for note in json.loads(none.attrs["notes"]))


def test_when_every_edge_is_needed_the_finding_says_so():
    dataset = measured(RemovableEdges(CE, edges=["1 (sum)", "3.f"]))
    found = RemovableEdges().findings(dataset)
    assert found[0].severity == "ok"
    assert found[0].sentence == "None of the 2 edges can be removed within the sampling error of the loss."


def test_an_edge_that_harms_is_told():
    model, (x, y) = residual()
    with torch.no_grad():
        model[2].f[2].bias.copy_(5 * torch.randn(6, generator=torch.Generator().manual_seed(0)))
    dataset = RemovableEdges(CE).measure(model, (x, y))
    said = [found.sentence for found in RemovableEdges().findings(dataset)]
    assert any(text.startswith("Removing 1 edge lowers the loss on this batch, 2 (sum)") for text in said)


def test_it_keeps_what_every_instrument_promises():
    passed = check_instrument(RemovableEdges(CE), [Case("residual", residual)])
    assert len(passed) > 20


@pytest.mark.slow
def test_it_keeps_its_promises_on_other_networks():
    def labelled(factory):
        def build():
            model, batch = factory()
            return model, (batch, torch.arange(16) % 3) if isinstance(batch, torch.Tensor) else batch

        return build

    def loss(output, targets):
        return F.cross_entropy(output.flatten(1), targets)

    cases = [Case(case.name, labelled(case.factory)) for case in default_cases()]
    check_instrument(RemovableEdges(loss), cases)


@pytest.mark.slow
def test_memory_stays_under_the_limit():
    check_instrument(
        RemovableEdges(CE),
        [Case("residual", residual)],
        fast=False,
        only=["peak_memory_stays_under_the_limit"],
    )
