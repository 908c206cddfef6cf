"""The critical line as the parts of the study need it: as arrays, with NaN where there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from phasescope.errors import NoCriticalPointError
from phasescope.papers.absorbing.config import line_point, resolved
from phasescope.studies.contract import Variable
from phasescope.studies.drawing import short

if TYPE_CHECKING:
    import xarray as xr

    from phasescope.theory import CriticalLinePoint

QUANTITIES = ("sigma_w", "K", "chi_q", "kappa", "gamma", "k3", "v", "d0")
LINE = Variable(("quantity",), "point of the critical line: " + ", ".join(QUANTITIES))


def point_or_none(spec: str, sigma_b: float) -> CriticalLinePoint | None:
    """Return the critical line's point of an activation, or None where it has none at this bias."""
    try:
        return line_point(spec, sigma_b)
    except NoCriticalPointError:
        return None


def values(point: CriticalLinePoint | None) -> np.ndarray:
    """Return the numbers named in `QUANTITIES`; NaN where they do not exist."""
    if point is None:
        return np.full(len(QUANTITIES), math.nan)
    return np.array([getattr(point, name) for name in QUANTITIES], dtype=np.float64)


def named(row: np.ndarray) -> dict[str, float]:
    """Return the numbers of :func:`values` by name.

    Shapes: `row` (quantities,).
    """
    return dict(zip(QUANTITIES, map(float, row), strict=True))


def missing(line: Mapping[str, float], spec: str, sigma_b: float, *, curved: bool = False) -> str:
    """Return why an activation cannot be followed, or an empty string."""
    name = short(spec)
    if not math.isfinite(line["sigma_w"]):
        return f"{name} has no critical line at sigma_b = {sigma_b:g} (theory.critical_line says why)"
    if curved and not math.isfinite(line["kappa"]):
        return f"{name} has no kappa: its slope jumps, so 1 - c enters as (1 - c)^(3/2)"
    if curved and not math.isfinite(line["k3"]):
        return f"{name} has no k3: its second derivative jumps, so the logarithmic correction is another"
    return ""


def is_odd(spec: str) -> bool:
    """Return whether the activation is an odd function."""
    function = resolved(spec)
    z = torch.linspace(0, 8, 401, dtype=torch.float64)
    return bool((function(z) + function(-z)).abs().max() < 1e-12)


def of_kind(data: xr.Dataset, kind: str, **parameters: Any) -> xr.Dataset:
    """Return the tasks of one kind, and of given values of their parameters."""
    chosen = data["kind"].values.astype(str) == kind
    for name, value in parameters.items():
        column = data[name].values
        chosen &= (column.astype(str) == value) if isinstance(value, str) else (column == value)
    return data.isel(task=np.flatnonzero(chosen))
