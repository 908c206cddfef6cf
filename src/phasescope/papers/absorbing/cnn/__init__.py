"""Whether convolutional networks on a ring or a torus have the transition of directed percolation.

Decay, growth, spreading and collapse at the critical point, held against directed percolation in 1+1 and 2+1
dimensions and against its rivals: one engine, a part for each dimension.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from phasescope.papers.absorbing.cnn.claims import claims, notes, tables
from phasescope.papers.absorbing.cnn.figures import figures
from phasescope.papers.absorbing.cnn.numbers import numbers
from phasescope.papers.absorbing.cnn.sampling import VARIABLES, CnnSettings, measure, tasks
from phasescope.studies.part import Part


def _part(dimensions: int, title: str, quick: CnnSettings, **paper: Any) -> Part:
    return Part(
        name=f"cnn-{dimensions}d",
        title=title,
        presets={"quick": quick, "paper": CnnSettings(**{**quick.model_dump(), **paper})},
        variables=VARIABLES,
        tasks=partial(tasks, dimensions=dimensions),
        measure=partial(measure, dimensions=dimensions),
        numbers=partial(numbers, dimensions=dimensions),
        claims=claims,
        tables=tables,
        notes=notes,
        figures=figures,
        ragged=("network", "point"),
        citations=("tamai2023",),
    )


CNN_1D = _part(
    1,
    "Convolutional networks in one dimension",
    CnnSettings(
        shifts=(0.15, 0.25, 0.33, 0.41, 0.49, 0.58, 0.70),
        sizes=(16, 64),
        depth=600,
        batches=5,
        uniform_batches=8,
        local_shifts=(-0.02, 0.0, 0.02, 0.04, 0.06),
        local_size=512,
        local_depth=300,
        local_batches=8,
        fluctuation_shift=0.33,
        fluctuation_sizes=(8, 32, 128, 512),
        fluctuation_depth=60,
        fluctuation_batches=5,
        seed_shifts=(0.25, 0.33, 0.41),
        seed_size=128,
        seed_depth=60,
        seed_batches=10,
    ),
    shifts=(0.15, 0.23, 0.30, 0.36, 0.42, 0.48, 0.54, 0.62, 0.70),
    sizes=(16, 64, 256),
    depth=2000,
    points=40,
    batches=11,
    local_shifts=(-0.02, -0.01, 0.0, 0.01, 0.02, 0.03, 0.04),
    local_size=2048,
    local_depth=2000,
    fluctuation_sizes=(8, 32, 128, 512, 2048),
    fluctuation_batches=12,
    seed_size=512,
    seed_depth=250,
    seed_batches=24,
)

CNN_2D = _part(
    2,
    "Convolutional networks in two dimensions",
    CnnSettings(
        shifts=(0.06, 0.13, 0.20, 0.27, 0.34, 0.42, 0.54),
        sizes=(6, 12),
        depth=300,
        batches=3,
        uniform_batches=3,
        local_shifts=(-0.06, -0.03, 0.0, 0.03, 0.06),
        local_size=24,
        local_depth=150,
        local_batches=8,
        fluctuation_shift=0.15,
        fluctuation_sizes=(4, 8, 16),
        fluctuation_depth=40,
        fluctuation_batches=4,
        seed_shifts=(0.06, 0.13, 0.20),
        seed_size=24,
        seed_depth=24,
        seed_batches=6,
    ),
    shifts=(0.06, 0.11, 0.16, 0.21, 0.26, 0.31, 0.36, 0.43, 0.52),
    sizes=(8, 16, 32),
    depth=1000,
    points=36,
    batches=6,
    uniform_batches=12,
    local_shifts=(-0.04, -0.02, -0.01, 0.0, 0.01, 0.02, 0.04),
    local_size=64,
    local_depth=500,
    fluctuation_sizes=(4, 8, 16, 32),
    fluctuation_batches=12,
    seed_size=64,
    seed_depth=64,
    seed_batches=12,
)
