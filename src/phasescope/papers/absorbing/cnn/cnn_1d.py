"""Whether convolutional networks on a ring have the transition of directed percolation."""

from __future__ import annotations

from phasescope.papers.absorbing.cnn.part import CnnPart, CnnSettings


class Cnn1dSettings(CnnSettings):
    """Sizes of the part about one dimension; see :class:`CnnSettings`."""

    shifts: tuple[float, ...] = (0.15, 0.25, 0.33, 0.41, 0.49, 0.58, 0.70)
    sizes: tuple[int, ...] = (16, 64)
    depth: int = 600
    batches: int = 5
    uniform_batches: int = 8
    local_shifts: tuple[float, ...] = (-0.02, 0.0, 0.02, 0.04, 0.06)
    local_size: int = 512
    local_depth: int = 300
    local_batches: int = 8
    fluctuation_shift: float = 0.33
    fluctuation_sizes: tuple[int, ...] = (8, 32, 128, 512)
    fluctuation_depth: int = 60
    fluctuation_batches: int = 5
    seed_shifts: tuple[float, ...] = (0.25, 0.33, 0.41)
    seed_size: int = 128
    seed_depth: int = 60
    seed_batches: int = 10


QUICK = Cnn1dSettings()
PAPER = Cnn1dSettings(
    sizes=(16, 64, 256),
    shifts=(0.15, 0.23, 0.30, 0.36, 0.42, 0.48, 0.54, 0.62, 0.70),
    depth=2000,
    points=40,
    batches=11,
    uniform_batches=8,
    local_shifts=(-0.02, -0.01, 0.0, 0.01, 0.02, 0.03, 0.04),
    local_size=2048,
    local_depth=2000,
    local_batches=8,
    fluctuation_sizes=(8, 32, 128, 512, 2048),
    fluctuation_batches=12,
    seed_size=512,
    seed_depth=250,
    seed_batches=24,
)


class Cnn1d(CnnPart):
    """Decay and collapse in one dimension, held against directed percolation in 1+1 dimensions."""

    name = "cnn-1d"
    title = "Convolutional networks in one dimension"
    dimensions = 1
