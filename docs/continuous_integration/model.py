"""The model of the example: a perceptron of tanh units, drawn at criticality."""

import torch
from torch import nn


def make(seed=0):
    """Return the model as training begins with it, and a batch scaled as in training."""
    torch.manual_seed(seed)
    layers = [layer for _ in range(8) for layer in (nn.Linear(64, 64), nn.Tanh())]
    model = nn.Sequential(*layers, nn.Linear(64, 10))
    for layer in model[::2]:
        nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
        nn.init.zeros_(layer.bias)
    return model, torch.randn(64, 64)
