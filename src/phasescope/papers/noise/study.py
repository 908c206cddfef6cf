"""The study ``noise``: its configuration, its presets and its parts."""

from __future__ import annotations

from phasescope.papers.noise import architectures, config, controls, images, sizes
from phasescope.studies.contract import Study


class NoiseConfig(config.Common):
    """Configuration of the whole study: what all parts share, and the sizes of each."""

    controls: controls.ControlsSettings
    sizes: sizes.SizesSettings
    architectures: architectures.ArchitecturesSettings
    images: images.ImagesSettings


STUDY = Study(
    name=config.STUDY,
    title="1/f noise in the activations of sequence models",
    summary="Fluctuations of LSTM activations: exponents against size, gate and training, and the nulls.",
    source="Chong Jia Le and Feng 2023, arXiv:2301.08530; Chaos 34, 081101 (2024)",
    presets={
        "quick": NoiseConfig(
            controls=controls.QUICK,
            sizes=sizes.QUICK,
            architectures=architectures.QUICK,
            images=images.QUICK,
        ),
        "paper": NoiseConfig(
            train=25_000,
            test=5_000,
            series=200,
            pieces=6,
            piece=8192,
            rate=3e-3,
            tests=24,
            controls=controls.PAPER,
            sizes=sizes.PAPER,
            architectures=architectures.PAPER,
            images=images.PAPER,
        ),
    },
    parts=(controls.Controls(), sizes.Sizes(), architectures.Architectures(), images.ImagesPart()),
)
