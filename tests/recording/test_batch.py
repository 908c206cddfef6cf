"""Batches in any structure."""

from collections import UserDict, namedtuple

import pytest
import torch
from torch import nn

from phasescope.errors import InputError
from phasescope.recording import as_batch
from phasescope.recording.batch import all_floats, first_float, replace_first_float

MODEL = nn.Linear(3, 3)
Pair = namedtuple("Pair", "left right")


class Many(nn.Module):
    def forward(self, *args, **kwargs):
        return args, kwargs


def test_a_part_is_a_copy_and_what_has_no_samples_is_passed_whole():
    x, table = torch.randn(5, 3), torch.randn(2, 7)
    batch = as_batch(Many(), (x, {"table": table, "name": "text"}))
    part = batch.take(1, 3)
    assert part.size == 2
    assert torch.equal(part.args[0], x[1:3])
    assert torch.equal(part.args[1]["table"], table)
    assert part.args[1]["name"] == "text"
    part.args[0].zero_()
    part.args[1]["table"].zero_()
    assert x.abs().sum() > 0
    assert table.abs().sum() > 0


def test_a_part_beyond_the_end_is_short():
    assert as_batch(MODEL, torch.randn(5, 3)).take(4, 8).size == 1


def test_nested_structures_keep_their_types():
    batch = as_batch(Many(), (Pair(torch.zeros(2), [torch.ones(2)]), {"a": (torch.zeros(2),)}))
    left = batch.take(0, 1).args[0]
    assert isinstance(left, Pair)
    assert isinstance(left.right, list)
    assert isinstance(batch.args[1]["a"], tuple)


def test_mappings_become_keyword_arguments():
    for mapping in ({"x": torch.zeros(2, 3)}, UserDict(x=torch.zeros(2, 3))):
        batch = as_batch(Many(), mapping)
        assert batch.args == ()
        assert list(batch.kwargs) == ["x"]


def test_integers_and_masks_carry_no_tangent():
    batch = as_batch(
        Many(),
        {"ids": torch.zeros(2, 3, dtype=torch.long), "attention_mask": torch.ones(2, 3), "x": torch.zeros(2)},
    )
    assert [tuple(t.shape) for t in batch.floats()] == [(2,)]


def test_floats_can_be_replaced_in_order():
    x, y = torch.zeros(2, 3), torch.ones(2, 4)
    batch = as_batch(Many(), (x, torch.zeros(2, dtype=torch.long), {"y": y}))
    changed = batch.with_floats([x + 5, y + 5])
    assert torch.equal(changed.args[0], x + 5)
    assert torch.equal(changed.args[2]["y"], y + 5)
    assert torch.equal(batch.args[0], x)


def test_infinite_masks_are_allowed_and_infinite_inputs_are_not():
    mask = torch.full((2, 3), -torch.inf)
    as_batch(Many(), {"x": torch.zeros(2, 3), "attn_mask": mask})
    with pytest.raises(InputError, match="infinite"):
        as_batch(Many(), {"x": mask})


def test_identical_pairs_are_judged_by_every_tensor():
    x = torch.tensor([[1.0], [1.0], [2.0], [2.0], [3.0]])
    assert as_batch(MODEL, x).identical_pairs() == [True, True]
    ids = torch.tensor([0, 0, 0, 1, 0])
    assert as_batch(Many(), (x, ids.unsqueeze(1))).identical_pairs() == [True, False]


def test_shapes_and_bytes():
    batch = as_batch(Many(), {"x": torch.zeros(2, 3), "ids": torch.zeros(2, dtype=torch.long)})
    assert batch.shapes() == "x: (2, 3) float32, ids: (2,) int64"
    assert batch.nbytes() == 2 * 3 * 4 + 2 * 8


def test_first_float_of_an_output():
    out = {
        "loss": None,
        "ids": torch.zeros(2, dtype=torch.long),
        "logits": torch.ones(2),
        "h": torch.zeros(2),
    }
    assert first_float(out) is out["logits"]
    assert first_float((None, 3)) is None
    assert len(all_floats(out)) == 2
    swapped = replace_first_float(out, torch.full((2,), 7.0))
    assert swapped["logits"][0] == 7
    assert swapped["h"] is out["h"]
