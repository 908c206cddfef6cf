"""The study ``chaos``: training as a dynamical system, from low learning rates to intermittency."""

from __future__ import annotations

from phasescope.papers.chaos.shared import STUDY as NAME
from phasescope.papers.chaos.shared import Common
from phasescope.studies.part import Study

STUDY = Study(
    name=NAME,
    title="Stability and chaos of training",
    summary="Training as a map of the weights: low, high and very high learning rates, and what lies beyond.",
    source="arXiv:2404.05782; arXiv:2506.08523",
    common={"quick": Common(), "paper": Common()},
    parts=(),
    citations=("danovski2024", "jimenez2025"),
)
