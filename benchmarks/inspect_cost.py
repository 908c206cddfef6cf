"""What `inspect` costs, in units of one forward-backward pass of the same model on the same batch."""

from __future__ import annotations

import torch
from torch import nn

import phasescope
from benchmarks.harness import Comparison, interleaved

INPUTS = 64


def _mlp(depth: int, width: int) -> nn.Module:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def _cnn(depth: int, channels: int) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1), nn.ReLU()]
    for _ in range(depth - 2):
        layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * 16 * 16, 10))


def run() -> Comparison:
    """Return the cost of inspecting a 20-layer MLP and a 20-layer CNN."""
    torch.manual_seed(0)
    models = {
        "MLP, 20 layers, width 1024": (_mlp(20, 1024), torch.randn(INPUTS, 1024)),
        "CNN, 20 layers, 64 channels, 16x16": (_cnn(20, 64), torch.randn(INPUTS, 3, 16, 16)),
    }
    comparison = Comparison(f"Cost of inspect, {INPUTS} inputs", "forward-backward passes")
    for name, (model, batch) in models.items():
        seconds, ratios = interleaved(
            {
                "forward-backward": lambda m=model, x=batch: m(x).square().sum().backward(),
                "inspect": lambda m=model, x=batch: phasescope.inspect(m, x),
            },
            repeats=5,
        )
        comparison.rows.append({"model": name, "inspect / forward-backward": ratios["inspect"]})
        comparison.seconds |= {f"{name}: {key}": value for key, value in seconds.items()}
        comparison.ratios |= {f"{name}: {key}": value for key, value in ratios.items()}
    comparison.remarks = ["The goal is under 20 for a network of 20 layers."]
    return comparison
