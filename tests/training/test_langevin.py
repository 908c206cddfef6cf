"""The local learning coefficient by coupled chains, against minima where it is known."""

import math
import sys

import numpy as np
import pytest
import torch
from torch import nn

from phasescope.errors import InputError, MemoryLimitError
from phasescope.theory import (
    crossing_learning_coefficient,
    power_learning_coefficient,
    quadratic_learning_coefficient,
)
from phasescope.training import langevin, objective
from phasescope.training.langevin import _mean, _r_hat
from reference.langevin_chain import metropolis_chain
from reference.quadratics import ONE, Weights, quadratic, rotated

N = 40  # samples that a loss without data is said to have


def at_zero(size):
    model = Weights(size)
    with torch.no_grad():
        model.parts[0].zero_()
    return model


def probed(loss, size, nb, g, **options):
    return langevin(at_zero(size), loss, ONE, samples=N, beta=nb / N, localisation=g, **options)


def test_a_quadratic_gives_half_the_effective_dimension():
    h = [3.0, 1.0, 0.1, 0.01, 0.0]
    found = probed(quadratic(rotated(h)), 5, 100, 50, steps=500)
    exact = quadratic_learning_coefficient(h, 100, 50)
    assert found.half_dimension.value == pytest.approx(exact, rel=1e-10)
    assert found.half_dimension.error == 0
    assert abs(found.value.value - exact) < 4 * found.value.error
    assert found.quadratic
    # The plain mean of the same draws fluctuates several times as much.
    assert found.value.error < found.uncorrected.error / 3
    assert found.acceptance > 0.97
    assert found.first < 250
    assert not found.truncated


def test_what_a_chain_of_few_steps_lacks_is_added():
    h = [10.0, 1.0, 0.1, 0.03, 0.03, 0.03, 0.03]
    found = probed(quadratic(h), 7, 100, 1, steps=300)
    exact = quadratic_learning_coefficient(h, 100, 1)
    assert found.truncated
    assert found.unequilibrated < -0.5
    assert abs(found.value.value - exact) < max(4 * found.value.error, 0.05)
    assert abs(found.uncorrected.value - exact) > 0.3


def test_a_quartic_is_no_quadratic_basin():
    found = probed(lambda w, _: (w**4).sum(), 2, 1000, 10, steps=600, chains=8)
    exact = 2 * power_learning_coefficient(2, 1000, 10)
    assert found.half_dimension.value == pytest.approx(0, abs=1e-12)
    assert abs(found.value.value - exact) < 4 * found.value.error
    assert found.value.error < 0.1 * exact
    assert found.quadratic is False


@pytest.mark.slow
def test_crossing_lines_of_minima():
    found = probed(lambda w, _: (w[0] * w[1]) ** 2, 2, 100, 1, steps=12_000, chains=8)
    exact = crossing_learning_coefficient(100)
    assert abs(found.value.value - exact) < 4 * found.value.error
    assert found.value.error < 0.05 * exact


def test_chains_side_by_side_are_the_obvious_chain():
    A = rotated([20.0, 4.0, 1.0])

    def cubic(w):  # no quadratic basin: a tilted valley
        return 0.5 * w @ A @ w + (w**4).sum(), A @ w + 4 * w**3

    matrix = torch.as_tensor(A)
    found = probed(lambda w, _: 0.5 * w @ matrix @ w + (w**4).sum(), 3, 5, 1, steps=600, chains=8)
    random = np.random.default_rng(3)
    slow = np.stack(
        [
            metropolis_chain(cubic, 3, nb=5, g=1, step=found.step, steps=600, random=random)[found.first :]
            for _ in range(8)
        ],
        axis=1,
    )
    value, error, _ = _mean(slow)
    assert abs(found.value.value - value) < 4 * math.hypot(found.value.error, error)


def test_parameters_share_what_is_fixed():
    h = [8.0, 4.0, 2.0, 1.0, 0.0, 0.0]
    model = Weights(4, 2)
    with torch.no_grad():
        for part in model.parts:
            part.zero_()
    found = langevin(model, quadratic(h), ONE, samples=N, beta=5, localisation=20, steps=500)
    k = 200 * np.array(h) / (200 * np.array(h) + 20)
    first, second = found.fixed.values()
    assert abs(first.value - k[:4].sum()) < 4 * first.error
    assert second.value == pytest.approx(0, abs=1e-9)


def test_a_gradient_that_is_left_leads_downhill():
    def tilted(size):
        return lambda w, _: 0.5 * (w * w).sum() + size * w.sum()

    near, far = (probed(tilted(size), 2, 100, 1, steps=200) for size in (1e-3, 0.5))
    assert near.value.determined
    assert near.downhill == pytest.approx(-2 * 100 * 1e-6 * 100 / 101 * (1 - 50 / 101), rel=0.02)
    assert "the gradient leads" in far.value.reason
    assert far.quadratic is None


def test_a_saddle_is_no_minimum():
    found = probed(quadratic([1.0, -0.5]), 2, 100, 10)
    assert "curves downwards by 0.5, and the localisation holds 0.1" in found.value.reason
    assert not found.half_dimension.determined
    assert found.fixed == {}


def test_fewer_than_32_samples_are_too_few():
    found = langevin(nn.Linear(2, 1), nn.MSELoss(), (torch.randn(20, 2), torch.randn(20, 1)))
    assert "20 samples, at least 32 needed" in found.value.reason


def test_a_loss_that_ends_nearby_is_not_determined():
    def edge(w, _):
        return torch.where(w.abs().sum() < 1e-9, 1.0, math.nan) * (1 + (w**2).sum())

    found = probed(edge, 2, 100, 1, steps=100)
    assert "accepted 0 % of the steps" in found.value.reason


def test_batches_count_all_samples_and_give_the_mean_loss():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(64, 3, generator=generator, dtype=torch.float64)
    y, model = torch.zeros(64, 1, dtype=torch.float64), nn.Linear(3, 1, dtype=torch.float64)
    with torch.no_grad():
        model.weight.zero_()
        model.bias.zero_()
    whole = langevin(model, nn.MSELoss(), (x, y), steps=100)
    parts = langevin(model, nn.MSELoss(), [(x[:32], y[:32]), (x[32:], y[32:])], steps=100)
    assert parts.samples == whole.samples == 64
    assert parts.nb == pytest.approx(64 / math.log(64))
    assert parts.value.value == pytest.approx(whole.value.value, rel=1e-8)


@pytest.mark.slow
def test_probes_replace_the_spectrum_of_many_parameters(monkeypatch):
    h = np.concatenate([np.full(5, 5.0), np.zeros(95)])
    monkeypatch.setattr(sys.modules["phasescope.training.langevin"], "_EXACT", 50)
    found = probed(quadratic(h), 100, 100, 10, steps=400)
    assert not found.exact
    assert abs(found.half_dimension.value - 2.5 * 500 / 510) < 4 * found.half_dimension.error
    assert abs(found.excess.value) < 4 * found.excess.error + 1e-6


def test_the_error_of_a_mean_is_that_over_repetitions():
    random = np.random.default_rng(2)
    noise = random.standard_normal((400, 200, 4))
    x = np.zeros((400, 4))
    series = np.empty_like(noise)
    for t in range(200):
        x = 0.8 * x + noise[:, t]
        series[:, t] = x
    found = [_mean(rows) for rows in series]
    seen = np.std([value for value, _, _ in found])
    assert np.mean([error for _, error, _ in found]) == pytest.approx(seen, rel=0.15)


def test_chains_that_sit_apart_disagree():
    draws = np.random.default_rng(1).standard_normal((200, 4))
    assert _r_hat(draws, draws) < 1.03
    assert _r_hat(draws + np.arange(4), draws + np.arange(4)) > 1.3
    assert _r_hat(np.zeros((10, 2)), np.zeros((10, 2))) == 1.0


@pytest.mark.parametrize(
    "options", [{"steps": 99}, {"chains": 1}, {"localisation": 0.0}, {"beta": -1.0}, {"max_memory": "none"}]
)
def test_arguments_out_of_range_are_refused(options):
    with pytest.raises(InputError):
        langevin(at_zero(2), quadratic([1.0, 1.0]), ONE, **options)


def test_an_objective_of_several_batches_is_refused():
    made = objective(nn.Linear(1, 1), nn.MSELoss(), [(torch.ones(4, 1), torch.ones(4, 1))] * 2)
    with pytest.raises(InputError, match="2 batches"):
        langevin(made)


def test_too_little_memory_is_refused():
    with pytest.raises(MemoryLimitError, match="2 parameters"):
        langevin(at_zero(2), quadratic([1.0, 1.0]), ONE, max_memory=100)
