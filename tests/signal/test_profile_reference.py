"""The profile against explicit Jacobians in float64."""

import numpy as np
import pytest
import torch
from torch import nn

from phasescope.signal import profile
from reference import propagation as slow

SEED, PROBES, INPUTS = 3, 2, 4


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [
        nn.Linear(6, 9),
        nn.Tanh(),
        nn.Linear(9, 7),
        nn.GELU(),
        nn.Linear(7, 8),
        nn.ReLU(),
        nn.Linear(8, 3),
    ]
    return nn.Sequential(*layers).double()


def cnn() -> nn.Sequential:
    torch.manual_seed(1)
    layers = [nn.Conv2d(2, 3, 3, padding=1), nn.Tanh(), nn.Conv2d(3, 4, 3, stride=2), nn.ELU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(16, 5)).double()


def linear() -> nn.Sequential:
    torch.manual_seed(2)
    layers = [nn.Linear(8, 8, bias=False) for _ in range(6)]
    for layer in layers:
        nn.init.normal_(layer.weight, std=8**-0.5)
    return nn.Sequential(*layers).double()


CASES = {"mlp": (mlp, (6,)), "cnn": (cnn, (2, 6, 6)), "linear": (linear, (8,))}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    build, shape = CASES[request.param]
    model = build()
    x = torch.randn(INPUTS, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    return model, x, profile(model, x, seed=SEED, probes=PROBES, theory=False).dataset


def weight_rows(model):
    return [i for i, layer in enumerate(model) if hasattr(layer, "weight")]


def standard_error(values):
    return values.std(axis=-1, ddof=1) / np.sqrt(values.shape[-1])


def compare(data, name, expected, **tolerance):
    """Hold a column against a number for each module, those aside that pass their input on."""
    measured = data["skipped"].values == ""
    np.testing.assert_allclose(data[name].values[measured], expected[measured], **tolerance)


def test_kernel_and_its_error(case):
    model, x, data = case
    expected = slow.kernels(model, x)
    compare(data, "kernel", expected.mean(axis=1), rtol=1e-12)
    compare(data, "kernel_error", standard_error(expected), rtol=1e-10)


def test_correlation_and_distance(case):
    model, x, data = case
    expected = slow.correlations(model, x)
    compare(data, "correlation", expected.mean(axis=1), rtol=1e-10, atol=1e-12)
    compare(data, "distance", 1 - expected.mean(axis=1), rtol=1e-10)
    compare(data, "correlation_error", standard_error(expected), rtol=1e-8)


def test_chi_perpendicular(case):
    model, x, data = case
    rows = weight_rows(model)
    squares = np.mean(
        [
            slow.squared_perpendicular(model, x, slow.perpendicular_tangents(x, SEED, probe))
            for probe in range(PROBES)
        ],
        axis=0,
    )
    tangents = squares / kernel_of(x)
    above, below = tangents[rows[1:]], tangents[rows[:-1]]
    ratios = above.mean(axis=1) / below.mean(axis=1)
    # Error of a ratio of means to first order, and against leaving out one input at a time.
    errors = standard_error(above - ratios[:, None] * below) / below.mean(axis=1)
    others = (above.sum(axis=1)[:, None] - above) / (below.sum(axis=1)[:, None] - below)
    jackknife = np.sqrt((len(x) - 1) * others.var(axis=1))
    np.testing.assert_allclose(data["chi_perpendicular"][rows[1:]], ratios, rtol=1e-10)
    np.testing.assert_allclose(data["chi_perpendicular_error"][rows[1:]], errors, rtol=1e-8)
    np.testing.assert_allclose(data["chi_perpendicular_error"][rows[1:]], jackknife, rtol=0.35)
    compare(data, "tangent", tangents.mean(axis=1), rtol=1e-10)
    growth = tangents[rows[-1]].mean() / tangents[rows[0]].mean()
    np.testing.assert_allclose(np.prod(data["chi_perpendicular"][rows[1:]]), growth, rtol=1e-10)
    others = [i for i in range(len(model)) if i not in rows[1:]]
    assert np.isnan(data["chi_perpendicular"].values[others]).all()


def kernel_of(x):
    return (x.flatten(1) ** 2).mean(dim=1).numpy()


def test_chi_parallel(case):
    model, x, data = case
    rows = weight_rows(model)
    radial = slow.radial(model, x).mean(axis=1)
    expected = radial[rows[1:]] / radial[rows[:-1]]
    measured = data["chi_parallel"].values[rows[1:]]
    kept = np.isfinite(measured)
    assert kept.any()
    np.testing.assert_allclose(measured[kept], expected[kept], rtol=1e-10)


def test_gradient(case):
    model, x, data = case
    shape = model(x).shape
    pulled = [
        slow.squared_gradients(model, x, slow.cotangents(shape, SEED, probe)) for probe in range(PROBES)
    ]
    compare(data, "gradient", np.mean(pulled, axis=0).mean(axis=1), rtol=1e-10)


def test_distance_keeps_its_digits_where_the_correlation_has_none_left():
    model = nn.Sequential(nn.Linear(50, 50, bias=False)).double()
    x = torch.randn(1, 50, dtype=torch.float64)
    y = torch.randn(1, 50, dtype=torch.float64)
    step = 1e-7 * (y - (y @ x.T) / (x @ x.T) * x)
    data = profile(model, torch.cat([x, x + step])).dataset
    z, u = model(x)[0].detach(), (step @ model[0].weight.T)[0].detach()
    across = u - (u @ z) / (z @ z) * z
    # 1 - cos(angle) = angle^2 / 2 at this size
    assert float(data["distance"][0]) == pytest.approx(float(across @ across / (z @ z) / 2), rel=1e-6)
    assert float(data["distance"][0]) < 1e-13
