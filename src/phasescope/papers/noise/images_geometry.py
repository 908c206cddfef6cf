"""How images become series: time steps an image, and the windows that suit them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

READINGS = ("rows", "pixels")
_SIDE = {"mnist": 28, "digits": 8}
_IMAGES = 32  # a series, at least
_LONGEST = 4  # images a window
_SHORTEST, _FEWEST, _POINTS = 6, 64, 12


@dataclass(frozen=True)
class Geometry:
    """One way of reading images."""

    pooled: int  # side of the squares of pixels that become one
    period: int  # time steps an image
    steps: int  # time steps of a series, a whole number of images
    # shortest and longest window, and how many: from a fraction of an image to several of them
    windows: tuple[int, int, int]


def geometry(config: Any, reading: str) -> Geometry:
    """Return how a configuration reads its images."""
    side = _SIDE["mnist" if config.mnist else "digits"]
    pooled = config.images.pooled if config.mnist and reading == "pixels" else 1
    side //= pooled
    period = side if reading == "rows" else side**2
    longest = max(_LONGEST * period, _FEWEST)
    steps = max(_IMAGES, 8 * longest // period) * period
    return Geometry(pooled, period, steps, (max(period // 4, _SHORTEST), longest, _POINTS))
