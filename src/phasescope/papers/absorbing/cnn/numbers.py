"""Everything that checks and figures of a convolutional part are made of, computed once from the data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.papers.absorbing.cnn.curves import (
    Curves,
    at_control,
    collect,
    curvature_of,
    fluctuation_slope,
    resampled,
    slope_of,
    straightest,
    zero_of_growth,
)
from phasescope.scaling import UNIVERSALITY_CLASSES, ClassReport, Collapse, collapse, identify_class

if TYPE_CHECKING:
    import xarray as xr

    from phasescope.papers.absorbing.cnn.part import CnnSettings

# One walker for all sites, reflected where rho saturates: E[rho] = l^-1/2 F(tau l^1/2).
RANDOM_WALK = "common random walk"
_LOWEST = -690.0
# A row whose sites differ by less than this share of |h|^2 is on its way to being uniform.
_ROUGH = math.log(1e-3)


@dataclass(frozen=True)
class Numbers:
    """What the data of a part say, before any verdict."""

    main: list[Curves]  # shared weights, largest size
    critical: dict[int, Estimate]  # zero of the exponent, by size
    # early, late: the same of the largest size, from the first and the second half of the layers
    early: Estimate
    late: Estimate
    # tuned, tuned_slope: the ``sigma_w`` where the ensemble mean is straight, and its slope there
    tuned: Estimate
    tuned_slope: Estimate
    # mean_slope, typical_slope, gap: at the zero, over the last decade, and the difference
    mean_slope: Estimate
    typical_slope: Estimate
    gap: Estimate
    uniform: list[Curves]  # about uniform rows
    # uniform_critical, uniform_exponent: zero of their exponent, and its value at the zero of rows that vary
    uniform_critical: Estimate
    uniform_exponent: Estimate
    # share of networks whose sites still differ in the last layer, by ``sigma_w``
    rough: dict[float, Estimate]
    # collapses, typical_collapses: with the exponents of a class, and "free"; a class that cannot be tried is
    # left out
    collapses: dict[str, Collapse]
    typical_collapses: dict[str, Collapse]
    local: list[Curves]  # the locally connected control
    # local_critical, local_slope, local_typical: likewise
    local_critical: Estimate
    local_slope: Estimate
    local_typical: Estimate
    local_class: ClassReport | None  # what the control's decay belongs to
    # slope of the spread of growth against the number of sites, with the spreads, by weights
    spreads: dict[str, tuple[Estimate, np.ndarray]]
    # mass, survival: slopes of seed starts
    mass: Estimate
    survival: Estimate


def class_exponents(dimensions: int) -> dict[str, tuple[float, float]]:
    """Return delta and ``1/nu_par`` of the classes that a collapse is tried with."""
    known = {
        name: (one.delta.value, 1 / one.nu_par.value)
        for name, one in UNIVERSALITY_CLASSES.items()
        if one.dimensions in (None, dimensions)
    }
    return {**known, RANDOM_WALK: (0.5, 0.5)}


def numbers(data: xr.Dataset, settings: CnnSettings, dimensions: int) -> Numbers:
    """Return what the data of a part say."""
    s = settings
    sizes = {size: collect(data, "decay", size) for size in s.sizes}
    main, local, uniform = sizes[s.sizes[-1]], collect(data, "local"), collect(data, "uniform")
    half = s.depth / 2
    critical = {size: zero_of_growth(curves, s.discard) for size, curves in sizes.items()}
    zero = critical[s.sizes[-1]]
    last = s.depth / 10
    drawn = resampled(
        main, [slope_of(last), slope_of(last, typical=True), slope_of(s.first), curvature_of(s.first)], 1
    ).transpose(1, 0, 2)
    tuned, tuned_slope = straightest(main, drawn[3], drawn[2])
    decade = f"straight line over layers {last:.0f} to {s.depth}, interpolated in sigma_w, bootstrap"
    local_zero = zero_of_growth(local, min(s.discard, s.local_depth / 4))
    local_last = s.local_depth / 10
    local_drawn = resampled(local, [slope_of(local_last), slope_of(local_last, typical=True)], 2)
    seeds = collect(data, "seed")
    seed_slopes = [
        slope_of(s.seed_depth / 10, name="log_mass"),
        slope_of(s.seed_depth / 10, name="log_alive"),
    ]
    seed_drawn = resampled([_with_log_alive(curve) for curve in seeds], seed_slopes, 3)
    start = zero.value if zero.determined else float(np.mean([c.sigma_w for c in main] or [math.nan]))
    spread = "line over the last decade of layers, interpolated in sigma_w, bootstrap over networks"
    return Numbers(
        main=main,
        critical=critical,
        early=zero_of_growth(main, s.discard, half),
        late=zero_of_growth(main, half),
        tuned=tuned,
        tuned_slope=tuned_slope,
        mean_slope=at_control(main, drawn[0], zero, 4, decade),
        typical_slope=at_control(main, drawn[1], zero, 4, decade),
        gap=at_control(main, drawn[1] - drawn[0], zero, 4, decade),
        uniform=uniform,
        uniform_critical=zero_of_growth(uniform, s.discard),
        uniform_exponent=_exponent_at(uniform, s.discard, zero),
        rough={curve.sigma_w: _share_of_rough_rows(curve) for curve in main},
        collapses=_collapses(main, s.first, dimensions, start, "mean"),
        typical_collapses=_collapses(main, s.first, dimensions, start, "typical"),
        local=local,
        local_critical=local_zero,
        local_slope=at_control(local, local_drawn[:, 0], local_zero, 5, spread),
        local_typical=at_control(local, local_drawn[:, 1], local_zero, 5, spread),
        local_class=_class_of(local, dimensions),
        spreads={
            weights: _spread_of(data, f"fluctuation-{weights}", s.fluctuation_sizes, dimensions)
            for weights in ("shared", "local")
        },
        mass=at_control(seeds, seed_drawn[:, 0], zero, 6, "slope of the mean mass of a seed"),
        survival=at_control(seeds, seed_drawn[:, 1], zero, 6, "slope of the share of living seeds"),
    )


def _with_log_alive(curve: Curves) -> Curves:
    with np.errstate(divide="ignore"):
        return Curves(curve.sigma_w, curve.layers, {**curve.values, "log_alive": np.log(curve["alive"])})


def _exponent_at(curves: Sequence[Curves], begin: float, control: Estimate) -> Estimate:
    drawn = resampled(curves, [lambda c, chosen: float(c.exponents(begin)[chosen].mean())], 7)[:, 0]
    return at_control(curves, drawn, control, 8, "interpolated in sigma_w, bootstrap over networks")


def _share_of_rough_rows(curve: Curves) -> Estimate:
    rough = curve["log_site_variance"][:, -1] > _ROUGH
    share = float(rough.mean())
    error = math.sqrt(max(share * (1 - share), 1 / curve.networks) / curve.networks)
    return Estimate(share, error, "share of networks", curve.networks)


def _collapses(
    curves: Sequence[Curves], first: float, dimensions: int, start: float, statistic: str
) -> dict[str, Collapse]:
    name = "log_distance" if statistic == "mean" else "typical_log_distance"
    x, y, size = [], [], []
    for curve in curves:
        kept = (curve.layers >= first) & (curve[name].min(axis=0) > _LOWEST)
        if kept.sum() >= 3:
            x.append(curve.sigma_w)
            y.append(np.exp(curve[name][:, kept]))
            size.append(curve.layers[kept])
    found = {}
    for label, (delta, rate) in {**class_exponents(dimensions), "free": (math.nan, math.nan)}.items():
        held: Mapping[str, float] = {} if label == "free" else {"a": delta, "b": rate}
        begin = {"critical": start} | ({} if held else {"b": 0.6})
        try:
            found[label] = collapse(
                x,
                y,
                size,
                fixed=held,
                start=begin,
                statistic="mean" if statistic == "mean" else "typical",
                resamples=20 if held else 200,
            )
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
    groups = [curves[0] for size in sizes if (curves := collect(data, kind, size))]
    if len(groups) < 2:
        return Estimate.not_determined("no networks were sampled here"), np.full((2, len(sizes)), math.nan)
    return fluctuation_slope(groups, [size**dimensions for size in sizes], 9)
