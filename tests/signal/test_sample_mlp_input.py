"""What the sampler refuses, and what it says."""

import math

import numpy as np
import pytest
import torch

from phasescope.errors import InputError, MemoryLimitError
from phasescope.signal import sample_mlp

SAMPLE = {"activation": "tanh", "width": 10, "depth": 5, "C_W": 1.9, "C_b": 0.09}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width": 0}, "width = 0"),
        ({"width": 1}, "width = 1 with 2 replicas"),
        ({"width": 10.0}, "width = 10.0"),
        ({"depth": 0}, "depth = 0"),
        ({"networks": 0}, "networks = 0"),
        ({"networks": True}, "networks = True"),
        ({"replicas": 0}, "replicas = 0"),
        ({"distance": 0.0}, "distance = 0.0"),
        ({"distance": 2.1}, "distance = 2.1"),
        ({"distance": None}, "distance = None"),
        ({"distance": 1.8, "replicas": 3}, "1.8 with 3 replicas"),
        ({"C_W": 0.0}, "C_W = 0.0"),
        ({"C_W": -1.0}, "C_W = -1.0"),
        ({"C_W": "1"}, "C_W = '1'"),
        ({"C_b": -0.1}, "C_b = -0.1"),
        ({"C_b": None}, "C_b = None"),
        ({"kernel": 0.0}, "kernel = 0.0"),
        ({"kernel": math.inf}, "kernel = inf"),
        ({"residual": 1.0}, "residual = 1.0"),
        ({"layers": [0, 3]}, "1..5"),
        ({"layers": [6]}, "1..5"),
        ({"layers": []}, "1..5"),
        ({"layers": [1.5]}, "1..5"),
        ({"activation": "tanhh"}, "tanhh"),
        ({"activation": None}, "not an activation"),
        ({"seed": 1.5}, "seed = 1.5"),
        ({"activation": "hardshrink", "tangent": True}, "jumps"),
        ({"layer_norm": True, "width": 2}, "layer_norm"),
        ({"C_W": 0.9, "C_b": 0.0}, "vanishes with depth"),
        ({"activation": "relu", "C_W": 3.0}, "diverges with depth"),
    ],
)
def test_bad_input_of_samples(change, words):
    with pytest.raises(InputError) as caught:
        sample_mlp(**(SAMPLE | change))
    assert words in str(caught.value)


def test_overflow_is_told():
    with pytest.raises(InputError, match=r"repu2: .* overflow in layer \d+ of \d+ of 20 networks"):
        sample_mlp("repu2", 20, 40, 2.0, 0.1, kernel=2.0, networks=20)


def test_vanishing_signals_are_noted():
    sampled = sample_mlp("repu2", 20, 20, 1.0, 0.0, kernel=0.01, networks=3)
    assert "vanished" in sampled.attrs["notes"]


def test_memory_limit():
    with pytest.raises(MemoryLimitError, match=r"max_memory = 1\.0 MB"):
        sample_mlp("tanh", 100, 1000, 1.9, 0.09, networks=10000, max_memory="1MB")


def test_user_function_and_modules():
    by_name = sample_mlp("gelu", 20, 10, 1.9, 0.2, networks=5, kernel=1.0)
    by_module = sample_mlp(torch.nn.GELU(), 20, 10, 1.9, 0.2, networks=5, kernel=1.0)
    own = sample_mlp(lambda z: z * torch.special.ndtr(z), 20, 10, 1.9, 0.2, networks=5, kernel=1.0)
    assert np.array_equal(by_name.log_distance, by_module.log_distance)
    np.testing.assert_allclose(own.log_distance, by_name.log_distance, rtol=1e-9)
