"""Tangents of a training step counted in gradients, and Lyapunov exponents beside pynamicalsys."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from benchmarks.harness import Comparison, interleaved
from phasescope.training import step_map, tangent_exponents, training_map

COUNTS = (1, 4, 16)
GRADIENT = "one gradient: forward and backward of the module"


def _digits() -> tuple[Tensor, Tensor]:
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))[:1400]
    return torch.as_tensor(digits.data[order] / 16), torch.as_tensor(digits.target[order])


def _networks() -> dict[str, nn.Module]:
    return {
        "perceptron 64-64-10": nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10)),
        "convolution, 8 channels": nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)),
            nn.Conv2d(1, 8, 3),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(288, 10),
        ),
    }


def _by_jvp(model: nn.Module, x: Tensor, y: Tensor, w: dict[str, Tensor], v: dict[str, Tensor]) -> Any:
    """Hessian products as torch.func writes them."""

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(torch.func.functional_call(model, parameters, (x,)), y)

    return torch.func.vmap(lambda row: torch.func.jvp(torch.func.grad(loss), (w,), (row,))[1])(v)


def _steps(comparison: Comparison, name: str, model: nn.Module, repeats: int) -> None:
    x, y = _digits()
    model = model.double()
    made = training_map(model, F.cross_entropy, (x, y), 0.1)
    w = {key: each.detach() for key, each in model.named_parameters()}

    def gradient() -> None:
        model.zero_grad()
        F.cross_entropy(model(x), y).backward()

    calls: dict[str, Callable[[], Any]] = {GRADIENT: gradient}
    for k in COUNTS:
        v = torch.randn(k, made.size, dtype=torch.float64)
        split = {key: v[:, place].view(k, *w[key].shape) for key, place in made.slices.items()}
        calls[f"phasescope, k = {k}"] = partial(made.tangent, made.initial, v, 0)
        calls[f"vmap(jvp(grad)), k = {k}"] = partial(_by_jvp, model, x, y, w, split)
    seconds, ratios = interleaved(calls, repeats=repeats, clock=time.process_time)
    comparison.seconds |= {f"{name}: {call}": value for call, value in seconds.items()}
    comparison.ratios |= {f"{name}: {call}": value for call, value in ratios.items()}
    for k in COUNTS:
        comparison.rows.append(
            {
                "network": name,
                "weights": made.size,
                "k": k,
                "gradients, phasescope": ratios[f"phasescope, k = {k}"],
                "gradients, vmap(jvp(grad))": ratios[f"vmap(jvp(grad)), k = {k}"],
                "goal: 2 + 1.5 k": 2 + 1.5 * k,
            }
        )


def _henon(x: Tensor, t: int) -> Tensor:
    return torch.stack([1 - 1.4 * x[0] ** 2 + x[1], 0.3 * x[0]])


def _known_map(comparison: Comparison, repeats: int) -> None:
    """Hénon's map, first exponent 0.41922: one long run of a compiled peer, a batch of short ones here."""
    x = 0.1 + 0.02 * torch.rand(500, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    made = step_map(_henon, torch.tensor([0.1, 0.1], dtype=torch.float64))
    found: dict[str, float] = {}

    def ours() -> None:
        runs = tangent_exponents(made, steps=220, k=2, x=x)
        found["phasescope, 500 starts"] = float(np.mean(runs.local[:, 20:, 0]))

    calls: dict[str, Callable[[], Any]] = {"phasescope, 500 starts": ours}
    try:
        system = importlib.import_module("pynamicalsys").DiscreteDynamicalSystem(model="henon map")
    except ImportError:
        comparison.remarks.append("pynamicalsys is not installed.")
    else:

        def peer() -> None:
            spectrum = system.lyapunov([0.1, 0.1], 100_000, parameters=[1.4, 0.3], transient_time=500)
            found["pynamicalsys, one start"] = float(np.max(spectrum))

        calls["pynamicalsys, one start"] = peer
    seconds, ratios = interleaved(calls, repeats=repeats, clock=time.process_time)
    comparison.seconds |= {f"Hénon, 100000 steps: {name}": value for name, value in seconds.items()}
    comparison.ratios |= {f"Hénon, 100000 steps: {name}": value for name, value in ratios.items()}
    comparison.remarks += [
        f"Hénon, {name}: first exponent {value:.5f} (0.41922)" for name, value in found.items()
    ]


def run(*, repeats: int = 7) -> Comparison:
    torch.set_num_threads(1)
    comparison = Comparison("k tangents of a training step, counted in gradients; 1400 digits", "s")
    for name, model in _networks().items():
        _steps(comparison, name, model, repeats)
    _known_map(comparison, max(1, repeats // 3))
    comparison.remarks += [
        "CPU seconds of one thread. Ratios of a network count gradients: forward and backward of its module.",
        "pynamicalsys compiles maps of few variables; it takes no module, no optimiser, no batch of starts.",
    ]
    return comparison
