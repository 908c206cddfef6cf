"""The sampler of convolutional networks held against torch's own convolution with the same weights."""

import math

import numpy as np
import pytest
import torch

from phasescope.signal import sample_cnn
from phasescope.signal.sampling.cnn import Ensemble
from phasescope.signal.sampling.cnn_layers import Normals
from reference.explicit_cnn import distances, forward

C_W, C_B = 1.6**2, 0.3**2


def ensemble(size, **changes):
    return Ensemble("tanh", 4, size, C_W, C_B, seed=3, tangent=True, **changes)


def drawn_weights(made, network, depth):
    """The weights and biases that the sampler draws for one network."""
    axes = len(made.sites)
    count = made.channels**2 * made.kernel_size**axes
    normals = Normals(made.seed, [network], 1, "cpu")
    found = []
    for _ in range(depth - 1):
        numbers = normals.draw(count + made.channels)[0]
        weight = numbers[:count].reshape(made.channels, made.channels, *[made.kernel_size] * axes)
        scale = math.sqrt(made.C_W * made.channels / count)
        found.append((weight * scale, numbers[count:] * math.sqrt(made.C_b)))
    return found


def pushed_forward(h, u, weights, options):
    """The tangent u of the first layer in the last, by the Jacobian of the whole network."""
    jacobian = torch.autograd.functional.jacobian(
        lambda x: forward(x, weights, torch.tanh, **options)[-1].flatten(), h
    )
    return (jacobian.flatten(1) @ u.flatten()).reshape(h.shape)


CASES = [
    (9, {}),
    ((4, 5), {}),
    (9, {"start": "seed"}),
    ((4, 5), {"start": "seed"}),
    (9, {"kernel_size": 1}),
    (3, {"kernel_size": 5}),
    (9, {"residual": 0.6}),
    (9, {"layer_norm": True}),
    ((4, 5), {"residual": 0.6, "layer_norm": True}),
]


@pytest.mark.parametrize(("size", "changes"), CASES)
def test_two_replicas_and_a_tangent_go_through_the_drawn_network(size, changes):
    made = ensemble(size, **changes)
    depth, networks = 6, 3
    keywords = {k: v for k, v in changes.items() if k != "replicas"}
    found = sample_cnn("tanh", 4, size, depth, C_W, C_B, networks=networks, seed=3, tangent=True, **keywords)
    first = made.first(range(networks))
    options = {"residual": made.block.residual, "layer_norm": made.block.layer_norm}
    for network in range(networks):
        weights = drawn_weights(made, network, depth)
        h = first.h[network]
        other = h + first.difference.true()[network]
        one = forward(h, weights, torch.tanh, **options)
        two = forward(other, weights, torch.tanh, **options)
        rho = torch.stack([distances(a, b) for a, b in zip(one, two, strict=True)])
        expected = rho.flatten(1).mean(dim=1).numpy()
        np.testing.assert_allclose(found.distance[network], expected, rtol=1e-9, atol=1e-13)
        squares = [[float(h.square().mean()) for h in layers] for layers in (one, two)]
        np.testing.assert_allclose(found.kernel[network], squares, rtol=1e-12)
        if made.start == "homogeneous":
            typical = rho.flatten(1).log().mean(dim=1).numpy()
            np.testing.assert_allclose(found.typical_log_distance[network], typical, atol=1e-8)
        u = first.tangent.true()[network]
        pushed = pushed_forward(h, u, weights, options)
        growth = float(torch.log(pushed.square().sum() / u.square().sum()))
        np.testing.assert_allclose(found.log_growth[network, -1], growth, rtol=1e-10)


@pytest.mark.parametrize(("size", "changes"), CASES)
def test_a_difference_of_1e_minus_300_is_the_tangent_of_the_explicit_network(size, changes):
    made = ensemble(size, distance=1e-300, **changes)
    depth = 6
    found = sample_cnn("tanh", 4, size, depth, C_W, C_B, networks=1, seed=3, distance=1e-300, **changes)
    first = made.first(range(1))
    weights = drawn_weights(made, 0, depth)
    # Any unit will do for a tangent: this one keeps the numbers of order one.
    u = first.difference.values[0]
    log_unit = float(first.difference.shift[0]) * math.log(2)
    options = {"residual": made.block.residual, "layer_norm": made.block.layer_norm}
    h = forward(first.h[0], weights, torch.tanh, **options)[-1]
    pushed = pushed_forward(first.h[0], u, weights, options)
    across = pushed - h * (h * pushed).sum(dim=0) / h.square().sum(dim=0)
    rho = across.square().sum(dim=0) / (2 * h.square().sum(dim=0))
    expected = math.log(float(rho.mean())) + 2 * log_unit
    assert expected < -600
    assert float(found.log_distance[0, -1]) == pytest.approx(expected, abs=1e-9)


def test_a_small_difference_grows_as_the_tangent_does_until_it_is_finite():
    # From 1e-150 through the change from tangent to finite difference, up to where it saturates.
    found = sample_cnn("tanh", 6, 8, 700, 5.0**2, C_B, networks=3, seed=1, distance=1e-150, tangent=True)
    logs = found.log_distance.to_numpy()
    assert (logs[:, 0] < -340).all()
    assert (logs[:, -1] > -3).all()
    in_between = logs < -40
    lag = logs - found.log_growth.to_numpy()
    # Both follow the direction that grows fastest; what is left is how rho weighs the sites.
    for network in range(3):
        late = np.flatnonzero(in_between[network])[50:]
        assert logs[network][late[0]] < -280 < -200 < logs[network][late[-1]]
        assert np.ptp(lag[network][late]) < 5
        steps = np.diff(logs[network])[late[0] : late[-1]]
        assert np.abs(steps).max() < 5
