"""Networks and data beyond the paper's Iris network, and the rate at which small differences explode."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phasescope.data import Images, digits, fashion_mnist, mnist
from phasescope.training import Objective

EXPLODES = math.log(1e3)  # a small difference that has grown by more within a run is called exploding
_LOADERS = {"mnist": mnist, "fashion-mnist": fashion_mnist}
NAMES = {"digits": "the digits of scikit-learn", "mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"}


@dataclass(frozen=True)
class Split:
    """Flattened images in float64, intensities from 0 to 1."""

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor


def folders(config: Any) -> dict[str, str]:
    """Return the data sets at hand with their folders; the digits have none."""
    named = {"digits": "", "mnist": config.mnist, "fashion-mnist": config.fashion_mnist}
    return {name: folder for name, folder in named.items() if folder or name == "digits"}


@lru_cache(maxsize=2)
def images(name: str, folder: str, train: int, test: int, device: str = "cpu") -> Split:
    """Return the first so many images of a data set, or as many as it has; its order is a shuffled one."""
    found: Images = digits() if name == "digits" else _LOADERS[name](folder)
    x, x_test = (each.flatten(1).double().to(device) for each in (found.x_train[:train], found.x_test[:test]))
    return Split(x, found.y_train[:train].to(device), x_test, found.y_test[:test].to(device))


def perceptron(sizes: Sequence[int], activation: Callable[[], nn.Module]) -> nn.Sequential:
    """Return linear layers with activations between them; the weights are to be drawn by :func:`drawn`."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1]).double()


def drawn(made: Objective, numbers: Sequence[int], seed: int, deviation: Callable[[int], float]) -> Tensor:
    """Return initial parameters, one row for each number of an initialisation.

    Weights are normal with standard deviation ``deviation(inputs of the unit)``, biases are 0. Number i
    draws its layers, in their order, from the generator of :func:`phasescope.papers.chaos.shared.starts`.
    """
    rows = []
    for number in numbers:
        random = np.random.default_rng(1000 + number + 1_000_000 * seed)
        parts = []
        for shape in made.shapes.values():
            count = math.prod(shape)
            if len(shape) > 1:
                parts.append(random.standard_normal(count) * deviation(count // shape[0]))
            else:
                parts.append(np.zeros(count))
        rows.append(np.concatenate(parts))
    return torch.from_numpy(np.array(rows)).to(made.device)


def crossing(rates: np.ndarray, growth: np.ndarray) -> float:
    """Return the rate at which growth first exceeds :data:`EXPLODES`, between two rates of a grid; else NaN.

    Linear in the logarithm of the rate, between the last rate that keeps differences small and the first
    that does not, so that a network that dies at a high rate, where nothing grows, is not taken for a
    stable one.
    """
    above = np.flatnonzero(growth > EXPLODES)
    if not above.size or above[0] == 0:
        return math.nan
    first = above[0]
    low, high = growth[first - 1 : first + 1]
    share = (EXPLODES - low) / (high - low) if math.isfinite(high) else 0.5
    x = np.log(rates)
    return float(np.exp(x[first - 1] + share * (x[first] - x[first - 1])))
