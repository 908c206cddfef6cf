"""Training of a classifier of sequences, and its loss and accuracy."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from phasescope.papers.noise.classifier import Classifier
from phasescope.papers.noise.sequence_set import Labelled, SequenceSet

_BUCKET = 50  # batches whose sequences are sorted by length, so that little is padded
_LARGEST_NORM = 1.0
_EVALUATED = 256


@dataclass(frozen=True)
class History:
    """Losses and accuracies before training and after each epoch."""

    train_loss: list[float]  # mean over the epoch; before training NaN
    # validation_loss, test_loss, test_accuracy: after the epoch
    validation_loss: list[float]
    test_loss: list[float]
    test_accuracy: list[float]
    best: int  # epoch of the smallest validation loss, whose weights the network has now


def fit(
    network: Classifier,
    task: SequenceSet,
    *,
    epochs: int,
    rate: float,
    batch: int,
    seed: int,
    after_epoch: Callable[[int], None],
) -> History:
    """Train with Adam and cross entropy, leave the weights of the best epoch, and return what happened."""
    order = np.random.default_rng(seed)
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    losses: list[list[float]] = [[], [], [], []]
    best, kept = 0, copy.deepcopy(network.state_dict())

    def look(epoch: int, train_loss: float) -> None:
        validation, (loss, accuracy) = evaluated(network, task.validation)[0], evaluated(network, task.test)
        for kind, value in zip(losses, (train_loss, validation, loss, accuracy), strict=True):
            kind.append(value)
        after_epoch(epoch)

    look(0, float("nan"))
    for epoch in range(1, epochs + 1):
        total = 0.0
        for x, lengths, labels in batches(task.train, batch, order):
            loss = nn.functional.cross_entropy(network(x, lengths), labels)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(network.parameters(), _LARGEST_NORM)
            optimiser.step()
            total += loss.item() * len(labels)
        look(epoch, total / len(task.train))
        if losses[1][-1] <= min(losses[1]):
            best, kept = epoch, copy.deepcopy(network.state_dict())
    network.load_state_dict(kept)
    return History(losses[0], losses[1], losses[2], losses[3], best)


def evaluated(network: Classifier, labelled: Labelled) -> tuple[float, float]:
    """Return cross entropy and accuracy."""
    loss = right = 0.0
    with torch.no_grad():
        for x, lengths, labels in batches(labelled, _EVALUATED):
            logits = network(x, lengths)
            loss += float(nn.functional.cross_entropy(logits, labels, reduction="sum"))
            right += float((logits.argmax(1) == labels).sum())
    return loss / len(labelled), right / len(labelled)


def batches(
    labelled: Labelled, size: int, order: np.random.Generator | None = None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Return padded inputs, lengths and classes, in batches of sequences of similar length."""
    lengths = np.array([len(sequence) for sequence in labelled.sequences])
    rows = np.arange(len(lengths)) if order is None else order.permutation(len(lengths))
    width = len(rows) if order is None else size * _BUCKET
    for start in range(0, len(rows), width):
        some = rows[start : start + width]
        some = some[np.argsort(lengths[some], kind="stable")]
        parts = [some[first : first + size] for first in range(0, len(some), size)]
        for number in range(len(parts)) if order is None else order.permutation(len(parts)):
            part = parts[number]
            x = pad_sequence([labelled.sequences[row] for row in part], batch_first=True)
            yield x, torch.from_numpy(lengths[part]), labelled.labels[torch.from_numpy(part)]
