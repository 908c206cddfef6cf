"""Studies: a paper's claims, each with its measurement, a figure and a check."""

from phasescope.studies.check import Check, compare
from phasescope.studies.circumstances import cores
from phasescope.studies.contract import Analysis, Part, Picture, Settings, Study, Table, Variable
from phasescope.studies.planning import PartPlan, fitting_workers, plan, wall_seconds
from phasescope.studies.registry import names, study
from phasescope.studies.runner import load, run
from phasescope.studies.settings import changed
from phasescope.studies.study_run import StudyRun

__all__ = [
    "Analysis",
    "Check",
    "Part",
    "PartPlan",
    "Picture",
    "Settings",
    "Study",
    "StudyRun",
    "Table",
    "Variable",
    "changed",
    "compare",
    "cores",
    "fitting_workers",
    "load",
    "names",
    "plan",
    "run",
    "study",
    "wall_seconds",
]
