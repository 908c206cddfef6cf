"""Labelled sequences of one task: for training, for measuring accuracy, and as series to look at."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Labelled:
    """Sequences with a class each.

    Parameters
    ----------
    sequences : tuple of Tensor
        Numbers of words of shape (time,), int64, or vectors of shape (time, features), float32.
    labels : Tensor of shape (sequences,)
        Classes, int64.
    """

    sequences: tuple[Tensor, ...]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.sequences)


@dataclass(frozen=True)
class SequenceSet:
    """One classification task, and the series whose fluctuations are measured.

    Parameters
    ----------
    train, validation, test : Labelled
        For the weights, for choosing the epoch, and for the accuracy.
    series : Tensor of shape (sequence, time) or (sequence, time, features)
        Test inputs of equal length without any padding.
    stream : Tensor of shape (time,) or (time, features)
        One test input after the other, for states that are carried on.
    tokens : int
        Number of different words; 0 where the inputs are vectors.
    features : int
        Components of a vector; 0 where the inputs are words.
    classes : int
        Number of classes.
    """

    train: Labelled
    validation: Labelled
    test: Labelled
    series: Tensor
    stream: Tensor
    tokens: int
    features: int
    classes: int


def generator(*parts: object) -> np.random.Generator:
    """Return a generator of its own for each purpose, the same on every machine.

    Parameters
    ----------
    *parts
        What the numbers are for, and the seed; their text decides.
    """
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def shuffled_in_time(series: Tensor, seed: int) -> Tensor:
    """Return each sequence with its time steps in an order of its own.

    Parameters
    ----------
    series : Tensor of shape (sequence, time, ...)
        The sequences.
    seed : int
        Decides the orders.
    """
    random = generator("shuffled in time", seed)
    orders = random.permuted(np.tile(np.arange(series.shape[1]), (len(series), 1)), axis=1)
    return torch.stack([row[torch.from_numpy(order)] for row, order in zip(series, orders, strict=True)])
