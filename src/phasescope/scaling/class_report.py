"""What :func:`phasescope.scaling.identify_class` returns: a verdict on every class, with its numbers."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass, field
from typing import Any, Literal

from phasescope.estimate import Estimate
from phasescope.scaling.collapse_result import Collapse
from phasescope.scaling.local_slopes import LocalSlopes

Verdict = Literal["supported", "excluded", "not determined"]


@dataclass(frozen=True)
class Candidate:
    """One class held against the data.

    Parameters
    ----------
    name : str
        The class.
    verdict : {"supported", "excluded", "not determined"}
        What the data say.
    reason : str
        Why.
    exponent : Estimate
        delta of a homogeneous start or theta of a seed, fitted with the corrections of this class.
    expected : Estimate
        The same of the class.
    distance : float
        Between the two in standard errors of both; NaN where there is none.
    off_critical : Estimate
        What the distance from criticality adds to ``ln y`` at the end of the window.
    nu_par, expected_nu_par : Estimate
        From the collapse of several control values; not determined without.
    """

    name: str
    verdict: Verdict
    reason: str
    exponent: Estimate
    expected: Estimate
    distance: float
    off_critical: Estimate
    nu_par: Estimate
    expected_nu_par: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values; None in place of NaN."""
        return {
            "name": self.name,
            "verdict": self.verdict,
            "reason": self.reason,
            "exponent": self.exponent.to_dict(),
            "expected": self.expected.to_dict(),
            "distance": self.distance if math.isfinite(self.distance) else None,
            "off_critical": self.off_critical.to_dict(),
            "nu_par": self.nu_par.to_dict(),
            "expected_nu_par": self.expected_nu_par.to_dict(),
        }


@dataclass(frozen=True)
class ClassReport:
    """Which known universality class data support or exclude.

    Parameters
    ----------
    verdict : str
        Name of the class, or "not determined".
    reason : str
        Why.
    candidates : tuple of Candidate
        All classes that were compared.
    start : {"homogeneous", "seed"}
        What the runs began with.
    runs : int
        Independent runs.
    window : tuple of float or None
        Times that were used.
    slopes : LocalSlopes or None
        Local slopes of the mean over runs, in the window.
    collapse : Collapse or None
        Of several control values.
    notes : tuple of str
        What one has to know, such as a window that was cut.
    citations : str
        Keys of the papers behind the exponents.
    """

    verdict: str
    reason: str
    candidates: tuple[Candidate, ...]
    start: str
    runs: int
    window: tuple[float, float] | None
    slopes: LocalSlopes | None = field(repr=False)
    collapse: Collapse | None = field(repr=False)
    notes: tuple[str, ...]
    citations: str

    def __getitem__(self, name: str) -> Candidate:
        return next(candidate for candidate in self.candidates if candidate.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Return the verdicts and their numbers as JSON-ready values."""
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "candidates": [candidate.to_dict() for candidate in self.candidates],
            "start": self.start,
            "runs": self.runs,
            "window": list(self.window) if self.window else None,
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        symbol = "theta" if self.start == "seed" else "delta"
        lines = [f"universality class: {self.verdict}", _indented(self.reason)]
        if self.window:
            lines.append(f"  {self.runs} runs, t = {self.window[0]:.4g} to {self.window[1]:.4g}")
        if self.slopes is not None and self.slopes.x.size:
            lines.append(f"  local slopes: {self._slope(0)}, {self._slope(-1)}")
        known_nu = any(candidate.nu_par.determined for candidate in self.candidates)
        head = f" {'class':<16}{'verdict':<15}{symbol:<17}{'known':>7}{'apart':>6}"
        lines.append(head + (f"{'nu_par':>17}" if known_nu else f"{'off-critical':>17}"))
        for candidate in self.candidates:
            if not candidate.exponent.determined:
                lines.append(f" {candidate.name:<16}{candidate.verdict}")
                continue
            last = candidate.nu_par if known_nu else candidate.off_critical
            known = f"{candidate.expected.value:.4g}" if candidate.expected.determined else "-"
            apart = f"{candidate.distance:.1f}" if math.isfinite(candidate.distance) else "-"
            lines.append(
                f" {candidate.name:<16}{candidate.verdict:<15}{candidate.exponent!s:<17}{known:>7}"
                f"{apart:>6}{last!s:>17}"
            )
        for note in self.notes:
            lines.append(_indented(note))
        return "\n".join(lines)

    def _slope(self, index: int) -> str:
        assert self.slopes is not None
        slope = Estimate(float(self.slopes.slope[index]), float(self.slopes.error[index]), "", self.runs)
        return f"{slope} at t ~ {self.slopes.x[index]:.3g}"


def _indented(text: str) -> str:
    return textwrap.fill(text, 79, initial_indent="  ", subsequent_indent="  ")
