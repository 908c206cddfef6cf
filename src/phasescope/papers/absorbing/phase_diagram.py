"""Where order meets chaos: the critical line from theory and from finite networks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from phasescope.estimate import Estimate
from phasescope.papers.absorbing import shared
from phasescope.papers.absorbing.exponent_zero import fit_exponents
from phasescope.papers.absorbing.phase_diagram_figure import phase_diagram_figure
from phasescope.papers.absorbing.shared import STUDY, identified, resolved
from phasescope.signal import lyapunov_exponent, sample_mlp
from phasescope.studies.arrays import filled
from phasescope.studies.check import Check, compare
from phasescope.studies.contract import Analysis, Part, Picture, Settings, Table, Variable
from phasescope.studies.drawing import short
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr

PAPER_POINT = ("tanh", 0.3, 1.39558)
_OFFSETS = (-0.02, 0.0, 0.02)
_DISCARD = 20
# The map reaches over these multiples of the critical sigma_w, and over these biases.
_REACH, _BIASES = (0.6, 1.7), (0.05, 1.5)
# Seconds for one neuron of one layer on one core: a tangent sample, and a pair of replicas.
_TANGENT, _PAIR = 9e-8, 1e-7


class PhaseDiagramSettings(Settings):
    """Sizes of the phase diagram."""

    line_points: int = 25  # points of each critical line from theory
    # lowest, highest: ``sigma_b`` at the two ends of it
    lowest: float = 1e-4
    highest: float = 2.0
    # ``sigma_b`` at which finite networks are sampled too, besides the study's own
    sampled: tuple[float, ...] = (0.1, 1.0)
    widths: tuple[int, int] = (100, 400)  # two widths, from which the critical point is extrapolated in 1/n
    effort: float = 6e5  # neurons times layers times networks for each exponent
    networks: int = 32  # independent networks for each exponent
    # rows, columns: of the map of the order parameter, over ``sigma_b`` and ``sigma_w``
    rows: int = 9
    columns: int = 13
    # map_width, map_depth, map_networks: networks of the map
    map_width: int = 100
    map_depth: int = 50
    map_networks: int = 4


QUICK = PhaseDiagramSettings()
PAPER = PhaseDiagramSettings(line_points=41, effort=1e7, rows=25, columns=37, map_width=200, map_networks=10)


class PhaseDiagram(Part):
    """The critical line ``sigma_w(sigma_b)``, and kappa along it."""

    name = "phase-diagram"
    title = "Phase diagram"
    citations = ("poole2016", "schoenholz2017", "tamai2023")
    variables: ClassVar = {
        "reference": shared.LINE,
        "odd": Variable((), "1 where the activation is odd"),
        "line_sigma_b": Variable(("point",), "standard deviation of the biases"),
        "line": Variable(("point", "quantity"), shared.LINE.long_name),
        "sigma_w": Variable(("sample",), "standard deviation of the weights times sqrt(fan-in)"),
        "exponent": Variable(("sample",), "Lyapunov exponent", "1/layer"),
        "exponent_error": Variable(("sample",), "its standard error", "1/layer"),
        "map_sigma_w": Variable(("column",), "standard deviation of the weights times sqrt(fan-in)"),
        "map_log_distance": Variable(("column",), "mean of ln(1 - c) over networks"),
    }

    def tasks(self, config: Any) -> list[Task]:
        """Return one task a line of theory, one a pair of bias and width, one a row of the map."""
        settings: PhaseDiagramSettings = config.phase_diagram
        own = shared.point_or_none(config.activation, config.sigma_b)
        sizes = settings.model_dump(mode="json", exclude={"sampled", "widths"})
        sizes |= {"left": _REACH[0] * own.sigma_w, "right": _REACH[1] * own.sigma_w} if own else {}

        def task(kind: str, spec: str, sigma_b: float, width: int, seconds: float) -> Task:
            parameters = {"kind": kind, **identified(spec), "sigma_b": sigma_b, "width": width}
            parameters |= {"seed": config.seed, **sizes}
            return Task(STUDY, self.name, parameters, seconds=seconds, memory=200_000_000)

        made = [
            task("line", spec, config.sigma_b, 0, 0.04 * settings.line_points) for spec in config.activations
        ]
        for sigma_b in dict.fromkeys([config.sigma_b, *settings.sampled]):
            if shared.point_or_none(config.activation, sigma_b) is None:
                continue
            for width in settings.widths:
                discarded = 1 + _DISCARD * width * settings.networks / settings.effort
                seconds = len(_OFFSETS) * settings.effort * discarded * _TANGENT
                made.append(task("exponent", config.activation, sigma_b, width, seconds))
        if own is not None:
            networks = settings.map_width * settings.map_depth * settings.map_networks
            seconds = settings.columns * (networks * _PAIR + settings.map_depth * 1e-3)
            for sigma_b in np.geomspace(*_BIASES, settings.rows):
                made.append(task("map", config.activation, float(sigma_b), settings.map_width, seconds))
        return made

    def measure(self, task: Task, device: str) -> dict[str, np.ndarray]:
        """Return a line of theory, exponents around the critical point, or a row of the map."""
        known = task.parameters
        lengths = {
            "point": known["line_points"],
            "quantity": len(shared.QUANTITIES),
            "sample": len(_OFFSETS),
            "column": known["columns"],
        }
        measured = {"line": _line, "exponent": _exponents, "map": _row}[known["kind"]](task, device)
        return filled(self.variables, lengths, **measured)

    def analyse(self, data: xr.Dataset, config: Any) -> Analysis:
        """Return the critical points of theory and of networks, and how kappa vanishes."""
        points = sampled_points(data, config)
        own = shared.of_kind(data, "line", activation=config.activation)
        checks = [_theory_check(own, config)]
        for sigma_b, (measured, expected, shift) in points.items():
            checks.append(_sampled_check(sigma_b, measured, expected, shift, config))
        checks.append(_vanishing_check(own, config))
        rows = [
            [f"{sigma_b:g}", f"{expected:.5f}", str(measured)]
            for sigma_b, (measured, expected, _) in points.items()
        ]
        table = Table(
            f"Critical sigma_w of {short(config.activation)}",
            ["sigma_b", "theory", "networks, extrapolated to infinite width"],
            rows,
        )
        settings = config.phase_diagram
        return Analysis(
            checks,
            [table],
            [
                f"Chosen here: exponents at widths {settings.widths[0]} and {settings.widths[1]}; the map "
                f"shows exp of the mean ln(1 - c) after {settings.map_depth} layers of width "
                f"{settings.map_width}, from independent inputs. erf is erf(x), without a factor in its "
                "argument. The weights have variance sigma_w^2/n; 1 - c is taken without subtracting the "
                "mean over neurons."
            ],
        )

    def figures(self, data: xr.Dataset, config: Any) -> list[Picture]:
        """Return the map, the lines and kappa along them."""
        caption = (
            f"Left: 1 - c of two inputs after {config.phase_diagram.map_depth} layers of "
            f"{short(config.activation)} networks; the theory's critical line separates forgetting from "
            "telling apart. Middle: critical lines, with finite networks extrapolated to infinite width. "
            "Right: kappa along the lines; it vanishes with the bias."
        )
        points = sampled_points(data, config)
        return [Picture("phase-diagram", phase_diagram_figure(data, config, points), caption)]


def _line(task: Task, device: str) -> dict[str, Any]:
    known = task.parameters
    biases = np.geomspace(known["lowest"], known["highest"], known["line_points"])
    spec = known["activation"]
    return {
        "reference": shared.values(shared.point_or_none(spec, known["sigma_b"])),
        "odd": float(shared.is_odd(spec)),
        "line_sigma_b": biases,
        "line": np.stack([shared.values(shared.point_or_none(spec, float(b))) for b in biases]),
    }


def _exponents(task: Task, device: str) -> dict[str, Any]:
    known = task.parameters
    point = shared.point_or_none(known["activation"], known["sigma_b"])
    assert point is not None
    sigma_w = point.sigma_w_at_width(known["width"]) + np.array(_OFFSETS) * point.sigma_w
    depth = _DISCARD + math.ceil(known["effort"] / (known["width"] * known["networks"]))
    found = [
        lyapunov_exponent(
            resolved(known["activation"]),
            known["width"],
            float(s) ** 2,
            known["sigma_b"] ** 2,
            networks=known["networks"],
            depth=depth,
            discard=_DISCARD,
            seed=task.seed + index,
            device=device,
        )
        for index, s in enumerate(sigma_w)
    ]
    return {
        "reference": shared.values(point),
        "sigma_w": sigma_w,
        "exponent": [estimate.value for estimate in found],
        "exponent_error": [estimate.error for estimate in found],
    }


def _row(task: Task, device: str) -> dict[str, Any]:
    known = task.parameters
    sigma_w = np.linspace(known["left"], known["right"], known["columns"])
    rho = [
        sample_mlp(
            resolved(known["activation"]),
            known["map_width"],
            known["map_depth"],
            float(s) ** 2,
            known["sigma_b"] ** 2,
            networks=known["map_networks"],
            seed=task.seed + index,
            kernel=1.0,
            layers=[known["map_depth"]],
            device=device,
        )["log_distance"].mean()
        for index, s in enumerate(sigma_w)
    ]
    return {"map_sigma_w": sigma_w, "map_log_distance": [float(value) for value in rho]}


def sampled_points(data: xr.Dataset, config: Any) -> dict[float, tuple[Estimate, float, float]]:
    """Return, by bias, networks' critical ``sigma_w`` at infinite width, the theory's, and ``-d0/gamma``."""
    settings: PhaseDiagramSettings = config.phase_diagram
    n, m = settings.widths
    found = {}
    for sigma_b in dict.fromkeys([config.sigma_b, *settings.sampled]):
        zeros, expected, shift = [], math.nan, math.nan
        for width in settings.widths:
            chosen = shared.of_kind(data, "exponent", sigma_b=sigma_b, width=width)
            if chosen.sizes["task"] == 0:
                continue
            known = shared.named(chosen["reference"].values[0])
            expected, shift = known["sigma_w"], -known["d0"] / known["gamma"]
            sigma_w, exponent, error = (
                chosen[name].values[0] for name in ("sigma_w", "exponent", "exponent_error")
            )
            zeros.append(fit_exponents(sigma_w, exponent, error, expected, degree=1).zero)
        if not zeros:
            reason = f"{short(config.activation)} has no critical line at sigma_b = {sigma_b:g}"
            zeros = [Estimate.not_determined(reason)]
        found[sigma_b] = (_extrapolated(zeros, n, m), expected, shift)
    return found


def _extrapolated(zeros: list[Estimate], n: int, m: int) -> Estimate:
    missing = [zero.reason for zero in zeros if not zero.determined]
    if len(zeros) < 2 or missing:
        return Estimate.not_determined((missing or ["one width alone was sampled"])[0])
    small, large = zeros
    value = (m * large.value - n * small.value) / (m - n)
    error = math.hypot(m * large.error, n * small.error) / abs(m - n)
    method = f"zero of the Lyapunov exponent at widths {n} and {m}, extrapolated in 1/width"
    return Estimate(value, error, method, small.n + large.n)


def _reference(config: Any) -> tuple[float | None, str]:
    name, sigma_b, value = PAPER_POINT
    same = config.activation == name and config.sigma_b == sigma_b
    return (value, "arXiv:2307.02284, worked example") if same else (None, "theory.critical_line")


def _theory_check(own: xr.Dataset, config: Any) -> Check:
    expected, source = _reference(config)
    known = shared.named(own["reference"].values[0])
    reason = shared.missing(known, config.activation, config.sigma_b)
    measured = (
        Estimate.not_determined(reason)
        if reason
        else Estimate(known["sigma_w"], 1e-9, "root of chi_1 = 1 at the kernel's fixed point", 1)
    )
    return compare(
        "phase-diagram/critical-point-theory",
        f"At sigma_b = {config.sigma_b:g} theory puts the transition of {short(config.activation)} where the "
        "paper does.",
        source,
        expected,
        measured,
        allowance=5e-6,
        note="Allowance: the paper gives five decimals." if expected else "The paper gives no number here.",
    )


def _sampled_check(sigma_b: float, measured: Estimate, expected: float, shift: float, config: Any) -> Check:
    """Return the check of an extrapolated critical point.

    With ``sigma_w(n) = sigma_w + a/n + b/n^2`` two widths give ``sigma_w - b/(n m)``; what is allowed is
    ``2 a^2/(n m)``, the square of the leading term being the size that the next one has.
    """
    n, m = config.phase_diagram.widths
    allowance = 2 * shift**2 / (n * m) if math.isfinite(shift) else 0.0
    own = sigma_b == config.sigma_b
    published, source = _reference(config) if own else (None, "theory.critical_line")
    if published is None:
        published = expected if math.isfinite(expected) else None
    return compare(
        "phase-diagram/critical-point-networks" if own else f"phase-diagram/networks-sigma_b-{sigma_b:g}",
        f"Finite networks, extrapolated to infinite width, change phase there at sigma_b = {sigma_b:g}.",
        source,
        published,
        measured,
        allowance=allowance,
        resolution=abs(shift) / n / 6 if math.isfinite(shift) else math.inf,
        note=f"Allowance {allowance:.1g}: the next order in 1/width." if measured.determined else "",
    )


def _vanishing_check(own: xr.Dataset, config: Any) -> Check:
    known = shared.named(own["reference"].values[0])
    odd = bool(own["odd"].values[0] == 1) and math.isfinite(known["k3"])
    biases = own["line_sigma_b"].values[0]
    kappa = own["line"].values[0][:, shared.QUANTITIES.index("kappa")]
    return compare(
        "phase-diagram/kappa-vanishes",
        "Along the critical line kappa vanishes with the bias, as sigma_b^(4/3) for odd smooth activations.",
        "arXiv:2307.02284 for kappa -> 0; the power derived here",
        4 / 3 if odd else None,
        vanishing_power(biases, kappa),
        resolution=0.02,
        note="With phi = a (x - b x^3 + ...): sigma_b^2 = 12 b^2 K^3 and kappa = 18 b^2 K^2."
        if odd
        else "The activation is not odd and smooth, so that no power is predicted.",
    )


def vanishing_power(biases: np.ndarray, kappa: np.ndarray) -> Estimate:
    """Return the power with which kappa vanishes: local slopes, extrapolated in ``sigma_b^(2/3)`` to 0.

    Shapes: `biases` and `kappa` (points,).
    """
    low, values = biases[:4], kappa[:4]
    if not (np.isfinite(values).all() and (values > 0).all()):
        return Estimate.not_determined(f"there is no critical line, or no kappa, at sigma_b = {low[0]:g}")
    slopes = np.diff(np.log(values)) / np.diff(np.log(low))
    x = np.sqrt(low[1:] * low[:-1]) ** (2 / 3)
    linear = np.polynomial.Polynomial.fit(x[:2], slopes[:2], 1)(0)
    quadratic = np.polynomial.Polynomial.fit(x, slopes, 2)(0)
    method = "local slopes, extrapolated to no bias"
    error = max(abs(float(quadratic - linear)), 1e-6)
    return Estimate(float(quadratic), error, method, 4, (float(low[0]), float(low[-1])))
