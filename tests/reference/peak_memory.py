"""How far resident memory rises beside model and batch for a measurement with a limit, by name of a case.

Each function is run in a fresh process, once with little so that all libraries are loaded, and once in full.
"""

import numpy as np
import torch
from torch import nn

from phasescope.errors import MemoryLimitError
from phasescope.noise import dfa, record
from phasescope.signal import profile, sample_cnn, sample_mlp
from phasescope.testing.resident import resident_peak


def conv():
    layers = [module for _ in range(6) for module in (nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())]
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), *layers), torch.randn(128, 3, 64, 64)


def mlp():
    layers = [module for _ in range(10) for module in (nn.Linear(2000, 2000), nn.Tanh())]
    return nn.Sequential(*layers), torch.randn(2048, 2000)


def large():
    layers = [module for _ in range(6) for module in (nn.Linear(4096, 4096, bias=False), nn.ReLU())]
    return nn.Sequential(*layers), torch.randn(64, 4096)


def attention(width=128, steps=128, sequences=128):
    block = nn.TransformerEncoderLayer(width, 4, 4 * width, batch_first=True)
    model = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
    return model.eval(), torch.randn(sequences, steps, width)


def lstm():
    return nn.LSTM(32, 64, batch_first=True), torch.randn(128, 500, 32)


def both_ways():
    return nn.LSTM(16, 64, 2, bidirectional=True, batch_first=True), torch.randn(64, 300, 16)


PROFILED = {"conv": conv, "mlp": mlp, "attention": attention, "lstm": lstm, "large": large}
RECORDED = {"lstm": lstm, "both ways": both_ways, "attention": lambda: attention(64, 400, 32)}
SAMPLED = {
    "field": ((64, (16, 16)), {}),
    "weights": ((256, 8), {}),
    "small": ((4, 8), {"depth": 100}),
    "local": ((32, (16, 16)), {"weights": "local", "tangent": True}),
    "seed": ((32, 64), {"start": "seed", "layer_norm": True, "residual": 0.3}),
}


def profiled(name, limit):
    torch.set_num_threads(1)
    model, x = PROFILED[name]()
    profile(model, x[:4], theory=False, probes=1)
    return resident_peak(lambda: profile(model, x, max_memory=limit, theory=False, probes=1))


def recorded(name, limit):
    torch.set_num_threads(1)
    model, x = RECORDED[name]()
    record(model, x[:2, :40])
    return resident_peak(lambda: record(model, x, max_memory=limit))


def sampled_cnn(name, limit):
    torch.set_num_threads(1)
    args, options = SAMPLED[name]
    options = {"depth": 4, "C_W": 1.9, "C_b": 0.1, **options}
    sample_cnn("tanh", *args, networks=1, **options)
    kept = []
    peak = resident_peak(
        lambda: kept.append(sample_cnn("tanh", *args, networks=500, max_memory=limit, **options))
    )
    return peak - kept[0].nbytes


def sampled_mlp(width, limit):
    """The largest number of networks that is not refused: the result counts there."""
    torch.set_num_threads(1)
    sample_mlp("tanh", width, 3, 1.9, 0.1, networks=2)
    networks, found = 2**16, []

    def work():
        found.append(sample_mlp("tanh", width, 50, 1.9, 0.1, networks=networks, max_memory=limit))

    while not found:
        try:
            peak = resident_peak(work)
        except MemoryLimitError:
            networks //= 2
    return peak


def fluctuations(series, length):
    torch.set_num_threads(1)
    dfa(np.random.default_rng(0).standard_normal((2000, 2000)))
    x = np.random.default_rng(0).standard_normal((series, length)).astype(np.float32)
    return resident_peak(lambda: dfa(x))
