"""Training: every sequence once an epoch, padding only after the end, the weights of the best epoch."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from phasescope.papers.noise.sequences import Labelled, SequenceSet
from phasescope.papers.noise.training import batches, built, evaluated, fit


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
