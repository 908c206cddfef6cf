"""Exponents, collapses and universality classes from data, with honest errors."""

from phasescope.scaling.branching import branching
from phasescope.scaling.classes import UNIVERSALITY_CLASSES, UniversalityClass
from phasescope.scaling.percolation import CRITICAL_PROBABILITY, directed_percolation

__all__ = [
    "CRITICAL_PROBABILITY",
    "UNIVERSALITY_CLASSES",
    "UniversalityClass",
    "branching",
    "directed_percolation",
]
