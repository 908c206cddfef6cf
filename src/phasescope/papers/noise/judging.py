"""Verdicts on claims about order and about counts."""

from __future__ import annotations

from scipy.stats import binomtest

from phasescope.estimate import Estimate
from phasescope.studies.check import Check, Outcome

_SIGMAS = 3.0
_CHANCE, _RARE = 0.025, 0.01
_SMALL = 0.05


def positive(id: str, claim: str, source: str, measured: Estimate, *, note: str = "") -> Check:
    """Return the check of a number that a claim says to be above zero: surely so, surely not, or unknown."""
    verdict: Outcome = "not determined"
    if measured.determined and measured.value > _SIGMAS * measured.error:
        verdict = "agrees"
    elif measured.determined and measured.value < -_SIGMAS * measured.error:
        verdict = "disagrees"
    rule = "Agrees above zero by 3 errors, disagrees below it by 3."
    return Check(id, claim, source, None, measured, verdict, f"{note} {rule}".strip())


def more_than_chance(id: str, claim: str, source: str, measured: Estimate, *, note: str = "") -> Check:
    """Return the check that more of the tested series exclude an explanation than the 2.5 % by chance."""
    return _counted(id, claim, source, measured, note, wanted=True)


def no_more_than_chance(id: str, claim: str, source: str, measured: Estimate, *, note: str = "") -> Check:
    """Return the check that no more of the tested series exclude an explanation than the 2.5 % by chance."""
    return _counted(id, claim, source, measured, note, wanted=False)


def _counted(id: str, claim: str, source: str, measured: Estimate, note: str, *, wanted: bool) -> Check:
    verdict: Outcome = "not determined"
    if measured.determined:
        found = round(measured.value * measured.n)
        p = binomtest(found, measured.n, _CHANCE, alternative="greater").pvalue
        if p < _RARE:
            verdict = "agrees" if wanted else "disagrees"
        elif measured.value + 2 * measured.error < _CHANCE + 2 * _SMALL:
            verdict = "disagrees" if wanted else "agrees"
    rule = f"By chance {100 * _CHANCE:g} % do; more is what has a probability below {_RARE:g}."
    return Check(id, claim, source, _CHANCE, measured, verdict, f"{note} {rule}".strip())
