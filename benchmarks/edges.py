"""Edges removed, beside a plain loop that zeroes each branch by a hook: equal answers first, then time."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.harness import Comparison, interleaved
from phasescope.synapses import edges

WIDTH, SAMPLES, BLOCKS = 32, 256, 48


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * self.branch(x)


def _network(blocks: int) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, WIDTH), *[Block() for _ in range(blocks)], nn.Linear(WIDTH, 10))
    return model.double(), torch.randn(SAMPLES, 16, dtype=torch.float64), torch.randint(0, 10, (SAMPLES,))


def _loop(model: nn.Module, x: Tensor, y: Tensor) -> np.ndarray:
    with torch.no_grad():
        whole = F.cross_entropy(model(x), y).item()
        found = []
        for part in model.modules():
            if isinstance(part, Block):
                handle = part.branch.register_forward_hook(lambda *call: torch.zeros_like(call[2]))
                found.append(F.cross_entropy(model(x), y).item() - whole)
                handle.remove()
    return np.array(found)


def run() -> Comparison:
    """Return whether the answers are equal, then the time of the loop and of the whole measurement."""
    comparison = Comparison("Removal of residual blocks", f"network of {BLOCKS} blocks, {SAMPLES} inputs")
    for blocks in (16, BLOCKS):
        model, x, y = _network(blocks)
        exact, found = _loop(model, x, y), edges(model, F.cross_entropy, (x, y))
        known = np.isfinite(found.change)
        np.testing.assert_allclose(found.change[known], exact[known], atol=1e-12)
        row: dict[str, Any] = {"blocks": blocks, "removed exactly": int(known.sum())}
        row["largest difference"] = float(np.abs(found.change - exact)[known].max())
        row["rank correlation of second order"] = _ranks(found.second, exact)
        row["of first order"] = _ranks(found.first, exact)
        comparison.rows.append(row)
    model, x, y = _network(BLOCKS)
    contenders = {
        "plain loop of hooks": lambda: _loop(model, x, y),
        "phasescope, second order and 1 block exact": lambda: edges(
            model, F.cross_entropy, (x, y), exact_up_to=1
        ),
        "phasescope, all blocks exact, and curves": lambda: edges(model, F.cross_entropy, (x, y)),
    }
    comparison.seconds, comparison.ratios = interleaved(contenders, repeats=1, clock=time.process_time)
    comparison.remarks = [
        "The loop gives one number a block, without an error. Beside it phasescope gives errors over the "
        "samples, both orders of all blocks, and the greedy curve and 20 random orders, which "
        "are most of its time.",
    ]
    return comparison


def _ranks(one: np.ndarray, other: np.ndarray) -> float:
    ranks = [np.argsort(np.argsort(each)) for each in (one, other)]
    return float(np.corrcoef(*ranks)[0, 1])
