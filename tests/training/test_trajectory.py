"""The path of a network: maps whose path is known, and the sums written out."""

import math
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from phasescope.errors import InputError, MemoryLimitError
from phasescope.training import step_map, training_map, trajectory

INPUTS = torch.randn(20, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
CLASSES = torch.arange(20) % 3


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def net():
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def made(rate=0.3):
    return training_map(net(), F.cross_entropy, (INPUTS, CLASSES), rate)


def circle(steps):
    angle = 2 * math.pi / steps
    turn = tensor([math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)])
    return step_map(lambda x, t: turn @ x, tensor(1.0, 0.0))


def test_sums_along_the_path_are_those_of_its_networks():
    some = made()
    path = [some.initial]
    losses = []
    for t in range(30):
        losses.append(float(some.loss(path[-1], t)))
        path.append(some.step(path[-1], t))
    path = torch.stack(path)
    moved = (path[1:] - path[:-1]).abs()
    found = trajectory(some, steps=30)
    np.testing.assert_allclose(found.displacement, (path[-1] - path[0]).abs(), atol=1e-15)
    np.testing.assert_allclose(found.path, moved.sum(0), rtol=1e-12)
    np.testing.assert_allclose(found.displaced, (path - path[0]).abs().sum(1), atol=1e-13)
    np.testing.assert_allclose(found.travelled[1:], moved.sum(1).cumsum(0), rtol=1e-12)
    np.testing.assert_allclose(found.loss, losses, rtol=1e-12)
    assert found.times.tolist() == list(range(31))
    torch.testing.assert_close(found.networks, path, rtol=0, atol=0)
    assert found.straightness == pytest.approx(found.displaced[-1] / found.travelled[-1])


def test_a_closed_loop_is_not_straight_and_comes_back():
    found = trajectory(circle(40), steps=80)
    assert found.straightness == pytest.approx(0, abs=1e-12)
    assert found.path.tolist() == pytest.approx([8, 8], rel=1e-12)  # each coordinate: 4 a turn
    correlation = found.autocorrelation(60)
    expected = np.cos(2 * math.pi * np.arange(61) / 40)
    np.testing.assert_allclose(correlation, expected, atol=0.05)
    distance = found.distances(2)
    assert distance[0, 40] == pytest.approx(0, abs=1e-12)
    assert distance[3, 23] == pytest.approx(2, rel=1e-12)


def test_a_monotone_run_is_straight():
    found = trajectory(step_map(lambda x, t: 0.9 * x, tensor(3.0, -2.0)), steps=50)
    assert found.straightness == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(found.straightness_of_weights, 1, atol=1e-12)


def test_a_weight_that_never_moves_has_no_straightness():
    found = trajectory(step_map(lambda x, t: x * tensor(1.0, 0.5), tensor(1.0, 1.0)), steps=5)
    assert np.isnan(found.straightness_of_weights[0])
    still = trajectory(step_map(lambda x, t: x * 1.0, tensor(1.0)), steps=5)
    assert math.isnan(still.straightness)
    assert np.isnan(still.autocorrelation(2)).all()


def test_strengths_are_sums_of_absolute_weights():
    some = made()
    found = trajectory(some, steps=12, times=[0, 5, 12])
    for row, w in enumerate(found.networks):
        first, second = w[:24].view(6, 4).abs(), w[30:48].view(3, 6).abs()
        np.testing.assert_allclose(found.into["0.weight"][row], first.sum(1), rtol=1e-12)
        np.testing.assert_allclose(found.out_of["0.weight"][row], first.sum(0), rtol=1e-12)
        np.testing.assert_allclose(found.into["2.weight"][row], second.sum(1), rtol=1e-12)
        np.testing.assert_allclose(found.strength["2.bias"][row], w[48:].abs().sum(), rtol=1e-12)
    assert found.into.keys() == {"0.weight", "2.weight"}


def test_a_convolution_has_a_strength_for_each_channel():
    model = nn.Sequential(nn.Unflatten(1, (2, 2, 1)), nn.Conv2d(2, 5, (2, 1)), nn.Flatten(), nn.Linear(5, 3))
    found = trajectory(training_map(model, F.cross_entropy, (INPUTS, CLASSES), 0.1), steps=2)
    weight = model[1].weight.detach().double().abs()
    np.testing.assert_allclose(found.into["1.weight"][0], weight.sum((1, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(found.out_of["1.weight"][0], weight.sum((0, 2, 3)), rtol=1e-12)


@pytest.mark.parametrize("norm", [1, 2, 3])
def test_distances_are_norms_of_differences(norm):
    found = trajectory(made(), steps=10)
    pairs = (found.networks[:, None] - found.networks[None]).numpy()
    expected = np.linalg.norm(pairs, ord=norm, axis=-1)
    distance = found.distances(norm)
    np.testing.assert_allclose(distance, expected, rtol=1e-12)
    assert (distance == distance.T).all()
    assert not distance.diagonal().any()


def test_distances_and_autocorrelation_in_blocks_are_the_same(monkeypatch):
    found = trajectory(made(), steps=10)
    distances, correlation = found.distances(), found.autocorrelation()
    monkeypatch.setattr(sys.modules["phasescope.training.trajectory"], "_BLOCK", 50)
    np.testing.assert_allclose(found.distances(), distances, rtol=1e-12)
    np.testing.assert_allclose(found.autocorrelation(), correlation, atol=1e-12)


def test_a_long_run_is_thinned_to_what_memory_allows():
    some = step_map(lambda x, t: x + 1, torch.zeros(10, dtype=torch.float64))
    assert trajectory(some, steps=450).times.tolist() == list(range(0, 451, 3))
    few = trajectory(some, steps=450, max_memory=10 * 8 * 11)
    assert few.times.tolist() == list(range(0, 451, 45))
    assert few.networks[3].tolist() == [135.0] * 10
    with pytest.raises(MemoryLimitError, match="2 networks"):
        trajectory(some, steps=450, max_memory=100)
    with pytest.raises(MemoryLimitError, match="3 networks"):
        trajectory(some, steps=450, times=[0, 1, 2], max_memory=200)


def test_a_later_start_goes_on_from_there():
    some = made()
    whole, rest = trajectory(some, steps=20), trajectory(some, steps=12, start=8)
    torch.testing.assert_close(rest.networks, whole.networks[8:], rtol=0, atol=0)
    np.testing.assert_allclose(rest.travelled, whole.travelled[8:] - whole.travelled[8], atol=1e-12)


def test_a_run_that_diverges_names_its_step_and_keeps_what_was_before():
    found = trajectory(step_map(lambda x, t: x * x, tensor(2.0)), steps=30)
    assert found.diverged == 10  # 2^(2^10) exceeds the largest double
    assert found.times.tolist() == list(range(10))
    assert found.displacement[0] == pytest.approx(2.0**512)
    assert np.isnan(found.travelled[10:]).all()
    assert "diverged at step 10" in str(found)


def test_a_loss_that_is_not_finite_ends_a_run():
    some = step_map(lambda x, t: x - 1, tensor(3.5), loss=lambda x, t: torch.log(x).sum())
    assert trajectory(some, steps=30).diverged == 4
    with pytest.raises(InputError, match="step 0"):
        trajectory(some, steps=3, x=tensor(-1.0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"times": [0, 11]}, "11"),
        ({"times": []}, "times"),
        ({"times": [-1]}, "-1"),
        ({"x": torch.zeros(2, 51)}, "2 states"),
        ({"steps": 0}, "steps = 0"),
    ],
)
def test_input_that_does_not_fit_is_named(options, message):
    with pytest.raises(InputError, match=message):
        trajectory(made(), **{"steps": 10, **options})


def test_what_the_kept_networks_cannot_give_is_refused():
    found = trajectory(made(), steps=10, times=[0, 1, 5])
    with pytest.raises(InputError, match="evenly"):
        found.autocorrelation()
    with pytest.raises(InputError, match="lags = 3"):
        found.autocorrelation(3)
    with pytest.raises(InputError, match="norm"):
        found.distances(0.5)


def test_progress_reaches_its_total():
    seen = []
    trajectory(made(), steps=70, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(64, 70), (70, 70)]
