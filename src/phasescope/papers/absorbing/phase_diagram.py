"""Where order meets chaos: the critical line ``sigma_w(sigma_b)`` from theory and from finite networks.

On the line ``chi_1 = 1`` at the kernel's fixed point (arXiv:1606.05340). Networks of two widths give the zero
of their Lyapunov exponent, extrapolated in 1/n. Along the line kappa vanishes with the bias
(arXiv:2307.02284), as ``sigma_b^(4/3)`` for odd smooth activations (derived here).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers.absorbing import shared
from phasescope.papers.absorbing.exponent_zero import DISCARD, TANGENT, fit_exponents
from phasescope.papers.absorbing.iterates import PAIR
from phasescope.papers.absorbing.shared import STUDY, activation_of, identified
from phasescope.signal import lyapunov_exponent, sample_mlp
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend, logarithmic, short
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

# The paper's worked example: activation, sigma_b and critical sigma_w.
_EXAMPLE = ("tanh", 0.3, 1.39558)
# Exponents are sampled so far from the zero of a width, in units of the critical sigma_w.
_OFFSETS = (-0.02, 0.0, 0.02)
# The map reaches over these multiples of the critical sigma_w, and over these biases.
_REACH, _BIASES = (0.6, 1.7), (0.05, 1.5)
_FLOOR = -4.0  # lowest log10(1 - c) that the map tells apart


class PhaseDiagramSettings(Settings):
    """Sizes of the phase diagram."""

    line_points: int = 25  # points of each critical line from theory
    # sigma_b at the two ends of it
    lowest: float = 1e-4
    highest: float = 2.0
    # sigma_b at which finite networks are sampled too, besides the study's own
    sampled: tuple[float, ...] = (0.1, 1.0)
    widths: tuple[int, int] = (100, 400)  # two widths, from which the critical point is extrapolated in 1/n
    effort: float = 6e5  # neurons times layers times networks for each exponent
    networks: int = 32  # independent networks for each exponent
    # the map of the order parameter: rows of sigma_b and columns of sigma_w
    rows: int = 9
    columns: int = 13
    # its networks: neurons in each layer, layers, networks at each point
    map_width: int = 100
    map_depth: int = 50
    map_networks: int = 4


QUICK = PhaseDiagramSettings()
PAPER = PhaseDiagramSettings(line_points=41, effort=1e7, rows=25, columns=37, map_width=200, map_networks=10)

_SIGMA_W = "standard deviation of the weights times sqrt(fan-in)"
VARIABLES = {
    "reference": replace(shared.LINE, optional=True),
    "odd": Variable((), "1 where the activation is odd", optional=True),
    "line_sigma_b": Variable(("point",), "standard deviation of the biases", optional=True),
    "line": Variable(("point", "quantity"), shared.LINE.long_name, optional=True),
    "sigma_w": Variable(("sample",), _SIGMA_W, optional=True),
    "exponent": Variable(("sample",), "Lyapunov exponent", "1/layer", optional=True),
    "exponent_error": Variable(("sample",), "its standard error", "1/layer", optional=True),
    "map_sigma_w": Variable(("column",), _SIGMA_W, optional=True),
    "map_log_distance": Variable(("column",), "mean of ln(1 - c) over networks", optional=True),
}


def tasks(config: Any) -> list[Task]:
    """Return one task a line of theory, one a pair of bias and width, one a row of the map."""
    settings: PhaseDiagramSettings = config.phase_diagram
    own = shared.point_or_none(config.activation, config.sigma_b)
    sizes = settings.model_dump(mode="json", exclude={"sampled", "widths"})
    sizes |= {"left": _REACH[0] * own.sigma_w, "right": _REACH[1] * own.sigma_w} if own else {}

    def task(kind: str, spec: str, sigma_b: float, width: int, seconds: float) -> Task:
        parameters = {"kind": kind, **identified(spec), "sigma_b": sigma_b, "width": width}
        parameters |= {"seed": config.seed, **sizes}
        return Task(STUDY, "phase-diagram", parameters, seconds=seconds, memory=200_000_000)

    made = [task("line", spec, config.sigma_b, 0, 0.04 * settings.line_points) for spec in config.activations]
    for sigma_b in _sampled(config):
        if shared.point_or_none(config.activation, sigma_b) is None:
            continue
        for width in settings.widths:
            discarded = 1 + DISCARD * width * settings.networks / settings.effort
            seconds = len(_OFFSETS) * settings.effort * discarded * TANGENT
            made.append(task("exponent", config.activation, sigma_b, width, seconds))
    if own is not None:
        networks = settings.map_width * settings.map_depth * settings.map_networks
        seconds = settings.columns * (networks * PAIR + settings.map_depth * 1e-3)
        for sigma_b in np.geomspace(*_BIASES, settings.rows):
            made.append(task("map", config.activation, float(sigma_b), settings.map_width, seconds))
    return made


def _sampled(config: Any) -> list[float]:
    """Return the biases at which networks are sampled, the study's own first."""
    return list(dict.fromkeys([config.sigma_b, *config.phase_diagram.sampled]))


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return a line of theory, exponents around the critical point, or a row of the map."""
    return {"line": _line, "exponent": _exponents, "map": _row}[task.parameters["kind"]](task, device)


def _line(task: Task, device: str) -> dict[str, Any]:
    known = task.parameters
    biases = np.geomspace(known["lowest"], known["highest"], known["line_points"])
    spec = known["activation"]
    return {
        "reference": shared.values(shared.point_of(known)),
        "odd": float(shared.is_odd(spec)),
        "line_sigma_b": biases,
        "line": np.stack([shared.values(shared.point_or_none(spec, float(b))) for b in biases]),
    }


def _exponents(task: Task, device: str) -> dict[str, Any]:
    known = task.parameters
    point = shared.line_point(known["activation"], known["sigma_b"])
    sigma_w = point.sigma_w_at_width(known["width"]) + np.array(_OFFSETS) * point.sigma_w
    depth = DISCARD + math.ceil(known["effort"] / (known["width"] * known["networks"]))
    found = [
        lyapunov_exponent(
            activation_of(known),
            known["width"],
            float(s) ** 2,
            known["sigma_b"] ** 2,
            networks=known["networks"],
            depth=depth,
            discard=DISCARD,
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
    samples = [
        sample_mlp(
            activation_of(known),
            known["map_width"],
            known["map_depth"],
            float(s) ** 2,
            known["sigma_b"] ** 2,
            networks=known["map_networks"],
            seed=task.seed + index,
            kernel=1.0,
            layers=[known["map_depth"]],
            device=device,
        )
        for index, s in enumerate(sigma_w)
    ]
    return {
        "map_sigma_w": sigma_w,
        "map_log_distance": [float(sample["log_distance"].mean()) for sample in samples],
    }


@dataclass(frozen=True)
class Critical:
    """The critical ``sigma_w`` at one bias."""

    measured: Estimate  # of networks, extrapolated to infinite width
    expected: float  # of theory; NaN where there is none
    shift: float  # -d0/gamma, the coefficient of 1/n in that of width n


@dataclass(frozen=True)
class Numbers:
    """Critical lines of theory, and critical points of networks."""

    data: xr.Dataset
    config: Any  # of the study
    own: xr.Dataset  # the line of the activation that is followed
    theory: Estimate  # its critical sigma_w at the study's sigma_b
    critical: dict[float, Critical]  # by bias

    @property
    def name(self) -> str:
        return short(self.config.activation)

    @property
    def published(self) -> float | None:
        """The paper's critical ``sigma_w``, where this is its example."""
        activation, sigma_b, sigma_w = _EXAMPLE
        same = (self.config.activation, self.config.sigma_b) == (activation, sigma_b)
        return sigma_w if same else None


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    own = chosen(data, kind="line", activation=config.activation).isel(task=0)
    point = shared.named(own["reference"].values)
    reason = shared.missing(point, config.activation, config.sigma_b)
    theory = Estimate(point["sigma_w"], 1e-9, "root of chi_1 = 1 at the kernel's fixed point", 1)
    critical = {sigma_b: _critical(data, sigma_b, config) for sigma_b in _sampled(config)}
    return Numbers(data, config, own, Estimate.not_determined(reason) if reason else theory, critical)


def _critical(data: xr.Dataset, sigma_b: float, config: Any) -> Critical:
    sampled = chosen(data, kind="exponent", sigma_b=sigma_b)
    if sampled.sizes["task"] == 0:
        reason = f"{short(config.activation)} has no critical line at sigma_b = {sigma_b:g}"
        return Critical(Estimate.not_determined(reason), math.nan, math.nan)
    point = shared.named(sampled["reference"].values[0])
    n, m = config.phase_diagram.widths
    small, large = (_zero(chosen(sampled, width=width), point["sigma_w"]) for width in (n, m))
    found = (n * small - m * large) / (n - m)
    method = f"zero of the Lyapunov exponent at widths {n} and {m}, extrapolated in 1/width"
    if found.determined:
        found = replace(found, method=method, n=small.n + large.n)
    else:
        found = Estimate.not_determined(found.reason)
    return Critical(found, point["sigma_w"], -point["d0"] / point["gamma"])


def _zero(sampled: xr.Dataset, expected: float) -> Estimate:
    x, y, error = (sampled[name].values[0] for name in ("sigma_w", "exponent", "exponent_error"))
    return fit_exponents(x, y, error, expected, degree=1).zero


def _along(line: xr.Dataset, quantity: str) -> np.ndarray:
    """Return a quantity at the points of a critical line."""
    return np.asarray(line["line"].values[:, shared.QUANTITIES.index(quantity)])


def vanishing_power(biases: np.ndarray, kappa: np.ndarray) -> Estimate:
    """Return the power with which kappa vanishes: local slopes, extrapolated in ``sigma_b^(2/3)`` to 0."""
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


def claims(n: Numbers) -> list[Check]:
    """Return the critical points of theory and of networks, and how kappa vanishes."""
    k3 = shared.named(n.own["reference"].values)["k3"]
    odd = bool(n.own["odd"].values == 1) and math.isfinite(k3)
    digits = "Allowance: the paper gives five decimals." if n.published else "The paper gives no number here."
    law = "With phi = a (x - b x^3 + ...): sigma_b^2 = 12 b^2 K^3 and kappa = 18 b^2 K^2."
    return [
        Claim(
            "critical-point-theory",
            f"At sigma_b = {n.config.sigma_b:g} theory puts the transition of {n.name} where the paper does.",
            _source(n.published),
        ).equals(n.published, n.theory, allowance=5e-6, note=digits),
        *(_networks_claim(n, sigma_b, critical) for sigma_b, critical in n.critical.items()),
        Claim(
            "kappa-vanishes",
            "Along the critical line kappa vanishes with the bias, as sigma_b^(4/3) for odd smooth "
            "activations.",
        ).equals(
            4 / 3 if odd else None,
            vanishing_power(n.own["line_sigma_b"].values, _along(n.own, "kappa")),
            resolution=0.02,
            note=law if odd else "The activation is not odd and smooth, so that no power is predicted.",
        ),
    ]


def _source(published: float | None) -> str:
    return "arXiv:2307.02284, worked example" if published else "theory.critical_line"


def _networks_claim(n: Numbers, sigma_b: float, critical: Critical) -> Check:
    """Return the check of an extrapolated critical point.

    With ``sigma_w(n) = sigma_w + a/n + b/n^2`` two widths give ``sigma_w - b/(n m)``; what is allowed is
    ``2 a^2/(n m)``, the square of the leading term being the size that the next one has.
    """
    small, large = n.config.phase_diagram.widths
    own, shift = sigma_b == n.config.sigma_b, critical.shift
    published = n.published if own else None
    allowance = 2 * shift**2 / (small * large) if math.isfinite(shift) else 0.0
    return Claim(
        "critical-point-networks" if own else f"networks-sigma_b-{sigma_b:g}",
        f"Finite networks, extrapolated to infinite width, change phase there at sigma_b = {sigma_b:g}.",
        _source(published),
    ).equals(
        published or critical.expected,
        critical.measured,
        allowance=allowance,
        resolution=abs(shift) / small / 6 if math.isfinite(shift) else math.inf,
        note=f"Allowance {allowance:.1g}: the next order in 1/width." if critical.measured.determined else "",
    )


def tables(n: Numbers) -> list[Table]:
    rows = [
        [f"{sigma_b:g}", f"{critical.expected:.5f}", str(critical.measured)]
        for sigma_b, critical in n.critical.items()
    ]
    columns = ["sigma_b", "theory", "networks, extrapolated to infinite width"]
    return [Table(f"Critical sigma_w of {n.name}", columns, rows)]


def notes(n: Numbers) -> list[str]:
    settings: PhaseDiagramSettings = n.config.phase_diagram
    return [
        f"Chosen here: exponents at widths {settings.widths[0]} and {settings.widths[1]}; the map "
        f"shows exp of the mean ln(1 - c) after {settings.map_depth} layers of width "
        f"{settings.map_width}, from independent inputs. erf is erf(x), without a factor in its "
        "argument. The weights have variance sigma_w^2/n; 1 - c is taken without subtracting the "
        "mean over neurons."
    ]


def draw_map(axes: Axes, n: Numbers) -> None:
    title = f"1 - c after {n.config.phase_diagram.map_depth} layers, {n.name}"
    axes.set(title=title, xlabel=r"weights $\sigma_w$", ylabel=r"bias $\sigma_b$")
    rows = chosen(n.data, kind="map")
    if rows.sizes["task"] == 0:
        return
    biases, sigma_w = rows["sigma_b"].values.astype(float), rows["map_sigma_w"].values[0]
    shown = np.clip(rows["map_log_distance"].values / np.log(10), _FLOOR, 0)
    mesh = axes.pcolormesh(sigma_w, biases, shown, cmap="viridis", vmin=_FLOOR, vmax=0, shading="nearest")
    axes.set_yscale("log")
    axes.grid(False)
    bar = axes.figure.colorbar(mesh, ax=axes, ticks=[-4, -3, -2, -1, 0])
    bar.set_ticklabels([r"$<10^{-4}$", *(rf"$10^{{{k}}}$" for k in (-3, -2, -1)), "1"])
    limits = axes.get_xlim(), axes.get_ylim()
    axes.plot(_along(n.own, "sigma_w"), n.own["line_sigma_b"].values, color=plotting.THEORY, lw=2.2)
    axes.set(xlim=limits[0], ylim=limits[1])


def draw_lines(axes: Axes, n: Numbers) -> None:
    _along_the_lines(axes, n, "sigma_w", 0.01)
    known = {sigma_b: c.measured for sigma_b, c in n.critical.items() if c.measured.determined}
    if known:
        y, error = [found.value for found in known.values()], [found.error for found in known.values()]
        axes.errorbar(list(known), y, error, fmt="o", ms=4.5, color=plotting.INK, label="networks")
    logarithmic(axes, up=False)
    axes.set(title="Critical lines", xlabel=r"bias $\sigma_b$", ylabel=r"critical $\sigma_w$")
    legend(axes)


def draw_kappa(axes: Axes, n: Numbers) -> None:
    _along_the_lines(axes, n, "kappa", 0.0)
    logarithmic(axes)
    axes.set(title=r"$\kappa$ along the lines", xlabel=r"bias $\sigma_b$", ylabel=r"$\kappa$")
    legend(axes)


def _along_the_lines(axes: Axes, n: Numbers, quantity: str, least: float) -> None:
    """Draw a quantity against the bias, from the least one on, for each activation."""
    lines = chosen(n.data, kind="line")
    for index, colour in enumerate(colours(lines.sizes["task"])):
        line = lines.isel(task=index)
        biases = line["line_sigma_b"].values
        shown = biases >= least
        name = short(str(line["activation"].values))
        axes.plot(biases[shown], _along(line, quantity)[shown], color=colour, label=name)


def figures(n: Numbers) -> list[Panels]:
    caption = (
        f"Left: 1 - c of two inputs after {n.config.phase_diagram.map_depth} layers of "
        f"{n.name} networks; the theory's critical line separates forgetting from "
        "telling apart. Middle: critical lines, with finite networks extrapolated to infinite width. "
        "Right: kappa along the lines; it vanishes with the bias."
    )
    return [Panels("phase-diagram", caption, [draw_map, draw_lines, draw_kappa])]


PHASE_DIAGRAM = Part(
    name="phase-diagram",
    title="Phase diagram",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    citations=("poole2016", "schoenholz2017", "tamai2023"),
)
