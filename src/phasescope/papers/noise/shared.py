"""What all parts of the study ``noise`` share: settings, windows, slopes, and averages over networks."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from phasescope.estimate import Estimate
from phasescope.studies import samples
from phasescope.studies.part import StudySettings

STUDY = "noise"


class Common(StudySettings):
    """Settings that every part reads."""

    imdb: str = ""  # folder of the user's own copy of the IMDb reviews; empty for artificial texts
    mnist: str = ""  # folder of the user's own copy of MNIST; empty for the digits of scikit-learn
    vocabulary: int = 10_000  # words that have a vector of their own
    words: int = 500  # longer reviews are cut to so many; only reviews with so many become series
    train: Annotated[int, Field(ge=20)] = 10_000  # texts for training and validation; artificial ones 4000
    test: Annotated[int, Field(ge=1)] = 2_000  # texts for the accuracy
    series: Annotated[int, Field(ge=2)] = 40  # test texts whose activations are recorded
    pieces: int = 2  # of the series with carried state
    piece: int = 4096  # words of each
    windows: tuple[int, int, int] = (10, 125, 12)  # shortest and longest window, and how many
    embedding: int = 32  # components of an embedded word
    epochs: int = 4
    batch: int = 64  # texts a step
    rate: float = 4e-3  # learning rate of Adam
    tests: int = 6  # series of each quantity that are held against short memory
    long_tests: int = 1  # units, the ones that move most, whose pieces with carried state are held against it

    @property
    def subtitle(self) -> str:
        """What the title of the page adds."""
        return "" if self.imdb else "artificial texts, as no IMDb folder was named"


def window_lengths(shortest: int, longest: int, count: int) -> np.ndarray:
    """Return window lengths evenly spaced in logarithm."""
    return np.unique(np.geomspace(shortest, longest, count).round().astype(np.int64))


def slopes(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return slopes of `y`, shape (..., points), against `x` by ordinary least squares."""
    u = x - x.mean()
    return np.asarray(y @ u / (u @ u))


def over_networks(values: np.ndarray, method: str = "mean over networks") -> Estimate:
    """Return the mean of independent networks, those without a number left out; its error is widened."""
    return samples.mean(values, method)
