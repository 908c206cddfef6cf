"""The dataset of the noise of activations, from its rows."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

import phasescope
from phasescope.estimate import Estimate
from phasescope.instruments.activation_noise_rows import MOST_UNITS, Row
from phasescope.instruments.activation_noise_use import beta_of_used_half, rank_correlation

if TYPE_CHECKING:
    import xarray as xr

Array = NDArray[np.float64]
_OF_SEQUENCES = "one standard error, sequences left out in turn, of: "
_NAMES = {
    "units": "number of units",
    "idle": "fraction of units that move less than 5 % of the most active one",
    "quantised": "fraction of units that move no more than the rounding of the number format",
    "nonfinite": "fraction of units that are NaN or infinite",
    "determined": "fraction of the series that have an exponent",
    "beta": "exponent beta of the spectrum f^-beta, mean over units",
    "spread": "standard deviation of beta over all units and sequences",
    "estimator": "standard deviation of beta that estimator noise alone makes",
    "between_units": "standard deviation of the units' own beta",
    "between_sequences": "standard deviation of a unit's beta over sequences beyond estimator noise",
    "curvature": "mean coefficient of (ln n)^2 in ln F(n)",
    "crossover": "fraction of the exponents flagged as a crossover; 1 % of straight curves are",
    "tested": "number of series tested for short memory",
    "beat_short": "number of tested series that exclude short memory",
    "beat_scaling": "number of tested series that exclude scaling noise",
    "memory": "median memory of the autoregressive processes that imitate the tested series",
    "beta_used": "mean beta of the more used half of the units",
    "rank_correlation": "Spearman's correlation of a unit's beta and its temporal deviation",
    "participation": "number of units that share the movement (participation ratio)",
    "dimension": "number of principal components that share the movement",
    "effective_rank": "effective rank of the covariance in time",
    "beta_untrained": "mean beta of the same network untrained",
    "beta_shuffled": "mean beta for the same sequences with their time steps shuffled",
    "unit_beta": "beta of a unit, mean over sequences",
    "deviation": "temporal standard deviation of a unit",
    "window": "window length n",
    "fluctuation": "geometric mean of F(n) over F of the first window",
    "tested_fluctuation": "the same of the tested series",
    "short_fluctuation": "the same of the autoregressive processes that imitate the tested series",
}
_NONE = Estimate.not_determined("not measured")
_UNITS = {"memory": "time steps", "window": "time steps", "fluctuation_error": "1"}


def assemble(rows: list[Row], skipped: Mapping[str, str], attrs: dict[str, Any]) -> xr.Dataset:
    """Return the dataset: a row for each quantity, and one for each layer that was not recorded."""
    import xarray as xr

    measured = {row.layer for row in rows}
    rows = rows + [Row(name, "", why) for name, why in skipped.items() if name not in measured]
    numbers: list[dict[str, float]] = [_numbers(row) for row in rows]
    arrays = [_arrays(row) for row in rows]
    variables: dict[str, Any] = {}
    for name in dict.fromkeys(name for row in numbers for name in row):
        variables[name] = ("layer", np.array([row.get(name, np.nan) for row in numbers]), _attrs(name))
    for name in dict.fromkeys(name for row in arrays for name in row):
        dimension = "unit" if name in ("unit_beta", "unit_beta_error", "deviation") else "position"
        variables[name] = (("layer", dimension), _padded([row.get(name) for row in arrays]), _attrs(name))
    found = [row.population for row in rows]
    coordinates = {
        "layer": [
            row.layer if row.layer == row.quantity else f"{row.layer} {row.quantity}".strip() for row in rows
        ],
        "module": ("layer", [row.layer for row in rows]),
        "quantity": ("layer", [row.quantity for row in rows]),
        "kind": ("layer", [each.kind if each else "" for each in found]),
        "reason": ("layer", [each.reason if each else "" for each in found]),
        "skipped": ("layer", [row.skipped for row in rows]),
    }
    versions = {
        "phasescope": phasescope.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    constant = {
        "instrument": "noise",
        "versions": json.dumps(versions),
        "citations": "chong2023 peng1994 kantelhardt2001 roy2007",
    }
    return xr.Dataset(variables, coordinates, {**constant, **attrs})


def _attrs(name: str) -> dict[str, str]:
    base = name.removesuffix("_error")
    units = _UNITS.get(base, "1")
    if base == name:
        return {"units": units, "long_name": _NAMES[name]}
    what = "error of the logarithm of: " if base == "fluctuation" else _OF_SEQUENCES
    return {"units": units, "long_name": f"{what}{_NAMES[base]}"}


def _numbers(row: Row) -> dict[str, float]:
    found, use = row.population, row.use
    if found is None or use is None:
        return {}
    n = len(use.deviation)
    values = {
        "units": float(n),
        "idle": float((use.idle_relative | use.quantised).mean()),
        "quantised": float(use.quantised.mean()),
        "nonfinite": row.not_finite,
        "determined": float(np.isfinite(found.beta).mean()),
        "estimator": found.estimator,
        "crossover": found.crossover_share,
        "tested": float(found.tested),
        "beat_short": float(found.beat_short),
        "beat_scaling": float(found.beat_scaling),
        "memory": found.memory,
    }
    estimates = {
        "beta": found.mean,
        "spread": found.spread,
        "between_units": found.between_units,
        "between_sequences": found.between_sequences,
        "curvature": found.curvature,
        "beta_used": beta_of_used_half(found),
        "rank_correlation": rank_correlation(found),
        "participation": use.participation_ratio,
        "dimension": use.dimension,
        "effective_rank": use.effective_rank,
        **{f"beta_{name}": row.nulls.get(name, _NONE) for name in ("untrained", "shuffled")},
    }
    for name, estimate in estimates.items():
        values |= {name: estimate.value, f"{name}_error": estimate.error}
    return values


def _arrays(row: Row) -> dict[str, Array]:
    found = row.population
    if found is None:
        return {}
    return {
        "unit_beta": found.unit_beta,
        "unit_beta_error": found.unit_beta_error,
        "deviation": found.deviation,
        "window": found.windows.astype(np.float64),
        "fluctuation": found.fluctuation,
        "fluctuation_error": found.fluctuation_error,
        "tested_fluctuation": found.tested_fluctuation,
        "short_fluctuation": found.short_fluctuation,
    }


def _padded(parts: list[Array | None]) -> Array:
    widest = max((part.size for part in parts if part is not None), default=0)
    table = np.full((len(parts), min(widest, MOST_UNITS)), np.nan)
    for row, part in enumerate(parts):
        if part is not None:
            table[row, : part.size] = part
    return table
