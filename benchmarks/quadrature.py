"""Gaussian expectations: adaptive panels beside the plain Gauss-Hermite loop that most scripts use."""

from __future__ import annotations

import math

import numpy as np
import torch

from benchmarks.harness import Comparison, interleaved
from phasescope.theory import MeanField

EXACT = {
    # <relu^2> = K/2; <tanh'^2> has no closed form, so erf stands in for the smooth case.
    "relu": lambda K: K / 2,
    "erf": lambda K: 2 / math.pi * math.asin(2 * K / (1 + 2 * K)),
}
FUNCTIONS = {"relu": lambda z: max(z, 0.0), "erf": math.erf}
KERNELS = tuple(10.0**e for e in range(-8, 9, 2))


def _loop(name: str, nodes: int) -> list[float]:
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    function = FUNCTIONS[name]
    norm = math.sqrt(2 * math.pi)
    return [
        sum(w * function(math.sqrt(K) * z) ** 2 for z, w in zip(points, weights, strict=True)) / norm
        for K in KERNELS
    ]


def _adaptive(name: str) -> list[float]:
    # Spelled as a user's own callable, so that no closed form is used.
    own = {"relu": lambda z: torch.clamp(z, min=0.0), "erf": lambda z: torch.erf(z)}[name]
    field = MeanField(own, 1.0, 0.0)
    return [float(field.kernel_map(K)) for K in KERNELS]


def run() -> Comparison:
    """Return times and the largest relative errors over kernels from 1e-8 to 1e8."""
    comparison = Comparison("Gaussian expectations, 9 kernels from 1e-8 to 1e8", "two activations")
    for name, exact in EXACT.items():
        truth = np.array([exact(K) for K in KERNELS])
        row: dict[str, object] = {"activation": name}
        for label, values in (
            ("phasescope", _adaptive(name)),
            ("Gauss-Hermite, 100 nodes", _loop(name, 100)),
        ):
            row[f"largest relative error, {label}"] = float(np.max(np.abs(np.array(values) / truth - 1)))
        comparison.rows.append(row)
    comparison.seconds, comparison.ratios = interleaved(
        {
            "plain loop, 100 Gauss-Hermite nodes": lambda: [_loop(name, 100) for name in EXACT],
            "phasescope, adaptive panels": lambda: [_adaptive(name) for name in EXACT],
        },
        repeats=5,
    )
    comparison.remarks = [
        "phasescope is given plain callables here: it finds the kink itself and uses no closed form."
    ]
    return comparison
