"""The handwritten digits that come with scikit-learn, so that nothing has to be downloaded."""

from __future__ import annotations

import torch

from phasescope.data.images import Images
from phasescope.errors import InputError


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
