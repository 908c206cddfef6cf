"""Instruments: each measures one thing about a user's model on real input; `inspect` runs all that apply."""

from phasescope.instruments.activation_noise import ActivationNoise
from phasescope.instruments.contract import Finding, Instrument
from phasescope.instruments.inspection import Inspection, inspect
from phasescope.instruments.propagation import SignalPropagation

__all__ = ["ActivationNoise", "Finding", "Inspection", "Instrument", "SignalPropagation", "inspect"]
