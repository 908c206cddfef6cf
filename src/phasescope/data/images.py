"""Labelled images, split into a training and a test part."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Images:
    """Labelled images of one data set.

    Parameters
    ----------
    x_train, x_test : Tensor of shape (images, channels, height, width)
        Intensities as float32 in [0, 1], until `standardised` is called.
    y_train, y_test : Tensor of shape (images,)
        Class of each image, int64 from 0.
    name : str
        Name of the data set.
    note : str
        What one has to know before comparing numbers obtained with it; empty where there is nothing.
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    name: str
    note: str = ""

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(torch.cat([self.y_train, self.y_test]).max()) + 1

    def standardised(self) -> Images:
        """Return the images with the mean and variance of all training intensities set to 0 and 1.

        One mean and one variance for the whole set, ``(x - mean) / std``: a pixel that is almost always
        empty is not blown up, and ``|x|^2 / n0`` is 1 on average over the training images.
        """
        mean = self.x_train.mean(dtype=torch.float64)
        std = self.x_train.to(torch.float64).std(correction=0)
        parts = {
            part: ((getattr(self, part) - mean) / std).to(torch.float32) for part in ("x_train", "x_test")
        }
        return replace(self, **parts)

    def flattened(self) -> Images:
        """Return the images as vectors of shape (images, channels * height * width)."""
        return replace(self, x_train=self.x_train.flatten(1), x_test=self.x_test.flatten(1))

    def __repr__(self) -> str:
        shape = " x ".join(str(size) for size in self.x_train.shape[1:])
        counts = f"{len(self.y_train)} train + {len(self.y_test)} test"
        return f"Images({self.name}: {counts}, {shape}, {self.classes} classes)"
