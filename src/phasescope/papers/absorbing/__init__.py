"""Absorbing phase transitions in deep networks (arXiv:2307.02284), as a study."""

from phasescope.papers.absorbing.study import STUDY

__all__ = ["STUDY"]
