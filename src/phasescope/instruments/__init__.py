"""Instruments: each measures one thing about a user's model on real input; `inspect` runs all that apply."""

from phasescope.instruments.activation_noise import ActivationNoise
from phasescope.instruments.contract import Finding, Instrument
from phasescope.instruments.edges import RemovableEdges
from phasescope.instruments.hysteresis import Hysteresis
from phasescope.instruments.inspection import Inspection, inspect
from phasescope.instruments.langevin import LangevinProbe
from phasescope.instruments.lazy import LazyTraining
from phasescope.instruments.limits import Check, check, read_limits
from phasescope.instruments.propagation import SignalPropagation
from phasescope.instruments.spectra import JacobianSpectra
from phasescope.instruments.symptoms import Symptoms
from phasescope.instruments.synapses import SynapticEnsembles
from phasescope.instruments.through_time import GradientThroughTime
from phasescope.instruments.tokens import TokensAndAttention
from phasescope.instruments.training import (
    TrainingRecorder,
    TrainingStability,
    lightning_callback,
    read_record,
    recorded_exponent,
    transformers_callback,
)
from phasescope.instruments.weights import WeightStructure

__all__ = [
    "ActivationNoise",
    "Check",
    "Finding",
    "GradientThroughTime",
    "Hysteresis",
    "Inspection",
    "Instrument",
    "JacobianSpectra",
    "LangevinProbe",
    "LazyTraining",
    "RemovableEdges",
    "SignalPropagation",
    "Symptoms",
    "SynapticEnsembles",
    "TokensAndAttention",
    "TrainingRecorder",
    "TrainingStability",
    "WeightStructure",
    "check",
    "inspect",
    "lightning_callback",
    "read_limits",
    "read_record",
    "recorded_exponent",
    "transformers_callback",
]


def __dir__() -> list[str]:
    return list(__all__)
