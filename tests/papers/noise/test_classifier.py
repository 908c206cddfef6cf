"""The networks of the study: padding never reaches an answer, and a seed decides everything."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence, pad_sequence

from phasescope.papers.noise.sequences import Labelled, SequenceSet
from phasescope.papers.noise.training import Transformer, built, positions

ARCHITECTURES = ("lstm", "gru", "rnn", "transformer")
LENGTHS = (3, 17, 9, 1)


def task(tokens: int) -> SequenceSet:
    nothing = Labelled((), torch.zeros(0, dtype=torch.int64))
    return SequenceSet(
        nothing, nothing, nothing, torch.zeros(0), torch.zeros(0), tokens, 0 if tokens else 5, 3
    )


def sequences(tokens: int) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    if tokens:
        return [torch.randint(tokens, (n,), generator=draw) for n in LENGTHS]
    return [torch.randn(n, 5, generator=draw) for n in LENGTHS]


@pytest.mark.parametrize("tokens", [12, 0])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_padded_batch_answers_as_each_sequence_alone(architecture, tokens):
    network, parts = built(3, architecture, 8, 6, task(tokens), 2).eval(), sequences(tokens)
    x, lengths = pad_sequence(parts, batch_first=True), torch.tensor(LENGTHS)
    for row, n in enumerate(LENGTHS):  # what stands after the end does not matter
        x[row, n:] = 7
    with torch.no_grad():
        together = network(x, lengths)
        alone = torch.cat([network(part[None], torch.tensor([len(part)])) for part in parts])
    assert together.shape == (4, 3)
    assert (together - alone).abs().max() < 1e-6
    assert alone.std(dim=0).min() > 1e-2


@pytest.mark.parametrize(("architecture", "kind"), [("lstm", nn.LSTM), ("gru", nn.GRU), ("rnn", nn.RNN)])
def test_recurrent_networks_answer_from_their_last_state(architecture, kind):
    network, parts = built(3, architecture, 8, 6, task(12)).eval(), sequences(12)
    assert isinstance(network.body, kind)
    with torch.no_grad():
        embedded = [network.embedding.weight[part] for part in parts]
        last = network.body(pack_sequence(embedded, enforce_sorted=False))[1]
        last = last[0] if isinstance(last, tuple) else last
        known = last[0] @ network.readout.weight.T + network.readout.bias
        found = network(pad_sequence(parts, batch_first=True), torch.tensor(LENGTHS))
    assert (found - known).abs().max() < 1e-6


@pytest.mark.parametrize("gradient", [False, True])
def test_the_transformer_sees_nothing_of_the_future(gradient):
    torch_state = torch.backends.mha.get_fastpath_enabled()
    body = built(2, "transformer", 8, 8, task(12), 2).eval().body
    assert isinstance(body, Transformer)
    x = torch.randn(2, 30, 8, generator=torch.Generator().manual_seed(4))
    changed = x.clone()
    changed[:, 20:] += 3
    with torch.set_grad_enabled(gradient):
        before, after = body(x), body(changed)
        short = body(x[:, :20])
    assert (before - after)[:, :20].abs().max() < 1e-6
    assert (before[:, :20] - short).abs().max() < 1e-6
    assert (before - after)[:, 20:].abs().min(dim=2).values.max() > 1e-2
    assert torch.backends.mha.get_fastpath_enabled() == torch_state


def test_positions_are_those_of_the_formula():
    found = positions(40, 6)
    t, k = np.arange(40)[:, None], np.arange(3)
    angle = t / 10_000 ** (2 * k / 6)
    assert found[:, 0::2].numpy() == pytest.approx(np.sin(angle), abs=1e-5)
    assert found[:, 1::2].numpy() == pytest.approx(np.cos(angle), abs=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_seed_decides_all_weights_and_nothing_else_changes(architecture):
    torch.manual_seed(7)
    state = torch.get_rng_state()
    first, again, other = (built(seed, architecture, 8, 6, task(12)).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["readout.weight"], other["readout.weight"])
    torch.manual_seed(8)
    assert torch.equal(
        built(1, architecture, 8, 6, task(12)).readout.weight.detach(), first["readout.weight"]
    )
