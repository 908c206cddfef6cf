"""The dataset of a profile, from what was measured."""

from __future__ import annotations

import json
import platform
import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

import phasescope
from phasescope.recording.batch import Batch
from phasescope.signal.measurement import Measurement

if TYPE_CHECKING:
    import xarray as xr

_LONG_NAMES = {
    "kernel": "kernel K, mean square per unit",
    "correlation": "correlation c between pairs of inputs",
    "distance": "distance 1 - c between pairs of inputs",
    "chi_parallel": "parallel susceptibility, from one weight layer to the next",
    "chi_perpendicular": "perpendicular susceptibility, from one weight layer to the next",
    "tangent": "perpendicular part of random tangents per unit, relative to the input",
    "gradient": "squared norm of the gradient at the row's output, relative to the output layer",
    "dead": "fraction of units that respond to no input",
    "saturated": "fraction of outputs within 1 % of a limit of the activation",
    "nonfinite": "fraction of units that are NaN or infinite, or computed from such after masking",
    "kernel_theory": "kernel K, infinite width",
    "correlation_theory": "correlation c, infinite width",
    "gradient_theory": "squared norm of the gradient, infinite width",
    "kernel_eval_drift": "kernel in evaluation mode over kernel in training mode, minus 1",
}


def assemble(
    model: nn.Module,
    measurement: Measurement,
    *,
    mode: str,
    notes: list[str],
    drift: dict[str, float] | None,
    batch: Batch,
) -> xr.Dataset:
    """Return the dataset of a profile: one entry per row, measured or skipped, and how it was measured."""
    import xarray as xr

    layers = measurement.layers
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        columns = _columns(measurement)
    if drift is not None:
        columns["kernel_eval_drift"] = np.array([drift.get(layer.name, np.nan) for layer in layers])
    weights = np.cumsum([layer.role == "weight" and not layer.skipped for layer in layers])
    data = {
        name: ("layer", values, {"units": "1", "long_name": _long_name(name)})
        for name, values in columns.items()
    }
    coordinates = {
        "layer": [layer.name for layer in layers],
        "kind": ("layer", [layer.kind for layer in layers]),
        "role": ("layer", [layer.role for layer in layers]),
        "depth": ("layer", weights.astype(np.int64)),
        "skipped": ("layer", [layer.skipped for layer in layers]),
    }
    notes = [*notes, *_masked_notes(measurement)]
    parameters = list(model.parameters())
    tensors = [*parameters, *batch.floats()]
    attrs = {
        "instrument": "propagation",
        "model": str(getattr(model, "kind", type(model).__name__)),
        "parameters": sum(p.numel() for p in parameters),
        "inputs": batch.size,
        "seed": measurement.seed,
        "dtype": str(tensors[0].dtype if tensors else torch.get_default_dtype()).removeprefix("torch."),
        "device": str(tensors[0].device if tensors else "cpu"),
        "versions": json.dumps(
            {
                "phasescope": phasescope.__version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            }
        ),
        "mode": mode,
        "notes": json.dumps(notes),
        "theory": json.dumps({"recognised": False, "reason": "not computed"}),
        "citations": "poole2016 schoenholz2017 roberts2022",
    }
    return xr.Dataset(data, coordinates, attrs)


def _long_name(name: str) -> str:
    base = name.removesuffix("_error")
    return _LONG_NAMES[base] if base == name else f"one standard error over inputs of: {_LONG_NAMES[base]}"


def _columns(m: Measurement) -> dict[str, np.ndarray]:
    columns: dict[str, np.ndarray] = {}

    def put(name: str, per_sample: np.ndarray) -> None:
        columns[name], columns[f"{name}_error"] = _mean(per_sample)

    put("kernel", m.kernel)
    put("correlation", 1.0 - m.distance)
    put("distance", m.distance)
    columns["chi_parallel"], columns["chi_parallel_error"] = _chi_parallel(m)
    tangent = m.across.mean(axis=0) / m.tangent_scale()
    columns["chi_perpendicular"], columns["chi_perpendicular_error"] = _chi_perpendicular(m, tangent)
    put("tangent", tangent)
    put("gradient", (m.gradient / m.cotangent[:, None, :]).mean(axis=0))
    columns["dead"] = np.array([np.nan if a is None else 1.0 - a.mean() for a in m.alive])
    columns["saturated"] = np.nanmean(m.saturated, axis=1)
    columns["nonfinite"] = np.nanmean(m.nonfinite, axis=1)
    for name in ("kernel_theory", "correlation_theory", "gradient_theory"):
        columns[name] = np.full(len(m.layers), np.nan)
    return columns


def _mean(per_sample: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # Mean over the inputs with its standard error; inf where one input overflowed, nan where none was seen.
    n = (~np.isnan(per_sample)).sum(axis=1)
    mean = np.nanmean(per_sample, axis=1) if per_sample.shape[1] else np.full(len(per_sample), np.nan)
    spread = np.nanstd(per_sample, axis=1, ddof=1) if per_sample.shape[1] > 1 else np.full(len(mean), np.nan)
    return mean, np.where(n > 1, spread / np.sqrt(np.maximum(n, 1)), np.nan)


def _weight_rows(m: Measurement) -> list[int]:
    return [i for i, layer in enumerate(m.layers) if layer.role == "weight" and not layer.skipped]


def _chi_perpendicular(m: Measurement, tangent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ratio of the mean tangents of successive weight rows, and its standard error.

    A ratio of means and not a mean of ratios: it telescopes, so that noise from layer to layer does not add
    up to a growth that is not there.
    """
    ratio, error = np.full(len(m.layers), np.nan), np.full(len(m.layers), np.nan)
    previous: int | None = None
    for row in _weight_rows(m):
        if np.isnan(tangent[row]).all():
            continue
        if previous is not None:
            usable = np.isfinite(tangent[row]) & np.isfinite(tangent[previous])
            above, below = tangent[row][usable], tangent[previous][usable]
            if below.size and below.mean() > 0:
                ratio[row] = above.mean() / below.mean()
                error[row] = _standard_error(above - ratio[row] * below) / below.mean()
        previous = row
    return ratio, error


_VANISHED = 1e-3  # a radial response that falls by more than this in one layer is rounding, not a response


def _chi_parallel(m: Measurement) -> tuple[np.ndarray, np.ndarray]:
    """Return the ratio of the mean radial responses of successive weight rows, and its standard error.

    Not determined where the response of the row below is within two standard errors of 0, or has vanished,
    as it does behind a normalisation.
    """
    ratio, error = np.full(len(m.layers), np.nan), np.full(len(m.layers), np.nan)
    relative = np.nanmean(np.abs(m.along) / np.where(m.kernel > 0, m.kernel, np.nan), axis=1)
    healthy, below = np.nan, None
    for row in _weight_rows(m):
        along = m.along[row]
        lost = not np.isfinite(along).all() or not np.isfinite(relative[row])
        if lost or relative[row] < _VANISHED * healthy:
            below = None
            continue
        if below is not None and abs(below.mean()) > 2 * _standard_error(below):
            ratio[row] = along.mean() / below.mean()
            error[row] = _standard_error(along - ratio[row] * below) / abs(below.mean())
        healthy, below = relative[row], along
    return ratio, error


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def _masked_notes(m: Measurement) -> list[str]:
    if not m.masked:
        return []
    name = next(iter(m.masked))
    return [
        f"masked: {name} is finite where an earlier row is NaN or infinite "
        f"(in {m.masked[name]} of {m.samples} inputs); it counts as non-finite"
    ]
