"""Claims about LSTMs that read images, whose inputs are not white."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope.estimate import Estimate
from phasescope.papers.noise.averages import less, negated, of, over_networks
from phasescope.papers.noise.images_geometry import READINGS, Geometry, geometry
from phasescope.papers.noise.judging import more_than_chance, no_more_than_chance, positive
from phasescope.papers.noise.observation import CONDITIONS, QUANTITIES
from phasescope.papers.noise.shared import window_lengths
from phasescope.papers.noise.sizes_numbers import (
    Widths,
    best_accuracy,
    of_units,
    rank_correlation,
    share,
    used,
    widths,
)
from phasescope.studies.check import Check, compare
from phasescope.studies.contract import Table

if TYPE_CHECKING:
    import xarray as xr

_CHAOS = "Chaos 34, 081101, abstract; which tasks it used is not known here"
_NULL = "Chaos 34, 081101, as what 1/f noise means; null derived here"
_HERE = "derived here"
_HIDDEN = QUANTITIES.index("hidden")
_CHANCE = 0.1
_SAME = 1e-9


def networks_of(data: xr.Dataset, config: Any, reading: str) -> Widths:
    """Return the networks that read images one way."""
    some = data.isel(task=np.flatnonzero(data["source"].values == reading))
    return widths(some, config) if some.sizes["task"] else Widths(some, [], 0)


def checks(data: xr.Dataset, config: Any) -> list[Check]:
    """Return the checks of the part."""
    made = []
    for reading in READINGS:
        found = networks_of(data, config, reading)
        made += [
            *_learned(found, reading),
            *_input(found, reading, geometry(config, reading)),
            *_state(found, reading),
            _bend(found, reading, geometry(config, reading)),
            *_nulls(found, reading),
            *_capacity(found, reading),
        ]
    return made


def _learned(found: Widths, reading: str) -> list[Check]:
    accuracy = found.mean(best_accuracy(found.data))
    return [
        positive(
            f"images/{reading}-accuracy",
            f"LSTMs learn to classify images by their {reading}, better than by chance.",
            "asked here: what has not learned says nothing of training",
            less(accuracy, _CHANCE),
            note=f"Measured: test accuracy less {_CHANCE:g}, width {found.plateau}, the smallest within "
            f"0.015 of the best. Accuracy {accuracy}.",
        )
    ]


def _input(found: Widths, reading: str, read: Geometry) -> list[Check]:
    data = found.data
    beyond = Estimate.not_determined("no network was measured")
    if found.widths:
        # The same long series for all networks: the error is over its pieces.
        value, error = (float(data[f"long_input_{name}"].values[0, 1]) for name in ("beta", "beta_error"))
        beyond = Estimate(
            value, error, "mean over inputs, jackknife over pieces", int(data["pieces"].values[0])
        )
    return [
        compare(
            f"images/{reading}-shuffled-input-white",
            "With time steps in random order the images are white noise.",
            _HERE,
            0.0,
            found.mean(of(data, "beta", "shuffled", "input")),
            allowance=0.03,
            note=f"In their order beta is {_images(of(data, 'beta', 'words', 'input'))}: an image "
            f"has {read.period} time steps, windows reach from a fraction of it to several. Allowance 0.03.",
        ),
        compare(
            f"images/{reading}-input-beyond",
            "Over many images the input is white, as images are drawn one by one.",
            _HERE,
            0.0,
            beyond,
            allowance=0.15,
            note="Windows longer than those of the series. Allowance 0.15: images end inside windows.",
        ),
    ]


def _state(found: Widths, reading: str) -> list[Check]:
    data = found.data
    hidden, gain, untrained = _plain(data, "words"), _gain(data, "words"), _gain(data, "untrained")
    beyond = data["long_beta"].values[:, 1], data["long_input_beta"].values[:, 1]
    return [
        compare(
            f"images/{reading}-hidden",
            "Mean exponent of the units of h, in windows from a fraction of an image to several.",
            _CHAOS,
            None,
            found.mean(hidden),
            note="Ordinary least squares, which weighs all windows alike: generalised ones, which trust "
            f"short windows most, give {found.mean(of(data, 'beta', 'words', 'hidden'))}, as the curve is "
            f"bent. The images have {_images(_plain(data, 'words', 'input'))}.",
        ),
        positive(
            f"images/{reading}-hidden-above-input",
            "h fluctuates more slowly than the images that it reads.",
            _CHAOS,
            found.mean(gain, method="beta(h) less beta(x)"),
            note="Measured: beta(h) less beta(x), paired by network, ordinary least squares.",
        ),
        positive(
            f"images/{reading}-trained",
            "Training raises the exponent of h beyond that of the images.",
            _HERE,
            found.mean(gain - untrained, method="trained less untrained"),
            note=f"Untrained, beta(h) less beta(x) is {found.mean(untrained)}.",
        ),
        positive(
            f"images/{reading}-beyond-image",
            "Carried from image to image, h keeps a memory longer than an image.",
            _HERE,
            found.mean(beyond[0] - beyond[1], method="beta(h) less beta(x)"),
            note="Measured: beta(h) less beta(x) in windows longer than those of the series. No image tells "
            f"of the next one, and training never carried a state. beta(h) is {found.mean(beyond[0])}, of "
            f"the units in use {found.mean(data['long_used_beta'].values[:, 1])}.",
        ),
    ]


def _bend(found: Widths, reading: str, read: Geometry) -> Check:
    return positive(
        f"images/{reading}-bend",
        "The curve of h bends at the length of an image: slow within it, whiter beyond.",
        _HERE,
        found.mean(_change(found.data, "hidden", read), method="slopes of F(n) within less beyond an image"),
        note=f"Measured: 2 (slope within - slope beyond), in the unit of beta. Images: "
        f"{_images(_change(found.data, 'input', read))}. One power law has none.",
    )


def _plain(data: xr.Dataset, condition: str, quantity: str = "hidden") -> np.ndarray:
    """Return exponents by ordinary least squares."""
    return of(data, "plain_beta", condition, quantity)


def _gain(data: xr.Dataset, condition: str) -> np.ndarray:
    """Return what h adds to the exponent of its inputs."""
    return np.asarray(_plain(data, condition) - _plain(data, condition, "input"))


def _images(values: np.ndarray) -> str:
    """Return a number of the images themselves, the same for all networks."""
    return f"{values[0]:.3f}" if len(values) else "unknown"


def _change(data: xr.Dataset, quantity: str, read: Geometry) -> np.ndarray:
    """Return by how much beta, from the mean curve, is larger within an image than beyond it."""
    windows = np.log(window_lengths(*read.windows))
    place = CONDITIONS.index("words"), QUANTITIES.index(quantity)
    curves = np.log(data["fluctuation"].values[:, place[0], place[1]])
    inside = windows <= np.log(read.period)
    slopes = []
    for some in (inside, ~inside):
        u = windows[some] - windows[some].mean()
        slopes.append(curves[:, some] @ u / (u @ u))
    return np.asarray(2 * (slopes[0] - slopes[1]))


def _nulls(found: Widths, reading: str) -> list[Check]:
    data = found.data
    gain = {key: _gain(data, key) for key in ("words", "shuffled", "noise")}
    tested, short, scaling = (
        found.at(of(data, name, "words", "hidden")) for name in ("tested", "beat_short", "beat_scaling")
    )
    return [
        compare(
            f"images/{reading}-order",
            "What h adds is its own: with time steps in random order it adds as much.",
            "derived here, as a null",
            0.0,
            found.mean(gain["words"] - gain["shuffled"], method="images less shuffled time steps"),
            allowance=0.1,
            resolution=0.1,
            note=f"beta(h) less beta(x), least squares: images {found.mean(gain['words'])}, shuffled "
            f"{found.mean(gain['shuffled'])}, white noise {found.mean(gain['noise'])}. Allowance 0.1.",
        ),
        more_than_chance(
            f"images/{reading}-short-memory",
            "An autoregressive process fitted to the series does not explain its curve.",
            _NULL,
            share(short, tested, "share of series that exclude short memory"),
            note="Images repeat with a period, which no such process does for long: excluding it is no "
            "evidence of 1/f noise here.",
        ),
        no_more_than_chance(
            f"images/{reading}-straight",
            "The curves are those of scaling noise: one power law.",
            _NULL,
            share(scaling, tested, "share of series that exclude scaling noise"),
        ),
        compare(
            f"images/{reading}-curvature",
            "The mean curve of ln F(n) of h is straight across the image's length.",
            _NULL,
            0.0,
            found.mean(of(data, "curvature", "words", "hidden")),
            allowance=0.02,
            resolution=0.03,
            note="Coefficient of (ln n)^2; of the images "
            f"{_images(of(data, 'curvature', 'words', 'input'))}. Allowance 0.02.",
        ),
    ]


def _capacity(found: Widths, reading: str) -> list[Check]:
    data = found.data
    gain = of(data, "beta", "words", "hidden") - of(data, "beta", "words", "input")
    in_use = used(data) - of(data, "beta", "words", "input")
    place = data["participation"].values[:, _HIDDEN] / found.units
    largest = found.widths[-1] if found.widths else 0
    deviation, exponents = (of_units(data, f"unit_{name}") for name in ("deviation", "beta"))
    return [
        positive(
            f"images/{reading}-falls-with-size",
            "The mean exponent of h falls as the network grows.",
            _CHAOS,
            negated(found.trend(gain)),
            note="Measured: fall of beta(h) less beta(x) for each doubling of the width, generalised least "
            "squares as for single units.",
        ),
        compare(
            f"images/{reading}-used-keep",
            "Units in use keep their exponent however large the network is.",
            _CHAOS,
            0.0,
            found.trend(in_use),
            allowance=0.05,
            resolution=0.05,
            note="Measured: slope against log2(width) for units that move at least half as much as the "
            "busiest. Allowance 0.05 a doubling.",
        ),
        positive(
            f"images/{reading}-little-used",
            "The larger the network, the smaller the share of its units that carry the movement.",
            _CHAOS,
            negated(found.trend(place)),
            note="Measured: fall of the participation ratio over the width for each doubling.",
        ),
        positive(
            f"images/{reading}-idle-are-white",
            "Within a layer, units that move less are whiter.",
            _CHAOS,
            found.mean(rank_correlation(data, exponents, deviation), largest),
            note=f"Spearman's correlation of a unit's beta with its deviation in time, width {largest}.",
        ),
    ]


def tables(data: xr.Dataset, config: Any) -> list[Table]:
    """Return the numbers by reading and width."""
    columns = ["accuracy", "least squares: h", "images", "beta of h", "in use", "shuffled", "white noise"]
    columns += ["untrained"]
    columns += ["participation / width", "idle", "beyond: h", "in use", "images"]
    rows = []
    for reading in READINGS:
        found = networks_of(data, config, reading)
        values = [
            best_accuracy(found.data),
            _plain(found.data, "words"),
            _plain(found.data, "words", "input"),
            of(found.data, "beta", "words", "hidden"),
            used(found.data),
            *(of(found.data, "beta", key, "hidden") for key in ("shuffled", "noise", "untrained")),
            found.data["participation"].values[:, _HIDDEN] / found.units,
            found.data["idle_relative"].values[:, _HIDDEN],
            *(found.data[name].values[:, 1] for name in ("long_beta", "long_used_beta", "long_input_beta")),
        ]
        rows += [
            [reading, str(width), *(_cell(found, some, width) for some in values)] for width in found.widths
        ]
    return [Table("By reading and width, over networks", ["reading", "width", *columns], rows)]


def _cell(found: Widths, values: np.ndarray, width: int) -> str:
    same = found.at(values, width)
    return f"{same[0]:.3f}" if np.ptp(same) < _SAME else str(over_networks(same))


def notes(config: Any) -> list[str]:
    """Return what was chosen here."""
    settings = config.images
    rows, pixels = (geometry(config, reading) for reading in READINGS)
    which = f"MNIST, {settings.train} images" if config.mnist else "the 8 x 8 digits of scikit-learn"
    pooled = f", means of {pixels.pooled} x {pixels.pooled} pixels" if pixels.pooled > 1 else ""
    return [
        f"Images: {which}. By rows an image has {rows.period} time steps, by pixels {pixels.period}{pooled}. "
        "Which tasks Chaos 34, 081101 used is not known here.",
        "A series is one test image after the other, drawn at random, with the state carried on; windows "
        f"{rows.windows[0]} to {rows.windows[1]} by rows, {pixels.windows[0]} to {pixels.windows[1]} by "
        f"pixels, in series of {rows.steps} and {pixels.steps} steps; beyond means up to "
        f"{settings.piece // 8} steps.",
        "Errors are over networks with different seeds, each with images of its own choice.",
        "What all images have in common repeats with the image, and within an image neighbouring steps are "
        "alike: the input is not white, and an exponent of h alone says little. beta(h) less beta(x) is what "
        "the network adds.",
    ]
