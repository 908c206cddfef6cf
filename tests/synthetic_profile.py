"""Datasets of the profile's schema with chosen numbers, for what reads them: findings, figures, tables."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr

LONG_NAMES = {
    "kernel": "mean square of the row's output",
    "correlation": "correlation between outputs of two inputs",
    "distance": "one minus the correlation",
    "chi_parallel": "growth of the signal's size per layer",
    "chi_perpendicular": "growth of a small difference per layer",
    "gradient": "second moment of the gradient relative to the output",
    "dead": "fraction of dead units",
    "saturated": "fraction of saturated units",
    "nonfinite": "fraction of non-finite units",
    "kernel_theory": "kernel at infinite width",
    "correlation_theory": "correlation at infinite width",
    "gradient_theory": "gradient at infinite width",
}


def synthetic_profile(
    depth: int,
    *,
    chi: float = 1.0,
    K: float = 1.0,
    kernel_growth: float = 1.0,
    phase: str = "critical",
    theory: bool = True,
    changes: dict[str, np.ndarray] | None = None,
    **attrs: Any,
) -> xr.Dataset:
    """Return a profile of `depth` weight layers with an activation after each but the last."""
    roles = ["weight", "activation"] * (depth - 1) + ["weight"]
    rows = len(roles)
    layer = [f"{2 * (i // 2)}" if role == "weight" else f"{i}" for i, role in enumerate(roles)]
    levels = np.array([i // 2 + 1 for i in range(rows)], dtype=np.int64)
    K_l = K * kernel_growth ** (levels - 1.0)
    rho = np.minimum(0.8 * chi ** (levels - 1.0), 1.0)
    values: dict[str, np.ndarray] = {
        "kernel": K_l,
        "correlation": 1 - rho,
        "distance": rho,
        "chi_parallel": np.full(rows, kernel_growth),
        "chi_perpendicular": np.full(rows, chi),
        "gradient": chi ** (depth - levels.astype(float)),
        "dead": np.zeros(rows),
        "saturated": np.zeros(rows),
        "nonfinite": np.zeros(rows),
    }
    errors = {f"{name}_error": 0.05 * np.abs(values[name]) for name in list(values)[:6]}
    for name in ("kernel", "correlation", "gradient"):
        values[f"{name}_theory"] = values[name] if theory else np.full(rows, np.nan)
    values |= errors
    values |= changes or {}
    data = {
        name: ("layer", array, {"units": "1", "long_name": LONG_NAMES.get(name, f"error: {name}")})
        for name, array in values.items()
    }
    coords = {
        "layer": layer,
        "kind": ("layer", ["Linear" if role == "weight" else "Tanh" for role in roles]),
        "role": ("layer", roles),
        "depth": ("layer", levels),
        "skipped": ("layer", [""] * rows),
    }
    described = {
        "instrument": "propagation",
        "model": "Sequential",
        "parameters": 1000,
        "inputs": 16,
        "seed": 0,
        "dtype": "float32",
        "device": "cpu",
        "versions": json.dumps({"torch": "2", "phasescope": "0"}),
        "mode": "train",
        "notes": "[]",
        "theory": "{}",
        "citations": "poole2016 schoenholz2017",
        "phase": phase,
    }
    return xr.Dataset(data, coords, described | attrs)
