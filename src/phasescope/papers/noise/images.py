"""LSTMs that read images row by row or pixel by pixel: a task that is no text.

Images are not white: neighbouring steps are alike, and what all images have in common repeats with the image.
So what counts is what h adds to their exponent, beta(h) less beta(x).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers.noise.networks import (
    NetworkPart,
    Networks,
    draw_against_width,
    draw_over_white,
    idle_are_white_claim,
    label_windows,
    little_used_claim,
    long_windows,
    network_task,
    null_claims,
)
from phasescope.papers.noise.sequences import Reading
from phasescope.papers.noise.shared import over_networks, slopes, window_lengths
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend, plain_ticks
from phasescope.studies.part import Panels, Settings, Table
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

READINGS: tuple[Reading, ...] = get_args(Reading)
_DIGITS = 1437  # training images of scikit-learn's digits
_MOST_FEATURES = 28  # of a row of MNIST
_SIDE = {"mnist": 28, "digits": 8}
_IMAGES = 32  # a series, at least
_LONGEST = 4  # images a window
_SHORTEST, _FEWEST, _POINTS = 6, 64, 12  # shortest window, the longest one at least, and how many
_CHANCE = 0.1
_SAME = 1e-9  # networks that read the same images differ by less
_CHAOS = "Chaos 34, 081101, abstract; which tasks it used is not known here"
_NULL = "Chaos 34, 081101, as what 1/f noise means; null derived here"


class ImagesSettings(Settings):
    """Sizes of the study on images."""

    units: tuple[int, ...] = (4, 16, 64)  # widths of the LSTMs that read rows, ascending
    pixel_units: tuple[int, ...] = (16,)  # widths of those that read pixels
    networks: int = 3  # networks of each width, that differ in their seeds alone; at least 3 for an error
    # side of the squares of pixels whose mean is one time step where MNIST is read pixel by pixel: 28 x 28
    # pixels in a row are beyond what an LSTM learns in minutes
    pooled: int = 4
    train: int = 10_000  # images for training and validation
    test: int = 1000  # images for the accuracy
    epochs: int = 5  # on MNIST
    digits_epochs: int = 15  # on the digits of scikit-learn, of which there are 1437
    batch: int = 64  # images a step
    rate: float = 1e-2  # learning rate of Adam
    series: int = 20  # of test images
    tests: int = 4  # of them that are held against short memory
    pieces: int = 4  # of the long series with carried state
    piece: int = 8192  # time steps of each


QUICK = ImagesSettings()
PAPER = ImagesSettings(pixel_units=(4, 16, 64), networks=4, test=5000, epochs=6, series=40, tests=12)


@dataclass(frozen=True)
class Geometry:
    """How images become series."""

    pooled: int  # side of the squares of pixels that become one
    period: int  # time steps an image
    steps: int  # time steps of a series, a whole number of images
    windows: tuple[int, int, int]  # shortest, longest, how many: from a part of an image to several images


def geometry(config: Any, reading: Reading) -> Geometry:
    """Return how a configuration reads its images."""
    side = _SIDE["mnist" if config.mnist else "digits"]
    pooled = config.images.pooled if config.mnist and reading == "pixels" else 1
    side //= pooled
    period = side if reading == "rows" else side**2
    longest = max(_LONGEST * period, _FEWEST)
    steps = max(_IMAGES, 8 * longest // period) * period
    return Geometry(pooled, period, steps, (max(period // 4, _SHORTEST), longest, _POINTS))


def tasks(config: Any) -> list[Task]:
    """Return one task a network, the widest first."""
    settings: ImagesSettings = config.images
    names = {"test", "batch", "rate", "series", "tests", "pieces", "piece"}
    # A period is no short memory: long tests against it would say nothing.
    known = {**settings.model_dump(include=names), "long_tests": 0}
    known["train"] = settings.train if config.mnist else min(settings.train, _DIGITS)
    known["epochs"] = settings.epochs if config.mnist else settings.digits_epochs
    known["most_units"] = max(*settings.units, *settings.pixel_units, _MOST_FEATURES)
    widths = {"rows": settings.units, "pixels": settings.pixel_units}
    wanted = [(units, reading) for reading in READINGS for units in widths[reading]]
    made = []
    for units, reading in sorted(wanted, reverse=True):
        read = geometry(config, reading)
        steps = known["epochs"] * known["train"] * read.period
        made += [
            network_task(
                "images",
                config,
                replica,
                architecture="lstm",
                units=units,
                seconds=3 + 0.03 * units + steps * (1.5e-6 + 3e-8 * units),
                source=reading,
                folder=config.mnist,
                vocabulary=0,
                **known,
                pooled=read.pooled,
                words=read.steps,
                windows=list(read.windows),
            )
            for replica in range(settings.networks)
        ]
    return made


@dataclass(frozen=True)
class Read:
    """How images are read, and the networks that read them so."""

    reading: Reading
    geometry: Geometry
    networks: Networks

    def gain(self, condition: str) -> np.ndarray:
        """Return what h adds to the exponent of its inputs, by ordinary least squares, at the plateau."""
        hidden, images = (
            self.networks.best.of("plain_beta", condition, name) for name in ("hidden", "input")
        )
        return np.asarray(hidden - images)

    def bend(self, quantity: str) -> np.ndarray:
        """Return by how much beta, from the mean curve, is larger within an image than beyond it."""
        n = np.log(window_lengths(*self.geometry.windows))
        curves = np.log(self.networks.of("fluctuation", quantity=quantity))
        inside = n <= np.log(self.geometry.period)
        within, beyond = (slopes(curves[:, part], n[part]) for part in (inside, ~inside))
        return np.asarray(2 * (within - beyond))

    def images(self, name: str) -> str:
        """Return a number of the images themselves, the same for all networks."""
        return _first(self.networks.of(name, quantity="input"))


def _first(values: np.ndarray) -> str:
    return f"{values[0]:.3f}" if len(values) else "unknown"


@dataclass(frozen=True)
class Numbers:
    """The networks by how they read images."""

    config: Any
    reads: dict[Reading, Read]


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    everything = Networks(data)
    reads = {
        reading: Read(reading, geometry(config, reading), everything.where(source=reading))
        for reading in READINGS
    }
    return Numbers(config, reads)


def claims(n: Numbers) -> list[Check]:
    """Return exponents beyond those of the images, and against size."""
    groups = (_input_claims, _state_claims, _order_claims, _capacity_claims)
    return [
        replace(check, id=f"{read.reading}-{check.id}")
        for read in n.reads.values()
        for group in groups
        for check in group(read)
    ]


def _input_claims(read: Read) -> list[Check]:
    accuracy = over_networks(read.networks.best.accuracy)
    beyond = Estimate.not_determined("no network was measured")
    if read.networks.widths:
        # The same long series for all networks: the error is over its pieces.
        value, error = (read.networks.of(f"long_input_{name}")[0, 1] for name in ("beta", "beta_error"))
        pieces = int(read.networks.data["pieces"].values[0])
        beyond = Estimate(float(value), float(error), "mean over inputs, jackknife over pieces", pieces)
    return [
        Claim(
            "accuracy",
            f"LSTMs learn to classify images by their {read.reading}, better than by chance.",
            "asked here: what has not learned says nothing of training",
        ).positive(
            accuracy - _CHANCE,
            note=f"Measured: test accuracy less {_CHANCE:g}, width {read.networks.plateau}, the smallest "
            f"within 0.015 of the best. Accuracy {accuracy}.",
        ),
        Claim("shuffled-input-white", "With time steps in random order the images are white noise.").equals(
            0.0,
            read.networks.best.mean("beta", "shuffled", "input"),
            allowance=0.03,
            note=f"In their order beta is {read.images('beta')}: an image has {read.geometry.period} time "
            "steps, windows reach from a fraction of it to several. Allowance 0.03.",
        ),
        Claim("input-beyond", "Over many images the input is white, as images are drawn one by one.").equals(
            0.0,
            beyond,
            allowance=0.15,
            note="Windows longer than those of the series. Allowance 0.15: images end inside windows.",
        ),
    ]


def _state_claims(read: Read) -> list[Check]:
    best = read.networks.best
    gain, untrained = read.gain("words"), read.gain("untrained")
    bend = read.bend("hidden")[read.networks.units == read.networks.plateau]
    hidden, used, images = (best.of(f"long_{name}")[:, 1] for name in ("beta", "used_beta", "input_beta"))
    return [
        Claim(
            "hidden",
            "Mean exponent of the units of h, in windows from a fraction of an image to several.",
            _CHAOS,
        ).equals(
            None,
            best.mean("plain_beta"),
            note="Ordinary least squares, which weighs all windows alike: generalised ones, which trust "
            f"short windows most, give {best.mean('beta')}, as the curve is bent. The images have "
            f"{read.images('plain_beta')}.",
        ),
        Claim(
            "hidden-above-input", "h fluctuates more slowly than the images that it reads.", _CHAOS
        ).positive(
            over_networks(gain, "beta(h) less beta(x)"),
            note="Measured: beta(h) less beta(x), paired by network, ordinary least squares.",
        ),
        Claim("trained", "Training raises the exponent of h beyond that of the images.").positive(
            over_networks(gain - untrained, "trained less untrained"),
            note=f"Untrained, beta(h) less beta(x) is {over_networks(untrained)}.",
        ),
        Claim("beyond-image", "Carried from image to image, h keeps a memory longer than an image.").positive(
            over_networks(hidden - images, "beta(h) less beta(x)"),
            note="Measured: beta(h) less beta(x) in windows longer than those of the series. No image tells "
            f"of the next one, and training never carried a state. beta(h) is {over_networks(hidden)}, of "
            f"the units in use {over_networks(used)}.",
        ),
        Claim(
            "bend", "The curve of h bends at the length of an image: slow within it, whiter beyond."
        ).positive(
            over_networks(bend, "slopes of F(n) within less beyond an image"),
            note="Measured: 2 (slope within - slope beyond), in the unit of beta. Images: "
            f"{_first(read.bend('input'))}. One power law has none.",
        ),
    ]


def _order_claims(read: Read) -> list[Check]:
    words, shuffled, noise = (read.gain(condition) for condition in ("words", "shuffled", "noise"))
    return [
        Claim(
            "order",
            "What h adds is its own: with time steps in random order it adds as much.",
            "derived here, as a null",
        ).equals(
            0.0,
            over_networks(words - shuffled, "images less shuffled time steps"),
            allowance=0.1,
            resolution=0.1,
            note=f"beta(h) less beta(x), least squares: images {over_networks(words)}, shuffled "
            f"{over_networks(shuffled)}, white noise {over_networks(noise)}. Allowance 0.1.",
        ),
        *null_claims(
            read.networks.best,
            _NULL,
            "Images repeat with a period, which no such process does for long: excluding it is no evidence "
            "of 1/f noise here.",
        ),
        Claim(
            "curvature", "The mean curve of ln F(n) of h is straight across the image's length.", _NULL
        ).equals(
            0.0,
            read.networks.best.mean("curvature"),
            allowance=0.02,
            resolution=0.03,
            note=f"Coefficient of (ln n)^2; of the images {read.images('curvature')}. Allowance 0.02.",
        ),
    ]


def _capacity_claims(read: Read) -> list[Check]:
    networks = read.networks
    images = networks.of("beta", quantity="input")
    return [
        Claim("falls-with-size", "The mean exponent of h falls as the network grows.", _CHAOS).positive(
            -networks.trend(networks.of("beta") - images),
            note="Measured: fall of beta(h) less beta(x) for each doubling of the width, generalised least "
            "squares as for single units.",
        ),
        Claim("used-keep", "Units in use keep their exponent however large the network is.", _CHAOS).equals(
            0.0,
            networks.trend(read.networks.used - images),
            allowance=0.05,
            resolution=0.05,
            note="Measured: slope against log2(width) for units that move at least half as much as the "
            "busiest. Allowance 0.05 a doubling.",
        ),
        little_used_claim(networks, _CHAOS),
        idle_are_white_claim(networks, _CHAOS),
    ]


def tables(n: Numbers) -> list[Table]:
    columns = ["accuracy", "least squares: h", "images", "beta of h", "in use", "shuffled", "white noise"]
    columns += ["untrained", "participation / width", "idle", "beyond: h", "in use", "images"]
    rows = []
    for reading, read in n.reads.items():
        for width in read.networks.widths:
            some = read.networks.at(width)
            values = [
                some.accuracy,
                some.of("plain_beta"),
                some.of("plain_beta", quantity="input"),
                some.of("beta"),
                some.used,
                *(some.of("beta", condition) for condition in ("shuffled", "noise", "untrained")),
                some.of("participation") / width,
                some.of("idle_relative"),
                *(some.of(f"long_{name}")[:, 1] for name in ("beta", "used_beta", "input_beta")),
            ]
            rows.append([reading, str(width), *map(_cell, values)])
    return [Table("By reading and width, over networks", ["reading", "width", *columns], rows)]


def _cell(values: np.ndarray) -> str:
    return f"{values[0]:.3f}" if np.ptp(values) < _SAME else str(over_networks(values))


def notes(n: Numbers) -> list[str]:
    """Return what was chosen here."""
    settings: ImagesSettings = n.config.images
    rows, pixels = (read.geometry for read in n.reads.values())
    which = f"MNIST, {settings.train} images" if n.config.mnist else "the 8 x 8 digits of scikit-learn"
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


def draw_curves(axes: Axes, n: Numbers, reading: Reading) -> None:
    read = n.reads[reading]
    curves = {
        "images x": ("words", "input"),
        "h, trained": ("words", "hidden"),
        "h, untrained": ("untrained", "hidden"),
        "h, shuffled steps": ("shuffled", "hidden"),
    }
    if read.networks.widths:
        windows = window_lengths(*read.geometry.windows)
        for colour, (label, place) in zip(colours(len(curves)), curves.items(), strict=True):
            draw_over_white(
                axes, windows, read.networks.best.of("fluctuation", *place), color=colour, label=label
            )
    _label(axes, read)
    axes.set_ylim(bottom=0.6)
    axes.set_title(f"By {reading}, width {read.networks.plateau}")
    legend(axes, fontsize=8, loc="lower right", ncols=2)


def draw_carried(axes: Axes, n: Numbers, reading: Reading) -> None:
    read = n.reads[reading]
    if read.networks.widths:
        windows = long_windows(read.geometry.windows[0], n.config.images.piece)
        draw_over_white(axes, windows, read.networks.best.of("long_fluctuation"), color=plotting.MEASURED)
    _label(axes, read)
    axes.set_title("h, state carried on")


def _label(axes: Axes, read: Read) -> None:
    label_windows(axes, "time steps")
    if read.networks.widths:
        plain_ticks(axes)
    axes.axvline(read.geometry.period, color=plotting.INK, lw=0.8, ls=":")


def draw_size(axes: Axes, n: Numbers, reading: Reading) -> None:
    read = n.reads[reading]
    networks = read.networks
    axes.set(title="Beyond the images", xlabel="width", ylabel=r"$\beta(h) - \beta(x)$")
    if not networks.widths:
        return
    images = networks.of("beta", quantity="input")
    both = {"all units": networks.of("beta") - images, "units in use": read.networks.used - images}
    draw_against_width(axes, networks, both, ("-", "--"))
    axes.axhline(0, color=plotting.INK, lw=0.8)


def figures(n: Numbers) -> list[Panels]:
    return [
        Panels(
            reading,
            f"LSTMs that read images by {reading}. Left: fluctuation functions over the root of n at the "
            "smallest width that learns as well as the largest; the dotted line is the length of an image. "
            "Middle: the state carried over many images. Right: what h adds to the exponent of the images "
            "(all units, and those that move at least half as much as the busiest). Points are networks.",
            [partial(draw, reading=reading) for draw in (draw_curves, draw_carried, draw_size)],
            size=(3.7, 3.2),
        )
        for reading in n.reads
    ]


IMAGES = NetworkPart(
    name="images",
    title="A task that is no text: images by rows and by pixels",
    presets={"quick": QUICK, "paper": PAPER},
    tasks=tasks,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
)
