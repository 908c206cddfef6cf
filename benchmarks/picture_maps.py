"""Exact maps of all weights of a picture network, beside differences, vmap(jvp) and one write."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import Comparison, interleaved
from phasescope.synapses import PictureNet, grid
from phasescope.synapses.picture_net import Sweeps

HEIGHT, WIDTH, CHUNK, STEP = 64, 96, 64, 1e-3
WRITE = "one write of the result"
MAPS = "phasescope, all maps"
PLAIN = "central differences, plain forward"
FAST = "central differences, forward of phasescope"
JVP = f"vmap(jvp), {CHUNK} at a time"


def _plain(net: PictureNet, points: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the forward pass as one writes it: all points at once, unit by unit."""
    wiring = net.wiring
    reads = [torch.tensor(row) for row in wiring.sources]
    counts = [len(row) for row in wiring.sources]

    def forward(weights: Tensor) -> Tensor:
        synapses, biases = weights[: wiring.synapses].split(counts), weights[wiring.synapses :]
        values = torch.zeros(wiring.inputs + wiring.units, len(points))
        values[: wiring.inputs] = points.T
        for i in range(wiring.units):
            values[wiring.inputs + i] = torch.tanh(synapses[i] @ values[reads[i]] + biases[i])
        return values[[wiring.inputs + i for i in wiring.outputs]]

    return forward


def _differences(forward: Callable[[Tensor], Tensor], weights: Tensor, out: Tensor) -> Tensor:
    for s in range(len(weights)):
        upper, lower = weights.clone(), weights.clone()
        upper[s] += STEP
        lower[s] -= STEP
        out[s] = (forward(upper) - forward(lower)) / (2 * STEP)
    return out


def run(*, repeats: int = 3) -> Comparison:
    """Return CPU seconds of one thread, float32, and their ratio to the exact maps."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    points = grid(HEIGHT, WIDTH, dtype=torch.float32)
    net = PictureNet(dtype=torch.float32)
    weights = net.weights.detach()
    out = torch.empty(net.wiring.size, 3, len(points))
    exact = Sweeps(PictureNet(), grid(HEIGHT, WIDTH)).maps()
    basis = torch.eye(net.wiring.size)

    def by_jvp() -> Tensor:
        def one(direction: Tensor) -> Tensor:
            def painted(w: Tensor) -> Tensor:
                return torch.func.functional_call(net, {"weights": w}, (points,)).T

            return torch.func.jvp(painted, (weights,), (direction,))[1]

        return torch.func.vmap(one, chunk_size=CHUNK)(basis)

    comparison = Comparison(
        f"All {net.wiring.size} maps of a picture of {HEIGHT} x {WIDTH} pixels, float32", "CPU s"
    )
    short: dict[str, Callable[[], Any]] = {
        MAPS: lambda: Sweeps(net, points).maps(out=out),
        WRITE: lambda: out.fill_(1.0),
        "forward pass": lambda: Sweeps(net, points),
        "forward pass and gradient": lambda: Sweeps(net, points).pulled_back(out[0]),
    }
    plain = _plain(net, points)
    long: dict[str, Callable[[], Any]] = {
        MAPS: short[MAPS],
        PLAIN: lambda: _differences(plain, weights, out),
        FAST: lambda: _differences(lambda w: Sweeps(net, points, w).outputs, weights, out),
        JVP: by_jvp,
    }
    try:
        for calls, count in ((long, repeats), (short, 10 * repeats)):
            seconds, ratios = interleaved(calls, repeats=count, clock=time.process_time)
            comparison.seconds = seconds | comparison.seconds
            comparison.ratios = ratios | comparison.ratios
        for name, call in long.items():
            error = float((call() - exact).abs().max() / exact.abs().max())
            comparison.rows.append({"contender": name, "largest error / largest value": error})
    finally:
        torch.set_num_threads(threads)
    comparison.remarks += [
        "CPU seconds of one thread, weights as drawn; ratios within one round.",
        f"Goals: within 8 x of one write (here {1 / comparison.ratios[WRITE]:.1f}); 80 x faster than "
        f"differences (plain {comparison.ratios[PLAIN]:.0f}, with the fast forward "
        f"{comparison.ratios[FAST]:.0f}); 200 x faster than vmap(jvp) ({comparison.ratios[JVP]:.0f}).",
        "Errors are those against the maps in float64.",
    ]
    return comparison
