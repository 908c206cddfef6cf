"""Starts, perceptrons side by side and their training, against formulas and plain torch."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from phasescope.activations import MRePU
from phasescope.papers import perceptrons, rectified_power
from phasescope.papers.perceptrons import Networks, Start
from phasescope.papers.rectified_power import shared

START = Start(2.0, 0.1)


def plain(networks, number):
    """One network of a stack as a chain of linear layers."""
    layers = []
    for w, b in zip(networks.weights, networks.biases, strict=True):
        linear = nn.Linear(w.shape[1], w.shape[2]).double()
        linear.weight.data, linear.bias.data = w[number].T.clone().data, b[number, 0].clone().data
        layers += [linear, networks.activation]
    return nn.Sequential(*layers[:-1])


def stack(start=START, seeds=range(3), activation=torch.tanh, sizes=(4, 16, 16, 2)):
    class Plain(nn.Module):
        def forward(self, z):
            return activation(z)

    return Networks(sizes, Plain(), start, seeds, dtype=torch.float64)


def test_networks_side_by_side_are_those_of_plain_torch_and_of_their_seeds():
    networks = stack()
    x = torch.randn(7, 4, dtype=torch.float64)
    for number in range(3):
        expected = plain(networks, number)(x)
        assert torch.allclose(networks(x)[number], expected, rtol=1e-13)
        alone = stack(seeds=[number])
        assert torch.equal(alone.weights[1][0], networks.weights[1][number])
    assert len(networks) == 3


def test_weights_and_biases_have_the_variances_of_their_start():
    networks = stack(Start(2.0, 0.1), range(4), sizes=(50, 400, 400))
    assert float(networks.weights[1].detach().var() * 400) == pytest.approx(2.0, rel=0.02)
    assert float(networks.biases[1].detach().var()) == pytest.approx(0.1, rel=0.15)
    x = torch.randn(30, 50, dtype=torch.float64)
    first = Networks((50, 4000), nn.Identity(), Start(2.0, 0.1, 0.7), [0], largest=perceptrons.largest_of(x))
    kernels = first(x.float())[0].square().mean(-1)
    assert float(kernels.detach().max()) == pytest.approx(0.7, rel=0.1)  # the largest input has K_1


@pytest.mark.parametrize(
    ("name", "C_W", "C_b", "K1"),
    [
        ("relu", 2.0, 0.0, 1.0),
        ("tanh", 1.0, 0.0, 1.0),
        ("gelu", 1.98305826, 0.17292239, 3.56155281),
        ("mrepu2", 1.0, 0.0, 1 / (2 * 18 * 10)),  # a_1 = 3p(2p - 1) = 18
        ("mrepu3", 1.0, 0.0, 1 / (2 * 45 * 10)),
        ("repu2", 1.0, 0.0, 2 / 3),  # K_dag
        ("repu3", 1.0, 0.0, (2 / 15) ** 0.5),
    ],
)
def test_the_best_start_is_the_critical_one_or_K_dag(name, C_W, C_b, K1):
    start, rule = perceptrons.best_start(name, 10)
    assert (start.C_W, start.C_b, start.K1) == pytest.approx((C_W, C_b, K1), rel=1e-6)
    assert rule.startswith("none is critical" if name.startswith("repu") else "critical")


def test_without_a_critical_point_perpendicular_differences_are_kept_at_kernel_1():
    start, _ = perceptrons.best_start("softplus", 10)
    z = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    weight = torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    slope = torch.trapezoid(weight * torch.sigmoid(z) ** 2, z)
    assert start.C_W * float(slope) == pytest.approx(1, rel=1e-6)


def test_training_side_by_side_is_training_alone():
    x, y = shared.xyz(64, 0)
    batches = perceptrons.minibatches(x, y, 16, 5)
    networks = stack(sizes=(3, 16, 16, 1))
    one = plain(networks, 1)
    course = perceptrons.train(
        networks, batches, perceptrons.squared_error, torch.optim.Adam(networks.parameters(), 1e-2), 25
    )
    optimiser = torch.optim.Adam(one.parameters(), 1e-2)
    for step in range(25):
        inputs, targets = batches(step)
        optimiser.zero_grad()
        nn.functional.mse_loss(one(inputs), targets).backward()
        optimiser.step()
    assert torch.allclose(one[0].weight, networks.weights[0][1].T, rtol=1e-9, atol=1e-12)
    assert course.steps.tolist() == [0, 10, 20, 24]
    assert course.failed.tolist() == [-1, -1, -1]


def test_a_network_that_diverges_is_counted_and_leaves_the_others_alone():
    x, y = shared.xyz(64, 0)
    networks = stack(sizes=(3, 16, 16, 1))
    other = stack(sizes=(3, 16, 16, 1))
    with torch.no_grad():
        networks.weights[1][0] *= math.inf
    batches = perceptrons.minibatches(x, y, 16, 5)
    made = [
        perceptrons.train(
            each, batches, perceptrons.squared_error, torch.optim.Adam(each.parameters(), 1e-2), 12
        )
        for each in (networks, other)
    ]
    assert made[0].failed.tolist() == [0, -1, -1]
    assert np.isnan(made[0].loss[0]).all()
    assert made[0].loss[1:] == pytest.approx(made[1].loss[1:], rel=1e-12)
    assert torch.equal(networks.weights[0][1:], other.weights[0][1:])


def test_when_all_have_failed_the_axis_of_steps_stays():
    x, y = shared.xyz(8, 0)
    networks = stack(sizes=(3, 4, 1))
    with torch.no_grad():
        networks.weights[0].fill_(math.nan)
    optimiser = torch.optim.SGD(networks.parameters(), 0.1)
    course = perceptrons.train(networks, lambda step: (x, y), perceptrons.squared_error, optimiser, 31)
    assert course.steps.tolist() == [0, 10, 20, 30]
    assert course.loss.shape == (3, 4)
    assert course.failed.tolist() == [0, 0, 0]


def test_clipping_bounds_the_gradient_of_each_network_by_itself():
    x, y = shared.xyz(32, 1)
    networks = stack(sizes=(3, 8, 1))
    before = [p.detach().clone() for p in networks.parameters()]
    perceptrons.train(
        networks, lambda step: (x, 0 * y), perceptrons.squared_error, _sgd(networks), 1, clip=1e9
    )
    far = [p.detach() - q for p, q in zip(networks.parameters(), before, strict=True)]
    sizes = torch.stack([d.flatten(1).square().sum(1) for d in far]).sum(0).sqrt()
    networks = stack(sizes=(3, 8, 1))
    limit = float(sizes.median())
    perceptrons.train(
        networks, lambda step: (x, 0 * y), perceptrons.squared_error, _sgd(networks), 1, clip=limit
    )
    near = [p.detach() - q for p, q in zip(networks.parameters(), before, strict=True)]
    clipped = torch.stack([d.flatten(1).square().sum(1) for d in near]).sum(0).sqrt()
    assert clipped.tolist() == pytest.approx(sizes.clamp(max=limit).tolist(), rel=1e-9)


def _sgd(networks):
    return torch.optim.SGD(networks.parameters(), 1.0)


def test_the_product_of_three_numbers_has_variance_1():
    x, y = shared.xyz(200_000, 0)
    assert float(y.var()) == pytest.approx(1, rel=0.02)  # <x^2>^3 = 1/27
    assert torch.allclose(y[:, 0], 27**0.5 * x[:, 0] * x[:, 1] * x[:, 2])
    again, _ = perceptrons.minibatches(x, y, 16, 3)(7)
    assert torch.equal(again, perceptrons.minibatches(x, y, 16, 3)(7)[0])
    assert not torch.equal(again, perceptrons.minibatches(x, y, 16, 3)(8)[0])


def test_modules_work_in_single_precision():
    assert isinstance(perceptrons.module_of("mrepu2"), MRePU)
    z = torch.tensor([-1.0, 2.0])
    assert perceptrons.module_of("gelu")(z).dtype == torch.float32


def test_a_list_of_ones_own_asks_for_the_comparison_alone():
    quick = rectified_power.STUDY.presets["quick"]
    assert quick.asked == ()
    assert quick.model_copy(update={"activations": ("gelu",)}).asked == ("comparison",)
    assert quick.model_copy(update={"task": "digits"}).asked == ("comparison",)
