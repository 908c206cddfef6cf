"""Objects from a user's own files."""

import hashlib

import pytest
import torch

from phasescope.activations import load_activation
from phasescope.errors import InputError
from phasescope.papers.absorbing.shared import activation_of, identified, is_odd
from phasescope.userfiles import contents_hash

SCALED = "import torch\n\n\ndef scaled(z):\n    return {scale} * torch.tanh(z)\n"


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "own.py"
    path.write_text(SCALED.format(scale=2.0))
    return path


def test_a_name_and_a_function_in_a_file_by_relative_and_absolute_path(file):
    z = torch.tensor([0.3, -1.2], dtype=torch.float64)
    assert torch.equal(load_activation("tanh")(z), torch.tanh(z))
    for spec in ("own.py:scaled", f"{file}:scaled"):
        assert torch.equal(load_activation(spec)(z), 2 * torch.tanh(z))


@pytest.mark.parametrize("use", [load_activation, identified, is_odd, contents_hash])
def test_a_missing_file_is_named_with_what_comes_nearest(file, use):
    with pytest.raises(InputError, match=r"no file ovn\.py.*own\.py"):
        use("ovn.py:scaled")


def test_a_task_knows_the_contents_of_the_file(file):
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert identified("tanh") == {"activation": "tanh"}
    assert identified("own.py:scaled") == {"activation": "own.py:scaled", "file_sha256": digest[:16]}


def test_an_edited_file_is_read_again_and_refused_by_the_tasks_of_the_old_one(file):
    one = torch.ones(1, dtype=torch.float64)
    planned = identified("own.py:scaled") | {"width": 10}
    assert float(activation_of(planned)(one)) == pytest.approx(2 * 0.7615941559557649)
    file.write_text(SCALED.format(scale=-5.25))
    assert float(activation_of(identified("own.py:scaled"))(one)) == pytest.approx(-5.25 * 0.7615941559557649)
    with pytest.raises(InputError, match=r"own\.py:scaled has changed"):
        activation_of(planned)
    assert activation_of({"activation": "erf"}).name == "erf"
