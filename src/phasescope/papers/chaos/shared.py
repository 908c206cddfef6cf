"""What all parts of the study ``chaos`` share: the Iris network of the paper, its starts, its training.

Four lengths in cm, not scaled, 120 flowers for training and 30 for the test; 10 sigmoid units, 3 softmax
outputs, mean cross-entropy, full-batch gradient descent, float64 (arXiv:2404.05782). Weights start as
independent normal numbers of variance 1, biases at 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from sklearn.datasets import load_iris
from torch import Tensor, nn

from phasescope.estimate import Estimate
from phasescope.studies import samples
from phasescope.studies.part import StudySettings
from phasescope.training import TrainingMap, training_map

STUDY = "chaos"
PAPER = "arXiv:2404.05782"
TRAIN = 120
UNITS = 10  # hidden
CLASSES = 3
SIZE = 1e-8  # of the paper's perturbations of each weight
# Seconds that one step of one network takes, and one step with one tangent.
STEP, TANGENT = 2.5e-5, 6e-5


class Common(StudySettings):
    """Settings that every part reads."""

    split: int = 0  # seed of the split of Iris into training and test
    # mnist, fashion_mnist: folders of the user's own copies; empty to do without
    mnist: str = ""
    fashion_mnist: str = ""

    @property
    def subtitle(self) -> str:
        """What the title of the page adds."""
        return "" if self.mnist else "digits of scikit-learn, as no MNIST folder was named"


@dataclass(frozen=True)
class Iris:
    """One split of the flowers, in float64."""

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor

    @property
    def shares(self) -> np.ndarray:
        """The shares of the classes in the training part."""
        return np.bincount(self.y.numpy(), minlength=CLASSES) / len(self.y)


@lru_cache(maxsize=8)
def iris(split: int) -> Iris:
    """Return Iris in the order ``numpy.random.default_rng(split).permutation(150)``; the file is sorted."""
    flowers = load_iris()
    order = np.random.default_rng(split).permutation(len(flowers.target))
    x, y = torch.from_numpy(flowers.data[order]), torch.from_numpy(flowers.target[order]).long()
    return Iris(x[:TRAIN], y[:TRAIN], x[TRAIN:], y[TRAIN:])


def network() -> nn.Sequential:
    """Return the network of 83 parameters; its weights are those of :func:`starts`, not these."""
    return nn.Sequential(nn.Linear(4, UNITS), nn.Sigmoid(), nn.Linear(UNITS, CLASSES)).double()


def iris_map(split: int, rate: float, device: str = "cpu") -> TrainingMap:
    """Return one step of gradient descent on the training part."""
    data = iris(split)
    return training_map(network(), nn.functional.cross_entropy, (data.x, data.y), rate, device=device)


def starts(seed: int, numbers: range, device: str = "cpu") -> Tensor:
    """Return initial parameters, one row for each number of an initialisation, whatever task asks for it.

    Number i has the generator ``numpy.random.default_rng(1000 + i)``, with 1,000,000 times `seed` added: the
    weights of the hidden layer, shape (10, 4), then those of the output, shape (3, 10).
    """
    rows = []
    for number in numbers:
        random = np.random.default_rng(1000 + number + 1_000_000 * seed)
        hidden, output = random.standard_normal((UNITS, 4)), random.standard_normal((CLASSES, UNITS))
        rows.append(np.concatenate([hidden.ravel(), np.zeros(UNITS), output.ravel(), np.zeros(CLASSES)]))
    return torch.from_numpy(np.array(rows)).to(device)


def hidden(w: Tensor, x: Tensor) -> Tensor:
    """Return the activations of the hidden units, shape (networks, flowers, units)."""
    weight = w[..., :40].reshape(*w.shape[:-1], UNITS, 4)
    return torch.sigmoid(x @ weight.mT + w[..., None, 40:50])


def outputs(w: Tensor, x: Tensor) -> Tensor:
    """Return the outputs before the softmax, shape (networks, flowers, classes)."""
    weight = w[..., 50:80].reshape(*w.shape[:-1], CLASSES, UNITS)
    return torch.matmul(hidden(w, x), weight.mT) + w[..., None, 80:]


def saturation(w: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return which hidden units are stuck at 1 for all flowers, and which move with the flower."""
    h = hidden(w, x)
    low, high = h.amin(-2), h.amax(-2)
    return low > 0.9, high - low > 0.1


def accuracy(w: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return the share of flowers that each network names right."""
    return (outputs(w, x).argmax(-1) == y).double().mean(-1)


def chunks(count: int, size: int) -> list[range]:
    """Return the numbers of initialisations that each task takes: all tasks of the same size."""
    if count % size:
        raise ValueError(f"{count} initialisations in chunks of {size}")
    return [range(first, first + size) for first in range(0, count, size)]


def over_starts(values: np.ndarray, method: str = "mean over initialisations") -> Estimate:
    """Return the mean of initialisations, those without a number left out; its error is widened."""
    return samples.mean(values, method)


def share(successes: np.ndarray, method: str = "share of initialisations") -> Estimate:
    """Return the share of initialisations for which something is true."""
    return samples.share(successes, method)
