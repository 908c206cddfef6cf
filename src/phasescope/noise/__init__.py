"""Fluctuations of activations in time: exponents with honest errors, and the nulls that imitate them."""

from __future__ import annotations

from phasescope.noise.record import record
from phasescope.noise.recording import Recording

__all__ = [
    "Recording",
    "record",
]
