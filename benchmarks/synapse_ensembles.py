"""What an ensemble of a module costs, in passes, beside other ways to rank its weights."""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn

from benchmarks.harness import Comparison, interleaved
from phasescope.synapses import ClassMargin, ensemble, module_sensitivity

WIDTH, DEPTH, CLASSES = 500, 4, 10
SAMPLES, CASES = 2048, 256
TRIED = 20  # weights of the loop over differences, from which all are extrapolated


def _network() -> tuple[nn.Sequential, Tensor]:
    torch.manual_seed(0)
    layers = [module for _ in range(DEPTH) for module in (nn.Linear(WIDTH, WIDTH), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(WIDTH, CLASSES)), torch.randn(SAMPLES, WIDTH)


def _pass(model: nn.Module, x: Tensor) -> list[Tensor]:
    """One pass forward and backward, which is also what SNIP's |g w| costs."""
    output = model(x)
    margin = (output[:CASES, 3] - output[:CASES, 8]).mean()
    return list(torch.autograd.grad(margin + 0 * output.sum(), list(model.parameters())))


def _differences(model: nn.Sequential, x: Tensor) -> float:
    """Seconds for one weight by central differences of the whole output, from a few weights."""
    weight = next(model.parameters())
    start = time.process_time()
    with torch.no_grad():
        for place in range(TRIED):
            maps = []
            for step in (1e-3, -2e-3):
                weight.view(-1)[place] += step
                maps.append(model(x))
            weight.view(-1)[place] += 1e-3
            ((maps[0] - maps[1]) / 2e-3).square().mean().sqrt()
    return (time.process_time() - start) / TRIED


def run() -> Comparison:
    """Return the cost on a perceptron of a million weights."""
    model, x = _network()
    prop = ClassMargin(3, against=8, cases=range(CASES))
    size = sum(p.numel() for p in model.parameters())
    comparison = Comparison(
        f"Ensemble of a margin, {size:,} weights, {SAMPLES} samples", "passes forward and backward"
    )
    seen = module_sensitivity(model, x)
    comparison.seconds, comparison.ratios = interleaved(
        {
            "one pass forward and backward (SNIP, |g w|)": lambda: _pass(model, x),
            "strengths alone": lambda: seen.gradient(prop),
            "ensemble: strengths, damage, three sets": lambda: ensemble(seen, prop),
            "with the sensitivity itself": lambda: ensemble(module_sensitivity(model, x), prop),
            "magnitude, sorted": lambda: seen.weights.abs().sort(),
        },
        repeats=5,
        clock=time.process_time,
    )
    name = "central differences, weight by weight (extrapolated)"
    comparison.seconds[name] = _differences(model, x) * size
    first = next(iter(comparison.seconds.values()))
    comparison.ratios[name] = comparison.seconds[name] / first
    comparison.remarks = [
        "The goal is at most two passes for the ensemble: one for the strengths, which is over the cases of "
        "the property alone, and one for the sizes of all maps. The rest is the sorting of three sets.",
        f"Damage is estimated within {100 * seen.rms_error:.0f} %, from 16 parts of the batch.",
        "Strengths rank weights like SNIP, but do not tell what they do to other samples; only differences "
        "of the whole output do, and the ensemble.",
    ]
    return comparison
