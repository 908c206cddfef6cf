"""Activations: RePU, MRePU and forms of them, and what is known or found out about any activation."""

from phasescope.activations.activation import Activation
from phasescope.activations.modules import LearnedMRePU, MRePU, RePU, Scaled
from phasescope.activations.resolve import as_activation, load_activation

__all__ = ["Activation", "LearnedMRePU", "MRePU", "RePU", "Scaled", "as_activation", "load_activation"]


def __dir__() -> list[str]:
    return list(__all__)
