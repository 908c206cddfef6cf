"""The characters of a text as a task: from those before, predict the next."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.resources import files
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from phasescope.data.imdb import imdb
from phasescope.errors import InputError
from phasescope.regular_files import read_regular

_PIECES = 10  # at least so many, of which each fifth is for tests
_REVIEWS = 400  # of IMDb that make a text
_MOST = 100_000_000  # bytes of a file


@dataclass(frozen=True, repr=False)
class Characters:
    """Windows of characters, one-hot, and the character after each.

    Parameters
    ----------
    x_train, x_test : Tensor of shape (windows, past x (letters + 1))
        One-hot, flattened, times the root of letters + 1: the mean square of an input is 1.
    y_train, y_test : Tensor of shape (windows,)
        The next character, int64: a place in `letters`, or its length for any other character.
    letters : tuple of str
        The characters that are told apart, the most frequent first.
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    letters: tuple[str, ...]


def characters(
    place: str | PathLike[str] = "",
    *,
    train: int = 20_000,
    test: int = 1000,
    past: int = 8,
    letters: int = 40,
    piece: int = 400,
) -> Characters:
    """Return the prediction of the next character of a text, in lower case, as inputs and classes.

    The text is cut into pieces, and each fifth is for tests, so that no window of the test overlaps one of
    the training.

    Parameters
    ----------
    place : path
        A text file in UTF-8, or a folder for :func:`imdb`, of which 400 reviews are taken; "" for
        scikit-learn's descriptions of its data sets.
    train, test : int
        Windows, drawn at random without replacement; fewer where the text has no more.
    past : int
        Characters of a window.
    letters : int
        Most characters that are told apart.
    piece : int
        Characters of a piece.

    Raises
    ------
    InputError
        If the text is shorter than 10 pieces, or cannot be read.
    """
    text = _text(str(place))
    pieces = [text[first : first + piece] for first in range(0, len(text) - piece + 1, piece)]
    if len(pieces) < _PIECES:
        raise InputError(
            f"The text has {len(text):,} characters.", f"Name a text of {_PIECES * piece:,} or more."
        )
    parts = ["".join(p for k, p in enumerate(pieces) if (k % 5 == 4) == tests) for tests in (False, True)]
    frequent = sorted(set(parts[0]), key=lambda c: (-parts[0].count(c), c))[:letters]
    number = {letter: index for index, letter in enumerate(frequent)}
    made = []
    for part, samples in zip(parts, (train, test), strict=True):
        codes = torch.tensor([number.get(letter, len(frequent)) for letter in part])
        windows = codes.view(-1, piece).unfold(1, past + 1, 1).reshape(-1, past + 1)
        windows = windows[torch.randperm(len(windows), generator=torch.Generator().manual_seed(0))[:samples]]
        hot = F.one_hot(windows[:, :-1], len(frequent) + 1).flatten(1)
        made += [hot * math.sqrt(len(frequent) + 1), windows[:, -1]]
    return Characters(made[0], made[1], made[2], made[3], tuple(frequent))


def _text(place: str) -> str:
    """Return a text with single spaces: of a file, of IMDb reviews, or of scikit-learn's descriptions."""
    if not place:
        found = sorted((files("sklearn.datasets") / "descr").iterdir(), key=lambda each: each.name)
        text = "\n".join(each.read_text("utf-8") for each in found if each.name.endswith(".rst"))
    elif Path(place).is_dir():
        reviews = imdb(place, verify=False)
        text = "\n".join(reviews.text(words) for words in reviews.x_train[:_REVIEWS])
    else:
        text = read_regular(place, _MOST).decode("utf-8", errors="replace")
    return " ".join(text.lower().split())
