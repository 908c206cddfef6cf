import math

import numpy as np
import pytest
import torch

from one_part import config, draw, run
from phasescope.activations import as_activation
from phasescope.errors import InputError
from phasescope.papers import absorbing
from phasescope.papers.absorbing.finite_training import (
    FINITE_TRAINING,
    DeepNetwork,
    largest_eigenvalue,
    off_line,
    train,
)
from phasescope.papers.absorbing.kernel_regression import learned_outputs
from phasescope.theory import critical_line, input_distances, tangent_kernel

TINY = (
    "finite_training.biases=0.005,0.05,0.3,1.0,2.0",
    "finite_training.beside=0.3",
    "finite_training.depths=6",
    "finite_training.widths=8,40",
    "finite_training.networks=2",
    "finite_training.train=40",
    "finite_training.test=60",
    "finite_training.steps=30",
)


def inputs(count, C_W, C_b, K, seed=0):
    x = np.random.default_rng(seed).standard_normal((count, 6))
    return x / np.linalg.norm(x, axis=1, keepdims=True) * math.sqrt(6 * (K - C_b) / C_W)


def test_the_largest_eigenvalue_against_the_whole_jacobian():
    network = DeepNetwork(as_activation("tanh"), (6, 20, 3), 3, 1.7, 0.1, seed=1, device="cpu")
    x = torch.tensor(inputs(7, 1.7, 0.1, 0.8), dtype=torch.float32)
    whole = torch.func.jacrev(lambda p: network(p, x))(network.parameters)
    jacobian = torch.cat([block.reshape(21, -1) for block in whole], dim=1).double()
    exact = float(torch.linalg.eigvalsh(jacobian @ jacobian.T)[-1])
    assert largest_eigenvalue(network, x, 3, seed=2) == pytest.approx(exact, rel=0.01)


@pytest.mark.slow
def test_wide_networks_follow_the_kernel():
    point = critical_line("tanh", 0.3)
    x, x_test = (inputs(count, point.C_W, point.C_b, point.K, count) for count in (12, 30))
    generator = np.random.default_rng(3)
    targets, wanted = generator.standard_normal((12, 2)), generator.standard_normal((30, 2))

    def kernel(a, b):
        rho = (1 - point.C_b / point.K) * input_distances(a, b)
        return tangent_kernel("tanh", point.C_W, point.C_b, 3, rho, K=point.K).tangent[0]

    (outputs,) = learned_outputs(kernel(x, x), kernel(x_test, x), targets, [40.0])
    expected = float(((outputs - wanted) ** 2).mean() / (wanted**2).mean())
    tensors = [torch.tensor(a, dtype=torch.float32) for a in (x, targets, x_test, wanted)]
    losses = []
    for seed in range(3):
        network = DeepNetwork(
            as_activation("tanh"), (6, 1500, 2), 3, point.C_W, point.C_b, seed=seed, device="cpu"
        )
        before = [p.clone() for p in network.parameters]
        losses.append(train(network, *tensors, steps=40, seed=seed)["test_loss"])
        assert all(torch.equal(a, b) for a, b in zip(before, network.parameters, strict=True))
    # Relative fluctuations of the kernel are sqrt(v L/n) = 0.1; here they pass to a loss near 1 in part.
    assert np.mean(losses) == pytest.approx(expected, abs=0.05)


def test_training_that_diverges_is_told_as_infinite():
    function = as_activation("erf")
    network = DeepNetwork(function, (6, 5, 1), 2, 1.0, 0.0, seed=0, device="cpu")
    x = torch.tensor(inputs(4, 1.0, 0.0, 1.0), dtype=torch.float32)
    y = torch.full((4, 1), 1e30)
    assert math.isinf(train(network, x, y, x, y, steps=50, seed=0)["test_loss"])


@pytest.mark.parametrize("growth", [-4.0, 4.0])
def test_off_the_line_by_a_given_growth(growth):
    point = critical_line("erf", 0.3)
    field = off_line(as_activation("erf"), point, 10, growth)
    chi = field.fixed_point().chi_perpendicular
    assert 10 * math.log(chi) == pytest.approx(growth, abs=1e-3)
    assert (field.C_W > point.C_W) == (growth > 0)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    settings = config(*TINY, "activation=erf")
    return settings, *run(FINITE_TRAINING, settings, tmp_path_factory.mktemp("run"))


def test_checks_and_figures_at_a_small_size(small):
    settings, data, analysis, checks = small
    assert list(checks) == [
        "below-window",
        "above-window",
        "ordered",
        "chaotic",
        "wide-enough",
        "approach",
        "window-place",
    ]
    # 40 neurons, 6 layers: far from the loss of infinite width, nearer than 8 neurons.
    assert checks["wide-enough"].measured.value > 0
    assert checks["approach"].measured.value > 0
    (picture,) = FINITE_TRAINING.pictures(FINITE_TRAINING.numbers(data, settings))
    assert len(picture.figure.axes) == 4
    (table,) = analysis.tables
    assert len(table.rows) == 2 * 7
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_a_task_is_the_same_whenever_it_is_measured(small):
    settings, *_ = small
    task = FINITE_TRAINING.tasks(settings)[2]
    first, second = FINITE_TRAINING.measure(task, "cpu"), FINITE_TRAINING.measure(task, "cpu")
    for name in FINITE_TRAINING.variables:
        np.testing.assert_array_equal(first[name], second[name])


def test_an_activation_without_kappa_says_so(tmp_path):
    settings = config(*TINY, "finite_training.steps=2", "activation=relu")
    data, _, checks = run(FINITE_TRAINING, settings, tmp_path)
    assert {check.verdict for check in checks.values()} == {"not determined"}
    assert draw(FINITE_TRAINING, data, settings)


def test_a_data_set_that_is_not_at_hand_is_refused():
    with pytest.raises(InputError, match="mnist=DIR"):
        FINITE_TRAINING.tasks(config("finite_training.data_set=mnist"))


@pytest.mark.parametrize(("preset", "budget"), [("quick", 60), ("paper", 800)])
def test_presets_stay_within_their_budgets(preset, budget):
    tasks = FINITE_TRAINING.tasks(absorbing.STUDY.presets[preset])
    assert len({task.id for task in tasks}) == len(tasks)
    assert sum(task.seconds for task in tasks) < budget
    assert max(task.seconds for task in tasks) < 60
