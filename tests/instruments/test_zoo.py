"""The contract of instruments, on every model of the zoo."""

import pytest

from phasescope.instruments import SignalPropagation
from phasescope.testing import CHECKS, Case, check_instrument
from zoo import ZOO, hundred_million

CASES = [Case(name, factory) for name, factory in ZOO.items()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_signal_propagation_keeps_every_promise(case):
    assert SignalPropagation().applies(*case.factory()) == ""
    passed = check_instrument(SignalPropagation(), [case])
    assert set(CHECKS) - set(passed) == {"peak_memory_stays_under_the_limit"}


def test_signal_propagation_keeps_every_promise_on_the_built_in_cases():
    assert len(set(check_instrument(SignalPropagation()))) >= 20


def test_the_zoo_builds_the_same_model_every_time():
    for case in CASES:
        check_instrument(SignalPropagation(), [case], only=["measures_the_same_again"])


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_peak_memory_stays_under_the_limit(case):
    check_instrument(SignalPropagation(), [case], fast=False, only=["peak_memory_stays_under_the_limit"])


@pytest.mark.slow
def test_a_hundred_million_parameters():
    case = Case("hundred million", hundred_million)
    names = ["accounts_for_every_layer", "skips_with_a_reason", "finds_something_to_say"]
    assert check_instrument(SignalPropagation(), [case], only=names) == names
