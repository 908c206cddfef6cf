"""What all parts of ``rectified_power`` share: starts, kernels carried over depth, the target x y z."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from phasescope.estimate import Estimate
from phasescope.studies import samples
from phasescope.studies.part import StudySettings

STUDY = "rectified_power"
PAPER = "arXiv:2408.02697"
BOOK = "arXiv:2106.10165"

Carried = Iterator[tuple[Tensor, Tensor]]


class Common(StudySettings):
    """Settings that every part reads."""

    # One's own list: names or FILE.py:function. Then the part `comparison` alone is run, with these.
    activations: tuple[str, ...] = ()
    task: str = ""  # the one task of `comparison`; all of them where empty
    # Folders of the user's own copies, and a text file or an IMDb folder; empty to do without.
    mnist: str = ""
    fashion_mnist: str = ""
    cifar10: str = ""
    text: str = ""

    @property
    def subtitle(self) -> str:
        """What the title of the page adds."""
        if self.activations:
            return f"{len(self.activations)} activations of one's own"
        return "" if self.mnist else "bundled data, as no MNIST folder was named"

    @property
    def asked(self) -> tuple[str, ...]:
        """The part that compares, where activations or a task are named."""
        return ("comparison",) if self.activations or self.task else ()


def cube(count: int, dims: int, seed: int) -> Tensor:
    """Return points uniform on [-1, 1]^dims, shape (count, dims)."""
    generator = torch.Generator().manual_seed(seed % 2**63)
    return 2 * torch.rand(count, dims, generator=generator, dtype=torch.float64) - 1


def xyz(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return points uniform on [-1, 1]^3, and their product times the root of 27, of variance 1."""
    x = cube(count, 3, seed)
    return x, math.sqrt(27) * x.prod(1, keepdim=True)


def over_seeds(values: ArrayLike, method: str = "mean over seeds") -> Estimate:
    """Return the mean of networks, those without a number left out; its error is widened."""
    return samples.mean(values, method)


def share(successes: ArrayLike, method: str = "share of networks") -> Estimate:
    """Return the share of networks for which something is true."""
    return samples.share(successes, method)
