"""Until the last part is data with functions: the old way to make a check."""

from __future__ import annotations

from typing import Any

from phasescope.estimate import Estimate
from phasescope.studies.claim import OUTCOMES, Check, Claim, Outcome

__all__ = ["OUTCOMES", "Check", "Outcome", "compare"]


def compare(
    id: str, claim: str, source: str, expected: float | None, measured: Estimate, **options: Any
) -> Check:
    """Return the check of a number."""
    return Claim(id, claim, source).equals(expected, measured, **options)
