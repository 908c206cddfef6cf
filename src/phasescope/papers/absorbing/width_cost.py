"""What a larger kappa costs in width, along the critical line of several activations.

A network of depth L needs ``mu L`` neurons a layer, and a larger kappa usually costs a larger mu
(arXiv:2307.02284). Measured here: v, n times the variance per layer of ``ln |u|^2`` of a tangent vector u,
and mu, n/L at the depth where the mean distance has lost a fraction of that at infinite width. What theory
expects of both is derived here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope.estimate import Estimate
from phasescope.papers.absorbing import shared
from phasescope.papers.absorbing.exponent_zero import in_inverse_width
from phasescope.papers.absorbing.shared import STUDY, activation_of, identified
from phasescope.papers.absorbing.width_groups import (
    GROUPS,
    PAIR,
    batches,
    by_width,
    depths,
    falls,
    grouped,
    jackknife,
    law_of,
    width_per_layer,
)
from phasescope.signal import sample_mlp
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend, short
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from phasescope.theory import CriticalLinePoint

_RECORDS = 24
_SEGMENTS = 20
# Seconds for one neuron of one layer with a tangent vector.
_TANGENT = 6e-8


class WidthCostSettings(Settings):
    """Sizes of the measurement of v and mu along the critical line."""

    sigma_bs: tuple[float, ...] = (0.05, 0.1, 0.3, 0.5, 1.0)  # biases at which v is measured
    growth_widths: tuple[int, ...] = (50, 100)  # widths for v, which is extrapolated in 1/n
    growth_effort: float = 1.4e7  # neurons times layers times networks for each v and width
    # biases at which mu is measured: not so small that 1/kappa is as deep as networks are wide
    flow_sigma_bs: tuple[float, ...] = (0.3, 0.5, 1.0)
    flow_widths: tuple[int, ...] = (50, 100, 200)  # widths for mu, which is extrapolated in 1/n
    flow_effort: float = 1.7e7  # the same effort for each mu and width
    task_effort: float = 3e7  # the same for one task
    # how far below infinite width's the mean distance is where the infinite-width flow is said to end
    fraction: float = 0.5


QUICK = WidthCostSettings()
PAPER = WidthCostSettings(
    growth_widths=(50, 100, 200),
    growth_effort=1.2e8,
    flow_widths=(50, 100, 200, 400),
    flow_effort=1.7e8,
    task_effort=1.8e8,
)

VARIABLES = {
    "reference": shared.LINE,
    "growth": Variable(("group",), "mean growth of ln |u|^2 over a segment of layers", optional=True),
    "growth_square": Variable(("group",), "mean square of the same", optional=True),
    "growth_product": Variable(
        ("group",), "mean product of the same over neighbouring segments", optional=True
    ),
    "layer": Variable(("record",), "layers applied", "layer", optional=True),
    "mean": Variable(("group", "record"), "mean of 1 - c over a group of networks", optional=True),
    "infinite": Variable(("record",), "1 - c at infinite width", optional=True),
}


def tasks(config: Any) -> list[Task]:
    """Return tasks of some networks each: tangent vectors for v, pairs of inputs for mu."""
    settings: WidthCostSettings = config.width_cost
    made = []
    for activation in config.activations:
        for sigma_b in dict.fromkeys([*settings.sigma_bs, *settings.flow_sigma_bs]):
            common = {**identified(activation), "sigma_b": sigma_b, "seed": config.seed}
            # One task without a sample says in the data which point this is, or that there is none.
            made.append(Task(STUDY, "width-cost", _sizes("point", common), seconds=0.1))
            point = shared.point_or_none(activation, sigma_b)
            if point is None:
                continue
            if sigma_b in settings.sigma_bs:
                for n in settings.growth_widths:
                    made += _growth_tasks(point, n, settings, common)
            law = law_of(shared.named(shared.values(point)))
            if sigma_b in settings.flow_sigma_bs and math.isfinite(point.kappa) and falls(law):
                reach = 2 * law.departure(settings.fraction)
                for n in settings.flow_widths:
                    made += _flow_tasks(n, reach, settings, common)
    return made


def _sizes(kind: str, common: dict[str, Any], **sizes: Any) -> dict[str, Any]:
    empty = {"width": 0, "networks": 0, "discard": 0, "segment": 0, "reach": 0.0}
    return {"kind": kind, **empty, **sizes, **common}


def _growth_tasks(
    point: CriticalLinePoint, width: int, settings: WidthCostSettings, common: dict[str, Any]
) -> list[Task]:
    memory = -1 / math.log(max(0.01, abs(point.chi_q)))  # layers in which the kernel forgets
    discard, segment = max(10, math.ceil(9 * memory)), max(10, math.ceil(6 * memory))
    sizes = _sizes("growth", common, width=width, discard=discard, segment=segment)
    layers = discard + _SEGMENTS * segment
    return batches("width-cost", sizes, layers, settings.growth_effort, settings.task_effort, _TANGENT)


def _flow_tasks(width: int, reach: float, settings: WidthCostSettings, common: dict[str, Any]) -> list[Task]:
    sizes = _sizes("flow", common, width=width, reach=round(reach, 6))
    layers = math.ceil(reach * width)
    return batches("width-cost", sizes, layers, settings.flow_effort, settings.task_effort, PAIR)


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return moments of the growth of tangent vectors, or distances against depth."""
    known = task.parameters
    point = shared.point_of(known)
    found = {"reference": shared.values(point)}
    if point is None or known["kind"] == "point":
        return found
    if known["kind"] == "growth":
        return found | _growth_moments(task, point, device)
    flow = grouped(task, point, depths(known["width"], known["reach"], _RECORDS), device)
    return found | {name: flow[name] for name in ("layer", "mean", "infinite")}


def _growth_moments(task: Task, point: CriticalLinePoint, device: str) -> dict[str, np.ndarray]:
    known = task.parameters
    ends = known["discard"] + known["segment"] * np.arange(_SEGMENTS + 1)
    sample = sample_mlp(
        activation_of(known),
        known["width"],
        int(ends[-1]),
        point.C_W,
        point.C_b,
        networks=known["networks"],
        seed=task.seed,
        replicas=1,
        kernel=point.K,
        layers=[int(end) for end in ends],
        tangent=True,
        device=device,
    )
    growth = np.diff(sample["log_growth"].values, axis=1).reshape(GROUPS, -1, _SEGMENTS)
    return {
        "growth": growth.mean(axis=(1, 2)),
        "growth_square": (growth**2).mean(axis=(1, 2)),
        "growth_product": (growth[:, :, 1:] * growth[:, :, :-1]).mean(axis=(1, 2)),
    }


@dataclass(frozen=True)
class LinePoint:
    """One point of a critical line: v and mu as measured and as expected."""

    sigma_b: float
    point: Mapping[str, float]  # kappa, v, ...
    v: Estimate
    mu: Estimate
    expected_mu: float  # NaN where kappa does not exist or the distance departs upwards

    def pair(self, quantity: str) -> tuple[Estimate, float]:
        """Return v or mu as measured and as expected."""
        return (self.v, self.point["v"]) if quantity == "v" else (self.mu, self.expected_mu)


@dataclass(frozen=True)
class Line:
    """The critical line of one activation."""

    name: str
    points: list[LinePoint]  # by growing bias
    slopes: dict[str, tuple[Estimate, float]]  # of v and mu, what :func:`_slope` returns


@dataclass(frozen=True)
class Numbers:
    """What was found along the critical lines."""

    fraction: float  # how much of the distance at infinite width is lost at the depth that defines mu
    lines: list[Line]

    @property
    def sin(self) -> Line:
        """The line of sin; one without points where sin is not among the activations."""
        return next((line for line in self.lines if line.name == "sin"), Line("sin", [], {}))


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    fraction, lines = config.width_cost.fraction, []
    for activation in config.activations:
        points = _points(chosen(data, activation=activation), fraction)
        slopes = {quantity: _slope(points, quantity) for quantity in ("v", "mu")}
        lines.append(Line(short(activation), points, slopes))
    return Numbers(fraction, lines)


def _points(data: xr.Dataset, fraction: float) -> list[LinePoint]:
    tasks = chosen(data, kind="point").sortby("sigma_b")
    found = []
    for sigma_b, reference in zip(tasks["sigma_b"].values, tasks["reference"].values, strict=True):
        point = shared.named(reference)
        if not math.isfinite(point["sigma_w"]):
            continue
        law = law_of(point)
        expected = 1 / law.departure(fraction) if math.isfinite(law.kappa) and falls(law) else math.nan
        growth, flow = (chosen(data, kind=kind, sigma_b=sigma_b) for kind in ("growth", "flow"))
        absent = Estimate.not_determined("not measured at this bias")
        v = _variance(growth) if growth.sizes["task"] else absent
        mu = width_per_layer(by_width(flow), fraction) if flow.sizes["task"] else absent
        found.append(LinePoint(float(sigma_b), point, v, mu, expected))
    return found


def _variance(data: xr.Dataset) -> Estimate:
    """Return v, the limit of n times the variance per layer of the growth of tangent vectors."""
    widths = np.unique(data["width"].values).tolist()
    return in_inverse_width(widths, [_at_width(chosen(data, width=n), n) for n in widths], 1).limit


def _at_width(data: xr.Dataset, n: int) -> Estimate:
    mean, square, product = (data[f"growth{name}"].values.ravel() for name in ("", "_square", "_product"))
    segment, count = float(data["segment"].values[0]), len(mean)

    def variance(groups: np.ndarray) -> float:
        # Neighbours bring back what a segment's variance misses at its ends.
        centre = mean[groups].mean() ** 2
        return float(n / segment * (square[groups].mean() - centre + 2 * (product[groups].mean() - centre)))

    everyone = np.arange(count)
    left_out = np.array([variance(everyone != index) for index in everyone])
    return Estimate(variance(everyone), jackknife(left_out), "jackknife over groups of networks", count)


def _slope(points: Sequence[LinePoint], quantity: str) -> tuple[Estimate, float]:
    """Return ``d ln quantity/d ln kappa`` by a weighted straight line, and of theory with the same weights.

    That of theory is NaN where it does not know all of the points.
    """
    usable = [
        (point.point["kappa"], found, truth)
        for point in points
        for found, truth in [point.pair(quantity)]
        if found.determined and found.value > 0 and math.isfinite(point.point["kappa"])
    ]
    if len(usable) < 2:
        why = "fewer than two points of the critical line have a value"
        return Estimate.not_determined(why), math.nan
    x = np.log([kappa for kappa, _, _ in usable])
    y = np.array([math.log(found.value) for _, found, _ in usable])
    errors = np.array([found.error / found.value for _, found, _ in usable])
    weight = np.array([(found.value / found.error) ** 2 for _, found, _ in usable])
    offset = x - (weight * x).sum() / weight.sum()
    pull = weight * offset / (weight * offset**2).sum()
    spread = float(np.sqrt(pull**2 @ errors**2))
    measured = Estimate(float(pull @ y), spread, "weighted straight line", len(usable))
    return measured, float(pull @ np.log([truth for _, _, truth in usable]))


def _mean_ratio(points: Sequence[LinePoint], quantity: str) -> Estimate:
    """Return the weighted mean of measured over expected numbers."""
    pairs = [point.pair(quantity) for point in points]
    known = [(found, truth) for found, truth in pairs if found.determined and math.isfinite(truth)]
    if not known:
        reasons = [found.reason for found, _ in pairs if not found.determined]
        return Estimate.not_determined(reasons[0] if reasons else "no critical line")
    return shared.mean_ratio(known, "weighted mean over biases")


def claims(n: Numbers) -> list[Check]:
    """Return v and mu beside theory, how they change with kappa, and what sin does."""
    ratios = [check for line in n.lines for check in _ratio_claims(line)]
    slopes = [check for line in n.lines for check in _slope_claims(line)]
    return [*ratios, *slopes, _cost_claim(n), _sin_variance_claim(n.sin), _sin_flow_claim(n.sin)]


def _ratio_claims(line: Line) -> list[Check]:
    return [
        Claim(
            f"v-{line.name}",
            f"{line.name}: the variance of growth per layer is v/n along the critical line; measured over "
            "theory.",
        ).equals(
            1.0,
            _mean_ratio(line.points, "v"),
            resolution=0.05,
            note="Weighted mean over the biases of v at n to infinity, over theory.critical_line's.",
        ),
        Claim(
            f"mu-{line.name}",
            f"{line.name}: the infinite-width flow ends where theory says, along the critical line.",
            "arXiv:2307.02284 (n of at least mu L); the value is derived here",
        ).equals(
            1.0,
            _mean_ratio(line.points, "mu"),
            resolution=0.15,
            note="Weighted mean over the biases of mu at n to infinity, over theory.finite_width_scaling's.",
        ),
    ]


def _slope_claims(line: Line) -> list[Check]:
    made = []
    for quantity, resolution in (("v", 0.03), ("mu", 0.1)):
        measured, expected = line.slopes[quantity]
        sentence = f"{line.name}: d ln {quantity}/d ln kappa along the critical line is as in theory."
        note = "Weighted straight line through the biases, with the same weights in theory."
        claim = Claim(f"{quantity}-slope-{line.name}", sentence)
        made.append(claim.equals(expected, measured, resolution=resolution, note=note))
    return made


def _cost_claim(n: Numbers) -> Check:
    """Return the check of the paper's statement, on those activations whose mu grows in theory."""
    slopes = [line.slopes["mu"][0] for line in n.lines if line.name != "sin"]
    known = [found for found in slopes if found.determined]
    measured = Estimate.not_determined("mu is not determined along any critical line")
    if known:
        values, weights = [found.value for found in known], [found.error**-2 for found in known]
        measured = shared.weighted_mean(values, weights, "weighted mean over activations")
    check = Claim(
        "larger-kappa-larger-mu",
        "A larger kappa usually costs a larger mu; measured: d ln mu/d ln kappa, mean without sin.",
        "arXiv:2307.02284",
    ).positive(measured)
    return replace(check, note="Agrees where the slope is positive by more than three standard errors.")


_NO_SIN = Estimate.not_determined("sin is not among the activations, or has no values")


def _sin_variance_claim(sin: Line) -> Check:
    claim = Claim(
        "sin-variance",
        "sin: the variance v of growth at the largest kappa is that at the smallest; measured: their ratio.",
    )
    known = [point for point in sin.points if point.v.determined]
    if len(known) < 2:
        return claim.equals(1.0, _NO_SIN)
    first, last = known[0], known[-1]
    value = last.v.value / first.v.value
    error = value * math.hypot(last.v.error / last.v.value, first.v.error / first.v.value)
    gain = last.point["kappa"] / first.point["kappa"]
    return claim.equals(
        last.point["v"] / first.point["v"],
        Estimate(value, error, "ratio of two extrapolated variances", 2),
        resolution=0.15,
        note=f"Between sigma_b = {first.sigma_b:g} and {last.sigma_b:g} kappa grows {gain:.0f} times.",
    )


def _sin_flow_claim(sin: Line) -> Check:
    measured, expected = sin.slopes["mu"] if sin.points else (_NO_SIN, math.nan)
    note = "Agrees with 0 within three standard errors."
    if math.isfinite(expected):
        first, last = sin.points[0], sin.points[-1]
        whole = math.log(last.expected_mu / first.expected_mu)
        whole /= math.log(last.point["kappa"] / first.point["kappa"])
        note += (
            f" Theory has {expected:.3f} here and {whole:.3f} over all biases: v is flat, but a = d0 + v/2, "
            "which holds the mean distance up, falls with kappa."
        )
    return Claim(
        "sin-flow", "sin: a larger kappa costs no width at all; measured: d ln mu/d ln kappa."
    ).equals(0.0, measured, resolution=0.05, note=note)


def tables(n: Numbers) -> list[Table]:
    rows = [
        [
            line.name,
            f"{point.sigma_b:g}",
            f"{point.point['kappa']:.4f}",
            f"{point.point['v']:.3f}",
            str(point.v),
            f"{point.expected_mu:.3f}",
            str(point.mu),
        ]
        for line in n.lines
        for point in line.points
    ]
    columns = ["activation", "sigma_b", "kappa", "v, theory", "v, measured", "mu, theory", "mu, measured"]
    return [Table("Along the critical line", columns, rows)]


def notes(n: Numbers) -> list[str]:
    return [
        "v: n times the variance per layer of ln |u|^2 of a tangent vector u, over segments of layers "
        "and their neighbours, extrapolated in 1/n. mu: n/L at the depth where the mean distance is "
        f"{n.fraction:.0%} below that of infinite width, extrapolated likewise. Both "
        "definitions, the biases and the widths were chosen here."
    ]


def draw_variance(axes: Axes, n: Numbers) -> None:
    _against_kappa(axes, n, "v")
    axes.set(title="Variance of growth", xlabel=r"$\kappa$", ylabel="v", xscale="log")
    legend(axes)


def draw_width(axes: Axes, n: Numbers) -> None:
    _against_kappa(axes, n, "mu")
    axes.set(title="End of the infinite-width flow", xlabel=r"$\kappa$", ylabel=r"$\mu$", xscale="log")


def _against_kappa(axes: Axes, n: Numbers, quantity: str) -> None:
    for line, colour in zip(n.lines, colours(len(n.lines)), strict=True):
        kappa = [point.point["kappa"] for point in line.points]
        pairs = [point.pair(quantity) for point in line.points]
        axes.plot(kappa, [truth for _, truth in pairs], "--", color=colour, lw=1.1)
        value, error = [found.value for found, _ in pairs], [found.error for found, _ in pairs]
        axes.errorbar(kappa, value, error, fmt="o", ms=4, lw=0.9, color=colour, label=line.name)


def figures(n: Numbers) -> list[Panels]:
    caption = (
        "Along the critical line, from small to large bias: n times the variance per layer of the growth "
        "of small differences (left) and the width per layer that keeps the distance above half of that "
        "at infinite width (right), against kappa. Lines are theory at infinite width. For sin the "
        "variance is flat and the width grows least."
    )
    return [Panels("width-cost", caption, [draw_variance, draw_width], (4.6, 3.4))]


WIDTH_COST = Part(
    name="width-cost",
    title="The width that a larger kappa costs",
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
