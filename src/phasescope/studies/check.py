"""One claim held against what was measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from phasescope.estimate import Estimate

Outcome = Literal["agrees", "disagrees", "not determined", "no reference"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


@dataclass(frozen=True)
class Check:
    """A claim, where it comes from, what it leads one to expect, what was measured, and the outcome.

    Parameters
    ----------
    id : str
        Unique within the study, such as ``lyapunov/zero-n100``.
    claim : str
        One sentence in plain English that ends with a full stop.
    source : str
        Paper and equation or figure, or "derived here".
    expected : float or None
        The number that the claim leads to; None where it is a statement about order or shape.
    measured : Estimate
        With its error, or not determined with the reason.
    verdict : {"agrees", "disagrees", "not determined", "no reference"}
        A "disagrees" that is true is a result.
    note : str
        What one has to know to read it: the rule of the verdict, choices that the source leaves open.

    Raises
    ------
    ValueError
        If `verdict` is none of the four.
    """

    id: str
    claim: str
    source: str
    expected: float | None
    measured: Estimate
    verdict: Outcome
    note: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in OUTCOMES:
            raise ValueError(f"verdict {self.verdict!r} is none of {', '.join(OUTCOMES)}")

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of ``checks.json``."""
        return {
            "id": self.id,
            "claim": self.claim,
            "source": self.source,
            "expected": self.expected,
            "measured": self.measured.value if math.isfinite(self.measured.value) else None,
            "error": self.measured.error if math.isfinite(self.measured.error) else None,
            "verdict": self.verdict,
            "note": self.note or self.measured.reason,
            "estimate": self.measured.to_dict(),
        }


def compare(
    id: str,
    claim: str,
    source: str,
    expected: float | None,
    measured: Estimate,
    *,
    allowance: float = 0.0,
    resolution: float = math.inf,
    sigmas: float = 3.0,
    note: str = "",
) -> Check:
    """Return the check of a number: it agrees within ``sigmas * error + allowance``.

    Parameters
    ----------
    id, claim, source
        As in :class:`Check`.
    expected : float or None
        None gives "no reference".
    measured : Estimate
        What was found.
    allowance : float
        What the claim itself leaves open, such as a next order in 1/n; to be stated in `note`.
    resolution : float
        Largest error with which agreement says anything; with a larger one the verdict is "not determined",
        unless the numbers differ by more than the error explains.
    sigmas : float
        Standard errors that chance may explain.
    note : str
        As in :class:`Check`.
    """
    verdict: Outcome
    if not measured.determined or not math.isfinite(measured.value):
        verdict = "not determined"
    elif expected is None:
        verdict = "no reference"
    elif abs(measured.value - expected) > sigmas * measured.error + allowance:
        verdict = "disagrees"
    else:
        verdict = "agrees" if measured.error <= resolution else "not determined"
    return Check(id, claim, source, expected, measured, verdict, note)
