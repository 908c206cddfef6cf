"""max_memory bounds the peak, and changes nothing else."""

import numpy as np
import pytest
import torch
from torch import nn

from phasescope.recording.memory import peak_bytes
from phasescope.signal import profile
from phasescope.testing.resident import in_fresh_process
from reference import peak_memory


def wide(dtype):
    torch.manual_seed(0)
    layers = [m for _ in range(4) for m in (nn.Linear(256, 256), nn.Tanh())]
    return nn.Sequential(*layers).to(dtype), torch.randn(800, 256, dtype=dtype)


def test_a_large_batch_is_split():
    model, x = wide(torch.float32)
    sizes = []
    model.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    profile(model, x, theory=False, max_memory="4MB")
    assert max(sizes) < 800
    assert sizes.count(max(sizes)) > 1


@pytest.mark.parametrize(
    ("dtype", "rtol"), [(torch.float32, 1e-4), pytest.param(torch.float64, 1e-11, marks=pytest.mark.whole)]
)
def test_results_do_not_depend_on_the_size_of_the_chunks(dtype, rtol):
    model, x = wide(dtype)
    whole = profile(model, x, theory=False).dataset
    parts = profile(model, x, theory=False, max_memory="4MB").dataset
    for name in whole.data_vars:
        np.testing.assert_allclose(parts[name], whole[name], rtol=rtol, err_msg=str(name))


def test_live_tensors_stay_within_the_limit():
    model, x = wide(torch.float32)
    free = peak_bytes(model, lambda: profile(model, x, theory=False))
    bound = peak_bytes(model, lambda: profile(model, x, theory=False, max_memory="4MB"))
    assert free > 8e6
    assert bound < 4e6


def test_coupled_inputs_are_cut_rather_than_split():
    layers = [m for _ in range(4) for m in (nn.Linear(256, 256), nn.BatchNorm1d(256), nn.Tanh())]
    model, x = nn.Sequential(*layers), torch.randn(800, 256)
    found = profile(model, x, theory=False, max_memory="4MB")
    used = found.dataset.attrs["inputs"]
    assert 2 < used < 400
    assert any(f"first {used} of 800" in note for note in found.notes)
    expected = profile(model, x[:used], theory=False).dataset
    np.testing.assert_allclose(found.dataset["kernel"], expected["kernel"], rtol=1e-5)
    assert profile(model.eval(), x, theory=False, max_memory="4MB").dataset.attrs["inputs"] == 800


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "limit"),
    [("conv", 60e6), ("conv", 200e6), ("mlp", 100e6), ("attention", 200e6), ("lstm", 60e6)],
)
def test_resident_memory_holds_the_limit_within_a_fifth(case, limit):
    assert in_fresh_process(peak_memory.profiled, case, limit) < 1.2 * limit


@pytest.mark.slow
def test_a_model_of_100_million_parameters_is_never_copied():
    model, _ = peak_memory.large()
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    assert weights > 4e8
    assert in_fresh_process(peak_memory.profiled, "large", None) < weights
