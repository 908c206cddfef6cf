"""Spectra of all depths of a network: phasescope beside torch's Jacobians and the rank of J^T J by depth.

The scripts published with arXiv:2206.06072 take, depth by depth, the rank in float32 of J^T J. They call a
function that torch has removed and fit one architecture each; what they compute is written out here.
"""

from __future__ import annotations

import math
import time

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.harness import Comparison, interleaved
from phasescope.signal import spectra

WIDTH, DEPTH, INPUTS = 64, 20, 8


def _network() -> tuple[nn.Sequential, Tensor]:
    generator = torch.Generator().manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(DEPTH):
        layer = nn.Linear(WIDTH, WIDTH)
        with torch.no_grad():
            layer.weight.normal_(0, math.sqrt(2 / WIDTH), generator=generator)
            layer.bias.zero_()
        layers.append(nn.Sequential(layer, nn.ReLU()))
    return nn.Sequential(*layers).double(), torch.randn(
        INPUTS, WIDTH, generator=generator, dtype=torch.float64
    )


def _jacobians(model: nn.Sequential, x: Tensor) -> np.ndarray:
    """Return participation by depth, one Jacobian of torch for each depth and input."""
    found = np.zeros((DEPTH, len(x)))
    for depth in range(DEPTH):
        for number, one in enumerate(x):
            J = torch.autograd.functional.jacobian(model[: depth + 1], one)
            squares = torch.linalg.svdvals(J).square()
            found[depth, number] = squares.sum() ** 2 / squares.square().sum()
    return found.mean(axis=1)


def _rank_script(model: nn.Sequential, x: Tensor) -> np.ndarray:
    """Return the rank of J^T J by depth, as the scripts take it: row by row of J, then a matrix rank."""
    found = np.zeros((DEPTH, len(x)))
    for depth in range(DEPTH):
        part = model[: depth + 1]
        for number, one in enumerate(x):
            entering = one.clone().requires_grad_(True)
            output = part(entering)
            rows = [
                torch.autograd.grad(output[unit], entering, retain_graph=True)[0] for unit in range(WIDTH)
            ]
            J = torch.stack(rows).double()
            # Their float32, as a threshold: singular values of J^T J above n eps of the largest.
            found[depth, number] = torch.linalg.matrix_rank(J.T @ J, rtol=WIDTH * 1.19e-7, hermitian=True)
    return found.mean(axis=1)


def run() -> Comparison:
    """Return the times for all depths, after the answers were found equal."""
    model, x = _network()

    def ours() -> tuple[np.ndarray, np.ndarray]:
        data = spectra(model, x, samples=INPUTS).dataset
        rows = data.isel(layer=np.flatnonzero([name.endswith(".1") for name in data["layer"].values]))
        return rows["participation"].values, rows["rank_gram32"].values

    participation, rank = ours()
    differences = [
        float(np.abs(participation - _jacobians(model, x)).max()),
        float(np.abs(rank - _rank_script(model, x)).max()),
    ]
    assert differences[0] < 1e-9, differences
    assert differences[1] == 0, differences
    comparison = Comparison(
        "Singular values of the derivatives of all depths",
        f"{DEPTH} ReLU layers of {WIDTH} units, {INPUTS} inputs",
    )
    comparison.seconds, comparison.ratios = interleaved(
        {
            "phasescope": ours,
            "torch.autograd.functional.jacobian": lambda: _jacobians(model, x),
            "rank of J^T J, row by row": lambda: _rank_script(model, x),
        },
        repeats=3,
        clock=time.process_time,
    )
    comparison.rows = [
        {
            "depth": depth + 1,
            "participation": float(participation[depth]),
            "rank of J^T J": float(rank[depth]),
        }
        for depth in range(0, DEPTH, 5)
    ]
    comparison.remarks = [
        f"Equal answers first: participation differs by {differences[0]:.1g} at most, the ranks not at all.",
        "The two others start anew at each depth; phasescope pushes all directions of the input through the "
        "network once and sees every depth on the way. Its time includes finding the rows, four thresholds, "
        "bits, errors and the dimension of the features; those of the others hold one number each.",
        "CPU seconds of one thread.",
    ]
    return comparison
