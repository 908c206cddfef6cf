"""What v and mu do along the critical line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope.estimate import Estimate
from phasescope.papers.absorbing import shared
from phasescope.papers.absorbing.finite_width_analysis import law_of
from phasescope.papers.absorbing.inverse_width import in_inverse_width, truncated_limit
from phasescope.papers.absorbing.width_groups import half_depth
from phasescope.studies.check import Check, Outcome, compare
from phasescope.studies.contract import Table
from phasescope.studies.drawing import short

if TYPE_CHECKING:
    import xarray as xr

_ABSENT = Estimate.not_determined("sin is not among the activations, or has no values")
_NONE = Estimate.not_determined("not measured at this bias")


@dataclass(frozen=True)
class LinePoint:
    """One point of a critical line, as predicted and as measured."""

    sigma_b: float  # its bias
    known: Mapping[str, float]  # what ``shared.named`` returns
    # v, mu: as measured
    v: Estimate
    mu: Estimate
    expected_mu: float  # in theory; NaN where kappa does not exist or the distance departs upwards


def line_of(data: xr.Dataset, activation: str, config: Any) -> list[LinePoint]:
    """Return what was found along the critical line of one activation, by growing bias."""
    points = shared.of_kind(data, "point", activation=activation)
    fraction = config.width_cost.fraction
    found = []
    for index in np.argsort(points["sigma_b"].values):
        sigma_b = float(points["sigma_b"].values[index])
        known = shared.named(points["reference"].values[index])
        if not math.isfinite(known["sigma_w"]):
            continue
        growth = shared.of_kind(data, "growth", activation=activation, sigma_b=sigma_b)
        flow = shared.of_kind(data, "flow", activation=activation, sigma_b=sigma_b)
        law = law_of(known)
        usable = math.isfinite(known["kappa"]) and law.a < law.v / 3
        expected = 1 / law.departure(fraction) if usable else math.nan
        found.append(LinePoint(sigma_b, known, _variance(growth), _mu(flow, fraction), expected))
    return found


def _variance(data: xr.Dataset) -> Estimate:
    """Return v, the limit of n times the variance per layer of the growth of tangent vectors."""
    widths = np.unique(data["width"].values)
    if not len(widths):
        return _NONE
    return in_inverse_width(widths.tolist(), [_at_width(data, int(n)) for n in widths], 1).limit


def _at_width(data: xr.Dataset, n: int) -> Estimate:
    mine = data.isel(task=np.flatnonzero(data["width"].values == n))
    mean, square, product = (
        mine[name].values.ravel() for name in ("growth", "growth_square", "growth_product")
    )
    segment = float(mine["segment"].values[0])

    # Neighbours bring back what a segment's variance misses at its ends.
    def variance(chosen: np.ndarray) -> float:
        centre = mean[chosen].mean() ** 2
        return float(n / segment * (square[chosen].mean() - centre + 2 * (product[chosen].mean() - centre)))

    count = len(mean)
    everyone = np.arange(count)
    left_out = np.array([variance(everyone != index) for index in everyone])
    error = math.sqrt((count - 1) / count * float(((left_out - left_out.mean()) ** 2).sum()))
    return Estimate(variance(everyone >= 0), error, "jackknife over groups of networks", count)


def _mu(data: xr.Dataset, fraction: float) -> Estimate:
    """Return mu, the limit of width over the depth where the flow of infinite width has lost a fraction."""
    widths = np.unique(data["width"].values)
    if not len(widths):
        return _NONE
    values = []
    for n in widths:
        mine = data.isel(task=np.flatnonzero(data["width"].values == n))
        kept = np.isfinite(mine["layer"].values[0])
        groups = mine["mean"].values[:, :, kept].reshape(-1, kept.sum())
        layers, infinite = (mine[name].values[0][kept] for name in ("layer", "infinite"))
        values.append(half_depth(layers, groups, infinite, int(n), fraction))
    limit = truncated_limit(widths.tolist(), values)
    if not limit.determined:
        return limit
    if limit.value < 3 * limit.error:
        return Estimate.not_determined(f"the depth {limit} over width is not told from 0")
    return replace(limit, value=1 / limit.value, error=limit.error / limit.value**2, window=None)


def width_cost_checks(data: xr.Dataset, config: Any) -> list[Check]:
    """Return the checks of the part."""
    lines = {activation: line_of(data, activation, config) for activation in config.activations}
    checks = []
    for activation, points in lines.items():
        checks += _ratio_checks(short(activation), points)
    for activation, points in lines.items():
        checks += _slope_checks(short(activation), points)
    sin = next((points for name, points in lines.items() if short(name) == "sin"), [])
    return [*checks, _cost_check(lines), _sin_variance_check(sin), _sin_flow_check(sin)]


def _ratio_checks(name: str, points: Sequence[LinePoint]) -> list[Check]:
    v = mean_ratio([(point.v, point.known["v"]) for point in points])
    mu = mean_ratio([(point.mu, point.expected_mu) for point in points])
    return [
        compare(
            f"width-cost/v-{name}",
            f"{name}: the variance of growth per layer is v/n along the critical line; measured over theory.",
            "derived here",
            1.0,
            v,
            resolution=0.05,
            note="Weighted mean over the biases of v at n to infinity, over theory.critical_line's.",
        ),
        compare(
            f"width-cost/mu-{name}",
            f"{name}: the infinite-width flow ends where theory says, along the critical line.",
            "arXiv:2307.02284 (n of at least mu L); the value is derived here",
            1.0,
            mu,
            resolution=0.15,
            note="Weighted mean over the biases of mu at n to infinity, over theory.finite_width_scaling's.",
        ),
    ]


def mean_ratio(pairs: Sequence[tuple[Estimate, float]]) -> Estimate:
    """Return the weighted mean of measured over expected numbers."""
    known = [(found, truth) for found, truth in pairs if found.determined and math.isfinite(truth)]
    if not known:
        reasons = [found.reason for found, _ in pairs if not found.determined]
        return Estimate.not_determined(reasons[0] if reasons else "no critical line")
    relative = np.array([found.value / truth for found, truth in known])
    # Weights must not know the measured value, or small ones would count more.
    weight = np.array([(truth / found.error) ** 2 for found, truth in known])
    value = float((weight * relative).sum() / weight.sum())
    return Estimate(value, float(weight.sum() ** -0.5), "weighted mean over biases", len(known))


def _slope_checks(name: str, points: Sequence[LinePoint]) -> list[Check]:
    made = []
    for quantity, label, resolution in (("v", "v", 0.03), ("mu", "mu", 0.1)):
        pairs = [
            (point.v, point.known["v"]) if quantity == "v" else (point.mu, point.expected_mu)
            for point in points
        ]
        kappas = [point.known["kappa"] for point in points]
        made.append(
            compare(
                f"width-cost/{label}-slope-{name}",
                f"{name}: d ln {label}/d ln kappa along the critical line is as in theory.",
                "derived here",
                _expected_slope(kappas, pairs),
                slope(kappas, [found for found, _ in pairs]),
                resolution=resolution,
                note="Weighted straight line through the biases, with the same weights in theory.",
            )
        )
    return made


def slope(kappas: Sequence[float], values: Sequence[Estimate]) -> Estimate:
    """Return ``d ln value/d ln kappa`` by a weighted straight line."""
    chosen, pull, _ = _line(kappas, values)
    if chosen is None:
        return Estimate.not_determined("fewer than two points of the critical line have a value")
    logs = np.array([math.log(values[index].value) for index in chosen])
    errors = np.array([values[index].error / values[index].value for index in chosen])
    return Estimate(
        float(pull @ logs), float(np.sqrt(pull**2 @ errors**2)), "weighted straight line", len(chosen)
    )


def _expected_slope(kappas: Sequence[float], pairs: Sequence[tuple[Estimate, float]]) -> float | None:
    chosen, pull, _ = _line(kappas, [found for found, _ in pairs])
    if chosen is None:
        return None
    truth = np.array([pairs[index][1] for index in chosen])
    return float(pull @ np.log(truth)) if np.isfinite(truth).all() else None


def _line(
    kappas: Sequence[float], values: Sequence[Estimate]
) -> tuple[list[int] | None, np.ndarray, np.ndarray]:
    """Return which values count, and the weights with which their logarithms make a slope."""
    chosen = [
        index
        for index, (kappa, found) in enumerate(zip(kappas, values, strict=True))
        if found.determined and found.value > 0 and math.isfinite(kappa)
    ]
    if len(chosen) < 2:
        return None, np.empty(0), np.empty(0)
    x = np.log([kappas[index] for index in chosen])
    weight = np.array([(values[index].value / values[index].error) ** 2 for index in chosen])
    offset = x - (weight * x).sum() / weight.sum()
    return chosen, weight * offset / (weight * offset**2).sum(), x


def _cost_check(lines: Mapping[str, Sequence[LinePoint]]) -> Check:
    """Return the check of the paper's statement, on those activations whose mu grows in theory."""
    slopes = []
    for activation, points in lines.items():
        if short(activation) != "sin":
            slopes.append(slope([p.known["kappa"] for p in points], [p.mu for p in points]))
    known = [found for found in slopes if found.determined]
    measured = Estimate.not_determined("mu is not determined along any critical line")
    verdict: Outcome = "not determined"
    if known:
        weight = np.array([found.error**-2 for found in known])
        value = float((weight * [found.value for found in known]).sum() / weight.sum())
        measured = Estimate(value, float(weight.sum() ** -0.5), "weighted mean over activations", len(known))
        if abs(value) > 3 * measured.error:
            verdict = "agrees" if value > 0 else "disagrees"
    return Check(
        "width-cost/larger-kappa-larger-mu",
        "A larger kappa usually costs a larger mu; measured: d ln mu/d ln kappa, mean without sin.",
        "arXiv:2307.02284",
        None,
        measured,
        verdict,
        "Agrees where the slope is positive by more than three standard errors.",
    )


def _sin_variance_check(points: Sequence[LinePoint]) -> Check:
    known = [point for point in points if point.v.determined]
    id = "width-cost/sin-variance"
    claim = (
        "sin: the variance v of growth at the largest kappa is that at the smallest; measured: their ratio."
    )
    if len(known) < 2:
        return compare(id, claim, "derived here", 1.0, _ABSENT)
    first, last = known[0], known[-1]
    value = last.v.value / first.v.value
    error = value * math.hypot(last.v.error / last.v.value, first.v.error / first.v.value)
    gain = last.known["kappa"] / first.known["kappa"]
    return compare(
        id,
        claim,
        "derived here",
        last.known["v"] / first.known["v"],
        Estimate(value, error, "ratio of two extrapolated variances", 2),
        resolution=0.15,
        note=f"Between sigma_b = {first.sigma_b:g} and {last.sigma_b:g} kappa grows {gain:.0f} times.",
    )


def _sin_flow_check(points: Sequence[LinePoint]) -> Check:
    kappas = [point.known["kappa"] for point in points]
    pairs = [(point.mu, point.expected_mu) for point in points]
    expected = _expected_slope(kappas, pairs)
    note = "Agrees with 0 within three standard errors."
    if expected is not None:
        whole = math.log(pairs[-1][1] / pairs[0][1]) / math.log(kappas[-1] / kappas[0])
        note += (
            f" Theory has {expected:.3f} here and {whole:.3f} over all biases: v is flat, but a = d0 + v/2, "
            "which holds the mean distance up, falls with kappa."
        )
    return compare(
        "width-cost/sin-flow",
        "sin: a larger kappa costs no width at all; measured: d ln mu/d ln kappa.",
        "derived here",
        0.0,
        slope(kappas, [found for found, _ in pairs]) if points else _ABSENT,
        resolution=0.05,
        note=note,
    )


def width_cost_table(data: xr.Dataset, config: Any) -> Table:
    """Return kappa, v and mu of all points."""
    rows = [
        [
            short(activation),
            f"{point.sigma_b:g}",
            f"{point.known['kappa']:.4f}",
            f"{point.known['v']:.3f}",
            str(point.v),
            f"{point.expected_mu:.3f}",
            str(point.mu),
        ]
        for activation in config.activations
        for point in line_of(data, activation, config)
    ]
    columns = ["activation", "sigma_b", "kappa", "v, theory", "v, measured", "mu, theory", "mu, measured"]
    return Table("Along the critical line", columns, rows)
