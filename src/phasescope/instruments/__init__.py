"""Instruments: each measures one thing about a user's model on real input; `inspect` runs all that apply."""

from phasescope.instruments.activation_noise import ActivationNoise
from phasescope.instruments.contract import Finding, Instrument
from phasescope.instruments.inspection import Inspection, inspect
from phasescope.instruments.propagation import SignalPropagation
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

__all__ = [
    "ActivationNoise",
    "Finding",
    "GradientThroughTime",
    "Inspection",
    "Instrument",
    "SignalPropagation",
    "SynapticEnsembles",
    "TokensAndAttention",
    "TrainingRecorder",
    "TrainingStability",
    "inspect",
    "lightning_callback",
    "read_record",
    "recorded_exponent",
    "transformers_callback",
]
