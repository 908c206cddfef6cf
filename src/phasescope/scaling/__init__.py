"""Exponents, collapses and universality classes from data, with honest errors."""

from phasescope.scaling.branching import branching
from phasescope.scaling.classes import UNIVERSALITY_CLASSES, UniversalityClass
from phasescope.scaling.collapse import Collapse, CollapsedCurve, collapse
from phasescope.scaling.local_slopes import LocalSlopes, local_slopes
from phasescope.scaling.percolation import CRITICAL_PROBABILITY, directed_percolation
from phasescope.scaling.power_law import PowerLawFit, fit_power_law
from phasescope.scaling.universality import Candidate, ClassReport, identify_class

__all__ = [
    "CRITICAL_PROBABILITY",
    "UNIVERSALITY_CLASSES",
    "Candidate",
    "ClassReport",
    "Collapse",
    "CollapsedCurve",
    "LocalSlopes",
    "PowerLawFit",
    "UniversalityClass",
    "branching",
    "collapse",
    "directed_percolation",
    "fit_power_law",
    "identify_class",
    "local_slopes",
]


def __dir__() -> list[str]:
    return list(__all__)
