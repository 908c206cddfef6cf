"""What all parts of the study ``noise`` share: the data, the windows, and how a network is trained."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from phasescope.studies.contract import StudySettings

STUDY = "noise"
_MOST_ARTIFICIAL = 4000  # their cues are learned from fewer texts than reviews are


class Common(StudySettings):
    """Settings that every part reads."""

    imdb: str = ""  # folder of the user's own copy of the IMDb reviews; empty for artificial texts
    mnist: str = ""  # folder of the user's own copy of MNIST; empty for the digits of scikit-learn
    vocabulary: int = 10_000  # words that have a vector of their own
    words: int = 500  # longer reviews are cut to so many; only reviews with so many become series
    # train, test: texts for training and validation, of artificial ones at most 4000, and for the accuracy
    train: Annotated[int, Field(ge=20)] = 10_000
    test: Annotated[int, Field(ge=1)] = 2_000
    series: Annotated[int, Field(ge=2)] = 60  # test texts whose activations are recorded
    # pieces, piece: the series with carried state: how many pieces, of how many words each
    pieces: int = 4
    piece: int = 4096
    windows: tuple[int, int, int] = (10, 125, 12)  # shortest and longest window, and how many
    embedding: int = 32  # components of an embedded word
    # epochs, batch: of training
    epochs: int = 4
    batch: int = 64
    rate: float = 4e-3  # learning rate of Adam
    tests: int = 12  # series of each quantity that are held against short memory
    long_tests: int = 2  # units, the ones that move most, whose pieces with carried state are held against it

    @property
    def subtitle(self) -> str:
        """What the title of the page adds."""
        return "" if self.imdb else "artificial texts, as no IMDb folder was named"


def window_lengths(shortest: int, longest: int, count: int) -> np.ndarray:
    """Return window lengths evenly spaced in logarithm."""
    return np.unique(np.geomspace(shortest, longest, count).round().astype(np.int64))


def shared(config: Any) -> dict[str, Any]:
    """Return what the measurement of any network needs, as parameters of a task."""
    names = {"words", "series", "pieces", "piece", "windows", "tests", "long_tests"}
    names |= {"epochs", "batch", "rate", "embedding"}
    return {**config.model_dump(mode="json", include=names), "seed": config.seed}


def text_source(config: Any) -> dict[str, Any]:
    """Return which texts, and how many, as parameters of a task."""
    sizes = config.model_dump(mode="json", include={"train", "test"})
    if config.imdb:
        return {"source": "imdb", "folder": config.imdb, "vocabulary": config.vocabulary, **sizes}
    sizes["train"] = min(sizes["train"], _MOST_ARTIFICIAL)
    return {"source": "synthetic", "folder": "", "vocabulary": 0, **sizes}
