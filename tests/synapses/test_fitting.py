"""Every method learns, continues exactly where it stopped, and says what it cannot use."""

import math

import numpy as np
import pytest
import torch

from phasescope.data import Picture
from phasescope.errors import InputError
from phasescope.synapses import PictureNet, fit, fit_best, grid, layers, rmse, thinned_cascade

METHODS = ("lm", "lbfgs", "adam", "rprop")
SMALL = thinned_cascade(6, 3, 3)
HEIGHT, WIDTH = 6, 8


def smooth_picture() -> torch.Tensor:
    x, y = grid(HEIGHT, WIDTH).T.reshape(2, HEIGHT, WIDTH)
    return torch.stack([0.8 * x, -0.6 * y, 0.9 * x * y], dim=-1)


PICTURE = smooth_picture()


def bits() -> tuple[torch.Tensor, torch.Tensor]:
    """Return all unequal pairs of two-bit numbers as four inputs of +-1, and +1 where the first is larger."""
    pairs = [(a, b) for a in range(4) for b in range(4) if a != b]
    rows = [[a >> 1, a & 1, b >> 1, b & 1] for a, b in pairs]
    return 2.0 * torch.tensor(rows) - 1, torch.tensor([[1.0 if a > b else -1.0] for a, b in pairs])


@pytest.mark.parametrize(("method", "steps"), [("lm", 25), ("lbfgs", 60), ("adam", 250), ("rprop", 100)])
def test_every_method_learns_a_smooth_picture(method, steps):
    net = PictureNet(SMALL, seed=1)
    found = fit(net, PICTURE, method=method, steps=steps)
    constant = float((PICTURE - PICTURE.mean((0, 1))).square().mean().sqrt())
    assert found.rmse < constant / 3
    assert found.rmse == pytest.approx(rmse(found.net, PICTURE), rel=1e-12)
    assert found.rmse == found.curve[:, 1].min()
    assert found.curve[-1, 0] == steps
    assert found.method == method


def test_the_rmse_is_that_of_the_painted_picture():
    net = PictureNet(SMALL, seed=1)
    painted = net.paint(HEIGHT, WIDTH)
    expected = float((painted - PICTURE).square().mean().sqrt())
    assert rmse(net, PICTURE) == pytest.approx(expected, rel=1e-13)
    assert rmse(net, Picture(PICTURE, "mine", (6, 8))) == rmse(net, PICTURE)
    assert rmse(net, PICTURE.reshape(-1, 3), points=grid(HEIGHT, WIDTH)) == rmse(net, PICTURE)


def test_one_step_of_levenberg_marquardt_solves_the_damped_equations():
    net = PictureNet(SMALL, seed=1)
    found = fit(net, PICTURE, steps=1)
    points, start = grid(HEIGHT, WIDTH), net.weights.detach()

    def painted(weights):
        return torch.func.functional_call(net, {"weights": weights}, (points,))

    jacobian = torch.autograd.functional.jacobian(painted, start).reshape(-1, SMALL.size).numpy()
    residual = (painted(start) - PICTURE.reshape(-1, 3)).detach().reshape(-1).numpy()
    gram = jacobian.T @ jacobian
    root = np.sqrt(np.diag(gram).mean() * np.diag(gram))
    step = np.linalg.solve(gram + 0.01 * np.diag(root), -jacobian.T @ residual)
    np.testing.assert_allclose(found.net.weights.detach() - start, step, atol=1e-4 * np.abs(step).max())


def test_the_error_of_levenberg_marquardt_never_rises():
    found = fit(PictureNet(SMALL, seed=2), PICTURE, steps=30)
    assert (np.diff(found.curve[:, 1]) < 0).all()


def test_a_network_that_painted_the_picture_is_found_again():
    teacher = PictureNet(layers(2, 3, 3), seed=5)
    target = teacher.paint(HEIGHT, WIDTH)
    near = teacher.weights.detach() + 0.05 * torch.randn(
        18 + 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    found = fit(teacher.with_weights(near), target, steps=30)
    assert found.rmse < 1e-9
    assert (found.net.weights - teacher.weights).abs().max() < 1e-6


@pytest.mark.parametrize("method", METHODS)
def test_two_halves_equal_the_whole_through_arrays_on_disk(method, tmp_path):
    whole, half = {"adam": (60, 27)}.get(method, (20, 10))
    net = PictureNet(SMALL, seed=3)
    straight = fit(net, PICTURE, method=method, steps=whole, batch=10, seed=4)
    first = fit(net, PICTURE, method=method, steps=half, batch=10, seed=4)
    np.savez(tmp_path / "state.npz", **first.state)
    with np.load(tmp_path / "state.npz") as arrays:
        second = fit(net, PICTURE, method=method, steps=whole - half, state=dict(arrays))
    assert torch.equal(second.net.weights, straight.net.weights)
    assert second.rmse == straight.rmse
    np.testing.assert_array_equal(second.curve[:, :2], straight.curve[:, :2])
    assert (np.diff(second.curve[:, 2]) >= 0).all()
    timed = {"curve", "seconds"}
    for key in straight.state.keys() - timed:
        assert np.array_equal(np.asarray(second.state[key]), np.asarray(straight.state[key])), key


def test_a_state_is_not_changed_by_what_continues_it():
    net = PictureNet(SMALL, seed=3)
    first = fit(net, PICTURE, steps=3)
    before = {key: value.clone() for key, value in first.state.items() if isinstance(value, torch.Tensor)}
    again = [fit(net, PICTURE, steps=3, state=first.state).net.weights for _ in range(2)]
    assert torch.equal(*again)
    assert all(torch.equal(first.state[key], value) for key, value in before.items())


def test_the_users_network_and_the_global_generator_stay_as_they_are():
    net = PictureNet(SMALL, seed=3)
    before, chance = net.weights.detach().clone(), torch.get_rng_state()
    for method in METHODS:
        fit(net, PICTURE, method=method, steps=2)
    assert torch.equal(net.weights.detach(), before)
    assert net.weights.grad is None
    assert torch.equal(torch.get_rng_state(), chance)


def test_the_dtype_of_the_network_is_kept():
    net = PictureNet(SMALL, seed=3, dtype=torch.float32)
    for method in METHODS:
        assert fit(net, PICTURE, method=method, steps=2).net.weights.dtype == torch.float32


@pytest.mark.parametrize("method", METHODS)
def test_one_neuron_learns_to_compare_two_numbers(method):
    points, targets = bits()
    net = PictureNet(layers(4, 1), seed=1)
    found = fit(net, targets, points=points, method=method, steps=150, rate=0.1)
    assert (found.net(points).sign() == targets).all()


def test_progress_hears_each_record_of_the_curve():
    heard = []
    found = fit(PictureNet(SMALL), PICTURE, steps=4, progress=lambda *told: heard.append(told))
    assert heard == [tuple(row) for row in found.curve[1:, :2].tolist()]


def test_seconds_end_a_fit():
    found = fit(PictureNet(SMALL), PICTURE, method="rprop", seconds=0.05)
    assert found.curve[-1, 0] >= 1
    assert 0.05 <= found.curve[-1, 2] < 5


def test_a_fit_that_cannot_go_on_says_so():
    net = PictureNet(SMALL, seed=1)
    for method in ("lm", "lbfgs"):
        found = fit(net, net.paint(HEIGHT, WIDTH), method=method, steps=5)
        assert found.rmse == 0
        assert "It stopped after 0 steps" in found.notes[0]


def test_of_several_seeds_the_best_is_named():
    found = fit_best(PICTURE, wiring=SMALL, seeds=(1, 2, 5), steps=4)
    assert list(found.fits) == [1, 2, 5]
    assert found.best.rmse == min(found.rmse.values())
    alone = fit(PictureNet(SMALL, seed=2), PICTURE, steps=4, seed=2)
    assert found.rmse[2] == alone.rmse
    steps = []
    fit_best(PICTURE, wiring=SMALL, seeds=(1, 2), steps=2, progress=lambda step, _: steps.append(step))
    assert steps == [1, 2, 3, 4]
    with pytest.raises(InputError, match="No seed"):
        fit_best(PICTURE, seeds=())


def test_chunks_of_points_add_up(monkeypatch):
    whole = fit(PictureNet(SMALL), PICTURE, steps=3)
    monkeypatch.setattr("phasescope.synapses.fitting._CHUNK", 13)
    parts = fit(PictureNet(SMALL), PICTURE, steps=3)
    assert parts.rmse == pytest.approx(whole.rmse, rel=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "lmm"}, "no method 'lmm'. Did you mean 'lm'"),
        ({"method": "newton"}, "Use one of lm, lbfgs, adam, rprop"),
        ({"method": None}, "no method None"),
        ({"steps": 0}, "steps=0"),
        ({"steps": 2.5}, "steps=2.5"),
        ({"seconds": 0}, "seconds=0"),
        ({"seconds": math.nan}, "seconds=nan"),
        ({"rate": -1}, "rate=-1"),
        ({"batch": 0}, "batch=0"),
        ({"state": {}}, "no state of a fit"),
        ({"points": torch.zeros(3, 2)}, r"shape \(6, 8, 3\)"),
    ],
)
def test_impossible_requests_are_named(options, message):
    with pytest.raises(InputError, match=message):
        fit(PictureNet(SMALL), PICTURE, **options)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (PICTURE[..., :2], r"shape \(6, 8, 2\).*3 outputs"),
        (PICTURE.reshape(-1, 3), r"shape \(48, 3\)"),
        (torch.zeros(0, 8, 3), r"shape \(0, 8, 3\)"),
        (PICTURE * 255, r"reaches 178\..*scale"),
        (torch.full((2, 2, 3), math.nan), "not finite"),
    ],
)
def test_impossible_targets_are_named(target, message):
    with pytest.raises(InputError, match=message):
        fit(PictureNet(SMALL), target)


def test_points_must_fit_targets_and_network():
    points, targets = bits()
    net = PictureNet(layers(4, 1))
    with pytest.raises(InputError, match=r"shape \(11, 4\)"):
        fit(net, targets, points=points[1:])
    with pytest.raises(InputError, match="not finite"):
        fit(net, targets, points=points * math.inf)
    with pytest.raises(InputError, match="4 inputs"):
        fit(net, targets.reshape(3, 4, 1))


def test_a_state_of_something_else_is_refused():
    net = PictureNet(SMALL)
    state = fit(net, PICTURE, steps=1).state
    with pytest.raises(InputError, match="of the method lm"):
        fit(net, PICTURE, method="adam", state=state)
    with pytest.raises(InputError, match="another wiring, picture or set of points"):
        fit(net, -PICTURE, state=state)
    with pytest.raises(InputError, match="another wiring, picture or set of points"):
        fit(PictureNet(thinned_cascade(5, 3, 3)), PICTURE, state=state)
    adam = fit(net, PICTURE, method="adam", steps=1).state
    with pytest.raises(InputError, match=r"of dtype torch\.float64"):
        fit(PictureNet(SMALL, dtype=torch.float32), PICTURE, method="adam", state=adam)
    for damage in (torch.zeros(3), torch.full((SMALL.size,), math.nan)):
        with pytest.raises(InputError, match="weights of the state are damaged"):
            fit(net, PICTURE, state={**state, "weights": damage})
