"""Noise of activations on models whose noise is known."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from phasescope import inspect
from phasescope.errors import InputError
from phasescope.instruments import ActivationNoise
from phasescope.instruments.activation_noise.sequences import SHORTEST
from phasescope.noise import fractional_gaussian_noise
from phasescope.noise.fluctuation import shortest_length
from phasescope.testing import CHECKS, Case, check_instrument

pytestmark = pytest.mark.usefixtures("coarse_errors")

NOISE = ActivationNoise()


def normal(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def through():
    """Return a convolution that passes its four channels on, one shift aside so that a reset shows."""
    model = nn.Sequential(nn.Conv1d(4, 4, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(4)[:, :, None])
        model[0].bias.fill_(3.0)
    return model


def leaky(phi, units=4):
    """Return an LSTM whose cell is ``c_t = phi c_(t-1) + small white noise`` to a part in a thousand."""
    model = nn.LSTM(units, units, batch_first=True)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.weight_ih_l0[2 * units : 3 * units] = 1e-2 * torch.eye(units)
        model.bias_ih_l0[:units] = 20.0
        model.bias_ih_l0[units : 2 * units] = math.log(phi / (1 - phi))
    return model


def row(dataset, name):
    return dataset.sel(layer=name)


def off(value, expected, error):
    return abs(float(value) - expected) / float(error)


@pytest.fixture(scope="module")
def leaking():
    return NOISE.measure(leaky(0.8), normal(24, 500, 4))


def test_a_constant_forget_gate_is_a_short_memory_and_no_1_over_f_noise(leaking):
    cell = row(leaking, "l0 cell")
    assert str(cell["kind"].values) == "short memory"
    assert float(cell["memory"]) == pytest.approx(-1 / math.log(0.8), rel=0.15)
    assert 0.6 < float(cell["beta"]) < 1.2  # what passes for 1/f noise
    assert float(cell["beat_short"]) <= 2  # of 16, where each does by chance once in 40
    sentences = [finding.sentence for finding in NOISE.findings(leaking)]
    said = next(sentence for sentence in sentences if sentence.startswith("The cell state of l0 "))
    assert "no evidence of 1/f noise" in said
    assert not any("shows 1/f noise" in sentence for sentence in sentences)


def test_its_gates_rest_and_its_input_is_white(leaking):
    assert float(row(leaking, "l0 forget_gate")["idle"]) == 1.0
    white = row(leaking, "l0 input")
    assert str(white["kind"].values) == "white"
    assert off(white["beta"], 0.0, white["beta_error"]) < 4
    hidden, cell = row(leaking, "l0 hidden"), row(leaking, "l0 cell")
    assert float(hidden["beta"]) == pytest.approx(float(cell["beta"]), abs=1e-3)  # h = tanh(c)/2, c small


def test_shuffled_input_keeps_what_the_network_makes_and_estimator_noise_is_told_from_units(leaking):
    cell = row(leaking, "l0 cell")
    error = math.hypot(float(cell["beta_error"]), float(cell["beta_shuffled_error"]))
    assert abs(float(cell["beta"] - cell["beta_shuffled"])) < 4 * error
    assert off(cell["between_units"], 0.0, cell["between_units_error"]) < 4
    assert float(cell["spread"]) == pytest.approx(float(cell["estimator"]), rel=0.25)


@pytest.fixture(scope="module")
def pink():
    noise = fractional_gaussian_noise(0.95, 1100, size=(16, 4), seed=3)
    return NOISE.measure(through(), torch.from_numpy(noise).float())


def test_scaling_noise_that_beats_short_memory_is_called_straight(pink):
    output = row(pink, "0 output")
    assert str(output["kind"].values) == "straight"
    assert off(output["beta"], 0.9, output["beta_error"]) < 4
    assert float(output["beat_short"]) >= 4
    first = NOISE.findings(pink)[0]
    assert first.sentence.startswith("The output of 0 has a straight curve")
    assert "short memory does not explain: 1/f noise or a few relaxation times" in first.sentence


def test_shuffled_time_takes_it_away(pink):
    output = row(pink, "0 output")
    assert off(output["beta_shuffled"], 0.0, output["beta_shuffled_error"]) < 4
    assert off(output["beta_untrained"], 0.9, output["beta_untrained_error"]) < 4


def test_white_input_passed_on_is_white():
    dataset = NOISE.measure(through(), normal(16, 4, 500))
    output = row(dataset, "0 output")
    assert str(output["kind"].values) == "white"
    assert off(output["beta"], 0.0, output["beta_error"]) < 4
    assert NOISE.findings(dataset)[0].sentence.startswith("The output of 0 fluctuates like white noise")


def test_three_units_that_move_and_thirteen_that_rest():
    model = nn.RNN(16, 16, batch_first=True)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.weight_ih_l0.copy_(torch.diag(torch.tensor([0.1] * 3 + [1e-3] * 13)))
    dataset = NOISE.measure(model, normal(16, 180, 16))
    hidden = row(dataset, "l0 hidden")
    assert float(hidden["idle"]) == 13 / 16
    assert off(hidden["participation"], 3.0, hidden["participation_error"]) < 4
    found = next(f for f in NOISE.findings(dataset) if "units" in f.sentence)
    assert found.sentence == (
        "About 3 of 16 units of l0 carry the movement; 13 are idle: "
        "the layer is larger than this input needs."
    )
    assert found.action.startswith("Retrain with 8 units and compare the validation loss, or prune")
    assert "arXiv:2301.08530 claims" in found.evidence
    assert NOISE.figures(dataset)["noise"].axes[1].get_legend() is not None  # names the idle ones


def test_a_layer_of_unlike_units_is_called_a_mixture():
    noise = np.concatenate(
        [fractional_gaussian_noise(h, 500, size=(12, 2), seed=4) for h in (0.5, 0.95)], axis=1
    )
    dataset = NOISE.measure(through(), torch.from_numpy(noise).float())
    # Two units at beta = 0 and two at 0.9: their standard deviation, with n - 1, is 0.9 / sqrt(3).
    output = row(dataset, "0 output")
    assert off(output["between_units"], 0.9 / math.sqrt(3), output["between_units_error"]) < 4
    assert "the verdict is on a mixture" in NOISE.findings(dataset)[0].evidence


def test_a_network_whose_units_all_move_is_not_called_too_large():
    dataset = NOISE.measure(leaky(0.5, units=6), normal(12, 180, 6))
    found = [f for f in NOISE.findings(dataset) if "units" in f.sentence]
    assert [f.sentence for f in found] == [
        "The units of l0 are used: 0 of 6 are idle, and about 6 share the movement."
    ]


@pytest.mark.parametrize(
    ("model", "batch", "reason"),
    [
        (nn.Sequential(nn.Linear(4, 4)), normal(8, 4), "no recurrent, attention or 1-d convolution layer"),
        (
            nn.LSTM(4, 4, batch_first=True),
            normal(8, 6, 4),
            "6 time steps are too short: fluctuations need sequences of at least 160 steps; concatenate "
            "sequences or carry the state from one to the next",
        ),
        (nn.Conv1d(200, 4, 1), normal(8, 200, 30), "30 time steps are too short"),
        (nn.LSTM(4, 4), normal(30, 200, 4), "30 time steps are too short"),
        (nn.LSTM(4, 4, batch_first=True), normal(8, 200, 4) / 0, "NaN or infinite"),
        (nn.LSTM(4, 4, batch_first=True), torch.ones(8, 200, 4), "no sequence changes in time"),
        (42, normal(8, 200, 4), "42"),
    ],
    ids=["no sequence model", "short", "channels first", "time first", "not finite", "constant", "no model"],
)
def test_what_it_does_not_apply_to_and_why(model, batch, reason):
    assert reason in NOISE.applies(model, batch)
    with pytest.raises(InputError, match=reason.split(":")[0]):
        NOISE.measure(model, batch)


def test_the_shortest_length_is_that_of_the_analysis():
    assert shortest_length(1) == SHORTEST


def test_time_is_the_last_axis_where_channels_come_first():
    assert NOISE.applies(nn.Conv1d(4, 3, 1), normal(8, 4, 160)) == ""
    dataset = NOISE.measure(nn.Conv1d(4, 3, 1), normal(8, 4, 180))
    assert dataset.attrs["length"] == 160
    assert float(row(dataset, "output")["units"]) == 3


class Packs(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(3, 4, batch_first=True)

    def forward(self, x, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.gru(packed)[1][-1]


def test_lengths_that_only_the_model_knows_are_respected():
    lengths = torch.tensor([180, 165, 180, 180, 180, 90])
    dataset = NOISE.measure(Packs(), (normal(6, 180, 3), lengths))
    assert (dataset.attrs["inputs"], dataset.attrs["length"]) == (4, 160)
    with pytest.raises(InputError, match="140 time steps are too short"):
        NOISE.measure(Packs(), (normal(2, 300, 3), torch.tensor([140, 120])))


def test_packed_sequences_are_cut_to_one_length():
    sequences = [normal(n, 3, seed=n) for n in (100, 180, 190, 183, 181, 180)]
    packed = nn.utils.rnn.pack_sequence(sequences, enforce_sorted=False)
    dataset = NOISE.measure(nn.GRU(3, 4, batch_first=True), packed)
    assert (dataset.attrs["inputs"], dataset.attrs["length"], dataset.attrs["discarded"]) == (5, 160, 20)
    assert "1 of 6 sequences have fewer than 160 time steps and were left out" in dataset.attrs["notes"]
    reset = dataset.sel(layer="l0 reset_gate")
    assert np.isfinite([float(reset[name]) for name in ("beta", "beta_untrained", "beta_shuffled")]).all()


@pytest.mark.slow
def test_many_sequences_are_thinned_and_one_is_cut_into_pieces():
    dataset = NOISE.measure(nn.RNN(2, 2, batch_first=True), normal(100, 160, 2))
    assert dataset.attrs["inputs"] == 64
    assert dataset.attrs["discarded"] == 0
    assert "64 of the 100 sequences that are long enough were used" in dataset.attrs["notes"]
    alone = NOISE.measure(nn.RNN(2, 2, batch_first=True), normal(1, 680, 2))
    assert (alone.attrs["length"], alone.attrs["inputs"]) == (330, 1)
    assert "each cut into 2 pieces of 330 steps" in alone.attrs["notes"]
    assert np.isfinite(float(row(alone, "l0 input")["beta"]))


def test_activations_that_are_not_finite_are_a_problem():
    model = nn.RNN(3, 4, batch_first=True)
    with torch.no_grad():
        model.bias_ih_l0[1] = math.nan
        model.weight_hh_l0.zero_()
    dataset = NOISE.measure(model, normal(12, 160, 3))
    assert float(row(dataset, "l0 hidden")["nonfinite"]) == 1.0  # NaN times zero is NaN
    first = NOISE.findings(dataset)[0]
    assert first.severity == "problem"
    assert "NaN or infinite in 1 of 2 quantities, first in l0 hidden" in first.sentence
    NOISE.figures(dataset)["noise"].draw_without_rendering()


def test_states_that_rest_give_no_exponent_and_say_so():
    model = nn.Sequential(nn.RNN(3, 4, batch_first=True))
    with torch.no_grad():
        model[0].weight_ih_l0.zero_()
        model[0].weight_hh_l0.zero_()
    dataset = NOISE.measure(model, normal(8, 160, 3))
    hidden = row(dataset, "0.l0 hidden")
    assert np.isnan(float(hidden["beta"]))
    assert float(hidden["idle"]) == 1.0
    sentences = " ".join(finding.sentence for finding in NOISE.findings(dataset))
    assert "The hidden state of 0.l0 has no exponent" in sentences
    assert "No unit of 0.l0 moves in time" in sentences
    NOISE.figures(dataset)["noise"].draw_without_rendering()
    assert "not determined" in NOISE.table(dataset)


def test_one_short_sequence_is_not_determined_rather_than_a_bare_number():
    dataset = NOISE.measure(nn.GRU(3, 4, batch_first=True), normal(1, 180, 3))
    hidden = row(dataset, "l0 hidden")
    assert np.isnan(float(hidden["beta"]))
    assert str(hidden["kind"].values) == "not determined"
    assert any("One sequence gives no error" in f.sentence for f in NOISE.findings(dataset))


def test_a_network_that_cannot_be_reset_says_so_and_is_measured():
    model = nn.Sequential(nn.GRU(3, 4, batch_first=True))
    model.register_parameter("scale", nn.Parameter(torch.ones(1)))
    dataset = NOISE.measure(model, normal(8, 160, 3))
    assert np.isnan(dataset["beta_untrained"].values).all()
    assert np.isfinite(float(row(dataset, "0.l0 hidden")["beta"]))
    assert any("untrained network was not measured" in note for note in json.loads(dataset.attrs["notes"]))


@pytest.mark.slow
def test_another_seed_shuffles_otherwise_and_measures_the_same():
    model, batch = nn.RNN(2, 3, batch_first=True), normal(8, 160, 2)
    one, other = NOISE.measure(model, batch, seed=0), NOISE.measure(model, batch, seed=1)
    assert np.array_equal(one["beta"].values, other["beta"].values)
    assert (one["beta_shuffled"].values != other["beta_shuffled"].values).all()
    assert float(row(one, "l0 hidden")["beta_untrained"]) != float(row(other, "l0 hidden")["beta_untrained"])


def long_sequences():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return nn.Sequential(nn.RNN(2, 3, batch_first=True)), normal(12, 180, 2)


def test_it_keeps_the_promises_that_matter_most():
    names = [
        "accounts_for_every_layer",
        "skips_with_a_reason",
        "errors_belong_to_values",
        "survives_netcdf",
        "leaves_no_trace",
        "leaves_no_trace_after_an_interrupt",
        "finds_something_to_say",
        "draws_figures",
        "prints_itself",
    ]
    assert check_instrument(NOISE, [Case("long", long_sequences)], only=names) == names


@pytest.mark.slow
def test_it_keeps_every_promise():
    assert len(check_instrument(NOISE, [Case("long", long_sequences)])) == len(CHECKS) - 1
    passed = check_instrument(NOISE)
    assert "joins_an_inspection" in passed  # the built-in case with long sequences was not refused


def test_inspect_runs_it_after_signal_propagation_and_leads_with_that():
    found = inspect(*long_sequences())
    assert list(found.datasets) == ["time", "propagation", "symptoms", "spectra", "noise"]
    assert "Noise of activations: 12 sequence(s)" in str(found)
    severe = [f for f in found.findings if f.severity in ("warning", "problem")]
    assert found.sentence.startswith((severe or found.findings)[0].sentence.rstrip("."))
    json.dumps(found.to_dict(), allow_nan=False)


def test_colours_of_an_image_are_no_time_steps():
    class Patches(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(3, 1, batch_first=True)

        def forward(self, x):
            tokens = x.flatten(2).transpose(1, 2)
            return self.attention(tokens, tokens, tokens)[0]

    reason = ActivationNoise().applies(Patches(), torch.randn(4, 3, 16, 16))
    assert reason == "the inputs have 3 axes each, as images do, and none is time"
