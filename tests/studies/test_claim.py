"""What a measured number makes of a claim."""

import math

import pytest

from phasescope.estimate import Estimate
from phasescope.studies import Check, Claim

CLAIM = Claim("slope", "The slope is 1.", "a paper")
UNKNOWN = Estimate.not_determined("too few")


def at(value, error=0.1, n=40):
    return Estimate(value, error, "fit", n)


@pytest.mark.parametrize(
    ("expected", "measured", "options", "verdict"),
    [
        (1.0, at(1.29), {}, "agrees"),
        (1.0, at(1.31), {}, "disagrees"),
        (1.0, at(0.69), {}, "disagrees"),
        (1.0, at(1.31), {"allowance": 0.02}, "agrees"),
        (1.0, at(1.31), {"sigmas": 4}, "agrees"),
        (1.0, at(1.29), {"resolution": 0.05}, "not determined"),
        (1.0, at(1.31), {"resolution": 0.05}, "disagrees"),
        (1.0, UNKNOWN, {}, "not determined"),
        (1.0, at(math.inf), {}, "not determined"),
        (None, at(1.0), {}, "no reference"),
        (math.nan, at(1.0), {}, "no reference"),
    ],
)
def test_a_number_agrees_within_its_errors(expected, measured, options, verdict):
    check = CLAIM.equals(expected, measured, **options)
    assert check.verdict == verdict
    assert (check.id, check.claim, check.source) == ("slope", "The slope is 1.", "a paper")
    assert check.expected == (1.0 if expected == 1.0 else None)


@pytest.mark.parametrize(
    ("measured", "verdict"),
    [(at(0.31), "agrees"), (at(0.29), "not determined"), (at(-0.29), "not determined"),
     (at(-0.31), "disagrees"), (UNKNOWN, "not determined")],
)  # fmt: skip
def test_an_order_is_decided_by_three_errors(measured, verdict):
    check = CLAIM.positive(measured, note="A note.")
    assert check.verdict == verdict
    assert check.note == "A note. Agrees above zero by 3 errors, disagrees below it by 3."
    assert CLAIM.below(2.0, 2.0 - measured).verdict == verdict


@pytest.mark.parametrize(
    ("share", "n", "verdict"),
    # 8 of 100 at 2.5 %: probability 0.004. 5 of 100: 0.11, and the share with 2 errors stays below 12.5 %.
    [(0.08, 100, "agrees"), (0.05, 100, "disagrees"), (0.1, 10, "not determined")],
)
def test_a_count_is_held_against_chance(share, n, verdict):
    measured = Estimate(share, math.sqrt(share * (1 - share) / n), "share of series", n)
    assert CLAIM.more_than_chance(measured).verdict == verdict
    opposite = {"agrees": "disagrees", "disagrees": "agrees"}.get(verdict, verdict)
    assert CLAIM.more_than_chance(measured, wanted=False).verdict == opposite
    assert CLAIM.more_than_chance(UNKNOWN).verdict == "not determined"


def test_a_verdict_is_one_of_four():
    with pytest.raises(ValueError, match="verdict 'maybe' is none of agrees, disagrees"):
        Check("a", "A.", "here", None, at(1.0), "maybe")
