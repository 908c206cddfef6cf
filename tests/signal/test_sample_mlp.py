"""The sampler against networks with every weight drawn, and against what theory knows."""

import math

import numpy as np
import pytest
import torch
from scipy.special import digamma
from scipy.stats import ks_2samp

from phasescope.activations import as_activation
from phasescope.signal import sample_mlp
from phasescope.signal.sampling.mlp_layers import Block, Ensemble
from phasescope.testing.resident import in_fresh_process
from phasescope.theory import MeanField, critical_line
from reference import peak_memory
from reference.explicit_mlp import distances, explicit_mlp

LAYERS = [1, 2, 3, 5, 8]
# Activation, C_W, C_b, kernel of layer 1, and the rest.
SETTINGS = {
    "tanh": ("tanh", 1.9, 0.09, 0.75, {}),
    "sin": ("sin", 1.6, 0.09, 0.7, {}),
    "gelu": ("gelu", 1.9, 0.2, 1.0, {}),
    "hardtanh": ("hardtanh", 1.5, 0.1, 1.0, {}),
    "relu with bias": ("relu", 1.6, 0.3, 1.0, {}),
    "relu": ("relu", 2.0, 0.0, 1.0, {"width": 30}),
    "linear": ("linear", 1.0, 0.0, 1.0, {}),
    "far apart": ("tanh", 4.0, 0.0, 2.0, {"distance": 1.9}),
    "near": ("erf", 1.6, 0.09, 0.7, {"distance": 1e-3}),
    "residual": ("tanh", 1.9, 0.09, 0.75, {"residual": 0.7}),
    "residual relu": ("relu", 2.0, 0.0, 1.0, {"residual": 0.7}),
    "layer norm": ("tanh", 1.9, 0.09, 0.75, {"layer_norm": True}),
    "layer norm, relu": ("relu", 1.9, 0.0, 0.75, {"width": 30, "layer_norm": True}),
    "both": ("tanh", 1.9, 0.09, 0.75, {"residual": 0.6, "layer_norm": True}),
    "three": ("tanh", 1.9, 0.09, 0.75, {"replicas": 3}),
    "three, relu": ("relu", 2.0, 0.0, 1.0, {"width": 30, "replicas": 3}),
    "three, both": ("tanh", 3.0, 0.09, 0.75, {"replicas": 3, "residual": 0.6, "layer_norm": True}),
}
FUNCTIONS = {
    "tanh": torch.tanh,
    "sin": torch.sin,
    "erf": torch.erf,
    "relu": torch.relu,
    "gelu": torch.nn.functional.gelu,
    "hardtanh": torch.nn.functional.hardtanh,
    "linear": lambda z: z * 1.0,
}


def both(setting, networks_explicit=3000, networks=4000):
    activation, C_W, C_b, kernel, others = setting
    # In a narrow ReLU layer all units may be off, and there is no angle to compare.
    others = {"width": 8} | others
    ours = {"kernel": kernel, "networks": networks, "layers": LAYERS, "tangent": True, "seed": 7} | others
    sampled = sample_mlp(activation, depth=LAYERS[-1], C_W=C_W, C_b=C_b, **ours)
    theirs = {"C_W": C_W, "C_b": C_b, "K1": kernel, "seed": 11} | others
    signals, tangents = explicit_mlp(
        FUNCTIONS[activation], depth=LAYERS[-1], networks=networks_explicit, **theirs
    )
    chosen = [layer - 1 for layer in LAYERS]
    return sampled, signals[:, chosen], tangents[:, chosen]


def close(ours, theirs, label):
    """Means over networks (first axis) agree within 4.5 standard errors; some 60 are compared at a time."""
    difference = ours.mean(0) - theirs.mean(0)
    error = np.hypot(ours.std(0) / math.sqrt(len(ours)), theirs.std(0) / math.sqrt(len(theirs)))
    assert (np.abs(difference) <= 4.5 * error + 1e-12).all(), (label, difference / error)


@pytest.mark.parametrize("name", SETTINGS)
def test_law_is_that_of_explicit_weights(name):
    sampled, signals, tangents = both(SETTINGS[name])
    rho = distances(signals).transpose(1, 2).numpy()
    ours = sampled.log_distance.values.reshape(len(sampled.network), rho.shape[1], len(LAYERS))
    # A bounded function with all moments, and one that sees small distances.
    close(np.exp(ours), rho, "distance")
    close(np.exp(ours) ** 2, rho**2, "square of the distance")
    close(np.maximum(ours, -25), np.log(np.maximum(rho, math.exp(-25))), "log distance")
    kernel = signals.square().mean(-1).transpose(1, 2).numpy()
    close(np.log(sampled.kernel.values + 1e-9), np.log(kernel + 1e-9), "kernel")
    growth = np.log(tangents.square().sum(-1).numpy() + 1e-12)
    growth -= growth[:, :1]
    close(np.maximum(sampled.log_growth.values, -20), np.maximum(growth, -20), "growth")
    for layer in (1, len(LAYERS) - 1):
        assert ks_2samp(ours[:, 0, layer], np.log(np.maximum(rho[:, 0, layer], 1e-300))).pvalue > 1e-4


def test_tangent_and_replicas_are_drawn_together():
    """u belongs to replica 0 of the same network: its growth is correlated with the distance."""
    sampled, signals, tangents = both(SETTINGS["tanh"])
    growth = np.log(tangents.square().sum(-1).numpy())
    theirs = (np.log(distances(signals)[..., 0].numpy())[:, -1], (growth - growth[:, :1])[:, -1])
    ours = (sampled.log_distance.values[:, -1], sampled.log_growth.values[:, -1])
    products = [(a - a.mean()) * (b - b.mean()) / (a.std() * b.std()) for a, b in (ours, theirs)]
    assert products[0].mean() > 0.1
    close(products[0][:, None], products[1][:, None], "correlation")


def test_wide_networks_follow_the_correlation_map():
    point = critical_line("tanh", 0.3)
    sampled = sample_mlp("tanh", 20000, 20, point.C_W, point.C_b, networks=20, layers=[20], seed=1)
    rho = 1.0
    field = MeanField("tanh", point.C_W, point.C_b)
    for _ in range(19):
        rho = 1 - float(field.correlation_map(1 - rho))
    values = sampled.distance.values[:, 0]
    error = values.std() / math.sqrt(len(values))
    # The finite-width shift of 1/rho is about v l/(2 n).
    assert abs(values.mean() - rho) < 4 * error + rho * 4.25 * 20 / 20000


def test_monte_carlo_table_of_the_order_parameter():
    """Explicit float32 weights, 600 networks of width 100, tanh at sigma_b = 0.3, critical sigma_w."""
    table = {2: (0.8744, 0.0053), 3: (0.7807, 0.0059), 6: (0.5669, 0.0064), 11: (0.3668, 0.0059)}
    table |= {21: (0.2035, 0.0044), 51: (0.0805, 0.0030), 101: (0.0295, 0.0018), 200: (0.00911, 0.00105)}
    point = critical_line("tanh", 0.3)
    sampled = sample_mlp("tanh", 100, 200, point.C_W, point.C_b, networks=500, layers=list(table), seed=4)
    for layer, (value, error) in table.items():
        ours = sampled.distance.sel(layer=layer).values
        assert abs(ours.mean() - value) < 4 * math.hypot(error, ours.std() / math.sqrt(len(ours)))


def test_tiny_distances_grow_as_the_tangent_does():
    """A pair at 1e-300 and a tangent have the same statistics all the way down."""
    networks, depth = 500, 400
    pair = sample_mlp(
        "tanh", 30, depth, 1.6, 0.09, networks=networks, distance=1e-300, layers=[2, 100, depth], seed=2
    )
    alone = sample_mlp(
        "tanh",
        30,
        depth,
        1.6,
        0.09,
        networks=networks,
        replicas=1,
        tangent=True,
        layers=[2, 100, depth],
        seed=3,
    )
    assert pair.log_distance.values[:, 0].mean() == pytest.approx(-300 * math.log(10), abs=1)
    assert pair.log_distance.values.max() < -600
    ours = np.diff(pair.log_distance.values, axis=1)
    theirs = np.diff(alone.log_growth.values, axis=1)
    close(ours, theirs, "growth")
    close(ours**2, theirs**2, "spread of the growth")


def test_distance_does_not_depend_on_the_scale_it_starts_from():
    """With one seed the linear regime is the same trajectory from 1e-20, 1e-120 or 1e-300."""
    start = {}
    for distance in (1e-20, 1e-120, 1e-300):
        sampled = sample_mlp("tanh", 50, 60, 1.6, 0.09, networks=20, distance=distance, seed=6)
        start[distance] = sampled.log_distance.values - math.log(distance)
    np.testing.assert_allclose(start[1e-120], start[1e-300], rtol=0, atol=1e-9)
    np.testing.assert_allclose(start[1e-20], start[1e-300], rtol=0, atol=1e-7)


def test_distances_far_below_float64():
    sampled = sample_mlp("tanh", 20, 900, 0.0015, 0.09, networks=4, layers=[450, 900], tangent=True, seed=1)
    values, growth = sampled.log_distance.values, sampled.log_growth.values
    assert (values[:, 1] < -5000).all()
    # Deep in the linear regime pair and tangent grow alike, network by network.
    np.testing.assert_allclose(np.diff(values), np.diff(growth), rtol=0, atol=12)
    assert (sampled.distance.values[:, 1] == 0).all()


def test_linear_network_grows_as_a_product_of_chi_squares():
    n, depth, C_W = 7, 40, 1.3
    sampled = sample_mlp(
        "linear",
        n,
        depth,
        C_W,
        0.0,
        networks=4000,
        replicas=1,
        kernel=1.0,
        tangent=True,
        layers=[depth],
        seed=5,
    )
    chi = digamma(n / 2) + math.log(2 / n)
    exact = (depth - 1) * math.log(C_W) + np.array([depth - 1, depth]) * chi
    ours = np.stack([sampled.log_growth.values[:, 0], np.log(sampled.kernel.values[:, 0, 0])], axis=1)
    assert (np.abs(ours.mean(0) - exact) < 4 * ours.std(0) / math.sqrt(len(ours))).all()


def test_angle_in_a_linear_network_closes_at_the_gap_of_the_exponents():
    """Its sin^2 falls by chi^2_(n-1)/chi^2_n a layer, the two largest exponents of a Gaussian product."""
    n, depth = 10, 600
    sampled = sample_mlp("linear", n, depth, 1.0, 0.0, networks=200, kernel=1.0, layers=[300, depth], seed=8)
    values = sampled.log_distance.values
    # One pair in two ends antiparallel, at 1 - c = 2.
    closing = values[values[:, 1] < -20]
    rate = np.diff(closing, axis=1)[:, 0] / 300
    exact = digamma((n - 1) / 2) - digamma(n / 2)
    assert 60 < len(closing) < 140
    assert abs(rate.mean() - exact) < 4 * rate.std() / math.sqrt(len(rate))


@pytest.mark.parametrize(
    ("activation", "width", "C_W", "C_b", "kernel"),
    [("tanh", 20, 4.0, 0.0, None), ("tanh", 4, 400.0, 0.1, None), ("relu", 20, 2.0, 0.0, 1.0)],
)
def test_pairs_of_three_replicas_are_alike(activation, width, C_W, C_b, kernel):
    """Nothing tells replicas apart: pair (1, 2) has the law of (0, 1), also when 0 is far from both."""
    sampled = sample_mlp(
        activation, width, 30, C_W, C_b, kernel=kernel, networks=4000, replicas=3, layers=[30], seed=9
    )
    values = sampled.log_distance.values[:, :, 0]
    assert values.min() < -8
    for pair in (0, 1):
        assert ks_2samp(values[:, pair], values[:, 2]).pvalue > 1e-3
        low = [np.sort(values[:, k])[: len(values) // 20] for k in (pair, 2)]
        assert ks_2samp(*low).pvalue > 1e-3
    # 1 - c is half a squared distance of unit vectors, so square roots obey the triangle inequality.
    sides = np.sort(np.exp(values / 2), axis=1)
    assert (sides[:, 2] <= (sides[:, 0] + sides[:, 1]) * (1 + 1e-9)).all()


def test_units_that_are_all_off_end_the_difference():
    """A ReLU layer of 2 units is off for both replicas of a pair once in a while: they coincide for ever."""
    sampled = sample_mlp("relu", 2, 40, 1.0, 0.5, networks=500, seed=3)
    gone = np.isneginf(sampled.log_distance.values)
    assert gone[:, -1].mean() > 0.9
    assert (np.diff(gone.astype(int), axis=1) >= 0).all()
    assert np.isfinite(sampled.kernel.values).all()


def test_result_does_not_depend_on_memory_or_on_the_layers_recorded():
    arguments = {"networks": 300, "seed": 12, "tangent": True}
    whole = sample_mlp("tanh", 100, 30, 1.9, 0.09, **arguments)
    parts = sample_mlp("tanh", 100, 30, 1.9, 0.09, layers=[7, 30], max_memory="20MB", **arguments)
    for name in ("log_distance", "kernel", "log_growth"):
        np.testing.assert_array_equal(whole[name].sel(layer=[7, 30]).values, parts[name].values)
    again = sample_mlp("tanh", 100, 30, 1.9, 0.09, **arguments)
    assert whole.identical(again)
    assert not np.array_equal(sample_mlp("tanh", 100, 30, 1.9, 0.09, networks=300).kernel, whole.kernel)


def test_global_random_state_is_left_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    sample_mlp("tanh", 10, 3, 1.9, 0.09, networks=3)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("tile", [24])
def test_layers_drawn_in_tiles_have_the_same_law(tile, monkeypatch):
    monkeypatch.setattr("phasescope.signal.sampling.mlp_layers._TILE", tile)
    sampled = sample_mlp("tanh", 50, 5, 1.9, 0.09, kernel=0.75, networks=200, layers=[5], seed=13)
    signals, _ = explicit_mlp(torch.tanh, 50, 5, 500, C_W=1.9, C_b=0.09, K1=0.75, seed=14)
    close(sampled.log_distance.values, distances(signals)[:, 4].log().numpy(), "log distance")


def test_memory_does_not_grow_with_the_width():
    ensemble = Ensemble(as_activation("tanh"), 10**9, 1.9, 0.09)
    block = Block(ensemble, 1, lambda tensor: None, kernel=0.75, distance=1.0)
    assert sum(buffer.numel() for buffer in block.buffers) < 10**6


def test_variables_and_dimensions():
    two = sample_mlp("tanh", 10, 5, 1.9, 0.09, networks=3, layers=[5, 2], tangent=True)
    assert two.log_distance.dims == ("network", "layer")
    assert two.layer.values.tolist() == [2, 5]
    assert two.kernel.dims == ("network", "replica", "layer")
    assert two.log_growth.dims == ("network", "layer")
    assert all(two[name].attrs["units"] == "1" for name in two.data_vars)
    four = sample_mlp("tanh", 10, 5, 1.9, 0.09, replicas=4)
    assert four.log_distance.sizes == {"network": 1, "pair": 6, "layer": 5}
    assert list(zip(four.first.values, four.second.values, strict=True))[:4] == [
        (0, 1),
        (0, 2),
        (0, 3),
        (1, 2),
    ]
    one = sample_mlp("tanh", 10, 5, 1.9, 0.09, replicas=1)
    assert "log_distance" not in one


@pytest.mark.slow
@pytest.mark.parametrize("width", [10, 100, 1000])
def test_resident_memory_holds_the_limit_within_a_fifth(width):
    assert in_fresh_process(peak_memory.sampled_mlp, width, 30e6) < 1.2 * 30e6
