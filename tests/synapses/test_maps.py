import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from phasescope.errors import InputError
from phasescope.synapses import (
    Custom,
    MeanColour,
    PictureNet,
    Sensitivity,
    Wiring,
    activation_maps,
    grid,
    layers,
    linear_range,
    perturb,
    sensitivity,
    thinned_cascade,
    working_range,
)

HEIGHT, WIDTH = 6, 8


@pytest.fixture(scope="module")
def net():
    return PictureNet(thinned_cascade(hidden=5, window=2, reach=3), gain=2.0, seed=2)


# Units in an order of their own: unit 2 is computed first, and an output reads no other output.
TWISTED = Wiring(2, ((0, 3), (0, 1, 4), (0, 1), (2, 3), (2,)), (3, 4))


class Wrapped(Sensitivity):
    """A picture network seen through the contract alone."""

    def __init__(self, inner):
        self.inner, self.weights, self.output = inner, inner.weights, inner.output

    def pulled_back(self, seeds):
        return self.inner.pulled_back(seeds)

    def change(self, difference):
        return self.inner.change(difference)

    def at(self, weights):
        return Wrapped(self.inner.at(weights))

    def name(self, weight):
        return self.inner.name(weight)

    def energy(self, masks):
        return self.inner.energy(masks)

    @property
    def rms(self):
        return self.inner.rms

    @property
    def groups(self):
        return self.inner.groups


@pytest.mark.parametrize("wiring", [thinned_cascade(hidden=5, window=2, reach=3), TWISTED])
def test_perturbed_pictures_are_those_of_networks_with_that_weight(wiring):
    net = PictureNet(wiring, gain=2.0, seed=4)
    weights = net.weights.detach()
    found = perturb(net, range(wiring.size), 0.3, HEIGHT, WIDTH)
    for s in range(wiring.size):
        for sign, pictures in ((-1, found.lower), (1, found.higher)):
            moved = weights.clone()
            moved[s] += sign * 0.3
            torch.testing.assert_close(pictures[s], net.with_weights(moved).paint(HEIGHT, WIDTH))
    one = perturb(net, 2, (-0.9, 0.2), HEIGHT, WIDTH)
    moved = weights.clone()
    moved[2] -= 0.9
    torch.testing.assert_close(one.lower, net.with_weights(moved).paint(HEIGHT, WIDTH))
    torch.testing.assert_close(one.difference, one.higher - one.lower)
    assert torch.equal(net.weights, weights)


def test_weights_moved_together_give_one_picture(net):
    found = perturb(net, [0, 7], 0.1, HEIGHT, WIDTH, together=True)
    moved = net.weights.detach().clone()
    moved[[0, 7]] += 0.1
    torch.testing.assert_close(found.higher, net.with_weights(moved).paint(HEIGHT, WIDTH))


def test_activation_maps_show_each_unit_and_end_with_the_picture(net):
    maps = activation_maps(net, HEIGHT, WIDTH)
    assert maps.shape == (8, HEIGHT, WIDTH)
    torch.testing.assert_close(maps[-3:].permute(1, 2, 0), net.paint(HEIGHT, WIDTH))
    x, y = grid(HEIGHT, WIDTH).T
    weights = net.weights.detach()
    first = torch.tanh(weights[0] * x + weights[1] * y + weights[net.wiring.synapses])
    torch.testing.assert_close(maps[0].reshape(-1), first)


@pytest.mark.parametrize("side", ["both", "up", "down"])
def test_the_linear_range_of_one_unit_is_that_of_the_tanh(side):
    weight, x = 0.7, np.array([-0.5, 0.3, 0.9])
    points = torch.tensor(x)[:, None]
    at = sensitivity(PictureNet(layers(1, 1), [weight, 0.0]), points=points)
    first = x * (1 - np.tanh(weight * x) ** 2)

    def excess(d):
        high, low = {"both": (d, -d), "up": (d, 0), "down": (-d, 0)}[side]
        slope = (np.tanh((weight + high) * x) - np.tanh((weight + low) * x)) / (high - low)
        return np.linalg.norm(slope - first) - 0.2 * np.linalg.norm(first)

    tried = np.linspace(1e-3, 10, 5000)
    beyond = next(d for d in tried if excess(d) > 0)
    expected = brentq(excess, 1e-6, beyond)
    found = linear_range(at, [0], side=side)
    assert found.size[0] == pytest.approx(expected, rel=0.011)
    assert found.size[0] <= expected * (1 + 1e-9)
    assert not found.unlimited[0]


def test_the_range_of_a_property_ends_where_the_property_bends():
    points = torch.tensor([[-0.5], [0.9]], dtype=torch.float64)
    at = sensitivity(PictureNet(layers(1, 1), [0.4, 0.1]), points=points)
    last = Custom(lambda output: output[1, 0], "last point")

    def excess(d):
        slope = (np.tanh((0.4 + d) * 0.9 + 0.1) - np.tanh((0.4 - d) * 0.9 + 0.1)) / (2 * d)
        first = 0.9 * (1 - np.tanh(0.46) ** 2)
        return abs(slope - first) - 0.1 * first

    found = linear_range(at, [0], last, tolerance=0.1)
    assert found.of == "last point"
    assert found.size[0] == pytest.approx(brentq(excess, 1e-6, 10), rel=0.011)


def test_what_is_linear_up_to_the_cap_is_called_unlimited():
    points = torch.tensor([[0.5]], dtype=torch.float64)
    at = sensitivity(PictureNet(layers(1, 1), [0.4, 0.1]), points=points)
    inner = Custom(lambda output: torch.atanh(output[0, 0]), "sum into the unit")
    found = linear_range(at, prop=inner, cap=3.0)
    assert found.unlimited.all()
    assert (found.size == 3.0).all()


def test_a_weight_without_effect_has_no_range():
    points = torch.tensor([[0.0]], dtype=torch.float64)
    found = linear_range(sensitivity(PictureNet(layers(1, 1), [0.4, 0.1]), points=points))
    assert np.isnan(found.size[0])
    assert np.isfinite(found.size[1])
    assert not found.unlimited.any()


@pytest.mark.parametrize("prop", [None, MeanColour(torch.ones(HEIGHT, WIDTH, dtype=torch.bool))])
def test_ranges_are_the_first_changes_that_deviate_too_much(net, prop):
    at = sensitivity(net, HEIGHT, WIDTH)
    found = linear_range(at, prop=prop)
    assert found.weights.tolist() == list(range(net.wiring.size))
    for s in (0, 3, 12, 25, net.wiring.size - 1):
        step = torch.zeros(at.size, dtype=torch.float64)
        step[s] = 1.0

        def read(output):
            return output if prop is None else prop.value(output)

        expected = at.change(step) if prop is None else at.gradient(prop)[s]

        def deviation(d, step=step, expected=expected):
            ends = [read(at.at(at.weights + sign * d * step).output) for sign in (1, -1)]
            return float(((ends[0] - ends[1]) / (2 * d) - expected).norm() / expected.norm())

        assert all(deviation(d) <= 0.2 for d in found.size[s] * np.linspace(0.05, 1, 12))
        assert deviation(1.02 * found.size[s]) > 0.2


def test_any_sensitivity_gives_the_same_ranges_as_the_fast_path(net):
    at = sensitivity(net, HEIGHT, WIDTH)
    weights = [0, 9, net.wiring.size - 2]
    np.testing.assert_allclose(
        linear_range(Wrapped(at), weights).size, linear_range(at, weights).size, rtol=1e-6
    )


def test_the_working_range_is_what_inputs_reach_against_the_best_of_all_corners():
    net = PictureNet(TWISTED, gain=2.0, seed=4)
    points = grid(HEIGHT, WIDTH)
    found = working_range(net, points)
    weights = net.weights.detach().numpy()
    values = activation_maps(net, HEIGHT, WIDTH).reshape(5, -1).numpy()
    x, y = points.T.numpy()
    start = 0
    for unit, row in enumerate(TWISTED.sources):
        own = weights[start : start + len(row)]
        start += len(row)
        bias = weights[TWISTED.synapses + unit]
        ends = [(-1, 1) if v >= 2 else ((x.min(), x.max()), (y.min(), y.max()))[v] for v in row]
        corners = [bias + own @ np.array(corner) for corner in itertools.product(*ends)]
        assert found.lowest[unit] == pytest.approx(min(corners))
        assert found.highest[unit] == pytest.approx(max(corners))
        quantiles = np.quantile(values[unit], [0, 0.05, 0.5, 0.95, 1])
        np.testing.assert_allclose(found.a[unit], quantiles)
        np.testing.assert_allclose(np.tanh(found.z[unit][[0, -1]]), quantiles[[0, -1]])
        low, high = np.tanh(min(corners)), np.tanh(max(corners))
        assert found.silent[unit] == pytest.approx((values[unit] < (low + high) / 2).mean())
        assert found.excitation[unit] == pytest.approx((values[unit].max() - low) / (high - low))
    assert (found.used <= 1 + 1e-12).all()
    # The last unit reads unit 0 alone, which never gets to its ends.
    assert found.used[4] == pytest.approx((values[0].max() - values[0].min()) / 2)


def test_a_box_of_ones_own_bounds_free_inputs(net):
    found = working_range(net, grid(HEIGHT, WIDTH), box=[[-2, 2], [-1, 1]])
    w = net.weights.detach().abs()
    assert found.highest[0] - found.lowest[0] == pytest.approx(float(4 * w[0] + 2 * w[1]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net, at: perturb(net, 99, 0.1, 4, 4), "Weight 99 does not exist"),
        (lambda net, at: perturb(net, 0, -0.1, 4, 4), "The changes are 0.1 and -0.1"),
        (lambda net, at: perturb(net, 0, (0.1, float("nan")), 4, 4), "The changes are"),
        (lambda net, at: perturb(net, [0.5], 0.1, 4, 4), "are no weights"),
        (lambda net, at: linear_range(at, [-1]), "Weight -1 does not exist"),
        (lambda net, at: linear_range(at, [0], tolerance=0.0), "tolerance=0"),
        (lambda net, at: linear_range(at, [0], side="left"), "side='left' is unknown"),
        (lambda net, at: working_range(net, torch.zeros(0, 2)), "The points have shape"),
        (lambda net, at: working_range(net, grid(3, 3), box=[[0, 1]]), "The box has shape"),
    ],
)
def test_numbers_out_of_range_are_refused_in_words(net, call, message):
    with pytest.raises(InputError, match=message):
        call(net, sensitivity(net, 4, 4))
