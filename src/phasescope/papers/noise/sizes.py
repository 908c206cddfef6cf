"""LSTMs of many sizes trained on one task: exponents against size, epoch, gate, and null."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phasescope.papers.noise import sizes_figure
from phasescope.papers.noise.claims import claims_table
from phasescope.papers.noise.network_part import NetworkPart, text_source
from phasescope.papers.noise.sizes_checks import checks, tables
from phasescope.studies.contract import Analysis, Picture, Settings
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr


class SizesSettings(Settings):
    """Sizes of the sweep over LSTMs."""

    units: tuple[int, ...] = (2, 4, 8, 16, 32, 64)  # widths of the LSTM, ascending
    networks: int = 3  # networks of each width, that differ in their seeds alone; at least 3 for an error
    embeddings: tuple[int, ...] = ()  # further embedding sizes, at the width `embedded`
    embedded: int = 16  # one of `units`
    ablate_up_to: int = 8  # largest width at which every unit is ablated


QUICK = SizesSettings()
PAPER = SizesSettings(units=(2, 4, 8, 16, 32, 64, 128, 256), embeddings=(8, 128), ablate_up_to=32)


class Sizes(NetworkPart):
    """Exponents of LSTMs against their size."""

    name = "sizes"
    title = "LSTMs that classify texts: exponents against size"

    def tasks(self, config: Any) -> list[Task]:
        """Return one task a network, the largest first, so that no worker is left with one at the end."""
        settings: SizesSettings = config.sizes
        wanted = [(units, config.embedding) for units in settings.units]
        wanted += [(settings.embedded, embedding) for embedding in settings.embeddings]
        networks = [(*size, replica) for size in wanted for replica in range(settings.networks)]
        texts = text_source(config)
        most = max(*settings.units, *settings.embeddings, config.embedding)
        made = []
        for units, embedding, replica in sorted(networks, reverse=True):
            known = {"embedding": embedding, "most_units": most}
            known |= {"ablate": units <= settings.ablate_up_to and embedding == config.embedding}
            seconds = 8 + config.epochs * texts["train"] * (2e-4 + 1.3e-6 * units + 6e-8 * units**2)
            made.append(
                self.network_task(
                    config,
                    replica,
                    architecture="lstm",
                    units=units,
                    seconds=seconds,
                    **known,
                    **texts,
                )
            )
        return made

    def analyse(self, data: xr.Dataset, config: Any) -> Analysis:
        """Return what holds against size, epoch, gates and nulls, and the table of claims."""
        made = checks(data, config)
        return Analysis(
            made,
            [claims_table(made), *tables(data, config)],
            [
                "Chosen here, as the source does not say: words are lower case, the "
                f"{config.vocabulary} most frequent of the training reviews are kept, all others are one; "
                f"reviews are cut after {config.words} words and never padded where a series is taken; "
                f"embedding of {config.embedding}, one LSTM in torch's own initialisation, a linear read-out "
                f"of its last state, cross entropy, Adam at {config.rate:g}, batches of {config.batch}, "
                f"{config.epochs} epochs, the weights of the epoch with the smallest validation loss.",
                "A series is one unit during one test review. Exponents are DFA1 by generalised least "
                f"squares in windows of {config.windows[0]} to {config.windows[1]} words; "
                "where the source's numbers are compared, by ordinary least squares, as most of the "
                "literature fits. The window range is an inference: white noise scatters by 0.117 in it, "
                "which is the source's spread for the inputs.",
                "Errors are over networks that differ in their seeds, not over reviews or units. Units in "
                "use are those that move at least half as much as the busiest one of their layer.",
            ],
        )

    def figures(self, data: xr.Dataset, config: Any) -> list[Picture]:
        """Return exponents against size, against epoch, by gate, and the curves with their nulls."""
        return sizes_figure.pictures(data, config)
