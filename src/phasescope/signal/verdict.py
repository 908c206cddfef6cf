"""The phase of a network and the depths that its signal and gradient survive, from a profile's dataset."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope.estimate import Estimate
from phasescope.signal.depth_scale import MANY, decay_depth, error_of_mean, growth_depth

if TYPE_CHECKING:
    import xarray as xr

TOLERANCE = math.log(10.0)
"""A squared length changes by order one if its logarithm changes by at most this much over the network."""

_KERNEL_TOLERANCE = 2 * TOLERANCE
_FEW = 3  # weight layers needed for a verdict


@dataclass(frozen=True)
class Verdict:
    """Which phase a network is in, and how deep it can be.

    Parameters
    ----------
    phase : str
        "ordered", "critical", "chaotic", "exploding", "vanishing" or "not determined".
    margin : Estimate
        Mean of ``ln chi_perpendicular`` per weight layer, 0 at criticality; in its `window` of depths.
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

    A network of finite depth is critical if what is of order one stays so down to its last layer. Let ``L``
    be the number of ratios of successive hidden weight layers, ``G`` the sum of ``ln chi_perpendicular``
    over them and the margin ``m`` its mean. The read-out (a last weight layer that no activation follows)
    sets a scale and no phase: it is left out where four weight layers or more were measured. From 8 ratios
    on, ``m`` is the mean over the second half, because the kernel takes some layers to settle.

    - *exploding*: a unit is NaN or infinite, or the kernel grows exponentially: by more than a factor 100
      over the network, and by as much at the rate of the second half of the layers;
    - *vanishing*: the kernel shrinks in the same way, or reaches 0;
    - *critical*: ``|G|`` or ``|m| L`` is at most ln 10, so that squared differences and gradients stay of
      order one (growth as a power of depth, as on the critical line, is not exponential), or ``m`` is
      within two standard errors of 0 while its error is small on that scale;
    - *ordered* (``m < 0``): inputs become indistinguishable and gradients vanish;
    - *chaotic* (``m > 0``): nearby inputs separate and gradients explode;
    - *not determined*: fewer than 3 weight layers were measured, no tangent could be followed, or the layers
      differ too much for a rate.

    Parameters
    ----------
    dataset : xarray.Dataset
        The dataset of a profile.

    References
    ----------
    Schoenholz et al. 2017, arXiv:1611.01232 (depth scales); Roberts, Yaida and Hanin 2022, arXiv:2106.10165.
    """
    rows = _hidden_weight_rows(dataset)
    margin, total = _margin(rows)
    phase, reason = _phase(dataset, rows, margin, total)
    return Verdict(
        phase,
        margin,
        decay_depth(rows.depth, rows.distance, "the distance between inputs"),
        growth_depth(rows.depth, rows.gradient, "the squared gradient"),
        reason,
    )


@dataclass(frozen=True)
class _Rows:
    """Columns of the hidden weight rows, in order; `measured` counts the read-out too."""

    measured: int
    name: np.ndarray
    depth: np.ndarray
    kernel: np.ndarray
    chi: np.ndarray
    chi_error: np.ndarray
    distance: np.ndarray
    gradient: np.ndarray


def _hidden_weight_rows(dataset: xr.Dataset) -> _Rows:
    weights = (dataset["role"].values == "weight") & (dataset["skipped"].values == "")
    rows = np.flatnonzero(weights)
    activations = np.flatnonzero(dataset["role"].values == "activation")
    if len(rows) > _FEW and len(activations) and activations[-1] < rows[-1]:
        rows = rows[:-1]

    def column(name: str) -> np.ndarray:
        return np.asarray(dataset[name].values[rows], dtype=np.float64)

    return _Rows(
        int(weights.sum()),
        dataset["layer"].values[rows],
        column("depth"),
        column("kernel"),
        column("chi_perpendicular"),
        column("chi_perpendicular_error"),
        column("distance"),
        column("gradient"),
    )


def _margin(rows: _Rows) -> tuple[Estimate, float]:
    """Return the margin and the total growth over the hidden layers."""
    method = "mean ln chi_perpendicular per weight layer"
    good = np.isfinite(rows.chi) & (rows.chi > 0)
    n = int(good.sum())
    if rows.measured < _FEW:
        reason = f"{rows.measured} weight layer(s) measured, at least {_FEW} needed"
        return Estimate.not_determined(reason, method=method, n=n), math.nan
    if n == 0:
        reason = "no random tangent could be followed from one weight layer to the next"
        return Estimate.not_determined(reason, method=method, n=n), math.nan
    logs = np.log(rows.chi[good])
    late = slice(n // 2 if n >= MANY else 0, None)
    used, depth = logs[late], rows.depth[good][late]
    inputs = np.nan_to_num((rows.chi_error[good] / rows.chi[good])[late])
    error = math.hypot(error_of_mean(used), float(np.sqrt((inputs**2).sum())) / len(used))
    window = (float(depth[0]), float(depth[-1]))
    return Estimate(float(used.mean()), error, method, len(used), window), float(logs.sum())


def _phase(dataset: xr.Dataset, rows: _Rows, margin: Estimate, total: float) -> tuple[str, str]:
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
    layers = int(np.isfinite(rows.chi).sum())
    factor = (
        f"a squared difference of nearby inputs changes by a factor {_factor(total)} over {layers} layers"
    )
    if min(abs(total), abs(margin.value) * layers) <= TOLERANCE:
        return "critical", factor if abs(total) <= TOLERANCE else f"{factor}, slower than exponentially"
    if abs(margin.value) <= 2 * margin.error:
        if margin.error * layers <= TOLERANCE:
            return "critical", f"{factor}, at a rate within two standard errors of 0"
        return "not determined", f"{factor}, but layers differ too much for a rate (margin {margin})"
    return ("ordered" if margin.value < 0 else "chaotic"), factor


def _factor(log: float) -> str:
    return f"{math.exp(log):.2g}" if abs(log) < 600 else f"1e{log / math.log(10):+.0f}"


def _kernel_growth(rows: _Rows) -> tuple[str, str] | None:
    kernel = rows.kernel[np.isfinite(rows.kernel)]
    if rows.measured < _FEW or len(kernel) < 2:
        return None
    dark = np.flatnonzero(rows.kernel == 0)
    if len(dark):
        return "vanishing", f"the kernel is 0 from {rows.name[dark[0]]} on"
    logs = np.log(kernel)
    steps = len(logs) - 1
    half = steps // 2
    total = float(logs[-1] - logs[0])
    late = float(logs[-1] - logs[half]) / (steps - half) * steps
    if min(abs(total), abs(late)) <= _KERNEL_TOLERANCE or total * late < 0:
        return None
    word = "exploding" if total > 0 else "vanishing"
    return word, f"the kernel changes by a factor {_factor(total)} over {len(logs)} weight layers"
