"""What is seen inside a network, and means over networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from phasescope.noise import fractional_gaussian_noise
from phasescope.papers.noise.networks import (
    QUANTITIES,
    mean_beta,
    observed,
    plain_beta,
    state_of,
    used_mean,
)
from phasescope.papers.noise.sequences import Labelled, SequenceSet
from phasescope.papers.noise.shared import over_networks
from phasescope.papers.noise.training import built
from reference.dfa import fluctuation

WINDOWS = np.array([10, 16, 25, 40, 63])
LSTM = {"input", "input_gate", "forget_gate", "output_gate", "candidate", "cell", "hidden"}
BEFORE = {f"{name}_preactivation" for name in ("input_gate", "forget_gate", "output_gate", "candidate")}


def task() -> SequenceSet:
    nothing = Labelled((), torch.zeros(0, dtype=torch.int64))
    return SequenceSet(nothing, nothing, nothing, torch.zeros(0), torch.zeros(0), 0, 3, 2)


def inputs(network, count: int = 6) -> torch.Tensor:
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        return network.embedding(torch.randn(count, 250, 3, generator=draw))


@pytest.mark.parametrize(
    ("architecture", "known"),
    [
        ("lstm", LSTM),
        ("gru", {"input", "reset_gate", "update_gate", "candidate", "hidden"}),
        ("rnn", {"input", "hidden"}),
    ],
)
def test_everything_inside_a_recurrent_network_is_seen_and_nothing_else(architecture, known):
    network = built(1, architecture, 4, 3, task()).eval()
    found = observed(network, inputs(network), windows=WINDOWS, tests=0, seed=0)
    assert {name for name, beta in zip(QUANTITIES, found["beta"], strict=True) if np.isfinite(beta)} == known
    assert state_of(architecture) in known


def test_a_transformer_shows_its_stream_and_its_units():
    network = built(1, "transformer", 4, 3, task(), 2).eval()
    x = inputs(network)
    found = observed(network, x, windows=WINDOWS, tests=0, seed=0)
    place = QUANTITIES.index(state_of("transformer"))
    seen = {name for name, beta in zip(QUANTITIES, found["beta"], strict=True) if np.isfinite(beta)}
    assert {"residual", "mlp"} <= seen
    with torch.no_grad():
        stream = network.body(x).double()
    deviation = (stream - stream.mean(1, keepdim=True)).square().mean((0, 1)).sqrt()
    assert found["unit_deviation"][place, :4] == pytest.approx(deviation.numpy(), rel=1e-4)


def test_states_and_preactivations_of_an_lstm():
    network = built(1, "lstm", 4, 3, task()).eval()
    x = inputs(network, 40)
    found = observed(network, x, windows=WINDOWS, tests=3, seed=0, preactivations=True)
    seen = {name for name, beta in zip(QUANTITIES, found["beta"], strict=True) if np.isfinite(beta)}
    assert seen == LSTM | BEFORE
    place = QUANTITIES.index
    assert abs(found["beta"][place("input")]) < 4 * found["beta_error"][place("input")]
    with torch.no_grad():
        states = network.body(x)[0].double()
    deviation = (states - states.mean(1, keepdim=True)).square().mean((0, 1)).sqrt()
    assert found["unit_deviation"][place("hidden"), :4] == pytest.approx(deviation.numpy(), rel=1e-5)
    assert found["tested"][place("hidden")] == 3
    assert found["tested"][place("cell")] == 0
    series = states.transpose(1, 2).numpy()
    assert found["plain_beta"][place("hidden")] == pytest.approx(reference_beta(series), abs=1e-4)
    assert found["beta"][place("hidden")] == pytest.approx(mean_beta(series, WINDOWS)[0], abs=1e-4)
    assert found["unit_beta"][place("hidden"), :4].mean() == pytest.approx(found["beta"][place("hidden")])


def reference_beta(series: np.ndarray) -> float:
    flat = series.reshape(-1, series.shape[-1])
    curves = [fluctuation(one, WINDOWS, 1, both_ends=True) for one in flat]
    slopes = [np.polyfit(np.log(WINDOWS), np.log(curve), 1)[0] for curve in curves]
    return 2 * float(np.mean(slopes)) - 1


def test_plain_exponents_are_those_of_a_line_of_least_squares():
    series = fractional_gaussian_noise(0.8, 300, size=(5, 3), seed=2)
    assert plain_beta(series, WINDOWS) == pytest.approx(reference_beta(series), abs=1e-9)
    assert plain_beta(np.concatenate([series, np.ones((5, 1, 300))], axis=1), WINDOWS) == pytest.approx(
        plain_beta(series, WINDOWS), abs=1e-12
    )
    assert np.isnan(plain_beta(np.ones((2, 2, 300)), WINDOWS))


def test_units_in_use_are_those_that_move_half_as_much_as_the_busiest():
    nan = float("nan")
    beta, deviation = np.array([1.0, 0.6, 0.1, nan]), np.array([2.0, 1.0, 0.9, nan])
    assert used_mean(beta, deviation) == pytest.approx(0.8)
    assert used_mean(np.array([nan, 0.5]), np.array([9.0, 1.0])) == 0.5  # the busiest has no exponent
    assert np.isnan(used_mean(np.array([nan]), np.array([1.0])))


def test_intervals_over_few_networks_cover_as_often_as_they_say():
    random = np.random.default_rng(4)
    for networks in (2, 3, 5):
        inside = 0
        for samples in random.normal(0.7, 0.1, (1500, networks)):
            found = over_networks(samples)
            inside += abs(found.value - 0.7) <= 1.96 * found.error
        assert inside / 1500 == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / 1500) ** 0.5)


def test_networks_without_a_number_are_left_out():
    found = over_networks(np.array([0.2, np.nan, 0.4]))
    assert (found.value, found.n) == (pytest.approx(0.3), 2)
    assert not over_networks(np.array([0.2, np.nan])).determined
