"""What the parts of ``related`` share: images, perceptrons, small networks for images, their training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from phasescope.data import cifar10
from phasescope.studies.part import StudySettings

if TYPE_CHECKING:
    import xarray as xr

STUDY = "related"


class Common(StudySettings):
    """Settings that every part reads."""

    # Folders of the user's own copies; empty to do without.
    mnist: str = ""
    fashion_mnist: str = ""
    cifar10: str = ""

    @property
    def subtitle(self) -> str:
        """What the title of the page adds."""
        return "" if self.mnist else "digits of scikit-learn, as no MNIST folder was named"


@dataclass(frozen=True)
class Images:
    """One split of labelled images, flat, in float64; the pixels have mean 0 and variance 1 in all."""

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor

    @property
    def classes(self) -> int:
        """The number of classes."""
        return int(self.y.max()) + 1


@lru_cache(maxsize=4)
def digits(split: int = 0, test: int = 597) -> Images:
    """Return the 1,797 digits of 8 by 8 pixels of scikit-learn, in an order drawn from `split`."""
    images = load_digits()
    order = np.random.default_rng(split).permutation(len(images.target))
    x, y = torch.from_numpy(images.data[order]), torch.from_numpy(images.target[order]).long()
    x = (x - x[test:].mean()) / x[test:].std()
    return Images(x[test:], y[test:], x[:test], y[:test])


@lru_cache(maxsize=1)
def colours(folder: str) -> Images:
    """Return 4,000 and 1,000 images of CIFAR-10 at half the resolution, 3 by 16 by 16 numbers each."""
    images = cifar10(folder).standardised()
    pairs = ((images.x_train, 4000), (images.x_test, 1000))
    x, test = (F.avg_pool2d(each[:count].double(), 2).flatten(1) for each, count in pairs)
    return Images(x, images.y_train[:4000], test, images.y_test[:1000])


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


def of_network(data: xr.Dataset, network: str) -> xr.Dataset:
    """Return the tasks that name a kind of network, or with "" those that name none."""
    named = data["net"].values if "net" in data.coords else np.full(data.sizes["task"], "")
    return data.isel(task=np.flatnonzero(named == network))


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Return the share of inputs that a classifier names right."""
    with torch.no_grad():
        return float((model(x).argmax(-1) == y).double().mean())
