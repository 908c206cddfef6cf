"""One page of a scan of learning rates: what to use, the picture, what happened at each rate."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, NullFormatter, NullLocator

from phasescope import __version__, plotting
from phasescope.citations import citation
from phasescope.report.numbers import measured
from phasescope.report.svg import inline
from phasescope.report.templating import render_template
from phasescope.training import LearningRateScan, RateRow
from phasescope.whole_files import write_together

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from phasescope.estimate import Estimate

_HEADINGS = (
    "rate",
    "exponent",
    "sharpness over threshold, start",
    "second half",
    "final loss",
    "loss rises",
    "steps to target",
    "failed",
    "verdict",
)
_TICKS = 8
_RECOMMENDED = plotting.PHASE_COLOURS["critical"]
_ONSET = plotting.PHASE_COLOURS["chaotic"]


def save_rates(found: LearningRateScan, directory: Path | str, *, name: str, command: str = "") -> Path:
    """Write ``report.html`` and ``report.json`` into `directory`, both or none; return the path of the page.

    Parameters
    ----------
    found : LearningRateScan
        Of one factory.
    directory : Path or str
        Made where it does not exist; an ``InputError`` says so if it cannot be written.
    name : str
        What the training is called.
    command : str
        The command line, printed on the page.
    """
    content = {"phasescope": __version__, "training": name, **found.to_dict()}
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    page = render_rates(found, name=name, command=command)
    write_together(Path(directory), {"report.json": text + "\n", "report.html": page})
    return Path(directory) / "report.html"


def render_rates(found: LearningRateScan, *, name: str, command: str = "") -> str:
    """Return the page as HTML that needs no other file.

    Parameters
    ----------
    found : LearningRateScan
        Of one factory.
    name : str
        What the training is called.
    command : str
        The command line, printed on the page.
    """
    return render_template(
        "rates.html.j2",
        title=f"{name}: phasescope",
        training=name,
        found=found,
        picture=inline(rates_figure(found), "rates", f"Training of {name} against its learning rate")
        if found.rows
        else [],
        in_time=inline(_in_time(found), "time", f"Training of {name} in time") if found.rows else [],
        headings=_HEADINGS,
        rows=[_cells(row) for row in found.rows],
        suggestions=[
            (each, suggestion.rate, suggestion.time_to_target)
            for each, suggestion in found.suggestions.items()
        ],
        number=_number,
        command=command,
        bibtex=citation(found),
    )


def rates_figure(found: LearningRateScan) -> Figure:
    """Return time to target, loss, sharpness and exponent against the rate, with onset and recommended range.

    Parameters
    ----------
    found : LearningRateScan
        Of one factory, with at least one rate.
    """
    with plotting.style():
        figure = Figure(figsize=(6.4, 8.0), layout="constrained")
        figure.patch.set_alpha(0.0)
        panels: list[Axes] = list(figure.subplots(4, 1, sharex=True))
        times, losses, ratios, exponents = panels
        rates = np.array(found.rates)
        for axes in panels:
            _bands(axes, found)
            axes.set_xscale("log")
        _points(times, rates, [row.time_to_target for row in found.rows])
        late = [row.rate for row in found.rows if not row.time_to_target.determined]
        times.plot(late, [found.steps] * len(late), "x", color=plotting.INK, label="not by all")
        times.set(title="Steps to the target", ylabel="steps", ylim=(0, 1.1 * found.steps))
        _points(losses, rates, [row.final_loss for row in found.rows])
        losses.set(title="Loss at the end", ylabel="loss")
        values = [row.final_loss.value for row in found.rows if row.final_loss.determined]
        if values and min(values) > 0:
            _log_scale(losses, values)
        starts = [row.sharpness_start for row in found.rows]
        _points(ratios, rates, starts, mark="s", colour=plotting.THEORY, label="at the start")
        _points(ratios, rates, [row.sharpness_ratio for row in found.rows], label="second half")
        ratios.axhline(1.0, color=plotting.INK, linewidth=0.9, linestyle="--")
        ratios.set(title="Sharpness over the stability threshold", ylabel="ratio")
        both = [each.value for row in found.rows for each in (row.sharpness_start, row.sharpness_ratio)]
        _log_scale(ratios, both)
        _points(exponents, rates, [row.exponent for row in found.rows])
        exponents.axhline(0.0, color=plotting.INK, linewidth=0.9, linestyle="--")
        exponents.set(title="Exponent of a small difference", ylabel="per step", xlabel="learning rate")
        shown = found.rates[:: -(-len(rates) // _TICKS)]
        exponents.set_xticks(shown, [f"{rate:g}" for rate in shown])
        exponents.xaxis.set_minor_locator(NullLocator())
        for axes in (times, ratios):
            axes.legend(loc="best")
    return figure


def _log_scale(axes: Axes, values: list[float]) -> None:
    """Make the axis logarithmic, down to the smallest value above 0, if there is one."""
    positive = [value for value in values if value > 0]
    if positive:
        axes.set_yscale("log")
        axes.set_ylim(bottom=max(min(positive), 1e-6 * max(positive)) / 2)
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def _bands(axes: Axes, found: LearningRateScan) -> None:
    low, high, onset = found.recommended_low, found.recommended_high, found.onset
    if low.determined and high.determined:
        axes.axvspan(low.value / 1.03, high.value * 1.03, color=_RECOMMENDED, alpha=0.25, linewidth=0)
    if onset.determined:
        error = onset.error if math.isfinite(onset.error) else 0.0
        left, right = max(onset.value - error, onset.value / 2), onset.value + error
        axes.axvspan(left / 1.01, right * 1.01, color=_ONSET, alpha=0.3, linewidth=0)


def _points(
    axes: Axes,
    rates: np.ndarray,
    found: list[Estimate],
    *,
    mark: str = "o",
    colour: str = plotting.MEASURED,
    label: str | None = None,
) -> None:
    values = np.array([each.value for each in found])
    errors = np.nan_to_num(np.array([each.error for each in found]))
    axes.errorbar(
        rates, values, errors, fmt=f"{mark}-", color=colour, markersize=4.5, linewidth=1, label=label
    )


def _in_time(found: LearningRateScan) -> Figure:
    """Return sharpness over threshold, and growth, against the step, one line a rate."""
    with plotting.style():
        figure, (ratios, growth) = plotting.figure(2, panel_size=(4.2, 3.4))
        colours = colormaps["viridis"](np.linspace(0.1, 0.8, len(found.rows)))
        for row, colour in zip(found.rows, colours, strict=True):
            ratios.plot(row.looks, row.sharpness, ".-", color=colour, linewidth=1, label=f"{row.rate:g}")
            curve = np.array(row.growth) / math.log(10)
            growth.plot(row.growth_steps, curve, color=colour, linewidth=1, label=f"{row.rate:g}")
        ratios.axhline(1.0, color=plotting.INK, linewidth=0.9, linestyle="--")
        growth.axhline(3.0, color=plotting.INK, linewidth=0.9, linestyle="--")
        _log_scale(ratios, [value for row in found.rows for value in row.sharpness])
        ratios.set(title="Sharpness over threshold", xlabel="step", ylabel="ratio")
        growth.set(title="Growth of a small difference", xlabel="step", ylabel="decades")
        growth.legend(title="rate", fontsize=8, ncols=2)
    return figure


def _cells(row: RateRow) -> list[str]:
    return [
        f"{row.rate:g}",
        _number(row.exponent),
        _number(row.sharpness_start),
        _number(row.sharpness_ratio),
        _number(row.final_loss),
        f"{100 * row.rises.value:.0f} %" if row.rises.determined else "–",
        _number(row.time_to_target),
        "–" if math.isnan(row.failed_share) else f"{row.failed_share:.0%}",
        ", ".join(f"{kind} {count}" for kind, count in row.verdicts.items()),
    ]


def _number(found: Estimate) -> str:
    return measured(found.value, found.error)
