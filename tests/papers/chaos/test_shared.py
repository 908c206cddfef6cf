"""What all parts share: the flowers, the starts, the network against torch's own, and shares with errors."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris

from phasescope.papers import chaos
from phasescope.papers.chaos import shared


def test_the_flowers_are_shuffled_and_all_there():
    data = shared.iris(0)
    assert (120 * data.shares).round().tolist() == [42, 38, 40]
    # Seed 3 of an independent permutation; as scikit-learn has them, the last 30 would be of one class.
    order = np.random.default_rng(3).permutation(150)
    assert shared.iris(3).y.tolist() == load_iris().target[order][:120].tolist()
    both = torch.cat([data.x, data.x_test]).numpy()
    assert np.sort(both.ravel()) == pytest.approx(np.sort(load_iris().data.ravel()))
    assert both.max() == pytest.approx(7.9)  # cm, not scaled


def test_a_start_is_the_same_whoever_asks():
    some, others = shared.starts(0, range(2, 5)), shared.starts(0, range(4, 6))
    assert torch.equal(some[2], others[0])
    assert not torch.equal(shared.starts(1, range(4, 5))[0], others[0])
    biases = torch.cat([some[:, 40:50], some[:, 80:]], dim=1)
    assert (biases == 0).all()
    weights = shared.starts(0, range(100))[:, shared.iris_map(0, 1.0).is_weight]
    assert float(weights.mean()) == pytest.approx(0, abs=4 / 7000**0.5)
    assert float(weights.var()) == pytest.approx(1, abs=4 * (2 / 7000) ** 0.5)


def test_outputs_and_accuracy_are_those_of_the_module():
    data, network = shared.iris(0), shared.network()
    w = shared.starts(0, range(3))
    for row in range(3):
        torch.nn.utils.vector_to_parameters(w[row].clone(), network.parameters())
        expected = network(data.x).detach()
        assert shared.outputs(w, data.x)[row].numpy() == pytest.approx(expected.numpy(), abs=1e-12)
        right = (expected.argmax(1) == data.y).double().mean()
        assert float(shared.accuracy(w, data.x, data.y)[row]) == pytest.approx(float(right))
        loss = torch.nn.functional.cross_entropy(expected, data.y)
        assert float(shared.iris_map(0, 1.0).loss(w[row])) == pytest.approx(float(loss), rel=1e-12)


def test_units_that_are_stuck_and_units_that_move():
    w = torch.zeros(1, 83, dtype=torch.float64)
    w[0, 40], w[0, 41] = 30.0, -30.0  # biases: stuck at 1, stuck at 0
    w[0, 8:12] = torch.tensor([0.0, 0.0, 4.0, 0.0])  # unit 2 follows the petal's length
    w[0, 42] = -12.0
    stuck, moving = shared.saturation(w, shared.iris(0).x)
    assert stuck[0].tolist() == [True] + [False] * 9
    assert moving[0].tolist() == [False, False, True] + [False] * 7


def test_shares_have_errors():
    found = shared.share(np.array([True] * 20 + [False] * 80))
    assert found.value == 0.2
    assert found.error == pytest.approx(0.04)
    assert shared.share(np.ones(50, dtype=bool)).error == pytest.approx(1 / 50)  # not zero
    assert not shared.share(np.array([], dtype=bool)).determined


def test_a_mean_over_few_starts_is_less_sure_than_its_standard_error():
    found = shared.over_starts(np.array([1.0, np.nan, 2.0, 3.0]))
    assert (found.value, found.n) == (2.0, 3)
    # Student's t with two degrees of freedom: 4.303 for 1.960.
    assert found.error == pytest.approx(4.303 / 1.960 / 3**0.5, rel=1e-3)


def test_tasks_have_names_of_their_own():
    for preset in ("quick", "paper"):
        tasks = chaos.STUDY.tasks(chaos.STUDY.presets[preset])
        assert len({task.id for task in tasks}) == len(tasks)
    with pytest.raises(ValueError, match="7 initialisations"):
        shared.chunks(7, 2)
