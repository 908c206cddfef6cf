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


def _loop(name: str, points: np.ndarray, weights: np.ndarray) -> list[float]:
    function = FUNCTIONS[name]
    return [
        sum(w * function(math.sqrt(K) * z) ** 2 for z, w in zip(points, weights, strict=True))
        for K in KERNELS
    ]


def _hermite(name: str) -> list[float]:
    points, weights = np.polynomial.hermite_e.hermegauss(100)
    return _loop(name, points, weights / math.sqrt(2 * math.pi))


def _trapezoid(name: str) -> list[float]:
    points = np.linspace(-14, 14, 4001)
    return _loop(
        name, points, np.exp(-points * points / 2) * (points[1] - points[0]) / math.sqrt(2 * math.pi)
    )


def _adaptive(field: MeanField) -> list[float]:
    return [float(field.kernel_map(K)) for K in KERNELS]


def run() -> Comparison:
    """Return times and the largest relative errors over kernels from 1e-8 to 1e8."""
    # Spelled as a user's own callables, so that kinks have to be found and no closed form is used.
    own = {"relu": lambda z: torch.clamp(z, min=0.0), "erf": lambda z: torch.erf(z)}
    fields = {name: MeanField(function, 1.0, 0.0) for name, function in own.items()}
    comparison = Comparison("Gaussian expectations, 9 kernels from 1e-8 to 1e8", "two activations")
    for name, exact in EXACT.items():
        truth = np.array([exact(K) for K in KERNELS])
        row: dict[str, object] = {"activation": name}
        for label, values in (
            ("phasescope", _adaptive(fields[name])),
            ("Gauss-Hermite, 100 nodes", _hermite(name)),
            ("trapezoid, 4001 points", _trapezoid(name)),
        ):
            row[f"largest relative error, {label}"] = float(np.max(np.abs(np.array(values) / truth - 1)))
        comparison.rows.append(row)
    comparison.seconds, comparison.ratios = interleaved(
        {
            "phasescope, adaptive panels": lambda: [_adaptive(field) for field in fields.values()],
            "plain loop, Gauss-Hermite, 100 nodes": lambda: [_hermite(name) for name in EXACT],
            "plain loop, trapezoid, 4001 points": lambda: [_trapezoid(name) for name in EXACT],
        },
        repeats=5,
    )
    comparison.remarks = [
        "phasescope is given plain callables: it has found the kink itself and uses no closed form.",
        "A fixed rule misses an activation of scale 1 under a wide Gaussian; the panels follow it.",
    ]
    return comparison
