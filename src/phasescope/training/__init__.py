"""Training as a dynamical system: one step as a map, the fate of small differences, the edge of stability."""

from __future__ import annotations

from phasescope.training.growth import PerturbationGrowth, perturbation_growth
from phasescope.training.maps import Map, StepMap, TrainingMap, step_map, training_map
from phasescope.training.objective import Objective, objective
from phasescope.training.plasticity import feedback_alignment, oja
from phasescope.training.rules import (
    Adam,
    AdamW,
    GradientDescent,
    HeavyBall,
    MomentumRMSprop,
    Nesterov,
    RMSprop,
    Rule,
)
from phasescope.training.tangents import TangentExponents, tangent_exponents
from phasescope.training.trajectory import Trajectory, trajectory

__all__ = [
    "Adam",
    "AdamW",
    "GradientDescent",
    "HeavyBall",
    "Map",
    "MomentumRMSprop",
    "Nesterov",
    "Objective",
    "PerturbationGrowth",
    "RMSprop",
    "Rule",
    "StepMap",
    "TangentExponents",
    "TrainingMap",
    "Trajectory",
    "feedback_alignment",
    "objective",
    "oja",
    "perturbation_growth",
    "step_map",
    "tangent_exponents",
    "training_map",
    "trajectory",
]
