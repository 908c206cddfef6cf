"""Labelled sequences to train with and to look at: reviews, artificial texts, images read step by step."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from phasescope.data import Images, Reviews, digits, imdb, mnist
from phasescope.errors import InputError
from phasescope.noise import fractional_gaussian_noise

SYNTHETIC_WORDS = 2000
CUE_SHARE = 0.2
PERSISTENT_SHARE = 0.5  # the words between the cues are white noise: with more of them nothing else is seen
LEAN = 0.25
PERSISTENCE = 0.95
SWING = 1.0  # deviation of the persistent lean; beyond 0.5 all cues speak for one class
_CUES = 40  # words 1 to 20 speak for class 1, 21 to 40 for class 0
_VALIDATION = 0.1  # of the sequences for training

Reading = Literal["rows", "pixels"]


@dataclass(frozen=True)
class Labelled:
    """Sequences with a class each."""

    sequences: tuple[Tensor, ...]  # words (time,), int64, or vectors (time, features), float32
    labels: Tensor  # (sequences,), int64

    def __len__(self) -> int:
        return len(self.sequences)


@dataclass(frozen=True)
class SequenceSet:
    """One classification task, and the series whose fluctuations are measured."""

    train: Labelled
    validation: Labelled  # chooses the epoch
    test: Labelled  # for the accuracy
    series: Tensor  # (sequence, time[, features]): test inputs of equal length without any padding
    stream: Tensor  # (time[, features]): one test input after the other, for states that are carried on
    tokens: int  # number of different words; 0 where the inputs are vectors
    features: int  # components of a vector; 0 where the inputs are words
    classes: int


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


@lru_cache(maxsize=1)
def reviews(folder: str, vocabulary: int) -> Reviews:
    """Return the reviews in the user's folder; read once a process."""
    return imdb(folder, vocabulary=vocabulary)


@lru_cache(maxsize=1)
def review_set(
    folder: str, *, vocabulary: int, train: int, test: int, words: int, series: int, stream: int, seed: int
) -> SequenceSet:
    """Return reviews as a task; nothing is padded, and no review is used for two purposes.

    Reviews are cut to `words` words. The series are test reviews of at least so many, the stream is of whole
    ones.
    """
    known = reviews(folder, vocabulary)
    chosen = generator("reviews to train with", seed).permutation(len(known.x_train))[:train]
    held = int(_VALIDATION * len(chosen))
    order = generator("reviews to test with", seed).permutation(len(known.x_test))
    long = [row for row in order if len(known.x_test[row]) >= words][:series]
    taken = set(long)
    rest = [row for row in order if row not in taken]
    ahead = sum(len(known.x_test[row]) for row in rest[test:])
    if len(long) < series or ahead < stream:
        raise InputError(
            f"Of {len(order)} test reviews {len(long)} have {words} words for {series} series, and {test} "
            f"for the accuracy leave {ahead} words of the {stream} for the long series.",
            "Ask for fewer or shorter series, fewer test reviews, or fewer or shorter pieces.",
        )
    one_by_one = torch.cat([known.x_test[row] for row in rest[test:]])

    def labelled(texts: tuple[Tensor, ...], labels: Tensor, rows: list[int]) -> Labelled:
        return Labelled(tuple(texts[row][:words] for row in rows), labels[torch.as_tensor(rows)])

    return SequenceSet(
        labelled(known.x_train, known.y_train, chosen[held:].tolist()),
        labelled(known.x_train, known.y_train, chosen[:held].tolist()),
        labelled(known.x_test, known.y_test, rest[:test]),
        torch.stack([known.x_test[row][:words] for row in long]),
        one_by_one[:stream],
        len(known.words),
        0,
        2,
    )


@lru_cache(maxsize=2)
def synthetic_set(
    *, persistent: bool, train: int, test: int, words: int, series: int, stream: int, seed: int
) -> SequenceSet:
    """Return artificial texts whose answer is known: words are independent, or their cues are 1/f noise.

    Every word is a cue with probability 0.2, otherwise one of 1959 others with Zipf's frequencies. A cue
    speaks for class 1 with a probability that leans by 0.25 towards the class of its text. Then words of one
    text are independent of each other: the input is white, and whatever a state shows beyond it is the
    network's own memory.

    With `persistent` cues the probability is 0.5, and the lean is 1/f noise (alpha = 0.95) whose mean over
    the text has the sign of its class, so that the input itself has no shortest memory.

    The shortest texts have a fifth of `words`. The stream is a single text of class 1, so that no change of
    class adds a memory.
    """
    random = generator("synthetic texts", persistent, seed)

    def texts(count: int, shortest: int) -> Labelled:
        labels = random.permuted(np.arange(count) % 2)
        lengths = random.integers(shortest, words + 1, size=count)
        rows = zip(lengths.tolist(), labels.tolist(), strict=True)
        made = tuple(_text(random, length, label, persistent) for length, label in rows)
        return Labelled(made, torch.from_numpy(labels))

    held = int(_VALIDATION * train)
    return SequenceSet(
        texts(train - held, words // 5),
        texts(held, words // 5),
        texts(test, words // 5),
        torch.stack(texts(series, words).sequences),
        _text(random, stream, 1, persistent),
        SYNTHETIC_WORDS,
        0,
        2,
    )


def cues(words: Tensor) -> Tensor:
    """Return 1 for a cue of class 1, -1 for one of class 0, and 0 for any other artificial word."""
    return ((words >= 1) & (words <= _CUES)) * torch.where(words <= _CUES // 2, 1, -1)


def _text(random: np.random.Generator, length: int, label: int, persistent: bool) -> Tensor:
    weights = np.cumsum(1 / np.arange(1, SYNTHETIC_WORDS - _CUES))
    others = np.searchsorted(weights, weights[-1] * random.random(length))
    side = 2 * label - 1
    lean = np.full(length, LEAN * side)
    if persistent:
        noise = fractional_gaussian_noise(PERSISTENCE, length, seed=random)
        lean = SWING * noise * side * np.sign(noise.mean())
    first = random.random(length) < np.clip(0.5 + lean, 0, 1)
    speaking = 1 + random.integers(0, _CUES // 2, size=length) + np.where(first, 0, _CUES // 2)
    share = PERSISTENT_SHARE if persistent else CUE_SHARE
    words = np.where(random.random(length) < share, speaking, _CUES + 1 + others)
    return torch.from_numpy(words.astype(np.int64))


@lru_cache(maxsize=4)
def image_set(
    folder: str,
    reading: Reading,
    *,
    pooled: int,
    train: int,
    test: int,
    steps: int,
    series: int,
    stream: int,
    seed: int,
) -> SequenceSet:
    """Return images as sequences of rows or of pixels; a series is one test image after the other.

    The images are those of MNIST in `folder`, or scikit-learn's digits without one. Squares of `pooled`
    pixels a side become one pixel, their mean.
    """
    known = _images(folder)
    order = generator("images to train with", seed).permutation(len(known.x_train))[:train]
    held = int(_VALIDATION * len(order))
    later = generator("images to test with", seed).permutation(len(known.x_test))[:test]

    def sequences(images: Tensor, rows: np.ndarray) -> tuple[Tensor, ...]:
        pictures = avg_pool2d(images[torch.from_numpy(rows)].float(), pooled).squeeze(1)
        return tuple(pictures if reading == "rows" else pictures.flatten(1)[:, :, None])

    def labelled(rows: np.ndarray) -> Labelled:
        return Labelled(sequences(known.x_train, rows), known.y_train[torch.from_numpy(rows)])

    tested = Labelled(sequences(known.x_test, later), known.y_test[torch.from_numpy(later)])
    one = len(tested.sequences[0])
    random = generator("series of images", seed)
    drawn = [random.choice(len(tested), size=-(-steps // one)) for _ in range(series)]
    return SequenceSet(
        labelled(order[held:]),
        labelled(order[:held]),
        tested,
        torch.stack([_one_by_one(tested, rows)[:steps] for rows in drawn]),
        _one_by_one(tested, random.choice(len(tested), size=-(-stream // one)))[:stream],
        0,
        tested.sequences[0].shape[1],
        10,
    )


def _one_by_one(tested: Labelled, rows: np.ndarray) -> Tensor:
    return torch.cat([tested.sequences[row] for row in rows])


@lru_cache(maxsize=1)
def _images(folder: str) -> Images:
    images = mnist(folder) if folder else digits()
    return images.standardised()
