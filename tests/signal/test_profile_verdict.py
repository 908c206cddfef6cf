"""The verdict, from datasets whose rates are put in by hand."""

import json
import math

import numpy as np
import pytest
import xarray as xr

from phasescope.signal import profile, verdict


def dataset(chi, *, kernel=None, distance=None, gradient=None, scatter=0.0, activations=True, nonfinite=None):
    """A chain of len(chi) + 1 hidden weight rows, each followed by an activation, and a read-out."""
    n = len(chi) + 2
    chi = np.array([np.nan, *chi, 7.0]) * np.exp(scatter * np.random.default_rng(0).standard_normal(n))
    columns = {
        "chi_perpendicular": chi,
        "chi_perpendicular_error": np.full(n, 1e-3),
        "kernel": np.ones(n) if kernel is None else np.append(kernel, 1.0),
        "distance": np.full(n, 0.3) if distance is None else np.append(distance, 0.3),
        "gradient": np.ones(n) if gradient is None else np.append(gradient, 1.0),
        "nonfinite": np.zeros(n) if nonfinite is None else np.append(nonfinite, 0.0),
    }
    rows, roles = [], []
    for i in range(n):
        rows.append(i)
        roles.append("weight")
        if activations and i < n - 1:
            rows.append(i)
            roles.append("activation")
    weight = np.array(roles) == "weight"
    data = {
        name: ("layer", np.where(weight, values[rows], np.nan if name != "nonfinite" else 0.0))
        for name, values in columns.items()
    }
    coordinates = {
        "layer": [str(i) for i in range(len(rows))],
        "role": ("layer", roles),
        "place": ("layer", ["stream"] * len(rows)),
        "chain": ("layer", [0] * len(rows)),
        "depth": ("layer", np.array(rows) + 1),
        "skipped": ("layer", [""] * len(rows)),
    }
    return xr.Dataset(data, coordinates)


@pytest.mark.parametrize(("rate", "phase"), [(0.8, "ordered"), (1.0, "critical"), (1.25, "chaotic")])
def test_constant_rates(rate, phase):
    found = verdict(dataset([rate] * 20))
    assert found.phase == phase
    assert found.margin.value == pytest.approx(math.log(rate), abs=1e-12)


def test_the_read_out_is_no_part_of_the_phase():
    assert verdict(dataset([1.0] * 10)).phase == "critical"  # its ratio is 7
    assert verdict(dataset([1.0] * 10)).margin.window == (7.0, 11.0)


def test_a_shallow_network_is_critical_at_a_rate_that_is_ordered_when_deep():
    assert verdict(dataset([0.9] * 10)).phase == "critical"  # 0.9^10 = 0.35
    assert verdict(dataset([0.9] * 60)).phase == "ordered"  # 0.9^60 = 0.002


def test_power_law_decay_on_the_critical_line_is_critical():
    depth = np.arange(1, 61)
    found = verdict(dataset(1 - 1 / (depth + 1), distance=1 / np.arange(1, 62)))
    assert found.phase == "critical"
    assert "not exponentially" in found.reason
    assert found.growth == "power"
    assert "ever more slowly" in found.signal_depth.reason


def test_scatter_around_one_is_critical_while_its_error_is_small_over_the_whole_depth():
    found = verdict(dataset([1.0] * 50, scatter=0.1))
    assert found.phase == "critical"
    assert abs(found.margin.value) < 3 * found.margin.error
    # 50 rates of 0.0 with an error of 0.06 each sum to 0 with an error of 3, a factor 20.
    wide = verdict(dataset([1.0] * 50, scatter=0.3))
    assert wide.margin.error * 50 > math.log(10)
    assert wide.phase == "not determined"


def test_residual_growth_is_told_from_exponential_growth_by_its_rates():
    steps = np.arange(1, 41)
    residual = verdict(dataset((steps + 1.0) / steps * 1.0))  # K_l = l K_1
    assert (residual.phase, residual.growth) == ("critical", "power")
    assert residual.total.value == pytest.approx(math.log(41))
    steady = verdict(dataset([41 ** (1 / 40)] * 40))  # the same factor in equal steps
    assert (steady.phase, steady.growth) == ("chaotic", "exponential")
    assert steady.total.value == pytest.approx(math.log(41))


def test_an_ordered_phase_whose_first_layers_settle_does_not_change_as_a_power_of_the_depth():
    settling = np.exp(-0.5 - 0.8 / np.arange(1, 12))  # ends at a rate of -0.5 a layer
    found = verdict(dataset(settling))
    assert (found.phase, found.growth) == ("ordered", "exponential")


def test_a_network_that_lets_nothing_through_has_no_margin_and_no_total():
    # The biases keep a kernel that falls 500-fold, which is not what is wrong.
    kernel = np.array([1.0, 1.0, 1e4, 2e-3, 2e-3, 2e-3])
    found = verdict(dataset([0.9, 1.1, 0.0, np.nan, np.nan], kernel=kernel))
    assert found.phase == "vanishing"
    assert found.reason == "nothing of a small difference between inputs reaches 6"
    assert found.margin.reason == found.total.reason == found.reason
    broken = verdict(dataset([1.0] * 5, nonfinite=np.array([0.0] * 3 + [0.1] * 3)))
    assert broken.total.reason == broken.reason == "6 is the first row with NaN or infinite units"


def test_one_step_that_brings_all_the_growth_is_named():
    found = verdict(dataset([1e5, *[1.05] * 23]))
    assert found.phase == "uneven"
    assert "2 alone brings a factor 1e+05" in found.reason
    assert verdict(dataset([1.3] * 24)).phase == "chaotic"


def test_layers_that_differ_wildly_give_no_rate():
    found = verdict(dataset([1e-4, 1.0, 1e-4, 30.0], scatter=0.0))
    assert found.phase == "not determined"
    assert "differ too much" in found.reason


def test_alternating_layers_average_out():
    found = verdict(dataset([10.0, 0.1] * 12))
    assert found.phase == "not determined"
    assert found.margin.error < 0.45  # independent scatter of that size would give 0.7


@pytest.mark.parametrize(("sign", "phase"), [(1, "exploding"), (-1, "vanishing")])
def test_exponential_kernels(sign, phase):
    kernel = np.exp(sign * 0.5 * np.arange(21))
    assert verdict(dataset([1.0] * 20, kernel=kernel)).phase == phase


def test_a_kernel_that_settles_or_decays_as_a_power_is_neither():
    settling = 1e4 * np.exp(-np.arange(21.0)) + 1
    assert verdict(dataset([1.0] * 20, kernel=settling)).phase == "critical"
    assert verdict(dataset([1.0] * 20, kernel=1 / np.arange(1.0, 22.0) ** 1.7)).phase == "critical"


def test_a_kernel_of_zero_has_vanished():
    found = verdict(dataset([1.0] * 9, kernel=np.array([1.0] * 6 + [0.0] * 4)))
    assert found.phase == "vanishing"
    assert "12" in found.reason  # the name of the seventh weight row


def test_a_unit_that_overflows_decides():
    found = verdict(dataset([1.0] * 9, nonfinite=np.array([0.0] * 5 + [0.1] * 5)))
    assert found.phase == "exploding"
    assert "10" in found.reason


def test_too_few_layers():
    found = verdict(dataset([], activations=False))
    assert found.phase == "not determined"
    assert "2 steps before the read-out" in found.reason
    assert not found.margin.determined
    assert not found.signal_depth.determined


def test_depth_scales_are_those_put_in():
    depth = np.arange(31)
    noise = np.exp(0.05 * np.random.default_rng(1).standard_normal(31))
    found = verdict(
        dataset([0.8] * 30, distance=0.5 * np.exp(-depth / 4.0), gradient=np.exp(-(30 - depth) / 5.0) * noise)
    )
    assert found.signal_depth.value == pytest.approx(4.0, rel=1e-9)
    assert found.gradient_depth.value == pytest.approx(5.0, abs=3 * found.gradient_depth.error)
    assert 0 < found.gradient_depth.error < 0.4
    assert found.signal_depth.window == (16.0, 31.0)


def test_rounding_is_no_decay():
    distance = np.maximum(0.5 * np.exp(-np.arange(61.0)), 1e-16)
    found = verdict(dataset([math.exp(-1.0)] * 60, distance=distance))
    assert found.signal_depth.value == pytest.approx(1.0, rel=1e-6)


def test_the_verdict_is_rebuilt_from_the_dataset_of_a_real_profile():
    import torch
    from torch import nn

    torch.manual_seed(0)
    found = profile(nn.Sequential(*[nn.Linear(16, 16) for _ in range(6)]), torch.randn(8, 16))
    assert verdict(found.dataset) == found.verdict
    stored = json.loads(found.dataset.attrs["verdict"])
    assert stored == json.loads(json.dumps(found.verdict.to_dict()))
    assert found.dataset.attrs["phase"] == found.verdict.phase
    assert str(found.verdict).startswith(found.verdict.phase)


def test_branches_that_bring_next_to_nothing_are_told_beside_the_phase():
    data = dataset([1.001] * 24)
    for largest, told in ((0.004, True), (0.02, False)):
        shares = np.full(data.sizes["layer"], 0.001)
        shares[6] = largest
        found = verdict(data.assign(share=("layer", shares)))
        assert found.phase == "critical"
        assert ("no branch brings more than 0.4 % of the stream" in found.reason) is told
