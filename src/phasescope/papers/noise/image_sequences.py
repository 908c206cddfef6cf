"""Images to classify row by row or pixel by pixel: the user's MNIST, or the digits of scikit-learn."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from phasescope.data import Images, digits, mnist
from phasescope.papers.noise.sequence_set import Labelled, SequenceSet, generator

Reading = Literal["rows", "pixels"]
_VALIDATION = 0.1


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
    """Return images as sequences of rows or of pixels; a series is one test image after the other."""
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
