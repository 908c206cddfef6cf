"""Checkpoints as wrappers and other packages write them."""

import json
import struct
import sys

import pytest
import torch
from torch import nn

from phasescope.cli.targets import _load_checkpoint, load_batch
from phasescope.errors import InputError


class Tied(nn.Module):
    """A model whose read-out shares the weights of its embedding."""

    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 3))
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.model[0].weight


def loaded(model, state, folder, name="weights.pt"):
    torch.save(state, folder / name)
    return _load_checkpoint(model, folder / name, "models.py:net")


@pytest.mark.parametrize(
    ("prefix", "said"),
    [
        ("", None),
        ("module.", "prefix module. was"),
        ("_orig_mod.", "prefix _orig_mod. was"),
        ("model.", "prefix model. was"),
        ("module._orig_mod.", "prefixes module. and _orig_mod. were"),
    ],
)
def test_prefixes_of_wrappers_are_removed_and_said(tmp_path, prefix, said):
    source, model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2)), None
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2))
    notes = loaded(model, {prefix + key: value for key, value in source.state_dict().items()}, tmp_path)
    assert torch.equal(model[2].weight, source[2].weight)
    assert notes == (() if said is None else (f"the {said} removed from the names in the checkpoint",))


def test_a_compiled_part_of_a_model_is_recognised(tmp_path):
    source, model = (
        nn.Sequential(nn.Sequential(nn.Linear(3, 3))),
        nn.Sequential(nn.Sequential(nn.Linear(3, 3))),
    )
    state = {"0._orig_mod.0.weight": source[0][0].weight.data, "0._orig_mod.0.bias": source[0][0].bias.data}
    assert len(loaded(model, state, tmp_path)) == 1
    assert torch.equal(model[0][0].weight, source[0][0].weight)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_a_training_checkpoint_is_opened(tmp_path, key):
    source, model = nn.Linear(3, 3), nn.Linear(3, 3)
    assert loaded(model, {"epoch": 3, key: source.state_dict()}, tmp_path) == ()
    assert torch.equal(model.weight, source.weight)


def test_names_that_are_the_models_own_keep_their_prefix(tmp_path):
    source, model = Tied(), Tied()
    assert loaded(model, source.state_dict(), tmp_path) == ()
    assert torch.equal(model.model[1].weight, source.model[1].weight)


@pytest.mark.parametrize("dropped", ["head.weight", "model.0.weight"])
def test_tied_weights_that_are_stored_once_are_filled_in_and_said(tmp_path, dropped):
    source, model = Tied(), Tied()
    state = {f"module.{key}": value for key, value in source.state_dict().items() if key != dropped}
    notes = loaded(model, state, tmp_path)
    assert "prefix module." in notes[0]
    assert notes[1].startswith(f"the checkpoint holds tied weights once: filled in {dropped} (from ")
    assert torch.equal(model.head.weight, source.head.weight)
    assert model.head.weight is model.model[0].weight


def test_a_safetensors_file_of_tied_weights_is_read(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    source, model = Tied(), Tied()
    safetensors.save_model(source, str(tmp_path / "tied.safetensors"))
    (note,) = _load_checkpoint(model, tmp_path / "tied.safetensors", "models.py:net")
    assert "tied" in note
    assert torch.equal(model.head.weight, source.head.weight)


def by_hand(header, values=b""):
    """Return a safetensors file: the length of the header in 8 bytes, the header, the numbers."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + values


WEIGHT = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
BIAS = {"dtype": "F32", "shape": [2], "data_offsets": [16, 24]}
NUMBERS = struct.pack("<6f", 1, 2, 3, 4, 5, -6)


def test_a_safetensors_file_written_by_hand_is_read(tmp_path):
    pytest.importorskip("safetensors", reason="the extra safetensors is not installed")
    header = {"__metadata__": {"format": "pt"}, "module.weight": WEIGHT, "module.bias": BIAS}
    (tmp_path / "hand.safetensors").write_bytes(by_hand(header, NUMBERS))
    model = nn.Linear(2, 2)
    (note,) = _load_checkpoint(model, tmp_path / "hand.safetensors", "models.py:net")
    assert "prefix module." in note
    assert model.weight.tolist() == [[1, 2], [3, 4]]
    assert model.bias.tolist() == [5, -6]
    batch = load_batch(str(tmp_path / "hand.safetensors"))
    assert batch["module.bias"].tolist() == [5, -6]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        struct.pack("<Q", 2**40) + b"{}",
        by_hand({"weight": WEIGHT}, NUMBERS[:8]),
        by_hand({"weight": WEIGHT | {"shape": [2**31, 2**31]}}, NUMBERS[:16]),
        by_hand({"weight": WEIGHT | {"dtype": "object"}}, NUMBERS[:16]),
        b"PK\x03\x04 an archive",
    ],
    ids=["empty", "long header", "cut", "too large a shape", "no numbers", "another format"],
)
def test_a_damaged_safetensors_file_is_refused(tmp_path, content):
    pytest.importorskip("safetensors", reason="the extra safetensors is not installed")
    (tmp_path / "bad.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        load_batch(str(tmp_path / "bad.safetensors"))


def test_without_the_package_the_error_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "hand.safetensors").write_bytes(by_hand({"weight": WEIGHT}, NUMBERS[:16]))
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(InputError, match=r"needs the package safetensors.*'phasescope\[safetensors\]'"):
        load_batch(str(tmp_path / "hand.safetensors"))


@pytest.mark.parametrize("change", [{"head.weight": None, "model.0.weight": None}, {"other": torch.zeros(2)}])
def test_what_is_missing_or_left_over_is_refused(tmp_path, change):
    state = Tied().state_dict() | change
    with pytest.raises(InputError, match=r"does not fit Tied: (Missing|Unexpected) key"):
        loaded(Tied(), {key: value for key, value in state.items() if value is not None}, tmp_path)


def test_notes_of_a_checkpoint_are_on_stderr_and_in_the_page(phasescope, models, tmp_path):
    layers = [nn.Linear(16, 16) for _ in range(5)]
    state = {
        f"module.{2 * i}.{k}": v for i, layer in enumerate(layers) for k, v in layer.state_dict().items()
    }
    torch.save(state, tmp_path / "wrapped.pt")
    answer = phasescope("inspect", "models.py:net@wrapped.pt", "--data", "models.py:batch", "--out", "out")
    assert answer.code == 0
    note = "the prefix module. was removed from the names in the checkpoint"
    assert f"phasescope: net: {note}" in answer.err
    assert note in (tmp_path / "out" / "report.html").read_text().replace("The prefix", "the prefix")
