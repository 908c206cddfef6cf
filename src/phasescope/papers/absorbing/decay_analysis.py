"""What the decays say: rates, plateaus, exponents, and the logarithm at the critical point."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope.estimate import Estimate
from phasescope.papers.absorbing import shared
from phasescope.papers.absorbing.inverse_distance import fit_inverse, from_map, from_networks
from phasescope.papers.absorbing.width_correction import mean_distance_factor
from phasescope.scaling import PowerLawFit, fit_power_law
from phasescope.studies.check import Check, compare
from phasescope.studies.contract import Table
from phasescope.studies.drawing import short

if TYPE_CHECKING:
    import xarray as xr

# First layer that counts at the critical point: of the exact map, and of networks.
_MAP_FIRST, _NETWORKS_FIRST = 300, 15
# Networks count where the effect of their width is below this share of what is measured.
_WIDTH_MATTERS = 0.25


@dataclass(frozen=True)
class Beside:
    """What was found at one distance from the critical point."""

    tau: float  # ``sigma_w - sigma_wc``
    exact: float  # plateau of the exact map above the transition, its measured decay rate below
    networks: Estimate  # the same of finite networks, the leading effect of their width taken out


def ordered(data: xr.Dataset, known: Mapping[str, float]) -> list[Beside]:
    """Return decay rates on the ordered side, by growing distance from the critical point."""
    return _beside(data, known, -1, "network_rate", lambda rate, n: -(rate - known["d0"] / n))


def chaotic(data: xr.Dataset, known: Mapping[str, float]) -> list[Beside]:
    """Return plateaus on the chaotic side, by growing distance from the critical point."""
    return _beside(data, known, 1, "plateau", lambda rho, n: rho - known["d0"] / (known["kappa"] * n))


def _beside(
    data: xr.Dataset, known: Mapping[str, float], sign: int, name: str, corrected: Any
) -> list[Beside]:
    maps = shared.of_kind(data, "map")
    rates = maps["gamma_tau"].values.astype(float)
    found = []
    for index in sorted(np.flatnonzero(rates * sign > 0), key=lambda i: abs(rates[i])):
        row, rate = maps.isel(task=index), float(rates[index])
        here = np.isfinite(row["layer"].values)
        depth, log = row["layer"].values[here], row["log_distance"].values[0][here]
        if not np.isfinite(log).all():
            continue
        middle = int(np.searchsorted(depth, depth[-1] / 2))
        decay = -(log[-1] - log[middle]) / (depth[-1] - depth[middle])
        networks = shared.of_kind(data, "networks", gamma_tau=rate)
        measured = Estimate.not_determined("no networks were sampled here")
        if networks.sizes["task"]:
            width = networks["width"].values.astype(float)
            values = corrected(networks[name].values, width[:, None])
            measured = Estimate.from_samples(values.ravel(), method="mean over networks")
            if abs(known["d0"]) > _WIDTH_MATTERS * width[0] * abs(rate):
                measured = Estimate.not_determined(f"width {width[0]:.0f} is not wide enough so near")
        exact = float(decay if sign < 0 else math.exp(log[-1]))
        found.append(Beside(float(row["tau"].values), exact, measured))
    return found


def critical_map(data: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return layers and distances of the exact map at the critical point."""
    chosen = shared.of_kind(data, "map", gamma_tau=0.0)
    if chosen.sizes["task"] == 0:
        return np.empty(0), np.empty(0)
    layers = chosen["layer"].values[0]
    here = np.isfinite(layers)
    return layers[here], np.exp(chosen["log_distance"].values[0, 0][here])


def critical_networks(data: xr.Dataset, known: Mapping[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return layers and distances (networks, layers) at the critical point, effect of the width taken out."""
    chosen = shared.of_kind(data, "networks", gamma_tau=0.0)
    if chosen.sizes["task"] == 0:
        return np.empty(0), np.empty((0, 0))
    layers = chosen["layer"].values[0]
    here = np.isfinite(layers)
    layers = layers[here]
    rho = np.exp(chosen["log_distance"].values[:, :, here]).reshape(-1, layers.size)
    n = float(chosen["width"].values[0])
    return layers, rho / mean_distance_factor(layers, 0.0, known, n)


def against_tau(
    points: list[Beside], *, networks: bool, inverse: bool, exponent: float | None = None
) -> tuple[Estimate, Estimate]:
    """Return exponent and amplitude of a power law in ``1/|tau|`` with a correction of relative order tau.

    The exact map is fitted over a factor 30 of tau and over the third of it next to the transition: its error
    includes the difference, since a curve without noise shows every further order.
    """
    chosen = [point for point in points if point.networks.determined or not networks][::-1]
    value = np.array([point.networks.value if networks else point.exact for point in chosen])
    x = np.array([1 / abs(point.tau) for point in chosen])
    if x.size < 6 or not (value > 0).all():
        why = Estimate.not_determined("fewer than six distances from the critical point with a value")
        return why, why
    y = 1 / value if inverse else value
    relative = np.array([point.networks.error for point in chosen]) / value

    def law(first: float) -> PowerLawFit:
        errors = relative * y if networks else None
        window = (first, float(x[-1]))
        return fit_power_law(x, y, errors=errors, window=window, correction="power", exponent=exponent)

    if networks:
        found = law(float(x[0]))
        return found.exponent, found.amplitude
    wide, near = law(float(x[-1]) / 30), law(float(x[-1]) / 10)
    return _with_change(near.exponent, wide.exponent), _with_change(near.amplitude, wide.amplitude)


def _with_change(near: Estimate, wide: Estimate) -> Estimate:
    return replace(near, error=max(near.error, abs(near.value - wide.value)))


def decay_checks(data: xr.Dataset, config: Any) -> list[Check]:
    """Return all checks of the part."""
    known = shared.named(data["reference"].values[0])
    reason = shared.missing(known, config.activation, config.sigma_b, curved=True)
    below, above = ordered(data, known), chaotic(data, known)
    if not reason and not below:
        reason = f"the exact map of {short(config.activation)} takes a quadrature a layer, too slow in depth"

    def check(
        name: str,
        claim: str,
        source: str,
        expected: float,
        found: Estimate,
        resolution: float,
        allowance: float = 0.0,
        note: str = "",
    ) -> Check:
        measured = Estimate.not_determined(reason) if reason else found
        number = expected if math.isfinite(expected) else None
        return compare(
            f"decay/{name}",
            claim,
            source,
            number,
            measured,
            allowance=allowance,
            resolution=resolution,
            note=note,
        )

    return [*_critical_checks(data, known, check), *_beside_checks(below, above, known, check)]


def _critical_checks(data: xr.Dataset, known: Mapping[str, float], check: Any) -> list[Check]:
    kappa, log = known["kappa"], known["kappa"] - known["k3"] / known["kappa"]
    layers, rho = critical_map(data)
    late = layers >= _MAP_FIRST
    exact = dict.fromkeys(("kappa", "log"), _NO_MAP)
    exponent = _NO_MAP
    if late.sum() >= 20 and np.isfinite(rho).all():
        exact = {name: from_map(layers[late], rho[late], name) for name in exact}
        exponent = fit_power_law(
            layers[late], rho[late], window=(layers[late][0], layers[-1]), correction="log"
        ).exponent
    depth, sampled = critical_networks(data, known)
    found = {name: (Estimate.not_determined("no networks"), 0.0) for name in exact}
    if sampled.size and exact["kappa"].determined:
        far = depth >= _NETWORKS_FIRST
        curve = np.exp(np.interp(np.log(depth[far]), np.log(layers), np.log(rho)))
        tail = fit_inverse(layers[late], rho[late], np.ones(late.sum()), {}, 5)
        tail = {"log/l": tail["log/l"], "1/l": tail["1/l"]}
        for name, held in (("kappa", {"log": log}), ("log", {"kappa": kappa})):
            found[name] = from_networks(depth[far], sampled[:, far], curve, name, held | tail)
    scale = max(abs(log), kappa) if math.isfinite(log) else math.inf
    law = "1/rho = kappa l + (kappa - k3/kappa) ln l + const"
    return [
        check(
            "critical-exponent",
            "At the critical point rho = 1 - c decays as 1/l.",
            "arXiv:2307.02284",
            -1.0,
            exponent,
            0.01,
            note="Exact map, fitted with the logarithmic correction.",
        ),
        check(
            "kappa",
            f"At the critical point {law}: the coefficient of l is kappa.",
            "arXiv:2307.02284 for kappa l rho -> 1; correction derived here",
            kappa,
            exact["kappa"],
            1e-3 * kappa,
            note="Exact map.",
        ),
        check(
            "log-term",
            f"At the critical point {law}: the coefficient of ln l is kappa - k3/kappa.",
            "derived here",
            log,
            exact["log"],
            0.03 * scale,
            note="Exact map.",
        ),
        check(
            "kappa-networks",
            "Networks much wider than deep decay with the same kappa.",
            "arXiv:2307.02284",
            kappa,
            found["kappa"][0],
            0.05 * kappa,
            allowance=abs(found["kappa"][1] - kappa),
            note="The others are held, ln l at theory and what falls off with l at the exact map's. "
            f"The same fit to the exact map gives {found['kappa'][1]:.4g}; the difference is allowed.",
        ),
        check(
            "log-term-networks",
            "Networks much wider than deep show the same logarithmic correction.",
            "derived here",
            log,
            found["log"][0],
            0.15 * scale,
            allowance=abs(found["log"][1] - log),
            note="The others are held, kappa at theory and what falls off with l at the exact map's. "
            f"The same fit to the exact map gives {found['log'][1]:.4g}; the difference is allowed.",
        ),
    ]


def _beside_checks(
    below: list[Beside], above: list[Beside], known: Mapping[str, float], check: Any
) -> list[Check]:
    gamma, kappa = known["gamma"], known["kappa"]
    found = {
        "nu": against_tau(below, networks=False, inverse=True)[0],
        "nu-networks": against_tau(below, networks=True, inverse=True)[0],
        # Fitted in 1/tau, where the plateau falls.
        "beta": _negative(against_tau(above, networks=False, inverse=False)[0]),
        "beta-networks": _negative(against_tau(above, networks=True, inverse=False)[0]),
        "slope": against_tau(above, networks=False, inverse=False, exponent=-1.0)[1],
        "gamma": _inverse(against_tau(below, networks=False, inverse=True, exponent=1.0)[1]),
    }
    width = "Leading effect of the width taken out."
    return [
        check(
            "ordered-rate",
            "On the ordered side networks lose differences at the rate |ln chi_1|; measured: the ratio.",
            "arXiv:1611.01232",
            1.0,
            mean_ratio(below),
            0.05,
            note=width,
        ),
        check(
            "gamma",
            "The rate of the ordered side is gamma |tau| as tau -> 0.",
            "arXiv:2307.02284",
            gamma,
            found["gamma"],
            0.01 * gamma,
            note="Exact map, correction of relative order tau.",
        ),
        check(
            "nu-par",
            "The correlation depth diverges as |tau|^-nu with nu = 1.",
            "arXiv:2307.02284",
            1.0,
            found["nu"],
            0.02,
            note="Exact map, correction of relative order tau.",
        ),
        check(
            "nu-par-networks",
            "So it does in networks of finite width.",
            "arXiv:2307.02284",
            1.0,
            found["nu-networks"],
            0.1,
            note=width,
        ),
        check(
            "plateau",
            "On the chaotic side networks settle at the fixed point of the map; measured: the ratio.",
            "arXiv:1606.05340",
            1.0,
            mean_ratio(above),
            0.05,
            note=width,
        ),
        check(
            "plateau-slope",
            "The plateau is gamma tau/kappa as tau -> 0.",
            "arXiv:2307.02284",
            gamma / kappa,
            found["slope"],
            0.01 * gamma / kappa,
            note="Exact map, correction of relative order tau.",
        ),
        check(
            "beta",
            "The plateau vanishes as tau^beta with beta = 1.",
            "arXiv:2307.02284",
            1.0,
            found["beta"],
            0.02,
            note="Exact map, correction of relative order tau.",
        ),
        check(
            "beta-networks",
            "So it does in networks of finite width.",
            "arXiv:2307.02284",
            1.0,
            found["beta-networks"],
            0.1,
            note=width,
        ),
    ]


_NO_MAP = Estimate.not_determined("no iterates of the exact map")


def _negative(estimate: Estimate) -> Estimate:
    return replace(estimate, value=-estimate.value)


def _inverse(estimate: Estimate) -> Estimate:
    return replace(estimate, value=1 / estimate.value, error=estimate.error / estimate.value**2)


def mean_ratio(points: list[Beside]) -> Estimate:
    """Return the weighted mean of what networks show over what the exact map shows."""
    known = [point for point in points if point.networks.determined]
    if not known:
        return Estimate.not_determined("no networks that are wide enough")
    ratio = np.array([point.networks.value / point.exact for point in known])
    weight = np.array([(point.exact / point.networks.error) ** 2 for point in known])
    value = float((ratio * weight).sum() / weight.sum())
    count = sum(point.networks.n for point in known)
    return Estimate(value, float(weight.sum() ** -0.5), "weighted mean over tau", count)


def decay_table(data: xr.Dataset, config: Any) -> Table:
    """Return rates and plateaus, one row a distance from the critical point."""
    known = shared.named(data["reference"].values[0])
    rows = []
    below, above = ordered(data, known), chaotic(data, known)
    for point in [*reversed(below), *above]:
        leading = known["gamma"] * abs(point.tau) / (known["kappa"] if point in above else 1)
        sampled = str(point.networks) if point.networks.determined else "-"
        rows.append([f"{point.tau:g}", f"{leading:.5f}", f"{point.exact:.5f}", sampled])
    columns = ["tau", "leading order", "exact map", "networks"]
    return Table("Decay rate below the transition, and plateau of 1 - c above it", columns, rows)
