"""The reviews are read from either form, and nothing of the test part enters the vocabulary."""

import gzip
import json
import os
from pathlib import Path

import pytest
import torch

from phasescope import data
from phasescope.data.imdb import words_of
from phasescope.errors import InputError

# (part, label, number, rating, text)
REVIEWS = [
    ("train", 0, 2, 1, "Bad, bad film!<br /><br />The end."),
    ("train", 0, 10, 3, "The plot isn\u2019t there."),
    ("train", 1, 0, 9, "A GOOD film: the best of 2001."),
    ("train", 1, 3, 10, "good -- 'really' good_film"),
    ("test", 0, 1, 2, "the worst worst worst bad film"),
    ("test", 1, 4, 8, "good"),
]
# Frequencies in training: the 3, good 3, film 3, bad 2, then once each in alphabetical order.
WORDS = (
    "<unk>",
    "film",
    "good",
    "the",
    "bad",
    "2001",
    "a",
    "best",
    "end",
    "isn't",
    "of",
    "plot",
    "really",
    "there",
)


def write_folder(root: Path) -> None:
    for part, label, number, rating, text in REVIEWS:
        folder = root / part / ("pos" if label else "neg")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}_{rating}.txt").write_text(text, encoding="utf-8")
    unlabelled = root / "train" / "unsup"
    unlabelled.mkdir()
    (unlabelled / "0_0.txt").write_text("zebra zebra zebra zebra", encoding="utf-8")


def lines(part: str) -> str:
    return "".join(
        json.dumps({"text": t, "label": y, "split": p, "id": f"{p}/{n}_{r}", "rating": r}) + "\n"
        for p, y, n, r, t in REVIEWS
        if p == part
    )


def write_lines(root: Path, *, compressed: bool = True) -> None:
    for part in ("train", "test"):
        text = lines(part).encode()
        name = f"{part}.jsonl" + (".gz" if compressed else "")
        (root / name).write_bytes(gzip.compress(text) if compressed else text)


@pytest.mark.parametrize("form", ["folder", "around", "gz", "plain"])
def test_both_forms_give_the_same_numbers_of_words(tmp_path, form):
    if form in ("folder", "around"):
        write_folder(tmp_path / "aclImdb")
    else:
        write_lines(tmp_path, compressed=form == "gz")
    reviews = data.imdb(tmp_path / "aclImdb" if form == "folder" else tmp_path, verify=False)
    assert reviews.words == WORDS
    assert [reviews.text(x) for x in reviews.x_train] == [
        "bad bad film the end",
        "the plot isn't there",
        "a good film the best of 2001",
        "good really good film",
    ]
    assert reviews.x_train[0].tolist() == [4, 4, 1, 3, 8]
    assert reviews.x_train[0].dtype == torch.int64
    assert reviews.y_train.tolist() == [0, 0, 1, 1]
    assert reviews.rating_train.tolist() == [1, 3, 9, 10]
    # "worst" is the most frequent word of the test reviews, and unknown all the same.
    assert reviews.x_test[0].tolist() == [3, 0, 0, 0, 4, 1]
    assert reviews.text(reviews.x_test[0]) == "the <unk> <unk> <unk> bad film"
    assert reviews.y_test.tolist() == [0, 1]
    assert "4 train + 2 test, 13 words and <unk>, test texts of 1 to 6 words" in repr(reviews)


def test_vocabulary_keeps_the_most_frequent_words_and_the_rest_is_unknown(tmp_path):
    write_folder(tmp_path)
    reviews = data.imdb(tmp_path, vocabulary=4, verify=False)
    assert reviews.words == WORDS[:5]
    assert reviews.x_train[1].tolist() == [3, 0, 0, 0]
    with pytest.raises(InputError, match="vocabulary=0"):
        data.imdb(tmp_path, vocabulary=0)


def test_series_hold_words_alone(tmp_path):
    write_lines(tmp_path)
    reviews = data.imdb(tmp_path, verify=False)
    series, labels = reviews.series(5, part="train")
    assert series.tolist() == [[4, 4, 1, 3, 8], [6, 2, 1, 3, 7]]  # the reviews of 4 words are left out
    assert labels.tolist() == [0, 1]
    assert reviews.series(6)[0].tolist() == [[3, 0, 0, 0, 4, 1]]
    with pytest.raises(InputError, match=r"length=7, and the longest test text has 6 words"):
        reviews.series(7)
    with pytest.raises(InputError, match="length=0"):
        reviews.series(0)
    with pytest.raises(InputError, match="part='dev'"):
        reviews.series(2, part="dev")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't <BR/>stop -- <br >NOW... 'quoted'", ["don't", "stop", "now", "quoted"]),
        ("Am\u00e9lie's caf\u00e9, 7/10", ["am\u00e9lie's", "caf\u00e9", "7", "10"]),
        ("breaking", ["breaking"]),
        ("<br /> ...", []),
    ],
)
def test_words(text, expected):
    assert words_of(text) == expected


def test_a_part_of_the_reviews_is_refused_unless_asked_for(tmp_path):
    write_lines(tmp_path)
    with pytest.raises(InputError, match=r"has 2 negative and 2 positive reviews; IMDb has 12500 of each"):
        data.imdb(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"line 5, is no JSON"),
        ("[1]", "line 5, has no text"),
        ('{"label": 1}', "line 5, has no text"),
        ('{"text": "a", "label": 2}', "has label 2"),
        ('{"text": "a", "label": true}', "has label True"),
        ('{"text": "a", "label": 1, "rating": "9"}', "rating '9'"),
        ('{"text": "a", "label": 1, "split": "test"}', "belongs to split 'test'"),
        ('{"text": "...", "label": 1}', "A review has no word"),
    ],
)
def test_damaged_lines_are_refused_with_their_number(tmp_path, line, message):
    write_lines(tmp_path, compressed=False)
    (tmp_path / "train.jsonl").write_text(lines("train") + line + "\n")
    with pytest.raises(InputError, match=message):
        data.imdb(tmp_path, verify=False)


def test_damaged_and_missing_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="No folder"):
        data.imdb(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"neither train\.jsonl\.gz nor train\.jsonl nor train/"):
        data.imdb(tmp_path)
    write_lines(tmp_path)
    whole = (tmp_path / "train.jsonl.gz").read_bytes()
    (tmp_path / "train.jsonl.gz").write_bytes(whole[:-12])
    with pytest.raises(InputError, match="cannot be read"):
        data.imdb(tmp_path, verify=False)
    (tmp_path / "train.jsonl.gz").write_bytes(gzip.compress(b"\xff\xfe"))
    with pytest.raises(InputError, match="cannot be read"):
        data.imdb(tmp_path, verify=False)
    (tmp_path / "train.jsonl.gz").write_bytes(gzip.compress(bytes(20_000_000), 1))
    with pytest.raises(InputError, match=r"line 1, has more than 10,000,000 bytes"):
        data.imdb(tmp_path, verify=False)
    (tmp_path / "train.jsonl.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(InputError, match="has 0 negative and 0 positive"):
        data.imdb(tmp_path, verify=False)


def test_damaged_folders_are_refused(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "test" / "pos" / "notes.txt").write_text("what")
    with pytest.raises(InputError, match="not named after number and rating"):
        data.imdb(tmp_path, verify=False)
    (tmp_path / "test" / "pos" / "notes.txt").unlink()
    (tmp_path / "train" / "neg" / "2_1.txt").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"2_1\.txt cannot be read"):
        data.imdb(tmp_path, verify=False)


@pytest.mark.slow
def test_real_reviews_have_the_published_counts():
    root = os.environ.get("PHASESCOPE_DATA")
    if not root or not (Path(root) / "imdb").is_dir():
        pytest.skip("PHASESCOPE_DATA names no folder that holds imdb/")
    reviews = data.imdb(Path(root) / "imdb")
    # Ratings of the training reviews as they are published: 1 to 4 and 7 to 10 stars.
    counts = torch.bincount(reviews.rating_train).tolist()
    assert counts == [0, 5100, 2284, 2420, 2696, 0, 0, 2496, 3009, 2263, 4732]
    assert reviews.y_train.sum() == reviews.y_test.sum() == 12_500
    assert (reviews.y_train.bool() == (reviews.rating_train > 5)).all()
    assert reviews.words[1:6] == ("the", "and", "a", "of", "to")
    series, _ = reviews.series(500)
    assert 1500 < len(series) < 2500
    assert float((series == 0).float().mean()) < 0.1
