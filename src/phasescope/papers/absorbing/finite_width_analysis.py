"""What networks of several widths say about ``rho = n^-1 f(l/n)``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.papers.absorbing import shared
from phasescope.papers.absorbing.inverse_width import Series, in_inverse_width, truncated_limit
from phasescope.papers.absorbing.width_groups import half_depth
from phasescope.scaling import Collapse, collapse
from phasescope.studies.check import Check, Outcome, compare
from phasescope.studies.contract import Table
from phasescope.theory import FiniteWidthScaling

if TYPE_CHECKING:
    import xarray as xr

    from phasescope.scaling.log_data import Statistic

Kind = Literal["mean", "typical"]
KINDS: tuple[Kind, Kind] = ("mean", "typical")
# Depths over width at which networks of all widths are compared.
AT = (0.2, 0.4, 1.0, 2.0)
# Depths in units of 1/kappa below which corrections beyond the leading one count.
_SETTLED = 10.0


@dataclass(frozen=True)
class Width:
    """All networks of one width."""

    n: int  # neurons in each layer
    # layers, infinite: (records,): layers applied, and ``1 - c`` there at infinite width
    layers: np.ndarray
    infinite: np.ndarray
    # mean, mean_log: (groups, records): of ``1 - c`` over each group of networks
    mean: np.ndarray
    mean_log: np.ndarray

    def samples(self, kind: Kind) -> np.ndarray:
        """Return the values of groups whose mean, or mean logarithm, is meant."""
        return self.mean if kind == "mean" else np.exp(self.mean_log)


def law_of(known: Mapping[str, float]) -> FiniteWidthScaling:
    """Return the exact scaling functions of a critical point."""
    return FiniteWidthScaling(known["kappa"], known["v"], known["d0"] + known["v"] / 2)


def widths_of(data: xr.Dataset) -> list[Width]:
    """Return the networks by width, ascending; nothing where there is no critical point."""
    found = []
    for n in np.unique(data["width"].values.astype(int)):
        if n == 0:
            continue
        mine = data.isel(task=np.flatnonzero(data["width"].values == n))
        layers = mine["layer"].values[0]
        kept = np.isfinite(layers)
        flat = {name: mine[name].values[:, :, kept].reshape(-1, kept.sum()) for name in ("mean", "mean_log")}
        found.append(Width(int(n), layers[kept], mine["infinite"].values[0][kept], **flat))
    return found


def ratio(width: Width, t: float, kind: Kind, known: Mapping[str, float]) -> Estimate:
    """Return ``n rho`` over the exact scaling function at depth ``t n``, the effect of the start taken out.

    A network's first layers are a start at ``1/x0 = ((kappa - k3/kappa) ln n + const)/n``, which changes the
    scaling function by a known amount; the infinite-width distance at depth n, ``1/rho - kappa n = n/x0``,
    holds both terms. What is left is of order 1/n.
    """
    law = law_of(known)
    index = int(np.argmin(np.abs(width.layers - t * width.n)))
    depth = width.layers[index] / width.n
    exact = float(law.mean(depth) if kind == "mean" else law.typical(depth))
    start = _start(width, known)
    if kind == "mean":
        shift = start * float(law.onset(depth)) / exact
        found = Estimate.from_samples(width.mean[:, index] * width.n / exact)
    else:
        shift = start * float(law.typical_onset(depth))
        logs = Estimate.from_samples(width.mean_log[:, index])
        value = math.exp(logs.value) * width.n / exact
        found = replace(logs, value=value, error=value * logs.error)
    return replace(found, value=found.value + shift, method=f"{kind} over networks")


def _start(width: Width, known: Mapping[str, float]) -> float:
    infinite = width.infinite[int(np.argmin(np.abs(width.layers - width.n)))]
    if math.isfinite(infinite):
        return float(1 / (width.n * infinite) - known["kappa"])
    return (known["kappa"] - known["k3"] / known["kappa"]) * math.log(width.n) / width.n


def limit_of(widths: list[Width], t: float, kind: Kind, known: Mapping[str, float]) -> Series:
    """Return the series in 1/n of :func:`ratio`, of degree 1, or 2 from four widths on."""
    values = [ratio(width, t, kind, known) for width in widths]
    return in_inverse_width([width.n for width in widths], values, 1 if len(widths) < 4 else 2)


def collapsed(
    widths: list[Width], known: Mapping[str, float], kind: Kind, *, free: str = "", corrected: bool = True
) -> Collapse | None:
    """Return the collapse ``rho n^a = f(l n^b)`` of depths beyond ``10/kappa``, or None."""
    used = [(width, width.layers * known["kappa"] >= _SETTLED) for width in widths]
    statistic: Statistic = kind
    try:
        return collapse(
            [width.layers[deep] for width, deep in used],
            [width.samples(kind)[:, deep] for width, deep in used],
            [width.n for width, _ in used],
            fixed={name: value for name, value in (("a", 1.0), ("b", -1.0)) if name != free},
            start={"b": -1.0} if free == "b" else None,
            correction="function" if corrected else None,
            statistic=statistic,
        )
    except InputError:
        return None


def finite_width_checks(data: xr.Dataset, config: Any) -> list[Check]:
    """Return the checks of the part."""
    known = shared.named(data["reference"].values[0])
    reason = shared.missing(known, config.activation, config.sigma_b, curved=True)
    widths = [] if reason else widths_of(data)
    checks = []
    for kind in KINDS:
        checks += _collapse_checks(widths, known, kind, reason)
    for kind in KINDS:
        checks += [_limit_check(widths, t, kind, known, reason) for t in AT]
    return [*checks, _flow_check(widths, known, config.finite_width.fraction, reason)]


def _collapse_checks(widths: list[Width], known: Mapping[str, float], kind: Kind, reason: str) -> list[Check]:
    held = None if reason else collapsed(widths, known, kind)
    bare = None if reason else collapsed(widths, known, kind, corrected=False)
    missing = Estimate.not_determined(reason or "too few depths beyond 10/kappa, or too few widths")
    checks = []
    for name, letter, expected, claim in (
        ("exponent-distance", "a", 1.0, "as a function of l/n the {kind} distance scales as n^-a with a = 1"),
        ("exponent-depth", "b", -1.0, "n rho, {kind}, is a function of l n^b with b = -1"),
    ):
        found = missing if reason else _free_exponent(widths, known, kind, letter, missing)
        checks.append(
            compare(
                f"finite-width/{name}-{kind}",
                f"At the critical point {claim.format(kind=kind)}.",
                "arXiv:2307.02284",
                expected,
                found,
                resolution=0.15,
                note=f"Depths beyond {_SETTLED:g}/kappa; a correction g(l/n)/n is fitted too. The error "
                "includes what leaving out the narrowest networks changes.",
            )
        )
    wider = None if reason else collapsed(widths[1:], known, kind)
    for name, made, claim in (
        ("quality", held, "n rho of several widths is one function of l/n, corrections of order 1/n allowed"),
        ("quality-bare", bare, "n rho of several widths is one function of l/n, without corrections"),
    ):
        checks.append(
            _quality_check(
                f"finite-width/{name}-{kind}",
                f"{kind.capitalize()}: {claim}.",
                made,
                missing,
                wider if made is held else None,
            )
        )
    return checks


def _free_exponent(
    widths: list[Width], known: Mapping[str, float], kind: Kind, letter: str, missing: Estimate
) -> Estimate:
    """Return a fitted exponent; its error counts what the narrowest networks, of largest 1/n^2, change."""
    made = collapsed(widths, known, kind, free=letter)
    if made is None:
        return missing
    exponent, wider = made.exponents[letter], collapsed(widths[1:], known, kind, free=letter)
    if wider is None or not wider.exponents[letter].determined:
        return exponent
    shift = wider.exponents[letter].value - exponent.value
    return replace(exponent, error=math.hypot(exponent.error, shift))


def _quality_check(
    id: str, claim: str, made: Collapse | None, missing: Estimate, wider: Collapse | None
) -> Check:
    measured = missing
    verdict: Outcome = "not determined"
    if made is not None and math.isfinite(made.quality):
        points = sum(len(curve.x) for curve in made.curves)
        measured = Estimate(made.quality, math.nan, "squared distance over its expectation", points)
        verdict = "agrees" if made.p_value >= 0.01 else "disagrees"
    note = (
        "Exponents held at 1 and -1. Agrees where chance alone exceeds the distance in 1 % of cases or more"
    )
    note += f" (here p = {made.p_value:.2g})." if made is not None else "."
    if wider is not None:
        note += f" Without the narrowest networks p = {wider.p_value:.2g}."
    return Check(id, claim, "arXiv:2307.02284; derived here", 1.0, measured, verdict, note)


def _limit_check(widths: list[Width], t: float, kind: Kind, known: Mapping[str, float], reason: str) -> Check:
    name = "E X" if kind == "mean" else "exp E ln X"
    expected, measured, note = None, Estimate.not_determined(reason), ""
    if not reason:
        law = law_of(known)
        expected = float(law.mean(t) if kind == "mean" else law.typical(t))
        series = limit_of(widths, t, kind, known)
        limit = series.limit
        measured = replace(limit, value=limit.value * expected, error=limit.error * expected)
        if limit.determined:
            note = f"Beside the effect of the start, n rho = f (1 + c/n), c = {series.coefficients[1]}."
    return compare(
        f"finite-width/{kind}-t{t:g}",
        f"At depth l = {t:g} n, n rho tends to the exact {name} as n grows.",
        "derived here",
        expected,
        measured,
        resolution=math.inf if expected is None else 0.15 * expected,
        note=note,
    )


def flow_depths(widths: list[Width], fraction: float) -> list[Estimate]:
    """Return, width by width, the depth over width where the flow of infinite width has lost a fraction."""
    return [half_depth(width.layers, width.mean, width.infinite, width.n, fraction) for width in widths]


def _flow_check(widths: list[Width], known: Mapping[str, float], fraction: float, reason: str) -> Check:
    claim = (
        f"n = mu L neurons keep the mean distance above {1 - fraction:.0%} of its value at infinite width."
    )
    id, source = "finite-width/mu", "arXiv:2307.02284 (n of at least mu L); the value is derived here"
    if reason:
        return compare(id, claim, source, None, Estimate.not_determined(reason))
    law = law_of(known)
    limit = truncated_limit([width.n for width in widths], flow_depths(widths, fraction))
    mu = limit
    if limit.determined and limit.value > 3 * limit.error:
        mu = replace(limit, value=1 / limit.value, error=limit.error / limit.value**2)
    elif limit.determined:
        mu = Estimate.not_determined(f"the depth {limit} over width is not told from 0")
    if law.a >= law.v / 3:
        return compare(id, claim, source, None, mu, note="f departs upwards here (a > v/3).")
    expected = 1 / law.departure(fraction)
    note = (
        f"Defined here by {fraction:.0%} lost, extrapolated to n -> infinity by 1/n, the change by 1/n^2 "
        f"counted as error; 10 % are lost already where n = {1 / law.departure(0.1):.2f} L. The onset is "
        f"(v/6 - a/2) l/n with v = {known['v']:.3f}."
    )
    return compare(id, claim, source, expected, mu, resolution=0.15 * expected, note=note)


def finite_width_table(data: xr.Dataset, config: Any) -> Table:
    """Return ``n rho`` over the exact function, width by width."""
    known = shared.named(data["reference"].values[0])
    columns = ["width n", "networks"] + [f"{kind}, l/n = {t:g}" for kind in KINDS for t in AT]
    if shared.missing(known, config.activation, config.sigma_b, curved=True):
        return Table("n rho over the exact scaling function", columns, [])
    rows = []
    for width in widths_of(data):
        per_group = data["networks"].values[data["width"].values == width.n].sum()
        cells = [str(ratio(width, t, kind, known)) for kind in KINDS for t in AT]
        rows.append([f"{width.n}", f"{int(per_group)}", *cells])
    return Table("n rho over the exact scaling function, effect of the start taken out", columns, rows)
