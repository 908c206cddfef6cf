"""Instruments for the physics and dynamics of neural networks.

The names below are the public surface. Each is imported on first use, so that ``import phasescope`` costs
little more than the Python files it names.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Estimate": "phasescope.estimate",
    "citation": "phasescope.citations",
    "inspect": "phasescope.instruments",
}
_ROOMS = ("activations", "data", "errors", "instruments", "report", "signal", "testing", "theory")

__all__ = ["Estimate", "__version__", "activations", "citation", "data", "errors", "inspect"]
__all__ += ["instruments", "report", "signal", "testing", "theory"]


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
