"""The study ``noise``: 1/f noise in the activations of sequence models."""

from __future__ import annotations

from phasescope.papers.noise.architectures import ARCHITECTURES
from phasescope.papers.noise.controls import CONTROLS
from phasescope.papers.noise.images import IMAGES
from phasescope.papers.noise.language import LANGUAGE
from phasescope.papers.noise.shared import STUDY as NAME
from phasescope.papers.noise.shared import Common
from phasescope.papers.noise.sizes import SIZES
from phasescope.studies.part import Study

STUDY = Study(
    name=NAME,
    title="1/f noise in the activations of sequence models",
    summary="Fluctuations of LSTM activations: exponents against size, gate and training, and the nulls.",
    source="Chong Jia Le and Feng 2023, arXiv:2301.08530; Chaos 34, 081101 (2024)",
    common={
        "quick": Common(),
        "paper": Common(train=15_000, series=60, pieces=3, piece=8192, epochs=3, rate=5e-3, tests=12),
    },
    parts=(CONTROLS, SIZES, ARCHITECTURES, LANGUAGE, IMAGES),
)
