"""Signal propagation at initialisation as an absorbing phase transition (arXiv:2307.02284)."""

from phasescope.papers.absorbing.study import STUDY, AbsorbingConfig

__all__ = ["STUDY", "AbsorbingConfig"]
