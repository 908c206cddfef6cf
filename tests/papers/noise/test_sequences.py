"""Sequences of words and images: nothing padded, nothing used twice, the statistics that are promised."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import torch

from phasescope.data import digits, imdb
from phasescope.errors import InputError
from phasescope.papers.noise import sequences
from phasescope.papers.noise.sequences import cues, image_set, review_set, shuffled_in_time, synthetic_set

REVIEWS, WORDS = 100, 20
SIZES = {"vocabulary": 200, "train": 60, "test": 40, "words": WORDS, "series": 8, "seed": 3}


def length_of(review: int) -> int:
    return 5 + review % 31


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Review k says nothing but the word wk; test reviews also end with a word that training never had."""
    for part in ("train", "test"):
        with (tmp_path / f"{part}.jsonl").open("w") as file:
            for k in range(REVIEWS):
                said = [f"w{k}"] * length_of(k) + ["unheard"] * (part == "test")
                file.write(json.dumps({"text": " ".join(said), "label": k % 2}) + "\n")
    monkeypatch.setattr(sequences, "imdb", partial(imdb, verify=False))
    for cached in (sequences.reviews, review_set):
        cached.cache_clear()
    yield str(tmp_path)
    for cached in (sequences.reviews, review_set):
        cached.cache_clear()


def said_by(folder: str) -> dict[int, int]:
    """Return from the number of a word to the review that says it."""
    words = imdb(folder, vocabulary=200, verify=False).words
    return {number: int(word[1:]) for number, word in enumerate(words) if word != "<unk>"}


def test_no_review_serves_two_purposes_and_nothing_is_padded(folder):
    made, speaker = review_set(folder, stream=300, **SIZES), said_by(folder)
    assert made.tokens == REVIEWS + 1  # the vocabulary is that of the training reviews, and <unk>

    def reviews_of(sequences) -> list[int]:
        found = []
        for sequence in sequences:
            known = set(sequence.tolist()) - {0}
            assert len(known) == 1
            found.append(speaker[known.pop()])
        return found

    trained, held, tested, looked = (
        reviews_of(part)
        for part in (made.train.sequences, made.validation.sequences, made.test.sequences, made.series)
    )
    assert (len(trained), len(held), len(tested), len(looked)) == (54, 6, 40, 8)
    assert len({*trained, *held}) == 60
    streamed = list(dict.fromkeys(speaker[word] for word in made.stream.tolist() if word))
    assert len({*tested, *looked, *streamed}) == 48 + len(streamed)
    for reviews, part in ((trained, made.train), (held, made.validation), (tested, made.test)):
        assert part.labels.tolist() == [review % 2 for review in reviews]
    # Cut to 20 words, never filled up; word 0 is the last one of a test review, which training never had.
    assert [len(s) for s in made.train.sequences] == [min(length_of(k), WORDS) for k in trained]
    assert [len(s) for s in made.test.sequences] == [min(length_of(k) + 1, WORDS) for k in tested]
    assert made.series.shape == (8, WORDS)
    assert all(length_of(k) + 1 >= WORDS for k in looked)


def test_the_stream_is_of_whole_reviews(folder):
    stream, speaker = review_set(folder, stream=300, **SIZES).stream, said_by(folder)
    ends = np.flatnonzero(stream.numpy() == 0) + 1
    whole = np.split(stream.numpy(), ends)[:-1]
    assert len(stream) == 300 > sum(map(len, whole)) > 200
    assert [len(review) for review in whole] == [length_of(speaker[review[0]]) + 1 for review in whole]


def test_the_choice_of_reviews_follows_the_seed(folder):
    first, again = (review_set(folder, stream=300, **SIZES).series for _ in range(2))
    other = review_set(folder, stream=300, **SIZES | {"seed": 4}).series
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"words": 36}, "have 36 words for 8 series"), ({"test": 92}, "leave 0 words of the 300")],
)
def test_reviews_that_do_not_suffice_are_refused(folder, changes, said):
    with pytest.raises(InputError, match=said):
        review_set(folder, stream=300, **SIZES | changes)


@pytest.mark.parametrize("persistent", [False, True])
def test_artificial_texts_have_the_statistics_that_are_promised(persistent):
    sizes = {"train": 400, "test": 40, "words": 250, "series": 300, "stream": 20_000}
    made = synthetic_set(persistent=persistent, seed=5, **sizes)
    assert (len(made.train), len(made.validation), len(made.test)) == (360, 40, 40)
    lengths = np.array([len(text) for text in made.train.sequences])
    assert lengths.min() >= 50
    assert lengths.max() <= 250
    assert lengths.mean() == pytest.approx(150, abs=4 * 58 / 360**0.5)
    assert sorted(made.train.labels.tolist()) == [0] * 180 + [1] * 180
    everything = torch.cat(made.train.sequences)
    assert int(everything.min()) >= 1
    assert int(everything.max()) < made.tokens == 2000
    spoken, n = cues(everything), len(everything)
    share = 0.5 if persistent else 0.2
    assert float((spoken != 0).double().mean()) == pytest.approx(share, abs=4 * (share / n) ** 0.5)
    # The most frequent other word has the share of 1 among the sum of 1/k.
    others = everything[everything > 40]
    frequent = 1 / np.sum(1 / np.arange(1, 1960))
    assert float((others == 41).double().mean()) == pytest.approx(
        frequent, abs=4 * (frequent / len(others)) ** 0.5
    )
    if not persistent:
        sides = torch.cat(
            [cues(s) * (2 * y - 1) for s, y in zip(made.train.sequences, made.train.labels, strict=True)]
        )
        assert float((sides[sides != 0] > 0).double().mean()) == pytest.approx(0.75, abs=4 * 0.43 / 100)
        stream = cues(made.stream).double()
        assert float(stream.mean()) == pytest.approx(0.1, abs=4 * (0.19 / 20_000) ** 0.5)


@pytest.mark.parametrize(("persistent", "least"), [(False, 0.95), (True, 0.85)])
def test_counting_cues_tells_the_class_of_an_artificial_text(persistent, least):
    made = synthetic_set(
        persistent=persistent, train=600, test=10, words=500, series=2, stream=1, seed=6
    ).train
    counts = torch.stack([cues(text).sum() for text in made.sequences])
    assert float(((counts > 0) == (made.labels == 1)).double().mean()) > least


def test_cues_by_number():
    assert cues(torch.tensor([0, 1, 20, 21, 40, 41, 1999])).tolist() == [0, 1, 1, -1, -1, 0, 0]


def test_artificial_texts_follow_the_seed_and_leave_global_generators_alone():
    sizes = {"persistent": True, "train": 20, "test": 4, "words": 60, "series": 3, "stream": 50}
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = synthetic_set(seed=1, **sizes)
    synthetic_set.cache_clear()
    again, other = synthetic_set(seed=1, **sizes), synthetic_set(seed=2, **sizes)
    assert first is not again
    assert all(map(torch.equal, first.train.sequences, again.train.sequences))
    assert not torch.equal(first.series, other.series)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002


@pytest.mark.parametrize("shape", [(7, 50), (7, 50, 3)])
def test_shuffling_keeps_what_a_sequence_holds(shape):
    series = torch.arange(int(np.prod(shape))).reshape(shape)
    mixed = shuffled_in_time(series, 11)
    assert mixed.shape == series.shape
    steps = series[:, :, 0] if len(shape) == 3 else series
    moved = mixed[:, :, 0] if len(shape) == 3 else mixed
    assert torch.equal(moved.sort(dim=1).values, steps)
    if len(shape) == 3:  # vectors stay together
        assert torch.equal(mixed[:, :, 1], mixed[:, :, 0] + 1)
    orders = moved - steps[:, :1]
    assert len({tuple(order) for order in orders.tolist()}) == 7
    assert torch.equal(mixed, shuffled_in_time(series, 11))
    assert not torch.equal(mixed, shuffled_in_time(series, 12))


def test_shuffled_orders_are_all_equally_likely():
    first = shuffled_in_time(torch.arange(3).repeat(6000, 1), 1)
    counts = torch.bincount(first @ torch.tensor([9, 3, 1]))
    assert (counts > 0).sum() == 6
    assert (counts[counts > 0] - 1000).abs().max() < 4 * (1000 * 5 / 6) ** 0.5


def test_series_of_images_are_test_images_one_after_the_other():
    sizes = {"train": 50, "test": 30, "steps": 20, "series": 3, "stream": 40, "seed": 1}
    made = image_set("", "rows", pooled=1, **sizes)
    known = digits().standardised()
    tested = {tuple(image.flatten().tolist()) for image in made.test.sequences}
    trained = {
        tuple(image.flatten().tolist()) for image in (*made.train.sequences, *made.validation.sequences)
    }
    assert (len(made.train), len(made.validation), len(tested)) == (45, 5, 30)
    assert tested <= {tuple(image.flatten().tolist()) for image in known.x_test.float()}
    assert trained <= {tuple(image.flatten().tolist()) for image in known.x_train.float()}
    assert made.series.shape == (3, 20, 8)
    for series in (*made.series, made.stream):
        for start in range(0, len(series) // 8 * 8, 8):
            assert tuple(series[start : start + 8].flatten().tolist()) in tested
