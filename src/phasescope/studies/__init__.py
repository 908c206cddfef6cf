"""Studies: a paper's claims, each with its measurement, a figure and a check."""

from phasescope.studies.check import Check, compare
from phasescope.studies.contract import Analysis, Part, Picture, Settings, Study, Table, Variable

__all__ = ["Analysis", "Check", "Part", "Picture", "Settings", "Study", "Table", "Variable", "compare"]
