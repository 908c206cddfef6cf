import math

import numpy as np
import pytest
import torch

from phasescope.activations import as_activation
from phasescope.papers.absorbing.kernel_regression import learned_outputs
from phasescope.papers.absorbing.trained_networks import DeepNetwork, largest_eigenvalue, train
from phasescope.theory import critical_line, input_distances, tangent_kernel


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
        losses.append(train(network, *tensors, steps=[40], seed=seed)["test_loss"][0])
        assert all(torch.equal(a, b) for a, b in zip(before, network.parameters, strict=True))
    # Relative fluctuations of the kernel are sqrt(v L/n) = 0.1; here they pass to a loss near 1 in part.
    assert np.mean(losses) == pytest.approx(expected, abs=0.05)


def test_training_that_diverges_is_told_as_infinite():
    function = as_activation("erf")
    network = DeepNetwork(function, (6, 5, 1), 2, 1.0, 0.0, seed=0, device="cpu")
    x = torch.tensor(inputs(4, 1.0, 0.0, 1.0), dtype=torch.float32)
    y = torch.full((4, 1), 1e30)
    assert math.isinf(train(network, x, y, x, y, steps=[50], seed=0)["test_loss"][0])


def test_steps_in_several_pieces_are_the_same_training():
    network = DeepNetwork(as_activation("tanh"), (6, 10, 2), 3, 1.5, 0.05, seed=3, device="cpu")
    x = torch.tensor(inputs(8, 1.5, 0.05, 0.7), dtype=torch.float32)
    y = torch.randn(8, 2, generator=torch.Generator().manual_seed(1))
    pieces = train(network, x, y, x, y, steps=[5, 20], seed=0)
    for index, steps in enumerate((5, 20)):
        whole = train(network, x, y, x, y, steps=[steps], seed=0)
        assert whole["train_loss"] == [pieces["train_loss"][index]]
    assert pieces["train_loss"][1] < pieces["train_loss"][0] < 1
