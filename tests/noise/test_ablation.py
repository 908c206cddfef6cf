"""Units held at a constant: against cells run step by step, and against losses known in closed form."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from phasescope.errors import InputError
from phasescope.noise import ablation, record
from reference.clamped_cells import clamped_run

MODULES = {
    "lstm": (nn.LSTM, {}),
    "lstm, projected": (nn.LSTM, {"proj_size": 3}),
    "lstm, no bias": (nn.LSTM, {"bias": False}),
    "gru": (nn.GRU, {}),
    "rnn": (nn.RNN, {}),
    "rnn, relu": (nn.RNN, {"nonlinearity": "relu"}),
}


class Tagged(nn.Module):
    """A classifier of sequences by the last state of a recurrent layer."""

    def __init__(self, recurrent):
        super().__init__()
        self.lstm = recurrent

    def forward(self, x):
        output, state = self.lstm(x)
        hidden = state[0] if isinstance(state, tuple) else state
        return output, hidden


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("track", ["l0", "l0_reverse", "l1", "l1_reverse"])
def test_a_recurrent_unit_is_held_inside_the_recurrence(name, track):
    kind, options = MODULES[name]
    module = kind(2, 5, num_layers=2, bidirectional=True, batch_first=True, dtype=torch.float64, **options)
    model, x = Tagged(module), torch.randn(3, 9, 2, dtype=torch.float64)
    seen = []

    def loss(output):
        seen.append([part.clone() for part in output])
        return output[0].square().sum(dim=(1, 2))

    found = ablation(model, x, loss, layer=f"lstm.{track}", units=[0, 2])
    assert found.quantity == "hidden"
    means = record(model, x)[f"lstm.{track}", "hidden"].mean(axis=(0, 2))
    np.testing.assert_allclose(found.value, means[[0, 2]], rtol=1e-12)
    before = model(x)[0].detach().square().sum(dim=(1, 2)).numpy()
    for number, unit in enumerate([0, 2]):
        outputs, last = seen[1 + number]
        losses = []
        for s in range(3):
            expected = clamped_run(
                module, x[s].numpy(), int(track[1]), "reverse" in track, unit, found.value[number]
            )
            np.testing.assert_allclose(outputs[s].numpy(), expected[0], atol=1e-12)
            np.testing.assert_allclose(last[:, s].numpy(), expected[1], atol=1e-12)
            losses.append((expected[0] ** 2).sum())
        apart = np.array(losses) - before
        assert found.change[number] == pytest.approx(apart.mean(), abs=1e-10)
        assert found.change_error[number] == pytest.approx(apart.std(ddof=1) / math.sqrt(3), abs=1e-10)
    assert found.baseline.value == pytest.approx(before.mean())


def test_packed_sequences_and_their_means_end_where_they_end():
    module = nn.GRU(2, 4, batch_first=True, dtype=torch.float64)

    class Packs(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = module

        def forward(self, x, lengths):
            packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            output, state = self.gru(packed)
            return pad_packed_sequence(output, batch_first=True)[0], state[0]

    x, lengths = torch.randn(3, 8, 2, dtype=torch.float64), torch.tensor([5, 8, 3])
    seen = []

    def loss(output):
        seen.append(output)
        return output[1].sum(dim=1)

    found = ablation(Packs(), (x, lengths), loss, layer="gru.l0", units=[1])
    free = [module(x[s : s + 1, :n])[0][0, :, 1].detach().numpy() for s, n in enumerate(lengths)]
    assert found.value[0] == pytest.approx(np.concatenate(free).mean(), rel=1e-12)
    for s, n in enumerate(lengths):
        outputs, last = clamped_run(module, x[s, :n].numpy(), 0, False, 1, found.value[0])
        np.testing.assert_allclose(seen[-1][0][s, :n].numpy(), outputs, atol=1e-12)
        np.testing.assert_allclose(seen[-1][1][s].numpy(), last[0], atol=1e-12)
        assert float(seen[-1][0][s, n:].abs().sum()) == 0


def test_a_state_that_is_given_is_held_too():
    module = nn.LSTM(2, 4, dtype=torch.float64)
    x, h = torch.randn(3, 6, 2), torch.randn(4, dtype=torch.float64)

    class Started(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = module

        def forward(self, x):
            start = h.expand(1, len(x), 4).contiguous()
            return self.lstm(x.transpose(0, 1), (start, torch.zeros_like(start)))[0].transpose(0, 1)

    seen = []
    ablation(
        Started(),
        x,
        lambda y: seen.append(y) or y.sum(dim=(1, 2)),
        layer="lstm.l0",
        units=3,
        replace="zero",
    )
    for s in range(3):
        expected, _ = clamped_run(module, x[s].numpy(), 0, False, 3, 0.0, start=h[None].numpy())
        np.testing.assert_allclose(seen[-1][s].numpy(), expected, atol=1e-12)


def test_the_worth_of_units_of_a_linear_readout_is_known():
    # y = sum_j a_j x_j, and independent x_j of mean 1: holding unit j at its mean costs a_j^2 var x_j.
    a = torch.tensor([0.0, 1.0, -2.0, 0.5])
    model = nn.Sequential(nn.Identity(), nn.Linear(4, 1, bias=False))
    model[1].weight.data = a[None]
    x = 1 + torch.randn(200, 50, 4)
    target = model(x).detach()

    def loss(y):
        return (y - target).square().mean(dim=(1, 2))

    found = ablation(model, x, loss, layer="0")
    np.testing.assert_array_less(np.abs(found.change - a.numpy() ** 2), 4 * found.change_error + 1e-12)
    assert found.change_error[2] == pytest.approx(4 * math.sqrt(2 / 10000), rel=0.3)
    assert found.baseline.value == 0
    zero = ablation(model, x, loss, layer="0", replace="zero", units=[2])
    assert abs(zero.change[0] - 4 * 2) < 4 * zero.change_error[0]
    assert (zero.value[0], zero.replace) == (0.0, "zero")
    one_number = ablation(model, x, lambda y: loss(y).mean(), layer="0")
    np.testing.assert_allclose(one_number.change, found.change, rtol=1e-4, atol=1e-6)
    assert np.isnan(one_number.change_error).all()
    for result in (found, zero, one_number):
        assert "unit 2 matters most" in str(result)
        json.dumps(result.to_dict(), allow_nan=False)


def test_units_of_channels_cells_blocks_and_attention_are_those_recorded():
    class Stepped(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.readout = nn.GRUCell(3, 4), nn.Linear(4, 2)

        def forward(self, x):
            h, outputs = x.new_zeros(len(x), 4), []
            for step in x.unbind(1):
                h = self.cell(step, h)
                outputs.append(self.readout(h))
            return torch.stack(outputs, 1)

    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(9, 4)
            block = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
            self.encoder = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)

        def forward(self, x):
            return self.encoder(self.words(x))

    tokens = Tokens()
    image = nn.Sequential(nn.Unflatten(2, (1, 3)), nn.Identity(), nn.Flatten(2))
    cases = [
        (Stepped(), torch.randn(5, 12, 3), "cell", 1),
        (Stepped(), torch.randn(5, 12, 3), "readout", 1),
        (tokens, torch.randint(0, 9, (5, 12)), "encoder.layers.0", 2),
        (tokens, torch.randint(0, 9, (5, 12)), "encoder.layers.1.linear1", 5),
        (tokens, torch.randint(0, 9, (5, 12)), "words", 3),
        (image, torch.randn(5, 12, 3), "1", 2),
    ]
    for model, batch, layer, unit in cases:
        held = {}

        def loss(y, model=model, held=held):
            held["output"] = y
            return y.square().mean(dim=(1, 2))

        found = ablation(model, batch, loss, layer=layer, units=[unit])
        # Record the held model by the hook that a user would write, on the part of the model that it is.
        path, value = dict(model.named_modules())[layer], float(found.value[0])

        def set_unit(_, args, output, unit=unit, value=value):
            new = output.clone()
            new[..., unit] = value
            return new

        handle = path.register_forward_hook(set_unit)
        torch.backends.mha.set_fastpath_enabled(False)
        with torch.no_grad():
            expected = model.eval()(batch)
            again = record(model, batch)
        torch.backends.mha.set_fastpath_enabled(True)
        handle.remove()
        torch.testing.assert_close(held["output"], expected)
        assert abs(found.change[0]) > 0
        np.testing.assert_allclose(again[layer, found.quantity][:, unit], value, rtol=1e-6)


def test_the_model_and_the_process_are_left_as_they_were():
    model = Tagged(nn.LSTM(2, 4, num_layers=2, dropout=0.5, batch_first=True))
    kept, generator = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    attributes = list(vars(model.lstm))
    with pytest.raises(ZeroDivisionError):
        ablation(model, torch.randn(2, 6, 2), lambda y: 1 / 0, layer="lstm.l0")
    calls = iter(range(3))
    with pytest.raises(ZeroDivisionError):
        ablation(model, torch.zeros(2, 6, 2), lambda y: 1 / (1 - next(calls)) + y[1].sum(), layer="lstm.l0")
    torch.set_rng_state(generator)
    ablation(model, torch.zeros(2, 6, 2), lambda y: y[1].sum(), layer="lstm.l1")
    assert torch.equal(generator, torch.get_rng_state())
    assert list(vars(model.lstm)) == attributes
    assert model.training
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


class Own(nn.LSTM):
    def forward(self, x):
        return super().forward(x)


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        (Tagged(nn.LSTM(2, 4, batch_first=True)), {"layer": "lstm.l7"}, "'lstm.l7'.*lstm.l0"),
        (Tagged(nn.LSTM(2, 4, 2, batch_first=True)), {"layer": "lstm"}, "several layers.*lstm.l0, lstm.l1"),
        (nn.LSTM(2, 4, batch_first=True), {"layer": "l0", "units": [4]}, "0 to 3"),
        (nn.LSTM(2, 4, batch_first=True), {"layer": "l0", "units": [0.5]}, "units"),
        (nn.LSTM(2, 4, batch_first=True), {"layer": "l0", "replace": "noise"}, "noise"),
        (Own(2, 4, batch_first=True), {"layer": "l0"}, "forward pass of its own"),
    ],
)
def test_input_of_no_use(model, options, words):
    with pytest.raises(InputError, match=words):
        ablation(model, torch.randn(3, 8, 2), lambda y: y[0].sum(), **options)


def test_a_loss_of_another_shape_is_told():
    with pytest.raises(InputError, match=r"\(3, 8\), for 3 sequences"):
        ablation(nn.LSTM(2, 4, batch_first=True), torch.randn(3, 8, 2), lambda y: y[0].sum(-1), layer="l0")
