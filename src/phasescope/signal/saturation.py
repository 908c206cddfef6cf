"""Where a bounded activation has gone flat."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

_FAR, _FARTHER = 100.0, 1000.0


def limits(module: nn.Module) -> tuple[float, float, float] | None:
    """Return the values of an activation at minus and plus infinity and its range, or None.

    None where the activation is unbounded on a side, where it does not settle (sine), or where it takes no
    plain tensor. A limit that the activation already takes at 0 (the off state of a rectifier) is ``nan``:
    being off is not being saturated.
    """
    parameter = next(module.parameters(), None)
    device = parameter.device if parameter is not None else None
    dtype = parameter.dtype if parameter is not None else torch.float32
    grid = torch.cat(
        [torch.linspace(-10.0, 10.0, 401), torch.tensor([-_FARTHER, -_FAR, 0.0, _FAR, _FARTHER])]
    )
    try:
        with torch.no_grad():
            values = module(grid.to(device=device, dtype=dtype)).double()
    except Exception:
        return None
    lower, low, at_zero, high, upper = values[401:].tolist()
    span = float(values.max() - values.min())
    settled = abs(lower - low) < 0.01 * span and abs(upper - high) < 0.01 * span
    if not (settled and np.isfinite(span)) or span == 0:
        return None
    lower, upper = (end if abs(end - at_zero) > 0.01 * span else float("nan") for end in (lower, upper))
    return lower, upper, span


def saturated(z: Tensor, bounds: tuple[float, float, float] | None) -> np.ndarray:
    """Return the fraction of units within 1 % of the range from a limit, for each sample.

    Shapes: `z` (samples, units).
    """
    if bounds is None:
        return np.full(len(z), np.nan)
    lower, upper, span = bounds
    flat = ((z - lower).abs() < 0.01 * span) | ((z - upper).abs() < 0.01 * span)
    return np.asarray(flat.double().mean(dim=1).cpu())
