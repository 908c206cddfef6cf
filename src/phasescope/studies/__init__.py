"""Studies: a paper's claims, each with its measurement, a figure and a check. The engine; papers use it."""

from typing import TYPE_CHECKING, Any

from phasescope.errors import InputError
from phasescope.studies.circumstances import cores
from phasescope.studies.claim import Check, Claim
from phasescope.studies.part import (
    NEW_FORM,
    Analysis,
    Panels,
    Part,
    Picture,
    Settings,
    Study,
    StudySettings,
    Table,
    Variable,
)
from phasescope.studies.planning import PartPlan, fitting_workers, plan, wall_seconds
from phasescope.studies.registry import names, study
from phasescope.studies.runner import load, run
from phasescope.studies.settings import changed
from phasescope.studies.study_run import StudyRun

__all__ = [
    "Analysis",
    "Check",
    "Claim",
    "Panels",
    "Part",
    "PartPlan",
    "Picture",
    "Settings",
    "Study",
    "StudyRun",
    "StudySettings",
    "Table",
    "Variable",
    "changed",
    "cores",
    "fitting_workers",
    "load",
    "names",
    "plan",
    "run",
    "study",
    "wall_seconds",
]


if not TYPE_CHECKING:  # a type checker knows every name by itself, and tells of a misspelt one

    def __getattr__(name: str) -> Any:
        if name == "compare":  # what studies written as classes import first
            raise InputError("phasescope.studies has no 'compare' any more.", NEW_FORM)
        raise AttributeError(f"module 'phasescope.studies' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
