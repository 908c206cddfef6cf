"""Profiles of batches and outputs as people have them, against numbers worked out beside them."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence

from phasescope.errors import InputError, MemoryLimitError
from phasescope.signal import profile


class Classifier(nn.Module):
    """Returns what a test asks for."""

    def __init__(self, returns):
        super().__init__()
        self.first, self.last, self.returns = nn.Linear(6, 5), nn.Linear(5, 3), returns

    def forward(self, x, labels=None):
        logits = self.last(self.first(x).tanh())
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return {"logits": logits, "loss": loss, "both": {"loss": loss, "logits": logits}}[self.returns]


def values(found, name):
    return dict(zip(found.dataset["layer"].values, found.dataset[name].values.tolist(), strict=True))


def batch():
    torch.manual_seed(0)
    return torch.randn(8, 6), torch.randint(0, 3, (8,))


def of_the_same_weights(model, returns):
    other = Classifier(returns)
    other.load_state_dict(model.state_dict())
    return other


def test_a_loss_beside_the_logits_changes_no_number():
    x, labels = batch()
    plain = Classifier("logits")
    found = profile(of_the_same_weights(plain, "both"), {"x": x, "labels": labels})
    alone = profile(plain, x)
    for name in ("kernel", "gradient", "tangent"):
        both, expected = values(found, name), values(alone, name)
        assert [both[row] for row in expected] == pytest.approx(list(expected.values()), nan_ok=True)
    assert not any("single number" in note for note in found.notes)


def softmax_error(model, x, labels):
    logits = model.last(model.first(x).tanh())
    return (logits.softmax(1) - F.one_hot(labels, 3)) / len(x)


def test_a_model_that_returns_its_loss_has_the_gradient_of_that():
    x, labels = batch()
    model = Classifier("loss")
    found = profile(model, {"x": x, "labels": labels})
    assert any("single number" in note for note in found.notes)
    expected = softmax_error(model, x, labels).square().sum(1).mean().item()
    assert values(found, "gradient")["last"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "loss", [F.cross_entropy, nn.CrossEntropyLoss(), lambda y: F.cross_entropy(y, batch()[1])]
)
def test_a_given_loss_gives_the_real_gradient(loss):
    x, labels = batch()
    model = Classifier("logits")
    found = profile(model, (x, labels), loss=loss)
    slope = softmax_error(model, x, labels)
    hidden = slope @ model.last.weight * (1 - model.first(x).tanh() ** 2)
    expected = (hidden.square().sum(1) / slope.square().sum(1)).mean().item()
    assert values(found, "gradient")["first"] == pytest.approx(expected, rel=1e-5)
    assert "the gradient is that of the given loss" in found.notes


def test_without_a_loss_that_works_the_gradient_is_that_of_random_cotangents_and_said():
    model = Classifier("logits")
    found = profile(model, batch(), loss=lambda output: output.no_such_name)
    assert values(found, "gradient") == values(profile(model, batch()), "gradient")
    (note,) = [note for note in found.notes if "not of the given loss" in note]
    assert "has no attribute 'no_such_name'" in note


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(2, 3, batch_first=True), nn.Linear(3, 4)

    def forward(self, packed):
        return self.head(pad_packed_sequence(self.lstm(packed)[0], batch_first=True)[0])


def test_packed_sequences_are_measured_sequence_by_sequence():
    torch.manual_seed(1)
    model = Reader()
    packed = pack_sequence([torch.randn(n, 2) for n in (3, 6, 2, 5)], enforce_sorted=False)
    found = profile(model, packed)
    assert found.dataset.attrs["inputs"] == 4
    states = pad_packed_sequence(model.lstm(packed)[0], batch_first=True)[0]
    assert values(found, "kernel")["lstm"] == pytest.approx(states.square().mean().item(), rel=1e-5)
    # A random cotangent v on the read-out weighs W^T v at the states that the lengths let through.
    per_unit = model.head.weight.square().sum().item()
    assert values(found, "gradient")["lstm"] > 0
    assert values(found, "gradient")["lstm"] < 4 * per_unit


class Graph(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 5), nn.Linear(5, 2)

    def spread(self, h, edge_index):
        return torch.zeros_like(h).index_add(0, edge_index[1], h[edge_index[0]])

    def forward(self, x, edge_index):
        h = self.spread(self.one(x), edge_index).relu()
        return self.two(self.spread(h, edge_index))


class Dense(Graph):
    """The same with a matrix that belongs to the model."""

    def __init__(self, matrix):
        super().__init__()
        self.register_buffer("matrix", matrix)

    def spread(self, h, edge_index):
        return self.matrix @ h

    def forward(self, x):
        return super().forward(x, None)


def test_a_graph_is_measured_as_the_same_network_with_a_matrix_is():
    torch.manual_seed(2)
    x, edges = torch.randn(12, 4), torch.randint(0, 12, (2, 40))
    matrix = torch.zeros(12, 12).index_put((edges[1], edges[0]), torch.ones(40), accumulate=True)
    graph, dense = Graph(), Dense(matrix)
    dense.load_state_dict(graph.state_dict(), strict=False)
    found, expected = profile(graph, (x, edges)), profile(dense, x)
    for name in ("kernel", "tangent", "gradient"):
        one, other = values(found, name), values(expected, name)
        assert [one[row] for row in ("one", "two")] == pytest.approx(
            [other[row] for row in ("one", "two")], rel=1e-4
        )
    assert any("a graph, by edge_index" in note for note in found.notes)
    assert any("takes the batch whole" in note for note in expected.notes)
    with pytest.raises(MemoryLimitError, match="cannot be cut"):
        profile(graph, (x, edges), max_memory=100)


def test_nested_and_sparse_inputs_are_measured_from_where_they_are_ordinary():
    class Padded(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.two(torch.nested.to_padded_tensor(self.one(x), 0.0).tanh())

    found = profile(
        Padded(), torch.nested.nested_tensor([torch.randn(n, 3) for n in (2, 5)], layout=torch.jagged)
    )
    assert dict(zip(found.dataset["layer"].values, found.dataset["skipped"].values, strict=True))["one"] == (
        "its output is a nested tensor"
    )
    assert values(found, "kernel")["two"] > 0

    class Adjacent(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x, a):
            return self.two(torch.sparse.mm(a, self.one(x)))

    model, x = Adjacent(), torch.randn(5, 3)
    matrix = torch.eye(5).roll(1, 0)
    found = profile(model, (x, matrix.to_sparse()))
    expected = model.two(matrix @ model.one(x)).square().mean().item()
    assert values(found, "kernel")["two"] == pytest.approx(expected, rel=1e-5)


class Moody(nn.Module):
    """Twice as large in training, and without half of its units."""

    def __init__(self):
        super().__init__()
        self.layer, self.drop = nn.Linear(6, 6), nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(self.layer(x)) * (2.0 if self.training else 1.0)


@pytest.mark.parametrize("training", [True, False])
def test_only_dropout_is_switched_off(training):
    x, _ = batch()
    model = Moody().train(training)
    found = profile(model, x)
    expected = (model.layer(x) * (2 if training else 1)).square().mean().item()
    kernels = [k for k in found.dataset["kernel"].values if k == k]
    assert kernels[-1] == pytest.approx(expected, rel=1e-5)
    assert any("dropout was switched off" in note for note in found.notes) == training


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Sequential(nn.LazyLinear(3)), "lazy layers: 0.weight .* Call the model once on the batch"),
        (nn.Linear(6, 3, device="meta"), "on the meta device"),
    ],
)
def test_models_without_numbers_are_refused(model, words):
    with pytest.raises(InputError, match=words):
        profile(model, batch()[0])


@pytest.mark.parametrize("as_program", [True, False])
@pytest.mark.filterwarnings("ignore")
def test_exported_programs_are_refused_in_one_sentence(as_program):
    program = torch.export.export(nn.Linear(6, 3), batch()[:1])
    with pytest.raises(InputError, match=r"an exported program, whose layers are gone\. Pass the module"):
        profile(program if as_program else nn.Sequential(program.module()), batch()[0])
