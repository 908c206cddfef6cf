"""Numbers from sampled convolutional networks: exponents, critical points, slopes, fluctuations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from phasescope.estimate import Estimate
from phasescope.papers.absorbing import shared
from phasescope.papers.absorbing.exponent_zero import fit_exponents

if TYPE_CHECKING:
    import xarray as xr

_RESAMPLES = 200
# A bootstrap that finds no crossing this often has found none.
_LEAST_FOUND = 0.9


@dataclass(frozen=True)
class Curves:
    """All networks of one ``sigma_w`` and size."""

    sigma_w: float  # standard deviation of the weights times sqrt(fan-in)
    layers: np.ndarray  # (points,): recorded layers
    values: Mapping[str, np.ndarray]  # (networks, points): what was recorded

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[name]

    @property
    def networks(self) -> int:
        """Number of networks."""
        return len(self.values["log_distance"])

    def exponents(self, begin: float, end: float = math.inf) -> np.ndarray:
        """Return half the growth of ``ln |u|^2`` a layer of every network."""
        inside = np.flatnonzero((self.layers >= begin) & (self.layers <= end))
        first, last = inside[0], inside[-1]
        growth = self["log_growth"][:, last] - self["log_growth"][:, first]
        return np.asarray(growth / (2 * (self.layers[last] - self.layers[first])))

    def log_mean(self, chosen: np.ndarray | slice = slice(None), name: str = "log_distance") -> np.ndarray:
        """Return ``ln`` of the mean over networks."""
        return np.asarray(np.logaddexp.reduce(self[name][chosen], axis=0) - math.log(len(self[name][chosen])))

    def mean_log(self, chosen: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return the mean of ln rho over networks and sites."""
        return np.asarray(self["typical_log_distance"][chosen].mean(axis=0))


def collect(data: xr.Dataset, kind: str, size: int | None = None) -> list[Curves]:
    """Return the curves of one kind of task in the order of ``sigma_w``."""
    chosen = shared.of_kind(data, kind) if size is None else shared.of_kind(data, kind, size=size)
    found = []
    for sigma_w in np.unique(chosen["sigma_w"].values):
        tasks = chosen.isel(task=np.flatnonzero(chosen["sigma_w"].values == sigma_w))
        layers = tasks["recorded_layer"].values[0]
        points = np.isfinite(layers)
        present = np.arange(tasks.sizes["network"]) < tasks["networks"].values[:, None]
        values = {
            str(name): tasks[name].transpose("task", "network", "point").values[present][:, points]
            for name in tasks.data_vars
            if name != "recorded_layer"
        }
        found.append(Curves(float(sigma_w), layers[points], values))
    return found


def zero_of_growth(curves: Sequence[Curves], begin: float, end: float = math.inf) -> Estimate:
    """Return the ``sigma_w`` at which the mean exponent of tangents changes sign."""
    if not curves:
        return Estimate.not_determined("no networks were sampled here")
    samples = [one.exponents(begin, end) for one in curves]
    errors = np.array([rows.std(ddof=1) / math.sqrt(len(rows)) for rows in samples])
    sigma_w = np.array([one.sigma_w for one in curves])
    fitted = fit_exponents(
        sigma_w, np.array([rows.mean() for rows in samples]), errors, float(sigma_w.mean())
    )
    inside = fitted.zero.determined and sigma_w[0] <= fitted.zero.value <= sigma_w[-1]
    if fitted.zero.determined and not inside:
        return Estimate.not_determined("no change of sign within the sampled sigma_w")
    return fitted.zero


Functional = Callable[[Curves, np.ndarray], float]


def slope_of(
    begin: float, end: float = math.inf, *, typical: bool = False, name: str = "log_distance"
) -> Functional:
    """Return the function that takes ``d ln y/d ln l`` of some networks of a curve."""

    def slope(curve: Curves, chosen: np.ndarray) -> float:
        logs = curve.mean_log(chosen) if typical else curve.log_mean(chosen, name)
        inside = (curve.layers >= begin) & (curve.layers <= end) & np.isfinite(logs)
        if inside.sum() < 3:
            return math.nan
        return float(np.polyfit(np.log(curve.layers[inside]), logs[inside], 1)[0])

    return slope


def curvature_of(begin: float) -> Functional:
    """Return the function that takes the curvature ``d^2 ln y/(d ln l)^2`` of the mean of some networks."""

    def curvature(curve: Curves, chosen: np.ndarray) -> float:
        inside = curve.layers >= begin
        return float(np.polyfit(np.log(curve.layers[inside]), curve.log_mean(chosen)[inside], 2)[0])

    return curvature


def resampled(curves: Sequence[Curves], functionals: Sequence[Functional], seed: int) -> np.ndarray:
    """Return functionals of the networks as they are and of bootstrap samples of them."""
    rng = np.random.default_rng(seed)
    found = np.empty((1 + _RESAMPLES, len(functionals), len(curves)))
    for column, curve in enumerate(curves):
        for row in range(1 + _RESAMPLES):
            chosen = (
                np.arange(curve.networks) if row == 0 else rng.integers(0, curve.networks, curve.networks)
            )
            found[row, :, column] = [functional(curve, chosen) for functional in functionals]
    return found


def at_control(
    curves: Sequence[Curves], drawn: np.ndarray, control: Estimate, seed: int, method: str
) -> Estimate:
    """Return a functional at a ``sigma_w`` between the sampled ones, with the error of both.

    Shapes: `drawn` (1 + resamples, curves).
    """
    if not control.determined:
        return Estimate.not_determined(f"there is no critical sigma_w: {control.reason}")
    sigma_w = np.array([curve.sigma_w for curve in curves])
    points = control.value + control.error * np.random.default_rng(seed).standard_normal(len(drawn))
    points[0] = control.value
    values = np.array([np.interp(x, sigma_w, row) for x, row in zip(points, drawn, strict=True)])
    return _summary(values, method, min(curve.networks for curve in curves))


def straightest(
    curves: Sequence[Curves], curvature: np.ndarray, slope: np.ndarray
) -> tuple[Estimate, Estimate]:
    """Return the ``sigma_w`` at which the mean is straight in logarithms, and its slope there.

    Shapes: `curvature` and `slope` (1 + resamples, curves).
    """
    sigma_w = np.array([curve.sigma_w for curve in curves])
    found = np.full((len(curvature), 2), math.nan)
    for row, (bend, tilt) in enumerate(zip(curvature, slope, strict=True)):
        rising = np.flatnonzero((bend[:-1] < 0) & (bend[1:] >= 0))
        if rising.size:
            k = int(rising[-1])
            share = -bend[k] / (bend[k + 1] - bend[k])
            found[row] = [values[k] + share * (values[k + 1] - values[k]) for values in (sigma_w, tilt)]
    networks = min((curve.networks for curve in curves), default=0)
    method = "change of sign of the curvature of ln mean rho in ln l, bootstrap over networks"
    return _summary(found[:, 0], method, networks), _summary(found[:, 1], f"slope at the {method}", networks)


def fluctuation_slope(
    groups: Sequence[Curves], sites: Sequence[int], seed: int
) -> tuple[Estimate, np.ndarray]:
    """Return ``d ln s/d ln N``, s being the spread of ln growth over networks, N the sites; and each s."""
    drawn = resampled(groups, [lambda c, chosen: float(c["log_growth"][chosen, -1].std(ddof=1))], seed)[:, 0]
    offset = np.log(np.asarray(sites, dtype=float))
    offset -= offset.mean()
    # A bootstrap sample of one network many times has no spread.
    slopes = np.log(np.where(drawn > 0, drawn, math.nan)) @ offset / (offset @ offset)
    spread = np.stack([drawn[0], drawn[1:].std(axis=0, ddof=1)])
    return _summary(
        slopes, "straight line in logarithms, bootstrap over networks", groups[0].networks
    ), spread


def _summary(values: np.ndarray, method: str, networks: int) -> Estimate:
    """Return the first entry with half the 68 % interval of the others."""
    others = values[1:][np.isfinite(values[1:])]
    if not math.isfinite(values[0]) or others.size < _LEAST_FOUND * (len(values) - 1):
        return Estimate.not_determined("not found in the sampled range", method=method, n=networks)
    low, high = np.quantile(others, [0.16, 0.84])
    return Estimate(float(values[0]), float(high - low) / 2, method, networks)
