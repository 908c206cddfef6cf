"""The study ``absorbing``: signal propagation at initialisation as an absorbing phase transition."""

from __future__ import annotations

from phasescope.papers.absorbing import (
    boundary,
    decay,
    depth_width,
    finite_training,
    finite_width,
    generalisation,
    lyapunov,
    metric_factors,
    phase_diagram,
    tangent_kernel,
    width_cost,
)
from phasescope.papers.absorbing.cnn import CNN_1D, CNN_2D
from phasescope.papers.absorbing.shared import STUDY as NAME
from phasescope.papers.absorbing.shared import Common
from phasescope.studies.part import Study

STUDY = Study(
    name=NAME,
    title="Absorbing phase transitions in deep networks",
    summary="Signal propagation at initialisation as a phase transition: exponents, collapses, finite width.",
    source="arXiv:2307.02284",
    common={"quick": Common(), "paper": Common()},
    parts=(
        phase_diagram.PHASE_DIAGRAM,
        lyapunov.LYAPUNOV,
        decay.DECAY,
        metric_factors.METRIC_FACTORS,
        finite_width.FINITE_WIDTH,
        width_cost.WIDTH_COST,
        CNN_1D,
        CNN_2D,
        tangent_kernel.TANGENT_KERNEL,
        generalisation.GENERALISATION,
        finite_training.FINITE_TRAINING,
        boundary.BOUNDARY,
        depth_width.DEPTH_WIDTH,
    ),
    citations=("tamai2023",),
)
