"""How far activations are from the common curve ``g(y) = y/(1 - exp(-y))``, and how that vanishes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope.estimate import Estimate
from phasescope.papers.absorbing import shared
from phasescope.papers.absorbing.width_correction import mean_distance_factor
from phasescope.studies.check import Check, compare
from phasescope.studies.contract import Table
from phasescope.studies.drawing import short

if TYPE_CHECKING:
    import xarray as xr

# Below the first, the start still shows.
_FROM = 0.5
# Distances from the critical point in the extrapolation: as many as it has terms, and one more.
_TERMS = 5


def universal(y: np.ndarray | float) -> np.ndarray:
    """Return ``g(y) = y/(1 - exp(-y))``: 1 at 0, y far above the transition, ``|y| exp(-|y|)`` far below.

    It solves ``rho' = (chi_1 - 1) rho - kappa rho^2`` from a large start, as ``rho = g/(kappa l)``.
    """
    y = np.asarray(y, dtype=np.float64)
    safe = np.where(y == 0, 1.0, y)
    return np.where(y == 0, 1.0, safe / -np.expm1(-safe))


@dataclass(frozen=True)
class Curves:
    """The exact map of one activation on both sides of the transition."""

    known: Mapping[str, float]  # the critical point
    # rate, tau: (distances,): ``ln chi_1`` and ``sigma_w - sigma_wc``
    rate: np.ndarray
    tau: np.ndarray
    # layers, rho: (distances, depths): depths and distances between inputs
    layers: np.ndarray
    rho: np.ndarray

    def deviation(self, *, exact_rate: bool = True) -> np.ndarray:
        """Return ``kappa l rho/g - 1``, of shape (distances, depths)."""
        growth = self.rate if exact_rate else self.known["gamma"] * self.tau
        return np.asarray(
            self.known["kappa"] * self.layers * self.rho / universal(growth[:, None] * self.layers) - 1
        )


def curves_of(data: xr.Dataset, spec: str) -> Curves | None:
    """Return the exact map of an activation where it was iterated, or None where it never was."""
    chosen = shared.of_kind(data, "map", activation=spec)
    here = np.isfinite(chosen["map_log_distance"].values).all(axis=-1)
    if not here.any():
        return None
    row, here = chosen.isel(task=0), here[0]
    return Curves(
        shared.named(row["reference"].values),
        row["map_rate"].values[here],
        row["map_tau"].values[here],
        row["map_layer"].values[here],
        np.exp(row["map_log_distance"].values[here]),
    )


def metric_checks(data: xr.Dataset, config: Any, activations: tuple[str, ...]) -> list[Check]:
    """Return three checks an activation: the limit, the way to it, and finite networks."""
    checks = []
    for spec in activations:
        reference = shared.of_kind(data, "map", activation=spec)["reference"].values
        known = shared.named(reference[0]) if len(reference) else dict.fromkeys(shared.QUANTITIES, math.nan)
        curves = curves_of(data, spec)
        reason = shared.missing(known, spec, config.sigma_b, curved=True)
        if curves is None and not reason:
            reason = f"the exact map of {short(spec)} takes a quadrature a layer, too slow for deep networks"
        checks += _checks_of(data, spec, curves, reason)
    return checks


def _checks_of(data: xr.Dataset, spec: str, curves: Curves | None, reason: str) -> list[Check]:
    found = {name: Estimate.not_determined(reason) for name in ("collapse", "approach", "networks")}
    allowance = 0.0
    if curves is not None and not reason:
        found["collapse"], found["approach"] = limit(curves)
        found["networks"], allowance = networks_against_map(data, spec, curves)
    name = short(spec)
    return [
        compare(
            f"metric-factors/collapse-{name}",
            f"kappa l rho of {name} tends to y/(1 - exp(-y)), y = gamma tau l, as tau -> 0; measured: rms "
            "of what is left in the limit.",
            "arXiv:2307.02284; the curve derived here",
            0.0,
            found["collapse"],
            resolution=5e-3,
            note="Exact map, extrapolated to tau = 0 at fixed y on both sides.",
        ),
        compare(
            f"metric-factors/approach-{name}",
            f"What is left of {name} vanishes as tau ln(1/tau), with the coefficient of the critical "
            "logarithm; measured: the ratio.",
            "derived here",
            1.0,
            found["approach"],
            resolution=0.1,
            note="Exact map on the ordered side at depth, where it is largest.",
        ),
        compare(
            f"metric-factors/networks-{name}",
            f"Networks of {name} lie on the same curves; measured: the mean of ln(rho/exact map's).",
            "arXiv:2307.02284",
            0.0,
            found["networks"],
            allowance=allowance,
            resolution=0.05,
            note=f"Effect of the width at order 1/n taken out; its square, {allowance:.1g}, is allowed.",
        ),
    ]


def limit(curves: Curves) -> tuple[Estimate, Estimate]:
    """Return what is left of the deviation at the critical point, and its leading term over the derived one.

    At fixed y the deviation is ``A e ln(1/e) + B e + ...`` in ``e = |ln chi_1|``. Above and below the
    transition ``A = -+(1 - k3/kappa^2)/(exp(y) - 1)``: the logarithmic correction ``c ln l`` of ``1/rho``,
    carried along the curve. Terms ``e^2 ln^2`` and ``e^2 ln`` are fitted too; the error is the change
    without the last of them.
    """
    sides = [int((np.sign(curves.tau) == sign).sum()) for sign in (-1, 1)]
    if min(sides) <= _TERMS:
        few = Estimate.not_determined(f"fewer than {_TERMS + 1} distances from the critical point on a side")
        return few, few
    left, ratios = [], np.empty((2, 0))
    for sign in (-1, 1):
        side = np.flatnonzero(np.sign(curves.tau) == sign)
        side = side[np.argsort(np.abs(curves.rate[side]))][: _TERMS + 1]
        e = np.abs(curves.rate[side])
        log = np.log(1 / e)
        y = np.median(curves.rate[side, None] * curves.layers[side], axis=0)
        inside = np.abs(y) >= _FROM
        deviation = curves.deviation()[side][:, inside]
        basis = np.stack([np.ones_like(e), e * log, e, (e * log) ** 2, e**2 * log], axis=1)
        whole, short_of_one = (
            np.linalg.lstsq(basis[:, :terms] / e[:, None], deviation / e[:, None], rcond=None)[0]
            for terms in (_TERMS, _TERMS - 1)
        )
        left.append(np.stack([whole[0], whole[0] - short_of_one[0]]))
        if sign < 0:
            predicted = (1 - curves.known["k3"] / curves.known["kappa"] ** 2) / np.expm1(y[inside])
            deep = np.abs(y[inside]) >= 3
            ratios = (np.stack([whole[1], whole[1] - short_of_one[1]]) / predicted)[:, deep]
    value, change = np.sqrt((np.concatenate(left, axis=1) ** 2).mean(axis=1))
    window = (float(np.abs(curves.rate).min()), float(e.max()))
    method = "extrapolation of the exact map"
    ratio, doubt = float(ratios[0].mean()), float(np.sqrt((ratios[1] ** 2).mean()))
    return (
        Estimate(float(value), float(change), method, e.size, window),
        Estimate(ratio, doubt, method, e.size, window),
    )


@dataclass(frozen=True)
class Sampled:
    """Networks at one distance from the critical point."""

    gamma_tau: float  # ``gamma (sigma_w - sigma_wc)``
    layers: np.ndarray  # (depths,): layers applied
    rho: np.ndarray  # (networks, depths): ``1 - c``, effect of the width at order 1/n taken out
    exact: np.ndarray  # (depths,): of the exact map there
    effect: np.ndarray  # (depths,): relative effect of the width that was taken out


def sampled_of(data: xr.Dataset, spec: str, curves: Curves) -> list[Sampled]:
    """Return the networks of an activation, one entry for each distance from the critical point."""
    chosen = shared.of_kind(data, "networks", activation=spec)
    found = []
    for gamma_tau in np.unique(chosen["gamma_tau"].values.astype(float)):
        here = shared.of_kind(chosen, "networks", gamma_tau=gamma_tau)
        layers = here["layer"].values[0]
        layers = layers[np.isfinite(layers)]
        rho = np.exp(here["log_distance"].values[:, :, : layers.size]).reshape(-1, layers.size)
        width, rate = float(here["width"].values[0]), float(here["rate"].values[0])
        factor = mean_distance_factor(layers, rate, curves.known, width)
        distance = np.abs(curves.known["gamma"] * curves.tau - gamma_tau)
        nearest = int(np.argmin(distance))
        if distance[nearest] > 1e-6 * abs(gamma_tau):
            continue
        exact = np.interp(layers, curves.layers[nearest], curves.rho[nearest])
        found.append(Sampled(float(gamma_tau), layers, rho / factor, exact, factor - 1))
    return found


def networks_against_map(data: xr.Dataset, spec: str, curves: Curves) -> tuple[Estimate, float]:
    """The mean of ``ln(rho/exact)`` over depths and distances, and the square of the width's effect."""
    random = np.random.default_rng(0)
    values, drawn, effects, count = [], [], [], 0
    for sampled in sampled_of(data, spec, curves):
        inside = sampled.layers * abs(sampled.gamma_tau) >= _FROM
        rho, exact = sampled.rho[:, inside], sampled.exact[inside]
        rows = random.integers(0, len(rho), (400, len(rho)))
        values.append(float(np.log(rho.mean(axis=0) / exact).mean()))
        drawn.append(np.log(rho[rows].mean(axis=1) / exact).mean(axis=1))
        effects.append(float(np.abs(sampled.effect[inside]).max()))
        count += len(rho)
    if not values:
        return Estimate.not_determined("no networks"), 0.0
    error = float(np.mean(drawn, axis=0).std(ddof=1))
    estimate = Estimate(float(np.mean(values)), error, "bootstrap over networks", count)
    return estimate, max(effects) ** 2


def metric_table(data: xr.Dataset, activations: tuple[str, ...]) -> Table:
    """Return metric factors, and the largest deviation from the common curve by distance from criticality."""
    rows, columns = (
        [],
        ["activation", "kappa", "gamma", "gamma |tau|", "largest deviation", "with gamma tau l"],
    )
    for spec in activations:
        curves = curves_of(data, spec)
        if curves is None:
            continue
        known = curves.known
        for size, both in worst(curves).items():
            cells = [f"{size:.4g}", f"{100 * both[0]:.2f} %", f"{100 * both[1]:.2f} %"]
            rows.append([short(spec), f"{known['kappa']:.5f}", f"{known['gamma']:.5f}", *cells])
    return Table("Distance from the common curve, 0.5 < |y| < 6", columns, rows)


def worst(curves: Curves) -> dict[float, tuple[float, float]]:
    """The largest relative deviation for y = l ln chi_1 and for y = gamma tau l, by ``gamma |tau|``."""
    gamma_tau = curves.known["gamma"] * np.abs(curves.tau)
    inside = gamma_tau[:, None] * curves.layers >= _FROM * (1 - 1e-9)
    largest = [
        np.where(inside, np.abs(curves.deviation(exact_rate=exact)), 0.0).max(axis=1)
        for exact in (True, False)
    ]
    found: dict[float, tuple[float, float]] = {}
    for size in sorted({round(float(value), 9) for value in gamma_tau}, reverse=True):
        here = np.isclose(gamma_tau, size, rtol=1e-6)
        found[size] = (float(largest[0][here].max()), float(largest[1][here].max()))
    return found
