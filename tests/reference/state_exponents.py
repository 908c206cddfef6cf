"""Exponents of recurrent states from torch's own Jacobian of every step: slow and obvious."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def step_jacobians(cell: nn.RNNCellBase, x: Tensor, state: tuple[Tensor, ...]) -> list[Tensor]:
    """Jacobians of the state after each step of x (time, feature) with respect to the state before it."""
    jacobians = []
    for now in x:
        flat = torch.cat(state)

        def step(before: Tensor, now: Tensor = now, count: int = len(state)) -> Tensor:
            parts = before.chunk(count)
            after = cell(now, parts if len(parts) > 1 else parts[0])
            return torch.cat(after) if isinstance(after, tuple) else after

        jacobians.append(torch.autograd.functional.jacobian(step, flat, vectorize=True))
        state = step(flat).detach().chunk(len(state))
    return jacobians


def largest_exponent(jacobians: list[Tensor], discard: int) -> float:
    """Mean growth of the first vector of a QR decomposition, behind the first `discard` steps."""
    q = torch.linalg.qr(
        torch.randn(jacobians[0].shape, generator=torch.Generator().manual_seed(5)).double()
    ).Q
    logs = []
    for jacobian in jacobians:
        q, r = torch.linalg.qr(jacobian @ q)
        logs.append(float(r[0, 0].abs().log()))
    return sum(logs[discard:]) / len(logs[discard:])
