"""One curve for all smooth activations, once depth and distance are measured in their own units.

``kappa l rho`` tends to ``g(y) = y/(1 - exp(-y))``, ``y = gamma tau l``, as ``tau -> 0``
(arXiv:2307.02284; the curve derived here). What is left vanishes as ``tau ln(1/tau)``, with the coefficient
of the logarithm at the critical point (derived here).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers.absorbing import iterates, shared
from phasescope.papers.absorbing.shared import STUDY, activation_of, identified
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend, logarithmic, short
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

# Depths in units of 1/(gamma |tau|), and how many of them.
_LEAST, _MOST, _DEPTHS = 0.1, 6.0, 24
# Networks are followed up to this depth, in the same units: beyond, few carry the mean.
_NETWORKS_MOST = 4.0
# Below this depth, in the same units, the start still shows.
_FROM = 0.5
_PAPER = "arXiv:2307.02284"
# Terms of the extrapolation to the critical point; it takes one more distance from there than it has terms.
_TERMS = 5
# Drawn: the curves nearest these gamma |tau|.
_DRAWN = (0.03, 0.0025)


class MetricFactorsSettings(Settings):
    """Sizes of the collapse."""

    # smooth activations besides those of the whole study: arctan is odd like the others, cos is even
    also: tuple[str, ...] = ("arctan", "cos")
    # gamma |tau| of the exact map, descending, on both sides of the transition
    rates: tuple[float, ...] = (0.1, 0.03, 0.02, 0.01, 0.005, 0.0025, 0.00125, 0.0006, 0.0003)
    sampled_rates: tuple[float, ...] = (0.1, 0.03)  # those of them at which finite networks are sampled too
    width: int = 4000  # neurons in each layer
    networks: int = 40  # of a task
    repeats: int = 1  # tasks for each activation and tau


QUICK = MetricFactorsSettings()
PAPER = MetricFactorsSettings(width=16_000, repeats=3)

VARIABLES = {
    "reference": shared.LINE,
    "map_rate": Variable(("distance",), "ln chi_1 of the exact map", "1/layer", optional=True),
    "map_tau": Variable(("distance",), "sigma_w - sigma_wc of the exact map", optional=True),
    "map_layer": Variable(("distance", "depth"), "layers applied by the exact map", "layer", optional=True),
    "map_log_distance": Variable(("distance", "depth"), "ln(1 - c) of the exact map", optional=True),
    "rate": Variable((), "ln chi_1 of the networks' sigma_w", "1/layer", optional=True),
    "layer": Variable(("depth",), "layers applied by the networks", "layer", optional=True),
    "log_distance": Variable(("network", "depth"), "ln(1 - c) of networks", optional=True),
}


def tasks(config: Any) -> list[Task]:
    """Return one task an activation for the exact map, and one for each of its networks' tau."""
    settings: MetricFactorsSettings = config.metric_factors
    made = []
    for spec in _followed(config):
        common = {**identified(spec), "sigma_b": config.sigma_b, "seed": config.seed}
        common |= {"rates": list(settings.rates), "networks": settings.networks}
        parameters = {"kind": "map", "gamma_tau": 0.0, "width": 0, **common}
        layers = 2 * _MOST * sum(1 / rate for rate in settings.rates)
        seconds = layers * iterates.ITERATE
        made.append(Task(STUDY, "metric-factors", parameters, seconds=seconds, memory=200_000_000))
        point = shared.named(shared.values(shared.point_or_none(spec, config.sigma_b)))
        if shared.missing(point, spec, config.sigma_b, curved=True):
            continue
        for rate in (sign * r for r in settings.sampled_rates for sign in (-1, 1)):
            parameters = {"kind": "networks", "gamma_tau": rate, "width": settings.width, **common}
            seconds = settings.width * settings.networks * _NETWORKS_MOST / abs(rate) * iterates.PAIR
            made += [
                Task(STUDY, "metric-factors", parameters, replica, seconds=seconds, memory=300_000_000)
                for replica in range(settings.repeats)
            ]
    return made


def _followed(config: Any) -> list[str]:
    """Return the activations of the collapse, each once."""
    return list(dict.fromkeys([*config.activations, *config.metric_factors.also]))


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return distances against depth on both sides of the transition: the exact map's, or of networks."""
    known = task.parameters
    spec, sigma_b = known["activation"], known["sigma_b"]
    point = shared.point_of(known)
    found: dict[str, Any] = {"reference": shared.values(point)}
    if point is None or shared.missing(shared.named(found["reference"]), spec, sigma_b, curved=True):
        return found
    function = activation_of(known)
    if known["kind"] == "map":
        sides = [sign * rate for sign in (-1, 1) for rate in known["rates"]]
        taus, layers = [rate / point.gamma for rate in sides], [_depths(abs(rate)) for rate in sides]
        return found | {
            "map_rate": [iterates.growth_rate(function, point.sigma_w + tau, sigma_b) for tau in taus],
            "map_tau": taus,
            "map_layer": layers,
            "map_log_distance": [
                np.log(iterates.distances(function, point.sigma_w + tau, sigma_b, depths))
                for tau, depths in zip(taus, layers, strict=True)
            ],
        }
    sigma_w, rate = point.sigma_w + known["gamma_tau"] / point.gamma, abs(known["gamma_tau"])
    depths = np.unique(_depths(rate))
    depths = depths[depths <= _NETWORKS_MOST / rate]
    return found | {
        "rate": iterates.growth_rate(function, sigma_w, sigma_b),
        "layer": depths,
        "log_distance": iterates.sampled(task, function, sigma_w**2, sigma_b**2, depths, device),
    }


def _depths(rate: float) -> np.ndarray:
    return np.maximum(1, np.round(np.geomspace(_LEAST, _MOST, _DEPTHS) / rate)).astype(np.int64)


@dataclass(frozen=True)
class Curves:
    """The exact map of one activation on both sides of the transition."""

    point: Mapping[str, float]  # the critical point
    rate: np.ndarray  # (distances,): ln chi_1
    tau: np.ndarray  # (distances,): sigma_w - sigma_wc
    layers: np.ndarray  # (distances, depths): layers applied
    rho: np.ndarray  # (distances, depths): 1 - c

    @property
    def gamma_tau(self) -> np.ndarray:
        return self.point["gamma"] * self.tau

    def deviation(self, *, exact_rate: bool = True) -> np.ndarray:
        """Return ``kappa l rho/g - 1``, (distances, depths), at ``y = l ln chi_1`` or ``y = gamma tau l``."""
        y = (self.rate if exact_rate else self.gamma_tau)[:, None] * self.layers
        return np.asarray(self.point["kappa"] * self.layers * self.rho / universal(y) - 1)


def universal(y: np.ndarray | float) -> np.ndarray:
    """Return ``g(y) = y/(1 - exp(-y))``: 1 at 0, y far above the transition, ``|y| exp(-|y|)`` far below.

    It solves ``rho' = (chi_1 - 1) rho - kappa rho^2`` from a large start, as ``rho = g/(kappa l)``.
    """
    y = np.asarray(y, dtype=np.float64)
    safe = np.where(y == 0, 1.0, y)
    return np.where(y == 0, 1.0, safe / -np.expm1(-safe))


@dataclass(frozen=True)
class Networks:
    """Networks of one activation at one distance from the critical point."""

    gamma_tau: float
    layers: np.ndarray  # (depths,): layers applied
    rho: np.ndarray  # (networks, depths): 1 - c, effect of the width at order 1/n taken out
    exact: np.ndarray  # (depths,): of the exact map there
    effect: np.ndarray  # (depths,): relative effect of the width that was taken out


@dataclass(frozen=True)
class Followed:
    """What was found of one activation."""

    name: str
    missing: str  # why nothing can be said, if so
    curves: Curves | None  # None where the exact map was not iterated
    networks: list[Networks]  # by gamma tau
    worst: dict[float, tuple[float, float]]  # what :func:`worst` returns


@dataclass(frozen=True)
class Numbers:
    """What was found of each activation."""

    config: Any  # of the study
    followed: list[Followed]

    @property
    def drawn(self) -> list[tuple[Followed, Curves, str]]:
        """Activations that can be drawn, with the curves of each and its colour."""
        hues = colours(len(self.followed))
        return [(one, one.curves, hue) for one, hue in zip(self.followed, hues, strict=True) if one.curves]


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    return Numbers(config, [_one(data, spec, config) for spec in _followed(config)])


def _one(data: xr.Dataset, spec: str, config: Any) -> Followed:
    row = chosen(data, kind="map", activation=spec).isel(task=0)
    point = shared.named(row["reference"].values)
    missing = shared.missing(point, spec, config.sigma_b, curved=True)
    here = np.isfinite(row["map_log_distance"].values).all(axis=-1)
    if not here.any():
        too_slow = f"the exact map of {short(spec)} takes a quadrature a layer, too slow for deep networks"
        return Followed(short(spec), missing or too_slow, None, [], {})
    rate, tau, layers, log = (
        row[f"map_{name}"].values[here] for name in ("rate", "tau", "layer", "log_distance")
    )
    curves = Curves(point, rate, tau, layers, np.exp(log))
    networks = _networks(chosen(data, kind="networks", activation=spec), curves)
    return Followed(short(spec), missing, curves, networks, worst(curves))


def _networks(data: xr.Dataset, curves: Curves) -> list[Networks]:
    """Return the networks of an activation where the exact map was iterated too."""
    found = []
    for gamma_tau in np.unique(data["gamma_tau"].values.astype(float)):
        distance = np.abs(curves.gamma_tau - gamma_tau)
        nearest = int(np.argmin(distance))
        if distance[nearest] > 1e-6 * abs(gamma_tau):
            continue
        here = chosen(data, gamma_tau=gamma_tau)
        layers, log = iterates.recorded(here, "log_distance")
        width, rate = float(here["width"].values[0]), float(here["rate"].values[0])
        factor = iterates.mean_distance_factor(layers, rate, curves.point, width)
        exact = np.interp(layers, curves.layers[nearest], curves.rho[nearest])
        found.append(Networks(float(gamma_tau), layers, np.exp(log) / factor, exact, factor - 1))
    return found


def worst(curves: Curves) -> dict[float, tuple[float, float]]:
    """Return the largest relative deviations, by ``gamma |tau|``, for y = l ln chi_1 and y = gamma tau l."""
    gamma_tau = np.abs(curves.gamma_tau)
    inside = gamma_tau[:, None] * curves.layers >= _FROM * (1 - 1e-9)
    exact, leading = (
        np.where(inside, np.abs(curves.deviation(exact_rate=each)), 0.0).max(axis=1) for each in (True, False)
    )
    found = {}
    for size in sorted({round(float(value), 9) for value in gamma_tau}, reverse=True):
        here = np.isclose(gamma_tau, size, rtol=1e-6)
        found[size] = (float(exact[here].max()), float(leading[here].max()))
    return found


def limit(curves: Curves) -> tuple[Estimate, Estimate]:
    """Return what is left of the deviation at the critical point, and its leading term over the derived one.

    At fixed y the deviation is ``A e ln(1/e) + B e + ...`` in ``e = |ln chi_1|``. Above and below the
    transition ``A = -+(1 - k3/kappa^2)/(exp(y) - 1)``: the logarithmic correction ``c ln l`` of ``1/rho``,
    carried along the curve. Terms ``e^2 ln^2`` and ``e^2 ln`` are fitted too; the error is the change
    without the last of them.
    """
    sides = [np.flatnonzero(np.sign(curves.tau) == sign) for sign in (-1, 1)]
    if min(side.size for side in sides) <= _TERMS:
        few = Estimate.not_determined(f"fewer than {_TERMS + 1} distances from the critical point on a side")
        return few, few
    left, ratios = [], np.empty((2, 0))
    for sign, side in zip((-1, 1), sides, strict=True):
        near = side[np.argsort(np.abs(curves.rate[side]))][: _TERMS + 1]
        e = np.abs(curves.rate[near])
        log = np.log(1 / e)
        y = np.median(curves.rate[near, None] * curves.layers[near], axis=0)
        inside = np.abs(y) >= _FROM
        deviation = curves.deviation()[near][:, inside]
        basis = np.stack([np.ones_like(e), e * log, e, (e * log) ** 2, e**2 * log], axis=1)
        whole, without = (
            np.linalg.lstsq(basis[:, :terms] / e[:, None], deviation / e[:, None], rcond=None)[0]
            for terms in (_TERMS, _TERMS - 1)
        )
        left.append(np.stack([whole[0], whole[0] - without[0]]))
        if sign < 0:
            predicted = (1 - curves.point["k3"] / curves.point["kappa"] ** 2) / np.expm1(y[inside])
            deep = np.abs(y[inside]) >= 3
            ratios = (np.stack([whole[1], whole[1] - without[1]]) / predicted)[:, deep]
    value, change = np.sqrt((np.concatenate(left, axis=1) ** 2).mean(axis=1))
    ratio, doubt = float(ratios[0].mean()), float(np.sqrt((ratios[1] ** 2).mean()))
    window = (float(np.abs(curves.rate).min()), float(e.max()))
    method = "extrapolation of the exact map"
    return (
        Estimate(float(value), float(change), method, e.size, window),
        Estimate(ratio, doubt, method, e.size, window),
    )


def networks_against_map(networks: list[Networks]) -> tuple[Estimate, float]:
    """Return the mean of ``ln(rho/exact)`` over depths and distances, and the width's effect squared."""
    random = np.random.default_rng(0)
    values, drawn, effects, count = [], [], [], 0
    for one in networks:
        inside = one.layers * abs(one.gamma_tau) >= _FROM
        rho, exact = one.rho[:, inside], one.exact[inside]
        rows = random.integers(0, len(rho), (400, len(rho)))
        values.append(float(np.log(rho.mean(axis=0) / exact).mean()))
        drawn.append(np.log(rho[rows].mean(axis=1) / exact).mean(axis=1))
        effects.append(float(np.abs(one.effect[inside]).max()))
        count += len(rho)
    if not values:
        return Estimate.not_determined("no networks"), 0.0
    error = float(np.mean(drawn, axis=0).std(ddof=1))
    return Estimate(float(np.mean(values)), error, "bootstrap over networks", count), max(effects) ** 2


def claims(n: Numbers) -> list[Check]:
    """Return three checks an activation: the limit, the way to it, and finite networks."""
    return [check for one in n.followed for check in _claims_of(one)]


def _source(name: str) -> str:
    """Return who speaks of an activation: the paper of three."""
    return _PAPER if name in ("tanh", "erf", "sin") else f"asked here; the collapse as in {_PAPER}"


def _claims_of(one: Followed) -> list[Check]:
    left = approach = networks = Estimate.not_determined(one.missing)
    allowance = 0.0
    if one.curves:
        left, approach = limit(one.curves)
        networks, allowance = networks_against_map(one.networks)
    return [
        Claim(
            f"collapse-{one.name}",
            f"kappa l rho of {one.name} tends to y/(1 - exp(-y)), y = gamma tau l, as tau -> 0; measured: "
            "rms of what is left in the limit.",
            f"{_source(one.name)}; the curve derived here",
        ).equals(
            0.0, left, resolution=5e-3, note="Exact map, extrapolated to tau = 0 at fixed y on both sides."
        ),
        Claim(
            f"approach-{one.name}",
            f"What is left of {one.name} vanishes as tau ln(1/tau), with the coefficient of the critical "
            "logarithm; measured: the ratio.",
        ).equals(
            1.0, approach, resolution=0.1, note="Exact map on the ordered side at depth, where it is largest."
        ),
        Claim(
            f"networks-{one.name}",
            f"Networks of {one.name} lie on the same curves; measured: the mean of ln(rho/exact map's).",
            _source(one.name),
        ).equals(
            0.0,
            networks,
            allowance=allowance,
            resolution=0.05,
            note=f"Effect of the width at order 1/n taken out; its square, {allowance:.1g}, is allowed.",
        ),
    ]


def tables(n: Numbers) -> list[Table]:
    rows = [
        [
            one.name,
            f"{curves.point['kappa']:.5f}",
            f"{curves.point['gamma']:.5f}",
            f"{gamma_tau:.4g}",
            f"{100 * exact:.2f} %",
            f"{100 * leading:.2f} %",
        ]
        for one, curves, _ in n.drawn
        for gamma_tau, (exact, leading) in one.worst.items()
    ]
    columns = ["activation", "kappa", "gamma", "gamma |tau|", "largest deviation", "with gamma tau l"]
    return [Table("Distance from the common curve, 0.5 < |y| < 6", columns, rows)]


def notes(n: Numbers) -> list[str]:
    settings: MetricFactorsSettings = n.config.metric_factors
    return [
        f"Chosen here: besides {', '.join(n.config.activations)} also {', '.join(settings.also)}, "
        "smooth and with a critical line at this bias; erf is erf(x); tau = sigma_w - sigma_wc; "
        f"two unrelated inputs at the kernel's fixed point; networks of width {settings.width}.",
        "The extrapolation uses (ln chi_1) l in place of gamma tau l, which removes a correction "
        "that has nothing to do with the decay. What is left is of order tau ln(1/tau), with a "
        "coefficient derived here from the logarithmic correction at the critical point.",
    ]


def draw_raw(axes: Axes, n: Numbers) -> None:
    for one, curves, colour in n.drawn:
        for index, label in zip(_nearest(curves), (one.name, "", "", ""), strict=True):
            axes.plot(curves.layers[index], curves.rho[index], color=colour, lw=1.1, label=label)
    _label(axes, "As they are", "layers $l$", r"$\rho = 1 - c$")
    axes.set_ylim(1e-5, 2)


def draw_collapsed(axes: Axes, n: Numbers) -> None:
    for one, curves, colour in n.drawn:
        kappa = curves.point["kappa"]
        for index in _nearest(curves)[-2:]:
            y, layers = np.abs(curves.rate[index]) * curves.layers[index], curves.layers[index]
            axes.plot(y, kappa * layers * curves.rho[index], color=colour, lw=1.0, zorder=2)
        for found in one.networks:
            if abs(abs(found.gamma_tau) - _DRAWN[0]) < 1e-9:
                layers, rho = found.layers[::2], found.rho.mean(axis=0)[::2]
                y = abs(found.gamma_tau) * layers
                axes.plot(y, kappa * layers * rho, "o", ms=3, color=colour, zorder=3)
    y = np.geomspace(0.08, 7, 200)
    for sign, label in ((1, r"$y/(1 - e^{-y})$"), (-1, None)):
        axes.plot(y, universal(sign * y), color=plotting.THEORY, lw=1.8, label=label, zorder=1)
    _label(axes, "In units of each activation", r"$\gamma|\tau|\,l$", r"$\kappa\, l\, \rho$")
    axes.set_ylim(5e-3, 12)
    axes.text(2.2, 4.2, "chaotic", ha="right", fontsize=9)
    axes.text(1.5, 0.12, "ordered", ha="right", fontsize=9)


def draw_left(axes: Axes, n: Numbers) -> None:
    for one, _, colour in n.drawn:
        largest = [exact for exact, _ in one.worst.values()]
        axes.plot(list(one.worst), largest, "o-", ms=3, color=colour, label=one.name)
    _label(axes, "What is left", r"$\gamma|\tau|$", "largest relative deviation")


def _nearest(curves: Curves) -> list[int]:
    """Return which curves are drawn: below and above the transition, far from it and near."""
    wanted = [sign * size for size in _DRAWN for sign in (-1, 1)]
    return [int(np.argmin(np.abs(curves.gamma_tau - gamma_tau))) for gamma_tau in wanted]


def _label(axes: Axes, title: str, across: str, up: str) -> None:
    logarithmic(axes)
    axes.set(title=title, xlabel=across, ylabel=up)
    legend(axes)


def figures(n: Numbers) -> list[Panels]:
    caption = (
        "Left: 1 - c against depth for several activations and distances from the critical point. "
        "Middle: the same in units of each activation's own kappa and gamma, exact map (lines) and "
        "finite networks (points), on the curve y/(1 - exp(-y)) once the start is forgotten. Right: "
        "largest relative deviation from it for 0.5 < |y| < 6; it vanishes with tau."
    )
    return [Panels("metric-factors", caption, [draw_raw, draw_collapsed, draw_left], (3.9, 3.4))]


METRIC_FACTORS = Part(
    name="metric-factors",
    title="Metric factors: one curve for all activations",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    ragged=("depth",),
    citations=("tamai2023",),
)
