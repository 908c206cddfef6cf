"""Training as a dynamical system: one step as a map, the fate of small differences, the edge of stability."""

from __future__ import annotations

from phasescope.training.density import SpectralDensity
from phasescope.training.drift_scaling import CoordinateSlope, DriftScaling, PowerLaw, drift_scaling
from phasescope.training.flat_directions import FlatDirections, flat_directions
from phasescope.training.growth import PerturbationGrowth, perturbation_growth
from phasescope.training.langevin import LocalLearningCoefficient, langevin
from phasescope.training.lazy import LayerMovement, LazyOrRich, PredictedLoss, lazy_or_rich
from phasescope.training.maps import Map, StepMap, TrainingMap, step_map, training_map
from phasescope.training.objective import Objective, objective
from phasescope.training.plasticity import feedback_alignment, oja
from phasescope.training.range_test import RangeTest, range_test
from phasescope.training.rates import (
    LearningRateScan,
    RateRow,
    ScanCost,
    Suggestion,
    estimate_cost,
    scan_learning_rate,
)
from phasescope.training.recurrence import Recurrence, SurrogateMeasures, recurrence
from phasescope.training.regimes import Autocorrelation, Regimes, autocorrelation, regimes
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
from phasescope.training.series_exponents import (
    LocalExponents,
    SeriesExponent,
    kantz,
    local_exponents,
    rosenstein,
)
from phasescope.training.sharpness import Sharpness, sharpness
from phasescope.training.tangents import TangentExponents, tangent_exponents
from phasescope.training.trajectory import Trajectory, trajectory
from phasescope.training.width_scaling import WidthAdvice, WidthCheck, WidthRow, coordinate_check

__all__ = [
    "Adam",
    "AdamW",
    "Autocorrelation",
    "CoordinateSlope",
    "DriftScaling",
    "FlatDirections",
    "GradientDescent",
    "HeavyBall",
    "LayerMovement",
    "LazyOrRich",
    "LearningRateScan",
    "LocalExponents",
    "LocalLearningCoefficient",
    "Map",
    "MomentumRMSprop",
    "Nesterov",
    "Objective",
    "PerturbationGrowth",
    "PowerLaw",
    "PredictedLoss",
    "RMSprop",
    "RangeTest",
    "RateRow",
    "Recurrence",
    "Regimes",
    "Rule",
    "ScanCost",
    "SeriesExponent",
    "Sharpness",
    "SpectralDensity",
    "StepMap",
    "Suggestion",
    "SurrogateMeasures",
    "TangentExponents",
    "TrainingMap",
    "Trajectory",
    "WidthAdvice",
    "WidthCheck",
    "WidthRow",
    "autocorrelation",
    "coordinate_check",
    "drift_scaling",
    "estimate_cost",
    "feedback_alignment",
    "flat_directions",
    "kantz",
    "langevin",
    "lazy_or_rich",
    "local_exponents",
    "objective",
    "oja",
    "perturbation_growth",
    "range_test",
    "recurrence",
    "regimes",
    "rosenstein",
    "scan_learning_rate",
    "sharpness",
    "step_map",
    "tangent_exponents",
    "training_map",
    "trajectory",
]


def __dir__() -> list[str]:
    return list(__all__)
