"""The picture of the Lyapunov exponent at finite width."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from phasescope import plotting
from phasescope.papers.absorbing import shared
from phasescope.studies.drawing import legend, shades

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from phasescope.papers.absorbing.exponent_zero import ExponentCurve


def lyapunov_figure(
    data: xr.Dataset, known: Mapping[str, float], curves: Mapping[int, ExponentCurve]
) -> Figure:
    """Return three panels: exponents, shifts of their zeros, and values at the critical point."""
    with plotting.style():
        drawn, (wide, shift, value) = plotting.figure(3)
        _overview(wide, data, list(curves))
        shifts = {n: (c.zero.value - known["sigma_w"], c.zero.error) for n, c in curves.items()}
        _against_inverse_width(shift, shifts, 1.0)
        values = {n: (c.at_line.value, c.at_line.error) for n, c in curves.items()}
        _against_inverse_width(value, values, 2.0)
        for axes, limit, name in (
            (shift, -known["d0"] / known["gamma"], r"$-d_0/\gamma$"),
            (value, known["d0"], r"$d_0$"),
        ):
            if math.isfinite(limit):
                axes.axhline(limit, color=plotting.THEORY, label=f"{name} = {limit:.3f}")
                legend(axes)
        shift.set_title("Shift of the zero")
        shift.set_ylabel(r"$n\,(\sigma_w(n) - \sigma_{wc})$")
        value.set_title("At the critical point of infinite width")
        value.set_ylabel(r"$2 n \lambda(\sigma_{wc})$")
    return drawn


def _overview(axes: Axes, data: xr.Dataset, widths: list[int]) -> None:
    theory: dict[float, float] = {}
    for width, colour in zip(widths, shades(len(widths)), strict=True):
        chosen = shared.of_kind(data, "overview", width=width).sortby("sigma_w")
        sigma_w = chosen["sigma_w"].values.astype(float)
        theory.update(zip(sigma_w.tolist(), chosen["theory"].values.tolist(), strict=True))
        axes.errorbar(
            sigma_w,
            chosen["exponent"].values,
            chosen["error"].values,
            fmt="o-",
            ms=3,
            lw=0.8,
            color=colour,
            label=f"n = {width}",
        )
    places = sorted(theory)
    axes.plot(places, [theory[s] for s in places], color=plotting.THEORY, label=r"$n \to \infty$", zorder=3)
    axes.axhline(0, color=plotting.INK, lw=0.8)
    axes.set_title("Growth of small differences")
    axes.set_xlabel(r"weights $\sigma_w$")
    axes.set_ylabel(r"Lyapunov exponent $\lambda$")
    legend(axes)


def _against_inverse_width(axes: Axes, values: Mapping[int, tuple[float, float]], factor: float) -> None:
    n = np.array(list(values), dtype=float)
    measured = np.array(list(values.values())).reshape(-1, 2) * (factor * n)[:, None]
    axes.errorbar(1 / n, measured[:, 0], measured[:, 1], fmt="o", ms=4.5, color=plotting.MEASURED)
    axes.set_xlim(left=0)
    axes.set_xlabel("1/n")
