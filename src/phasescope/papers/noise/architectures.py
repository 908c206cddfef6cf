"""An LSTM, a GRU, a plain RNN and a causal transformer on the same texts, trained alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phasescope.papers.noise import architectures_figure
from phasescope.papers.noise.architectures_checks import ARCHITECTURES, checks, notes, tables
from phasescope.papers.noise.network_part import NetworkPart, text_source
from phasescope.studies.contract import Analysis, Picture, Settings
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr

_MLP_UNITS = 4  # of a transformer, for each component of its width


class ArchitecturesSettings(Settings):
    """Sizes of the comparison of architectures."""

    units: int = 32  # width of every state and of the embedding that all of them read; even
    blocks: int = 1  # of the transformer
    # networks of each architecture, that differ in their seeds alone; at least 3 for an error
    networks: int = 3
    # train, test: texts for training and validation, and for the accuracy; at most as many as in the whole
    # study
    train: int = 2000
    test: int = 500
    # series, tests: as in the whole study: texts that are recorded, and series held against short memory
    series: int = 30
    tests: int = 4
    # pieces, long_tests: as in the whole study: pieces with carried state, and units of them held against
    # short memory
    pieces: int = 2
    long_tests: int = 1


QUICK = ArchitecturesSettings()
PAPER = ArchitecturesSettings(
    blocks=2, networks=4, train=5000, test=2000, series=60, tests=12, pieces=4, long_tests=2
)


class Architectures(NetworkPart):
    """Exponents of other sequence models beside those of the LSTM."""

    name = "architectures"
    title = "GRU, plain RNN and transformer beside the LSTM"

    def tasks(self, config: Any) -> list[Task]:
        """Return one task a network, the transformers first, which take longest."""
        settings: ArchitecturesSettings = config.architectures
        texts = text_source(config)
        texts |= {name: min(texts[name], getattr(settings, name)) for name in ("train", "test")}
        names = ("series", "tests", "pieces", "long_tests", "blocks")
        known = {name: getattr(settings, name) for name in names}
        read = config.epochs * (texts["train"] + 0.4 * texts["test"])
        made = []
        for architecture in reversed(ARCHITECTURES):
            a_text = 1.6e-3 * settings.blocks if architecture == "transformer" else 3e-4
            seconds = 5 + 0.25 * settings.tests + read * a_text
            made += [
                self.network_task(
                    config,
                    replica,
                    architecture=architecture,
                    units=settings.units,
                    seconds=seconds,
                    most_units=_MLP_UNITS * settings.units,
                    **{**texts, **known, "embedding": settings.units},
                )
                for replica in range(settings.networks)
            ]
        return made

    def analyse(self, data: xr.Dataset, config: Any) -> Analysis:
        """Return what each architecture shows, trained, untrained and with shuffled words."""
        return Analysis(checks(data, config), tables(data), notes(data, config))

    def figures(self, data: xr.Dataset, config: Any) -> list[Picture]:
        """Return exponents and curves by architecture, and what the positions of the transformer do."""
        return architectures_figure.pictures(data, config)
