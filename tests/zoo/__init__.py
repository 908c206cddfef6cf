"""Small models of every kind that users bring, each with a batch: what every instrument is held against.

`ZOO` maps a name to a factory that returns ``(model, batch)``; each call builds the same model again. `KNOWN`
holds what is known of each by hand.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zoo import attention, inputs, pictures, plain, sequences
from zoo.known import Build, Known

KNOWN: dict[str, Known] = inputs.MODELS | plain.MODELS | pictures.MODELS | attention.MODELS | sequences.MODELS


def _seeded(factory: Build) -> Build:
    def build() -> tuple[Any, Any]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1234)
            return factory()

    return build


ZOO: dict[str, Build] = {name: _seeded(known.build) for name, known in KNOWN.items()}


def every(*, fast: Collection[str] = tuple(inputs.MODELS), without: Collection[str] = ()) -> list[Any]:
    """The names of the zoo as parameters of a test, slow where they are not in `fast`."""
    return [
        pytest.param(name, marks=() if name in fast else pytest.mark.slow)
        for name in ZOO
        if name not in without
    ]


def hundred_million() -> tuple[nn.Module, Tensor]:
    """Return a plain ReLU network with 100 million parameters (400 MB) and 32 inputs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1234)
        width, depth = 3162, 10
        layers: list[nn.Module] = []
        for _ in range(depth):
            layer = nn.Linear(width, width)
            nn.init.normal_(layer.weight, std=(2 / width) ** 0.5)
            layers += [layer, nn.ReLU()]
        return nn.Sequential(*layers[:-1]), torch.randn(32, width)
