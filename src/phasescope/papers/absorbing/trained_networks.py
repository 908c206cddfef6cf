"""Deep networks of one width, trained by gradient descent at the rate that their own tangent kernel sets."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from phasescope.activations import Activation
from phasescope.papers.absorbing.image_subsets import Subset

# Seconds for one weight, one input and one step, forward and backward; and for one layer of a step.
_WORK, _LAYER = 1.3e-10, 1e-4
_POWER_STEPS = 12
# Training that diverged is no better than outputs far off: losses count up to this.
LARGEST_LOSS = 1e3


def seconds(weights: int, depth: int, images: int, steps: int) -> float:
    """Return about how long the training of one network takes on one core."""
    return _WORK * images * weights * (steps + 20) + _LAYER * depth * steps


class DeepNetwork:
    """``z' = sqrt(C_W/n) w s(z) + sqrt(C_b) b`` with w and b standard normal, one width throughout.

    `sizes` are features, neurons of a hidden layer, outputs; `depth` counts weight layers.
    """

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
        self.parameters = [
            torch.randn(shape, generator=generator, device=device, dtype=torch.float32)
            for fan_in, fan_out in itertools.pairwise(ends)
            for shape in ((fan_in, fan_out), (fan_out,))
        ]

    def __call__(self, parameters: list[Tensor], x: Tensor) -> Tensor:
        """Return the outputs, shape (inputs, outputs)."""
        z = x
        for layer, scale in enumerate(self.scales):
            weight, bias = parameters[2 * layer], parameters[2 * layer + 1]
            z = torch.addmm(self.bias_scale * bias, self.activation(z) if layer else z, weight, alpha=scale)
        return z


def largest_eigenvalue(network: DeepNetwork, x: Tensor, outputs: int, *, seed: int) -> float:
    """Return the largest eigenvalue of the network's tangent kernel over inputs and outputs, at its start.

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
    steps: Sequence[int],
    seed: int,
) -> dict[str, list[float]]:
    """Return losses and accuracies after numbers of steps of gradient descent, from outputs 0.

    The outputs are those less the initial ones. Losses are mean squares over those of outputs 0, infinite
    where training diverged; the accuracy is the share of test inputs classified right.

    The rate is the inverse of the largest eigenvalue of the network's tangent kernel at its start, so that
    `steps`, ascending, mean the same as in the kernel's gradient flow.
    """
    rate = 1 / largest_eigenvalue(network, x, targets.shape[1], seed=seed)
    with torch.no_grad():
        start, start_test = network(network.parameters, x), network(network.parameters, x_test)
    current = [parameter.clone().requires_grad_(True) for parameter in network.parameters]
    found: dict[str, list[float]] = {"test_loss": [], "train_loss": [], "accuracy": []}
    for before, after in itertools.pairwise([0, *steps]):
        for _ in range(after - before):
            rest = network(current, x) - start - targets
            gradients = torch.autograd.grad(rest.square().sum() / 2, current)
            with torch.no_grad():
                torch._foreach_add_(current, list(gradients), alpha=-rate)
        with torch.no_grad():
            learned, test = network(current, x) - start, network(current, x_test) - start_test
        found["test_loss"].append(_relative(test, targets_test))
        found["train_loss"].append(_relative(learned, targets))
        found["accuracy"].append(float((test.argmax(1) == targets_test.argmax(1)).double().mean()))
    return found


def _relative(outputs: Tensor, targets: Tensor) -> float:
    loss = float((outputs - targets).square().mean() / targets.square().mean())
    return loss if math.isfinite(loss) else math.inf


def trained(
    activation: Activation,
    place: tuple[float, float, float],
    images: Subset,
    *,
    width: int,
    depth: int,
    networks: int,
    steps: Sequence[int],
    seed: int,
    device: str,
) -> dict[str, np.ndarray]:
    """Return what :func:`train` does of several networks on images, in arrays of shape (networks, steps).

    `place` is C_W, C_b and the kernel K of the first layer, which the norm of the inputs gives.
    """
    C_W, C_b, K = place
    inputs = [_of_kernel(each, C_W, C_b, K) for each in (images.x_train, images.x_test)]
    x, x_test, y, y_test = (
        torch.tensor(each, dtype=torch.float32, device=device) for each in (*inputs, *images.targets())
    )
    found = []
    for number in range(networks):
        sizes = (x.shape[1], width, 10)
        network = DeepNetwork(activation, sizes, depth, C_W, C_b, seed=seed + number, device=device)
        found.append(train(network, x, y, x_test, y_test, steps=steps, seed=seed))
    return {name: np.array([each[name] for each in found]) for name in found[0]}


def _of_kernel(x: np.ndarray, C_W: float, C_b: float, K: float) -> np.ndarray:
    """Return the inputs with the norm that gives the first layer the kernel K."""
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(unit * math.sqrt(x.shape[1] * (K - C_b) / C_W))
