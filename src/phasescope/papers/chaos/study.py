"""The study ``chaos``: training as a dynamical system, from low rates to intermittency, and beyond."""

from __future__ import annotations

from phasescope.papers.chaos import (
    accuracies,
    after_learning,
    beyond,
    exponential_growth,
    follow_up,
    intermittency,
    large_rate,
    low_rate,
    mnist,
    optimisers,
    plasticity_rules,
    reduced_map,
    transience,
)
from phasescope.papers.chaos.shared import STUDY as NAME
from phasescope.papers.chaos.shared import Common
from phasescope.studies.part import Study

STUDY = Study(
    name=NAME,
    title="Stability and chaos of training",
    summary="Training as a map of the weights: low, high and very high learning rates, and what lies beyond.",
    source="arXiv:2404.05782; arXiv:2506.08523",
    common={"quick": Common(), "paper": Common()},
    parts=(
        low_rate.LOW_RATE,
        after_learning.AFTER_LEARNING,
        exponential_growth.EXPONENTIAL_GROWTH,
        transience.TRANSIENCE,
        large_rate.LARGE_RATE,
        reduced_map.REDUCED_MAP,
        intermittency.INTERMITTENCY,
        accuracies.ACCURACIES,
        mnist.MNIST,
        follow_up.FOLLOW_UP,
        beyond.BEYOND,
        optimisers.OPTIMISERS,
        plasticity_rules.PLASTICITY,
    ),
    citations=("danovski2024", "jimenez2025"),
)
