"""The exact sampler of finite networks beside explicit weights and beside its random numbers alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.harness import Comparison, interleaved
from phasescope.signal import sample_mlp

C_W, C_b, KERNEL = 1.94765463, 0.09, 0.76347477
# Width: layers timed, and how many times faster the sampler should be.
EXPLICIT = {1000: (20, 200), 2000: (10, 400), 10000: (1, 4000)}
WIDTHS = (1000, 10_000, 100_000, 1_000_000)
DEPTHS = (20, 100, 500)
# Neurons times layers of one timed call.
WORK = 4_000_000


def _sampler(width: int, depth: int, networks: int = 1, activation: str = "tanh") -> Callable[[], object]:
    def call() -> object:
        return sample_mlp(
            activation, width, depth, C_W, C_b, networks=networks, kernel=KERNEL, layers=[depth]
        )

    return call


def _explicit(width: int, layers: int, dtype: torch.dtype) -> Callable[[], object]:
    """Two inputs through weights that are drawn, as in a plain script."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.empty(width, width, dtype=dtype)
    h = torch.randn(width, 2, generator=generator, dtype=dtype)

    def call() -> object:
        nonlocal h
        for _ in range(layers):
            weights.normal_(0.0, math.sqrt(C_W / width), generator=generator)
            bias = torch.randn(width, 1, generator=generator, dtype=dtype)
            h = weights @ torch.tanh(h) + math.sqrt(C_b) * bias
        return h

    return call


def _slope(calls: dict[int, Callable[[], object]], units: dict[int, int]) -> float:
    """Return the exponent of the median time a unit; the calls take turns."""
    seconds, _ = interleaved({str(x): call for x, call in calls.items()}, repeats=5)
    y = [seconds[str(x)] / units[x] for x in calls]
    return float(np.polyfit(np.log(list(calls)), np.log(y), 1)[0])


def _row(width: int, layers: int, goal: int) -> dict[str, object]:
    many = 2**18 // width
    calls = {
        "explicit": (_explicit(width, layers, torch.float64), layers),
        "float32": (_explicit(width, layers, torch.float32), layers),
        "single": (_sampler(width, 100), 100),
        "batched": (_sampler(width, 20, many), 20 * many),
    }
    seconds, _ = interleaved({name: call for name, (call, _) in calls.items()}, repeats=3)
    each = {name: 1e3 * seconds[name] / units for name, (_, units) in calls.items()}
    return {
        "width": width,
        "explicit weights, ms a layer": each["explicit"],
        "in float32": each["float32"],
        "sampler, one network": each["single"],
        "one of many": each["batched"],
        "times faster, one network": each["explicit"] / each["single"],
        "one of many networks": each["explicit"] / each["batched"],
        "goal": goal,
    }


def run() -> Comparison:
    """Return seconds beside those of the normals alone; other claims in rows and remarks."""
    comparison = Comparison("Two inputs through networks of width 1000, 4000 layers in all", "one call")
    generator = torch.Generator().manual_seed(0)
    depth = 20
    networks = WORK // 1000 // depth
    normals = torch.empty(2, 2**15, dtype=torch.float64)

    def draw() -> None:
        for _ in range(WORK // 2**15):
            normals.normal_(generator=generator)

    contenders: dict[str, Callable[[], object]] = {"2 normals a neuron, torch float64": draw}
    for activation in ("tanh", "erf", "sin", "relu", "gelu"):
        contenders[f"sample_mlp, {activation}"] = _sampler(1000, depth, networks, activation)
    comparison.seconds, comparison.ratios = interleaved(contenders, repeats=5)
    comparison.rows = [_row(width, *entry) for width, entry in EXPLICIT.items()]
    count = {width: max(1, WORK // 20 // width) for width in WIDTHS}
    by_width = _slope({n: _sampler(n, 20, count[n]) for n in WIDTHS}, count)
    by_depth = _slope({depth: _sampler(1000, depth, 32) for depth in DEPTHS}, dict.fromkeys(DEPTHS, 1))
    comparison.remarks = [
        f"time of a network grows as width^{by_width:.3f} from 1e3 to 1e6 (goal 1.0 +- 0.1), "
        f"and as depth^{by_depth:.3f} from 20 to 500 layers",
        "goal: at most 3 times the first; the sampler's own normals are numpy's SFC64, faster than torch's",
        "one network of width 1000 alone is bound by the 60 or so calls of a layer, not by its neurons",
    ]
    return comparison
