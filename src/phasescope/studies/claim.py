"""A claim of a paper, and the check that a measured number makes of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from scipy.stats import binomtest

from phasescope.estimate import Estimate
from phasescope.studies.naming import check_name

Outcome = Literal["agrees", "disagrees", "not determined", "no reference"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

_ID = (r"\w[\w.+-]*", "letters, digits and . + - _")
_SIGMAS = 3.0
# Share of series that a test excludes by chance; what is rarer than chance; what is too little to be more.
_CHANCE, _RARE, _SMALL = 0.025, 0.01, 0.05


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


@dataclass(frozen=True)
class Claim:
    """A sentence of a paper; each method holds a measured number against it and returns the check.

    Parameters
    ----------
    id : str
        Unique within the part, such as ``kappa``; the engine puts the name of the part before it.
    sentence : str
        The claim in plain English, with a full stop.
    source : str
        Paper and equation or figure, or "derived here".

    Raises
    ------
    InputError
        If `id` has something else in it than letters, digits and ``. + - _``.

    Examples
    --------
    >>> Claim("slope", "The exponent is 1.").equals(1, Estimate(1.02, 0.01, "fit", 9)).verdict
    'agrees'
    """

    id: str
    sentence: str
    source: str = "derived here"

    def __post_init__(self) -> None:
        check_name("claim", self.id, _ID)

    def equals(
        self,
        expected: float | None,
        measured: Estimate,
        *,
        allowance: float = 0.0,
        resolution: float = math.inf,
        sigmas: float = _SIGMAS,
        note: str = "",
    ) -> Check:
        """Return the check of a number: it agrees within ``sigmas * error + allowance``.

        Parameters
        ----------
        expected : float or None
            The number that the claim leads to; None or NaN gives "no reference".
        measured : Estimate
            What was found.
        allowance : float
            What the claim itself leaves open, such as a next order in 1/n; to be stated in `note`.
        resolution : float
            Largest error with which agreement says anything; with a larger one the verdict is "not
            determined", unless the numbers differ by more than the error explains.
        sigmas : float
            Standard errors that chance may explain.
        note : str
            What one has to know to read it.
        """
        if expected is not None and not math.isfinite(expected):
            expected = None
        verdict: Outcome
        if not measured.determined or not math.isfinite(measured.value):
            verdict = "not determined"
        elif expected is None:
            verdict = "no reference"
        elif abs(measured.value - expected) > sigmas * measured.error + allowance:
            verdict = "disagrees"
        else:
            verdict = "agrees" if measured.error <= resolution else "not determined"
        return self.found(expected, measured, verdict, note)

    def positive(self, measured: Estimate, *, note: str = "") -> Check:
        """Return the check of a number above zero: it agrees 3 errors above, and disagrees 3 below.

        Parameters
        ----------
        measured : Estimate
            Above zero if the claim is true.
        note : str
            What one has to know to read it; the rule is added.
        """
        rule = "Agrees above zero by 3 errors, disagrees below it by 3."
        return self.found(None, measured, _above_zero(measured), f"{note} {rule}".strip())

    def below(self, limit: float, measured: Estimate, *, note: str = "") -> Check:
        """Return the check of a number below a limit: it agrees 3 errors below, and disagrees 3 above.

        Parameters
        ----------
        limit : float
            What the number stays below if the claim is true.
        measured : Estimate
            What was found.
        note : str
            What one has to know to read it, the rule included.
        """
        return self.found(None, measured, _above_zero(limit - measured), note)

    def more_than_chance(self, share: Estimate, *, wanted: bool = True, note: str = "") -> Check:
        """Return the check that more of the tested series exclude an explanation than the 2.5 % by chance.

        Parameters
        ----------
        share : Estimate
            Of the tested series, with their number as `n`.
        wanted : bool
            False turns the claim round: no more than by chance.
        note : str
            What one has to know to read it; the rule is added.
        """
        verdict: Outcome = "not determined"
        if share.determined:
            p = binomtest(round(share.value * share.n), share.n, _CHANCE, alternative="greater").pvalue
            if p < _RARE:
                verdict = "agrees" if wanted else "disagrees"
            elif share.value + 2 * share.error < _CHANCE + 2 * _SMALL:
                verdict = "disagrees" if wanted else "agrees"
        rule = f"By chance {100 * _CHANCE:g} % do; more is what has a probability below {_RARE:g}."
        return self.found(_CHANCE, share, verdict, f"{note} {rule}".strip())

    def of_all(self, share: Estimate, *, note: str = "") -> Check:
        """Return the check of something that all do; fewer than three of them determine nothing.

        Parameters
        ----------
        share : Estimate
            Of those that do it, with their number as `n`.
        note : str
            What one has to know to read it; the rule is added.
        """
        verdict: Outcome = "not determined"
        if share.determined and share.n >= 3 and (share.value == 1 or share.value <= 0.5):
            verdict = "agrees" if share.value == 1 else "disagrees"
        rule = "Agrees where all do, disagrees where at most half do; fewer than three determine nothing."
        return self.found(1.0, share, verdict, f"{note} {rule}".strip())

    def found(self, expected: float | None, measured: Estimate, verdict: Outcome, note: str = "") -> Check:
        """Return the check with a verdict that the part has come to by itself.

        Parameters
        ----------
        expected : float or None
            The number that the claim leads to, if it is one.
        measured : Estimate
            What was found.
        verdict : {"agrees", "disagrees", "not determined", "no reference"}
            The part's own.
        note : str
            The rule of the verdict.
        """
        return Check(self.id, self.sentence, self.source, expected, measured, verdict, note)


def _above_zero(measured: Estimate) -> Outcome:
    if measured.determined and measured.value > _SIGMAS * measured.error:
        return "agrees"
    if measured.determined and measured.value < -_SIGMAS * measured.error:
        return "disagrees"
    return "not determined"
