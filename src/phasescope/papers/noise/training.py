"""The networks of the study, an embedding, a sequence model and a linear read-out, and their training.

Classifiers answer once a text; models of the next word answer at every word but the last.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from phasescope.papers.noise.sequences import Labelled, SequenceSet

Architecture = Literal["lstm", "gru", "rnn", "transformer"]
RECURRENT = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
_HEADS = 2  # of 16 components or more: attention is slow on the CPU with fewer
_BUCKET = 50  # batches whose sequences are sorted by length, so that little is padded
_LARGEST_NORM = 1.0  # of the gradient
_EVALUATED = 64  # sequences at a time


class Transformer(nn.Module):
    """Causal blocks of attention over vectors, sinusoidal positions added (Vaswani et al. 2017) or not."""

    def __init__(self, width: int, blocks: int, placed: bool = True) -> None:
        super().__init__()
        self.placed = placed
        made = [
            nn.TransformerEncoderLayer(width, _HEADS, 4 * width, dropout=0.0, batch_first=True)
            for _ in range(blocks)
        ]
        self.blocks = nn.ModuleList(made)

    def forward(self, x: Tensor) -> Tensor:
        """Return the residual stream of `x`, both (sequence, time, width); no step sees a later one."""
        stream = x + positions(x.shape[1], x.shape[2]) if self.placed else x
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=x.dtype)
        # torch's fast path for inference holds all weights of attention: four times slower here.
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            for block in self.blocks:
                stream = block(stream, src_mask=mask, is_causal=True)
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
        return stream


def positions(steps: int, width: int) -> Tensor:
    """Return the sinusoidal positions, shape (steps, width), about as large as embedded words are."""
    rates = torch.exp(-math.log(1e4) * torch.arange(0, width, 2) / width)
    angles = torch.arange(steps)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


class SequenceModel(nn.Module):
    """What all networks of the study have."""

    embedding: nn.Module
    body: Any
    readout: nn.Linear

    def answered(self, x: Tensor, lengths: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits, shape (answer, class), and the right class of each answer."""
        raise NotImplementedError


class Classifier(SequenceModel):
    """A sequence model that answers from its last state, a transformer from the mean of its states."""

    def __init__(
        self, architecture: Architecture, units: int, embedding: int, task: SequenceSet, blocks: int = 1
    ) -> None:
        super().__init__()
        attends = architecture == "transformer"
        width = units if attends else embedding if task.tokens else task.features
        self.embedding = nn.Identity()
        if task.tokens:
            self.embedding = nn.Embedding(task.tokens, width)
        elif attends:
            self.embedding = nn.Linear(task.features, width)
        if attends:
            self.body = Transformer(units, blocks)
        else:
            self.body = RECURRENT[architecture](width, units, batch_first=True)
        self.readout = nn.Linear(units, task.classes)
        self.averages = attends

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits, shape (sequence, classes).

        Shapes: `x` (sequence, time) or (sequence, time, features), `lengths` (sequence,). What stands after
        the end of a sequence does not matter.
        """
        states = self.body(self.embedding(x))
        states = states[0] if isinstance(states, tuple) else states
        if self.averages:
            inside = (torch.arange(x.shape[1]) < lengths[:, None]).to(states.dtype)
            last = (states * inside[:, :, None]).sum(1) / lengths[:, None]
        else:
            last = states[torch.arange(len(x)), lengths - 1]
        logits: Tensor = self.readout(last)
        return logits

    def answered(self, x: Tensor, lengths: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return one answer a sequence: its class."""
        return self(x, lengths), labels


class NextWord(SequenceModel):
    """A causal transformer that predicts each next word: one of the most frequent ones, or any other.

    Words are numbered by their frequency; those from `predicted` on count as number 0, the unknown one.
    """

    def __init__(self, units: int, task: SequenceSet, blocks: int, predicted: int, placed: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(task.tokens, units)
        self.body = Transformer(units, blocks, placed)
        self.readout = nn.Linear(units, predicted)

    def answered(self, x: Tensor, lengths: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return an answer for each word but the last of every text: the word that follows."""
        states = self.body(self.embedding(x[:, :-1]))
        inside = torch.arange(x.shape[1] - 1) < lengths[:, None] - 1
        return self.readout(states[inside]), kept_words(x[:, 1:][inside], self.readout.out_features)


def kept_words(words: Tensor, predicted: int) -> Tensor:
    """Return words with those from number `predicted` on replaced by 0."""
    return torch.where(words < predicted, words, 0)


def built(seed: int, *arguments: Any) -> Classifier:
    """Return a classifier with torch's own initialisation, and the same one for the same seed."""
    with seeded(seed):
        return Classifier(*arguments)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw the weights of networks that are made inside from this seed; torch's own state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@dataclass
class History:
    """Losses and accuracies before training and after each epoch."""

    train_loss: list[float] = field(default_factory=list)  # an answer, over the epoch; before training NaN
    validation_loss: list[float] = field(default_factory=list)
    test_loss: list[float] = field(default_factory=list)
    test_accuracy: list[float] = field(default_factory=list)
    best: int = 0  # epoch of the smallest validation loss, whose weights the network has now


def fit(
    network: SequenceModel,
    task: SequenceSet,
    *,
    epochs: int,
    rate: float,
    batch: int,
    seed: int,
    after_epoch: Callable[[int], None] = lambda epoch: None,
) -> History:
    """Train with Adam and cross entropy, leave the weights of the best epoch, and return what happened.

    `after_epoch` is called with 0 before training, and with the number of each epoch after it.
    """
    order = np.random.default_rng(seed)
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    history, kept = History(), copy.deepcopy(network.state_dict())

    def look(epoch: int, train_loss: float) -> None:
        history.train_loss.append(train_loss)
        history.validation_loss.append(evaluated(network, task.validation)[0])
        loss, accuracy = evaluated(network, task.test)
        history.test_loss.append(loss)
        history.test_accuracy.append(accuracy)
        after_epoch(epoch)

    look(0, math.nan)
    for epoch in range(1, epochs + 1):
        total, count = 0.0, 0
        for x, lengths, labels in batches(task.train, batch, order):
            logits, right = network.answered(x, lengths, labels)
            loss = nn.functional.cross_entropy(logits, right)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(network.parameters(), _LARGEST_NORM)
            optimiser.step()
            total, count = total + loss.item() * len(right), count + len(right)
        look(epoch, total / count)
        if history.validation_loss[-1] <= min(history.validation_loss):
            history.best, kept = epoch, copy.deepcopy(network.state_dict())
    network.load_state_dict(kept)
    return history


def evaluated(network: SequenceModel, labelled: Labelled) -> tuple[float, float]:
    """Return the mean cross entropy of an answer and the share of right ones."""
    loss, right, count = 0.0, 0.0, 0
    with torch.no_grad():
        for x, lengths, labels in batches(labelled, _EVALUATED):
            logits, known = network.answered(x, lengths, labels)
            loss += float(nn.functional.cross_entropy(logits, known, reduction="sum"))
            right += float((logits.argmax(1) == known).sum())
            count += len(known)
    return loss / count, right / count


def batches(
    labelled: Labelled, size: int, order: np.random.Generator | None = None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield padded inputs, lengths and classes, in batches of sequences of similar length.

    Without `order` they come by length, otherwise sequences and batches are shuffled.
    """
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
