"""A network's own state in time."""

from __future__ import annotations

from phasescope.recurrent.hysteresis import HysteresisLoop, hysteresis_loop
from phasescope.recurrent.state_exponents import LayerInTime, ThroughTime, through_time

__all__ = ["HysteresisLoop", "LayerInTime", "ThroughTime", "hysteresis_loop", "through_time"]


def __dir__() -> list[str]:
    return list(__all__)
