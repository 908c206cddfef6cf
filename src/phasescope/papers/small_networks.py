"""Small networks that studies train, and how they train them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


def perceptron(
    sizes: Sequence[int],
    activation: Callable[[], nn.Module],
    seed: int,
    *,
    C_W: float = 1.0,
    C_b: float = 0.0,
) -> nn.Sequential:
    """Return a chain of linear layers, weights of variance ``C_W/fan-in`` and biases of variance ``C_b``."""
    generator = torch.Generator().manual_seed(seed % 2**63)
    layers: list[nn.Module] = []
    for number, (inputs, outputs) in enumerate(pairwise(sizes)):
        layers += [activation()] if number else []
        linear = nn.Linear(inputs, outputs, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.normal_(0, math.sqrt(C_W / inputs), generator=generator)
            linear.bias.normal_(0, math.sqrt(C_b), generator=generator) if C_b else linear.bias.zero_()
        layers.append(linear)
    return nn.Sequential(*layers)


def convnet(
    channels: Sequence[int], activation: Callable[[int], nn.Module], seed: int, classes: int = 10
) -> nn.Sequential:
    """Return a network for ``colours``: weights with C_W = 2, half as many positions where channels grow."""
    layers: list[nn.Module] = [nn.Unflatten(1, (3, 16, 16))]
    size, inputs = 16, 3
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        for outputs in channels:
            stride = 2 if outputs > inputs > 3 else 1
            convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            layers += [convolution, activation(outputs)]
            size, inputs = size // stride, outputs
        layers += [nn.Flatten(), nn.Linear(inputs * size**2, classes)]
    return nn.Sequential(*layers).double()


def pooled_convnet(size: int, classes: int, seed: int, C_W: float) -> nn.Sequential:
    """Return two 3 by 3 convolutions of one plane, with ReLU and maxima of 2 by 2, and a read-out."""
    side = size // 4
    layers = [nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)]
    weighted = [*layers, nn.Linear(32 * side**2, classes)]
    generator = torch.Generator().manual_seed(seed % 2**63)
    with torch.no_grad():
        for layer in weighted:
            deviation = math.sqrt(C_W / layer.get_parameter("weight")[0].numel())
            layer.get_parameter("weight").normal_(0, deviation, generator=generator)
            layer.get_parameter("bias").zero_()
    behind = [each for layer in layers for each in (layer, nn.ReLU(), nn.MaxPool2d(2))]
    return nn.Sequential(*behind, nn.Flatten(), weighted[-1])


class VisionTransformer(nn.Module):
    """Patches of 4 by 4 pixels of ``colours`` as 16 tokens of 32 numbers; layers of four heads."""

    def __init__(self, layers: int, seed: int, classes: int = 10) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed % 2**63)
            self.enter, self.place = nn.Conv2d(3, 32, 4, stride=4), nn.Parameter(torch.randn(16, 32) / 4)
            made = [
                nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
                for _ in range(layers)
            ]
            self.layers, self.leave = nn.Sequential(*made), nn.Linear(32, classes)
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.enter(x.reshape(-1, 3, 16, 16)).flatten(2).transpose(1, 2) + self.place
        return torch.as_tensor(self.leave(self.layers(tokens).mean(dim=1)))


def train(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    optimiser: torch.optim.Optimizer,
    steps: int,
    *,
    batch: int,
    seed: int,
) -> float:
    """Train a classifier on random batches and return its mean loss over all of `x` afterwards."""
    generator = torch.Generator().manual_seed(seed % 2**63)
    for _ in range(steps):
        rows = torch.randint(len(x), (batch,), generator=generator) if batch < len(x) else slice(None)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(nn.functional.cross_entropy(model(x[rows]), y[rows]))
        optimiser.step()
    with torch.no_grad():
        return float(nn.functional.cross_entropy(model(x), y))


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Return the share of inputs that a classifier names right."""
    with torch.no_grad():
        return float((model(x).argmax(-1) == y).double().mean())
