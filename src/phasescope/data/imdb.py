"""The IMDb movie reviews, from the original folder or from two jsonl files, where the user has them."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from phasescope.errors import InputError
from phasescope.regular_files import open_regular, read_regular

# Letters and digits of any alphabet; an apostrophe inside belongs to the word.
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_FILE = re.compile(r"(\d+)_(\d+)\.txt")
_LABELS = {"neg": 0, "pos": 1}
_EACH = 12_500  # reviews of each label in each part
_LONGEST = 10_000_000  # bytes of a review
_UNKNOWN = 0  # number of every word outside the vocabulary

Review = tuple[str, int, int]
"""Text, label and rating."""


@dataclass(frozen=True, repr=False)
class Reviews:
    """Labelled texts of unequal length.

    Parameters
    ----------
    x_train, x_test : tuple of Tensor
        For each text the numbers of its words, int64, nothing else: no padding and no marks of start or end.
    y_train, y_test : Tensor of shape (texts,)
        Label of each text, int64.
    words : tuple of str
        The word of each number; number 0 stands for all that the vocabulary leaves out.
    rating_train, rating_test : Tensor of shape (texts,)
        Stars from 1 to 10; 0 where unknown.
    """

    x_train: tuple[Tensor, ...]
    y_train: Tensor
    x_test: tuple[Tensor, ...]
    y_test: Tensor
    words: tuple[str, ...]
    rating_train: Tensor
    rating_test: Tensor

    def series(self, length: int = 500, *, part: str = "test") -> tuple[Tensor, Tensor]:
        """Return the first `length` words of every text that has so many, and the labels.

        Parameters
        ----------
        length : int
            Number of words; shorter texts are left out, so that no series holds padding.
        part : str
            "train" or "test".

        Returns
        -------
        tuple of (Tensor of shape (texts, length), Tensor of shape (texts,))
            Numbers of words, and labels.

        Raises
        ------
        InputError
            If no text is that long, or the part is unknown.
        """
        if part not in ("train", "test"):
            raise InputError(f"part={part!r}.", 'Say "train" or "test".')
        texts, labels = (self.x_train, self.y_train) if part == "train" else (self.x_test, self.y_test)
        rows = [row for row, text in enumerate(texts) if len(text) >= length > 0]
        if not rows:
            longest = max(len(text) for text in texts)
            raise InputError(
                f"length={length}, and the longest {part} text has {longest} words.", "Ask for fewer words."
            )
        return torch.stack([texts[row][:length] for row in rows]), labels[rows]

    def text(self, numbers: Tensor | Sequence[int]) -> str:
        """Return the words of a series of numbers, with blanks between them.

        Parameters
        ----------
        numbers : Tensor or sequence of int
            Numbers of words.
        """
        return " ".join(self.words[int(number)] for number in numbers)

    def __repr__(self) -> str:
        lengths = sorted(len(text) for text in self.x_test)
        return (
            f"Reviews({len(self.x_train)} train + {len(self.x_test)} test, {len(self.words) - 1} words and "
            f"{self.words[_UNKNOWN]}, test texts of {lengths[0]} to {lengths[-1]} words, "
            f"median {lengths[len(lengths) // 2]})"
        )


def imdb(folder: str | PathLike[str], *, vocabulary: int = 10_000, verify: bool = True) -> Reviews:
    """Return the 25 000 training and 25 000 test reviews of IMDb as numbers of words.

    Parameters
    ----------
    folder : path
        The folder ``aclImdb`` (or the one around it) as it is distributed, or one with ``train.jsonl`` and
        ``test.jsonl``, each as it is or with ``.gz``: one object a line with ``text``, ``label`` (0 or 1),
        and, where known, ``split`` and ``rating``.
    vocabulary : int
        How many words are kept: the most frequent of the training reviews, alphabetically where equally
        frequent. All others are word 0, ``<unk>``.
    verify : bool
        Whether there must be 12 500 reviews of each label in each part.

    Returns
    -------
    Reviews
        Each review in its full length; label 0 is negative, 1 is positive.

    Raises
    ------
    InputError
        If files are missing or damaged, a review has no word, or `vocabulary` is not positive.

    Notes
    -----
    Nothing of the test reviews enters the vocabulary. Reviews keep the order of the files; in the folder by
    label and number, so that training has to shuffle them. Cost: about 10 seconds and 300 MB.

    References
    ----------
    Maas et al. 2011, ACL, https://aclanthology.org/P11-1015.
    """
    if vocabulary < 1:
        raise InputError(f"vocabulary={vocabulary}.", "Keep at least one word.")
    place = Path(folder)
    if not place.is_dir():
        raise InputError(f"No folder {place}.", "Name the folder that holds the IMDb reviews.")
    parts = [_part(place, part, verify) for part in ("train", "test")]
    words: dict[str, int] = {}
    numbered = [np.array([words.setdefault(w, len(words)) for w in _words(r)]) for r in parts[0]]
    counts = np.bincount(np.concatenate(numbered), minlength=len(words))
    kept = sorted(words, key=lambda word: (-counts[words[word]], word))[:vocabulary]
    new = {word: number for number, word in enumerate(kept, start=1)}
    renumbered = np.array([new.get(word, _UNKNOWN) for word in words], dtype=np.int64)
    return Reviews(
        tuple(torch.from_numpy(renumbered[review]) for review in numbered),
        _column(parts[0], 1),
        tuple(torch.tensor([new.get(w, _UNKNOWN) for w in _words(review)]) for review in parts[1]),
        _column(parts[1], 1),
        ("<unk>", *kept),
        _column(parts[0], 2),
        _column(parts[1], 2),
    )


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case; line breaks of HTML and punctuation are left out.

    Examples
    --------
    >>> words_of("It's GREAT!<br /><br />10 of 10, isn't it?")
    ["it's", 'great', '10', 'of', '10', "isn't", 'it']
    """
    return _WORD.findall(_BREAK.sub(" ", text).replace("\u2019", "'").lower())


def _words(review: Review) -> list[str]:
    words = words_of(review[0])
    if not words:
        raise InputError(f"A review has no word: {review[0][:60]!r}.", "Leave it out of the files.")
    return words


def _column(reviews: list[Review], index: int) -> Tensor:
    return torch.tensor([review[index] for review in reviews], dtype=torch.int64)


def _part(folder: Path, part: str, verify: bool) -> list[Review]:
    files = [folder / f"{part}.jsonl.gz", folder / f"{part}.jsonl"]
    file = next((path for path in files if path.is_file()), None)
    inside = next((path for path in (folder / part, folder / "aclImdb" / part) if path.is_dir()), None)
    if file is None and inside is None:
        raise InputError(
            f"{folder} holds neither {part}.jsonl.gz nor {part}.jsonl nor {part}/.",
            "Name the folder aclImdb, or one with train.jsonl.gz and test.jsonl.gz.",
        )
    reviews = list(_from_lines(file, part) if file is not None else _from_folder(inside or folder))
    counts = [sum(label == wanted for _, label, _ in reviews) for wanted in (0, 1)]
    if 0 in counts or (verify and counts != [_EACH, _EACH]):
        raise InputError(
            f"{file or inside} has {counts[0]} negative and {counts[1]} positive reviews; IMDb has "
            f"{_EACH} of each.",
            "Copy it again, or pass verify=False to read a part of it (both labels are needed).",
        )
    return reviews


def _from_folder(folder: Path) -> Iterator[Review]:
    for name, label in _LABELS.items():
        files = []
        for path in (folder / name).glob("*.txt"):
            match = _FILE.fullmatch(path.name)
            if match is None:
                raise InputError(
                    f"{path} is not named after number and rating.", "Expected a name like 200_8.txt."
                )
            files.append((int(match[1]), int(match[2]), path))
        for _, rating, path in sorted(files):
            try:
                yield read_regular(path, _LONGEST).decode("utf-8"), label, rating
            except UnicodeDecodeError as error:
                raise InputError(f"{path} cannot be read: {error}.", "Copy it again.") from error


def _from_lines(path: Path, part: str) -> Iterator[Review]:
    try:
        with open_regular(path) as raw:
            file = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
            for number, line in enumerate(iter(lambda: file.readline(_LONGEST + 1), b""), start=1):
                if len(line) > _LONGEST:
                    raise InputError(
                        f"{path}, line {number}, has more than {_LONGEST:,} bytes.",
                        "Put one review on each line.",
                    )
                yield _parsed(line.decode("utf-8"), f"{path}, line {number},", part)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}.", "Copy it again.") from error


def _parsed(line: str, place: str, part: str) -> Review:
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise InputError(f"{place} is no JSON: {error}.", "Put one object on each line.") from error
    if not isinstance(fields, dict) or not isinstance(fields.get("text"), str):
        raise InputError(f"{place} has no text.", 'Expected {"text": "...", "label": 0 or 1, ...}.')
    label, rating = fields.get("label"), fields.get("rating", 0)
    if type(label) is not int or label not in (0, 1) or type(rating) is not int:
        raise InputError(
            f"{place} has label {label!r} and rating {rating!r}.", "Expected label 0 or 1 and a whole rating."
        )
    if fields.get("split", part) != part:
        raise InputError(
            f"{place} belongs to split {fields['split']!r}.", f"Keep {part} reviews there alone."
        )
    return fields["text"], label, rating
