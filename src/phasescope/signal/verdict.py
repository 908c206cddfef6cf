"""The phase of a network and the depths that a signal and a gradient survive, from a profile's dataset alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope.estimate import Estimate

if TYPE_CHECKING:
    import xarray as xr

TOLERANCE = math.log(10.0)
"""Change of a squared length over the whole network, as a logarithm, up to which it counts as of order one."""

_KERNEL_TOLERANCE = 2 * TOLERANCE


@dataclass(frozen=True)
class Verdict:
    """Which phase a network is in, and how deep it can be.

    Parameters
    ----------
    phase : str
        "ordered", "critical", "chaotic", "exploding", "vanishing" or "not determined".
    margin : Estimate
        Mean of ``ln chi_perpendicular`` over the weight layers: 0 at criticality.
    signal_depth : Estimate
        Number of weight layers over which the distance between inputs falls by e.
    gradient_depth : Estimate
        Number of weight layers over which the squared gradient changes by e.
    reason : str
        The numbers behind the phase, in one sentence.
    """

    phase: str
    margin: Estimate
    signal_depth: Estimate
    gradient_depth: Estimate
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        return {
            "phase": self.phase,
            "margin": self.margin.to_dict(),
            "signal_depth": self.signal_depth.to_dict(),
            "gradient_depth": self.gradient_depth.to_dict(),
            "reason": self.reason,
        }

    def __str__(self) -> str:
        return f"{self.phase}: {self.reason}"


def verdict(dataset: xr.Dataset) -> Verdict:
    """Return the verdict on a profiled network.

    The rule, for a network of L weight layers, in terms of the total growth ``G = sum of ln chi_perpendicular`` of
    a squared difference from the first weight layer to the last:

    - *exploding*: a unit is not finite, or the kernel grows exponentially: by more than a factor 100 in all and, at
      the rate of the second half of the layers, over L layers;
    - *vanishing*: the kernel shrinks so, or reaches 0;
    - *critical*: ``|G| <= ln 10``, or G is within two standard errors of 0: over the depth at hand, differences and
      gradients stay of order one;
    - *ordered*: G < 0 otherwise: inputs become indistinguishable and gradients vanish;
    - *chaotic*: G > 0 otherwise: nearby inputs separate and gradients explode.

    Parameters
    ----------
    dataset : xarray.Dataset
        The dataset of a profile.

    References
    ----------
    Schoenholz et al. 2017, arXiv:1611.01232 (depth scales).
    """
    rows = _WeightRows(dataset)
    margin = _margin(rows)
    signal = _signal_depth(rows)
    gradient = _gradient_depth(rows)
    phase, reason = _phase(dataset, rows, margin)
    return Verdict(phase, margin, signal, gradient, reason)


class _WeightRows:
    """Columns of the measured weight rows, in order."""

    def __init__(self, dataset: xr.Dataset) -> None:
        keep = (dataset["role"].values == "weight") & (dataset["skipped"].values == "")
        self.measured = int(keep.sum())
        keep &= ~_read_out(dataset, keep)
        self.name = dataset["layer"].values[keep]
        self.depth = dataset["depth"].values[keep].astype(float)
        self.kernel = dataset["kernel"].values[keep]
        self.chi = dataset["chi_perpendicular"].values[keep]
        self.chi_error = dataset["chi_perpendicular_error"].values[keep]
        self.distance = dataset["distance"].values[keep]
        self.gradient = dataset["gradient"].values[keep]
        self.count = int(keep.sum())


def _read_out(dataset: xr.Dataset, weights: np.ndarray) -> np.ndarray:
    """Return the row of the read-out: a last weight layer that no activation follows, in a network of four or more."""
    found = np.zeros_like(weights)
    rows = np.flatnonzero(weights)
    activations = np.flatnonzero(dataset["role"].values == "activation")
    if len(rows) >= 4 and len(activations) and activations[-1] < rows[-1]:
        found[rows[-1]] = True
    return found


def _margin(rows: _WeightRows) -> Estimate:
    method = "mean ln chi_perpendicular over weight layers"
    good = np.isfinite(rows.chi) & (rows.chi > 0)
    n = int(good.sum())
    if rows.measured < 3:
        return Estimate.not_determined(
            f"{rows.measured} weight layer(s) measured, at least 3 needed", method=method, n=n
        )
    if n < 2:
        return Estimate.not_determined(
            "no random tangent could be followed from layer to layer", method=method, n=n
        )
    logs = np.log(rows.chi[good])
    inputs = np.nan_to_num(rows.chi_error[good] / rows.chi[good])
    error = math.hypot(float(logs.std(ddof=1)) / math.sqrt(n), float(np.sqrt((inputs**2).sum())) / n)
    depth = rows.depth[good]
    return Estimate(float(logs.mean()), error, method, n, (float(depth[0]), float(depth[-1])))


def _phase(dataset: xr.Dataset, rows: _WeightRows, margin: Estimate) -> tuple[str, str]:
    broken = np.flatnonzero(np.nan_to_num(dataset["nonfinite"].values) > 0)
    if len(broken):
        return (
            "exploding",
            f"{dataset['layer'].values[broken[0]]} is the first row with NaN or infinite units",
        )
    growth = _kernel_growth(rows)
    if growth is not None:
        return growth
    if not margin.determined:
        return "not determined", margin.reason
    total = margin.value * margin.n
    span = (
        f"over {margin.n} layers the squared difference of nearby inputs changes by a factor {_factor(total)}"
    )
    if abs(total) <= TOLERANCE:
        return "critical", f"{span}, of order one"
    if abs(margin.value) <= 2 * margin.error:
        return "critical", f"{span}, within two standard errors of 1"
    return ("ordered" if total < 0 else "chaotic"), span


def _factor(log: float) -> str:
    return f"{math.exp(log):.2g}" if abs(log) < 600 else f"1e{log / math.log(10):+.0f}"


def _kernel_growth(rows: _WeightRows) -> tuple[str, str] | None:
    if rows.count < 3:
        return None
    dark = np.flatnonzero(rows.kernel == 0)
    if len(dark):
        return "vanishing", f"the kernel is 0 from {rows.name[dark[0]]} on"
    logs = np.log(rows.kernel)
    if not np.isfinite(logs).all():
        return None
    total = float(logs[-1] - logs[0])
    half = len(logs) // 2
    late = float(logs[-1] - logs[half]) / (len(logs) - 1 - half) * (len(logs) - 1)
    if min(abs(total), abs(late)) <= _KERNEL_TOLERANCE or total * late < 0:
        return None
    word = "exploding" if total > 0 else "vanishing"
    return word, f"the kernel changes by a factor {_factor(total)} over {rows.count} weight layers"


def _slope(depth: np.ndarray, logs: np.ndarray) -> tuple[float, float]:
    x = depth - depth.mean()
    slope = float((x * logs).sum() / (x**2).sum())
    rest = logs - logs.mean() - slope * x
    return slope, math.sqrt(float((rest**2).sum()) / (len(x) - 2) / float((x**2).sum()))


def _scale(depth: np.ndarray, values: np.ndarray, method: str, what: str, *, decays: bool) -> Estimate:
    good = np.isfinite(values) & (values > 0)
    depth, values = depth[good], values[good]
    n = len(values)
    if n < 3:
        return Estimate.not_determined(f"{n} layer(s) in the window, at least 3 needed", method=method, n=n)
    slope, error = _slope(depth, np.log(values))
    span = float(depth[-1] - depth[0])
    steady = abs(slope) * span <= TOLERANCE or abs(slope) <= 2 * error
    if steady or (decays and slope > 0):
        return Estimate.not_determined(f"{what} over the {n} layers of the window", method=method, n=n)
    window = (float(depth[0]), float(depth[-1]))
    return Estimate(1.0 / abs(slope), error / slope**2, method, n, window)


_FLOOR = 1e-12  # distance below which rounding in float32 decides


def _signal_depth(rows: _WeightRows) -> Estimate:
    method = "exponential fit of the distance between inputs against depth"
    if not np.isfinite(rows.distance).any():
        return Estimate.not_determined("the distance between inputs was not measured", method=method)
    inside = rows.distance > _FLOOR
    return _scale(
        rows.depth[inside],
        rows.distance[inside],
        method,
        "the distance between inputs does not decay exponentially",
        decays=True,
    )


def _gradient_depth(rows: _WeightRows) -> Estimate:
    method = "exponential fit of the squared gradient against depth"
    if not np.isfinite(rows.gradient).any():
        return Estimate.not_determined("the gradient was not measured", method=method)
    return _scale(rows.depth, rows.gradient, method, "the gradient stays of order one", decays=False)
