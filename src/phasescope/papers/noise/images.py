"""LSTMs that read images row by row or pixel by pixel: a task that is no text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phasescope.papers.noise import images_figure
from phasescope.papers.noise.images_checks import checks, notes, tables
from phasescope.papers.noise.images_geometry import READINGS, geometry
from phasescope.papers.noise.network_part import NetworkPart
from phasescope.studies.contract import Analysis, Picture, Settings
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr

_DIGITS = 1437  # training images of scikit-learn's digits
_MOST_FEATURES = 28


class ImagesSettings(Settings):
    """Sizes of the study on images."""

    units: tuple[int, ...] = (4, 16, 64)  # widths of the LSTMs that read rows, ascending
    pixel_units: tuple[int, ...] = (16,)  # widths of those that read pixels
    networks: int = 3  # networks of each width, that differ in their seeds alone; at least 3 for an error
    # side of the squares of pixels whose mean is one time step where MNIST is read pixel by pixel: 28 x 28
    # pixels in a row are beyond what an LSTM learns in minutes
    pooled: int = 4
    # train, test: images for training and validation, and for the accuracy
    train: int = 10_000
    test: int = 1000
    # epochs, digits_epochs: of training, on MNIST, and on the digits of scikit-learn, of which there are 1437
    epochs: int = 5
    digits_epochs: int = 15
    batch: int = 64  # images a step
    rate: float = 1e-2  # learning rate of Adam
    # series, tests: series of test images, and how many of them are held against short memory
    series: int = 20
    tests: int = 4
    # pieces, piece: the long series with carried state: how many pieces, of how many time steps each
    pieces: int = 4
    piece: int = 8192


QUICK = ImagesSettings()
PAPER = ImagesSettings(pixel_units=(4, 16, 64), networks=4, test=5000, epochs=6, series=40, tests=12)


class ImagesPart(NetworkPart):
    """Exponents of LSTMs that classify images, less those of the images."""

    name = "images"
    title = "A task that is no text: images by rows and by pixels"

    def tasks(self, config: Any) -> list[Task]:
        """Return one task a network, the widest first."""
        settings: ImagesSettings = config.images
        names = {"test", "batch", "rate", "series", "tests", "pieces", "piece"}
        # A period is no short memory: long tests against it would say nothing.
        known = {**settings.model_dump(include=names), "long_tests": 0}
        known["train"] = settings.train if config.mnist else min(settings.train, _DIGITS)
        known["epochs"] = settings.epochs if config.mnist else settings.digits_epochs
        known["most_units"] = max(*settings.units, *settings.pixel_units, _MOST_FEATURES)
        wanted = [(units, reading) for reading in READINGS for units in _widths(settings, reading)]
        made = []
        for units, reading in sorted(wanted, reverse=True):
            read = geometry(config, reading)
            inputs = {"pooled": read.pooled, "words": read.steps, "windows": list(read.windows)}
            steps = known["epochs"] * known["train"] * read.period
            seconds = 3 + 0.03 * units + steps * (1.5e-6 + 3e-8 * units)
            made += [
                self.network_task(
                    config,
                    replica,
                    architecture="lstm",
                    units=units,
                    seconds=seconds,
                    source=reading,
                    folder=config.mnist,
                    vocabulary=0,
                    **known,
                    **inputs,
                )
                for replica in range(settings.networks)
            ]
        return made

    def analyse(self, data: xr.Dataset, config: Any) -> Analysis:
        """Return exponents beyond those of the images, and against size."""
        return Analysis(checks(data, config), tables(data, config), notes(config))

    def figures(self, data: xr.Dataset, config: Any) -> list[Picture]:
        """Return curves of states and images, and exponents against size."""
        return images_figure.pictures(data, config)


def _widths(settings: ImagesSettings, reading: str) -> tuple[int, ...]:
    return settings.units if reading == "rows" else settings.pixel_units
