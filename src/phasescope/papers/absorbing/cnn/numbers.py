"""Numbers from sampled convolutional networks: exponents, critical points, collapses, fluctuations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.papers.absorbing.cnn.sampling import CnnSettings, settings_of
from phasescope.papers.absorbing.exponent_zero import fit_exponents
from phasescope.scaling import (
    UNIVERSALITY_CLASSES,
    ClassReport,
    Collapse,
    UniversalityClass,
    collapse,
    identify_class,
)
from phasescope.studies.part import chosen

if TYPE_CHECKING:
    import xarray as xr

Statistic = Literal["mean", "typical"]
RECORDED: dict[Statistic, str] = {"mean": "log_distance", "typical": "typical_log_distance"}
# One walker for all sites, reflected where rho saturates: E[rho] = l^-1/2 F(tau l^1/2).
RANDOM_WALK = "common random walk"
FREE = "free"
_RESAMPLES = 200
# A bootstrap that finds no crossing this often has found none.
_LEAST_FOUND = 0.9
_LOWEST = -690.0
# A row whose sites differ by less than this share of |h|^2 is on its way to being uniform.
_ROUGH = math.log(1e-3)


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
        return len(self.values["log_distance"])

    def exponents(self, begin: float, end: float = math.inf) -> np.ndarray:
        """Return half the growth of ``ln |u|^2`` a layer of every network, between two layers."""
        inside = np.flatnonzero((self.layers >= begin) & (self.layers <= end))
        first, last = inside[0], inside[-1]
        growth = self["log_growth"][:, last] - self["log_growth"][:, first]
        return np.asarray(growth / (2 * (self.layers[last] - self.layers[first])))

    def exponent(self, begin: float, end: float = math.inf) -> Estimate:
        return Estimate.from_samples(self.exponents(begin, end))

    def log_mean(self, networks: np.ndarray | slice = slice(None), name: str = "log_distance") -> np.ndarray:
        """Return ``ln`` of the mean over networks of what is recorded as a logarithm."""
        logs = self[name][networks]
        return np.asarray(np.logaddexp.reduce(logs, axis=0) - math.log(len(logs)))

    def mean_log(self, networks: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return the mean of ln rho over networks and sites."""
        return np.asarray(self["typical_log_distance"][networks].mean(axis=0))


def collect(data: xr.Dataset, **parameters: Any) -> list[Curves]:
    """Return the curves of the tasks with these parameters, alike but for sigma_w, in its order."""
    tasks = chosen(data, **parameters)
    found = []
    for sigma_w in np.unique(tasks["sigma_w"].values):
        alike = chosen(tasks, sigma_w=sigma_w)
        layers = alike["recorded_layer"].values[0]
        points = np.isfinite(layers)
        present = np.arange(alike.sizes["network"]) < alike["networks"].values[:, None]
        values = {
            str(name): alike[name].transpose("task", "network", "point").values[present][:, points]
            for name in alike.data_vars
            if name != "recorded_layer"
        }
        found.append(Curves(float(sigma_w), layers[points], values))
    return found


def zero_of_growth(curves: Sequence[Curves], begin: float, end: float = math.inf) -> Estimate:
    """Return the ``sigma_w`` at which the mean exponent of tangents changes sign."""
    if not curves:
        return Estimate.not_determined("no networks were sampled here")
    found = [curve.exponent(begin, end) for curve in curves]
    sigma_w, values, errors = np.array(
        [[curve.sigma_w, one.value, one.error] for curve, one in zip(curves, found, strict=True)]
    ).T
    zero = fit_exponents(sigma_w, values, errors, float(sigma_w.mean())).zero
    if zero.determined and not sigma_w[0] <= zero.value <= sigma_w[-1]:
        return Estimate.not_determined("no change of sign within the sampled sigma_w")
    return zero


# Takes a number of some networks of a curve.
Functional = Callable[[Curves, np.ndarray], float]


def slope_of(begin: float, *, statistic: Statistic = "mean", name: str = "log_distance") -> Functional:
    """Return what takes ``d ln y/d ln l`` from a layer on, of the mean logarithm where that is typical."""

    def slope(curve: Curves, networks: np.ndarray) -> float:
        logs = curve.mean_log(networks) if statistic == "typical" else curve.log_mean(networks, name)
        inside = (curve.layers >= begin) & np.isfinite(logs)
        if inside.sum() < 3:
            return math.nan
        return float(np.polyfit(np.log(curve.layers[inside]), logs[inside], 1)[0])

    return slope


def curvature_of(begin: float) -> Functional:
    """Return what takes the curvature ``d^2 ln y/(d ln l)^2`` of the mean, from a layer on."""

    def curvature(curve: Curves, networks: np.ndarray) -> float:
        inside = curve.layers >= begin
        return float(np.polyfit(np.log(curve.layers[inside]), curve.log_mean(networks)[inside], 2)[0])

    return curvature


def resampled(curves: Sequence[Curves], functionals: Sequence[Functional], seed: int) -> np.ndarray:
    """Return functionals of the networks as they are, then of bootstrap samples of them.

    The shape is (functionals, 1 + resamples, curves).
    """
    rng = np.random.default_rng(seed)
    found = np.empty((len(functionals), 1 + _RESAMPLES, len(curves)))
    for column, curve in enumerate(curves):
        for row in range(1 + _RESAMPLES):
            networks = np.arange(curve.networks)
            if row:
                networks = rng.integers(0, curve.networks, curve.networks)
            found[:, row, column] = [functional(curve, networks) for functional in functionals]
    return found


def at_control(
    curves: Sequence[Curves], drawn: np.ndarray, control: Estimate, seed: int, method: str
) -> Estimate:
    """Return a functional at a ``sigma_w`` between the sampled ones, with the error of both.

    Shapes: `drawn` (1 + resamples, curves), as of :func:`resampled`.
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

    Shapes: `curvature` and `slope` (1 + resamples, curves), as of :func:`resampled`.
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
    """Return ``d ln s/d ln N``, s being the spread of ln growth over networks, N the sites; and each s.

    The spreads are of shape (2, sizes): values and errors. `groups` are of one ``sigma_w``, one a size.
    """
    (drawn,) = resampled(groups, [lambda c, networks: float(c["log_growth"][networks, -1].std(ddof=1))], seed)
    offset = np.log(np.asarray(sites, dtype=float))
    offset -= offset.mean()
    # A bootstrap sample of one network many times has no spread.
    slopes = np.log(np.where(drawn > 0, drawn, math.nan)) @ offset / (offset @ offset)
    slope = _summary(slopes, "straight line in logarithms, bootstrap over networks", groups[0].networks)
    return slope, np.stack([drawn[0], drawn[1:].std(axis=0, ddof=1)])


def _summary(values: np.ndarray, method: str, networks: int) -> Estimate:
    """Return the first entry with half the 68 % interval of the others."""
    others = values[1:][np.isfinite(values[1:])]
    if not math.isfinite(values[0]) or others.size < _LEAST_FOUND * (len(values) - 1):
        return Estimate.not_determined("not found in the sampled range", method=method, n=networks)
    low, high = np.quantile(others, [0.16, 0.84])
    return Estimate(float(values[0]), float(high - low) / 2, method, networks)


@dataclass(frozen=True)
class Numbers:
    """What the data of a part say, before any verdict."""

    settings: CnnSettings
    dimensions: int
    by_size: dict[int, list[Curves]]  # shared weights
    critical: dict[int, Estimate]  # zero of the exponent, by size
    # the same of the largest size, from the first and the second half of the layers
    early: Estimate
    late: Estimate
    # the sigma_w where the ensemble mean is straight, and its slope there
    tuned: Estimate
    tuned_slope: Estimate
    # slopes at the zero, over the last decade, and typical less mean
    mean_slope: Estimate
    gap: Estimate
    # about uniform rows: the curves, the zero of their exponent, its value at the zero of rows that vary
    uniform: list[Curves]
    uniform_critical: Estimate
    uniform_exponent: Estimate
    rough: dict[float, Estimate]  # share of networks whose sites still differ at the end, by sigma_w
    tried: dict[str, tuple[float, float]]  # delta and 1/nu_par of the collapses, NaN where they are free
    # those that could be made, with the exponents of a class or free ones
    collapses: dict[Statistic, dict[str, Collapse]]
    # the locally connected control: likewise
    local: list[Curves]
    local_critical: Estimate
    local_slope: Estimate
    local_typical: Estimate
    local_class: ClassReport | None  # what its decay belongs to
    # slope of the spread of growth against the number of sites, and the spreads, by weights
    spreads: dict[str, tuple[Estimate, np.ndarray]]
    # slopes of mass and survival from a single site
    mass: Estimate
    survival: Estimate

    @property
    def main(self) -> list[Curves]:
        """Shared weights, largest size."""
        return self.by_size[self.settings.sizes[-1]]

    @property
    def zero(self) -> Estimate:
        """The zero of its exponent: the critical point."""
        return self.critical[self.settings.sizes[-1]]

    @property
    def dp(self) -> UniversalityClass:
        """Directed percolation in that many dimensions."""
        return UNIVERSALITY_CLASSES[f"DP {self.dimensions}+1"]


def numbers(data: xr.Dataset, config: Any, *, dimensions: int) -> Numbers:
    s = settings_of(config, dimensions)
    by_size = {size: collect(data, kind="decay", size=size) for size in s.sizes}
    main, local, uniform = by_size[s.sizes[-1]], collect(data, kind="local"), collect(data, kind="uniform")
    critical = {size: zero_of_growth(curves, s.discard) for size, curves in by_size.items()}
    zero = critical[s.sizes[-1]]
    last = s.depth / 10
    mean, typical, slope, curvature = resampled(
        main,
        [slope_of(last), slope_of(last, statistic="typical"), slope_of(s.first), curvature_of(s.first)],
        1,
    )
    tuned, tuned_slope = straightest(main, curvature, slope)
    decade = f"straight line over layers {last:.0f} to {s.depth}, interpolated in sigma_w, bootstrap"
    local_zero = zero_of_growth(local, s.local_discard)
    last = s.local_depth / 10
    local_mean, local_typical = resampled(local, [slope_of(last), slope_of(last, statistic="typical")], 2)
    local_decade = "line over the last decade of layers, interpolated in sigma_w, bootstrap over networks"
    seeds = [_with_log_alive(curve) for curve in collect(data, kind="seed")]
    last = s.seed_depth / 10
    mass, alive = resampled(seeds, [slope_of(last, name="log_mass"), slope_of(last, name="log_alive")], 3)
    tried = _exponents_to_try(dimensions)
    start = zero.value if zero.determined else float(np.mean([c.sigma_w for c in main] or [math.nan]))
    return Numbers(
        settings=s,
        dimensions=dimensions,
        by_size=by_size,
        critical=critical,
        early=zero_of_growth(main, s.discard, s.depth / 2),
        late=zero_of_growth(main, s.depth / 2),
        tuned=tuned,
        tuned_slope=tuned_slope,
        mean_slope=at_control(main, mean, zero, 4, decade),
        gap=at_control(main, typical - mean, zero, 4, decade),
        uniform=uniform,
        uniform_critical=zero_of_growth(uniform, s.discard),
        uniform_exponent=_exponent_at(uniform, s.discard, zero),
        rough={curve.sigma_w: _share_of_rough_rows(curve) for curve in main},
        tried=tried,
        collapses={statistic: _collapses(main, s.first, tried, start, statistic) for statistic in RECORDED},
        local=local,
        local_critical=local_zero,
        local_slope=at_control(local, local_mean, local_zero, 5, local_decade),
        local_typical=at_control(local, local_typical, local_zero, 5, local_decade),
        local_class=_class_of(local, dimensions),
        spreads={
            weights: _spread_of(data, f"fluctuation-{weights}", s.fluctuation_sizes, dimensions)
            for weights in ("shared", "local")
        },
        mass=at_control(seeds, mass, zero, 6, "slope of the mean mass of a seed"),
        survival=at_control(seeds, alive, zero, 6, "slope of the share of living seeds"),
    )


def _with_log_alive(curve: Curves) -> Curves:
    with np.errstate(divide="ignore"):
        return Curves(curve.sigma_w, curve.layers, {**curve.values, "log_alive": np.log(curve["alive"])})


def _exponent_at(curves: Sequence[Curves], begin: float, control: Estimate) -> Estimate:
    (drawn,) = resampled(curves, [lambda c, networks: float(c.exponents(begin)[networks].mean())], 7)
    return at_control(curves, drawn, control, 8, "interpolated in sigma_w, bootstrap over networks")


def _share_of_rough_rows(curve: Curves) -> Estimate:
    rough = curve["log_site_variance"][:, -1] > _ROUGH
    share = float(rough.mean())
    error = math.sqrt(max(share * (1 - share), 1 / curve.networks) / curve.networks)
    return Estimate(share, error, "share of networks", curve.networks)


def _exponents_to_try(dimensions: int) -> dict[str, tuple[float, float]]:
    known = {
        name: (one.delta.value, 1 / one.nu_par.value)
        for name, one in UNIVERSALITY_CLASSES.items()
        if one.dimensions in (None, dimensions) and not one.common_noise
    }
    return {**known, RANDOM_WALK: (0.5, 0.5), FREE: (math.nan, math.nan)}


def _collapses(
    curves: Sequence[Curves],
    first: float,
    tried: Mapping[str, tuple[float, float]],
    start: float,
    statistic: Statistic,
) -> dict[str, Collapse]:
    x, y, size = [], [], []
    for curve in curves:
        logs = curve[RECORDED[statistic]]
        kept = (curve.layers >= first) & (logs.min(axis=0) > _LOWEST)
        if kept.sum() >= 3:
            x.append(curve.sigma_w)
            y.append(np.exp(logs[:, kept]))
            size.append(curve.layers[kept])
    found = {}
    for label, (delta, rate) in tried.items():
        held: Mapping[str, float] = {} if label == FREE else {"a": delta, "b": rate}
        begin = {"critical": start} | ({} if held else {"b": 0.6})
        draws = 20 if held else 200
        try:
            found[label] = collapse(x, y, size, fixed=held, start=begin, statistic=statistic, resamples=draws)
        except InputError:
            continue
    return found


def _class_of(curves: Sequence[Curves], dimensions: int) -> ClassReport | None:
    if len(curves) < 3:
        return None
    density = np.exp(np.stack([curve["log_distance"] for curve in curves]))
    control = [curve.sigma_w for curve in curves]
    return identify_class(curves[0].layers, density, dimensions=dimensions, control=control)


def _spread_of(
    data: xr.Dataset, kind: str, sizes: Sequence[int], dimensions: int
) -> tuple[Estimate, np.ndarray]:
    groups = [curves[0] for size in sizes if (curves := collect(data, kind=kind, size=size))]
    if len(groups) < 2:
        return Estimate.not_determined("no networks were sampled here"), np.full((2, len(sizes)), math.nan)
    return fluctuation_slope(groups, [size**dimensions for size in sizes], 9)
