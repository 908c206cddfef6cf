"""A dataset read row by row."""

import numpy as np
import pytest

from phasescope.instruments.rows import Row
from synthetic_profile import synthetic_blocks, synthetic_profile


@pytest.fixture
def dataset():
    """A profile of two weight layers, the activation between them skipped."""
    return synthetic_profile(2).assign_coords(skipped=("layer", ["", "not called", ""]))


def test_skipped_rows_are_left_out(dataset):
    assert [(row.text("layer"), row.index) for row in Row.measured(dataset)] == [("0", 0), ("2", 2)]


def test_steps_are_the_rows_of_the_stream_at_which_its_depth_grows():
    names = [row.text("layer") for row in Row.steps(synthetic_blocks(2))]
    sums = ["h.0.attn (sum)", "h.0 (sum)", "h.1.attn (sum)", "h.1 (sum)"]
    assert names == ["wte", *sums, "lm_head"]  # not the branches, and not the norm before the read-out


def test_a_number_comes_with_its_error_and_what_it_is(dataset):
    row = Row(dataset, 0)
    found = row.estimate("kernel")
    assert (found.value, found.error) == (row["kernel"], row["kernel_error"]) == (1.0, 0.05)
    assert (found.method, found.n) == ("mean square of the row's output", 16)


def test_a_number_that_is_missing_is_not_determined(dataset):
    dataset["kernel"].values[0] = np.nan
    assert str(Row(dataset, 0).estimate("kernel")) == "not determined: not measured"


@pytest.mark.parametrize(
    ("name", "most", "short"),
    [
        ("blocks.3.attention.q", 20, "blocks.3.attention.q"),
        ("blocks.3.attention.q", 12, "attention.q"),
        ("blocks.3.attention.q", 5, "q"),
        ("no_dots_at_all", 7, "…at_all"),
    ],
)
def test_a_long_name_loses_the_first_parts_of_its_path(dataset, name, most, short):
    row = Row(dataset.assign_coords(layer=[name, "1", "2"]), 0)
    assert row.short_name(most) == short
    assert len(short) <= most
