"""One page of a time series: the verdict, its picture, and what else could have looked like it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import NullFormatter

from phasescope import __version__, plotting
from phasescope.citations import citation
from phasescope.noise import MemoryTest, Verdict
from phasescope.noise.nulls import EXCLUDED
from phasescope.noise.verdict import share
from phasescope.report.numbers import measured
from phasescope.report.svg import inline
from phasescope.report.templating import render_template
from phasescope.whole_files import write_together

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_noise(
    found: Verdict, directory: Path | str, *, name: str, command: str = "", said: Sequence[str] = ()
) -> Path:
    """Write ``report.html`` and ``report.json`` into `directory`, both or none; return the path of the page.

    Parameters
    ----------
    found : Verdict
        Of one series.
    directory : Path or str
        Made where it does not exist; an ``InputError`` says so if it cannot be written.
    name : str
        What the series is called.
    command : str
        The command line, printed on the page.
    said : sequence of str
        Sentences on how the series was read.
    """
    content = {"phasescope": __version__, "series": name, "said": list(said), **found.to_dict()}
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    page = render_noise(found, name=name, command=command, said=said)
    write_together(Path(directory), {"report.json": text + "\n", "report.html": page})
    return Path(directory) / "report.html"


def render_noise(found: Verdict, *, name: str, command: str = "", said: Sequence[str] = ()) -> str:
    """Return the page as HTML that needs no other file.

    Parameters
    ----------
    found : Verdict
        Of one series.
    name : str
        What the series is called.
    command : str
        The command line, printed on the page.
    said : sequence of str
        Sentences on how the series was read.
    """
    pictures, rows = [], []
    if found.test is not None:
        pictures = inline(noise_figure(found, found.test), "dfa", f"Fluctuations of {name}")
        rows = _rows(found.test)
    return render_template(
        "noise.html.j2",
        title=f"{name}: phasescope",
        series=name,
        found=found,
        numbers=_numbers(found),
        pictures=pictures,
        explanations=[
            (label, share(p, copies), "excluded" if p <= EXCLUDED else "possible")
            for label, p, copies in found.explanations
        ],
        rows=rows,
        command=command,
        said=said,
        bibtex=citation(found),
    )


def _rows(test: MemoryTest) -> list[list[str]]:
    """Return window, measured curve and both explanations of it."""
    curves = (test.measured, test.short_memory, test.scaling)
    return [
        [str(n), *(measured(float(value)) for value in values)]
        for n, *values in zip(test.windows, *curves, strict=True)
    ]


def _numbers(found: Verdict) -> list[tuple[str, str, str]]:
    """Return name, value and explanation of each number."""
    alpha, beta, spectral = found.alpha, found.beta, found.spectral
    if not alpha.determined:
        return []
    return [
        ("alpha", measured(alpha.value, alpha.error), "slope of ln F(n) on ln n"),
        ("beta", measured(beta.value, beta.error), "2 alpha - 1, exponent of the spectrum"),
        (
            "beta, multitaper",
            measured(spectral.value, spectral.error) if spectral.determined else str(spectral),
            "from the spectrum itself, over the frequencies of the windows",
        ),
        (
            "alpha, shuffled",
            measured(found.shuffled.value, found.shuffled.error),
            "the same values in random order; ± is the scatter over copies",
        ),
        (
            "alpha, random phases",
            measured(found.phase_randomised.value, found.phase_randomised.error),
            "the same spectrum and nothing else; ± is the scatter over copies",
        ),
    ]


def noise_figure(found: Verdict, test: MemoryTest) -> Figure:
    """Return F(n) with both explanations, and the local slopes, which a crossover bends."""
    with plotting.style():
        figure, (curve, slopes) = plotting.figure(2, panel_size=(4.2, 3.4))
        windows = test.windows
        lines = [
            (test.scaling, plotting.THEORY, "--", "scaling noise"),
            (test.short_memory, plotting.PHASE_COLOURS["critical"], "-", "short memory"),
        ]
        middles = np.sqrt(windows[1:] * windows[:-1])
        for values, colour, dashes, label in lines:
            curve.plot(windows, values, color=colour, linestyle=dashes, label=label)
            slopes.plot(middles, _slopes(windows, values), color=colour, linestyle=dashes, label=label)
        for axes, x, y in (
            (curve, windows, test.measured),
            (slopes, middles, found.fluctuations.local_slopes),
        ):
            axes.plot(x, y, "o", color=plotting.MEASURED, markersize=4.5, label="measured")
        curve.set(title="Fluctuation function", xlabel="window n", ylabel="F(n)", xscale="log", yscale="log")
        slopes.set(title="Local slopes", xlabel="window n", ylabel="d ln F / d ln n", xscale="log")
        ticks = _ticks(float(windows[0]), float(windows[-1]))
        for axes in (curve, slopes):
            axes.set_xticks(ticks, [str(tick) for tick in ticks])
            axes.xaxis.set_minor_formatter(NullFormatter())
        curve.legend(loc="upper left")
    return figure


def _slopes(windows: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.asarray(np.diff(np.log(values)) / np.diff(np.log(windows)))


def _ticks(first: float, last: float) -> list[int]:
    """Return 1, 2, 5, 10, ... within the windows, at most five of them."""
    found = [step * 10**decade for decade in range(8) for step in (1, 2, 5)]
    inside = [tick for tick in found if first <= tick <= last]
    return inside[:: -(-len(inside) // 5)] if inside else [round(first)]
