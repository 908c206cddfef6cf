"""Disjoint subsets of labelled images, one for each repetition, and their distances."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from phasescope.data import Images, digits, fashion_mnist, mnist
from phasescope.theory import input_distances

DATA_SETS = ("digits", "mnist", "fashion-mnist")
# What is done to intensities before each image is scaled to one norm: nothing, one mean taken off, or the
# mean and deviation of each pixel over the training images.
INPUTS = ("raw", "less the mean", "by pixel")
USUAL = INPUTS[1]
_LOADERS = {"mnist": mnist, "fashion-mnist": fashion_mnist}
# Of the images that a repetition gets where there is no official test part.
_TRAINING_SHARE = 0.7


@dataclass(frozen=True)
class Subset:
    """Training and test images of one repetition; :func:`subset` makes it."""

    # x: float64 of shape (images, features); y: classes
    x_train: np.ndarray
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


def subset(known: Mapping[str, Any], *, train: int, test: int, replica: int, replicas: int) -> Subset:
    """Return the images of one repetition; no two of the repetitions share a training image.

    Of the parameters of a task it reads data_set, folder, the seed of the division, and inputs, one of
    `INPUTS`, which is `USUAL` where it is not there. `train` and `test` are the images wanted; there are
    fewer where the data set does not hold so many for each repetition. MNIST and Fashion-MNIST keep their
    official test images apart; the digits, of which there are 1797, are divided among the repetitions first
    and then into training and test images. The folder has no influence: the
    contents are those of the published md5.
    """
    name = known["data_set"]
    images = _loaded(name, known["folder"], known.get("inputs", USUAL))
    x_train, y_train, x_test, y_test = (
        each.numpy() for each in (images.x_train, images.y_train, images.x_test, images.y_test)
    )
    digest = hashlib.sha256(f"{name} {known['seed']} {replicas}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:8], "big"))

    def share(count: int) -> np.ndarray:
        return np.array_split(generator.permutation(count), replicas)[replica]

    if name == "digits":
        x_train = x_test = np.concatenate([x_train, x_test])
        y_train = y_test = np.concatenate([y_train, y_test])
        own = share(len(y_train))
        here, there = np.split(own, [round(_TRAINING_SHARE * own.size)])
    else:
        here, there = share(len(y_train)), share(len(y_test))
    here, there = here[:train], there[:test]
    return Subset(
        x_train[here].astype(np.float64), y_train[here], x_test[there].astype(np.float64), y_test[there]
    )


@lru_cache(maxsize=3)
def _loaded(name: str, folder: str, inputs: str) -> Images:
    images = (digits() if name == "digits" else _LOADERS[name](folder)).flattened()
    if inputs == "raw":
        return images
    if inputs == USUAL:
        return images.standardised()
    pixels = images.x_train.to(torch.float64)
    mean, std = pixels.mean(0), pixels.std(0, correction=0)
    std[std == 0] = 1.0  # a pixel that never changes stays 0
    x_train, x_test = (((x - mean) / std).float() for x in (pixels, images.x_test))
    return replace(images, x_train=x_train, x_test=x_test)
