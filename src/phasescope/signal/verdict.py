"""The phase of a network and the depths that its signal and gradient survive, from a profile's dataset."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope.estimate import Estimate

if TYPE_CHECKING:
    import xarray as xr

# A squared length changes by order one if its logarithm changes by at most this much over the network.
_TOLERANCE = math.log(10.0)
_FEW = 3  # weight layers needed for a verdict
_MANY = 8  # rates from which the first half, in which the kernel settles, is left out
_FEW_POINTS = 4  # layers needed for a depth scale with an error
_SLOWING = 0.6  # share of the early rate below which the late one speaks for a power law
_ROUNDING = 1e-12  # distance below which single precision decides


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
    hidden, measured = _hidden_weight_layers(dataset)
    margin, total = _margin(hidden, measured)
    phase, reason = _phase(dataset, hidden, measured, margin, total)
    return Verdict(
        phase,
        margin,
        _depth_scale(hidden, "distance", "the distance between inputs", above=_ROUNDING, only_decay=True),
        _depth_scale(hidden, "gradient", "the squared gradient"),
        reason,
    )


def _hidden_weight_layers(dataset: xr.Dataset) -> tuple[xr.Dataset, int]:
    """Return the rows of the hidden weight layers, and how many were measured with the read-out."""
    rows = np.flatnonzero((dataset["role"].values == "weight") & (dataset["skipped"].values == ""))
    measured = len(rows)
    activations = np.flatnonzero(dataset["role"].values == "activation")
    if measured > _FEW and len(activations) and activations[-1] < rows[-1]:
        rows = rows[:-1]
    columns = dataset[["kernel", "chi_perpendicular", "chi_perpendicular_error", "distance", "gradient"]]
    return columns.isel(layer=rows).astype(np.float64), measured


def _margin(hidden: xr.Dataset, measured: int) -> tuple[Estimate, float]:
    """Return the margin and the total growth over the hidden layers."""
    method = "mean ln chi_perpendicular per weight layer"
    chi, chi_error = hidden["chi_perpendicular"].values, hidden["chi_perpendicular_error"].values
    good = np.isfinite(chi) & (chi > 0)
    n = int(good.sum())
    if measured < _FEW:
        reason = f"{measured} weight layer(s) measured, at least {_FEW} needed"
        return Estimate.not_determined(reason, method=method, n=n), math.nan
    if n == 0:
        reason = "no random tangent could be followed from one weight layer to the next"
        return Estimate.not_determined(reason, method=method, n=n), math.nan
    logs = np.log(chi[good])
    late = slice(n // 2 if n >= _MANY else 0, None)
    used, depth = logs[late], hidden["depth"].values[good][late]
    inputs = np.nan_to_num((chi_error[good] / chi[good])[late])
    error = math.hypot(_error_of_mean(used), float(np.sqrt((inputs**2).sum())) / len(used))
    window = (float(depth[0]), float(depth[-1]))
    return Estimate(float(used.mean()), error, method, len(used), window), float(logs.sum())


def _phase(
    dataset: xr.Dataset, hidden: xr.Dataset, measured: int, margin: Estimate, total: float
) -> tuple[str, str]:
    broken = np.flatnonzero(np.nan_to_num(dataset["nonfinite"].values) > 0)
    if len(broken):
        name = dataset["layer"].values[broken[0]]
        return "exploding", f"{name} is the first row with NaN or infinite units"
    growth = _kernel_growth(hidden) if measured >= _FEW else None
    if growth is not None:
        return growth
    if not margin.determined:
        return "not determined", margin.reason
    layers = int(np.isfinite(hidden["chi_perpendicular"].values).sum())
    factor = (
        f"a squared difference of nearby inputs changes by a factor {_factor(total)} over {layers} layers"
    )
    if min(abs(total), abs(margin.value) * layers) <= _TOLERANCE:
        return "critical", factor if abs(total) <= _TOLERANCE else f"{factor}, slower than exponentially"
    if abs(margin.value) <= 2 * margin.error:
        if margin.error * layers <= _TOLERANCE:
            return "critical", f"{factor}, at a rate within two standard errors of 0"
        return "not determined", f"{factor}, but layers differ too much for a rate (margin {margin})"
    return ("ordered" if margin.value < 0 else "chaotic"), factor


def _factor(log: float) -> str:
    return f"{math.exp(log):.2g}" if abs(log) < 600 else f"1e{log / math.log(10):+.0f}"


def _kernel_growth(hidden: xr.Dataset) -> tuple[str, str] | None:
    kernel = hidden["kernel"].values
    finite = kernel[np.isfinite(kernel)]
    if len(finite) < 2:
        return None
    dark = np.flatnonzero(kernel == 0)
    if len(dark):
        return "vanishing", f"the kernel is 0 from {hidden['layer'].values[dark[0]]} on"
    logs = np.log(finite)
    steps = len(logs) - 1
    half = steps // 2
    total = float(logs[-1] - logs[0])
    late = float(logs[-1] - logs[half]) / (steps - half) * steps
    if min(abs(total), abs(late)) <= 2 * _TOLERANCE or total * late < 0:
        return None
    word = "exploding" if total > 0 else "vanishing"
    return word, f"the kernel changes by a factor {_factor(total)} over {len(logs)} weight layers"


def _depth_scale(
    hidden: xr.Dataset, name: str, what: str, *, above: float = 0.0, only_decay: bool = False
) -> Estimate:
    """Return the depth scale ``xi``, in layers, of a quantity that changes as ``exp(+-depth / xi)``.

    The rate is the mean change of the logarithm per layer, over the second half of the layers where there are
    8 rates or more. Not determined where the quantity changes by less than a factor 10 over the layers
    measured, or ever more slowly, as a power of the depth does on the critical line: then it survives all the
    layers there are.
    """
    depth, values = hidden["depth"].values, hidden[name].values
    keep = np.isfinite(values) & (values > above)
    depth, logs = depth[keep], np.log(values[keep])
    method, n = "mean change of the logarithm per layer", len(logs)

    def open_(reason: str) -> Estimate:
        return Estimate.not_determined(reason, method=method, n=n)

    if n == 0:
        return open_(f"{what} was not measured")
    if n < _FEW_POINTS:
        return open_(f"{n} hidden weight layer(s) in the window, at least {_FEW_POINTS} needed")
    rates = np.diff(logs) / np.diff(depth)
    half = len(rates) // 2
    start = half if len(rates) >= _MANY else 0
    rate, error = float(rates[start:].mean()), _error_of_mean(rates[start:])
    total = float(logs[-1] - logs[0])
    if only_decay and total > _TOLERANCE:
        return open_(f"{what} does not decay")
    early, late = float(rates[:half].mean()), float(rates[half:].mean())
    steady = min(abs(total), abs(rate) * len(rates)) <= _TOLERANCE or abs(rate) <= 2 * error
    if abs(total) > _TOLERANCE and late * early > 0 and abs(late) < _SLOWING * abs(early):
        return open_(f"{what} changes ever more slowly, not exponentially, over the {n} layers measured")
    if steady or (only_decay and rate > 0):
        return open_(f"{what} stays of order one over the {n} layers measured")
    window = (float(depth[start]), float(depth[-1]))
    return Estimate(1.0 / abs(rate), error / rate**2, method, len(rates) - start, window)


def _error_of_mean(series: np.ndarray) -> float:
    """Return the standard error of the mean over successive layers (Newey and West, two lags).

    In residual blocks the layers of a branch alternate around the stream, and alternation averages out
    faster than independent scatter does.
    """
    n = len(series)
    if n < 2:
        return 0.0
    x = series - series.mean()
    lags = (2 / 3, 1 / 3) if n >= 6 else ()
    variance = float((x**2).sum())
    variance += 2 * sum(w * float((x[lag:] * x[:-lag]).sum()) for lag, w in enumerate(lags, start=1))
    return math.sqrt(max(variance, 0.0) / (n - 1) / n)
