"""`phasescope.inspect`: instruments side by side, and what becomes of one that fails."""

from __future__ import annotations

import json
import math
import re

import pytest
import torch
from torch import nn

import phasescope
from instruments.norms import OutputNorms
from phasescope.errors import InputError, NothingToMeasureError
from phasescope.instruments import Finding, Inspection, inspect
from reference.networks import normal_batch, plain_network


class Refuses(OutputNorms):
    name = "refuses"

    def applies(self, model, batch):
        return "Linear layers are beneath it"


class Fails(OutputNorms):
    name = "fails"

    def measure(self, model, batch, **options):
        raise ZeroDivisionError("no layers left")


class FailsInTheFindings(OutputNorms):
    name = "fails_late"

    def findings(self, dataset):
        raise KeyError("size")


class IsInterrupted(OutputNorms):
    def measure(self, model, batch, **options):
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def inspection() -> Inspection:
    return phasescope.inspect(plain_network(nn.Tanh, 2.0, 0.1, depth=8, width=64), normal_batch())


def test_all_instruments_run_by_default(inspection):
    assert list(inspection.datasets) == ["propagation", "symptoms", "spectra", "weights"]
    assert list(inspection.skipped) == ["time", "tokens", "noise", "stability"]
    assert inspection.skipped["time"] == "no recurrent layer, so no state in time"
    assert "no recurrent, attention or 1-d convolution layer" in inspection.skipped["noise"]
    assert inspection.skipped["stability"].startswith("give loss and data: inspect(model, batch, loss=")
    assert inspection.model == "Sequential"
    assert inspection.label == "Sequential"
    assert 0 < inspection.seconds < 60


def test_text_holds_the_table_and_the_sentence(inspection):
    text = str(inspection)
    assert text.splitlines()[-1] == inspection.sentence
    for name in inspection.datasets["propagation"]["layer"].values:
        assert f"\n{name}" in text


def test_dictionary_is_json_and_holds_every_number(inspection):
    loaded = json.loads(json.dumps(inspection.to_dict(), allow_nan=False))
    assert loaded["version"] == 1
    assert loaded["sentence"] == inspection.sentence
    assert [finding["sentence"] for finding in loaded["findings"]] == [
        f.sentence for f in inspection.findings
    ]
    dataset = inspection.datasets["propagation"]
    stored = loaded["instruments"]["propagation"]
    assert stored["coords"]["layer"] == list(dataset["layer"].values)
    for name, variable in dataset.data_vars.items():
        numbers = [math.nan if value is None else value for value in stored["variables"][name]["values"]]
        assert numbers == pytest.approx(list(variable.values), nan_ok=True, rel=1e-15)


def test_infinite_numbers_become_null():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    with torch.no_grad():
        model[1].weight.fill_(3e38)
    loaded = phasescope.inspect(model, normal_batch(8, 4)).to_dict()
    json.dumps(loaded, allow_nan=False)
    assert None in loaded["instruments"]["propagation"]["variables"]["kernel"]["values"]


def test_instruments_that_refuse_or_fail_do_not_stop_the_others():
    model = nn.Linear(5, 3)
    found = inspect(
        model, normal_batch(8, 5), instruments=[Refuses(), Fails(), FailsInTheFindings(), OutputNorms()]
    )
    assert set(found.datasets) == {"output_norms"}
    assert found.skipped["refuses"] == "Linear layers are beneath it"
    assert set(found.skipped) == {"refuses"}
    assert found.failed["fails"] == found.to_dict()["failed"]["fails"]
    assert re.fullmatch(r"\w+: no layers left, at .*test_inspect\.py:\d+: raise .*", found.failed["fails"])
    assert set(found.failed) == {"fails", "fails_late"}
    assert len(found.findings) == 1
    assert "refuses was skipped: Linear layers are beneath it" in str(found)
    assert "no layers left" in str(found)


class FindsNothing(OutputNorms):
    name = "finds_nothing"

    def measure(self, model, batch, *, seed=0, max_memory=None):
        raise NothingToMeasureError("No layer has an axis of 600 time steps.")


def test_an_instrument_that_finds_nothing_of_its_kind_has_not_failed():
    found = inspect(nn.Linear(5, 3), normal_batch(8, 5), instruments=[FindsNothing(), OutputNorms()])
    assert found.skipped == {"finds_nothing": "No layer has an axis of 600 time steps."}
    assert not found.failed


@pytest.mark.parametrize("given", ["data", "batch"])
def test_a_loss_gives_the_real_gradient(given):
    torch.manual_seed(0)
    model, x, y = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 2)), torch.randn(8, 5), torch.randn(8, 2)
    if given == "data":
        found = phasescope.inspect(model, None, loss=nn.functional.mse_loss, data=[(x, y)])
    else:
        found = phasescope.inspect(model, x, loss=lambda output: (output - y).square().mean())
    dataset = found.datasets["propagation"]
    slope = (model(x) - y).detach()
    ratio = (slope @ model[1].weight.detach()).square().sum(1) / slope.square().sum(1)
    assert float(dataset["gradient"][0]) == pytest.approx(ratio.mean().item(), rel=1e-5)
    assert "the gradient is that of the given loss" in dataset.attrs["notes"]


def test_interrupts_reach_the_caller():
    with pytest.raises(KeyboardInterrupt):
        inspect(nn.Linear(5, 3), normal_batch(8, 5), instruments=[IsInterrupted(), OutputNorms()])


def test_nothing_measured_is_an_error_with_every_reason():
    with pytest.raises(
        InputError, match=r"Linear: refuses: Linear layers are beneath it; fails: .*: no layers left"
    ):
        inspect(nn.Linear(5, 3), normal_batch(8, 5), instruments=[Refuses(), Fails()])
    with pytest.raises(InputError, match="No instrument could measure Linear"):
        inspect(nn.Linear(5, 3), normal_batch(8, 5), instruments=[])


def test_the_error_of_the_only_instrument_is_its_own():
    with pytest.raises(ZeroDivisionError, match="no layers left"):
        inspect(nn.Linear(5, 3), normal_batch(8, 5), instruments=[Fails()])


@pytest.mark.parametrize(
    ("model", "batch", "message"),
    [
        ("a string", torch.ones(4, 5), "str"),
        (nn.Linear(5, 3), torch.ones(0, 5), "empty"),
        (nn.Linear(5, 3), torch.full((4, 5), math.nan), "NaN"),
        (nn.Linear(5, 3), torch.ones(4, 6), "6"),
        (nn.Linear(5, 3), "a batch", "a batch"),
    ],
    ids=["no model", "empty", "nan", "does not fit", "no tensor"],
)
def test_unusable_input_is_named(model, batch, message):
    with pytest.raises(InputError, match=message):
        phasescope.inspect(model, batch)


def test_label_and_progress():
    steps = []
    found = inspect(
        nn.Linear(5, 3),
        normal_batch(8, 5),
        instruments=[OutputNorms()],
        label="epoch 3",
        progress=lambda what, fraction: steps.append((what, fraction)),
    )
    assert found.label == "epoch 3"
    assert steps == [("Size of every layer's output", 0.0), ("done", 1.0)]


def made(*findings: Finding) -> Inspection:
    return Inspection("net", "Sequential", {}, list(findings), {}, {}, 0.1)


def test_the_sentence_is_the_most_severe_finding_and_its_first_action():
    healthy = Finding("The signal is healthy.", "1", "", "ok")
    bad = Finding(
        "The output is 0.", "1", "Scale the weights by 1.31, or call f(x). Critical: C_W = 1.0.", "problem"
    )
    worse = Finding("Another problem.", "1", "Do it.", "problem")
    assert made(healthy).sentence == "The signal is healthy."
    assert made(healthy, bad, worse).sentence == "The output is 0; scale the weights by 1.31, or call f(x)."
    assert made().sentence == "Nothing was measured."
    worth_knowing = Finding("A note.", "1", "Look at it.", "note")
    assert made(healthy, worth_knowing).sentence == "The signal is healthy."


def test_the_sentence_is_about_what_is_broken_then_the_phase_then_units_then_the_rest():
    found = [
        Finding("A note.", "1", "Look at it.", "problem"),
        Finding("Units are dead.", "1", "Revive them.", "problem", "units"),
        Finding("Chaotic.", "1", "Scale it.", "warning", "phase"),
        Finding("It overflows.", "1", "Mend it.", "warning", "broken"),
    ]
    told = [
        "A note; look at it.",
        "Units are dead; revive them.",
        "Chaotic; scale it.",
        "It overflows; mend it.",
    ]
    for count, sentence in enumerate(told, start=1):
        assert made(*found[:count]).sentence == sentence
        assert made(*reversed(found[:count])).sentence == sentence


def test_a_problem_of_units_comes_before_a_phase_that_is_well():
    critical = Finding("Critical.", "1", "", "ok", "phase")
    dead = Finding("Units are dead.", "1", "Revive them.", "warning", "units")
    assert made(critical, dead).sentence == "Units are dead; revive them."
    assert made(Finding("A note.", "1", "Look.", "note"), critical).sentence == "Critical."


def test_findings_have_one_of_four_severities_and_of_four_kinds():
    with pytest.raises(ValueError, match="'awful' is none of ok, note, warning, problem"):
        Finding("It is bad.", "1", "Change it.", "awful")
    with pytest.raises(ValueError, match="'bad' is none of broken, phase, units, note"):
        Finding("It is bad.", "1", "Change it.", "note", "bad")
    assert str(Finding("It is bad.", "x = 1", "Change it.", "note")) == "It is bad. (x = 1) Change it."


def test_citation_of_an_inspection(inspection):
    text = phasescope.citation(inspection)
    for key in ("poole2016", "schoenholz2017", "roberts2022", "phasescope"):
        assert f"{{{key}," in text


def test_data_that_cannot_be_read_cost_no_other_instrument():
    found = inspect(nn.Linear(5, 3), normal_batch(8, 5), loss=nn.MSELoss(), data=[], instruments=None)
    assert "propagation" in found.datasets
    assert "hold no batch" in {**found.skipped, **found.failed}["stability"]
    with pytest.raises(InputError, match="hold no batch"):
        inspect(nn.Linear(5, 3), None, data=[])


def test_chains_are_left_out_where_they_take_minutes_and_a_loss_of_a_whole_output_is_no_obstacle():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Linear(6, 3))

        def forward(self, x):
            return {"logits": self.body(x[:, None])}

    torch.manual_seed(0)
    model, before = Named(), Named().state_dict()
    data = (normal_batch(32, 5), normal_batch(32, 3))
    found = inspect(
        model, None, loss=lambda out, y: (out["logits"] - y).square().mean(), data=data, initial=before
    )
    assert "chains of Conv1d take minutes" in found.skipped["langevin"]
    assert "lazy_or_rich" in found.datasets
    assert not found.failed
