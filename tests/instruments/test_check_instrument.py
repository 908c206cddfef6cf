"""The contract suite passes an honest instrument and catches every broken promise."""

from __future__ import annotations

import copy
import random
import signal
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib.figure import Figure
from torch import nn

from instruments.norms import OutputNorms, tensors
from phasescope.errors import InputError
from phasescope.instruments import Finding
from phasescope.testing import CHECKS, Case, check_instrument, linear_network


def _tanh_and_dropout() -> tuple[nn.Module, torch.Tensor]:
    model, batch = linear_network()
    return nn.Sequential(*model, nn.BatchNorm1d(24), nn.Tanh(), nn.Dropout(0.5)), batch


CASE = Case("tanh", _tanh_and_dropout)


def test_an_honest_instrument_passes_every_check():
    passed = check_instrument(OutputNorms(), [CASE])
    assert set(CHECKS) - set(passed) == {"peak_memory_stays_under_the_limit"}
    assert len(passed) >= 20


@pytest.mark.slow
def test_an_honest_instrument_stays_under_the_limit_in_a_fresh_process():
    only = ["peak_memory_stays_under_the_limit"]
    assert check_instrument(OutputNorms(), [CASE], fast=False, only=only) == only


@pytest.mark.slow
def test_an_honest_instrument_passes_on_the_built_in_cases():
    assert len(check_instrument(OutputNorms())) == 7 * (len(CHECKS) - 1)


class NoLayers(OutputNorms):
    def measure(self, *args, **kwargs):
        return super().measure(*args, **kwargs).rename(layer="row")


class ForgetsALayer(OutputNorms):
    def measure(self, *args, **kwargs):
        return super().measure(*args, **kwargs).isel(layer=slice(1, None))


class SkipsSilently(OutputNorms):
    def rows(self, *args):
        (name, _, *_), *others = super().rows(*args)
        return [(name, "", np.nan, np.nan), *others]


class MeasuresWhatItSkipped(OutputNorms):
    def rows(self, *args):
        (name, _, *numbers), *others = super().rows(*args)
        return [(name, "too hard", *numbers), *others]


class NoUnits(OutputNorms):
    def measure(self, *args, **kwargs):
        dataset = super().measure(*args, **kwargs)
        del dataset["size"].attrs["units"]
        return dataset


class NegativeErrors(OutputNorms):
    def measure(self, *args, **kwargs):
        dataset = super().measure(*args, **kwargs)
        dataset["size_error"].values *= -1
        return dataset


class OrphanedErrors(OutputNorms):
    def measure(self, *args, **kwargs):
        return super().measure(*args, **kwargs).rename(size="extent")


class NoErrors(OutputNorms):
    def measure(self, *args, **kwargs):
        return super().measure(*args, **kwargs).drop_vars("size_error")


class NoVersions(OutputNorms):
    def measure(self, *args, **kwargs):
        dataset = super().measure(*args, **kwargs)
        del dataset.attrs["versions"]
        return dataset


class AttributeIsNan(OutputNorms):
    def measure(self, *args, **kwargs):
        return super().measure(*args, **kwargs).assign_attrs(margin=float("nan"))


class AttributeIsAnObject(OutputNorms):
    def measure(self, *args, **kwargs):
        return super().measure(*args, **kwargs).assign_attrs(margin={"value": 1})


class ObjectDtype(OutputNorms):
    def measure(self, *args, **kwargs):
        dataset = super().measure(*args, **kwargs)
        return dataset.assign_coords(skipped=dataset["skipped"].astype(object))


class DrawsFreshNumbers(OutputNorms):
    def measure(self, *args, **kwargs):
        dataset = super().measure(*args, **kwargs)
        dataset["size"].values *= 1 + 1e-9 * np.random.default_rng().random()
        return dataset


class IgnoresTheSeed(OutputNorms):
    def measure(self, model, batch, *, seed=0, max_memory=None):
        return super().measure(model, batch, max_memory=max_memory)


class ChangesAParameter(OutputNorms):
    def measure(self, model, batch, **options):
        with torch.no_grad():
            for parameter in getattr(model, "parameters", list)():
                parameter.add_(1e-7)
        return super().measure(model, batch, **options)


class LeavesAHook(OutputNorms):
    def measure(self, model, batch, **options):
        model.register_forward_hook(lambda *_: None)
        return super().measure(model, batch, **options)


class SwitchesToEval(OutputNorms):
    def measure(self, model, batch, **options):
        model.eval()
        return super().measure(model, batch, **options)


class ClearsGradients(OutputNorms):
    def measure(self, model, batch, **options):
        model.zero_grad()
        return super().measure(model, batch, **options)


class DrawsFromTheGlobalState(OutputNorms):
    def measure(self, model, batch, **options):
        self.draw()
        return super().measure(model, batch, **options)

    def draw(self):
        torch.rand(1)


class DrawsFromNumpy(DrawsFromTheGlobalState):
    def draw(self):
        np.random.rand()  # noqa: NPY002 - the broken promise under test


class DrawsFromPython(DrawsFromTheGlobalState):
    def draw(self):
        random.random()


class LeavesAnAttribute(OutputNorms):
    def measure(self, model, batch, **options):
        model.visited = True
        return super().measure(model, batch, **options)


class HooksTheModelItself(OutputNorms):
    """Works as long as nothing goes wrong: there is no ``finally``."""

    def record(self, model, batch):
        handle = model.register_forward_hook(lambda *_: None)
        model(batch)
        handle.remove()
        return super().record(model, batch)


class FailsToTidyUpBehindABackwardPass(OutputNorms):
    def record(self, model, batch):
        twin, inputs = copy.deepcopy(model), batch.clone().requires_grad_()
        with torch.enable_grad():
            output = twin(inputs).sum()
            handle = model.register_forward_hook(lambda *_: None)
            torch.autograd.grad(output, inputs)
            handle.remove()
        return super().record(model, batch)


class RewritesWhatIsUnchanged(OutputNorms):
    """The numbers stay the same, and a backward pass that needs them fails."""

    def record(self, model, batch):
        for parameter in model.parameters():
            parameter.copy_(parameter.clone())
        return super().record(model, batch)


class DisablesTheUsersHooks(OutputNorms):
    def record(self, model, batch):
        for module in model.modules():
            module._forward_hooks.clear()
        return super().record(model, batch)


class RunsTheModelItself(OutputNorms):
    def record(self, model, batch):
        model(batch)
        return super().record(model, batch)


class WorksInTheMainThread(OutputNorms):
    def measure(self, model, batch, **options):
        with signal_handler():
            return super().measure(model, batch, **options)


@contextmanager
def signal_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class SwallowsInterrupts(OutputNorms):
    def record(self, model, batch):
        try:
            return super().record(model, batch)
        except KeyboardInterrupt:
            return {}


class WantsTrainMode(OutputNorms):
    def record(self, model, batch):
        if not model.training:
            raise InputError("The model is in eval mode.")
        return super().record(model, batch)


class WantsGradients(OutputNorms):
    def record(self, model, batch):
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise InputError("All parameters are frozen.")
        return super().record(model, batch)


class WritesToTheBatch(OutputNorms):
    def measure(self, model, batch, **options):
        with torch.no_grad():
            tensors(batch)[0].mul_(1.0).add_(1e-6)
        return super().measure(model, batch, **options)


class RemembersTheModel(OutputNorms):
    def measure(self, model, batch, **options):
        self.model = model
        return super().measure(model, batch, **options)


class AppliesIsTrue(OutputNorms):
    def applies(self, model, batch):
        return True


class RunsWhatItRefuses(OutputNorms):
    def applies(self, model, batch):
        return "too deep"

    def measure(self, model, batch, **options):
        return xr.Dataset()


class RefusesForAnotherReason(OutputNorms):
    def applies(self, model, batch):
        return "too deep"

    def measure(self, model, batch, **options):
        raise InputError("too wide")


class AppliesToAnything(OutputNorms):
    def applies(self, model, batch):
        return ""


class ChecksNothing(OutputNorms):
    def check(self, batch):
        return 16


class RefusesVaguely(OutputNorms):
    def check(self, batch):
        if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors(batch)):
            raise InputError("Something is wrong.")
        return super().check(batch)


class WantsGradientMode(OutputNorms):
    def measure(self, model, batch, **options):
        scale = 1.0 if torch.is_grad_enabled() else 2.0
        dataset = super().measure(model, batch, **options)
        dataset["size"].values *= scale
        return dataset


class LooksAtTheFirstInput(OutputNorms):
    def measure(self, model, batch, **options):
        dataset = super().measure(model, batch, **options)
        dataset["size"].values += 100 * float(tensors(batch)[0].flatten()[0])
        return dataset


class IgnoresMaxMemory(OutputNorms):
    def measure(self, model, batch, *, seed=0, max_memory=None):
        return super().measure(model, batch, seed=seed)


class BadName(OutputNorms):
    name = "Output norms"


class WideTable(OutputNorms):
    def table(self, dataset):
        return "x" * 101


class CitesNobody(OutputNorms):
    def measure(self, *args, **kwargs):
        return super().measure(*args, **kwargs).assign_attrs(citations="nobody1999")


class NothingToSay(OutputNorms):
    def findings(self, dataset):
        return []


class NoSentence(OutputNorms):
    def findings(self, dataset):
        return [Finding("bad", "1.0 ± 0.1", "Change it.", "warning")]


class NoAction(OutputNorms):
    def findings(self, dataset):
        return [Finding("The output is too large.", "1.0 ± 0.1", "", "warning")]


class NoEvidence(OutputNorms):
    def findings(self, dataset):
        return [Finding("The output is too large.", "", "Change it.", "warning")]


class FindingsNeedTheModel(OutputNorms):
    counter = 0

    def findings(self, dataset):
        type(self).counter += 1
        return [Finding(f"This was read {self.counter} times.", "1", "", "ok")]


class FindingsWrite(OutputNorms):
    def findings(self, dataset):
        dataset["size"].values[0] += 1
        return super().findings(dataset)


class UnlabelledAxes(OutputNorms):
    def figures(self, dataset):
        drawn = Figure()
        drawn.subplots()
        return {"size": drawn}


class NoFigure(OutputNorms):
    def figures(self, dataset):
        return {"size": "a picture"}


class FailsInInspect(OutputNorms):
    def findings(self, dataset):
        raise ZeroDivisionError


BROKEN: list[tuple[str, type[OutputNorms]]] = [
    ("returns_a_dataset_over_layers", NoLayers),
    ("accounts_for_every_layer", ForgetsALayer),
    ("skips_with_a_reason", SkipsSilently),
    ("skips_with_a_reason", MeasuresWhatItSkipped),
    ("says_units_and_names", NoUnits),
    ("errors_belong_to_values", NegativeErrors),
    ("errors_belong_to_values", OrphanedErrors),
    ("has_at_least_one_error", NoErrors),
    ("says_how_it_was_measured", NoVersions),
    ("attributes_are_json", AttributeIsNan),
    ("survives_netcdf", AttributeIsAnObject),
    ("survives_netcdf", ObjectDtype),
    ("measures_the_same_again", DrawsFreshNumbers),
    ("follows_the_seed", IgnoresTheSeed),
    ("leaves_no_trace", ChangesAParameter),
    ("leaves_no_trace", LeavesAHook),
    ("leaves_no_trace", SwitchesToEval),
    ("leaves_no_trace", ClearsGradients),
    ("leaves_no_trace", DrawsFromTheGlobalState),
    ("leaves_no_trace", DrawsFromNumpy),
    ("leaves_no_trace", DrawsFromPython),
    ("leaves_no_trace", LeavesAnAttribute),
    ("leaves_no_trace", WritesToTheBatch),
    ("leaves_no_trace", RewritesWhatIsUnchanged),
    ("leaves_no_trace", DisablesTheUsersHooks),
    ("restores_what_forward_changes", RunsTheModelItself),
    ("works_in_threads", WorksInTheMainThread),
    ("leaves_no_trace_after_an_error", FailsToTidyUpBehindABackwardPass),
    ("leaves_no_trace_after_an_interrupt", FailsToTidyUpBehindABackwardPass),
    ("leaves_no_trace_after_an_error", HooksTheModelItself),
    ("leaves_no_trace_after_an_interrupt", HooksTheModelItself),
    ("leaves_no_trace_after_an_interrupt", SwallowsInterrupts),
    ("keeps_train_and_eval", WantsTrainMode),
    ("measures_frozen_parameters", WantsGradients),
    ("leaves_the_batch_alone", WritesToTheBatch),
    ("keeps_no_state", RemembersTheModel),
    ("answers_whether_it_applies", AppliesIsTrue),
    ("refuses_with_its_reason", RunsWhatItRefuses),
    ("refuses_with_its_reason", RefusesForAnotherReason),
    ("refuses_what_is_no_model", AppliesToAnything),
    ("refuses_an_empty_batch", ChecksNothing),
    ("refuses_nan_in_the_batch", ChecksNothing),
    ("refuses_nan_in_the_batch", RefusesVaguely),
    ("accepts_a_read_only_batch", WritesToTheBatch),
    ("measures_without_gradient_mode", WantsGradientMode),
    ("does_not_depend_on_the_order_of_inputs", LooksAtTheFirstInput),
    ("respects_max_memory", IgnoresMaxMemory),
    ("has_name_and_title", BadName),
    ("prints_itself", WideTable),
    ("cites_its_sources", CitesNobody),
    ("finds_something_to_say", NothingToSay),
    ("finds_something_to_say", NoSentence),
    ("finds_something_to_say", NoAction),
    ("finds_something_to_say", NoEvidence),
    ("finds_the_same_in_a_stored_dataset", FindingsNeedTheModel),
    ("reads_without_writing", FindingsWrite),
    ("draws_figures", UnlabelledAxes),
    ("draws_figures", NoFigure),
    ("joins_an_inspection", FailsInInspect),
]


@pytest.mark.parametrize(("check", "broken"), BROKEN, ids=lambda value: getattr(value, "__name__", value))
def test_a_broken_promise_is_caught_by_name(check: str, broken: type[OutputNorms]):
    with pytest.raises(AssertionError) as caught:
        check_instrument(broken(), [CASE], only=[check], fast=False)
    message = str(caught.value)
    assert message.startswith(f"{check}: {broken.__name__} on 'tanh': ")
    assert len(message) > len(f"{check}: {broken.__name__} on 'tanh': ") + 5


def test_every_check_but_two_with_tests_of_their_own_is_broken_once():
    own = {"keeps_the_structure_of_the_batch", "peak_memory_stays_under_the_limit"}
    assert set(CHECKS) - {name for name, _ in BROKEN} == own


def test_the_structure_of_the_batch_is_watched():
    class Pops(OutputNorms):
        def measure(self, model: Any, batch: Any, **options: Any) -> xr.Dataset:
            dataset = super().measure(model, batch, **options)
            batch["right"] = batch["right"].clone()
            return dataset

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
            return self.layer(batch["left"] + batch["right"])

    case = Case("dict", lambda: (Both(), {"left": torch.ones(3, 4), "right": torch.ones(3, 4)}))
    with pytest.raises(AssertionError, match="structure of the batch changed"):
        check_instrument(Pops(), [case], only=["keeps_the_structure_of_the_batch"])
