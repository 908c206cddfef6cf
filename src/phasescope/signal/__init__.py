"""Signal propagation through finite networks: a user's own module, layer by layer."""

from __future__ import annotations

from phasescope.signal.initialisation import Initialisation
from phasescope.signal.initialise import critical_
from phasescope.signal.profile import Profile, profile
from phasescope.signal.verdict import Verdict, verdict

__all__ = ["Initialisation", "Profile", "Verdict", "critical_", "profile", "verdict"]
