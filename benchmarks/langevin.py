"""Local learning coefficient on a quadratic: error per gradient, beside plain Langevin steps.

The peer is written out here as the package devinterp samples: chains from the trained weights, steps without
a Metropolis test, the plain mean of the losses after a burn-in. Equal answers first: the peer's mean, once
what its step and its start do to it is taken off, has to be the known number, and so has ours.
"""

from __future__ import annotations

import math
import time

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.harness import Comparison
from phasescope.theory import quadratic_learning_coefficient
from phasescope.training import langevin

NB, G, SAMPLES = 100.0, 10.0, 100
H = np.concatenate([np.geomspace(0.05, 3.0, 12), np.zeros(28)])
STEPS, BURN, CHAINS, REPEATS = 600, 150, 4, 10


class _Weights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(len(H), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.w


def _loss(w: Tensor, _: Tensor) -> Tensor:
    return 0.5 * (torch.as_tensor(H) * w * w).sum()


def _plain(step: float, seed: int) -> float:
    """Return the mean of ``nb (L - L(w*))`` over chains of plain Langevin steps."""
    generator = torch.Generator().manual_seed(seed)
    rises = []
    for _ in range(CHAINS):
        w = torch.zeros(len(H), dtype=torch.float64, requires_grad=True)
        for t in range(STEPS):
            loss = _loss(w, w)
            if t >= BURN:
                rises.append(NB * loss.item())
            (gradient,) = torch.autograd.grad(loss, w)
            with torch.no_grad():
                noise = torch.randn(w.shape, generator=generator, dtype=torch.float64)
                w += -step / 2 * (NB * gradient + G * w) + math.sqrt(step) * noise
    return float(np.mean(rises))


def run() -> Comparison:
    """Return the errors of both over repetitions, at the same steps, and what they cost."""
    comparison = Comparison("Local learning coefficient of a quadratic", "one measurement")
    one = torch.ones(1, dtype=torch.float64)
    options = {"samples": SAMPLES, "beta": NB / SAMPLES, "localisation": G, "chains": CHAINS, "steps": STEPS}
    exact = quadratic_learning_coefficient(H, NB, G)
    begun = time.process_time()
    found = [langevin(_Weights(), _loss, one, seed=seed, **options) for seed in range(REPEATS)]
    ours = time.process_time() - begun
    begun = time.process_time()
    plain = np.array([_plain(found[0].step, seed) for seed in range(REPEATS)])
    peer = time.process_time() - begun
    values = np.array([each.value.value for each in found])
    at_this_step = quadratic_learning_coefficient(H, NB, G, step=found[0].step, draws=(BURN, STEPS))
    for name, seen, answer in (("phasescope", values, exact), ("plain", plain, at_this_step)):
        if abs(seen.mean() - answer) > 4 * seen.std(ddof=1) / math.sqrt(REPEATS):
            raise AssertionError(f"{name} gives {seen.mean():.4f}, not {answer:.4f}")
    errors = {"plain": plain - exact, "phasescope": values - exact}
    gradients = {"plain": CHAINS * STEPS, "phasescope": found[0].gradients}
    per_gradient = {name: float(np.sqrt(np.mean(each**2) * gradients[name])) for name, each in errors.items()}
    comparison.seconds = {"plain": peer / REPEATS, "phasescope": ours / REPEATS}
    comparison.ratios = {name: value / per_gradient["plain"] for name, value in per_gradient.items()}
    comparison.rows = [
        {
            "method": name,
            "exact": exact,
            "mean": exact + float(each.mean()),
            "root mean square error": float(np.sqrt(np.mean(each**2))),
            "gradients": gradients[name],
            "error times root of gradients": per_gradient[name],
        }
        for name, each in errors.items()
    ]
    comparison.remarks = [
        "Ratios are of the error times the root of the number of gradients; products with the Hessian count "
        "as gradients. Seconds are CPU seconds of one measurement, all chains together.",
        "The peer's error holds its bias: of the step, and of a start at the minimum. Its step is the one "
        "that phasescope has chosen; by itself the peer has no rule for it.",
    ]
    return comparison
