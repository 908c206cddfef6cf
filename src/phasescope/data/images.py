"""Labelled images, split into a training and a test part: scikit-learn's digits, and CIFAR-10 or subsets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from phasescope.data.cifar_files import official
from phasescope.errors import InputError
from phasescope.regular_files import LARGEST, open_regular

_JPEG = "cifar10_jpeg_10k_train_5k_test.npz"
_EXACT = "cifar10_train4000_exact.npz"


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


def digits(*, test: int = 360, seed: int = 0) -> Images:
    """Return scikit-learn's 1797 handwritten digits of 8 x 8 pixels, split at random.

    Parameters
    ----------
    test : int
        Number of test images.
    seed : int
        Seed of the split; the same seed gives the same split on every machine.

    Returns
    -------
    Images
        Intensities from 0 to 1 in steps of 1/16, shape (images, 1, 8, 8), 10 classes.

    Raises
    ------
    InputError
        If `test` leaves no training or no test image.

    Notes
    -----
    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI repository (1998). The
    split mixes writers, so accuracies are higher than with the repository's own split by writer.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    total = len(bunch.target)
    if not 0 < test < total:
        raise InputError(f"test={test} of {total} digits.", f"Choose a number from 1 to {total - 1}.")
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    x = torch.from_numpy(bunch.images).to(torch.float32)[order, None] / 16
    y = torch.from_numpy(bunch.target).to(torch.int64)[order]
    return Images(x[:-test], y[:-test], x[-test:], y[-test:], "digits")


def cifar10(folder: str | PathLike[str], *, exact: bool = False, test: int = 1000) -> Images:
    """Return CIFAR-10, colour images of 32 x 32 pixels in 10 classes, or a subset of it.

    Where the official files lie in the folder, they are read: 50 000 training and 10 000 test images.

    Parameters
    ----------
    folder : path
        Where the six official files lie, ``data_batch_1.bin`` to ``test_batch.bin`` of the binary version or
        ``data_batch_1`` to ``test_batch`` of the Python version, or the folder that their archive makes
        (``cifar-10-batches-bin``, ``cifar-10-batches-py``). Else one of two subsets,
        ``cifar10_jpeg_10k_train_5k_test.npz`` or ``cifar10_train4000_exact.npz``.
    exact : bool
        Of the subsets. ``False``: 10 000 training and 5 000 test images, stored lossy (JPEG, quality 75), so
        that accuracies are not comparable with published ones. ``True``: 4 000 lossless training images.
    test : int
        With the lossless subset, how many of the last images serve as test images.

    Returns
    -------
    Images
        Intensities from 0 to 1, shape (images, 3, 32, 32), 10 classes; `note` says what a subset is, and is
        empty for the official files.

    Raises
    ------
    InputError
        If the folder holds none of these, if a file is missing or damaged, if a file of the Python version
        holds anything but images and labels, or if `test` leaves no training or no test image.

    Notes
    -----
    Nothing in a file is executed: the pickles of the Python version are read without Python's unpickler.
    Memory: 0.74 GB for the official files, 1.1 GB while they are read. Source: Krizhevsky, Learning multiple
    layers of features from tiny images (2009).
    """
    if (parts := official(Path(folder))) is not None:
        x, y = (np.concatenate([part[kind] for part in parts[:-1]]) for kind in (0, 1))
        x_train, y_train = _as_tensors(x, y)
        x_test, y_test = _as_tensors(*parts[-1])
        return Images(x_train, y_train, x_test, y_test, "CIFAR-10")
    path = Path(folder) / (_EXACT if exact else _JPEG)
    if not path.is_file():
        raise InputError(
            f"No file {path}.", f"Name the folder that holds the official files, or {path.name}."
        )
    names = ("x", "y") if exact else ("x_train", "y_train", "x_test", "y_test")
    try:
        with open_regular(path) as opened, np.load(opened, allow_pickle=False) as file:
            unpacked = sum(member.file_size for member in file.zip.infolist())
            if unpacked > LARGEST:
                raise ValueError(f"it declares {unpacked:,} bytes, and at most {LARGEST:,} are read")
            arrays = [file[name] for name in names]
    except InputError:
        raise
    except Exception as error:  # numpy and zipfile fail on damaged files in many ways
        raise InputError(f"{path} cannot be read: {error}.", "Copy it again.") from error
    if exact:
        x, y = arrays
        if not 0 < test < len(y):
            raise InputError(f"test={test} of {len(y)} images.", f"Choose a number from 1 to {len(y) - 1}.")
        arrays = [x[:-test], y[:-test], x[-test:], y[-test:]]
    x_train, y_train, x_test, y_test = [
        torch.from_numpy(array.astype(np.float32)).permute(0, 3, 1, 2).contiguous() / 255
        if array.ndim == 4
        else torch.from_numpy(array.astype(np.int64))
        for array in arrays
    ]
    note = (
        "subset of 4 000 training images, no official test images"
        if exact
        else "subset, images lossy (JPEG quality 75): accuracies are not comparable with published ones"
    )
    return Images(x_train, y_train, x_test, y_test, "CIFAR-10 subset", note)


def _as_tensors(images: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return rows of bytes as intensities from 0 to 1, and their labels."""
    x = torch.from_numpy(images.astype(np.float32)).reshape(-1, 3, 32, 32)
    return x.div_(255), torch.from_numpy(labels.astype(np.int64))
