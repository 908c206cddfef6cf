"""Networks whose answer is known without running anything: orthogonal, scale-invariant, mean-field."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from phasescope.signal import profile

WIDTH, DEPTH = 1000, 6


def inputs(samples, width, *, seed=0, dtype=torch.float64):
    x = torch.randn(samples, width, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return x / x.square().mean(dim=1, keepdim=True).sqrt()


def stack(activation, c_w, *, width=WIDTH, depth=DEPTH, c_b=0.0, seed=1, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    layers = []
    for _ in range(depth):
        layer = nn.Linear(width, width).to(dtype)
        nn.init.normal_(layer.weight, std=math.sqrt(c_w / width), generator=generator)
        nn.init.normal_(layer.bias, std=math.sqrt(c_b), generator=generator)
        layers += [layer, activation()]
    return nn.Sequential(*layers[:-1])


def test_orthogonal_network_keeps_everything():
    layers = [nn.Linear(32, 32, bias=False).double() for _ in range(12)]
    for layer in layers:
        nn.init.orthogonal_(layer.weight)
    x = inputs(6, 32)
    found = profile(nn.Sequential(*layers), x)
    data = found.dataset
    np.testing.assert_allclose(data["kernel"], 1.0, rtol=1e-12)
    np.testing.assert_allclose(data["kernel_theory"], 1.0, rtol=0.1)
    np.testing.assert_allclose(data["chi_perpendicular"][1:], 1.0, rtol=1e-11)
    np.testing.assert_allclose(data["chi_parallel"][1:], 1.0, rtol=1e-11)
    np.testing.assert_allclose(data["gradient"], 1.0, rtol=1e-11)
    np.testing.assert_allclose(data["distance"], float(data["distance"][0]), rtol=1e-11)
    assert found.verdict.phase == "critical"
    assert found.verdict.margin.value == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("factor", "phase"), [(0.5, "vanishing"), (2.0, "exploding")])
def test_scaled_orthogonal_network_has_the_rate_of_its_scale(factor, phase):
    layers = [nn.Linear(32, 32, bias=False).double() for _ in range(12)]
    for layer in layers:
        nn.init.orthogonal_(layer.weight, gain=math.sqrt(factor))
    found = profile(nn.Sequential(*layers), inputs(6, 32)).verdict
    assert found.phase == phase
    assert found.margin.value == pytest.approx(math.log(factor), abs=1e-10)
    assert found.gradient_depth.value == pytest.approx(1 / math.log(2), rel=1e-9)


def arccosine(c):
    # <relu(a) relu(b)> / <relu^2> for unit variances
    angle = math.acos(c)
    return (math.sin(angle) + (math.pi - angle) * c) / math.pi


def test_relu_with_he_initialisation_against_the_arc_cosine_kernel():
    samples = 24
    data = profile(stack(nn.ReLU, 2.0), inputs(samples, WIDTH, dtype=torch.float32)).dataset
    rows = data["role"].values == "weight"
    # One draw of the weights: ln K gains a variance of 5/n per layer, chi_perp one of about 5/n.
    spread = 4 * math.sqrt(5 / WIDTH)
    kernel = data["kernel"].values[rows]
    np.testing.assert_allclose(kernel, 2.0, rtol=spread * math.sqrt(DEPTH))
    np.testing.assert_allclose(data["kernel_theory"].values[rows], 2.0, rtol=0.01)
    np.testing.assert_allclose(data["chi_perpendicular"].values[rows][1:], 1.0, rtol=spread)
    np.testing.assert_allclose(data["chi_parallel"].values[rows][1:], 1.0, rtol=spread)
    np.testing.assert_allclose(data["gradient"].values[rows], 1.0, rtol=spread * math.sqrt(DEPTH))
    expected = float(data["correlation"].values[rows][0])
    for measured in data["correlation"].values[rows][1:]:
        expected = arccosine(expected)
        assert measured == pytest.approx(expected, abs=4 * math.sqrt(DEPTH / WIDTH / samples * 2))
    activations = data["role"].values == "activation"
    np.testing.assert_allclose(data["kernel"].values[activations], 1.0, rtol=spread * math.sqrt(DEPTH))


@pytest.mark.parametrize(("c_w", "phase"), [(0.5, "ordered"), (1.0, "critical"), (6.0, "chaotic")])
def test_tanh_phases(c_w, phase):
    model = stack(nn.Tanh, c_w, width=200, depth=20, c_b=0.0025 if c_w < 1 else 0.0)
    found = profile(model, inputs(16, 200, dtype=torch.float32))
    assert found.verdict.phase == phase
    if phase != "critical":
        assert abs(found.verdict.margin.value) > 4 * found.verdict.margin.error


def test_tanh_at_the_critical_point_of_sigma_b_03():
    # sigma_w = 1.39558398, K* = 0.76347477, where chi_perp = 1 and chi_par = 0.45164027.
    model = stack(nn.Tanh, 1.39558398**2, c_b=0.09)
    x = inputs(24, WIDTH, dtype=torch.float32) * math.sqrt((0.76347477 - 0.09) / 1.39558398**2)
    data = profile(model, x).dataset
    rows = data["role"].values == "weight"
    np.testing.assert_allclose(data["kernel"].values[rows], 0.76347477, rtol=4 * math.sqrt(3 / WIDTH))
    np.testing.assert_allclose(data["kernel_theory"].values[rows], 0.76347477, rtol=0.01)
    chi = data["chi_perpendicular"].values[rows][1:]
    assert chi.mean() == pytest.approx(1.0, abs=4 * math.sqrt(4.25 / WIDTH / len(chi)))
    parallel = data["chi_parallel"]
    ratio, error = parallel.values[rows][1], data["chi_parallel_error"].values[rows][1]
    assert ratio == pytest.approx(0.45164027, abs=4 * (error + math.sqrt(2 / WIDTH)))


@pytest.mark.parametrize("activation", [nn.GELU, nn.SiLU, nn.LeakyReLU, nn.Mish])
def test_theory_agrees_with_a_wide_network_in_all_three_columns(activation):
    data = profile(stack(activation, 1.7, c_b=0.1), inputs(16, WIDTH, dtype=torch.float32)).dataset
    spread = 4 * math.sqrt(2 * DEPTH / WIDTH)
    np.testing.assert_allclose(data["kernel"], data["kernel_theory"], rtol=spread)
    np.testing.assert_allclose(data["gradient"], data["gradient_theory"], rtol=spread)
    np.testing.assert_allclose(data["correlation"], data["correlation_theory"], atol=spread / 2)


def test_theory_counts_the_zero_padding_of_convolutions():
    generator = torch.Generator().manual_seed(3)
    layers = [
        nn.Conv2d(64, 128, 3, padding=1),
        nn.Tanh(),
        nn.Conv2d(128, 128, 5, stride=2, padding=2),
        nn.Tanh(),
    ]
    model = nn.Sequential(*layers, nn.Conv2d(128, 128, 3, padding="same"), nn.Flatten())
    for layer in model[::2]:
        nn.init.normal_(layer.weight, std=math.sqrt(1.5 / layer.weight[0].numel()), generator=generator)
        nn.init.zeros_(layer.bias)
    data = profile(model, torch.randn(8, 64, 6, 6, generator=generator)).dataset
    # Without the padding factors of 0.79, 0.64 and 0.60 this is wrong by a factor of 3.
    spread = 4 * math.sqrt(6 / 128)
    np.testing.assert_allclose(data["kernel"], data["kernel_theory"], rtol=spread / 4)
    np.testing.assert_allclose(data["gradient"], data["gradient_theory"], rtol=spread / 4)


def test_theory_stops_where_it_recognises_nothing_and_says_so():
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 8))
    data = profile(model, torch.randn(4, 8)).dataset
    assert list(np.isfinite(data["kernel_theory"].values)) == [True, True, False, False]
    assert np.isnan(data["gradient_theory"].values).all()
    told = json.loads(data.attrs["theory"])
    assert not told["recognised"]
    assert "LayerNorm" in told["reason"]


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        return self.b(torch.relu(self.a(x)))


def test_theory_knows_an_activation_that_is_no_module():
    model, x = Functional(), torch.randn(4, 8)
    data = profile(model, x).dataset
    same = profile(nn.Sequential(model.a, nn.ReLU(), model.b), x).dataset
    assert list(data["layer"].values) == ["a", "a (relu)", "b"]
    for name in ("kernel_theory", "correlation_theory", "gradient_theory"):
        assert np.isfinite(same[name].values).all()
        np.testing.assert_allclose(data[name].values, same[name].values, rtol=1e-12)
