"""Memory sizes, the counted peak, and how many samples fit."""

import math
import sys

import psutil
import pytest
import torch
from torch import nn

from phasescope.errors import InputError, MemoryLimitError
from phasescope.recording.memory import Tidy, default_limit, in_bytes, peak_bytes, samples_that_fit
from phasescope.testing.resident import in_fresh_process

MODEL = nn.Linear(10, 10)


@pytest.mark.parametrize(
    ("text", "size"),
    [("512MB", 512_000_000), ("2 GiB", 2**31), ("1.5kb", 1500), ("100", 100), (4096, 4096), (1e6, 1_000_000)],
)
def test_sizes(text, size):
    assert in_bytes(text) == size


@pytest.mark.parametrize("text", ["MB", "12 XB", "1..5MB", ".", "-3MB", 0, -1.0, math.inf, math.nan])
def test_what_is_no_size(text):
    with pytest.raises(InputError):
        in_bytes(text)


def test_default_is_a_gigabyte_or_twice_the_weights():
    assert default_limit(MODEL) == 1e9
    with torch.device("meta"):
        assert default_limit(nn.Linear(20_000, 10_000, bias=False)) == 2 * 4 * 2e8


def test_peak_counts_what_is_alive_at_once():
    def work():
        a = torch.zeros(1000)
        b = a + 1
        del a
        c = b + 1
        del b, c
        torch.zeros(10)

    assert peak_bytes(MODEL, work) == 8000


def test_views_and_the_models_own_tensors_cost_nothing():
    x = torch.zeros(1000)
    assert peak_bytes(MODEL, lambda: (x.add_(1), MODEL.weight.t(), MODEL.weight.view(-1))) <= x.nbytes


def test_linear_memory_is_filled_to_the_margin():
    def work(samples):
        torch.zeros(samples, 1000)

    assert samples_that_fit(MODEL, work, 1000, 400_000, margin=0.5) == 50
    assert samples_that_fit(MODEL, work, 30, 400_000, margin=0.5) == 30
    assert samples_that_fit(MODEL, work, 1000, 8_500, margin=0.5) == 2


def test_a_peak_that_few_samples_hide_is_foreseen():
    # 4 MB before anything depends on the samples; then 4 kB a sample, the peak from 1000 samples on.
    def work(samples):
        torch.zeros(1_000_000)
        torch.zeros(samples, 1000)

    fit = samples_that_fit(MODEL, work, 4000, 12e6, margin=0.5)
    assert 2 < fit * 4000 <= 6e6


def test_work_of_other_operations_counts_as_growing_as_a_whole():
    def work(samples):
        kept = [torch.zeros(1000) for _ in range(samples)]
        assert len(kept) == samples

    assert samples_that_fit(MODEL, work, 1000, 400_000, margin=0.5) == 50


def test_work_runs_twice_at_most_and_once_where_everything_fits():
    sizes = []

    def work(samples):
        sizes.append(samples)
        torch.zeros(samples, 1000)

    samples_that_fit(MODEL, work, 1000, 1e9)
    assert sizes == [2]
    samples_that_fit(MODEL, work, 1000, 1e6)
    assert sizes == [2, 2, 4]


def test_nothing_fits():
    with pytest.raises(MemoryLimitError, match=r"8\.0 MB.*7\.0 MB"):
        samples_that_fit(MODEL, lambda n: torch.zeros(n, 1_000_000), 10, 7e6)


def resident():
    return psutil.Process().memory_info().rss


@pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot be told to take memory back")
@pytest.mark.slow
def test_freed_memory_is_given_back_beyond_half_the_limit():
    in_fresh_process(give_back)  # with memory that no other test has freed before


def give_back():
    tidy = Tidy(60e6)
    pieces = [bytearray(100_000) for _ in range(400)]  # too small to be mapped each for itself
    last = pieces.pop()
    before = resident()
    pieces.clear()
    kept = resident()
    tidy()
    assert kept > before - 1e7  # behind the last piece, which is alive
    assert resident() < before - 3e7
    assert len(last) == 100_000


def test_freed_memory_stays_below_half_the_limit():
    tidy = Tidy(600e6)
    pieces = [bytearray(100_000) for _ in range(400)]
    last = pieces.pop()
    pieces.clear()
    before = resident()
    tidy()
    assert abs(resident() - before) < 1e7
    assert len(last) == 100_000
