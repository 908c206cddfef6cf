"""Whether convolutional networks on a torus have the transition of directed percolation."""

from __future__ import annotations

from phasescope.papers.absorbing.cnn.part import CnnPart, CnnSettings


class Cnn2dSettings(CnnSettings):
    """Sizes of the part about two dimensions; see :class:`CnnSettings`."""

    shifts: tuple[float, ...] = (0.06, 0.13, 0.20, 0.27, 0.34, 0.42, 0.54)
    sizes: tuple[int, ...] = (6, 12)
    depth: int = 300
    batches: int = 3
    uniform_batches: int = 3
    local_shifts: tuple[float, ...] = (-0.06, -0.03, 0.0, 0.03, 0.06)
    local_size: int = 24
    local_depth: int = 150
    local_batches: int = 8
    fluctuation_shift: float = 0.15
    fluctuation_sizes: tuple[int, ...] = (4, 8, 16)
    fluctuation_depth: int = 40
    fluctuation_batches: int = 4
    seed_shifts: tuple[float, ...] = (0.06, 0.13, 0.20)
    seed_size: int = 24
    seed_depth: int = 24
    seed_batches: int = 6


QUICK = Cnn2dSettings()
PAPER = Cnn2dSettings(
    shifts=(0.06, 0.11, 0.16, 0.21, 0.26, 0.31, 0.36, 0.43, 0.52),
    sizes=(8, 16, 32),
    depth=1000,
    points=36,
    batches=6,
    uniform_batches=12,
    local_shifts=(-0.04, -0.02, -0.01, 0.0, 0.01, 0.02, 0.04),
    local_size=64,
    local_depth=500,
    local_batches=8,
    fluctuation_sizes=(4, 8, 16, 32),
    fluctuation_batches=12,
    seed_size=64,
    seed_depth=64,
    seed_batches=12,
)


class Cnn2d(CnnPart):
    """Decay and collapse in two dimensions, held against directed percolation in 2+1 dimensions."""

    name = "cnn-2d"
    title = "Convolutional networks in two dimensions"
    dimensions = 2
