"""Peak resident memory of an ensemble at 21 million weights, run in a process of its own."""

import json

import psutil
import torch
from peak_memory import Peak
from torch import nn

from phasescope.synapses import ClassMargin, ensemble, module_sensitivity


def network(width, depth):
    layers = [module for _ in range(depth) for module in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(width, 10)), torch.randn(128, width)


def measured(model, x):
    prop = ClassMargin(3, against=8, cases=range(32))
    return ensemble(module_sensitivity(model, x), prop)


if __name__ == "__main__":
    torch.set_num_threads(1)
    measured(*network(64, 2))
    model, x = network(2048, 5)
    before = psutil.Process().memory_info().rss
    peak = Peak()
    peak.start()
    kept = measured(model, x)
    peak.stop = True
    peak.join()
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    batch = 2 * (len(model) + 1) * x.numel() * x.element_size()  # what each layer puts out, and its gradient
    print(json.dumps({"extra": peak.highest - before, "weights": weights, "batch": batch}))
