"""Full-batch gradient descent of deep, finite, fully connected networks in the NTK parametrisation."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from phasescope.activations import Activation

_POWER_STEPS = 12


@dataclass(frozen=True)
class Trained:
    """What training did; :func:`train` makes it."""

    # train_loss, test_loss: mean square error over that of outputs 0; infinite where training diverged
    train_loss: float
    test_loss: float
    accuracy: float  # share of test inputs classified right
    # learning rate used, the inverse of the largest eigenvalue of the network's own tangent kernel
    rate: float


class DeepNetwork:
    """``z' = sqrt(C_W/n) w s(z) + sqrt(C_b) b`` with w and b standard normal, one width throughout."""

    def __init__(
        self,
        activation: Activation,
        sizes: tuple[int, int, int],
        depth: int,
        C_W: float,
        C_b: float,
        *,
        seed: int,
        device: str,
    ) -> None:
        features, width, outputs = sizes
        self.activation = activation.function
        self.bias_scale = math.sqrt(C_b)
        generator = torch.Generator(device).manual_seed(seed)
        ends = [features, *[width] * (depth - 1), outputs]
        self.scales = [math.sqrt(C_W / fan_in) for fan_in in ends[:-1]]

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, device=device, dtype=torch.float32)

        self.parameters: list[Tensor] = []
        for fan_in, fan_out in itertools.pairwise(ends):
            self.parameters.append(draw(fan_in, fan_out))
            self.parameters.append(draw(fan_out))

    def __call__(self, parameters: list[Tensor], x: Tensor) -> Tensor:
        """Return the outputs, shape (inputs, outputs)."""
        z = x
        for layer, scale in enumerate(self.scales):
            weight, bias = parameters[2 * layer], parameters[2 * layer + 1]
            z = torch.addmm(self.bias_scale * bias, self.activation(z) if layer else z, weight, alpha=scale)
        return z


def largest_eigenvalue(network: DeepNetwork, x: Tensor, outputs: int, *, seed: int) -> float:
    """Return the largest eigenvalue of the network's tangent kernel over inputs and outputs, at its start.

    Notes
    -----
    Twelve power iterations, each a product with the transposed Jacobian and one with the Jacobian: some 40
    passes. The kernel's first eigenvalue is well apart from the others, so that they give it to 1 %.
    """
    generator = torch.Generator(x.device).manual_seed(seed)
    vector = torch.randn(len(x), outputs, generator=generator, device=x.device, dtype=x.dtype)

    parameters = [parameter.clone().requires_grad_(True) for parameter in network.parameters]
    values = network(parameters, x)
    # Linear in this vector, so that its derivative is the product with the Jacobian itself.
    probe = torch.zeros_like(vector, requires_grad=True)
    pulled = torch.autograd.grad(values, parameters, probe, create_graph=True)
    value = 0.0
    for _ in range(_POWER_STEPS):
        vector = vector / vector.norm()
        direction = torch.autograd.grad(values, parameters, vector, retain_graph=True)
        (image,) = torch.autograd.grad(pulled, probe, direction, retain_graph=True)
        value = float((vector * image).sum())
        vector = image
    return value


def train(
    network: DeepNetwork,
    x: Tensor,
    targets: Tensor,
    x_test: Tensor,
    targets_test: Tensor,
    *,
    steps: int,
    seed: int,
) -> Trained:
    """Return losses and accuracy after gradient descent from outputs 0, the initial ones being subtracted.

    The rate is the inverse of the largest eigenvalue of the network's tangent kernel at its start, so that
    `steps` mean the same as in the kernel's gradient flow.
    """
    rate = 1 / largest_eigenvalue(network, x, targets.shape[1], seed=seed)
    with torch.no_grad():
        start, start_test = network(network.parameters, x), network(network.parameters, x_test)
    current = [parameter.clone().requires_grad_(True) for parameter in network.parameters]
    for _ in range(steps):
        rest = network(current, x) - start - targets
        gradients = torch.autograd.grad(rest.square().sum() / 2, current)
        with torch.no_grad():
            torch._foreach_add_(current, list(gradients), alpha=-rate)
    with torch.no_grad():
        learned, test = network(current, x) - start, network(current, x_test) - start_test
    return Trained(
        _relative(learned, targets),
        _relative(test, targets_test),
        float((test.argmax(1) == targets_test.argmax(1)).double().mean()),
        rate,
    )


def _relative(outputs: Tensor, targets: Tensor) -> float:
    loss = float((outputs - targets).square().mean() / targets.square().mean())
    return loss if math.isfinite(loss) else math.inf
