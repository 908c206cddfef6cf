"""The sensitivity of a picture network lays the exact maps out as pictures."""

import numpy as np
import pytest
import torch

from phasescope.errors import InputError
from phasescope.synapses import PictureNet, PictureSensitivity, Property, layers, sensitivity, thinned_cascade
from phasescope.synapses.picture_net import Sweeps, grid

NET = PictureNet(thinned_cascade(6, 3, 2), seed=1)
HEIGHT, WIDTH = 4, 5


class MeanSquare(Property):
    name = "mean square"

    def value(self, picture):
        return picture.square().mean()


@pytest.fixture(scope="module")
def found() -> PictureSensitivity:
    return sensitivity(NET, HEIGHT, WIDTH)


def close(found, expected, tolerance=1e-12):
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), atol=tolerance, rtol=0)


def test_maps_have_the_shape_of_the_picture(found):
    rows = Sweeps(NET, grid(HEIGHT, WIDTH)).maps()
    maps = found.maps()
    assert maps.shape == (NET.wiring.size, HEIGHT, WIDTH, 3)
    close(maps[5, 2, 3], rows[5, :, 2 * WIDTH + 3])
    assert torch.equal(found.maps([5, 0]), maps[[5, 0]])
    close(found.picture, NET.paint(HEIGHT, WIDTH))


def test_everything_is_a_sum_over_the_maps(found):
    maps = found.maps()
    generator = torch.Generator().manual_seed(0)
    seeds = torch.randn(2, HEIGHT, WIDTH, 3, generator=generator, dtype=torch.float64)
    change = torch.randn(2, found.size, generator=generator, dtype=torch.float64)
    masks = torch.rand(2, HEIGHT, WIDTH, generator=generator) > 0.5
    close(found.pulled_back(seeds), torch.einsum("khwc,shwc->ks", seeds, maps))
    close(found.pulled_back(seeds[0]), torch.einsum("hwc,shwc->s", seeds[0], maps))
    close(found.change(change), torch.einsum("ks,shwc->khwc", change, maps))
    close(found.change(change[0]), torch.einsum("s,shwc->hwc", change[0], maps))
    close(found.energy(masks), torch.einsum("mhw,shwc->ms", masks.double(), maps**2))
    close(found.energy(masks[0]), torch.einsum("hw,shwc->s", masks[0].double(), maps**2))
    close(found.rms, maps.square().mean((1, 2, 3)).sqrt())
    close(found.gram(), torch.einsum("shwc,thwc->st", maps, maps))
    close(found.gram(masks[1]), torch.einsum("hw,shwc,thwc->st", masks[1].double(), maps, maps))


def test_the_gradient_of_a_property_follows_the_chain_rule(found):
    # d mean(f^2) / d w = mean over all numbers of 2 f J.
    expected = (2 * found.picture * found.maps()).mean((1, 2, 3))
    close(found.gradient(MeanSquare()), expected)
    assert found.value(MeanSquare()) == pytest.approx(float(found.picture.square().mean()))


def test_a_first_order_change_is_off_by_the_square_of_the_step(found):
    direction = torch.linspace(-1, 1, found.size, dtype=torch.float64)
    errors = []
    for step in (1e-2, 1e-3):
        real = found.at(found.weights + step * direction).picture - found.picture
        errors.append(float((real - found.change(step * direction)).abs().max()))
    assert errors[0] / errors[1] == pytest.approx(100, rel=0.1)


def test_the_network_is_neither_changed_nor_followed():
    net = PictureNet(layers(2, 3, 3))
    before = net.weights.detach().clone()
    found = sensitivity(net, 3, 4)
    painted = found.picture.clone()
    found.at(before + 1)
    assert torch.equal(net.weights.detach(), before)
    with torch.no_grad():
        net.weights += 1
    assert torch.equal(found.picture, painted)
    assert torch.equal(found.weights, before)


def test_points_of_any_kind_may_take_the_place_of_a_picture():
    net, points = PictureNet(layers(5, 3, 2)), torch.zeros(4, 5, dtype=torch.float64)
    found = sensitivity(net, points=points)
    assert found.output.shape == (4, 2)
    assert found.maps().shape == (net.wiring.size, 4, 2)
    assert found.pulled_back(torch.ones(4, 2)).shape == (net.wiring.size,)


def test_weights_are_named_and_grouped_by_the_unit_they_enter(found):
    assert found.name(0) == "synapse 0: input x -> unit 0"
    assert found.groups.tolist() == NET.wiring.targets.tolist()


def test_what_does_not_fit_is_named():
    with pytest.raises(InputError, match="Neither a size nor points"):
        sensitivity(NET, 4)
    with pytest.raises(InputError, match="5 inputs"):
        sensitivity(PictureNet(layers(5, 2)), 4, 4)
    with pytest.raises(InputError, match=r"shape \(4, 3\)"):
        sensitivity(NET, points=torch.zeros(4, 3))
    with pytest.raises(InputError, match="no pixel"):
        sensitivity(NET, 0, 4)
