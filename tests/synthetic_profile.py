"""Datasets of the profile's schema with chosen numbers, for what reads them: findings, figures, tables."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr

from phasescope.signal.verdict import verdict

LONG_NAMES = {
    "kernel": "mean square of the row's output",
    "correlation": "correlation between outputs of two inputs",
    "distance": "one minus the correlation",
    "chi_parallel": "growth of the signal's size per layer",
    "chi_perpendicular": "growth of a small difference per layer",
    "gradient": "second moment of the gradient relative to the output",
    "tangent": "growth of a small difference from the input on",
    "share": "share of the branch in the sum",
    "parameters": "number of parameters",
    "dead": "fraction of dead units",
    "saturated": "fraction of saturated units",
    "nonfinite": "fraction of non-finite units",
    "kernel_theory": "kernel at infinite width",
    "correlation_theory": "correlation at infinite width",
    "gradient_theory": "gradient at infinite width",
}


_ERRORS = (
    "kernel",
    "correlation",
    "distance",
    "chi_parallel",
    "chi_perpendicular",
    "gradient",
    "tangent",
)


def synthetic_profile(
    depth: int,
    *,
    chi: float = 1.0,
    K: float = 1.0,
    kernel_growth: float = 1.0,
    theory: bool = True,
    changes: dict[str, np.ndarray] | None = None,
    **attrs: Any,
) -> xr.Dataset:
    """Return a profile of `depth` weight layers with an activation after each but the last."""
    roles = ["weight", "activation"] * (depth - 1) + ["weight"]
    rows = len(roles)
    levels = np.array([i // 2 + 1 for i in range(rows)], dtype=np.int64)
    weight = np.array([role == "weight" for role in roles])
    chi_step = np.where(weight & (levels > 1), 1.0, np.nan)
    coords = {
        "layer": [f"{i}" for i in range(rows)],
        "kind": ["Linear" if role == "weight" else "Tanh" for role in roles],
        "role": roles,
        "place": ["stream"] * rows,
        "chain": np.zeros(rows, dtype=np.int64),
        "depth": levels,
        "block": [""] * rows,
        "skipped": [""] * rows,
    }
    values = {
        "kernel": K * kernel_growth ** (levels - 1.0),
        "distance": np.minimum(0.8 * chi ** (levels - 1.0), 1.0),
        "chi_parallel": kernel_growth * chi_step,
        "chi_perpendicular": chi * chi_step,
        "gradient": chi ** (depth - levels.astype(float)),
        "tangent": chi ** (levels - 1.0),
        "parameters": np.where(weight, 90, 0),
    }
    return _dataset(coords, values, changes or {}, theory=theory, attrs=attrs)


TRANSFORMER = (
    (".attn", (("ln_1", "LayerNorm"), ("attn.c_attn", "Conv1D"), ("attn.c_proj", "Conv1D"))),
    ("", (("ln_2", "LayerNorm"), ("mlp.c_fc", "Conv1D"), ("mlp.act", "GELU"), ("mlp.c_proj", "Conv1D"))),
)
RESIDUAL = (("", (("linear1", "Linear"), ("relu", "ReLU"), ("linear2", "Linear"))),)
_ROLES = {"LayerNorm": "norm", "GELU": "activation", "ReLU": "activation"}


def synthetic_blocks(
    blocks: int,
    *,
    branches: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = TRANSFORMER,
    name: str = "h",
    chi: float = 1.05,
    share: float = 0.05,
    changes: dict[str, np.ndarray] | None = None,
    **attrs: Any,
) -> xr.Dataset:
    """Return a profile of residual blocks between an embedding and a norm with a read-out."""
    rows = [("wte", "Embedding", "weight", "stream", "")]
    for i in range(blocks):
        for part, layers in branches:
            end = f"{name}.{i}{part} (sum)"
            rows += [
                (f"{name}.{i}.{layer}", kind, _ROLES.get(kind, "weight"), "branch", end)
                for layer, kind in layers
            ]
            rows.append((end, "sum", "sum", "stream", ""))
    rows += [("ln_f", "LayerNorm", "norm", "stream", ""), ("lm_head", "Linear", "weight", "stream", "")]
    layer, kind, role, place, block = (list(column) for column in zip(*rows, strict=True))
    stream = np.array([p == "stream" for p in place])
    step = stream & np.array([r in ("weight", "sum") for r in role])
    depth = np.cumsum(step)
    last = int(depth[-1])
    grown = np.where(step & (depth > 1), chi, np.nan)
    coords = {
        "layer": layer,
        "kind": kind,
        "role": role,
        "place": place,
        "chain": np.zeros(len(rows), dtype=np.int64),
        "depth": depth.astype(np.int64),
        "block": block,
        "skipped": [""] * len(rows),
    }
    sums = np.array([r == "sum" for r in role])
    values = {
        "kernel": np.where(stream, chi ** (depth - 1.0), 0.2),
        "distance": np.where(stream, 0.8, 0.7),
        "chi_parallel": grown,
        "chi_perpendicular": grown,
        "gradient": chi ** (last - depth.astype(float)),
        "tangent": np.where(stream, chi ** (depth - 1.0), np.nan),
        "share": np.where(sums, share, np.nan),
        "parameters": np.array([100 if r == "weight" else 20 if r == "norm" else 0 for r in role]),
    }
    return _dataset(coords, values, changes or {}, theory=False, attrs=attrs)


def _dataset(
    coords: dict[str, Any],
    values: dict[str, np.ndarray],
    changes: dict[str, np.ndarray],
    *,
    theory: bool,
    attrs: dict[str, Any],
) -> xr.Dataset:
    rows = len(coords["layer"])
    values["correlation"] = 1 - values["distance"]
    values |= {name: np.zeros(rows) for name in ("dead", "saturated", "nonfinite")}
    values = {"share": np.full(rows, np.nan)} | values
    for name in ("kernel", "correlation", "gradient"):
        values[f"{name}_theory"] = values[name] if theory else np.full(rows, np.nan)
    values |= {f"{name}_error": 0.05 * np.abs(values[name]) for name in _ERRORS} | changes
    data = {
        name: ("layer", array, {"units": "1", "long_name": LONG_NAMES.get(name, f"error: {name}")})
        for name, array in values.items()
    }
    measured = np.array(coords["skipped"]) == ""
    parameters = int(values["parameters"].sum())
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
        "coverage": json.dumps(
            {
                "rows": int(measured.sum()),
                "of": rows,
                "parameters": int(values["parameters"][measured].sum()),
                "of_parameters": parameters,
            }
        ),
        "chains": json.dumps([{"input": "input 0", "steps": int(max(coords["depth"])), "verdict": {}}]),
    }
    dataset = xr.Dataset(
        data,
        {name: ("layer", each) if name != "layer" else each for name, each in coords.items()},
        described,
    )
    return dataset.assign_attrs({"phase": verdict(dataset).phase} | attrs)
