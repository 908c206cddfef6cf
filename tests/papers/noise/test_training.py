"""Networks that no padding reaches; training that sees each sequence once and keeps the best epoch."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence, pad_sequence

from phasescope.papers.noise.sequences import Labelled, SequenceSet
from phasescope.papers.noise.training import (
    NextWord,
    Transformer,
    batches,
    built,
    evaluated,
    fit,
    positions,
    seeded,
)

ARCHITECTURES = ("lstm", "gru", "rnn", "transformer")
LENGTHS = (3, 17, 9, 1)


def untrained(tokens: int) -> SequenceSet:
    """A task without any sequences: what a network needs to be built."""
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
    network, parts = built(3, architecture, 8, 6, untrained(tokens), 2).eval(), sequences(tokens)
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
    network, parts = built(3, architecture, 8, 6, untrained(12)).eval(), sequences(12)
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
    body = built(2, "transformer", 8, 8, untrained(12), 2).eval().body
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


def test_a_transformer_without_positions_cannot_tell_them_apart():
    same = torch.ones(1, 9, 8)
    with seeded(1), torch.no_grad():
        free, placed = (Transformer(8, 1, placed)(same)[0] for placed in (False, True))
    assert (free - free[0]).abs().max() < 1e-6
    assert (placed - placed[0]).abs().max(dim=1).values[1:].min() > 1e-2


def test_next_words_are_predicted_from_the_words_before_them_alone():
    with seeded(3):
        network = NextWord(8, untrained(12), 2, 10, True).eval()
    parts = sequences(12)
    x, lengths = pad_sequence(parts, batch_first=True), torch.tensor(LENGTHS)
    for row, n in enumerate(LENGTHS):
        x[row, n:] = 7
    with torch.no_grad():
        together, words = network.answered(x, lengths, lengths)
        known = [network.readout(network.body(network.embedding.weight[part][None]))[0] for part in parts]
    # Texts of 3, 17, 9 and 1 words have 2, 16, 8 and no next words; those from 10 on count as unknown.
    assert (together - torch.cat([one[:-1] for one in known])).abs().max() < 1e-5
    follow = torch.cat([part[1:] for part in parts])
    assert words.tolist() == [word if word < 10 else 0 for word in follow.tolist()]
    assert 0 < (follow >= 10).sum() < len(follow)


def test_a_word_that_follows_from_the_one_before_is_learnt():
    random = np.random.default_rng(2)

    def texts(count: int) -> Labelled:
        starts = random.integers(0, 5, size=count)
        made = tuple((torch.arange(12) + int(start)) % 5 for start in starts)
        return Labelled(made, torch.zeros(count, dtype=torch.int64))

    data = SequenceSet(texts(60), texts(10), texts(10), torch.zeros(0), torch.zeros(0), 5, 0, 2)
    with seeded(1):
        network = NextWord(8, data, 1, 5, False)
    history = fit(network, data, epochs=6, rate=0.02, batch=8, seed=1)
    assert history.test_loss[0] > 1.2
    assert history.test_accuracy[history.best] == 1.0
    assert evaluated(network, data.test)[0] == history.test_loss[history.best] < 0.3


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
    first, again, other = (built(seed, architecture, 8, 6, untrained(12)).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["readout.weight"], other["readout.weight"])
    torch.manual_seed(8)
    assert torch.equal(
        built(1, architecture, 8, 6, untrained(12)).readout.weight.detach(), first["readout.weight"]
    )


def labelled(count: int, seed: int, *, shuffled: bool = False) -> Labelled:
    """Words 1 to 4 in texts of class 0, 5 to 8 in texts of class 1; or classes that mean nothing."""
    draw = np.random.default_rng(seed)
    labels = draw.permuted(np.arange(count) % 2)
    rows = [draw.integers(1, 5, size=draw.integers(2, 30)) + 4 * label for label in labels]
    answers = draw.permuted(labels) if shuffled else labels
    return Labelled(tuple(map(torch.from_numpy, rows)), torch.from_numpy(answers))


def task(*, noise: bool = False, upside_down: bool = False) -> SequenceSet:
    validation = labelled(40, 2, shuffled=noise)
    if upside_down:
        validation = Labelled(validation.sequences, 1 - validation.labels)
    train, test = labelled(120, 1, shuffled=noise), labelled(50, 3)
    return SequenceSet(train, validation, test, torch.zeros(0), torch.zeros(0), 9, 0, 2)


def trained(data: SequenceSet, *, epochs: int = 6, rate: float = 0.02, seed: int = 5):
    network, seen = built(1, "lstm", 6, 4, data), []
    history = fit(
        network,
        data,
        epochs=epochs,
        rate=rate,
        batch=16,
        seed=seed,
        after_epoch=lambda epoch: seen.append((epoch, copy.deepcopy(network.state_dict()))),
    )
    return network, history, seen


@pytest.mark.parametrize("order", [None, 4])
def test_batches_hold_every_sequence_once_and_are_padded_after_its_end_alone(order):
    data = labelled(1000, 8)
    random = None if order is None else np.random.default_rng(order)
    found, padded, whole = [], 0, 0
    for x, lengths, labels in batches(data, 8, random):
        assert len(x) <= 8
        assert x.shape[1] == lengths.max()
        inside = torch.arange(x.shape[1]) < lengths[:, None]
        assert (x[~inside] == 0).all()
        assert (x[inside] > 0).all()
        padded, whole = padded + int((~inside).sum()), whole + x.numel()
        rows = zip(x, lengths, labels, strict=True)
        found += [(tuple(row[:n].tolist()), int(label)) for row, n, label in rows]
    known = zip(data.sequences, data.labels.tolist(), strict=True)
    assert sorted(found) == sorted((tuple(sequence.tolist()), label) for sequence, label in known)
    assert padded < 0.05 * whole


def test_batches_come_in_another_order_in_each_epoch():
    data, random = labelled(400, 8), np.random.default_rng(0)
    epochs = [[tuple(x.flatten().tolist()) for x, _, _ in batches(data, 16, random)] for _ in range(2)]
    assert epochs[0] != epochs[1]
    lengths = [int(n.max()) for _, n, _ in batches(data, 16, random)]
    assert lengths != sorted(lengths)


def test_loss_and_accuracy_of_a_set():
    data, network = labelled(300, 4), built(2, "gru", 5, 4, task())
    with torch.no_grad():
        logits = (
            torch.cat([network(s[None], torch.tensor([len(s)])) for s in data.sequences]).double().numpy()
        )
    labels = data.labels.numpy()
    chance = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    loss, accuracy = evaluated(network, data)
    assert loss == pytest.approx(-np.log(chance[np.arange(300), labels]).mean(), rel=1e-6)
    assert accuracy == pytest.approx((logits.argmax(axis=1) == labels).mean(), abs=1e-12)


def test_what_can_be_learnt_is_learnt():
    data = task()
    network, history, seen = trained(data)
    assert [epoch for epoch, _ in seen] == list(range(7))
    assert history.test_accuracy[0] < 0.8
    assert history.test_accuracy[history.best] == 1.0
    assert np.isnan(history.train_loss[0])
    assert history.train_loss[-1] < 0.05
    assert evaluated(network, data.test) == (history.test_loss[history.best], 1.0)


def test_the_weights_of_the_best_epoch_are_kept():
    data = task(noise=True)
    network, history, seen = trained(data, epochs=8, rate=0.05)
    assert history.best == int(np.argmin(history.validation_loss)) < 8
    assert evaluated(network, data.validation)[0] == history.validation_loss[history.best]
    kept = dict(seen)[history.best]
    assert all(torch.equal(kept[name], weights) for name, weights in network.state_dict().items())


def test_a_network_that_only_gets_worse_keeps_its_first_weights():
    data = task(upside_down=True)
    network, history, _ = trained(data)
    assert history.best == 0
    fresh = built(1, "lstm", 6, 4, data).state_dict()
    assert all(torch.equal(fresh[name], weights) for name, weights in network.state_dict().items())


def test_training_follows_the_seed_and_leaves_global_generators_alone():
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    runs = [trained(task(), epochs=2, seed=seed)[2][-1][1] for seed in (5, 5, 6)]
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])
    assert not torch.equal(runs[0]["readout.weight"], runs[2]["readout.weight"])
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
