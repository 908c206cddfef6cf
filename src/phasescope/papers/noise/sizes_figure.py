"""Pictures of the exponents of LSTMs: against size, by quantity, against training, and the curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope import plotting
from phasescope.papers.noise.averages import of
from phasescope.papers.noise.network_part import long_windows
from phasescope.papers.noise.observation import CONDITIONS, QUANTITIES
from phasescope.papers.noise.shared import window_lengths
from phasescope.papers.noise.sizes_numbers import Widths, of_units, used, widths
from phasescope.studies.contract import Picture
from phasescope.studies.drawing import colours, legend, shades

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAMED = {"words": "words", "shuffled": "shuffled words", "noise": "white noise", "untrained": "untrained"}
_BY_QUANTITY = (
    "input",
    "input_gate",
    "output_gate",
    "candidate",
    "forget_gate",
    "hidden",
    "cell",
)


def pictures(data: xr.Dataset, config: Any) -> list[Picture]:
    """Return the figures of the part."""
    found = widths(data, config)
    return [
        Picture(
            "size",
            _size(found),
            "Left: mean exponent of h against the width of the LSTM; points are networks, lines their means. "
            "All units together fall, those that move at least half as much as the busiest one do not. "
            f"Middle: each unit of the networks of width {found.widths[-1]} against how much it moves. "
            "Right: share of the units that carry the movement.",
        ),
        Picture(
            "nulls",
            _nulls(found, config),
            f"Width {found.plateau}. Left: fluctuation functions of h, over the square root of n, in which "
            "white noise is flat; dashed, autoregressive processes fitted to single series. Middle: the "
            "state carried from review to review. Right: the exponent of h under each input.",
        ),
        Picture(
            "quantities",
            _quantities(found),
            f"Left: exponents of everything inside the LSTM, width {found.plateau}; open circles what enters "
            "the gate before it saturates. Right: exponent of h before training and after each epoch, one "
            "colour a width.",
        ),
    ]


def _size(found: Widths) -> Figure:
    data = found.data
    largest = np.flatnonzero(found.units == found.widths[-1])
    with plotting.style():
        drawn, (size, unit, share) = plotting.figure(3, panel_size=(3.5, 3.1))
        both = {"all units": of(data, "beta", "words", "hidden"), "units in use": used(data)}
        for colour, (label, values) in zip(colours(2), both.items(), strict=True):
            _points(size, found, values, color=colour, label=label)
        size.axhline(0, color=plotting.INK, lw=0.8)
        size.axhline(1, color=plotting.INK, lw=0.8, ls=":")
        size.set_ylabel(r"$\beta$ of h")
        deviation, beta = of_units(data, "unit_deviation"), of_units(data, "unit_beta")
        for shade, row in zip(shades(len(largest)), largest, strict=True):
            unit.plot(deviation[row], beta[row], "o", ms=2.5, color=shade)
        unit.set_xlabel("deviation of a unit in time")
        unit.set_ylabel(r"$\beta$ of the unit")
        unit.set_title(f"Units, width {found.widths[-1]}")
        place = QUANTITIES.index("hidden")
        counts = {
            "participation ratio / width": data["participation"].values[:, place],
            "effective rank / width": data["effective_rank"].values[:, place],
            "idle share": data["idle_relative"].values[:, place],
        }
        for colour, (label, values) in zip(colours(3), counts.items(), strict=True):
            _points(share, found, values / found.units, color=colour, label=label)
        for axes in (size, share):
            axes.set_xscale("log", base=2)
            axes.set_xlabel("width")
            legend(axes)
        size.set_title("Exponent")
        share.set_title("Use")
        share.set_ylim(bottom=0)
    return drawn


def _nulls(found: Widths, config: Any) -> Figure:
    windows = window_lengths(*config.windows)
    chosen = np.flatnonzero(found.units == found.plateau)
    place = QUANTITIES.index("hidden")
    with plotting.style():
        drawn, (curves, carried, bars) = plotting.figure(3, panel_size=(3.5, 3.1))
        for colour, (condition, label) in zip(colours(4), _NAMED.items(), strict=True):
            row = CONDITIONS.index(condition)
            curve = _log_mean(found.data["fluctuation"].values[chosen, row, place])
            null = _log_mean(found.data["short_fluctuation"].values[chosen, row, place])
            flat = np.sqrt(windows / windows[0])
            curves.plot(windows, curve / flat, "o-", ms=3, color=colour, label=label)
            curves.plot(windows, null / flat, "--", lw=1, color=colour)
            values = of(found.data, "beta", condition, "hidden")[chosen]
            bars.plot(np.full(len(values), label), values, "o", ms=4, color=colour)
        values = found.data["long_fluctuation"].values[chosen]
        lengths = long_windows(windows[0], config.piece)
        whole = _log_mean(values)[: len(lengths)] / np.sqrt(lengths / lengths[0])
        carried.plot(lengths, whole, "o-", ms=3, color=colours(1)[0])
        carried.axvline(windows[-1], color=plotting.INK, lw=0.8, ls=":")
        for axes in (curves, carried):
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_xlabel("window n (words)")
            axes.set_ylabel(r"$F(n)/\sqrt{n}$, first window 1")
        curves.set_title("One review at a time")
        carried.set_title("State carried on")
        legend(curves)
        bars.axhline(0, color=plotting.INK, lw=0.8)
        bars.set_ylabel(r"$\beta$ of h")
        bars.set_title("By input")
        bars.tick_params(axis="x", rotation=30)
    return drawn


def _quantities(found: Widths) -> Figure:
    chosen = np.flatnonzero(found.units == found.plateau)
    with plotting.style():
        drawn, (gates, training) = plotting.figure(2, panel_size=(4.6, 3.1))
        for position, quantity in enumerate(_BY_QUANTITY):
            values = of(found.data, "beta", "words", quantity)[chosen]
            gates.plot(np.full(len(values), position), values, "o", ms=4, color=plotting.MEASURED)
            if f"{quantity}_preactivation" in QUANTITIES:
                before = of(found.data, "beta", "words", f"{quantity}_preactivation")[chosen]
                place = np.full(len(before), position + 0.2)
                gates.plot(place, before, "o", ms=4, color=plotting.THEORY, markerfacecolor="none")
        gates.set_xticks(range(len(_BY_QUANTITY)), [q.replace("_", "\n") for q in _BY_QUANTITY])
        gates.axhline(0, color=plotting.INK, lw=0.8)
        gates.set_ylabel(r"$\beta$")
        gates.set_title("By quantity")
        for shade, width in zip(shades(len(found.widths)), found.widths, strict=True):
            mean = found.data["epoch_beta"].values[found.units == width].mean(axis=0)
            training.plot(range(len(mean)), mean, "o-", ms=3, color=shade, label=f"width {width}")
        training.set_xlabel("epoch")
        training.set_ylabel(r"$\beta$ of h")
        training.set_title("By training")
        legend(training, ncols=2)
    return drawn


def _points(axes: Axes, found: Widths, values: np.ndarray, **options: Any) -> None:
    label = options.pop("label")
    axes.plot(found.units, values, "o", ms=3, alpha=0.6, **options)
    known = np.isfinite(values)
    some = [width for width in found.widths if (known & (found.units == width)).any()]
    means = [values[known & (found.units == width)].mean() for width in some]
    axes.plot(some, means, "-", label=label, **options)


def _log_mean(curves: np.ndarray) -> np.ndarray:
    """Return the geometric mean over networks; NaN where one of them has nothing."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.exp(np.log(curves).mean(axis=0)))
