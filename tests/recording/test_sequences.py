"""Lengths without padding, and batches with their time shuffled."""

import numpy as np
import pytest
import torch
from torch import nn

from phasescope.recording.sequences import (
    as_given,
    as_sequences,
    changes_in_time,
    real_lengths,
    shuffled_in_time,
)

GRU = nn.GRU(2, 3, batch_first=True)


class TakesMask(nn.Module):
    def forward(self, input_ids, attention_mask=None):
        return input_ids.float()


def sequences(batch, model=GRU, **options):
    return as_sequences(model, batch, **options)


def test_packed_sequences_tell_their_lengths():
    packed = nn.utils.rnn.pack_sequence([torch.randn(n, 2) for n in (5, 9, 7)], enforce_sorted=False)
    lengths, note = real_lengths(sequences(packed))
    assert list(lengths) == [5, 9, 7]
    assert note == ""


@pytest.mark.parametrize("name", ["attention_mask", "src_key_padding_mask"])
def test_masks_tell_the_lengths(name):
    kept = torch.arange(12) < torch.tensor([[12], [4], [7]])
    model = TakesMask()
    if name != "attention_mask":
        model.forward = lambda input_ids, src_key_padding_mask: input_ids.float()
        kept = ~kept
    words = torch.randint(1, 9, (3, 12))
    for batch in ({"input_ids": words, name: kept}, (words, kept)):
        assert list(real_lengths(sequences(batch, model))[0]) == [12, 4, 7]


def test_equal_words_and_zeros_at_the_end_are_padding():
    words = torch.randint(1, 50, (3, 40), generator=torch.Generator().manual_seed(0))
    words[0, 20:] = 0
    words[1, 31:] = 0
    lengths, note = real_lengths(sequences(words, nn.Embedding(50, 4)))
    assert list(lengths) == [20, 31, 40]
    assert note.startswith("2 of 3 sequences end in equal steps")
    values = torch.randn(3, 40, 2)
    values[2, 25:] = 0
    assert list(real_lengths(sequences(values))[0]) == [40, 40, 25]


def test_a_constant_that_is_no_padding_is_kept():
    values = torch.randn(2, 40, 2)
    values[0, 30:] = 1.5
    assert list(real_lengths(sequences(values))[0]) == [40, 40]
    few = torch.randn(2, 40, 2)
    few[0, -3:] = 0
    assert list(real_lengths(sequences(few))[0]) == [40, 40]


def test_shuffling_permutes_whole_steps_within_each_length():
    values = torch.arange(3 * 10 * 2, dtype=torch.float32).reshape(3, 10, 2)
    lengths = np.array([10, 6, 8])
    (shuffled,) = as_given(shuffled_in_time(sequences(values), lengths, seed=1))
    for row, length in enumerate(lengths):
        assert torch.equal(shuffled[row, length:], values[row, length:])
        assert not torch.equal(shuffled[row, :length], values[row, :length])
        assert sorted(map(tuple, shuffled[row, :length].tolist())) == [
            tuple(v) for v in values[row, :length].tolist()
        ]
    (again,) = as_given(shuffled_in_time(sequences(values), lengths, seed=1))
    assert torch.equal(shuffled, again)


def test_shuffling_a_packed_batch_keeps_it_packed_and_time_elsewhere_is_found():
    packed = nn.utils.rnn.pack_sequence([torch.randn(n, 2) for n in (5, 9)], enforce_sorted=False)
    (again,) = as_given(shuffled_in_time(sequences(packed), np.array([5, 9]), seed=0))
    assert isinstance(again, nn.utils.rnn.PackedSequence)
    assert torch.equal(again.batch_sizes, packed.batch_sizes)
    waves = torch.arange(24.0).reshape(2, 3, 4)
    (moved,) = as_given(
        shuffled_in_time(
            sequences(waves, nn.Conv1d(3, 2, 1), time_axis=2), np.array([4, 4]), seed=0, time_axis=2
        )
    )
    assert torch.equal(moved.sort(dim=2).values, waves)
    assert torch.equal(moved[0, 1] - moved[0, 0], torch.full((4,), 4.0))  # channels stay together


def test_masks_are_not_shuffled():
    ids = torch.arange(20).reshape(2, 10)
    mask = torch.ones(2, 10, dtype=torch.long)
    mask[0, 6:] = 0
    batch = {"input_ids": ids, "attention_mask": mask}
    found = as_given(shuffled_in_time(sequences(batch, TakesMask()), np.array([6, 10]), seed=0))
    assert torch.equal(found["attention_mask"], mask)
    assert torch.equal(found["input_ids"][0, 6:], ids[0, 6:])


def test_what_never_changes_is_seen():
    assert not changes_in_time(sequences(torch.ones(2, 9, 2) * torch.tensor([[[1.0]], [[2.0]]])))
    assert changes_in_time(sequences(torch.randn(2, 9, 2)))
