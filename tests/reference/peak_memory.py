"""Peak resident memory of a profile, run in a process of its own: python peak_memory.py CASE LIMIT."""

import json
import sys
import threading
import time

import psutil
import torch
from torch import nn

from phasescope.signal import profile


def conv():
    layers = [module for _ in range(6) for module in (nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())]
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), *layers), torch.randn(128, 3, 64, 64)


def mlp():
    layers = [module for _ in range(10) for module in (nn.Linear(2000, 2000), nn.Tanh())]
    return nn.Sequential(*layers), torch.randn(2048, 2000)


def large():
    layers = [module for _ in range(6) for module in (nn.Linear(4096, 4096, bias=False), nn.ReLU())]
    return nn.Sequential(*layers), torch.randn(64, 4096)


def attention():
    block = nn.TransformerEncoderLayer(128, 4, 512, batch_first=True)
    return nn.TransformerEncoder(block, 4), torch.randn(128, 128, 128)


class Peak(threading.Thread):
    """Samples the resident memory every millisecond."""

    def __init__(self):
        super().__init__(daemon=True)
        self.process, self.highest, self.stop = psutil.Process(), 0, False

    def run(self):
        while not self.stop:
            self.highest = max(self.highest, self.process.memory_info().rss)
            time.sleep(0.001)


if __name__ == "__main__":
    torch.set_num_threads(1)
    profile(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 3)), torch.randn(4, 3, 8, 8))
    model, x = globals()[sys.argv[1]]()
    limit = None if sys.argv[2] == "default" else sys.argv[2]
    before = psutil.Process().memory_info().rss
    peak = Peak()
    peak.start()
    data = profile(model, x, max_memory=limit, theory=False, probes=1).dataset
    peak.stop = True
    peak.join()
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    print(json.dumps({"extra": peak.highest - before, "weights": weights, "inputs": data.attrs["inputs"]}))
