"""Labelled texts as numbers of words, split into a training and a test part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from phasescope.errors import InputError

UNKNOWN = 0


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
            f"{self.words[UNKNOWN]}, test texts of {lengths[0]} to {lengths[-1]} words, "
            f"median {lengths[len(lengths) // 2]})"
        )
