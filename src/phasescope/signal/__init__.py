"""Signal propagation through finite networks: a user's own module, layer by layer."""

from __future__ import annotations

from typing import Any

from phasescope.signal.profile import Profile, profile
from phasescope.signal.verdict import Verdict, verdict

__all__ = ["Profile", "Verdict", "critical_", "profile", "verdict"]


def __getattr__(name: str) -> Any:
    if name != "critical_":
        raise AttributeError(f"module 'phasescope.signal' has no attribute {name!r}")
    from phasescope.signal.initialise import critical_

    return critical_
