"""One pass of a model: what it refuses is said with the user's own line; what cannot be cut is run whole."""

import re

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_packed_sequence

from phasescope.errors import InputError, MemoryLimitError
from phasescope.recording import as_batch, run
from phasescope.recording.forward import fitting


class Raises(nn.Module):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def forward(self, x):
        raise self.error


class Strange(Exception):
    """A class of the user's own."""


def refusal(model, batch, whole=None):
    with pytest.raises(InputError) as caught:
        run(model, batch, whole)
    return str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        AssertionError("no"),
        NotImplementedError("no"),
        ZeroDivisionError("no"),
        Strange("no"),
        StopIteration("no"),
        RuntimeError("no"),
        KeyError("no"),
    ],
)
def test_any_exception_shows_the_users_own_line(error):
    words = refusal(Raises(error), as_batch(nn.Identity(), torch.zeros(2, 3)))
    assert "Raises does not accept the batch ((2, 3) float32)" in words
    assert re.search(rf"{type(error).__name__}: '?no'?, at .*test_forward\.py:\d+: raise self\.error", words)


def test_an_error_deep_in_torch_shows_the_line_that_called_it():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x):
            return self.layer(x[:, :3])

    assert "return self.layer(x[:, :3])" in refusal(Own(), as_batch(Own(), torch.zeros(2, 4)))


def test_without_a_line_of_the_users_there_is_none():
    words = refusal(nn.Sequential(nn.Linear(4, 2)), as_batch(nn.Identity(), torch.zeros(2, 3)))
    assert "mat1 and mat2" in words
    assert ".py:" not in words


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(3), MemoryError(), MemoryLimitError("limit")]
)
def test_what_is_no_fault_of_the_model_is_passed_on(error):
    with pytest.raises(type(error)):
        run(Raises(error), as_batch(nn.Identity(), torch.zeros(2, 3)))


@pytest.mark.parametrize(
    "words", ["CUDA out of memory.", "DefaultCPUAllocator: can't allocate memory: 9 bytes"]
)
def test_lack_of_memory_stays_recognisable(words):
    with pytest.raises(RuntimeError, match=words[:10]):
        run(Raises(RuntimeError(words)), as_batch(nn.Identity(), torch.zeros(2, 3)))


class Graph(nn.Module):
    """Adds to each node what its neighbours have."""

    def forward(self, x, edge_index):
        return x + torch.zeros_like(x).index_add(0, edge_index[1], x[edge_index[0]])


NODES, EDGES = torch.randn(7, 3), torch.tensor([[0, 6, 2, 5], [1, 3, 4, 6]])


class Data:
    """As the graphs of torch_geometric: an object with tensors in a store."""

    def __init__(self, **tensors):
        self._store = tensors

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return self._store[name]


class OfData(nn.Module):
    def forward(self, data):
        return Graph()(data.x, data.edge_index)


@pytest.mark.parametrize(
    ("model", "batch"),
    [
        (Graph(), (NODES, EDGES)),
        (Graph(), {"edge_index": EDGES, "x": NODES}),
        (OfData(), Data(edge_index=EDGES, x=NODES)),
        (lambda nodes, pairs: Graph()(nodes, pairs), (NODES, EDGES)),
    ],
)
def test_a_graph_is_run_whole_and_counts_its_nodes(model, batch):
    module = model if isinstance(model, nn.Module) else Wrapped(model)
    fitted = fitting(module, as_batch(module, batch))
    assert fitted.size == 7
    assert not fitted.cuttable
    assert any("cannot be cut" in note for note in fitted.notes)
    assert torch.equal(run(module, fitted.take(0, 2)), Graph()(NODES, EDGES))
    assert [t.shape for t in fitted.floats()] == [NODES.shape]
    doubled = fitted.with_floats([2 * NODES])
    assert torch.equal(run(module, doubled), 2 * Graph()(NODES, EDGES))
    if isinstance(batch, Data):
        assert batch.x is NODES


class Wrapped(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.forward = function


class Causal(nn.Module):
    def forward(self, x, mask):
        return (x @ x.transpose(1, 2) + mask).softmax(-1) @ x


@pytest.mark.parametrize("batch", ["args", "kwargs"])
def test_a_mask_as_long_as_the_batch_is_held_whole(batch):
    x, mask = torch.randn(5, 5, 2), torch.full((5, 5), -torch.inf).triu(1)
    given = (x, mask) if batch == "args" else {"x": x, "mask": mask}
    fitted = fitting(Causal(), as_batch(Causal(), given))
    assert fitted.cuttable
    assert "tensor mask of the batch was taken as the same for all 5 inputs" in fitted.notes
    assert torch.allclose(run(Causal(), fitted.take(1, 3)), Causal()(x, mask)[1:3])
    assert len(fitted.floats()) == 1


class Eight(nn.Module):
    def forward(self, x):
        return x.reshape(8, 2)


def test_a_model_of_a_fixed_size_is_run_whole():
    fitted = fitting(Eight(), as_batch(Eight(), torch.randn(8, 2)))
    assert not fitted.cuttable
    assert fitted.fewest(2) == 8
    assert "takes the batch whole but no part of it" in fitted.notes[0]


def test_where_the_whole_fails_too_the_reason_is_its_own():
    words = r"does not accept the batch \(\(6, 2\) float32\).*'\[8, 2\]' is invalid for input of size 12"
    with pytest.raises(InputError, match=words):
        fitting(Eight(), as_batch(Eight(), torch.randn(6, 2)))
    whole = as_batch(Eight(), torch.randn(8, 2))
    assert "takes the 8 inputs of the batch together but not 3 of them" in refusal(
        Eight(), whole.take(0, 3), whole
    )


def test_a_batch_that_can_be_cut_is_left_as_it_is():
    batch = as_batch(nn.Linear(2, 2), torch.randn(6, 2))
    assert fitting(nn.Linear(2, 2), batch) is batch


class Reader(nn.Module):
    """A user's LSTM of packed sequences."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(2, 3, batch_first=True)

    def forward(self, packed):
        assert isinstance(packed, PackedSequence)
        output, _ = self.lstm(packed)
        return pad_packed_sequence(output, batch_first=True)[0]


@pytest.mark.parametrize("in_order", [True, False])
def test_packed_sequences_are_cut_by_sequence(in_order):
    lengths = [6, 5, 3, 2] if in_order else [3, 6, 2, 5]
    sequences = [torch.randn(n, 2) for n in lengths]
    packed, model = pack_sequence(sequences, enforce_sorted=in_order), Reader()
    batch = as_batch(model, packed)
    assert batch.size == 4
    assert fitting(model, batch).cuttable
    (again,), _ = batch.arguments()
    assert torch.equal(again.data, packed.data)
    assert torch.equal(again.batch_sizes, packed.batch_sizes)
    assert (again.sorted_indices is None) == in_order
    assert torch.equal(run(model, batch), model(packed))
    part = run(model, batch.take(1, 3))
    for row, sequence in enumerate(sequences[1:3]):
        alone = model(pack_sequence([sequence]))[0]
        assert torch.allclose(part[row, : len(alone)], alone)
    (entering,) = batch.floats()
    x = entering.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(run(model, batch.with_floats([x])).sum(), x)
    assert slope[0].abs().sum() > 0
    assert torch.equal(slope[lengths.index(2), 2:], torch.zeros_like(slope[0, 2:]))


class Adjacent(nn.Module):
    def forward(self, x, a):
        return torch.sparse.mm(a, x)


def test_sparse_and_nested_tensors_are_run_whole():
    matrix = torch.eye(4).to_sparse()
    batch = fitting(Adjacent(), as_batch(Adjacent(), (torch.randn(4, 2), matrix)))
    assert not batch.cuttable
    assert run(Adjacent(), batch.take(0, 4)).shape == (4, 2)
    assert "a: sparse (4, 4) float32" in batch.shapes()
    nested = torch.nested.nested_tensor([torch.randn(n, 2) for n in (3, 5)], layout=torch.jagged)
    batch = fitting(nn.Linear(2, 3), as_batch(nn.Linear(2, 3), nested))
    assert batch.size == 2
    assert batch.floats() == []
    assert run(nn.Linear(2, 3), batch).is_nested
