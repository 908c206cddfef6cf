"""Batches in any structure."""

from collections import UserDict, namedtuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_packed_sequence
from torch.utils.data import DataLoader, TensorDataset

from phasescope.errors import InputError
from phasescope.recording import as_batch
from phasescope.recording.batch import (
    all_floats,
    first_float,
    leaves,
    map_leaves,
    repacked,
    replace_first_float,
    unpacked,
)

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


def loader():
    generator = torch.Generator().manual_seed(3)
    data = TensorDataset(torch.arange(12.0).reshape(6, 2), torch.arange(6))
    return DataLoader(data, batch_size=4, shuffle=True, generator=generator), generator


def test_the_first_batch_of_a_loader_is_taken_and_the_loader_left_as_it_was():
    (source, generator), model = loader(), nn.Linear(2, 2)
    random, state = torch.get_rng_state(), generator.get_state()
    batch = as_batch(model, source)
    assert batch.size == 4
    assert batch.notes[0] == "the first batch of the data loader was taken"
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(generator.get_state(), state)
    first, labels = next(iter(source))
    assert torch.equal(batch.args[0], first)
    assert torch.equal(batch.targets, labels)


def test_an_iterator_is_refused_and_not_moved_on():
    source = iter([torch.zeros(2, 3)])
    with pytest.raises(InputError, match=r"an iterator, .*next\(iter"):
        as_batch(MODEL, source)
    assert next(source).shape == (2, 3)


def test_a_list_of_samples_of_different_lengths_is_refused_with_the_reason():
    with pytest.raises(InputError, match=r"3 tensors of different lengths \(3, 5, 2\).*pad_sequence"):
        as_batch(MODEL, [torch.zeros(n, 3) for n in (3, 5, 2)])


def test_numpy_arrays_are_converted_and_said():
    values = np.arange(6.0).reshape(2, 3)
    batch = as_batch(Many(), {"x": values, "more": [values.astype(np.int64)]})
    assert torch.equal(batch.kwargs["x"], torch.arange(6.0).reshape(2, 3).double())
    assert batch.kwargs["more"][0].dtype == torch.int64
    assert "numpy arrays were copied to tensors" in batch.notes
    batch.kwargs["x"].zero_()
    assert values.sum() == 15


def test_names_that_forward_does_not_have_are_left_out_and_said():
    batch = as_batch(MODEL, {"input": torch.zeros(2, 3), "label": torch.tensor([0, 1])})
    assert list(batch.kwargs) == ["input"]
    assert torch.equal(batch.targets, torch.tensor([0, 1]))
    assert batch.notes == ("label of the batch was left out: forward has no such argument",)


def test_words_without_tensors_are_told_how_to_get_them():
    with pytest.raises(InputError, match='return_tensors="pt"'):
        as_batch(Many(), UserDict(input_ids=[[1, 2], [3, 4]]))


class Cache:
    def __init__(self, tensor):
        self.layers, self.name = [{"keys": tensor}], "cache"


def test_mappings_and_objects_keep_their_type_and_the_users_own_is_not_changed():
    cache, words = Cache(torch.zeros(2, 3)), UserDict(ids=torch.ones(2, 3))
    batch = as_batch(Many(), {"cache": cache, "words": words})
    part = batch.take(0, 1)
    assert isinstance(part.kwargs["cache"], Cache)
    assert isinstance(part.kwargs["words"], UserDict)
    part.kwargs["cache"].layers[0]["keys"] += 1
    part.kwargs["words"]["ids"] += 1
    assert cache.layers[0]["keys"].sum() == 0
    assert words["ids"].sum() == 6
    assert part.kwargs["cache"].name == "cache"


def test_a_packed_sequence_is_one_leaf():
    packed = pack_sequence([torch.randn(n, 2) for n in (4, 2)])
    assert list(leaves({"x": packed}, torch.Tensor)) == []
    assert list(leaves({"x": packed}, PackedSequence)) == [packed]
    assert map_leaves(lambda t: t + 1, [packed])[0] is packed


def test_packing_again_gives_the_same_packed_sequence():
    for order in ([4, 4, 2, 1], [1, 4, 2, 4]):
        sequences = [torch.randn(n, 2) for n in order]
        packed = pack_sequence(sequences, enforce_sorted=False)
        (made,) = unpacked([packed])
        assert made.lengths.tolist() == order
        assert torch.equal(made.padded, pad_packed_sequence(packed, batch_first=True)[0])
        (again,) = repacked([made])
        padded, lengths = pad_packed_sequence(again, batch_first=True)
        assert torch.equal(padded, made.padded)
        assert lengths.tolist() == order


def test_positional_arguments_go_by_the_names_that_forward_gives_them():
    class Takes(nn.Module):
        def forward(self, x, mask):
            return x

    batch = as_batch(Takes(), (torch.zeros(2, 3), torch.full((2, 3), -torch.inf)))
    assert batch.shapes() == "x: (2, 3) float32, mask: (2, 3) float32"
    assert len(batch.floats()) == 1
