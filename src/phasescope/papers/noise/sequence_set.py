"""Labelled sequences of one task: for training, for measuring accuracy, and as series to look at."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Labelled:
    """Sequences with a class each."""

    # numbers of words of shape (time,), int64, or vectors of shape (time, features), float32
    sequences: tuple[Tensor, ...]
    labels: Tensor  # (sequences,): classes, int64

    def __len__(self) -> int:
        return len(self.sequences)


@dataclass(frozen=True)
class SequenceSet:
    """One classification task, and the series whose fluctuations are measured."""

    # train, validation, test: for the weights, for choosing the epoch, and for the accuracy
    train: Labelled
    validation: Labelled
    test: Labelled
    # (sequence, time) or (sequence, time, features): test inputs of equal length without any padding
    series: Tensor
    # (time,) or (time, features): one test input after the other, for states that are carried on
    stream: Tensor
    tokens: int  # number of different words; 0 where the inputs are vectors
    features: int  # components of a vector; 0 where the inputs are words
    classes: int  # number of classes


def generator(*parts: object) -> np.random.Generator:
    """Return a generator of its own for each purpose, the same on every machine."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def shuffled_in_time(series: Tensor, seed: int) -> Tensor:
    """Return each sequence with its time steps in an order of its own.

    Shapes: `series` (sequence, time, ...).
    """
    random = generator("shuffled in time", seed)
    orders = random.permuted(np.tile(np.arange(series.shape[1]), (len(series), 1)), axis=1)
    return torch.stack([row[torch.from_numpy(order)] for row, order in zip(series, orders, strict=True)])
