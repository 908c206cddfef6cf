"""Fluctuations of activations in time: exponents with honest errors, and the nulls that imitate them."""

from __future__ import annotations

from phasescope.noise.dfa import dfa
from phasescope.noise.dfa_result import DFA
from phasescope.noise.expected import expected_fluctuation
from phasescope.noise.record import record
from phasescope.noise.recording import Recording
from phasescope.noise.utilisation import Utilisation, utilisation

__all__ = [
    "DFA",
    "Recording",
    "Utilisation",
    "dfa",
    "expected_fluctuation",
    "record",
    "utilisation",
]
