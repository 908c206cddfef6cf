"""What counts as resident memory, and where a fresh process is used."""

import os

import numpy as np
import pytest
import torch

from instruments.norms import OutputNorms
from phasescope.testing import Case, check_instrument
from phasescope.testing.resident import in_fresh_process, resident_peak

SIZE = 40_000_000


def test_what_is_taken_and_freed_counts_each_time():
    for _ in range(2):
        assert 0.98 * SIZE < resident_peak(lambda: np.ones(SIZE // 8)) < 1.1 * SIZE


def test_what_is_only_reserved_does_not_count():
    assert resident_peak(lambda: np.empty(SIZE // 8)) < 0.1 * SIZE


def test_what_cannot_be_sent_is_run_here():
    assert in_fresh_process(lambda: os.getpid()) == os.getpid()


@pytest.mark.slow
def test_what_can_be_sent_is_run_elsewhere():
    assert in_fresh_process(os.getpid) != os.getpid()
    with pytest.raises(AssertionError, match="invalid literal"):
        in_fresh_process(int, "seven")


def test_an_instrument_that_takes_more_than_its_limit_is_caught():
    class Hungry(OutputNorms):
        def measure(self, model, batch, *, seed=0, max_memory=None):
            return super().measure(model, batch, seed=seed)

    def wide():
        return torch.nn.Linear(4096, 2), torch.randn(512, 4096)

    with pytest.raises(AssertionError, match=r"took \d+\.\d MiB with max_memory=\d+\.\d MiB"):
        check_instrument(
            Hungry(), [Case("wide", wide)], fast=False, only=["peak_memory_stays_under_the_limit"]
        )
