"""Convolutional networks at initialisation: limits with known answers, and what must not matter."""

import math

import numpy as np
import pytest
import torch
from scipy.special import digamma

from phasescope.errors import InputError, MemoryLimitError
from phasescope.signal import cnn_lyapunov_exponent, sample_cnn
from phasescope.testing.resident import in_fresh_process, resident_peak
from phasescope.theory import MeanField
from reference import peak_memory
from reference.explicit_cnn import distances, locally_connected
from reference.explicit_mlp import distances as pair_distances
from reference.explicit_mlp import explicit_mlp

C_W, C_B = 1.6**2, 0.3**2


def mean_and_error(values):
    values = np.asarray(values)
    return values.mean(axis=0), values.std(axis=0, ddof=1) / math.sqrt(len(values))


@pytest.mark.parametrize(
    ("size", "kernel_size", "weights"),
    [
        (1, 1, "shared"),
        (1, 3, "shared"),
        ((1, 1), 3, "local"),
        (1, 5, "local"),
        (3, 1, "shared"),
        (3, 1, "local"),
    ],
)
def test_without_neighbours_the_law_is_that_of_a_fully_connected_network(size, kernel_size, weights):
    kernel = MeanField("tanh", C_W, C_B).fixed_point().K
    found = sample_cnn(
        "tanh", 6, size, 8, C_W, C_B, kernel_size=kernel_size, networks=800, weights=weights, seed=5
    )
    mean, error = mean_and_error(found.distance)
    signals, _ = explicit_mlp(torch.tanh, 6, 8, 4000, C_W=C_W, C_b=C_B, K1=kernel, seed=6)
    expected, expected_error = mean_and_error(pair_distances(signals)[:, :, 0])
    assert (np.abs(mean - expected) < 4 * np.hypot(error, expected_error)).all()


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_local_weights_follow_the_law_of_an_explicit_locally_connected_network(kernel_size):
    networks, depth, channels, size = 300, 5, 3, 4
    field = MeanField("tanh", C_W, C_B).fixed_point()
    generator = torch.Generator().manual_seed(11)
    rows = []
    for _ in range(networks):
        pair = torch.randn(2, channels, size, generator=generator, dtype=torch.float64)
        h, other = pair * math.sqrt(field.K)
        for _ in range(depth - 1):
            h, other = locally_connected(h, other, C_W, C_B, kernel_size, torch.tanh, generator)
        rho = distances(h, other)
        # Neighbouring sites share what they see, and so does the kernel: second moments tell the law apart.
        rows.append([rho.mean(), rho.log().mean(), rho.mean() ** 2, h.square().mean()])
    expected, expected_error = mean_and_error(np.array(rows, dtype=float))
    sample = sample_cnn(
        "tanh", channels, size, depth, C_W, C_B, kernel_size=kernel_size, networks=2000, weights="local",
        seed=12, layers=[depth],
    )  # fmt: skip
    rho = sample.distance.to_numpy()[:, 0]
    found = np.stack(
        [rho, sample.typical_log_distance[:, 0], rho**2, sample.kernel.sel(replica=0)[:, 0]], axis=1
    )
    mean, error = mean_and_error(found)
    assert (np.abs(mean - expected) < 4 * np.hypot(error, expected_error)).all()


@pytest.mark.parametrize(
    ("weights", "channels", "networks", "size"), [("shared", 200, 40, 6), ("local", 2000, 10, (3, 3))]
)
def test_many_channels_follow_the_mean_field_map(weights, channels, networks, size):
    field = MeanField("tanh", C_W, C_B)
    expected = [1.0]
    for _ in range(4):
        expected.append(field.distance_map(expected[-1]))
    found = sample_cnn("tanh", channels, size, 5, C_W, C_B, networks=networks, weights=weights, seed=2)
    mean, error = mean_and_error(found.distance)
    # Beyond the noise the correction is of order 1/channels.
    assert (np.abs(mean - expected) < 4 * error + 4 / channels).all()
    assert error.max() < 0.02
    assert float(found.kernel.mean()) == pytest.approx(field.fixed_point().K, rel=0.03)


def test_linear_channels_have_the_exponent_of_a_product_of_gaussian_matrices():
    # |W u|^2/|u|^2 is chi^2 of C degrees over C, so its log has the mean digamma(C/2) + ln(2/C).
    expected = (digamma(5 / 2) + math.log(2 / 5)) / 2
    for weights in ("shared", "local"):
        found = cnn_lyapunov_exponent(
            lambda z: z, 5, 1, 1.0, 0.0, networks=150, depth=60, discard=10, weights=weights, kernel=1.0
        )
        # The variance of a log chi^2 is trigamma(C/2) = 0.49 for C = 5.
        assert found.error == pytest.approx(math.sqrt(0.4904 / 50 / 150) / 2, rel=0.25)
        assert abs(found.value - expected) < 4 * found.error


@pytest.mark.parametrize("size", [12, (4, 4)])
@pytest.mark.parametrize("weights", ["shared", "local"])
def test_the_mean_square_of_a_linear_tangent_grows_by_C_W(size, weights):
    found = sample_cnn(
        lambda z: z, 8, size, 4, 1.3, 0.0, networks=800, weights=weights, tangent=True, kernel=1.0,
        replicas=1,
    )  # fmt: skip
    mean, error = mean_and_error(np.exp(found.log_growth))
    assert (np.abs(mean - 1.3 ** np.arange(4)) <= 4 * error).all()


@pytest.mark.parametrize("weights", ["shared", "local"])
@pytest.mark.parametrize(("size", "kernel_size"), [(40, 3), (41, 5), ((16, 16), 3)])
def test_a_seed_stays_within_its_light_cone_exactly(size, kernel_size, weights):
    found = sample_cnn(
        "tanh", 4, size, 6, C_W, C_B, kernel_size=kernel_size, networks=3, start="seed", weights=weights,
        threshold=1e-100, seed=8,
    )  # fmt: skip
    axes = np.size(size)
    cone = (1 + (kernel_size - 1) * np.arange(6)) ** axes
    np.testing.assert_array_equal(found.active_sites, np.broadcast_to(cone, (3, 6)))
    reach = (kernel_size // 2) * np.arange(6)
    assert (found.square_spread <= axes * reach**2 + 1e-12).all()
    assert (found.square_spread[:, 1:] > 0).all()
    # Mass, mean and share of active sites are three views of the same sum.
    expected = found.log_mass - math.log(np.prod(size))
    np.testing.assert_allclose(found.log_distance, expected, rtol=1e-12)


def test_a_seed_spreads_evenly_to_both_sides():
    # Linear and without sharing the mean square difference diffuses: variance 2/3 per layer for 3 sites.
    found = sample_cnn(
        lambda z: z, 40, 32, 6, 1.0, 0.0, networks=400, start="seed", weights="local", kernel=1.0,
        distance=1e-12,
    )  # fmt: skip
    mean, error = mean_and_error(found.square_spread)
    # rho and the square of the difference differ by the part along h, a share of 1/channels.
    assert (np.abs(mean - 2 / 3 * np.arange(6)) < 4 * error + 0.05).all()


def test_alive_tells_apart_seeds_that_die_and_seeds_that_take_over():
    options = {"networks": 4, "start": "seed", "weights": "local", "layers": [300], "seed": 1}
    assert not sample_cnn("tanh", 5, 32, 300, 1.1**2, C_B, **options).alive.any()
    assert sample_cnn("tanh", 5, 32, 300, 2.5**2, C_B, **options).alive.all()


@pytest.mark.parametrize("options", [{}, {"weights": "local"}, {"start": "seed", "layer_norm": True}])
def test_a_network_does_not_depend_on_the_others_on_chunks_or_on_recorded_layers(options):
    arguments = {"seed": 4, "tangent": True, **options}
    whole = sample_cnn("tanh", 4, 10, 20, C_W, C_B, networks=7, **arguments)
    chunked = sample_cnn("tanh", 4, 10, 20, C_W, C_B, networks=7, max_memory="300kB", **arguments)
    fewer = sample_cnn("tanh", 4, 10, 20, C_W, C_B, networks=3, layers=[20, 5], **arguments)
    for name in whole.data_vars:
        np.testing.assert_array_equal(whole[name], chunked[name])
        np.testing.assert_array_equal(whole[name].isel(network=slice(3)).sel(layer=[5, 20]), fewer[name])
    assert not np.array_equal(whole.distance[0], whole.distance[1])


@pytest.mark.parametrize("weights", ["shared", "local"])
def test_a_tangent_and_a_second_replica_do_not_change_the_network(weights):
    options = {"networks": 2, "weights": weights, "seed": 9}
    plain = sample_cnn("tanh", 4, 10, 12, C_W, C_B, **options)
    both = sample_cnn("tanh", 4, 10, 12, C_W, C_B, tangent=True, **options)
    np.testing.assert_allclose(both.log_distance, plain.log_distance, rtol=1e-10)


@pytest.mark.parametrize("weights", ["shared", "local"])
def test_a_uniform_row_stays_uniform_if_all_sites_share_their_weights(weights):
    found = sample_cnn(
        "tanh", 10, (4, 3), 30, 1.3**2, C_B, start="uniform", networks=3, weights=weights, seed=3,
        distance=1e-3,
    )  # fmt: skip
    variance = found.log_site_variance.to_numpy()
    assert (variance[:, 0] < -60).all()
    assert (variance[:, 1:] < -60).all() if weights == "shared" else (variance[:, 1:] > -3).all()
    rough = sample_cnn("tanh", 10, (4, 3), 2, 1.3**2, C_B, networks=200)
    # Of 12 independent sites 11/12 of the square vary.
    assert float(np.exp(rough.log_site_variance[:, 0]).mean()) == pytest.approx(11 / 12, abs=0.02)


def test_two_wide_layers_keep_the_kernel_with_a_residual_branch_and_with_layer_norm():
    for options, expected in (
        ({"residual": 0.7}, MeanField("tanh", C_W, C_B).fixed_point().K),
        ({"layer_norm": True}, MeanField("tanh", C_W, C_B).kernel_map(1.0)),
    ):
        found = sample_cnn("tanh", 2000, 8, 6, C_W, C_B, networks=4, weights="local", **options)
        assert found.kernel.to_numpy() == pytest.approx(expected, rel=0.03)


BAD = [
    ({"channels": 1}, "channels = 1"),
    ({"size": (3, 3, 3)}, r"size = \(3, 3, 3\)"),
    ({"size": 0}, "size = 0"),
    ({"depth": 0}, "depth = 0"),
    ({"C_W": -1.0}, "C_W = -1.0"),
    ({"C_b": math.nan}, "C_b = nan"),
    ({"kernel_size": 4}, "kernel_size = 4"),
    ({"networks": 0}, "networks = 0"),
    ({"seed": -1}, "seed = -1"),
    ({"start": "seeds"}, "start = 'seeds'"),
    ({"weights": "tied"}, "weights = 'tied'"),
    ({"replicas": 3}, "replicas = 3"),
    ({"replicas": 1}, "replicas = 1"),
    ({"kernel": 0.0}, "kernel = 0.0"),
    ({"distance": 0.0}, "distance = 0.0"),
    ({"layers": [0]}, r"layers = \[0\]"),
    ({"residual": 1.0}, "residual = 1.0"),
    ({"threshold": 0.0}, "threshold = 0.0"),
    ({"max_memory": "-"}, "max_memory"),
    ({"activation": "relu", "C_W": 3.0}, "drives the kernel to inf"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_unusable_input_is_repeated_in_the_message(changes, message):
    arguments = {"activation": "tanh", "channels": 4, "size": 8, "depth": 3, "C_W": C_W, "C_b": C_B}
    with pytest.raises(InputError, match=message):
        sample_cnn(**(arguments | changes))


def test_a_network_beyond_the_memory_limit_is_refused():
    with pytest.raises(MemoryLimitError, match="One network of 4 channels"):
        sample_cnn("tanh", 4, 10_000, 3, C_W, C_B, max_memory="1MB")


def test_the_window_of_the_exponent_lies_within_the_depth():
    with pytest.raises(InputError, match="discard = 10 with depth = 10"):
        cnn_lyapunov_exponent("tanh", 4, 8, C_W, C_B, networks=2, depth=10, discard=10)


@pytest.mark.slow
@pytest.mark.parametrize("case", peak_memory.SAMPLED)
def test_resident_memory_holds_the_limit_within_a_fifth(case):
    assert in_fresh_process(peak_memory.sampled_cnn, case, 30e6) < 1.2 * 30e6


def test_memory_is_bounded_where_the_weights_are_most_of_it():
    def sample(networks, limit):
        return sample_cnn("tanh", 128, 4, 3, C_W, C_B, networks=networks, max_memory=limit)

    sample(1, None)
    assert resident_peak(lambda: sample(80, "8MB")) < 0.5 * resident_peak(lambda: sample(80, "80MB"))
