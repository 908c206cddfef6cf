"""Plain fully connected networks with exactly known variances, the obvious way."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def plain_network(
    activation: Callable[[], nn.Module],
    C_W: float,
    C_b: float = 0.0,
    *,
    depth: int = 20,
    width: int = 200,
    inputs: int = 64,
    seed: int = 0,
) -> nn.Sequential:
    """`depth` linear layers, an activation between them; normal weights, the last layer like the others."""
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for level in range(depth):
        linear = nn.Linear(inputs if level == 0 else width, width)
        with torch.no_grad():
            linear.weight.normal_(0.0, (C_W / linear.in_features) ** 0.5, generator=generator)
            linear.bias.normal_(0.0, 1.0, generator=generator).mul_(C_b**0.5)
        layers += [linear, activation()]
    return nn.Sequential(*layers[:-1])


def normal_batch(samples: int = 32, inputs: int = 64, seed: int = 1) -> Tensor:
    """Independent standard normal inputs."""
    return torch.randn(samples, inputs, generator=torch.Generator().manual_seed(seed))
