"""Disjoint subsets of labelled images, one for each repetition, and their distances."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from phasescope.data import Images, digits, fashion_mnist, mnist
from phasescope.theory import input_distances

DATA_SETS = ("digits", "mnist", "fashion-mnist")
_LOADERS = {"mnist": mnist, "fashion-mnist": fashion_mnist}
# Of the images that a repetition gets where there is no official test part.
_TRAINING_SHARE = 0.7
_DIGITS = 1797


@dataclass(frozen=True)
class Subset:
    """Training and test images of one repetition; :func:`subset` makes it."""

    # x_train, x_test: (images, features): the data set's mean and variance are 0 and 1; float64
    x_train: np.ndarray
    # y_train, y_test: (images,): classes
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray

    def targets(self) -> tuple[np.ndarray, np.ndarray]:
        """Return one-hot training and test targets less 1/10, so that a guess of 0 has loss 9/100."""
        return np.eye(10)[self.y_train] - 0.1, np.eye(10)[self.y_test] - 0.1

    def distances(self) -> tuple[np.ndarray, np.ndarray]:
        """Return ``1 - cos`` between training images, and between test and training images."""
        return input_distances(self.x_train), input_distances(self.x_test, self.x_train)


def folders(config: Any) -> dict[str, str]:
    """Return the data sets at hand, with their folders; the digits have none."""
    named = {"digits": "", "mnist": config.mnist, "fashion-mnist": config.fashion_mnist}
    return {name: folder for name, folder in named.items() if folder or name == "digits"}


def why_not(name: str) -> str:
    """Return why a data set was not used, and what to do."""
    return f"no {name} at hand: name the folder with --set {name.replace('-', '_')}=DIR"


def subset(
    name: str, folder: str, *, train: int, test: int, replica: int, replicas: int, seed: int
) -> Subset:
    """Return the images of one repetition; no two of the repetitions share a training image.

    MNIST and Fashion-MNIST keep their official test images apart; the digits, of which there are 1797, are
    divided among the repetitions first and then into training and test images.
    """
    images = _loaded(name, folder)
    digest = hashlib.sha256(f"{name} {seed} {replicas}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:8], "big"))

    def share(count: int) -> np.ndarray:
        return np.array_split(generator.permutation(count), replicas)[replica]

    if name == "digits":
        own = share(_DIGITS)
        cut = round(_TRAINING_SHARE * own.size)
        x = np.concatenate([images.x_train.numpy(), images.x_test.numpy()]).astype(np.float64)
        y = np.concatenate([images.y_train.numpy(), images.y_test.numpy()])
        here, there = own[:cut][:train], own[cut:][:test]
        return Subset(x[here], y[here], x[there], y[there])
    here, there = share(len(images.y_train))[:train], share(len(images.y_test))[:test]
    return Subset(
        images.x_train.numpy()[here].astype(np.float64),
        images.y_train.numpy()[here],
        images.x_test.numpy()[there].astype(np.float64),
        images.y_test.numpy()[there],
    )


@lru_cache(maxsize=1)
def _loaded(name: str, folder: str) -> Images:
    images = digits() if name == "digits" else _LOADERS[name](folder)
    return images.standardised().flattened()
