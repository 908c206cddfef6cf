"""The Lyapunov exponent of networks of finite width: where it changes sign, and how that depends on width."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from phasescope.estimate import Estimate
from phasescope.papers.absorbing import shared
from phasescope.papers.absorbing.exponent_zero import ExponentCurve, fit_exponents
from phasescope.papers.absorbing.inverse_width import Series, in_inverse_width
from phasescope.papers.absorbing.lyapunov_figure import lyapunov_figure
from phasescope.papers.absorbing.shared import STUDY, identified, resolved
from phasescope.signal import lyapunov_exponent
from phasescope.studies.arrays import filled
from phasescope.studies.check import Check, compare
from phasescope.studies.contract import Analysis, Part, Picture, Settings, Table, Variable
from phasescope.sweep.task import Task
from phasescope.theory import MeanField

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

    from phasescope.theory import CriticalLinePoint

_DISCARD = 20
# Seconds for one neuron of one layer on one core.
_TANGENT = 9e-8
# Samples reach this far, in units of the critical sigma_w, below it and above the zero of a width.
_BESIDE = 0.04
_OVERVIEW = (0.7, 1.6)


class LyapunovSettings(Settings):
    """Sizes of the sweep of Lyapunov exponents."""

    widths: tuple[int, ...] = (25, 50, 100, 200, 400)  # neurons in each layer, ascending
    points: int = 6  # values of ``sigma_w`` around the zero of each width
    effort: float = 1.5e7  # neurons times layers times networks for each of them
    overview: int = 11  # values of ``sigma_w`` over a wide range, for the figure
    overview_effort: float = 2e5  # the same for each of those
    # neurons of all networks of one exponent together, so that narrow networks are as many as vectors need
    neurons: int = 12_800


QUICK = LyapunovSettings()
PAPER = LyapunovSettings(effort=1.5e8, overview=19, overview_effort=2e6)


class Lyapunov(Part):
    """Lyapunov exponent against ``sigma_w`` for several widths, and its zero ``sigma_w(n)``."""

    name = "lyapunov"
    title = "Lyapunov exponent at finite width"
    citations = ("poole2016", "tamai2023")
    variables: ClassVar = {
        "reference": shared.LINE,
        "exponent": Variable((), "Lyapunov exponent", "1/layer"),
        "error": Variable((), "its standard error", "1/layer"),
        "theory": Variable((), "Lyapunov exponent at infinite width, ln(chi_1)/2", "1/layer"),
    }

    def tasks(self, config: Any) -> list[Task]:
        """Return one task an exponent: around the zero of each width, then over a wide range."""
        settings: LyapunovSettings = config.lyapunov
        point = shared.point_or_none(config.activation, config.sigma_b)
        common = {**identified(config.activation), "sigma_b": config.sigma_b, "seed": config.seed}
        common |= {"discard": _DISCARD}
        if point is None:
            # One task without a sample says so in the data.
            none = {"kind": "none", **common, "width": 0, "sigma_w": 0.0, "depth": 0, "networks": 0}
            return [Task(STUDY, self.name, none)]

        def task(kind: str, width: int, sigma_w: float, effort: float) -> Task:
            networks = max(8, settings.neurons // width)
            depth = _DISCARD + math.ceil(effort / (width * networks))
            sizes = {"kind": kind, "width": width, "sigma_w": float(sigma_w)}
            sizes |= {"depth": depth, "networks": networks}
            seconds = depth * (width * networks * _TANGENT + 2e-4)
            return Task(STUDY, self.name, {**sizes, **common}, seconds=seconds, memory=200_000_000)

        made = []
        for width in settings.widths:
            near = _near(point, width, settings.points)
            made += [task("zero", width, s, settings.effort) for s in near]
            wide = np.linspace(*_OVERVIEW, settings.overview) * point.sigma_w
            made += [task("overview", width, s, settings.overview_effort) for s in wide]
        return made

    def measure(self, task: Task, device: str) -> dict[str, np.ndarray]:
        """Return the Lyapunov exponent of networks of one width at one ``sigma_w``."""
        known = task.parameters
        point = shared.point_or_none(known["activation"], known["sigma_b"])
        lengths = {"quantity": len(shared.QUANTITIES)}
        if known["kind"] == "none":
            return filled(self.variables, lengths, reference=shared.values(point))
        function, C_W, C_b = resolved(known["activation"]), known["sigma_w"] ** 2, known["sigma_b"] ** 2
        found = lyapunov_exponent(
            function,
            known["width"],
            C_W,
            C_b,
            networks=known["networks"],
            depth=known["depth"],
            discard=known["discard"],
            seed=task.seed,
            device=device,
        )
        chi = MeanField(function, C_W, C_b).fixed_point().chi_perpendicular
        theory = 0.5 * math.log(chi) if 0 < chi < math.inf else math.nan
        measured = {"exponent": found.value, "error": found.error, "theory": theory}
        return filled(self.variables, lengths, reference=shared.values(point), **measured)

    def analyse(self, data: xr.Dataset, config: Any) -> Analysis:
        """Return the zeros by width, their limit, and slope and value at the critical point."""
        known = shared.named(data["reference"].values[0])
        reason = shared.missing(known, config.activation, config.sigma_b)
        curves = exponent_curves(data, config)
        limits = _limits(known, curves)
        checks = _limit_checks(known, limits, reason)
        checks += [
            _zero_check(n, Estimate.not_determined(reason) if reason else curve.zero, known, limits["rest"])
            for n, curve in curves.items()
        ]
        rows = [
            [
                f"{n}",
                f"{leading_zero(known, n):.5f}",
                str(curve.zero),
                str(curve.slope),
                str(scaled(curve.at_line, 2 * n)),
                f"{curve.chi_squared:.2f}",
            ]
            for n, curve in curves.items()
        ]
        columns = ["width n", "sigma_w(n), order 1/n", "measured zero", "slope there"]
        columns += ["2 n lambda at sigma_wc", "chi^2 per degree of freedom"]
        return Analysis(checks, [Table("Zeros of the Lyapunov exponent", columns, rows)], [_NOTE])

    def figures(self, data: xr.Dataset, config: Any) -> list[Picture]:
        """Return the exponents, the zeros and the value at the critical point against 1/n."""
        known = shared.named(data["reference"].values[0])
        caption = (
            "Left: the Lyapunov exponent of random networks by width, and its limit ln(chi_1)/2. Middle: "
            "the shift of its zero times n, which tends to -d0/gamma; what is left is the next order in "
            "1/n. Right: 2 n lambda at the infinite-width critical point, which tends to d0."
        )
        return [Picture("lyapunov", lyapunov_figure(data, known, exponent_curves(data, config)), caption)]


_NOTE = (
    "sigma_w(n) = sigma_wc - d0/(gamma n) is the leading order in 1/n. What the zeros leave beside it is "
    "fitted as b/n^2 + c/n^3 over all widths, and the check of each width allows that much. Widths and "
    "ranges were chosen here."
)


def _near(point: CriticalLinePoint, width: int, points: int) -> np.ndarray:
    beside = _BESIDE * point.sigma_w
    ends = sorted([point.sigma_w, point.sigma_w_at_width(width)])
    return np.linspace(ends[0] - beside, ends[1] + beside, points)


def exponent_curves(data: xr.Dataset, config: Any) -> dict[int, ExponentCurve]:
    """Return, by width, the fit through the exponents around the zero."""
    known = shared.named(data["reference"].values[0])
    curves = {}
    for width in config.lyapunov.widths:
        near = shared.of_kind(data, "zero", width=width)
        order = np.argsort(near["sigma_w"].values.astype(float))
        sigma_w, exponent, error = (
            near[name].values.astype(float)[order] for name in ("sigma_w", "exponent", "error")
        )
        curves[width] = fit_exponents(sigma_w, exponent, error, known["sigma_w"])
    return curves


def scaled(estimate: Estimate, factor: float, offset: float = 0.0) -> Estimate:
    """Return ``factor (estimate - offset)`` with its error."""
    value, error = factor * (estimate.value - offset), abs(factor) * estimate.error
    return replace(estimate, value=value, error=error, window=None)


def leading_zero(known: Mapping[str, float], n: int) -> float:
    """Return ``sigma_wc - d0/(gamma n)``, where the exponent of width n is zero at leading order in 1/n."""
    return known["sigma_w"] - known["d0"] / (known["gamma"] * n)


def _limits(known: Mapping[str, float], curves: Mapping[int, ExponentCurve]) -> dict[str, Series]:
    widths = list(curves)
    zeros = [curve.zero for curve in curves.values()]
    shifts = [scaled(zero, n, known["sigma_w"]) for n, zero in zip(widths, zeros, strict=True)]
    rests = [scaled(zero, n**2, leading_zero(known, n)) for n, zero in zip(widths, zeros, strict=True)]
    at_line = [scaled(curve.at_line, 2 * n) for n, curve in curves.items()]
    return {
        # Without the narrowest width, where terms of order 1/n^3 are as large as the errors.
        "point": in_inverse_width(widths[1:], zeros[1:], 2),
        "shift": in_inverse_width(widths, shifts, 2),
        "rest": in_inverse_width(widths, rests, 1),
        "slope": in_inverse_width(widths, [curve.slope for curve in curves.values()], 2),
        "at_line": in_inverse_width(widths, at_line, 2),
    }


def _limit_checks(known: Mapping[str, float], limits: Mapping[str, Series], reason: str) -> list[Check]:
    # How precise a number has to be for agreement to mean something, on the activation's own scales.
    gamma, shift = abs(known["gamma"]), abs(known["d0"] / known["gamma"])
    rows = [
        (
            "zero-infinite-width",
            "The zeros of the Lyapunov exponent tend to the critical sigma_w of infinite width.",
            "arXiv:2307.02284; theory.critical_line",
            known["sigma_w"],
            limits["point"].limit,
            2e-3 / gamma,
        ),
        (
            "zero-shift",
            "The zero moves as sigma_w(n) = sigma_wc - d0/(gamma n); measured: the coefficient of 1/n.",
            "derived here",
            -known["d0"] / known["gamma"],
            limits["shift"].limit,
            0.1 * shift,
        ),
        (
            "slope",
            "The exponent rises through zero with slope gamma/2, as n grows.",
            "derived here; gamma as in arXiv:2307.02284",
            known["gamma"] / 2,
            limits["slope"].limit,
            0.06 * gamma,
        ),
        (
            "at-critical-point",
            "At the infinite-width critical point 2 n lambda tends to d0.",
            "derived here",
            known["d0"],
            limits["at_line"].limit,
            0.06 * gamma * shift,
        ),
    ]
    checks = []
    for name, claim, source, expected, measured, resolution in rows:
        found = Estimate.not_determined(reason) if reason else measured
        known_number = expected if math.isfinite(expected) else None
        checks.append(compare(f"lyapunov/{name}", claim, source, known_number, found, resolution=resolution))
    return checks


def _zero_check(n: int, zero: Estimate, known: Mapping[str, float], rest: Series) -> Check:
    leading = leading_zero(known, n)
    left = abs(rest.at(n)) / n**2
    return compare(
        f"lyapunov/zero-n{n}",
        f"Networks of width {n} change phase at sigma_w(n) = sigma_wc - d0/(gamma n).",
        "derived here",
        leading if math.isfinite(leading) else None,
        zero,
        allowance=left,
        resolution=abs(leading - known["sigma_w"]) / 3 if math.isfinite(leading) else math.inf,
        note=""
        if not zero.determined
        else f"Leading order in 1/n. The rest over all widths, fitted as b/n^2 + c/n^3 with "
        f"b = {rest.limit}, is {left:.2g} here and is allowed.",
    )
