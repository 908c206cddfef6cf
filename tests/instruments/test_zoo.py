"""The contract of instruments, on every model of the zoo."""

import pytest

from phasescope.instruments import SignalPropagation
from phasescope.testing import CHECKS, Case, check_instrument
from zoo import ZOO, every, hundred_million

# One of each kind of layers, inputs and faults; the others are slow.
FAST = {"one_layer", "cnn", "tiny_gpt", "packed_gru", "shared_weights", "tuple_output", "batchnorm", "bf16"}


# These see nothing but the dataset.
OF_THE_DATASET = ["survives_netcdf", "finds_the_same_in_a_stored_dataset", "draws_figures"]


@pytest.mark.parametrize("name", every(fast=FAST))
def test_signal_propagation_keeps_every_promise(name):
    case = Case(name, ZOO[name])
    assert SignalPropagation().applies(*case.factory()) == ""
    names = [check for check in CHECKS if check not in OF_THE_DATASET]
    passed = check_instrument(SignalPropagation(), [case], only=names)
    assert set(names) - set(passed) == {"peak_memory_stays_under_the_limit"}


@pytest.mark.parametrize("name", every(fast={"one_layer", "cnn", "tiny_gpt", "vae"}))
def test_its_dataset_can_be_stored_and_drawn(name):
    case = Case(name, ZOO[name])
    assert check_instrument(SignalPropagation(), [case], only=OF_THE_DATASET) == OF_THE_DATASET


@pytest.mark.slow
def test_signal_propagation_keeps_every_promise_on_the_built_in_cases():
    assert len(check_instrument(SignalPropagation())) == 7 * (len(CHECKS) - 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["cnn", "resnet", "tiny_gpt", "lstm", "packed_gru", "batchnorm", "dict_input"]
)
def test_peak_memory_stays_under_the_limit(name):
    case = Case(name, ZOO[name])
    check_instrument(SignalPropagation(), [case], fast=False, only=["peak_memory_stays_under_the_limit"])


@pytest.mark.slow
def test_a_hundred_million_parameters():
    case = Case("hundred million", hundred_million)
    names = ["accounts_for_every_layer", "skips_with_a_reason", "finds_something_to_say"]
    assert check_instrument(SignalPropagation(), [case], only=names) == names
