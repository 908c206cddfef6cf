"""The tangent kernel by whole Jacobians of single inputs: slow, and as plain as its definition."""

import torch
from torch import nn


def jacobian(module: nn.Module, parameters: dict, x: torch.Tensor) -> torch.Tensor:
    """The derivative of every output of every input by every parameter, shape (inputs, outputs, P)."""
    rows = []
    for one in x:
        parts = torch.func.jacrev(
            lambda p, one=one: torch.func.functional_call(module, p, (one[None],)).flatten()
        )(parameters)
        rows.append(torch.cat([part.flatten(1) for part in parts.values()], 1))
    return torch.stack(rows).detach()


def kernel(module: nn.Module, parameters: dict, x: torch.Tensor) -> torch.Tensor:
    """J J^T, shape (inputs, outputs, inputs, outputs)."""
    rows = jacobian(module, parameters, x)
    return torch.einsum("iap,jbp->iajb", rows, rows)


def drift(module: nn.Module, before: dict, after: dict, x: torch.Tensor) -> float:
    """|Theta_T - Theta_0| / |Theta_0|."""
    first, last = kernel(module, before, x), kernel(module, after, x)
    return float((last - first).norm() / first.norm())


def gap(module: nn.Module, before: dict, after: dict, x: torch.Tensor) -> float:
    """|f_T - f_0 - J_0 (theta_T - theta_0)| / |f_T - f_0|."""
    step = torch.cat([(after[name] - before[name]).flatten() for name in before])
    f = [torch.func.functional_call(module, side, (x,)).flatten(1) for side in (before, after)]
    change = f[1] - f[0]
    return float((change - jacobian(module, before, x) @ step).norm() / change.norm())
