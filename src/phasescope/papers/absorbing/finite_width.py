"""The distance ``rho`` between two inputs at finite width: ``n rho`` against ``l/n`` at the critical point.

``rho = n^-1 f(l/n)`` (arXiv:2307.02284). Derived here: ``X = n rho`` at ``l = t n`` obeys
``dX = (a X - kappa X^2) dt + sqrt(v) X dW``, whose mean and typical value are known exactly
(``theory.finite_width_scaling``). A network's first layers act as a start at
``1/x0 = ((kappa - k3/kappa) ln n + const)/n``, which makes corrections of order ``ln(n)/n``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from phasescope import plotting
from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.papers.absorbing import shared
from phasescope.papers.absorbing.exponent_zero import Series, in_inverse_width
from phasescope.papers.absorbing.shared import STUDY, identified
from phasescope.papers.absorbing.width_groups import (
    PAIR,
    Width,
    batches,
    by_width,
    depths,
    falls,
    grouped,
    law_of,
    width_per_layer,
)
from phasescope.scaling import Collapse, collapse
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend, shades
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, undetermined
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

_PAPER = "arXiv:2307.02284"
_RECORDS = 32
# Depths over width at which networks of all widths are compared.
_AT = (0.2, 0.4, 1.0, 2.0)
# Depths in units of 1/kappa below which corrections beyond the leading one count.
_SETTLED = 10.0

Kind = Literal["mean", "typical"]
KINDS: tuple[Kind, Kind] = ("mean", "typical")


class FiniteWidthSettings(Settings):
    """Sizes of the measurement of ``n rho`` against ``l/n``."""

    widths: tuple[int, ...] = (50, 100, 200, 400)  # neurons n in each layer, ascending
    reach: float = 3.0  # greatest depth over width
    effort: float = 2.4e8  # neurons times layers times networks for each width
    task_effort: float = 6e7  # the same for one task
    # how far below infinite width's the mean distance is where the infinite-width flow is said to end
    fraction: float = 0.5


QUICK = FiniteWidthSettings()
PAPER = FiniteWidthSettings(widths=(50, 100, 200, 400, 800), effort=2e9, task_effort=2.5e8)

VARIABLES = {
    "reference": shared.LINE,
    "layer": Variable(("record",), "layers applied", "layer", optional=True),
    "mean": Variable(("group", "record"), "mean of 1 - c over a group of networks", optional=True),
    "mean_log": Variable(("group", "record"), "mean of ln(1 - c) over a group of networks", optional=True),
    "infinite": Variable(("record",), "1 - c at infinite width", optional=True),
}


def tasks(config: Any) -> list[Task]:
    """Return tasks of some networks of one width."""
    settings: FiniteWidthSettings = config.finite_width
    point = shared.named(shared.values(shared.point_or_none(config.activation, config.sigma_b)))
    common = {**identified(config.activation), "sigma_b": config.sigma_b, "seed": config.seed}
    common |= {"reach": settings.reach}
    if shared.missing(point, config.activation, config.sigma_b, curved=True):
        # One task without a sample says so in the data.
        return [Task(STUDY, "finite-width", {**common, "width": 0, "networks": 0})]
    made = []
    for width in settings.widths:
        sizes = {"width": width, "networks": 0, **common}
        layers = math.ceil(settings.reach * width)
        made += batches("finite-width", sizes, layers, settings.effort, settings.task_effort, PAIR)
    return made


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return distances against depth, as means over groups of networks."""
    known = task.parameters
    point = shared.point_of(known)
    found = {"reference": shared.values(point)}
    if point is None or not known["width"]:
        return found
    return found | grouped(task, point, depths(known["width"], known["reach"], _RECORDS, _AT), device)


@dataclass(frozen=True)
class Numbers:
    """Distances by width, and ``n rho`` over the exact scaling function."""

    settings: FiniteWidthSettings
    point: Mapping[str, float]  # kappa, v, ... of the critical point
    missing: str  # why nothing can be said, if so
    widths: list[Width]  # ascending
    networks: list[int]  # of each width
    ratios: dict[tuple[Kind, float], list[Estimate]]  # by kind and depth over width, one a width
    series: dict[tuple[Kind, float], Series]  # in 1/n through them


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    point = shared.named(data["reference"].values[0])
    missing = shared.missing(point, config.activation, config.sigma_b, curved=True)
    widths = [] if missing else by_width(data)
    networks = [int(data["networks"].values[data["width"].values == width.n].sum()) for width in widths]
    sizes = [width.n for width in widths]
    ratios = {(kind, t): [_ratio(width, t, kind, point) for width in widths] for kind in KINDS for t in _AT}
    degree = 1 if len(widths) < 4 else 2
    series = {key: in_inverse_width(sizes, values, degree) for key, values in ratios.items()}
    return Numbers(config.finite_width, point, missing, widths, networks, ratios, series)


def _ratio(width: Width, t: float, kind: Kind, point: Mapping[str, float]) -> Estimate:
    """Return ``n rho`` over the exact scaling function at depth ``t n``, the effect of the start taken out.

    A network's first layers are a start at ``1/x0 = ((kappa - k3/kappa) ln n + const)/n``, which changes the
    scaling function by a known amount; the infinite-width distance at depth n, ``1/rho - kappa n = n/x0``,
    holds both terms. What is left is of order 1/n.
    """
    law = law_of(point)
    index = int(np.argmin(np.abs(width.layers - t * width.n)))
    depth = width.layers[index] / width.n
    start = _start(width, point)
    if kind == "mean":
        exact = float(law.mean(depth))
        found = Estimate.from_samples(width.mean[:, index] * width.n / exact)
        shift = start * float(law.onset(depth)) / exact
    else:
        logs = Estimate.from_samples(width.mean_log[:, index])
        value = math.exp(logs.value) * width.n / float(law.typical(depth))
        found = replace(logs, value=value, error=value * logs.error)
        shift = start * float(law.typical_onset(depth))
    return replace(found + shift, method=f"{kind} over networks")


def _start(width: Width, point: Mapping[str, float]) -> float:
    """Return ``1/x0``; only its leading term where the map of infinite width was too slow to iterate."""
    infinite = width.infinite[int(np.argmin(np.abs(width.layers - width.n)))]
    if math.isfinite(infinite):
        return float(1 / (width.n * infinite) - point["kappa"])
    return (point["kappa"] - point["k3"] / point["kappa"]) * math.log(width.n) / width.n


def claims(n: Numbers) -> list[Check]:
    """Return the collapses, the limits beside the exact scaling function, and where the flow ends."""
    checks = [check for kind in KINDS for check in _collapse_claims(n, kind)]
    checks += [_limit_claim(n, kind, t) for kind in KINDS for t in _AT]
    return undetermined([*checks, _flow_claim(n)], n.missing)


def _collapse_claims(n: Numbers, kind: Kind) -> list[Check]:
    note = (
        f"Depths beyond {_SETTLED:g}/kappa; a correction g(l/n)/n is fitted too. The error includes what "
        "leaving out the narrowest networks changes."
    )
    law = f"{kind.capitalize()}: n rho of several widths is one function of l/n"
    source = _PAPER if kind == "mean" else f"asked here; n^-1 f(l/n) as in {_PAPER}"
    held, wider = (_collapsed(widths, n, kind) for widths in (n.widths, n.widths[1:]))
    return [
        Claim(
            f"exponent-distance-{kind}",
            f"At the critical point as a function of l/n the {kind} distance scales as n^-a with a = 1.",
            _PAPER,
        ).equals(1.0, _free_exponent(n, kind, "a"), resolution=0.15, note=note),
        Claim(
            f"exponent-depth-{kind}",
            f"At the critical point n rho, {kind}, is a function of l n^b with b = -1.",
            _PAPER,
        ).equals(-1.0, _free_exponent(n, kind, "b"), resolution=0.15, note=note),
        _quality(Claim(f"quality-{kind}", f"{law}, corrections of order 1/n allowed.", source), held, wider),
        _quality(
            Claim(f"quality-bare-{kind}", f"{law}, without corrections.", source),
            _collapsed(n.widths, n, kind, corrected=False),
            None,
        ),
    ]


_TOO_FEW = Estimate.not_determined("too few depths beyond 10/kappa, or too few widths")


def _collapsed(
    widths: list[Width], n: Numbers, kind: Kind, *, free: str = "", corrected: bool = True
) -> Collapse | None:
    """Return the collapse ``rho n^a = f(l n^b)`` of depths beyond ``10/kappa``, or None."""
    used = [(width, width.layers * n.point["kappa"] >= _SETTLED) for width in widths]
    try:
        return collapse(
            [width.layers[deep] for width, deep in used],
            [(width.mean if kind == "mean" else np.exp(width.mean_log))[:, deep] for width, deep in used],
            [width.n for width, _ in used],
            fixed={name: value for name, value in (("a", 1.0), ("b", -1.0)) if name != free},
            start={"b": -1.0} if free == "b" else None,
            correction="function" if corrected else None,
            statistic=kind,
        )
    except InputError:
        return None


def _free_exponent(n: Numbers, kind: Kind, letter: str) -> Estimate:
    """Return a fitted exponent; its error counts what the narrowest networks, of largest 1/n^2, change."""
    made = _collapsed(n.widths, n, kind, free=letter)
    if made is None:
        return _TOO_FEW
    exponent, wider = made.exponents[letter], _collapsed(n.widths[1:], n, kind, free=letter)
    if wider is None or not wider.exponents[letter].determined:
        return exponent
    shift = wider.exponents[letter].value - exponent.value
    return replace(exponent, error=math.hypot(exponent.error, shift))


def _quality(claim: Claim, made: Collapse | None, wider: Collapse | None) -> Check:
    """Return the check of a collapse, by the rule of `Collapse.verdict`."""
    rule = (
        "Exponents held at 1 and -1; measured: squared distance over its expectation. Agrees where the "
        "collapse holds, with p at least 0.01 and rms at most 10 %; disagrees where p is smaller."
    )
    if made is None or made.verdict == "not determined":
        return claim.found(1.0, _TOO_FEW, "not determined", f"{rule} {made.sentence if made else ''}".strip())
    points = sum(len(curve.x) for curve in made.curves)
    measured = Estimate(made.quality, math.nan, "squared distance over its expectation", points)
    rule += f" {made.sentence}"
    if wider:
        found = f"{wider.verdict}, p = {wider.p_value:.2g}, rms {wider.rms:.2g} %"
        rule += f" Without the narrowest networks: {found}."
    return claim.found(1.0, measured, "agrees" if made.verdict == "holds" else "disagrees", rule)


def _exact(n: Numbers, kind: Kind, t: np.ndarray | float) -> np.ndarray:
    """Return the exact scaling function."""
    law = law_of(n.point)
    return law.mean(t) if kind == "mean" else law.typical(t)


def _limit_claim(n: Numbers, kind: Kind, t: float) -> Check:
    name = "E X" if kind == "mean" else "exp E ln X"
    expected = math.nan if n.missing else float(_exact(n, kind, t))
    limit, slope = n.series[kind, t].coefficients[:2]
    note = f"Beside the effect of the start, n rho = f (1 + c/n), c = {slope}." if limit.determined else ""
    return Claim(
        f"{kind}-t{t:g}", f"At depth l = {t:g} n, n rho tends to the exact {name} as n grows."
    ).equals(expected, limit * expected, resolution=0.15 * expected, note=note)


def _flow_claim(n: Numbers) -> Check:
    fraction = n.settings.fraction
    claim = Claim(
        "mu",
        f"n = mu L neurons keep the mean distance above {1 - fraction:.0%} of its value at infinite width.",
        f"{_PAPER} (n of at least mu L); the value is derived here",
    )
    if n.missing:
        return claim.equals(None, Estimate.not_determined(n.missing))
    mu, law = width_per_layer(n.widths, fraction), law_of(n.point)
    if not falls(law):
        return claim.equals(None, mu, note="f departs upwards here (a > v/3).")
    expected = 1 / law.departure(fraction)
    note = (
        f"Defined here by {fraction:.0%} lost, extrapolated to n -> infinity by 1/n, the change by 1/n^2 "
        f"counted as error; 10 % are lost already where n = {1 / law.departure(0.1):.2f} L. The onset is "
        f"(v/6 - a/2) l/n with v = {n.point['v']:.3f}."
    )
    return claim.equals(expected, mu, resolution=0.15 * expected, note=note)


def tables(n: Numbers) -> list[Table]:
    title = "n rho over the exact scaling function"
    rows = [
        [f"{width.n}", f"{networks}", *(str(values[index]) for values in n.ratios.values())]
        for index, (width, networks) in enumerate(zip(n.widths, n.networks, strict=True))
    ]
    columns = ["width n", "networks"] + [f"{kind}, l/n = {t:g}" for kind, t in n.ratios]
    return [Table(title if n.missing else f"{title}, effect of the start taken out", columns, rows)]


def notes(n: Numbers) -> list[str]:
    return [
        f"Chosen here: widths {', '.join(map(str, n.settings.widths))} at the critical point of "
        "infinite width, two unrelated inputs of equal norm, 1 - c without subtracting the mean.",
        "Derived here: X = n rho at l = t n obeys dX = (a X - kappa X^2) dt + sqrt(v) X dW, whose "
        "mean and typical value are known exactly (theory.finite_width_scaling). The first layers "
        "act as a start at 1/x0 = ((kappa - k3/kappa) ln n + const)/n, which makes corrections of "
        "order ln(n)/n; they are large at these widths and are part of every fit here.",
    ]


def draw_plain(axes: Axes, n: Numbers) -> None:
    for width, colour in zip(n.widths, shades(len(n.widths)), strict=True):
        axes.plot(width.layers, width.mean.mean(axis=0), color=colour, label=f"n = {width.n}")
    legend(axes)
    axes.set(title="As measured", xlabel="depth l", ylabel="1 - c, mean", xscale="log", yscale="log")


def draw_mean(axes: Axes, n: Numbers) -> None:
    _rescaled(axes, n, "mean")
    legend(axes)


def draw_typical(axes: Axes, n: Numbers) -> None:
    _rescaled(axes, n, "typical")


def _rescaled(axes: Axes, n: Numbers, kind: Kind) -> None:
    """Draw distances, with errors from their relative spread over groups, in units of 1/n against l/n."""
    for width, colour in zip(n.widths, shades(len(n.widths)), strict=True):
        if kind == "mean":
            rho = width.mean.mean(axis=0)
            spread = width.mean.std(axis=0) / rho
        else:
            rho, spread = np.exp(width.mean_log.mean(axis=0)), width.mean_log.std(axis=0)
        y = width.n * rho
        error = y * spread / np.sqrt(len(width.mean))
        axes.errorbar(width.layers / width.n, y, error, fmt=".", ms=4, lw=0.8, color=colour)
    if n.widths:
        t = np.geomspace(0.02, n.settings.reach, 80)
        values = _exact(n, kind, t)
        axes.plot(t, values, "--", color=plotting.THEORY, label="exact, n to infinity")
        axes.set_ylim(values.min() / 2, 2 * values.max())
    axes.set(title=f"Rescaled, {kind}", xlabel="l/n", ylabel="n (1 - c)", xscale="log", yscale="log")


def draw_mean_limits(axes: Axes, n: Numbers) -> None:
    _limits(axes, n, "mean")
    legend(axes)


def draw_typical_limits(axes: Axes, n: Numbers) -> None:
    _limits(axes, n, "typical")


def _limits(axes: Axes, n: Numbers, kind: Kind) -> None:
    axes.axhline(1.0, ls="--", color=plotting.THEORY, lw=1.2, label="exact, n to infinity")
    x = np.array([1 / width.n for width in n.widths])
    for t, colour in zip(_AT, colours(len(_AT)), strict=True):
        if not n.widths:
            continue
        ratios, series = n.ratios[kind, t], n.series[kind, t]
        y, error = [ratio.value for ratio in ratios], [ratio.error for ratio in ratios]
        axes.errorbar(x, y, error, fmt="o", ms=4, lw=0.9, color=colour, label=f"l/n = {t:g}")
        limit = series.limit
        if limit.determined:
            grid = np.linspace(0, x.max(), 40)
            axes.plot(grid, [series.at(1 / g) if g else limit.value for g in grid], color=colour, lw=1)
            axes.errorbar([0], [limit.value], [limit.error], fmt="s", ms=4, color=colour)
    axes.set(title=kind.capitalize(), xlabel="1/n", ylabel="n (1 - c) / exact")
    axes.locator_params(axis="x", nbins=5)


def figures(n: Numbers) -> list[Panels]:
    curves = (
        "Left: 1 - c against depth, by width, at the critical point of infinite width, mean over "
        "networks. Middle and right: n (1 - c) against l/n, mean and typical value, with the exact "
        "scaling functions, which the curves approach as corrections of order ln(n)/n die out."
    )
    limits = (
        "n (1 - c) over the exact scaling function against 1/n at fixed l/n, mean (left) and typical "
        "(right), with the effect of the start taken out. The lines are series in 1/n; squares are "
        "their limits, which are 1 if the function is right."
    )
    return [
        Panels("finite-width-collapse", curves, [draw_plain, draw_mean, draw_typical], (4.0, 3.4)),
        Panels("finite-width-limits", limits, [draw_mean_limits, draw_typical_limits], (4.6, 3.4)),
    ]


FINITE_WIDTH = Part(
    name="finite-width",
    title="Finite-width scaling",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    ragged=("record",),
    citations=("tamai2023", "matsumoto2005"),
)
