"""How the difference ``rho = 1 - c`` of two inputs decays with depth: below, at and above the critical point.

With ``tau = sigma_w - sigma_wc``: as ``exp(-gamma |tau| l)`` on the ordered side, as
``1/rho = kappa l + (kappa - k3/kappa) ln l + const`` at the critical point, and down to the plateau
``gamma tau/kappa`` on the chaotic side (arXiv:1606.05340, arXiv:1611.01232, arXiv:2307.02284). Each is held
against the exact map of infinite width and against finite networks. Finite width shifts the growth rate by
``d0/n``, the plateau by ``d0/(kappa n)`` and the mean distance at the critical point by a factor; these
leading orders, derived here, are taken out of what networks show.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers.absorbing import iterates, shared
from phasescope.papers.absorbing.shared import STUDY, activation_of, identified
from phasescope.scaling import PowerLawFit, fit_power_law
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import legend, logarithmic, short
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen, undetermined
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

_PAPER = "arXiv:2307.02284"
_FACTORS = f"derived here; the metric factors kappa and gamma are those of {_PAPER}"
_EXPONENT = f"asked here; the exponent as in {_PAPER}"
_RECORDS = 120
# Depths in units of 1/(gamma |tau|): of the exact map, and of networks below and above the transition.
_MAP_REACH, _ORDERED_REACH, _CHAOTIC_REACH = 24.0, 12.0, 24.0
# First layer that counts at the critical point: of the exact map, and of networks.
_MAP_FIRST, _NETWORKS_FIRST = 300, 15
# Networks count where the effect of their width is below this share of what is measured.
_WIDTH_MATTERS = 0.25
# Terms of 1/rho at the critical point.
_TERMS = ("kappa", "log", "const", "log/l", "1/l")


class DecaySettings(Settings):
    """Sizes of the measurement of decays."""

    map_layers: int = 100_000  # of the exact map at the critical point
    # gamma |tau| at which the exact map is iterated, besides those at which networks are sampled
    map_rates: tuple[float, ...] = (0.0006, 0.0012, 0.002, 0.003, 0.004, 0.006)
    rates: tuple[float, ...] = (0.012, 0.02, 0.03, 0.05, 0.08, 0.12)
    # beside the critical point: neurons in each layer, networks of a task, tasks
    width: int = 1000
    networks: int = 16
    repeats: int = 1
    # the same at the critical point, where the depth is far below the width
    critical_width: int = 5000
    critical_depth: int = 100
    critical_repeats: int = 10


QUICK = DecaySettings()
PAPER = DecaySettings(width=4000, repeats=2, critical_width=20_000, critical_repeats=20)

VARIABLES = {
    "reference": shared.LINE,
    "rate": Variable((), "ln chi_1 at infinite width", "1/layer", optional=True),
    "layer": Variable(("record",), "layers applied", "layer", optional=True),
    "log_distance": Variable(
        ("network", "record"), "ln(1 - c); of the exact map, network 0 alone", optional=True
    ),
    "network_rate": Variable(
        ("network",), "growth of ln(1 - c) over the second half", "1/layer", optional=True
    ),
    "plateau": Variable(("network",), "mean of 1 - c over the last two thirds of the layers", optional=True),
}


def tasks(config: Any) -> list[Task]:
    """Return one task a distance from the critical point, for the exact map and for networks."""
    settings: DecaySettings = config.decay
    point = shared.point_or_none(config.activation, config.sigma_b)
    common = {**identified(config.activation), "sigma_b": config.sigma_b, "seed": config.seed}

    def task(kind: str, rate: float, depth: int, width: int = 0, replica: int = 0) -> Task:
        tau = rate / point.gamma if point else 0.0
        sizes = {"kind": kind, "gamma_tau": rate, "tau": tau, "depth": depth, "width": width}
        sizes |= {"networks": settings.networks}
        seconds = depth * (iterates.ITERATE + width * settings.networks * iterates.PAIR)
        return Task(STUDY, "decay", sizes | common, replica, seconds=seconds, memory=300_000_000)

    known = shared.named(shared.values(point))
    if shared.missing(known, config.activation, config.sigma_b, curved=True):
        return [task("none", 0.0, 0)]  # one task without a sample says so in the data
    made = [task("map", 0.0, settings.map_layers)]
    for rate in _both_sides([*settings.map_rates, *settings.rates]):
        made.append(task("map", rate, math.ceil(_MAP_REACH / abs(rate))))
    for replica in range(settings.critical_repeats):
        made.append(task("networks", 0.0, settings.critical_depth, settings.critical_width, replica))
    for rate in _both_sides(settings.rates):
        layers = math.ceil((_CHAOTIC_REACH if rate > 0 else _ORDERED_REACH) / abs(rate))
        made += [task("networks", rate, layers, settings.width, i) for i in range(settings.repeats)]
    return made


def _both_sides(rates: Iterable[float]) -> list[float]:
    sizes = sorted(set(rates))
    return [-rate for rate in sizes] + sizes


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return the distance against depth: the exact map's, or of some networks."""
    known = task.parameters
    point = shared.point_of(known)
    found: dict[str, Any] = {"reference": shared.values(point)}
    if point is None or known["kind"] == "none":
        return found
    function, sigma_w, sigma_b = activation_of(known), point.sigma_w + known["tau"], known["sigma_b"]
    depth = known["depth"]
    layers = np.unique(np.round(np.geomspace(1, depth, _RECORDS)).astype(np.int64))
    found |= {"rate": iterates.growth_rate(function, sigma_w, sigma_b), "layer": layers}
    if known["kind"] == "map":
        exact = iterates.distances(function, sigma_w, sigma_b, layers)
        return found | {"log_distance": np.log(exact)[None, :]}
    kernel = point.K if known["tau"] == 0 else None
    log_distance = iterates.sampled(task, function, sigma_w**2, sigma_b**2, range(depth + 1), device, kernel)
    half, third = (depth + 1) // 2, (depth + 1) // 3
    return found | {
        "log_distance": log_distance[:, layers],
        "network_rate": (log_distance[:, -1] - log_distance[:, half]) / (depth - half),
        "plateau": np.exp(log_distance[:, third:]).mean(axis=1),
    }


@dataclass(frozen=True)
class Beside:
    """Decay rate (below the transition) or plateau (above it) at one distance from it."""

    tau: float
    exact: float  # of the exact map
    networks: Estimate  # the leading effect of their width taken out


@dataclass(frozen=True)
class Numbers:
    """Decays beside the critical point, by growing distance from it, and at it."""

    data: xr.Dataset
    settings: DecaySettings
    point: Mapping[str, float]  # kappa, gamma, ... of the critical point
    missing: str  # why nothing can be said, if so
    below: list[Beside]
    above: list[Beside]
    critical: tuple[np.ndarray, np.ndarray]  # layers and distances of the exact map at the critical point
    networks: tuple[np.ndarray, np.ndarray]  # the same of networks, (networks, layers), width taken out

    @property
    def kappa(self) -> float:
        return self.point["kappa"]

    @property
    def log(self) -> float:
        """The coefficient of ln l in 1/rho at the critical point."""
        return self.kappa - self.point["k3"] / self.kappa


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    p = shared.named(data["reference"].values[0])
    below = _beside(data, p, -1, "network_rate", lambda rate, n: -(rate - p["d0"] / n))
    above = _beside(data, p, 1, "plateau", lambda rho, n: rho - p["d0"] / (p["kappa"] * n))
    missing = shared.missing(p, config.activation, config.sigma_b, curved=True)
    if not missing and not below:
        missing = f"the exact map of {short(config.activation)} takes a quadrature a layer, too slow in depth"
    layers, rho = _curves(chosen(data, kind="map", gamma_tau=0.0))
    wide = chosen(data, kind="networks", gamma_tau=0.0)
    depth, wide_rho = _curves(wide)
    if depth.size:
        wide_rho = wide_rho / iterates.mean_distance_factor(depth, 0.0, p, float(wide["width"].values[0]))
    critical, networks = (layers, rho[:1].ravel()), (depth, wide_rho)
    return Numbers(data, config.decay, p, missing, below, above, critical, networks)


def _curves(alike: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return layers, and distances of shape (networks, layers), of tasks that differ in their seed alone."""
    layers, log = iterates.recorded(alike, "log_distance")
    return layers, np.exp(log)


def _beside(
    data: xr.Dataset, p: Mapping[str, float], sign: int, name: str, corrected: Callable[..., np.ndarray]
) -> list[Beside]:
    """Return what map and networks show on one side of the transition, by growing distance from it."""
    maps = chosen(data, kind="map")
    rates = maps["gamma_tau"].values.astype(float)
    found = []
    for index in sorted(np.flatnonzero(rates * sign > 0), key=lambda i: abs(rates[i])):
        row, rate = maps.isel(task=[index]), float(rates[index])
        depth, (log, *_) = iterates.recorded(row, "log_distance")
        if not np.isfinite(log).all():
            continue
        middle = int(np.searchsorted(depth, depth[-1] / 2))
        exact = math.exp(log[-1]) if sign > 0 else -(log[-1] - log[middle]) / (depth[-1] - depth[middle])
        networks = chosen(data, kind="networks", gamma_tau=rate)
        measured = Estimate.not_determined("no networks were sampled here")
        if networks.sizes["task"]:
            width = networks["width"].values.astype(float)
            values = corrected(networks[name].values, width[:, None])
            measured = Estimate.from_samples(values.ravel(), method="mean over networks")
            if abs(p["d0"]) > _WIDTH_MATTERS * width[0] * abs(rate):
                measured = Estimate.not_determined(f"width {width[0]:.0f} is not wide enough so near")
        found.append(Beside(float(row["tau"].values[0]), float(exact), measured))
    return found


def against_tau(
    points: list[Beside], *, networks: bool, inverse: bool, exponent: float | None = None
) -> tuple[Estimate, Estimate]:
    """Return exponent and amplitude of a power law in ``1/|tau|`` with a correction of relative order tau.

    The exact map is fitted over a factor 30 of tau and over the third of it next to the transition: its error
    includes the difference, since a curve without noise shows every further order.
    """
    usable = [point for point in points if point.networks.determined or not networks][::-1]
    value = np.array([point.networks.value if networks else point.exact for point in usable])
    x = np.array([1 / abs(point.tau) for point in usable])
    if x.size < 6 or not (value > 0).all():
        why = Estimate.not_determined("fewer than six distances from the critical point with a value")
        return why, why
    y = 1 / value if inverse else value
    errors = np.array([point.networks.error for point in usable]) / value * y if networks else None

    def law(first: float) -> PowerLawFit:
        window = (first, float(x[-1]))
        return fit_power_law(x, y, errors=errors, window=window, correction="power", exponent=exponent)

    if networks:
        found = law(float(x[0]))
        return found.exponent, found.amplitude
    wide, near = law(float(x[-1]) / 30), law(float(x[-1]) / 10)
    return _with_change(near.exponent, wide.exponent), _with_change(near.amplitude, wide.amplitude)


def _with_change(near: Estimate, wide: Estimate) -> Estimate:
    return replace(near, error=max(near.error, abs(near.value - wide.value)))


def mean_ratio(points: list[Beside]) -> Estimate:
    """Return the weighted mean of what networks show over what the exact map shows."""
    known = [(point.networks, point.exact) for point in points if point.networks.determined]
    if not known:
        return Estimate.not_determined("no networks that are wide enough")
    found = shared.mean_ratio(known, "weighted mean over tau")
    return replace(found, n=sum(networks.n for networks, _ in known))


def fit_inverse(
    layers: np.ndarray, rho: np.ndarray, weights: np.ndarray, held: Mapping[str, float], terms: int
) -> dict[str, float]:
    """Return the coefficients of ``1/rho = kappa l + log ln l + const (+ ln l/l + 1/l)`` that are not held.

    The first 3 or all 5 `terms` are fitted by least squares; weights are inverse relative errors.
    """
    log = np.log(layers)
    columns = dict(zip(_TERMS, (layers, log, np.ones_like(log), log / layers, 1 / layers), strict=True))
    rest = 1 / rho - sum(value * columns[name] for name, value in held.items())
    free = [name for name in _TERMS[:terms] if name not in held]
    scale = rho * weights  # a relative error of rho is the same relative error of 1/rho
    basis = np.stack([columns[name] for name in free], axis=1) * scale[:, None]
    best = np.linalg.lstsq(basis, rest * scale, rcond=None)[0]
    return dict(zip(free, map(float, best), strict=True))


def from_map(layers: np.ndarray, rho: np.ndarray, name: str) -> Estimate:
    """Return a coefficient of the exact map's iterates, with terms up to 1/l in the fit.

    The error is the larger of two changes: over the upper half of the window, with and without the terms
    ``ln l/l`` and ``1/l``.
    """
    equal = np.ones_like(rho)
    best = fit_inverse(layers, rho, equal, {}, 5)[name]
    upper = layers >= np.sqrt(layers[0] * layers[-1])
    again, plain = (fit_inverse(layers[upper], rho[upper], equal[upper], {}, n)[name] for n in (5, 3))
    window = (float(layers[0]), float(layers[-1]))
    method = "fit of 1/rho with its logarithm to the exact map"
    return Estimate(best, max(abs(again - best), abs(plain - best)), method, int(layers.size), window)


def from_networks(
    layers: np.ndarray,
    rho: np.ndarray,
    exact: np.ndarray,
    name: str,
    held: Mapping[str, float],
    *,
    resamples: int = 400,
) -> tuple[Estimate, float]:
    """Return a coefficient of the mean distance over networks, and what the same fit gives for the exact map.

    Shapes: `layers` and `exact` (layers,), `rho` (networks, layers).
    """
    networks = rho.shape[0]
    if networks < 8:
        return Estimate.not_determined(f"{networks} networks are too few for an error", n=networks), 0.0
    mean = rho.mean(axis=0)
    weights = mean / rho.std(axis=0, ddof=1)

    def coefficient(curve: np.ndarray) -> float:
        return fit_inverse(layers, curve, weights, held, 5)[name]

    random = np.random.default_rng(0)
    drawn = [coefficient(rho[random.integers(0, networks, networks)].mean(axis=0)) for _ in range(resamples)]
    window = (float(layers[0]), float(layers[-1]))
    method = "fit of 1/rho with its logarithm, bootstrap over networks"
    estimate = Estimate(coefficient(mean), float(np.std(drawn, ddof=1)), method, networks, window)
    return estimate, coefficient(exact)


def claims(n: Numbers) -> list[Check]:
    """Return the checks at the critical point, then those beside it."""
    return undetermined([*_critical_claims(n), *_beside_claims(n)], n.missing)


def _critical_claims(n: Numbers) -> list[Check]:
    layers, rho = n.critical
    late = layers >= _MAP_FIRST
    exponent = Estimate.not_determined("no iterates of the exact map")
    exact = dict.fromkeys(("kappa", "log"), exponent)
    if late.sum() >= 20 and np.isfinite(rho).all():
        exact = {name: from_map(layers[late], rho[late], name) for name in exact}
        window = (layers[late][0], layers[-1])
        exponent = fit_power_law(layers[late], rho[late], window=window, correction="log").exponent
    depth, networks = n.networks
    found = {name: (Estimate.not_determined("no networks"), 0.0) for name in exact}
    if networks.size and exact["kappa"].determined:
        far = depth >= _NETWORKS_FIRST
        curve = np.exp(np.interp(np.log(depth[far]), np.log(layers), np.log(rho)))
        tail = fit_inverse(layers[late], rho[late], np.ones(late.sum()), {}, 5)
        tail = {name: tail[name] for name in ("log/l", "1/l")}
        for name, held in (("kappa", {"log": n.log}), ("log", {"kappa": n.kappa})):
            found[name] = from_networks(depth[far], networks[:, far], curve, name, held | tail)
    (kappa, kappa_map), (log, log_map) = found["kappa"], found["log"]
    scale = max(abs(n.log), n.kappa) if math.isfinite(n.log) else math.inf
    law = "At the critical point 1/rho = kappa l + (kappa - k3/kappa) ln l + const"
    held_too = "at theory and what falls off with l at the exact map's. The same fit to the exact map gives"
    return [
        Claim("critical-exponent", "At the critical point rho = 1 - c decays as 1/l.", _PAPER).equals(
            -1.0, exponent, resolution=0.01, note="Exact map, fitted with the logarithmic correction."
        ),
        Claim(
            "kappa",
            f"{law}: the coefficient of l is kappa.",
            f"{_PAPER} for kappa l rho -> 1; correction derived here",
        ).equals(n.kappa, exact["kappa"], resolution=1e-3 * n.kappa, note="Exact map."),
        Claim("log-term", f"{law}: the coefficient of ln l is kappa - k3/kappa.").equals(
            n.log, exact["log"], resolution=0.03 * scale, note="Exact map."
        ),
        Claim(
            "kappa-networks",
            "Networks much wider than deep decay with the same kappa.",
            f"asked here; kappa l rho -> 1 as in {_PAPER}",
        ).equals(
            n.kappa,
            kappa,
            resolution=0.05 * n.kappa,
            allowance=abs(kappa_map - n.kappa),
            note=f"The others are held, ln l {held_too} {kappa_map:.4g}; the difference is allowed.",
        ),
        Claim(
            "log-term-networks", "Networks much wider than deep show the same logarithmic correction."
        ).equals(
            n.log,
            log,
            resolution=0.15 * scale,
            allowance=abs(log_map - n.log),
            note=f"The others are held, kappa {held_too} {log_map:.4g}; the difference is allowed.",
        ),
    ]


def _beside_claims(n: Numbers) -> list[Check]:
    gamma, slope = n.point["gamma"], n.point["gamma"] / n.kappa
    nu, nu_networks = (against_tau(n.below, networks=each, inverse=True)[0] for each in (False, True))
    # Fitted in 1/tau, where the plateau falls.
    beta, beta_networks = (-against_tau(n.above, networks=each, inverse=False)[0] for each in (False, True))
    measured_gamma = 1 / against_tau(n.below, networks=False, inverse=True, exponent=1.0)[1]
    measured_slope = against_tau(n.above, networks=False, inverse=False, exponent=-1.0)[1]
    width, exactly = "Leading effect of the width taken out.", "Exact map, correction of relative order tau."
    return [
        Claim(
            "ordered-rate",
            "On the ordered side networks lose differences at the rate |ln chi_1|; measured: the ratio.",
            "arXiv:1611.01232",
        ).equals(1.0, mean_ratio(n.below), resolution=0.05, note=width),
        Claim("gamma", "The rate of the ordered side is gamma |tau| as tau -> 0.", _FACTORS).equals(
            gamma, measured_gamma, resolution=0.01 * gamma, note=exactly
        ),
        Claim("nu-par", "The correlation depth diverges as |tau|^-nu with nu = 1.", _PAPER).equals(
            1.0, nu, resolution=0.02, note=exactly
        ),
        Claim("nu-par-networks", "So it does in networks of finite width.", _EXPONENT).equals(
            1.0, nu_networks, resolution=0.1, note=width
        ),
        Claim(
            "plateau",
            "On the chaotic side networks settle at the fixed point of the map; measured: the ratio.",
            "arXiv:1606.05340",
        ).equals(1.0, mean_ratio(n.above), resolution=0.05, note=width),
        Claim("plateau-slope", "The plateau is gamma tau/kappa as tau -> 0.", _FACTORS).equals(
            slope, measured_slope, resolution=0.01 * gamma / n.kappa, note=exactly
        ),
        Claim("beta", "The plateau vanishes as tau^beta with beta = 1.", _PAPER).equals(
            1.0, beta, resolution=0.02, note=exactly
        ),
        Claim("beta-networks", "So it does in networks of finite width.", _EXPONENT).equals(
            1.0, beta_networks, resolution=0.1, note=width
        ),
    ]


def tables(n: Numbers) -> list[Table]:
    rows = []
    for point, scale in [(p, 1.0) for p in reversed(n.below)] + [(p, n.kappa) for p in n.above]:
        leading = n.point["gamma"] * abs(point.tau) / scale
        sampled = str(point.networks) if point.networks.determined else "-"
        rows.append([f"{point.tau:g}", f"{leading:.5f}", f"{point.exact:.5f}", sampled])
    columns = ["tau", "leading order", "exact map", "networks"]
    return [Table("Decay rate below the transition, and plateau of 1 - c above it", columns, rows)]


def notes(n: Numbers) -> list[str]:
    return [
        "Chosen here: tau = sigma_w - sigma_wc, not divided by sigma_wc; two unrelated inputs of "
        "equal norm at the kernel's fixed point; 1 - c without subtracting the mean over neurons; "
        f"widths {n.settings.critical_width} at the critical point and {n.settings.width} beside it.",
        "Finite width shifts the growth rate by d0/n, hence the plateau by d0/(kappa n), and the "
        "mean distance at the critical point by the factor 1 + (d0/2 + v/12) l/n. These leading "
        "orders, derived here, are taken out of what networks show before it is compared.",
    ]


def draw_decays(axes: Axes, n: Numbers) -> None:
    rates = sorted(n.settings.rates)
    few = (rates[0], rates[len(rates) // 2], rates[-1])
    named = set()
    for rate in sorted([0.0, *(sign * rate for sign in (-1, 1) for rate in few)]):
        phase = "critical" if rate == 0 else "ordered" if rate < 0 else "chaotic"
        colour = plotting.PHASE_COLOURS[phase]
        layers, rho = _curves(chosen(n.data, kind="map", gamma_tau=rate))
        if layers.size:
            axes.plot(layers, rho[0], color=colour, label=None if phase in named else phase)
            named.add(phase)
        layers, rho = _curves(chosen(n.data, kind="networks", gamma_tau=rate))
        if layers.size:
            # Below the transition a few networks carry the mean; the typical value is what decays evenly.
            mean = rho.mean(axis=0) if rate >= 0 else np.exp(np.log(rho).mean(axis=0))
            axes.plot(layers[::6], mean[::6], "o", ms=2.6, color=colour)
    logarithmic(axes)
    axes.set(title="Difference between two inputs", xlabel="layers $l$", ylabel=r"$\rho = 1 - c$")
    axes.set(xlim=(1, 3e3), ylim=(1e-5, 2))
    legend(axes, loc="lower left")


def draw_critical(axes: Axes, n: Numbers) -> None:
    layers, rho = n.critical
    if layers.size:
        constant = 1 / rho[-1] - n.kappa * layers[-1] - n.log * np.log(layers[-1])
        predicted = n.kappa * layers + n.log * np.log(layers) + constant
        axes.plot(layers, n.kappa * layers * rho, color=plotting.MEASURED, label="exact map")
        theory = n.kappa * layers / predicted
        axes.plot(layers, theory, "--", color=plotting.THEORY, label="with the logarithm")
    depth, networks = (part[..., ::4] for part in n.networks)
    if networks.size:
        scale = n.kappa * depth
        error = scale * networks.std(axis=0, ddof=1) / np.sqrt(networks.shape[0])
        mean = scale * networks.mean(axis=0)
        axes.errorbar(depth, mean, error, fmt="o", ms=3, color=plotting.INK, label="networks")
    axes.axhline(1, color=plotting.INK, lw=0.8)
    logarithmic(axes, up=False)
    axes.set(title="At the critical point", xlabel="layers $l$", ylabel=r"$\kappa\, l\, \rho$")
    axes.set_ylim(0.2, 1.3)
    legend(axes)


def draw_plateau(axes: Axes, n: Numbers) -> None:
    slope = n.point["gamma"] / n.kappa
    _against_tau(axes, n.above, lambda value: value, lambda tau: slope * tau, r"$\gamma|\tau|/\kappa$")
    axes.set_title("Chaotic side: plateau")
    axes.set(xlabel=r"$|\tau| = |\sigma_w - \sigma_{wc}|$", ylabel=r"$1 - c$ at great depth")


def draw_depth(axes: Axes, n: Numbers) -> None:
    gamma = n.point["gamma"]
    _against_tau(axes, n.below, lambda value: 1 / value, lambda tau: 1 / (gamma * tau), r"$1/(\gamma|\tau|)$")
    axes.set(title="Ordered side: correlation depth", xlabel=r"$|\tau|$", ylabel="layers")


def _against_tau(
    axes: Axes, points: list[Beside], shown: Callable[..., Any], leading: Callable[..., Any], name: str
) -> None:
    if points:
        tau = np.array([abs(point.tau) for point in points])
        axes.plot(tau, [shown(point.exact) for point in points], color=plotting.THEORY, label="exact map")
        for point in points:
            found = point.networks
            if found.determined and found.value > 0:
                value = shown(found.value)
                error = value * found.error / found.value
                axes.errorbar(abs(point.tau), value, error, fmt="o", ms=4, color=plotting.MEASURED)
        axes.plot([], [], "o", ms=4, color=plotting.MEASURED, label="networks")
    logarithmic(axes)
    if points:
        axes.plot(tau, leading(tau), ":", color=plotting.INK, lw=1.1, label=name)
    legend(axes)


def figures(n: Numbers) -> list[Panels]:
    decays = (
        "Left: 1 - c of two inputs against depth on the ordered side, at the critical point and on the "
        "chaotic side: the exact infinite-width map (lines) and finite networks (points), which fall "
        "faster where they are not much wider than deep. Right: at the critical point kappa l (1 - c) "
        "tends to 1, slowly, because of a logarithm."
    )
    exponents = (
        "Left: the plateau on the chaotic side against tau; networks follow the exact fixed point, which "
        "becomes gamma tau/kappa. Right: depth over which differences decay on the ordered side."
    )
    return [
        Panels("decay", decays, [draw_decays, draw_critical], (4.6, 3.4)),
        Panels("decay-exponents", exponents, [draw_plateau, draw_depth], (4.6, 3.4)),
    ]


DECAY = Part(
    name="decay",
    title="Decay with depth",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    ragged=("network", "record"),
    citations=("schoenholz2017", "tamai2023"),
)
