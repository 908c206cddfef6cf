"""Which weights carry a property, on networks whose answer is written down, and on all kinds of networks."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import phasescope
from phasescope import report
from phasescope.errors import InputError, MemoryLimitError
from phasescope.instruments import SynapticEnsembles
from phasescope.recording.batch import all_floats
from phasescope.synapses import ClassMargin, Custom, Logit
from phasescope.testing import CHECKS, Case, check_instrument
from zoo import ZOO, every


def first_number(output):
    return torch.stack([part.double().tanh().mean() for part in all_floats(output)]).mean()


def two_layers():
    """A network of 2 x 2 weights whose output is 3 x_0 + 0.01 x_1 in its only number, and 40 inputs."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Identity(), nn.Linear(2, 1, bias=False)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, 0.0], [0.0, 0.1]]))
        model[2].weight.copy_(torch.tensor([[1.0, 0.1]]))
    inputs = torch.ones(40, 2, dtype=torch.float64)
    return model, inputs


def measured(prop, make=two_layers):
    return SynapticEnsembles(prop).measure(*make())


def test_shares_are_those_of_the_energies_written_down():
    dataset = measured(Custom(torch.mean, "mean"))
    # g w is 3 for 3 and 1, and 0.01 for 0.1 and 0.1; 0 for the zeros.
    assert list(dataset["layer"].values) == ["0", "1", "2"]
    assert dataset["share"].values == pytest.approx([0.5, np.nan, 0.5], nan_ok=True)
    assert list(dataset["skipped"].values) == ["", "no parameters", ""]
    assert float(dataset["value"][0]) == pytest.approx(3.01)
    assert float(dataset["fewest_weight"][0]) == 2
    assert float(dataset["units_weight"][0]) == 2
    # g is 1, 1, 0.1, 0.1 in the first layer, 3 and 0.1 in the second.
    assert float(dataset["fewest_one"][0]) == 2
    assert dataset["members"].values[[0, 2]].tolist() == [1, 1]
    assert dataset["covered"].values[0][-1] == pytest.approx(1)


def private():
    model = nn.Sequential(nn.Linear(6, 3)).double()
    inputs = torch.randn(60, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    inputs[:, 5] = torch.arange(60) < 6
    with torch.no_grad():
        model[0].weight.copy_(torch.randn(3, 6, generator=torch.Generator().manual_seed(1)))
    return model, inputs


def test_weights_that_these_samples_alone_use_are_named():
    instrument = SynapticEnsembles(ClassMargin(0, against=1, cases=range(6)))
    dataset = instrument.measure(*private())
    assert json.loads(dataset.attrs["certified"]) == {"margin of class 0 over class 1": "yes"}
    where, alone = instrument.findings(dataset)
    assert "0.weight[0, 5], 0.weight[1, 5]" in alone.sentence
    assert float(dataset["p_elsewhere"][0]) == pytest.approx(1 / 40)
    assert "of 21 weights" in where.sentence
    assert (where.severity, alone.severity) == ("note", "note")


def test_samples_like_any_others_have_none_of_their_own():
    instrument = SynapticEnsembles(ClassMargin(0, against=1, cases=range(20, 26)))
    dataset = instrument.measure(*private())
    alone = instrument.findings(dataset)[1]
    assert "No weight acts on the samples" in alone.sentence
    assert "hold what matters" in alone.action


def test_without_samples_of_its_own_it_says_what_to_give():
    instrument = SynapticEnsembles(first_number)
    alone = instrument.findings(instrument.measure(*two_layers()))[1]
    assert "not determined" in alone.sentence
    assert "cases=" in alone.action


def test_frozen_and_shared_layers_say_so():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    model[2].weight, model[2].bias = model[1].weight, model[1].bias
    dataset = SynapticEnsembles(Logit(0)).measure(model, torch.randn(30, 4))
    assert dataset["skipped"].values.tolist() == [
        "frozen: its parameters ask for no gradient",
        "",
        "shares its parameters with 1",
        "",
    ]
    assert any("shared, counted once" in note for note in json.loads(dataset.attrs["notes"]))


def test_several_properties_have_rows_and_findings_of_their_own():
    model, inputs = private()
    asked = {"a": lambda output: output[:, 0].mean(), "b": Logit(1)}
    found = phasescope.inspect(model, inputs, property=asked)
    data = found.datasets["synapses"]
    assert data["layer"].values.tolist() == ["0 (a)", "0 (logit of class 1)"]
    assert len(found.findings_of("synapses")) == 4
    assert "a = " in str(found)
    assert "Which weights carry a property" in report.render([found])


def test_an_inspection_without_a_property_knows_nothing_of_it():
    found = phasescope.inspect(*private())
    assert "synapses" not in found.datasets
    assert "synapses" not in found.skipped
    assert "property" not in str(found)


def test_without_a_property_it_says_how_to_give_one():
    instrument = SynapticEnsembles()
    assert "property=" in instrument.applies(*private())
    with pytest.raises(InputError, match="property="):
        instrument.measure(*private())
    with pytest.raises(InputError, match="is int"):
        SynapticEnsembles({"k": 3})


def test_too_little_memory_is_refused():
    with pytest.raises(MemoryLimitError, match="copies of the weights"):
        SynapticEnsembles(Logit(0)).measure(*private(), max_memory=100)


FAST = {"shared_weights", "parameter_free", "plain_callable"}
# Freezing a model that is frozen in part makes all of its weights count.
NOT = {"frozen": {"measures_frozen_parameters"}}


@pytest.mark.parametrize("name", every(fast=FAST, without=("nan_masking",)))
def test_it_keeps_every_promise_on_the_zoo(name):
    only = [check for check in CHECKS if check not in NOT.get(name, set())]
    passed = check_instrument(SynapticEnsembles(first_number), [Case(name, ZOO[name])], only=only)
    refused = name in ("parameter_free", "plain_callable")
    assert (len(passed) < 5) == refused


@pytest.mark.slow
def test_it_keeps_every_promise_on_the_built_in_cases():
    assert len(check_instrument(SynapticEnsembles(first_number))) == 6 * (len(CHECKS) - 1) + 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "cnn", "tiny_gpt", "lstm", "batchnorm"])
def test_peak_memory_stays_under_the_limit(name):
    check_instrument(
        SynapticEnsembles(first_number),
        [Case(name, ZOO[name])],
        fast=False,
        only=["peak_memory_stays_under_the_limit"],
    )
