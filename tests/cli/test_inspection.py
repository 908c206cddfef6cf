"""Sizes of memory as people write them."""

import pytest

from phasescope.cli.inspection import memory_bytes
from phasescope.errors import InputError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (None, None),
        ("1000", 1000),
        ("500MB", 500_000_000),
        ("500 mb", 500_000_000),
        ("2G", 2_000_000_000),
        ("1.5GiB", 1_610_612_736),
        ("64KiB", 65536),
    ],
)
def test_memory_bytes(text, size):
    assert memory_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "2 GBs", "0MB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(InputError, match="max-memory"):
        memory_bytes(text)
