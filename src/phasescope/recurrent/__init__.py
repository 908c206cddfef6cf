"""A network's own state in time."""

from __future__ import annotations

from phasescope.recurrent.state_exponents import LayerInTime, ThroughTime, through_time

__all__ = ["LayerInTime", "ThroughTime", "through_time"]
