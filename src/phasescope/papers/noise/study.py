"""The study ``noise``: 1/f noise in the activations of sequence models."""

from __future__ import annotations

from phasescope.papers.noise import architectures, controls, images, sizes
from phasescope.papers.noise.shared import STUDY as NAME
from phasescope.papers.noise.shared import Common
from phasescope.studies.contract import from_class
from phasescope.studies.part import Study

STUDY = Study(
    name=NAME,
    title="1/f noise in the activations of sequence models",
    summary="Fluctuations of LSTM activations: exponents against size, gate and training, and the nulls.",
    source="Chong Jia Le and Feng 2023, arXiv:2301.08530; Chaos 34, 081101 (2024)",
    common={
        "quick": Common(),
        "paper": Common(train=25_000, test=5_000, series=200, pieces=6, piece=8192, rate=3e-3, tests=24),
    },
    parts=(
        controls.CONTROLS,
        from_class(sizes.Sizes(), sizes.QUICK, sizes.PAPER),
        from_class(architectures.Architectures(), architectures.QUICK, architectures.PAPER),
        from_class(images.ImagesPart(), images.QUICK, images.PAPER),
    ),
)
