"""What the parts of ``related`` share: settings and images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F

from phasescope import data
from phasescope.studies.part import StudySettings

if TYPE_CHECKING:
    import xarray as xr

STUDY = "related"
Loader = Callable[[str], data.Images]


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


@lru_cache(maxsize=2)
def first(
    images: Callable[[str], data.Images], folder: str, train: int, test: int, blocks: int = 1
) -> Images:
    """Return the first images of a set in the user's folder, flat, averaged over blocks of pixels."""
    whole = images(folder).standardised()
    pairs = ((whole.x_train, train), (whole.x_test, test))
    x, x_test = (F.avg_pool2d(each[:count].double(), blocks).flatten(1) for each, count in pairs)
    return Images(x, whole.y_train[:train], x_test, whole.y_test[:test])


def colours(folder: str) -> Images:
    """Return 4,000 and 1,000 images of CIFAR-10 at half the resolution, 3 by 16 by 16 numbers each."""
    return first(data.cifar10, folder, 4000, 1000, 2)


def of_network(tasks: xr.Dataset, network: str) -> xr.Dataset:
    """Return the tasks that name a kind of network, or with "" those that name none."""
    named = tasks["net"].values if "net" in tasks.coords else np.full(tasks.sizes["task"], "")
    return tasks.isel(task=np.flatnonzero(named == network))
