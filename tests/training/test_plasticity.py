"""Oja's rule against its eigenvectors, feedback alignment against back-propagation."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from phasescope.errors import InputError
from phasescope.training import feedback_alignment, oja, training_map

VARIANCES = torch.tensor([3.0, 2.0, 1.0, 0.5], dtype=torch.float64)
SAMPLES = torch.diag(2 * VARIANCES.sqrt())  # four inputs whose second moment is diag(VARIANCES)
INPUTS = torch.randn(9, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
CLASSES = torch.arange(9) % 3


def test_oja_multipliers_at_the_principal_component_are_exact():
    made = oja(SAMPLES, 0.1, start=torch.eye(1, 4, dtype=torch.float64))
    assert torch.equal(made.step(made.initial, 0), made.initial)
    moved = made.tangent(made.initial, torch.eye(4, dtype=torch.float64), 0)[1]
    exponents = torch.linalg.eigvals(moved).abs().log().sort(descending=True).values
    expected = [-0.105361, -0.223144, -0.287682, -0.916291]
    assert exponents.tolist() == pytest.approx(expected, abs=1e-6)


def test_oja_finds_the_principal_component():
    made = oja(SAMPLES, 0.1, seed=3)
    w = made.initial
    for t in range(300):
        w = made.step(w, t)
    assert w.abs().tolist() == pytest.approx([1, 0, 0, 0], abs=1e-10)


def test_several_units_span_the_principal_space():
    made = oja(SAMPLES, 0.1, units=2)
    w = made.initial
    for t in range(500):
        w = made.step(w, t)
    w = w.view(2, 4)
    assert (w.T @ w).diagonal().tolist() == pytest.approx([1, 1, 0, 0], abs=1e-10)


def test_online_steps_average_to_the_batch_to_first_order():
    rate = 1e-5
    start = torch.tensor([[0.3, -0.2, 0.5, 0.1]], dtype=torch.float64)
    batch, online = oja(SAMPLES, rate, start=start), oja(SAMPLES, rate, start=start, online=True)
    w = online.initial
    for t in range(4):
        w = online.step(w, t)
    moved = batch.step(batch.initial, 0) - batch.initial
    torch.testing.assert_close(w - online.initial, 4 * moved, rtol=1e-3, atol=0)


def net():
    return nn.Sequential(
        nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5, bias=False), nn.ReLU(), nn.Linear(5, 3)
    ).double()


def test_with_the_weights_as_feedback_it_is_gradient_descent():
    model = net()
    known = training_map(model, F.cross_entropy, (INPUTS, CLASSES), 0.1)
    made = feedback_alignment(
        model, F.cross_entropy, (INPUTS, CLASSES), 0.1, feedback=[model[2].weight, model[4].weight]
    )
    assert made.slices == known.slices
    torch.testing.assert_close(made.step(made.initial, 0), known.step(known.initial, 0), rtol=0, atol=1e-15)
    torch.testing.assert_close(made.loss(made.initial), known.loss(known.initial), rtol=1e-14, atol=0)


def test_direct_feedback_of_a_two_layer_network_is_the_same_as_indirect():
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    pair = [
        feedback_alignment(model, F.cross_entropy, (INPUTS, CLASSES), 0.1, direct=direct, seed=5)
        for direct in (False, True)
    ]
    assert torch.equal(*(made.step(made.initial, 0) for made in pair))


@pytest.mark.parametrize("direct", [False, True])
def test_random_feedback_learns(direct):
    made = feedback_alignment(net(), F.cross_entropy, (INPUTS, CLASSES), 0.3, direct=direct)
    state = made.initial
    for t in range(600):
        state = made.step(state, t)
    assert made.loss(state) < 0.3 * made.loss(made.initial) < 0.5 * math.log(3)
    assert made.tangent(state.expand(2, -1), torch.randn(2, 3, made.size, dtype=torch.float64), 0)[
        1
    ].shape == (2, 3, made.size)


PAIR = (INPUTS, INPUTS)
CONVOLVING = nn.Sequential(nn.Conv1d(1, 1, 1))
IN_PLACE = nn.Sequential(nn.Linear(4, 3), nn.ReLU(inplace=True))
SMALL = [torch.zeros(2, 2)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: oja(SAMPLES[0], 0.1), r"inputs have shape \(4,\)"),
        (lambda: oja(SAMPLES * torch.nan, 0.1), "not finite"),
        (lambda: oja(SAMPLES, 0.0), "learning rate is 0.0"),
        (lambda: feedback_alignment(CONVOLVING, F.mse_loss, PAIR, 0.1), "Layer 0"),
        (lambda: feedback_alignment(nn.Linear(4, 3), F.mse_loss, PAIR, 0.1), "model is Linear"),
        (lambda: feedback_alignment(IN_PLACE, F.mse_loss, PAIR, 0.1), "none of them in place"),
        (
            lambda: feedback_alignment(net(), F.mse_loss, PAIR, 0.1, feedback=SMALL),
            r"shapes \[\(2, 2\)\]",
        ),
    ],
)
def test_what_the_rules_cannot_take_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
