"""Instruments for the physics and dynamics of neural networks.

The names below are the public surface. Each is imported on first use, so that ``import phasescope`` costs
little more than the Python files it names.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phasescope import activations as activations
    from phasescope import citations as citations
    from phasescope import data as data
    from phasescope import errors as errors
    from phasescope import instruments as instruments
    from phasescope import noise as noise
    from phasescope import papers as papers
    from phasescope import recording as recording
    from phasescope import recurrent as recurrent
    from phasescope import report as report
    from phasescope import scaling as scaling
    from phasescope import signal as signal
    from phasescope import structure as structure
    from phasescope import studies as studies
    from phasescope import sweep as sweep
    from phasescope import synapses as synapses
    from phasescope import testing as testing
    from phasescope import theory as theory
    from phasescope import training as training
    from phasescope.citations import citation as citation
    from phasescope.estimate import Estimate as Estimate
    from phasescope.instruments.inspection import inspect as inspect
    from phasescope.results import Result as Result
    from phasescope.results import load as load

__version__ = "0.1.0"

_HOMES = {
    "Estimate": "phasescope.estimate",
    "citation": "phasescope.citations",
    "Result": "phasescope.results",
    "inspect": "phasescope.instruments",
    "load": "phasescope.results",
}
_ROOMS = (
    "activations",
    "citations",
    "data",
    "errors",
    "instruments",
    "noise",
    "papers",
    "recording",
    "recurrent",
    "report",
    "scaling",
    "signal",
    "structure",
    "studies",
    "sweep",
    "synapses",
    "testing",
    "theory",
    "training",
)

__all__ = [
    "Estimate",
    "Result",
    "__version__",
    "activations",
    "citation",
    "citations",
    "data",
    "errors",
    "inspect",
    "instruments",
    "load",
    "noise",
    "papers",
    "recording",
    "recurrent",
    "report",
    "scaling",
    "signal",
    "structure",
    "studies",
    "sweep",
    "synapses",
    "testing",
    "theory",
    "training",
]


if not TYPE_CHECKING:  # a type checker knows every name by itself, and tells of a misspelt one

    def __getattr__(name: str) -> Any:
        if name in _HOMES:
            value = getattr(importlib.import_module(_HOMES[name]), name)
        elif name in _ROOMS:
            value = importlib.import_module(f"phasescope.{name}")
        else:
            raise AttributeError(f"module 'phasescope' has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
