"""The Lyapunov exponent of networks of finite width: where it changes sign, and how that depends on width.

``sigma_w(n) = sigma_wc - d0/(gamma n)`` at leading order in 1/n; the slope there is ``gamma/2``, and at the
critical point of infinite width ``2 n lambda`` tends to d0 (derived here; gamma as in arXiv:2307.02284).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers.absorbing import shared
from phasescope.papers.absorbing.exponent_zero import (
    DISCARD,
    TANGENT,
    ExponentCurve,
    Series,
    fit_exponents,
    in_inverse_width,
)
from phasescope.papers.absorbing.shared import STUDY, activation_of, identified
from phasescope.signal import lyapunov_exponent
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import legend, shades
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen, undetermined
from phasescope.sweep.task import Task
from phasescope.theory import MeanField

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from phasescope.theory import CriticalLinePoint

# Samples reach this far, in units of the critical sigma_w, below it and above the zero of a width.
_BESIDE = 0.04
_OVERVIEW = (0.7, 1.6)


class LyapunovSettings(Settings):
    """Sizes of the sweep of Lyapunov exponents."""

    widths: tuple[int, ...] = (25, 50, 100, 200, 400)  # neurons in each layer, ascending
    points: int = 6  # values of sigma_w around the zero of each width
    effort: float = 1.5e7  # neurons times layers times networks for each of them
    overview: int = 11  # values of sigma_w over a wide range, for the figure
    overview_effort: float = 2e5  # the same for each of those
    # neurons of all networks of one exponent together, so that narrow networks are as many as vectors need
    neurons: int = 12_800


QUICK = LyapunovSettings()
PAPER = LyapunovSettings(effort=1.5e8, overview=19, overview_effort=2e6)

VARIABLES = {
    "reference": shared.LINE,
    "exponent": Variable((), "Lyapunov exponent", "1/layer", optional=True),
    "error": Variable((), "its standard error", "1/layer", optional=True),
    "theory": Variable((), "Lyapunov exponent at infinite width, ln(chi_1)/2", "1/layer", optional=True),
}


def tasks(config: Any) -> list[Task]:
    """Return one task an exponent: around the zero of each width, then over a wide range."""
    settings: LyapunovSettings = config.lyapunov
    point = shared.point_or_none(config.activation, config.sigma_b)
    common = {**identified(config.activation), "sigma_b": config.sigma_b, "seed": config.seed}
    common |= {"discard": DISCARD}
    if point is None:  # one task without a sample says so in the data
        none = {"kind": "none", **common, "width": 0, "sigma_w": 0.0, "depth": 0, "networks": 0}
        return [Task(STUDY, "lyapunov", none)]

    def task(kind: str, width: int, sigma_w: float, effort: float) -> Task:
        networks = max(8, settings.neurons // width)
        depth = DISCARD + math.ceil(effort / (width * networks))
        sizes = {"kind": kind, "width": width, "sigma_w": float(sigma_w)}
        sizes |= {"depth": depth, "networks": networks}
        seconds = depth * (width * networks * TANGENT + 2e-4)
        return Task(STUDY, "lyapunov", {**sizes, **common}, seconds=seconds, memory=200_000_000)

    made = []
    wide = np.linspace(*_OVERVIEW, settings.overview) * point.sigma_w
    for width in settings.widths:
        made += [task("zero", width, s, settings.effort) for s in _near(point, width, settings.points)]
        made += [task("overview", width, s, settings.overview_effort) for s in wide]
    return made


def _near(point: CriticalLinePoint, width: int, points: int) -> np.ndarray:
    beside = _BESIDE * point.sigma_w
    ends = sorted([point.sigma_w, point.sigma_w_at_width(width)])
    return np.linspace(ends[0] - beside, ends[1] + beside, points)


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return the Lyapunov exponent of networks of one width at one ``sigma_w``."""
    known = task.parameters
    reference = {"reference": shared.values(shared.point_of(known))}
    if known["kind"] == "none":
        return reference
    function, C_W, C_b = activation_of(known), known["sigma_w"] ** 2, known["sigma_b"] ** 2
    sizes = {name: known[name] for name in ("networks", "depth", "discard")}
    found = lyapunov_exponent(function, known["width"], C_W, C_b, **sizes, seed=task.seed, device=device)
    chi = MeanField(function, C_W, C_b).fixed_point().chi_perpendicular
    theory = 0.5 * math.log(chi) if 0 < chi < math.inf else math.nan
    return reference | {"exponent": found.value, "error": found.error, "theory": theory}


@dataclass(frozen=True)
class Numbers:
    """Fits through the exponents of each width."""

    data: xr.Dataset
    point: Mapping[str, float]  # the critical point of infinite width
    missing: str  # why nothing can be said, if so
    curves: dict[int, ExponentCurve]
    shifts: list[Estimate]  # of the zeros from sigma_wc, times n
    at_line: list[Estimate]  # exponents at sigma_wc, times 2 n

    @property
    def shift(self) -> float:
        """The coefficient of 1/n in the zero of width n."""
        return -self.point["d0"] / self.point["gamma"]

    def leading(self, width: int) -> float:
        """Return where the exponent of a width is zero at leading order in 1/n."""
        return self.point["sigma_w"] - self.point["d0"] / (self.point["gamma"] * width)


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    point = shared.named(data["reference"].values[0])
    curves = {}
    for width in config.lyapunov.widths:
        x, y, error, _ = _exponents(data, "zero", width)
        curves[width] = fit_exponents(x, y, error, point["sigma_w"])
    missing = shared.missing(point, config.activation, config.sigma_b)
    shifts = [_times(curve.zero - point["sigma_w"], width) for width, curve in curves.items()]
    at_line = [_times(curve.at_line, 2 * width) for width, curve in curves.items()]
    return Numbers(data, point, missing, curves, shifts, at_line)


def _exponents(data: xr.Dataset, kind: str, width: int) -> list[np.ndarray]:
    """Return sigma_w, exponents, their errors and theory of one width, by growing sigma_w."""
    alike = chosen(data, kind=kind, width=width).sortby("sigma_w")
    return [alike[name].values.astype(float) for name in ("sigma_w", "exponent", "error", "theory")]


def _times(estimate: Estimate, factor: float) -> Estimate:
    return replace(estimate * factor, window=None)


def claims(n: Numbers) -> list[Check]:
    """Return the limits of infinite width, then the zero of each width."""
    widths, zeros = list(n.curves), [curve.zero for curve in n.curves.values()]
    rests = [_times(zero - n.leading(w), w**2) for w, zero in zip(widths, zeros, strict=True)]
    slopes = [curve.slope for curve in n.curves.values()]
    rest = in_inverse_width(widths, rests, 1)
    # How precise a number has to be for agreement to mean something, on the activation's own scales.
    gamma, shift = abs(n.point["gamma"]), abs(n.shift)
    limits = [
        Claim(
            "zero-infinite-width",
            "The zeros of the Lyapunov exponent tend to the critical sigma_w of infinite width.",
            "arXiv:2307.02284; theory.critical_line",
        ).equals(
            n.point["sigma_w"],
            # Without the narrowest width, where terms of order 1/n^3 are as large as the errors.
            in_inverse_width(widths[1:], zeros[1:], 2).limit,
            resolution=2e-3 / gamma,
        ),
        Claim(
            "zero-shift",
            "The zero moves as sigma_w(n) = sigma_wc - d0/(gamma n); measured: the coefficient of 1/n.",
        ).equals(n.shift, in_inverse_width(widths, n.shifts, 2).limit, resolution=0.1 * shift),
        Claim(
            "slope",
            "The exponent rises through zero with slope gamma/2, as n grows.",
            "derived here; gamma as in arXiv:2307.02284",
        ).equals(n.point["gamma"] / 2, in_inverse_width(widths, slopes, 2).limit, resolution=0.06 * gamma),
        Claim("at-critical-point", "At the infinite-width critical point 2 n lambda tends to d0.").equals(
            n.point["d0"], in_inverse_width(widths, n.at_line, 2).limit, resolution=0.06 * gamma * shift
        ),
    ]
    return undetermined(limits + [_zero_claim(n, width, rest) for width in widths], n.missing)


def _zero_claim(n: Numbers, width: int, rest: Series) -> Check:
    leading, zero = n.leading(width), n.curves[width].zero
    left = abs(rest.at(width)) / width**2
    note = (
        f"Leading order in 1/n. The rest over all widths, fitted as b/n^2 + c/n^3 with b = {rest.limit}, "
        f"is {left:.2g} here and is allowed."
    )
    return Claim(
        f"zero-n{width}", f"Networks of width {width} change phase at sigma_w(n) = sigma_wc - d0/(gamma n)."
    ).equals(
        leading,
        zero,
        allowance=left,
        resolution=abs(leading - n.point["sigma_w"]) / 3,
        note=note if zero.determined and not n.missing else "",
    )


def tables(n: Numbers) -> list[Table]:
    rows = [
        [
            f"{width}",
            f"{n.leading(width):.5f}",
            str(curve.zero),
            str(curve.slope),
            str(at_line),
            f"{curve.chi_squared:.2f}",
        ]
        for (width, curve), at_line in zip(n.curves.items(), n.at_line, strict=True)
    ]
    columns = ["width n", "sigma_w(n), order 1/n", "measured zero", "slope there"]
    columns += ["2 n lambda at sigma_wc", "chi^2 per degree of freedom"]
    return [Table("Zeros of the Lyapunov exponent", columns, rows)]


def notes(n: Numbers) -> list[str]:
    return [
        "sigma_w(n) = sigma_wc - d0/(gamma n) is the leading order in 1/n. What the zeros leave beside it is "
        "fitted as b/n^2 + c/n^3 over all widths, and the check of each width allows that much. Widths and "
        "ranges were chosen here."
    ]


def draw_exponents(axes: Axes, n: Numbers) -> None:
    theory: dict[float, float] = {}
    for width, colour in zip(n.curves, shades(len(n.curves)), strict=True):
        x, y, error, exact = _exponents(n.data, "overview", width)
        theory.update(zip(x.tolist(), exact.tolist(), strict=True))
        axes.errorbar(x, y, error, fmt="o-", ms=3, lw=0.8, color=colour, label=f"n = {width}")
    places = sorted(theory)
    axes.plot(places, [theory[s] for s in places], color=plotting.THEORY, label=r"$n \to \infty$", zorder=3)
    axes.axhline(0, color=plotting.INK, lw=0.8)
    title = "Growth of small differences"
    axes.set(title=title, xlabel=r"weights $\sigma_w$", ylabel=r"Lyapunov exponent $\lambda$")
    legend(axes)


def draw_shift(axes: Axes, n: Numbers) -> None:
    _against_inverse_width(axes, n, n.shifts, n.shift, r"$-d_0/\gamma$")
    axes.set(title="Shift of the zero", ylabel=r"$n\,(\sigma_w(n) - \sigma_{wc})$")


def draw_at_critical_point(axes: Axes, n: Numbers) -> None:
    _against_inverse_width(axes, n, n.at_line, n.point["d0"], r"$d_0$")
    axes.set(title="At the critical point of infinite width", ylabel=r"$2 n \lambda(\sigma_{wc})$")


def _against_inverse_width(axes: Axes, n: Numbers, values: list[Estimate], limit: float, name: str) -> None:
    """Draw what tends to a limit, by width."""
    y, error = [found.value for found in values], [found.error for found in values]
    axes.errorbar([1 / width for width in n.curves], y, error, fmt="o", ms=4.5, color=plotting.MEASURED)
    axes.set_xlim(left=0)
    axes.set_xlabel("1/n")
    if math.isfinite(limit):
        axes.axhline(limit, color=plotting.THEORY, label=f"{name} = {limit:.3f}")
        legend(axes)


def figures(n: Numbers) -> list[Panels]:
    caption = (
        "Left: the Lyapunov exponent of random networks by width, and its limit ln(chi_1)/2. Middle: "
        "the shift of its zero times n, which tends to -d0/gamma; what is left is the next order in "
        "1/n. Right: 2 n lambda at the infinite-width critical point, which tends to d0."
    )
    return [Panels("lyapunov", caption, [draw_exponents, draw_shift, draw_at_critical_point])]


LYAPUNOV = Part(
    name="lyapunov",
    title="Lyapunov exponent at finite width",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    citations=("poole2016", "tamai2023"),
)
