"""One figure for each kind of result, and a result as it shows itself in a notebook."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import escape

from phasescope import plotting
from phasescope.errors import InputError
from phasescope.instruments.inspection import Inspection
from phasescope.instruments.propagation.figure import propagation
from phasescope.noise.dfa import DFA
from phasescope.noise.verdict import Verdict as NoiseVerdict
from phasescope.report.activation_figure import activation_figure
from phasescope.report.noise_page import noise_figure
from phasescope.report.rates_page import rates_figure
from phasescope.report.svg import inline
from phasescope.report.width_figure import width_figure
from phasescope.results import Result
from phasescope.scaling.collapse import Collapse
from phasescope.scaling.power_law import PowerLawFit
from phasescope.signal.profile import Profile
from phasescope.theory.critical import CriticalPoint
from phasescope.training.rates import LearningRateScan
from phasescope.training.width_scaling import WidthCheck

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_CURVES = 6
# The page's own colours are those of the notebook: only what is soft and what is ruled is set.
_STYLE = (
    ".phasescope{color:inherit;background:transparent;max-width:72em}"
    ".phasescope p{margin:.2em 0 .6em}.phasescope b{font-weight:600}"
    ".phasescope pre{font:.85em/1.4 ui-monospace,Menlo,Consolas,monospace;overflow-x:auto;max-height:32em;"
    "background:rgba(128,128,128,.08);border:1px solid rgba(128,128,128,.3);padding:.7em .9em;color:inherit}"
    ".phasescope svg{max-width:100%;height:auto;color:inherit}"
    ".phasescope .panels{display:flex;flex-wrap:wrap;gap:1em}.phasescope .panels svg{flex:1 1 17em}"
)


def picture(result: Result) -> Figure:
    """Return the figure of a result; curves that have no drawing of their own are drawn one a panel.

    Parameters
    ----------
    result : Result
        What an instrument, a measurement or a fit returned.

    Raises
    ------
    InputError
        If it holds no curve.
    """
    for kind, draw in _DRAWINGS.items():
        if isinstance(result, kind):
            return draw(result)
    return _plain(result)


def in_notebook(result: Result) -> str:
    """Return a result as HTML for a notebook, in the colours of the notebook, light or dark.

    Parameters
    ----------
    result : Result
        What an instrument, a measurement or a fit returned.
    """
    name = escape(type(result).__name__)
    parts = [f"<style>{_STYLE}</style>", f"<p><b>{name}</b> {escape(result.sentence)}</p>"]
    text = str(result)
    if text.strip() != result.sentence.strip():
        parts.append(f"<pre>{escape(text)}</pre>")
    if any(isinstance(result, kind) for kind in _DRAWINGS):
        try:
            drawn = inline(picture(result), f"result-{id(result):x}", type(result).__name__)
        except InputError:
            drawn = []
        if drawn:
            parts.append('<div class="panels">' + "".join(drawn) + "</div>")
    return '<div class="phasescope">' + "".join(parts) + "</div>"


def _of_profile(profile: Profile) -> Figure:
    return propagation(profile.dataset, profile.verdict)


def _of_noise(found: NoiseVerdict) -> Figure:
    return _of_dfa(found.fluctuations) if found.test is None else noise_figure(found, found.test)


def _of_dfa(found: DFA) -> Figure:
    """Return F(n) with its fit, and the local slopes, of at most a few of the series."""
    curves = found.fluctuation.reshape(-1, found.fluctuation.shape[-1])[:_MOST_CURVES]
    if not len(found.windows):
        raise InputError("The series is too short for a fluctuation function.", "Print the result instead.")
    slopes = found.local_slopes.reshape(-1, found.local_slopes.shape[-1])[:_MOST_CURVES]
    alphas = found.alpha.reshape(-1)
    windows = found.windows.astype(float)
    middles = np.sqrt(windows[1:] * windows[:-1])
    with plotting.style():
        figure, (left, right) = plotting.figure(2, panel_size=(4.2, 3.4))
        for curve, slope, alpha in zip(curves, slopes, alphas, strict=False):
            left.plot(windows, curve, "o", color=plotting.MEASURED, markersize=4)
            right.plot(middles, slope, "o-", color=plotting.MEASURED, markersize=4, linewidth=0.8)
            if np.isfinite(alpha):
                line = np.log(windows) * alpha
                line += np.mean(np.log(curve) - line)
                left.plot(windows, np.exp(line), color=plotting.THEORY, label=f"alpha = {alpha:.3f}")
                right.axhline(alpha, color=plotting.THEORY, linewidth=0.8)
        left.set(title="Fluctuation function", xlabel="window n", ylabel="F(n)", xscale="log", yscale="log")
        right.set(title="Local slopes", xlabel="window n", ylabel="d ln F / d ln n", xscale="log")
        if left.get_legend_handles_labels()[0]:
            left.legend(loc="upper left")
    return figure


def _of_collapse(found: Collapse) -> Figure:
    with plotting.style():
        figure, (before, after) = plotting.figure(2, panel_size=(4.2, 3.4))
        for number, curve in enumerate(found.curves):
            shade = 0.35 + 0.65 * (number + 1) / len(found.curves)
            marks: dict[str, Any] = {"color": plotting.MEASURED, "alpha": shade, "markersize": 3.5}
            before.errorbar(curve.x, curve.y, curve.error, fmt="o-", linewidth=0.8, **marks)
            after.errorbar(curve.scaled_x, curve.scaled_y, curve.scaled_error, fmt="o", **marks)
        after.plot(found.master_x, found.master_y, color=plotting.THEORY, label="common curve")
        before.set(title="As measured", xlabel="x", ylabel="y")
        after.set(title="Rescaled", xlabel="(x - critical) size$^b$", ylabel="y size$^a$")
        positive = all((curve.y > 0).all() for curve in found.curves)
        for axes in (before, after):
            axes.set_yscale("log" if positive else "linear")
        after.legend(loc="best")
    return figure


def _of_power_law(found: PowerLawFit) -> Figure:
    with plotting.style():
        figure, (law, slopes) = plotting.figure(2, panel_size=(4.2, 3.4))
        law.errorbar(found.x, found.y, found.error, fmt="o", color=plotting.MEASURED, markersize=4)
        law.plot(found.x, found.fitted, color=plotting.THEORY, label=f"exponent {found.exponent}")
        law.set(title="Power law", xlabel="x", ylabel="y", xscale="log", yscale="log")
        law.legend(loc="best")
        local = found.slopes
        slopes.errorbar(local.x, local.slope, local.error, fmt="o", color=plotting.MEASURED, markersize=4)
        if found.determined:
            slopes.axhline(found.exponent.value, color=plotting.THEORY)
        slopes.set(title="Local slopes", xlabel="x", ylabel="d ln y / d ln x", xscale="log")
    return figure


def _of_critical_point(found: CriticalPoint) -> Figure:
    try:
        return activation_figure(found.activation)
    except InputError as error:
        raise InputError(
            f"{found.activation} is no activation that phasescope knows by name.",
            "Draw your function with phasescope.report.activation_figure(function).",
        ) from error


def _plain(result: Result) -> Figure:
    """Return one panel for each column of numbers, against the first."""
    frame = result.to_dataframe()
    numbers = [name for name in frame.columns if frame[name].dtype.kind in "iuf"]
    shown = [name for name in numbers if not str(name).endswith(("_error", "_null_sd"))]
    if len(frame) < 2 or not shown:
        raise InputError(f"{type(result).__name__} holds no curve to draw.", "Print it instead.")
    across = frame[shown[0]] if len(shown) > 1 else frame.index
    label = shown[0] if len(shown) > 1 else "place"
    drawn = shown[1 : _MOST_CURVES + 1] or shown
    with plotting.style():
        figure, panels = plotting.figure(len(drawn))
        for axes, name in zip(panels, drawn, strict=True):
            error = frame.get(f"{name}_error")
            axes.errorbar(across, frame[name], error, fmt="o-", color=plotting.MEASURED, markersize=3.5)
            axes.set(title=str(name).replace("_", " "), xlabel=str(label).replace("_", " "))
    return figure


_DRAWINGS: dict[type, Callable[[Any], Figure]] = {
    Inspection: Inspection.plot,
    Profile: _of_profile,
    NoiseVerdict: _of_noise,
    DFA: _of_dfa,
    Collapse: _of_collapse,
    PowerLawFit: _of_power_law,
    CriticalPoint: _of_critical_point,
    LearningRateScan: rates_figure,
    WidthCheck: width_figure,
}
