"""Tensor files, and how their numbers are handed to a model."""

import numpy as np
import pytest
import torch
from torch import nn

from phasescope.cli.targets import fit_to, load_batch
from phasescope.errors import InputError

VALUES = np.random.default_rng(0).standard_normal((4, 3))


@pytest.mark.parametrize("header", [None, "a,b,c"])
def test_csv_with_and_without_a_header(tmp_path, header):
    path = tmp_path / "x.csv"
    np.savetxt(path, VALUES, delimiter=",", fmt="%.18e", header=header or "", comments="")
    if header is None:
        path.write_text(path.read_text().lstrip())
    assert np.array_equal(load_batch(str(path)).numpy(), VALUES)


@pytest.mark.parametrize("save", [np.save, np.savez])
def test_numpy_files(tmp_path, save):
    path = tmp_path / ("x.npy" if save is np.save else "x.npz")
    save(path, VALUES)
    assert np.array_equal(load_batch(str(path)).numpy(), VALUES)


def test_one_array_of_several(tmp_path):
    np.savez(tmp_path / "x.npz", a=VALUES, b=2 * VALUES)
    assert np.array_equal(load_batch(f"{tmp_path}/x.npz:b").numpy(), 2 * VALUES)
    for spec in ("x.npz", "x.npz:c"):
        with pytest.raises(InputError, match="2 arrays: a, b"):
            load_batch(f"{tmp_path}/{spec}")


def test_torch_files_keep_their_structure(tmp_path):
    torch.save({"x": torch.ones(2), "more": [torch.zeros(1)]}, tmp_path / "x.pt")
    found = load_batch(str(tmp_path / "x.pt"))
    assert torch.equal(found["x"], torch.ones(2))
    assert torch.equal(found["more"][0], torch.zeros(1))


def test_floats_take_the_dtype_of_the_model_and_integers_keep_theirs():
    batch = {"x": torch.ones(2, dtype=torch.float64), "tokens": (torch.ones(2, dtype=torch.int64),)}
    found = fit_to(batch, nn.Linear(2, 2).to(torch.bfloat16))
    assert found["x"].dtype == torch.bfloat16
    assert found["tokens"][0].dtype == torch.int64
    assert fit_to(batch, nn.ReLU()) is batch
    assert fit_to(batch, lambda x: x)["x"].dtype == torch.float64
