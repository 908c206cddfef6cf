import math

import pytest
import torch

from phasescope.errors import InputError, NoCriticalPointError
from phasescope.theory import (
    aspect_ratio,
    critical_point,
    first_layer_kernel,
    four_point_vertex,
    vertex_rate,
    width_for_depth,
)
from reference.random_networks import log_kernels, residual_mean_squares

relu = torch.relu


def test_relu_spread_grows_linearly():
    flow = four_point_vertex("relu", [100] * 9, 0.7, C_W=2.0)
    assert flow.K.tolist() == pytest.approx([0.7] * 10, rel=1e-12)
    expected = [3 * 5 * layer / 100 for layer in range(10)]
    assert flow.excess_kurtosis.tolist() == pytest.approx(expected, rel=1e-10)


def test_widths_enter_layer_by_layer():
    flow = four_point_vertex("relu", [50, 200, 1000], 1.0, C_W=2.0)
    assert float(flow.variance[-1]) == pytest.approx(5 / 50 + 5 / 200 + 5 / 1000, rel=1e-10)


@pytest.mark.parametrize(("name", "C_W", "width"), [("relu", 2.0, 1000), ("tanh", 1.0, 400)])
def test_kurtosis_against_sampled_networks(name, C_W, width):
    networks, depth = 4000, 10
    function = {"relu": torch.relu, "tanh": torch.tanh}[name]
    K = log_kernels(function, width, depth, networks, C_W=C_W, K1=1.0, seed=1)[:, -1].exp()
    # Excess kurtosis of a mixture of Gaussians of variance K.
    measured = float(3 * K.var() / K.mean() ** 2)
    predicted = float(four_point_vertex(name, [width] * 9, 1.0, C_W=C_W).excess_kurtosis[-1])
    # 4 standard errors of a variance are 9 %; the next order in 1/width adds 2 %.
    assert predicted == pytest.approx(measured, rel=0.11)


def test_kurtosis_against_published_networks():
    # 1500 explicit networks of width 100, layer 10: ReLU 1.78, tanh 0.167, each with an error near 10 %.
    relu10 = four_point_vertex("relu", [100] * 9, 1.0, C_W=2.0).excess_kurtosis[-1]
    tanh10 = four_point_vertex("tanh", [100] * 9, 1.0, C_W=1.0).excess_kurtosis[-1]
    assert float(relu10) == pytest.approx(1.35, rel=1e-9)
    # To all orders (1 + 5/n)^9 replaces 1 + 45/n.
    assert pytest.approx(1.78, rel=0.1) == 3 * (1.05**9 - 1)
    assert float(tanh10) == pytest.approx(0.167, rel=0.2)


def test_rates_of_the_classes():
    assert vertex_rate("relu") == pytest.approx(5, rel=1e-12)
    assert vertex_rate("linear") == pytest.approx(2, rel=1e-12)
    assert vertex_rate("tanh") == pytest.approx(2 / 3, rel=1e-12)
    assert vertex_rate("mrepu2") == pytest.approx(14 / 3, rel=1e-12)
    with pytest.raises(NoCriticalPointError, match="repu2"):
        vertex_rate("repu2")


@pytest.mark.parametrize("name", ["tanh", "softsign"])
def test_rate_of_a_vanishing_kernel_is_approached_with_depth(name):
    depth = 400
    flow = four_point_vertex(name, [1] * (depth - 1), 1.0, C_W=1.0)
    rate = float(flow.variance[-1] / flow.K[-1] ** 2) / depth
    assert rate == pytest.approx(vertex_rate(name), rel=0.05)


@pytest.mark.parametrize("residual", [0.0, 0.6])
def test_rate_of_a_growing_kernel_at_the_depth_it_is_set_for(residual):
    depth = 400
    K1 = first_layer_kernel("mrepu1", depth) / (1 - residual**2)
    flow = four_point_vertex("mrepu1", [1] * depth, K1, C_W=1.0, residual=residual)
    rate = float(flow.variance[-1] / flow.K[-1] ** 2) / depth
    assert rate == pytest.approx(vertex_rate("mrepu1", residual=residual), rel=0.05)


@pytest.mark.slow
def test_rate_of_a_half_stable_point_against_sampled_networks():
    point = critical_point("gelu")
    width, depth, networks = 3000, 6, 2500
    log_K = log_kernels(
        torch.nn.functional.gelu, width, depth, networks, C_W=point.C_W, C_b=point.C_b, K1=point.K, seed=5
    )
    measured = float(log_K[:, -1].var()) * width / (depth - 1)
    assert vertex_rate("gelu") == pytest.approx(measured, rel=0.12)


def test_residual_weight_against_sampled_networks():
    width, depth, networks, residual = 300, 8, 4000, 0.6
    squares = residual_mean_squares(
        relu, width, depth, networks, C_W=2.0, C_b=0.0, K1=1.0, residual=residual, seed=2
    )
    # The mean of n squares of variance K scatters by 2 K^2/n besides the spread of K itself.
    measured = float(squares[:, -1].var()) - 2 / width
    predicted = float(
        four_point_vertex("relu", [width] * (depth - 1), 1.0, C_W=2.0, residual=residual).variance[-1]
    )
    assert predicted == pytest.approx(measured, rel=0.12)


@pytest.mark.parametrize("name", ["relu", "gelu"])
def test_residual_rate_is_reached_deep_in_the_network(name):
    point = critical_point(name)
    K = point.K or 1.0
    flow = four_point_vertex(name, [1] * 100, K, C_W=point.C_W, C_b=point.C_b, residual=0.6)
    assert float(flow.K[-1]) == pytest.approx(K, rel=1e-9)
    growth = float(flow.variance[-1] - flow.variance[-2]) / K**2
    assert growth == pytest.approx(vertex_rate(name, residual=0.6), rel=1e-6)


@pytest.mark.parametrize("residual", [0.3, 0.9])
def test_residual_rates_in_closed_form(residual):
    added = 1 - residual**2
    # Even sigma^2: (1-r^2) [(1-r^2) nu + 4 r^2]. ReLU besides: <z s^2> = 2/sqrt(2 pi) at K = 1.
    linear = added * (added * 2 + 4 * residual**2)
    assert vertex_rate("linear", residual=residual) == pytest.approx(linear, rel=1e-12)
    skew = 2 * residual * (1 + residual) * 4 * 2 / math.pi
    rectified = added * (added * 5 + 4 * residual**2 + skew)
    assert vertex_rate("relu", residual=residual) == pytest.approx(rectified, rel=1e-12)
    assert vertex_rate("tanh", residual=residual) == pytest.approx(2 / 3 * (1 - residual**4))


def test_aspect_ratio():
    assert aspect_ratio("relu") == pytest.approx(4 / (23 * 5), rel=1e-12)
    assert aspect_ratio("linear", outputs=10) == pytest.approx(4 / (50 * 2), rel=1e-12)
    assert aspect_ratio("tanh", residual=0.5) == pytest.approx(4 / (23 * 2 / 3 * (1 - 0.5**4)), rel=1e-12)
    assert aspect_ratio("linear", residual=0.8) == pytest.approx(
        4 / (23 * 0.36 * (0.36 * 2 + 4 * 0.64)), rel=1e-12
    )


@pytest.mark.parametrize("depth", [1, 4, 20])
def test_the_width_of_a_linear_network_is_the_least_that_the_exact_spread_allows(depth):
    def spread(n):
        return math.sqrt((1 + 2 / n) ** depth - 1)

    width = width_for_depth("linear", depth, spread=0.4)
    assert spread(width) <= 0.4 < spread(width - 1)
    # A kernel of 0.7 that doubles in each layer has the same relative spread.
    assert width_for_depth("linear", depth, spread=0.4, K1=0.7, C_W=2.0) == width


@pytest.mark.parametrize(
    ("name", "C_W", "depth", "given"),
    [("relu", 2.0, 10, False), ("tanh", 1.0, 10, True), ("tanh", 2.0, 6, True)],
)
def test_sampled_networks_of_that_width_have_the_spread_that_was_asked_for(name, C_W, depth, given):
    function = {"relu": torch.relu, "tanh": torch.tanh}[name]
    asked = 0.4 if name == "relu" else 0.15
    weights = {"K1": 1.0, "C_W": C_W} if given else {}
    width = width_for_depth(name, depth, spread=asked, **weights)
    K = log_kernels(function, width, depth + 1, 4000, C_W=C_W, K1=1.0, seed=3)[:, -1].exp()
    # Two standard errors of a standard deviation are 3 %, those of a skew distribution somewhat more.
    assert float(K.std() / K.mean()) == pytest.approx(asked, rel=0.08)


def test_the_width_of_a_bounded_activation_is_of_leading_order():
    assert width_for_depth("tanh", 30, spread=0.5) == 2 / 3 * 30 / 0.25
    assert width_for_depth("tanh", 1, spread=5.0) == 1
    with pytest.raises(NoCriticalPointError):
        width_for_depth("repu2", 10, spread=0.5)


def test_refuses_what_has_no_meaning():
    for call in (
        lambda: four_point_vertex("relu", [], 1.0, C_W=2.0),
        lambda: four_point_vertex("relu", [0], 1.0, C_W=2.0),
        lambda: four_point_vertex("relu", [5, 6], 1.0, C_W=2.0, residual=0.5),
        lambda: four_point_vertex("relu", [5], 1.0, C_W=2.0, residual=1.0),
        lambda: vertex_rate("relu", residual=-0.1),
        lambda: aspect_ratio("relu", outputs=0),
        lambda: width_for_depth("relu", 0, spread=0.5),
        lambda: width_for_depth("relu", 5, spread=0.0),
        lambda: width_for_depth("relu", 5, spread=0.5, K1=1.0),
    ):
        with pytest.raises(InputError):
            call()
