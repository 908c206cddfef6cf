"""Random convolutional networks: many at once with their difference, beside a loop of torch's conv calls."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.harness import Comparison, interleaved
from phasescope.signal import sample_cnn

C_W, C_b, KERNEL, CHANNELS = 1.5**2, 0.09, 0.8, 10
# Lattice, networks, layers.
CASES = (((64,), 32, 60), ((1024,), 8, 30), ((16, 16), 16, 30), ((64, 64), 2, 20))


def _loop(size: tuple[int, ...], networks: int, depth: int, dtype: torch.dtype) -> np.ndarray:
    """Distances in the last layer, one network and one layer at a time, as a script would do it."""
    axes = len(size)
    convolve = (F.conv1d, F.conv2d)[axes - 1]
    found = []
    for network in range(networks):
        generator = torch.Generator().manual_seed(network)
        h = math.sqrt(KERNEL) * torch.randn(2, CHANNELS, *size, generator=generator, dtype=dtype)
        for _ in range(depth - 1):
            weight = torch.randn(CHANNELS, CHANNELS, *[3] * axes, generator=generator, dtype=dtype)
            weight *= math.sqrt(C_W / (CHANNELS * 3**axes))
            bias = math.sqrt(C_b) * torch.randn(CHANNELS, generator=generator, dtype=dtype)
            h = convolve(F.pad(torch.tanh(h), [1] * (2 * axes), mode="circular"), weight, bias)
        found.append(float((1 - F.cosine_similarity(h[0], h[1], dim=0)).mean()))
    return np.array(found)


def _sampler(size: tuple[int, ...], networks: int, depth: int, weights: str = "shared") -> np.ndarray:
    lattice = size[0] if len(size) == 1 else size
    sample = sample_cnn(
        "tanh", CHANNELS, lattice, depth, C_W, C_b, networks=networks, kernel=KERNEL, layers=[depth],
        weights=weights,
    )  # fmt: skip
    return np.asarray(sample["log_distance"])


def run() -> Comparison:
    """Return times of all cases together, and nanoseconds of each."""
    comparison = Comparison(
        "Convolutional networks of 10 channels, two inputs", "four lattices, 2 to 32 networks each"
    )
    for size, networks, depth in CASES:
        values = math.prod(size) * CHANNELS * networks * depth
        seconds, ratios = interleaved(
            {
                "phasescope": lambda s=size, n=networks, d=depth: _sampler(s, n, d),
                "loop": lambda s=size, n=networks, d=depth: _loop(s, n, d, torch.float64),
            },
            repeats=3,
        )
        comparison.rows.append(
            {
                "lattice": " x ".join(map(str, size)),
                "networks": networks,
                "layers": depth,
                "ns a channel, site and layer: phasescope": seconds["phasescope"] / values * 1e9,
                "loop": seconds["loop"] / values * 1e9,
                "ratio": ratios["loop"],
            }
        )

    def all_cases(run_one: object) -> list[np.ndarray]:
        return [run_one(*case) for case in CASES]

    comparison.seconds, comparison.ratios = interleaved(
        {
            "phasescope, shared weights": lambda: all_cases(_sampler),
            "loop of conv calls, float64": lambda: all_cases(lambda *case: _loop(*case, torch.float64)),
            "loop of conv calls, float32": lambda: all_cases(lambda *case: _loop(*case, torch.float32)),
            "phasescope, independent weights at every site": lambda: all_cases(
                lambda *case: _sampler(*case, "local")
            ),
        },
        repeats=3,
    )
    deep = sample_cnn("tanh", CHANNELS, 16, 400, 1.2**2, C_b, networks=2, kernel=KERNEL, layers=[400])
    comparison.remarks = [
        "Both draw every weight. The loop carries two inputs, phasescope one and the difference to the "
        "other, which costs more exponentials and keeps every digit: in the ordered phase, after 400 layers, "
        f"ln(1 - c) = {float(deep['log_distance'].mean()):.0f}, where the loop has rounding (below -36).",
        "Explicit weights of their own for every site would take sites x channels^2 x kernel numbers a "
        "layer; the sampler draws two for each channel and site.",
    ]
    return comparison
