"""What the wiring of a network holds beyond the distribution of its weights."""

from __future__ import annotations

from phasescope.structure.persistence import (
    Persistence,
    Wiring,
    balanced,
    collapse,
    persistence,
    spanning_tree,
)
from phasescope.structure.tail import Tail, spectral_tail
from phasescope.structure.tolerated_rank import (
    ToleratedRank,
    convolution_singular_values,
    factorised,
    tolerated_rank,
)

__all__ = [
    "Persistence",
    "Tail",
    "ToleratedRank",
    "Wiring",
    "balanced",
    "collapse",
    "convolution_singular_values",
    "factorised",
    "persistence",
    "spanning_tree",
    "spectral_tail",
    "tolerated_rank",
]


def __dir__() -> list[str]:
    return list(__all__)
