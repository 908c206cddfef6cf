"""Stability of training on losses whose sharpness, exponents and limits are known."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

import phasescope
from phasescope import report
from phasescope.errors import InputError, MemoryLimitError
from phasescope.instruments import TrainingStability
from phasescope.recording.batch import all_floats
from phasescope.testing import CHECKS, Case, check_instrument
from zoo import ZOO, every

MSE = nn.functional.mse_loss


def quadratic():
    """Three separate weights, their data, and the eigenvalues of the Hessian of the squared error."""
    model = nn.Sequential(nn.Linear(3, 1, bias=False), nn.Identity())
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -1.0, 0.5]]))
    data = torch.diag(torch.tensor([2.0, 1.0, 0.5])), torch.zeros(3, 1)
    return model, data, 2.0 * np.array([4.0, 1.0, 0.25]) / 3.0


def measured(optimizer, **options):
    model, data, _ = quadratic()
    return TrainingStability(MSE, data, optimizer, **options).measure(model, data[0])


def verdict(dataset):
    return TrainingStability().findings(dataset)[0]


def sgd(rate, **options):
    return lambda parameters: torch.optim.SGD(parameters, rate, **options)


@pytest.mark.parametrize(
    ("optimizer", "threshold"),
    [
        (0.3, 2.0 / 0.3),
        (sgd(0.3, momentum=0.5), 3.0 / 0.3),
        (sgd(0.3, momentum=0.5, nesterov=True), 1.5 / 0.3),
    ],
    ids=["gradient descent", "heavy ball", "Nesterov"],
)
def test_sharpness_and_threshold_on_a_quadratic_loss(optimizer, threshold):
    dataset = measured(optimizer, steps=20, points=3)
    largest = quadratic()[2].max()
    np.testing.assert_allclose(dataset["sharpness"], largest, rtol=1e-6)
    np.testing.assert_allclose(dataset["ratio"], largest / threshold, rtol=1e-6)
    assert dataset.attrs["threshold"] == pytest.approx(threshold)
    assert list(dataset["point"].values) == [0, 10, 20]


def test_the_exponent_on_a_quadratic_loss_is_that_of_its_slowest_direction():
    dataset = measured(0.6, steps=200, points=2)
    exact = np.log(np.abs(1.0 - 0.6 * quadratic()[2])).max()
    assert dataset["local_exponent"].values[-1] == pytest.approx(exact, abs=1e-9)
    losses = dataset["loss"].values
    w = np.array([1.0, -1.0, 0.5])
    multipliers = 1.0 - 0.6 * quadratic()[2]
    expected = [
        float(np.sum((np.array([2.0, 1.0, 0.5]) * w * multipliers**t) ** 2) / 3.0) for t in range(200)
    ]
    np.testing.assert_allclose(losses, expected, rtol=1e-9, atol=1e-25)


def test_a_stable_rate_is_told_with_the_largest_stable_one():
    found = verdict(measured(0.1))
    assert found.severity == "ok"
    assert found.sentence.startswith("Stable: the sharpness is at most 0.133")
    assert f"stable up to {2.0 / quadratic()[2].max():.4g}." in found.action


def test_a_rate_just_below_the_threshold_is_at_the_edge():
    found = verdict(measured(0.7))
    assert found.severity == "note"
    assert found.sentence.startswith("At the edge of stability: the sharpness is 0.933")


def test_a_rate_above_the_threshold_is_unstable_and_a_lower_one_is_given():
    found = verdict(measured(0.9, steps=10, points=2))
    assert found.severity == "problem"
    assert "Training is unstable: the loss rises from 1.69 to" in found.sentence
    suggested = float(found.action.split(" to ")[1].split(". ")[0])
    assert 0.3 < suggested < 2.0 / quadratic()[2].max()


def test_a_diverging_run_names_the_step():
    model = nn.Sequential(nn.Linear(2, 1, bias=False))
    data = torch.eye(2), torch.zeros(2, 1)

    def quartic(output, target):
        return ((output - target) ** 4).mean()

    dataset = TrainingStability(quartic, data, 1e3).measure(model, data[0])
    found = verdict(dataset)
    assert found.severity == "problem"
    steps = dataset.attrs["diverged"]
    assert 0 < steps < 20
    assert found.sentence.startswith("Training diverges:")
    assert f"after {steps} steps" in found.sentence
    assert dataset.sizes["step"] == steps
    assert np.isfinite(dataset["loss"]).all()


def logistic_map(rate):
    """One weight w whose gradient descent is the logistic map ``w - rate (w^2 - w)``."""
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.6)

    def loss(output):
        return (output**3 / 3.0 - output**2 / 2.0).sum()

    return model, loss, torch.ones(1, 1), rate


def test_a_chaotic_run_has_the_exponent_of_its_map():
    model, loss, inputs, rate = logistic_map(2.95)
    dataset = TrainingStability(loss, None, rate, steps=400, points=2).measure(
        model.double(), inputs.double()
    )
    w, logs = 0.6, []
    with torch.no_grad():
        w = float(model.weight.double())
    for _ in range(400):
        logs.append(math.log(abs(1.0 - rate * (2.0 * w - 1.0))))
        w -= rate * (w * w - w)
    np.testing.assert_allclose(dataset["local_exponent"].values[:20], logs[:20], rtol=1e-6)
    assert float(dataset["exponent"]) == pytest.approx(np.mean(logs), abs=0.05)
    found = verdict(dataset)
    assert found.sentence.startswith("Chaotic: a small difference between two runs grows")
    assert found.severity == "warning"


def test_without_an_optimiser_the_sharpness_alone_is_measured():
    dataset = measured(None)
    assert "loss" not in dataset
    largest = quadratic()[2].max()
    found = verdict(dataset)
    assert f"up to a rate of {2.0 / largest:.2f}" in found.sentence
    assert set(TrainingStability().figures(dataset)) == {"curvature"}
    assert "no optimiser" in TrainingStability().table(dataset)


def test_an_optimizer_that_needs_a_rate_is_left_out_with_a_note():
    dataset = measured(lambda parameters, rate: torch.optim.SGD(parameters, rate))
    assert "loss" not in dataset
    assert "give its rate a default" in dataset.attrs["notes"]
    assert "loss" in measured(
        lambda parameters, rate=0.1: torch.optim.SGD(parameters, rate), steps=2, points=2
    )


def test_layers_say_where_the_sharpest_direction_lies():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(1e-3 * torch.eye(2))
        model[1].weight.copy_(torch.eye(2))
    data = torch.eye(2), torch.zeros(2, 2)
    dataset = TrainingStability(MSE, data, 1e-6, steps=2, points=2).measure(model, data[0])
    share = dict(zip(dataset["layer"].values, dataset["curvature"].values, strict=True))
    assert share["0"] > 0.999
    assert sum(share.values()) == pytest.approx(1.0)


def test_rows_are_all_layers_with_the_reason_of_those_without_numbers():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(4))
            self.first, self.second, self.frozen = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
            self.second.weight, self.second.bias = self.first.weight, self.first.bias
            self.act = nn.Tanh()
            self.frozen.requires_grad_(False)

        def forward(self, x):
            return self.frozen(self.act(self.second(self.act(self.first(x + self.shift)))))

    model = Net()
    inputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    dataset = TrainingStability(lambda out: out.square().mean(), None, 0.1, steps=3, points=2).measure(
        model, inputs
    )
    reasons = dict(zip(dataset["layer"].values, dataset["skipped"].values, strict=True))
    assert reasons == {
        "shift": "",
        "first": "",
        "second": "shares its parameters with first",
        "frozen": "frozen: its parameters ask for no gradient",
        "act": "no parameters",
    }


def test_update_and_straightness_of_a_straight_run():
    dataset = measured(0.1, steps=40, points=2)
    row = dataset.sel(layer="0")
    assert float(row["straightness"]) == pytest.approx(1.0)
    w = np.array([1.0, -1.0, 0.5])
    multipliers = 1.0 - 0.1 * quadratic()[2]
    weights = np.array([w * multipliers**t for t in range(41)])
    sizes = np.linalg.norm(np.diff(weights, axis=0), axis=1) / np.linalg.norm(weights[:-1], axis=1)
    assert float(row["update"]) == pytest.approx(sizes.mean(), rel=1e-6)


def test_an_optimiser_in_the_middle_of_training_is_continued_and_not_touched():
    model, data, _ = quadratic()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(5):
        optimizer.zero_grad()
        MSE(model(data[0]), data[1]).backward()
        optimizer.step()
    state, weights = copy.deepcopy(optimizer.state_dict()), model[0].weight.detach().clone()
    dataset = TrainingStability(MSE, data, optimizer, steps=5, points=2).measure(model, data[0])
    assert list(dataset["point"].values) == [0, 5]
    assert np.isfinite(dataset["ratio"].values).all()
    assert torch.equal(weights, model[0].weight)
    after = optimizer.state_dict()
    assert after["param_groups"] == state["param_groups"]
    for key, value in state["state"][0].items():
        assert torch.equal(value, after["state"][0][key])


def test_a_fresh_adam_is_measured_from_its_second_step_on():
    model, data, _ = quadratic()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    dataset = TrainingStability(MSE, data, optimizer, steps=10, points=3).measure(model, data[0])
    assert dataset["point"].values[0] == 1
    assert np.isfinite(dataset["ratio"].values).all()


def test_a_shuffling_loader_is_read_once_and_goes_on_as_it_would_have():
    inputs = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    data = torch.utils.data.TensorDataset(inputs, inputs.sum(1, keepdim=True))
    generator = torch.Generator().manual_seed(4)
    loader = torch.utils.data.DataLoader(data, batch_size=4, shuffle=True, generator=generator)
    model = quadratic()[0]
    before, torch_before = generator.get_state(), torch.get_rng_state()
    dataset = TrainingStability(MSE, loader, 0.01, steps=4, points=2).measure(model, None)
    assert torch.equal(before, generator.get_state())
    assert torch.equal(torch_before, torch.get_rng_state())
    assert dataset.attrs["batches"] == 8
    assert "the first 8 batches of the data were used, over and over" in json.loads(dataset.attrs["notes"])
    assert dataset.attrs["inputs"] == 4


def test_memory_that_does_not_suffice_is_named():
    model, data, _ = quadratic()
    with pytest.raises(MemoryLimitError, match="Raise max_memory, or pass smaller batches"):
        TrainingStability(MSE, data, 0.1).measure(model, data[0], max_memory=100)


@pytest.mark.parametrize(
    ("model", "options", "reason"),
    [
        (nn.Linear(3, 1), {}, "give loss and data"),
        (nn.Identity(), {"loss": MSE}, "Identity has no parameters to train"),
        (torch.tanh, {"loss": MSE}, "tanh has no parameters to train"),
        (42, {"loss": MSE}, "not callable"),
    ],
    ids=["no loss", "no parameters", "a function", "no model"],
)
def test_what_cannot_be_measured_is_refused_with_the_reason(model, options, reason):
    assert reason in TrainingStability(**options).applies(model, torch.ones(2, 3))


@pytest.mark.parametrize("options", [{"steps": 0}, {"points": 1}, {"steps": 3, "points": 9}])
def test_numbers_of_steps_that_do_not_fit_are_named(options):
    with pytest.raises(InputError, match="steps ="):
        TrainingStability(MSE, **options)


def test_inspect_measures_it_once_loss_and_data_are_given():
    model, data, _ = quadratic()
    without = phasescope.inspect(model, data[0])
    assert without.skipped["stability"].startswith("give loss and data: inspect(model, batch, loss=")
    inspection = phasescope.inspect(model, None, loss=MSE, data=data, optimizer=0.9)
    assert "stability" in inspection.datasets
    assert inspection.sentence.startswith("Training is unstable")
    assert "Stability of training: gradient descent, 100 steps; 3 trained parameters" in str(inspection)
    page = report.render([inspection])
    assert "<h2>Stability of training</h2>" in page
    assert "A copy of the network in training." in page
    assert "{cohen2021," in page


def everything(output):
    """A loss of any output: mean square of all its numbers, none of which counts more than another."""
    return torch.stack([part.tanh().square().mean() for part in all_floats(output)]).mean()


def short(rate=0.02):
    return TrainingStability(everything, None, rate, steps=4, points=2)


FAST = {"shared_weights", "frozen", "parameter_free", "plain_callable"}
# Freezing a model that is frozen in part makes another training of it.
NOT = {"frozen": {"measures_frozen_parameters"}}


@pytest.mark.parametrize("name", every(fast=FAST, without=("nan_masking",)))
def test_it_keeps_every_promise_on_the_zoo(name):
    case = Case(name, ZOO[name])
    only = [check for check in CHECKS if check not in NOT.get(name, set())]
    passed = check_instrument(short(), [case], only=only)
    refused = name in ("parameter_free", "plain_callable")
    assert (len(passed) < 5) == refused


def test_a_gradient_that_is_not_finite_is_named():
    with pytest.raises(InputError, match="its gradient is not finite"):
        short().measure(*ZOO["nan_masking"]())


@pytest.mark.slow
def test_it_keeps_every_promise_on_the_built_in_cases():
    assert len(check_instrument(short())) == 6 * (len(CHECKS) - 1) + 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "cnn", "tiny_gpt", "lstm", "batchnorm"])
def test_peak_memory_stays_under_the_limit(name):
    case = Case(name, ZOO[name])
    check_instrument(short(), [case], fast=False, only=["peak_memory_stays_under_the_limit"])
