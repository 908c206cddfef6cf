"""Activations: RePU and MRePU, and what is known or found out about any activation."""

from phasescope.activations.activation import Activation
from phasescope.activations.modules import MRePU, RePU
from phasescope.activations.resolve import as_activation, load_activation

__all__ = ["Activation", "MRePU", "RePU", "as_activation", "load_activation"]
