"""What is recorded is what the model computed: held against cells run step by step, and against hooks."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence

from phasescope.errors import InputError, MemoryLimitError
from phasescope.noise.record import record
from phasescope.recording import recurrent
from phasescope.recording.memory import allocate
from phasescope.recording.sequences import as_sequences
from phasescope.testing.resident import in_fresh_process, resident_peak
from reference import peak_memory

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}


@pytest.fixture(autouse=True)
def seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def cell_by_cell(module: nn.RNNBase, suffix: str, x: torch.Tensor, state: torch.Tensor | None = None):
    """Return the states of one direction of one layer, of torch's own cell, step by step; x: (B, T, F)."""
    kind = {"LSTM": nn.LSTMCell, "GRU": nn.GRUCell}.get(module.mode, nn.RNNCell)
    extra = {"nonlinearity": module.nonlinearity} if kind is nn.RNNCell else {}
    cell = kind(x.shape[2], module.hidden_size, bias=module.bias, dtype=x.dtype, **extra)
    for name in dict(cell.named_parameters()):
        getattr(cell, name).data = getattr(module, f"{name}_{suffix}").data
    hidden, cells = [], []
    with torch.no_grad():
        for step in x.unbind(1):
            state = cell(step, state)
            hidden.append(state[0] if kind is nn.LSTMCell else state)
            cells.append(state[1] if kind is nn.LSTMCell else state)
    return torch.stack(hidden, 2).numpy(), torch.stack(cells, 2).numpy()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bias", [True, False])
def test_lstm_cell_and_hidden_states_are_those_of_the_cell_run_step_by_step(dtype, bias):
    model = nn.LSTM(3, 5, num_layers=2, batch_first=True, bias=bias, dtype=dtype)
    x = torch.randn(4, 60, 3, dtype=dtype)
    got = record(model, x)
    assert got.layers == ["l0", "l1"]
    assert got["l0", "cell"].shape == (4, 5, 60)
    assert got["l0", "cell"].dtype == (np.float64 if dtype == torch.float64 else np.float32)
    h0, c0 = cell_by_cell(model, "l0", x)
    h1, c1 = cell_by_cell(model, "l1", torch.from_numpy(h0).transpose(1, 2))
    for layer, h, c in (("l0", h0, c0), ("l1", h1, c1)):
        np.testing.assert_allclose(got[layer, "hidden"], h, atol=TOLERANCE[dtype])
        np.testing.assert_allclose(got[layer, "cell"], c, atol=TOLERANCE[dtype])
        assert got.mismatch[layer] < TOLERANCE[dtype]
    np.testing.assert_array_equal(got["l0", "input"], x.transpose(1, 2).numpy())
    with torch.no_grad():
        own = model(x)[0].transpose(1, 2).numpy()
    np.testing.assert_allclose(got["l1", "hidden"], own, atol=TOLERANCE[dtype])
    assert ("l1", "input") not in got


def test_lstm_gates_are_the_logistic_functions_of_the_textbook():
    model = nn.LSTM(2, 3, batch_first=True, dtype=torch.float64)
    x = torch.randn(2, 20, 2, dtype=torch.float64)
    got = record(model, x, preactivations=True)
    w, u = model.weight_ih_l0.detach().numpy(), model.weight_hh_l0.detach().numpy()
    b = (model.bias_ih_l0 + model.bias_hh_l0).detach().numpy()
    t, hidden = 13, got["l0", "hidden"]
    z = x[:, t].numpy() @ w.T + hidden[:, :, t - 1] @ u.T + b
    for number, name in enumerate(["input_gate", "forget_gate", "candidate", "output_gate"]):
        part = z[:, 3 * number : 3 * number + 3]
        np.testing.assert_allclose(got["l0", f"{name}_preactivation"][:, :, t], part, atol=1e-12)
        expected = np.tanh(part) if name == "candidate" else 1 / (1 + np.exp(-part))
        np.testing.assert_allclose(got["l0", name][:, :, t], expected, atol=1e-12)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("kind", "options"), [(nn.LSTM, {"proj_size": 3}), (nn.GRU, {}), (nn.RNN, {})])
def test_stretches_of_time_follow_each_other_without_a_seam(monkeypatch, kind, options, packed):
    model = kind(3, 5, num_layers=2, bidirectional=True, dtype=torch.float64, **options)
    x = torch.randn(40, 4, 3, dtype=torch.float64)
    batch = pack_padded_sequence(x, torch.tensor([40, 33, 14, 13])) if packed else x
    whole = record(model, batch, preactivations=True)
    monkeypatch.setattr(recurrent, "_STRETCH", 7)
    monkeypatch.setattr(recurrent, "_BLOCK", 3 * 7 * whole["l0", "hidden"].shape[1])  # 3 sequences
    got = record(model, batch, preactivations=True)
    assert got.layers == whole.layers
    for layer in got.layers:
        assert got.quantities(layer) == whole.quantities(layer)
        for quantity in got.quantities(layer):
            np.testing.assert_allclose(got[layer, quantity], whole[layer, quantity], rtol=0, atol=1e-13)
    # Against the module's own hidden states.
    assert max(got.mismatch.values()) < 1e-12


def test_saturated_gates_of_either_sign_are_exact():
    model = nn.LSTM(1, 4, batch_first=True)
    with torch.no_grad():
        model.bias_ih_l0[4:8] = torch.tensor([30.0, 30.0, -30.0, -100.0])  # forget gates 1 and 0
    x = torch.randn(3, 800, 1)
    _, cells = cell_by_cell(model, "l0", x)
    got = record(model, x)
    # Cells that never forget add up 800 terms; float32 rounding grows with their size.
    np.testing.assert_allclose(got["l0", "cell"], cells, rtol=1e-5, atol=1e-5)
    assert got.mismatch["l0"] < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bidirectional_gru_of_two_layers(dtype):
    model = nn.GRU(3, 4, num_layers=2, bidirectional=True, batch_first=True, dtype=dtype)
    x = torch.randn(5, 30, 3, dtype=dtype)
    got = record(model, x)
    assert got.layers == ["l0", "l0_reverse", "l1", "l1_reverse"]
    h_f, _ = cell_by_cell(model, "l0", x)
    h_b, _ = cell_by_cell(model, "l0_reverse", x.flip(1))
    np.testing.assert_allclose(got["l0", "hidden"], h_f, atol=TOLERANCE[dtype])
    np.testing.assert_allclose(got["l0_reverse", "hidden"], h_b[:, :, ::-1], atol=TOLERANCE[dtype])
    with torch.no_grad():
        own = model(x)[0].transpose(1, 2).numpy()
    both = np.concatenate([got["l1", "hidden"], got["l1_reverse", "hidden"]], 1)
    np.testing.assert_allclose(both, own, atol=TOLERANCE[dtype])
    # h_t = (1 - z) n + z h_{t-1}, in the direction in which each was run.
    for layer, order in (("l1", 1), ("l1_reverse", -1)):
        h, z, n = (got[layer, q][:, :, ::order] for q in ("hidden", "update_gate", "candidate"))
        np.testing.assert_allclose(
            h[:, :, 1:], (1 - z[:, :, 1:]) * n[:, :, 1:] + z[:, :, 1:] * h[:, :, :-1], atol=TOLERANCE[dtype]
        )
        assert got.mismatch[layer] < TOLERANCE[dtype]


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_elman_network(nonlinearity):
    model = nn.RNN(3, 4, nonlinearity=nonlinearity, batch_first=True, dtype=torch.float64)
    x = torch.randn(2, 25, 3, dtype=torch.float64)
    hidden, _ = cell_by_cell(model, "l0", x)
    got = record(model, x, preactivations=True)
    np.testing.assert_allclose(got["l0", "hidden"], hidden, atol=1e-12)
    function = np.tanh if nonlinearity == "tanh" else lambda z: np.maximum(z, 0)
    np.testing.assert_allclose(function(got["l0", "hidden_preactivation"]), hidden, atol=1e-12)


def test_projections_and_given_states():
    model = nn.LSTM(3, 6, num_layers=2, proj_size=2, bidirectional=True, dtype=torch.float64)
    x = torch.randn(15, 4, 3, dtype=torch.float64)  # time first, as the module is by default
    state = (torch.randn(4, 4, 2, dtype=torch.float64), torch.randn(4, 4, 6, dtype=torch.float64))
    got = record(model, (x, state))
    assert got["l0", "hidden"].shape == (4, 2, 15)
    assert got["l1_reverse", "cell"].shape == (4, 6, 15)
    with torch.no_grad():
        own, (_, last) = model(x, state)
    np.testing.assert_allclose(got["l1", "hidden"], own[:, :, :2].permute(1, 2, 0).numpy(), atol=1e-12)
    for row, (layer, end) in enumerate([("l0", -1), ("l0_reverse", 0), ("l1", -1), ("l1_reverse", 0)]):
        np.testing.assert_allclose(got[layer, "cell"][:, :, end], last[row].numpy(), atol=1e-12)
    assert max(got.mismatch.values()) < 1e-12


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_packed_sequences_of_unequal_length_equal_each_sequence_alone(kind):
    model = kind(3, 4, num_layers=2, bidirectional=True, batch_first=True, dtype=torch.float64)
    lengths = [7, 19, 1, 12]
    parts = [torch.randn(n, 3, dtype=torch.float64) for n in lengths]
    together = record(model, pack_sequence(parts, enforce_sorted=False))
    assert together.lengths.tolist() == lengths
    for row, part in enumerate(parts):
        alone = record(model, part[None])
        for key, values in alone.items():
            np.testing.assert_allclose(together[key][row, :, : len(part)], values[0], atol=1e-12)
            assert np.isnan(together[key][row, :, len(part) :]).all()
    assert max(together.mismatch.values()) < 1e-12
    assert together.series("l1", "hidden", length=10).shape == (2, 4, 10)
    assert together.series("l1", "hidden").shape == (4, 4, 1)
    np.testing.assert_array_equal(
        together.series("l1", "hidden", length=8, discard=4), together["l1", "hidden"][[1, 3], :, 4:12]
    )
    with pytest.raises(InputError, match=r"length=20 after discard=0, and the sequences have 1 to 19"):
        together.series("l1", "hidden", length=20)


class Classifier(nn.Module):
    """Words to one logit, through a packed LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 6)
        self.lstm = nn.LSTM(6, 5, batch_first=True, num_layers=2, dropout=0.5)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(5, 1)

    def forward(self, words: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        packed = pack_padded_sequence(self.embedding(words), lengths, batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        last = self.drop(out)[torch.arange(len(words)), lengths - 1]
        return self.head(last)


def test_lengths_are_read_from_what_the_model_packs_and_hold_for_every_layer():
    model = Classifier()
    lengths = torch.tensor([9, 4, 11, 6, 2])
    words = torch.randint(0, 50, (5, 14))
    got = record(model, (words, lengths))
    assert got.lengths.tolist() == lengths.tolist()
    assert got["lstm.l1", "hidden"].shape == (5, 5, 14)
    assert set(got.layers) == {"embedding", "lstm.l0", "lstm.l1", "drop"}
    for array in got.values():
        assert (np.isnan(array).all(1) == (np.arange(14) >= lengths.numpy()[:, None])).all()
    assert "no axis of 14 time steps" in got.skipped["head"]
    with torch.no_grad():
        vectors = model.embedding.weight[words].transpose(1, 2).numpy()
    np.testing.assert_array_equal(got["embedding", "output"][2, :, :11], vectors[2, :, :11])
    np.testing.assert_array_equal(got["drop", "output"], got["lstm.l1", "hidden"])
    # Dropout is off, between the layers and after them, though the model was in training mode.
    assert any("dropout was switched off" in note for note in got.notes)
    assert model.training
    assert model.lstm.training


def test_nothing_is_left_on_the_model_or_in_the_process():
    model = Classifier()
    batch = (torch.randint(0, 50, (4, 8)), torch.tensor([8, 3, 5, 8]))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random, mkldnn = torch.get_rng_state(), torch.backends.mkldnn.is_available()
    record(model, batch)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert module.training
    assert torch.equal(random, torch.get_rng_state())
    assert torch.backends.mkldnn.is_available() == mkldnn
    with pytest.raises(InputError):
        record(model, (batch[0][:, :4], batch[1]))
    assert not any(module._forward_hooks for module in model.modules())


class LanguageModel(nn.Module):
    """Time first and a state that goes in and out, as in torch's example of word language models."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Embedding(40, 8)
        self.rnn = nn.LSTM(8, 6, 2, dropout=0.2)
        self.decoder = nn.Linear(6, 40)

    def forward(self, words: torch.Tensor, hidden: tuple[torch.Tensor, torch.Tensor]):
        output, hidden = self.rnn(self.encoder(words), hidden)
        return torch.log_softmax(self.decoder(output).view(-1, 40), dim=1), hidden


def test_language_model_with_time_first_and_a_state():
    model = LanguageModel().eval()
    words, state = torch.randint(0, 40, (12, 5)), (torch.randn(2, 5, 6), torch.randn(2, 5, 6))
    got = record(model, (words, state), batch_axis=1)
    assert got["rnn.l0", "cell"].shape == (5, 6, 12)
    assert got["encoder", "output"].shape == (5, 8, 12)
    assert got["decoder", "output"].shape == (5, 40, 12)
    with torch.no_grad():
        _, (hidden, cells) = model(words, state)
    np.testing.assert_allclose(got["rnn.l0", "hidden"][:, :, -1], hidden[0].numpy(), atol=1e-6)
    np.testing.assert_allclose(got["rnn.l1", "cell"][:, :, -1], cells[1].numpy(), atol=1e-6)
    with pytest.raises(InputError, match="batch_axis=1 where time comes first"):
        record(model, (words, state))


def test_transformer_encoder_with_padding_mask():
    model = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True), 2, enable_nested_tensor=False
    ).eval()
    x, lengths = torch.randn(3, 10, 8), np.array([10, 6, 3])
    mask = torch.arange(10) >= torch.from_numpy(lengths)[:, None]
    got = record(model, {"src": x, "src_key_padding_mask": mask}, lengths=lengths)
    assert got["layers.0", "residual"].shape == (3, 8, 10)
    assert got["layers.1", "mlp"].shape == (3, 16, 10)
    layer = model.layers[0]
    with torch.no_grad():
        first = layer(x, src_key_padding_mask=mask)
        last = model(x, src_key_padding_mask=mask)
        attended = layer.norm1(x + layer.self_attn(x, x, x, key_padding_mask=mask)[0])
        units = layer.linear1(attended).relu()
    for row, length in enumerate(lengths):
        for name, quantity, expected in (
            ("layers.0", "residual", first),
            ("layers.1", "residual", last),
            ("layers.0", "mlp", units),
        ):
            array = got[name, quantity][row]
            np.testing.assert_allclose(array[:, :length].T, expected[row, :length].numpy(), atol=1e-6)
            assert np.isnan(array[:, length:]).all()
    assert any("may attend to the padding" in note for note in got.notes)


def test_transformer_with_time_first_and_feedforward_as_wide_as_the_stream():
    model = nn.TransformerEncoderLayer(8, 2, dim_feedforward=8).eval()
    x = torch.randn(10, 3, 8)
    got = record(model, x)
    with torch.no_grad():
        expected = model(x).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(got["output", "residual"], expected, atol=1e-6)
    assert (got["output", "mlp"] >= 0).all()
    assert got["output", "mlp"].max() > 0


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(6)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.up, self.gate, self.down = nn.Linear(6, 20), nn.Linear(6, 20), nn.Linear(20, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.norm(x)
        x = x + self.attention(z, z, z, need_weights=False)[0]
        return x + self.down(self.up(x) * torch.sigmoid(self.gate(x)))


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(30, 6)
        self.blocks = nn.ModuleList([Block() for _ in range(3)])

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        x = self.embed(words)
        for block in self.blocks:
            x = block(x)
        return x


def test_blocks_of_a_users_own_transformer_are_found():
    model, words = Decoder().eval(), torch.randint(0, 30, (4, 7))
    got = record(model, words)
    with torch.no_grad():
        np.testing.assert_allclose(
            got["blocks.2", "residual"], model(words).transpose(1, 2).numpy(), atol=1e-6
        )
    product = got["blocks.1.up", "output"] / (1 + np.exp(-got["blocks.1.gate", "output"]))
    np.testing.assert_allclose(got["blocks.1", "mlp"], product, atol=1e-6)
    some = record(model, words, layers=["blocks.1", "embed"])
    assert set(some.layers) == {layer for layer in got.layers if layer.startswith(("blocks.1", "embed"))}
    np.testing.assert_array_equal(some["blocks.1", "mlp"], got["blocks.1", "mlp"])


class Conv1D(nn.Module):
    """A linear map under the name that GPT-2 made common."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.2 * torch.randn(inputs, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight


@pytest.mark.parametrize("steps", [5, 6, 20])  # as long as the stream or the MLP is wide, too
def test_linear_maps_of_another_name_and_series_as_long_as_the_stream_is_wide(steps):
    model, words = Decoder().eval(), torch.randint(0, 30, (4, steps))
    for block in model.blocks:
        block.up, block.down = Conv1D(6, 20), Conv1D(20, 6)
    got = record(model, words)
    with torch.no_grad():
        expected = model(words).transpose(1, 2).numpy()
        first = model.embed(words)
        attended = first + model.blocks[0].attention(*[model.blocks[0].norm(first)] * 3)[0]
        units = model.blocks[0].up(attended) * torch.sigmoid(model.blocks[0].gate(attended))
    np.testing.assert_allclose(got["blocks.2", "residual"], expected, atol=1e-5)
    np.testing.assert_allclose(got["blocks.0", "mlp"], units.transpose(1, 2).numpy(), atol=1e-5)
    np.testing.assert_array_equal(got["blocks.0.down", "output"].shape, (4, 6, steps))


def test_a_module_called_twice_and_a_compiled_one():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(3, 3, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.rnn(self.rnn(x)[0])[0]

    model, x = Twice(), torch.randn(4, 8, 3)
    got = record(torch.compile(model, backend="eager"), x)
    assert got.layers == ["rnn.l0", "rnn.l0 (call 2)"]
    np.testing.assert_allclose(got["rnn.l0 (call 2)", "input"], got["rnn.l0", "hidden"], atol=1e-7)
    assert record(model, x, layers=["rnn"]).layers == got.layers


class Heads(nn.Module):
    """Attention of two heads that are merged with the sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.project, self.softmax = nn.Linear(4, 4), nn.Softmax(dim=-1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heads = self.project(x).unflatten(-1, (2, 2)).transpose(1, 2).flatten(0, 1)
        weights = self.softmax(heads @ heads.transpose(1, 2))
        return (weights @ heads).unflatten(0, (len(x), 2)).transpose(1, 2).flatten(2)


def test_sequences_merged_with_heads_are_left_out_with_the_reason():
    got = record(Heads(), torch.randn(3, 7, 4))
    assert got.layers == ["project"]
    assert "softmax" in got.skipped


class Looped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(2, 3)
        self.out = nn.Linear(3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = None
        for step in x.unbind(1):
            state = self.cell(step, state)
            y = self.out(state[0])
        return y


def test_a_cell_called_once_per_step_is_put_together():
    model, x = Looped(), torch.randn(4, 9, 2)
    twin = nn.LSTM(2, 3, batch_first=True)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        getattr(twin, f"{name}_l0").data = getattr(model.cell, name).data
    got, expected = record(model, x), record(twin, x)
    for quantity in ("hidden", "cell"):
        np.testing.assert_allclose(got["cell", quantity], expected["l0", quantity], atol=1e-6)
    assert got["out", "output"].shape == (4, 1, 9)


def test_convolutions_have_their_time_last():
    model = nn.Sequential(nn.Conv1d(3, 5, 3, padding=1), nn.ReLU(), nn.Conv1d(5, 2, 3))
    x = torch.randn(4, 3, 20)
    with pytest.raises(InputError, match="time_axis=2 where channels come before time"):
        record(model, x)
    got = record(model, x, time_axis=2)
    assert "no axis of 20 time steps" in got.skipped["2"]  # 18 are left without padding
    np.testing.assert_allclose(got["1", "output"], model[:2](x).detach().numpy(), atol=1e-6)


def test_chunks_and_files_change_nothing(tmp_path):
    model = Classifier()
    lengths = torch.randint(1, 60, (40,))
    lengths[7] = 60
    batch = (torch.randint(0, 50, (40, 60)), lengths)
    whole = record(model, batch)
    assert not whole.on_disk
    pieces = record(model, batch, max_memory="300KB", folder=tmp_path)
    assert pieces.on_disk
    assert isinstance(pieces["lstm.l0", "cell"], np.memmap)
    assert list(pieces) == list(whole)
    for key, values in whole.items():
        np.testing.assert_allclose(pieces[key], values, atol=1e-6)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(MemoryLimitError, match="One sequence takes"):
        record(model, batch, max_memory=1000)


def test_what_lies_in_files_is_not_kept_in_memory(tmp_path):
    model, x = nn.LSTM(2, 50, batch_first=True), torch.randn(100, 300, 2)
    record(model, x[:2])
    peak = resident_peak(lambda: record(model, x, max_memory="8MB", folder=tmp_path))
    assert peak < 0.5 * (6 * 50 + 2) * 100 * 300 * 4  # of the result


def test_storage_refuses_what_cannot_be_kept(tmp_path):
    with pytest.raises(InputError, match="No folder"):
        allocate([(2, 3)], np.float32, 1, tmp_path / "nowhere")
    with pytest.raises(InputError, match="are to be stored"):
        allocate([(10**9, 10**9)], np.float32, 1, tmp_path)


def test_unpacked_padding_that_reaches_the_series_is_noted():
    model = nn.GRU(2, 3, bidirectional=True, batch_first=True)
    got = record(model, torch.randn(3, 8, 2), lengths=[8, 5, 2])
    assert any("reverse direction" in note for note in got.notes)
    assert np.isnan(got["l0", "hidden"][2, :, 2:]).all()


def test_bad_input_is_refused_with_what_to_do():
    model, x = nn.LSTM(3, 4, batch_first=True), torch.randn(5, 7, 3)
    with pytest.raises(InputError, match="The model is 'model'"):
        record("model", x)
    with pytest.raises(InputError, match="one whole number for each sequence"):
        record(model, x, lengths=[7, 7])
    with pytest.raises(InputError, match="lengths run from 0 to 7"):
        record(model, x, lengths=[7, 0, 3, 3, 3])
    with pytest.raises(InputError, match="layers names 'lstm'"):
        record(model, x, layers=["lstm"])
    with pytest.raises(InputError, match="NaN or infinite"):
        record(model, x * math.nan)
    with pytest.raises(InputError, match=r"does not accept the batch"):
        record(model, torch.randn(5, 7, 2))
    with pytest.raises(InputError, match="has no sequences along axis 0 with time along axis 1"):
        record(nn.Linear(3, 1), torch.randn(5))
    with pytest.raises(InputError, match="has an axis of 3 time steps"):
        record(nn.Linear(3, 1), torch.randn(5, 3))
    with pytest.raises(InputError, match="the model packs 9 steps"):
        record(Classifier(), (torch.zeros(2, 9, dtype=torch.int64), torch.tensor([9, 4])), lengths=[4, 9])
    with pytest.raises(InputError, match=r"shape \(7, 3\), which has no sequences .* and features"):
        record(model, torch.randn(7, 3))


def test_masks_and_states_are_not_cut_like_sequences():
    x, square = torch.randn(6, 6, 4), torch.zeros(6, 6)
    transformer = nn.TransformerEncoderLayer(4, 2)
    padding = torch.zeros(6, 6)
    padding[:, 4:] = -torch.inf
    given = {"src": x, "src_mask": square, "src_key_padding_mask": padding}
    part = as_sequences(transformer, given).take(0, 2)
    assert part.kwargs["src"].shape == (6, 2, 4)
    assert part.kwargs["src_mask"].shape == (6, 6)
    assert part.kwargs["src_key_padding_mask"].shape == (2, 6)
    state = torch.randn(2, 2, 4)  # (layer, sequence, unit) beside two sequences
    part = as_sequences(nn.GRU(3, 4, 2, batch_first=True), (torch.randn(2, 5, 3), state)).take(0, 1)
    assert torch.equal(part.args[1], state[:, :1])
    with pytest.raises(InputError, match="holds no time step"):
        as_sequences(nn.Identity(), torch.zeros(3, 0, 2))


@pytest.mark.slow
@pytest.mark.parametrize("limit", [30e6, 100e6])
@pytest.mark.parametrize("case", peak_memory.RECORDED)
def test_resident_memory_holds_the_limit_within_a_fifth(case, limit):
    assert in_fresh_process(peak_memory.recorded, case, limit) < 1.2 * limit
