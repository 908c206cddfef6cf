"""CIFAR-10 subsets from npz files, in a folder that the user names."""

from __future__ import annotations

import zipfile
from os import PathLike
from pathlib import Path

import numpy as np
import torch

from phasescope.data.images import Images
from phasescope.errors import InputError

_JPEG = "cifar10_jpeg_10k_train_5k_test.npz"
_EXACT = "cifar10_train4000_exact.npz"


def cifar10(folder: str | PathLike[str], *, exact: bool = False, test: int = 1000) -> Images:
    """Return a subset of CIFAR-10, colour images of 32 x 32 pixels.

    Parameters
    ----------
    folder : path
        Where ``cifar10_jpeg_10k_train_5k_test.npz`` or ``cifar10_train4000_exact.npz`` lies.
    exact : bool
        ``False``: 10 000 training and 5 000 test images, stored lossy (JPEG, quality 75), so that
        accuracies are not comparable with published ones. ``True``: 4 000 lossless training images.
    test : int
        With ``exact=True``, how many of the last images serve as test images.

    Returns
    -------
    Images
        Intensities from 0 to 1, shape (images, 3, 32, 32), 10 classes; `note` says what the subset is.

    Raises
    ------
    InputError
        If the file is missing or damaged, or `test` leaves no training or no test image.

    Notes
    -----
    Source: Krizhevsky, Learning multiple layers of features from tiny images (2009).
    """
    path = Path(folder) / (_EXACT if exact else _JPEG)
    if not path.is_file():
        raise InputError(f"No file {path}.", f"Name the folder that holds {path.name}.")
    names = ("x", "y") if exact else ("x_train", "y_train", "x_test", "y_test")
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = [file[name] for name in names]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
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
