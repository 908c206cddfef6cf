"""Drift of the tangent kernel: projections and blocks of rows beside whole Jacobians of single inputs."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.harness import Comparison, interleaved
from phasescope.recording.memory import peak_bytes
from phasescope.training import lazy_or_rich

INPUTS, CLASSES = 48, 40
SMALL = 12  # inputs of the kernel that both take whole


def _networks() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    before = nn.Sequential(
        nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 128), nn.Tanh(), nn.Linear(128, CLASSES)
    )
    after = copy.deepcopy(before)
    with torch.no_grad():
        for p in after.parameters():
            p += 0.3 * p.std() * torch.randn(p.shape)
    return before, after


def full_drift(before: nn.Module, after: nn.Module, x: Tensor) -> float:
    """Per-sample Jacobians of torch.func at both checkpoints, then all of both kernels."""

    def kernel(module: nn.Module) -> Tensor:
        parameters = {name: p.detach() for name, p in module.named_parameters()}

        def one(p: Any, sample: Tensor) -> Tensor:
            return torch.func.functional_call(module, p, (sample[None],))[0]

        parts = torch.func.vmap(torch.func.jacrev(one), (None, 0))(parameters, x)
        rows = torch.cat([part.flatten(2) for part in parts.values()], 2)
        return torch.einsum("iap,jbp->iajb", rows, rows)

    first = kernel(before)
    return float((kernel(after) - first).norm() / first.norm())


def run() -> Comparison:
    """Return time and peak memory of both, after equal answers."""
    before, after = _networks()
    x = torch.randn(INPUTS, 64, generator=torch.Generator().manual_seed(1))
    few = x[:SMALL]
    exact, ours = full_drift(before, after, few), lazy_or_rich(before, after, few)
    assert ours.exact
    assert abs(ours.drift.value - exact) < 1e-4 * exact, (ours.drift, exact)
    whole, projected = full_drift(before, after, x), lazy_or_rich(before, after, x)
    assert not projected.exact
    assert abs(projected.drift.value - whole) < 4 * projected.drift.error, (projected.drift, whole)

    contenders: dict[str, Callable[[], Any]] = {
        "torch.func, whole kernel": lambda: full_drift(before, after, x),
        "phasescope, projections": lambda: lazy_or_rich(before, after, x),
    }
    title = f"Drift of a tangent kernel, {INPUTS} inputs of {CLASSES} outputs"
    comparison = Comparison(title, "two checkpoints")
    comparison.seconds, comparison.ratios = interleaved(contenders, repeats=5, clock=time.process_time)
    peaks = {name: peak_bytes(after, work) for name, work in contenders.items()}
    comparison.rows = [{"method": name, "peak MB": peak / 1e6} for name, peak in peaks.items()]
    reference, own = peaks.values()
    comparison.remarks = [
        f"Equal answers first: {SMALL} inputs, both kernels whole, {ours.drift.value:.6f} and {exact:.6f}; "
        f"{INPUTS} inputs, {projected.drift} by projections, {whole:.4f} whole.",
        f"Peak memory: {own / reference:.2f} of that of whole Jacobians.",
        "phasescope's time includes the gap, the rows of all layers and five draws of random directions.",
    ]
    return comparison
