"""A picture network paints what its units compute, and its exact maps equal every slower way to them."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from phasescope.errors import InputError
from phasescope.synapses import PictureNet, Wiring, full_cascade, grid, layers, thinned_cascade
from phasescope.synapses.picture_net import Sweeps
from reference import picture_nets

# Unit 0 is an output that unit 3 reads; units are numbered against the flow.
BACKWARD = Wiring(2, ((1, 4), (0, 1), (0, 3), (1, 2, 4)), (0, 3))
WIRINGS = {
    "thinned": thinned_cascade(6, 3, 2),
    "full": full_cascade(6),
    "layers": layers(2, 4, 5, 3),
    "backward": BACKWARD,
    "one unit": layers(4, 1),
}


def points_for(wiring, count=7, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(count, wiring.inputs, generator=generator, dtype=torch.float64) - 1


def close(found, expected, tolerance):
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), atol=tolerance, rtol=0)


@pytest.mark.parametrize("wiring", WIRINGS.values(), ids=WIRINGS)
def test_maps_are_delta_times_activation(wiring):
    net, points = PictureNet(wiring, seed=1), points_for(wiring)
    expected = picture_nets.maps(wiring, net.weights.tolist(), points.tolist())
    close(Sweeps(net, points).maps(), expected, 1e-13)


@pytest.mark.parametrize("wiring", [*WIRINGS.values(), thinned_cascade()], ids=[*WIRINGS, "default"])
def test_maps_equal_automatic_differentiation(wiring):
    net, points = PictureNet(wiring, seed=2), points_for(wiring)

    def painted(weights):
        return torch.func.functional_call(net, {"weights": weights}, (points,)).T

    jacobian = torch.autograd.functional.jacobian(painted, net.weights.detach(), vectorize=True)
    close(Sweeps(net, points).maps(), jacobian.movedim(-1, 0), 1e-12)


def test_maps_equal_central_differences():
    net, points, h = PictureNet(seed=3), points_for(thinned_cascade()), 1e-5
    maps = Sweeps(net, points).maps()
    for weight in range(0, net.wiring.size, 7):
        step = torch.zeros(net.wiring.size, dtype=torch.float64)
        step[weight] = h
        upper, lower = (Sweeps(net, points, net.weights + sign * step).outputs for sign in (1, -1))
        close(maps[weight], ((upper - lower) / (2 * h)).detach(), 1e-6)


def test_some_maps_are_rows_of_all_maps():
    net, points = PictureNet(BACKWARD), points_for(BACKWARD)
    sweeps = Sweeps(net, points)
    assert torch.equal(sweeps.maps([3, 0, 11]), sweeps.maps()[[3, 0, 11]])
    out = torch.empty(BACKWARD.size, 2, 7, dtype=torch.float64)
    assert sweeps.maps(out=out) is out
    assert torch.equal(out, sweeps.maps())


def test_float32_maps_are_those_of_float64_to_its_precision():
    net, points = PictureNet(seed=1), points_for(thinned_cascade(), 50)
    exact = Sweeps(net, points).maps()
    half = Sweeps(PictureNet(weights=net.weights.detach(), dtype=torch.float32), points).maps()
    assert half.dtype == torch.float32
    close(half, exact, 1e-5 * float(exact.abs().max()))


@pytest.mark.parametrize("wiring", WIRINGS.values(), ids=WIRINGS)
def test_pushing_and_pulling_are_adjoint(wiring):
    points, generator = points_for(wiring), torch.Generator().manual_seed(5)
    sweeps = Sweeps(PictureNet(wiring), points)
    change = torch.randn(3, wiring.size, generator=generator, dtype=torch.float64)
    seeds = torch.randn(len(wiring.outputs), 2, 7, generator=generator, dtype=torch.float64)
    forwards = torch.einsum("ikp,jip->kj", seeds, sweeps.pushed(change))
    close(forwards, sweeps.pulled_back(seeds) @ change.T, 1e-12)
    close(sweeps.pushed(change[1]), sweeps.pushed(change)[1], 1e-14)
    close(sweeps.pulled_back(seeds[:, 1]), sweeps.pulled_back(seeds)[1], 1e-13)


def test_pushing_is_the_sum_of_the_maps():
    sweeps = Sweeps(PictureNet(BACKWARD), points_for(BACKWARD))
    change = torch.linspace(-1, 1, BACKWARD.size, dtype=torch.float64)
    close(sweeps.pushed(change), torch.einsum("s,scp->cp", change, sweeps.maps()), 1e-13)


@pytest.mark.parametrize("chunk", [3, 1000])
def test_energies_and_products_are_sums_over_the_maps(monkeypatch, chunk):
    monkeypatch.setattr("phasescope.synapses.picture_net._CHUNK", chunk)
    sweeps = Sweeps(PictureNet(BACKWARD), points_for(BACKWARD))
    masks, maps = torch.tensor([[1, 0, 0, 1, 1, 0, 0], [0, 0, 0.5, 0, 0, 0, 2]]), sweeps.maps()
    close(sweeps.energies(masks), torch.einsum("mp,scp->ms", masks.double(), maps**2), 1e-13)
    close(sweeps.gram(), torch.einsum("scp,tcp->st", maps, maps), 1e-13)


def test_sweeps_and_autograd_paint_the_same():
    for wiring in WIRINGS.values():
        net, points = PictureNet(wiring), points_for(wiring)
        close(Sweeps(net, points).outputs, net(points).detach().T, 1e-14)


def test_activations_are_in_the_units_own_numbering():
    net, points = PictureNet(BACKWARD), points_for(BACKWARD)
    sweeps = Sweeps(net, points)
    expected = [picture_nets.values_at(BACKWARD, net.weights.tolist(), p)[2:] for p in points.tolist()]
    close(sweeps.activations.T, expected, 1e-14)
    close(sweeps.values[sweeps.row_of].T, expected, 1e-14)


def test_without_biases_a_picture_is_its_own_negative():
    weights = PictureNet(seed=4).weights.detach().clone()
    weights[460:] = 0
    painted = PictureNet(weights=weights).paint(6, 8)
    close(painted, -painted.flip(0, 1), 1e-14)
    assert painted.abs().max() > 0.1


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(8)), st.integers(0, 100))
def test_the_numbering_of_units_does_not_matter(order, seed):
    wiring = thinned_cascade(5, 3, 2)
    net, points = PictureNet(wiring, seed=seed), points_for(wiring)
    place = {unit: i for i, unit in enumerate(order)}

    def renamed(v):
        return v if v < 2 else 2 + place[v - 2]

    rows = [sorted(renamed(v) for v in wiring.sources[unit]) for unit in order]
    other = Wiring(2, tuple(map(tuple, rows)), tuple(place[i] for i in wiring.outputs))
    pairs = zip(other.targets[: other.synapses].tolist(), other.reads.tolist(), strict=True)
    number = {pair: synapse for synapse, pair in enumerate(pairs)}
    mine = zip(wiring.targets[: wiring.synapses].tolist(), wiring.reads.tolist(), strict=True)
    moved = [number[place[i], renamed(v)] for i, v in mine]
    moved += [other.synapses + place[i] for i in range(wiring.units)]
    weights = torch.empty(wiring.size, dtype=torch.float64)
    weights[moved] = net.weights.detach()
    close(Sweeps(PictureNet(other, weights), points).maps()[moved], Sweeps(net, points).maps(), 1e-12)


def test_a_unit_is_the_tanh_of_its_sum():
    net = PictureNet(layers(2, 1), [0.5, -2, 0.25])
    assert net(torch.tensor([[0.3, 0.7]])).item() == pytest.approx(math.tanh(0.25 + 0.15 - 1.4))


def test_the_grid_holds_the_centres_of_pixels_with_y_upwards():
    assert grid(2, 2).tolist() == [[-0.5, 0.5], [0.5, 0.5], [-0.5, -0.5], [0.5, -0.5]]
    assert grid(1, 3)[:, 0].tolist() == pytest.approx([-2 / 3, 0, 2 / 3])
    with pytest.raises(InputError, match="no pixel"):
        grid(0, 3)


def test_rows_of_a_picture_come_from_the_top():
    # Red follows y, green follows x.
    net = PictureNet(Wiring(2, ((0, 1), (0, 1)), (0, 1)), [0, 1, 1, 0, 0, 0])
    painted = net.paint(2, 3)
    assert painted[0, :, 0].tolist() == pytest.approx([math.tanh(0.5)] * 3)
    assert painted[:, 2, 1].tolist() == pytest.approx([math.tanh(2 / 3)] * 2)


def test_drawn_weights_have_the_variance_that_is_stated():
    wide = PictureNet(layers(64, 200, 3), gain=2.0, seed=1)
    first, biases = wide.weights[: 64 * 200].detach(), wide.weights[-203:].detach()
    # 12 800 and 203 normal numbers: standard errors 0.6 % and 5 % of the standard deviation.
    assert float(first.std()) == pytest.approx(2 / 8, rel=0.03)
    assert float(biases.std()) == pytest.approx(0.5, rel=0.25)
    assert torch.equal(PictureNet(seed=7).weights, PictureNet(seed=torch.Generator().manual_seed(7)).weights)


def test_new_weights_leave_the_network_as_it_was():
    net = PictureNet(BACKWARD)
    before = net.weights.detach().clone()
    other = net.with_weights(before + 1)
    assert torch.equal(net.weights.detach(), before)
    assert torch.equal(other.weights.detach(), before + 1)


def test_a_network_survives_json_exactly():
    net = PictureNet(BACKWARD, seed=9)
    read = PictureNet.from_dict(json.loads(json.dumps(net.to_dict())))
    assert torch.equal(read.weights, net.weights)
    assert read.wiring == net.wiring


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "cat"}, "no network of phasescope"),
        ({"weights": [1.0]}, r"\(1,\) weights"),
        ({"weights": "12345678"}, "no number"),
        ({"weights": [True] * 13}, "no number"),
        ({"weights": [float("nan")] * 13}, "Weight 0 is nan"),
        ({"sources": [[0, "1"]]}, "no whole number"),
        ({"sources": 5}, "damaged"),
        ({"outputs": [99]}, "outputs are units"),
        ({"inputs": 2.5}, "no whole number"),
        ({"inputs": None}, "no whole number"),
    ],
)
def test_broken_networks_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        PictureNet.from_dict(PictureNet(BACKWARD).to_dict() | change)


def test_missing_keys_and_other_things_are_refused():
    data = PictureNet(BACKWARD).to_dict()
    del data["sources"]
    with pytest.raises(InputError, match=r"damaged.*sources"):
        PictureNet.from_dict(data)
    for thing in (None, [], "picture-net", 3):
        with pytest.raises(InputError, match="no network of phasescope"):
            PictureNet.from_dict(thing)


def test_wrong_weights_and_inputs_are_named():
    with pytest.raises(InputError, match="460 synapses and 37 biases: give 497 numbers"):
        PictureNet(weights=torch.zeros(460))
    weights = torch.zeros(497)
    weights[33] = math.inf
    with pytest.raises(InputError, match="Weight 33 is inf"):
        PictureNet(weights=weights)
    with pytest.raises(InputError, match="gain=0"):
        PictureNet(gain=0)
    with pytest.raises(InputError, match=r"shape \(4, 3\)"):
        PictureNet()(torch.zeros(4, 3))
